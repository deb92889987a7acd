//! A controller whose host is sick: it spoils what it hears, whoever says it.

use std::collections::BTreeMap;
use std::time::Duration;

use control_routing::via::Via;
use protocol::id::{NodeId, RouteId};
use protocol::key::Digest;
use protocol::wire::{PathObservation, Report};

use crate::suspicion::settled;
use crate::world::{Network, World, fail, node, route};

#[test]
fn reports_that_a_sick_controller_host_makes_lossy_move_nothing() {
    nothing_moves(Harm::Lossy);
}

#[test]
fn reports_that_a_sick_controller_host_makes_slow_move_nothing() {
    nothing_moves(Harm::Slow);
}

#[test]
fn reports_that_a_sick_controller_host_holds_back_move_nothing() {
    nothing_moves(Harm::Late);
}

#[test]
fn reports_that_a_sick_controller_host_spoils_in_every_way_move_nothing() {
    nothing_moves(Harm::Any);
}

/// Before the first sign that all is suspect a burst is what a failure as wide as that looks like, too.
#[test]
fn reports_that_a_sick_controller_host_makes_dead_move_nothing_from_the_first_sign_on() {
    let mut early = Vec::new();
    let (mut spoilt, mut all) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = settled();
        let mut sick = Sick::new(Harm::Dead, seed);
        let start = paths(&world);
        while !world.suspicion.is_wary() {
            assert!(sick.round < 2, "seed {seed}: no sign for {} s", 5 * sick.round);
            sick.round(&mut world);
        }
        early.push(moved(&start, &paths(&world)).len());
        stays(&mut world, &mut sick, &start);
        spoilt += sick.spoilt;
        all += sick.all;
    }
    let percent = 100 * spoilt / all;
    assert!((29..=31).contains(&percent), "{percent} %");
    assert_eq!(early, [0, 0, 53, 0], "of 66, each seed");
}

#[test]
fn a_relay_that_dies_under_a_sick_controller_host_is_left_by_the_next_report() {
    let left_after = left_after(|network, relay| network.dead.insert(relay));

    assert_eq!(left_after, 5, "both ends have lost their links to it");
}

#[test]
fn a_relay_that_carries_nothing_any_more_under_a_sick_controller_host_is_left_within_forty_seconds() {
    let left_after = left_after(|network, relay| network.idle.insert(relay));

    assert_eq!(left_after, 35, "half a minute after the first report of it");
}

/// Five minutes in which three reports of ten are spoilt.
fn nothing_moves(harm: Harm) {
    let mut world = settled();
    let mut sick = Sick::new(harm, 0);
    let start = paths(&world);
    stays(&mut world, &mut sick, &start);
    let percent = 100 * sick.spoilt / sick.all;
    assert!((27..=33).contains(&percent), "{percent} %");
}

/// Has five minutes pass in which no path moves, but back to where it was at the start.
fn stays(world: &mut World, sick: &mut Sick, start: &Paths) {
    let mut before = paths(world);
    for _ in 0..60 {
        sick.round(world);
        let after = paths(world);
        let mut moved = moved(&before, &after);
        moved.retain(|route| after.get(route) != start.get(route));
        assert!(
            moved.is_empty(),
            "{moved:?} after {} of {} reports",
            sick.spoilt,
            sick.all
        );
        before = after;
    }
    assert!(sick.both > 100, "both ends of a pair: {} times", sick.both);
}

fn moved(before: &Paths, after: &Paths) -> Vec<RouteId> {
    let moved = after
        .iter()
        .filter(|(route, via)| before.get(*route) != Some(*via));

    moved.map(|(route, _)| *route).collect()
}

/// How many seconds after its relay has failed a route is decided anew, by the controller alone, while three reports of ten
/// are made dead. No other path moves.
fn left_after(fail: impl Fn(&mut Network, NodeId) -> bool) -> u32 {
    let mut world = settled();
    let (one, other) = (node(5), node(9));
    world.network.hollow.insert((one.min(other), one.max(other)));
    world.run(60);
    let mut sick = Sick::new(Harm::Dead, 0);
    for _ in 0..12 {
        sick.round(&mut world);
    }
    let relay = world.via(one, other).relay().expect("there is no direct path");
    let before = paths(&world);
    assert!(world.suspicion.is_wary());
    world.stubborn = true;
    assert!(fail(&mut world.network, relay), "it worked");
    for round in 1..=12 {
        sick.round(&mut world);
        let moved = moved(&before, &paths(&world));
        if !moved.is_empty() {
            assert_eq!(moved, [route(one, other)]);
            assert_ne!(world.via(one, other), Via::Direct, "which is down as ever");
            return 5 * round;
        }
    }

    panic!("it stayed for a minute");
}

