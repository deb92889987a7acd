//! Decides, for each route, the path, its standbys, and the leases to ask for or to give back.
//!
//! Pure over a [`Snapshot`]: the same snapshot and time give the same outcomes in the same order. The caller writes
//! [`Outcome::row`], grants [`Outcome::requests`] and withdraws [`Outcome::withdrawals`] in one transaction, and then
//! gives [`Outcome::trend`] to [`Trends`] for the next pass.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use protocol::document::routes::{Action, Cadence, Reason};
use protocol::id::{ClusterId, LeaseId, NodeId, RouteId};
use protocol::time::Now;

use crate::assign::{assign, reserve};
use crate::case::Case;
use crate::evidence::Ends;
use crate::lease::{LeaseBook, LeaseRequest};
use crate::member::Member;
use crate::observations::Observations;
use crate::policy::{Wanted, WantedRoute};
use crate::pool::RelayPool;
use crate::reservation::Reservations;
use crate::retire::retire;
use crate::route::{RouteBook, RouteRow};
use crate::suspicion::Suspicion;
use crate::trend::{Aspect, Trend, Trends};
use crate::via::Via;

/// Everything that decisions are made from.
#[derive(Clone, Copy, Debug)]
pub struct Snapshot<'a> {
    pub cluster: ClusterId,
    pub members: &'a BTreeMap<NodeId, Member>,
    pub relays: &'a RelayPool,
    pub wanted: &'a Wanted,
    pub leases: &'a LeaseBook,
    pub routes: &'a RouteBook,
    pub observations: &'a Observations,
    pub suspicion: &'a Suspicion,
    pub trends: &'a Trends,
}

/// What is to be done about one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub route: RouteId,
    pub change: Change,
    /// The row to write; none if `change` is [`Change::None`].
    pub row: Option<RouteRow>,
    /// Relays to be leased for this route, or the node over which its ends are to meet.
    pub requests: Vec<LeaseRequest>,
    /// Leases that nobody uses any more, and whose ends know; or whose relay or end is not in force any more.
    pub withdrawals: Vec<LeaseId>,
    pub trend: Trend,
    /// All that it was made from; none if it is no new decision, or if the pass has laid open enough of them.
    pub case: Option<Box<Case>>,
}

impl Outcome {
    /// Whether it is a new decision, with a generation of its own.
    pub fn is_decision(&self) -> bool {
        self.change == Change::Decided
    }
}

/// What an outcome does to the row of its route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    None,
    /// The decision stands under its generation; an alarm on it came or went.
    Noted,
    /// A new decision, one generation up.
    Decided,
}

/// Decides every route that is wanted, decided or leased.
pub fn decide(input: &Snapshot<'_>, now: Now) -> Vec<Outcome> {
    let routes = routes_after(input.wanted, input.routes, input.leases, None, usize::MAX);

    decide_some(input, routes, now)
}

/// Decides these routes: important ones first, and each sees what the ones before it reserved.
pub fn decide_some(
    input: &Snapshot<'_>,
    routes: impl IntoIterator<Item = RouteId>,
    now: Now,
) -> Vec<Outcome> {
    let mut order: Vec<(Reverse<u8>, RouteId)> = routes
        .into_iter()
        .map(|route| (Reverse(priority(input, route)), route))
        .collect();
    order.sort_unstable();
    order.dedup();
    let mut reserved = Reservations::of(input);
    let outcomes = order
        .into_iter()
        .filter_map(|(_, route)| outcome(input, route, &mut reserved, now));

    outcomes.collect()
}

/// The routes that are wanted, decided or leased, at most `limit` of them from the one that follows `after`.
pub fn routes_after(
    wanted: &Wanted,
    routes: &RouteBook,
    leases: &LeaseBook,
    after: Option<RouteId>,
    limit: usize,
) -> BTreeSet<RouteId> {
    let wanted = wanted.after(after).map(|wanted| wanted.route);
    let decided = routes.after(after).filter(|row| !row.is_withdrawn());
    let leased = leases.after(after).filter(|lease| lease.is_live());
    let mut last = None;
    // Those of one route follow each other.
    let leased = leased
        .map(|lease| lease.route)
        .filter(move |route| last.replace(*route) != Some(*route));
    let decided = decided.map(|row| row.route);
    let mut routes: BTreeSet<RouteId> = wanted
        .take(limit)
        .chain(decided.take(limit))
        .chain(leased.take(limit))
        .collect();
    if let Some(surplus) = routes.iter().nth(limit).copied() {
        routes.split_off(&surplus);
    }

    routes
}

