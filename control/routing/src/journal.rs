//! The decision journal: each new decision with the case that it was made from, written in the transaction of the decision.
//!
//! ```text
//! outcomes of one pass ── record ──▶ entry n: the decision and its case      ── prune ──▶ gone, oldest first,
//!                                    entry m: so many decisions, not kept                 by bytes and by age
//! ```
//!
//! Entries of a cluster are numbered without gaps and never rewritten. What they say is evidence: an
//! entry, or the head, that cannot be read stops no decision.

use std::time::Duration;

use control_core::store::{Row, Rows, RowsMut, StoreError, Table, Tx, View};
use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::cbor;
use protocol::id::{ClusterId, LeaseId, NodeId};
use protocol::time::Wall;
use serde::{Deserialize, Serialize};

use crate::case::Case;
use crate::decide::Outcome;
use crate::route::RouteRow;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JournalRow {
    #[n(0)]
    pub cluster: ClusterId,
    /// From 1, without gaps.
    #[n(1)]
    pub seq: u64,
    /// When it was written.
    #[n(2)]
    pub at: Wall,
    /// The version of the program whose rules these are.
    #[n(3)]
    pub by: String,
    #[n(4)]
    pub what: What,
}

/// What an entry says.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum What {
    #[n(1)]
    Decided {
        #[n(0)]
        result: Box<Decided>,
        /// The case as CBOR, so that a list need not read it.
        #[n(1)]
        case: ByteVec,
    },
    /// So many decisions of one batch were made and not kept.
    #[n(2)]
    Missed(#[n(0)] u64),
}

/// What came of a case.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Decided {
    #[n(0)]
    pub row: RouteRow,
    /// Relays to be leased.
    #[n(1)]
    pub requests: Vec<NodeId>,
    /// Leases to be ended.
    #[n(2)]
    pub withdrawals: Vec<LeaseId>,
}

impl Decided {
    /// What an outcome decides; none if it is no new decision.
    pub fn of(outcome: &Outcome) -> Option<Self> {
        let row = outcome.row.clone().filter(|_| outcome.is_decision())?;

        Some(Self {
            row,
            requests: outcome.requests.iter().map(|request| request.relay).collect(),
            withdrawals: outcome.withdrawals.clone(),
        })
    }
}

impl JournalRow {
    /// The key of an entry within [`Table::Journal`].
    pub fn key_of(cluster: ClusterId, seq: u64) -> Vec<u8> {
        [cluster.as_bytes().as_slice(), &seq.to_be_bytes()].concat()
    }

    /// The entry under `key`, whose number it must bear.
    fn read(key: &[u8], value: &[u8]) -> Result<Self, Unreadable> {
        let row: Self = cbor::decode(value).map_err(|error| Unreadable(error.to_string()))?;
        match row.key() == key {
            true => Ok(row),
            false => Err(Unreadable(format!("it says that it is entry {}", row.seq))),
        }
    }
}

/// Why an entry says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(pub String);

/// The case of a decision as an entry keeps it, all of it about one route.
pub fn case(bytes: &[u8]) -> Result<Case, Unreadable> {
    let case: Case = cbor::decode(bytes).map_err(|error| Unreadable(format!("its case: {error}")))?;
    match case.is_of_one_route() {
        true => Ok(case),
        false => Err(Unreadable("its case is not of one route".to_owned())),
    }
}

impl Row for JournalRow {
    const TABLE: Table = Table::Journal;

    fn key(&self) -> Vec<u8> {
        Self::key_of(self.cluster, self.seq)
    }
}

/// How far the journal of a cluster reaches.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JournalHead {
    #[n(0)]
    pub cluster: ClusterId,
    /// The oldest entry; one more than `last` if there is none.
    #[n(1)]
    pub first: u64,
    /// The newest entry; 0 before there was one.
    #[n(2)]
    pub last: u64,
    /// Bytes of keys and rows.
    #[n(3)]
    pub bytes: u64,
    /// When the oldest entry was written.
    #[n(4)]
    pub since: Option<Wall>,
    /// Decisions that were never kept, since there is a journal.
    #[n(5)]
    pub missed: u64,
    /// What was written before that goes by age; none before anything was old.
    #[n(6)]
    pub horizon: Option<Wall>,
    /// When the horizon was moved last.
    #[n(7)]
    pub moved_at: Option<Wall>,
}

impl JournalHead {
    fn empty(cluster: ClusterId) -> Self {
        Self {
            cluster,
            first: 1,
            last: 0,
            bytes: 0,
            since: None,
            missed: 0,
            horizon: None,
            moved_at: None,
        }
    }

