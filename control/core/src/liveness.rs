//! Who is there: heartbeats in memory, and the changes that are worth a row.
//!
//! ```text
//! active ──40 s without a heartbeat──► degraded ──5 min──► offline
//!    ▲──────────────── a heartbeat ───────┴──────────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use protocol::document::config::{Candidate, CandidateKind};
use protocol::error::Code;
use protocol::id::{BootId, ClusterId, NodeId};
use protocol::limits::{CANDIDATES, TEXT_BYTES};
use protocol::time::{Boot, Now, Wall};
use protocol::wire::{Have, Heartbeat, Refused};

use crate::node::{NodeRow, Presence, Tenure};

/// The presence of every node of every cluster.
#[derive(Clone, Debug)]
pub struct Liveness {
    addresses: Addresses,
    nodes: BTreeMap<Key, Seen>,
    deadlines: BTreeSet<(Boot, Key)>,
}

/// Which addresses a node may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    Routable,
    /// In dev mode everything may run on one machine.
    AlsoLoopback,
}

/// What is known of a node from its heartbeats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub presence: Presence,
    /// The last heartbeat; none since this process started.
    pub last: Option<Now>,
    pub boot: Option<BootId>,
    pub candidates: Vec<Candidate>,
    pub agent_version: String,
    /// The highest authority epoch that the agent has verified.
    pub epoch: u64,
    /// What the agent has in force.
    pub applied: Vec<Have>,
    /// Documents that the agent refused, as its last heartbeat listed them.
    pub refused: Vec<Refused>,
    /// Where the last heartbeat came from.
    pub observed: Option<SocketAddr>,
    deadline: Option<Boot>,
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
}

/// A node at its controller.
pub type Key = (ClusterId, NodeId);

impl Liveness {
    pub fn new(addresses: Addresses) -> Self {
        Self {
            addresses,
            nodes: BTreeMap::new(),
            deadlines: BTreeSet::new(),
        }
    }

