use std::time::Duration;

use proptest::prelude::*;
use protocol::document::routes::{Cadence, Path};
use protocol::id::{ClusterId, LeaseId};
use protocol::key::SealKey;
use protocol::node::{Labels, NodeRole};
use protocol::wire::{Drift, PathObservation, Report};

use super::*;
use crate::member::{Member, MemberState};
use crate::policy::WantedRoute;

proptest! {
    /// Whoever says what of whom, is pruned or forgotten, and however much time passes between.
    #[test]
    fn what_is_kept_from_pass_to_pass_is_what_a_walk_through_everything_counts(
        steps in prop::collection::vec((0_u8..12, 1..=NODES, 1..=NODES, 0_u8..8, 0_u8..5, 0_u64..6_000), 1..120)
    ) {
        let (mut seen, mut wanted) = (Observations::default(), wanted());
        let (mut kept, mut now) = (Tallies::default(), Boot(1_000));
        for (step, from, to, relay, state, pause) in steps {
            now = now.after(Duration::from_millis(pause));
            match step {
                0 => seen.forget(node(from)),
                1 => now = now.after(FRESH),
                2 => seen.handle_timeout(now),
                3 => turn(&mut wanted, &mut kept, (from, to)),
                _ => say(&mut seen, (from, to), relay, (state, AGES[usize::from(step) % AGES.len()]), now),
            }
            // Not after each: several reports may be in one pass.
            if pause % 3 > 0 {
                kept.update(&seen.clone(), &wanted, now);
                prop_assert_eq!(laid_out(&kept), walk(&seen, &wanted, now));
            }
        }
    }
}

#[test]
fn a_far_end_that_answers_is_counted_where_it_is_blamed_and_nothing_else_is_counted_again() {
    let (mut seen, wanted, mut kept) = (Observations::default(), wanted(), Tallies::default());
    say(&mut seen, (1, 2), 0, (4, None), Boot(0));
    kept.update(&seen, &wanted, Boot(0));
    assert_eq!(kept.observers[&node(1)].sum.disputed, 0);
    let blamers = BTreeSet::from([node(1)]);
    assert_eq!(kept.blamers, BTreeMap::from([(node(2), blamers)]));

    say(&mut seen, (2, 1), 0, (0, None), Boot(1));
    kept.update(&seen, &wanted, Boot(1));
    assert_eq!(kept.observers[&node(1)].sum.disputed, 1);
    seen.forget(node(1));
    kept.update(&seen, &wanted, Boot(2));

    assert!(kept.blamers.is_empty() && !kept.observers.contains_key(&node(1)));
}

#[test]
fn what_a_resting_far_end_found_before_the_trouble_contradicts_nobody() {
    let (mut seen, wanted, mut kept) = (Observations::default(), wanted(), Tallies::default());
    let mut counts = |seen: &Observations, now: u64| {
        kept.update(seen, &wanted, Boot(now));
        let sum = kept.observers[&node(1)].sum;

        (sum.bad, sum.well, sum.disputed)
    };
    // The path dies at 100 s; the far end probes it every 20 s, and had its last answer at 92 s.
    say(&mut seen, (1, 2), 0, (4, None), Boot(101_000));
    say(&mut seen, (2, 1), 0, (0, Some(10_000)), Boot(102_000));
    assert_eq!(
        counts(&seen, 102_000),
        (1, 1, 0),
        "it may know no better yet, and is no contradiction"
    );
    assert_eq!(counts(&seen, 107_000), (1, 1, 0));
    say(&mut seen, (1, 2), 0, (4, None), Boot(107_001));
    say(&mut seen, (2, 1), 0, (0, Some(15_001)), Boot(107_001));
    assert_eq!(counts(&seen, 107_001), (1, 0, 0), "and has no say any more");

    say(&mut seen, (2, 1), 0, (0, Some(500)), Boot(112_000));
    assert_eq!(counts(&seen, 112_000), (1, 1, 1), "this is one");
    for second in [117, 127] {
        say(&mut seen, (1, 2), 0, (4, None), Boot(second * 1_000));
    }
    say(&mut seen, (2, 1), 0, (0, Some(15_500)), Boot(127_000));
    assert_eq!(counts(&seen, 127_500), (1, 1, 1), "however rarely it is probed");
}

