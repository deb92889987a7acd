//! What the controller knows and does not store: who was heard, what was measured, what relays said they have.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use control_core::liveness::{Addresses, Change, HeartbeatRefused, Liveness, Seen};
use control_core::node;
use control_core::store::{StoreError, View};
use control_core::{cluster, liveness};
use control_routing::lease::TableVersion;
use control_routing::observations::Observations;
use control_routing::trend::Trends;
use protocol::envelope::Kind;
use protocol::id::{ClusterId, NodeId, RouteId};
use protocol::net::Address;
use protocol::time::{Boot, Now, Wall};
use protocol::wire::{Have, Heartbeat, Poll, Report};

/// Memory of one controller process, for all its clusters.
#[derive(Clone, Debug)]
pub struct Live {
    liveness: Liveness,
    clusters: BTreeMap<ClusterId, ClusterLife>,
}

/// Memory of one cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterLife {
    pub observations: Observations,
    pub trends: Trends,
    polls: BTreeMap<NodeId, LastPoll>,
    /// Addresses that are stored as confirmed.
    confirmed: BTreeMap<NodeId, Vec<Address>>,
}

/// What the newest poll of a node said.
#[derive(Clone, Debug, Default)]
pub struct LastPoll {
    pub at: Option<Now>,
    pub have: Vec<Have>,
    /// The lease table that it had when that was last written down.
    noted: Option<TableVersion>,
}

impl Live {
    pub fn new(addresses: Addresses) -> Self {
        Self {
            liveness: Liveness::new(addresses),
            clusters: BTreeMap::new(),
        }
    }

    /// Takes over what is stored of every node: at start, and for those who joined since.
    pub fn restore(&mut self, view: &dyn View, now: Now) -> Result<(), StoreError> {
        for cluster in cluster::list(view)? {
            for row in node::list(view, cluster.id)? {
                if self.liveness.get(row.cluster, row.id).is_none() || row.tenure == node::Tenure::Revoked {
                    self.liveness.restore(&row, now);
                }
                if row.tenure == node::Tenure::Revoked
                    && let Some(life) = self.clusters.get_mut(&cluster.id)
                {
                    life.forget(row.id);
                }
                if let Some(confirmed) = row.confirmed {
                    let life = self.clusters.entry(cluster.id).or_default();
                    life.confirmed.insert(row.id, confirmed);
                }
            }
        }

        Ok(())
    }

    pub fn handle_heartbeat(
        &mut self,
        key: liveness::Key,
        observed: SocketAddr,
        heartbeat: &Heartbeat,
        now: Now,
    ) -> Result<Option<Change>, HeartbeatRefused> {
        self.liveness
            .handle_heartbeat(key, heartbeat, Some(observed), now)
    }

    /// These changes were not stored. What the store has of their nodes counts again, so that the next heartbeat, or
    /// the lack of one, brings them anew.
    pub fn handle_unstored(
        &mut self,
        view: &dyn View,
        changes: &[Change],
        now: Now,
    ) -> Result<(), StoreError> {
        for change in changes {
            match node::get(view, change.cluster, change.node)? {
                Some(row) => self.liveness.restore(&row, now),
                None => self.liveness.forget(change.cluster, change.node),
            }
        }

        Ok(())
    }

    /// Takes a report in; the routes that it says something new and bad about want a decision at once.
    pub fn handle_report(
        &mut self,
        cluster: ClusterId,
        node: NodeId,
        report: &Report,
        now: Boot,
    ) -> Vec<RouteId> {
        let life = self.clusters.entry(cluster).or_default();
        let touched = life.observations.handle_report(cluster, node, report, now);
        let bad = report
            .paths
            .iter()
            .filter(|row| row.misses > 0 || row.drift != Default::default());
        let mut urgent: Vec<RouteId> = bad.map(|row| row.route).collect();
        urgent.extend(report.switches.iter().map(|switch| switch.route));
        urgent.retain(|route| touched.contains(route));

        urgent
    }

