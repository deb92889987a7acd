//! What a request wrote, seen from what is compiled from it.

use std::collections::BTreeSet;

use control_core::settings::SettingsRow;
use control_core::store::{StoreError, Table, Tx, View};
use protocol::cbor;
use protocol::id::{ClusterId, NodeId};

use crate::fleet::Fleet;

/// What has to be looked at again before the next publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Clusters in which nodes, policies or controllers changed: every config may differ.
    pub members: BTreeSet<ClusterId>,
    /// Nodes whose routes changed.
    pub routes: BTreeSet<(ClusterId, NodeId)>,
    /// Nodes whose leases changed, and with them perhaps the relays they know.
    pub configs: BTreeSet<(ClusterId, NodeId)>,
    /// Nodes that went back to earlier settings: their own configs, and nobody else's.
    pub settings: BTreeSet<(ClusterId, NodeId)>,
    /// Relays whose lease table changed.
    pub relays: BTreeSet<(ClusterId, NodeId)>,
    /// Clusters whose bundle or revocations changed.
    pub trust: BTreeSet<ClusterId>,
    /// Clusters whose last publication failed: all of them is due, the next time that anything is.
    pub overdue: BTreeSet<ClusterId>,
    /// Whether a new beacon is due although nothing changed.
    pub beacon: bool,
    /// Everything, as after a start.
    pub all: bool,
}

impl Touched {
    pub fn everything() -> Self {
        Self {
            all: true,
            ..Self::default()
        }
    }

    /// Bundle and revocations of one cluster.
    pub fn trust_of(cluster: ClusterId) -> Self {
        Self {
            trust: BTreeSet::from([cluster]),
            ..Self::default()
        }
    }

    pub fn absorb(&mut self, other: Self) {
        self.members.extend(other.members);
        self.routes.extend(other.routes);
        self.configs.extend(other.configs);
        self.settings.extend(other.settings);
        self.relays.extend(other.relays);
        self.trust.extend(other.trust);
        self.overdue.extend(other.overdue);
        self.beacon |= other.beacon;
        self.all |= other.all;
    }

    /// Whether there is nothing to publish in `cluster`.
    pub fn leaves_alone(&self, cluster: ClusterId) -> bool {
        let touched = self.members.contains(&cluster) || self.trust.contains(&cluster);

        !(self.all || self.beacon || touched || self.has_nodes(cluster))
    }

    /// Whether single nodes of `cluster` are touched.
    pub fn has_nodes(&self, cluster: ClusterId) -> bool {
        let of = |set: &BTreeSet<(ClusterId, NodeId)>| set.iter().any(|(touched, _)| *touched == cluster);

        of(&self.routes) || of(&self.configs) || of(&self.settings) || of(&self.relays)
    }

    /// Whether every document of `cluster` may differ.
    pub fn is_whole(&self, cluster: ClusterId) -> bool {
        self.all || self.members.contains(&cluster) || self.overdue.contains(&cluster)
    }

    /// Whether nothing is to be published. What has failed waits for something that is.
    pub fn is_empty(&self) -> bool {
        let Self {
            members,
            routes,
            configs,
            settings,
            relays,
            trust,
            overdue: _,
            beacon,
            all,
        } = self;
        let configs = configs.is_empty() && settings.is_empty();
        let nodes = configs && routes.is_empty() && relays.is_empty();

        members.is_empty() && nodes && trust.is_empty() && !beacon && !all
    }
}

/// A transaction that notes which clusters' members and trust its writes concern. A node's row is looked into: what no
/// document contains is worth no publication. Routes and leases are noted by
/// who writes them, since their rows name the nodes.
pub struct Tracked<'a> {
    pub tx: &'a mut dyn Tx,
    pub touched: &'a mut Touched,
}

impl Tracked<'_> {
    fn note_node(&mut self, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) {
        let member = |bytes: Option<&[u8]>| bytes.and_then(Fleet::member_of);
        let Some(cluster) = key.first_chunk::<16>().map(|bytes| ClusterId::from_bytes(*bytes)) else {
            return;
        };
        match member(before).zip(member(after)) {
            Some((before, after)) if before.publishes_as(&after) => {
                if before.reverted != after.reverted {
                    self.touched.settings.insert((cluster, after.node));
                }
            }
            Some(_) | None => {
                self.touched.members.insert(cluster);
            }
        }
    }

    fn note_settings(&mut self, key: &[u8], before: Option<&[u8]>, after: &[u8]) {
        let row = |bytes: &[u8]| cbor::decode::<SettingsRow>(bytes).ok();
        let is_same = before
            .and_then(row)
            .zip(row(after))
            .is_some_and(|(before, after)| before.publishes_as(&after));
        if !is_same {
            self.note(Table::Settings, key);
        }
    }

    fn note(&mut self, table: Table, key: &[u8]) {
        let Some(cluster) = key.first_chunk::<16>().map(|bytes| ClusterId::from_bytes(*bytes)) else {
            return;
        };
        match table {
            Table::Policies | Table::Settings => {
                self.touched.members.insert(cluster);
            }
            Table::Clusters | Table::Authorities | Table::ControllerIdentities => {
                self.touched.members.insert(cluster);
                self.touched.trust.insert(cluster);
            }
            Table::IssuingCas | Table::Revocations => {
                self.touched.trust.insert(cluster);
            }
            Table::Installation
            | Table::Operators
            | Table::RoleGrants
            | Table::JoinTokens
            | Table::JoinRequests
            | Table::JoinRequestsByKey
            | Table::Nodes
            | Table::NodesByName
            | Table::Certificates
            | Table::Routes
            | Table::Leases
            | Table::Published
            | Table::Beacons
            | Table::Audit
            | Table::AuditHead
            | Table::Findings
            | Table::ManifestNonces
            | Table::Journal
            | Table::JournalHead
            | Table::RevocationFloors
            | Table::RoleFloors
            | Table::Behind => {}
        }
    }
}

impl View for Tracked<'_> {
    fn get_bytes(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.tx.get_bytes(table, key)
    }

    fn scan_bytes(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        self.tx.scan_bytes(table, prefix, after, limit)
    }
}

impl Tx for Tracked<'_> {
    fn put_bytes(&mut self, table: Table, key: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        if table == Table::Nodes {
            let before = self.tx.get_bytes(table, key)?;
            self.note_node(key, before.as_deref(), Some(&value));
        }
        if table == Table::Settings {
            let before = self.tx.get_bytes(table, key)?;
            self.note_settings(key, before.as_deref(), &value);
        } else {
            self.note(table, key);
        }
        self.tx.put_bytes(table, key, value)
    }

    fn delete_bytes(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        if table == Table::Nodes {
            let before = self.tx.get_bytes(table, key)?;
            self.note_node(key, before.as_deref(), None);
        }
        self.note(table, key);
        self.tx.delete_bytes(table, key)
    }
}
