//! What the shell itself needs of the documents in force: certificates, trust, names.

use std::collections::BTreeMap;

use agent_core::control::NodeIdentity;
use protocol::admit::{Anchors, InvalidBundle, Revocations};
use protocol::document::authority::{RevocationList, TrustBundle};
use protocol::document::config::SyntheticConfig;
use protocol::id::{ClusterId, NodeId};

use crate::station::Station;
use crate::tls;

/// What handshakes are judged by, and who is who.
#[derive(Debug, Default)]
pub(crate) struct InForce {
    us: Option<(NodeId, ClusterId)>,
    name: String,
    anchors: Anchors,
    revocations: Revocations,
    names: BTreeMap<NodeId, String>,
}

impl InForce {
    /// This node and its cluster, once it has an identity.
    pub(crate) fn us(&self) -> Option<(NodeId, ClusterId)> {
        self.us
    }

    /// What this node is called.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// The neighbours of the config, by id.
    pub(crate) fn names(&self) -> &BTreeMap<NodeId, String> {
        &self.names
    }

    pub(crate) fn revocations(&self) -> &Revocations {
        &self.revocations
    }

    /// Shows another certificate from the next handshake on.
    pub(crate) fn adopt_identity(
        &mut self,
        identity: &NodeIdentity,
        station: &Station,
    ) -> Result<(), rustls::Error> {
        let leaf = tls::certified_key(identity.certificate.to_vec(), &identity.key)?;
        station.leaf.replace(leaf);
        self.us = Some((identity.node, identity.cluster));
        self.name.clone_from(&identity.name);
        self.note_generation(identity.node, identity.generation);
        self.apply(station);

        Ok(())
    }

    pub(crate) fn adopt_bundle(
        &mut self,
        bundle: &TrustBundle,
        station: &Station,
    ) -> Result<(), InvalidBundle> {
        if let Some((_, cluster)) = self.us {
            self.anchors.put(cluster, bundle)?;
            self.apply(station);
        }

        Ok(())
    }

    pub(crate) fn adopt_revocations(&mut self, list: &RevocationList, station: &Station) {
        if let Some((_, cluster)) = self.us {
            self.revocations.add(cluster, list);
            self.apply(station);
        }
    }

    pub(crate) fn adopt_config(&mut self, config: &SyntheticConfig, station: &Station) {
        self.name.clone_from(&config.name);
        let neighbours = config.neighbours.iter();
        self.names = neighbours.map(|node| (node.node, node.name.clone())).collect();
        for neighbour in &config.neighbours {
            self.note_generation(neighbour.node, neighbour.generation);
        }
        self.apply(station);
    }

    fn note_generation(&mut self, node: NodeId, generation: u64) {
        if let Some((_, cluster)) = self.us {
            self.revocations.note_generation(cluster, node, generation);
        }
    }

    fn apply(&self, station: &Station) {
        station
            .trust
            .replace(self.anchors.clone(), self.revocations.clone());
    }
}
