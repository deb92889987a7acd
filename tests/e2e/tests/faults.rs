//! What an operator or a machine can get wrong around a site that works.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use e2e::small_disk::{self, SmallDisk};
use e2e::{Site, text, until, words};

#[test]
fn a_second_process_on_one_directory_is_refused_and_told_the_pid_of_the_first() {
    let mut site = Site::founded();
    site.admit("web-1", &[]);
    let data = text(&site.path("controller"));
    let second = [
        "controller",
        "run",
        "--data-dir",
        &data,
        "--controller-listen",
        "127.0.0.1:0",
    ];
    let refused = site.attempt(&second).refused(6, "in_use");
    assert!(
        refused.contains(&format!("process {}", site.pid("controller"))),
        "{refused}"
    );

    for verb in ["run", "join"] {
        let refused = site
            .attempt(&words(&site.agent(verb, "web-1")))
            .refused(6, "in_use");
        assert!(
            refused.contains(&format!("process {}", site.pid("web-1"))),
            "{refused}"
        );
    }
    assert!(site.lives("controller") && site.lives("web-1"));
    assert_eq!(site.json(&["audit", "verify"])["ok"], true);
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_closes_it() {
    let mut site = Site::founded();
    site.admit("web-1", &[]);
    site.stop("web-1");
    site.stop("controller");
    let data = site.path("controller");
    let controller = site.controller(&data);
    for (file, code) in [
        ("kek", "key_exposed"),
        ("controller.key", "key_exposed"),
        ("controller.id", "key_exposed"),
        ("gabion.db", "store_exposed"),
    ] {
        refused_while_open(&site, &data.join(file), &words(&controller), code);
    }
    let agent = site.agent("run", "web-1");
    refused_while_open(
        &site,
        &site.path("web-1").join("identity"),
        &words(&agent),
        "state_exposed",
    );
    site.private("web-2.token", "whatever");
    let join = site.agent("join", "web-2");
    refused_while_open(&site, &site.path("web-2.token"), &words(&join), "key_exposed");

    let root = text(&site.path("root.key"));
    site.run(&["root", "keygen", "--out", &root]);
    refused_while_open(
        &site,
        Path::new(&root),
        &["root", "show", "--key", &root],
        "key_exposed",
    );
    site.lead(&data);
    let owner = text(&data.join("dev-owner.key"));
    let grant = [
        "role",
        "grant",
        "--operator",
        "grace",
        "--role",
        "viewer",
        "--key",
        &owner,
    ];
    let grant = [grant.as_slice(), &["--operator-key", &root]].concat();
    refused_while_open(&site, Path::new(&owner), &grant, "key_exposed");
    site.run(&grant);
}

#[test]
fn a_full_disk_makes_the_controller_read_only_and_harms_no_agent() {
    small_disk::in_own_mounts("controller_on_a_small_disk");
}

#[test]
#[ignore = "run by the test above, in a mount namespace of its own"]
fn controller_on_a_small_disk() {
    if !small_disk::is_meant() {
        return;
    }
    let mut site = Site::default();
    let data = site.path("controller");
    let disk = SmallDisk::mount(&data, CONTROLLER_DISK);
    site.found(&data);
    site.run(&["cluster", "create", "prod"]);
    site.admit("relay-1", &["--role", "relay"]);
    site.admit("web-1", &[]);
    site.admit("web-2", &[]);
    let routed = |routes: &serde_json::Value| routes[0]["state"] == "healthy";
    site.until(&["route", "list"], routed);
    let nodes = site.json(&["node", "list"]);

    disk.fill();
    let acknowledged = fill_up(&site);
    let shown = site.json(&["status"]);
    assert_eq!(shown["state"], "read_only", "{shown}");
    assert!(
        shown["controller"]["read_only"]
            .to_string()
            .contains("disk is full"),
        "{shown}"
    );
    site.attempt(&["node", "disable", "web-1"])
        .refused(6, "store_full");
    assert_eq!(
        site.json(&["token", "list"]).as_array().map(Vec::len),
        Some(acknowledged)
    );

    // A poll that was asked and answered since, by an agent that was there and by one that comes back.
    let polls = site.controller_figure(POLLS);
    site.kill("web-1");
    site.run_agent("web-1");
    until("a poll is answered", || site.controller_figure(POLLS) > polls);
    let socket = text(&site.path("web-1.sock"));
    site.until(&["agent", "status", "--agent-socket", &socket], |status| {
        status["controller"]["connected"] == true && status["beacon"]["number"].as_u64() > Some(0)
    });
    assert_eq!(
        versions(&site.json(&["node", "list"])),
        versions(&nodes),
        "nothing was published"
    );
    site.until(&["route", "list"], routed);
    assert_eq!(
        site.json(&["status"])["state"],
        "read_only",
        "it was full all the time"
    );

    disk.free();
    site.until(&["status"], |status| status["state"] == "leading");
    site.run(&["token", "create"]);
    site.kill("controller");
    site.lead(&data);
    assert_eq!(
        site.json(&["token", "list"]).as_array().map(Vec::len),
        Some(acknowledged + 1)
    );
    assert_eq!(site.json(&["audit", "verify"])["ok"], true);
    assert!(["relay-1", "web-1", "web-2"].iter().all(|name| site.lives(name)));
    small_disk::done();
}

#[test]
fn an_agent_whose_disk_is_full_keeps_what_it_has_and_takes_the_news_when_there_is_room() {
    small_disk::in_own_mounts("agent_on_a_small_disk");
}

#[test]
#[ignore = "run by the test above, in a mount namespace of its own"]
fn agent_on_a_small_disk() {
    if !small_disk::is_meant() {
        return;
    }
    let mut site = Site::founded();
    let disk = SmallDisk::mount(&site.path("web-1"), AGENT_DISK);
    site.admit("web-1", &[]);
    let socket = text(&site.path("web-1.sock"));
    let status = ["agent", "status", "--agent-socket", &socket];
    let before = site.json(&status);

    disk.fill();
    site.run(&["node", "label", "web-1", "site=fra"]);
    until("the write fails", || {
        site.log("web-1").contains("could not be written")
    });
    let meanwhile = site.json(&status);
    assert_eq!(
        meanwhile["documents"], before["documents"],
        "what is in force stays"
    );
    assert_eq!(meanwhile["controller"]["connected"], true);
    assert!(site.lives("web-1"));
    site.kill("web-1");
    site.run_agent("web-1");
    site.until(&status, |status| status["documents"] == before["documents"]);

    disk.free();
    site.until(&status, |status| status["documents"] != before["documents"]);
    assert!(site.lives("web-1"));
    assert_eq!(site.log("web-1").matches("ERROR").count(), 0);
    small_disk::done();
}

/// Opens a key's file to others, sees the command refused with the remedy, and closes the file again by it.
fn refused_while_open(site: &Site, file: &Path, args: &[&str], code: &str) {
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let refused = site.attempt(args).refused(2, code);
    let fix = refused
        .lines()
        .find_map(|line| line.trim().strip_prefix("fix     chmod "));
    let (mode, named) = fix
        .and_then(|fix| fix.split_once(' '))
        .unwrap_or_else(|| panic!("{refused}"));
    assert_eq!(named, text(file), "{refused}");
    let mode = u32::from_str_radix(mode, 8).expect("a mode");
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(mode)).expect("chmod");
    assert_eq!(mode, 0o600);
}

/// Makes tokens until there is no room for one more, and says how many there are.
fn fill_up(site: &Site) -> usize {
    let before = site.json(&["token", "list"]).as_array().map_or(0, Vec::len);
    for made in before.. {
        let ended = site.attempt(&["token", "create"]);
        if ended.code != Some(0) {
            ended.refused(6, "store_full");
            return made;
        }
    }
    unreachable!("a disk is finite")
}

fn versions(nodes: &serde_json::Value) -> Vec<(String, Option<u64>)> {
    let nodes = nodes.as_array().expect("a list").iter();

    nodes
        .map(|node| (node["name"].to_string(), node["config_version"].as_u64()))
        .collect()
}

const POLLS: &str = "gabion_controller_polls_total";
const CONTROLLER_DISK: usize = 4 * 1024 * 1024;
const AGENT_DISK: usize = 256 * 1024;
