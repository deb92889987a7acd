//! Answers to questions at the local API.

use std::collections::BTreeMap;

use agent_core::mesh::Mesh;
use agent_core::mesh::view::FlowView;
use protocol::id::NodeId;
use protocol::time::Now;

use super::Drive;
use crate::local::{
    Ask, FlowRefused, FlowRows, FlowStart, FlowStarted, FlowStop, FlowStopped, LeftOutRow, RelayRow,
    StatusRow, Viewer,
};

impl Drive {
    /// Answers at once, but for leaving. Somebody who has gone away is not missed.
    pub(super) fn answer(&mut self, ask: Ask, now: Now) {
        match ask {
            Ask::Flows(to) => drop(to.send(self.flows(now))),
            Ask::FlowsTaken(to) => drop(to.send(self.take_flows(now))),
            Ask::Leave(within, to) => {
                self.world.leaving.push(to);
                self.control.handle_leave(now.boot.after(within), now);
            }
            Ask::Links(to) => {
                let links = self.mesh.as_ref().map(Mesh::links).unwrap_or_default();
                let viewer = self.viewer(now);
                drop(to.send(links.iter().map(|link| viewer.link(link)).collect()));
            }
            Ask::Relay(to) => drop(to.send(self.relay(now))),
            Ask::Routes(to) => {
                let routes = self
                    .mesh
                    .as_ref()
                    .map(|mesh| mesh.routes(now.boot))
                    .unwrap_or_default();
                let viewer = self.viewer(now);
                drop(to.send(routes.iter().map(|route| viewer.route(route)).collect()));
            }
            Ask::Start(start, to) => drop(to.send(self.start(&start, now))),
            Ask::Status(to) => drop(to.send(Box::new(self.status(now)))),
            Ask::Stop(stop, to) => drop(to.send(self.stop(&stop))),
        }
    }

    fn viewer(&self, now: Now) -> Viewer<'_> {
        let in_force = &self.world.in_force;

        Viewer {
            us: in_force.us().map(|(us, _)| (us, in_force.name())),
            names: in_force.names(),
            now,
        }
    }

    fn status(&self, now: Now) -> StatusRow {
        let viewed = self.viewer(now).status(&self.control.status());
        let own = self.world.own.left_out.iter();
        let by_us = own.map(|left_out| LeftOutRow::of(*left_out, "agent"));
        let shut = self.world.station.doors.shut().into_iter();
        let shut = shut.map(|(listen, why)| LeftOutRow::shut(listen, why));

        StatusRow {
            candidates_left_out: by_us
                .chain(shut)
                .chain(viewed.candidates_left_out.clone())
                .collect(),
            neighbours: self.world.in_force.names().len(),
            links: self.world.links.len(),
            loop_late_ms: self.pulse.latest(),
            ..viewed
        }
    }

    fn relay(&self, now: Now) -> RelayRow {
        let relay = self.mesh.as_ref().map(|mesh| mesh.relay(now.boot));

        relay.map_or_else(RelayRow::default, |relay| self.viewer(now).relay(&relay))
    }

    fn flows(&self, now: Now) -> FlowRows {
        let peers = self.world.in_force.names().keys();
        let received = self.mesh.iter().flat_map(|mesh| {
            let peers = peers.clone();
            peers.filter_map(|peer| Some((*peer, mesh.flow(*peer)?)))
        });

        self.flow_rows(received.collect(), now)
    }

    fn take_flows(&mut self, now: Now) -> FlowRows {
        let received = self.mesh.as_mut().map(Mesh::take_flow_log).unwrap_or_default();

        self.flow_rows(received, now)
    }

    fn flow_rows(&self, received: BTreeMap<NodeId, FlowView>, now: Now) -> FlowRows {
        let viewer = self.viewer(now);
        let received = received.iter().map(|(peer, view)| viewer.received(*peer, view));
        let sending = self
            .world
            .flows
            .iter()
            .map(|(peer, flow)| viewer.sending(peer, flow));

        FlowRows {
            received: received.collect(),
            sending: sending.collect(),
        }
    }

    fn start(&mut self, start: &FlowStart, now: Now) -> Result<FlowStarted, FlowRefused> {
        let pace = start.pace()?;
        let peers = match start.peer.as_str() {
            ALL => self.world.in_force.names().keys().copied().collect(),
            peer => vec![self.peer(peer)?],
        };
        for peer in &peers {
            self.world.flows.start(*peer, pace, now.boot);
        }

        Ok(FlowStarted { peers })
    }

    fn stop(&mut self, stop: &FlowStop) -> Result<FlowStopped, FlowRefused> {
        let peer = match stop.peer.as_str() {
            ALL => None,
            peer => Some(self.peer(peer)?),
        };

        Ok(FlowStopped {
            flows: self.world.flows.stop(peer),
        })
    }

    /// The neighbour of this name or id.
    fn peer(&self, wanted: &str) -> Result<NodeId, FlowRefused> {
        if self.mesh.is_none() {
            return Err(FlowRefused::NotMember);
        }
        let named = |(node, name): &(&NodeId, &String)| name.as_str() == wanted || node.to_string() == wanted;
        let found = self.world.in_force.names().iter().find(named);

        found
            .map(|(node, _)| *node)
            .ok_or_else(|| FlowRefused::UnknownPeer {
                peer: wanted.to_owned(),
            })
    }
}

/// In place of a peer: every neighbour there is now.
const ALL: &str = "all";
