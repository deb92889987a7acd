//! All routes of this node, by the node at their far end.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::document::config::Transport;
use protocol::document::routes::{Action, Path, RouteDecision, Routes};
use protocol::frame::PathTag;
use protocol::id::{LeaseId, NodeId, RouteId};
use protocol::time::Boot;
use rand::Rng;

use super::cadence::{self, FIRST_ROUTES};
use super::effect::{DecisionRefusal, Event};
use super::links::Want;
use super::probe::Judged;
use super::route::{Route, RouteEffect};

#[derive(Debug)]
pub(super) struct RouteTable {
    us: NodeId,
    routes: BTreeMap<NodeId, Route>,
    /// Which route a lease belongs to, for every path on which frames are taken.
    leases: BTreeMap<LeaseId, NodeId>,
    /// Generations of explicit withdrawals, so that none of an earlier one comes back.
    withdrawn: BTreeMap<RouteId, u64>,
    /// The far ends of the first routes by priority.
    first: BTreeSet<NodeId>,
    effects: VecDeque<(NodeId, RouteEffect)>,
}

impl RouteTable {
    pub(super) fn new(us: NodeId) -> Self {
        Self {
            us,
            routes: BTreeMap::new(),
            leases: BTreeMap::new(),
            withdrawn: BTreeMap::new(),
            first: BTreeSet::new(),
            effects: VecDeque::new(),
        }
    }

    /// Follows every decision that can be followed. A route that the document leaves out stays as it is.
    pub(super) fn handle_routes(
        &mut self,
        routes: &Routes,
        linked: &dyn Fn(NodeId) -> bool,
        rng: &mut impl Rng,
        now: Boot,
    ) {
        for decision in &routes.decisions {
            if let Err(why) = self.follow(decision, linked, rng, now) {
                let route = decision.route;
                let refused = Event::DecisionRefused { route, why };
                self.effects
                    .push_back((decision.peer, RouteEffect::Event(refused)));
            }
        }
        self.index();
    }

    pub(super) fn handle_links(&mut self, linked: &dyn Fn(NodeId) -> bool, now: Boot) {
        for route in self.routes.values_mut() {
            route.handle_links(linked, now);
        }
    }

    pub(super) fn handle_timeout(&mut self, transport: &Transport, late: bool, now: Boot) -> Judged {
        let mut sum = Judged::default();
        for (peer, route) in &mut self.routes {
            let busy = self.first.contains(peer) || route.is_busy(now);
            let pace = cadence::pace(route.cadence(), busy, transport);
            let judged = route.handle_timeout(&pace, late, now);
            sum.missed += judged.missed;
            sum.unjudged += judged.unjudged;
        }

        sum
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        self.routes.values().filter_map(Route::poll_timeout).min()
    }

    pub(super) fn poll_effect(&mut self) -> Option<(NodeId, RouteEffect)> {
        self.effects.pop_front().or_else(|| {
            self.routes
                .iter_mut()
                .find_map(|(peer, route)| Some((*peer, route.poll_effect()?)))
        })
    }

    pub(super) fn route(&self, peer: NodeId) -> Option<&Route> {
        self.routes.get(&peer)
    }

    pub(super) fn route_mut(&mut self, peer: NodeId) -> Option<&mut Route> {
        self.routes.get_mut(&peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Route> {
        self.routes.values()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Route> {
        self.routes.values_mut()
    }

    /// The far end of a path whose frames come from `first_hop`, if they are taken.
    pub(super) fn far_end(&self, path: PathTag, first_hop: NodeId) -> Option<NodeId> {
        let peer = match path {
            PathTag::Direct => first_hop,
            PathTag::Relay { lease, .. } => *self.leases.get(&lease)?,
        };
        let accepted = self.routes.get(&peer)?.first_hop(path) == Some(first_hop);

        accepted.then_some(peer)
    }

    /// The neighbours that the routes need a connection to, and those that they would profit from.
    pub(super) fn wants(&self) -> BTreeMap<NodeId, Want> {
        let mut wants: BTreeMap<NodeId, Want> = BTreeMap::new();
        for track in self.routes.values().flat_map(Route::known) {
            let want = wants.entry(track.first_hop).or_insert(Want {
                link: true,
                probe: true,
                meet: false,
            });
            want.probe &= track.path != Path::Direct;
        }
        for peer in self.routes.keys() {
            wants.entry(*peer).or_insert(WELCOME).meet = true;
        }

        wants
    }

    fn follow(
        &mut self,
        decision: &RouteDecision,
        linked: &dyn Fn(NodeId) -> bool,
        rng: &mut impl Rng,
        now: Boot,
    ) -> Result<(), DecisionRefusal> {
        let withdrawn = self.withdrawn.get(&decision.route);
        if withdrawn.is_some_and(|withdrawn| decision.generation < *withdrawn) {
            return Err(DecisionRefusal::Stale);
        }
        if decision.action == Action::Withdraw {
            return self.withdraw(decision);
        }
        if withdrawn == Some(&decision.generation) {
            return Err(DecisionRefusal::Conflict);
        }
        if let Some(route) = self.routes.get_mut(&decision.peer) {
            route.handle_decision(decision, linked, rng, now)?;
        } else if let Some(route) = Route::begin(self.us, decision, linked, rng, now)? {
            self.routes.insert(decision.peer, route);
        }
        self.withdrawn.remove(&decision.route);

        Ok(())
    }

    fn withdraw(&mut self, decision: &RouteDecision) -> Result<(), DecisionRefusal> {
        let (route, peer, generation) = (decision.route, decision.peer, decision.generation);
        let in_force = self.routes.get(&peer).map(Route::generation);
        if in_force.is_some_and(|in_force| generation < in_force) {
            return Err(DecisionRefusal::Stale);
        }
        if in_force == Some(generation) {
            return Err(DecisionRefusal::Conflict);
        }
        if self.routes.remove(&peer).is_some() {
            let ended = Event::Withdrawn {
                route,
                peer,
                generation,
            };
            self.effects.push_back((peer, RouteEffect::Event(ended)));
        }
        self.withdrawn.insert(route, generation);
        if self.withdrawn.len() > WITHDRAWN {
            self.withdrawn.pop_first();
        }

        Ok(())
    }

    fn index(&mut self) {
        self.leases.clear();
        for (peer, route) in &self.routes {
            for track in route.known() {
                if let PathTag::Relay { lease, .. } = track.tag {
                    self.leases.insert(lease, *peer);
                }
            }
        }
        let mut ranked: Vec<_> = self
            .routes
            .iter()
            .map(|(peer, route)| (Reverse(route.priority()), route.id(), *peer))
            .collect();
        ranked.sort_unstable();
        self.first = ranked
            .iter()
            .take(FIRST_ROUTES)
            .map(|(_, _, peer)| *peer)
            .collect();
    }
}

/// Of the far end of a route without a direct path.
const WELCOME: Want = Want {
    link: false,
    probe: true,
    meet: true,
};

/// Withdrawals remembered. The documents' own versions keep old ones out; this is the second lock.
const WITHDRAWN: usize = 4_096;