/// Observer by observer: its sum, and whom it blames. Nothing is left out and nothing is remembered.
type Counts = BTreeMap<NodeId, (Sum, Vec<NodeId>)>;

fn laid_out(tallies: &Tallies) -> Counts {
    let lay = |(observer, tally): (NodeId, &Tally)| (observer, (tally.sum, tally.blamed().collect()));

    tallies.iter().map(lay).collect()
}

fn walk(seen: &Observations, wanted: &Wanted, now: Boot) -> Counts {
    let is_fresh = |said: &PathSeen| now.since(said.at) <= FRESH;
    let count = |observer: NodeId| {
        let (mut sum, mut blamed) = (Sum::default(), BTreeSet::new());
        let mut of_route: BTreeMap<RouteId, usize> = BTreeMap::new();
        for (route, via, said) in seen.of_reporter(observer).filter(|(.., said)| is_fresh(said)) {
            let counted = of_route.entry(route).or_default();
            *counted += 1;
            let far = wanted
                .find(route)
                .and_then(|wanted| wanted.ends().peer_of(observer));
            let Some(far) = far.filter(|_| *counted <= PATHS_OF_ROUTE) else {
                continue;
            };
            sum.paths += 1;
            if said.is_down() {
                let answer = seen.path(far, route, via);
                sum.take_bad(said, answer.filter(|answer| answer.contradicts(said, now)));
                blamed.insert(far);
            }
        }

        (sum, blamed.into_iter().collect())
    };

    seen.reporters()
        .map(|observer| (observer, count(observer)))
        .collect()
}

/// The route of two nodes is wanted from now on, or is not.
fn turn(wanted: &mut Wanted, kept: &mut Tallies, (one, other): (u8, u8)) {
    if one == other {
        return;
    }
    let (low, high) = (node(one.min(other)), node(one.max(other)));
    let route = RouteId::between(CLUSTER, low, high);
    if wanted.remove(route).is_none() {
        let came = wanted.insert(WantedRoute {
            route,
            low,
            high,
            priority: 1,
            cadence: Cadence::Auto,
            policy: None,
        });
        assert!(came);
    }
    kept.recount(low);
    kept.recount(high);
}

/// One end says of one path how it is: well, missing a probe, silent, or at fault.
fn say(
    seen: &mut Observations,
    (from, to): (u8, u8),
    relay: u8,
    (state, answered_ms): (u8, Option<u64>),
    now: Boot,
) {
    let path = match relay {
        0 => Path::Direct,
        _ => Path::Relay {
            relay: node(100 + relay),
            lease: LeaseId::from_bytes([relay; 16]),
            generation: 1,
            budget: 1,
        },
    };
    let row = PathObservation {
        route: RouteId::between(CLUSTER, node(from), node(to)),
        peer: node(to),
        path,
        generation: 1,
        active: relay == 0,
        drift: if state == 4 { Drift::Failure } else { Drift::None },
        expected_hops: Vec::new(),
        observed_hops: Vec::new(),
        rtt_us: (state < 3).then_some(1_000),
        lost_out: 0,
        lost_in: 0,
        window: 20,
        misses: [0, 0, 1, 3, 3][usize::from(state)],
        answered_ms,
    };
    let report = Report {
        paths: vec![row],
        ..Report::default()
    };
    seen.handle_report(CLUSTER, node(from), &report, now);
}

/// Everybody with everybody, but for one who is no member.
fn wanted() -> Wanted {
    let members = (1..NODES).map(|number| {
        let member = Member {
            node: node(number),
            name: format!("n{number}").parse().expect("a name"),
            generation: 1,
            roles: vec![NodeRole::Member],
            labels: Labels::default(),
            seal_key: SealKey::parse([number | 1; 32]).expect("not zero"),
            endpoints: Vec::new(),
            state: MemberState::Active,
            reverted: None,
        };

        (member.node, member)
    });

    Wanted::select(CLUSTER, &[], &members.collect())
}

fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

const CLUSTER: ClusterId = ClusterId::from_bytes([0xC0; 16]);
const NODES: u8 = 5;
/// Of the newest answer, in milliseconds; one speaks before it is defined.
const AGES: [Option<u64>; 5] = [None, Some(0), Some(4_000), Some(14_000), Some(25_000)];
