//! Questions to a world. They take no virtual time, and a process that is down or stopped answers nothing.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_shell::local::{FlowRow, FlowStart, FlowStop, LocalClient, RelayRow, RouteRow, StatusRow};
use protocol::id::NodeId;
use serde_json::json;

use super::{Host, World};

/// Which way traffic takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    Direct,
    Relay(Host),
}

/// What arrived at one node from another, by the receiver's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Received {
    pub frames: u64,
    /// Never came, of those between the first and the last.
    pub missing: u64,
    pub largest_gap: Duration,
}

impl World {
    pub fn status(&self, host: Host) -> Option<StatusRow> {
        self.ask(host, async |client| client.status().await.ok())
    }

    pub fn routes(&self, host: Host) -> Vec<RouteRow> {
        self.ask(host, async |client| client.routes().await.ok())
            .unwrap_or_default()
    }

    pub fn relay_rows(&self, host: Host) -> Option<RelayRow> {
        self.ask(host, async |client| client.relay().await.ok())
    }

    /// The node's id, once it is enrolled.
    pub fn id(&self, host: Host) -> Option<NodeId> {
        self.status(host)?.id
    }

    pub fn route(&self, from: Host, to: Host) -> Option<RouteRow> {
        let name = self.name(to);
        let mut routes = self.routes(from).into_iter();

        routes.find(|route| route.peer_name.as_deref() == Some(&*name))
    }

    /// The way that traffic from one node to another takes now.
    pub fn active_path(&self, from: Host, to: Host) -> Option<Via> {
        let active = self.route(from, to)?.active;

        self.via(active.relay_name.as_deref(), &active.kind)
    }

    /// The way that the newest decision known at `from` names.
    pub fn decided_path(&self, from: Host, to: Host) -> Option<Via> {
        let decided = self.route(from, to)?.decided;

        self.via(decided.relay_name.as_deref(), &decided.kind)
    }

    fn via(&self, relay: Option<&str>, kind: &str) -> Option<Via> {
        match kind {
            "direct" => Some(Via::Direct),
            _ => {
                let mut nodes = self.nodes().into_iter();
                nodes
                    .find(|node| Some(&*self.name(*node)) == relay)
                    .map(Via::Relay)
            }
        }
    }

    /// Whether the path in use from one node to another answers its probes.
    pub fn is_healthy(&self, from: Host, to: Host) -> bool {
        self.route(from, to).is_some_and(|route| is_up(&route))
    }

    /// Whether the controller has every node as active, and every pair of members has a route that is healthy at both
    /// ends. Relays are the ends of no route.
    pub fn is_well(&mut self) -> bool {
        let members = self.members();
        let routed = |host: &Host| {
            let routes = self.routes(*host);
            routes.len() == members.len() - 1 && routes.iter().all(is_up)
        };

        members.iter().all(routed) && self.active_nodes() == self.nodes.len()
    }

    /// The nodes that are no relays.
    pub fn members(&self) -> Vec<Host> {
        let mut members = self.nodes();
        members.retain(|node| !self.is_relay(*node));

        members
    }

    /// How every node and its routes stand, for people.
    pub fn standing(&mut self) -> String {
        let mut text = format!("{:?}\n", self.try_act("route/list", json!({})));
        for host in self.nodes() {
            let status = self.status(host).map(|status| (status.state, status.controller));
            text += &format!("{}: {status:?}\n", self.name(host));
            for route in self.routes(host) {
                let paths: Vec<_> = route
                    .paths
                    .iter()
                    .map(|path| {
                        let via = path.path.relay_name.as_deref().unwrap_or("direct");
                        format!(
                            "{via} {} active {} linked {}",
                            path.health, path.active, path.linked
                        )
                    })
                    .collect();
                text += &format!(
                    "  to {:?} generation {}: {paths:?}\n",
                    route.peer_name, route.generation
                );
            }
        }

        text
    }

    /// How many nodes the controller has as active.
    pub fn active_nodes(&mut self) -> usize {
        let Ok(listed) = self.try_act("node/list", json!({})) else {
            return 0;
        };
        let listed = listed.as_array().expect("a list");

        listed.iter().filter(|node| node["state"] == "active").count()
    }

    /// Begins to send this many frames a second; a flow that was there begins anew.
    pub fn send(&self, from: Host, to: Host, rate_per_s: u16) {
        let start = FlowStart {
            peer: self.name(to).to_string(),
            rate_per_s,
            bytes: 200,
            seconds: None,
        };
        let started = self.ask(from, async |client| client.start_flow(start).await.ok());
        assert!(matches!(started, Some(Ok(_))), "seed {}: {started:?}", self.seed);
    }

    pub fn stop_sending(&self, from: Host, to: Host) {
        let stop = FlowStop {
            peer: self.name(to).to_string(),
        };
        self.ask(from, async |client| client.stop_flow(stop).await.ok());
    }

    /// What arrived at `to` from `from` since it was asked last, about whomever.
    pub fn take_received(&self, from: Host, to: Host) -> Received {
        self.take_all_received(to).remove(&from).unwrap_or_default()
    }

    /// What arrived at `to` since it was asked last, by sender.
    pub fn take_all_received(&self, to: Host) -> BTreeMap<Host, Received> {
        let flows = self.ask(to, async |client| client.take_flows().await.ok());
        let sender = |flow: &FlowRow| {
            let mut nodes = self.nodes().into_iter();

            nodes.find(|host| flow.peer_name.as_deref() == Some(&*self.name(*host)))
        };
        let received = flows.into_iter().flat_map(|flows| flows.received);
        let received = received.filter_map(|flow| {
            let known = Received {
                frames: flow.received,
                missing: flow.missing,
                largest_gap: Duration::from_millis(flow.largest_gap_ms),
            };

            Some((sender(&flow)?, known))
        });

        received.collect()
    }

    fn ask<T>(&self, host: Host, question: impl AsyncFnOnce(LocalClient) -> Option<T>) -> Option<T> {
        let client = self.node(host).client()?;

        self.runtime.block_on(question(client))
    }
}

/// Whether the path in use answers.
pub(super) fn is_up(route: &RouteRow) -> bool {
    let active = route.paths.iter().find(|path| path.active);

    active.is_some_and(|path| path.health == "up")
}
