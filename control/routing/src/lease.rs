//! Leases: the right of one relay to carry one pair, or of one other node to let the two agree when to dial each other.
//!
//! ```text
//! grant ─▶ Offered ── the relay's table that carries it is acknowledged ─▶ Active ── nobody uses it ─▶ Withdrawn
//!             ▲                                                                                          │
//!             └───────────────────────── grant: same id, next generation ────────────────────────────────┘
//! ```
//!
//! A row that was withdrawn stays as long as a relay could still honour it, so that its generation is never reused.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use control_core::store::{Row, Table};
use minicbor::{Decode, Encode};
use protocol::document::routes::{LeaseKind, LeaseRow, Path, Rendezvous};
use protocol::id::{ClusterId, LeaseId, NodeId, RouteId};
use protocol::time::Wall;
use serde::{Deserialize, Serialize};

/// A lease as the store keeps it; there is at most one per route and node that serves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub lease: LeaseId,
    #[n(2)]
    pub route: RouteId,
    #[n(3)]
    pub low: NodeId,
    #[n(4)]
    pub high: NodeId,
    /// Who serves it: a relay, or a node with role `rendezvous`.
    #[n(5)]
    pub relay: NodeId,
    /// The fencing token: grows with every grant, and the relay refuses any lower one.
    #[n(6)]
    pub generation: u32,
    #[n(7)]
    pub state: LeaseState,
    /// KiB a second, both directions together.
    #[n(8)]
    pub budget_kib: u16,
    #[n(9)]
    pub grace_minutes: u16,
    #[n(10)]
    pub granted_at: Wall,
    /// The first lease table of the relay that carries this grant, once it is published.
    #[n(11)]
    pub carried_by: Option<TableVersion>,
    #[n(12)]
    pub withdrawn_at: Option<Wall>,
    #[n(13)]
    #[cbor(skip_if = "LeaseKind::is_relay")]
    #[serde(default, skip_serializing_if = "LeaseKind::is_relay")]
    pub kind: LeaseKind,
}

impl Lease {
    /// Grants what is asked. A lease that stands stays as it is; one that was withdrawn comes back under its id with
    /// the next generation; else it is a new one, called `fresh`.
    pub fn grant(request: &LeaseRequest, previous: Option<&Self>, fresh: LeaseId, now: Wall) -> Self {
        if let Some(standing) = previous.filter(|lease| lease.is_live()) {
            return *standing;
        }
        let (lease, generation) = previous
            .and_then(|lease| Some((lease.lease, lease.generation.checked_add(1)?)))
            .unwrap_or((fresh, 1));

        Self {
            cluster: request.cluster,
            lease,
            route: request.route,
            low: request.low,
            high: request.high,
            relay: request.relay,
            generation,
            state: LeaseState::Offered,
            budget_kib: match request.kind {
                LeaseKind::Relay => BUDGET_KIB,
                LeaseKind::Rendezvous => MEETING_KIB,
            },
            grace_minutes: GRACE_MINUTES,
            granted_at: now,
            carried_by: None,
            withdrawn_at: None,
            kind: request.kind,
        }
    }

    /// Notes that the relay's table of this version carries the grant, unless an earlier one did.
    pub fn carry(&mut self, version: TableVersion) {
        if self.state == LeaseState::Offered {
            self.carried_by.get_or_insert(version);
        }
    }

    /// Takes what the relay says it has in force. True if that makes the lease active.
    pub fn acknowledge(&mut self, in_force: TableVersion) -> bool {
        let carried = self.carried_by.is_some_and(|carried| carried <= in_force);
        let becomes_active = self.state == LeaseState::Offered && carried;
        if becomes_active {
            self.state = LeaseState::Active;
        }

        becomes_active
    }

    pub fn withdraw(&mut self, now: Wall) {
        self.state = LeaseState::Withdrawn;
        self.withdrawn_at = Some(now);
    }

