//! The join door: what a machine says before it has a certificate, or after its certificate expired.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};

use crate::error::WireError;
use crate::id::{ControllerId, NodeId, RequestId};
use crate::key::{Fingerprint, SealKey, SigningKey, VerifyKey};
use crate::token::TokenSecret;

/// What a server says first, on a unidirectional stream. The signed parts are verified before anything is sent.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Welcome {
    /// Absent when a node welcomes a neighbour.
    #[n(0)]
    pub controller: Option<ControllerId>,
    #[n(1)]
    pub authority: VerifyKey,
    #[n(2)]
    pub epoch: u64,
    /// Signed successions from epoch 1 to the current one, for a reader with an older pin.
    #[n(3)]
    pub successions: Vec<ByteVec>,
    /// The signed trust bundle.
    #[n(4)]
    pub bundle: ByteVec,
    /// The newest signed beacon.
    #[n(5)]
    pub beacon: Option<ByteVec>,
    /// The newest signed revocation list.
    #[n(6)]
    pub revocations: Option<ByteVec>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum JoinRequest {
    #[n(0)]
    Enroll(#[n(0)] Enroll),
    #[n(1)]
    Status(#[n(0)] EnrollmentStatus),
    #[n(2)]
    RenewExpired(#[n(0)] ExpiredRenewal),
    /// Takes a pending request back.
    #[n(3)]
    Withdraw(#[n(0)] EnrollmentStatus),
}

/// Spends a use of a token, or repeats the request that this key already made with it.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Enroll {
    /// The token's signed claims.
    #[n(0)]
    pub claims: ByteVec,
    #[n(1)]
    pub secret: TokenSecret,
    /// PKCS#10, DER; only its key counts.
    #[n(2)]
    pub csr: ByteVec,
    #[n(3)]
    pub seal_key: SealKey,
    #[n(4)]
    pub name: String,
    #[n(5)]
    pub facts: HostFacts,
    /// By the key of the CSR, over this connection.
    #[n(6)]
    pub proof: Proof,
}

impl std::fmt::Debug for Enroll {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Enroll")
            .field("name", &self.name)
            .field("seal_key", &self.seal_key)
            .finish_non_exhaustive()
    }
}

/// What a host says of itself: shown to the approver, compared later to find clones, trusted for nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct HostFacts {
    #[n(0)]
    pub hostname: String,
    #[n(1)]
    pub os: String,
    #[n(2)]
    pub agent_version: String,
    /// A hash of the machine id, never the id itself.
    #[n(3)]
    pub machine: Option<Fingerprint>,
}

/// Asks how a request stands. Nothing is told to a caller that does not prove the request's key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct EnrollmentStatus {
    #[n(0)]
    pub request: RequestId,
    #[n(1)]
    pub proof: Proof,
}

/// A new certificate for a node whose last one expired. No client certificate is shown.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ExpiredRenewal {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    #[n(2)]
    pub csr: ByteVec,
    #[n(3)]
    pub seal_key: SealKey,
    /// By the node's last certified key, over node id ‖ nonce ‖ SHA-256 of the CSR.
    #[n(4)]
    pub proof: Proof,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum JoinReply {
    #[n(0)]
    Pending {
        #[n(0)]
        request: RequestId,
        #[n(1)]
        poll_after_ms: u64,
    },
    #[n(1)]
    Rejected(#[n(0)] WireError),
    /// The signed join contract, sealed to the request's X25519 key.
    #[n(2)]
    Approved(#[n(0)] ByteVec),
    #[n(3)]
    Renewed(#[n(0)] super::Renewed),
    #[n(4)]
    Withdrawn,
}

/// A signature that ties a key to one TLS connection (RFC 5705 exporter), so that it cannot be replayed elsewhere.
#[derive(Clone, Copy, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Proof(
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    [u8; 64],
);

impl Proof {
    /// The exporter label (RFC 5705 4; experimental labels start with EXPORTER).
    pub const EXPORTER_LABEL: &'static [u8] = b"EXPORTER-gabion-possession-v1";

    /// Signs `about` under the connection whose exporter gave `exported`.
    pub fn new(key: &SigningKey, exported: &[u8; 32], about: &[u8]) -> Self {
        Self(key.sign(&Self::message(exported, about)))
    }

    pub fn is_by(&self, key: &VerifyKey, exported: &[u8; 32], about: &[u8]) -> bool {
        key.verify(&Self::message(exported, about), &self.0).is_ok()
    }

    fn message(exported: &[u8; 32], about: &[u8]) -> Vec<u8> {
        [b"gabion possession v1".as_slice(), exported, about].concat()
    }
}

impl std::fmt::Debug for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Proof(..)")
    }
}
