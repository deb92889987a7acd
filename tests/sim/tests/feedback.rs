//! Bad news is told for as long as it lasts, and a better decision is asked for ever more seldom.

use std::time::Duration;

use sim::world::{Host, Via, World};

#[test]
fn ten_minutes_of_failure_with_unchanged_answers_ask_at_most_seven_times_for_each_path() {
    for seed in 0..3 {
        let mut world = World::new(seed);
        world.relay("site-a");
        let (one, other) = (world.member(), world.member());
        world.settle(secs(60));
        world.until("the pair is direct", secs(60), |world| {
            world.decided_path(one, other) == Some(Via::Direct)
        });
        world.set_cut_between(one, other, true);
        world.until("the pair is relayed, by decision", secs(60), |world| {
            matches!(world.decided_path(one, other), Some(Via::Relay(_)))
        });
        world.run_for(secs(5));
        let before = [one, other].map(|end| unchanged(&world, end));
        let generation = world.route(one, other).expect("decided").generation;
        world.run_for(secs(600));

        assert_eq!(
            world.route(one, other).expect("decided").generation,
            generation,
            "seed {seed}: the answers change nothing"
        );
        for (end, before) in [one, other].into_iter().zip(before) {
            let (asked, held_back) = unchanged(&world, end);
            let asked = asked - before.0;
            assert!((3..=7).contains(&asked), "seed {seed}: asked {asked} times");
            assert!(held_back > before.1 + 50, "seed {seed}: the reports went on");
        }
    }
}

/// Polls after bad news that brought no other decision, and those that were held back.
fn unchanged(world: &World, host: Host) -> (u64, u64) {
    let refreshes = world
        .status(host)
        .and_then(|status| status.refreshes)
        .expect("a node");

    (refreshes.unchanged, refreshes.suppressed)
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}