    /// Whether it is in the relay's table.
    pub const fn is_live(&self) -> bool {
        match self.state {
            LeaseState::Offered | LeaseState::Active => true,
            LeaseState::Withdrawn => false,
        }
    }

    /// Whether the row can be deleted: no relay can honour the grant any more, however long it was cut off.
    pub fn is_forgettable(&self, now: Wall) -> bool {
        let grace = Duration::from_secs(60 * u64::from(self.grace_minutes));

        self.withdrawn_at
            .is_some_and(|at| now.since(at) > grace + FORGET_MARGIN)
    }

    /// The path it allows; none over a node that carries no traffic.
    pub fn path(&self) -> Option<Path> {
        self.kind.is_relay().then_some(Path::Relay {
            relay: self.relay,
            lease: self.lease,
            generation: self.generation,
            budget: 1024 * u32::from(self.budget_kib),
        })
    }

    /// What the ends are told of a rendezvous lease; none of any other.
    pub fn rendezvous(&self) -> Option<Rendezvous> {
        (self.kind == LeaseKind::Rendezvous).then_some(Rendezvous {
            node: self.relay,
            lease: self.lease,
            generation: self.generation,
        })
    }

    /// Its row in the relay's table.
    pub fn row(&self) -> LeaseRow {
        LeaseRow {
            lease: self.lease,
            low: self.low,
            high: self.high,
            generation: self.generation,
            budget_kib: self.budget_kib,
            grace_minutes: self.grace_minutes,
            kind: self.kind,
        }
    }

    /// Whether every document says the same of both: what the relay has shown to know is in none.
    pub fn publishes_as(&self, other: &Self) -> bool {
        let place = (self.route, self.relay) == (other.route, other.relay);

        place && self.row() == other.row() && self.is_live() == other.is_live()
    }

    /// The key of a lease within [`Table::Leases`].
    pub fn key_of(cluster: ClusterId, lease: LeaseId) -> Vec<u8> {
        [*cluster.as_bytes(), *lease.as_bytes()].concat()
    }
}

impl Row for Lease {
    const TABLE: Table = Table::Leases;

    fn key(&self) -> Vec<u8> {
        Self::key_of(self.cluster, self.lease)
    }
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum LeaseState {
    /// Granted; the relay has not shown yet that it knows.
    #[n(1)]
    Offered,
    /// The relay has acknowledged it: the ends may be told.
    #[n(2)]
    Active,
    #[n(3)]
    Withdrawn,
}

impl LeaseState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Active => "active",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// Which lease table of a relay: what the document's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode, Serialize, Deserialize)]
#[cbor(array)]
#[serde(deny_unknown_fields)]
pub struct TableVersion {
    #[n(0)]
    pub epoch: u64,
    #[n(1)]
    pub version: u64,
}

/// A node that a route wants and has no live lease on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaseRequest {
    pub kind: LeaseKind,
    pub cluster: ClusterId,
    pub route: RouteId,
    pub low: NodeId,
    pub high: NodeId,
    pub relay: NodeId,
    /// The lease that it had there before and that was withdrawn, if there was one.
    pub previous: Option<LeaseId>,
}

/// The leases of a cluster in memory, found by id, by route and by relay.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaseBook {
    by_route: BTreeMap<(RouteId, NodeId), Lease>,
    places: BTreeMap<LeaseId, (RouteId, NodeId)>,
    /// Live leases alone.
    by_relay: BTreeMap<NodeId, BTreeSet<RouteId>>,
}

impl LeaseBook {
    /// Adds or replaces.
    pub fn put(&mut self, lease: Lease) {
        let place = (lease.route, lease.relay);
        if let Some(replaced) = self.by_route.insert(place, lease) {
            self.places.remove(&replaced.lease);
        }
        self.places.insert(lease.lease, place);
        match lease.is_live() {
            true => {
                self.by_relay.entry(lease.relay).or_default().insert(lease.route);
            }
            false => self.give_back(place),
        }
    }

