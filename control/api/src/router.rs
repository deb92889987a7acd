//! The routing of one cluster from pass to pass: its books, kept up with the store, and which routes want a decision.
//!
//! ```text
//! rows that changed ───┐
//! reports that differ ─┼─▶ due ──┐
//! a slice of the rest ─┴─────────┴─▶ pass ─▶ outcomes
//! ```
//!
//! What is due is decided in the next pass, all of it. Time alone changes decisions too: evidence grows old, a path stays
//! better for long enough, a penalty decays. For that every route is looked at in turn, all of them within [`SWEEP`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use control_core::store::{Row, Rows, StoreError, Table, View};
use control_routing::decide::{self, Outcome};
use control_routing::lease::RelayLease;
use control_routing::member::Member;
use control_routing::policy::{PolicyRow, Wanted};
use control_routing::route::RouteRow;
use control_routing::suspicion::{Circle, Suspect, Suspicion};
use control_routing::tally::Tallies;
use control_routing::trend::{Trend, Trends};
use protocol::cbor;
use protocol::id::{ClusterId, LeaseId, NodeId, RouteId};
use protocol::time::{Boot, Now};

use crate::fleet::{self, Fleet, last_id};
use crate::live::Evidence;
use crate::routing;

/// See the module.
#[derive(Clone, Debug)]
pub struct Router {
    fleet: Fleet,
    /// By their keys.
    policies: BTreeMap<Vec<u8>, PolicyRow>,
    /// Nodes whose rows could not be read when this began: what is decided for them stays.
    unknown: BTreeSet<NodeId>,
    /// Whether nodes or policies have changed since the wanted routes were selected.
    reselects: bool,
    trends: Trends,
    due: BTreeSet<RouteId>,
    /// What was counted of the reports, for the routes that are wanted.
    tallies: Tallies,
    /// Whom the last pass did not believe.
    doubted: BTreeSet<NodeId>,
    /// Who was suspect within [`QUIET`], and when last: what comes and goes is told once.
    suspects: BTreeMap<Circle, (Suspect, Boot)>,
    sweep: Sweep,
}

/// What a router keeps, each under the cluster's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Book {
    Nodes,
    Policies,
    Routes,
    Leases,
}

impl Book {
    pub const ALL: [Self; 4] = [Self::Nodes, Self::Policies, Self::Routes, Self::Leases];

    /// The table that its rows stand in.
    pub const fn table(self) -> Table {
        match self {
            Self::Nodes => Table::Nodes,
            Self::Policies => Table::Policies,
            Self::Routes => Table::Routes,
            Self::Leases => Table::Leases,
        }
    }
}

/// How far the turn through all routes has come.
#[derive(Clone, Copy, Debug, Default)]
struct Sweep {
    after: Option<RouteId>,
    /// The last pass; none if there was none.
    at: Option<Boot>,
}

/// What came of one pass.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// What is to be written.
    pub outcomes: Vec<Outcome>,
    /// What the next pass goes on from, where that has changed.
    pub trends: Vec<(RouteId, Arc<Trend>)>,
    /// Routes that were looked at.
    pub decided: usize,
    /// Whose word alone counted for nothing.
    pub suspicion: Suspicion,
    /// Who is suspect, or was within [`QUIET`].
    pub suspects: Vec<Suspect>,
}

impl Router {
    /// Reads the cluster. Leaves out single rows that cannot be read, but no policy: without one, every pair that it
    /// selects would go.
    pub fn read(view: &dyn View, cluster: ClusterId, trends: Trends) -> Result<Self, StoreError> {
        let policies = view.scan::<PolicyRow>(cluster.as_bytes())?;

        Ok(Self::of(Fleet::read(view, cluster)?, policies, trends))
    }

