//! What the two ends of one connection say to each other, as plain CBOR behind a header of form `link`.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use super::{BootTag, Class, ContentTooLong, Form, FrameHeader, PathTag, Sequence};
use crate::cbor::{self, Malformed};
use crate::limits::MESH_FRAME_BYTES;
use crate::net::Address;

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum LinkMessage {
    /// A frame of the other end was not carried.
    #[n(1)]
    Refused {
        /// The path the frame named.
        #[n(0)]
        path: PathTag,
        #[n(1)]
        class: Class,
        #[n(2)]
        reason: RefusalReason,
    },
    /// A signed beacon that may be newer than the other end's.
    #[n(2)]
    Beacon(#[n(0)] ByteVec),
    /// Asks a relay where it sees the other end of a lease.
    #[n(3)]
    Look(#[n(0)] PathTag),
    /// Where the relay sees the other end of the lease: the address at which the handshake of a connection that is up was
    /// answered. Sent to who asked, and to nobody else.
    #[n(4)]
    Seen {
        /// The path that was asked about.
        #[n(0)]
        path: PathTag,
        #[n(1)]
        address: Address,
    },
}

impl LinkMessage {
    /// The class that a message travels in.
    pub const fn class(&self) -> Class {
        match self {
            Self::Refused { .. } => Class::RouteControl,
            Self::Beacon(_) | Self::Look(_) | Self::Seen { .. } => Class::FabricControl,
        }
    }

    /// Writes the message as a whole frame to `out`, in place of what was there.
    pub fn write(&self, boot: BootTag, sequence: Sequence, out: &mut Vec<u8>) -> Result<(), ContentTooLong> {
        let header = FrameHeader {
            class: self.class(),
            form: Form::Link,
            path: PathTag::Direct,
            boot,
            sequence,
        };
        out.clear();
        out.extend_from_slice(&header.encode());
        cbor::encode_to(self, out);

        match out.len() > MESH_FRAME_BYTES {
            true => Err(ContentTooLong { found: out.len() }),
            false => Ok(()),
        }
    }

    /// Reads the body of a frame of form `link`.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        cbor::decode(body)
    }
}

/// Why a frame was not carried. The names are read by scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum RefusalReason {
    /// No row names the lease, or none that names this connection's node as an end, or not one that carries this class.
    #[n(1)]
    NotLeased,
    /// The relay has seen a higher generation of the lease.
    #[n(2)]
    GenerationStale,
    /// The relay's own knowledge is too old, and the pair was not active of late.
    #[n(3)]
    NotFresh,
    /// The lease's budget is spent for now.
    #[n(4)]
    OverBudget,
    /// The other end of the lease is not connected to this relay.
    #[n(5)]
    FarEndAbsent,
    /// Class `payload`: no user traffic is carried.
    #[n(6)]
    PayloadForwardingDisabled,
}

impl RefusalReason {
    pub const ALL: [Self; 6] = [
        Self::NotLeased,
        Self::GenerationStale,
        Self::NotFresh,
        Self::OverBudget,
        Self::FarEndAbsent,
        Self::PayloadForwardingDisabled,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::NotLeased => "not_leased",
            Self::GenerationStale => "generation_stale",
            Self::NotFresh => "not_fresh",
            Self::OverBudget => "over_budget",
            Self::FarEndAbsent => "far_end_absent",
            Self::PayloadForwardingDisabled => "payload_forwarding_disabled",
        }
    }

    /// The numeric code, with its HTTP meaning.
    pub const fn code(self) -> u16 {
        match self {
            Self::NotLeased => 403,
            Self::GenerationStale => 409,
            Self::NotFresh | Self::FarEndAbsent => 503,
            Self::OverBudget => 429,
            Self::PayloadForwardingDisabled => 501,
        }
    }
}
