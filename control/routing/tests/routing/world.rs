//! A cluster in memory: what the controller would hold, and agents that report what is true of the network.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use control_routing::decide::{Change, Outcome, Snapshot, decide};
use control_routing::lease::{Lease, LeaseBook, LeaseState, TableVersion};
use control_routing::member::{Member, MemberState};
use control_routing::observations::{News, Observations};
use control_routing::policy::{PolicyRow, Wanted};
use control_routing::pool::RelayPool;
use control_routing::route::{RouteBook, RouteRow};
use control_routing::suspicion::Suspicion;
use control_routing::trend::Trends;
use control_routing::via::Via;
use protocol::document::routes::Path;
use protocol::id::{ClusterId, LeaseId, NodeId, RouteId};
use protocol::key::{Digest, SealKey};
use protocol::node::{Labels, NodeRole};
use protocol::time::{Boot, Now, Wall};
use protocol::wire::{Drift, LinkObservation, PathObservation, Report};

/// The only cluster of these tests.
pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([0xC0; 16]);

pub(crate) struct World {
    pub(crate) members: BTreeMap<NodeId, Member>,
    pub(crate) policies: Vec<PolicyRow>,
    pub(crate) wanted: Wanted,
    pub(crate) relays: RelayPool,
    pub(crate) leases: LeaseBook,
    pub(crate) routes: RouteBook,
    pub(crate) observations: Observations,
    pub(crate) suspicion: Suspicion,
    pub(crate) trends: Trends,
    pub(crate) now: Now,
    pub(crate) network: Network,
    /// Agents that stay on a dead path, so that the controller alone moves them.
    pub(crate) stubborn: bool,
    /// Agents that find everything down, whatever is true.
    pub(crate) ill: BTreeSet<NodeId>,
    /// Agents whose reports do not arrive.
    pub(crate) mute: BTreeSet<NodeId>,
    /// Which path each end sends on, and the generation it chose it under.
    active: BTreeMap<(NodeId, RouteId), (u64, Via)>,
    leases_granted: u64,
}

/// What is true of the network, whatever anybody says.
#[derive(Default)]
pub(crate) struct Network {
    pub(crate) dead: BTreeSet<NodeId>,
    /// Links that carry nothing, lower id first.
    pub(crate) cut: BTreeSet<(NodeId, NodeId)>,
    /// Links that stand and over which no probe is answered, lower id first.
    pub(crate) hollow: BTreeSet<(NodeId, NodeId)>,
    /// Relays that hold their links and carry nothing.
    pub(crate) idle: BTreeSet<NodeId>,
    /// Round trips in microseconds, lower id first; 20 ms where nothing else is said.
    pub(crate) rtt: BTreeMap<(NodeId, NodeId), u32>,
}

impl Network {
    pub(crate) fn rtt_of(&self, one: NodeId, other: NodeId) -> Option<u32> {
        let link = (one.min(other), one.max(other));
        let is_up = !self.cut.contains(&link) && !self.dead.contains(&one) && !self.dead.contains(&other);

        is_up.then(|| self.rtt.get(&link).copied().unwrap_or(20_000))
    }

    pub(crate) fn rtt_via(&self, low: NodeId, high: NodeId, via: Via) -> Option<u32> {
        match via.relay() {
            None if self.hollow.contains(&(low.min(high), low.max(high))) => None,
            None => self.rtt_of(low, high),
            Some(relay) if self.idle.contains(&relay) => None,
            Some(relay) => Some(self.rtt_of(low, relay)? + self.rtt_of(relay, high)?),
        }
    }
}

pub(crate) fn node(number: u8) -> NodeId {
    NodeId::from_bytes(digest(b"node", number))
}

fn digest(what: &[u8], number: u8) -> [u8; 16] {
    let digest = Digest::of_parts(&[what, &[number]]);
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);

    bytes
}

pub(crate) fn route(one: NodeId, other: NodeId) -> RouteId {
    RouteId::between(CLUSTER, one, other)
}

pub(crate) fn machine(number: u8, role: NodeRole, labels: &[(&str, &str)]) -> Member {
    let labels = labels
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));

    Member {
        node: node(number),
        name: format!("n{number}").parse().expect("a valid name"),
        generation: 1,
        roles: vec![role],
        labels: Labels::parse(labels).expect("valid labels"),
        seal_key: SealKey::parse([number | 1; 32]).expect("not zero"),
        endpoints: Vec::new(),
        state: MemberState::Active,
        reverted: None,
    }
}

pub(crate) fn member(number: u8) -> Member {
    machine(number, NodeRole::Member, &[])
}

