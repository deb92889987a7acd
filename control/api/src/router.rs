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

use control_core::store::{StoreError, View};
use control_routing::decide::{self, Outcome};
use control_routing::member::Member;
use control_routing::suspicion::{Circle, QUIET, Suspect, Suspicion};
use control_routing::tally::Tallies;
use control_routing::trend::{Trend, Trends};
use protocol::id::{ClusterId, NodeId, RouteId};
use protocol::time::{Boot, Now};

use crate::books::{Book, Books, Change, ChangedNode};
use crate::fleet::{Fleet, LastGood};
use crate::live::Evidence;
use crate::routing;

/// See the module.
#[derive(Clone, Debug)]
pub struct Router {
    books: Books,
    trends: Trends,
    due: BTreeSet<RouteId>,
    /// What was counted of the reports, for the routes that are wanted.
    tallies: Tallies,
    /// Whom the last pass did not believe.
    suspicion: Suspicion,
    /// Who was suspect within [`QUIET`], and when last: what comes and goes is told once.
    suspects: BTreeMap<Circle, (Suspect, Boot)>,
    sweep: Sweep,
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
    /// Reads the cluster: see [`Books::read`].
    pub fn read(view: &dyn View, cluster: ClusterId, trends: Trends) -> Result<Self, StoreError> {
        let books = Books::read(view, cluster, &LastGood::default())?;

        Ok(Self::of(books, trends))
    }

    /// Of a cluster as it is.
    pub fn of(books: Books, trends: Trends) -> Self {
        Self {
            books,
            trends,
            due: BTreeSet::new(),
            tallies: Tallies::default(),
            suspicion: Suspicion::default(),
            suspects: BTreeMap::new(),
            sweep: Sweep::default(),
        }
    }

    pub fn fleet(&self) -> &Fleet {
        self.books.fleet()
    }

    /// Takes over one row as the store has it now; none if it is gone: see [`Books::handle_row`].
    pub fn handle_row(&mut self, book: Book, key: &[u8], row: Option<&[u8]>) -> Result<(), StoreError> {
        if let Some(change) = self.books.handle_row(book, key, row)? {
            self.handle_change(change);
        }

        Ok(())
    }

    fn handle_change(&mut self, change: Change) {
        match change {
            Change::Node(changed) => self.handle_node(&changed),
            Change::Route { route, before: _ } => {
                self.due.insert(route);
            }
            Change::Lease { lease, before } => {
                let now = self.books.fleet().leases.find(lease).map(|lease| lease.route);
                self.due
                    .extend(before.map(|lease| lease.route).into_iter().chain(now));
            }
            // What it selects is found when the next pass selects.
            Change::Policy => {}
        }
    }

    /// Decides what is due and the next slice of the rest.
    pub fn pass(&mut self, evidence: Evidence, now: Now) -> Passed {
        for turned in self.books.reselect() {
            self.tallies.recount(turned.low);
            self.tallies.recount(turned.high);
            self.due.insert(turned.route);
        }
        self.due.extend(evidence.due.routes);
        for node in evidence.due.nodes {
            self.due_of(node);
        }
        let observations = &evidence.observations;
        self.tallies
            .update(observations, &self.books.fleet().wanted, now.boot);
        let suspicion =
            Suspicion::among(&self.tallies, &self.books.fleet().members).following(&self.suspicion, now.boot);
        let before = std::mem::replace(&mut self.suspicion, suspicion.clone());
        let turned = before.observers().symmetric_difference(suspicion.observers());
        turned.for_each(|node| self.due_of(*node));
        let suspects = suspicion.suspects().iter();
        self.suspects
            .extend(suspects.map(|suspect| (suspect.circle.clone(), (suspect.clone(), now.boot))));
        self.suspects.retain(|_, (_, at)| now.boot.since(*at) <= QUIET);
        let mut routes = std::mem::take(&mut self.due);
        routes.append(&mut self.next_slice(now.boot));
        let stays = self.unknown_ends();
        routes.retain(|route| !stays.contains(route));
        let decided = routes.len();
        let snapshot = self
            .books
            .fleet()
            .snapshot(observations, &suspicion, &self.trends);
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

    /// Takes back what a pass decided of these routes, since it could not be stored: they are due again, and `before` is what the
    /// next pass goes on from.
    pub fn take_back(&mut self, unstored: &BTreeSet<RouteId>, before: &Trends) {
        for route in unstored {
            self.trends.set(*route, Arc::new(before.of(*route).clone()));
        }
        self.due.extend(unstored);
    }

    /// The routes whose turn it is. A small fleet is looked at whole each time.
    fn next_slice(&mut self, now: Boot) -> BTreeSet<RouteId> {
        let fleet = self.books.fleet();
        let total = fleet.wanted.len().max(fleet.routes.len());
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
        let fleet = self.books.fleet();

        decide::routes_after(&fleet.wanted, &fleet.routes, &fleet.leases, after, limit)
    }

    /// What a node whose row cannot be read must not end: the routes that are decided for it, and what it carries.
    fn unknown_ends(&self) -> BTreeSet<RouteId> {
        let fleet = self.books.fleet();
        let of = |node: NodeId| {
            let decided = fleet.routes.of_node(node).map(|row| row.route);

            decided.chain(fleet.leases.carried_by(node).map(|lease| lease.route))
        };

        self.books.unknown().flat_map(of).collect()
    }

    fn handle_node(&mut self, changed: &ChangedNode) {
        let fleet = self.books.fleet();
        let before = changed.before.as_ref().and_then(Member::selected_by);
        let after = fleet.members.get(&changed.node).and_then(Member::selected_by);
        if changed.was_unknown || changed.repooled {
            let carried = fleet.leases.carried_by(changed.node);
            self.due.extend(carried.map(|lease| lease.route));
        }
        if changed.was_unknown || before != after {
            self.due_of(changed.node);
        }
    }

    /// Every route that ends at a node.
    fn due_of(&mut self, node: NodeId) {
        let wanted = self.books.fleet().wanted.of_node(node).map(|wanted| wanted.route);
        let decided = self.books.fleet().routes.of_node(node).map(|row| row.route);
        self.due.extend(wanted.chain(decided));
    }
}

/// Within so long every route is looked at, whatever happens: a window of the trends (DESIGN 5).
pub const SWEEP: Duration = Duration::from_secs(10);
/// Up to so many routes each pass looks at all of them; that takes some milliseconds.
pub const WHOLE: usize = 2_048;

#[cfg(test)]
mod tests;
