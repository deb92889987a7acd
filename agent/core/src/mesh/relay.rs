//! The relay that this node is: default deny. A frame is carried, untouched, only between the two authenticated
//! connections that a row of the lease table names. A row of a rendezvous lease lets pass what two ends say to meet, a few
//! frames a second, and nothing else.
//!
//! Renewal is freshness: while the poll that brought the newest beacon was sent less than 60 s ago, every row is
//! live. After that only pairs that were active in the last 60 s go on, until their grace is over. A relay that never
//! was fresh since its process started carries nothing, and one whose process stood still carries nothing until a
//! controller was heard, or every one was sought in vain, by what began after that.

mod row;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use protocol::document::config::Transport;
use protocol::document::routes::LeaseTable;
use protocol::frame::{Class, FrameHeader, PathTag};
use protocol::id::{LeaseId, NodeId};
use protocol::limits::LEASE_ROWS;
use protocol::time::Boot;
use protocol::wire::Carried;

use super::bucket::Bucket;
use super::effect::{LinkId, Refusal, RelayPause};
use super::view::RelayView;
use row::Row;

#[derive(Debug)]
pub(super) struct Relay {
    rows: BTreeMap<LeaseId, Row>,
    /// The highest generation ever seen of a lease, also of those that are no longer in the table.
    highest: BTreeMap<LeaseId, u32>,
    /// When the poll was sent that brought the newest beacon.
    fresh_at: Option<Boot>,
    /// When the process was found to have stood still, until a controller is heard again.
    still_at: Option<Boot>,
    /// The state that was last told.
    told: Option<RelayPause>,
    revoked: BTreeSet<NodeId>,
    freshness: Duration,
    activity: Duration,
    /// How often refusals are told, by who is told.
    telling: BTreeMap<NodeId, Bucket>,
    /// The row that was reported last: the others come first.
    reported: Option<LeaseId>,
    changes: VecDeque<Option<RelayPause>>,
}

/// A frame that asks to be carried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Freight<'a> {
    /// The node that the connection's certificate names.
    pub(super) from: NodeId,
    pub(super) header: &'a FrameHeader,
    /// The whole frame's length.
    pub(super) bytes: usize,
}

/// A frame may be carried: to this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passage {
    pub(super) to: NodeId,
    pub(super) link: LinkId,
}

impl Relay {
    pub(super) fn new() -> Self {
        let transport = Transport::default();

        Self {
            rows: BTreeMap::new(),
            highest: BTreeMap::new(),
            fresh_at: None,
            still_at: None,
            told: None,
            revoked: BTreeSet::new(),
            freshness: Duration::from_millis(u64::from(transport.freshness)),
            activity: Duration::from_millis(u64::from(transport.activity)),
            telling: BTreeMap::new(),
            reported: None,
            changes: VecDeque::new(),
        }
    }

    pub(super) fn handle_transport(&mut self, transport: &Transport) {
        self.freshness = Duration::from_millis(u64::from(transport.freshness));
        self.activity = Duration::from_millis(u64::from(transport.activity));
    }

    /// Puts a table in force. A row of a lower generation than was ever seen of its lease is left out.
    pub(super) fn handle_table(&mut self, table: &LeaseTable, now: Boot) {
        let mut before = std::mem::take(&mut self.rows);
        for row in table.rows.iter().take(LEASE_ROWS) {
            let highest = self.highest.entry(row.lease).or_insert(row.generation);
            if row.generation < *highest || row.low >= row.high {
                continue;
            }
            *highest = row.generation;
            let kept = before.remove(&row.lease);
            self.rows.insert(row.lease, Row::renew(row, kept, now));
        }
        self.forget_old_generations();
        self.note_state(now);
    }

    /// A poll of our own that was sent at `poll_sent_at` brought the newest beacon.
    pub(super) fn handle_fresh(&mut self, poll_sent_at: Boot, now: Boot) {
        let sent_at = poll_sent_at.min(now);
        self.fresh_at = self.fresh_at.max(Some(sent_at));
        self.end_standstill(sent_at, now);
    }

    /// The process stood still until now.
    pub(super) fn handle_still(&mut self, now: Boot) {
        self.still_at = Some(now);
        self.note_state(now);
    }

    /// A poll of our own that was sent at `poll_sent_at` succeeded, whatever it brought.
    pub(super) fn handle_controller_answered(&mut self, poll_sent_at: Boot, now: Boot) {
        self.end_standstill(poll_sent_at, now);
    }

    /// Every controller was tried by attempts that began at `since` or later.
    pub(super) fn handle_controllers_tried_in_vain(&mut self, since: Boot, now: Boot) {
        self.end_standstill(since, now);
    }

    /// What was known before the standstill may have changed during it; only what began since can tell.
    fn end_standstill(&mut self, began_at: Boot, now: Boot) {
        if self.still_at.is_some_and(|still| began_at >= still) {
            self.still_at = None;
        }
        self.note_state(now);
    }

    pub(super) fn handle_revoked(&mut self, revoked: BTreeSet<NodeId>) {
        self.revoked = revoked;
    }

    /// There is no connection to this node any more.
    pub(super) fn handle_peer_gone(&mut self, peer: NodeId) {
        self.telling.remove(&peer);
    }

    pub(super) fn handle_timeout(&mut self, now: Boot) {
        self.note_state(now);
    }

    /// When freshness runs out.
    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        let is_live = self.told.is_none() && !self.rows.is_empty();
        let edge = self
            .fresh_at
            .map(|fresh| fresh.after(self.freshness + Duration::from_millis(1)));

