//! What every reader shares: the publications in force, the store's snapshots, and what lives in memory alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use agent_shell::quic;
use agent_shell::tls::Trust;
use control_api::live::Live;
use control_api::publication::Publication;
use control_api::publish::Publications;
use control_api::touched::Touched;
use control_api::witness::{Origins, Witness};
use control_core::behind::BehindRow;
use control_store::{Snapshot, StoreReader};
use protocol::admit::{Anchors, Revocations};
use protocol::certificate::Identity;
use protocol::document::authority::{RevocationList, TrustBundle};
use protocol::envelope::{Envelope, Expected, Subject};
use protocol::error::Code;
use protocol::id::{ClusterId, NodeId};
use tokio::runtime::Handle;

use crate::leaves::Leaves;
use crate::pulse::Pulse;
use crate::shown::{Follower, Shown};

/// Written by the writer alone, after each commit.
pub struct Board {
    shown: Shown,
    reader: StoreReader,
    live: Mutex<Live>,
    trust: Trust,
    leaves: Leaves,
    connections: Mutex<BTreeMap<(ClusterId, NodeId), Vec<Connected>>>,
    origins: RwLock<Origins>,
    /// What an agent has shown that this store never made. Nothing takes it away but another store.
    behind: RwLock<Option<BehindRow>>,
    runtime: Option<Handle>,
    pulse: Pulse,
}

/// A live connection, and what it was admitted as.
struct Connected {
    identity: Identity,
    connection: quinn::Connection,
}

impl Board {
    pub fn new(reader: StoreReader, live: Live, trust: Trust, leaves: Leaves, pulse: Pulse) -> Self {
        Self {
            shown: Shown::default(),
            reader,
            live: Mutex::new(live),
            trust,
            leaves,
            connections: Mutex::default(),
            origins: RwLock::default(),
            behind: RwLock::default(),
            runtime: Handle::try_current().ok(),
            pulse,
        }
    }

    pub fn snapshot(&self) -> Snapshot {
        self.reader.snapshot()
    }

    pub fn reader(&self) -> &StoreReader {
        &self.reader
    }

    pub fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the writer turns.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    pub fn publication(&self, cluster: ClusterId) -> Option<Arc<Publication>> {
        self.shown
            .with(|publications| publications.get(&cluster).cloned())
    }

    /// What every cluster shows.
    pub fn publications(&self) -> Publications {
        self.shown.with(Clone::clone)
    }

    /// Tells when something new is published.
    pub(crate) fn follow(&self) -> Follower<'_> {
        self.shown.follow()
    }

    /// Why this controller writes nothing, if it does not.
    pub fn read_only(&self) -> Option<String> {
        let full = self.reader.is_full().then(|| "the disk is full".to_owned());

        self.behind().map(|row| row.why()).or(full)
    }

    /// What an agent has shown that this store never made, if any has.
    pub fn behind(&self) -> Option<BehindRow> {
        self.behind.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From here on the writer takes nothing but the mark itself. What was shown first stays.
    pub fn set_behind(&self, row: BehindRow) {
        let mut behind = self.behind.write().unwrap_or_else(PoisonError::into_inner);
        behind.get_or_insert(row);
    }

    /// Takes over what stood in the store when this process opened it.
    pub(crate) fn set_origins(&self, origins: Origins) {
        *self.origins.write().unwrap_or_else(PoisonError::into_inner) = origins;
    }

    /// Judges the beacon that an agent shows.
    pub fn witness(&self, publication: &Publication, presented: &[u8]) -> Witness {
        self.origins
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .judge(publication, presented)
    }

    /// Puts a commit in front of every reader.
    pub(crate) fn show(&self, publications: Publications, touched: &Touched) {
        if touched.all || !touched.trust.is_empty() || !touched.overdue.is_empty() {
            self.retrust(&publications);
            self.leaves.refresh(&self.snapshot());
        }
        let mut origins = self.origins.write().unwrap_or_else(PoisonError::into_inner);
        for publication in publications.values() {
            origins.note(publication);
        }
        drop(origins);
        self.shown.replace(publications);
    }

    /// Remembers a node's connection, so that revocation can close it.
    pub(crate) fn connected(&self, node: NodeId, identity: Identity, connection: quinn::Connection) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        let of_node = connections.entry((identity.cluster, node)).or_default();
        of_node.retain(|known| known.connection.close_reason().is_none());
        of_node.push(Connected { identity, connection });
    }

    /// Forgets connections that have ended.
    pub(crate) fn disconnected(&self, cluster: ClusterId, node: NodeId) {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_node) = connections.get_mut(&(cluster, node)) {
            of_node.retain(|known| known.connection.close_reason().is_none());
            if of_node.is_empty() {
                connections.remove(&(cluster, node));
            }
        }
    }

    /// Nodes that are connected now.
    pub fn connected_nodes(&self) -> usize {
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    /// Takes anchors and revocations from what is published, and asks every live connection again.
    fn retrust(&self, publications: &Publications) {
        let (mut anchors, mut revocations) = (Anchors::default(), Revocations::default());
        for (cluster, publication) in publications {
            let opened = open(publication);
            let Some((bundle, list)) = opened else {
                tracing::error!(?cluster, "what this controller published does not open");
                continue;
            };
            if let Err(error) = anchors.put(*cluster, &bundle) {
                tracing::error!(?cluster, %error, "the published trust bundle cannot be used");
            }
            revocations.add(*cluster, &list);
        }
        self.trust.replace(anchors, revocations);
        self.close_revoked();
    }

    /// A node that leaves is revoked by its own request, whose answer should still reach it.
    fn close_soon(&self, connection: quinn::Connection) {
        let close = |connection: &quinn::Connection| quic::close(connection, Code::NodeRevoked);
        match &self.runtime {
            None => close(&connection),
            Some(runtime) => {
                runtime.spawn(async move {
                    tokio::time::sleep(LAST_ANSWER).await;
                    close(&connection);
                });
            }
        }
    }

    /// Revocation closes live connections: TLS judged them when they were made, and nobody has since.
    fn close_revoked(&self) {
        let trust = self.trust.get();
        let connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        for ((_, node), of_node) in connections.iter() {
            for Connected { identity, connection } in of_node {
                if let Some(by) = trust.revocations.revoked(identity) {
                    tracing::info!(
                        ?node,
                        by = by.name(),
                        "closed the connection of a revoked identity"
                    );
                    self.close_soon(connection.clone());
                }
            }
        }
    }
}

fn open(publication: &Publication) -> Option<(TrustBundle, RevocationList)> {
    let expected = Expected {
        realm: publication.cluster.into(),
        subject: Subject::All,
    };
    let bundle = Envelope::parse(&publication.bundle.bytes)
        .ok()?
        .open(&expected, &publication.authority)
        .ok()?;
    let list = Envelope::parse(&publication.revocations.bytes)
        .ok()?
        .open(&expected, &publication.authority)
        .ok()?;

    Some((bundle.body, list.body))
}

/// For an answer under way; no stream of a revoked identity is served meanwhile.
const LAST_ANSWER: Duration = Duration::from_millis(200);
