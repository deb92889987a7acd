//! What a cluster shows the world at one moment: signed documents, one beacon, one tree. Polls read nothing else.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::bytes::ByteVec;
use protocol::document::beacon::{Beacon, BeaconRank};
use protocol::envelope::{Envelope, Expected, Header, Kind, Subject};
use protocol::id::{ClusterId, NodeId};
use protocol::key::{Digest, VerifyKey};
use protocol::merkle::{Entry, Tree};
use protocol::wire::{Have, Poll, PollReply};

/// A document as it leaves the controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedDocument {
    pub kind: Kind,
    pub epoch: u64,
    pub version: u64,
    pub hash: Digest,
    pub bytes: Vec<u8>,
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

    /// The documents of one node.
    pub fn of(&self, node: NodeId) -> impl Iterator<Item = &Arc<SignedDocument>> {
        self.documents.get(&node).into_iter().flatten()
    }

    /// Judges the newest beacon that an agent has. Only one that this cluster's authority signed says anything.
    pub fn witness(&self, presented: &[u8]) -> Witness {
        let Ok(envelope) = Envelope::parse(presented) else {
            return Witness::Unproven;
        };
        // Cheap first: nearly every agent presents what is, or was, published here.
        if envelope.hash() == self.beacon_hash {
            return Witness::Agrees;
        }
        let expected = Expected {
            realm: self.cluster.into(),
            subject: Subject::All,
        };
        let place = |header: &Header| (header.epoch, header.version);
        let ours = (self.rank.epoch, self.rank.number);
        if place(envelope.claimed()) < ours {
            return Witness::Agrees;
        }
        let Ok(opened) = envelope.open::<Beacon>(&expected, &self.authority) else {
            return Witness::Unproven;
        };
        let rank = opened.body.rank(&opened.header);
        // The term says nothing here: it also grows when a copy of an old store is opened, and a number that this
        // store has not reached, or has given to another beacon, was given by a store that it does not know.
        match place(&opened.header) == ours && rank.term == self.rank.term {
            true => Witness::Fork { rank },
            false => Witness::Ahead { rank },
        }
    }
}

/// What an agent's newest beacon says about this controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// It is ours, or older than ours.
    Agrees,
    /// The fleet has seen a newer one: this store was rolled back.
    Ahead { rank: BeaconRank },
    /// Another content under our own triple: somebody else signs with this authority.
    Fork { rank: BeaconRank },
    /// Not signed by this cluster's authority; says nothing.
    Unproven,
}
