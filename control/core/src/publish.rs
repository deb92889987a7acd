//! What is published: which version of which document has which hash since when.
//!
//! Compiling and signing are pure, so only this much is stored: whoever has the row and the cluster's authority makes
//! the same bytes again. Documents are content-addressed: the same body keeps its version; another one gets the next,
//! chained to the one before by its hash. A document whose row cannot be read gets a version above any that it was ever
//! shown under.

use std::time::Duration;

use minicbor::{Decode, Encode};
use protocol::cbor;
use protocol::document::authority::RevocationList;
use protocol::document::beacon::{Beacon, BeaconRank, Pin};
use protocol::envelope::{Document, Kind, Stamp, Subject, payload_hash};
use protocol::error::Code;
use protocol::id::{ClusterId, NodeId};
use protocol::key::Digest;
use protocol::time::Wall;

use crate::audit;
use crate::authority::{self, AuthorityError};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::finding::{self, Finding, FindingKind, Severity};
use crate::issuing;
use crate::node;
use crate::store::{Row, Rows, RowsMut, StoreError, Table, Tx, UnreadableRow, View};

/// The newest version of one document. The signed bytes are never stored.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PublishedDocument {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub subject: Subject,
    #[n(2)]
    pub kind: Kind,
    #[n(3)]
    pub epoch: u64,
    #[n(4)]
    pub version: u64,
    /// The payload hash, which beacons pin.
    #[n(5)]
    pub hash: Digest,
    /// Hash of the body alone: the same content keeps its version.
    #[n(6)]
    pub content: Digest,
    #[n(7)]
    pub issued_at: Wall,
    /// The payload hash of the version before.
    #[n(8)]
    pub previous: Option<Digest>,
}

impl PublishedDocument {
    /// What the document is sealed under, the same every time.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            realm: self.cluster.into(),
            subject: self.subject,
            epoch: self.epoch,
            version: self.version,
            previous: self.previous,
            issued_at: self.issued_at,
            valid_until: None,
        }
    }

    pub fn pin(&self) -> Pin {
        Pin {
            version: self.version,
            hash: self.hash,
        }
    }
}

impl Row for PublishedDocument {
    const TABLE: Table = Table::Published;

    fn key(&self) -> Vec<u8> {
        key(self.cluster, self.subject, self.kind)
    }
}

/// The newest beacon of a cluster.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct BeaconRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub epoch: u64,
    /// The header's version; it rises with every beacon of the cluster.
    #[n(2)]
    pub number: u64,
    #[n(3)]
    pub body: Beacon,
    #[n(4)]
    pub hash: Digest,
    #[n(5)]
    pub previous: Option<Digest>,
    #[n(6)]
    pub issued_at: Wall,
}

impl BeaconRow {
    pub fn rank(&self) -> BeaconRank {
        BeaconRank {
            epoch: self.epoch,
            term: self.body.term,
            number: self.number,
        }
    }

    /// What the beacon is sealed under, the same every time.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            realm: self.cluster.into(),
            subject: Subject::All,
            epoch: self.epoch,
            version: self.number,
            previous: self.previous,
            issued_at: self.issued_at,
            valid_until: None,
        }
    }
}

impl Row for BeaconRow {
    const TABLE: Table = Table::Beacons;

    fn key(&self) -> Vec<u8> {
        self.cluster.as_bytes().to_vec()
    }
}

/// A document that was just compared with what is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub row: PublishedDocument,
    /// Whether this content is new.
    pub changed: bool,
}

/// What a beacon says that only the leader knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeaconInput {
    /// The leader's fencing term.
    pub term: u64,
    /// The store revision that the documents were compiled from.
    pub revision: u64,
    /// Root and number of the leaves of the cluster's tree ([`protocol::merkle`]).
    pub root: Digest,
    pub leaves: u64,
}

