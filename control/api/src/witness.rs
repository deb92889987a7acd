//! Judges the beacons that agents show, and what a controller may still do that was found to be behind.
//!
//! ```text
//! number      …  K−1   K   K+1 … N          K: what stood in the store when this process opened it
//!             older  stood  made here       anything else above K comes from a store that we do not know
//! ```
//!
//! The store's own number says nothing: a restored store counts on, passes the fleet's number in minutes, and its
//! term, which grows at each opening, ranks before both.

use std::collections::{BTreeMap, VecDeque};

use control_core::behind::BehindRow;
use control_core::store::{StoreError, View};
use control_core::{cluster, publish as kernel};
use protocol::document::beacon::{Beacon, BeaconRank};
use protocol::envelope::{Envelope, Expected, Subject};
use protocol::error::Code;
use protocol::id::ClusterId;
use protocol::key::Digest;

use crate::failure::Failure;
use crate::publication::Publication;
use crate::request::Request;

/// The beacons that this process can vouch for.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    clusters: BTreeMap<ClusterId, Origin>,
}

/// What an agent's newest beacon says about this controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// It is ours, or older than what stood when we began.
    Agrees,
    /// Another store made it: this one was rolled back.
    Ahead { rank: BeaconRank },
    /// Another content under a triple that is ours: somebody else signs with this authority.
    Fork { rank: BeaconRank },
    /// Not signed by this cluster's authority; says nothing.
    Unproven,
}

impl Origins {
    /// Looks at what stands in the store, before anything is added to it.
    pub fn open(view: &dyn View) -> Result<Self, StoreError> {
        let mut clusters = BTreeMap::new();
        for id in cluster::ids(view)? {
            // A row that cannot be read keeps its cluster from being published at all.
            let stood = kernel::beacon(view, id).unwrap_or_default();
            clusters.insert(id, Origin::after(stood.map(|row| (row.rank(), row.hash))));
        }

        Ok(Self { clusters })
    }

    /// Remembers that this process made the beacon of a publication.
    pub fn note(&mut self, publication: &Publication) {
        let origin = self.clusters.entry(publication.cluster).or_default();
        origin.note(publication.rank, publication.beacon_hash);
    }

    /// Judges the newest beacon that an agent has. Only one that this cluster's authority signed says anything.
    pub fn judge(&self, publication: &Publication, presented: &[u8]) -> Witness {
        let Ok(envelope) = Envelope::parse(presented) else {
            return Witness::Unproven;
        };
        let nothing = Origin::default();
        let origin = self.clusters.get(&publication.cluster).unwrap_or(&nothing);
        // Cheap first: nearly every agent shows what was published here.
        if origin.vouches(envelope.claimed().version, envelope.hash()) {
            return Witness::Agrees;
        }
        let expected = Expected {
            realm: publication.cluster.into(),
            subject: Subject::All,
        };
        match envelope.open::<Beacon>(&expected, &publication.authority) {
            Ok(opened) => origin.judge(opened.body.rank(&opened.header)),
            Err(_) => Witness::Unproven,
        }
    }
}

/// The beacons of one cluster.
#[derive(Clone, Debug, Default)]
struct Origin {
    /// The newest one when this process opened the store; none if there was none.
    stood: Option<(BeaconRank, Digest)>,
    /// The number of the first in `made`.
    first: u64,
    /// Those of this process in the order of their numbers, without gaps; the newest [`MADE`].
    made: VecDeque<Digest>,
    /// The term that they were made in.
    term: u64,
}

impl Origin {
    fn after(stood: Option<(BeaconRank, Digest)>) -> Self {
        Self {
            stood,
            ..Self::default()
        }
    }

    fn note(&mut self, rank: BeaconRank, hash: Digest) {
        self.term = rank.term;
        let next = self.first + self.made.len() as u64;
        if !self.made.is_empty() && rank.number < next {
            // A publication that stayed as it was.
            return;
        }
        if self.made.is_empty() || rank.number > next {
            self.made.clear();
            self.first = rank.number;
        }
        self.made.push_back(hash);
        if self.made.len() > MADE {
            self.made.pop_front();
            self.first += 1;
        }
    }

    fn number_at_open(&self) -> u64 {
        self.stood.map_or(0, |(rank, _)| rank.number)
    }

    fn made(&self, number: u64) -> Option<Digest> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;

        self.made.get(at).copied()
    }

    /// Whether a beacon of that number and hash needs no further look.
    fn vouches(&self, number: u64, hash: Digest) -> bool {
        let stood = self
            .stood
            .is_some_and(|(rank, known)| (rank.number, known) == (number, hash));

        number < self.number_at_open() || stood || self.made(number) == Some(hash)
    }

    /// Judges a signed beacon that nobody here vouches for.
    fn judge(&self, rank: BeaconRank) -> Witness {
        let stood = self
            .stood
            .is_some_and(|(ours, _)| (ours.number, ours.term) == (rank.number, rank.term));
        let made = self.made(rank.number).is_some() && rank.term == self.term;
        // Too long ago for its hash to be kept: the term is what is left to tell it by.
        let is_forgotten = (self.number_at_open() + 1..self.first).contains(&rank.number);
        match (stood || made, is_forgotten && rank.term == self.term) {
            (true, _) => Witness::Fork { rank },
            (false, true) => Witness::Agrees,
            (false, false) => Witness::Ahead { rank },
        }
    }
}

/// Whether a request may be carried out while the mark of a store that is behind stands: only what sets that mark.
pub fn admit(standing: Option<&BehindRow>, request: &Request) -> Result<(), Failure> {
    let Some(row) = standing else { return Ok(()) };
    match request {
        Request::Behind(_) => Ok(()),
        Request::Join(_)
        | Request::Renew(_)
        | Request::Leave
        | Request::Act { .. }
        | Request::BackedUp { .. }
        | Request::Heard { .. }
        | Request::Carried { .. }
        | Request::Confirm { .. }
        | Request::Doubt { .. }
        | Request::Decide { .. }
        | Request::Serve { .. }
        | Request::Tick => Err(refusal(row)),
    }
}

/// What everybody hears who wants something from a controller that is behind.
pub fn refusal(row: &BehindRow) -> Failure {
    Failure::new(
        Code::ReadOnly,
        format!("the controller writes and publishes nothing: {}", row.why()),
    )
}

/// Beacons whose hashes are kept: a week of idling, two hours of publishing ten times a second, 2 MiB a cluster.
const MADE: usize = 65_536;
