//! The floor of a revocation list: what ended before it is left out, so that the list does not grow without end.
//!
//! ```text
//!  entry:  revoked ─────────── certificate expires ──(renewal window)── ends_at
//!  floor:  ─────────────────────────────────────────────────────────────────────► now − LAG
//! ```
//!
//! Agents refuse a floor that falls or lies in the future, so a controller whose clock was wrong must not have moved it
//! far: it moves once a day and at most [`PACE`], behind [`LAG`].

use std::time::Duration;

use minicbor::{Decode, Encode};
use protocol::cbor;
use protocol::certificate::LEAF_LIFE;
use protocol::id::ClusterId;
use protocol::limits::FRAME_BYTES;
use protocol::time::Wall;

use crate::audit::{Action, Target};
use crate::cluster::ClusterRow;
use crate::desk::Desk;
use crate::failure::Failure;
use crate::finding::{self, Finding, FindingKind, Severity};
use crate::publish;
use crate::store::{Row, Rows, RowsMut, StoreError, Table, View};

use super::revoke::{RevocationRow, revocation_list, revocations};

/// How far a cluster's revocation list may forget.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RevocationFloorRow {
    #[n(0)]
    pub cluster: ClusterId,
    /// As the list has it: moved only when it leaves something out.
    #[n(1)]
    pub floor: Wall,
    /// Where it may be.
    #[n(2)]
    pub allowed: Wall,
    /// When `allowed` was looked at last.
    #[n(3)]
    pub moved_at: Wall,
}

impl Row for RevocationFloorRow {
    const TABLE: Table = Table::RevocationFloors;

    fn key(&self) -> Vec<u8> {
        self.cluster.as_bytes().to_vec()
    }
}

pub(super) fn get(view: &dyn View, cluster: ClusterId) -> Result<Option<RevocationFloorRow>, StoreError> {
    view.get(cluster.as_bytes())
}

/// Leaves out of a cluster's list what has ended long ago. Does nothing for a day after it was called. Returns how many
/// entries it left out.
pub fn prune(desk: &mut Desk<'_>, cluster: &ClusterRow) -> Result<usize, Failure> {
    let now = desk.now.wall;
    let known = get(desk.tx, cluster.id)?.unwrap_or_else(|| RevocationFloorRow {
        cluster: cluster.id,
        floor: Wall::default(),
        allowed: cluster.created_at,
        moved_at: cluster.created_at,
    });
    let Some(mut row) = stepped(known, now) else {
        return Ok(0);
    };
    let over: Vec<RevocationRow> = revocations(desk.tx, cluster.id)?
        .into_iter()
        .filter(|entry| entry.ends_at().is_some_and(|ends_at| ends_at <= row.allowed))
        .take(PRUNED_AT_ONCE)
        .collect();
    if !over.is_empty() {
        row.floor = row.allowed;
    }
    desk.tx.put(&row)?;
    if over.is_empty() {
        return Ok(0);
    }
    for entry in &over {
        desk.tx.delete::<RevocationRow>(&entry.key())?;
    }
    publish::publish_shared(desk, cluster.id)?;
    desk.record(
        Action::REVOCATIONS_PRUNED,
        Target::Cluster(cluster.id),
        format!("{} entries that had ended", over.len()),
    )?;

    Ok(over.len())
}

/// The row after a day's step, or none before the day is over.
fn stepped(mut row: RevocationFloorRow, now: Wall) -> Option<RevocationFloorRow> {
    // The clock was ahead when it moved last, or is behind now: counts from here, and moves nothing.
    if row.moved_at.since(now) > STEP {
        row.moved_at = now;
        return Some(row);
    }
    if now.since(row.moved_at) < STEP {
        return None;
    }
    row.moved_at = now;
    row.allowed = now.before(LAG).min(row.allowed.after(PACE)).max(row.allowed);

    Some(row)
}

/// Raises a finding long before the list outgrows what carries it.
pub(super) fn watch_length(desk: &mut Desk<'_>, cluster: ClusterId) -> Result<(), StoreError> {
    let bytes = cbor::encode(&revocation_list(desk.tx, cluster)?).len();
    if bytes <= LIST_ROOM {
        return Ok(());
    }
    let found = Finding {
        kind: FindingKind::REVOCATIONS_LONG,
        severity: Severity::Warning,
        cluster: Some(cluster),
        subject: cluster.to_string(),
        text: format!(
            "the revocation list takes {} KiB, and a message holds {} KiB: revoke fewer nodes a month, or use several \
             clusters",
            bytes / 1024,
            FRAME_BYTES / 1024
        ),
    };
    finding::raise(desk, found)?;

    Ok(())
}

/// What a list may take before somebody should know: a quarter of the frame that carries it.
pub const LIST_ROOM: usize = FRAME_BYTES / 4;
/// Between two steps of the floor.
const STEP: Duration = Duration::from_secs(24 * 60 * 60);
/// The most that it moves in one: faster than time passes, so that it catches up after an outage, and slow enough for a
/// wrong clock to be noticed within [`LAG`].
const PACE: Duration = Duration::from_secs(2 * 24 * 60 * 60);
/// How far it stays behind the clock: as long as a certificate lives.
const LAG: Duration = LEAF_LIFE;
/// So that one step stays far below what one commit holds; the rest goes the next day.
const PRUNED_AT_ONCE: usize = 2_000;
