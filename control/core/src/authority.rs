//! The cluster authority: the online Ed25519 key that signs a cluster's documents, in epochs.
//!
//! ```text
//! epoch n: prepared ──► active ──► tainted ──► revoked
//! ```
//!
//! A cluster has one from its first moment. The key of an epoch stays sealed; the next epoch carries its
//! predecessor's signature.

use std::sync::Arc;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::error::Code;
use protocol::id::ClusterId;
use protocol::key::{Sign, VerifyKey};
use protocol::time::Wall;

use crate::cluster;
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::signer::{KeptKey, KeyPurpose, Sealed, Signer};
use crate::store::{Row, Rows, RowsMut, StoreError, Table, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum AuthorityState {
    #[n(1)]
    Prepared,
    #[n(2)]
    Active,
    #[n(3)]
    Tainted,
    #[n(4)]
    Revoked,
}

impl AuthorityState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Prepared => "prepared",
            Self::Active => "active",
            Self::Tainted => "tainted",
            Self::Revoked => "revoked",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct AuthorityRow {
    #[n(0)]
    pub cluster: ClusterId,
    /// From 1.
    #[n(1)]
    pub epoch: u64,
    #[n(2)]
    pub key: VerifyKey,
    #[n(3)]
    pub sealed: Sealed,
    #[n(4)]
    pub state: AuthorityState,
    /// The signed succession that leads here from the epoch before; none for the first.
    #[n(5)]
    pub succession: Option<ByteVec>,
    #[n(6)]
    pub created_at: Wall,
}

impl AuthorityRow {
    fn kept(&self) -> KeptKey<'_> {
        KeptKey {
            purpose: KeyPurpose::Authority {
                cluster: self.cluster,
                epoch: self.epoch,
            },
            key: &self.key,
            sealed: &self.sealed,
        }
    }
}

impl Row for AuthorityRow {
    const TABLE: Table = Table::Authorities;

    fn key(&self) -> Vec<u8> {
        key(self.cluster, self.epoch)
    }
}

/// The authority of a cluster with its key ready to sign.
#[derive(Clone)]
pub struct OpenAuthority {
    pub epoch: u64,
    pub key: Arc<dyn Sign>,
}

/// Makes sure that a cluster has an authority: creates epoch 1 if there is none, and otherwise changes nothing.
pub fn ensure_authority(desk: &mut Desk<'_>, cluster: ClusterId) -> Result<AuthorityRow, AuthorityError> {
    if cluster::get(desk.tx, cluster)?.is_none() {
        return Err(AuthorityError::UnknownCluster);
    }

    Ok(found(desk, cluster)?)
}

/// The authority whose epoch is in force: the highest active one.
pub fn current(view: &dyn View, cluster: ClusterId) -> Result<AuthorityRow, AuthorityError> {
    let active = |row: &AuthorityRow| row.state == AuthorityState::Active;
    let newest = history(view, cluster)?.into_iter().rfind(active);

    newest.ok_or(AuthorityError::UnknownCluster)
}

/// Every epoch of a cluster, ascending.
pub fn history(view: &dyn View, cluster: ClusterId) -> Result<Vec<AuthorityRow>, StoreError> {
    view.scan(cluster.as_bytes())
}

/// The authority of one epoch.
pub fn of_epoch(view: &dyn View, cluster: ClusterId, epoch: u64) -> Result<Option<AuthorityRow>, StoreError> {
    view.get(&key(cluster, epoch))
}

/// The signed successions from epoch 1 to the newest, for a reader with an older pin.
pub fn successions(view: &dyn View, cluster: ClusterId) -> Result<Vec<ByteVec>, StoreError> {
    let rows = history(view, cluster)?;

    Ok(rows.into_iter().filter_map(|row| row.succession).collect())
}

/// Opens the key of the epoch in force.
pub fn open(
    view: &dyn View,
    signer: &dyn Signer,
    cluster: ClusterId,
) -> Result<OpenAuthority, AuthorityError> {
    let row = current(view, cluster)?;

    Ok(OpenAuthority {
        epoch: row.epoch,
        key: signer.open(&row.kept())?,
    })
}

/// Opens the key of one epoch, to sign again what was committed under it.
pub fn open_epoch(
    view: &dyn View,
    signer: &dyn Signer,
    cluster: ClusterId,
    epoch: u64,
) -> Result<OpenAuthority, AuthorityError> {
    let row = of_epoch(view, cluster, epoch)?.ok_or(AuthorityError::UnknownEpoch { epoch })?;
    if row.state == AuthorityState::Revoked {
        return Err(AuthorityError::UnknownEpoch { epoch });
    }

    Ok(OpenAuthority {
        epoch,
        key: signer.open(&row.kept())?,
    })
}

/// The first epoch, made if it is not there.
pub(crate) fn found(desk: &mut Desk<'_>, cluster: ClusterId) -> Result<AuthorityRow, Failure> {
    if let Some(row) = of_epoch(desk.tx, cluster, FIRST_EPOCH)? {
        return Ok(row);
    }
    let purpose = KeyPurpose::Authority {
        cluster,
        epoch: FIRST_EPOCH,
    };
    let (key, sealed) = desk.signer.create(&purpose, desk.rng)?;
    let row = AuthorityRow {
        cluster,
        epoch: FIRST_EPOCH,
        key,
        sealed,
        state: AuthorityState::Active,
        succession: None,
        created_at: desk.now.wall,
    };
    desk.tx.put(&row)?;

    Ok(row)
}

#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// No cluster has this id.
    #[error("no such cluster")]
    UnknownCluster,
    /// The cluster never had this epoch, or its key is revoked.
    #[error("the cluster has no authority epoch {epoch}")]
    UnknownEpoch { epoch: u64 },
}

impl AuthorityError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::UnknownCluster | Self::UnknownEpoch { .. } => Code::NotFound,
        }
    }

    /// For callers that know the cluster to exist.
    pub(crate) fn into_failure(self) -> Failure {
        match self {
            Self::Failure(failure) => failure,
            Self::UnknownCluster | Self::UnknownEpoch { .. } => {
                Failure::Inconsistent("a cluster without authority")
            }
        }
    }
}

fails!(AuthorityError);

fn key(cluster: ClusterId, epoch: u64) -> Vec<u8> {
    [cluster.as_bytes().as_slice(), &epoch.to_be_bytes()].concat()
}

const FIRST_EPOCH: u64 = 1;
