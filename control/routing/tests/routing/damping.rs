//! Paths that come and go.

use std::time::Duration;

use control_core::testing::MemoryTx;
use control_routing::journal;
use control_routing::member::MemberState;
use control_routing::observations::Observations;
use control_routing::recall::recalled;
use control_routing::trend::HOLD;
use control_routing::via::Via;
use protocol::document::routes::Reason;
use protocol::id::NodeId;
use protocol::time::Boot;

use crate::explain::explained;
use crate::world::{CLUSTER, World, member, node, relay, route};

#[test]
fn a_relay_that_comes_and_goes_moves_a_route_at_most_ten_times_an_hour() {
    // The acceptance of the issue, as whole cycles and as halves, and what lies between.
    for half in [5, 10, 15, 30, 45, 60, 90, 120, 150, 200, 300, 420] {
        let mut world = on_the_faster_of_two();
        let mut switches = 0;
        let mut flaps = 0;
        let mut at = world.via(node(1), node(2));
        for second in (0..3_600).step_by(5) {
            if second % half == 0 {
                flaps += u64::from(world.flip());
            }
            world.run(5);
            let now = world.via(node(1), node(2));
            switches += u64::from(now != at);
            at = now;
        }

        assert_eq!(flaps, 3_600_u64.div_ceil(2 * half), "the relay did fail");
        assert!((1..=10).contains(&switches), "{switches} switches at {half} s");
    }
}

#[test]
fn a_relay_that_flaps_moves_no_more_while_the_controller_restarts_every_few_minutes() {
    for (half, life) in [(45, 180), (90, 300), (150, 155)] {
        let mut world = on_the_faster_of_two();
        let mut journal = MemoryTx::default();
        let (mut switches, mut at) = (0, world.via(node(1), node(2)));
        for second in (0..3_600).step_by(5) {
            if second % half == 0 {
                world.flip();
            }
            if second % life == 0 {
                world.restart(&journal, second);
            }
            world.run_journalled(5, &mut journal);
            let now = world.via(node(1), node(2));
            switches += u64::from(now != at);
            at = now;
        }

        assert!(
            (1..=10).contains(&switches),
            "{switches} switches at {half} s, started anew each {life} s"
        );
    }
}

#[test]
fn what_a_path_owes_is_kept_over_a_takeover_and_fades_meanwhile() {
    let mut world = on_the_faster_of_two();
    let mut journal = MemoryTx::default();
    world.flip();
    world.run_journalled(5, &mut journal);
    assert_eq!(
        world.via(node(1), node(2)),
        Via::Relay(slow()),
        "decided with its failure"
    );
    let penalty = |world: &World| {
        let trend = world.trends.of(route(node(1), node(2)));
        trend
            .damping(Via::Relay(fast()))
            .map(|damping| damping.penalty(world.now.boot))
    };
    let before = penalty(&world).expect("it failed");
    world.advance(Duration::from_secs(300));
    world.restart(&journal, 1);
    let after = penalty(&world).expect("it is kept");
    assert_eq!((before, after), (1_000, 500));
    world.advance(Duration::from_secs(2 * 3_600));
    world.restart(&journal, 2);

    assert_eq!(penalty(&world), None, "of what is over nothing is kept");
}

#[test]
fn a_path_that_is_down_across_restarts_has_failed_once() {
    let mut world = on_the_faster_of_two();
    let mut journal = MemoryTx::default();
    world.flip();
    world.run_journalled(10, &mut journal);
    for restart in 0..5 {
        world.restart(&journal, restart);
        let unheard = world.decide();
        assert!(
            unheard.iter().all(|outcome| !outcome.is_decision()),
            "nothing is heard yet"
        );
        world.run_journalled(30, &mut journal);
    }
    let trend = world.trends.of(route(node(1), node(2)));
    let damping = trend.damping(Via::Relay(fast())).expect("it is down");

    assert!(damping.penalty(world.now.boot) <= 1_000);
}

