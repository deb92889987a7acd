//! Traffic leaves a path that dies without asking anybody, and comes back when a decision says so.

use std::time::Duration;

use agent_shell::local::RouteRow;
use sim::net::Way;
use sim::world::{Host, Via, World};

#[test]
fn traffic_leaves_a_dead_direct_path_without_asking_and_returns_by_decision_when_it_heals() {
    for seed in SEEDS {
        let Fleet {
            mut world,
            one,
            other,
            ..
        } = Fleet::new(seed);
        world.until("the pair is direct and has a standby", secs(60), |world| {
            both(world, one, other, |via| via == Via::Direct) && has_standby(world, one, other)
        });
        let generation = generation(&world, one, other);
        flow(&mut world, one, other);
        for end in [one, other] {
            world.set_cut_between(end, Host::CONTROLLER, true);
        }
        world.set_cut_between(one, other, true);
        let relayed = |via| matches!(via, Via::Relay(_));
        world.until("both ends send over a relay", secs(3), |world| {
            both(world, one, other, relayed)
        });
        world.run_for(secs(5));
        arrived_within(&world, one, other, DETECTION + DIRECT_TRIP);
        assert_eq!(
            self::generation(&world, one, other),
            generation,
            "seed {seed}: nobody was asked"
        );

        for end in [one, other] {
            world.set_cut_between(end, Host::CONTROLLER, false);
        }
        world.set_cut_between(one, other, false);
        world.until("both ends are direct again", secs(150), |world| {
            both(world, one, other, |via| via == Via::Direct)
        });
        assert!(self::generation(&world, one, other) > generation, "seed {seed}");
        // The way back is no fault: not one frame waits for it.
        arrived_within(&world, one, other, Duration::from_millis(150));
    }
}

#[test]
fn traffic_leaves_one_direction_that_dies_while_the_other_lives() {
    for seed in SEEDS {
        let Fleet {
            mut world,
            one,
            other,
            ..
        } = Fleet::new(seed);
        world.until("the pair has a standby", secs(60), |world| {
            has_standby(world, one, other)
        });
        flow(&mut world, one, other);
        world.set_cut(one, other, true);
        world.until("both ends send over a relay", secs(3), |world| {
            both(world, one, other, |via| via != Via::Direct)
        });
        world.run_for(secs(5));

        arrived_within(&world, one, other, DETECTION + DIRECT_TRIP);
    }
}

#[test]
fn traffic_leaves_a_dead_relay_for_the_other_one() {
    for seed in SEEDS {
        let Fleet {
            mut world,
            one,
            other,
            relays,
        } = Fleet::new(seed);
        world.set_cut_between(one, other, true);
        world.until("the pair is relayed and has a standby", secs(120), |world| {
            both(world, one, other, |via| via != Via::Direct) && has_standby(world, one, other)
        });
        let Some(Via::Relay(relay)) = world.active_path(one, other) else {
            panic!("seed {seed}: not relayed");
        };
        flow(&mut world, one, other);
        world.crash(relay);
        let left = |via| matches!(via, Via::Relay(to) if to != relay);
        world.until("both ends send over the other relay", secs(3), |world| {
            both(world, one, other, left)
        });
        world.run_for(secs(5));
        arrived_within(&world, one, other, DETECTION + RELAYED_TRIP);

        world.start(relay);
        world.settle(secs(60));
        world.run_for(secs(5));
        assert!(relays.iter().all(|relay| world.is_running(*relay)));
        arrived_within(&world, one, other, DETECTION + RELAYED_TRIP);
    }
}

#[test]
fn a_stopped_relay_loses_its_traffic_and_carries_nothing_before_it_has_heard_a_controller() {
    // shorter than its leases are fresh, and longer
    for (seed, still) in SEEDS.flat_map(|seed| [(seed, secs(8)), (seed, secs(90))]) {
        let Fleet {
            mut world,
            one,
            other,
            ..
        } = Fleet::new(seed);
        world.set_cut_between(one, other, true);
        world.until("the pair is relayed and has a standby", secs(120), |world| {
            both(world, one, other, |via| via != Via::Direct) && has_standby(world, one, other)
        });
        let Some(Via::Relay(relay)) = world.active_path(one, other) else {
            panic!("seed {seed}: not relayed");
        };
        flow(&mut world, one, other);
        world.freeze(relay, true);
        world.run_for(still);
        arrived_within(&world, one, other, DETECTION + RELAYED_TRIP);

        world.set_cut_between(relay, Host::CONTROLLER, true);
        world.freeze(relay, false);
        world.run_for(secs(2));
        let rows = world.relay_rows(relay).expect("it runs again");
        assert_eq!(rows.live, 0, "seed {seed}, {still:?}: {rows:?}");
        world.set_cut_between(relay, Host::CONTROLLER, false);
        world.until("it carries again", secs(60), |world| {
            world.relay_rows(relay).is_some_and(|rows| rows.live > 0)
        });
    }
}

#[test]
fn a_relay_that_stops_soon_after_the_direct_path_was_cut_costs_no_more_than_its_own_doubt() {
    for (seed, pause) in (0..).zip(PAUSES) {
        let mut fleet = Fleet::new(seed);
        fleet.slow_direct();
        let relay = fleet.relayed();
        let (one, other) = (fleet.one, fleet.other);
        flow(&mut fleet.world, one, other);
        // A standby of which nobody knows yet that it is dead.
        fleet.world.set_cut_between(one, other, true);
        fleet.world.run_for(pause);
        fleet.stops(relay);
    }
}

