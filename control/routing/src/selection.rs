//! The wanted routes, kept up node by node: what [`Wanted::select`] finds, without looking at everybody again.
//!
//! A node that comes or goes changes its own pairs and, on each ring, those of the nodes right before it. Only these are
//! looked at; of a policy that joins every pair, its pairs with all others. Where that is not the whole truth everything is
//! selected anew: a policy that begins or ceases to join every pair, a node whose routes are at their bound.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use protocol::id::{ClusterId, NodeId, RouteId};
use protocol::node::Labels;

use crate::member::Member;
use crate::policy::{
    DEFAULT, FULL_MESH, PolicyRow, RINGS, ROUTES, Selector, Wanted, WantedRoute, ordered, place, ranked,
};

/// See the module. Remembers who stands where on the rings, and nothing of the routes.
#[derive(Clone, Debug, PartialEq)]
pub struct Selection {
    cluster: ClusterId,
    /// One for each selector, whoever uses it.
    sides: Vec<Side>,
    /// The most important first; the default alone if there is no policy.
    terms: Vec<Joined>,
}

/// A node, and the labels by which policies select it; none if they do not.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'a> {
    pub node: NodeId,
    pub before: Option<&'a Labels>,
    pub after: Option<&'a Labels>,
}

/// What one policy joins.
#[derive(Clone, Debug, PartialEq)]
struct Joined {
    /// None for the default.
    policy: Option<PolicyRow>,
    /// Among the sides.
    source: usize,
    target: usize,
    /// Whether it joins neighbours on rings, and not every pair.
    is_sparse: bool,
}

/// The nodes that one selector matches, in the order of every ring.
#[derive(Clone, Debug, PartialEq)]
struct Side {
    selector: Selector,
    rings: Vec<BTreeSet<(u64, NodeId)>>,
}

impl Selection {
    /// Of the members as they are.
    pub fn of(cluster: ClusterId, policies: &[PolicyRow], members: &BTreeMap<NodeId, Member>) -> Self {
        let policies: Vec<Option<PolicyRow>> = match policies.is_empty() {
            true => vec![None],
            false => ranked(policies).into_iter().cloned().map(Some).collect(),
        };
        let mut sides = Vec::new();
        let mut terms: Vec<Joined> = policies
            .into_iter()
            .map(|policy| Joined::by(policy, &mut sides))
            .collect();
        for member in members.values() {
            if let Some(labels) = member.selected_by() {
                sides.iter_mut().for_each(|side| side.insert(member.node, labels));
            }
        }
        for joined in &mut terms {
            joined.is_sparse = joined.has_many(&sides);
        }

        Self {
            cluster,
            sides,
            terms,
        }
    }

    /// Takes over a node as it is now, and brings `wanted` up to that. Adds to `turned` the routes that came, that changed, as
    /// they are now, and that went. False if everything is to be selected anew: then this is of no more use, and `wanted` is
    /// somewhere between, with all that differs from before in `turned`.
    #[must_use]
    pub fn put(
        &mut self,
        wanted: &mut Wanted,
        selected: Selected<'_>,
        turned: &mut Vec<WantedRoute>,
    ) -> bool {
        let pairs = self.stir(wanted, selected);
        let turns = |joined: &Joined| joined.is_sparse != joined.has_many(&self.sides);
        if self.terms.iter().any(turns) || wanted.left_out() > 0 {
            return false;
        }
        for (low, high) in pairs {
            let route = RouteId::between(self.cluster, low, high);
            let mut joining = self.terms.iter();
            let now = joining.find(|joined| joined.joins(&self.sides, low, high));
            let now = now.map(|joined| joined.route(route, (low, high)));
            if wanted.find(route) == now.as_ref() {
                continue;
            }
            let before = wanted.remove(route);
            turned.extend(now.clone().or(before));
            if now.is_some_and(|now| !wanted.insert(now)) {
                return false;
            }
        }

        true
    }

    /// Puts a node where it stands on the rings now. Returns the pairs that may be others for it.
    fn stir(&mut self, wanted: &Wanted, selected: Selected<'_>) -> BTreeSet<(NodeId, NodeId)> {
        let node = selected.node;
        let own = wanted.of_node(node).map(|route| (route.low, route.high));
        let mut pairs: BTreeSet<(NodeId, NodeId)> = own.collect();
        let mut look = |selection: &Self, labels: &Labels| {
            for joined in &selection.terms {
                joined.stirred(&selection.sides, (node, labels), &mut pairs);
            }
        };
        if let Some(labels) = selected.before {
            self.sides.iter_mut().for_each(|side| side.remove(node, labels));
            look(self, labels);
        }
        if let Some(labels) = selected.after {
            // Those right before it lose whom they had.
            look(self, labels);
            self.sides.iter_mut().for_each(|side| side.insert(node, labels));
            look(self, labels);
        }

        pairs
    }
}

impl Joined {
    fn by(policy: Option<PolicyRow>, sides: &mut Vec<Side>) -> Self {
        let selectors = policy.as_ref().map(|policy| (&policy.source, &policy.target));
        let (source, target) = selectors.unwrap_or((&Selector::Every, &Selector::Every));
        let mut place = |selector: &Selector| {
            let known = sides.iter().position(|side| side.selector == *selector);

            known.unwrap_or_else(|| {
                sides.push(Side::of(selector.clone()));
                sides.len() - 1
            })
        };

        Self {
            source: place(source),
            target: place(target),
            policy,
            is_sparse: false,
        }
    }