    /// Takes over what is stored of a node: at start, when it has just joined, and when storing a change has failed,
    /// so that the next heartbeat brings that change again. A node that was there is given the whole time to be heard
    /// again, since nobody listened meanwhile.
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
            agent_version: row.agent_version.clone(),
            epoch: row.epoch,
            applied: Vec::new(),
            refused: Vec::new(),
            observed: None,
            deadline: None,
        };
        self.nodes.insert(key, seen);
        self.schedule(key, now.boot);
    }

    /// Drops a node that was revoked or has left.
    pub fn forget(&mut self, cluster: ClusterId, node: NodeId) {
        let key = (cluster, node);
        if let Some(deadline) = self.nodes.remove(&key).and_then(|seen| seen.deadline) {
            self.deadlines.remove(&(deadline, key));
        }
    }

    pub fn get(&self, cluster: ClusterId, node: NodeId) -> Option<&Seen> {
        self.nodes.get(&(cluster, node))
    }

    /// Takes in a heartbeat of an admitted node. `observed` is where its connection comes from. Returns what is to be
    /// stored, if anything.
    pub fn handle_heartbeat(
        &mut self,
        (cluster, node): Key,
        heartbeat: &Heartbeat,
        observed: Option<SocketAddr>,
        now: Now,
    ) -> Result<Option<Change>, HeartbeatRefused> {
        check(heartbeat)?;
        let heard = Seen {
            presence: Presence::Active,
            last: Some(now),
            boot: Some(heartbeat.boot),
            candidates: self.addresses.choose(&heartbeat.candidates, observed),
            agent_version: heartbeat.agent_version.clone(),
            epoch: heartbeat.epoch,
            applied: heartbeat.applied.clone(),
            refused: heartbeat.refused.clone(),
            observed,
            deadline: None,
        };
        self.unschedule((cluster, node));
        let before = self.nodes.insert((cluster, node), heard);
        self.schedule((cluster, node), now.boot);

        Ok(self.change((cluster, node), before.as_ref(), now))
    }

    /// Lets time pass: who was not heard for too long?
    pub fn handle_timeout(&mut self, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((deadline, key)) = self.deadlines.first().copied().filter(|(at, _)| *at <= now.boot) {
            self.deadlines.pop_first();
            changes.extend(self.expire(key, deadline, now));
        }

        changes
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub fn poll_timeout(&self) -> Option<Boot> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn expire(&mut self, key: Key, deadline: Boot, now: Now) -> Option<Change> {
        let seen = self.nodes.get_mut(&key)?;
        let before = seen.clone();
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

        self.change(key, Some(&before), now)
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

    fn change(&self, (cluster, node): Key, before: Option<&Seen>, now: Now) -> Option<Change> {
        let seen = self.nodes.get(&(cluster, node))?;
        let is = |same: fn(&Seen, &Seen) -> bool| before.is_some_and(|before| same(before, seen));
        let change = Change {
            cluster,
            node,
            at: now.wall,
            presence: seen.presence,
            boot: seen.boot.filter(|_| !is(|a, b| a.boot == b.boot)),
            candidates: Some(seen.candidates.clone()).filter(|_| !is(|a, b| a.candidates == b.candidates)),
            agent_version: Some(seen.agent_version.clone())
                .filter(|_| !is(|a, b| a.agent_version == b.agent_version)),
            epoch: Some(seen.epoch).filter(|_| !is(|a, b| a.epoch == b.epoch)),
        };
        let news = !is(|a, b| a.presence == b.presence)
            || change.boot.is_some()
            || change.candidates.is_some()
            || change.agent_version.is_some()
            || change.epoch.is_some();

        news.then_some(change)
    }
}

impl Addresses {
    /// The candidates that may be published, best first: those of the heartbeat that are fit for it, and the address
    /// its connection was seen from. Those that are not fit are left out, since an interface may have any address.
    fn choose(self, claimed: &[Candidate], observed: Option<SocketAddr>) -> Vec<Candidate> {
        let mut chosen: BTreeSet<Candidate> = BTreeSet::new();
        // What the controller has seen for itself counts for more than where the node found it.
        let reflexive = observed.map(canonical).filter(|address| self.allow(*address));
        let mut known: BTreeSet<SocketAddr> = reflexive.into_iter().collect();
        for candidate in claimed {
            let address = canonical(candidate.address.0);
            let is_own = candidate.kind != CandidateKind::Reflexive;
            if is_own && self.allow(address) && known.insert(address) {
                chosen.insert(Candidate::new(candidate.kind, address));
            }
        }
        let room = CANDIDATES - usize::from(reflexive.is_some());
        let seen = reflexive.map(|address| Candidate::new(CandidateKind::Reflexive, address));

        chosen.into_iter().take(room).chain(seen).collect()
    }

    /// Whether others may be told to send to `address`.
    pub fn allow(self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        let reachable = match ip {
            IpAddr::V4(ip) => {
                !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast() && !ip.is_link_local()
            }
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_unicast_link_local(),
        };
        let here = !ip.is_loopback() || self == Self::AlsoLoopback;

        reachable && here && address.port() != 0
    }
}

/// IPv4 in IPv6 clothes is IPv4; flow and scope are no part of a candidate.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn check(heartbeat: &Heartbeat) -> Result<(), HeartbeatRefused> {
    let version = &heartbeat.agent_version;
    if heartbeat.candidates.len() > CANDIDATES {
        return Err(HeartbeatRefused::TooManyCandidates);
    }
    if heartbeat.applied.len() > DOCUMENTS || heartbeat.refused.len() > DOCUMENTS {
        return Err(HeartbeatRefused::TooManyDocuments);
    }
    match version.len() > TEXT_BYTES || version.chars().any(char::is_control) {
        true => Err(HeartbeatRefused::VersionTooLong),
        false => Ok(()),
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeartbeatRefused {
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
            Self::TooManyCandidates | Self::TooManyDocuments | Self::VersionTooLong => Code::ValidationFailed,
        }
    }
}

/// Without a heartbeat for so long a node is degraded: three and a bit intervals of 10 s ± 10 % (DESIGN 4).
pub const DEGRADED_AFTER: Duration = Duration::from_secs(40);
/// Without a heartbeat for so long a node is offline (DESIGN 4).
pub const OFFLINE_AFTER: Duration = Duration::from_secs(5 * 60);
/// Documents that one heartbeat lists: every kind there is, with room.
pub const DOCUMENTS: usize = 32;

#[cfg(test)]
mod tests;
