//! How long traffic stands still when its path dies: real processes on real kernel networking, many pairs at once.
//!
//! ```text
//!   d1a ─ d1b, d2a ─ d2b, ...    direct, relays ready     the direct path is cut; brought back by cutting the relays
//!   r1a ─ r1b, r2a ─ r2b, ...    never direct             the relay in use is cut off from the pair, and back again
//! ```
//!
//! Only the pairs have routes, and each is cut by itself: one pair's fault is nobody else's.

mod pair;
mod watch;

use std::time::{Duration, Instant};

use e2e::lab::{Lab, Mode, Node};
use serde_json::json;

use crate::bench::{Bench, Budget, Findings, NotMeasured, Row};
use crate::figure::{Figure, percentile};
use pair::{Kind, Outcome, Pair, RELAYS, Sample};

pub(crate) const BENCH: Bench = Bench {
    name: "failover",
    run,
};

fn run() -> Result<Findings, NotMeasured> {
    let mut rows = Vec::new();
    let mut notes = Vec::new();
    for pace in [SHIPPED, BRISK] {
        let outcomes = measure(&pace)?;
        for kind in [Kind::Direct, Kind::Relay] {
            let of_kind = outcomes.iter().filter(|(of, _)| *of == kind);
            let samples: Vec<Sample> = of_kind
                .clone()
                .flat_map(|(_, outcome)| outcome.samples.clone())
                .collect();
            let failures: Vec<String> = of_kind
                .flat_map(|(_, outcome)| outcome.failures.clone())
                .collect();
            notes.push(note(kind, &pace, &samples, &failures));
            rows.extend(figures(kind, &pace, &samples, &failures)?);
        }
    }
    let words = format!("{WORDS}\n\n{}", notes.join("\n"));

    Ok(Findings { words, rows })
}

/// How fast probes go, and what is asked of failovers then (DESIGN 11).
#[derive(Clone, Copy, Debug)]
struct Pace {
    interval_ms: u32,
    /// What stands in the names of the figures.
    mark: &'static str,
    budget: Budget,
}

const SHIPPED: Pace = Pace {
    interval_ms: 200,
    mark: "",
    budget: Budget::Within {
        p50: 800.0,
        p99: Some(1_500.0),
    },
};
const BRISK: Pace = Pace {
    interval_ms: 100,
    mark: "_100ms",
    budget: Budget::Within {
        p50: 500.0,
        p99: None,
    },
};

/// Raises a fleet and lets every pair fail over, again and again.
fn measure(pace: &Pace) -> Result<Vec<(Kind, Outcome)>, NotMeasured> {
    let mut lab = Lab::open()?;
    let pairs = raise(&mut lab, pace);
    let (shared, deadline) = (&lab, Instant::now() + BUDGET);
    eprintln!(
        "bench: {} pairs fail over at probes every {} ms, for {} s at the most",
        pairs.len(),
        pace.interval_ms,
        BUDGET.as_secs()
    );

    Ok(std::thread::scope(|scope| {
        let running: Vec<_> = pairs
            .iter()
            .map(|pair| scope.spawn(move || (pair.kind, pair.repeat(shared, rounds(pair.kind), deadline))))
            .collect();
        let ended = running.into_iter();

        ended
            .map(|pair| pair.join().expect("a pair reports its failures"))
            .collect()
    }))
}

/// A controller, two relays, and the pairs with the one route that each has.
fn raise(lab: &mut Lab, pace: &Pace) -> Vec<Pair> {
    let transport = format!("[transport]\nprobe_fast = \"{}ms\"\n", pace.interval_ms);
    lab.init_controller(Mode::Dev, &transport);
    lab.start_controller();
    lab.site().run(&["cluster", "create", "bench"]);
    let of_kind = |kind: Kind, count: usize| (1..=count).map(move |number| Pair::new(kind, number));
    let pairs: Vec<Pair> = of_kind(Kind::Direct, DIRECT_PAIRS)
        .chain(of_kind(Kind::Relay, RELAY_PAIRS))
        .collect();
    let policies: Vec<_> = pairs.iter().map(policy).collect();
    let file = lab.site().path("policies.json");
    std::fs::write(&file, json!({ "policies": policies }).to_string()).expect("written");
    lab.site()
        .run(&["policy", "apply", file.to_str().expect("a plain path")]);

    let relays = RELAYS.map(|relay| Node::relay(relay, &[]));
    let members = pairs.iter().flat_map(|pair| {
        let label = format!("pair={}", pair.name());
        pair.ends().map(|end| Node::member(end, &[&label]))
    });
    lab.join(&relays.into_iter().chain(members).collect::<Vec<_>>());
    for pair in pairs.iter().filter(|pair| pair.kind == Kind::Relay) {
        lab.cut(&[&pair.one], &[&pair.other]);
    }

    pairs
}

