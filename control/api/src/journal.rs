//! The decision journal beside the decisions: written in their transaction, pruned with the beacons.
//!
//! It is evidence that no decision waits for, so what is wrong with the journal itself is logged and stops nothing.

use control_core::desk::Desk;
use control_core::store::{StoreError, View};
use control_routing::decide::Outcome;
use control_routing::trend::Trends;
use control_routing::{journal, recall};
use protocol::id::ClusterId;
use protocol::time::Now;

use crate::answer::Bench;

pub use control_routing::journal::Retention;

/// Keeps what was decided, and lets the oldest go.
pub(crate) fn keep(
    desk: &mut Desk<'_>,
    bench: &Bench,
    cluster: ClusterId,
    written: &[&Outcome],
) -> Result<(), StoreError> {
    let outcomes = written.iter().copied();
    let stamp = (bench.version, desk.now.wall);
    tolerated(cluster, journal::record(desk.tx, cluster, outcomes, stamp))?;
    match written.is_empty() {
        true => Ok(()),
        false => prune(desk, bench, cluster),
    }
}

/// Lets the oldest entries go that are more, or older, than is retained.
pub(crate) fn prune(desk: &mut Desk<'_>, bench: &Bench, cluster: ClusterId) -> Result<(), StoreError> {
    let pruned = journal::prune(desk.tx, cluster, bench.journal, desk.now.wall);

    tolerated(cluster, pruned.map(|_| ()))
}

/// What the journal keeps of penalties and brakes, for a controller that has just begun to decide.
pub fn recalled(view: &dyn View, cluster: ClusterId, now: Now) -> Trends {
    recall::recalled(view, cluster, now).unwrap_or_else(|error| {
        tracing::warn!(?cluster, %error, "the decision journal cannot be read: no path owes anything");

        Trends::default()
    })
}

/// A request that writes too much has failed as a whole; all else is the journal's own trouble.
fn tolerated(cluster: ClusterId, done: Result<(), StoreError>) -> Result<(), StoreError> {
    match done {
        Ok(()) => Ok(()),
        Err(StoreError::TooLarge) => Err(StoreError::TooLarge),
        Err(error @ (StoreError::Corrupt { .. } | StoreError::Unreadable(_))) => {
            tracing::warn!(?cluster, %error, "the decision journal cannot be kept");

            Ok(())
        }
    }
}
