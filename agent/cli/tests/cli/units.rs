//! What the service manager makes of an agent: when it is ready, and whether it is started again.

use crate::program::Place;
use crate::service::{AGENT, join, lab, serve, wait_for};

#[test]
fn an_agent_is_ready_with_an_identity_alone_and_no_controller() {
    let place = lab();
    let controller = serve(&place);
    place.run("cluster create lab").done();
    let token = place.run("token create").done();
    join(&place, &token);
    controller.stop().done();

    let agent = place.serve(&format!("agent run {AGENT}"));
    agent.stop().done();
}

#[test]
fn an_agent_that_waits_is_ready_for_an_approver_and_for_a_controller_alike() {
    let place = lab();
    let controller = serve(&place);
    place.run("cluster create lab").done();
    private(&place, "token", &place.run("token create").done());
    private(&place, "unused", &place.run("token create").done());
    let run = format!("agent run {AGENT} --token-file token");
    let pending = place.serve(&run);
    wait_for(&place, "request list -o json", |rows| {
        rows[0]["state"] == "pending"
    });
    pending.stop().done();
    controller.stop().done();

    place.serve(&run).stop().done();
    let other = run.replace("--state-dir state", "--state-dir other");
    let other = other.replace("--token-file token", "--token-file unused");
    place.serve(&other).stop().done();
}

#[test]
fn the_unit_starts_an_agent_again_where_that_can_help_and_not_where_a_person_must_act() {
    let place = lab().with("GABION_AGENT_SOCKET", "state/agent.sock");
    let _controller = serve(&place);
    place.run("cluster create lab").done();
    let token = place.run("token create").done();
    join(&place, &token);
    private(&place, "spent", &token);
    let agent = place.serve(&format!("agent run {AGENT}"));
    wait_for(&place, "agent status -o json", |status| {
        status["controller"]["connected"] == true
    });
    place.run("agent leave --timeout 20s").done();

    assert!(!is_started_again(agent.ended().code), "it has left");
    let without = place.run(&format!("agent run {AGENT}"));
    assert!(!is_started_again(without.code), "{without:?}");
    let refused = place.run(&format!("agent run {AGENT} --token-file spent"));
    assert!(refused.stderr.contains("error[token_consumed]"), "{refused:?}");
    assert!(!is_started_again(refused.code), "{refused:?}");
    let missing = place.run(&format!("agent run {AGENT} --token-file none"));
    assert!(missing.stderr.contains("error[file_unusable]"), "{missing:?}");
    assert!(!is_started_again(missing.code), "{missing:?}");
    place.write("open", &token);
    let exposed = place.run(&format!("agent run {AGENT} --token-file open"));
    assert!(exposed.stderr.contains("error[key_exposed]"), "{exposed:?}");
    assert!(!is_started_again(exposed.code), "{exposed:?}");
    let taken = place.run(&format!(
        "agent run {AGENT} --agent-socket nowhere/a.sock --token-file spent"
    ));
    assert!(taken.code != 0 && is_started_again(taken.code), "{taken:?}");
}

#[test]
fn the_unit_does_not_start_a_controller_again_where_a_person_must_act() {
    let place = lab();
    let missing = place.run("controller run --data-dir none");
    assert!(missing.stderr.contains("error[not_initialised]"), "{missing:?}");
    assert!(is_prevented(CONTROLLER_UNIT, missing.code), "{missing:?}");
    let controller = serve(&place);
    let second = place.run(SECOND);
    assert!(second.stderr.contains("error[in_use]"), "{second:?}");
    assert!(is_prevented(CONTROLLER_UNIT, second.code), "{second:?}");
    controller.stop().done();

    let other = place.run(&format!("{SECOND} --mode strict"));
    assert!(other.stderr.contains("error[other_installation]"), "{other:?}");
    assert!(is_prevented(CONTROLLER_UNIT, other.code), "{other:?}");
    let loose = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    std::fs::set_permissions(place.path("data/kek"), loose).unwrap();
    let exposed = place.run(SECOND);
    assert!(exposed.stderr.contains("error[key_exposed]"), "{exposed:?}");
    assert!(is_prevented(CONTROLLER_UNIT, exposed.code), "{exposed:?}");
}

#[test]
fn a_node_that_is_to_join_another_cluster_is_told_that_it_does_not() {
    let place = lab();
    let controller = serve(&place);
    place.run("cluster create lab").done();
    let token = place.run("token create --cluster lab").done();
    join(&place, &token);
    place.run("cluster create other").done();
    private(
        &place,
        "foreign",
        &place.run("token create --cluster other").done(),
    );
    private(&place, "own", &token);

    let refused = place
        .run(&format!("agent join {AGENT} --token-file foreign"))
        .failed(6);
    assert!(refused.starts_with("error[other_cluster]"), "{refused}");
    place.run(&format!("agent join {AGENT} --token-file own")).done();
    controller.stop().done();
}

/// By systemd.service(5): `Restart=on-failure`, less what `RestartPreventExitStatus=` lists.
fn is_started_again(code: i32) -> bool {
    assert_eq!(setting(UNIT, "Restart="), Some("on-failure"));

    code != 0 && !is_prevented(UNIT, code)
}

/// Whether the unit lists `code` among those after which nothing is started.
fn is_prevented(unit: &str, code: i32) -> bool {
    let prevented = setting(unit, "RestartPreventExitStatus=").expect("it has such a list");
    let mut prevented = prevented.split_whitespace().map(str::parse::<i32>);

    prevented.any(|number| number == Ok(code))
}

fn setting<'a>(unit: &'a str, key: &str) -> Option<&'a str> {
    unit.lines().find_map(|line| line.strip_prefix(key))
}

fn private(place: &Place, name: &str, content: &str) {
    let path = place.write(name, content);
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
}

const SECOND: &str = "controller run --data-dir data --controller-listen 127.0.0.1:0";
const CONTROLLER_UNIT: &str = include_str!("../../../../packaging/systemd/gabion-controller.service");
const UNIT: &str = include_str!("../../../../packaging/systemd/gabion-agent.service");
