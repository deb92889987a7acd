//! X.509 as Gabion uses it: one issuing CA per role and cluster, leaves whose names are ids, requests that carry a
//! key and nothing else.
//!
//! What a certificate may do follows from the CA that issued it, never from an extension. All keys are Ed25519,
//! whose signatures are deterministic: the same inputs give the same bytes, and the caller draws the serial.

mod issue;
mod name;
mod outer;
mod read;
mod request;
#[cfg(test)]
mod tests;

use std::time::Duration;

#[cfg(test)]
pub(crate) use issue::Signer;
pub use issue::{IssuingCa, Leaf, NotAnIssuer, NotIssued, issue_ca};
pub use name::{ServerOf, controller_server_name, node_server_name, parse_server_name};
pub use read::{CaCertificate, ClaimedIdentity, InvalidCertificate, claimed_identity, read_ca};
pub use request::{InvalidCsr, csr, parse_csr};

use crate::document::authority::Serial;
use crate::id::{ClusterId, ControllerId, NodeId};
use crate::key::{Digest, VerifyKey};
use crate::time::Wall;

/// What the certificates of an issuing CA are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CertificateRole {
    Node,
    Controller,
}

impl CertificateRole {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Controller => "controller",
        }
    }

    /// The common name of this role's CAs.
    const fn ca_name(self) -> &'static str {
        match self {
            Self::Node => "gabion node ca",
            Self::Controller => "gabion controller ca",
        }
    }
}

/// Whom a leaf names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Holder {
    Node(NodeId),
    Controller(ControllerId),
}

impl Holder {
    /// The role of the CA that may certify this holder.
    pub const fn role(self) -> CertificateRole {
        match self {
            Self::Node(_) => CertificateRole::Node,
            Self::Controller(_) => CertificateRole::Controller,
        }
    }
}

/// Who is at the other end, as a certificate proves it. Only [`crate::admit`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub cluster: ClusterId,
    pub holder: Holder,
    pub serial: Serial,
    /// SHA-256 of the SubjectPublicKeyInfo of the CA that issued the certificate: with the serial, what a
    /// revocation names.
    pub issuer: Digest,
    pub key: VerifyKey,
    pub validity: Validity,
}

/// When a certificate counts, both ends included; X.509 keeps whole seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    pub not_before: Wall,
    pub not_after: Wall,
}

impl Validity {
    /// From [`BACKDATING`] before `now` until `life` after it.
    pub fn starting(now: Wall, life: Duration) -> Self {
        Self {
            not_before: now.before(BACKDATING),
            not_after: now.after(life),
        }
    }

    /// Whether `at` lies within, counted in whole seconds.
    pub fn contains(&self, at: Wall) -> bool {
        (self.not_before.seconds()..=self.not_after.seconds()).contains(&at.seconds())
    }
}

/// The life of node and controller certificates. They are renewed at half of it, so an outage of three days
/// costs nobody an identity.
pub const LEAF_LIFE: Duration = Duration::from_secs(7 * DAY);

/// The life of an issuing CA: 520 times that of a leaf. A CA is withdrawn by the signed trust bundle and revocation
/// list, not by its date; a date that came would cut off a whole cluster at once, hosts that were powered off included.
pub const CA_LIFE: Duration = Duration::from_secs(3650 * DAY);

/// How far before its issue a certificate begins to count, for hosts whose clock is behind.
pub const BACKDATING: Duration = Duration::from_secs(5 * 60);

/// The longest certificate or request that is looked at. Ours stay below 600 bytes; the rest is room for extensions
/// of later versions.
pub const CERTIFICATE_BYTES: usize = 4096;

const DAY: u64 = 24 * 60 * 60;
