//! Health is what was reported lately, and nothing else.

use protocol::wire::{Drift, PathObservation};

use super::*;

#[test]
fn a_route_that_nobody_reports_on_any_more_is_stale_and_has_no_figures() {
    let (mut desk, cluster, a, b) = pair(20);
    assert_eq!(desk.route()["state"], "unmeasured");
    for (from, to) in [(a, b), (b, a)] {
        desk.probed(cluster, from, answered(cluster, from, to));
    }
    assert_eq!(desk.route()["state"], "healthy");
    assert_eq!(desk.route()["rtt_ms"], 2.0);
    desk.pass(16);

    let shown = [
        desk.route(),
        desk.read(Action::RouteShow, json!({ "source": "a", "target": "b" })),
    ];
    for route in shown {
        assert_eq!(route["state"], "stale", "three reports are missing");
        assert_eq!((&route["rtt_ms"], &route["loss"]), (&Value::Null, &Value::Null));
    }
    let status = desk.read(Action::StatusShow, json!({}));
    assert_eq!(status["clusters"][0]["routes"], json!({ "stale": 1 }));
}

#[test]
fn one_end_that_goes_on_reporting_is_enough() {
    let (mut desk, cluster, a, b) = pair(21);
    desk.probed(cluster, b, answered(cluster, b, a));
    desk.pass(16);
    desk.probed(cluster, a, answered(cluster, a, b));

    assert_eq!(
        desk.route()["state"],
        "healthy",
        "answers come from the other end"
    );
}

#[test]
fn a_report_without_an_answer_measures_nothing() {
    let (mut desk, cluster, a, b) = pair(22);
    let silent = PathObservation {
        rtt_us: None,
        window: 0,
        ..answered(cluster, a, b)
    };
    desk.probed(cluster, a, silent);

    assert_eq!(desk.route()["state"], "unmeasured");
}

#[test]
fn what_a_node_says_of_routes_between_others_is_counted_and_no_more() {
    let (mut desk, cluster, a, b) = pair(25);
    desk.probed(cluster, a, answered(cluster, a, b));
    assert_eq!(desk.live.stats().foreign, 0, "its own route");
    let mut others = answered(cluster, a, b);
    others.route = RouteId::between(cluster, b, NodeId::from_bytes([9; 16]));
    desk.probed(cluster, a, others);

    assert_eq!(desk.live.stats().foreign, 1);
    assert_eq!(desk.route()["state"], "healthy");
}

#[test]
fn what_silent_and_revoked_nodes_said_is_forgotten() {
    let (mut desk, cluster, a, b) = pair(23);
    desk.links(cluster, &[(a, b), (b, a)]);
    desk.act(Action::NodeRevoke, json!({ "id": "b", "reason": "stolen" }));
    let links = desk.read(Action::LinkList, json!({}));
    assert_eq!(links, json!([]), "neither what it said nor what was said of it");

    let (mut desk, cluster, a, b) = pair(24);
    desk.links(cluster, &[(a, b)]);
    desk.pass(301);
    desk.live.prune(desk.world.now.boot);
    assert_eq!(desk.read(Action::LinkList, json!({})), json!([]));
}

#[test]
fn a_link_of_which_nothing_new_is_said_is_stale_and_one_of_a_node_that_is_set_aside_is_none() {
    let (mut desk, cluster, a, b) = pair(25);
    desk.links(cluster, &[(a, b)]);
    desk.probed(cluster, a, answered(cluster, a, b));
    let states = |desk: &mut Controller| -> Vec<String> {
        let links = desk.read(Action::LinkList, json!({}));
        let states = links
            .as_array()
            .unwrap()
            .iter()
            .map(|link| link["state"].as_str());
        states.map(|state| state.unwrap().to_owned()).collect()
    };
    assert_eq!(states(&mut desk), ["up", "up"]);
    desk.pass(16);
    assert_eq!(states(&mut desk), ["stale", "stale"]);

    desk.act(Action::NodeDisable, json!({ "id": "b" }));
    assert_eq!(states(&mut desk), [""; 0]);
}

/// Two members that were heard, with a decision.
pub(crate) fn pair(seed: u64) -> (Controller, ClusterId, NodeId, NodeId) {
    let mut desk = Controller::new(seed);
    let cluster = desk.create_cluster();
    let (a, b) = (desk.join("a", &["member"]), desk.join("b", &["member"]));
    for (node, port) in [(a, 1), (b, 2)] {
        desk.heartbeat(cluster, node, port);
    }
    desk.decide(cluster);

    (desk, cluster, a, b)
}

/// A path whose probes are all answered.
pub(crate) fn answered(cluster: ClusterId, from: NodeId, to: NodeId) -> PathObservation {
    PathObservation {
        route: RouteId::between(cluster, from, to),
        peer: to,
        path: Path::Direct,
        generation: 1,
        active: true,
        drift: Drift::None,
        expected_hops: vec![from, to],
        observed_hops: vec![from, to],
        rtt_us: Some(2_000),
        lost_out: 0,
        lost_in: 0,
        window: 20,
        misses: 0,
        answered_ms: None,
    }
}

impl Controller {
    fn route(&self) -> Value {
        self.read(Action::RouteList, json!({}))[0].clone()
    }

    pub(crate) fn probed(&mut self, cluster: ClusterId, node: NodeId, row: PathObservation) {
        let report = Report {
            paths: vec![row],
            ..Report::default()
        };
        self.live
            .handle_report(cluster, node, &report, self.world.now.boot);
    }
}
