//! Pairs without a path: where their ends are to meet, until they have one.

use std::collections::{BTreeMap, BTreeSet};

use control_routing::compile;
use control_routing::explain::{RendezvousView, Words, explain};
use control_routing::lease::{Lease, LeaseRequest, LeaseState, MEETING_PAIRS};
use control_routing::member::MemberState;
use control_routing::via::Via;
use protocol::document::routes::{LeaseKind, Path, Reason};
use protocol::id::{LeaseId, NodeId, RouteId};

use crate::world::{CLUSTER, World, introducer, member, node, relay, route};

#[test]
fn a_pair_without_a_path_and_without_a_relay_is_told_where_to_meet() {
    let mut world = apart([introducer(11)]);
    world.run(60);
    let row = world.row(node(1), node(2));
    let place = row.rendezvous.expect("named");
    let lease = world.leases.find(place.lease).expect("granted");

    assert_eq!((place.node, row.path), (node(11), Some(Path::Direct)));
    assert!(row.standbys.is_empty() && row.considered.iter().all(|found| found.via == Via::Direct));
    assert!(
        row.reasons.contains(&Reason::RendezvousGranted) && row.reasons.contains(&Reason::DirectDown),
        "{:?}",
        row.reasons
    );
    assert_eq!(
        (lease.kind, lease.state),
        (LeaseKind::Rendezvous, LeaseState::Active)
    );
    let table = compile::lease_table(&world.snapshot(), &BTreeSet::new(), node(11)).expect("it introduces");
    assert_eq!(table.rows, [lease.row()]);
    for end in [1, 2] {
        let told = compile::routes(node(end), &world.routes, &world.leases);
        assert!(told.left_out.is_empty());
        assert_eq!(told.document.decisions[0].rendezvous, Some(place));
    }
    assert_eq!(why(&world), ("granted", Some("n11".to_owned()), true));
    let generation = row.generation;
    world.run(600);
    assert_eq!(
        world.row(node(1), node(2)).generation,
        generation,
        "and nothing moves"
    );
}

#[test]
fn ends_are_told_once_the_node_has_shown_that_it_knows() {
    let mut world = apart([introducer(11)]);
    // Nobody acknowledges anything.
    let run = |world: &mut World, seconds: u64| {
        for _ in 0..seconds / 5 {
            world.advance(std::time::Duration::from_secs(5));
            world.report_all();
            world.decide();
        }
    };
    run(&mut world, 15);
    let lease = *world.leases.carried_by(node(11)).next().expect("asked for");
    assert_eq!(lease.state, LeaseState::Offered);
    assert_eq!(world.row(node(1), node(2)).rendezvous, None);
    assert_eq!(why(&world).0, "lease_pending");
    let mut said = BTreeSet::new();
    for _ in 0..24 {
        run(&mut world, 5);
        said.insert(why(&world).0);
        assert_eq!(world.row(node(1), node(2)).rendezvous, None);
    }
    assert!(
        said.contains("rendezvous_away"),
        "it does not take what it is given: {said:?}"
    );
}

#[test]
fn what_two_ends_met_over_is_given_back_once_their_path_has_worked_for_a_while() {
    let mut world = apart([introducer(11)]);
    world.run(60);
    let before = world.row(node(1), node(2)).clone();
    world.network.cut.clear();
    world.run(15);
    assert_eq!(
        world.row(node(1), node(2)).rendezvous,
        before.rendezvous,
        "not at once"
    );
    world.run(120);

    let row = world.row(node(1), node(2));
    assert_eq!((row.rendezvous, row.path), (None, Some(Path::Direct)));
    assert!(row.generation > before.generation);
    let place = before.rendezvous.expect("named");
    let lease = world.leases.find(place.lease).expect("kept for its generation");
    assert_eq!(lease.state, LeaseState::Withdrawn);
    assert_eq!(
        compile::lease_table(&world.snapshot(), &BTreeSet::new(), node(11))
            .expect("empty")
            .rows,
        []
    );
    assert_eq!(why(&world).0, "direct_not_down");

    world.network.cut.insert(link(1, 2));
    world.run(60);
    let again = world.row(node(1), node(2)).rendezvous.expect("named again");
    assert_eq!(
        (again.lease, again.generation),
        (place.lease, place.generation + 1)
    );
}

#[test]
fn who_has_a_relay_meets_over_that() {
    let mut world = apart([introducer(11), relay(21, "fra")]);
    world.run(120);
    assert_eq!(world.via(node(1), node(2)), Via::Relay(node(21)));
    assert_eq!(world.leases.carried_by(node(11)).count(), 0);
    assert_eq!(why(&world).0, "relay_leased");

    world.network.dead.insert(node(21));
    world.set_state(node(21), MemberState::Offline);
    world.run(120);
    assert_eq!(rendezvous(&world), Some(node(11)), "it went without another");
    world.network.dead.clear();
    world.set_state(node(21), MemberState::Active);
    world.run(240);
    assert_eq!(
        (world.via(node(1), node(2)), rendezvous(&world)),
        (Via::Relay(node(21)), None)
    );
    assert_eq!(world.leases.carried_by(node(11)).count(), 0);
}

