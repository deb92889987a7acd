//! What stands at the head of every document: what it is, whose, for whom, and where in the order of its kind.

use std::fmt;

use minicbor::{Decode, Encode};

use super::Document;
use crate::cbor;
use crate::id::{ClusterId, InstallationId, NodeId};
use crate::key::Digest;
use crate::time::Wall;

/// What a document is. Part of the wire format: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Kind {
    #[n(1)]
    ActivationManifest,
    #[n(2)]
    RoleGrant,
    #[n(3)]
    JoinToken,
    #[n(4)]
    JoinContract,
    #[n(5)]
    TrustBundle,
    #[n(6)]
    RevocationList,
    #[n(7)]
    SyntheticConfig,
    #[n(8)]
    Routes,
    #[n(9)]
    LeaseTable,
    #[n(10)]
    Beacon,
    /// Signed by epoch N over the key of epoch N + 1.
    #[n(11)]
    Succession,
}

impl Kind {
    /// The name that `gabion inspect` and errors use.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ActivationManifest => "activation manifest",
            Self::RoleGrant => "role grant",
            Self::JoinToken => "join token",
            Self::JoinContract => "join contract",
            Self::TrustBundle => "trust bundle",
            Self::RevocationList => "revocation list",
            Self::SyntheticConfig => "synthetic config",
            Self::Routes => "routes",
            Self::LeaseTable => "lease table",
            Self::Beacon => "beacon",
            Self::Succession => "authority succession",
        }
    }

    /// The number on the wire, as one byte wherever bytes are hashed.
    pub(crate) fn number(self) -> u8 {
        let bytes = cbor::encode(&self);

        *bytes.last().expect("an integer has a last byte")
    }
}

/// The boundary a document belongs to: a cluster, or the installation for what concerns all of them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Realm([u8; 16]);

impl Realm {
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl From<ClusterId> for Realm {
    fn from(id: ClusterId) -> Self {
        Self(*id.as_bytes())
    }
}

impl From<InstallationId> for Realm {
    fn from(id: InstallationId) -> Self {
        Self(*id.as_bytes())
    }
}

impl fmt::Debug for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", ClusterId::from_bytes(self.0))
    }
}

impl fmt::Display for Realm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", ClusterId::from_bytes(self.0))
    }
}

/// Whom a document is addressed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// Every reader; `*` in text.
    All,
    Node(NodeId),
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All => f.write_str("*"),
            Self::Node(id) => write!(f, "{id}"),
        }
    }
}

/// What stands at the head of every document.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Header {
    #[n(0)]
    pub kind: Kind,
    #[n(1)]
    pub schema: u16,
    #[n(2)]
    pub realm: Realm,
    #[n(3)]
    pub subject: Subject,
    /// The epoch of the signing authority; 0 for what the product root or an owner signs.
    #[n(4)]
    pub epoch: u64,
    #[n(5)]
    pub version: u64,
    /// The payload hash of the version before this one.
    #[n(6)]
    pub previous: Option<Digest>,
    #[n(7)]
    pub issued_at: Wall,
    /// Bounds adoption: a document past this is not newly applied, and one that is in force stays so.
    #[n(8)]
    pub valid_until: Option<Wall>,
    /// Features without which a reader must keep what it has.
    #[n(9)]
    pub needs: Vec<u32>,
}

impl Header {
    /// The order in which documents of one kind and subject supersede each other.
    pub fn rank(&self) -> (u64, u64) {
        (self.epoch, self.version)
    }
}

/// A header but for what the body's type decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub realm: Realm,
    pub subject: Subject,
    pub epoch: u64,
    pub version: u64,
    pub previous: Option<Digest>,
    pub issued_at: Wall,
    pub valid_until: Option<Wall>,
}

impl Stamp {
    pub(super) fn header<D: Document>(&self, body: &D) -> Header {
        Header {
            kind: D::KIND,
            schema: D::SCHEMA,
            realm: self.realm,
            subject: self.subject,
            epoch: self.epoch,
            version: self.version,
            previous: self.previous,
            issued_at: self.issued_at,
            valid_until: self.valid_until,
            needs: body.needs(),
        }
    }
}

impl<C> Encode<C> for Realm {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Realm {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        ClusterId::decode(d, ctx).map(Self::from)
    }
}

impl<C> Encode<C> for Subject {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Self::All => e.str("*")?.ok(),
            Self::Node(id) => id.encode(e, ctx),
        }
    }
}

impl<'b, C> Decode<'b, C> for Subject {
    fn decode(d: &mut minicbor::Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        if d.datatype()? == minicbor::data::Type::Bytes {
            return NodeId::decode(d, ctx).map(Self::Node);
        }
        match d.str()? {
            "*" => Ok(Self::All),
            _ => Err(minicbor::decode::Error::message(
                "a subject is a node id or \"*\"",
            )),
        }
    }
}