    /// Addresses at which `report` says that handshakes reached others, and which are not stored as confirmed yet. Only
    /// what a node publishes itself counts: nobody can confirm for it what it does not claim.
    pub fn reached(&self, cluster: ClusterId, report: &Report) -> Vec<(NodeId, Address)> {
        let known = |node| {
            let life = self.clusters.get(&cluster)?;

            life.confirmed.get(&node)
        };
        let news = report.links.iter().filter_map(|link| {
            let address = link.reached.filter(|_| link.connected)?.canonical();
            let seen = self.liveness.get(cluster, link.peer)?;
            let is_published = seen
                .candidates
                .iter()
                .any(|candidate| candidate.address == address);
            let is_known = known(link.peer).is_some_and(|known| known.contains(&address));

            (is_published && !is_known).then_some((link.peer, address))
        });

        news.collect()
    }

    /// Notes what a node has in force. Returns the lease table it has, until that is [written down](Self::handle_noted).
    pub fn handle_poll(
        &mut self,
        cluster: ClusterId,
        node: NodeId,
        poll: &Poll,
        now: Now,
    ) -> Option<TableVersion> {
        let life = self.clusters.entry(cluster).or_default();
        let last = life.polls.entry(node).or_default();
        last.at = Some(now);
        last.have.clone_from(&poll.have);
        let has = poll.have.iter().find_map(table_version);

        has.filter(|has| last.noted != Some(*has))
    }

    /// It is written down that a relay has this lease table.
    pub fn handle_noted(&mut self, cluster: ClusterId, relay: NodeId, table: TableVersion) {
        let life = self.clusters.entry(cluster).or_default();
        life.polls.entry(relay).or_default().noted = Some(table);
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now: Now) -> Vec<Change> {
        for life in self.clusters.values_mut() {
            life.observations.handle_timeout(now.boot);
        }

        self.liveness.handle_timeout(now)
    }

    pub fn seen(&self, cluster: ClusterId, node: NodeId) -> Option<&Seen> {
        self.liveness.get(cluster, node)
    }

    /// When a node was last heard, by heartbeat or by poll.
    pub fn last_seen(&self, cluster: ClusterId, node: NodeId) -> Option<Wall> {
        let heard = self.seen(cluster, node).and_then(|seen| seen.last);
        let polled = self.last_poll(cluster, node).and_then(|poll| poll.at);

        heard.into_iter().chain(polled).map(|now| now.wall).max()
    }

    pub fn last_poll(&self, cluster: ClusterId, node: NodeId) -> Option<&LastPoll> {
        self.clusters.get(&cluster)?.polls.get(&node)
    }

    pub fn of(&self, cluster: ClusterId) -> Option<&ClusterLife> {
        self.clusters.get(&cluster)
    }

    pub fn of_mut(&mut self, cluster: ClusterId) -> &mut ClusterLife {
        self.clusters.entry(cluster).or_default()
    }
}

impl ClusterLife {
    /// Drops what a node that is gone for good said, and what was said of it.
    fn forget(&mut self, node: NodeId) {
        self.observations.forget(node);
        self.polls.remove(&node);
        self.confirmed.remove(&node);
    }
}

/// The lease table that a [`Have`] names, if it is one.
pub fn table_version(have: &Have) -> Option<TableVersion> {
    (have.kind == Kind::LeaseTable).then_some(TableVersion {
        epoch: have.epoch,
        version: have.version,
    })
}

#[cfg(test)]
mod tests {
    use protocol::key::Digest;

    use super::*;

    #[test]
    fn a_relay_is_asked_about_its_table_until_that_is_written_down() {
        let (cluster, relay) = (ClusterId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        let mut live = Live::new(Addresses::Routable);
        let poll = |live: &mut Live, version| {
            let have = Have {
                kind: Kind::LeaseTable,
                epoch: 1,
                version,
                hash: Digest::default(),
            };
            let poll = Poll {
                beacon: None,
                have: vec![have],
                wait_ms: 0,
                left_out: Vec::new(),
            };
            let now = Now {
                boot: Boot(0),
                wall: Wall(0),
            };

            live.handle_poll(cluster, relay, &poll, now)
        };
        let first = TableVersion { epoch: 1, version: 1 };

        assert_eq!(poll(&mut live, 1), Some(first));
        assert_eq!(poll(&mut live, 1), Some(first), "the write of it may have failed");
        live.handle_noted(cluster, relay, first);
        assert_eq!(poll(&mut live, 1), None);
        assert_eq!(poll(&mut live, 2), Some(TableVersion { epoch: 1, version: 2 }));
    }
}