/// What a sick host makes of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    /// Every path is called down.
    Dead,
    /// Every path loses between a fifth and all of its probes.
    Lossy,
    /// Every path takes up to half a second longer.
    Slow,
    /// It comes up to 20 s late.
    Late,
    /// Any of these.
    Any,
}

/// A controller host that spoils three reports of ten before they are taken in, whoever they are from.
struct Sick {
    chance: Chance,
    harm: Harm,
    held: Vec<(u64, NodeId, Report)>,
    round: u64,
    all: u32,
    spoilt: u32,
    /// How often both ends of one pair were spoilt in the same round.
    both: u32,
}

impl Sick {
    fn new(harm: Harm, seed: u32) -> Self {
        Self {
            chance: Chance(u64::from(seed) << 32),
            harm,
            held: Vec::new(),
            round: 0,
            all: 0,
            spoilt: 0,
            both: 0,
        }
    }

    /// Five seconds: everybody reports, and the controller decides again and again meanwhile.
    fn round(&mut self, world: &mut World) {
        self.round += 1;
        world.advance(Duration::from_secs(5));
        let mut spoilt = 0;
        let alive = |node: &&NodeId| !world.network.dead.contains(*node);
        let members: Vec<NodeId> = world.members.keys().filter(alive).copied().collect();
        for (place, node) in members.into_iter().enumerate() {
            let report = world.truth(node);
            if self.chance.between(0, 10) < 3 {
                spoilt += 1;
                self.spoil(world, node, report);
            } else {
                world.take(node, &report);
            }
            self.all += 1;
            if place % 4 == 3 {
                world.decide();
            }
        }
        let (due, held) = self.held.drain(..).partition(|(round, ..)| *round <= self.round);
        self.held = held;
        for (_, node, report) in due {
            world.take(node, &report);
        }
        world.decide();
        world.acknowledge_all();
        world.decide();
        self.spoilt += spoilt;
        self.both += spoilt * spoilt.saturating_sub(1) / 2;
    }

    fn spoil(&mut self, world: &mut World, node: NodeId, mut report: Report) {
        const EVERY: [Harm; 4] = [Harm::Dead, Harm::Lossy, Harm::Slow, Harm::Late];
        let harm = match self.harm {
            Harm::Any => EVERY[self.chance.between(0, 4) as usize],
            Harm::Dead | Harm::Lossy | Harm::Slow | Harm::Late => self.harm,
        };
        if harm == Harm::Late {
            let late = u64::from(self.chance.between(1, 5));
            self.held.push((self.round + late, node, report));
            return;
        }
        report.paths.iter_mut().for_each(|row| self.harm(harm, row));
        world.take(node, &report);
    }

    fn harm(&mut self, harm: Harm, row: &mut PathObservation) {
        match harm {
            Harm::Dead => fail(row),
            Harm::Lossy => {
                (row.lost_out, row.lost_in) = (self.chance.lost(4), self.chance.lost(0));
            }
            Harm::Slow => row.rtt_us = row.rtt_us.map(|rtt| rtt + self.chance.between(50_000, 500_000)),
            Harm::Late | Harm::Any => {}
        }
    }
}

/// How often it was drawn: numbers that look like chance, and are the same in every run.
struct Chance(u64);

impl Chance {
    fn between(&mut self, least: u32, end: u32) -> u32 {
        self.0 += 1;
        let digest = Digest::of_parts(&[b"sick", &self.0.to_be_bytes()]);
        let mut bytes = [0; 4];
        bytes.copy_from_slice(&digest.as_bytes()[..4]);

        least + u32::from_be_bytes(bytes) % (end - least)
    }

    /// Of twenty probes.
    fn lost(&mut self, least: u32) -> u8 {
        u8::try_from(self.between(least, 21)).expect("at most 20")
    }
}

fn paths(world: &World) -> Paths {
    let rows = world.routes.iter();

    rows.map(|row| (row.route, row.path.as_ref().map(Via::from)))
        .collect()
}

/// Where each route goes.
type Paths = BTreeMap<RouteId, Option<Via>>;

/// Runs of five minutes each.
const SEEDS: u32 = 4;
