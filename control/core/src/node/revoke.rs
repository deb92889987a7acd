//! The end of a node, and the list that tells everybody. The list grows, and never shrinks above its floor.

use minicbor::{Decode, Encode};
use protocol::certificate::LEAF_LIFE;
use protocol::document::authority::{RevocationList, RevokedCertificate, RevokedNode};
use protocol::id::{ClusterId, NodeId};
use protocol::key::Digest;
use protocol::time::Wall;

use crate::audit::{Action, Target};
use crate::desk::Desk;
use crate::failure::Failure;
use crate::issuing::{self, CaRole, CertificateHolder, CertificateRow, CertificateState};
use crate::names::{self, NameHolder};
use crate::publish;
use crate::store::{Row, Rows, RowsMut, Scanned, StoreError, Table, View};

use super::{EXPIRED_RENEWAL, Ending, NodeCaller, NodeError, NodeRow, Presence, Tenure, floor, get, living};

/// One entry of a cluster's revocation list.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevocationRow {
    #[n(0)]
    pub cluster: ClusterId,
    /// From 1, in the order of revocation.
    #[n(1)]
    pub number: u64,
    #[n(2)]
    pub entry: RevocationEntry,
    #[n(3)]
    pub at: Wall,
}

impl RevocationRow {
    /// When it says nothing any more; an issuer is revoked for ever.
    pub fn ends_at(&self) -> Option<Wall> {
        match &self.entry {
            RevocationEntry::Certificate(certificate) => Some(certificate.ends_at),
            RevocationEntry::Node(node) => Some(node.ends_at),
            RevocationEntry::Issuer(_) => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum RevocationEntry {
    #[n(0)]
    Certificate(#[n(0)] RevokedCertificate),
    #[n(1)]
    Node(#[n(0)] RevokedNode),
    /// By key id.
    #[n(2)]
    Issuer(#[n(0)] Digest),
}

impl Row for RevocationRow {
    const TABLE: Table = Table::Revocations;

    fn key(&self) -> Vec<u8> {
        [self.cluster.as_bytes().as_slice(), &self.number.to_be_bytes()].concat()
    }
}

/// Revokes a node for ever: its certificates are listed, its name is free, its documents are withdrawn. Repeating it
/// changes nothing. Rows of its documents and certificates that cannot be read go without being read.
pub fn revoke(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    id: NodeId,
    reason: &str,
) -> Result<NodeRow, NodeError> {
    let row = get(desk.tx, cluster, id)?.ok_or(NodeError::Unknown)?;
    match row.tenure {
        Tenure::Revoked => Ok(row),
        Tenure::Enabled | Tenure::Draining | Tenure::Disabled => Ok(end(desk, row, Ending::Revoked, reason)?),
    }
}

/// A node gives back what it holds. For the fleet it is the same as a revocation.
pub fn leave(desk: &mut Desk<'_>, caller: &NodeCaller) -> Result<NodeRow, NodeError> {
    let row = living(desk.tx, caller.cluster, caller.node)?;

    Ok(end(desk, row, Ending::Left, "")?)
}

/// Every entry of a cluster's list, in the order of revocation.
pub fn revocations(view: &dyn View, cluster: ClusterId) -> Result<Vec<RevocationRow>, StoreError> {
    view.scan(cluster.as_bytes())
}

/// The revocation list as it is published.
pub fn revocation_list(view: &dyn View, cluster: ClusterId) -> Result<RevocationList, StoreError> {
    let mut list = RevocationList {
        floor: floor::get(view, cluster)?.map_or_else(Wall::default, |row| row.floor),
        ..RevocationList::default()
    };
    for row in revocations(view, cluster)? {
        match row.entry {
            RevocationEntry::Certificate(certificate) => list.certificates.push(certificate),
            RevocationEntry::Node(node) => list.nodes.push(node),
            RevocationEntry::Issuer(issuer) => list.issuers.push(issuer),
        }
    }
    list.certificates.sort();
    list.nodes.sort();
    list.issuers.sort();

    Ok(list)
}

fn end(desk: &mut Desk<'_>, mut row: NodeRow, ending: Ending, reason: &str) -> Result<NodeRow, Failure> {
    let ends_at = last_end(desk, &row)?;
    let mut entries = vec![RevocationEntry::Node(RevokedNode {
        node: row.id,
        generation: row.generation,
        ends_at,
    })];
    entries.extend(revoke_certificates(desk, &row, ends_at)?);
    append(desk, row.cluster, entries)?;
    floor::watch_length(desk, row.cluster)?;

    row.tenure = Tenure::Revoked;
    row.presence = Presence::Offline;
    row.presence_since = desk.now.wall;
    row.candidates = Vec::new();
    row.confirmed = None;
    row.ended_at = Some(desk.now.wall);
    row.ending = Some(ending);
    desk.tx.put(&row)?;
    names::free(desk.tx, row.cluster, &row.name, NameHolder::Node(row.id))?;
    publish::withdraw(desk.tx, row.cluster, row.id)?;
    publish::publish_shared(desk, row.cluster)?;
    let action = match ending {
        Ending::Revoked => Action::NODE_REVOKED,
        Ending::Left => Action::NODE_LEFT,
    };
    desk.record(action, Target::Node(row.id), format!("{} {reason}", row.name))?;

    Ok(row)
}

/// When nothing of this node can be valid or be renewed any more.
fn last_end(desk: &Desk<'_>, node: &NodeRow) -> Result<Wall, StoreError> {
    let holder = CertificateHolder::Node(node.id);
    let certificates = issuing::scan_certificates(desk.tx, node.cluster, holder)?;
    // One that cannot be read may be as young as can be.
    let unread = certificates
        .unreadable
        .first()
        .map(|_| desk.now.wall.after(LEAF_LIFE));
    let latest = certificates
        .rows
        .iter()
        .map(|row| row.not_after)
        .chain(unread)
        .max();

    Ok(latest
        .map_or(node.not_after, |latest| latest.max(node.not_after))
        .after(EXPIRED_RENEWAL))
}

/// Marks every certificate of the node that has not expired, and returns their entries. Of one that cannot be read only
/// the serial is known: it is listed below every issuer that it may have, up to `latest`.
fn revoke_certificates(
    desk: &mut Desk<'_>,
    node: &NodeRow,
    latest: Wall,
) -> Result<Vec<RevocationEntry>, StoreError> {
    let mut entries = Vec::new();
    let holder = CertificateHolder::Node(node.id);
    let Scanned { rows, unreadable } = issuing::scan_certificates(desk.tx, node.cluster, holder)?;
    for row in unreadable {
        let cas = issuing::cas(desk.tx, node.cluster)?;
        let issuers = cas.iter().filter(|ca| ca.role == CaRole::Node);
        let listed = issuers.zip(issuing::serial_of(&row).into_iter().cycle());
        entries.extend(listed.map(|(ca, serial)| {
            RevocationEntry::Certificate(RevokedCertificate {
                issuer: ca.id(),
                serial,
                ends_at: latest,
            })
        }));
        desk.tx.delete::<CertificateRow>(&row.key)?;
    }
    for mut row in rows {
        if row.not_after < desk.now.wall || row.state == CertificateState::Revoked {
            continue;
        }
        entries.push(RevocationEntry::Certificate(RevokedCertificate {
            issuer: row.issuer,
            serial: row.serial,
            ends_at: row.not_after.after(EXPIRED_RENEWAL),
        }));
        row.state = CertificateState::Revoked;
        row.changed_at = desk.now.wall;
        desk.tx.put(&row)?;
    }

    Ok(entries)
}

fn append(desk: &mut Desk<'_>, cluster: ClusterId, entries: Vec<RevocationEntry>) -> Result<(), StoreError> {
    let last = revocations(desk.tx, cluster)?.last().map_or(0, |row| row.number);
    for (number, entry) in (last + 1..).zip(entries) {
        desk.tx.put(&RevocationRow {
            cluster,
            number,
            entry,
            at: desk.now.wall,
        })?;
    }

    Ok(())
}