    pub fn remove(&mut self, lease: LeaseId) -> Option<Lease> {
        let place = self.places.remove(&lease)?;
        let removed = self.by_route.remove(&place);
        self.give_back(place);

        removed
    }

    fn give_back(&mut self, (route, relay): (RouteId, NodeId)) {
        if let Entry::Occupied(mut routes) = self.by_relay.entry(relay) {
            routes.get_mut().remove(&route);
            if routes.get().is_empty() {
                routes.remove();
            }
        }
    }

    pub fn find(&self, lease: LeaseId) -> Option<&Lease> {
        self.by_route.get(self.places.get(&lease)?)
    }

    pub fn on(&self, route: RouteId, relay: NodeId) -> Option<&Lease> {
        self.by_route.get(&(route, relay))
    }

    /// Withdrawn ones included, in the order of the relays.
    pub fn of_route(&self, route: RouteId) -> impl Iterator<Item = &Lease> {
        self.by_route
            .range((route, FIRST)..=(route, LAST))
            .map(|(_, lease)| lease)
    }

    /// What the relay's table has, in the order of the routes.
    pub fn carried_by(&self, relay: NodeId) -> impl Iterator<Item = &Lease> {
        let routes = self.by_relay.get(&relay).into_iter().flatten();

        routes.filter_map(move |route| self.on(*route, relay))
    }

    /// Rows of the relay's table.
    pub fn rows(&self, relay: NodeId) -> usize {
        self.by_relay.get(&relay).map_or(0, BTreeSet::len)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.by_route.values()
    }

    /// Those of the routes that follow `after`, in the order of the routes.
    pub fn after(&self, after: Option<RouteId>) -> impl Iterator<Item = &Lease> {
        let start = after.map_or(Bound::Unbounded, |route| Bound::Excluded((route, LAST)));

        self.by_route
            .range((start, Bound::Unbounded))
            .map(|(_, lease)| lease)
    }
}

impl FromIterator<Lease> for LeaseBook {
    fn from_iter<I: IntoIterator<Item = Lease>>(leases: I) -> Self {
        let mut book = Self::default();
        leases.into_iter().for_each(|lease| book.put(lease));

        book
    }
}

/// What one pair may send through one relay: 50 full synthetic frames a second and their answers, twice over.
pub const BUDGET_KIB: u16 = 256;
/// What two ends may say to each other over a node that is no relay, in full frames: seven a second. Each end probes it every
/// two seconds at most, and a meeting takes one frame of each.
pub const MEETING_KIB: u16 = 8;
/// Pairs that one such node introduces: with two connections each it holds a few thousand, as a relay of middling load does.
/// They come and go, for who has met needs it no more.
pub const MEETING_PAIRS: usize = 2_000;
/// How long a row outlives the relay's freshness: a day (DESIGN 5), so that a night without controllers moves nothing.
pub const GRACE_MINUTES: u16 = 24 * 60;
/// Clocks of two controllers may differ by this much before a withdrawn generation could be reused.
const FORGET_MARGIN: Duration = Duration::from_secs(3_600);
const FIRST: NodeId = NodeId::from_bytes([0; 16]);
const LAST: NodeId = NodeId::from_bytes([0xff; 16]);

#[cfg(test)]
mod tests {
    use protocol::cbor;

    use super::*;

    #[test]
    fn a_lease_is_active_once_a_table_that_carries_it_is_acknowledged() {
        let mut lease = granted();
        assert!(!lease.acknowledge(table(1, 9)), "no table carries it yet");
        lease.carry(table(1, 5));
        lease.carry(table(1, 7));
        assert_eq!(lease.carried_by, Some(table(1, 5)));
        assert!(!lease.acknowledge(table(1, 4)));
        assert!(
            lease.acknowledge(table(2, 1)),
            "a later epoch carries what an earlier one did"
        );
        assert_eq!(lease.state, LeaseState::Active);
        assert!(!lease.acknowledge(table(2, 2)), "once is enough");
    }

