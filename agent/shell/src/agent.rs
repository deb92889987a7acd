//! One agent, from its configuration to its end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_core::control::{Config, Control, JoinFailure, Pin, Seed, Unbootable, boot};
use protocol::id::BootId;
use protocol::key::Digest;
use protocol::limits::CANDIDATES;
use protocol::token::JoinToken;
use protocol::wire::HostFacts;
use quinn::VarInt;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::controllers::Controllers;
use crate::disk::{DiskRefused, StateDisk};
use crate::doors;
use crate::drive::{Drive, Notes, OwnAddresses, World, Write};
use crate::flows::Flows;
use crate::in_force::InForce;
use crate::input::{self, Input};
use crate::interfaces::{Interfaces, Publication};
use crate::links::{self, Links};
use crate::local::{self, Door, LocalClient};
use crate::parts::Parts;
use crate::station::{Station, Tasks};
use crate::tls::TlsUnusable;

pub use crate::station::Part;

/// What the operator configured.
#[derive(Debug)]
pub struct AgentConfig {
    /// Needed until the agent is enrolled.
    pub token: Option<JoinToken>,
    /// The cluster authority as the operator knows it.
    pub pin: Pin,
    /// The name to ask for.
    pub name: String,
    pub facts: HostFacts,
    /// Controllers beside those of token and documents: `host:port`, or `host` to look for its service record.
    pub controllers: Vec<String>,
    /// Addresses to publish; when there are any, they replace those of the interfaces.
    pub candidates: Vec<SocketAddr>,
    /// Where the local API listens; none without one.
    pub local_socket: Option<PathBuf>,
    /// Whether loopback addresses may be published and dialled.
    pub dev: bool,
    /// Time between two questions about a pending enrolment.
    pub poll_interval: Duration,
    /// Time after which a pending enrolment is given up; none waits for ever.
    pub join_timeout: Option<Duration>,
}

/// Runs an agent until `shutdown` completes, the node leaves its cluster, or it cannot go on.
pub async fn run(
    config: AgentConfig,
    parts: Parts,
    shutdown: impl Future<Output = ()>,
) -> Result<Ended, AgentFailed> {
    Agent::start(config, parts)?.run(shutdown).await
}

/// An agent whose state is read and whose sockets are open, and which does nothing yet.
pub struct Agent {
    drive: Drive,
    inbox: mpsc::Receiver<Input>,
    local: LocalClient,
    door: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Agent {
    /// Reads and verifies the state, opens the local API, and puts QUIC on the socket. Must be called within a tokio
    /// runtime.
    pub fn start(config: AgentConfig, parts: Parts) -> Result<Self, AgentFailed> {
        let publication = publication(&config, &parts)?;
        let left_out = publication.left_out();
        for left_out in &left_out {
            let (address, why) = (left_out.address.0, left_out.why.name());
            tracing::warn!(%address, why, "neighbours are not told of this address, although it is configured");
        }
        let persisted = boot(&parts.disk.read()?)?;
        let (send, inbox) = mpsc::channel(input::WAITING);
        let (greeting, said) = watch::channel(None);
        let station = Station::new(&parts, derived(&parts, "quic"), send.clone(), said)?;
        let local = LocalClient::new(send);
        let door = config
            .local_socket
            .as_ref()
            .map(|path| serve_local(path, &local, &parts))
            .transpose()?;
        let (writes, write_queue) = mpsc::channel(WRITES);
        let mut tasks = Tasks::default();
        let front = links::serve(station.endpoint.clone(), station.clone());
        tasks.spawn_part(Part::Neighbours, front);
        tasks.spawn_part(Part::Neighbours, doors::keep(station.clone()));
        tasks.spawn_part(
            Part::Disk,
            keep(Arc::clone(&parts.disk), write_queue, station.clone()),
        );
        tasks.spawn_part(
            Part::Interfaces,
            watch_interfaces(Arc::clone(&parts.interfaces), publication, station.clone()),
        );
        let boot = boot_id(&parts);
        let world = World {
            station,
            tasks,
            controllers: Controllers::default(),
            links: Links::default(),
            flows: Flows::default(),
            in_force: InForce::default(),
            writes,
            greeting,
            supervisor: Arc::clone(&parts.supervisor),
            testimony: Arc::clone(&parts.testimony),
            boot,
            mesh_seed: derived(&parts, "mesh"),
            sealed_to: None,
            dev: config.dev,
            ready: false,
            own: OwnAddresses {
                left_out,
                ..OwnAddresses::default()
            },
            notes: Notes::default(),
            leaving: Vec::new(),
            outcome: None,
        };
        let seed = Seed::from_bytes(derived(&parts, "control"));
        let control = Control::new(persisted, core_config(config, boot), &seed);

        Ok(Self {
            drive: Drive::new(control, world),
            inbox,
            local,
            door,
        })
    }

    /// Asks this agent, once it runs.
    pub fn local(&self) -> LocalClient {
        self.local.clone()
    }

    /// Runs until `shutdown` completes, the node leaves its cluster, or it cannot go on. Connections are closed
    /// before it returns.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<Ended, AgentFailed> {
        let ended = tokio::select! {
            ended = self.drive.run(&mut self.inbox, shutdown) => ended,
            part = closed(&mut self.door) => Err(AgentFailed::PartEnded { part }),
        };
        let endpoints = self.drive.endpoints();
        // Ends every task, so that nobody is let in any more.
        drop(self.drive);
        for endpoint in &endpoints {
            endpoint.close(VarInt::from_u32(0), b"shutting down");
        }
        if let Some((close, served)) = self.door {
            let _ = close.send(());
            let _ = tokio::time::timeout(FAREWELL, served).await;
        }
        let idle = async {
            for endpoint in &endpoints {
                endpoint.wait_idle().await;
            }
        };
        let _ = tokio::time::timeout(FAREWELL, idle).await;

        ended
    }
}

