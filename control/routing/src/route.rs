//! The decision in force for each route, as the store keeps it.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use control_core::store::{Row, Table};
use minicbor::{Decode, Encode};
use protocol::document::routes::{Action, Cadence, Path, Reason, Rendezvous};
use protocol::id::{ClusterId, NodeId, RouteId};
use protocol::time::{Wall, millis};
use serde::{Deserialize, Serialize};

use crate::candidate::Candidate;
use crate::evidence::Ends;
use crate::score::{LossClass, Tier};
use crate::via::Via;

/// The latest decision of one route, with what it was made from. A withdrawn one stays, so that its generation is
/// never reused.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct RouteRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub route: RouteId,
    #[n(2)]
    pub low: NodeId,
    #[n(3)]
    pub high: NodeId,
    /// Grows by one whenever path, standbys, priority, cadence or rendezvous change, and never falls.
    #[n(4)]
    pub generation: u64,
    #[n(5)]
    pub action: Action,
    /// Absent when withdrawn.
    #[n(6)]
    pub path: Option<Path>,
    /// Ranked.
    #[n(7)]
    pub standbys: Vec<Path>,
    /// Ascending, each once.
    #[n(8)]
    pub reasons: Vec<Reason>,
    #[n(9)]
    pub priority: u8,
    #[n(10)]
    pub cadence: Cadence,
    #[n(11)]
    pub decided_at: Wall,
    /// The candidates as they stood then, best first, at most [`CONSIDERED`].
    #[n(12)]
    pub considered: Vec<Considered>,
    /// The generation of the last withdrawal, if there was one: reports about an earlier one are of another time, and
    /// say nothing of the route as it is now.
    #[n(13)]
    pub withdrawn_at: Option<u64>,
    /// Where the ends may agree to dial each other, while they have no path that works.
    #[n(14)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rendezvous: Option<Rendezvous>,
}

impl RouteRow {
    pub fn is_withdrawn(&self) -> bool {
        self.path.is_none()
    }

    /// The lowest generation whose reports are evidence.
    pub fn evident_from(&self) -> u64 {
        self.withdrawn_at.unwrap_or(0)
    }

    pub const fn ends(&self) -> Ends {
        Ends {
            route: self.route,
            low: self.low,
            high: self.high,
        }
    }

    /// The far end, seen from `node`.
    pub fn peer_of(&self, node: NodeId) -> Option<NodeId> {
        self.ends().peer_of(node)
    }

    /// Path and standbys, in this order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.path.iter().chain(&self.standbys)
    }

    /// The key of a route within [`Table::Routes`].
    pub fn key_of(cluster: ClusterId, route: RouteId) -> Vec<u8> {
        [*cluster.as_bytes(), *route.as_bytes()].concat()
    }
}

impl Row for RouteRow {
    const TABLE: Table = Table::Routes;

    fn key(&self) -> Vec<u8> {
        Self::key_of(self.cluster, self.route)
    }
}

/// One candidate of a decision and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Considered {
    #[n(0)]
    pub via: Via,
    #[n(1)]
    pub verdict: Verdict,
    #[n(2)]
    pub tier: Tier,
    #[n(3)]
    pub loss: LossClass,
    /// Microseconds; of the path itself if `measured`, else the sum of the links it would use.
    #[n(4)]
    pub rtt_us: Option<u32>,
    #[n(5)]
    pub measured: bool,
    /// Reserved load of the relay at that moment.
    #[n(6)]
    pub load: u32,
    /// Milliseconds since the newest report about it.
    #[n(7)]
    pub age_ms: Option<u64>,
    #[n(8)]
    pub reasons: Vec<Reason>,
}

impl Considered {
    pub fn of(found: &Candidate<'_>, verdict: Verdict) -> Self {
        Self {
            via: found.via,
            verdict,
            tier: found.score.class.tier,
            loss: found.score.class.loss,
            rtt_us: found.evidence.rtt_us,
            measured: found.evidence.probed,
            load: found.score.reserved,
            age_ms: found.evidence.age.map(millis),
            reasons: found.reasons.iter().collect(),
        }
    }
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    #[n(1)]
    Chosen,
    #[n(2)]
    Standby,
    #[n(3)]
    Refused,
}

impl Verdict {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Chosen => "chosen",
            Self::Standby => "standby",
            Self::Refused => "refused",
        }
    }
}

/// The decisions of a cluster in memory, found by route and by end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouteBook {
    rows: BTreeMap<RouteId, RouteRow>,
    by_node: BTreeMap<NodeId, BTreeSet<RouteId>>,
    /// Routes whose path goes through the relay.
    carried: BTreeMap<NodeId, u32>,
}

impl RouteBook {
    /// Adds or replaces. Returns what it took the place of.
    pub fn put(&mut self, row: RouteRow) -> Option<RouteRow> {
        let (route, ends) = (row.route, [row.low, row.high]);
        if let Some(relay) = relay_of(&row) {
            *self.carried.entry(relay).or_default() += 1;
        }
        let replaced = self.rows.insert(route, row);
        self.uncount(replaced.as_ref());
        let before = replaced.as_ref().map(|replaced| [replaced.low, replaced.high]);
        if before != Some(ends) {
            before
                .into_iter()
                .flatten()
                .for_each(|end| self.unlink(end, route));
            for end in ends {
                self.by_node.entry(end).or_default().insert(route);
            }
        }

        replaced
    }

    pub fn remove(&mut self, route: RouteId) -> Option<RouteRow> {
        let removed = self.rows.remove(&route)?;
        self.unlink(removed.low, route);
        self.unlink(removed.high, route);
        self.uncount(Some(&removed));

        Some(removed)
    }

    pub fn find(&self, route: RouteId) -> Option<&RouteRow> {
        self.rows.get(&route)
    }

    /// Withdrawn ones included, in the order of the routes.
    pub fn of_node(&self, node: NodeId) -> impl Iterator<Item = &RouteRow> {
        let routes = self.by_node.get(&node).into_iter().flatten();

        routes.filter_map(|route| self.rows.get(route))
    }

    /// Withdrawn ones included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &RouteRow> {
        self.rows.values()
    }

    /// From the one that follows `after`, withdrawn ones included.
    pub fn after(&self, after: Option<RouteId>) -> impl Iterator<Item = &RouteRow> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);

        self.rows.range((start, Bound::Unbounded)).map(|(_, row)| row)
    }

    /// How many routes go through `relay` now, standbys not counted.
    pub fn carried_by(&self, relay: NodeId) -> u32 {
        self.carried.get(&relay).copied().unwrap_or(0)
    }

    fn unlink(&mut self, end: NodeId, route: RouteId) {
        if let Entry::Occupied(mut routes) = self.by_node.entry(end) {
            routes.get_mut().remove(&route);
            if routes.get().is_empty() {
                routes.remove();
            }
        }
    }

    fn uncount(&mut self, row: Option<&RouteRow>) {
        let Some(relay) = row.and_then(relay_of) else {
            return;
        };
        if let Entry::Occupied(mut count) = self.carried.entry(relay) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

impl FromIterator<RouteRow> for RouteBook {
    fn from_iter<I: IntoIterator<Item = RouteRow>>(rows: I) -> Self {
        let mut book = Self::default();
        for row in rows {
            book.put(row);
        }

        book
    }
}

fn relay_of(row: &RouteRow) -> Option<NodeId> {
    row.path.as_ref().and_then(Path::relay)
}

/// Candidates kept with a decision: more would make a row of a fleet with many relays too long to write often.
pub const CONSIDERED: usize = 8;
