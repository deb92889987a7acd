//! What the loop is told: every way in from sockets, disk, names, interfaces and the local API.

use std::net::SocketAddr;

use agent_core::control::{ConnectionId, Disconnected, Lost, Tag, WriteFailed, WriteId};
use agent_core::mesh::effect::LinkId;
use bytes::Bytes;
use protocol::certificate::Identity;
use protocol::document::config::Candidate;
use protocol::id::NodeId;
use quinn::Connection;

use crate::local::Ask;

/// One thing that happened.
#[derive(Debug)]
pub(crate) enum Input {
    /// TLS to a controller is up.
    Connected {
        id: ConnectionId,
        connection: Connection,
    },
    /// What a neighbour sent; many in one input when they came together.
    Datagrams {
        link: LinkId,
        datagrams: Vec<Bytes>,
    },
    /// No address of a neighbour answered.
    DialFailed {
        peer: NodeId,
    },
    /// A connection to a controller, or the attempt at one, ended.
    Disconnected {
        id: ConnectionId,
        why: Disconnected,
    },
    /// The addresses of this host, at the start and whenever they change.
    Interfaces(Vec<Candidate>),
    LinkDown {
        link: LinkId,
    },
    LinkUp(Box<Established>),
    /// Somebody at the local API wants something.
    Local(Ask),
    Persisted {
        write: WriteId,
        result: Result<(), WriteFailed>,
    },
    Reply {
        id: ConnectionId,
        tag: Tag,
        reply: Result<Vec<u8>, Lost>,
    },
    /// A controller's first frame.
    Welcome {
        id: ConnectionId,
        body: Vec<u8>,
    },
}

/// A connection to a neighbour that was admitted, and welcomed us if we dialled.
#[derive(Debug)]
pub(crate) struct Established {
    pub(crate) connection: Connection,
    pub(crate) peer: NodeId,
    pub(crate) identity: Identity,
    pub(crate) dialled_by_us: bool,
    /// Where the handshake was answered. A packet from elsewhere moves the connection before anybody has answered there, so
    /// that the connection's own word for it is worth less.
    pub(crate) address: SocketAddr,
    /// The neighbour's first frame, if we dialled.
    pub(crate) welcome: Option<Vec<u8>>,
}

/// Inputs that may wait for the loop: a few milliseconds of a busy relay. Whoever has more waits, and quinn then drops
/// the oldest datagrams of that connection.
pub(crate) const WAITING: usize = 4_096;