        edge.filter(|_| is_live)
    }

    /// A change of state that was not told yet: why the relay stopped, or that it carries again.
    pub(super) fn poll_change(&mut self) -> Option<Option<RelayPause>> {
        self.changes.pop_front()
    }

    /// Whether a row names the lease.
    pub(super) fn has_row(&self, lease: LeaseId) -> bool {
        self.rows.contains_key(&lease)
    }

    /// The other end of the lease that the path names, if `end` is one: on the same terms as a frame would be carried.
    pub(super) fn other_end(&self, end: NodeId, path: PathTag, now: Boot) -> Option<NodeId> {
        let PathTag::Relay { lease, generation } = path else {
            return None;
        };
        let row = self.rows.get(&lease).filter(|row| row.generation == generation)?;
        let other = row.other_end(end)?;
        let is_revoked = self.revoked.contains(&end) || self.revoked.contains(&other);

        let is_live = self.is_fresh(now) || row.lives_on(self.fresh_at, self.activity, now);

        (!is_revoked && is_live && self.still_at.is_none()).then_some(other)
    }

    /// Judges a frame; what may pass is charged. `link_to` finds the connection to a node.
    pub(super) fn carry(
        &mut self,
        freight: Freight<'_>,
        link_to: &dyn Fn(NodeId) -> Option<LinkId>,
        now: Boot,
    ) -> Result<Passage, Refusal> {
        let Freight { from, header, bytes } = freight;
        if header.class == Class::Payload {
            return Err(Refusal::PayloadForwardingDisabled);
        }
        let PathTag::Relay { lease, generation } = header.path else {
            return Err(Refusal::NotLeased);
        };
        let (is_still, fresh, fresh_at) = (self.still_at.is_some(), self.is_fresh(now), self.fresh_at);
        let row = self.rows.get_mut(&lease).ok_or(Refusal::NotLeased)?;
        let to = row.other_end(from).ok_or(Refusal::NotLeased)?;
        let verdict = if is_still {
            Err(Refusal::StoodStill)
        } else if self.revoked.contains(&from) || self.revoked.contains(&to) {
            Err(Refusal::EndRevoked)
        } else if generation < row.generation {
            Err(Refusal::GenerationStale)
        } else if generation > row.generation {
            Err(Refusal::NotLeased)
        } else if !row.allows(header.class) {
            Err(Refusal::MeetingOnly)
        } else if !(fresh || row.lives_on(fresh_at, self.activity, now)) {
            Err(Refusal::NotFresh)
        } else {
            row.pass(to, bytes, link_to, now)
        };
        row.note(verdict.is_ok(), bytes, now);

        verdict
    }

    /// Whether to tell `peer` of a refusal now: a flood is not answered with a flood.
    pub(super) fn may_tell(&mut self, peer: NodeId, now: Boot) -> bool {
        self.telling
            .entry(peer)
            .or_insert_with(|| Bucket::new(TELLINGS, TELLINGS, now))
            .take(1, now)
    }

    /// Whether the table has rows.
    pub(super) fn has_rows(&self) -> bool {
        !self.rows.is_empty()
    }

    /// What rows carried and refused that was not told yet: of [`CARRIED`] of them at most, in turn.
    pub(super) fn take_carried(&mut self) -> Vec<Carried> {
        let turn = self.reported.map_or(Bound::Unbounded, Bound::Excluded);
        let mut untold: Vec<LeaseId> = self
            .rows
            .range((turn, Bound::Unbounded))
            .chain(&self.rows)
            .filter(|(_, row)| row.is_untold())
            .map(|(lease, _)| *lease)
            .take(CARRIED)
            .collect();
        self.reported = untold.last().copied();
        untold.sort_unstable();
        untold.dedup();
        let rows = &mut self.rows;

        untold
            .into_iter()
            .filter_map(|lease| rows.get_mut(&lease).map(|row| row.tell(lease)))
            .collect()
    }

    pub(super) fn view(&self, now: Boot) -> RelayView {
        let fresh = self.is_fresh(now);
        let lives =
            |row: &Row| self.still_at.is_none() && (fresh || row.lives_on(self.fresh_at, self.activity, now));

        RelayView {
            fresh_at: self.fresh_at,
            pause: self.pause(now),
            live: self.rows.values().filter(|row| lives(row)).count(),
            rows: self
                .rows
                .iter()
                .map(|(lease, row)| row.view(*lease, lives(row), self.fresh_at))
                .collect(),
        }
    }

    fn is_fresh(&self, now: Boot) -> bool {
        self.fresh_at
            .is_some_and(|fresh| now.since(fresh) <= self.freshness)
    }

    fn pause(&self, now: Boot) -> Option<RelayPause> {
        match (self.still_at, self.is_fresh(now)) {
            (Some(_), _) => Some(RelayPause::StoodStill),
            (None, false) => Some(RelayPause::NotFresh),
            (None, true) => None,
        }
    }

    /// Remembers changes for [`Self::poll_change`]. A node without rows is no relay, and has nothing to tell.
    fn note_state(&mut self, now: Boot) {
        let pause = self.pause(now);
        if pause != self.told && !self.rows.is_empty() {
            self.changes.push_back(pause);
        }
        self.told = pause;
    }

    /// Drops generations of leases that ended, if there are too many to keep.
    fn forget_old_generations(&mut self) {
        if self.highest.len() > GENERATIONS {
            let rows = &self.rows;
            self.highest.retain(|lease, _| rows.contains_key(lease));
        }
    }
}

/// Rows of one report: a full table has its turn within a minute and a half.
const CARRIED: usize = 512;

/// Refusals told to one node, a second.
const TELLINGS: u64 = 16;

/// Generations remembered: of every row, and of seven tables' worth of leases that ended.
const GENERATIONS: usize = 8 * LEASE_ROWS;

#[cfg(test)]
mod tests;
