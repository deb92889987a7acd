//! A run is a function of its seed, and a fleet finds itself again after every weather.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use protocol::document::config::Transport;
use serde_json::json;
use sim::seeds;
use sim::world::weather::{Fault, Fired, Weather};
use sim::world::{Ground, World};

#[test]
fn a_run_is_a_function_of_its_seed() {
    let run = |seed| {
        let mut world = fleet(seed);
        let mut weather = Weather::new(&world, Fault::ALL);
        weather.blow(&mut world, secs(120));
        let fired = weather.clear(&mut world);
        world.settle(RECOVERY);

        (world.history(), world.net().digest(), world.net().counts(), fired)
    };
    for seed in 0..5 {
        let (history, digest, counts, fired) = run(seed);
        let again = run(seed);
        let differs = history.iter().zip(&again.0).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(history.len(), again.0.len(), "seed {seed}");
        assert_eq!(
            (digest, counts, &fired),
            (again.1, again.2, &again.3),
            "seed {seed}"
        );
        assert!(!fired.is_empty(), "seed {seed}");
        let other = run(seed + 1_000);
        assert_ne!(other.0, history, "seed {seed}");
        assert_ne!(other.1, digest, "seed {seed}");
    }
}

#[test]
fn a_fleet_outlives_a_bad_network() {
    let fired = storms(seeds::share(0, 3), Fault::NETWORK);
    assert_eq!(fired.len(), Fault::NETWORK.len(), "{fired:?}");
}

#[test]
fn a_fleet_outlives_the_crashes_of_its_processes() {
    let fired = storms(seeds::share(1, 3), Fault::PROCESSES);
    assert_eq!(fired.len(), Fault::PROCESSES.len(), "{fired:?}");
}

#[test]
fn a_fleet_outlives_everything_at_once() {
    let fired = storms(seeds::share(2, 3), Fault::ALL);
    assert_eq!(fired.len(), Fault::ALL.len(), "{fired:?}");
}

#[test]
#[should_panic(expected = "a part is broken")]
fn an_error_that_is_logged_fails_the_run() {
    let mut world = World::new(1);
    world.run_for(secs(1));
    tracing::error!(target: "agent_shell", "a part is broken");
    world.run_for(secs(1));
}

/// Lets faults of these kinds come and go in one world per seed, and expects that each fleet is whole again afterwards.
fn storms(seeds: Range<u64>, kinds: &'static [Fault]) -> Fired {
    let mut fired = Fired::new();
    let (mut cut, mut lost, mut duplicated) = (0, 0, 0);
    for seed in seeds {
        let mut world = fleet(seed);
        let mut weather = Weather::new(&world, kinds);
        weather.blow(&mut world, STORM);
        for (fault, times) in weather.clear(&mut world) {
            *fired.entry(fault).or_default() += times;
        }
        world.settle(RECOVERY);
        is_accounted_for(&mut world);
        let counts = world.net().counts();
        cut += counts.cut;
        lost += counts.lost;
        duplicated += counts.duplicated;
    }
    if kinds.contains(&Fault::Loss) {
        assert!(
            cut > 0 && lost > 0 && duplicated > 0,
            "{cut} cut, {lost} lost, {duplicated} duplicated"
        );
    }

    fired
}

/// One row for each host, one use of each token, an audit chain that verifies, and a controller that trusts its store.
fn is_accounted_for(world: &mut World) {
    let seed = world.seed();
    assert_eq!(world.act("audit/verify", json!({}))["ok"], true, "seed {seed}");
    assert!(
        world.act("status/show", json!({}))["read_only"].is_null(),
        "seed {seed}"
    );
    let audit = world.act("audit/list", json!({ "limit": 1_000 }));
    let audit = audit.as_array().expect("a list");
    let consumed = audit
        .iter()
        .filter(|record| record["name"] == "token.consumed")
        .count();
    assert_eq!(consumed, world.nodes().len(), "seed {seed}");
    let listed = world.act("node/list", json!({}));
    let names: BTreeMap<_, _> = listed
        .as_array()
        .expect("a list")
        .iter()
        .map(|node| {
            (
                node["name"].as_str().expect("a name").to_owned(),
                node["id"].clone(),
            )
        })
        .collect();
    assert_eq!(
        listed.as_array().map(Vec::len),
        Some(world.nodes().len()),
        "seed {seed}"
    );
    for host in world.nodes() {
        let id = world.id(host).map(|id| json!(id.to_string()));
        assert_eq!(names.get(&*world.name(host)), id.as_ref(), "seed {seed}");
    }
}

/// Two members and two relays, probed at half the usual pace: a storm is long, and there are many.
fn fleet(seed: u64) -> World {
    let ground = Ground {
        transport: Transport {
            probe_fast: 500,
            ..Transport::default()
        },
        ..Ground::default()
    };
    let mut world = World::on(seed, ground);
    world.relay("site-a");
    world.relay("site-b");
    world.member();
    world.member();
    world.settle(secs(30));

    world
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const STORM: Duration = secs(180);
/// From the end of the last fault until everything is well again.
const RECOVERY: Duration = secs(120);