/// Returns once the local API has ended by itself. There is nothing left to close then.
async fn closed(door: &mut Option<(oneshot::Sender<()>, JoinHandle<()>)>) -> Part {
    match door {
        Some((_, served)) => {
            let _ = served.await;
        }
        None => std::future::pending().await,
    }
    *door = None;

    Part::LocalApi
}

/// Why an agent ended that did not fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The node gave back what it held. Its state directory has no identity any more.
    Left,
    /// It was asked to.
    ShutDown,
}

/// An agent could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum AgentFailed {
    /// The state directory cannot be used.
    #[error("the state directory cannot be used")]
    Disk(#[from] DiskRefused),
    /// An operator must act before this host can become a node.
    #[error("this host did not become a node")]
    Join(#[source] JoinFailure),
    /// The socket of the local API could not be made.
    #[error("could not listen on {}", .path.display())]
    LocalSocket {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// A configured candidate is a loopback address, and this is not dev mode.
    #[error("{candidate} is a loopback address, which no other host can reach")]
    LoopbackCandidate { candidate: SocketAddr },
    /// A part without which the agent is not whole ended or broke.
    #[error("{} ended", .part.name())]
    PartEnded { part: Part },
    /// The UDP socket cannot be used, or failed.
    #[error("the UDP socket failed")]
    Socket(#[source] std::io::Error),
    /// The TLS library does not take our settings.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsUnusable),
    /// More addresses are configured than a node may publish.
    #[error("{found} candidates are configured, and a node may publish {CANDIDATES}")]
    TooManyCandidates { found: usize },
    /// What the state directory holds cannot be carried on from.
    #[error("the state directory holds damaged state")]
    Unbootable(#[from] Unbootable),
}

fn publication(config: &AgentConfig, parts: &Parts) -> Result<Publication, AgentFailed> {
    let found = config.candidates.len();
    if found > CANDIDATES {
        return Err(AgentFailed::TooManyCandidates { found });
    }
    let front = parts.socket.local_addr().map_err(AgentFailed::Socket)?;
    let bound = [front].into_iter().chain(parts.doors.iter().copied());
    let loopback = config
        .candidates
        .iter()
        .find(|address| address.ip().is_loopback());
    match loopback {
        Some(candidate) if !config.dev => Err(AgentFailed::LoopbackCandidate {
            candidate: *candidate,
        }),
        Some(_) | None => Ok(Publication {
            bound: bound.collect(),
            configured: config.candidates.clone(),
            dev: config.dev,
        }),
    }
}

fn core_config(config: AgentConfig, boot: BootId) -> Config {
    Config {
        token: config.token,
        pin: config.pin,
        name: config.name,
        facts: config.facts,
        controllers: config.controllers,
        poll_interval: config.poll_interval,
        timeout: config.join_timeout,
        boot,
    }
}

/// The part of the agent's chance that is for one purpose.
fn derived(parts: &Parts, purpose: &str) -> [u8; 32] {
    *Digest::of_parts(&[b"gabion agent ", parts.seed.as_slice(), purpose.as_bytes()]).as_bytes()
}

fn boot_id(parts: &Parts) -> BootId {
    let bytes = derived(parts, "boot");

    BootId::from_bytes(*bytes.first_chunk().expect("a digest has 32 bytes"))
}

fn serve_local(
    path: &std::path::Path,
    agent: &LocalClient,
    parts: &Parts,
) -> Result<(oneshot::Sender<()>, JoinHandle<()>), AgentFailed> {
    let listener = local::open(path).map_err(|source| AgentFailed::LocalSocket {
        path: path.to_owned(),
        source,
    })?;
    let door = Door {
        agent: agent.clone(),
        metrics_text: Arc::clone(&parts.metrics_text),
    };
    let (close, closed) = oneshot::channel();
    let served = tokio::spawn(door.serve(listener, async {
        let _ = closed.await;
    }));

    Ok((close, served))
}

/// Writes to the state directory, one write after the other.
async fn keep(disk: Arc<dyn StateDisk>, mut writes: mpsc::Receiver<Write>, station: Station) {
    while let Some((write, files)) = writes.recv().await {
        let result = disk.write(files).await;
        station.tell(Input::Persisted { write, result }).await;
    }
}

/// Tells the loop which addresses to publish, at the start and whenever they change.
async fn watch_interfaces(interfaces: Arc<dyn Interfaces>, mut publication: Publication, station: Station) {
    let mut told = None;
    loop {
        // A door may have been opened meanwhile, and one that is shut is published nowhere.
        publication.bound = station.bound();
        match interfaces.addresses() {
            Ok(addresses) => {
                let candidates = publication.candidates(&addresses);
                if told.as_ref() != Some(&candidates) {
                    told = Some(candidates.clone());
                    station.tell(Input::Interfaces(candidates)).await;
                }
            }
            Err(error) => tracing::warn!(%error, "could not read the addresses of this host"),
        }
        tokio::time::sleep(RESCAN).await;
    }
}

/// Writes that may wait for the disk: the core keeps fewer open at once.
const WRITES: usize = 16;
/// How often the interfaces are looked at: a moved host is found again within two polls of its neighbours.
const RESCAN: Duration = Duration::from_secs(5);
/// How long the end waits for each of those who are told of it.
const FAREWELL: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests;
