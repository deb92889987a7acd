//! What every task that talks to others has at hand.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use protocol::id::{ClusterId, NodeId};
use protocol::key::Digest;
use protocol::limits;
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{AsyncUdpSocket, ClientConfig, Endpoint, EndpointConfig, Runtime, ServerConfig, TransportConfig};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use crate::agent::AgentFailed;
use crate::clock::Clock;
use crate::doors::Doors;
use crate::input::Input;
use crate::links::SharedPorch;
use crate::parts::{Listen, Parts};
use crate::quic;
use crate::resolve::Resolve;
use crate::tls::{self, ClientDoors, OwnLeaf, Trust};

/// The agent's place on the network: one socket to dial from, one identity, one trust, one loop to tell.
#[derive(Clone)]
pub(crate) struct Station {
    pub(crate) endpoint: Endpoint,
    /// Where neighbours are let in too.
    pub(crate) doors: Doors,
    hinges: Arc<Hinges>,
    /// Where all who come in by any of these wait.
    pub(crate) porch: SharedPorch,
    /// The certificate that the next handshake shows, on either side.
    pub(crate) leaf: OwnLeaf,
    pub(crate) trust: Trust,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) inbox: mpsc::Sender<Input>,
    /// None as long as this node cannot welcome anybody.
    pub(crate) greeting: watch::Receiver<Option<Greeting>>,
}

/// What puts QUIC on a socket.
struct Hinges {
    tls: Arc<QuicServerConfig>,
    runtime: Arc<dyn Runtime>,
    listener: Arc<dyn Listen>,
    seed: [u8; 32],
}

impl Hinges {
    /// Each socket has keys and chance of its own: a nonce that two of them drew alike would open the tokens of both.
    fn open(&self, listen: SocketAddr) -> io::Result<Endpoint> {
        let socket = self.listener.open(listen)?;
        let place = listen.to_string();
        let seed = Digest::of_parts(&[b"gabion door ".as_slice(), &self.seed, place.as_bytes()]);

        self.hang(&socket, *seed.as_bytes())
    }

    fn hang(&self, socket: &Arc<dyn AsyncUdpSocket>, seed: [u8; 32]) -> io::Result<Endpoint> {
        let mut server = ServerConfig::with_crypto(self.tls.clone());
        server.transport_config(Arc::new(quic::mesh_transport()));
        quic::harden(&mut server);
        let mut config = EndpointConfig::default();
        config.rng_seed(Some(seed));

        Endpoint::new_with_abstract_socket(
            config,
            Some(server),
            Arc::clone(socket),
            Arc::clone(&self.runtime),
        )
    }
}

/// Who we are to a neighbour that dials us, and what we say first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) node: NodeId,
    pub(crate) cluster: ClusterId,
    /// The CBOR of a `Welcome`.
    pub(crate) welcome: Bytes,
}

impl Station {
    /// Puts QUIC on the agent's socket: a server for neighbours, which refuses all of them until there is a leaf and
    /// trust, and a client for everybody.
    pub(crate) fn new(
        parts: &Parts,
        quic_seed: [u8; 32],
        inbox: mpsc::Sender<Input>,
        greeting: watch::Receiver<Option<Greeting>>,
    ) -> Result<Self, AgentFailed> {
        let leaf = OwnLeaf::default();
        let trust = Trust::default().timed_by(Arc::clone(&parts.clock));
        let doors = ClientDoors {
            trust: trust.clone(),
            strangers: false,
            doors: &[protocol::admit::MESH],
        };
        let tls = tls::server_config(&[protocol::admit::MESH], Arc::new(leaf.clone()), doors)?;
        let hinges = Hinges {
            tls: Arc::new(tls),
            runtime: Arc::clone(&parts.runtime),
            listener: Arc::clone(&parts.listener),
            seed: quic_seed,
        };
        let endpoint = hinges
            .hang(&parts.socket, quic_seed)
            .map_err(AgentFailed::Socket)?;
        let doors = Doors::default();
        for listen in &parts.doors {
            let _ = doors.try_open(*listen, || hinges.open(*listen));
        }

        Ok(Self {
            endpoint,
            doors,
            hinges: Arc::new(hinges),
            porch: SharedPorch::default(),
            leaf,
            trust,
            clock: Arc::clone(&parts.clock),
            resolver: Arc::clone(&parts.resolver),
            inbox,
            greeting,
        })
    }

    /// Every endpoint, the one to dial from first.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        let front = [self.endpoint.clone()].into_iter();

        front.chain(self.doors.endpoints()).collect()
    }

    /// Where these are bound.
    pub(crate) fn bound(&self) -> Vec<SocketAddr> {
        let endpoints = self.endpoints().into_iter();

        endpoints
            .filter_map(|endpoint| endpoint.local_addr().ok())
            .collect()
    }

    pub(crate) fn open_door(&self, listen: SocketAddr) -> Option<Endpoint> {
        self.doors.try_open(listen, || self.hinges.open(listen))
    }

    /// Tells the loop. A full inbox is waited for; once the loop has ended nobody is told.
    pub(crate) async fn tell(&self, input: Input) {
        let _ = self.inbox.send(input).await;
    }
}

/// A QUIC client from TLS settings.
pub(crate) fn client(tls: QuicClientConfig, transport: TransportConfig) -> ClientConfig {
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(transport));

    config
}

/// The agent's tasks; all end with it.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    all: JoinSet<()>,
    /// Those that are there as long as the agent is.
    parts: Vec<(Part, AbortHandle)>,
}

/// A part of the agent that works beside its loop from the start to the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Writes to the state directory.
    Disk,
    /// Watches the addresses of this host.
    Interfaces,
    /// Answers on this host.
    LocalApi,
    /// Lets neighbours in.
    Neighbours,
}

impl Part {
    /// What it does, for an error.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Disk => "writing the state directory",
            Self::Interfaces => "watching the interfaces",
            Self::LocalApi => "the local API",
            Self::Neighbours => "letting neighbours in",
        }
    }
}

impl Tasks {
    pub(crate) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) -> AbortHandle {
        self.all.spawn(task)
    }

    /// A task without which the agent is not whole.
    pub(crate) fn spawn_part(&mut self, part: Part, task: impl Future<Output = ()> + Send + 'static) {
        let handle = self.spawn(task);
        self.parts.push((part, handle));
    }

    /// A part that ended, for whatever reason: what is left would look like an agent and be half of one.
    pub(crate) fn ended_part(&self) -> Option<Part> {
        let ended = self.parts.iter().find(|(_, handle)| handle.is_finished());

        ended.map(|(part, _)| *part)
    }

    /// Forgets the tasks that ended, and reports one that broke.
    pub(crate) fn reap(&mut self) {
        while let Some(ended) = self.all.try_join_next() {
            if let Err(error) = ended
                && error.is_panic()
            {
                tracing::error!(%error, "a task of the agent broke");
            }
        }
    }
}

/// How long anybody may take for one step before it is somebody we talk to.
pub(crate) const PATIENCE: std::time::Duration = limits::HANDSHAKE;
