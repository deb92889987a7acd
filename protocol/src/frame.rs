//! Mesh frames: what two nodes say to each other, one QUIC datagram each, straight or through one relay.
//!
//! ```text
//! version     1   1
//! class       1   1 fabric_control, 2 route_control, 3 synthetic, 4 telemetry, 5 payload
//! form        1   1 sealed: for the far end of the path; 2 link: for the other end of this connection
//! lease      16   the relay lease the frame travels under; zero if direct
//! generation  4   of that lease, big endian; zero if direct
//! boot        8   start of the sender's boot id
//! sequence    8   of this sender and boot, big endian
//! body       ..   sealed: nonce (24) ‖ ciphertext ‖ tag (16), see `body`; link: CBOR, see `link`
//! ```
//!
//! A relay reads the header, finds a row, and sends the same bytes on: the whole header is associated data of the
//! sealed body, so whatever it changes the far end refuses. Nothing here allocates for a frame that is passed on.

mod body;
mod link;
mod message;
mod replay;

pub use body::{OpenBodyError, PairKeys};
pub use link::{LinkMessage, RefusalReason};
pub use message::{Choice, Content, Mark, Meet, Message, PathTag, Probe, ProbeReply, Synthetic};
pub use replay::{ReplayGuard, Replayed};

use minicbor::{Decode, Encode};

use crate::id::{BootId, LeaseId};
use crate::limits::MESH_FRAME_BYTES;

/// What a frame is for. Declared in the order that queues are emptied in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Class {
    #[n(1)]
    FabricControl,
    #[n(2)]
    RouteControl,
    #[n(3)]
    Synthetic,
    #[n(4)]
    Telemetry,
    /// User traffic. It has a number so that it can be refused and counted; nothing carries it.
    #[n(5)]
    Payload,
}

impl Class {
    pub const ALL: [Self; 5] = [
        Self::FabricControl,
        Self::RouteControl,
        Self::Synthetic,
        Self::Telemetry,
        Self::Payload,
    ];

    /// The name in metrics, logs and refusals.
    pub const fn name(self) -> &'static str {
        match self {
            Self::FabricControl => "fabric_control",
            Self::RouteControl => "route_control",
            Self::Synthetic => "synthetic",
            Self::Telemetry => "telemetry",
            Self::Payload => "payload",
        }
    }

    const fn number(self) -> u8 {
        match self {
            Self::FabricControl => 1,
            Self::RouteControl => 2,
            Self::Synthetic => 3,
            Self::Telemetry => 4,
            Self::Payload => 5,
        }
    }
}

/// Whom the body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Form {
    /// The far end of the path alone; a relay passes it on unread.
    Sealed,
    /// The other end of this connection; protected by the connection alone, never passed on.
    Link,
}

impl Form {
    const fn number(self) -> u8 {
        match self {
            Self::Sealed => 1,
            Self::Link => 2,
        }
    }
}

/// The start of a [`BootId`]: enough to tell the few runs of one sender apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootTag([u8; 8]);

impl BootTag {
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 8] {
        &self.0
    }
}

impl From<BootId> for BootTag {
    fn from(id: BootId) -> Self {
        Self(*id.as_bytes().first_chunk().expect("a boot id has 16 bytes"))
    }
}

/// The number of a frame among those of one sender and boot, to one neighbour. Never used twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// The number after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The part of a frame that every hop reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub class: Class,
    pub form: Form,
    pub path: PathTag,
    pub boot: BootTag,
    pub sequence: Sequence,
}

impl FrameHeader {
    /// The header's bytes; each header has one form, so a parsed one encodes to what it was parsed from.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let (lease, generation) = match self.path {
            PathTag::Direct => ([0; 16], 0),
            PathTag::Relay { lease, generation } => (*lease.as_bytes(), generation),
        };
        let mut bytes = [0; HEADER_BYTES];
        bytes[..3].copy_from_slice(&[VERSION, self.class.number(), self.form.number()]);
        bytes[3..19].copy_from_slice(&lease);
        bytes[19..23].copy_from_slice(&generation.to_be_bytes());
        bytes[23..31].copy_from_slice(&self.boot.0);
        bytes[31..].copy_from_slice(&self.sequence.0.to_be_bytes());

        bytes
    }

    /// Reads a header, and returns the body behind it unread.
    pub fn parse(frame: &[u8]) -> Result<(Self, &[u8]), FrameRefused> {
        if frame.len() > MESH_FRAME_BYTES {
            return Err(FrameRefused::TooLong { found: frame.len() });
        }
        let (head, body) = frame
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(FrameRefused::TooShort { found: frame.len() })?;
        let header = Self::decode(head)?;

        Ok((header, body))
    }

    fn decode(head: &[u8; HEADER_BYTES]) -> Result<Self, FrameRefused> {
        let mut rest = head.as_slice();
        let [version, class, form] = take(&mut rest);
        if version != VERSION {
            return Err(FrameRefused::UnknownVersion { found: version });
        }
        let class = Class::ALL
            .into_iter()
            .find(|known| known.number() == class)
            .ok_or(FrameRefused::UnknownClass { found: class })?;
        let form = [Form::Sealed, Form::Link]
            .into_iter()
            .find(|known| known.number() == form)
            .ok_or(FrameRefused::UnknownForm { found: form })?;
        let path = match (take(&mut rest), u32::from_be_bytes(take(&mut rest))) {
            (lease, 0) if lease == [0; 16] => PathTag::Direct,
            (lease, _) if lease == [0; 16] => return Err(FrameRefused::LeaseMismatch),
            (lease, generation) => PathTag::Relay {
                lease: LeaseId::from_bytes(lease),
                generation,
            },
        };
        if form == Form::Link && path != PathTag::Direct {
            return Err(FrameRefused::LeaseMismatch);
        }

        Ok(Self {
            class,
            form,
            path,
            boot: BootTag(take(&mut rest)),
            sequence: Sequence(u64::from_be_bytes(take(&mut rest))),
        })
    }
}

/// Takes the next bytes of a header, all of whose fields are counted in [`HEADER_BYTES`].
fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (taken, left) = rest.split_first_chunk().expect("the fields add up to the header");
    *rest = left;

    *taken
}

/// Why a frame is dropped, and counted, before anybody looks for a row or a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameRefused {
    /// A generation without a lease, or a lease on a frame for this link alone.
    #[error("lease, generation and form do not fit each other")]
    LeaseMismatch,
    /// Longer than any frame may be.
    #[error("a frame of {found} bytes is longer than {MESH_FRAME_BYTES}")]
    TooLong { found: usize },
    /// Shorter than a header.
    #[error("a frame of {found} bytes is shorter than its header")]
    TooShort { found: usize },
    /// No class has this number.
    #[error("no frame class {found}")]
    UnknownClass { found: u8 },
    /// No form of body has this number.
    #[error("no form of body {found}")]
    UnknownForm { found: u8 },
    /// A header of a version that this one cannot read.
    #[error("no frame version {found}")]
    UnknownVersion { found: u8 },
}

/// The content does not fit a frame of [`MESH_FRAME_BYTES`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {found} bytes is longer than {MESH_FRAME_BYTES}")]
pub struct ContentTooLong {
    pub found: usize,
}

/// Bytes of the header.
pub const HEADER_BYTES: usize = 39;

const VERSION: u8 = 1;

#[cfg(test)]
mod tests;