    /// From whom to whom: both ways, unless they are the same.
    fn ways<'a>(&self, sides: &'a [Side]) -> impl Iterator<Item = (&'a Side, &'a Side)> {
        let (sources, targets) = (&sides[self.source], &sides[self.target]);
        let back = (self.source != self.target).then_some((targets, sources));

        [(sources, targets)].into_iter().chain(back)
    }

    /// Whether it has too many to join every pair.
    fn has_many(&self, sides: &[Side]) -> bool {
        let (sources, targets) = (&sides[self.source].rings[0], &sides[self.target].rings[0]);

        sources.len().max(targets.len()) > FULL_MESH || sources.union(targets).count() > FULL_MESH
    }

    /// The pairs that change when a node with such labels comes or goes, as far as it stands on the rings now: its own, and
    /// those of the nodes right before it.
    fn stirred(
        &self,
        sides: &[Side],
        (node, labels): (NodeId, &Labels),
        pairs: &mut BTreeSet<(NodeId, NodeId)>,
    ) {
        for (from, to) in self.ways(sides) {
            if !self.is_sparse {
                let all = to.rings[0].iter().chain(&from.rings[0]);
                pairs.extend(all.filter_map(|(_, other)| ordered((node, *other))));
                continue;
            }
            for ring in 0..RINGS {
                let own = (place(ring, node), node);
                let next = to.next(ring, own);
                pairs.extend(next.and_then(|next| ordered((node, next))));
                if !to.selector.matches(labels) {
                    continue;
                }
                for before in from.between(ring, to.last(ring, own), own) {
                    pairs.extend(ordered((before, node)));
                    pairs.extend(next.and_then(|next| ordered((before, next))));
                }
            }
        }
    }

    /// Whether it joins these two.
    fn joins(&self, sides: &[Side], low: NodeId, high: NodeId) -> bool {
        let follows = |from: &Side, to: &Side, one: NodeId, other: NodeId| {
            if !self.is_sparse {
                return from.has(0, (place(0, one), one)) && to.has(0, (place(0, other), other));
            }
            (0..RINGS).any(|ring| {
                let own = (place(ring, one), one);

                from.has(ring, own) && to.next(ring, own) == Some(other)
            })
        };

        self.ways(sides)
            .any(|(from, to)| follows(from, to, low, high) || follows(from, to, high, low))
    }

    fn route(&self, route: RouteId, (low, high): (NodeId, NodeId)) -> WantedRoute {
        let policy = self.policy.as_ref();

        WantedRoute {
            route,
            low,
            high,
            priority: policy.map_or(DEFAULT.priority, |policy| policy.priority),
            cadence: policy.map_or(DEFAULT.cadence, |policy| policy.cadence),
            policy: policy.map(|policy| policy.name.clone()),
        }
    }
}

impl Side {
    fn of(selector: Selector) -> Self {
        Self {
            selector,
            rings: (0..RINGS).map(|_| BTreeSet::new()).collect(),
        }
    }

    fn insert(&mut self, node: NodeId, labels: &Labels) {
        if self.selector.matches(labels) {
            for (ring, places) in (0..RINGS).zip(&mut self.rings) {
                places.insert((place(ring, node), node));
            }
        }
    }

    fn remove(&mut self, node: NodeId, labels: &Labels) {
        if self.selector.matches(labels) {
            for (ring, places) in (0..RINGS).zip(&mut self.rings) {
                places.remove(&(place(ring, node), node));
            }
        }
    }

    fn ring(&self, ring: u8) -> &BTreeSet<(u64, NodeId)> {
        &self.rings[usize::from(ring)]
    }

    fn has(&self, ring: u8, at: (u64, NodeId)) -> bool {
        self.ring(ring).contains(&at)
    }

    /// Who follows on the ring, nobody if that is who stands there already.
    fn next(&self, ring: u8, at: (u64, NodeId)) -> Option<NodeId> {
        let ring = self.ring(ring);
        let after = ring.range((Bound::Excluded(at), Bound::Unbounded)).next();

        after
            .or_else(|| ring.first())
            .map(|(_, node)| *node)
            .filter(|node| *node != at.1)
    }

    /// Who stands before on the ring.
    fn last(&self, ring: u8, at: (u64, NodeId)) -> Option<(u64, NodeId)> {
        let ring = self.ring(ring);

        ring.range(..at).next_back().or_else(|| ring.last()).copied()
    }

    /// Those from `first` on, itself included, up to `end`, around the ring; everybody if there is no `first`.
    fn between(&self, ring: u8, first: Option<(u64, NodeId)>, end: (u64, NodeId)) -> Vec<NodeId> {
        let ring = self.ring(ring);
        let nodes = match first {
            None => ring.iter().copied().collect::<Vec<_>>(),
            Some(first) if first < end => ring.range(first..end).copied().collect(),
            Some(first) => ring.range(first..).chain(ring.range(..end)).copied().collect(),
        };

        nodes.into_iter().map(|(_, node)| node).collect()
    }
}

const _: () = assert!(
    ROUTES > 2 * RINGS as usize,
    "one policy alone does not fill a node of a ring"
);
