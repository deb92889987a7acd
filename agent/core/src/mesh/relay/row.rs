//! One row of the lease table in force.

use std::time::Duration;

use protocol::document::routes::{LeaseKind, LeaseRow};
use protocol::frame::Class;
use protocol::id::{LeaseId, NodeId};
use protocol::limits::MESH_FRAME_BYTES;
use protocol::time::Boot;
use protocol::wire::Carried;

use super::Passage;
use crate::mesh::bucket::Bucket;
use crate::mesh::effect::{LinkId, Refusal};
use crate::mesh::view::RowView;

#[derive(Debug)]
pub(super) struct Row {
    low: NodeId,
    high: NodeId,
    pub(super) generation: u32,
    kind: LeaseKind,
    budget_kib: u16,
    grace: Duration,
    budget: Bucket,
    active_at: Option<Boot>,
    forwarded: u64,
    forwarded_bytes: u64,
    refused: u64,
    /// Frames carried and refused, as they were last told.
    told: (u64, u64),
}

impl Row {
    /// The row of a new table, with what is known of the same pair from the table before.
    pub(super) fn renew(row: &LeaseRow, before: Option<Self>, now: Boot) -> Self {
        let before = before.filter(|before| (before.low, before.high) == (row.low, row.high));
        let budget = before
            .as_ref()
            .filter(|before| (before.kind, before.budget_kib) == (row.kind, row.budget_kib))
            .map_or_else(|| budget(row, now), |before| before.budget);
        let before = before.as_ref();

        Self {
            low: row.low,
            high: row.high,
            generation: row.generation,
            kind: row.kind,
            budget_kib: row.budget_kib,
            grace: Duration::from_secs(60 * u64::from(row.grace_minutes)),
            budget,
            active_at: before.and_then(|before| before.active_at),
            forwarded: before.map_or(0, |before| before.forwarded),
            forwarded_bytes: before.map_or(0, |before| before.forwarded_bytes),
            refused: before.map_or(0, |before| before.refused),
            told: before.map_or((0, 0), |before| before.told),
        }
    }

    pub(super) fn is_untold(&self) -> bool {
        self.told != (self.forwarded, self.refused)
    }

    /// What it did so far, from now on told.
    pub(super) fn tell(&mut self, lease: LeaseId) -> Carried {
        self.told = (self.forwarded, self.refused);

        Carried {
            lease,
            forwarded: self.forwarded,
            forwarded_bytes: self.forwarded_bytes,
            refused: self.refused,
        }
    }

    pub(super) fn other_end(&self, end: NodeId) -> Option<NodeId> {
        match end {
            _ if end == self.low => Some(self.high),
            _ if end == self.high => Some(self.low),
            _ => None,
        }
    }

    /// Whether the row outlives freshness for now: active of late, and within its grace.
    pub(super) fn lives_on(&self, fresh_at: Option<Boot>, activity: Duration, now: Boot) -> bool {
        let active = self.active_at.is_some_and(|at| now.since(at) <= activity);

        active && fresh_at.is_some_and(|fresh| now < fresh.after(self.grace))
    }

    /// Whether the lease allows this class at all. What two ends say to meet is all that a rendezvous lease is for.
    pub(super) const fn allows(&self, class: Class) -> bool {
        match (self.kind, class) {
            (_, Class::Payload) => false,
            (LeaseKind::Relay, _) | (LeaseKind::Rendezvous, Class::FabricControl) => true,
            (LeaseKind::Rendezvous, Class::RouteControl | Class::Synthetic | Class::Telemetry) => false,
        }
    }

    /// The last questions: whether the far end is here, and whether the budget allows it.
    pub(super) fn pass(
        &mut self,
        to: NodeId,
        bytes: usize,
        link_to: &dyn Fn(NodeId) -> Option<LinkId>,
        now: Boot,
    ) -> Result<Passage, Refusal> {
        let link = link_to(to).ok_or(Refusal::FarEndAway)?;
        // Of a rendezvous lease frames are counted, not bytes: short ones are no cheaper.
        let cost = match self.kind {
            LeaseKind::Relay => bytes,
            LeaseKind::Rendezvous => bytes.max(MESH_FRAME_BYTES),
        };
        match self.budget.take(cost as u64, now) {
            true => Ok(Passage { to, link }),
            false => Err(Refusal::BudgetSpent),
        }
    }

    pub(super) fn note(&mut self, carried: bool, bytes: usize, now: Boot) {
        if carried {
            self.active_at = Some(now);
            self.forwarded += 1;
            self.forwarded_bytes += bytes as u64;
        } else {
            self.refused += 1;
        }
    }

    pub(super) fn view(&self, lease: LeaseId, live: bool, fresh_at: Option<Boot>) -> RowView {
        RowView {
            lease,
            low: self.low,
            high: self.high,
            generation: self.generation,
            kind: self.kind,
            live,
            active_at: self.active_at,
            forwarded: self.forwarded,
            forwarded_bytes: self.forwarded_bytes,
            refused: self.refused,
            grace_ends_at: fresh_at.map(|fresh| fresh.after(self.grace)),
        }
    }
}

/// One second's worth can be saved up, and always a few frames, so that a small budget is slow and not shut.
fn budget(row: &LeaseRow, now: Boot) -> Bucket {
    let rate = u64::from(row.budget_kib) * 1024;

    Bucket::new(rate, rate.max(4 * MESH_FRAME_BYTES as u64), now)
}
