//! How long the controller's routing takes: one relay of a large cluster dies, and everything anew.

mod floor;
mod world;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use control_api::books::Books;
use control_api::live::{Due, Evidence};
use control_api::router::{Passed, Router};
use control_routing::trend::Trends;
use protocol::id::RouteId;

use crate::bench::{Bench, Budget, Findings, NotMeasured, Row};
use crate::figure::Figure;
use crate::rounds::median;
use floor::Flat;
use world::{NOW, RELAY, Size, World};

pub(crate) const REDECIDE: Bench = Bench {
    name: "redecide_relay_death_ms",
    run: redecide,
};

pub(crate) const RECOMPUTE: Bench = Bench {
    name: "recompute_full_ms",
    run: recompute,
};

fn redecide() -> Result<Findings, NotMeasured> {
    let size = Size {
        nodes: 10_000,
        relays: RELAYS,
    };
    let mut world = World::of(size);
    let mut router = Router::of(Books::of(world.fleet.clone(), BTreeMap::new()), Trends::default());
    let (mut samples, mut floors, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    let mut decisions = 0;
    router.pass(evidence(&world, Vec::new()), NOW);
    for number in 0..SAMPLES {
        // One relay after the other, each told to the router as it was before the first: nothing is stored in between.
        let mut dying = router.clone();
        let due = world.kill(world::id(RELAY, number), NOW.boot);
        let flat = Flat::of(due.len(), RELAYS as usize + 1);
        floors.push(millis(flat.decide()));
        let (took, passed) = timed(&mut dying, &world, due);
        counts.push(passed.decided);
        decisions = passed
            .outcomes
            .iter()
            .filter(|outcome| outcome.is_decision())
            .count();
        if decisions == 0 {
            return Err(NotMeasured::Broken("a dead relay moved nothing".to_owned()));
        }
        samples.push(millis(took));
    }
    let affected = counts.iter().sum::<usize>() / counts.len();
    let words = format!(
        "One pass of the router over what a relay carried: {affected} routes in the mean, as their path or as a standby, of the \
         routes of {} nodes with 16 neighbours each and {RELAYS} relays to choose from; {} decisions came of the last. The floor compares as many candidates \
         of as many routes in a flat array.",
        size.nodes, decisions,
    );

    findings("redecide_relay_death_ms", &samples, &floors, words)
}

fn recompute() -> Result<Findings, NotMeasured> {
    let mut rows = Vec::new();
    let mut words = String::new();
    for nodes in [10_000, 100_000] {
        let size = Size {
            nodes,
            relays: RELAYS,
        };
        let world = World::of(size);
        let routes = world.fleet.wanted.len();
        let router = Router::of(Books::of(world.fleet.clone(), BTreeMap::new()), Trends::default());
        let flat = Flat::of(routes, RELAYS as usize + 1);
        let (mut samples, mut floors) = (Vec::new(), Vec::new());
        for _ in 0..(if nodes > 10_000 { 3 } else { SAMPLES }) {
            floors.push(millis(flat.decide()));
            let mut fresh = router.clone();
            let (took, passed) = timed(&mut fresh, &world, Vec::new());
            if passed.decided != routes {
                return Err(NotMeasured::Broken("a first pass left routes out".to_owned()));
            }
            samples.push(millis(took));
        }
        let name = format!("recompute_full_ms_{nodes}");
        let found = findings(
            &name,
            &samples,
            &floors,
            format!("- {nodes} nodes: {routes} routes\n"),
        )?;
        rows.extend(found.rows);
        words.push_str(&found.words);
    }

    Ok(Findings { words, rows })
}

fn timed(router: &mut Router, world: &World, due: Vec<RouteId>) -> (Duration, Passed) {
    let started = Instant::now();
    let passed = router.pass(evidence(world, due), NOW);

    (started.elapsed(), passed)
}

fn evidence(world: &World, due: Vec<RouteId>) -> Evidence {
    Evidence {
        observations: world.observations.clone(),
        due: Due {
            routes: due.into_iter().collect(),
            ..Due::default()
        },
    }
}

fn findings(name: &str, samples: &[f64], floors: &[f64], words: String) -> Result<Findings, NotMeasured> {
    let floor = median(floors);
    let figure = floor.and_then(|floor| Figure::of(samples, "ms", floor));
    let figure = figure.ok_or_else(|| NotMeasured::Broken("no pass was measured".to_owned()))?;

    Ok(Findings {
        words,
        rows: vec![Row {
            name: name.to_owned(),
            figure,
            budget: Some(Budget::AtMostOfFloor(10.0)),
        }],
    })
}

/// To a hundredth.
fn millis(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 100_000.0).round() / 100.0
}

const RELAYS: u32 = 50;
const SAMPLES: u32 = 20;
