//! The beacon: one small signed statement that pins every document of a cluster as one snapshot.

use minicbor::{Decode, Encode};

use crate::envelope::{Document, Header, Kind};
use crate::key::Digest;

/// The header's version is the beacon's number; (epoch, term, number) never decreases.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Beacon {
    /// The leader's fencing term.
    #[n(0)]
    pub term: u64,
    /// The store revision that the documents were compiled from.
    #[n(1)]
    pub revision: u64,
    /// Merkle root over every node's (document, version, hash): [`crate::merkle`].
    #[n(2)]
    pub root: Digest,
    /// Leaves under `root`.
    #[n(3)]
    pub leaves: u64,
    #[n(4)]
    pub bundle: Pin,
    #[n(5)]
    pub revocations: Pin,
    /// Records in the audit chain, and the hash of the last.
    #[n(6)]
    pub audit: Pin,
}

impl Document for Beacon {
    const KIND: Kind = Kind::Beacon;
}

/// A version and the hash that goes with it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Pin {
    #[n(0)]
    pub version: u64,
    #[n(1)]
    pub hash: Digest,
}

impl Beacon {
    /// Where a beacon stands in the order of all beacons of its cluster.
    pub fn rank(&self, header: &Header) -> BeaconRank {
        BeaconRank {
            epoch: header.epoch,
            term: self.term,
            number: header.version,
        }
    }
}

/// The triple by which beacons are ordered; two hashes under one triple are a fork.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct BeaconRank {
    #[n(0)]
    pub epoch: u64,
    #[n(1)]
    pub term: u64,
    #[n(2)]
    pub number: u64,
}
