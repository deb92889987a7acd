//! What an agent costs its host when nothing happens.

use std::time::{Duration, Instant};

use agent_shell::local::RouteRow;
use agent_shell::quic;
use serde_json::json;

use crate::bench::{Bench, Budget, Findings, NotMeasured, Row};
use crate::client::{self, Dialler};
use crate::figure::Figure;
use crate::floor::{self, Floor, Kind};
use crate::process;
use crate::rounds::median;

pub(crate) const BENCH: Bench = Bench { name: "agent", run };

fn run() -> Result<Findings, NotMeasured> {
    let mut site = e2e::Site::founded();
    let policies = json!({ "policies": [
        { "name": "star", "priority": 10, "source": "is=hub", "target": "is=spoke", "cadence": "auto" },
    ] });
    let file = site.private("policies.json", &policies.to_string());
    site.run(&["policy", "apply", &e2e::text(&file)]);
    for number in 1..=RELAYS {
        join(&mut site, &format!("relay-{number}"), &["--role", "relay"]);
    }
    for number in 1..=SPOKES {
        join(&mut site, &format!("spoke-{number}"), &["--label", "is=spoke"]);
    }
    join(&mut site, HUB, &["--label", "is=hub"]);
    settle(&site)?;
    let frames = || ["sent", "received"].map(|way| frames(&site, way));
    let (begun, before) = (Instant::now(), frames());
    let own = watch(site.pid(HUB))?;
    let (took, after) = (begun.elapsed().as_secs_f64(), frames());
    let [sent, received] = [0, 1].map(|way| (after[way] - before[way]) / took);
    let bare = client::runtime()?.block_on(floor(sent.midpoint(received)))?;
    let at_rest = routes(&site)?;
    let paths: usize = at_rest.iter().map(|route| route.paths.len()).sum();
    let rows = vec![
        row("agent_rss_mib", "MiB", &own.mebibytes, &bare.mebibytes, 16.0)?,
        row("agent_cpu_percent", "%", &own.percents, &bare.percents, 0.5)?,
    ];
    let words = format!(
        "{WORDS}\n\nThe hub probed {paths} paths of {} routes: it sent {sent:.0} frames a second and took in {received:.0}.",
        at_rest.len(),
    );

    Ok(Findings { words, rows })
}

fn join(site: &mut e2e::Site, name: &str, token: &[&str]) {
    site.token(name, &[&["--approval", "auto"], token].concat());
    site.run_agent(name);
}

/// Waits until every neighbour is linked and every path is well, and then until nothing of that is new.
fn settle(site: &e2e::Site) -> Result<(), NotMeasured> {
    let begun = Instant::now();
    loop {
        let is_calm = routes(site).is_ok_and(|routes| {
            routes.len() == SPOKES
                && routes.iter().all(|route| {
                    route.paths.len() > RELAYS && route.paths.iter().all(|path| path.health == "up")
                })
        });
        if is_calm {
            break;
        }
        if begun.elapsed() > JOIN {
            return Err(NotMeasured::Broken("the hub never had all its paths".to_owned()));
        }
        std::thread::park_timeout(EVERY);
    }
    wait(REST);

    Ok(())
}

fn routes(site: &e2e::Site) -> Result<Vec<RouteRow>, NotMeasured> {
    serde_json::from_value(site.told(HUB, "/v1/routes"))
        .map_err(|error| NotMeasured::Broken(format!("the hub's routes: {error}")))
}

/// What a process took, a sample for each while.
#[derive(Debug, Default)]
struct Taken {
    mebibytes: Vec<f64>,
    percents: Vec<f64>,
}

fn watch(pid: u32) -> Result<Taken, String> {
    let mut taken = Taken::default();
    for _ in 0..SAMPLES {
        let (begun, before) = (Instant::now(), process::processor_seconds(pid)?);
        wait(SAMPLE);
        let used = process::processor_seconds(pid)? - before;
        let percent = 100.0 * used / begun.elapsed().as_secs_f64();
        taken.percents.push(hundredths(percent));
        taken
            .mebibytes
            .push(hundredths(process::resident(pid)? as f64 / 1024.0 / 1024.0));
    }

    Ok(taken)
}

/// Frames of all classes so far.
fn frames(site: &e2e::Site, way: &str) -> f64 {
    site.agent_figure(HUB, &format!("gabion_agent_frames_{way}_total{{"))
}

/// The bare libraries with as many connections, and as many datagrams a second each way.
async fn floor(per_second: f64) -> Result<Taken, String> {
    let floor = Floor::start(Kind::Relays).map_err(|error| error.to_string())?;
    let dialler = Dialler::open().map_err(|error| error.to_string())?;
    let mut connections = Vec::new();
    for number in 0..(SPOKES + RELAYS) as u64 {
        let identity = Some(floor::identity(number));
        let config = client::config(floor::ALPN, identity, quic::mesh_transport())?;
        connections.push(dialler.dial(floor.address, "floor", config).await?);
    }
    let pid = floor.pid();
    let mut watched = tokio::task::spawn_blocking(move || watch(pid));
    let (begun, mut sent) = (Instant::now(), 0_u32);
    let mut ticks = tokio::time::interval(TICK);
    loop {
        tokio::select! {
            biased;
            watched = &mut watched => return watched.map_err(|error| error.to_string())?,
            _ = ticks.tick() => {}
        }
        while f64::from(sent) < per_second * begun.elapsed().as_secs_f64() {
            let next = &connections[sent as usize % connections.len()];
            next.send_datagram(vec![7; PROBE].into())
                .map_err(|error| error.to_string())?;
            sent += 1;
        }
    }
}

fn row(name: &str, unit: &str, own: &[f64], bare: &[f64], most: f64) -> Result<Row, NotMeasured> {
    let nothing = || NotMeasured::Broken("nothing was sampled".to_owned());
    let floor = median(bare).ok_or_else(nothing)?;

    Ok(Row {
        name: name.to_owned(),
        figure: Figure::of(own, unit, floor).ok_or_else(nothing)?,
        budget: Some(Budget::Within { p50: most, p99: None }),
    })
}

fn wait(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
    {
        std::thread::park_timeout(left);
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

const HUB: &str = "hub";
const SPOKES: usize = 30;
const RELAYS: usize = 2;
const JOIN: Duration = Duration::from_secs(60);
/// After the last path came up: a report, a heartbeat and the publications that follow.
const REST: Duration = Duration::from_secs(10);
const SAMPLES: usize = 5;
/// The kernel counts hundredths of a second: in ten seconds a tenth of a percent is one of them.
const SAMPLE: Duration = Duration::from_secs(10);
const TICK: Duration = Duration::from_millis(10);
/// About as long as a probe.
const PROBE: usize = 160;
const EVERY: Duration = Duration::from_millis(200);

const WORDS: &str = "\
Agents as they are shipped, each a process on loopback: one hub with a route of cadence `auto` to each of 30 spokes, and two
relays, so that the hub has 32 neighbours and every route a direct path and two standbys that it probes. Nobody sends
traffic. Once all paths are up and ten seconds later, the hub's resident memory and processor time are taken for five times
ten seconds. One hundredth of a second, the kernel's unit, is 0.1 % of a core in that time.

The floor is quinn alone in a process of its own, with 32 connections of the mesh's transport settings, which takes in as
many datagrams a second as the hub took in frames and sends each on: no seals, no reports, no documents. Peers measured on
the same kind of machine before: Nebula 1.6.1 12.8 MB idle, yggdrasil 0.4.7 8.4 MB, tinc 1.0.36 6.4 MB, each with two peers;
serf 14.3 MB and 0.2 to 0.35 % of a core with 15.";
