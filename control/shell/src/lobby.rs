//! The open connections, as the doorkeeper counts them: carries out what it decides.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_shell::quic;
use control_core::doorkeeper::{Arrival, Doorkeeper, Full, Limits, Visit};
use protocol::id::{ClusterId, NodeId};
use quinn::Connection;

/// Shared by the tasks of all connections.
#[derive(Clone, Debug)]
pub(crate) struct Lobby(Arc<Mutex<Inside>>);

#[derive(Debug)]
struct Inside {
    door: Doorkeeper,
    /// The connections of nodes, which a newer one of the same node may end.
    members: BTreeMap<Visit, Connection>,
}

/// What becomes of an arrival.
pub(crate) enum Verdict {
    Enter(Place),
    Prove,
    TurnAway(Full),
}

impl Lobby {
    pub(crate) fn new(limits: Limits) -> Self {
        Self(Arc::new(Mutex::new(Inside {
            door: Doorkeeper::new(limits),
            members: BTreeMap::new(),
        })))
    }

    pub(crate) fn arrive(&self, source: IpAddr, validated: bool) -> Verdict {
        match self.inside().door.handle_arrival(source, validated) {
            Arrival::Enter(visit) => Verdict::Enter(Place {
                lobby: self.clone(),
                visit,
            }),
            Arrival::Prove => Verdict::Prove,
            Arrival::TurnAway(full) => {
                count(full);
                Verdict::TurnAway(full)
            }
        }
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, given back when it is dropped.
pub(crate) struct Place {
    lobby: Lobby,
    visit: Visit,
}

impl Place {
    /// The connection is a stranger's. Returns how long it may stay.
    pub(crate) fn stranger(&self) -> Result<Duration, Full> {
        let mut inside = self.lobby.inside();
        let life = inside.door.stranger_life();
        inside
            .door
            .handle_stranger(self.visit)
            .inspect_err(|full| count(*full))?;

        Ok(life)
    }

    /// The connection is a node's. One that the node has had for longer may end for it.
    pub(crate) fn member(&self, cluster: ClusterId, node: NodeId, connection: &Connection) {
        let mut inside = self.lobby.inside();
        inside.members.insert(self.visit, connection.clone());
        let Some(oldest) = inside.door.handle_member(self.visit, cluster, node) else {
            return;
        };
        count(Full::Node);
        if let Some(connection) = inside.members.remove(&oldest) {
            tracing::debug!(?node, "closed the oldest connection of a node that made another");
            quic::close(&connection, Full::Node.code());
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut inside = self.lobby.inside();
        inside.members.remove(&self.visit);
        inside.door.handle_end(self.visit);
    }
}

fn count(full: Full) {
    metrics::counter!("gabion_controller_connections_refused_total", "bound" => full.name()).increment(1);
}