fn policy(pair: &Pair) -> serde_json::Value {
    let label = format!("pair={}", pair.name());

    json!({ "name": pair.name(), "priority": 10, "source": label, "target": label, "cadence": "fast" })
}

const fn rounds(kind: Kind) -> usize {
    let pairs = match kind {
        Kind::Direct => DIRECT_PAIRS,
        Kind::Relay => RELAY_PAIRS,
    };

    REPETITIONS.div_ceil(pairs)
}

/// Gap, moved and detected of one kind of death at one pace.
fn figures(
    kind: Kind,
    pace: &Pace,
    samples: &[Sample],
    failures: &[String],
) -> Result<Vec<Row>, NotMeasured> {
    let interval = f64::from(pace.interval_ms);
    let round_trip = median(samples, |sample| sample.round_trip_ms);
    let floor = round_trip.map(|round_trip| MISSES * interval + interval / 2.0 + round_trip);
    let row = |measure: &str, value: fn(&Sample) -> f64| {
        let values: Vec<f64> = samples.iter().map(value).collect();

        Some(Row {
            name: format!("failover_{}{measure}{}_ms", kind.name(), pace.mark),
            figure: Figure::of(&values, "ms", floor?)?,
            budget: Some(pace.budget),
        })
    };

    let rows = [
        row("", |sample| sample.gap_ms),
        row("_moved", |sample| sample.moved_ms),
        row("_detected", |sample| sample.detected_ms),
    ];

    rows.into_iter()
        .collect::<Option<Vec<Row>>>()
        .ok_or_else(|| NotMeasured::TooFew {
            found: samples.len(),
            wanted: REPETITIONS,
            reasons: failures.to_vec(),
        })
}

/// What the figures leave out.
fn note(kind: Kind, pace: &Pace, samples: &[Sample], failures: &[String]) -> String {
    let lost = median(samples, |sample| sample.lost).unwrap_or(0.0);
    let round_trip = median(samples, |sample| sample.round_trip_ms).unwrap_or(0.0);
    let mut note = format!(
        "- `{}` at {} ms: {} repetitions, median of {lost} lost frames (both directions), round trip {round_trip} ms.",
        kind.name(),
        pace.interval_ms,
        samples.len(),
    );
    if samples.len() < REPETITIONS {
        note += &format!(" Fewer than the {REPETITIONS} that were wanted.");
    }
    if !failures.is_empty() {
        note += &format!(" Repetitions that gave no figure: {}.", failures.join("; "));
    }

    note
}

fn median(samples: &[Sample], value: fn(&Sample) -> f64) -> Option<f64> {
    let mut values: Vec<f64> = samples.iter().map(value).collect();
    values.sort_by(f64::total_cmp);

    percentile(&values, 50)
}

const DIRECT_PAIRS: usize = 6;
const RELAY_PAIRS: usize = 5;
/// Of each kind at each pace, over all pairs.
const REPETITIONS: usize = 204;
/// Misses that make a path down (DESIGN 6).
const MISSES: f64 = 3.0;
/// For all rounds at one pace: with two paces and two fleets to raise, the bench ends within a quarter of an hour.
const BUDGET: Duration = Duration::from_secs(390);

const WORDS: &str = "\
Real processes, each in a network namespace of its own; one controller and two relays for eleven pairs that fail over
independently of each other, 50 synthetic frames a second each way. A path that is well dies silently and both ways:
what the two ends send each other is dropped (`direct`), or what they and the relay in use send each other, with no
direct path to begin with (`relay`: to this pair the relay is dead, to the others and to the controller it is not). Of
the two directions the worse one counts.

- `failover_direct_ms`, `failover_relay_ms`: the gap, the longest time in which a receiver heard nothing new, by its own
  sequence log.
- `..._moved_...`: from the cut to the first frame over another path, as polled every 5 ms.
- `..._detected_...`: from the cut until both ends have another path in use, as polled every 5 ms.
- `..._100ms_...`: with `probe_fast = \"100ms\"`; the others with the 200 ms that is shipped.

The floor is what three misses take: 3 probe intervals, half an interval of phase, one round trip. It bounds detection
alone. Gap and moved go below it, because an agent sends on both paths after the first miss, before it calls the path
down. Half an interval is the median phase of one direction; the worse of two is later, so `detected` stands above the
floor even if nothing else takes time. The budget at 100 ms names no percentile and is held against the median.";
