//! A controller that runs, and the commands that talk to it.

use serde_json::Value;

use crate::program::{Place, Service};

#[test]
fn a_strict_installation_is_activated_once_and_owned_by_whom_the_root_named() {
    let place = at_home();
    let root = public_of(&place, "root.key");
    let made = place
        .run(&format!(
            "controller init --data-dir data --root-key {root} -o json"
        ))
        .json();
    assert_eq!(
        (&made["mode"], &made["state"]),
        (&"strict".into(), &"uninitialized".into())
    );
    let rootless = place
        .run("controller run --data-dir data --controller-listen 127.0.0.1:0")
        .failed(2);
    assert!(
        rootless.contains("not started without its product root") && rootless.contains("[product_root]"),
        "{rootless}"
    );
    let run = "controller run --data-dir data --controller-listen 127.0.0.1:0 --root-key";
    let private = place.run(&format!("{run} root.key")).failed(2);
    assert!(private.starts_with("error[private_key]"), "{private}");
    let other = public_of(&place, "other.key");
    let other = place.run(&format!("{run} {other}")).failed(6);
    assert!(other.starts_with("error[other_installation]"), "{other}");
    let controller = place.serve(&format!("{run} {root}"));

    let refused = place.run("cluster create lab").failed(5);
    assert!(refused.starts_with("error[role_denied]"), "{refused}");
    assert!(
        refused.contains("\n  why     the installation is not activated")
            && refused.contains("\n  effect  nothing was changed")
            && refused.ends_with("\n  fix     gabion installation activate --manifest FILE\n"),
        "{refused}"
    );
    let id = made["id"].as_str().unwrap();
    let sign = format!("root sign-activation --key root.key --installation {id} --owner-name ada");
    place
        .run(&format!("{sign} --owner-key-out owner.key --out manifest"))
        .done();
    let shown = place
        .run("installation activate --manifest manifest -o json")
        .json();
    assert_eq!(
        (&shown["state"], &shown["first_owner"]["name"]),
        (&"activated".into(), &"ada".into())
    );
    let again = place.run("installation activate --manifest manifest").failed(6);
    assert!(again.starts_with("error[manifest_consumed]"), "{again}");

    place.run("cluster create lab").done();
    assert_eq!(place.run("cluster list -o name").done(), "lab\n");
    let stopped = controller.stop();
    assert_eq!(stopped.code, 0, "{stopped:?}");
}

#[test]
fn a_token_stands_alone_on_standard_output() {
    let place = lab();
    let _controller = serve(&place);
    place.run("cluster create lab").done();

    let created = place.run("token create --uses 3 --label site=fra --role relay");
    assert!(
        created.stderr.contains("SHA256:") && created.stderr.contains("gabion agent join"),
        "{created:?}"
    );
    let token = created.done();
    assert!(
        token.starts_with("gbj1_") && token.trim_end().lines().count() == 1,
        "{token}"
    );
    let listed = place.run("token list -o json").json();
    assert_eq!(
        (&listed[0]["max_uses"], &listed[0]["labels"]["site"]),
        (&3.into(), &"fra".into())
    );
    assert!(!listed.to_string().contains("gbj1_"));
    let id = listed[0]["id"].as_str().unwrap();
    assert_eq!(
        place.run(&format!("token revoke {id} -o json")).json()["state"],
        "revoked"
    );
    assert!(
        place
            .run("token create --ttl 8d")
            .failed(2)
            .starts_with("error[validation_failed]")
    );

    place.write("token", &token);
    std::fs::set_permissions(
        place.path("token"),
        std::os::unix::fs::PermissionsExt::from_mode(0o600),
    )
    .unwrap();
    let authority = place.run("authority show -o json").json();
    let key = authority["public_key"].as_str().unwrap();
    let claims = place.run(&format!("inspect token --key {key}")).json();
    assert_eq!(
        (&claims["state"], &claims["body"]["max_uses"]),
        (&"verified".into(), &3.into())
    );
}