fn priority(input: &Snapshot<'_>, route: RouteId) -> u8 {
    let wanted = input.wanted.find(route).map(|wanted| wanted.priority);
    let decided = || input.routes.find(route).map(|row| row.priority);

    wanted.or_else(decided).unwrap_or(0)
}

/// None if nothing is to be done about the route, not even to remember.
pub(crate) fn outcome(
    input: &Snapshot<'_>,
    route: RouteId,
    reserved: &mut Reservations,
    now: Now,
) -> Option<Outcome> {
    let ends = ends_of(input, route)?;
    let row = input.routes.find(route);
    let ended = why_ended(input, ends);
    let assigned = match ended {
        Some(reason) => Assigned::withdrawn(row, reason, now),
        None => assign(input, ends, reserved, now),
    };
    let is_case = assigned.change == Change::Decided && reserved.open_case();
    let case = is_case.then(|| Box::new(Case::of(input, ends, reserved, now)));
    if ended.is_none() {
        reserve(reserved, row, &assigned);
    }
    let (idle, withdrawals) = retire(input, ends, &assigned, now);
    let before = input.trends.of(route);
    let mut trend = before
        .carried_on(assigned.holding.into_iter().chain(idle), now.boot)
        .with_paths(assigned.paths, now.boot);
    if assigned.improves {
        trend = trend.with_improvement(now.boot);
    }
    let outcome = Outcome {
        route,
        change: assigned.change,
        row: assigned.row,
        requests: assigned.requests,
        withdrawals,
        trend,
        case,
    };
    let is_quiet = outcome.change == Change::None
        && outcome.requests.is_empty()
        && outcome.withdrawals.is_empty()
        && outcome.trend == *before;

    (!is_quiet).then_some(outcome)
}

fn ends_of(input: &Snapshot<'_>, route: RouteId) -> Option<Ends> {
    let wanted = input.wanted.find(route).map(WantedRoute::ends);
    let decided = || input.routes.find(route).map(RouteRow::ends);
    let leased = || {
        let lease = input.leases.of_route(route).next()?;

        Some(Ends {
            route,
            low: lease.low,
            high: lease.high,
        })
    };

    wanted.or_else(decided).or_else(leased)
}

fn why_ended(input: &Snapshot<'_>, ends: Ends) -> Option<Reason> {
    let stands = |end: NodeId| input.members.get(&end).is_some_and(Member::can_end_routes);
    if !ends.both().into_iter().all(stands) {
        return Some(Reason::EndRevoked);
    }

    input
        .wanted
        .find(ends.route)
        .is_none()
        .then_some(Reason::NoPolicy)
}

/// What one pass made of one route, before its idle leases are looked at.
#[derive(Clone, Debug)]
pub(crate) struct Assigned {
    pub(crate) change: Change,
    pub(crate) row: Option<RouteRow>,
    pub(crate) requests: Vec<LeaseRequest>,
    /// Relays, and the node to meet over, that the route is to have besides those in its row.
    pub(crate) needed: BTreeSet<NodeId>,
    pub(crate) holding: Vec<(Aspect, Via)>,
    /// What is down or was, and whether it is; none if nobody says anything of it.
    pub(crate) paths: Vec<(Via, Option<bool>)>,
    /// Whether a path that works is left for a better one.
    pub(crate) improves: bool,
}

impl Assigned {
    pub(crate) const fn nothing() -> Self {
        Self {
            change: Change::None,
            row: None,
            requests: Vec::new(),
            needed: BTreeSet::new(),
            holding: Vec::new(),
            paths: Vec::new(),
            improves: false,
        }
    }

    /// A route that ends here: said once, and explicitly.
    fn withdrawn(row: Option<&RouteRow>, reason: Reason, now: Now) -> Self {
        let Some(standing) = row.filter(|row| !row.is_withdrawn()) else {
            return Self::nothing();
        };
        let generation = standing.generation.saturating_add(1);
        let withdrawn = RouteRow {
            generation,
            action: Action::Withdraw,
            path: None,
            standbys: Vec::new(),
            reasons: vec![reason],
            cadence: Cadence::default(),
            decided_at: now.wall,
            considered: Vec::new(),
            rendezvous: None,
            withdrawn_at: Some(generation),
            ..standing.clone()
        };

        Self {
            change: Change::Decided,
            row: Some(withdrawn),
            ..Self::nothing()
        }
    }
}
