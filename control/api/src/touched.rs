//! What a request wrote, seen from what is compiled from it.

use std::collections::{BTreeMap, BTreeSet};

use control_core::settings::SettingsRow;
use control_core::store::{StoreError, Table, Tx, View};
use control_routing::lease::Lease;
use protocol::cbor;
use protocol::id::ClusterId;

use crate::books::{Book, Written};
use crate::fleet::Fleet;

/// What has to be looked at again before the next publication.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// Clusters in which policies, settings or controllers changed: every config may differ.
    pub members: BTreeSet<ClusterId>,
    /// Clusters in which nodes, routes or leases changed in what documents say.
    pub records: BTreeSet<ClusterId>,
    /// The rows of nodes, routes and leases that were written, whatever documents say of them.
    pub rows: BTreeMap<ClusterId, Written>,
    /// Clusters whose bundle or revocations changed.
    pub trust: BTreeSet<ClusterId>,
    /// Clusters whose last publication failed: all of them is due, the next time that they are [tried](Self::retries).
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
        self.records.extend(other.records);
        for (cluster, mut written) in other.rows {
            self.rows.entry(cluster).or_default().append(&mut written);
        }
        self.trust.extend(other.trust);
        self.overdue.extend(other.overdue);
        self.beacon |= other.beacon;
        self.all |= other.all;
    }

    /// Whether there is nothing to publish in `cluster`.
    pub fn leaves_alone(&self, cluster: ClusterId) -> bool {
        let touched = self.members.contains(&cluster) || self.trust.contains(&cluster);

        !(self.all || self.beacon || touched || self.has_news(cluster))
    }

    /// Whether a `cluster` whose last publication failed is tried again: with a beacon, and at once for what may have
    /// mended it or must not wait. A change of single records does neither, and each try reads and compiles all of it.
    pub fn retries(&self, cluster: ClusterId) -> bool {
        self.all || self.beacon || self.members.contains(&cluster) || self.trust.contains(&cluster)
    }

    /// Whether documents of single nodes of `cluster` may differ.
    pub fn has_news(&self, cluster: ClusterId) -> bool {
        self.records.contains(&cluster)
    }

    /// Whether every document of `cluster` may differ.
    pub fn is_whole(&self, cluster: ClusterId) -> bool {
        self.all || self.members.contains(&cluster) || self.overdue.contains(&cluster)
    }

    /// Whether nothing is to be published. What has failed waits for something that is.
    pub fn is_empty(&self) -> bool {
        let Self {
            members,
            records,
            rows: _,
            trust,
            overdue: _,
            beacon,
            all,
        } = self;

        members.is_empty() && records.is_empty() && trust.is_empty() && !beacon && !all
    }
}

/// A transaction that notes what its writes concern. Rows of nodes, leases and settings are looked into: what no document
/// contains is worth no publication.
pub struct Tracked<'a> {
    pub tx: &'a mut dyn Tx,
    pub touched: &'a mut Touched,
}

impl Tracked<'_> {
    /// Notes a row of a book as it was and as it will be.
    fn note_row(&mut self, book: Book, key: &[u8], before: Option<&[u8]>, after: Option<&[u8]>) {
        let Some(cluster) = cluster_of(key) else {
            return;
        };
        let is_published = match book {
            Book::Nodes => {
                let member = |bytes: Option<&[u8]>| bytes.and_then(Fleet::member_of);
                let pair = member(before).zip(member(after));

                pair.is_none_or(|(before, after)| {
                    !before.publishes_as(&after) || before.reverted != after.reverted
                })
            }
            Book::Leases => {
                let lease = |bytes: Option<&[u8]>| bytes.and_then(|bytes| cbor::decode::<Lease>(bytes).ok());
                let pair = lease(before).zip(lease(after));

                pair.is_none_or(|(before, after)| !before.publishes_as(&after))
            }
            Book::Routes | Book::Policies => true,
        };
        if is_published {
            self.touched.records.insert(cluster);
        }
        let written = self.touched.rows.entry(cluster).or_default();
        written.insert((book, key.to_vec()));
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
        let Some(cluster) = cluster_of(key) else {
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
        match Book::of(table) {
            Some(book) => {
                let before = self.tx.get_bytes(table, key)?;
                self.note_row(book, key, before.as_deref(), Some(&value));
            }
            None if table == Table::Settings => {
                let before = self.tx.get_bytes(table, key)?;
                self.note_settings(key, before.as_deref(), &value);
            }
            None => {}
        }
        if table != Table::Settings {
            self.note(table, key);
        }
        self.tx.put_bytes(table, key, value)
    }

    fn delete_bytes(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        if let Some(book) = Book::of(table) {
            let before = self.tx.get_bytes(table, key)?;
            self.note_row(book, key, before.as_deref(), None);
        }
        self.note(table, key);
        self.tx.delete_bytes(table, key)
    }
}

fn cluster_of(key: &[u8]) -> Option<ClusterId> {
    key.first_chunk::<16>().map(|bytes| ClusterId::from_bytes(*bytes))
}
