//! Decides, for each route, the path, its standbys, and the leases to ask for or to give back.
//!
//! Pure over a [`Snapshot`]: the same snapshot and time give the same outcomes in the same order. The caller writes
//! [`Outcome::row`], grants [`Outcome::requests`], withdraws [`Outcome::withdrawals`] in one transaction, and then
//! gives [`Outcome::trend`] back to [`Trends`] for the next pass.

use std::collections::BTreeMap;

use protocol::id::{ClusterId, LeaseId, NodeId, RouteId};

use crate::lease::{LeaseBook, LeaseRequest};
use crate::member::Member;
use crate::observations::Observations;
use crate::policy::Wanted;
use crate::pool::RelayPool;
use crate::route::{RouteBook, RouteRow};
pub use crate::trend::{Trend, Trends};

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
    pub trends: &'a Trends,
}

/// What is to be done about one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    pub route: RouteId,
    pub change: Change,
    /// The row to write; none if `change` is [`Change::None`].
    pub row: Option<RouteRow>,
    /// Relays to be leased for this route.
    pub requests: Vec<LeaseRequest>,
    /// Leases that nobody uses any more, and whose ends know.
    pub withdrawals: Vec<LeaseId>,
    pub trend: Trend,
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
