//! Who may act for an installation or a cluster: activation, role grants, trust bundles, revocations.

use minicbor::{Decode, Encode};

use crate::envelope::{Document, Kind};
use crate::id::{ClusterId, InstallationId, NodeId, OperatorId};
use crate::key::{Digest, VerifyKey};
use crate::time::Wall;

/// The product root's word that an installation exists and who owns it first. Consumed once.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ActivationManifest {
    #[n(0)]
    pub installation: InstallationId,
    #[n(1)]
    pub owner: OperatorId,
    #[n(2)]
    pub owner_name: String,
    #[n(3)]
    pub owner_key: VerifyKey,
    #[n(4)]
    pub role: Role,
    #[n(5)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    #[n(6)]
    pub not_before: Wall,
    #[n(7)]
    pub not_after: Wall,
}

impl Document for ActivationManifest {
    const KIND: Kind = Kind::ActivationManifest;
}

/// What an operator may do. Declared strongest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Role {
    #[n(1)]
    Owner,
    #[n(2)]
    Admin,
    #[n(3)]
    Approver,
    #[n(4)]
    Auditor,
    #[n(5)]
    Viewer,
}

impl Role {
    pub const ALL: [Self; 5] = [
        Self::Owner,
        Self::Admin,
        Self::Approver,
        Self::Auditor,
        Self::Viewer,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Admin => "admin",
            Self::Approver => "approver",
            Self::Auditor => "auditor",
            Self::Viewer => "viewer",
        }
    }
}

/// A signed right of an operator, by the product root or by an owner's own key; never by the online authority.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoleGrant {
    #[n(0)]
    pub operator: OperatorId,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub key: VerifyKey,
    #[n(3)]
    pub role: Role,
    /// One cluster, or every one.
    #[n(4)]
    pub cluster: Option<ClusterId>,
}

impl Document for RoleGrant {
    const KIND: Kind = Kind::RoleGrant;
}

/// The word of one epoch's key, or of the product root, that `key` signs from `epoch` on.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Succession {
    #[n(0)]
    pub epoch: u64,
    #[n(1)]
    pub key: VerifyKey,
}

impl Document for Succession {
    const KIND: Kind = Kind::Succession;
}

/// The X.509 anchors of a cluster, by role: a certificate opens only the door of the role whose CA issued it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct TrustBundle {
    /// Self-signed CA certificates, DER.
    #[n(0)]
    pub node_cas: Vec<minicbor::bytes::ByteVec>,
    #[n(1)]
    pub controller_cas: Vec<minicbor::bytes::ByteVec>,
}

impl Document for TrustBundle {
    const KIND: Kind = Kind::TrustBundle;
}

/// What is no longer trusted. Its number is the header's version. Above its floor a list never shrinks: it lacks an entry
/// of the one before only when that entry ended at the floor or before it, and the floor never falls.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevocationList {
    #[n(0)]
    pub certificates: Vec<RevokedCertificate>,
    #[n(1)]
    pub nodes: Vec<RevokedNode>,
    /// Issuers none of whose certificates count any more, by key id. They have no end.
    #[n(2)]
    pub issuers: Vec<Digest>,
    /// Entries that ended by then may be missing. Never later than the list itself.
    #[n(3)]
    pub floor: Wall,
}

impl Document for RevocationList {
    const KIND: Kind = Kind::RevocationList;
}

/// One certificate, by its issuer's key (SHA-256 of its SubjectPublicKeyInfo) and serial.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct RevokedCertificate {
    #[n(0)]
    pub issuer: Digest,
    #[n(1)]
    pub serial: Serial,
    /// When it has expired and cannot be renewed any more.
    #[n(2)]
    pub ends_at: Wall,
}

/// A node, up to and including a generation of its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct RevokedNode {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub generation: u64,
    /// When none of its certificates counts or can be renewed any more.
    #[n(2)]
    pub ends_at: Wall,
}

/// A certificate's serial number: 128 random bits, positive (RFC 5280 4.1.2.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; 16]);

impl Serial {
    /// Draws one; the top bit is cleared and the next one set, so that DER has neither sign nor leading zero.
    pub fn random(rng: &mut dyn rand::CryptoRng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        bytes[0] = bytes[0] & 0x7f | 0x40;

        Self(bytes)
    }

    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl std::fmt::Display for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl std::fmt::Debug for Serial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

impl<C> Encode<C> for Serial {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(&self.0)?.ok()
    }
}

impl<'b, C> Decode<'b, C> for Serial {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.bytes()?
            .try_into()
            .map(Self)
            .map_err(|_| minicbor::decode::Error::message("a serial has 16 bytes"))
    }
}
