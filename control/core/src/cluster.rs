//! Clusters: the isolation boundary. One comes with its authority, its two issuing CAs and its first signed lists.

use minicbor::{Decode, Encode};
use protocol::error::Code;
use protocol::id::ClusterId;
use protocol::node::Name;
use protocol::time::Wall;

use crate::audit::{Action, Target};
use crate::authority;
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::installation::{self, InstallationState};
use crate::issuing;
use crate::publish;
use crate::store::{Row, Rows, RowsMut, StoreError, Table, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ClusterState {
    #[n(1)]
    Active,
    #[n(2)]
    Suspended,
    #[n(3)]
    Archived,
}

impl ClusterState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Archived => "archived",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ClusterRow {
    #[n(0)]
    pub id: ClusterId,
    /// Unique in the installation.
    #[n(1)]
    pub name: Name,
    #[n(2)]
    pub state: ClusterState,
    #[n(3)]
    pub created_at: Wall,
}

impl Row for ClusterRow {
    const TABLE: Table = Table::Clusters;

    fn key(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}

/// Creates a cluster with authority epoch 1, node and controller CA, trust bundle and an empty revocation list.
pub fn create(desk: &mut Desk<'_>, name: Name) -> Result<ClusterRow, CreateClusterError> {
    let activated = installation::find(desk.tx)?.is_some_and(|row| row.state == InstallationState::Activated);
    if !activated {
        return Err(CreateClusterError::NotActivated);
    }
    if find(desk.tx, &name)?.is_some() {
        return Err(CreateClusterError::NameTaken);
    }
    let row = ClusterRow {
        id: ClusterId::random(desk.rng),
        name,
        state: ClusterState::Active,
        created_at: desk.now.wall,
    };
    desk.tx.put(&row)?;
    let authority = authority::found(desk, row.id)?;
    issuing::found(desk, row.id)?;
    publish::publish_shared(desk, row.id)?;
    desk.record(
        Action::CLUSTER_CREATED,
        Target::Cluster(row.id),
        format!("{} with authority {}", row.name, authority.key.fingerprint()),
    )?;

    Ok(row)
}

pub fn get(view: &dyn View, id: ClusterId) -> Result<Option<ClusterRow>, StoreError> {
    view.get(id.as_bytes())
}

pub fn find(view: &dyn View, name: &Name) -> Result<Option<ClusterRow>, StoreError> {
    Ok(list(view)?.into_iter().find(|row| row.name == *name))
}

/// The clusters by their keys alone, so that one row that cannot be read hides no other cluster.
pub fn ids(view: &dyn View) -> Result<Vec<ClusterId>, StoreError> {
    let rows = view.scan_bytes(Table::Clusters, &[], None, usize::MAX)?;
    let ids = rows
        .iter()
        .filter_map(|(key, _)| <[u8; 16]>::try_from(key.as_slice()).ok());

    Ok(ids.map(ClusterId::from_bytes).collect())
}

pub fn list(view: &dyn View) -> Result<Vec<ClusterRow>, StoreError> {
    view.scan(&[])
}

#[derive(Debug, thiserror::Error)]
pub enum CreateClusterError {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Another cluster of this installation has the name.
    #[error("another cluster has this name")]
    NameTaken,
    /// The installation has no owner yet.
    #[error("the installation is not activated yet")]
    NotActivated,
}

impl CreateClusterError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::NameTaken => Code::NameTaken,
            Self::NotActivated => Code::ConflictState,
        }
    }
}

fails!(CreateClusterError);

#[cfg(test)]
mod tests;
