//! What the machine asks of its host.

use std::fmt;

use protocol::document::authority::{RevocationList, TrustBundle};
use protocol::document::config::SyntheticConfig;
use protocol::document::routes::{LeaseTable, Routes};
use protocol::envelope::Opened;
use protocol::id::{ClusterId, NodeId};
use protocol::key::{Digest, SealSecret, SigningKey};
use protocol::time::Boot;
use rustls_pki_types::CertificateDer;
use zeroize::Zeroizing;

use super::event::Event;
use super::file::FileName;

/// One connection to a controller, numbered by the machine; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// One request on a connection; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(pub u64);

/// One write; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WriteId(pub u64);

/// Something for the host to do.
#[derive(Clone, Debug)]
pub enum Effect {
    /// Hands a verified and durable document, or an identity, to the mesh.
    Adopt(Adopted),
    /// Closes a connection. The machine has forgotten it: nothing more needs to be told of it.
    Close { connection: ConnectionId },
    /// Resolves `endpoint` and dials it. Ends with `handle_connected` or `handle_disconnected`, always.
    Connect {
        connection: ConnectionId,
        /// `host:port`; the host is a name or an address literal, IPv6 in brackets.
        endpoint: String,
        door: Door,
        server_name: String,
        /// The controller CAs that the server's leaf must come from. Empty: verify possession of the leaf's key
        /// alone; the machine judges the chain when the welcome is there.
        trust: Vec<CertificateDer<'static>>,
        /// Whether to show the certificate of the newest [`Adopted::Identity`].
        client_identity: bool,
    },
    /// Tells a fact.
    Event(Event),
    /// A poll succeeded. `newer`: it brought a beacon newer than any before, so freshness counts from
    /// `poll_sent_at`; otherwise the controller answered, and that is all.
    Fresh { poll_sent_at: Boot, newer: bool },
    /// Writes files, in this order: each whole, fsynced, and renamed into place before the next is begun.
    Persist {
        write: WriteId,
        files: Vec<(FileName, Payload)>,
    },
    /// Sends one request on a stream of its own: `body` is the CBOR of a `JoinRequest` or `NodeRequest`, without
    /// the length before it. The reply is handed back in the same form.
    Request {
        connection: ConnectionId,
        tag: Tag,
        body: Payload,
        deadline: Boot,
    },
    /// Every controller that is known was tried by attempts that began at `since` or later, and none answered.
    TriedInVain { since: Boot },
}

/// The protocol to dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Door {
    Join,
    Node,
}

impl Door {
    /// The ALPN.
    pub const fn alpn(self) -> &'static [u8] {
        match self {
            Self::Join => protocol::admit::JOIN,
            Self::Node => protocol::admit::NODE,
        }
    }
}

/// What is in force from now on. On start all that was restored is handed over again, in this order of variants.
#[derive(Clone, Debug)]
pub enum Adopted {
    Identity(Box<NodeIdentity>),
    Bundle(Opened<TrustBundle>),
    Revocations(Opened<RevocationList>),
    Config(Box<Opened<SyntheticConfig>>),
    Routes(Opened<Routes>),
    LeaseTable(Opened<LeaseTable>),
}

/// Who this machine is, and the keys that prove it. Swapped in without closing a connection.
#[derive(Clone, Debug)]
pub struct NodeIdentity {
    pub node: NodeId,
    pub cluster: ClusterId,
    pub name: String,
    pub generation: u64,
    pub certificate: CertificateDer<'static>,
    pub key: SigningKey,
    pub seal: SealSecret,
    /// The one before, until the next renewal: neighbours seal to it until they learn the new one.
    pub previous_seal: Option<SealSecret>,
}

/// Bytes that may hold secrets: wiped when dropped; `Debug` shows length and hash.
#[derive(Clone, PartialEq, Eq)]
pub struct Payload(Zeroizing<Vec<u8>>);

impl Payload {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Payload {
    fn from(bytes: Vec<u8>) -> Self {
        Self(Zeroizing::new(bytes))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes, {:?})", self.0.len(), Digest::of(&self.0))
    }
}
