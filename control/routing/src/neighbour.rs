//! Whom a node may talk to, and who is told an address that nobody has confirmed yet.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::NodeId;

use crate::decide::Snapshot;
use crate::lease::Lease;
use crate::member::{Endpoint, Member};
use crate::policy::FULL_MESH;
use crate::rendezvous;

/// The neighbours of a node: the far ends of its routes, and relays.
///
/// Up to [`FULL_MESH`] nodes that is every relay and every introducer, and for those every member; beyond, a node gets the
/// ones that are leased for its routes and other relays up to [`RELAYS`], and a relay or introducer only what it has routes
/// with: it need not dial those it carries.
pub fn neighbours(input: &Snapshot<'_>, node: NodeId) -> BTreeSet<NodeId> {
    let Some(member) = in_force(input.members, node) else {
        return BTreeSet::new();
    };
    let mut neighbours: BTreeSet<NodeId> = input.wanted.far_ends(node).collect();
    neighbours.extend(relays_of(input, member));
    if input.relays.has_table(node) && is_small(input) {
        neighbours.extend(input.members.keys());
    }
    neighbours.remove(&node);
    neighbours.retain(|other| in_force(input.members, *other).is_some());

    neighbours
}

/// For every node with an unconfirmed address, the few that may learn it: a liar must not aim a fleet at a victim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Learners(BTreeMap<NodeId, BTreeSet<Rank>>);

/// Where a node stands among those that may learn an address; the lowest do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    /// Whether it can reach a confirmed address. Those who cannot come first: of an address that is of IPv6 alone to them,
    /// nobody else would tell.
    is_reached: bool,
    hash: u64,
    node: NodeId,
}

impl Rank {
    fn of(input: &Snapshot<'_>, node: NodeId, learner: NodeId) -> Self {
        Self {
            is_reached: !is_cut_off(input, node, learner),
            hash: rendezvous::rank(node.as_bytes(), learner.as_bytes()),
            node: learner,
        }
    }
}

impl Learners {
    /// Picks up to [`LEARNERS`] neighbours of each such node, the same ones as long as they are neighbours.
    pub fn of(input: &Snapshot<'_>) -> Self {
        let unconfirmed = input.members.values().filter(|member| is_unconfirmed(member));
        let learners = unconfirmed.map(|member| (member.node, learners_of(input, member.node)));

        Self(learners.collect())
    }

    /// Whether `learner` may know the unconfirmed addresses of `node`.
    pub fn admit(&self, node: NodeId, learner: NodeId) -> bool {
        self.0
            .get(&node)
            .is_some_and(|learners| learners.iter().any(|rank| rank.node == learner))
    }

    /// Takes over that the nodes of `moved` came, went or changed, or who their neighbours are, where none of them is a relay
    /// that has changed itself. Returns who learns other addresses than before.
    pub fn update(&mut self, input: &Snapshot<'_>, moved: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
        let ends = moved.iter().flat_map(|node| input.wanted.far_ends(*node));
        let concerned: BTreeSet<NodeId> = ends.chain(moved.iter().copied()).collect();
        let relays = input.relays.iter().map(|relay| relay.node);
        let introducers = input.relays.introducers().map(|introducer| introducer.node);
        let stale: Vec<NodeId> = relays
            .chain(introducers)
            .filter(|relay| input.members.get(relay).is_some_and(is_unconfirmed))
            .filter(|relay| !self.stand(input, *relay, moved))
            .collect();
        let concerned = concerned
            .into_iter()
            .filter(|node| !input.relays.has_table(*node))
            .chain(stale);
        let mut turned = BTreeSet::new();
        for node in concerned {
            let is_open = input.members.get(&node).is_some_and(is_unconfirmed);
            let after = is_open.then(|| learners_of(input, node));
            let before = match after.clone() {
                Some(learners) => self.0.insert(node, learners),
                None => self.0.remove(&node),
            };
            let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
            let nodes =
                |ranks: &BTreeSet<Rank>| -> BTreeSet<NodeId> { ranks.iter().map(|rank| rank.node).collect() };
            turned.extend(nodes(&before).symmetric_difference(&nodes(&after)));
        }

        turned
    }

    /// Whether the learners of a relay stay the same although others moved: everybody could be one, and only those that moved
    /// are looked at.
    fn stand(&self, input: &Snapshot<'_>, relay: NodeId, moved: &BTreeSet<NodeId>) -> bool {
        let Some(learners) = self.0.get(&relay) else {
            return false;
        };
        let last = learners.last().filter(|_| learners.len() == LEARNERS);

        moved.iter().all(|node| {
            let rank = Rank::of(input, relay, *node);
            let learns = || neighbours(input, *node).contains(&relay);
            match learners.iter().any(|known| known.node == *node) {
                true => learners.contains(&rank) && learns(),
                false => last.is_some_and(|last| rank > *last) || !learns(),
            }
        })
    }
}

fn is_unconfirmed(member: &Member) -> bool {
    member.endpoints.iter().any(|endpoint| !endpoint.confirmed)
}

fn learners_of(input: &Snapshot<'_>, node: NodeId) -> BTreeSet<Rank> {
    let could: BTreeSet<NodeId> = match input.relays.has_table(node) {
        true => input.members.keys().copied().collect(),
        false => neighbours(input, node),
    };
    let ranked: BTreeSet<Rank> = could
        .into_iter()
        .map(|other| Rank::of(input, node, other))
        .collect();

    ranked
        .into_iter()
        .filter(|rank| neighbours(input, rank.node).contains(&node))
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
    if is_small(input) {
        let introducers = input.relays.introducers().map(|introducer| introducer.node);

        return every.chain(introducers).collect();
    }
    let routes = input.wanted.of_node(member.node).map(|route| route.route);
    let mut relays: BTreeSet<NodeId> = routes
        .flat_map(|route| input.leases.of_route(route))
        .filter(|lease| Lease::is_live(lease))
        .map(|lease| lease.relay)
        .collect();
    if input.relays.len() <= RELAYS {
        relays.extend(every);

        return relays;
    }
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
