//! `kill -9` of the whole program as it enters each call by which it changes files. Every place is counted, and every
//! death is seen; what is started again has the old state or the new one.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::time::Duration;

use e2e::{Signal, Site, clock, strace, text, until, words};
use serde_json::Value;

#[test]
fn an_agent_killed_at_any_sync_or_rename_becomes_the_node_that_it_was_to_be() {
    if !strace::may_trace() {
        return;
    }
    let mut site = Site::founded();
    let places = agent_places(&mut site);
    assert!(places.len() >= 20, "too few places: {places:?}");
    // A cluster for each, so that they do not meet; all at once, so that nobody waits.
    let doomed: Vec<(String, &str, usize)> = places
        .iter()
        .map(|(call, nth)| (format!("{call}-{nth}"), *call, *nth))
        .collect();
    for (name, call, nth) in &doomed {
        site.run(&["cluster", "create", name]);
        site.token(name, &["--cluster", name, "--approval", "auto"]);
        let run = site.agent("run", name);
        site.start_under(name, &strace::killing(call, *nth), &words(&run));
    }
    for (name, ..) in &doomed {
        assert_eq!(site.ended(name).signal(), Some(SIGKILL), "{name} was not reached");
        for file in STATE {
            require_whole(&site, &site.path(name).join(file));
        }
        site.run_agent(name);
    }
    for (name, ..) in &doomed {
        require_one_node(&site, name);
        assert!(site.lives(name));
    }
    eprintln!("killed an agent at {} places: {places:?}", places.len());
}

#[test]
fn an_agent_killed_at_any_sync_or_rename_of_its_renewal_is_the_same_node_with_a_new_certificate() {
    let Some(later) = clock::ahead(RENEWAL_DUE) else {
        return;
    };
    if !strace::may_trace() {
        return;
    }
    let mut site = Site::founded();
    let mut hosts: Vec<String> = (0..=RENEWAL_PLACES)
        .map(|number| format!("web-{number}"))
        .collect();
    for name in &hosts {
        site.admit(name, &[]);
    }
    for name in &hosts {
        site.stop(name);
    }
    site.stop("controller");
    let lead = site.controller(&site.path("controller"));
    site.start_under("controller", &later, &words(&lead));
    site.until(&["status"], |status| status["state"] == "leading");

    let whole = hosts.remove(0);
    let (run, log) = (site.agent("run", &whole), site.path("calls"));
    let noting = strace::noting(&["fsync", "rename"], &text(&log));
    site.start_under(&whole, &[later.as_slice(), &noting].concat(), &words(&run));
    renewed(&site, &whole);
    let places = places(&mut site, &whole, &log);
    assert!((5..=RENEWAL_PLACES).contains(&places.len()), "{places:?}");

    let doomed: Vec<_> = hosts.iter().zip(&places).collect();
    for (name, (call, nth)) in &doomed {
        let run = site.agent("run", name);
        let killing = strace::killing(call, *nth);
        site.start_under(name, &[later.as_slice(), &killing].concat(), &words(&run));
    }
    for (name, place) in &doomed {
        assert_eq!(
            site.ended(name).signal(),
            Some(SIGKILL),
            "{place:?} was not reached"
        );
        for file in STATE {
            require_whole(&site, &site.path(name).join(file));
        }
        let run = site.agent("run", name);
        site.start_under(name, &later, &words(&run));
    }
    for (name, place) in &doomed {
        renewed(&site, name);
        assert!(site.lives(name), "{place:?}");
    }
    let nodes = site.json(&["node", "list"]);
    let nodes = nodes.as_array().expect("a list");
    assert_eq!(nodes.len(), hosts.len() + 1, "nobody became another node");
    assert_eq!(
        site.json(&["finding", "list"]),
        serde_json::json!([]),
        "nor a clone"
    );
    eprintln!("killed a renewing agent at {} places: {places:?}", places.len());
}

