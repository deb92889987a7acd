//! Rows that cannot be read: each is a finding of its own, and spoils nothing else.

use std::collections::BTreeSet;

use protocol::id::{ClusterId, NodeId};

use crate::desk::Desk;
use crate::finding::{self, Finding, FindingKind, FindingState, Severity};
use crate::publish;
use crate::store::{StoreError, Table, UnreadableRow};

/// Raises a finding for each row of `cluster` that cannot be read now, and closes those of rows that can be read again
/// or are gone.
pub fn watch(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    unreadable: &BTreeSet<UnreadableRow>,
) -> Result<(), StoreError> {
    let known = finding::scan(desk.tx)?;
    let found: Vec<Finding> = unreadable
        .iter()
        .chain(&known.unreadable)
        .map(|row| damaged(cluster, &name(row)))
        .collect();
    for known in known.rows {
        let is_ours = known.kind == FindingKind::ROW_UNREADABLE && known.cluster == Some(cluster);
        let is_over = !found.iter().any(|finding| finding.subject == known.subject);
        if is_ours && is_over && known.state != FindingState::Resolved {
            finding::clear(desk, &damaged(cluster, &known.subject))?;
        }
    }
    for finding in found {
        finding::raise(desk, finding)?;
    }

    Ok(())
}

fn damaged(cluster: ClusterId, row: &str) -> Finding {
    Finding {
        kind: FindingKind::ROW_UNREADABLE,
        severity: Severity::Critical,
        cluster: Some(cluster),
        subject: row.to_owned(),
        text: format!(
            "the row {row} cannot be read; a node and a policy are taken for what they were when this controller read them last, \
             a published document is numbered anew, above any version that it ever had, and anything else is left out; the \
             store was damaged or written by a newer version: go back to a backup, or to that version"
        ),
    }
}

/// The table, and what its key has behind the cluster: an id where it is one, and the kind of a node's document.
fn name(row: &UnreadableRow) -> String {
    let key = match row.table == Table::Findings {
        true => row.key.as_slice(),
        false => row.key.get(CLUSTER..).unwrap_or_default(),
    };
    let document = publish::of_key(&row.key).filter(|_| row.table == Table::Published);
    let named = match (document, <[u8; 16]>::try_from(key)) {
        (Some((node, kind)), _) => format!("{node} {}", kind.name()),
        // The text of an id says nothing of its kind.
        (None, Ok(id)) => NodeId::from_bytes(id).to_string(),
        (None, Err(_)) => key.iter().map(|byte| format!("{byte:02x}")).collect(),
    };

    format!("{:?} {named}", row.table)
}

/// Bytes of the cluster at the beginning of a key.
const CLUSTER: usize = 16;