    /// Whether the oldest entry may be older than is retained, as far as this clock can tell.
    fn may_be_old(&self, age: Duration, now: Wall) -> bool {
        self.since
            .is_none_or(|since| since < now.before(age) || since > now)
    }

    /// Moves the horizon to where this clock puts it, but an hour after the last time at the earliest, and by [`PACE`] at the
    /// most: a clock that is far ahead takes a slice of the journal an hour, not all of it.
    fn horizon(&mut self, front: Wall, age: Duration, now: Wall) -> Wall {
        let due = now.before(age);
        // A clock that was ahead moved it last, or this one is behind: counts from here.
        let is_ahead = self.moved_at.is_some_and(|at| at > now);
        let rests = self.moved_at.is_some_and(|at| now.since(at) < STEP);
        if is_ahead || !rests {
            self.moved_at = Some(now);
        }
        if !is_ahead && !rests {
            let from = self.horizon.map_or(front, |horizon| horizon.max(front));
            self.horizon = Some(from.after(PACE));
        }
        let horizon = self.horizon.unwrap_or_default().min(due);
        self.horizon = Some(horizon);

        horizon
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        (self.last + 1).saturating_sub(self.first)
    }
}

impl Row for JournalHead {
    const TABLE: Table = Table::JournalHead;

    fn key(&self) -> Vec<u8> {
        self.cluster.as_bytes().to_vec()
    }
}

/// For how long entries are kept: up to so many bytes of one cluster, and up to this age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub bytes: u64,
    pub age: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            bytes: RETAINED_BYTES,
            age: RETAINED_FOR,
        }
    }
}

/// How far the journal reaches. Of a head that does not decode, as far as its entries show.
pub fn head(view: &dyn View, cluster: ClusterId) -> Result<JournalHead, StoreError> {
    match view.get(cluster.as_bytes()) {
        Ok(head) => Ok(head.unwrap_or_else(|| JournalHead::empty(cluster))),
        Err(StoreError::Corrupt { .. }) => recounted(view, cluster),
        Err(error @ (StoreError::TooLarge | StoreError::Unreadable(_))) => Err(error),
    }
}

/// Adds what was decided, as long as there is a case and room in this batch, and says how much was not kept.
pub fn record<'o>(
    tx: &mut dyn Tx,
    cluster: ClusterId,
    decided: impl Iterator<Item = &'o Outcome>,
    (by, at): (&str, Wall),
) -> Result<(), StoreError> {
    let mut decided = decided.filter(|outcome| outcome.is_decision()).peekable();
    if decided.peek().is_none() {
        return Ok(());
    }
    let mut head = head(tx, cluster)?;
    let (mut missed, mut room) = (0, BATCH_BYTES);
    let mut add = |tx: &mut dyn Tx, what: What, room: usize| {
        let row = JournalRow {
            cluster,
            seq: head.last + 1,
            at,
            by: by.to_owned(),
            what,
        };
        let (key, value) = (row.key(), cbor::encode(&row));
        let size = key.len() + value.len();
        if size > room {
            return Ok(None);
        }
        tx.put_bytes(Table::Journal, &key, value)?;
        head.last = row.seq;
        head.bytes += size as u64;
        head.since.get_or_insert(at);

        Ok::<_, StoreError>(Some(size))
    };
    for outcome in decided {
        let Some(result) = Decided::of(outcome) else {
            continue;
        };
        let added = match &outcome.case {
            Some(case) => {
                let what = What::Decided {
                    result: Box::new(result),
                    case: cbor::encode(case.as_ref()).into(),
                };
                add(tx, what, room)?
            }
            None => None,
        };
        room -= added.unwrap_or(0);
        missed += u64::from(added.is_none());
    }
    if missed > 0 {
        add(tx, What::Missed(missed), BATCH_BYTES)?;
        head.missed += missed;
    }

    tx.put(&head)
}