#[test]
fn an_agent_killed_while_it_leaves_has_left_after_the_next_attempt() {
    if !strace::may_trace() {
        return;
    }
    let mut site = Site::founded();
    let places = agent_places(&mut site);
    let mut killed = 0;
    for call in ["fsync", "rename"] {
        let before = places.iter().filter(|(known, _)| *known == call).count();
        for nth in before + 1.. {
            let name = format!("{call}-{nth}");
            site.token(&name, &["--approval", "auto"]);
            let run = site.agent("run", &name);
            site.start_under(&name, &strace::killing(call, nth), &words(&run));
            site.served(&name);
            let leave = [
                "agent",
                "leave",
                "--agent-socket",
                &text(&site.path(&format!("{name}.sock"))),
            ];
            let answer = site.attempt(&leave);
            match site.ended(&name).signal() {
                None => {
                    assert_eq!(answer.code, Some(0), "{answer:?}");
                    break;
                }
                signal => assert_eq!(signal, Some(SIGKILL)),
            }
            killed += 1;
            // It is a node that nobody lets in, or none any more, whose token is spent.
            site.start(&name, &words(&run));
            until("it has left", || {
                site.attempt(&[&leave, ["--timeout", "2s"].as_slice()].concat());
                !site.lives(&name)
            });
            let ended = site.ended(&name);
            assert!([Some(0), Some(6)].contains(&ended.code()), "{name}: {ended:?}");
            let nodes = site.json(&["node", "list"]);
            let mut states = nodes.as_array().expect("a list").iter();
            let ours = states.find(|node| node["name"] == *name);
            assert_eq!(ours.expect("it was one")["state"], "left", "{name}");
        }
    }
    eprintln!("killed a leaving agent at {killed} places");
    assert!(killed >= 3, "two syncs and a rename at least: {killed}");
}

#[test]
fn an_installation_whose_making_was_killed_anywhere_is_made_by_the_next_attempt() {
    if !strace::may_trace() {
        return;
    }
    let mut site = Site::default();
    let mut killed = 0;
    for call in CALLS {
        for nth in 1.. {
            let data = text(&site.path(&format!("{call}-{nth}")));
            let init = ["controller", "init", "--mode", "dev", "--data-dir", &data];
            site.start_under("init", &strace::killing(call, nth), &init);
            match site.ended("init").signal() {
                None => break,
                signal => assert_eq!(signal, Some(SIGKILL)),
            }
            killed += 1;
            let again = site.attempt(&init);
            // Killed behind its commit, it is there already.
            if again.code != Some(0) {
                again.refused(6, "exists");
            }
            let verdict = site.json(&["audit", "verify", "--data", &data]);
            assert_eq!(
                (&verdict["ok"], &verdict["records"]),
                (&true.into(), &2.into()),
                "{call} {nth}"
            );
        }
    }
    eprintln!("killed the making of an installation at {killed} places");
    assert!(killed > 40, "{killed}");
    let last = site.path("fsync-1");
    site.lead(&last);
    assert_eq!(site.json(&["installation", "show"])["state"], "activated");
}

#[test]
fn a_controller_killed_at_any_write_or_sync_of_an_action_has_it_whole_or_not_at_all() {
    if !strace::may_trace() {
        return;
    }
    let mut site = Site::founded();
    site.token("web-1", &[]);
    let join = site.agent("join", "web-1");
    site.start("web-1", &words(&join));
    site.until(&["request", "list"], |requests| requests[0]["state"] == "pending");
    site.kill("web-1");
    site.stop("controller");
    for (action, list, before, made) in ACTIONS {
        let mut outcomes = BTreeMap::new();
        for (call, step) in [("fsync", 1), ("pwrite64", SAMPLE)] {
            for nth in (1..).step_by(step) {
                let Fate::Killed { acknowledged } = killed_at(&mut site, action, (call, nth)) else {
                    break;
                };
                let outcome = require_all_or_nothing(&site, (list, before), made, acknowledged);
                *outcomes.entry(outcome).or_insert(0) += 1;
                site.stop("controller");
            }
        }
        eprintln!("killed {action:?}: {outcomes:?}");
        assert_eq!(
            outcomes.len(),
            2,
            "{action:?}: the old state and the new were seen: {outcomes:?}"
        );
    }
}