#[test]
fn every_list_has_every_form() {
    let place = lab();
    let _controller = serve(&place);
    place.run("cluster create lab").done();
    let nouns = [
        "operator", "role", "cluster", "token", "request", "node", "link", "finding", "policy", "route",
        "relay", "lease", "audit",
    ];
    for noun in nouns {
        let rows = place.run(&format!("{noun} list -o json")).json();
        for row in rows.as_array().unwrap() {
            for member in ["id", "name", "state"] {
                assert!(row.get(member).is_some(), "{noun}: {row}");
            }
        }
        let count = rows.as_array().unwrap().len();
        assert_eq!(
            place.run(&format!("{noun} list -o jsonl")).done().lines().count(),
            count,
            "{noun}"
        );
        assert_eq!(
            place.run(&format!("{noun} list -o name")).done().lines().count(),
            count,
            "{noun}"
        );
        let table = place.run(&format!("{noun} list")).done();
        assert!(
            table.lines().all(|line| line.chars().count() <= 80),
            "{noun}\n{table}"
        );
        assert!(table.lines().count() > count, "{noun}\n{table}");
        assert!(
            place.run(&format!("{noun} list -o wide")).done().lines().count() > count,
            "{noun}"
        );
        place.run(&format!("{noun} list -o yaml")).done();
    }
    let status = place.run("status").done();
    assert!(
        status.contains("CLUSTER     lab") && status.contains("DEV") || status.contains("dev mode"),
        "{status}"
    );
    assert!(
        status.lines().all(|line| line.chars().count() <= 80) && status.lines().count() <= 24,
        "{status}"
    );
}

#[test]
fn policies_are_applied_and_listed() {
    let place = lab();
    let _controller = serve(&place);
    place.run("cluster create lab").done();
    place.write(
        "policies.toml",
        "[[policies]]\nname = 'web'\npriority = 7\nsource = 'app=web'\ntarget = 'app=db'\n",
    );

    place.run("policy apply policies.toml").done();
    let listed = place.run("policy list -o json").done();
    assert_eq!(place.run("policy show web -o json").json()["priority"], 7);
    place.run_with_input("policy apply -", &listed).done();
    assert_eq!(place.run("policy list -o json").done(), listed);
    assert!(
        place
            .run("policy show none")
            .failed(1)
            .starts_with("error[not_found]")
    );
}

#[test]
fn a_role_is_granted_by_a_signature_and_signed_away_again() {
    let place = lab();
    let _controller = serve(&place);
    place.run("root keygen --out grace.key").done();

    let owner = "--key data/dev-owner.key";
    let grant =
        format!("role grant --operator grace --role approver {owner} --operator-key grace.key -o json");
    assert_eq!(place.run(&grant).json()["state"], "active");
    assert_eq!(roles_of(&place, "grace"), ["approver"]);
    let revoke =
        format!("role revoke --operator grace --role approver {owner} --operator-key grace.key -o json");
    assert_eq!(place.run(&revoke).json()["state"], "ended");
    assert_eq!(roles_of(&place, "grace"), [""; 0]);

    let forged = "role grant --operator grace --role owner --key grace.key --operator-key grace.key";
    assert!(
        place
            .run(forged)
            .failed(5)
            .starts_with("error[signature_invalid]")
    );
}

#[test]
fn who_acts_is_who_the_context_names() {
    let place = lab();
    let _controller = serve(&place);
    place.run("root keygen --out grace.key").done();
    let grant = "role grant --operator grace --role viewer --key data/dev-owner.key --operator-key grace.key";
    place.run(grant).done();
    let operators = place.run("operator list -o json").json();
    let grace = operators
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == "grace")
        .unwrap();

    std::fs::create_dir_all(place.path(".config/gabion")).unwrap();
    place.write(
        ".config/gabion/contexts.toml",
        &format!(
            "[contexts.grace]\noperator = {}\nsocket = 'data/admin.sock'\n",
            grace["id"]
        ),
    );
    place.run("cluster list --context grace").done();
    assert!(
        place
            .run("cluster create lab --context grace")
            .failed(5)
            .starts_with("error[role_denied]")
    );
}

