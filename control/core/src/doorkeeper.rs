//! Who may stay at the controller's socket, by what each connection has shown so far.
//!
//! ```text
//!  arrival ──(total, handshakes, handshakes of this source)──► knocking
//!  knocking ──(no certificate: strangers, strangers of this source)──► stranger
//!  knocking ──(a node's certificate: the newest few of each node)──► member
//! ```
//!
//! Only what a source must prove counts against it: an address that is not validated is asked to show that it is its
//! own before it fills the share of anybody. Nodes are never counted by source, so that a site behind one address comes
//! back as a whole.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::time::Duration;

use protocol::error::Code;
use protocol::id::{ClusterId, NodeId};
use protocol::net::Source;

/// How many connections of each kind may be open at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Of all kinds together.
    pub connections: usize,
    /// Handshakes under way.
    pub handshakes: usize,
    pub handshakes_per_source: usize,
    /// Connections at the join door.
    pub strangers: usize,
    pub strangers_per_source: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: CONNECTIONS,
            handshakes: HANDSHAKES,
            handshakes_per_source: HANDSHAKES_PER_SOURCE,
            strangers: STRANGERS,
            strangers_per_source: STRANGERS_PER_SOURCE,
        }
    }
}

/// One connection, as long as it is open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Visit(u64);

/// What becomes of a connection that has just arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The handshake may go on.
    Enter(Visit),
    /// The source must first show that its address is its own (RFC 9000 8.1.2).
    Prove,
    /// No.
    TurnAway(Full),
}

/// Which bound is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// Of one node's connections: the oldest makes room.
    Node,
    Connections,
    Handshakes,
    /// Of one source's share, of handshakes or of strangers.
    Source,
    Strangers,
}

impl Full {
    pub const ALL: [Self; 5] = [
        Self::Node,
        Self::Connections,
        Self::Handshakes,
        Self::Source,
        Self::Strangers,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Node => "node",
            Self::Connections => "connections",
            Self::Handshakes => "handshakes",
            Self::Source => "source",
            Self::Strangers => "strangers",
        }
    }

    /// What the other side is told.
    pub const fn code(self) -> Code {
        match self {
            Self::Node | Self::Source => Code::RateLimited,
            Self::Connections | Self::Handshakes | Self::Strangers => Code::Unavailable,
        }
    }
}

/// Every open connection.
#[derive(Clone, Debug, Default)]
pub struct Doorkeeper {
    limits: Limits,
    last: u64,
    open: BTreeMap<Visit, Guest>,
    handshakes: Crowd,
    strangers: Crowd,
    /// The connections of each node, oldest first.
    members: BTreeMap<(ClusterId, NodeId), VecDeque<Visit>>,
}

#[derive(Clone, Copy, Debug)]
struct Guest {
    source: Source,
    standing: Standing,
}

#[derive(Clone, Copy, Debug)]
enum Standing {
    Knocking,
    Stranger,
    Member(ClusterId, NodeId),
}

impl Doorkeeper {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// A connection has arrived, and nothing is known of it but its source, and whether that was `validated`.
    pub fn handle_arrival(&mut self, source: IpAddr, validated: bool) -> Arrival {
        let source = Source::of(source);
        let limits = &self.limits;
        let of_source = self.handshakes.of(source);
        let pressed = self.open.len() > limits.connections / RETRY_SHARE
            || self.handshakes.total > limits.handshakes / RETRY_SHARE
            || of_source >= RETRY_OF_SOURCE;
        if pressed && !validated {
            return Arrival::Prove;
        }
        if self.open.len() >= limits.connections {
            return Arrival::TurnAway(Full::Connections);
        }
        if self.handshakes.total >= limits.handshakes {
            return Arrival::TurnAway(Full::Handshakes);
        }
        if of_source >= limits.handshakes_per_source {
            return Arrival::TurnAway(Full::Source);
        }
        self.last += 1;
        let visit = Visit(self.last);
        self.handshakes.enter(source);
        self.open.insert(
            visit,
            Guest {
                source,
                standing: Standing::Knocking,
            },
        );

        Arrival::Enter(visit)
    }