#[test]
fn a_controller_killed_at_any_write_or_sync_of_its_start_starts_again() {
    if !strace::may_trace() {
        return;
    }
    let mut site = Site::founded();
    site.admit("web-1", &[]);
    site.kill("controller");
    site.kill("web-1");
    let mut killed = 0;
    for (call, step) in [("fsync", 1), ("ftruncate", 1), ("pwrite64", SAMPLE)] {
        for nth in (1..).step_by(step) {
            let data = fresh(&site);
            let run = site.controller(&data);
            site.start_under("controller", &strace::killing(call, nth), &words(&run));
            if leads_or_dies(&mut site) {
                site.kill("controller");
                break;
            }
            killed += 1;
            site.lead(&data);
            assert_eq!(site.json(&["audit", "verify"])["ok"], true, "{call} {nth}");
            assert_eq!(site.json(&["node", "list"])[0]["name"], "web-1", "{call} {nth}");
            site.stop("controller");
        }
    }
    eprintln!("killed the start of a controller at {killed} places");
    assert!(killed > 2, "{killed}");
}

/// Every sync and rename of an agent from its token to its documents, as an undisturbed one makes them.
fn agent_places(site: &mut Site) -> Vec<(&'static str, usize)> {
    site.token("whole", &["--approval", "auto"]);
    let (run, log) = (site.agent("run", "whole"), site.path("calls"));
    site.start_under(
        "whole",
        &strace::noting(&["fsync", "rename"], &text(&log)),
        &words(&run),
    );
    site.served("whole");

    places(site, "whole", &log)
}

/// Every sync and rename of an agent's state, by the log of one that was not disturbed and is stopped now.
fn places(site: &mut Site, name: &str, log: &Path) -> Vec<(&'static str, usize)> {
    let pid = site.pid(name);
    site.stop(name);
    let log = strace::noted(log, pid);
    // The socket is put in place by another thread than the state.
    let counted = strace::counted(&log, &["fsync", "rename"], |line| !line.contains(".sock"));

    let places = |(call, count)| (1..=count).map(move |nth| (call, nth));
    counted.into_iter().flat_map(places).collect()
}

/// Waits until the agent has a certificate of which hardly anything is over.
fn renewed(site: &Site, name: &str) {
    let socket = text(&site.path(&format!("{name}.sock")));
    let status = site.until(&["agent", "status", "--agent-socket", &socket], |status| {
        status["certificate_left_ms"].as_u64() > Some(RENEWED_MS) && status["controller"]["connected"] == true
    });
    assert_eq!(status["state"], "member", "{name}");
    assert_eq!(status["refused"], serde_json::json!([]), "{name}");
}

/// A state file is absent or as it was written.
fn require_whole(site: &Site, file: &Path) {
    if file.exists() {
        assert_eq!(
            site.json(&["inspect", &text(file)])["state"],
            "intact",
            "{}",
            file.display()
        );
    }
}

/// The one node of its cluster, by one request for one use.
fn require_one_node(site: &Site, name: &str) {
    let cluster = ["--cluster", name];
    site.until(&[["node", "list"], cluster].concat(), |nodes| {
        nodes[0]["state"] == "active" && nodes[0]["config_version"].as_u64() > Some(0)
    });
    let nodes = site.json(&[["node", "list"], cluster].concat());
    let requests = site.json(&[["request", "list"], cluster].concat());
    let count = |list: &Value| list.as_array().map(Vec::len);
    assert_eq!((count(&nodes), count(&requests)), (Some(1), Some(1)), "{name}");
    assert_eq!(
        nodes[0]["fingerprint"], requests[0]["fingerprint"],
        "{name}: one key"
    );
    assert_eq!(
        site.json(&[["token", "list"], cluster].concat())[0]["used"],
        1,
        "{name}"
    );
    let socket = text(&site.path(&format!("{name}.sock")));
    let status = site.until(&["agent", "status", "--agent-socket", &socket], |status| {
        status["controller"]["connected"] == true
    });
    assert_eq!(
        (&status["state"], &status["id"]),
        (&"member".into(), &nodes[0]["id"]),
        "{name}"
    );
    assert_eq!(status["refused"], serde_json::json!([]), "{name}");
}

