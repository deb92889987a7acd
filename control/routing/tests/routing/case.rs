//! A decision follows from its case, and from every part of it.

use std::time::Duration;

use control_routing::case::{CASES, Case};
use control_routing::decide::{Change, Outcome, decide};
use control_routing::lease::{Lease, LeaseRequest};
use control_routing::policy::{PolicyRow, Selector};
use control_routing::via::Via;
use protocol::cbor;
use protocol::document::routes::{Cadence, Reason};
use protocol::id::{LeaseId, RouteId};
use protocol::limits::LEASE_ROWS;
use protocol::node::{Labels, NodeRole};
use protocol::wire::Drift;

use crate::world::{CLUSTER, World, machine, member, node, relay};

/// As it comes back from the journal.
pub(crate) fn stored(case: &Case) -> Case {
    cbor::decode(&cbor::encode(case)).expect("it was written so")
}

/// As it comes back from an export.
pub(crate) fn exported(case: &Case) -> Case {
    let text = serde_json::to_string(case).expect("a case has a JSON form");

    serde_json::from_str(&text).expect("it was written so")
}

#[test]
fn an_observation_that_is_altered_gives_another_decision() {
    let outcome = orphaned();
    let case = outcome.case.as_deref().expect("a new decision");
    let row = outcome.row.as_ref().expect("a new decision");
    assert!(row.reasons.contains(&Reason::DirectDown), "{row:?}");
    assert_eq!(case.decide().as_ref(), Some(&outcome));

    let mut healthy = case.clone();
    for end in [&mut healthy.low, &mut healthy.high] {
        for path in &mut end.said.paths {
            path.active = path.via == Via::Direct;
        }
        let direct = end.said.paths.first_mut().expect("direct is the first");
        (direct.drift, direct.misses) = (Drift::None, 0);
        (direct.lost_out, direct.lost_in, direct.rtt_us) = (0, 0, Some(20_000));
    }
    let again = healthy.decide();
    assert!(
        again.as_ref().is_none_or(|it| !it.is_decision()),
        "what works is not left: {again:?}"
    );

    let mut slower = case.clone();
    for end in [&mut slower.low, &mut slower.high] {
        for link in &mut end.said.links {
            link.rtt_us = link.rtt_us.map(|rtt| rtt + 7);
        }
        for path in &mut end.said.paths {
            path.rtt_us = path.rtt_us.map(|rtt| rtt + 7);
        }
    }
    let again = slower.decide().expect("it is still broken");
    assert_ne!(again.row, outcome.row, "the account of the candidates differs");
}

#[test]
fn a_route_that_ends_has_a_case_too() {
    let mut world = small();
    world.run(60);
    world.policies = vec![nobody()];
    world.refresh();
    let outcomes = world.decide();
    let withdrawn: Vec<&Outcome> = outcomes
        .iter()
        .filter(|it| it.change == Change::Decided)
        .collect();

    assert_eq!(withdrawn.len(), 1);
    let case = withdrawn[0].case.as_deref().expect("a new decision");
    assert_eq!(case.wanted, None);
    assert_eq!(stored(case).decide().as_ref(), Some(withdrawn[0]));
}

#[test]
fn a_pass_lays_open_a_bounded_number_of_cases() {
    let mut world = World::of((1..=60).map(member));
    let outcomes = world.decide();
    let decided = outcomes.iter().filter(|it| it.change == Change::Decided);
    let cases = outcomes.iter().filter(|it| it.case.is_some());

    assert_eq!((decided.count(), cases.count()), (60 * 59 / 2, CASES));
}

#[test]
fn a_relay_that_is_an_end_is_in_its_case_once() {
    let both = machine(1, NodeRole::Member, &[]);
    let mut both = World::of([both, member(2), relay(11, "fra")]);
    let dual = both.members.get_mut(&node(1)).expect("a member");
    dual.roles.push(NodeRole::Relay);
    both.refresh();
    both.run(60);
    both.network
        .cut
        .insert((node(1).min(node(2)), node(1).max(node(2))));
    both.advance(Duration::from_secs(5));
    both.report_all();
    let outcome = both.decide().remove(0);
    let case = outcome.case.as_deref().expect("the direct path is cut");

    assert_eq!(case.relays.len(), 2);
    assert_eq!(case.low.said.links.len() + case.high.said.links.len(), 4);
    assert_eq!(exported(case).decide(), Some(outcome.clone()));
}