/// Publishes `body` to `subject`: the row to sign it under, and whether it is news.
pub fn publish<D: Document>(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    subject: Subject,
    body: &D,
) -> Result<Published, PublishError> {
    let epoch = authority::current(desk.tx, cluster)?.epoch;
    let content = Digest::of(&cbor::encode(body));
    let last = match published(desk.tx, cluster, subject, D::KIND) {
        Ok(Some(row)) if row.content == content && row.epoch == epoch => {
            return Ok(Published { row, changed: false });
        }
        Ok(known) => known.map(|row| (row.version, Some(row.hash))),
        Err(StoreError::Corrupt { .. }) => surpassed(desk.tx, cluster, D::KIND)?,
        Err(error) => return Err(error.into()),
    };
    let (version, previous) = last.unwrap_or_default();
    let mut row = PublishedDocument {
        cluster,
        subject,
        kind: D::KIND,
        epoch,
        version: version + 1,
        hash: Digest::default(),
        content,
        issued_at: desk.now.wall,
        previous,
    };
    row.hash = payload_hash(&row.stamp(), body);
    desk.tx.put(&row)?;

    Ok(Published { row, changed: true })
}

/// Publishes the trust bundle and the revocation list as the rows have them now.
pub fn publish_shared(desk: &mut Desk<'_>, cluster: ClusterId) -> Result<(), Failure> {
    let bundle = issuing::trust_bundle(desk.tx, cluster)?;
    let list = node::revocation_list(desk.tx, cluster)?;
    publish(desk, cluster, Subject::All, &bundle).map_err(PublishError::into_failure)?;
    publish(desk, cluster, Subject::All, &list).map_err(PublishError::into_failure)?;

    Ok(())
}

/// The newest version of one document.
pub fn published(
    view: &dyn View,
    cluster: ClusterId,
    subject: Subject,
    kind: Kind,
) -> Result<Option<PublishedDocument>, StoreError> {
    view.get(&key(cluster, subject, kind))
}

/// The rows of a cluster's documents that cannot be read.
pub fn unreadable(view: &dyn View, cluster: ClusterId) -> Result<Vec<UnreadableRow>, StoreError> {
    let scanned = view.scan_readable::<PublishedDocument>(cluster.as_bytes())?;

    Ok(scanned.unreadable)
}

/// Node and kind of the document whose row has this key; none for what is published to everyone.
pub(crate) fn of_key(key: &[u8]) -> Option<(NodeId, Kind)> {
    let (to, rest) = key.get(CLUSTER..)?.split_first()?;
    let (node, kind) = rest.split_first_chunk::<16>()?;
    let kind = cbor::decode(kind).ok()?;

    (*to == TO_NODE).then_some((NodeId::from_bytes(*node), kind))
}

/// Takes back every document of a node that has ended, those whose rows cannot be read too.
pub(crate) fn withdraw(tx: &mut dyn Tx, cluster: ClusterId, node: NodeId) -> Result<(), StoreError> {
    let prefix = subject_prefix(cluster, Subject::Node(node));
    for (key, _) in tx.scan_bytes(Table::Published, &prefix, None, usize::MAX)? {
        tx.delete::<PublishedDocument>(&key)?;
    }

    Ok(())
}

/// Makes the next beacon: the same snapshot under the next number. A lower term than the last one's is refused.
pub fn next_beacon(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    input: BeaconInput,
) -> Result<BeaconRow, BeaconError> {
    let epoch = authority::current(desk.tx, cluster)?.epoch;
    let last = beacon(desk.tx, cluster)?;
    if let Some(last) = last.as_ref().filter(|last| last.body.term > input.term) {
        return Err(BeaconError::TermStale {
            newest: last.body.term,
        });
    }
    let body = Beacon {
        term: input.term,
        revision: input.revision,
        root: input.root,
        leaves: input.leaves,
        bundle: pin(desk.tx, cluster, Kind::TrustBundle)?,
        revocations: pin(desk.tx, cluster, RevocationList::KIND)?,
        audit: audit::head(desk.tx)?.into(),
    };
    let mut row = BeaconRow {
        cluster,
        epoch,
        number: last.as_ref().map_or(1, |last| last.number + 1),
        body,
        hash: Digest::default(),
        previous: last.map(|last| last.hash),
        issued_at: desk.now.wall,
    };
    row.hash = payload_hash(&row.stamp(), &row.body);
    desk.tx.put(&row)?;

    Ok(row)
}

/// The newest beacon.
pub fn beacon(view: &dyn View, cluster: ClusterId) -> Result<Option<BeaconRow>, StoreError> {
    view.get(cluster.as_bytes())
}