#[test]
fn the_audit_chain_is_verified_by_the_controller_and_offline() {
    let place = lab();
    let controller = serve(&place);
    place.run("cluster create lab").done();
    let verdict = place.run("audit verify -o json").json();
    assert_eq!(verdict["ok"], true);
    let records = place.run("audit list -o json").json();
    assert_eq!(records.as_array().unwrap().len(), verdict["records"]);
    let rest = place.run("audit list --after 1 --limit 1 -o json").json();
    assert_eq!(rest[0]["id"], 2);

    place.run("backup copy.db").done();
    let mode = std::fs::metadata(place.path("copy.db")).unwrap().permissions();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&mode) & 0o777, 0o600);
    let again = place.run("backup copy.db").failed(6);
    assert!(again.starts_with("error[file_exists]: "), "{again}");
    let after = format!("audit list --after {} -o json", verdict["records"]);
    let records = place.run(&after).json();
    assert_eq!(records[0]["name"], "backup.started", "{records}");
    assert_eq!(records[1]["name"], "backup.ended", "{records}");
    assert_eq!(
        place.run("audit verify --data copy.db -o json").json()["head"],
        records[0]["hash"]
    );
    let busy = place.run("audit verify --data data").failed(6);
    assert!(
        busy.starts_with("error[in_use]: a controller uses data\n"),
        "{busy}"
    );
    controller.stop().done();
    assert_eq!(place.run("audit verify --data data -o json").json()["ok"], true);
    assert!(
        place
            .run("audit verify --data nowhere")
            .failed(2)
            .contains("holds no store")
    );
}

#[test]
fn a_second_controller_on_one_directory_is_refused_by_the_pid_of_the_first() {
    let place = lab();
    let controller = serve(&place);

    let refused = place
        .run("controller run --data-dir data --controller-listen 127.0.0.1:0")
        .failed(6);
    assert!(
        refused.contains(&format!("process {}", controller.pid())),
        "{refused}"
    );
}

#[test]
fn a_directory_of_another_mode_is_not_started_on() {
    let place = lab();

    let refused = place
        .run("controller run --data-dir data --mode strict")
        .failed(6);
    assert!(refused.starts_with("error[other_installation]"), "{refused}");
    assert!(
        refused.contains("the installation was made in dev mode"),
        "{refused}"
    );
    assert!(
        place
            .run("controller init --mode dev --data-dir data")
            .failed(6)
            .starts_with("error[exists]")
    );
}

#[test]
fn a_host_joins_when_it_is_approved() {
    let place = lab();
    let _controller = serve(&place);
    place.run("cluster create lab").done();
    let token = place.run("token create").done();
    std::fs::write(place.path("join-token"), &token).unwrap();
    let place = place.with("CREDENTIALS_DIRECTORY", ".");
    let mut joining = place.serve(&format!("agent run {AGENT}"));
    joining.until("STATUS=");
    let pending = wait_for(&place, "request list -o json", |rows| {
        rows[0]["state"] == "pending"
    });
    let fingerprint = pending[0]["fingerprint"].as_str().unwrap();
    let other = format!("SHA256:{}", "A".repeat(43));
    let refused = place
        .run(&format!("request approve web-01 --fingerprint {other}"))
        .failed(6);
    assert!(refused.contains(fingerprint), "{refused}");
    place
        .run(&format!("request approve web-01 --fingerprint {fingerprint}"))
        .done();

    let status = wait_for(
        &place,
        "agent status --agent-socket state/agent.sock -o json",
        |status| status["state"] == "member" && status["controller"]["connected"] == true,
    );
    assert_eq!(status["fingerprint"], fingerprint);
    let node = wait_for(&place, "node show web-01 -o json", |node| {
        node["state"] == "active"
    });
    assert_eq!(node["fingerprint"], fingerprint);
    let shown = place.run("status --agent-socket state/agent.sock").done();
    assert!(
        shown.contains("AGENT       member, web-01\n")
            && shown.lines().all(|line| line.chars().count() <= 80),
        "{shown}"
    );
}