#[test]
fn without_anybody_to_meet_over_a_pair_stays_without_a_path_and_it_is_said_why() {
    let mut world = apart([]);
    world.run(120);
    let row = world.row(node(1), node(2));
    assert_eq!((row.path, row.rendezvous), (Some(Path::Direct), None));
    assert!(row.reasons.contains(&Reason::NoCandidate), "{:?}", row.reasons);

    assert_eq!(why(&world), ("no_rendezvous", None, false));
    let mut alone = World::of([introducer_and_member(1), member(2)]);
    alone.network.cut.insert(link(1, 2));
    alone.run(120);
    assert_eq!(
        why(&alone).0,
        "no_rendezvous",
        "an end introduces nobody to itself"
    );
}

#[test]
fn a_node_that_an_end_cannot_reach_is_left_for_another_and_kept_if_there_is_none() {
    let mut world = apart([introducer(11), introducer(12)]);
    world.run(60);
    let first = rendezvous(&world).expect("named");
    let second = if first == node(11) { node(12) } else { node(11) };
    world.network.cut.insert((node(1).min(first), node(1).max(first)));
    world.run(60);
    assert_eq!(rendezvous(&world), Some(second));
    assert_eq!(world.leases.carried_by(first).count(), 0, "given back");
    world
        .network
        .cut
        .insert((node(2).min(second), node(2).max(second)));
    let generation = world.row(node(1), node(2)).generation;
    world.run(240);

    assert_eq!(rendezvous(&world), Some(second));
    assert_eq!(world.row(node(1), node(2)).generation, generation);
    assert_eq!(why(&world).0, "rendezvous_unreachable");
}

#[test]
fn ends_that_do_not_meet_where_they_are_told_to_are_sent_to_each_node_in_turn_and_ever_more_rarely() {
    let mut world = apart([introducer(11), introducer(12), introducer(13)]);
    world.run(60);
    let first = rendezvous(&world).expect("named");
    let generation = world.row(node(1), node(2)).generation;
    world.run(110);
    assert_eq!(
        (rendezvous(&world), world.row(node(1), node(2)).generation),
        (Some(first), generation),
        "its turn is not over"
    );
    let places = places(&mut world, 3 * (3 + 6 + 12 + 24 + 24) * 60);

    let (nodes, turns): (Vec<NodeId>, Vec<u64>) = places.into_iter().unzip();
    let round: BTreeSet<NodeId> = nodes[..3].iter().copied().collect();
    assert_eq!(round.len(), 3, "each of them: {nodes:?}");
    assert!(
        nodes.iter().zip(&nodes[3..]).all(|(one, other)| one == other),
        "{nodes:?}"
    );
    let expected = [3, 3, 3, 6, 6, 6, 12, 12, 12, 24, 24, 24, 24].map(|minutes| 60 * minutes);
    assert!(turns.len() >= expected.len(), "{turns:?}");
    // The first turn is counted from the middle of it; a lease takes a few passes.
    for (turn, expected) in turns.iter().zip(expected).skip(1) {
        assert!((expected..expected + 30).contains(turn), "{turns:?}");
    }
    for lease in world.leases.iter().filter(|lease| lease.is_live()) {
        assert_eq!(Some(lease.relay), rendezvous(&world), "all others are given back");
    }
}

#[test]
fn a_place_to_meet_stays_where_no_other_is_reached_or_an_end_does_not_say_that_they_are_apart() {
    let mut alone = apart([introducer(11)]);
    let mut unreached = apart([introducer(11), introducer(12)]);
    let mut silent = apart([introducer(11), introducer(12)]);
    for world in [&mut alone, &mut unreached, &mut silent] {
        world.run(60);
    }
    let named = rendezvous(&unreached).expect("named");
    let other = if named == node(11) { node(12) } else { node(11) };
    unreached
        .network
        .cut
        .insert((node(2).min(other), node(2).max(other)));
    silent.mute.insert(node(2));
    for world in [&mut alone, &mut unreached, &mut silent] {
        let (place, generation) = (rendezvous(world), world.row(node(1), node(2)).generation);
        world.run(600);

        assert_eq!(
            (rendezvous(world), world.row(node(1), node(2)).generation),
            (place, generation)
        );
    }
    silent.mute.clear();
    silent.run(60);
    assert_ne!(rendezvous(&silent), Some(named), "once both say it again");
}

#[test]
fn a_direct_path_that_comes_and_goes_takes_no_turn_away() {
    let mut world = apart([introducer(11), introducer(12)]);
    world.run(60);
    let named = rendezvous(&world);
    for _ in 0..6 {
        world.network.cut.remove(&link(1, 2));
        world.run(10);
        world.network.cut.insert(link(1, 2));
        world.run(120);
        assert_eq!(rendezvous(&world), named);
    }
}

