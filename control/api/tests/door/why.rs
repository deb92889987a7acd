//! Each verdict of `why`, from what makes it true.

use protocol::wire::{Drift, PathObservation};

use super::health::{answered, pair};
use super::*;

#[test]
fn a_pair_whose_probes_are_answered_is_well() {
    let (mut desk, cluster, a, b) = pair(40);
    for (from, to) in [(a, b), (b, a)] {
        desk.probed(cluster, from, answered(cluster, from, to));
    }

    assert_eq!(desk.why()["verdict"], "ok");
    assert_eq!(desk.why()["lost"], json!([]));
}

#[test]
fn a_node_that_was_not_heard_is_named_before_anything_it_would_have_said() {
    let mut desk = Controller::new(41);
    desk.create_cluster();
    desk.join("a", &["member"]);
    desk.join("b", &["member"]);

    assert_eq!(desk.why()["verdict"], "controller_unreachable");
}

#[test]
fn a_pair_that_no_policy_selects_is_said_to_be_so() {
    let (mut desk, ..) = pair(42);
    desk.act(
        Action::PolicyApply,
        json!({ "policies": [{ "name": "p", "source": "site=x", "target": "site=y" }] }),
    );

    assert_eq!(desk.why()["verdict"], "no_policy");
}

#[test]
fn a_pair_that_is_wanted_again_is_undecided_until_the_next_pass() {
    let (mut desk, cluster, ..) = pair(43);
    let other = json!({ "policies": [{ "name": "p", "source": "site=x", "target": "site=y" }] });
    desk.act(Action::PolicyApply, other);
    desk.decide(cluster);
    desk.act(Action::PolicyApply, json!({ "policies": [] }));
    assert_eq!(desk.why()["verdict"], "undecided");
    desk.decide(cluster);

    assert_eq!(desk.why()["verdict"], "unmeasured");
}

#[test]
fn a_node_that_may_not_take_part_is_named() {
    let (mut desk, _, _, b) = pair(44);
    desk.act(Action::NodeDisable, json!({ "id": "b" }));
    assert_eq!(desk.why()["verdict"], "node_disabled");
    desk.act(Action::NodeRevoke, json!({ "id": "b", "reason": "stolen" }));
    let verdict = desk.read(Action::WhyShow, json!({ "source": "a", "target": b.to_string() }));

    assert_eq!(verdict["verdict"], "node_revoked");
    assert_eq!(
        desk.why(),
        verdict,
        "its name is enough as long as nobody else had it"
    );
}

#[test]
fn a_path_that_nobody_measures_or_measured_lately_is_unmeasured() {
    let (mut desk, cluster, a, b) = pair(45);
    assert_eq!(desk.why()["verdict"], "unmeasured");
    desk.probed(cluster, a, answered(cluster, a, b));
    assert_eq!(desk.why()["verdict"], "ok");
    desk.pass(16);

    assert_eq!(desk.why()["verdict"], "unmeasured");
    assert!(desk.why()["summary"].as_str().unwrap().contains("for 16 s"));
}

#[test]
fn a_direct_path_that_is_down_without_a_relay_has_no_candidate_and_still_names_the_direction() {
    let (mut desk, cluster, a, b) = pair(46);
    desk.cut(cluster, (a, b), Path::Direct, [true, false]);

    let why = desk.why();
    assert_eq!(why["verdict"], "no_candidate");
    assert_eq!(why["lost"], json!([["a", "b"]]));
    assert!(
        why["summary"]
            .as_str()
            .unwrap()
            .contains("a → b is lost, b → a arrives"),
        "{why}"
    );
}

#[test]
fn a_direct_path_between_ends_without_an_address_is_not_called_cut() {
    let mut desk = Controller::new(50);
    let cluster = desk.create_cluster();
    let (a, b) = (desk.join("a", &["member"]), desk.join("b", &["member"]));
    for node in [a, b] {
        desk.heartbeat_from_nowhere(cluster, node);
    }
    desk.decide(cluster);
    desk.cut(cluster, (a, b), Path::Direct, [true, true]);

    let why = desk.why();
    let told = why["summary"].as_str().unwrap();
    assert!(
        told.ends_with(
            "neither a nor b has an address that other hosts can dial; left out: 169.254.0.1:7444 of a (link_local), \
             169.254.0.1:7444 of b (link_local)"
        ),
        "{why}"
    );
    let shown = desk.read(Action::NodeShow, json!({ "id": "a" }));
    assert_eq!(
        shown["candidates_left_out"],
        json!([{ "address": "169.254.0.1:7444", "why": "link_local" }])
    );
}

