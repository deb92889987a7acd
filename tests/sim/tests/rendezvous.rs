//! Two hosts behind routers that let in answers alone, and no relay: a node over which they agree when to dial each other.

use std::time::Duration;

use serde_json::{Value, json};
use sim::world::{Host, Via, World};

#[test]
fn two_hosts_behind_nats_without_a_relay_meet_over_a_node_that_carries_nothing_for_them() {
    for seed in SEEDS {
        let (mut world, one, other) = apart(seed);
        let introducer = world.introducer();
        world.until("both ends can ask each other there", secs(120), |world| {
            [(one, other), (other, one)]
                .into_iter()
                .all(|(from, to)| can_ask(world, from, to))
        });
        let lease = lease(&mut world).expect("granted");
        assert_eq!(
            (&lease["kind"], &lease["state"]),
            (&json!("rendezvous"), &json!("active"))
        );
        assert_eq!(
            rendezvous(&mut world, one, other),
            ("granted".to_owned(), json!("rendezvous-1"), true)
        );
        assert!(
            !world.is_healthy(one, other) && !world.is_healthy(other, one),
            "seed {seed}"
        );

        world.set_cut_between(one, other, false);
        world.until("both ends have a direct path", secs(120), |world| {
            is_direct(world, one, other) && is_direct(world, other, one)
        });
        let met = world
            .history()
            .iter()
            .filter(|line| line.contains("met a neighbour"))
            .count();
        assert!(met > 0, "seed {seed}: by a meeting");
        world.until("the lease is given back", secs(120), |world| {
            lease_state(world) == "withdrawn"
                && !knows_a_place(world, one, other)
                && !knows_a_place(world, other, one)
        });
        world.run_for(secs(90));

        assert!(
            is_direct(&world, one, other) && is_direct(&world, other, one),
            "seed {seed}"
        );
        let rows = world.relay_rows(introducer).expect("it runs").rows;
        assert!(rows.is_empty(), "seed {seed}: {rows:?}");
        let leases = world.act("lease/list", json!({}));
        assert_eq!(leases.as_array().map(Vec::len), Some(1), "seed {seed}: {leases}");
    }
}

#[test]
fn without_such_a_node_they_have_no_path_and_it_is_said_why() {
    for seed in SEEDS.take(3) {
        let (mut world, one, other) = apart(seed);
        world.until("it is said", secs(60), |world| {
            rendezvous(world, one, other) == ("no_rendezvous".to_owned(), Value::Null, false)
        });
        world.run_for(secs(60));

        assert!(
            !world.is_healthy(one, other) && !world.is_healthy(other, one),
            "seed {seed}"
        );
        assert_eq!(world.act("lease/list", json!({})), json!([]), "seed {seed}");
        let told = world.act("route/list", json!({}));
        assert!(told.to_string().contains("no_candidate"), "seed {seed}: {told}");
    }
}

#[test]
fn a_node_to_meet_over_that_dies_is_replaced() {
    for seed in SEEDS.take(3) {
        let (mut world, one, other) = apart(seed);
        let introducers = [world.introducer(), world.introducer()];
        let place = |world: &World| {
            let route = world.route(one, other)?;
            let node = route.meets_over.filter(|place| place.health == "up")?.node_name?;

            introducers.into_iter().find(|host| *world.name(*host) == *node)
        };
        world.until("they have a place to meet", secs(120), |world| {
            place(world).is_some()
        });
        let first = place(&world).expect("they have one");
        world.crash(first);
        world.until("they have another", secs(180), |world| {
            place(world).is_some_and(|host| host != first)
        });
    }
}

/// Two members behind routers, which cannot reach each other yet at all.
fn apart(seed: u64) -> (World, Host, Host) {
    let mut world = World::new(seed);
    let one = world.stranger("member", &["member"], None);
    let other = world.stranger("member", &["member"], None);
    for host in [one, other] {
        world.put_behind_nat(host);
    }
    world.set_cut_between(one, other, true);
    world.start(one);
    world.start(other);
    world.until("both know their route", secs(60), |world| {
        world.route(one, other).is_some() && world.route(other, one).is_some()
    });

    (world, one, other)
}

fn can_ask(world: &World, from: Host, to: Host) -> bool {
    let place = world.route(from, to).and_then(|route| route.meets_over);

    place.is_some_and(|place| place.health == "up")
}

fn knows_a_place(world: &World, from: Host, to: Host) -> bool {
    world
        .route(from, to)
        .is_some_and(|route| route.meets_over.is_some())
}

fn is_direct(world: &World, from: Host, to: Host) -> bool {
    world.active_path(from, to) == Some(Via::Direct) && world.is_healthy(from, to)
}

fn lease(world: &mut World) -> Option<Value> {
    let leases = world.act("lease/list", json!({}));

    leases.as_array().and_then(|leases| leases.first()).cloned()
}

fn lease_state(world: &mut World) -> String {
    let state = lease(world).map(|lease| lease["state"].clone());

    state
        .and_then(|state| state.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// Why, the node, and whether the ends know, as an operator is told.
fn rendezvous(world: &mut World, one: Host, other: Host) -> (String, Value, bool) {
    let (source, target) = (world.name(one).to_string(), world.name(other).to_string());
    let Ok(told) = world.try_act("route/explain", json!({ "source": source, "target": target })) else {
        return (String::new(), Value::Null, false);
    };
    let told = &told["rendezvous"];

    (
        told["why"].as_str().unwrap_or_default().to_owned(),
        told["node"].clone(),
        told["named"] == true,
    )
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SEEDS: std::ops::Range<u64> = 0..10;
