//! What no history may break: random faults, reports, lies and operators against a small cluster.

use std::collections::BTreeSet;
use std::time::Duration;

use control_routing::decide::{Change, Outcome, decide};
use control_routing::lease::{LeaseBook, LeaseState};
use control_routing::member::MemberState;
use control_routing::route::{RouteBook, RouteRow, Verdict};
use control_routing::score::Tier;
use control_routing::via::Via;
use proptest::prelude::*;
use protocol::document::routes::{LeaseKind, Path, Reason};
use protocol::id::{NodeId, RouteId};
use protocol::limits::STANDBYS;
use protocol::wire::Report;

use crate::case::{exported, stored};
use crate::world::{World, introducer, member, node, observation, relay};

/// One thing that happens.
#[derive(Clone, Debug)]
enum Event {
    Acknowledge(u8),
    Cut(u8, u8),
    Decide,
    Die(u8),
    Heal,
    Lie { liar: u8, peer: u8, healthy: bool },
    Report(u8),
    Round(u8),
    Slow { one: u8, other: u8, rtt_ms: u16 },
    Stand(u8, MemberState),
}

fn event() -> impl Strategy<Value = Event> {
    let any_node = || 0..NODES;
    let state = prop_oneof![
        4 => Just(MemberState::Active),
        1 => Just(MemberState::Draining),
        1 => Just(MemberState::Offline),
        1 => Just(MemberState::Disabled),
    ];

    prop_oneof![
        2 => any_node().prop_map(Event::Acknowledge),
        2 => (any_node(), any_node()).prop_map(|(one, other)| Event::Cut(one, other)),
        2 => Just(Event::Decide),
        1 => any_node().prop_map(Event::Die),
        1 => Just(Event::Heal),
        2 => (any_node(), any_node(), any::<bool>())
            .prop_map(|(liar, peer, healthy)| Event::Lie { liar, peer, healthy }),
        2 => any_node().prop_map(Event::Report),
        8 => (1..8_u8).prop_map(Event::Round),
        2 => (any_node(), any_node(), 1..400_u16)
            .prop_map(|(one, other, rtt_ms)| Event::Slow { one, other, rtt_ms }),
        1 => (any_node(), state).prop_map(|(node, state)| Event::Stand(node, state)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_history_breaks_a_promise(events in prop::collection::vec(event(), 1..60)) {
        let mut world = cluster();
        for event in events {
            happen(&mut world, event)?;
        }
    }

    #[test]
    fn no_history_breaks_a_promise_where_pairs_meet(events in prop::collection::vec(event(), 1..60)) {
        let mut world = meeting_cluster();
        for event in events {
            happen(&mut world, event)?;
        }
        heal(&mut world);
        world.run(300);
        for row in world.routes.iter() {
            prop_assert_eq!(row.rendezvous, None, "who has a path needs none: {:?}", row);
        }
        let idle = world.leases.iter().find(|lease| lease.kind == LeaseKind::Rendezvous && lease.is_live());
        prop_assert_eq!(idle, None, "what nobody needs is given back");
    }

    #[test]
    fn what_heals_is_used_again(events in prop::collection::vec(event(), 1..40)) {
        let mut world = cluster();
        for event in events {
            happen(&mut world, event)?;
        }
        heal(&mut world);
        world.run(300);
        for wanted in world.wanted.iter() {
            let row = world.row(wanted.low, wanted.high);
            prop_assert_eq!(row.standbys.len(), STANDBYS, "{:?}", row);
            prop_assert!(!row.reasons.iter().any(|reason| ALARMS.contains(reason)), "{:?}", row);
        }
        let settled: Vec<RouteRow> = world.routes.iter().cloned().collect();
        world.run(120);
        let later: Vec<RouteRow> = world.routes.iter().cloned().collect();
        prop_assert_eq!(settled, later, "a calm cluster makes no decisions");
    }
}

fn happen(world: &mut World, event: Event) -> Result<(), TestCaseError> {
    match event {
        Event::Acknowledge(relay) => world.acknowledge(at(relay)),
        Event::Cut(one, other) => {
            let (one, other) = (at(one), at(other));
            world.network.cut.insert((one.min(other), one.max(other)));
        }
        Event::Decide => {
            let outcomes = decide(&world.snapshot(), world.now);
            judge(world, &outcomes)?;
            world.apply(&outcomes);
        }
        Event::Die(node) => {
            world.network.dead.insert(at(node));
        }
        Event::Heal => {
            world.network.dead.clear();
            world.network.cut.clear();
        }
        Event::Lie { liar, peer, healthy } => lie(world, at(liar), at(peer), healthy),
        Event::Report(node) => {
            world.report(at(node));
        }
        Event::Round(rounds) => {
            for _ in 0..rounds {
                round(world)?;
            }
        }
        Event::Slow { one, other, rtt_ms } => {
            let (one, other) = (at(one), at(other));
            let link = (one.min(other), one.max(other));
            world.network.rtt.insert(link, u32::from(rtt_ms) * 1_000);
        }
        Event::Stand(node, state) => world.set_state(at(node), state),
    }

    Ok(())
}

/// Five seconds: everybody reports, the controller decides, the relays take their tables.
fn round(world: &mut World) -> Result<(), TestCaseError> {
    world.advance(Duration::from_secs(5));
    world.report_all();
    let outcomes = decide(&world.snapshot(), world.now);
    judge(world, &outcomes)?;
    prop_assert_eq!(
        &outcomes,
        &decided_backwards(world),
        "the order of what came in decides nothing"
    );
    world.apply(&outcomes);
    world.acknowledge_all();

    Ok(())
}

fn judge(world: &World, outcomes: &[Outcome]) -> Result<(), TestCaseError> {
    judge_cases(outcomes)?;
    for outcome in outcomes {
        let standing = world.routes.find(outcome.route);
        let Some(row) = &outcome.row else {
            continue;
        };
        let before = standing.map_or(0, |row| row.generation);
        let grown = u64::from(outcome.change == Change::Decided);
        prop_assert_eq!(row.generation, before + grown);
        if outcome.change == Change::Decided {
            judge_decision(world, standing, row)?;
        }
    }

    Ok(())
}

/// Every decision can be made again from its case alone, also when that was written down in between.
fn judge_cases(outcomes: &[Outcome]) -> Result<(), TestCaseError> {
    for outcome in outcomes {
        let is_decided = outcome.change == Change::Decided;
        prop_assert_eq!(outcome.case.is_some(), is_decided);
        let Some(case) = outcome.case.as_deref() else {
            continue;
        };
        for again in [stored(case), exported(case)] {
            let derived = again.decide();
            prop_assert_eq!(derived.as_ref(), Some(outcome));
        }
    }

    Ok(())
}

fn judge_decision(world: &World, standing: Option<&RouteRow>, row: &RouteRow) -> Result<(), TestCaseError> {
    let vias: Vec<Via> = row.paths().map(Via::from).collect();
    let distinct: BTreeSet<Via> = vias.iter().copied().collect();
    prop_assert_eq!(distinct.len(), vias.len(), "each path once: {:?}", row);
    prop_assert!(row.standbys.len() <= STANDBYS);
    for path in row.paths() {
        let Path::Relay {
            relay,
            lease,
            generation,
            budget: _,
        } = path
        else {
            continue;
        };
        let found = world.leases.find(*lease).expect("the lease is there");
        // What stands with nothing to put in its place may have lost its lease.
        let is_stuck = row.reasons.contains(&Reason::NoCandidate);
        prop_assert!(is_stuck || found.state == LeaseState::Active, "{:?}", row);
        prop_assert_eq!((found.relay, found.route), (*relay, row.route));
        prop_assert_eq!(found.generation, *generation);
        prop_assert!(*relay != row.low && *relay != row.high);
    }
    judge_rendezvous(world, row)?;
    let Some(path) = row.path else {
        return Ok(());
    };
    let via = Via::from(&path);
    // Where nothing is in force whatever there is is taken: only what is decided is probed.
    let before = standing.and_then(|row| row.path.as_ref()).map(Via::from);
    if before.is_some_and(|before| before != via) {
        for end in [row.low, row.high] {
            let seen = world.observations.path(end, row.route, via);
            let is_down = seen.is_some_and(|seen| seen.is_down() && seen.at == world.now.boot);
            prop_assert!(!is_down, "moved onto what {:?} calls down: {:?}", end, row);
        }
    }

    judge_order(row)
}

/// Ends are told of a node that has acknowledged their lease, and of none that carries for them.
fn judge_rendezvous(world: &World, row: &RouteRow) -> Result<(), TestCaseError> {
    let introducers: BTreeSet<NodeId> = world.relays.introducers().map(|found| found.node).collect();
    let is_path = |via: Via| via.relay().is_some_and(|relay| introducers.contains(&relay));
    prop_assert!(
        !row.considered.iter().any(|found| is_path(found.via)),
        "{:?}",
        row
    );
    prop_assert!(!row.paths().map(Via::from).any(is_path), "{:?}", row);
    prop_assert_eq!(
        row.reasons.contains(&Reason::RendezvousGranted),
        row.rendezvous.is_some()
    );
    let Some(place) = row.rendezvous else {
        return Ok(());
    };
    let found = world.leases.find(place.lease).expect("the lease is there");
    prop_assert_eq!(
        (found.state, found.kind),
        (LeaseState::Active, LeaseKind::Rendezvous)
    );
    prop_assert_eq!((found.relay, found.route), (place.node, row.route));
    prop_assert_eq!(found.generation, place.generation);
    prop_assert!(introducers.contains(&place.node) && ![row.low, row.high].contains(&place.node));
    prop_assert!(row.path.is_some());

    Ok(())
}

/// The path is the best of what the decision names and is not called down, unless it says what it is waiting for, or that
/// nothing carries.
fn judge_order(row: &RouteRow) -> Result<(), TestCaseError> {
    let class = |verdict: Verdict| {
        let found = row
            .considered
            .iter()
            .filter(move |found| found.verdict == verdict);

        found.map(|found| {
            (
                found.tier,
                found.loss,
                control_routing::score::RttClass::of(found.rtt_us),
            )
        })
    };
    let chosen = class(Verdict::Chosen).next().expect("something is chosen");
    let beaten = class(Verdict::Standby).all(|standby| chosen <= standby || standby.0 == Tier::Stale);
    let says = |reason| row.reasons.contains(&reason);
    prop_assert!(
        beaten || says(Reason::HeldBack) || says(Reason::NoCandidate),
        "{:?}",
        row
    );

    Ok(())
}

fn decided_backwards(world: &World) -> Vec<Outcome> {
    let leases: Vec<_> = world.leases.iter().copied().collect();
    let rows: Vec<_> = world.routes.iter().cloned().collect();
    let leases: LeaseBook = leases.into_iter().rev().collect();
    let routes: RouteBook = rows.into_iter().rev().collect();
    let mut snapshot = world.snapshot();
    snapshot.leases = &leases;
    snapshot.routes = &routes;

    decide(&snapshot, world.now)
}

/// A node says what it likes of its paths to another, and of everybody else's.
fn lie(world: &mut World, liar: NodeId, peer: NodeId, healthy: bool) {
    let rtt = healthy.then_some(1);
    let rows: Vec<RouteRow> = world.routes.of_node(peer).cloned().collect();
    let paths = rows.iter().flat_map(|row| {
        let said = row
            .paths()
            .map(|path| observation((liar, peer), row.generation, *path, rtt, healthy));
        let forged = row.paths().map(|path| {
            let mut forged = observation((row.low, row.high), row.generation, *path, rtt, healthy);
            forged.peer = peer;

            forged
        });

        said.chain(forged).collect::<Vec<_>>()
    });
    let report = Report {
        paths: paths.collect(),
        ..Report::default()
    };
    let own: BTreeSet<RouteId> = world.wanted.of_node(liar).map(|wanted| wanted.route).collect();
    let news = world.take(liar, &report);
    let known: Vec<&RouteId> = news
        .changed
        .union(&news.worse)
        .filter(|route| world.wanted.find(**route).is_some())
        .collect();
    assert!(
        known.into_iter().all(|route| own.contains(route)),
        "a liar speaks for itself alone"
    );
}

fn heal(world: &mut World) {
    world.network = crate::world::Network::default();
    for number in 0..NODES {
        world.set_state(at(number), MemberState::Active);
    }
}

fn cluster() -> World {
    let relays = [relay(11, "fra"), relay(12, "fra"), relay(13, "ber")];

    World::of((1..=4).map(member).chain(relays))
}

/// The same nodes, of which one relays and two introduce.
fn meeting_cluster() -> World {
    let others = [relay(11, "fra"), introducer(12), introducer(13)];

    World::of((1..=4).map(member).chain(others))
}

fn at(number: u8) -> NodeId {
    match number {
        0..4 => node(number + 1),
        _ => node(number + 7),
    }
}

/// Four members and three relays.
const NODES: u8 = 7;
const ALARMS: [Reason; 2] = [Reason::NoCandidate, Reason::StandbyShort];