#[test]
fn a_relay_that_stops_as_soon_as_it_carries_a_pair_costs_no_more_than_its_own_doubt() {
    for (seed, pause) in (0..).zip(PAUSES) {
        let mut fleet = Fleet::new(seed);
        fleet.world.relay("site-c");
        fleet.world.run_for(secs(60));
        let (one, other) = (fleet.one, fleet.other);
        // Both ends leave the direct path, and a decision gives them another standby soon after.
        fleet.world.set_cut_between(one, other, true);
        let relay = fleet.relayed();
        flow(&mut fleet.world, one, other);
        fleet.world.run_for(pause);
        fleet.stops(relay);
    }
}

/// Two members and two relays, of which each pair of members has one as a standby at least.
struct Fleet {
    world: World,
    one: Host,
    other: Host,
    relays: [Host; 2],
}

impl Fleet {
    fn new(seed: u64) -> Self {
        let mut world = World::new(seed);
        let relays = [world.relay("site-a"), world.relay("site-b")];
        let (one, other) = (world.member(), world.member());
        world.settle(secs(30));

        Self {
            world,
            one,
            other,
            relays,
        }
    }

    /// Makes the direct path worse than those through the relays, though it works.
    fn slow_direct(&mut self) {
        for (from, to) in [(self.one, self.other), (self.other, self.one)] {
            self.world
                .set_way(from, to, Way::taking(Duration::from_millis(100)));
        }
    }

    /// Stops the relay in use. Nothing is missing but what went before the first probe was missed: copies take another path
    /// from then on.
    fn stops(&mut self, relay: Host) {
        self.world.freeze(relay, true);
        self.world.run_for(secs(7));
        let seed = self.world.seed();
        for (from, to) in [(self.one, self.other), (self.other, self.one)] {
            let received = self.world.take_received(from, to);
            let bound = u64::from(RATE) * u64::from(DOUBT.subsec_millis()) / 1_000;
            assert!(
                received.missing > 0,
                "seed {seed}: it was not in use: {received:?}"
            );
            assert!(
                received.missing <= bound && received.largest_gap <= DOUBT + RELAYED_TRIP,
                "seed {seed}: {received:?}, not within {DOUBT:?}"
            );
        }
    }

    /// Waits until both ends send over one relay as decided, and another one answers. Returns the one in use.
    fn relayed(&mut self) -> Host {
        let (one, other) = (self.one, self.other);
        let is_ready = |route: &RouteRow| {
            let is_up = |active: bool| {
                let mut paths = route.paths.iter();

                paths.any(|path| {
                    path.active == active && path.health == "up" && (active || path.path.relay.is_some())
                })
            };

            route.active == route.decided && is_up(true) && is_up(false)
        };
        self.world
            .until("a relay carries the pair as decided", secs(240), |world| {
                both(world, one, other, |via| via != Via::Direct)
                    && world.active_path(one, other) == world.active_path(other, one)
                    && [(one, other), (other, one)]
                        .into_iter()
                        .all(|(from, to)| world.route(from, to).is_some_and(|route| is_ready(&route)))
            });
        match self.world.active_path(one, other) {
            Some(Via::Relay(relay)) => relay,
            Some(Via::Direct) | None => panic!("seed {}: not relayed", self.world.seed()),
        }
    }
}

/// Begins to send both ways, and forgets what came up to then.
fn flow(world: &mut World, one: Host, other: Host) {
    world.send(one, other, RATE);
    world.send(other, one, RATE);
    world.run_for(secs(2));
    world.take_received(one, other);
    world.take_received(other, one);
}

/// Frames flow both ways, and no pause among them was longer.
fn arrived_within(world: &World, one: Host, other: Host, bound: Duration) {
    for (from, to) in [(one, other), (other, one)] {
        let received = world.take_received(from, to);
        let way = format!(
            "seed {}: {} to {}",
            world.seed(),
            world.name(from),
            world.name(to)
        );
        assert!(received.frames >= u64::from(RATE), "{way}: {received:?}");
        assert!(
            received.largest_gap <= bound,
            "{way}: {received:?}, not within {bound:?}"
        );
    }
}

fn both(world: &World, one: Host, other: Host, wanted: impl Fn(Via) -> bool) -> bool {
    let way = |from, to| world.active_path(from, to).is_some_and(&wanted);

    way(one, other) && way(other, one)
}

/// Whether both ends have a path besides the one in use that answers.
fn has_standby(world: &World, one: Host, other: Host) -> bool {
    [(one, other), (other, one)].into_iter().all(|(from, to)| {
        let route = world.route(from, to);
        route.is_some_and(|route| route.paths.iter().any(|path| !path.active && path.health == "up"))
    })
}

fn generation(world: &World, one: Host, other: Host) -> u64 {
    world.route(one, other).expect("a route").generation
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SEEDS: std::ops::Range<u64> = 0..10;
/// Frames a second each way, as the demo sends.
const RATE: u16 = 50;
/// Three missed probes of 200 ms, and one interval of phase.
const DETECTION: Duration = Duration::from_millis(4 * 200);
/// A round trip there and back, with all jitter, the pause between two frames, and a millisecond for each timer.
const DIRECT_TRIP: Duration = Duration::from_millis(14 + 20 + 4);
const RELAYED_TRIP: Duration = Duration::from_millis(28 + 20 + 4);
/// One missed probe of 200 ms, and one interval of phase.
const DOUBT: Duration = Duration::from_millis(2 * 200);
/// From the cut until the relay stops.
const PAUSES: [Duration; 4] = [
    Duration::ZERO,
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(900),
];
