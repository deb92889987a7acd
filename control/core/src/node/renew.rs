//! Renewal, with a ratchet: a node moves from certificate to certificate, one step at a time.
//!
//! ```text
//! serial 1 ──(nonce a, CSR a)──► serial 2 ──(nonce b, CSR b)──► serial 3
//!    │                              │
//!    └─ (nonce a, CSR a) again: the same answer, for a reply that was lost
//!    └─ anything else: somebody else has moved on with this identity, one of the two is a clone
//! ```

use std::time::Duration;

use minicbor::{Decode, Encode};
use protocol::certificate::{InvalidCsr, parse_csr};
use protocol::document::authority::Serial;
use protocol::error::Code;
use protocol::key::{Digest, SealKey, VerifyKey};
use protocol::time::Wall;
use protocol::wire::{ExpiredRenewal, Renew, Renewed};

use crate::audit::{Action, Target};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::finding::{self, Finding, FindingKind, Severity};
use crate::issuing::{self, CertificateHolder};
use crate::join::{JoinCaller, can_be_sealed_to};
use crate::store::{RowsMut, StoreError};

use super::{NodeCaller, NodeRow, Tenure, get};

/// The step that led to the current certificate.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LastRenewal {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    /// SHA-256 of the CSR.
    #[n(1)]
    pub csr: Digest,
    /// The certificate it was asked for with.
    #[n(2)]
    pub previous_serial: Serial,
    #[n(3)]
    pub previous_key: VerifyKey,
    #[n(4)]
    pub at: Wall,
}

/// What became of a renewal. Both are to be committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// The current certificate, new or repeated.
    Issued(Renewed),
    /// Another holder of this identity was here before: a finding is raised, the caller gets
    /// [`Code::IdentityCloned`].
    Cloned,
}

impl Renewal {
    /// What travels.
    pub fn into_result(self) -> Result<Renewed, Code> {
        match self {
            Self::Issued(renewed) => Ok(renewed),
            Self::Cloned => Err(Code::IdentityCloned),
        }
    }
}

/// Renews the certificate of a caller that showed its current one. Idempotent on nonce and CSR.
pub fn renew(desk: &mut Desk<'_>, caller: &NodeCaller, request: &Renew) -> Result<Renewal, RenewError> {
    let row = get(desk.tx, caller.cluster, caller.node)?.ok_or(RenewError::Unknown)?;
    if row.tenure == Tenure::Revoked {
        return Err(RenewError::Revoked);
    }
    let step = Step::read(request.nonce, &request.csr, request.seal_key)?;
    let stands_on = if caller.serial == row.serial {
        Footing::Current
    } else {
        Footing::Earlier
    };

    take(desk, row, &step, stands_on)
}

/// Renews for a caller whose certificate has expired: it proves the key that was certified last. For
/// [`EXPIRED_RENEWAL`] after the expiry; a caller that proves nothing is told nothing.
pub fn renew_expired(
    desk: &mut Desk<'_>,
    caller: &JoinCaller,
    request: &ExpiredRenewal,
) -> Result<Renewal, RenewError> {
    let row = get(desk.tx, caller.cluster, request.node)?.ok_or(RenewError::ProofInvalid)?;
    let about = [
        request.node.as_bytes().as_slice(),
        &request.nonce,
        Digest::of(&request.csr).as_bytes(),
    ]
    .concat();
    let proves = |key: &VerifyKey| request.proof.is_by(key, &caller.exported, &about);
    let stands_on = match &row.renewal {
        _ if proves(&row.key) => Footing::Current,
        Some(last) if proves(&last.previous_key) => Footing::Earlier,
        Some(_) | None => return Err(RenewError::ProofInvalid),
    };
    if row.tenure == Tenure::Revoked {
        return Err(RenewError::Revoked);
    }
    if desk.now.wall.since(row.not_after) > EXPIRED_RENEWAL {
        return Err(RenewError::ExpiredTooLong);
    }
    let step = Step::read(request.nonce, &request.csr, request.seal_key)?;

    take(desk, row, &step, stands_on)
}

/// Which certificate the caller has proven to hold.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Footing {
    Current,
    Earlier,
}

/// What a renewal asks for.
struct Step {
    nonce: [u8; 16],
    csr: Digest,
    key: VerifyKey,
    seal_key: SealKey,
}

impl Step {
    fn read(nonce: [u8; 16], csr: &[u8], seal_key: SealKey) -> Result<Self, RenewError> {
        Ok(Self {
            nonce,
            csr: Digest::of(csr),
            key: parse_csr(csr)?,
            seal_key,
        })
    }
}