pub(crate) fn relay(number: u8, site: &str) -> Member {
    machine(number, NodeRole::Relay, &[("site", site)])
}

/// A node over which others meet, and that carries nothing for them.
pub(crate) fn introducer(number: u8) -> Member {
    machine(number, NodeRole::Rendezvous, &[])
}

impl World {
    pub(crate) fn of(members: impl IntoIterator<Item = Member>) -> Self {
        let mut world = Self {
            members: members.into_iter().map(|member| (member.node, member)).collect(),
            policies: Vec::new(),
            wanted: Wanted::default(),
            relays: RelayPool::default(),
            leases: LeaseBook::default(),
            routes: RouteBook::default(),
            observations: Observations::default(),
            suspicion: Suspicion::default(),
            trends: Trends::default(),
            now: Now {
                boot: Boot(1_000_000),
                wall: Wall(1_700_000_000_000),
            },
            network: Network::default(),
            stubborn: false,
            ill: BTreeSet::new(),
            mute: BTreeSet::new(),
            active: BTreeMap::new(),
            leases_granted: 0,
        };
        world.refresh();

        world
    }

    /// Derives what follows from members and policies.
    pub(crate) fn refresh(&mut self) {
        self.wanted = Wanted::select(CLUSTER, &self.policies, &self.members);
        self.relays = RelayPool::of(&self.members);
    }

    pub(crate) fn set_state(&mut self, node: NodeId, state: MemberState) {
        self.members.get_mut(&node).expect("a member").state = state;
        self.refresh();
    }

