//! From nothing to a mesh that runs, as an operator would do it.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;

use e2e::{Site, text};
use serde_json::Value;

#[test]
fn a_strict_installation_is_activated_once_and_admits_a_host_by_approval() {
    let mut site = Site::default();
    let (root_key, manifest) = (text(&site.path("root.key")), text(&site.path("activation.cbor")));
    site.run(&["root", "keygen", "--out", &root_key]);
    let root = site.json(&["root", "show", "--key", &root_key]);
    let data = text(&site.path("controller"));
    let public = root["public_key"].as_str().expect("a key").to_owned();
    let made = site.json(&[
        "controller",
        "init",
        "--mode",
        "strict",
        "--data-dir",
        &data,
        "--root-key",
        &public,
    ]);
    start_controller(&mut site, &["--mode", "strict", "--root-key", &public]);
    let refused = site.try_run(&["cluster", "create", "prod"]);
    assert!(
        !refused.status.success(),
        "nothing is created before the first owner is there"
    );

    let (id, owner_key) = (
        made["id"].as_str().expect("an id").to_owned(),
        text(&site.path("owner.key")),
    );
    site.run(&[
        "root",
        "sign-activation",
        "--key",
        &root_key,
        "--installation",
        &id,
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
    let shown = site.json(&["installation", "show"]);
    assert_eq!(
        (shown["mode"].as_str(), shown["state"].as_str()),
        (Some("strict"), Some("activated"))
    );
    assert_eq!(shown["first_owner"]["name"], "ada");

    let cluster = site.json(&["cluster", "create", "prod"]);
    start_agent(&mut site, "web-1", &[], false);
    let requests = site.until(&["request", "list"], |requests| requests[0]["state"] == "pending");
    assert_eq!(requests[0]["authority_fingerprint"], cluster["fingerprint"]);
    site.run(&["request", "approve", "web-1"]);
    site.until(&["node", "list"], |nodes| {
        nodes[0]["config_version"].as_u64() > Some(0) && nodes[0]["state"] == "active"
    });
    assert_eq!(site.json(&["audit", "verify"])["ok"], true);
}

#[test]
fn members_find_a_healthy_route_with_a_standby_and_again_after_crashes() {
    let mut site = Site::default();
    let data = text(&site.path("controller"));
    site.run(&["controller", "init", "--mode", "dev", "--data-dir", &data]);
    start_controller(&mut site, &["--mode", "dev"]);
    site.run(&["cluster", "create", "prod"]);
    start_agent(&mut site, "relay-1", &["--role", "relay"], true);
    start_agent(&mut site, "web-1", &[], true);
    start_agent(&mut site, "web-2", &[], true);

    let ready = |routes: &Value| routes[0]["state"] == "healthy" && routes[0]["standbys"][0].is_array();
    let routes = site.until(&["route", "list"], ready);
    assert_eq!(routes[0]["path_kind"], "direct");
    assert_eq!(routes[0]["standbys"][0][1], "relay-1");
    let why = site.json(&["why", "web-1", "web-2"]);
    assert_eq!(why["verdict"], "ok");

    site.kill("controller");
    site.kill("web-2");
    run_agent(&mut site, "web-2", true);
    start_controller(&mut site, &["--mode", "dev"]);
    site.until(&["node", "list"], |nodes| {
        nodes
            .as_array()
            .is_some_and(|nodes| nodes.len() == 3 && nodes.iter().all(|node| node["state"] == "active"))
    });
    site.until(&["route", "list"], ready);
    assert_eq!(site.json(&["audit", "verify"])["ok"], true);
}

/// The first start chooses a free port; a restart must come back at the address that the agents know.
fn start_controller(site: &mut Site, mode: &[&str]) {
    let kept = site.path("controller.address");
    let address = std::fs::read_to_string(&kept).unwrap_or_else(|_| {
        let free = UdpSocket::bind("127.0.0.1:0")
            .expect("a free port")
            .local_addr()
            .expect("an address");
        std::fs::write(&kept, free.to_string()).expect("written");
        free.to_string()
    });
    let data = text(&site.path("controller"));
    let run = [
        "controller",
        "run",
        "--data-dir",
        &data,
        "--controller-listen",
        &address,
        "--advertise",
        &address,
    ];
    site.start("controller", &[&run, mode].concat());
    site.until(&["status"], |status| status.to_string().contains("leading"));
}

fn start_agent(site: &mut Site, name: &str, token: &[&str], dev: bool) {
    let approval = if dev { "auto" } else { "manual" };
    let token = site.run(&[&["token", "create", "--approval", approval], token].concat());
    let file = site.path(&format!("{name}.token"));
    std::fs::write(&file, token).expect("written");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("chmod");
    run_agent(site, name, dev);
}

fn run_agent(site: &mut Site, name: &str, dev: bool) {
    let (state, socket) = (text(&site.path(name)), text(&site.path(&format!("{name}.sock"))));
    let token = text(&site.path(&format!("{name}.token")));
    let args = [
        "agent",
        "run",
        "--name",
        name,
        "--state-dir",
        &state,
        "--agent-socket",
        &socket,
        "--agent-listen",
        "127.0.0.1:0",
        "--poll-interval",
        "1s",
        "--token-file",
        &token,
    ];
    let dev: &[&str] = if dev { &["--agent-dev"] } else { &[] };
    site.start(name, &[&args, dev].concat());
}
