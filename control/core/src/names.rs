//! Names of nodes: unique per cluster, held by a request from the moment it is made and by its node afterwards.

use minicbor::{Decode, Encode};
use protocol::id::{ClusterId, NodeId, RequestId};
use protocol::node::Name;

use crate::store::{Row, Rows, RowsMut, StoreError, Table, Tx, View};

/// Who has a name.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NameRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub name: Name,
    #[n(2)]
    pub holder: NameHolder,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum NameHolder {
    #[n(0)]
    Request(#[n(0)] RequestId),
    #[n(1)]
    Node(#[n(0)] NodeId),
}

impl Row for NameRow {
    const TABLE: Table = Table::NodesByName;

    fn key(&self) -> Vec<u8> {
        key(self.cluster, &self.name)
    }
}

/// Who has `name` in `cluster`, if anybody.
pub fn holder(view: &dyn View, cluster: ClusterId, name: &Name) -> Result<Option<NameHolder>, StoreError> {
    let row: Option<NameRow> = view.get(&key(cluster, name))?;

    Ok(row.map(|row| row.holder))
}

/// Gives a name to `holder`, whoever had it before.
pub(crate) fn give(
    tx: &mut dyn Tx,
    cluster: ClusterId,
    name: &Name,
    holder: NameHolder,
) -> Result<(), StoreError> {
    tx.put(&NameRow {
        cluster,
        name: name.clone(),
        holder,
    })
}

/// Frees a name, if `holder` has it.
pub(crate) fn free(
    tx: &mut dyn Tx,
    cluster: ClusterId,
    name: &Name,
    from: NameHolder,
) -> Result<(), StoreError> {
    match holder(tx, cluster, name)? == Some(from) {
        true => tx.delete::<NameRow>(&key(cluster, name)),
        false => Ok(()),
    }
}

fn key(cluster: ClusterId, name: &Name) -> Vec<u8> {
    [cluster.as_bytes().as_slice(), name.as_str().as_bytes()].concat()
}
