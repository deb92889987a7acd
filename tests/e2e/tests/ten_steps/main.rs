//! The ten steps from a fresh install to a verified config, each with what it must show, on hosts of their own; and
//! then a failover of what came of them.

mod failover;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use e2e::lab::{Lab, Mode};
use e2e::text;
use serde_json::Value;

#[test]
fn ten_steps_lead_from_a_fresh_strict_install_to_a_verified_config() {
    ten_steps(Mode::Strict);
}

#[test]
fn ten_steps_lead_from_a_fresh_dev_install_to_a_verified_config() {
    ten_steps(Mode::Dev);
}

fn ten_steps(mode: Mode) {
    let Some(mut lab) = Lab::for_test("ten_steps") else {
        return;
    };
    let made = fresh_install(&mut lab, mode);
    first_owner_bootstrap(&lab, mode, &made);
    let authority = cluster_creation(&lab);
    signed_join_token(&lab, &authority);
    let key = real_enrolment(&mut lab, &authority);
    owner_approval(&mut lab, &key);
    let node = automatic_bootstrap(&mut lab, &key);
    pin_persistence(&mut lab, &authority);
    heartbeat(&mut lab);
    verified_config(&mut lab, &authority, &node);
    failover::failover(&mut lab, NODE);
    assert_eq!(lab.site().json(&["audit", "verify"])["ok"], true);
}

/// A cluster's signer, as an operator is shown it.
struct Authority {
    public_key: String,
    fingerprint: String,
}

/// Step 1: an installation in an empty directory, which nobody owns yet if it is strict.
fn fresh_install(lab: &mut Lab, mode: Mode) -> Value {
    let root_key = text(&lab.site().path("root.key"));
    let made = match mode {
        Mode::Strict => {
            lab.site().run(&["root", "keygen", "--out", &root_key]);
            let shown = lab.site().json(&["root", "show", "--key", &root_key]);
            let root = format!("[product_root]\nkeys = [{}]\n", shown["public_key"]);
            lab.init_controller(mode, &root)
        }
        Mode::Dev => lab.init_controller(mode, ""),
    };
    lab.start_controller();

    let shown = lab.site().json(&["installation", "show"]);
    assert_eq!(shown["id"], made["id"]);
    assert_eq!(shown["mode"], mode.name());
    assert_eq!(shown["warning"].is_null(), mode == Mode::Strict, "{shown}");
    assert_eq!(shown["product_roots"].as_array().map(Vec::len), Some(1));
    let owned = match mode {
        Mode::Strict => ("uninitialized", true),
        Mode::Dev => ("activated", false),
    };
    assert_eq!(
        (str_of(&shown["state"]).as_str(), shown["first_owner"].is_null()),
        owned,
        "{shown}"
    );

    made
}

/// Step 2: nothing can be made before the first owner is there, whom one manifest makes once.
fn first_owner_bootstrap(lab: &Lab, mode: Mode, made: &Value) {
    let site = lab.site();
    if mode == Mode::Strict {
        let refused = site.try_run(&["cluster", "create", "prod"]);
        assert!(!refused.status.success(), "there is no owner yet");
        let (root_key, owner_key, manifest) = (
            text(&site.path("root.key")),
            text(&site.path("owner.key")),
            text(&site.path("manifest")),
        );
        site.run(&[
            "root",
            "sign-activation",
            "--key",
            &root_key,
            "--installation",
            &str_of(&made["id"]),
            "--owner-name",
            "ada",
            "--owner-key-out",
            &owner_key,
            "--out",
            &manifest,
        ]);
        site.run(&["installation", "activate", "--manifest", &manifest]);
        let again = site.try_run(&["installation", "activate", "--manifest", &manifest]);
        assert!(!again.status.success(), "a manifest is consumed once");
        assert_eq!(site.json(&["installation", "show"])["first_owner"]["name"], "ada");
    }

    let shown = site.json(&["installation", "show"]);
    assert_eq!(shown["state"], "activated");
    assert!(shown["first_owner"]["fingerprint"].is_string(), "{shown}");
}

/// Step 3: a cluster has one authority, shown alike wherever it is shown.
fn cluster_creation(lab: &Lab) -> Authority {
    let created = lab.site().json(&["cluster", "create", "prod"]);
    let shown = lab.site().json(&["authority", "show"]);
    let authority = Authority {
        public_key: str_of(&shown["public_key"]),
        fingerprint: str_of(&shown["fingerprint"]),
    };

    assert!(authority.fingerprint.starts_with("SHA256:"));
    assert_eq!(created["fingerprint"], authority.fingerprint.as_str());
    assert_eq!(shown["cluster"], "prod");
    assert_eq!(
        lab.site().json(&["cluster", "list"])[0]["fingerprint"],
        created["fingerprint"]
    );

    authority
}