/// What became of a controller that was doomed.
enum Fate {
    /// It was killed, and runs again.
    Killed { acknowledged: bool },
    /// It did all that it had to do before its time.
    Survived,
}

/// Takes an action on a copy of the prepared data while its writer is doomed.
fn killed_at(site: &mut Site, action: &[&str], place: (&str, usize)) -> Fate {
    let data = fresh(site);
    site.lead(&data);
    site.doom("controller", "writer", place);
    let answer = site.attempt(action);
    let acknowledged = answer.code == Some(0);
    assert!(
        acknowledged || answer.code == Some(4),
        "cut off, and not refused: {answer:?}"
    );
    if acknowledged && site.lives("controller") {
        site.kill("controller");
        site.ended("strace");

        return Fate::Survived;
    }
    assert_eq!(
        site.ended("controller").signal(),
        Some(SIGKILL),
        "{action:?} {place:?}"
    );
    site.ended("strace");
    site.lead(&data);

    Fate::Killed { acknowledged }
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Old,
    New,
}

/// The audit has as much of the action as the tables, and all of it if it was acknowledged.
fn require_all_or_nothing(
    site: &Site,
    (list, before): (&[&str], usize),
    made: &str,
    acknowledged: bool,
) -> Outcome {
    assert_eq!(site.json(&["audit", "verify"])["ok"], true, "{list:?}");
    let rows = site.json(list).as_array().map_or(0, Vec::len);
    assert!((before..=before + 1).contains(&rows), "{list:?}: {rows}");
    assert_eq!(site.audited(made), rows, "{list:?}: a record for each row");
    assert!(
        rows > before || !acknowledged,
        "{list:?}: what was acknowledged is there"
    );

    match rows > before {
        true => Outcome::New,
        false => Outcome::Old,
    }
}

/// A copy of the prepared data directory.
fn fresh(site: &Site) -> std::path::PathBuf {
    let data = site.path("copy");
    let _ = std::fs::remove_dir_all(&data);
    e2e::copy(&site.path("controller"), &data);

    data
}

fn leads_or_dies(site: &mut Site) -> bool {
    let mut leads = false;
    until("the controller leads or dies", || {
        leads = site
            .attempt(&["status", "-o", "json"])
            .stdout
            .contains("\"leading\"");
        leads || !site.lives("controller")
    });
    if !leads {
        assert_eq!(site.ended("controller").signal(), Some(Signal::KILL.as_raw()));
    }

    leads
}

/// Actions of an operator; a list that shows what they make, and its length before; the record of it.
const ACTIONS: [(&[&str], &[&str], usize, &str); 3] = [
    (
        &["cluster", "create", "other"],
        &["cluster", "list"],
        1,
        "cluster.created",
    ),
    (
        &["token", "create", "--cluster", "prod"],
        &["token", "list", "--cluster", "prod"],
        1,
        "token.created",
    ),
    (
        &["request", "approve", "web-1"],
        &["node", "list"],
        0,
        "node.joined",
    ),
];
/// What an agent keeps.
const STATE: [&str; 5] = [
    "identity",
    "high-water",
    "last-good-a",
    "last-good-b",
    "controllers",
];
/// More than half of the seven days of a certificate, and the tenth by which agents spread their renewals.
const RENEWAL_DUE: Duration = Duration::from_secs(4 * 24 * 60 * 60 + 12 * 60 * 60);
const RENEWED_MS: u64 = 6 * 24 * 60 * 60 * 1_000;
/// Hosts that can be killed, one at each place.
const RENEWAL_PLACES: usize = 20;
/// By which SQLite, the engine and the program change what is on disk.
const CALLS: [&str; 5] = ["fsync", "rename", "unlink", "ftruncate", "pwrite64"];
/// A commit is many writes and one sync; every place of the store alone is in its own tests.
const SAMPLE: usize = 3;
const SIGKILL: i32 = 9;