    #[test]
    fn a_second_grant_changes_a_lease_only_when_it_was_withdrawn() {
        let mut lease = granted();
        let again = |previous: &Lease| Lease::grant(&request(), Some(previous), id(9), Wall(2_000));
        assert_eq!(again(&lease), lease);
        lease.withdraw(Wall(1_500));
        let renewed = again(&lease);

        assert_eq!((renewed.lease, renewed.generation), (lease.lease, 2));
        assert_eq!((renewed.state, renewed.carried_by), (LeaseState::Offered, None));
        lease.generation = u32::MAX;
        assert_eq!((again(&lease).lease, again(&lease).generation), (id(9), 1));
    }

    #[test]
    fn a_withdrawn_row_is_kept_as_long_as_a_relay_could_honour_it() {
        let mut lease = granted();
        let day = Duration::from_secs(24 * 3_600);
        assert!(!lease.is_forgettable(Wall(0).after(10 * day)));
        lease.withdraw(Wall(0));

        assert!(!lease.is_forgettable(Wall(0).after(day)));
        assert!(lease.is_forgettable(Wall(0).after(2 * day)));
    }

    #[test]
    fn the_book_finds_a_lease_by_id_route_and_relay() {
        let mut book: LeaseBook = [granted()].into_iter().collect();
        let mut lease = granted();
        assert_eq!(
            (book.find(lease.lease), book.rows(lease.relay)),
            (Some(&lease), 1)
        );
        lease.withdraw(Wall(5));
        book.put(lease);
        assert_eq!(
            (book.on(lease.route, lease.relay), book.rows(lease.relay)),
            (Some(&lease), 0)
        );
        assert_eq!(book.carried_by(lease.relay).count(), 0);
        assert_eq!(book.of_route(lease.route).count(), 1);

        assert_eq!(book.remove(lease.lease), Some(lease));
        assert_eq!(book.iter().count(), 0);
    }

    #[test]
    fn the_row_of_a_table_is_short_and_the_stored_one_reads_back() {
        let lease = Lease {
            generation: u32::MAX,
            ..granted()
        };

        assert!(
            cbor::encode(&lease.row()).len() <= 64,
            "{}",
            cbor::encode(&lease.row()).len()
        );
        assert_eq!(cbor::decode(&cbor::encode(&lease)), Ok(lease));
    }

    #[test]
    fn a_rendezvous_lease_is_no_path_and_a_relay_lease_is_no_rendezvous() {
        let asked = LeaseRequest {
            kind: LeaseKind::Rendezvous,
            ..request()
        };
        let mut relayed = granted();
        relayed.withdraw(Wall(1_500));
        let meeting = Lease::grant(&asked, Some(&relayed), id(9), Wall(2_000));

        assert_eq!((meeting.path(), relayed.rendezvous()), (None, None));
        assert_eq!(
            meeting.rendezvous().map(|found| (found.node, found.generation)),
            Some((meeting.relay, 2)),
            "the fencing token goes on, whatever the kind"
        );
        assert_eq!(
            (meeting.budget_kib, relayed.budget_kib),
            (MEETING_KIB, BUDGET_KIB)
        );
        assert_eq!(cbor::decode(&cbor::encode(&meeting)), Ok(meeting));
        assert_eq!(meeting.row().kind, LeaseKind::Rendezvous);
    }

    fn granted() -> Lease {
        Lease::grant(&request(), None, id(7), Wall(1_000))
    }

    fn request() -> LeaseRequest {
        LeaseRequest {
            kind: LeaseKind::Relay,
            cluster: ClusterId::from_bytes([1; 16]),
            route: RouteId::from_bytes([2; 16]),
            low: NodeId::from_bytes([3; 16]),
            high: NodeId::from_bytes([4; 16]),
            relay: NodeId::from_bytes([5; 16]),
            previous: None,
        }
    }

    fn id(byte: u8) -> LeaseId {
        LeaseId::from_bytes([byte; 16])
    }

    const fn table(epoch: u64, version: u64) -> TableVersion {
        TableVersion { epoch, version }
    }
}
