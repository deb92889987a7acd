//! High-water marks: the numbers and hashes below which nothing is ever adopted again.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use protocol::document::beacon::BeaconRank;
use protocol::envelope::{Header, Kind};
use protocol::id::{ClusterId, NodeId};
use protocol::key::Digest;
use protocol::time::Wall;
use protocol::wire::Have;

use super::clock;
use super::effect::Payload;
use super::event::Refusal;
use super::file::{Damaged, FileName};

/// The highest of everything that was ever adopted here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    beacon: Option<BeaconMark>,
    documents: BTreeMap<Kind, Have>,
}

/// Where the newest beacon stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub(super) struct BeaconMark {
    #[n(0)]
    pub(super) rank: BeaconRank,
    #[n(1)]
    pub(super) hash: Digest,
    #[n(2)]
    pub(super) issued_at: Wall,
}

/// How something that verifies compares with its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// Exactly what the mark was made for.
    Same,
    Newer,
}

impl Marks {
    pub(super) fn beacon(&self) -> Option<&BeaconMark> {
        self.beacon.as_ref()
    }

    /// The mark of one kind of document.
    #[cfg(test)]
    pub(super) fn of(&self, kind: Kind) -> Option<&Have> {
        self.documents.get(&kind)
    }

    /// The wall clock, as far as the newest beacon corrects it.
    pub(super) fn corrected(&self, wall: Wall) -> Wall {
        clock::corrected(wall, self.beacon.map(|mark| mark.issued_at))
    }

    /// Holds a beacon to the mark: its triple never decreases, and has one hash.
    pub(super) fn compare_beacon(&self, rank: BeaconRank, hash: Digest) -> Result<Progress, Refusal> {
        let mark = self.beacon.map(|mark| (mark.rank, mark.hash));

        compare(mark, (rank, hash))
    }

    /// Holds a document to its kind's mark: (epoch, version) never decreases, and has one hash.
    pub(super) fn compare(&self, header: &Header, hash: Digest) -> Result<Progress, Refusal> {
        let mark = self
            .documents
            .get(&header.kind)
            .map(|have| ((have.epoch, have.version), have.hash));

        compare(mark, (header.rank(), hash))
    }

    /// Raises the beacon's mark; never lowers it.
    pub(super) fn note_beacon(&mut self, mark: BeaconMark) {
        if self.beacon.is_none_or(|known| known.rank < mark.rank) {
            self.beacon = Some(mark);
        }
    }

    /// Raises a document's mark; never lowers it.
    pub(super) fn note(&mut self, have: Have) {
        let known = self.documents.entry(have.kind).or_insert(have);
        if (known.epoch, known.version) < (have.epoch, have.version) {
            *known = have;
        }
    }

    /// Raises every mark to that of `other` where that is higher.
    pub(super) fn merge(&mut self, other: &Self) {
        if let Some(mark) = other.beacon {
            self.note_beacon(mark);
        }
        for have in other.documents.values() {
            self.note(*have);
        }
    }

    /// The high-water file of one node.
    pub(super) fn file(&self, cluster: ClusterId, node: NodeId) -> (FileName, Payload) {
        FileName::HighWater.write(&MarksFile {
            cluster,
            node,
            beacon: self.beacon,
            documents: self.documents.values().copied().collect(),
        })
    }

    /// Reads the high-water file; none if it belongs to another node.
    pub(super) fn read(bytes: &[u8], cluster: ClusterId, node: NodeId) -> Result<Option<Self>, Damaged> {
        let file: MarksFile = FileName::HighWater.read(bytes).ok_or(Damaged)?;
        let ours = file.cluster == cluster && file.node == node;

        Ok(ours.then(|| Self {
            beacon: file.beacon,
            documents: file.documents.iter().map(|have| (have.kind, *have)).collect(),
        }))
    }
}

fn compare<R: Ord>(mark: Option<(R, Digest)>, found: (R, Digest)) -> Result<Progress, Refusal> {
    let Some((rank, hash)) = mark else {
        return Ok(Progress::Newer);
    };
    match found.0.cmp(&rank) {
        std::cmp::Ordering::Less => Err(Refusal::Older),
        std::cmp::Ordering::Equal if found.1 == hash => Ok(Progress::Same),
        std::cmp::Ordering::Equal => Err(Refusal::Fork),
        std::cmp::Ordering::Greater => Ok(Progress::Newer),
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct MarksFile {
    #[n(0)]
    cluster: ClusterId,
    #[n(1)]
    node: NodeId,
    #[n(2)]
    beacon: Option<BeaconMark>,
    #[n(3)]
    documents: Vec<Have>,
}
