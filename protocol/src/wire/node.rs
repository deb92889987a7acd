//! The node door: what an admitted node asks of its controller.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::report::Report;
use crate::cbor;
use crate::document::config::{Candidate, ControllerAddress, LeftOut};
use crate::envelope::Kind;
use crate::id::BootId;
use crate::key::{Digest, SealKey};
use crate::merkle::{Entry, Inclusion};
use crate::net::Address;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum NodeRequest {
    #[n(0)]
    Poll(#[n(0)] Poll),
    #[n(1)]
    Heartbeat(#[n(0)] Heartbeat),
    #[n(2)]
    Report(#[n(0)] Report),
    #[n(3)]
    Renew(#[n(0)] Renew),
    /// Gives back what the node holds: its certificate is revoked, its leases end.
    #[n(4)]
    Leave,
}

/// Says what the agent has in force and asks for what is newer. What it says of a lease table is the relay's
/// acknowledgement.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Poll {
    /// The newest signed beacon the agent has verified.
    #[n(0)]
    pub beacon: Option<ByteVec>,
    #[n(1)]
    #[cbor(decode_with = "cbor::known")]
    pub have: Vec<Have>,
    /// How long the server may wait for news; it answers earlier if its own limit is lower.
    #[n(2)]
    pub wait_ms: u32,
    /// What the agent got and cannot use, a document for a later version for example: it is not sent again.
    #[n(3)]
    pub left_out: Vec<Entry>,
}

/// A document in force at the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Have {
    #[n(0)]
    pub kind: Kind,
    #[n(1)]
    pub epoch: u64,
    #[n(2)]
    pub version: u64,
    #[n(3)]
    pub hash: Digest,
}

/// The beacon, what it says of this node, and every document that differs from what the node has. No documents mean
/// not modified.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PollReply {
    #[n(0)]
    pub beacon: ByteVec,
    /// The node's leaf in the beacon's tree: every document that is published to it, by kind. One that the node has
    /// not is in `documents`.
    #[n(1)]
    pub leaf: Vec<Entry>,
    /// The way from that leaf to the beacon's root.
    #[n(2)]
    pub inclusion: Inclusion,
    /// Signed documents of this node.
    #[n(3)]
    pub documents: Vec<ByteVec>,
    /// The trust bundle and the revocation list, which the beacon pins by hash; only when they changed.
    #[n(4)]
    pub shared: Vec<ByteVec>,
    /// The controller is going away: come back elsewhere, within this time.
    #[n(5)]
    pub retry_within_ms: Option<u64>,
}

/// Sign of life, every 10 s. It lives in memory; only transitions are stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Heartbeat {
    #[n(0)]
    pub boot: BootId,
    /// Interface addresses, at most [`crate::limits::CANDIDATES`].
    #[n(1)]
    #[cbor(decode_with = "cbor::known")]
    pub candidates: Vec<Candidate>,
    /// The highest authority epoch whose succession the agent has verified.
    #[n(2)]
    pub epoch: u64,
    #[n(3)]
    #[cbor(decode_with = "cbor::known")]
    pub applied: Vec<Have>,
    #[n(4)]
    pub agent_version: String,
    /// Documents the agent refused since the last heartbeat.
    #[n(5)]
    #[cbor(decode_with = "cbor::known")]
    pub refused: Vec<Refused>,
    /// As long as the agent goes by earlier settings than those of the config in force.
    #[n(6)]
    pub reverted: Option<Reverted>,
}

/// A config that left its node without a controller: the node went back to the [settings] that worked before, and has
/// everything else of it in force.
///
/// [settings]: crate::document::config::Settings
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Reverted {
    /// The config that brought the settings.
    #[n(0)]
    pub config: Have,
    /// Digest of the settings that did not work.
    #[n(1)]
    pub settings: Digest,
    /// Digest of those that the node went back to.
    #[n(2)]
    pub restored: Option<Digest>,
}

/// A document that an agent would not apply, for the controllers to raise an alarm.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refused {
    #[n(0)]
    pub kind: Kind,
    #[n(1)]
    pub epoch: u64,
    #[n(2)]
    pub version: u64,
    /// A code of [`crate::error::Code`].
    #[n(3)]
    pub code: String,
}

/// Idempotent on (node, nonce, CSR hash); another CSR under a spent nonce is a clone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Renew {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    #[n(1)]
    pub csr: ByteVec,
    #[n(2)]
    pub seal_key: SealKey,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Renewed {
    /// DER.
    #[n(0)]
    pub certificate: ByteVec,
    #[n(1)]
    pub controllers: Vec<ControllerAddress>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum NodeReply {
    #[n(0)]
    Poll(#[n(0)] PollReply),
    /// Where the controller saw the request come from.
    #[n(1)]
    Heard {
        #[n(0)]
        observed: Option<Address>,
        /// Candidates of the heartbeat that nobody is told of, and why; absent from a controller that does not say.
        #[n(1)]
        #[cbor(default, decode_with = "cbor::known")]
        left_out: Vec<LeftOut>,
    },
    #[n(2)]
    Reported,
    #[n(3)]
    Renewed(#[n(0)] Renewed),
    #[n(4)]
    Left,
}
