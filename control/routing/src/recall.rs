//! Penalties and brakes after a start or a takeover, from the journal.
//!
//! ```text
//! entry n, age a ── its case, decided again ──▶ trend after it ── a later, on this clock ──▶ what the first pass goes on from
//! ```
//!
//! The newest entry of a route says all that it owes for: what failed, and every move of the hour before. What happened
//! since without a decision is not in it. That is evidence like the rest of the journal: what cannot be read is not owed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use control_core::store::{StoreError, View};
use protocol::id::{ClusterId, RouteId};
use protocol::time::Now;

use crate::journal::{self, JournalRow, What};
use crate::trend::{BRAKED, Trend, Trends};

/// What the decisions of the last hour left for the next ones.
pub fn recalled(view: &dyn View, cluster: ClusterId, now: Now) -> Result<Trends, StoreError> {
    let head = journal::head(view, cluster)?;
    let (mut trends, mut known) = (Trends::default(), BTreeSet::new());
    let (mut end, mut looked) = (head.last, 0);
    while end >= head.first && end > 0 && looked < LOOKED {
        let start = end.saturating_sub(PAGE as u64).max(head.first.saturating_sub(1));
        let page = journal::list(view, cluster, start, PAGE)?;
        let upwards = page.into_iter().filter(|found| found.seq <= end);
        let readable: Vec<JournalRow> = upwards.filter_map(|found| found.row.ok()).collect();
        for row in readable.iter().rev() {
            if now.wall.since(row.at) > BRAKED {
                return Ok(trends);
            }
            // Another controller's clock may be ahead a little. One that was far ahead says nothing of when it was.
            let is_past = row.at.since(now.wall) <= AHEAD;
            if let Some((route, trend)) = recall(row, now, &known).filter(|_| is_past) {
                known.insert(route);
                trends.set(route, Arc::new(trend));
            }
        }
        looked += PAGE;
        end = start;
    }

    Ok(trends)
}

/// What an entry says of its route, if no newer one said it.
fn recall(row: &JournalRow, now: Now, known: &BTreeSet<RouteId>) -> Option<(RouteId, Trend)> {
    let What::Decided { result, case } = &row.what else {
        return None;
    };
    let route = result.row.route;
    if known.contains(&route) {
        return None;
    }
    let case = journal::case(case).ok()?;
    let after = case
        .decide()
        .map_or_else(|| Trend::from(&case.memory), |outcome| outcome.trend);

    Some((
        route,
        after.moved((case.boot, now.wall.since(case.wall)), now.boot),
    ))
}

/// Entries that are looked through: with fewer than 50,000 an hour nothing is forgotten.
const LOOKED: usize = 50_000;
const PAGE: usize = 250;
/// How far apart the clocks of two controllers may be.
const AHEAD: Duration = Duration::from_secs(60);
