//! What a cluster shows the world at one moment: signed documents, one beacon, one tree. Polls read nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control_routing::lease::TableVersion;
use minicbor::bytes::ByteVec;
use protocol::document::beacon::BeaconRank;
use protocol::document::config::SyntheticConfig;
use protocol::envelope::{Envelope, Expected, Kind, Subject};
use protocol::id::{ClusterId, NodeId};
use protocol::key::{Digest, VerifyKey};
use protocol::merkle::{Entry, Tree};
use protocol::net::Address;
use protocol::wire::{Have, Poll, PollReply};

use crate::live;

/// A document as it leaves the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedDocument {
    pub kind: Kind,
    pub epoch: u64,
    pub version: u64,
    pub hash: Digest,
    pub bytes: Vec<u8>,
    /// Versions and hashes of those it took the place of, newest last, a bounded number of them.
    pub earlier: Vec<(u64, Digest)>,
}

impl SignedDocument {
    /// Whether who polls lacks this and can use it.
    fn is_news(&self, poll: &Poll) -> bool {
        let has = |have: &Have| {
            (have.kind, have.epoch, have.version, have.hash)
                == (self.kind, self.epoch, self.version, self.hash)
        };

        !poll.have.iter().any(has) && !poll.left_out.contains(&self.entry())
    }

    /// How a leaf has it.
    pub fn entry(&self) -> Entry {
        Entry::new(self.kind, self.version, self.hash)
    }

    /// Whether `have` is this document, or one that it took the place of lately.
    fn is_or_was(&self, have: &Have) -> bool {
        let known = (have.version, have.hash);
        let is_one = (self.version, self.hash) == known || self.earlier.contains(&known);

        have.kind == self.kind && have.epoch == self.epoch && is_one
    }

    /// The predecessors of what takes the place of this.
    pub(crate) fn line(&self) -> Vec<(u64, Digest)> {
        let known = self.earlier.iter().copied().chain([(self.version, self.hash)]);
        let surplus = (self.earlier.len() + 1).saturating_sub(EARLIER);

        known.skip(surplus).collect()
    }
}

/// Immutable: a change makes a new one that shares what stayed.
#[derive(Clone, Debug)]
pub struct Publication {
    pub cluster: ClusterId,
    pub authority: VerifyKey,
    pub rank: BeaconRank,
    pub beacon_hash: Digest,
    pub beacon: Vec<u8>,
    pub bundle: Arc<SignedDocument>,
    pub revocations: Arc<SignedDocument>,
    pub documents: BTreeMap<NodeId, Vec<Arc<SignedDocument>>>,
    pub tree: Tree,
}

impl Publication {
    /// What a node with `poll.have` in force lacks; nothing if it has everything.
    pub fn news(&self, node: NodeId, poll: &Poll) -> Option<PollReply> {
        let documents: Vec<ByteVec> = self
            .of(node)
            .filter(|document| document.is_news(poll))
            .map(|document| document.bytes.clone().into())
            .collect();
        let shared: Vec<ByteVec> = [&self.bundle, &self.revocations]
            .into_iter()
            .filter(|document| document.is_news(poll))
            .map(|document| document.bytes.clone().into())
            .collect();
        if documents.is_empty() && shared.is_empty() {
            return None;
        }

        Some(PollReply {
            documents,
            shared,
            ..self.not_modified(node)?
        })
    }

    /// The beacon, and the proof of what it pins for this node; none for a node that nothing is published to.
    pub fn not_modified(&self, node: NodeId) -> Option<PollReply> {
        Some(PollReply {
            beacon: self.beacon.clone().into(),
            leaf: self.tree.leaf(node)?.entries().to_vec(),
            inclusion: self.tree.prove(node)?,
            documents: Vec::new(),
            shared: Vec::new(),
            retry_within_ms: None,
        })
    }

    /// The lease table that `have` names, if it is one that was published to `relay` lately. A version alone proves
    /// nothing: a store that was rolled back gives it to another table.
    pub fn table(&self, relay: NodeId, have: &Have) -> Option<TableVersion> {
        let mut published = self
            .of(relay)
            .filter(|document| document.kind == Kind::LeaseTable);
        let version = live::table_version(have)?;

        published
            .any(|document| document.is_or_was(have))
            .then_some(version)
    }

    /// The addresses of others that one node was told, each with its node.
    pub fn addresses_told(&self, reader: NodeId) -> BTreeSet<(NodeId, Address)> {
        let mut configs = self
            .of(reader)
            .filter(|document| document.kind == Kind::SyntheticConfig);
        let opened = configs
            .next()
            .and_then(|document| self.open_config(reader, &document.bytes));
        let neighbours = opened.into_iter().flat_map(|config| config.neighbours);

        neighbours
            .flat_map(|other| {
                let candidates = other.candidates.into_iter();

                candidates.map(move |candidate| (other.node, candidate.address.canonical()))
            })
            .collect()
    }

    fn open_config(&self, reader: NodeId, bytes: &[u8]) -> Option<SyntheticConfig> {
        let expected = Expected {
            realm: self.cluster.into(),
            subject: Subject::Node(reader),
        };
        let opened = Envelope::parse(bytes)
            .ok()?
            .open(&expected, &self.authority)
            .ok()?;

        Some(opened.body)
    }

    /// The documents of one node.
    pub fn of(&self, node: NodeId) -> impl Iterator<Item = &Arc<SignedDocument>> {
        self.documents.get(&node).into_iter().flatten()
    }
}

/// A poll that is on its way meanwhile names one of the last few: at ten publications a second, those of more than one.
const EARLIER: usize = 16;
