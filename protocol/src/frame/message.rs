//! What a sealed body says.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::id::{LeaseId, NodeId};
use crate::net::Address;

/// The plaintext of a sealed body. Fields may be appended; a reader skips those it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Content {
    #[n(0)]
    pub mark: Mark,
    #[n(1)]
    pub message: Message,
}

/// Where the sender's choice of path stands: the route generation it follows, and its own changes under it.
///
/// The later of two is the greater, so a receiver keeps the greatest it has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct Mark {
    #[n(0)]
    pub generation: u64,
    #[n(1)]
    pub counter: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Message {
    #[n(1)]
    Probe(#[n(0)] Probe),
    #[n(2)]
    ProbeReply(#[n(0)] ProbeReply),
    #[n(3)]
    Choice(#[n(0)] Choice),
    #[n(4)]
    Synthetic(#[n(0)] Synthetic),
    /// A version that does not know it counts it as unreadable and goes on.
    #[n(5)]
    Meet(#[n(0)] Meet),
}

/// Which of the paths between two nodes: the direct one, or the one of a relay lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum PathTag {
    #[n(1)]
    Direct,
    #[n(2)]
    Relay {
        #[n(0)]
        lease: LeaseId,
        /// Never 0.
        #[n(1)]
        generation: u32,
    },
}

/// Asks the far end to answer over the path that this came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Probe {
    /// Names this probe in its reply. Starts at a random number, so that no reply can be prepared or kept for it.
    #[n(0)]
    pub probe: u64,
    /// The path it was sent on; the receiver answers there and nowhere else.
    #[n(1)]
    pub path: PathTag,
    /// Probes sent on this path since boot, this one included: gaps are loss towards the receiver.
    #[n(2)]
    pub sent: u64,
}

/// The answer to a probe, over the path that the probe came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct ProbeReply {
    #[n(0)]
    pub probe: u64,
    #[n(1)]
    pub path: PathTag,
    /// The node whose authenticated connection brought the probe: the relay, or the prober itself.
    #[n(2)]
    pub observed_from: NodeId,
    /// Probes received on this path since the responder first heard this boot of the prober. Each was answered
    /// once, so two replies give the prober the loss in either direction between them.
    #[n(3)]
    pub received: u64,
}

/// Announces the path that the sender uses for its direction from this [`Mark`] on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Choice {
    #[n(0)]
    pub path: PathTag,
}

/// Asks the far end of a relayed path to dial at the same moment as the sender, or agrees to. Class `fabric_control`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Meet {
    /// Names this meeting in the answer; drawn by who asks.
    #[n(0)]
    pub number: u64,
    /// Whether this agrees to a meeting. Who agrees dials a round trip of the path later, who asked half a round trip
    /// after this arrives.
    #[n(1)]
    pub agreed: bool,
    /// Where the sender believes that it can be reached, at most [`crate::limits::CANDIDATES`]. The receiver dials those
    /// alone that a third party vouches for: its config, or the relay by a [`super::LinkMessage::Seen`].
    #[n(2)]
    pub addresses: Vec<Address>,
}

/// Test traffic of class `synthetic`.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Synthetic {
    /// Counts the frames of this sender to this neighbour over all paths: a copy sent on two paths counts once.
    #[n(0)]
    pub pair_sequence: u64,
    #[n(1)]
    pub bytes: ByteVec,
}
