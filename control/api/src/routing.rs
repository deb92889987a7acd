//! Writing what the routes' passes decided.

use control_core::desk::Desk;
use control_core::store::{Rows, RowsMut, StoreError, Tx};
use control_routing::decide::Outcome;
use control_routing::lease::{Lease, LeaseState, TableVersion};
use control_routing::route::RouteRow;
use protocol::id::{ClusterId, LeaseId, NodeId};

use crate::failure::Failure;

/// Cuts what a pass decided into requests that each fit one commit: decisions do not hang on one another.
pub fn batches(outcomes: Vec<Outcome>) -> Vec<Vec<Outcome>> {
    let mut batches: Vec<Vec<Outcome>> = Vec::new();
    let mut rows = 0;
    for outcome in outcomes {
        let journalled = usize::from(outcome.case.is_some());
        let more = 1 + journalled + outcome.requests.len() + outcome.withdrawals.len();
        match batches.last_mut().filter(|_| rows + more <= BATCH_ROWS) {
            Some(batch) => batch.push(outcome),
            None => {
                batches.push(vec![outcome]);
                rows = 0;
            }
        }
        rows += more;
    }

    batches
}

pub(crate) fn writes(outcome: &Outcome) -> bool {
    outcome.row.is_some() || !outcome.requests.is_empty() || !outcome.withdrawals.is_empty()
}

/// Writes outcomes, and returns those whose rows it wrote. One that was made from a row that has changed since is left
/// out: the next pass makes it anew.
pub fn apply<'o>(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    outcomes: &'o [Outcome],
) -> Result<Vec<&'o Outcome>, Failure> {
    let mut written = Vec::new();
    for outcome in outcomes {
        if let Some(row) = outcome.row.as_ref() {
            if !follows(desk, row)? {
                continue;
            }
            desk.tx.put(row)?;
            written.push(outcome);
        }
        for request in &outcome.requests {
            let known = request.previous.map(|id| find(desk, cluster, id)).transpose()?;
            let previous = known.flatten();
            let fresh = LeaseId::random(desk.rng);
            let lease = Lease::grant(request, previous.as_ref(), fresh, desk.now.wall);
            desk.tx.put(&lease)?;
        }
        for id in &outcome.withdrawals {
            if let Some(mut lease) = find(desk, cluster, *id)?.filter(Lease::is_live) {
                lease.withdraw(desk.now.wall);
                desk.tx.put(&lease)?;
            }
        }
    }

    Ok(written)
}

/// The lease under this id. One that cannot be read is none: what relays hold of it ends with the next table.
fn find(desk: &Desk<'_>, cluster: ClusterId, lease: LeaseId) -> Result<Option<Lease>, StoreError> {
    desk.tx.get_readable(&Lease::key_of(cluster, lease))
}

/// Notes which grants a relay has shown to know. `carried` are those in its newest table; if nobody knows them, all of the
/// cluster are looked through.
pub fn acknowledge(
    tx: &mut dyn Tx,
    (cluster, relay): (ClusterId, NodeId),
    table: TableVersion,
    carried: Option<Vec<LeaseId>>,
) -> Result<(), StoreError> {
    let leases: Vec<Lease> = match carried {
        Some(carried) => {
            let keys = carried.iter().map(|lease| Lease::key_of(cluster, *lease));
            let found: Result<Vec<_>, _> = keys.map(|key| tx.get_readable::<Lease>(&key)).collect();

            found?.into_iter().flatten().collect()
        }
        None => tx.scan_readable::<Lease>(cluster.as_bytes())?.rows,
    };
    for mut lease in leases {
        let offered = lease.relay == relay && lease.state == LeaseState::Offered;
        if offered && lease.acknowledge(table) {
            tx.put(&lease)?;
        }
    }

    Ok(())
}

/// Whether `row` is the successor of what the store has now. Nothing follows a row that cannot be read: its generation
/// would be given twice.
fn follows(desk: &Desk<'_>, row: &RouteRow) -> Result<bool, StoreError> {
    let known = match desk.tx.get::<RouteRow>(&RouteRow::key_of(row.cluster, row.route)) {
        Ok(known) => known,
        Err(StoreError::Corrupt { .. }) => return Ok(false),
        Err(error @ (StoreError::TooLarge | StoreError::Unreadable(_))) => return Err(error),
    };
    let generation = known.map_or(0, |known| known.generation);

    Ok(row.generation == generation || row.generation == generation + 1)
}

/// Rows of one request, a tenth of what an engine's commit may hold: the documents that follow are in the same group.
const BATCH_ROWS: usize = 1_000;
