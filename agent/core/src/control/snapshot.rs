//! The documents in force: one snapshot, kept and written whole, in two generations.

use std::sync::Arc;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::document::authority::{RevocationList, TrustBundle};
use protocol::document::beacon::Beacon;
use protocol::document::config::SyntheticConfig;
use protocol::document::routes::{LeaseTable, Routes};
use protocol::envelope::{Document, Kind, Opened, Subject};
use protocol::id::{ClusterId, NodeId};
use protocol::wire::Have;

use super::effect::{Adopted, Payload};
use super::file::{Damaged, FileName};
use super::marks::{BeaconMark, Marks};
use super::trust::{Refused, Trust};

/// A verified document with the bytes that were signed.
#[derive(Clone, Debug)]
pub(super) struct Held<D> {
    pub(super) opened: Arc<Opened<D>>,
    pub(super) bytes: Arc<ByteVec>,
}

impl<D: Document> Held<D> {
    /// Opens `bytes`, which the authority must have signed.
    pub(super) fn open(trust: &Trust, bytes: &ByteVec, subject: Subject) -> Result<Self, Refused> {
        Ok(Self {
            opened: Arc::new(trust.open(bytes, subject)?),
            bytes: Arc::new(bytes.clone()),
        })
    }

    pub(super) fn have(&self) -> Have {
        Have {
            kind: D::KIND,
            epoch: self.opened.header.epoch,
            version: self.opened.header.version,
            hash: self.opened.hash,
        }
    }
}

/// What is in force, or is about to be.
#[derive(Clone, Debug, Default)]
pub(super) struct Snapshot {
    pub(super) beacon: Option<Held<Beacon>>,
    pub(super) bundle: Option<Held<TrustBundle>>,
    pub(super) revocations: Option<Held<RevocationList>>,
    pub(super) config: Option<Held<SyntheticConfig>>,
    pub(super) routes: Option<Held<Routes>>,
    pub(super) leases: Option<Held<LeaseTable>>,
}

impl Snapshot {
    /// What a controller is told that this node has in force.
    pub(super) fn have(&self) -> Vec<Have> {
        [
            self.bundle.as_ref().map(Held::have),
            self.revocations.as_ref().map(Held::have),
            self.config.as_ref().map(Held::have),
            self.routes.as_ref().map(Held::have),
            self.leases.as_ref().map(Held::have),
        ]
        .into_iter()
        .flatten()
        .collect()
    }

    /// The marks that this snapshot alone asks for.
    pub(super) fn marks(&self) -> Marks {
        let mut marks = Marks::default();
        if let Some(mark) = self.beacon_mark() {
            marks.note_beacon(mark);
        }
        for have in self.have() {
            marks.note(have);
        }

        marks
    }

    pub(super) fn beacon_mark(&self) -> Option<BeaconMark> {
        let opened = &self.beacon.as_ref()?.opened;

        Some(BeaconMark {
            rank: opened.body.rank(&opened.header),
            hash: opened.hash,
            issued_at: opened.header.issued_at,
        })
    }

    /// What the mesh is handed of it, in the order in which one thing leans on another.
    pub(super) fn adopted(&self, wanted: impl Fn(Kind) -> bool) -> Vec<Adopted> {
        let opened = |kind: Kind| wanted(kind);
        let mut adopted = Vec::new();
        if let Some(held) = self.bundle.as_ref().filter(|_| opened(Kind::TrustBundle)) {
            adopted.push(Adopted::Bundle((*held.opened).clone()));
        }
        if let Some(held) = self.revocations.as_ref().filter(|_| opened(Kind::RevocationList)) {
            adopted.push(Adopted::Revocations((*held.opened).clone()));
        }
        if let Some(held) = self.config.as_ref().filter(|_| opened(Kind::SyntheticConfig)) {
            adopted.push(Adopted::Config(Box::new((*held.opened).clone())));
        }
        if let Some(held) = self.routes.as_ref().filter(|_| opened(Kind::Routes)) {
            adopted.push(Adopted::Routes((*held.opened).clone()));
        }
        if let Some(held) = self.leases.as_ref().filter(|_| opened(Kind::LeaseTable)) {
            adopted.push(Adopted::LeaseTable((*held.opened).clone()));
        }

        adopted
    }

    /// The file of `generation` with this snapshot in it.
    pub(super) fn file(&self, generation: u64, cluster: ClusterId, node: NodeId) -> (FileName, Payload) {
        fn bytes<D>(held: Option<&Held<D>>) -> Option<ByteVec> {
            held.map(|held| (*held.bytes).clone())
        }

        slot(generation).write(&SnapshotFile {
            generation,
            cluster,
            node,
            beacon: bytes(self.beacon.as_ref()),
            bundle: bytes(self.bundle.as_ref()),
            revocations: bytes(self.revocations.as_ref()),
            config: bytes(self.config.as_ref()),
            routes: bytes(self.routes.as_ref()),
            leases: bytes(self.leases.as_ref()),
        })
    }

    /// Reads one generation and verifies every signature in it again. A generation with one document that does not
    /// verify is no snapshot at all; one of another node or cluster is passed over.
    pub(super) fn read(
        name: FileName,
        bytes: &[u8],
        trust: &Trust,
        node: NodeId,
    ) -> Result<Option<(u64, Self)>, Damaged> {
        let file: SnapshotFile = name.read(bytes).ok_or(Damaged)?;
        if file.cluster != trust.cluster() || file.node != node {
            return Ok(None);
        }
        if slot(file.generation) != name {
            return Err(Damaged);
        }
        let snapshot = file.open(trust).map_err(|_| Damaged)?;

        Ok(Some((file.generation, snapshot)))
    }
}

/// Which file a generation is written to: never the one that holds the generation before.
fn slot(generation: u64) -> FileName {
    match generation.is_multiple_of(2) {
        true => FileName::LastGoodA,
        false => FileName::LastGoodB,
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct SnapshotFile {
    #[n(0)]
    generation: u64,
    #[n(1)]
    cluster: ClusterId,
    #[n(2)]
    node: NodeId,
    #[n(3)]
    beacon: Option<ByteVec>,
    #[n(4)]
    bundle: Option<ByteVec>,
    #[n(5)]
    revocations: Option<ByteVec>,
    #[n(6)]
    config: Option<ByteVec>,
    #[n(7)]
    routes: Option<ByteVec>,
    #[n(8)]
    leases: Option<ByteVec>,
}

impl SnapshotFile {
    fn open(&self, trust: &Trust) -> Result<Snapshot, Refused> {
        fn held<D: Document>(
            trust: &Trust,
            bytes: Option<&ByteVec>,
            subject: Subject,
        ) -> Result<Option<Held<D>>, Refused> {
            bytes.map(|bytes| Held::open(trust, bytes, subject)).transpose()
        }
        let node = Subject::Node(self.node);

        Ok(Snapshot {
            beacon: held(trust, self.beacon.as_ref(), Subject::All)?,
            bundle: held(trust, self.bundle.as_ref(), Subject::All)?,
            revocations: held(trust, self.revocations.as_ref(), Subject::All)?,
            config: held(trust, self.config.as_ref(), node)?,
            routes: held(trust, self.routes.as_ref(), node)?,
            leases: held(trust, self.leases.as_ref(), node)?,
        })
    }
}
