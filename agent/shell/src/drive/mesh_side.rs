//! What the relation with the neighbours wants done.

use std::net::SocketAddr;

use agent_core::mesh::effect::{CloseReason, Event, LinkId};
use protocol::frame::Class;
use protocol::id::NodeId;
use protocol::time::Now;

use super::log;
use super::pump::MeshHost;
use super::world::World;
use crate::links;

/// The world as this core sees it during one turn.
pub(super) struct MeshSide<'a> {
    pub(super) world: &'a mut World,
    pub(super) now: Now,
}

impl MeshHost for MeshSide<'_> {
    fn close(&mut self, link: LinkId, why: CloseReason) {
        self.world.links.close(link, why);
    }

    fn dial(&mut self, peer: NodeId, candidates: Vec<SocketAddr>) {
        // There is no mesh without an identity, and none without a cluster.
        if let Some((_, cluster)) = self.world.in_force.us() {
            let station = self.world.station.clone();
            self.world
                .tasks
                .spawn(links::dial(peer, cluster, candidates, station));
        }
    }

    fn send(&mut self, link: LinkId, class: Class, frame: Vec<u8>) {
        if let Some(rest) = self.world.links.send(link, class, frame, self.now.boot) {
            self.world.tasks.spawn(rest);
        }
    }

    fn tell(&mut self, event: Event) {
        log::mesh(&event);
        match event {
            Event::BeaconShown { peer, beacon } => self.world.notes.beacons.push((peer, beacon)),
            Event::Stalled { .. } => self.world.notes.refresh = true,
            Event::DecisionRefused { .. }
            | Event::LinkDuplicateClosed { .. }
            | Event::Met { .. }
            | Event::Moved { .. }
            | Event::PathChanged { .. }
            | Event::PathDown { .. }
            | Event::RelayRefuses { .. }
            | Event::RelayStarted
            | Event::RelayStopped { .. }
            | Event::Switched { .. }
            | Event::Withdrawn { .. } => {}
        }
    }
}