/// Step 4: a token is signed by the authority and by nobody else.
fn signed_join_token(lab: &Lab, authority: &Authority) {
    lab.invite(NODE, &["--approval", "manual"]);
    let file = text(&lab.site().path(&format!("{NODE}.token")));
    let shown = lab
        .site()
        .json(&["inspect", &file, "--key", &authority.public_key]);

    assert_eq!(
        (&shown["name"], &shown["state"]),
        (&Value::from("join token"), &Value::from("verified")),
        "{shown}"
    );
    let other = another_key(lab);
    let refused = lab.site().try_run(&["inspect", &file, "--key", &other]);
    assert_eq!(
        refused.status.code(),
        Some(PROBLEMS),
        "another key verifies nothing"
    );
    let listed = lab.site().json(&["token", "list"]);
    assert_eq!(listed[0]["fingerprint"], authority.fingerprint.as_str());
}

/// Step 5: a host asks to join, knows its authority and is nothing yet. Gives its key's fingerprint.
fn real_enrolment(lab: &mut Lab, authority: &Authority) -> String {
    lab.host(NODE);
    lab.start_agent(NODE);
    let status = lab.until("the request is pending", STEP, |lab| {
        let status = lab.door(NODE).status()?;
        match (status.state.as_str(), status.request) {
            ("pending", Some(_)) => Ok(status),
            _ => Err(format!("{status:?}")),
        }
    });
    assert_eq!(status.id, None, "a pending host is no node");
    let known = status.authority.expect("it knows whom it trusts");
    assert_eq!(known.fingerprint.to_string(), authority.fingerprint);

    let requests = lab.site().json(&["request", "list"]);
    assert_eq!(requests[0]["state"], "pending");
    assert_eq!(
        requests[0]["id"],
        status.request.expect("a request").to_string().as_str()
    );
    assert_eq!(
        requests[0]["authority_fingerprint"],
        authority.fingerprint.as_str()
    );
    assert_eq!(lab.site().json(&["node", "list"]), Value::Array(Vec::new()));

    status.fingerprint.expect("its own key").to_string()
}

/// Step 6: the owner approves the key that the host itself shows, and no other.
fn owner_approval(lab: &mut Lab, key: &str) {
    let request = lab.site().json(&["request", "show", NODE]);
    assert_eq!(
        request["fingerprint"], key,
        "the approver compares this with the host's own"
    );
    let other = lab.site().json(&["authority", "show"]);
    let wrong = lab.site().try_run(&[
        "request",
        "approve",
        NODE,
        "--fingerprint",
        &str_of(&other["fingerprint"]),
    ]);
    assert_eq!(wrong.status.code(), Some(CONFLICT));
    assert_eq!(lab.site().json(&["request", "show", NODE])["state"], "pending");

    lab.site()
        .run(&["request", "approve", NODE, "--fingerprint", key]);
    let approved = lab.site().json(&["request", "show", &str_of(&request["id"])]);
    assert_eq!(approved["state"], "approved", "{approved}");
}

/// Step 7: nobody touches the host, and it becomes the node that was approved, with the key that was.
fn automatic_bootstrap(lab: &mut Lab, key: &str) -> String {
    let status = lab.until("the host is a node", STEP, |lab| {
        let status = lab.door(NODE).status()?;
        match status.state.as_str() {
            "member" => Ok(status),
            _ => Err(format!("{status:?}")),
        }
    });
    let node = lab.site().json(&["node", "list"])[0].clone();

    assert_eq!(
        node["id"],
        status.id.expect("a node has an id").to_string().as_str()
    );
    assert_eq!(node["name"], NODE);
    assert_eq!(node["fingerprint"], key);
    assert_eq!(status.fingerprint.expect("its own key").to_string(), key);

    str_of(&node["id"])
}