#[test]
fn a_node_that_leaves_is_a_node_no_more() {
    let place = lab().with("GABION_AGENT_SOCKET", "state/agent.sock");
    let _controller = serve(&place);
    place.run("cluster create lab").done();
    let token = place.run("token create").done();
    join(&place, &token);
    let agent = place.serve(&format!("agent run {AGENT}"));
    wait_for(&place, "agent status -o json", |status| {
        status["controller"]["connected"] == true
    });

    place.run("agent leave --timeout 20s").done();
    agent.ended().done();
    wait_for(&place, "node list -o json", |rows| {
        rows.as_array()
            .unwrap()
            .iter()
            .all(|row| row["state"] != "active")
    });
}

#[test]
fn join_ends_when_the_host_is_a_node_and_may_be_repeated() {
    let place = lab();
    let _controller = serve(&place);
    place.run("cluster create lab").done();
    let token = place.run("token create").done();

    let joined = join(&place, &token);
    assert_eq!(
        (&joined["state"], &joined["name"]),
        (&"member".into(), &"web-01".into())
    );
    let again = place.run(&format!("agent join {AGENT}"));
    assert!(again.stderr.contains("a node already"), "{again:?}");
    again.done();
    assert_eq!(place.run("inspect state/identity").json()["state"], "intact");

    let other = AGENT.replace("--state-dir state", "--state-dir other");
    let refused = place
        .run_with_input(&format!("agent join {other} --token-file -"), &token)
        .failed(6);
    let expected = "error[token_consumed]: the controller refused to let this host join";
    assert!(refused.contains(expected), "{refused}");
}

#[test]
fn join_on_a_revoked_host_says_so_and_how_to_mend_it() {
    let place = lab();
    let _controller = serve(&place);
    place.run("cluster create lab").done();
    let token = place.run("token create").done();
    join(&place, &token);
    place.run("node revoke web-01 --yes").done();

    let refused = place.run(&format!("agent join {AGENT}")).failed(5);
    assert!(
        refused.contains("error[node_revoked]: this host is a node no more: it was revoked"),
        "{refused}"
    );
    let is_told = [
        "answered node_revoked (403)",
        "the revocation list of its cluster names it",
    ]
    .into_iter()
    .any(|said| refused.contains(said));
    assert!(is_told && refused.contains("gabion agent leave"), "{refused}");
}

#[test]
fn a_join_that_nobody_approves_in_time_stays_pending() {
    let place = lab();
    let _controller = serve(&place);
    place.run("cluster create lab").done();
    let token = place.run("token create").done();

    let line = format!("agent join {AGENT} --enrollment-timeout 1s --token-file -");
    let ran = place.run_with_input(&line, &token);
    let request = &place.run("request list -o json").json()[0];
    let fingerprint = request["fingerprint"].as_str().unwrap();
    assert!(
        ran.stderr.contains(fingerprint),
        "the approver compares it: {ran:?}"
    );
    assert!(ran.failed(7).contains("error[not_approved]"));
    assert_eq!(request["state"], "pending");
}

