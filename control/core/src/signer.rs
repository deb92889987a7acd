//! The port behind which private keys stay: the kernel names a key by its row and gets signatures and certificates.

use std::sync::Arc;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::certificate::{CertificateRole, Leaf, NotAnIssuer, NotIssued, Validity};
use protocol::document::authority::Serial;
use protocol::error::Code;
use protocol::id::{ClusterId, ControllerId};
use protocol::key::{Sign, VerifyKey};
use zeroize::Zeroizing;

/// Keeps private keys sealed and uses them.
///
/// Every call recomputes what a sealed value is bound to from the row that holds it, so that a value copied into
/// another row does not open.
pub trait Signer: Send + Sync {
    /// Draws an Ed25519 key for `purpose` and seals it.
    fn create(
        &self,
        purpose: &KeyPurpose,
        rng: &mut dyn rand::CryptoRng,
    ) -> Result<(VerifyKey, Sealed), SealFailure>;

    /// A signer with a kept key.
    fn open(&self, kept: &KeptKey<'_>) -> Result<Arc<dyn Sign>, SealFailure>;

    /// The self-signed certificate (DER) of a kept CA key; its purpose must be [`KeyPurpose::IssuingCa`].
    fn issue_ca(
        &self,
        kept: &KeptKey<'_>,
        serial: Serial,
        validity: Validity,
    ) -> Result<Vec<u8>, IssueFailure>;

    /// A leaf certificate (DER) below the CA whose certificate is `ca` and whose key is kept.
    fn issue(&self, kept: &KeptKey<'_>, ca: &[u8], leaf: &Leaf) -> Result<Vec<u8>, IssueFailure>;

    /// Seals bytes that are no key of ours to sign with.
    fn seal(
        &self,
        purpose: &KeyPurpose,
        plain: &[u8],
        rng: &mut dyn rand::CryptoRng,
    ) -> Result<Sealed, SealFailure>;

    /// Opens what [`seal`](Self::seal) sealed for the same purpose.
    fn unseal(&self, purpose: &KeyPurpose, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealFailure>;
}

/// What a key is for: the identity of the row that keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyPurpose {
    /// Signs the documents of a cluster in one epoch.
    Authority { cluster: ClusterId, epoch: u64 },
    /// Serves as one controller of a cluster.
    Controller {
        cluster: ClusterId,
        controller: ControllerId,
    },
    /// Issues the certificates of one role in a cluster.
    IssuingCa {
        cluster: ClusterId,
        role: CertificateRole,
        number: u32,
    },
}

impl KeyPurpose {
    /// What a sealed value is bound to. Each purpose has a length of its own fields, so no two read alike.
    pub fn bytes(&self) -> Vec<u8> {
        match self {
            Self::Authority { cluster, epoch } => {
                [[1].as_slice(), cluster.as_bytes(), &epoch.to_be_bytes()].concat()
            }
            Self::Controller { cluster, controller } => {
                [[2].as_slice(), cluster.as_bytes(), controller.as_bytes()].concat()
            }
            Self::IssuingCa {
                cluster,
                role,
                number,
            } => [
                [3].as_slice(),
                cluster.as_bytes(),
                &[match role {
                    CertificateRole::Node => 1,
                    CertificateRole::Controller => 2,
                }],
                &number.to_be_bytes(),
            ]
            .concat(),
        }
    }
}

/// A private key as its row keeps it.
#[derive(Clone, Copy, Debug)]
pub struct KeptKey<'a> {
    pub purpose: KeyPurpose,
    pub key: &'a VerifyKey,
    pub sealed: &'a Sealed,
}

/// Ciphertext at rest: a data key of this value alone, wrapped by a versioned key-encryption key.
#[derive(Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Sealed {
    /// [`crate::vault::XCHACHA20_POLY1305`].
    #[n(0)]
    pub algorithm: u8,
    /// Version of the key-encryption key.
    #[n(1)]
    pub kek: u32,
    /// Nonce (24) ‖ sealed data key (32) ‖ tag (16).
    #[n(2)]
    pub wrapped: ByteVec,
    /// Nonce (24) ‖ ciphertext ‖ tag (16).
    #[n(3)]
    pub body: ByteVec,
}

impl std::fmt::Debug for Sealed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Sealed(kek {}, {} B)", self.kek, self.body.len())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealFailure {
    /// The ciphertext was changed, or belongs to another row.
    #[error("the sealed value does not belong to this row, or was changed")]
    Broken,
    /// No key-encryption key was given to this process.
    #[error("the controller is sealed: it has no key-encryption key")]
    Locked,
    /// Sealed by an algorithm of another version of this program.
    #[error("sealed by algorithm {found}, which this version lacks")]
    UnknownAlgorithm { found: u8 },
    /// Sealed under a key-encryption key that this process was not given.
    #[error("sealed under version {version} of the key-encryption key, which is not at hand")]
    UnknownKek { version: u32 },
}

impl SealFailure {
    pub const fn code(self) -> Code {
        match self {
            Self::Broken | Self::UnknownAlgorithm { .. } => Code::Internal,
            Self::Locked | Self::UnknownKek { .. } => Code::Sealed,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum IssueFailure {
    /// The stored certificate is not that of a CA, or not that of the kept key.
    #[error("the stored certificate of the issuing ca cannot be used")]
    Ca(#[source] NotAnIssuer),
    /// The CA may not certify this.
    #[error("the issuing ca may not certify this")]
    Leaf(#[source] NotIssued),
    /// The key's purpose is another.
    #[error("the key is not that of an issuing ca")]
    NotACa,
    /// The key cannot be used.
    #[error("the key of the issuing ca cannot be used")]
    Seal(#[from] SealFailure),
}

impl IssueFailure {
    pub const fn code(&self) -> Code {
        match self {
            Self::Ca(_) | Self::Leaf(_) | Self::NotACa => Code::Internal,
            Self::Seal(failure) => failure.code(),
        }
    }
}
