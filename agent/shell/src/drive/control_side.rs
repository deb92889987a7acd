//! What the relation with the controllers wants done.

use agent_core::control::{
    Adopted, ConnectionId, Event, FileName, JoinFailure, NodeIdentity, Payload, Tag, WriteFailed, WriteId,
};
use agent_core::mesh::{Mesh, MeshIdentity};
use protocol::time::{Boot, Now};

use super::log;
use super::pump::ControlHost;
use super::world::World;
use crate::agent::AgentFailed;
use crate::controllers::{Call, Question};
use crate::counters;
use crate::input::Input;

/// The world as this core sees it during one turn.
pub(super) struct ControlSide<'a> {
    pub(super) world: &'a mut World,
    pub(super) mesh: &'a mut Option<Mesh>,
    pub(super) now: Now,
}

impl ControlHost for ControlSide<'_> {
    fn adopt(&mut self, adopted: Adopted) {
        self.world.notes.greeting = true;
        let station = self.world.station.clone();
        let in_force = &mut self.world.in_force;
        match adopted {
            Adopted::Identity(identity) => self.adopt_identity(&identity),
            Adopted::Bundle(bundle) => {
                if let Err(error) = in_force.adopt_bundle(&bundle.body, &station) {
                    // The core has read the same bytes with the same function.
                    tracing::error!(%error, "the trust bundle in force cannot be used");
                }
            }
            Adopted::Revocations(list) => {
                in_force.adopt_revocations(&list.body, &station);
                let closed = self.world.links.close_revoked(self.world.in_force.revocations());
                if !closed.is_empty() {
                    tracing::info!(?closed, "closed the links of revoked nodes");
                }
                self.world.controllers.close_revoked(&station);
                self.with_mesh(|mesh, now| mesh.handle_revocations(&list.body, now));
            }
            Adopted::Config(config) => {
                in_force.adopt_config(&config.body, &station);
                self.with_mesh(|mesh, now| mesh.handle_config(&config.body, now));
            }
            Adopted::Routes(routes) => self.with_mesh(|mesh, now| mesh.handle_routes(&routes.body, now)),
            Adopted::LeaseTable(table) => {
                self.with_mesh(|mesh, now| mesh.handle_lease_table(&table.body, now));
            }
        }
    }

    fn ask(&mut self, connection: ConnectionId, tag: Tag, body: Payload, deadline: Boot) {
        let question = Question {
            id: connection,
            tag,
            body,
            within: deadline.since(self.now.boot),
        };
        let World {
            controllers,
            station,
            tasks,
            ..
        } = &mut *self.world;
        controllers.ask(question, station, tasks);
    }

    fn call(&mut self, call: Call) {
        let World {
            controllers,
            station,
            tasks,
            ..
        } = &mut *self.world;
        controllers.call(call, station, tasks);
    }

    fn close(&mut self, connection: ConnectionId) {
        self.world.controllers.close(connection);
    }

    fn fresh(&mut self, poll_sent_at: Boot, newer: bool) {
        counters::polled(newer);
        self.world.notes.greeting |= newer;
        self.with_mesh(|mesh, now| match newer {
            true => mesh.handle_fresh(poll_sent_at, now),
            false => mesh.handle_controller_answered(poll_sent_at, now),
        });
    }

    fn persist(&mut self, write: WriteId, files: Vec<(FileName, Payload)>) {
        if self.world.writes.try_send((write, files)).is_ok() {
            return;
        }
        // The core keeps few writes open at once, so that its queue is full only when the disk hangs.
        let station = self.world.station.clone();
        self.world.tasks.spawn(async move {
            let result = Err(WriteFailed::Io);
            station.tell(Input::Persisted { write, result }).await;
        });
    }

    fn tell(&mut self, event: Event) {
        log::control(&event);
        match event {
            Event::JoinFailed(JoinFailure::Withdrawn) | Event::Left => self.world.left(),
            Event::NotLeft(why) => self.world.not_left(&why),
            Event::Observed(address) => {
                self.world.own.observed = address.map(|address| address.0);
                self.world.notes.observed = true;
            }
            Event::JoinFailed(failure) => self.world.outcome = Some(Err(AgentFailed::Join(failure))),
            Event::ConfigReverted { .. } => counters::reverted(),
            Event::ConfigConfirmed { .. }
            | Event::ControllersChanged(_)
            | Event::Damaged { .. }
            | Event::Enrolled { .. }
            | Event::EpochReached { .. }
            | Event::JoinPending { .. }
            | Event::JoinRetried { .. }
            | Event::LeftOut(_)
            | Event::MovedAway { .. }
            | Event::NoLongerStale
            | Event::Refreshed(_)
            | Event::Refused { .. }
            | Event::RenewalFailed(_)
            | Event::Renewed { .. }
            | Event::Revoked
            | Event::SessionClosed { .. }
            | Event::SessionOpened { .. }
            | Event::Stale
            | Event::WelcomeRefused { .. }
            | Event::WitnessAhead { .. }
            | Event::WriteFailed { .. } => {}
        }
    }

    fn tried_in_vain(&mut self, since: Boot) {
        self.with_mesh(|mesh, now| mesh.handle_controllers_tried_in_vain(since, now));
    }
}

impl ControlSide<'_> {
    fn with_mesh(&mut self, act: impl FnOnce(&mut Mesh, Boot)) {
        if let Some(mesh) = self.mesh {
            act(mesh, self.now.boot);
        }
    }

    /// Shows the new certificate from now on. The first identity makes the mesh; a later one brings it a new key.
    fn adopt_identity(&mut self, identity: &NodeIdentity) {
        let station = self.world.station.clone();
        if let Err(error) = self.world.in_force.adopt_identity(identity, &station) {
            tracing::error!(%error, "the certificate in force cannot be used");
            return;
        }
        // Interfaces were read before there was a mesh.
        self.world.notes.observed |= self.mesh.is_none();
        let mesh = self.mesh.get_or_insert_with(|| {
            let first = identity.previous_seal.as_ref().unwrap_or(&identity.seal);
            let us = MeshIdentity {
                node: identity.node,
                cluster: identity.cluster,
                boot: self.world.boot,
                seal_secret: first.clone(),
            };

            Mesh::new(us, self.world.rng(), self.world.dev)
        });
        if self.world.sealed_to.replace(identity.seal.seal_key()) != Some(identity.seal.seal_key()) {
            mesh.handle_seal_secret(identity.seal.clone(), self.now.boot);
        }
    }
}
