//! What the controller knows and does not store: who was heard, what was measured, what relays said they have.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use control_core::liveness::{Addresses, Change, DOCUMENTS, HeartbeatRefused, Liveness, Seen};
use control_core::node::{self, NodeRow, Tenure};
use control_core::store::{StoreError, View};
use control_core::{cluster, liveness};
use control_routing::lease::TableVersion;
use control_routing::observations::{Observations, Stats};
use control_routing::suspicion::Suspicion;
use control_routing::trend::Trends;
use protocol::document::config::LeftOut;
use protocol::envelope::Kind;
use protocol::error::Code;
use protocol::id::{ClusterId, NodeId, RouteId};
use protocol::net::Address;
use protocol::time::{Boot, Now, Wall};
use protocol::wire::{Have, Heartbeat, Poll, Report};

use crate::failure::Failure;
use crate::pace::{Asked, Turnstile};
use crate::publication::Publication;
use crate::request::Request;
use crate::router::Passed;

/// Memory of one controller process, for all its clusters.
#[derive(Clone, Debug)]
pub struct Live {
    liveness: Liveness,
    clusters: BTreeMap<ClusterId, ClusterLife>,
    /// Relays whose acknowledgement of a lease table the store is not known to hold.
    unacknowledged: BTreeSet<liveness::Key>,
}

/// Memory of one cluster.
#[derive(Clone, Debug, Default)]
pub struct ClusterLife {
    pub observations: Observations,
    /// As the last pass over the routes left them.
    pub trends: Trends,
    /// Whether they go on from what was before this process.
    recalled: bool,
    /// Whom the last pass over the routes did not believe.
    pub suspicion: Suspicion,
    nodes: BTreeMap<NodeId, NodeLife>,
    due: Due,
}

/// What was told since the last pass over the routes.
#[derive(Clone, Debug, Default)]
pub struct Due {
    pub routes: BTreeSet<RouteId>,
    /// Nodes whose links came or went.
    pub nodes: BTreeSet<NodeId>,
}

/// Memory of one node, besides its heartbeats.
#[derive(Clone, Debug, Default)]
struct NodeLife {
    poll: LastPoll,
    /// The lease table that it has, if it is one that was published here.
    table: Option<TableVersion>,
    /// The last one whose acknowledgement is stored.
    acknowledged: Option<TableVersion>,
    /// Its addresses that are stored as confirmed.
    confirmed: Vec<Address>,
    turnstile: Turnstile,
}

/// What the newest poll of a node said.
#[derive(Clone, Debug, Default)]
pub struct LastPoll {
    pub at: Option<Now>,
    pub have: Vec<Have>,
}

/// What was measured, and of what a decision may be due.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    pub observations: Observations,
    pub due: Due,
}

impl ClusterLife {
    /// What a pass over the routes decides on, to be taken along: copying it costs a pointer for each reporter. What was
    /// told until now counts as looked at.
    pub fn evidence(&mut self) -> Evidence {
        Evidence {
            observations: self.observations.clone(),
            due: std::mem::take(&mut self.due),
        }
    }

    /// What the next pass goes on from; none as long as nothing was recalled.
    pub fn memory(&self) -> Option<Trends> {
        self.recalled.then(|| self.trends.clone())
    }

    /// Goes on from what was before this process.
    pub fn recall(&mut self, trends: Trends) {
        (self.trends, self.recalled) = (trends, true);
    }

    /// Takes over what a pass over the routes found, and what the next one goes on from. What could not be stored of it
    /// never happened: the next pass decides it anew, and would count a move twice.
    pub fn handle_pass(&mut self, passed: &Passed, unstored: &BTreeSet<RouteId>) {
        let stored = passed
            .trends
            .iter()
            .filter(|(route, _)| !unstored.contains(route));
        for (route, trend) in stored {
            self.trends.set(*route, trend.clone());
        }
        self.suspicion.clone_from(&passed.suspicion);
    }

    /// Drops what a node that is gone for good said, and what was said of it.
    fn forget(&mut self, node: NodeId) {
        self.observations.forget(node);
        self.nodes.remove(&node);
    }
}

