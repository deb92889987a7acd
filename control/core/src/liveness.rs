//! Who is there: heartbeats in memory, and the changes that are worth a row.
//!
//! A change is what memory holds and the store is not known to hold. It is offered again until somebody says that it
//! is stored, so neither a full disk nor a lost commit loses one.
//!
//! ```text
//! active ──40 s without a heartbeat──► degraded ──5 min──► offline
//!    ▲──────────────── a heartbeat ───────┴──────────────────┘
//! ```

mod addresses;
mod pace;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Bound;
use std::time::Duration;

use protocol::document::config::{Candidate, LeftOut};
use protocol::envelope::Kind;
use protocol::error::Code;
use protocol::id::{BootId, ClusterId, NodeId};
use protocol::limits::{CANDIDATES, TEXT_BYTES};
use protocol::time::{Boot, Now, Wall};
use protocol::wire::{Have, Heartbeat, Refused, Reverted};

use crate::node::{NodeRow, Presence, Tenure};
use addresses::Choice;
use pace::Pace;

pub use addresses::Addresses;

/// The presence of every node of every cluster.
#[derive(Clone, Debug)]
pub struct Liveness {
    addresses: Addresses,
    nodes: BTreeMap<Key, Seen>,
    stored: BTreeMap<Key, Stored>,
    /// Nodes of which memory holds something that the store is not known to hold.
    unstored: BTreeSet<Key>,
    /// The last node that a change was offered of: the others come first.
    offered: Option<Key>,
    deadlines: BTreeSet<(Boot, Key)>,
    /// When addresses that wait may be told.
    paced: BTreeSet<(Boot, Key)>,
}

/// What is known of a node from its heartbeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub presence: Presence,
    /// The last heartbeat; none since this process started.
    pub last: Option<Now>,
    pub boot: Option<BootId>,
    /// As others are told. What is claimed since may wait for its turn.
    pub candidates: Vec<Candidate>,
    /// Claimed, and told to nobody.
    pub left_out: Vec<LeftOut>,
    pub agent_version: String,
    /// The highest authority epoch that the agent has verified.
    pub epoch: u64,
    /// What the agent has in force.
    pub applied: Vec<Have>,
    /// Documents that the agent refused, as its last heartbeat listed them.
    pub refused: Vec<Refused>,
    /// Where the last heartbeat came from.
    pub observed: Option<SocketAddr>,
    /// What the agent last said that it went back from.
    pub reverted: Option<Reverted>,
    deadline: Option<Boot>,
    pace: Pace,
    /// Refusals that are to be stored.
    untold: BTreeSet<Refusal>,
}

/// A document that an agent would not apply, as far as it tells one alarm from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    pub kind: Kind,
    /// None if this version does not know the agent's word for it.
    pub code: Option<Code>,
}

impl Refusal {
    pub fn of(refused: &Refused) -> Self {
        Self {
            kind: refused.kind,
            code: Code::parse(&refused.code),
        }
    }

    /// The code's own text, never the agent's.
    pub fn text(self) -> &'static str {
        self.code.map_or("unknown", Code::text)
    }
}

/// What the store is known to hold of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Stored {
    presence: Option<Presence>,
    boot: Option<BootId>,
    candidates: Option<Vec<Candidate>>,
    agent_version: Option<String>,
    epoch: Option<u64>,
    reverted: Option<Reverted>,
}

/// Something that is to be stored: see [`crate::node::record_change`]. What is none has not changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub at: Wall,
    pub presence: Presence,
    pub boot: Option<BootId>,
    pub candidates: Option<Vec<Candidate>>,
    pub agent_version: Option<String>,
    pub epoch: Option<u64>,
    /// Alarms that the agent raised.
    pub refused: Vec<Refusal>,
    pub reverted: Option<Reverted>,
}

/// A node at its controller.
pub type Key = (ClusterId, NodeId);

