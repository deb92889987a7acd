//! What goes on, and what does not, while there is no controller.

use std::time::Duration;

use sim::world::{Host, Via, World};

#[test]
fn active_relayed_pairs_live_on_without_a_controller_for_longer_than_the_leases_are_fresh() {
    for seed in SEEDS {
        let (mut world, [one, other, _], relays) = fleet(seed);
        world.set_cut_between(one, other, true);
        relayed(&mut world, one, other);
        let before = (world.active_path(one, other), world.active_path(other, one));
        flow(&mut world, one, other);
        world.crash(Host::CONTROLLER);
        world.run_for(OUTAGE);

        for relay in relays {
            let rows = world.relay_rows(relay).expect("it runs");
            let age = rows.fresh_age_ms.expect("it was fresh once");
            assert!(age > 60_000, "seed {seed}: its leases are fresh for {age} ms");
        }
        let after = (world.active_path(one, other), world.active_path(other, one));
        assert_eq!(before, after, "seed {seed}: nothing on the way failed");
        steady(&world, one, other);

        world.start(Host::CONTROLLER);
        world.run_for(secs(30));
        steady(&world, one, other);
        world.settle(secs(60));
    }
}

#[test]
fn an_agent_that_is_restarted_without_a_controller_goes_on_with_what_it_knew() {
    for seed in SEEDS {
        let (mut world, [one, other, _], _) = fleet(seed);
        world.until("the pair is direct", secs(60), |world| {
            world.active_path(one, other) == Some(Via::Direct)
                && world.active_path(other, one) == Some(Via::Direct)
        });
        world.send(other, one, RATE);
        world.crash(Host::CONTROLLER);
        world.run_for(secs(70));
        let known = (world.id(one), documents(&world, one));
        world.crash(one);
        world.run_for(secs(5));
        world.start(one);
        world.until("its direct path works again", secs(10), |world| {
            world.is_healthy(one, other) && world.active_path(one, other) == Some(Via::Direct)
        });
        assert_eq!((world.id(one), documents(&world, one)), known, "seed {seed}");
        world.run_for(secs(40));
        world.take_received(other, one);
        world.send(one, other, RATE);
        world.run_for(secs(5));
        steady(&world, one, other);

        world.start(Host::CONTROLLER);
        world.settle(secs(60));
    }
}

#[test]
fn a_relay_that_is_restarted_without_a_controller_carries_nothing_until_it_has_heard_one() {
    for seed in SEEDS {
        let (mut world, [one, other, _], relays) = fleet(seed);
        world.set_cut_between(one, other, true);
        relayed(&mut world, one, other);
        flow(&mut world, one, other);
        world.crash(Host::CONTROLLER);
        world.run_for(secs(5));
        for relay in relays {
            world.restart(relay);
        }
        let mut asked = 0;
        for _ in 0..90 {
            world.run_for(secs(1));
            for relay in relays {
                let rows = world.relay_rows(relay).expect("it runs").rows;
                let carried: u64 = rows.iter().map(|row| row.forwarded).sum();
                assert_eq!(carried, 0, "seed {seed}: {rows:?}");
                asked = asked.max(rows.iter().map(|row| row.refused).sum());
            }
        }
        assert!(asked > 0, "seed {seed}: nobody asked it to carry anything");

        world.start(Host::CONTROLLER);
        world.settle(secs(120));
        world.take_received(one, other);
        world.take_received(other, one);
        world.run_for(secs(5));
        steady(&world, one, other);
    }
}

#[test]
fn who_stands_still_beside_the_way_moves_nobody() {
    for seed in SEEDS {
        let (mut world, [one, other, third], _) = fleet(seed);
        world.set_cut_between(one, other, true);
        relayed(&mut world, one, other);
        let before = (world.active_path(one, other), world.active_path(other, one));
        flow(&mut world, one, other);
        world.crash(Host::CONTROLLER);
        for _ in 0..8 {
            world.freeze(third, true);
            world.run_for(secs(7));
            world.freeze(third, false);
            world.run_for(secs(4));
        }

        assert_eq!(
            before,
            (world.active_path(one, other), world.active_path(other, one)),
            "seed {seed}"
        );
        steady(&world, one, other);
    }
}

#[test]
fn a_far_end_that_stands_still_for_a_moment_moves_nobody() {
    for seed in SEEDS {
        for controlled in [true, false] {
            let (mut world, [one, other, _], _) = fleet(seed);
            world.set_cut_between(one, other, true);
            relayed(&mut world, one, other);
            let before = (world.active_path(one, other), world.active_path(other, one));
            flow(&mut world, one, other);
            if !controlled {
                world.crash(Host::CONTROLLER);
            }
            for millis in [300, 600, 800, 1_000, 1_500, 2_500] {
                world.freeze(other, true);
                world.run_for(Duration::from_millis(millis));
                world.freeze(other, false);
                world.run_for(secs(4));
                let after = (world.active_path(one, other), world.active_path(other, one));
                assert_eq!(
                    before, after,
                    "seed {seed}, {millis} ms, controlled: {controlled}"
                );
            }
            let received = world.take_received(one, other);
            assert_eq!(received.missing, 0, "seed {seed}: {received:?}");
            let gap = received.largest_gap;
            assert!(gap > secs(2), "seed {seed}: it did not stand still: {gap:?}");
        }
    }
}

/// Two relays and three members.
fn fleet(seed: u64) -> (World, [Host; 3], [Host; 2]) {
    let mut world = World::new(seed);
    let relays = [world.relay("site-a"), world.relay("site-b")];
    let members = [world.member(), world.member(), world.member()];
    world.settle(secs(30));

    (world, members, relays)
}

/// Waits until both ends send over a relay by decision, and have a standby.
fn relayed(world: &mut World, one: Host, other: Host) {
    world.until("the pair is relayed by decision", secs(120), |world| {
        [(one, other), (other, one)].into_iter().all(|(from, to)| {
            let active = world.active_path(from, to);
            let well = world
                .route(from, to)
                .is_some_and(|route| route.paths.iter().filter(|path| path.health == "up").count() >= 2);

            matches!(active, Some(Via::Relay(_))) && active == world.decided_path(from, to) && well
        })
    });
}

/// Begins to send both ways, and forgets what came up to then.
fn flow(world: &mut World, one: Host, other: Host) {
    world.send(one, other, RATE);
    world.send(other, one, RATE);
    world.run_for(secs(2));
    world.take_received(one, other);
    world.take_received(other, one);
}

/// Frames flow both ways, and not one is missing or late.
fn steady(world: &World, one: Host, other: Host) {
    for (from, to) in [(one, other), (other, one)] {
        let received = world.take_received(from, to);
        let way = format!(
            "seed {}: {} to {}",
            world.seed(),
            world.name(from),
            world.name(to)
        );
        assert!(received.frames >= 3 * u64::from(RATE), "{way}: {received:?}");
        assert_eq!(received.missing, 0, "{way}: {received:?}");
        assert!(
            received.largest_gap < Duration::from_millis(100),
            "{way}: {received:?}"
        );
    }
}

fn documents(world: &World, host: Host) -> Vec<(String, u64)> {
    let status = world.status(host).expect("it runs");
    let documents = status.documents.into_iter();

    documents
        .map(|document| (document.kind, document.version))
        .collect()
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SEEDS: std::ops::Range<u64> = 0..8;
const RATE: u16 = 50;
/// More than twice as long as leases are fresh and activity lasts.
const OUTAGE: Duration = secs(150);
