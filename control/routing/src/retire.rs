//! Finds the leases of a route that can be given back: make before break.

use std::time::Duration;

use protocol::document::routes::LeaseKind;
use protocol::id::LeaseId;
use protocol::time::Now;

use crate::decide::{Assigned, Snapshot};
use crate::evidence::Ends;
use crate::lease::Lease;
use crate::member::Member;
use crate::route::RouteRow;
use crate::trend::Aspect;
use crate::via::Via;

/// The nodes whose leases lie idle, and the leases to withdraw now.
///
/// An idle lease goes once both ends probe under a decision without it, or after [`LINGER`]; one whose node or end is
/// not in force any more goes at once.
pub(crate) fn retire(
    input: &Snapshot<'_>,
    ends: Ends,
    assigned: &Assigned,
    now: Now,
) -> (Vec<(Aspect, Via)>, Vec<LeaseId>) {
    let (mut idle, mut withdrawals) = (Vec::new(), Vec::new());
    let standing = input.routes.find(ends.route);
    let ended = !ends
        .both()
        .iter()
        .all(|end| input.members.get(end).is_some_and(Member::can_end_routes));
    for lease in input.leases.of_route(ends.route).filter(|lease| lease.is_live()) {
        if ended || !input.relays.serves(lease.relay, lease.kind) {
            withdrawals.push(lease.lease);
            continue;
        }
        let rows = [standing, assigned.row.as_ref()];
        let is_used = rows.into_iter().flatten().any(|row| uses(row, lease));
        if is_used || assigned.needed.contains(&lease.relay) {
            continue;
        }
        let via = Via::Relay(lease.relay);
        idle.push((Aspect::Unused, via));
        let lasting = input.trends.of(ends.route).lasting(Aspect::Unused, via, now.boot);
        let told = standing.is_some_and(|row| know(input, ends, row));
        if lasting.is_some_and(|lasting| told || lasting >= LINGER) {
            withdrawals.push(lease.lease);
        }
    }

    (idle, withdrawals)
}

fn uses(row: &RouteRow, lease: &Lease) -> bool {
    match lease.kind {
        LeaseKind::Relay => row.paths().any(|path| path.relay() == Some(lease.relay)),
        LeaseKind::Rendezvous => row.rendezvous.is_some_and(|place| place.node == lease.relay),
    }
}

/// Whether both ends have probed under this decision.
fn know(input: &Snapshot<'_>, ends: Ends, row: &RouteRow) -> bool {
    let applied = |end| input.observations.applied(end, ends.route);

    ends.both()
        .into_iter()
        .all(|end| applied(end) >= Some(row.generation))
}

/// How long an idle lease waits for ends that do not answer.
pub(crate) const LINGER: Duration = Duration::from_secs(60);
