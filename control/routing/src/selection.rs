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
    sources: Side,
    /// None if the sources are the targets too.
    targets: Option<Side>,
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
        let mut selection = Self {
            cluster,
            terms: policies.into_iter().map(Joined::by).collect(),
        };
        for member in members.values() {
            if let Some(labels) = member.selected_by() {
                let terms = selection.terms.iter_mut();
                terms.for_each(|joined| joined.insert(member.node, labels));
            }
        }

        for joined in &mut selection.terms {
            joined.is_sparse = joined.has_many();
        }

        selection
    }

    /// Takes over a node as it is now, and brings `wanted` up to that. Returns the routes that came, that changed, as they are
    /// now, and that went. None if everything is to be selected anew: then neither this nor `wanted` is of any more use.
    pub fn put(&mut self, wanted: &mut Wanted, selected: Selected<'_>) -> Option<Vec<WantedRoute>> {
        let node = selected.node;
        let own = wanted.of_node(node).map(|route| (route.low, route.high));
        let mut pairs: BTreeSet<(NodeId, NodeId)> = own.collect();
        for joined in &mut self.terms {
            if let Some(labels) = selected.before {
                joined.remove(node, labels);
                joined.stirred(node, labels, &mut pairs);
            }
            if let Some(labels) = selected.after {
                // Those right before it lose whom they had.
                joined.stirred(node, labels, &mut pairs);
                joined.insert(node, labels);
                joined.stirred(node, labels, &mut pairs);
            }
        }
        let turns = self
            .terms
            .iter()
            .any(|joined| joined.is_sparse != joined.has_many());
        if turns || wanted.left_out() > 0 {
            return None;
        }
        let mut turned = Vec::new();
        for (low, high) in pairs {
            let route = RouteId::between(self.cluster, low, high);
            let now = self.terms.iter().find(|joined| joined.joins(low, high));
            let now = now.map(|joined| joined.route(route, (low, high)));
            if wanted.find(route) == now.as_ref() {
                continue;
            }
            let before = wanted.remove(route);
            if let Some(now) = now.clone()
                && !wanted.insert(now)
            {
                return None;
            }
            turned.extend(now.or(before));
        }

        Some(turned)
    }
}

impl Joined {
    fn by(policy: Option<PolicyRow>) -> Self {
        let selectors = policy
            .as_ref()
            .map(|policy| (policy.source.clone(), policy.target.clone()));
        let (source, target) = selectors.unwrap_or((Selector::Every, Selector::Every));

        Self {
            policy,
            targets: (source != target).then(|| Side::of(target)),
            sources: Side::of(source),
            is_sparse: false,
        }
    }

    fn targets(&self) -> &Side {
        self.targets.as_ref().unwrap_or(&self.sources)
    }

    fn insert(&mut self, node: NodeId, labels: &Labels) {
        self.sources.insert(node, labels);
        self.targets.iter_mut().for_each(|side| side.insert(node, labels));
    }

    fn remove(&mut self, node: NodeId, labels: &Labels) {
        self.sources.remove(node, labels);
        self.targets.iter_mut().for_each(|side| side.remove(node, labels));
    }

    /// Whether it has too many to join every pair.
    fn has_many(&self) -> bool {
        let (sources, targets) = (&self.sources.rings[0], self.targets().rings[0].len());
        if sources.len().max(targets) > FULL_MESH {
            return true;
        }

        sources.union(&self.targets().rings[0]).count() > FULL_MESH
    }

    /// The pairs that change when a node with such labels comes or goes, as far as it stands on the rings now: its own, and
    /// those of the nodes right before it.
    fn stirred(&self, node: NodeId, labels: &Labels, pairs: &mut BTreeSet<(NodeId, NodeId)>) {
        let mut one_way = |from: &Side, to: &Side| {
            if !self.is_sparse {
                let all = to.rings[0].iter().chain(&from.rings[0]);
                pairs.extend(all.filter_map(|(_, other)| ordered((node, *other))));
                return;
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
        };
        one_way(&self.sources, self.targets());
        if let Some(targets) = &self.targets {
            one_way(targets, &self.sources);
        }
    }

    /// Whether it joins these two.
    fn joins(&self, low: NodeId, high: NodeId) -> bool {
        let follows = |from: &Side, to: &Side, one: NodeId, other: NodeId| {
            if !self.is_sparse {
                return from.has(0, (place(0, one), one)) && to.has(0, (place(0, other), other));
            }
            (0..RINGS).any(|ring| {
                let own = (place(ring, one), one);

                from.has(ring, own) && to.next(ring, own) == Some(other)
            })
        };
        let either = |from: &Side, to: &Side| follows(from, to, low, high) || follows(from, to, high, low);

        either(&self.sources, self.targets())
            || self
                .targets
                .as_ref()
                .is_some_and(|targets| either(targets, &self.sources))
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