#[test]
fn a_damped_path_is_left_for_a_sound_one_and_taken_when_there_is_no_other() {
    let mut world = on_the_faster_of_two();
    for _ in 0..10 {
        world.flip();
        world.run(10);
    }
    assert_eq!(world.via(node(1), node(2)), Via::Relay(slow()));
    let told = explained(&world, node(1), node(2)).expect("decided");
    let damped = told.candidates.iter().find(|found| found.judged.tier == "damped");
    let damped = damped.expect("the flapping relay is damped");
    assert_eq!(damped.judged.via, "n11");
    assert!(damped.penalty >= 3_000, "{}", damped.penalty);
    assert!(damped.damped_for_ms > Some(600_000), "{:?}", damped.damped_for_ms);
    world.network.dead.insert(slow());
    world.run(10);
    assert_eq!(
        world.via(node(1), node(2)),
        Via::Relay(fast()),
        "never the last path: damped is better than down"
    );
    world.network.dead.remove(&slow());
    world.run(45);
    assert_eq!(
        world.via(node(1), node(2)),
        Via::Relay(slow()),
        "and left once the other has worked for 30 s"
    );
    let row = world.row(node(1), node(2));
    assert!(row.reasons.contains(&Reason::Damped), "{:?}", row.reasons);

    world.run(16 * 60);
    assert_eq!(
        world.via(node(1), node(2)),
        Via::Relay(fast()),
        "after a quarter of an hour without a failure it is as good as any"
    );
}

#[test]
fn a_draining_relay_is_not_left_for_a_path_that_failed_a_moment_ago() {
    let mut world = on_the_faster_of_two();
    let (one, other) = (node(1), node(2));
    world.run(60);
    world.network.cut.clear();
    world.run(5);
    assert_eq!(
        world.via(one, other),
        Via::Relay(fast()),
        "direct is up again, and on probation"
    );
    world.set_state(fast(), MemberState::Draining);
    world.decide();
    assert_eq!(
        world.via(one, other),
        Via::Relay(slow()),
        "the sound one, though direct is faster"
    );

    let mut world = on_the_faster_of_two();
    world.network.cut.clear();
    world.network.dead.insert(slow());
    world.run(5);
    world.set_state(fast(), MemberState::Draining);
    world.decide();
    assert_eq!(
        world.via(one, other),
        Via::Relay(fast()),
        "nothing else is sound: no hurry"
    );
    world.run(35);
    assert_eq!(world.via(one, other), Via::Direct, "good for 30 s by now");
}

#[test]
fn a_dead_relay_is_left_for_whatever_works_and_for_what_is_not_on_probation_first() {
    let mut world = on_the_faster_of_two();
    let (one, other) = (node(1), node(2));
    world.network.cut.clear();
    world.run(5);
    world.network.dead.insert(fast());
    world.run(5);
    assert_eq!(world.via(one, other), Via::Relay(slow()));
    world.network.dead.insert(slow());
    world.run(5);

    assert_eq!(
        world.via(one, other),
        Via::Direct,
        "repair waits for no probation"
    );
}

#[test]
fn repair_waits_for_nothing_however_often_a_route_moved() {
    let mut world = on_the_faster_of_two();
    for _ in 0..20 {
        world.flip();
        world.run(10);
        world.flip();
        world.run(60);
        let dead = world.via(node(1), node(2)).relay().expect("direct is cut");
        world.network.dead.insert(dead);
        world.run(5);
        assert_ne!(world.via(node(1), node(2)).relay(), Some(dead), "at once");
        world.network.dead.clear();
        world.run(5);
    }
}

/// Two nodes without a direct path, on the relay that is clearly the faster one.
fn on_the_faster_of_two() -> World {
    let mut world = World::of([member(1), member(2), relay(11, "fra"), relay(12, "ber")]);
    for (relay, rtt) in [(fast(), 10_000), (slow(), 60_000)] {
        for end in [node(1), node(2)] {
            world.network.rtt.insert((end.min(relay), end.max(relay)), rtt);
        }
    }
    let (one, other) = (node(1), node(2));
    world.network.cut.insert((one.min(other), one.max(other)));
    world.run(120 + HOLD.as_secs());
    assert_eq!(world.via(one, other), Via::Relay(fast()));

    world
}

impl World {
    fn run_journalled(&mut self, seconds: u64, journal: &mut MemoryTx) {
        for _ in 0..seconds / 5 {
            self.advance(Duration::from_secs(5));
            self.report_all();
            let outcomes = self.decide();
            journal::record(journal, CLUSTER, outcomes.iter(), ("test", self.now.wall)).expect("writes");
            self.acknowledge_all();
        }
    }

    /// Another controller takes over, on a machine that started at another time. It has heard nothing yet.
    fn restart(&mut self, journal: &MemoryTx, salt: u64) {
        self.now.boot = Boot(20_000 + salt * 1_000);
        self.observations = Observations::default();
        self.trends = recalled(journal, CLUSTER, self.now).expect("reads");
    }

    /// The faster relay dies, or comes back. Says whether it died.
    fn flip(&mut self) -> bool {
        let died = self.network.dead.insert(fast());
        if !died {
            self.network.dead.remove(&fast());
        }

        died
    }
}

fn fast() -> NodeId {
    node(11)
}

fn slow() -> NodeId {
    node(12)
}
