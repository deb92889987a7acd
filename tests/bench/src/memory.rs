//! What an idle agent costs its controller in memory.

use std::time::{Duration, Instant};

use agent_shell::quic;
use protocol::id::BootId;
use protocol::wire::{Heartbeat, NodeReply, NodeRequest};
use quinn::Connection;
use tokio::task::JoinSet;

use crate::bench::{Bench, Budget, Findings, NotMeasured, Row};
use crate::client::{self, Dialler};
use crate::enrol::enrol_all;
use crate::figure::Figure;
use crate::fleet::{Attached, Fleet, Host};
use crate::floor::{self, Floor, Kind};
use crate::poll::attach_all;
use crate::process;

pub(crate) const BENCH: Bench = Bench {
    name: "controller_bytes",
    run,
};

fn run() -> Result<Findings, NotMeasured> {
    let runtime = client::runtime()?;
    let _inside = runtime.enter();
    let bare = runtime.block_on(floor_bytes())?;
    let mut fleet = Fleet::found()?;
    let empty = process::resident(fleet.site.pid("controller"))?;
    let hosts: Vec<Host> = (0..AGENTS).map(Host::new).collect();
    let members = runtime.block_on(enrol_all(&fleet, hosts))?;
    let joined = process::resident(fleet.site.pid("controller"))?;
    // What it kept of the joining is not what an idle agent costs.
    fleet.site.stop("controller");
    fleet.site.lead(&fleet.site.path("controller"));
    let without = process::resident(fleet.site.pid("controller"))?;
    let nodes = runtime.block_on(attach_all(&fleet, &members))?;
    let samples = runtime.block_on(async {
        heard(&nodes).await?;
        let parked = park(
            nodes
                .iter()
                .map(|node| (node.connection.clone(), node.request(PARKED))),
        );
        let samples = watch(|| process::resident(fleet.site.pid("controller"))).await?;
        all_parked(parked)?;

        Ok::<_, String>(samples)
    })?;
    let each: Vec<f64> = samples.iter().map(|bytes| per_agent(*bytes, empty)).collect();
    let figure = Figure::of(&each, "B", bare).ok_or_else(|| "nothing was sampled".to_owned())?;
    let words = format!(
        "{WORDS}\n\nThe process: {} MiB without a node, {} when all had joined, {} started anew with the nodes and \
         without their connections, {} with them.",
        mebibytes(empty),
        mebibytes(joined),
        mebibytes(without),
        mebibytes(*samples.last().unwrap_or(&0)),
    );

    Ok(Findings {
        words,
        rows: vec![Row {
            name: "controller_bytes_per_agent".to_owned(),
            figure,
            budget: Some(Budget::AtMostOfFloor(1.8)),
        }],
    })
}

/// The same number of connections at the floor, each with a request that is not answered.
async fn floor_bytes() -> Result<f64, String> {
    let floor = Floor::start(Kind::Parks).map_err(|error| error.to_string())?;
    let dialler = Dialler::open().map_err(|error| error.to_string())?;
    let empty = process::resident(floor.pid())?;
    let mut connections = Vec::with_capacity(AGENTS);
    for number in 0..AGENTS {
        let identity = Some(floor::identity(number as u64));
        let config = client::config(floor::ALPN, identity, quic::client_transport())?;
        connections.push(dialler.dial(floor.address, "floor", config).await?);
    }
    let parked = park(
        connections
            .into_iter()
            .map(|connection| (connection, vec![7; REQUEST])),
    );
    let samples = watch(|| process::resident(floor.pid())).await?;
    all_parked(parked)?;

    Ok(per_agent(*samples.last().ok_or("nothing was sampled")?, empty).round())
}

/// Every node says that it is there, as agents do.
async fn heard(nodes: &[Attached]) -> Result<(), String> {
    for (number, node) in nodes.iter().enumerate() {
        let mut boot = [0; 16];
        boot[8..].copy_from_slice(&(number as u64).to_be_bytes());
        let heartbeat = Heartbeat {
            boot: BootId::from_bytes(boot),
            candidates: Vec::new(),
            epoch: 1,
            applied: Vec::new(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            refused: Vec::new(),
            reverted: None,
        };
        let reply: NodeReply =
            crate::fleet::exchange(&node.connection, &NodeRequest::Heartbeat(heartbeat)).await?;
        if !matches!(reply, NodeReply::Heard { .. }) {
            return Err(format!("a heartbeat was answered with {reply:?}"));
        }
    }

    Ok(())
}

/// Asks on every connection what is not answered while it is measured.
fn park(requests: impl Iterator<Item = (Connection, Vec<u8>)>) -> JoinSet<Result<(), String>> {
    let mut parked = JoinSet::new();
    for (connection, request) in requests {
        parked.spawn(async move {
            let answered = quic::request(&connection, &request, PARKED).await;

            Err(match answered {
                Ok(_) => "a parked request was answered".to_owned(),
                Err(error) => error.to_string(),
            })
        });
    }

    parked
}

/// Looks at memory until it has stood for a while, keep-alives included.
async fn watch(resident: impl Fn() -> Result<u64, String>) -> Result<Vec<u64>, String> {
    let begun = Instant::now();
    let mut samples = Vec::new();
    while begun.elapsed() < WATCH {
        tokio::time::sleep(EVERY).await;
        if begun.elapsed() > SETTLE {
            samples.push(resident()?);
        }
    }

    Ok(samples)
}

fn all_parked(mut parked: JoinSet<Result<(), String>>) -> Result<(), String> {
    match parked.try_join_next() {
        None => Ok(()),
        Some(ended) => ended.map_err(|error| error.to_string())?,
    }
}

fn per_agent(bytes: u64, empty: u64) -> f64 {
    (bytes.saturating_sub(empty) as f64 / AGENTS as f64).round()
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1024.0 / 1024.0)
}

const AGENTS: usize = 2_000;
/// Longer than it is looked at; the controller's own limit for a member is 50 s.
const PARKED: Duration = Duration::from_secs(45);
/// For what was allocated on the way to settle.
const SETTLE: Duration = Duration::from_secs(4);
/// Two rounds of keep-alives.
const WATCH: Duration = Duration::from_secs(24);
const EVERY: Duration = Duration::from_millis(500);
/// As long as a poll.
const REQUEST: usize = 600;

const WORDS: &str = "\
A controller as it is shipped. 2,000 nodes join, the controller is started anew, and clients with their keys connect, take
what is published to them, send one heartbeat, and park a poll each: that is what an idle agent does between two beacons.
Keep-alives go every 10 s. The figure is the resident memory of the process less that of the same process before any
node had joined, by the number of nodes, so it holds rows, documents and presence as well as connections; sampled twice a
second for 20 s. No pair of nodes gets a route: routes, leases and what agents measure would come on top.

The floor is quinn alone in a process of its own: as many connections with client certificates and the smallest
windows that serve requests, no datagrams, no search for the path's MTU, each with one parked request.";
