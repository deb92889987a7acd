//! Whom a node may talk to, and who is told an address that nobody has confirmed yet.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::NodeId;

use crate::decide::Snapshot;
use crate::lease::RelayLease;
use crate::member::{Endpoint, Member};
use crate::policy::FULL_MESH;
use crate::rendezvous;

/// The neighbours of a node: the far ends of its routes, and relays.
///
/// Up to [`FULL_MESH`] nodes that is every relay, and for a relay every member; beyond, a node gets the relays that are
/// leased for its routes and others up to [`RELAYS`], and a relay only what it has routes with: it need not dial those
/// it carries.
pub fn neighbours(input: &Snapshot<'_>, node: NodeId) -> BTreeSet<NodeId> {
    let Some(member) = in_force(input.members, node) else {
        return BTreeSet::new();
    };
    let ends = input
        .wanted
        .of_node(node)
        .map(|route| if route.low == node { route.high } else { route.low });
    let mut neighbours: BTreeSet<NodeId> = ends.collect();
    neighbours.extend(relays_of(input, member));
    if input.relays.find(node).is_some() && is_small(input) {
        neighbours.extend(input.members.keys());
    }
    neighbours.remove(&node);
    neighbours.retain(|other| in_force(input.members, *other).is_some());

    neighbours
}

/// For every node with an unconfirmed address, the few that may learn it: a liar must not aim a fleet at a victim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learners(BTreeMap<NodeId, BTreeSet<NodeId>>);

impl Learners {
    /// Picks up to [`LEARNERS`] neighbours of each such node, the same ones as long as they are neighbours. Those who can
    /// reach no confirmed address come first: of an address that is of IPv6 alone to them, nobody else would tell.
    pub fn of(input: &Snapshot<'_>) -> Self {
        let unconfirmed = input
            .members
            .values()
            .filter(|member| member.endpoints.iter().any(|endpoint| !endpoint.confirmed));
        let learners = unconfirmed.map(|member| (member.node, learners_of(input, member.node)));

        Self(learners.collect())
    }

    /// Whether `learner` may know the unconfirmed addresses of `node`.
    pub fn admit(&self, node: NodeId, learner: NodeId) -> bool {
        self.0
            .get(&node)
            .is_some_and(|learners| learners.contains(&learner))
    }
}

fn learners_of(input: &Snapshot<'_>, node: NodeId) -> BTreeSet<NodeId> {
    let could: BTreeSet<NodeId> = match input.relays.find(node) {
        Some(_) => input.members.keys().copied().collect(),
        None => neighbours(input, node),
    };
    let mut ranked: Vec<(bool, u64, NodeId)> = could
        .into_iter()
        .map(|other| {
            let rank = rendezvous::rank(node.as_bytes(), other.as_bytes());

            (!is_cut_off(input, node, other), rank, other)
        })
        .collect();
    ranked.sort_unstable();

    ranked
        .into_iter()
        .map(|(_, _, other)| other)
        .filter(|other| neighbours(input, *other).contains(&node))
        .take(LEARNERS)
        .collect()
}

/// Whether `other` speaks the version of IP of an unconfirmed address of `node`, and of no confirmed one.
fn is_cut_off(input: &Snapshot<'_>, node: NodeId, other: NodeId) -> bool {
    let endpoints = |node| input.members.get(&node).map(|member| member.endpoints.as_slice());
    let (Some(own), Some(theirs)) = (endpoints(node), endpoints(other)) else {
        return false;
    };
    let is_shared = |endpoint: &Endpoint| theirs.iter().any(|their| is_ipv4(their) == is_ipv4(endpoint));
    let shares = |confirmed| {
        own.iter()
            .any(|endpoint| endpoint.confirmed == confirmed && is_shared(endpoint))
    };

    shares(false) && !shares(true)
}

fn is_ipv4(endpoint: &Endpoint) -> bool {
    endpoint.candidate.address.0.ip().to_canonical().is_ipv4()
}

fn relays_of(input: &Snapshot<'_>, member: &Member) -> BTreeSet<NodeId> {
    let every = input.relays.iter().map(|relay| relay.node);
    if is_small(input) || input.relays.len() <= RELAYS {
        return every.collect();
    }
    let routes = input.wanted.of_node(member.node).map(|route| route.route);
    let mut relays: BTreeSet<NodeId> = routes
        .flat_map(|route| input.leases.of_route(route))
        .filter(|lease| RelayLease::is_live(lease))
        .map(|lease| lease.relay)
        .collect();
    let mut others: Vec<(u64, NodeId)> = every
        .filter(|relay| !relays.contains(relay))
        .map(|relay| (rendezvous::rank(member.node.as_bytes(), relay.as_bytes()), relay))
        .collect();
    others.sort_unstable();
    let room = RELAYS.saturating_sub(relays.len());
    relays.extend(others.into_iter().take(room).map(|(_, relay)| relay));

    relays
}

fn in_force(members: &BTreeMap<NodeId, Member>, node: NodeId) -> Option<&Member> {
    members.get(&node).filter(|member| member.state.is_in_force())
}

fn is_small(input: &Snapshot<'_>) -> bool {
    input.members.len() <= FULL_MESH
}

/// Neighbours that learn an address before a handshake has confirmed it (DESIGN 5).
pub const LEARNERS: usize = 4;
/// Relays that a node of a large cluster keeps a link to, besides those its leases name.
pub const RELAYS: usize = 16;
