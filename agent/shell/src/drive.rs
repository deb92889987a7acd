//! The loop that drives the cores: it waits for an input or a deadline, tells the cores, and does what they want.
//!
//! ```text
//!            ┌── Control ── effects ─▶ pump ─▶ connections, disk, mesh ─┐
//!  inputs ───┤                                                          ├──▶ tasks ──▶ inputs
//!  deadline ─┤                                                          │
//!            └── Mesh ───── effects ─▶ pump ─▶ links, notes to Control ─┘
//! ```
//!
//! No decision lives here. Everything that takes time is a task that tells the loop how it ended.

mod answer;
mod control_side;
mod log;
mod mesh_side;
mod pulse;
mod pump;
mod world;

use std::future::Future;

use agent_core::control::{Control, ServerLeaf, Status, Witness};
use agent_core::mesh::{LinkUp, Mesh};
use protocol::error::Code;
use protocol::id::NodeId;
use protocol::time::{Boot, Now};
use tokio::sync::mpsc;

use crate::agent::{AgentFailed, Ended};
use crate::clock::sleep_until;
use crate::counters;
use crate::input::{Established, Input};
use crate::quic;

use control_side::ControlSide;
use mesh_side::MeshSide;
use pulse::Pulse;
pub(crate) use world::{Notes, OwnAddresses, World, Write};

/// One agent: its two cores and their world.
pub(crate) struct Drive {
    control: Control,
    /// From the first identity on.
    mesh: Option<Mesh>,
    world: World,
    pulse: Pulse,
}

impl Drive {
    pub(crate) fn new(control: Control, world: World) -> Self {
        Self {
            control,
            mesh: None,
            world,
            pulse: Pulse::default(),
        }
    }

    /// Puts in force what a test made, as if the relation with the controllers had verified it.
    #[cfg(test)]
    pub(crate) fn adopt(&mut self, adopted: agent_core::control::Adopted) {
        use pump::ControlHost;
        let now = self.world.station.clock.now();
        let mut side = ControlSide {
            world: &mut self.world,
            mesh: &mut self.mesh,
            now,
        };
        side.adopt(adopted);
    }

    #[cfg(test)]
    pub(crate) fn say(&self, greeting: crate::station::Greeting) {
        self.world.greeting.send_replace(Some(greeting));
    }

    /// What the mesh has counted, once there is one.
    #[cfg(test)]
    pub(crate) fn counted(&self) -> agent_core::mesh::stats::Stats {
        self.mesh
            .as_ref()
            .map(|mesh| mesh.stats().clone())
            .unwrap_or_default()
    }

    pub(crate) fn endpoints(&self) -> Vec<quinn::Endpoint> {
        self.world.station.endpoints()
    }