    pub(crate) fn snapshot(&self) -> Snapshot<'_> {
        Snapshot {
            cluster: CLUSTER,
            members: &self.members,
            relays: &self.relays,
            wanted: &self.wanted,
            leases: &self.leases,
            routes: &self.routes,
            observations: &self.observations,
            suspicion: &self.suspicion,
            trends: &self.trends,
        }
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        self.now = Now {
            boot: self.now.boot.after(by),
            wall: self.now.wall.after(by),
        };
    }

    /// One pass over every route, and what the controller does with it.
    pub(crate) fn decide(&mut self) -> Vec<Outcome> {
        let suspicion = Suspicion::of(&self.observations, &self.members, &self.wanted, self.now.boot);
        self.suspicion = suspicion.following(&self.suspicion, self.now.boot);
        let outcomes = decide(&self.snapshot(), self.now);
        for outcome in outcomes.iter().filter(|outcome| outcome.is_decision()) {
            let derived = outcome.case.as_ref().map(|case| case.decide());
            assert!(
                derived.is_none_or(|derived| derived.as_ref() == Some(outcome)),
                "{outcome:?} does not follow from its case"
            );
        }
        self.apply(&outcomes);

        outcomes
    }

    pub(crate) fn apply(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            assert_eq!(outcome.row.is_some(), outcome.change != Change::None);
            self.routes_put(outcome.row.clone());
            for request in &outcome.requests {
                let mut id = [0; 16];
                self.leases_granted += 1;
                id[..8].copy_from_slice(&self.leases_granted.to_be_bytes());
                let previous = self.leases.on(request.route, request.relay);
                let lease = Lease::grant(request, previous, LeaseId::from_bytes(id), self.now.wall);
                self.leases.put(lease);
            }
            for id in &outcome.withdrawals {
                let mut lease = *self.leases.find(*id).expect("a lease to withdraw is there");
                lease.withdraw(self.now.wall);
                self.leases.put(lease);
            }
            self.trends.set(outcome.route, outcome.trend.clone().into());
        }
    }

    fn routes_put(&mut self, row: Option<RouteRow>) {
        if let Some(row) = row {
            self.routes.put(row);
        }
    }

    /// The relay takes its table: what was offered becomes active.
    pub(crate) fn acknowledge(&mut self, relay: NodeId) {
        let table = TableVersion { epoch: 1, version: 1 };
        let carried = self.leases.carried_by(relay);
        let offered: Vec<Lease> = carried
            .filter(|lease| lease.state == LeaseState::Offered)
            .copied()
            .collect();
        for mut lease in offered {
            lease.carry(table);
            lease.acknowledge(table);
            self.leases.put(lease);
        }
    }

    pub(crate) fn acknowledge_all(&mut self) {
        let introducers = self.relays.introducers().map(|introducer| introducer.node);
        let relays = self.relays.iter().map(|relay| relay.node);
        let all: Vec<NodeId> = relays.chain(introducers).collect();
        for relay in all {
            if !self.network.dead.contains(&relay) {
                self.acknowledge(relay);
            }
        }
    }

    /// Every living member applies its decisions, fails over if it must, and reports the truth.
    pub(crate) fn report_all(&mut self) {
        let members: Vec<NodeId> = self.members.keys().copied().collect();
        for node in members {
            self.report(node);
        }
    }

    pub(crate) fn report(&mut self, node: NodeId) {
        if !self.network.dead.contains(&node) && !self.mute.contains(&node) {
            let mut report = self.truth(node);
            if self.ill.contains(&node) {
                report.paths.iter_mut().for_each(fail);
            }
            self.take(node, &report);
        }
    }

    pub(crate) fn take(&mut self, node: NodeId, report: &Report) -> News {
        self.observations
            .handle_report(CLUSTER, node, report, self.now.boot)
    }

    /// What an honest agent says now.
    pub(crate) fn truth(&mut self, node: NodeId) -> Report {
        let rows: Vec<RouteRow> = self
            .routes
            .of_node(node)
            .filter(|row| !row.is_withdrawn())
            .cloned()
            .collect();
        let paths = rows.iter().flat_map(|row| self.paths_of(node, row)).collect();
        let links = self.members.keys().filter(|other| **other != node).map(|other| {
            let rtt_us = self.network.rtt_of(node, *other);

            LinkObservation {
                peer: *other,
                connected: rtt_us.is_some(),
                rtt_us,
                reached: None,
            }
        });

        Report {
            links: links.collect(),
            paths,
            ..Report::default()
        }
    }

    fn paths_of(&mut self, node: NodeId, row: &RouteRow) -> Vec<PathObservation> {
        let works = |via: &Via| self.network.rtt_via(row.low, row.high, *via).is_some();
        let primary = row.path.as_ref().map(Via::from).expect("not withdrawn");
        let kept = self
            .active
            .get(&(node, row.route))
            .filter(|(generation, _)| *generation == row.generation)
            .map_or(primary, |(_, via)| *via);
        let fallback = row.standbys.iter().map(Via::from).find(|via| works(via));
        let active = if self.stubborn || works(&kept) {
            kept
        } else {
            fallback.unwrap_or(kept)
        };
        self.active.insert((node, row.route), (row.generation, active));
        let peer = row.peer_of(node).expect("an end");

        row.paths()
            .map(|path| {
                let rtt_us = self.network.rtt_via(row.low, row.high, Via::from(path));
                let is_active = Via::from(path) == active;

                observation((node, peer), row.generation, *path, rtt_us, is_active)
            })
            .collect()
    }

    /// Agents report and the controller decides, every five seconds.
    pub(crate) fn run(&mut self, seconds: u64) {
        for _ in 0..seconds / 5 {
            self.advance(Duration::from_secs(5));
            self.report_all();
            self.decide();
            self.acknowledge_all();
        }
    }

    pub(crate) fn row(&self, one: NodeId, other: NodeId) -> &RouteRow {
        self.routes.find(route(one, other)).expect("decided")
    }

    pub(crate) fn via(&self, one: NodeId, other: NodeId) -> Via {
        Via::from(self.row(one, other).path.as_ref().expect("not withdrawn"))
    }

    pub(crate) fn standbys(&self, one: NodeId, other: NodeId) -> BTreeSet<Via> {
        self.row(one, other).standbys.iter().map(Via::from).collect()
    }
}

pub(crate) fn fail(row: &mut PathObservation) {
    (row.drift, row.rtt_us, row.misses) = (Drift::Failure, None, 5);
    (row.lost_out, row.lost_in, row.window) = (20, 20, 20);
}

/// What an agent says of one path: healthy with a round trip, failed without one.
pub(crate) fn observation(
    (source, peer): (NodeId, NodeId),
    generation: u64,
    path: Path,
    rtt_us: Option<u32>,
    active: bool,
) -> PathObservation {
    let hops: Vec<NodeId> = [Some(source), path.relay(), Some(peer)]
        .into_iter()
        .flatten()
        .collect();
    let lost = if rtt_us.is_some() { 0 } else { 20 };

    PathObservation {
        route: route(source, peer),
        peer,
        path,
        generation,
        active,
        drift: if rtt_us.is_some() {
            Drift::None
        } else {
            Drift::Failure
        },
        expected_hops: hops.clone(),
        observed_hops: if rtt_us.is_some() { hops } else { Vec::new() },
        rtt_us,
        lost_out: lost,
        lost_in: lost,
        window: 20,
        misses: if rtt_us.is_some() { 0 } else { 5 },
        answered_ms: None,
    }
}
