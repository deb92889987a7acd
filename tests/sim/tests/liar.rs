//! A node that reports what it did not measure moves its own routes, and those of nobody else.

use std::time::Duration;

use protocol::document::routes::Path;
use protocol::id::{NodeId, RouteId};
use protocol::wire::{Drift, LinkObservation, PathObservation, Report};
use sim::world::{Host, Received, Via, World};

#[test]
fn a_liar_among_the_reporters_moves_only_its_own_routes() {
    for seed in SEEDS {
        let mut fleet = Fleet::new(seed);
        let liar = fleet.liar;
        let is_own = |ends: (Host, Host)| ends.0 == liar || ends.1 == liar;
        let decided = fleet.world.decisions().len();
        let moved = fleet.world.moves().len();
        fleet.flow();
        let strangers = fleet.rows_of_others();
        fleet.world.lie(liar, move |report| invented(report, &strangers));
        fleet.world.run_for(LYING);

        assert!(fleet.world.lies(liar) >= 20, "seed {seed}: it told few lies");
        let decisions = fleet.world.decisions().split_off(decided);
        let (own, others): (Vec<_>, Vec<_>) = decisions.into_iter().partition(|row| is_own(row.ends));
        assert_eq!(others, [], "seed {seed}");
        assert!(!own.is_empty(), "seed {seed}: nobody believed any of it");
        let moves = fleet.world.moves().split_off(moved);
        let others: Vec<_> = moves
            .into_iter()
            .filter(|moved| !is_own((moved.from, moved.to)))
            .collect();
        assert_eq!(others, [], "seed {seed}");
        fleet.arrived();
    }
}

/// Three honest members and a liar, with two relays. One honest pair has no direct path, and one pair of the liar's has none.
struct Fleet {
    world: World,
    honest: [Host; 3],
    liar: Host,
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        world.relay("site-a");
        world.relay("site-b");
        let honest = [world.member(), world.member(), world.member()];
        let liar = world.member();
        let [one, other, third] = honest;
        world.settle(secs(60));
        world.set_cut_between(one, other, true);
        world.set_cut_between(third, liar, true);
        world.until("the two without a direct path are relayed", secs(120), |world| {
            [(one, other), (third, liar)].into_iter().all(|(from, to)| {
                matches!(world.decided_path(from, to), Some(Via::Relay(_)))
                    && world.decided_path(from, to) == world.active_path(from, to)
                    && world.active_path(from, to) == world.active_path(to, from)
            })
        });
        world.run_for(secs(90));

        Self { world, honest, liar }
    }

    fn pairs(&self) -> [(Host, Host); 6] {
        let [one, other, third] = self.honest;

        [
            (one, other),
            (other, one),
            (one, third),
            (third, one),
            (other, third),
            (third, other),
        ]
    }

    /// The honest send to each other.
    fn flow(&mut self) {
        for (from, to) in self.pairs() {
            self.world.send(from, to, RATE);
        }
        self.world.run_for(secs(2));
        for to in self.honest {
            self.world.take_all_received(to);
        }
    }

    /// Nothing that they sent is missing.
    fn arrived(&self) {
        let seed = self.world.seed();
        for to in self.honest {
            let received = self.world.take_all_received(to);
            let sent = u64::from(RATE) * (LYING.as_secs() - 5);
            let is_whole = |flow: &Received| flow.missing == 0 && flow.frames > sent;
            assert_eq!(received.len(), 2, "seed {seed}: {received:?}");
            assert!(received.values().all(is_whole), "seed {seed}: {received:?}");
        }
    }

    /// What an observer of the routes between the others would say of them.
    fn rows_of_others(&self) -> Vec<PathObservation> {
        let id = |host| self.world.id(host).expect("it runs");
        let rows = self.pairs().into_iter().map(|(from, to)| {
            let route = self.world.route(from, to).expect("decided");

            row(route.id, (id(from), id(to)), route.generation)
        });

        rows.collect()
    }
}

fn row(route: RouteId, (from, peer): (NodeId, NodeId), generation: u64) -> PathObservation {
    PathObservation {
        route,
        peer,
        path: Path::Direct,
        generation,
        active: true,
        drift: Drift::Failure,
        expected_hops: vec![from, peer],
        observed_hops: Vec::new(),
        rtt_us: None,
        lost_out: WINDOW,
        lost_in: WINDOW,
        window: WINDOW,
        misses: 9,
        answered_ms: None,
    }
}

/// The opposite of what was measured, and word of routes that end elsewhere.
fn invented(mut report: Report, strangers: &[PathObservation]) -> Report {
    report.paths.iter_mut().for_each(turn);
    report.links.iter_mut().for_each(turn_link);
    report.paths.extend(strangers.iter().cloned());

    report
}

fn turn(row: &mut PathObservation) {
    let was_well = row.drift == Drift::None && row.rtt_us.is_some() && row.misses == 0;
    if was_well {
        (row.drift, row.rtt_us, row.misses, row.answered_ms) = (Drift::Failure, None, 9, None);
        (row.lost_out, row.lost_in, row.window) = (WINDOW, WINDOW, WINDOW);
        row.observed_hops.clear();
    } else {
        (row.drift, row.rtt_us, row.misses, row.answered_ms) = (Drift::None, Some(500), 0, Some(0));
        (row.lost_out, row.lost_in, row.window) = (0, 0, WINDOW);
        row.observed_hops.clone_from(&row.expected_hops);
    }
}

fn turn_link(link: &mut LinkObservation) {
    link.rtt_us = match link.connected {
        true => None,
        false => Some(500),
    };
    link.connected = !link.connected;
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SEEDS: std::ops::Range<u64> = 0..2;
const LYING: Duration = secs(120);
/// Frames a second each way.
const RATE: u16 = 5;
/// Probes that loss is told of.
const WINDOW: u8 = 20;
