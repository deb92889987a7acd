//! What an agent is given from outside: everything that a simulation replaces.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use protocol::wire::Report;
use quinn::{AsyncUdpSocket, Runtime};
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::disk::StateDisk;
use crate::interfaces::Interfaces;
use crate::quic;
use crate::resolve::Resolve;

/// The world of one agent.
pub struct Parts {
    pub clock: Arc<dyn Clock>,
    /// The agent's own UDP socket, bound: it dials controllers and neighbours from here.
    pub socket: Arc<dyn AsyncUdpSocket>,
    /// Where neighbours are let in too, and from where nobody is dialled.
    pub doors: Vec<SocketAddr>,
    /// Opens the sockets of these.
    pub listener: Arc<dyn Listen>,
    /// Timers and tasks of QUIC.
    pub runtime: Arc<dyn Runtime>,
    pub disk: Arc<dyn StateDisk>,
    pub resolver: Arc<dyn Resolve>,
    pub interfaces: Arc<dyn Interfaces>,
    pub supervisor: Arc<dyn Supervisor>,
    /// What controllers hear of what was measured here.
    pub testimony: Arc<dyn Testimony>,
    /// Writes what `GET /metrics` answers.
    pub metrics_text: Arc<dyn Fn() -> String + Send + Sync>,
    /// All chance of the agent but that inside TLS is drawn from here: the system's entropy in production, the
    /// run's seed in a simulation. Two runs must not share one.
    pub seed: Zeroizing<[u8; 32]>,
}

/// Opens UDP sockets.
pub trait Listen: Send + Sync {
    fn open(&self, at: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>>;
}

/// Sockets of this host.
#[derive(Debug)]
pub struct SystemListen(pub Arc<dyn Runtime>);

impl Listen for SystemListen {
    fn open(&self, at: SocketAddr) -> io::Result<Arc<dyn AsyncUdpSocket>> {
        self.0.wrap_udp_socket(quic::bind(at)?.socket)
    }
}

impl fmt::Debug for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parts")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

/// Who started the agent and watches it, such as systemd. Called from the agent's loop: must not block.
pub trait Supervisor: Send + Sync + 'static {
    /// The last known good state is in force, or enrolment is pending. Called once.
    fn ready(&self);

    /// One line for people, whenever it changes.
    fn status(&self, line: &str);

    /// The loop turned: at least once a second as long as the agent works.
    fn worked(&self);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unsupervised;

impl Supervisor for Unsupervised {
    fn ready(&self) {}

    fn status(&self, _: &str) {}

    fn worked(&self) {}
}

/// What a node says of what it measured. Any node can lie: a simulation shows what a liar moves. Called from the agent's loop:
/// must not block.
pub trait Testimony: Send + Sync + 'static {
    fn give(&self, measured: Report) -> Report;
}

/// The truth, as far as it was measured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Truth;

impl Testimony for Truth {
    fn give(&self, measured: Report) -> Report {
        measured
    }
}

/// What a part answers later.
pub type Pending<T> = Pin<Box<dyn Future<Output = T> + Send>>;