impl Live {
    pub fn new(addresses: Addresses) -> Self {
        Self {
            liveness: Liveness::new(addresses),
            clusters: BTreeMap::new(),
            unacknowledged: BTreeSet::new(),
        }
    }

    /// Takes over what is stored of every node: at start, and for those who joined since. Forgets who was revoked. A
    /// cluster that cannot be read holds up no other; its error comes back.
    pub fn restore(&mut self, view: &dyn View, now: Now) -> Result<(), StoreError> {
        let mut outcome = Ok(());
        for cluster in cluster::ids(view)? {
            match node::list(view, cluster) {
                Ok(rows) => rows.iter().for_each(|row| self.restore_node(row, now)),
                Err(error) => outcome = Err(error),
            }
        }

        outcome
    }

    /// Takes over what is stored of one node.
    pub fn restore_node(&mut self, row: &NodeRow, now: Now) {
        let key = (row.cluster, row.id);
        if row.tenure == Tenure::Revoked {
            let was_known = self.liveness.get(row.cluster, row.id).is_some();
            self.liveness.restore(row, now);
            self.unacknowledged.remove(&key);
            // Once: what all others said is looked through for it, and the row stays.
            let life = self.clusters.get_mut(&row.cluster);
            if let Some(life) = life.filter(|life| was_known || life.nodes.contains_key(&row.id)) {
                life.forget(row.id);
            }
            return;
        }
        if self.liveness.get(row.cluster, row.id).is_none() {
            self.liveness.restore(row, now);
        }
        if let Some(confirmed) = &row.confirmed {
            self.node(key).confirmed.clone_from(confirmed);
        }
    }