#[test]
fn a_relay_that_the_pass_has_filled_up_is_full_in_the_case_too() {
    let mut world = World::of([member(1), member(2), member(3), relay(11, "fra")]);
    for number in 1..LEASE_ROWS as u64 {
        let mut id = [0xEE; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        let request = LeaseRequest {
            kind: protocol::document::routes::LeaseKind::Relay,
            cluster: CLUSTER,
            route: RouteId::from_bytes(id),
            low: node(1),
            high: node(2),
            relay: node(11),
            previous: None,
        };
        let lease = Lease::grant(&request, None, LeaseId::from_bytes(id), world.now.wall);
        world.leases.put(lease);
    }
    let outcomes = decide(&world.snapshot(), world.now);
    let requests: Vec<usize> = outcomes.iter().map(|it| it.requests.len()).collect();
    let again = outcomes.iter().filter_map(|it| it.case.as_ref()?.decide());
    let again: Vec<Outcome> = again.collect();

    assert_eq!(requests.iter().sum::<usize>(), 1, "{requests:?}");
    let own: Vec<&Outcome> = outcomes.iter().filter(|it| it.is_decision()).collect();
    assert_eq!(own, again.iter().collect::<Vec<_>>());
}

#[test]
fn whom_the_pass_did_not_believe_is_in_the_case() {
    let site = |number: u8| ["a", "b", "c", "d"][usize::from((number - 1) / 3)];
    let members = (1..=12).map(|number| machine(number, NodeRole::Member, &[("site", site(number))]));
    let mut world = World::of(members.chain([relay(21, "r"), relay(22, "s")]));
    world.run(60);
    world.ill.extend([1, 2, 3, 4].map(node));
    world.run(30);
    for (one, other) in [(node(1), node(12)), (node(5), node(9))] {
        world.network.cut.insert((one.min(other), one.max(other)));
    }
    world.advance(Duration::from_secs(5));
    world.report_all();
    let outcomes = world.decide();
    let cases: Vec<&Case> = outcomes.iter().filter_map(|it| it.case.as_deref()).collect();

    assert!(cases.len() >= 2, "both ends report both paths down: {outcomes:?}");
    for case in cases {
        assert!(case.frozen, "{case:?}");
        assert_eq!(case.alarmed, Some(world.now.boot));
        for end in [&case.low, &case.high] {
            assert_eq!(end.doubted, world.suspicion.doubts(end.node));
            assert!(!end.for_its_site, "{end:?}: everybody is doubted");
        }
    }
    let is_doubted = |case: &Case| case.low.doubted || case.high.doubted;
    let doubted = outcomes
        .iter()
        .filter_map(|it| it.case.as_deref())
        .filter(|case| is_doubted(case));
    assert_ne!(doubted.count(), 0, "the end of one of them is ill");
}

/// Two members and three relays; the direct path has just broken.
fn orphaned() -> Outcome {
    let mut world = small();
    world.run(60);
    world
        .network
        .cut
        .insert((node(1).min(node(2)), node(1).max(node(2))));
    world.advance(Duration::from_secs(5));
    world.report_all();
    let outcomes = world.decide();
    let mut decided = outcomes.into_iter().filter(|it| it.change == Change::Decided);

    decided.next().expect("the direct path is cut")
}

fn small() -> World {
    World::of([
        member(1),
        member(2),
        relay(11, "fra"),
        relay(12, "ber"),
        relay(13, "ham"),
    ])
}

fn nobody() -> PolicyRow {
    PolicyRow {
        cluster: CLUSTER,
        name: "nobody".parse().expect("a name"),
        priority: 1,
        source: Selector::Labelled(Labels::default()),
        target: Selector::Every,
        cadence: Cadence::Auto,
    }
}