#[test]
fn a_relay_that_was_not_asked_or_has_not_answered_is_told_apart() {
    let (mut desk, cluster, a, b) = pair(47);
    desk.cut(cluster, (a, b), Path::Direct, [true, true]);
    let relay = desk.join("r", &["relay"]);
    desk.heartbeat(cluster, relay, 3);
    assert_eq!(desk.why()["verdict"], "no_lease");
    desk.links(cluster, &[(a, relay), (b, relay)]);
    desk.decide(cluster);
    let why = desk.why();
    assert_eq!(why["verdict"], "lease_pending", "{why}");
    assert_eq!(why["fix"], "on r: gabion agent status");
    desk.acknowledge(cluster, relay);
    desk.decide(cluster);

    assert_ne!(desk.why()["verdict"], "lease_pending");
}

#[test]
fn a_path_that_is_down_is_down_in_the_direction_that_no_end_proves() {
    let (mut desk, cluster, a, b) = pair(48);
    let relay = desk.join("r", &["relay"]);
    desk.heartbeat(cluster, relay, 3);
    desk.links(cluster, &[(a, relay), (b, relay)]);
    desk.decide(cluster);
    desk.acknowledge(cluster, relay);
    desk.links(cluster, &[(a, relay), (b, relay)]);
    desk.decide(cluster);
    let cases = [
        ([true, false], json!([["a", "b"]]), "a → b is lost, b → a arrives"),
        ([false, true], json!([["b", "a"]]), "b → a is lost, a → b arrives"),
        (
            [true, true],
            json!([["a", "b"], ["b", "a"]]),
            "both a → b and b → a are lost",
        ),
    ];
    for (lost, directions, told) in cases {
        let path = desk.decided(cluster, a, b);
        desk.cut(cluster, (a, b), path, lost);
        let why = desk.why();
        assert_eq!(why["verdict"], "path_down", "{why}");
        assert_eq!(why["lost"], directions);
        assert!(why["summary"].as_str().unwrap().ends_with(told), "{why}");
    }
}

#[test]
fn one_end_alone_can_prove_a_direction() {
    let (mut desk, cluster, a, b) = pair(49);
    desk.probed(
        cluster,
        a,
        PathObservation {
            lost_in: 0,
            ..unanswered(cluster, a, b, Path::Direct)
        },
    );

    assert_eq!(
        desk.why()["lost"],
        json!([["a", "b"]]),
        "a hears b and is not answered"
    );
}

#[test]
fn losses_from_before_a_cut_say_nothing_of_its_direction() {
    let (mut desk, cluster, a, b) = pair(50);
    let lost_before = PathObservation {
        lost_out: 7,
        lost_in: 5,
        misses: 5,
        ..unanswered(cluster, b, a, Path::Direct)
    };
    desk.probed(cluster, b, lost_before);
    let hears = PathObservation {
        lost_in: 1,
        ..unanswered(cluster, a, b, Path::Direct)
    };
    desk.probed(cluster, a, hears);

    assert_eq!(
        desk.why()["lost"],
        json!([["a", "b"]]),
        "b has heard nothing of the last five"
    );
}

fn unanswered(cluster: ClusterId, from: NodeId, to: NodeId, path: Path) -> PathObservation {
    PathObservation {
        path,
        drift: Drift::Failure,
        lost_out: 20,
        lost_in: 20,
        misses: 20,
        answered_ms: None,
        ..answered(cluster, from, to)
    }
}

impl Controller {
    fn why(&self) -> Value {
        self.read(Action::WhyShow, json!({ "source": "a", "target": "b" }))
    }

    fn decided(&self, cluster: ClusterId, a: NodeId, b: NodeId) -> Path {
        let fleet = Fleet::read(&self.tx, cluster).expect("reads");
        let row = fleet
            .routes
            .find(RouteId::between(cluster, a, b))
            .expect("decided");

        row.path.expect("a path")
    }

    /// What both ends report when frames are lost on the way there, on the way back, or both.
    fn cut(&mut self, cluster: ClusterId, (a, b): (NodeId, NodeId), path: Path, lost: [bool; 2]) {
        for (from, to, hears) in [(a, b, !lost[1]), (b, a, !lost[0])] {
            let row = PathObservation {
                lost_in: if hears { 0 } else { 20 },
                ..unanswered(cluster, from, to, path)
            };
            self.probed(cluster, from, row);
        }
    }
}
