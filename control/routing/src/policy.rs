//! Route policies: which pairs of nodes get a route.
//!
//! A policy joins the nodes that its source selects with those that its target selects, in either direction. Up to
//! [`FULL_MESH`] nodes it joins every pair; beyond that each node takes the next one on each of [`RINGS`] rings of
//! hashes, which bounds the routes of a node and changes few of them when a node comes or goes.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::str::FromStr;

use control_core::store::{Row, Table};
use minicbor::{Decode, Encode};
use protocol::document::routes::Cadence;
use protocol::id::{ClusterId, NodeId, RouteId};
use protocol::node::{Labels, Name};

use crate::evidence::Ends;
use crate::member::Member;
use crate::rendezvous;

/// One policy of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PolicyRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub name: Name,
    /// Higher is more important; a pair that several policies select belongs to the highest.
    #[n(2)]
    pub priority: u8,
    #[n(3)]
    pub source: Selector,
    #[n(4)]
    pub target: Selector,
    #[n(5)]
    pub cadence: Cadence,
}

impl PolicyRow {
    /// The key of a policy within [`Table::Policies`].
    pub fn key_of(cluster: ClusterId, name: &Name) -> Vec<u8> {
        [cluster.as_bytes().as_slice(), name.as_str().as_bytes()].concat()
    }
}

impl Row for PolicyRow {
    const TABLE: Table = Table::Policies;

    fn key(&self) -> Vec<u8> {
        Self::key_of(self.cluster, &self.name)
    }
}

/// Picks nodes by their labels. Its text is `*`, or `label=value` joined by commas.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Selector {
    /// Every member.
    #[n(1)]
    Every,
    /// Members that have all of these labels; with none given, nobody.
    #[n(2)]
    Labelled(#[n(0)] Labels),
}

impl Selector {
    pub fn matches(&self, labels: &Labels) -> bool {
        match self {
            Self::Every => true,
            Self::Labelled(wanted) => {
                !wanted.is_empty() && wanted.iter().all(|(key, value)| labels.get(key) == Some(value))
            }
        }
    }
}

impl FromStr for Selector {
    type Err = InvalidSelector;

    fn from_str(text: &str) -> Result<Self, InvalidSelector> {
        if text == "*" {
            return Ok(Self::Every);
        }
        let pairs = text
            .split(',')
            .map(|pair| pair.split_once('=').ok_or(InvalidSelector))
            .map(|pair| pair.map(|(key, value)| (key.to_owned(), value.to_owned())))
            .collect::<Result<Vec<_>, _>>()?;
        let keys: BTreeSet<&String> = pairs.iter().map(|(key, _)| key).collect();
        if keys.len() < pairs.len() {
            return Err(InvalidSelector);
        }

        Labels::parse(pairs)
            .map(Self::Labelled)
            .map_err(|_| InvalidSelector)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("*"),
            Self::Labelled(labels) => {
                for (at, (key, value)) in labels.iter().enumerate() {
                    let comma = if at == 0 { "" } else { "," };
                    write!(f, "{comma}{key}={value}")?;
                }

                Ok(())
            }
        }
    }
}

/// The text is neither `*` nor label=value pairs with each label once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a selector: expected '*' or label=value,label=value with each label once")]
pub struct InvalidSelector;

/// A pair for which a path is to be found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedRoute {
    pub route: RouteId,
    pub low: NodeId,
    pub high: NodeId,
    pub priority: u8,
    pub cadence: Cadence,
    /// None for the default that holds while the cluster has no policy.
    pub policy: Option<Name>,
}

impl WantedRoute {
    pub const fn ends(&self) -> Ends {
        Ends {
            route: self.route,
            low: self.low,
            high: self.high,
        }
    }
}

/// Every route that the policies of a cluster want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    routes: BTreeMap<RouteId, WantedRoute>,
    by_node: BTreeMap<NodeId, BTreeSet<RouteId>>,
    left_out: usize,
}

impl Wanted {
    /// Applies the policies to the members; with no policy at all, the default one joins everybody.
    pub fn select(cluster: ClusterId, policies: &[PolicyRow], members: &BTreeMap<NodeId, Member>) -> Self {
        let mut wanted = Self::default();
        let ranked = ranked(policies);
        for policy in &ranked {
            let term = Term {
                priority: policy.priority,
                cadence: policy.cadence,
                policy: Some(&policy.name),
            };
            wanted.join(
                cluster,
                term,
                &ends(members, &policy.source),
                &ends(members, &policy.target),
            );
        }
        if ranked.is_empty() {
            let everybody = ends(members, &Selector::Every);
            wanted.join(cluster, DEFAULT, &everybody, &everybody);
        }

        wanted
    }

    /// One route alone, wanted by whatever policy.
    pub(crate) fn one(route: WantedRoute) -> Self {
        let ends = [route.low, route.high].map(|end| (end, BTreeSet::from([route.route])));

        Self {
            by_node: ends.into(),
            routes: BTreeMap::from([(route.route, route)]),
            left_out: 0,
        }
    }

    pub fn find(&self, route: RouteId) -> Option<&WantedRoute> {
        self.routes.get(&route)
    }

    pub fn of_node(&self, node: NodeId) -> impl Iterator<Item = &WantedRoute> {
        let routes = self.by_node.get(&node).into_iter().flatten();

        routes.filter_map(|route| self.routes.get(route))
    }

    /// The far ends of a node's routes.
    pub fn far_ends(&self, node: NodeId) -> impl Iterator<Item = NodeId> {
        self.of_node(node)
            .filter_map(move |route| route.ends().peer_of(node))
    }

