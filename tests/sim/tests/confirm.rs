//! An operator publishes controller addresses that lead nowhere, and the fleet comes back by itself.

use std::time::Duration;

use serde_json::{Value, json};
use sim::world::{Host, World};

#[test]
fn a_fleet_that_is_pointed_at_a_dead_controller_comes_back_by_itself_and_says_so() {
    for seed in SEEDS {
        let (mut world, one, other) = fleet(seed);
        world.advertise(Host::NOWHERE);
        world.until("every node tries the new address", secs(60), |world| {
            all(world, |unconfirmed| unconfirmed.as_deref() == Some("on_trial"))
        });
        let took = world.until("the controller has heard of it from all", secs(100), |world| {
            held(world) == world.nodes().len()
        });
        assert!(
            took > secs(50),
            "seed {seed}: new addresses have a minute: {took:?}"
        );
        world.run_for(secs(40));

        assert_eq!(
            findings(&mut world),
            ["open"],
            "seed {seed}: one, whoever tells it"
        );
        for host in world.nodes() {
            let status = world.status(host).expect("it runs");
            let controller = status.controller.expect("a node");
            assert!(controller.connected, "seed {seed}");
            assert_eq!(controller.endpoint, "10.0.0.0:7600", "seed {seed}");
            assert_eq!(
                status.unconfirmed, None,
                "seed {seed}: it is given what it went back to"
            );
        }
        assert_eq!(world.active_nodes(), world.nodes().len(), "seed {seed}");
        for (from, to) in [(one, other), (other, one)] {
            let received = world.take_received(from, to);
            assert_eq!(received.missing, 0, "seed {seed}: {received:?}");
        }
    }
}

#[test]
fn once_it_is_acknowledged_the_same_address_is_tried_again_and_confirmed_when_it_is_right() {
    for seed in SEEDS {
        let (mut world, ..) = fleet(seed);
        world.advertise(Host::NOWHERE);
        world.until("every node went back", secs(160), |world| {
            held(world) == world.nodes().len()
        });
        world.run_for(secs(20));
        let before = configs(&world);
        acknowledge(&mut world);
        world.until("every node tries it again", secs(30), |world| {
            all(world, |unconfirmed| unconfirmed.as_deref() == Some("on_trial"))
        });
        world.until("every node went back again", secs(100), |world| {
            held(world) == world.nodes().len()
        });
        assert_eq!(findings(&mut world), ["open"], "seed {seed}: opened again");

        world.advertise(Host::CONTROLLER);
        world.run_for(secs(60));
        assert!(all(&world, Option::is_none), "seed {seed}");
        let after = configs(&world);
        assert!(
            before.iter().zip(&after).all(|(before, after)| before < after),
            "seed {seed}"
        );
        world.settle(secs(60));
    }
}

#[test]
fn an_outage_that_begins_with_a_new_address_ends_at_either_one() {
    for seed in SEEDS {
        let (mut world, ..) = fleet(seed);
        world.advertise(Host::NOWHERE);
        world.until("a node tries the new address", secs(60), |world| {
            !all(world, |unconfirmed| unconfirmed.is_none())
        });
        world.crash(Host::CONTROLLER);
        world.run_for(secs(300));
        world.start(Host::CONTROLLER);
        world.until("every node is back", secs(120), |world| {
            world.active_nodes() == world.nodes().len()
        });
        world.settle(secs(120));
    }
}

#[test]
fn a_reversal_is_a_function_of_its_seed() {
    let run = |seed| {
        let (mut world, ..) = fleet(seed);
        world.advertise(Host::NOWHERE);
        world.run_for(secs(120));

        (world.history(), world.net().digest(), configs(&world))
    };
    for seed in SEEDS {
        let (one, other) = (run(seed), run(seed));
        let differs = one.0.iter().zip(&other.0).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!((one.1, one.2), (other.1, other.2), "seed {seed}");
    }
}

/// A relay and three members, two of which send to each other.
fn fleet(seed: u64) -> (World, Host, Host) {
    let mut world = World::new(seed);
    world.relay("site-a");
    let [one, other, _] = [world.member(), world.member(), world.member()];
    world.settle(secs(60));
    world.send(one, other, RATE);
    world.send(other, one, RATE);
    world.run_for(secs(2));
    world.take_received(one, other);
    world.take_received(other, one);

    (world, one, other)
}

/// Whether this holds of how the settings of every node stand.
fn all(world: &World, holds: impl Fn(&Option<String>) -> bool) -> bool {
    world.nodes().into_iter().all(|host| {
        let status = world.status(host);

        status.is_some_and(|status| holds(&status.unconfirmed.map(|unconfirmed| unconfirmed.state)))
    })
}

/// How many nodes the controller keeps from the settings that are published.
fn held(world: &mut World) -> usize {
    let nodes = world.act("node/list", json!({}));
    let nodes = nodes.as_array().expect("a list").iter();

    nodes.filter(|node| node["reverted"]["state"] == "held").count()
}

/// The states of the findings about reverted configs.
fn findings(world: &mut World) -> Vec<Value> {
    let found = world.act("finding/list", json!({}));
    let found = found.as_array().expect("a list").iter();

    found
        .filter(|finding| finding["name"] == "config_reverted")
        .map(|finding| finding["state"].clone())
        .collect()
}

fn acknowledge(world: &mut World) {
    let found = world.act("finding/list", json!({}));
    let id = found
        .as_array()
        .expect("a list")
        .iter()
        .find(|finding| finding["name"] == "config_reverted")
        .map(|finding| finding["id"].clone());
    world.act("finding/ack", json!({ "id": id.expect("raised") }));
}

/// The version of every node's config.
fn configs(world: &World) -> Vec<u64> {
    let version = |host| {
        let documents = world.status(host).expect("it runs").documents.into_iter();

        documents
            .filter(|document| document.kind == "synthetic config")
            .map(|document| document.version)
            .next()
    };

    world.nodes().into_iter().filter_map(version).collect()
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SEEDS: std::ops::Range<u64> = 0..4;
const RATE: u16 = 20;