    /// Turns until `shutdown` completes or the agent has ended by itself.
    pub(crate) async fn run(
        &mut self,
        inbox: &mut mpsc::Receiver<Input>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Ended, AgentFailed> {
        let clock = std::sync::Arc::clone(&self.world.station.clock);
        let mut shutdown = std::pin::pin!(shutdown);
        let mut batch = Vec::with_capacity(BATCH);
        let start = clock.now();
        self.control.handle_timeout(start);
        self.turn(&mut batch, start);
        while self.world.outcome.is_none() {
            let deadline = self.poll_timeout();
            tokio::select! {
                biased;
                () = &mut shutdown => return Ok(Ended::ShutDown),
                _ = inbox.recv_many(&mut batch, BATCH) => {}
                () = sleep_until(&*clock, Some(deadline)) => {}
            }
            let now = clock.now();
            self.pulse.woke(deadline, now.boot);
            self.turn(&mut batch, now);
        }

        self.world.outcome.take().unwrap_or(Ok(Ended::ShutDown))
    }

    fn poll_timeout(&self) -> Boot {
        [
            self.control.poll_timeout(),
            self.mesh.as_ref().and_then(Mesh::poll_timeout),
            self.world.flows.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .fold(self.pulse.next(), Boot::min)
    }

    /// Takes in everything that came, then what is due, and does what follows from both.
    fn turn(&mut self, batch: &mut Vec<Input>, now: Now) {
        for input in batch.drain(..) {
            self.take(input, now);
            self.pump_control(now);
        }
        if self.control.poll_timeout().is_some_and(|due| due <= now.boot) {
            self.control.handle_timeout(now);
            self.pump_control(now);
        }
        self.turn_mesh(now);
        if self.pulse.beat(now.boot) {
            self.beat(now);
        }
        self.settle(now);
        if self.control.is_settled() {
            self.world.ready();
        }
        self.world.tasks.reap();
        if let Some(part) = self.world.tasks.ended_part() {
            self.world
                .outcome
                .get_or_insert(Err(AgentFailed::PartEnded { part }));
        }
    }

    fn turn_mesh(&mut self, now: Now) {
        let Some(mesh) = &mut self.mesh else {
            return;
        };
        if mesh.poll_timeout().is_some_and(|due| due <= now.boot) {
            mesh.handle_timeout(now.boot);
        }
        let empty = [0; crate::flows::BYTES as usize];
        self.world.flows.handle_timeout(now.boot, |peer, bytes| {
            mesh.send_synthetic(peer, &empty[..bytes], now.boot).is_ok()
        });
        if mesh.wants_report(now.boot) {
            let report = self.world.testimony.give(mesh.take_report(now.boot));
            self.control.handle_report(report, now);
            self.pump_control(now);
        }
    }

    /// Carries what one core has for the other until neither has anything.
    fn settle(&mut self, now: Now) {
        loop {
            self.pump_mesh(now);
            let notes = std::mem::take(&mut self.world.notes);
            if notes.is_empty() {
                return;
            }
            for (peer, list) in &notes.lists {
                let witness = self.control.handle_list(list, now);
                self.note_witness(*peer, witness, now);
            }
            for (peer, beacon) in &notes.beacons {
                let witness = self.control.handle_witness(beacon, now);
                self.note_witness(*peer, witness, now);
            }
            if notes.refresh {
                self.control.handle_refresh(now);
            }
            self.pump_control(now);
            if notes.observed {
                self.tell_own_addresses(now);
            }
            if notes.greeting {
                self.world.greet(&self.control, self.mesh.as_mut());
            }
        }
    }

    fn note_witness(&mut self, peer: NodeId, witness: Witness, now: Now) {
        if let (Witness::Forged, Some(mesh)) = (witness, &mut self.mesh) {
            mesh.handle_forged_beacon(peer, now.boot);
        }
    }

    fn take(&mut self, input: Input, now: Now) {
        match input {
            Input::Connected { id, connection } => {
                let exported = quic::exported(&connection);
                let chain = quic::peer_chain(&connection);
                if self.world.controllers.connected(id, connection)
                    && let Ok(exported) = exported
                {
                    self.control
                        .handle_connected(id, ServerLeaf { chain }, exported, now);
                }
            }
            Input::Datagrams { link, datagrams } => {
                if let Some(mesh) = &mut self.mesh {
                    for datagram in datagrams {
                        mesh.handle_datagram(link, &datagram, now.boot);
                    }
                }
            }
            Input::DialFailed { peer } => {
                if let Some(mesh) = &mut self.mesh {
                    mesh.handle_dial_failed(peer, now.boot);
                }
            }
            Input::Disconnected { id, why } => {
                if self.world.controllers.ended(id) {
                    self.control.handle_disconnected(id, why, now);
                }
            }
            Input::Interfaces(candidates) => {
                self.world.own.interfaces = candidates.iter().map(|found| found.address.0).collect();
                self.control.handle_interfaces(candidates, now);
                self.tell_own_addresses(now);
            }
            Input::LinkDown { link } => {
                self.world.links.remove(link);
                if let Some(mesh) = &mut self.mesh {
                    mesh.handle_link_down(link, now.boot);
                }
            }
            Input::LinkUp(established) => self.link_up(&established, now),
            Input::Local(ask) => self.answer(ask, now),
            Input::Persisted { write, result } => self.control.handle_persisted(write, result, now),
            Input::Reply { id, tag, reply } => {
                if self.world.controllers.has(id) {
                    self.control.handle_reply(id, tag, reply, now);
                }
            }
            Input::Welcome { id, body } => {
                if self.world.controllers.has(id) {
                    self.control.handle_welcome(id, &body, now);
                }
            }
        }
    }

    /// A link counts from here on, unless its node was revoked between its handshake and now.
    fn link_up(&mut self, up: &Established, now: Now) {
        let Some(mesh) = &mut self.mesh else {
            return;
        };
        if self.world.in_force.revocations().revoked(&up.identity).is_some() {
            quic::close(&up.connection, Code::NodeRevoked);
            if up.dialled_by_us {
                mesh.handle_dial_failed(up.peer, now.boot);
            }
            return;
        }
        let World {
            links,
            station,
            tasks,
            ..
        } = &mut self.world;
        let link = links.add(up, station, tasks);
        mesh.handle_link_up(
            LinkUp {
                link,
                peer: up.peer,
                dialled_by_us: up.dialled_by_us,
                address: up.address,
            },
            now.boot,
        );
        if let Some(beacon) = up.welcome.as_deref().and_then(world::beacon_of) {
            mesh.handle_beacon_shown(up.peer, beacon, now.boot);
        }
        let list = up.welcome.as_deref().and_then(world::revocations_of);
        self.world.notes.lists.extend(list.map(|list| (up.peer, list)));
    }

    fn tell_own_addresses(&mut self, now: Now) {
        if let Some(mesh) = &mut self.mesh {
            mesh.handle_own_addresses(&self.world.own.all(), now.boot);
        }
    }

    fn pump_control(&mut self, now: Now) {
        let mut side = ControlSide {
            world: &mut self.world,
            mesh: &mut self.mesh,
            now,
        };
        pump::pump_control(&mut self.control, &mut side);
    }

    fn pump_mesh(&mut self, now: Now) {
        if let Some(mesh) = &mut self.mesh {
            let mut side = MeshSide {
                world: &mut self.world,
                now,
            };
            pump::pump_mesh(mesh, &mut side);
        }
    }

    /// Once a second: what is measured and shown, and the sign of life.
    fn beat(&mut self, now: Now) {
        counters::links(self.world.links.len(), self.world.links.drops());
        if let Some(mesh) = &mut self.mesh {
            for (link, rtt, place) in self.world.links.measured() {
                mesh.handle_link_rtt(link, rtt);
                mesh.handle_link_place(link, place);
            }
            counters::mesh(mesh.stats());
        }
        if self.world.is_leaving_for_nobody() {
            self.control.handle_stay(now);
        }
        let status = self.control.status();
        if let Status::Member(member) = &status {
            counters::refreshes(&member.refreshes);
            counters::member(member, now.wall);
        }
        self.world.supervisor.worked();
        self.pulse
            .show(&status, self.world.links.len(), &*self.world.supervisor);
    }
}

/// Inputs that are taken before what they caused is done: enough to share the work, few enough to stay prompt.
const BATCH: usize = 256;
