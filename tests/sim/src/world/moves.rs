//! Every decision that was committed and every move of traffic, in their order: nothing is sampled.

use std::time::Duration;

use control_routing::via;
use protocol::id::NodeId;

use super::{Host, Via, World};

/// A decision on the route between two nodes, as it was committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decided {
    /// The ends, the node that came first in front.
    pub ends: (Host, Host),
    pub generation: u64,
    /// None of a route that is withdrawn.
    pub via: Option<Via>,
}

/// A node that sends to another one on another path than before, by itself or since a decision says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moved {
    pub at: Duration,
    pub from: Host,
    pub to: Host,
    pub via: Via,
}

impl World {
    /// Every commit of a decision up to now.
    pub fn decisions(&mut self) -> Vec<Decided> {
        self.read_grants();
        let rows = self.ledger.decisions.iter();
        let decided = rows.map(|row| {
            let (low, high) = (self.host_of(row.low), self.host_of(row.high));
            let via = row.path.as_ref().map(|path| match via::Via::from(path) {
                via::Via::Direct => Via::Direct,
                via::Via::Relay(relay) => Via::Relay(self.host_of(relay)),
            });

            Decided {
                ends: (low.min(high), low.max(high)),
                generation: row.generation,
                via,
            }
        });

        decided.collect()
    }

    /// Every time that a node began to send to another one on another path. The first path is no move.
    pub fn moves(&self) -> Vec<Moved> {
        let named = |id: &str| {
            let mut known = self.ledger.hosts.iter();
            let found = known.find(|(known, _)| format!("{known:?}") == *id);

            *found.expect("it was looked at before anything was sent to it").1
        };
        let told = self.witness.moves().into_iter();
        let moves = told.map(|told| {
            let mut nodes = self.nodes().into_iter();
            let from = nodes.find(|host| self.name(*host) == told.who);

            Moved {
                at: told.at,
                from: from.expect("who tells of it is a node"),
                to: named(&told.peer),
                via: told.relay.map_or(Via::Direct, |relay| Via::Relay(named(&relay))),
            }
        });

        moves.collect()
    }

    fn host_of(&self, id: NodeId) -> Host {
        let found = self.ledger.hosts.get(&id).copied();

        found.expect("it was looked at before anything was decided on it")
    }
}