/// Step 8: the pin is on the disk, is the cluster's own, and outlives a restart that no controller sees.
fn pin_persistence(lab: &mut Lab, authority: &Authority) {
    let identity = std::fs::read(state_file(lab, "identity")).expect("a member has an identity");
    let key = BASE64URL_NOPAD
        .decode(authority.public_key.as_bytes())
        .expect("a key is base64");
    assert!(
        identity.windows(key.len()).any(|window| window == key),
        "the authority's key is in the identity file"
    );

    lab.kill_controller();
    lab.kill(NODE);
    lab.start_agent(NODE);
    let status = lab.until("the node is back", STEP, |lab| lab.door(NODE).status());
    let shown = status.authority.expect("it knows whom it trusts");
    assert_eq!(status.state, "member");
    assert_eq!(
        shown.pin.map(|pin| pin.to_string()),
        Some(authority.fingerprint.clone())
    );
    assert_eq!(shown.fingerprint.to_string(), authority.fingerprint);
    lab.start_controller();
}

/// Step 9: the controller hears of the node all the time: a poll alone may take fifty seconds.
fn heartbeat(lab: &mut Lab) {
    let seen = |lab: &Lab| {
        let node = lab.site().json(&["node", "list"])[0].clone();
        match (node["state"].as_str(), node["last_seen"].as_str()) {
            (Some("active"), Some(seen)) => Ok(seen.to_owned()),
            _ => Err(format!("{node}")),
        }
    };
    let mut last = lab.until("the node is active", STEP, seen);
    let begun = Instant::now();
    let mut heard = begun;

    lab.until("it is heard of all the time", STEP, |lab| {
        let now = seen(lab)?;
        // RFC 3339 in UTC is ordered as text.
        if now > last {
            (last, heard) = (now, Instant::now());
        }
        assert!(heard.elapsed() < SILENCE, "it was heard of last at {last}");
        match begun.elapsed() > WATCHED {
            true => Ok(()),
            false => Err("it is still watched".to_owned()),
        }
    });
}

/// Step 10: the config on the host's disk is whole, its own, and signed by the authority and by nobody else.
fn verified_config(lab: &mut Lab, authority: &Authority, node: &str) {
    let version = lab.until("the node has its config", STEP, |lab| {
        let row = lab.site().json(&["node", "list"])[0].clone();
        row["config_version"]
            .as_u64()
            .filter(|version| *version > 0)
            .ok_or_else(|| row.to_string())
    });
    let file = lab.until("the config is on the disk", STEP, |lab| {
        let kept = ["last-good-a", "last-good-b"].map(|name| state_file(lab, name));
        let holds =
            |file: &&PathBuf| config_in(lab, file, authority).is_some_and(|(_, found)| found == version);
        let found = kept.iter().find(holds).cloned();
        found.ok_or_else(|| format!("no file has version {version}"))
    });

    let (config, _) = config_in(lab, &file, authority).expect("it was just there");
    assert_eq!(config["state"], "verified", "{config}");
    assert_eq!(config["header"]["subject"], node, "{config}");
    assert_eq!(config["body"]["name"], NODE);
    let other = another_key(lab);
    let refused = lab.site().try_run(&["inspect", &text(&file), "--key", &other]);
    assert_eq!(
        refused.status.code(),
        Some(PROBLEMS),
        "another key verifies nothing"
    );
}

/// The synthetic config in a state file and its version, if `gabion inspect` finds every document in it signed by the
/// authority.
fn config_in(lab: &Lab, file: &Path, authority: &Authority) -> Option<(Value, u64)> {
    let inspected = lab.site().try_run(&[
        "inspect",
        &text(file),
        "--key",
        &authority.public_key,
        "-o",
        "json",
    ]);
    let shown: Value = serde_json::from_slice(&inspected.stdout).ok()?;
    let mut documents = shown["documents"].as_array()?.iter();
    let config = documents
        .find(|document| document["name"] == "synthetic config")?
        .clone();
    let version = config["header"]["version"].as_u64()?;

    inspected.status.success().then_some((config, version))
}

/// A key that signed nothing here.
fn another_key(lab: &Lab) -> String {
    let file = lab.site().path("another.key");
    if !file.exists() {
        lab.site().run(&["root", "keygen", "--out", &text(&file)]);
    }

    str_of(&lab.site().json(&["root", "show", "--key", &text(&file)])["public_key"])
}

fn state_file(lab: &Lab, name: &str) -> PathBuf {
    lab.site().path(NODE).join(name)
}

fn str_of(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

const NODE: &str = "web-1";
/// Twice as long as a heartbeat takes at the most, and much less than a poll may.
const SILENCE: Duration = Duration::from_secs(22);
const WATCHED: Duration = Duration::from_secs(25);
/// Exit codes: a check found problems; a conflict.
const PROBLEMS: i32 = 3;
const CONFLICT: i32 = 6;
/// Long enough for a machine that does other things as well.
const STEP: Duration = Duration::from_secs(60);
