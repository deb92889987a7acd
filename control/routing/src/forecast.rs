//! What other policies would do: the decisions that the next pass would make, beside those that it would make anyway.
//!
//! Nothing is written. A relay that is not leased for a route yet cannot be named by its first decision, so a forecast
//! says of new routes where they begin, and of how many standbys they could choose.

use std::collections::{BTreeMap, BTreeSet};

use protocol::document::routes::Path;
use protocol::id::{NodeId, RouteId};
use protocol::time::Now;

use crate::decide::{Outcome, Snapshot, decide};
use crate::policy::Wanted;
use crate::via::Via;

/// What becomes of one route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    pub route: RouteId,
    pub low: NodeId,
    pub high: NodeId,
    pub kind: ShiftKind,
    /// None where there is no route.
    pub before: Option<Course>,
    pub after: Option<Course>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShiftKind {
    /// No policy wants it any more: it is withdrawn, and its leases end.
    Removed,
    /// It takes another path.
    Moved,
    /// Same path, fewer standbys.
    Weakened,
    Added,
    /// Another priority, cadence or policy; nothing moves.
    Retuned,
}

impl ShiftKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Removed => "removed",
            Self::Moved => "moved",
            Self::Weakened => "loses_standby",
            Self::Added => "added",
            Self::Retuned => "retuned",
        }
    }
}

/// Where a route goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Course {
    /// None where it would begin without a path.
    pub path: Option<Via>,
    pub standbys: Vec<Via>,
    /// Higher is more important.
    pub priority: u8,
}

/// Everything that would change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Forecast {
    /// The gravest first.
    pub shifts: Vec<Shift>,
    /// Pairs that a policy selects and that one of their ends has no room for.
    pub left_out: usize,
}

/// Compares what would be decided under `wanted` with what would be under the policies in force.
pub fn forecast(input: &Snapshot<'_>, wanted: &Wanted, now: Now) -> Forecast {
    let changed = Snapshot { wanted, ..*input };
    let (before, after) = (courses(input, now), courses(&changed, now));
    let routes: BTreeSet<RouteId> = before.keys().chain(after.keys()).copied().collect();
    let mut shifts: Vec<Shift> = routes
        .into_iter()
        .filter_map(|route| {
            shift(
                &changed,
                input.wanted,
                (before.get(&route), after.get(&route)),
                route,
            )
        })
        .collect();
    shifts.sort_by_key(|shift| (shift.kind, shift.route));

    Forecast {
        shifts,
        left_out: wanted.left_out(),
    }
}

fn shift(
    changed: &Snapshot<'_>,
    before_wanted: &Wanted,
    courses: (Option<&Course>, Option<&Course>),
    route: RouteId,
) -> Option<Shift> {
    let kind = match courses {
        (Some(_), None) => ShiftKind::Removed,
        (None, Some(_)) => ShiftKind::Added,
        (Some(before), Some(after)) if before.path != after.path => ShiftKind::Moved,
        (Some(before), Some(after)) if before.standbys.len() > after.standbys.len() => ShiftKind::Weakened,
        (Some(_), Some(_)) if before_wanted.find(route) != changed.wanted.find(route) => ShiftKind::Retuned,
        (Some(_), Some(_)) | (None, None) => return None,
    };
    let wanted = changed.wanted.find(route).or_else(|| before_wanted.find(route));
    let decided = || changed.routes.find(route).map(|row| (row.low, row.high));
    let (low, high) = wanted.map(|wanted| (wanted.low, wanted.high)).or_else(decided)?;

    Some(Shift {
        route,
        low,
        high,
        kind,
        before: courses.0.cloned(),
        after: courses.1.cloned(),
    })
}

/// Every route as the next pass would leave it.
fn courses(input: &Snapshot<'_>, now: Now) -> BTreeMap<RouteId, Course> {
    let outcomes: BTreeMap<RouteId, Outcome> = decide(input, now)
        .into_iter()
        .map(|outcome| (outcome.route, outcome))
        .collect();
    let standing = input.routes.iter().map(|row| (row.route, row));
    let decided = outcomes
        .iter()
        .filter_map(|(route, outcome)| Some((*route, outcome.row.as_ref()?)));
    let rows: BTreeMap<RouteId, _> = standing.chain(decided).collect();

    rows.into_iter()
        .filter(|(_, row)| !row.is_withdrawn())
        .map(|(route, row)| {
            let course = Course {
                path: row.path.as_ref().map(Via::from),
                standbys: row.standbys.iter().map(|path: &Path| Via::from(path)).collect(),
                priority: row.priority,
            };

            (route, course)
        })
        .collect()
}