    /// Of a cluster as it is.
    pub fn of(fleet: Fleet, policies: Vec<PolicyRow>, trends: Trends) -> Self {
        let policies = policies.into_iter().map(|policy| (policy.key(), policy));
        let unknown = fleet.unreadable.iter().filter_map(fleet::node_of).collect();

        Self {
            fleet: Fleet {
                unreadable: Vec::new(),
                ..fleet
            },
            policies: policies.collect(),
            unknown,
            reselects: false,
            trends,
            due: BTreeSet::new(),
            tallies: Tallies::default(),
            doubted: BTreeSet::new(),
            suspects: BTreeMap::new(),
            sweep: Sweep::default(),
        }
    }

    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Takes over one row as the store has it now; none if it is gone. Of routes and leases, what cannot be read counts as
    /// gone; a node or a policy stays what it was. A policy that never could be read is an error: then nothing can be decided
    /// until it is mended and everything is read anew.
    pub fn handle_row(&mut self, book: Book, key: &[u8], row: Option<&[u8]>) -> Result<(), StoreError> {
        match book {
            Book::Nodes => {
                if let Some(node) = last_id(key).map(NodeId::from_bytes) {
                    match row.map(Fleet::member_of) {
                        Some(None) => self.handle_damaged_node(node),
                        Some(member @ Some(_)) => self.handle_node(node, member),
                        None => self.handle_node(node, None),
                    }
                }
            }
            Book::Policies => {
                let policy = row.map(cbor::decode).transpose();
                if policy.is_err() && self.policies.contains_key(key) {
                    return Ok(());
                }
                let policy = policy.map_err(|source| StoreError::Corrupt {
                    table: book.table(),
                    source,
                })?;
                self.handle_policy(key, policy);
            }
            Book::Routes => {
                if let Some(route) = last_id(key).map(RouteId::from_bytes) {
                    self.handle_route(route, row.and_then(|row| cbor::decode(row).ok()));
                }
            }
            Book::Leases => {
                if let Some(lease) = last_id(key).map(LeaseId::from_bytes) {
                    self.handle_lease(lease, row.and_then(|row| cbor::decode(row).ok()));
                }
            }
        }

        Ok(())
    }

    /// Decides what is due and the next slice of the rest.
    pub fn pass(&mut self, evidence: Evidence, now: Now) -> Passed {
        if std::mem::take(&mut self.reselects) {
            self.reselect();
        }
        self.due.extend(evidence.due.routes);
        for node in evidence.due.nodes {
            self.due_of(node);
        }
        let observations = &evidence.observations;
        self.tallies.update(observations, &self.fleet.wanted, now.boot);
        let suspicion = Suspicion::among(&self.tallies, &self.fleet.members);
        let doubted = std::mem::replace(&mut self.doubted, suspicion.observers().clone());
        let turned: Vec<NodeId> = doubted.symmetric_difference(&self.doubted).copied().collect();
        turned.into_iter().for_each(|node| self.due_of(node));
        let suspects = suspicion.suspects().iter();
        self.suspects
            .extend(suspects.map(|suspect| (suspect.circle.clone(), (suspect.clone(), now.boot))));
        self.suspects.retain(|_, (_, at)| now.boot.since(*at) <= QUIET);
        let mut routes = std::mem::take(&mut self.due);
        routes.append(&mut self.next_slice(now.boot));
        let stays = self.unknown_ends();
        routes.retain(|route| !stays.contains(route));
        let decided = routes.len();
        let snapshot = self.fleet.snapshot(observations, &suspicion, &self.trends);
        let outcomes = decide::decide_some(&snapshot, routes, now);
        let trends: Vec<(RouteId, Arc<Trend>)> = outcomes
            .iter()
            .map(|outcome| (outcome.route, Arc::new(outcome.trend.clone())))
            .collect();
        for (route, trend) in &trends {
            self.trends.set(*route, trend.clone());
        }

        Passed {
            outcomes: outcomes.into_iter().filter(routing::writes).collect(),
            trends,
            decided,
            suspicion,
            suspects: self
                .suspects
                .values()
                .map(|(suspect, _)| suspect.clone())
                .collect(),
        }
    }

