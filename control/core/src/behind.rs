//! A store that is older than its fleet: the mark that keeps it from ever speaking for that fleet again.
//!
//! An agent is a witness of what was published. One signed beacon that this store never made says that the store was
//! restored from an older copy, or that another controller signs with the same authority. From then on nothing is
//! written but this mark and its finding, and a start finds the mark again. Nothing here takes it away: that is for
//! `gabion recover`, which raises the epoch above everything that was shown.

use minicbor::{Decode, Encode};
use protocol::document::beacon::BeaconRank;
use protocol::id::{ClusterId, NodeId};
use protocol::time::Wall;

use crate::desk::Desk;
use crate::finding::{self, Finding, FindingKind, Severity};
use crate::store::{Row, Rows, RowsMut, StoreError, Table, View};

/// What was shown first, and by whom. There is at most one for each cluster.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BehindRow {
    #[n(0)]
    pub cluster: ClusterId,
    /// Who showed it.
    #[n(1)]
    pub node: NodeId,
    /// Where the beacon stands that this store does not know.
    #[n(2)]
    pub rank: BeaconRank,
    /// Whether this store gave that very place to another beacon.
    #[n(3)]
    pub fork: bool,
    #[n(4)]
    pub at: Wall,
}

impl BehindRow {
    /// One sentence for people.
    pub fn why(&self) -> String {
        let kind = if self.fork { "another" } else { "a newer" };

        format!(
            "node {} has {kind} beacon of epoch {}, term {}, number {}, which this store never made: it was restored \
             from an older copy, or a second controller signs for this cluster; only `gabion recover`, which this \
             version does not have yet, ends that",
            self.node, self.rank.epoch, self.rank.term, self.rank.number
        )
    }

    fn finding(&self) -> Finding {
        Finding {
            kind: FindingKind::CONTROLLER_BEHIND,
            severity: Severity::Critical,
            cluster: Some(self.cluster),
            subject: self.cluster.to_string(),
            text: self.why(),
        }
    }
}

impl Row for BehindRow {
    const TABLE: Table = Table::Behind;

    fn key(&self) -> Vec<u8> {
        self.cluster.as_bytes().to_vec()
    }
}

/// Why this store must not speak for its fleet, if it must not: one cluster is enough.
pub fn find(view: &dyn View) -> Result<Option<BehindRow>, StoreError> {
    Ok(view.page(&[], None, 1)?.pop())
}

/// Marks the store and raises the finding. What was shown first stays.
pub fn mark(desk: &mut Desk<'_>, row: &BehindRow) -> Result<(), StoreError> {
    if desk.tx.get::<BehindRow>(&row.key())?.is_some() {
        return Ok(());
    }
    desk.tx.put(row)?;

    finding::raise(desk, row.finding()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Actor;
    use crate::testing::World;

    #[test]
    fn what_was_shown_first_stays_and_is_one_finding() {
        let mut world = World::new(1);
        for number in [7, 9] {
            world
                .desk(Actor::Controller, |desk| mark(desk, &row(1, number)))
                .expect("writes");
        }

        assert_eq!(find(&world.tx).expect("reads"), Some(row(1, 7)));
        let findings = finding::list(&world.tx).expect("reads");
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].kind, FindingKind::CONTROLLER_BEHIND);
        assert_eq!(findings[0].severity, Severity::Critical);
        assert!(
            findings[0].text.contains("gabion recover"),
            "{}",
            findings[0].text
        );
    }

    #[test]
    fn one_cluster_is_enough() {
        let mut world = World::new(1);
        assert_eq!(find(&world.tx).expect("reads"), None);
        world
            .desk(Actor::Controller, |desk| mark(desk, &row(2, 1)))
            .expect("writes");

        assert_eq!(find(&world.tx).expect("reads"), Some(row(2, 1)));
    }

    fn row(cluster: u8, number: u64) -> BehindRow {
        BehindRow {
            cluster: ClusterId::from_bytes([cluster; 16]),
            node: NodeId::from_bytes([3; 16]),
            rank: BeaconRank {
                epoch: 1,
                term: 2,
                number,
            },
            fork: false,
            at: Wall(5),
        }
    }
}
