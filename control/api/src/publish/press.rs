//! What the writer keeps of all clusters from publication to publication.

use std::collections::BTreeMap;

use control_routing::lease::Lease;
use protocol::id::{ClusterId, NodeId};

use super::records::Records;
use crate::fleet::LastGood;
use crate::publish::Publications;

/// See the module.
#[derive(Default)]
pub struct Press {
    /// What every cluster shows.
    pub publications: Publications,
    clusters: BTreeMap<ClusterId, Kept>,
}

impl Press {
    /// Drops what may be of rows that were never stored: what follows is read anew.
    pub fn forget(&mut self) {
        self.clusters.values_mut().for_each(Kept::forget);
    }

    pub(super) fn of(&mut self, cluster: ClusterId) -> &mut Kept {
        self.clusters.entry(cluster).or_default()
    }

    /// The leases that the newest table of a relay carries; none if nobody knows.
    pub fn carried_by(&self, cluster: ClusterId, relay: NodeId) -> Option<impl Iterator<Item = &Lease>> {
        let records = self.clusters.get(&cluster)?.records.as_ref()?;

        Some(records.fleet().leases.carried_by(relay))
    }
}

/// What is kept of one cluster.
#[derive(Default)]
pub(super) struct Kept {
    /// None until the cluster was read, and after rows were published that did not come to be stored.
    pub records: Option<Records>,
    /// Nodes and policies as they could be read last, as long as no records say it.
    pub last_good: LastGood,
}

impl Kept {
    /// Drops what may be of rows that were never stored.
    pub(super) fn forget(&mut self) {
        if let Some(records) = self.records.take() {
            self.last_good = records.books.into_last_good();
        }
    }
}