impl Liveness {
    pub fn new(addresses: Addresses) -> Self {
        Self {
            addresses,
            nodes: BTreeMap::new(),
            stored: BTreeMap::new(),
            unstored: BTreeSet::new(),
            offered: None,
            deadlines: BTreeSet::new(),
            paced: BTreeSet::new(),
        }
    }

    /// Takes over what is stored of a node: at start, and when it has just joined. A node that was there is given the
    /// whole time to be heard again, since nobody listened meanwhile.
    pub fn restore(&mut self, row: &NodeRow, now: Now) {
        self.forget(row.cluster, row.id);
        if row.tenure == Tenure::Revoked {
            return;
        }
        let key = (row.cluster, row.id);
        let seen = Seen {
            presence: row.presence,
            last: None,
            boot: row.boot,
            candidates: row.candidates.clone(),
            left_out: Vec::new(),
            agent_version: row.agent_version.clone(),
            epoch: row.epoch,
            applied: Vec::new(),
            refused: Vec::new(),
            observed: None,
            reverted: row.reverted.map(|reversal| reversal.report),
            deadline: None,
            pace: Pace::default(),
            untold: BTreeSet::new(),
        };
        self.nodes.insert(key, seen);
        self.stored.insert(key, Stored::in_row(row));
        self.schedule(key, now.boot);
    }

    /// Drops a node that was revoked or has left.
    pub fn forget(&mut self, cluster: ClusterId, node: NodeId) {
        let key = (cluster, node);
        if let Some(deadline) = self.nodes.remove(&key).and_then(|seen| seen.deadline) {
            self.deadlines.remove(&(deadline, key));
        }
        self.stored.remove(&key);
        self.unstored.remove(&key);
    }

    pub fn get(&self, cluster: ClusterId, node: NodeId) -> Option<&Seen> {
        self.nodes.get(&(cluster, node))
    }

    /// Takes in a heartbeat of an admitted node. `observed` is where its connection comes from. Returns what is to be
    /// stored of this node, if anything.
    pub fn handle_heartbeat(
        &mut self,
        (cluster, node): Key,
        heartbeat: &Heartbeat,
        observed: Option<SocketAddr>,
        now: Now,
    ) -> Result<Option<Change>, HeartbeatRefused> {
        check(heartbeat)?;
        let key = (cluster, node);
        let mut untold: BTreeSet<Refusal> = heartbeat.refused.iter().map(Refusal::of).collect();
        untold.extend(self.nodes.get(&key).into_iter().flat_map(|seen| &seen.untold));
        let before = self.nodes.get(&key);
        let Choice { candidates, left_out } = self.addresses.choose(&heartbeat.candidates, observed);
        let told = before.map_or(&[][..], |seen| &seen.candidates);
        let mut pace = before.map(|seen| seen.pace.clone()).unwrap_or_default();
        let candidates = pace
            .hear(told, candidates, now.boot)
            .unwrap_or_else(|| told.to_vec());
        self.paced.extend(pace.poll_timeout(now.boot).map(|at| (at, key)));
        let heard = Seen {
            presence: Presence::Active,
            last: Some(now),
            boot: Some(heartbeat.boot),
            candidates,
            left_out,
            agent_version: heartbeat.agent_version.clone(),
            epoch: heartbeat.epoch,
            applied: heartbeat.applied.clone(),
            refused: heartbeat.refused.clone(),
            observed,
            // What is over is stored all the same.
            reverted: heartbeat
                .reverted
                .or_else(|| before.and_then(|seen| seen.reverted)),
            deadline: None,
            pace,
            untold,
        };
        self.unschedule(key);
        self.nodes.insert(key, heard);
        self.schedule(key, now.boot);

        Ok(self.look_at(key, now.wall))
    }