    /// The handshake is over, and showed no certificate. `Err` says which bound is reached: it is to be closed.
    pub fn handle_stranger(&mut self, visit: Visit) -> Result<(), Full> {
        let Some(guest) = self.open.get_mut(&visit) else {
            return Ok(());
        };
        if self.strangers.total >= self.limits.strangers {
            return Err(Full::Strangers);
        }
        if self.strangers.of(guest.source) >= self.limits.strangers_per_source {
            return Err(Full::Source);
        }
        guest.standing = Standing::Stranger;
        self.handshakes.leave(guest.source);
        self.strangers.enter(guest.source);

        Ok(())
    }

    /// The handshake is over, and showed a node's certificate. The newest connections of a node are kept: returns the
    /// one that is to be closed for it.
    pub fn handle_member(&mut self, visit: Visit, cluster: ClusterId, node: NodeId) -> Option<Visit> {
        let guest = self.open.get_mut(&visit)?;
        guest.standing = Standing::Member(cluster, node);
        self.handshakes.leave(guest.source);
        let of_node = self.members.entry((cluster, node)).or_default();
        of_node.push_back(visit);

        (of_node.len() > CONNECTIONS_PER_NODE)
            .then(|| of_node.pop_front())
            .flatten()
    }

    /// A connection has ended.
    pub fn handle_end(&mut self, visit: Visit) {
        let Some(guest) = self.open.remove(&visit) else {
            return;
        };
        match guest.standing {
            Standing::Knocking => self.handshakes.leave(guest.source),
            Standing::Stranger => self.strangers.leave(guest.source),
            Standing::Member(cluster, node) => {
                let Some(of_node) = self.members.get_mut(&(cluster, node)) else {
                    return;
                };
                of_node.retain(|known| *known != visit);
                if of_node.is_empty() {
                    self.members.remove(&(cluster, node));
                }
            }
        }
    }

    /// How long a stranger may stay, from its handshake on: less when there are many.
    pub fn stranger_life(&self) -> Duration {
        match self.strangers.total > self.limits.strangers / CROWDED_SHARE {
            true => STRANGER_LIFE_CROWDED,
            false => STRANGER_LIFE,
        }
    }
}

/// Connections of one kind, in all and by source. Those of this host count in all alone.
#[derive(Clone, Debug, Default)]
struct Crowd {
    total: usize,
    by_source: BTreeMap<Source, usize>,
}

impl Crowd {
    fn of(&self, source: Source) -> usize {
        self.by_source.get(&source).copied().unwrap_or(0)
    }

    fn enter(&mut self, source: Source) {
        self.total += 1;
        if source != Source::Here {
            *self.by_source.entry(source).or_default() += 1;
        }
    }

    fn leave(&mut self, source: Source) {
        self.total = self.total.saturating_sub(1);
        let Some(count) = self.by_source.get_mut(&source) else {
            return;
        };
        *count -= 1;
        if *count == 0 {
            self.by_source.remove(&source);
        }
    }
}

/// A fleet of 10,000 nodes (DESIGN 11), each with the connection that it changes to, and joiners besides.
pub const CONNECTIONS: usize = 24_000;
/// Two seconds' worth of what one core can do (DESIGN 11: 2,000 a second); a handshake lasts at most 5 s.
pub const HANDSHAKES: usize = 4_000;
/// A site behind one address may come back with this many nodes at once; others try again a little later.
pub const HANDSHAKES_PER_SOURCE: usize = 500;
/// A joiner stays for one question, about a second; each holds less than 100 KiB.
pub const STRANGERS: usize = 2_000;
/// Hosts that are set up at once behind one address.
pub const STRANGERS_PER_SOURCE: usize = 100;
/// The one in use, the one that a restarted or renewed agent changes to, and one that is about to time out.
pub const CONNECTIONS_PER_NODE: usize = 3;
/// A joiner asks on connections of its own; one that lives longer holds memory that nobody has vouched for.
pub const STRANGER_LIFE: Duration = Duration::from_secs(60);
/// Enough for a handshake's worth of delay and one commit.
pub const STRANGER_LIFE_CROWDED: Duration = Duration::from_secs(10);
/// From this part of a bound on, addresses must be proven.
const RETRY_SHARE: usize = 2;
/// Handshakes under way from one source, from which on its address must be proven: nobody can fill another's share.
const RETRY_OF_SOURCE: usize = 8;
/// From this part of all strangers on, each may stay for less.
const CROWDED_SHARE: usize = 2;

#[cfg(test)]
mod tests;