/// Drops the oldest entries that are more or older than is retained, a bounded number of them: what is left goes with the
/// next call. Returns how many went.
///
/// An entry that says no age, since it cannot be read or was written by a clock that is ahead of this one, goes by age with
/// an old one that follows it.
pub fn prune(
    tx: &mut dyn Tx,
    cluster: ClusterId,
    retention: Retention,
    now: Wall,
) -> Result<usize, StoreError> {
    let mut head = head(tx, cluster)?;
    let by_bytes = head.bytes.saturating_sub(retention.bytes);
    let may_be_old = head.may_be_old(retention.age, now);
    if head.entries() == 0 || (by_bytes == 0 && !may_be_old) {
        return Ok(0);
    }
    let before = JournalRow::key_of(cluster, head.first.saturating_sub(1));
    let oldest = tx.scan_bytes(Table::Journal, cluster.as_bytes(), Some(&before), PRUNED)?;
    let front = oldest.iter().find_map(|(_, value)| written_at(value, now));
    let horizon = match front.filter(|_| may_be_old) {
        Some(front) => head.horizon(front, retention.age, now),
        None => Wall::default(),
    };
    let aged = aged(&oldest, horizon, now);
    let (mut pruned, mut freed) = (0, 0);
    for (key, value) in &oldest {
        if freed >= by_bytes && pruned >= aged {
            break;
        }
        tx.delete_bytes(Table::Journal, key)?;
        freed += (key.len() + value.len()) as u64;
        head.first = seq_of(key).unwrap_or(head.first) + 1;
        pruned += 1;
    }
    head.bytes = head.bytes.saturating_sub(freed);
    let left = oldest.iter().skip(pruned);
    head.since = left
        .filter_map(|(_, value)| written_at(value, now))
        .next()
        .or(head.since);
    if head.entries() == 0 {
        head.since = None;
    }
    tx.put(&head)?;

    Ok(pruned)
}

/// When an entry was written, if it says so and that is not yet to come.
fn written_at(value: &[u8], now: Wall) -> Option<Wall> {
    let row: JournalRow = cbor::decode(value).ok()?;

    Some(row.at).filter(|at| *at <= now)
}

/// How many of the oldest entries are behind the horizon.
fn aged(oldest: &[(Vec<u8>, Vec<u8>)], horizon: Wall, now: Wall) -> usize {
    let mut aged = 0;
    for (count, (_, value)) in (1..).zip(oldest) {
        match written_at(value, now) {
            Some(at) if at >= horizon => break,
            Some(_) => aged = count,
            None => {}
        }
    }

    aged
}

/// An entry as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub seq: u64,
    pub row: Result<JournalRow, Unreadable>,
}

/// At most `limit` entries after the one numbered `after` (0 for the beginning), in order. Those that do not decode are
/// among them.
pub fn list(view: &dyn View, cluster: ClusterId, after: u64, limit: usize) -> Result<Vec<Found>, StoreError> {
    let after = JournalRow::key_of(cluster, after);
    let entries = view.scan_bytes(Table::Journal, cluster.as_bytes(), Some(&after), limit)?;

    Ok(entries
        .into_iter()
        .map(|(key, value)| Found {
            seq: seq_of(&key).unwrap_or(0),
            row: JournalRow::read(&key, &value),
        })
        .collect())
}

fn seq_of(key: &[u8]) -> Option<u64> {
    let seq = key.last_chunk::<8>()?;

    Some(u64::from_be_bytes(*seq))
}

/// What the entries themselves show.
fn recounted(view: &dyn View, cluster: ClusterId) -> Result<JournalHead, StoreError> {
    let mut head = JournalHead::empty(cluster);
    loop {
        let after = JournalRow::key_of(cluster, head.last);
        let page = view.scan_bytes(Table::Journal, cluster.as_bytes(), Some(&after), PRUNED)?;
        let Some((last, _)) = page.last() else {
            return Ok(head);
        };
        if head.last == 0 {
            head.first = page.first().and_then(|(key, _)| seq_of(key)).unwrap_or(1);
            head.since = page
                .first()
                .and_then(|(_, value)| Some(cbor::decode::<JournalRow>(value).ok()?.at));
        }
        head.last = seq_of(last).unwrap_or(u64::MAX);
        head.bytes += page
            .iter()
            .map(|(key, value)| (key.len() + value.len()) as u64)
            .sum::<u64>();
    }
}

/// Of one cluster: some 20,000 decisions of a cluster with a few relays.
pub const RETAINED_BYTES: u64 = 64 * 1024 * 1024;
/// Long enough for what is noticed with the next month's report.
pub const RETAINED_FOR: Duration = Duration::from_hours(30 * 24);
/// Of one batch of decisions, which shares its commit with others: a commit holds 16 MiB.
const BATCH_BYTES: usize = 2 * 1024 * 1024;
/// How often the horizon moves, and how far at once: a journal that lies behind after an outage, or after its age was
/// shortened, catches up five hours in one.
const STEP: Duration = Duration::from_hours(1);
const PACE: Duration = Duration::from_hours(6);
/// Entries that one request drops; read whole, these are a few MiB.
const PRUNED: usize = 500;