    /// Lets time pass: who was not heard for too long? Returns what is to be stored now of all nodes, at most
    /// [`CHANGES`], those first whose turn it is.
    pub fn handle_timeout(&mut self, now: Now) -> Vec<Change> {
        while let Some((deadline, key)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now.boot) {
            self.deadlines.pop_first();
            self.expire(key, deadline);
            self.look_at(key, now.wall);
        }
        while let Some((_, key)) = self.paced.first().copied().filter(|(at, _)| *at <= now.boot) {
            self.paced.pop_first();
            self.take_up(key, now);
        }
        let turn = self.offered.map_or(Bound::Unbounded, Bound::Excluded);
        let next = self.unstored.range((turn, Bound::Unbounded));
        let keys: BTreeSet<Key> = next.chain(&self.unstored).take(CHANGES).copied().collect();
        self.offered = keys.last().copied().filter(|_| self.unstored.len() > CHANGES);

        keys.into_iter()
            .filter_map(|key| self.change(key, now.wall))
            .collect()
    }

    /// Takes in that changes are on disk. What has changed since they were offered stays to be stored.
    pub fn handle_stored(&mut self, changes: &[Change]) {
        for change in changes {
            let key = (change.cluster, change.node);
            if let Some(seen) = self.nodes.get_mut(&key) {
                seen.untold.retain(|refusal| !change.refused.contains(refusal));
                self.stored.entry(key).or_default().take(change);
                self.look_at(key, change.at);
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn poll_timeout(&self) -> Option<Boot> {
        let next = [self.deadlines.first(), self.paced.first()];

        next.into_iter().flatten().map(|(at, _)| *at).min()
    }

    /// Tells others of the addresses that have waited for long enough.
    fn take_up(&mut self, key: Key, now: Now) {
        let Some(seen) = self.nodes.get_mut(&key) else {
            return;
        };
        match seen.pace.take_up(now.boot) {
            Some(candidates) => seen.candidates = candidates,
            None => self
                .paced
                .extend(seen.pace.poll_timeout(now.boot).map(|at| (at, key))),
        }
        self.look_at(key, now.wall);
    }

    fn expire(&mut self, key: Key, deadline: Boot) {
        let Some(seen) = self.nodes.get_mut(&key) else {
            return;
        };
        seen.presence = match seen.presence {
            Presence::Active => Presence::Degraded,
            Presence::Degraded | Presence::Offline => Presence::Offline,
        };
        seen.deadline = match seen.presence {
            Presence::Degraded => Some(deadline.after(OFFLINE_AFTER - DEGRADED_AFTER)),
            Presence::Active | Presence::Offline => None,
        };
        if let Some(next) = seen.deadline {
            self.deadlines.insert((next, key));
        }
    }

    fn schedule(&mut self, key: Key, heard: Boot) {
        let Some(seen) = self.nodes.get_mut(&key) else {
            return;
        };
        seen.deadline = match seen.presence {
            Presence::Active => Some(heard.after(DEGRADED_AFTER)),
            Presence::Degraded => Some(heard.after(OFFLINE_AFTER)),
            Presence::Offline => None,
        };
        if let Some(deadline) = seen.deadline {
            self.deadlines.insert((deadline, key));
        }
    }

    fn unschedule(&mut self, key: Key) {
        if let Some(deadline) = self.nodes.get(&key).and_then(|seen| seen.deadline) {
            self.deadlines.remove(&(deadline, key));
        }
    }

    /// Remembers whether there is something to store of a node, and returns it.
    fn look_at(&mut self, key: Key, at: Wall) -> Option<Change> {
        let change = self.change(key, at);
        match change {
            Some(_) => self.unstored.insert(key),
            None => self.unstored.remove(&key),
        };

        change
    }

    /// What memory holds of a node and the store is not known to hold.
    fn change(&self, key: Key, at: Wall) -> Option<Change> {
        let seen = self.nodes.get(&key)?;
        let nothing = Stored::default();
        let stored = self.stored.get(&key).unwrap_or(&nothing);
        let change = Change {
            cluster: key.0,
            node: key.1,
            at,
            presence: seen.presence,
            boot: seen.boot.filter(|boot| stored.boot != Some(*boot)),
            candidates: news(&seen.candidates, stored.candidates.as_ref()),
            agent_version: news(&seen.agent_version, stored.agent_version.as_ref()),
            epoch: news(&seen.epoch, stored.epoch.as_ref()),
            refused: seen.untold.iter().copied().collect(),
            reverted: seen.reverted.filter(|report| stored.reverted != Some(*report)),
        };
        let is_news = stored.presence != Some(change.presence)
            || change.boot.is_some()
            || change.candidates.is_some()
            || change.agent_version.is_some()
            || change.epoch.is_some()
            || change.reverted.is_some()
            || !change.refused.is_empty();

        is_news.then_some(change)
    }
}

fn news<T: Clone + PartialEq>(seen: &T, stored: Option<&T>) -> Option<T> {
    (stored != Some(seen)).then(|| seen.clone())
}

impl Stored {
    fn in_row(row: &NodeRow) -> Self {
        Self {
            presence: Some(row.presence),
            boot: row.boot,
            candidates: Some(row.candidates.clone()),
            agent_version: Some(row.agent_version.clone()),
            epoch: Some(row.epoch),
            reverted: row.reverted.map(|reversal| reversal.report),
        }
    }

    fn take(&mut self, change: &Change) {
        self.presence = Some(change.presence);
        self.boot = change.boot.or(self.boot);
        self.epoch = change.epoch.or(self.epoch);
        self.reverted = change.reverted.or(self.reverted);
        if change.candidates.is_some() {
            self.candidates.clone_from(&change.candidates);
        }
        if change.agent_version.is_some() {
            self.agent_version.clone_from(&change.agent_version);
        }
    }
}

fn check(heartbeat: &Heartbeat) -> Result<(), HeartbeatRefused> {
    let version = &heartbeat.agent_version;
    if heartbeat.candidates.len() > CANDIDATES {
        return Err(HeartbeatRefused::TooManyCandidates);
    }
    if heartbeat.applied.len() > DOCUMENTS || heartbeat.refused.len() > DOCUMENTS {
        return Err(HeartbeatRefused::TooManyDocuments);
    }
    if heartbeat
        .refused
        .iter()
        .any(|refused| refused.code.len() > TEXT_BYTES)
    {
        return Err(HeartbeatRefused::CodeTooLong);
    }
    match version.len() > TEXT_BYTES || version.chars().any(char::is_control) {
        true => Err(HeartbeatRefused::VersionTooLong),
        false => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatRefused {
    /// The reason for a refused document is longer than [`TEXT_BYTES`].
    #[error("the code of a refused document is too long")]
    CodeTooLong,
    /// More than [`CANDIDATES`].
    #[error("a node publishes at most {CANDIDATES} candidates")]
    TooManyCandidates,
    /// More than [`DOCUMENTS`] are listed as applied or as refused.
    #[error("a heartbeat lists at most {DOCUMENTS} documents")]
    TooManyDocuments,
    /// Longer than [`TEXT_BYTES`], or with control characters.
    #[error("the agent's version is too long or not printable")]
    VersionTooLong,
}

impl HeartbeatRefused {
    pub const fn code(self) -> Code {
        match self {
            Self::CodeTooLong | Self::TooManyCandidates | Self::TooManyDocuments | Self::VersionTooLong => {
                Code::ValidationFailed
            }
        }
    }
}

/// Without a heartbeat for so long a node is degraded: three and a bit intervals of 10 s ± 10 % (DESIGN 4).
pub const DEGRADED_AFTER: Duration = Duration::from_secs(40);
/// Without a heartbeat for so long a node is offline (DESIGN 4).
pub const OFFLINE_AFTER: Duration = Duration::from_secs(5 * 60);
/// Documents that one heartbeat lists: every kind there is, with room.
pub const DOCUMENTS: usize = 32;
/// Changes that are stored together: some 500 KiB of rows, far below what one commit may hold.
pub const CHANGES: usize = 500;

#[cfg(test)]
mod tests;
