//! What a request wrote, seen from what is compiled from it.

use std::collections::BTreeSet;

use control_core::store::{StoreError, Table, Tx, View};
use protocol::id::{ClusterId, NodeId};

/// What has to be looked at again before the next publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Clusters in which nodes, policies or controllers changed: every config may differ.
    pub members: BTreeSet<ClusterId>,
    /// Nodes whose routes changed.
    pub routes: BTreeSet<(ClusterId, NodeId)>,
    /// Relays whose lease table changed.
    pub relays: BTreeSet<(ClusterId, NodeId)>,
    /// Clusters whose bundle or revocations changed.
    pub trust: BTreeSet<ClusterId>,
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

    pub fn absorb(&mut self, other: Self) {
        self.members.extend(other.members);
        self.routes.extend(other.routes);
        self.relays.extend(other.relays);
        self.trust.extend(other.trust);
        self.beacon |= other.beacon;
        self.all |= other.all;
    }

    /// Whether there is nothing to publish in `cluster`.
    pub fn leaves_alone(&self, cluster: ClusterId) -> bool {
        let of = |set: &BTreeSet<(ClusterId, NodeId)>| set.iter().any(|(touched, _)| *touched == cluster);
        let touched = self.members.contains(&cluster) || self.trust.contains(&cluster);

        !(self.all || self.beacon || touched || of(&self.routes) || of(&self.relays))
    }
}

/// A transaction that notes which clusters' members and trust its writes concern. Routes and leases are noted by
/// who writes them, since their rows name the nodes.
pub struct Tracked<'a> {
    pub tx: &'a mut dyn Tx,
    pub touched: &'a mut Touched,
}

impl Tracked<'_> {
    fn note(&mut self, table: Table, key: &[u8]) {
        let Some(cluster) = key.first_chunk::<16>().map(|bytes| ClusterId::from_bytes(*bytes)) else {
            return;
        };
        match table {
            Table::Nodes | Table::Policies => {
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
        self.note(table, key);
        self.tx.put_bytes(table, key, value)
    }

    fn delete_bytes(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.note(table, key);
        self.tx.delete_bytes(table, key)
    }
}