fn take(desk: &mut Desk<'_>, row: NodeRow, step: &Step, stands_on: Footing) -> Result<Renewal, RenewError> {
    let spent = row.renewal.as_ref().filter(|last| last.nonce == step.nonce);
    match (spent, stands_on) {
        (Some(last), _) if last.csr == step.csr => renewed(desk, &row),
        (Some(_), _) | (None, Footing::Earlier) => cloned(desk, &row),
        (None, Footing::Current) => issue(desk, row, step),
    }
}

fn issue(desk: &mut Desk<'_>, mut row: NodeRow, step: &Step) -> Result<Renewal, RenewError> {
    if !can_be_sealed_to(desk, &step.seal_key) {
        return Err(RenewError::InvalidSealKey);
    }
    let holder = CertificateHolder::Node(row.id);
    if issuing::supersede(desk, row.cluster, holder)? >= VALID_CERTIFICATES {
        return Err(RenewError::TooOften);
    }
    let issued = issuing::issue(desk, row.cluster, holder, step.key)?;
    row.renewal = Some(LastRenewal {
        nonce: step.nonce,
        csr: step.csr,
        previous_serial: row.serial,
        previous_key: row.key,
        at: desk.now.wall,
    });
    row.key = step.key;
    row.seal_key = step.seal_key;
    row.issuer = issued.issuer;
    row.serial = issued.serial;
    row.certificate = issued.certificate.into();
    row.not_after = issued.validity.not_after;
    desk.tx.put(&row)?;
    desk.record(
        Action::CERTIFICATE_RENEWED,
        Target::Node(row.id),
        format!("serial {} with key {}", row.serial, row.fingerprint()),
    )?;

    renewed(desk, &row)
}

fn renewed(desk: &Desk<'_>, row: &NodeRow) -> Result<Renewal, RenewError> {
    Ok(Renewal::Issued(Renewed {
        certificate: row.certificate.clone(),
        controllers: issuing::controllers(desk.tx, row.cluster)?,
    }))
}

fn cloned(desk: &mut Desk<'_>, row: &NodeRow) -> Result<Renewal, RenewError> {
    let found = Finding {
        kind: FindingKind::IDENTITY_CLONED,
        severity: Severity::Critical,
        cluster: Some(row.cluster),
        subject: row.id.to_string(),
        text: format!(
            "two hosts hold the identity of {}: one asked to renew a certificate that the other has renewed",
            row.name
        ),
    };
    finding::raise(desk, found).map_err(|error: StoreError| Failure::from(error))?;

    Ok(Renewal::Cloned)
}

#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    /// The certificate request does not verify, or is of another algorithm.
    #[error("the certificate request is refused")]
    CsrInvalid(#[from] InvalidCsr),
    /// The last certificate ended more than [`EXPIRED_RENEWAL`] ago.
    #[error("the certificate expired more than 30 days ago: the node must join again")]
    ExpiredTooLong,
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Nothing can be sealed to the X25519 key.
    #[error("the sealing key is not usable")]
    InvalidSealKey,
    /// The caller does not hold a key that was certified for this node, or there is no such node.
    #[error("the proof of possession does not verify")]
    ProofInvalid,
    /// It was revoked, or has left.
    #[error("the node was revoked")]
    Revoked,
    /// More than [`VALID_CERTIFICATES`] certificates of this node are valid at once.
    #[error("the node renews too often")]
    TooOften,
    /// The cluster has no node of this id.
    #[error("no such node")]
    Unknown,
}

impl RenewError {
    pub const fn code(&self) -> Code {
        match self {
            Self::CsrInvalid(_) => Code::CsrInvalid,
            Self::ExpiredTooLong => Code::IdentityMissing,
            Self::Failure(failure) => failure.code(),
            Self::InvalidSealKey => Code::ValidationFailed,
            Self::ProofInvalid => Code::SignatureInvalid,
            Self::Revoked => Code::NodeRevoked,
            Self::TooOften => Code::RateLimited,
            Self::Unknown => Code::NotFound,
        }
    }
}

fails!(RenewError);

/// How long after its expiry a certificate can be renewed by proof of possession (DESIGN 3, offline classes).
pub const EXPIRED_RENEWAL: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Valid certificates of one node: two in normal life, the rest for agents that restart in a loop.
pub const VALID_CERTIFICATES: usize = 16;