/// Raises a finding when the newest beacon was made in the future: this clock is behind, or was ahead.
pub fn watch_clock(desk: &mut Desk<'_>, cluster: ClusterId) -> Result<bool, StoreError> {
    let now = desk.now.wall;
    let Some(last) = beacon(desk.tx, cluster)?.filter(|last| last.issued_at.since(now) > CLOCK_SLACK) else {
        return Ok(false);
    };
    let found = Finding {
        kind: FindingKind::CLOCK_BEHIND,
        severity: Severity::Warning,
        cluster: Some(cluster),
        subject: cluster.to_string(),
        text: format!(
            "the newest beacon was made {} minutes ahead of this clock, which is wrong now or was wrong then: compare it \
             with a time server",
            last.issued_at.since(now).as_secs() / 60
        ),
    };

    finding::raise(desk, found)
}

/// A version of one document that is no lower than any that was ever shown, and its hash if that is known. None if
/// nothing was shown.
///
/// Nothing is shown but under a beacon. The newest one pins bundle and revocations. Of the documents of nodes it has no
/// more than the root of their tree, but it names the revision of the store, which rises with every commit, and one
/// commit numbers a document [`NUMBERED_AT_ONCE`] times at most. A version that was made here once lies below what is made
/// here under a later beacon for the same reason.
fn surpassed(
    view: &dyn View,
    cluster: ClusterId,
    kind: Kind,
) -> Result<Option<(u64, Option<Digest>)>, StoreError> {
    let Some(BeaconRow { body, .. }) = beacon(view, cluster)? else {
        return Ok(None);
    };
    let pins = [
        (Kind::TrustBundle, body.bundle),
        (RevocationList::KIND, body.revocations),
    ];
    let pinned = pins.into_iter().find(|(pinned, _)| *pinned == kind);

    Ok(Some(match pinned {
        Some((_, pin)) => (pin.version, Some(pin.hash)),
        None => ((body.revision + 1).saturating_mul(NUMBERED_AT_ONCE), None),
    }))
}

fn pin(view: &dyn View, cluster: ClusterId, kind: Kind) -> Result<Pin, StoreError> {
    let row = published(view, cluster, Subject::All, kind)?;

    Ok(row.map(|row| row.pin()).unwrap_or_default())
}

fn key(cluster: ClusterId, subject: Subject, kind: Kind) -> Vec<u8> {
    [subject_prefix(cluster, subject), cbor::encode(&kind)].concat()
}

fn subject_prefix(cluster: ClusterId, subject: Subject) -> Vec<u8> {
    let subject = match &subject {
        Subject::All => vec![TO_ALL],
        Subject::Node(node) => [[TO_NODE].as_slice(), node.as_bytes()].concat(),
    };

    [cluster.as_bytes().as_slice(), &subject].concat()
}

#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The cluster has no authority to sign it.
    #[error("the cluster cannot publish")]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl PublishError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Authority(error) => error.code(),
            Self::Failure(failure) => failure.code(),
        }
    }

    fn into_failure(self) -> Failure {
        match self {
            Self::Authority(error) => error.into_failure(),
            Self::Failure(failure) => failure,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BeaconError {
    /// The cluster has no authority to sign it.
    #[error("the cluster has no beacon")]
    Authority(#[from] AuthorityError),
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Another leader has made a beacon since.
    #[error("a leader of term {newest} has made a beacon since")]
    TermStale { newest: u64 },
}

impl BeaconError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Authority(error) => error.code(),
            Self::Failure(failure) => failure.code(),
            Self::TermStale { .. } => Code::ReadOnly,
        }
    }
}

fails!(PublishError, BeaconError);

/// A clock that is set back by less than this is nobody's concern: leaves are backdated, leases count on no wall clock.
const CLOCK_SLACK: Duration = Duration::from_secs(60 * 60);
/// Far above the two times that a publication may: once when it is tried, and once more when it fails.
const NUMBERED_AT_ONCE: u64 = 1_024;
/// Bytes of the cluster at the beginning of a key.
const CLUSTER: usize = 16;
/// Subjects in keys: nodes behind all, so that a scan of one kind of subject is one range.
const TO_ALL: u8 = 1;
const TO_NODE: u8 = 2;

#[cfg(test)]
mod tests;