    pub fn iter(&self) -> impl Iterator<Item = &WantedRoute> {
        self.routes.values()
    }

    /// From the one that follows `after`, in order.
    pub fn after(&self, after: Option<RouteId>) -> impl Iterator<Item = &WantedRoute> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);

        self.routes
            .range((start, Bound::Unbounded))
            .map(|(_, wanted)| wanted)
    }

    pub fn len(&self) -> usize {
        self.routes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Pairs that a policy selected and that one of their ends had no room for.
    pub const fn left_out(&self) -> usize {
        self.left_out
    }

    /// Adds or replaces a route. False, and nothing is added, if an end has no room for another.
    pub(crate) fn insert(&mut self, route: WantedRoute) -> bool {
        let is_full = |end| {
            self.by_node
                .get(&end)
                .is_some_and(|routes| routes.len() >= ROUTES)
        };
        if !self.routes.contains_key(&route.route) && (is_full(route.low) || is_full(route.high)) {
            return false;
        }
        self.by_node.entry(route.low).or_default().insert(route.route);
        self.by_node.entry(route.high).or_default().insert(route.route);
        self.routes.insert(route.route, route);

        true
    }

    pub(crate) fn remove(&mut self, route: RouteId) -> Option<WantedRoute> {
        let removed = self.routes.remove(&route)?;
        for end in [removed.low, removed.high] {
            if let Entry::Occupied(mut routes) = self.by_node.entry(end) {
                routes.get_mut().remove(&route);
                if routes.get().is_empty() {
                    routes.remove();
                }
            }
        }

        Some(removed)
    }

    /// Adds the pairs of one policy; what a more important one has claimed stays with it.
    fn join(
        &mut self,
        cluster: ClusterId,
        term: Term<'_>,
        sources: &BTreeSet<NodeId>,
        targets: &BTreeSet<NodeId>,
    ) {
        for (low, high) in pairs(sources, targets) {
            let route = RouteId::between(cluster, low, high);
            if self.routes.contains_key(&route) {
                continue;
            }
            let has_room = self.insert(WantedRoute {
                route,
                low,
                high,
                priority: term.priority,
                cadence: term.cadence,
                policy: term.policy.cloned(),
            });
            self.left_out += usize::from(!has_room);
        }
    }
}

/// The most important first.
pub(crate) fn ranked(policies: &[PolicyRow]) -> Vec<&PolicyRow> {
    let mut ranked: Vec<&PolicyRow> = policies.iter().collect();
    ranked.sort_by(|one, other| {
        other
            .priority
            .cmp(&one.priority)
            .then_with(|| one.name.cmp(&other.name))
    });

    ranked
}

/// What a policy gives to each of its routes.
#[derive(Clone, Copy)]
pub(crate) struct Term<'a> {
    pub(crate) priority: u8,
    pub(crate) cadence: Cadence,
    policy: Option<&'a Name>,
}

fn ends(members: &BTreeMap<NodeId, Member>, selector: &Selector) -> BTreeSet<NodeId> {
    members
        .values()
        .filter(|member| member.can_end_routes() && selector.matches(&member.labels))
        .map(|member| member.node)
        .collect()
}

fn pairs(sources: &BTreeSet<NodeId>, targets: &BTreeSet<NodeId>) -> BTreeSet<(NodeId, NodeId)> {
    if sources.union(targets).count() > FULL_MESH {
        let mut pairs = ring_pairs(sources, targets);
        if sources != targets {
            pairs.append(&mut ring_pairs(targets, sources));
        }
        return pairs;
    }
    let every = sources
        .iter()
        .flat_map(|source| targets.iter().map(|target| (*source, *target)));

    every.filter_map(ordered).collect()
}

/// Joins each of `from` with the one of `to` that follows it on every ring.
fn ring_pairs(from: &BTreeSet<NodeId>, to: &BTreeSet<NodeId>) -> BTreeSet<(NodeId, NodeId)> {
    let mut pairs = BTreeSet::new();
    for ring in 0..RINGS {
        let mut places: Vec<(u64, NodeId)> = to.iter().map(|node| (place(ring, *node), *node)).collect();
        places.sort_unstable();
        for node in from {
            let own = (place(ring, *node), *node);
            let next = places.partition_point(|other| *other <= own);
            let following = places[next..].iter().chain(&places[..next]);
            let found = following.map(|(_, other)| *other).find(|other| other != node);
            pairs.extend(found.and_then(|other| ordered((*node, other))));
        }
    }

    pairs
}

/// Where a node stands on a ring.
pub(crate) fn place(ring: u8, node: NodeId) -> u64 {
    rendezvous::rank(&[ring; 16], node.as_bytes())
}

pub(crate) fn ordered((one, other): (NodeId, NodeId)) -> Option<(NodeId, NodeId)> {
    (one != other).then(|| (one.min(other), one.max(other)))
}

/// Nodes up to which a policy joins every pair: 2,016 routes, 63 a node.
pub const FULL_MESH: usize = 64;
/// Rings of a sparse policy: one neighbour after and one before a node on each make 16 (DESIGN 5).
pub const RINGS: u8 = 8;
/// Routes of one node: with room below what its documents can name.
pub const ROUTES: usize = 1_024;
/// Priority of a route that no policy ranks.
pub const DEFAULT_PRIORITY: u8 = 100;
pub(crate) const DEFAULT: Term<'static> = Term {
    priority: DEFAULT_PRIORITY,
    cadence: Cadence::Auto,
    policy: None,
};