    /// The routes whose turn it is. A small fleet is looked at whole each time.
    fn next_slice(&mut self, now: Boot) -> BTreeSet<RouteId> {
        let total = self.fleet.wanted.len().max(self.fleet.routes.len());
        let last = self.sweep.at.replace(now);
        let Some(last) = last.filter(|_| total > WHOLE) else {
            self.sweep.after = None;
            return self.routes_after(None, usize::MAX);
        };
        let share = now.since(last).as_secs_f64() / SWEEP.as_secs_f64();
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a number of routes, rounded up"
        )]
        let limit = (total as f64 * share.min(1.0)).ceil() as usize;
        let mut slice = self.routes_after(self.sweep.after, limit);
        let mut last = slice.last().copied();
        if slice.len() < limit {
            let mut rest = self.routes_after(None, limit - slice.len());
            last = rest.last().copied().or(last);
            slice.append(&mut rest);
        }
        self.sweep.after = last;

        slice
    }

    fn routes_after(&self, after: Option<RouteId>, limit: usize) -> BTreeSet<RouteId> {
        decide::routes_after(
            &self.fleet.wanted,
            &self.fleet.routes,
            &self.fleet.leases,
            after,
            limit,
        )
    }

    fn handle_damaged_node(&mut self, node: NodeId) {
        if !self.fleet.members.contains_key(&node) {
            self.unknown.insert(node);
        }
    }

    /// What an unreadable row of a node must not end: the routes that are decided for it, and what it carries.
    fn unknown_ends(&self) -> BTreeSet<RouteId> {
        let of = |node: &NodeId| {
            let decided = self.fleet.routes.of_node(*node).map(|row| row.route);

            decided.chain(self.fleet.leases.carried_by(*node).map(|lease| lease.route))
        };

        self.unknown.iter().flat_map(of).collect()
    }

    fn handle_node(&mut self, node: NodeId, member: Option<Member>) {
        if self.unknown.remove(&node) {
            self.due_of(node);
            let carried = self.fleet.leases.carried_by(node);
            self.due.extend(carried.map(|lease| lease.route));
        }
        let before = self.fleet.members.get(&node);
        let ends = |member: Option<&Member>| {
            member
                .filter(|member| member.can_end_routes())
                .map(|member| member.labels.clone())
        };
        if ends(before) != ends(member.as_ref()) {
            self.reselects = true;
            self.due_of(node);
        }
        if self.fleet.relays.put(node, member.as_ref()) {
            let carried = self.fleet.leases.carried_by(node);
            self.due.extend(carried.map(|lease| lease.route));
        }
        match member {
            Some(member) => self.fleet.members.insert(node, member),
            None => self.fleet.members.remove(&node),
        };
    }

    fn handle_policy(&mut self, key: &[u8], policy: Option<PolicyRow>) {
        match policy {
            Some(policy) => self.policies.insert(key.to_vec(), policy),
            None => self.policies.remove(key),
        };
        self.reselects = true;
    }

    fn handle_route(&mut self, route: RouteId, row: Option<RouteRow>) {
        match row {
            Some(row) => self.fleet.routes.put(row),
            None => drop(self.fleet.routes.remove(route)),
        }
        self.due.insert(route);
    }

    fn handle_lease(&mut self, lease: LeaseId, row: Option<RelayLease>) {
        let before = self.fleet.leases.find(lease).map(|lease| lease.route);
        self.due.extend(before);
        match row {
            Some(row) => {
                self.due.insert(row.route);
                self.fleet.leases.put(row);
            }
            None => drop(self.fleet.leases.remove(lease)),
        }
    }

    /// Selects the wanted routes anew; those that come, go or change are due.
    fn reselect(&mut self) {
        let policies: Vec<PolicyRow> = self.policies.values().cloned().collect();
        let wanted = Wanted::select(self.fleet.cluster, &policies, &self.fleet.members);
        let before = std::mem::replace(&mut self.fleet.wanted, wanted);
        self.tallies = Tallies::default();
        let wanted = &self.fleet.wanted;
        let news = wanted
            .iter()
            .filter(|route| before.find(route.route) != Some(route));
        let gone = before.iter().filter(|route| wanted.find(route.route).is_none());
        self.due.extend(news.chain(gone).map(|wanted| wanted.route));
    }

    /// Every route that ends at a node.
    fn due_of(&mut self, node: NodeId) {
        let wanted = self.fleet.wanted.of_node(node).map(|wanted| wanted.route);
        let decided = self.fleet.routes.of_node(node).map(|row| row.route);
        self.due.extend(wanted.chain(decided));
    }
}

/// So long after the last sign of it a suspicion is over, as far as findings go.
pub const QUIET: Duration = Duration::from_mins(10);
/// Within so long every route is looked at, whatever happens: a window of the trends (DESIGN 5).
pub const SWEEP: Duration = Duration::from_secs(10);
/// Up to so many routes each pass looks at all of them; that takes some milliseconds.
pub const WHOLE: usize = 2_048;

#[cfg(test)]
mod tests;
