//! What the loop holds besides the two cores: connections, tasks, and what is in force.

use std::net::SocketAddr;
use std::sync::Arc;

use agent_core::control::{Control, FileName, NotLeft, Payload, WriteId};
use agent_core::mesh::Mesh;
use protocol::cbor;
use protocol::document::config::LeftOut;
use protocol::id::{BootId, NodeId};
use protocol::key::SealKey;
use protocol::wire::Welcome;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot, watch};

use crate::agent::{AgentFailed, Ended};
use crate::controllers::Controllers;
use crate::flows::Flows;
use crate::in_force::InForce;
use crate::links::Links;
use crate::parts::{Supervisor, Testimony};
use crate::station::{Greeting, Station, Tasks};

/// One write to the state directory.
pub(crate) type Write = (WriteId, Vec<(FileName, Payload)>);

/// Everything that the cores' effects act on.
pub(crate) struct World {
    pub(crate) station: Station,
    pub(crate) tasks: Tasks,
    pub(crate) controllers: Controllers,
    pub(crate) links: Links,
    pub(crate) flows: Flows,
    pub(crate) in_force: InForce,
    /// To the task that writes them one after the other.
    pub(crate) writes: mpsc::Sender<Write>,
    pub(crate) greeting: watch::Sender<Option<Greeting>>,
    pub(crate) supervisor: Arc<dyn Supervisor>,
    pub(crate) testimony: Arc<dyn Testimony>,
    pub(crate) boot: BootId,
    /// What the mesh draws its chance from.
    pub(crate) mesh_seed: [u8; 32],
    /// The key that the mesh was told of last.
    pub(crate) sealed_to: Option<SealKey>,
    pub(crate) dev: bool,
    pub(crate) ready: bool,
    pub(crate) own: OwnAddresses,
    /// What one core has for the other, until both have been heard.
    pub(crate) notes: Notes,
    /// Those who wait for the node to have left.
    pub(crate) leaving: Vec<oneshot::Sender<Result<(), NotLeft>>>,
    pub(crate) outcome: Option<Result<Ended, AgentFailed>>,
}

/// What the mesh told that concerns the controllers, and the other way round.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Beacons, and which neighbours showed them.
    pub(crate) beacons: Vec<(NodeId, Vec<u8>)>,
    /// Revocation lists, and which neighbours showed them.
    pub(crate) lists: Vec<(NodeId, Vec<u8>)>,
    /// The mesh stood still and wants to hear from a controller.
    pub(crate) refresh: bool,
    /// What we say to neighbours may have changed.
    pub(crate) greeting: bool,
    /// A controller sees this node elsewhere than before.
    pub(crate) observed: bool,
}

/// Where this node believes that it can be reached.
#[derive(Clone, Debug, Default)]
pub(crate) struct OwnAddresses {
    /// What is published.
    pub(crate) interfaces: Vec<SocketAddr>,
    /// Where a controller sees it.
    pub(crate) observed: Option<SocketAddr>,
    /// Configured, and not published.
    pub(crate) left_out: Vec<LeftOut>,
}

impl OwnAddresses {
    /// The controller's word first: it is the one that a NAT would let in.
    pub(crate) fn all(&self) -> Vec<SocketAddr> {
        self.observed.iter().chain(&self.interfaces).copied().collect()
    }
}

impl Notes {
    pub(crate) fn is_empty(&self) -> bool {
        self.beacons.is_empty() && self.lists.is_empty() && !self.refresh && !self.greeting && !self.observed
    }
}

impl World {
    /// Tells the supervisor, once, that this agent does what it is there for.
    pub(crate) fn ready(&mut self) {
        if !std::mem::replace(&mut self.ready, true) {
            self.supervisor.ready();
        }
    }

    pub(crate) fn rng(&self) -> StdRng {
        StdRng::from_seed(self.mesh_seed)
    }

    /// Says to neighbours from now on what the core has to say, and shows them the newest beacon.
    pub(crate) fn greet(&mut self, control: &Control, mesh: Option<&mut Mesh>) {
        let Some(((node, cluster), welcome)) = self.in_force.us().zip(control.neighbour_welcome()) else {
            return;
        };
        if let (Some(mesh), Some(beacon)) = (mesh, beacon_of(&welcome)) {
            mesh.handle_beacon(beacon);
        }
        let greeting = Greeting {
            node,
            cluster,
            welcome: welcome.into(),
        };
        self.greeting.send_if_modified(|said| {
            let changed = said.as_ref() != Some(&greeting);
            *said = Some(greeting);

            changed
        });
    }

    /// The node has nothing left to give back: those who waited are told, and the agent ends.
    pub(crate) fn left(&mut self) {
        for waiting in self.leaving.drain(..) {
            let _ = waiting.send(Ok(()));
        }
        self.outcome = Some(Ok(Ended::Left));
    }

    /// The node has not left, and does not try any more.
    pub(crate) fn not_left(&mut self, why: &NotLeft) {
        for waiting in self.leaving.drain(..) {
            let _ = waiting.send(Err(why.clone()));
        }
    }

    /// Whether everybody who wanted the node to leave has gone away; that is told once.
    pub(crate) fn is_leaving_for_nobody(&mut self) -> bool {
        let is_wanted = !self.leaving.is_empty();
        self.leaving.retain(|waiting| !waiting.is_closed());

        is_wanted && self.leaving.is_empty()
    }
}

/// The signed beacon in a welcome, if it has one. What it is worth is for the core to judge.
pub(crate) fn beacon_of(welcome: &[u8]) -> Option<Vec<u8>> {
    let welcome: Welcome = cbor::decode(welcome).ok()?;

    welcome.beacon.map(Into::into)
}

/// The signed revocation list in a welcome, if it has one.
pub(crate) fn revocations_of(welcome: &[u8]) -> Option<Vec<u8>> {
    let welcome: Welcome = cbor::decode(welcome).ok()?;

    welcome.revocations.map(Into::into)
}
