//! The routing loop's two halves: deciding on a snapshot, and writing what was decided.

use control_core::desk::Desk;
use control_core::store::{Rows, RowsMut, StoreError, Tx, View};
use control_routing::decide::{self, Outcome};
use control_routing::lease::{LeaseBook, LeaseState, RelayLease, TableVersion};
use control_routing::route::RouteRow;
use control_routing::trend::Trends;
use protocol::id::{ClusterId, LeaseId, NodeId};
use protocol::limits::LEASE_ROWS;
use protocol::time::Now;

use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::live::ClusterLife;
use crate::touched::Touched;

/// Decides every route of a cluster. What is to be written comes back; the trends are kept in `life`.
pub fn decide(fleet: &Fleet, life: &mut ClusterLife, now: Now) -> Vec<Outcome> {
    let outcomes = decide::decide(&fleet.snapshot(life), now);
    for outcome in &outcomes {
        life.trends.set(outcome.route, outcome.trend.clone());
    }

    outcomes.into_iter().filter(writes).collect()
}

/// One whole pass: reads the cluster from a snapshot and decides on a copy of the evidence. Returns what is to be written,
/// and the trends that the next pass goes on from.
pub fn pass(
    view: &dyn View,
    cluster: ClusterId,
    mut evidence: ClusterLife,
    now: Now,
) -> Result<(Vec<Outcome>, Trends), StoreError> {
    let fleet = Fleet::read(view, cluster)?;
    let outcomes = decide(&fleet, &mut evidence, now);

    Ok((outcomes, evidence.trends))
}

/// Cuts what a pass decided into requests that each fit one commit: decisions do not hang on one another.
pub fn batches(outcomes: Vec<Outcome>) -> Vec<Vec<Outcome>> {
    let mut batches: Vec<Vec<Outcome>> = Vec::new();
    let mut rows = 0;
    for outcome in outcomes {
        let more = 1 + outcome.requests.len() + outcome.withdrawals.len();
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

fn writes(outcome: &Outcome) -> bool {
    outcome.row.is_some() || !outcome.requests.is_empty() || !outcome.withdrawals.is_empty()
}

/// Writes outcomes. One that was made from a row that has changed since is left out: the next pass makes it anew.
pub fn apply(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    outcomes: &[Outcome],
    touched: &mut Touched,
) -> Result<(), Failure> {
    let mut leases: LeaseBook = desk
        .tx
        .scan_readable::<RelayLease>(cluster.as_bytes())?
        .rows
        .into_iter()
        .collect();
    for outcome in outcomes {
        if let Some(row) = outcome.row.as_ref()
            && follows(desk, row)?
        {
            desk.tx.put(row)?;
            touched.routes.extend([(cluster, row.low), (cluster, row.high)]);
        }
        for request in &outcome.requests {
            let fresh = LeaseId::random(desk.rng);
            let known = leases.on(request.route, request.relay);
            let stands = known.is_some_and(RelayLease::is_live);
            if !stands && leases.rows(request.relay) >= LEASE_ROWS {
                // Another batch has filled its table since this was decided; the next pass sees that.
                continue;
            }
            let lease = RelayLease::grant(request, known, fresh, desk.now.wall);
            put(desk, &mut leases, lease, touched)?;
        }
        for id in &outcome.withdrawals {
            if let Some(mut lease) = leases.find(*id).copied().filter(RelayLease::is_live) {
                lease.withdraw(desk.now.wall);
                put(desk, &mut leases, lease, touched)?;
            }
        }
    }

    Ok(())
}

/// Notes which grants a relay has shown to know.
pub fn acknowledge(
    tx: &mut dyn Tx,
    cluster: ClusterId,
    relay: NodeId,
    table: TableVersion,
) -> Result<(), StoreError> {
    for mut lease in tx.scan_readable::<RelayLease>(cluster.as_bytes())?.rows {
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

fn put(
    desk: &mut Desk<'_>,
    leases: &mut LeaseBook,
    lease: RelayLease,
    touched: &mut Touched,
) -> Result<(), StoreError> {
    desk.tx.put(&lease)?;
    leases.put(lease);
    touched.relays.insert((lease.cluster, lease.relay));
    touched
        .configs
        .extend([(lease.cluster, lease.low), (lease.cluster, lease.high)]);

    Ok(())
}

/// Rows of one request, a tenth of what an engine's commit may hold: the documents that follow are in the same group.
const BATCH_ROWS: usize = 1_000;