    /// Lets one request of a node in, unless it asks more often than any has to.
    pub fn admit(&mut self, key: liveness::Key, asked: Asked, now: Boot) -> Result<(), Failure> {
        self.node(key).turnstile.admit(asked, now)
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

    /// Takes a report in, and says whether something has become worse: that wants a decision at once.
    pub fn handle_report(&mut self, cluster: ClusterId, node: NodeId, report: &Report, now: Boot) -> bool {
        let life = self.clusters.entry(cluster).or_default();
        let mut news = life.observations.handle_report(cluster, node, report, now);
        let is_urgent = !news.worse.is_empty();
        life.due.routes.append(&mut news.changed);
        life.due.routes.append(&mut news.worse);
        if news.relinked {
            life.due.nodes.insert(node);
        }

        is_urgent
    }

    /// Addresses at which `reporter` says that its handshakes reached others, and which are not stored as confirmed yet.
    /// Only what a node publishes itself counts: nobody can confirm for it what it does not claim. And only whom the
    /// controller told an address can have dialled it: neither the node itself, nor a friend that it told.
    pub fn reached(
        &self,
        publication: &Publication,
        reporter: NodeId,
        report: &Report,
    ) -> Vec<(NodeId, Address)> {
        let cluster = publication.cluster;
        let known = |node| {
            let life = self.clusters.get(&cluster)?;

            life.nodes.get(&node)
        };
        let news = report.links.iter().filter_map(|link| {
            let address = link.reached.filter(|_| link.connected)?.canonical();
            let seen = self.liveness.get(cluster, link.peer)?;
            let is_published = seen
                .candidates
                .iter()
                .any(|candidate| candidate.address == address);
            let is_known = known(link.peer).is_some_and(|known| known.confirmed.contains(&address));

            (is_published && !is_known).then_some((link.peer, address))
        });
        let news: Vec<(NodeId, Address)> = news.collect();
        if news.is_empty() {
            return news;
        }
        let told = publication.addresses_told(reporter);

        news.into_iter().filter(|pair| told.contains(pair)).collect()
    }

    /// Notes what a node has in force. Returns the lease table it has, if the store is not known to hold that.
    pub fn handle_poll(
        &mut self,
        publication: &Publication,
        node: NodeId,
        poll: &Poll,
        now: Now,
    ) -> Option<TableVersion> {
        let key = (publication.cluster, node);
        let table = poll.have.iter().find_map(|have| publication.table(node, have));
        let known = self.node(key);
        known.poll = LastPoll {
            at: Some(now),
            have: poll.have.clone(),
        };
        known.table = table;
        // What a relay had before tells nothing of what it has been given since: a relay that polls with one and the other in
        // turn would have its leases looked through each time.
        let unstored = table.filter(|table| known.acknowledged < Some(*table));
        match unstored {
            Some(_) => self.unacknowledged.insert(key),
            None => self.unacknowledged.remove(&key),
        };

        unstored
    }

    /// Lets what was measured grow old: what nobody repeats goes.
    pub fn prune(&mut self, now: Boot) {
        for life in self.clusters.values_mut() {
            life.observations.handle_timeout(now);
        }
    }

    /// Lets presence age.
    pub fn handle_timeout(&mut self, now: Now) -> Vec<Change> {
        self.liveness.handle_timeout(now)
    }

    /// Everything that memory holds and the store is not known to hold, as the requests that store it. They come again
    /// until [`handle_done`](Self::handle_done) has heard of them.
    pub fn unstored(&mut self, now: Now) -> Vec<Request> {
        let changes = self.handle_timeout(now);
        let heard = (!changes.is_empty()).then_some(Request::Heard { changes });
        let carried = self.unacknowledged.iter().filter_map(|(cluster, relay)| {
            let table = self.clusters.get(cluster)?.nodes.get(relay)?.table?;

            Some(Request::Carried {
                cluster: *cluster,
                relay: *relay,
                table,
            })
        });

        heard.into_iter().chain(carried).collect()
    }

    /// Takes in that a request is stored.
    pub fn handle_done(&mut self, request: &Request) {
        match request {
            Request::Heard { changes } => self.handle_stored(changes),
            Request::Carried {
                cluster,
                relay,
                table,
            } => {
                let key = (*cluster, *relay);
                let known = self.node(key);
                known.acknowledged = known.acknowledged.max(Some(*table));
                if known.table <= known.acknowledged {
                    self.unacknowledged.remove(&key);
                }
            }
            Request::Join(_)
            | Request::Renew(_)
            | Request::Leave
            | Request::Act { .. }
            | Request::BackedUp { .. }
            | Request::Confirm { .. }
            | Request::Doubt { .. }
            | Request::Decide { .. }
            | Request::Serve { .. }
            | Request::Behind(_)
            | Request::Tick => {}
        }
    }

    /// Takes in that changes are stored.
    pub fn handle_stored(&mut self, changes: &[Change]) {
        self.liveness.handle_stored(changes);
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

    /// Addresses that a node claimed in its last heartbeat and that nobody is told of.
    pub fn left_out(&self, cluster: ClusterId, node: NodeId) -> &[LeftOut] {
        self.seen(cluster, node)
            .map_or(&[], |seen| seen.left_out.as_slice())
    }

    pub fn last_poll(&self, cluster: ClusterId, node: NodeId) -> Option<&LastPoll> {
        let known = self.clusters.get(&cluster)?.nodes.get(&node)?;

        Some(&known.poll)
    }

    /// What reports brought that was not believed, since the start, in all clusters.
    pub fn stats(&self) -> Stats {
        let all = self.clusters.values().map(|life| life.observations.stats());

        all.fold(Stats::default(), Stats::plus)
    }

    pub fn of(&self, cluster: ClusterId) -> Option<&ClusterLife> {
        self.clusters.get(&cluster)
    }

    pub fn of_mut(&mut self, cluster: ClusterId) -> &mut ClusterLife {
        self.clusters.entry(cluster).or_default()
    }

    fn node(&mut self, (cluster, node): liveness::Key) -> &mut NodeLife {
        self.of_mut(cluster).nodes.entry(node).or_default()
    }
}

/// A poll that lists more than there is; only that many documents are looked for at every publication.
pub fn check_poll(poll: &Poll) -> Result<(), Failure> {
    match poll.have.len() > DOCUMENTS {
        true => Err(Failure::new(
            Code::ValidationFailed,
            format!("a poll lists at most {DOCUMENTS} documents"),
        )),
        false => Ok(()),
    }
}

/// The lease table that a [`Have`] names, if it is one.
pub fn table_version(have: &Have) -> Option<TableVersion> {
    (have.kind == Kind::LeaseTable).then_some(TableVersion {
        epoch: have.epoch,
        version: have.version,
    })
}
