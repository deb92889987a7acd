//! One agent, from its configuration to its end.

use std::future::Future;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use agent_core::control::{JoinFailure, Pin, Unbootable};
use protocol::token::JoinToken;
use protocol::wire::HostFacts;

use crate::disk::DiskRefused;
use crate::parts::Parts;

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
    /// Whether loopback addresses may be published.
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
    let _ = (config, parts);
    shutdown.await;

    Ok(Ended::ShutDown)
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
    /// More addresses are configured than a node may publish.
    #[error(
        "{found} candidates are configured, and a node may publish {}",
        protocol::limits::CANDIDATES
    )]
    TooManyCandidates { found: usize },
    /// The UDP socket cannot be used, or failed.
    #[error("the UDP socket failed")]
    Socket(#[source] std::io::Error),
    /// The TLS library does not take our settings.
    #[error("TLS cannot be set up")]
    Tls(#[from] crate::tls::TlsUnusable),
    /// What the state directory holds cannot be carried on from.
    #[error("the state directory holds damaged state")]
    Unbootable(#[from] Unbootable),
}