#[test]
fn both_roles_run_in_one_process() {
    let place = lab();
    let place = place.with("GABION_AGENT_SOCKET", "state/agent.sock");
    let controller = serve(&place);
    place.run("cluster create lab").done();
    let token = place.run("token create").done();
    place.write("token", &token);
    let claims = place.run("inspect token").json();
    let listen = claims["body"]["controllers"][0].as_str().unwrap();
    let config = format!(
        "[agent]\nstate_dir = 'state'\nlisten = '127.0.0.1:0'\ndev = true\nname = 'web-01'\n\
         token_file = 'token'\n[controller]\ndata_dir = 'data'\nlisten = '{listen}'\n"
    );
    place.write("gabion.toml", &config);
    let exposed = place.run("run --config gabion.toml").failed(2);
    assert!(exposed.contains("fix     chmod 600 token"), "{exposed}");

    join(&place, &token);
    controller.stop().done();
    let both = place.serve("run --config gabion.toml");
    assert_eq!(place.run("cluster list -o name").done(), "lab\n");
    assert_eq!(place.run("agent status -o json").json()["name"], "web-01");
    both.stop().done();
}

#[test]
fn an_agent_beside_its_own_controller_waits_for_the_token_that_only_that_one_can_make() {
    let place = lab();
    let place = place.with("GABION_AGENT_SOCKET", "state/agent.sock");
    let config = "[agent]\nstate_dir = 'state'\nlisten = '127.0.0.1:0'\ndev = true\nname = 'web-01'\n\
                  token_file = 'token'\n[agent.enrollment]\npoll_interval = '100ms'\n\
                  [controller]\ndata_dir = 'data'\nlisten = '127.0.0.1:0'\n";
    place.write("gabion.toml", config);
    let both = place.serve("run --config gabion.toml");
    place.run("cluster create lab").done();
    let token = place.run("token create --approval auto").done();
    place.write_private("token", &token);

    wait_for(&place, "agent status -o json", |status| {
        status["state"] == "member"
    });
    assert_eq!(place.run("node list -o name").done(), "web-01\n");
    both.stop().done();
}

/// Joins and approves.
pub(crate) fn join(place: &Place, token: &str) -> Value {
    let joining = place.start(&format!("agent join {AGENT} --token-file - -o json"), token);
    wait_for(place, "request list -o json", |rows| {
        rows[0]["state"] == "pending"
    });
    place.run("request approve web-01").done();

    serde_json::from_str(&joining.ended().done()).unwrap()
}

/// Asks again until the answer is the awaited one; every question is a process of its own, so this does not spin.
pub(crate) fn wait_for(place: &Place, line: &str, is_awaited: impl Fn(&Value) -> bool) -> Value {
    let start = std::time::Instant::now();
    loop {
        let ran = place.run(line);
        let shown = serde_json::from_str(&ran.stdout).unwrap_or(Value::Null);
        if is_awaited(&shown) {
            return shown;
        }
        assert!(start.elapsed().as_secs() < 60, "{line}: {ran:?}");
    }
}

fn roles_of(place: &Place, name: &str) -> Vec<String> {
    let operators = place.run("operator list -o json").json();
    let found = operators
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["name"] == name)
        .unwrap()
        .clone();

    serde_json::from_value(found["roles"].clone()).unwrap()
}

/// A directory with a throw-away installation, and commands that talk to its controller.
pub(crate) fn lab() -> Place {
    let place = at_home();
    place.run("controller init --mode dev --data-dir data").done();

    place
}

/// Makes a root key, and says its public half.
fn public_of(place: &Place, file: &str) -> String {
    place.run(&format!("root keygen --out {file}")).done();
    let shown = place.run(&format!("root show --key {file} -o json")).json();

    shown["public_key"].as_str().expect("a key").to_owned()
}

fn at_home() -> Place {
    Place::new().with("GABION_SOCKET", "data/admin.sock")
}

pub(crate) fn serve(place: &Place) -> Service {
    place.serve("controller run --data-dir data --controller-listen 127.0.0.1:0")
}

/// Where and as what the agent of these tests runs.
pub(crate) const AGENT: &str =
    "--state-dir state --agent-listen 127.0.0.1:0 --agent-dev --name web-01 --poll-interval 100ms";