#[test]
fn a_host_that_dies_asks_for_no_place_to_meet() {
    let mut world = World::of((1..=8).map(member).chain([introducer(11)]));
    world.run(60);
    world.network.dead.insert(node(1));
    world.run(120);

    assert_eq!(world.leases.iter().count(), 0);
    assert_eq!(why(&world).0, "one_end_alone");
}

#[test]
fn a_node_that_is_set_aside_or_revoked_introduces_nobody_any_more() {
    for state in [MemberState::Disabled, MemberState::Revoked] {
        let mut world = apart([introducer(11), introducer(12)]);
        world.run(60);
        let first = rendezvous(&world).expect("named");
        world.set_state(first, state);
        world.run(5);
        assert_eq!(rendezvous(&world), None);
        assert_eq!(world.leases.carried_by(first).count(), 0);
        world.run(10);
        assert!(rendezvous(&world).is_some_and(|node| node != first));
    }
}

#[test]
fn a_node_introduces_as_many_pairs_as_it_may() {
    let mut world = apart([introducer(11), member(3), member(4)]);
    for number in 0..MEETING_PAIRS {
        let mut id = [0xEE; 16];
        id[..8].copy_from_slice(&(number as u64).to_be_bytes());
        let request = LeaseRequest {
            kind: LeaseKind::Rendezvous,
            cluster: CLUSTER,
            route: RouteId::from_bytes(id),
            low: node(3).min(node(4)),
            high: node(3).max(node(4)),
            relay: node(11),
            previous: None,
        };
        world.leases.put(Lease::grant(
            &request,
            None,
            LeaseId::from_bytes(id),
            world.now.wall,
        ));
    }
    world.advance(std::time::Duration::from_secs(5));
    world.report_all();
    world.decide();
    world.advance(std::time::Duration::from_secs(5));
    world.report_all();
    let outcomes = world.decide();

    assert!(outcomes.iter().all(|outcome| outcome.requests.is_empty()));
    assert_eq!(why(&world).0, "rendezvous_full");
}

#[test]
fn many_pairs_at_once_do_not_all_come_to_the_same_node() {
    let introducers = 101..=104_u8;
    let mut world = World::of((1..=30).map(member).chain(introducers.clone().map(introducer)));
    for one in 1..=30 {
        for other in 1..one {
            world.network.cut.insert(link(one, other));
        }
    }
    world.run(90);
    let mut loads: BTreeMap<NodeId, u32> = BTreeMap::new();
    for row in world.routes.iter() {
        let place = row.rendezvous.expect("every pair is told");
        *loads.entry(place.node).or_default() += 1;
    }

    let share = 30 * 29 / 2 / 4;
    assert_eq!(loads.len(), introducers.count());
    assert!(
        loads.values().all(|load| *load <= share + share / 4),
        "{loads:?}, of {share}"
    );
}

/// Two members that cannot reach each other.
fn apart(others: impl IntoIterator<Item = control_routing::member::Member>) -> World {
    let mut world = World::of([member(1), member(2)].into_iter().chain(others));
    world.network.cut.insert(link(1, 2));

    world
}

fn introducer_and_member(number: u8) -> control_routing::member::Member {
    let mut both = introducer(number);
    both.roles.push(protocol::node::NodeRole::Member);

    both
}

fn link(one: u8, other: u8) -> (NodeId, NodeId) {
    (node(one).min(node(other)), node(one).max(node(other)))
}

fn rendezvous(world: &World) -> Option<NodeId> {
    world.row(node(1), node(2)).rendezvous.map(|place| place.node)
}

/// Where the pair 1 and 2 is told to meet, one after the other, and for how many seconds; every move proven to be the only
/// thing that its decision changes.
fn places(world: &mut World, seconds: u64) -> Vec<(NodeId, u64)> {
    let mut places: Vec<(NodeId, u64)> = Vec::new();
    for _ in 0..seconds / 5 {
        let before = world.row(node(1), node(2)).clone();
        world.run(5);
        let row = world.row(node(1), node(2));
        let moved = u64::from(row.rendezvous != before.rendezvous);
        assert_eq!(row.generation, before.generation + moved);
        let named = row.rendezvous.expect("never without one").node;
        match places.last_mut().filter(|(node, _)| *node == named) {
            Some((_, lasted)) => *lasted += 5,
            None => places.push((named, 5)),
        }
    }

    places
}

/// What an operator is told of the pair 1 and 2: why, the node, and whether the ends know of it.
fn why(world: &World) -> (&'static str, Option<String>, bool) {
    let words = Words {
        name: &|node| world.members[&node].name.to_string(),
        time: &|at| format!("at {}", at.0),
    };
    let told = explain(&world.snapshot(), node(1), node(2), world.now, words).expect("known");
    assert_eq!(told.id, route(node(1), node(2)));
    let RendezvousView { node, named, why } = told.rendezvous.expect("wanted");

    (why, node, named)
}
