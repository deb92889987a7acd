//! What no longer counts, by cluster: certificates, nodes and issuers.

use std::collections::{BTreeMap, BTreeSet};

use crate::certificate::{Holder, Identity};
use crate::document::authority::{RevocationList, Serial};
use crate::id::{ClusterId, NodeId};
use crate::key::Digest;

/// The revocations of every cluster that is known here, from their signed lists. A list of one cluster says nothing
/// about another.
#[derive(Clone, Debug, Default)]
pub struct Revocations(BTreeMap<ClusterId, OfCluster>);

impl Revocations {
    /// Adds what a cluster's list revokes; nothing is ever taken back. The caller has verified its signature.
    pub fn add(&mut self, cluster: ClusterId, list: &RevocationList) {
        let known = self.0.entry(cluster).or_default();
        known
            .certificates
            .extend(list.certificates.iter().map(|entry| (entry.issuer, entry.serial)));
        known.issuers.extend(&list.issuers);
        for entry in &list.nodes {
            let until = known.nodes.entry(entry.node).or_default();
            *until = entry.generation.max(*until);
        }
    }

    /// Notes which generation of its identity a node has now. A node that is listed up to a lower one is a node
    /// again; certificates do not carry the generation, so those of its earlier ones must be listed by serial.
    /// A listed node of which no generation was noted stays revoked.
    pub fn note_generation(&mut self, cluster: ClusterId, node: NodeId, generation: u64) {
        let known = self.0.entry(cluster).or_default();
        known.generations.insert(node, generation);
    }

    /// By what an identity is revoked, if it is. Asked at the handshake, and again before every stream.
    pub fn revoked(&self, identity: &Identity) -> Option<RevokedBy> {
        let known = self.0.get(&identity.cluster)?;
        if known.issuers.contains(&identity.issuer) {
            return Some(RevokedBy::Issuer);
        }
        if known.certificates.contains(&(identity.issuer, identity.serial)) {
            return Some(RevokedBy::Certificate);
        }
        match identity.holder {
            Holder::Node(node) if known.has_revoked(node) => Some(RevokedBy::Node),
            Holder::Node(_) | Holder::Controller(_) => None,
        }
    }
}

/// Which entry of a revocation list applies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevokedBy {
    /// This one certificate, by issuer and serial.
    Certificate,
    /// All certificates of its issuer.
    Issuer,
    /// The node, up to its present generation.
    Node,
}

impl RevokedBy {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "serial number",
            Self::Issuer => "issuer",
            Self::Node => "node",
        }
    }
}

#[derive(Clone, Debug, Default)]
struct OfCluster {
    certificates: BTreeSet<(Digest, Serial)>,
    issuers: BTreeSet<Digest>,
    /// The highest generation that is revoked.
    nodes: BTreeMap<NodeId, u64>,
    generations: BTreeMap<NodeId, u64>,
}

impl OfCluster {
    fn has_revoked(&self, node: NodeId) -> bool {
        let Some(until) = self.nodes.get(&node) else {
            return false;
        };

        self.generations.get(&node).is_none_or(|present| present <= until)
    }
}
