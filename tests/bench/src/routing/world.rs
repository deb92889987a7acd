//! A large cluster in memory, settled: routes decided, leases in force, every path measured.

use std::collections::BTreeMap;

use control_api::fleet::Fleet;
use control_routing::lease::{Lease, LeaseBook, LeaseRequest, LeaseState};
use control_routing::member::{Member, MemberState};
use control_routing::observations::Observations;
use control_routing::policy::{Wanted, WantedRoute};
use control_routing::pool::RelayPool;
use control_routing::rendezvous;
use control_routing::route::{RouteBook, RouteRow};
use protocol::document::routes::{Action, Cadence, Path};
use protocol::id::{ClusterId, LeaseId, NodeId, RouteId};
use protocol::key::SealKey;
use protocol::node::{Labels, NodeRole};
use protocol::time::{Boot, Now, Wall};
use protocol::wire::{Drift, LinkObservation, PathObservation, Report};

/// How large.
#[derive(Clone, Copy, Debug)]
pub(super) struct Size {
    pub(super) nodes: u32,
    pub(super) relays: u32,
}

/// What the controller holds of it.
pub(super) struct World {
    pub(super) fleet: Fleet,
    pub(super) observations: Observations,
    /// What each node reports every few seconds.
    reports: BTreeMap<NodeId, Report>,
}

impl World {
    /// Each node has the 16 neighbours that the default policy gives it. Every route goes through a relay and has two more for
    /// standbys, as if no direct path worked.
    pub(super) fn of(size: Size) -> Self {
        let mut members: BTreeMap<NodeId, Member> = BTreeMap::new();
        members.extend((0..size.nodes).map(|number| machine(MEMBER, number, NodeRole::Member, size)));
        members.extend((0..size.relays).map(|number| machine(RELAY, number, NodeRole::Relay, size)));
        let mut world = Self {
            fleet: Fleet {
                cluster: CLUSTER,
                relays: RelayPool::of(&members),
                wanted: Wanted::select(CLUSTER, &[], &members),
                leases: LeaseBook::default(),
                routes: RouteBook::default(),
                members,
                unreadable: Vec::new(),
            },
            observations: Observations::default(),
            reports: BTreeMap::new(),
        };
        let wanted: Vec<WantedRoute> = world.fleet.wanted.iter().cloned().collect();
        for (number, wanted) in wanted.iter().enumerate() {
            world.settle(number as u128, wanted, size);
        }
        // Twice: a route is moved only after a whole window of reports.
        for at in [SETTLED, NOW.boot] {
            for (node, report) in &world.reports {
                world.observations.handle_report(CLUSTER, *node, report, at);
            }
        }

        world
    }

    fn settle(&mut self, number: u128, wanted: &WantedRoute, size: Size) {
        let relays = nearest(wanted.route, size);
        let leases = relays.map(|relay| {
            let request = LeaseRequest {
                kind: protocol::document::routes::LeaseKind::Relay,
                cluster: CLUSTER,
                route: wanted.route,
                low: wanted.low,
                high: wanted.high,
                relay,
                previous: None,
            };
            let mut id = rendezvous::rank(wanted.route.as_bytes(), relay.as_bytes())
                .to_be_bytes()
                .to_vec();
            id.extend(u64::try_from(number).unwrap_or(0).to_be_bytes());
            let id = LeaseId::from_bytes(id.try_into().expect("sixteen bytes"));

            Lease {
                state: LeaseState::Active,
                ..Lease::grant(&request, None, id, NOW.wall)
            }
        });
        let paths = leases.map(|lease| lease.path().expect("relay leases"));
        self.fleet.routes.put(row(wanted, &paths));
        for (rank, path) in paths.iter().enumerate() {
            self.measure(wanted, *path, rank);
        }
        leases.into_iter().for_each(|lease| self.fleet.leases.put(lease));
    }

