//! What is worth a publication or a routing pass, and what is not.

use control_api::pace::Asked;
use control_routing::decide::{self, Outcome};
use control_routing::lease::LeaseRequest;
use protocol::wire::{Drift, PathObservation};

use super::*;

#[test]
fn a_change_that_no_document_contains_publishes_nothing() {
    let mut desk = Controller::new(15);
    let cluster = desk.create_cluster();
    let node = desk.join("web-1", &["member"]);
    desk.heartbeat(cluster, node, 1);
    let before = desk.publications[&cluster].rank;
    let restarted = Heartbeat {
        boot: BootId::from_bytes([9; 16]),
        agent_version: "newer".to_owned(),
        epoch: 2,
        candidates: vec![Candidate::new(CandidateKind::Lan, address(1))],
        applied: Vec::new(),
        refused: Vec::new(),
        reverted: None,
    };
    let now = desk.world.now;
    let change = desk
        .live
        .handle_heartbeat((cluster, node), address(1), &restarted, now);
    let changes = change.expect("taken").into_iter().collect();
    desk.ask(&Caller::Controller, &Request::Heard { changes })
        .expect("stored");
    assert_eq!(desk.publications[&cluster].rank, before);

    desk.heartbeat(cluster, node, 2);
    assert!(
        desk.publications[&cluster].rank > before,
        "another address is in the neighbours' documents"
    );
}

#[test]
fn only_what_becomes_worse_asks_for_a_pass_at_once() {
    let mut desk = Controller::new(16);
    let cluster = desk.create_cluster();
    let (a, b) = (desk.join("a", &["member"]), desk.join("b", &["member"]));
    let route = RouteId::between(cluster, a, b);
    let row = |misses: u16, drift: Drift| PathObservation {
        route,
        peer: b,
        path: Path::Direct,
        generation: 1,
        active: true,
        drift,
        expected_hops: Vec::new(),
        observed_hops: Vec::new(),
        rtt_us: None,
        lost_out: 0,
        lost_in: 0,
        window: 20,
        misses,
        answered_ms: None,
    };
    let now = desk.world.now.boot;
    let mut report = |misses: u16, drift: Drift| {
        let report = Report {
            paths: vec![row(misses, drift)],
            ..Report::default()
        };
        desk.live.handle_report(cluster, a, &report, now)
    };

    assert!(!report(0, Drift::None));
    assert!(report(1, Drift::None), "new and bad");
    assert!(!report(2, Drift::None), "as bad as it was");
    assert!(report(3, Drift::None), "now it is silent");
    assert!(report(4, Drift::Failure), "and known to be at fault");
    assert!(!report(900, Drift::Failure), "and stays down");
    assert!(!report(0, Drift::None), "good news wait for the next pass");
}

#[test]
fn a_large_pass_is_cut_into_requests_that_each_fit_one_commit() {
    let node = |byte: u8| NodeId::from_bytes([byte; 16]);
    let cluster = ClusterId::from_bytes([1; 16]);
    let outcome = |number: u32, requests: usize| {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let route = RouteId::from_bytes(id);
        let request = LeaseRequest {
            kind: protocol::document::routes::LeaseKind::Relay,
            cluster,
            route,
            low: node(1),
            high: node(2),
            relay: node(3),
            previous: None,
        };

        Outcome {
            route,
            change: decide::Change::None,
            row: None,
            requests: vec![request; requests],
            withdrawals: Vec::new(),
            trend: Default::default(),
            case: None,
        }
    };
    let all: Vec<Outcome> = (0..12_000)
        .map(|number| outcome(number, number as usize % 3))
        .collect();
    let batches = routing::batches(all.clone());
    let rows = |batch: &Vec<Outcome>| {
        batch
            .iter()
            .map(|outcome| 1 + outcome.requests.len())
            .sum::<usize>()
    };

    assert!(batches.iter().all(|batch| (1..=1_000).contains(&rows(batch))));
    assert_eq!(batches.concat(), all, "nothing is lost, and the order stays");
    assert!(routing::batches(Vec::new()).is_empty());
}

#[test]
fn who_asks_too_often_is_refused_by_name_and_others_are_not() {
    let mut desk = Controller::new(20);
    let cluster = desk.create_cluster();
    let (a, b) = (desk.join("a", &["member"]), desk.join("b", &["member"]));
    let now = desk.world.now.boot;
    let refused = (0..1_000)
        .map(|_| desk.live.admit((cluster, a), Asked::Report, now))
        .find_map(Result::err)
        .expect("a thousand at once are too many");

    assert_eq!(refused.code, Code::RateLimited);
    assert!(refused.retry_after_ms.is_some());
    desk.live
        .admit((cluster, b), Asked::Report, now)
        .expect("another node has its own rate");
}