    /// Both ends measure a path and the links that it uses.
    fn measure(&mut self, wanted: &WantedRoute, path: Path, rank: usize) {
        let rtt_us = 20_000 + 100 * u32::try_from(rank).unwrap_or(0);
        for (end, peer) in [(wanted.low, wanted.high), (wanted.high, wanted.low)] {
            let report = self.reports.entry(end).or_default();
            report.paths.push(PathObservation {
                route: wanted.route,
                peer,
                path,
                generation: 1,
                active: rank == 0,
                drift: Drift::None,
                expected_hops: Vec::new(),
                observed_hops: Vec::new(),
                rtt_us: Some(rtt_us),
                lost_out: 0,
                lost_in: 0,
                window: 20,
                misses: 0,
                answered_ms: None,
            });
            let relay = path.relay().expect("relayed");
            if !report.links.iter().any(|link| link.peer == relay) {
                report.links.push(LinkObservation {
                    peer: relay,
                    connected: true,
                    rtt_us: Some(rtt_us / 2),
                    reached: None,
                });
            }
        }
    }

    /// Every node that goes through `relay` says that nothing comes back from there. Returns the routes whose path, or
    /// one of whose standbys, that is.
    pub(super) fn kill(&mut self, relay: NodeId, now: Boot) -> Vec<RouteId> {
        let is_through = |row: &PathObservation| row.path.relay() == Some(relay);
        for (node, report) in &mut self.reports {
            let mut report = report.clone();
            report.paths.retain(is_through);
            report.links.retain(|link| link.peer == relay);
            if report.paths.is_empty() {
                continue;
            }
            for row in &mut report.paths {
                (row.misses, row.drift, row.rtt_us) = (5, Drift::Failure, None);
            }
            for link in &mut report.links {
                link.connected = false;
            }
            self.observations.handle_report(CLUSTER, *node, &report, now);
        }
        let carried = self.fleet.leases.carried_by(relay);

        carried.map(|lease| lease.route).collect()
    }
}

/// The three relays that a pair uses.
fn nearest(route: RouteId, size: Size) -> [NodeId; 3] {
    let first = rendezvous::rank(route.as_bytes(), &[0; 16]) % u64::from(size.relays);
    let first = u32::try_from(first).unwrap_or(0);

    [0, 1, 2].map(|step| id(RELAY, (first + step) % size.relays))
}

fn row(wanted: &WantedRoute, paths: &[Path; 3]) -> RouteRow {
    RouteRow {
        cluster: CLUSTER,
        route: wanted.route,
        low: wanted.low,
        high: wanted.high,
        generation: 1,
        action: Action::Replace,
        path: Some(paths[0]),
        standbys: paths[1..].to_vec(),
        reasons: Vec::new(),
        priority: wanted.priority,
        cadence: Cadence::Auto,
        decided_at: NOW.wall,
        considered: Vec::new(),
        withdrawn_at: None,
        rendezvous: None,
    }
}

fn machine(kind: u8, number: u32, role: NodeRole, size: Size) -> (NodeId, Member) {
    let site = format!("s{}", number % (size.relays / 4).max(1));
    let labels = [("site".to_owned(), site)];
    let node = id(kind, number);
    let member = Member {
        node,
        name: format!("n{kind}-{number}").parse().expect("a valid name"),
        generation: 1,
        roles: vec![role],
        labels: Labels::parse(labels).expect("valid labels"),
        seal_key: SealKey::parse([7; 32]).expect("not zero"),
        endpoints: Vec::new(),
        reverted: None,
        state: MemberState::Active,
    };

    (node, member)
}

/// Spread over the space, as the random ids of a controller are.
pub(super) fn id(kind: u8, number: u32) -> NodeId {
    let mut seed = [kind; 16];
    seed[..4].copy_from_slice(&number.to_be_bytes());
    let halves = [1_u8, 2].map(|half| rendezvous::rank(&seed, &[half; 16]).to_be_bytes());
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&halves[0]);
    bytes[8..].copy_from_slice(&halves[1]);

    NodeId::from_bytes(bytes)
}

pub(super) const CLUSTER: ClusterId = ClusterId::from_bytes([0xC0; 16]);
pub(super) const NOW: Now = Now {
    boot: Boot(1_000_000),
    wall: Wall(1_700_000_000_000),
};
/// A window before [`NOW`], and less than the age at which a report is no evidence any more.
const SETTLED: Boot = Boot(NOW.boot.0 - 12_000);
const MEMBER: u8 = 1;
pub(super) const RELAY: u8 = 2;
