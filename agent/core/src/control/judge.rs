//! The judgement on a poll's reply: which of its documents come into force, and why the others do not.
//!
//! The beacon is judged first, then the node's leaf by its path to the beacon's root, then what the beacon pins by hash
//! (trust bundle, revocation list), then the node's own documents by that leaf. What the leaf has and the node lacks
//! was held back. One refusal that an honest controller would not earn discredits the reply.

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;
use protocol::document::authority::{RevocationList, RevokedCertificate, RevokedNode, TrustBundle};
use protocol::document::beacon::{Beacon, Pin};
use protocol::document::config::SyntheticConfig;
use protocol::document::routes::{LeaseTable, Routes};
use protocol::envelope::{Document, Envelope, Kind, Subject};
use protocol::id::NodeId;
use protocol::limits::{CANDIDATES, LEASE_ROWS, STANDBYS};
use protocol::merkle::{Entry, Leaf};
use protocol::time::Wall;
use protocol::wire::{Have, PollReply};

use super::clock;
use super::event::Refusal;
use super::marks::{Marks, Progress};
use super::snapshot::{Held, Snapshot};
use super::trust::{Refused, Trust};

/// What a reply is judged by.
pub(super) struct Judge<'a> {
    pub(super) trust: &'a Trust,
    pub(super) node: NodeId,
    pub(super) held: &'a Snapshot,
    pub(super) marks: &'a Marks,
    /// What this node does without already.
    pub(super) left_out: &'a [Entry],
    /// No newer beacon came for too long.
    pub(super) stale: bool,
    pub(super) wall: Wall,
}

/// What is to be in force after a reply that was believed.
#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) next: Snapshot,
    /// What is new in `next` besides the beacon.
    pub(super) changed: BTreeSet<Kind>,
    /// Refused now, through no fault of the controller's.
    pub(super) refused: Vec<Refused>,
    /// What the beacon pins and this node does without, for reasons of its own.
    pub(super) left_out: Vec<Entry>,
    /// Whether the beacon is newer than any before.
    pub(super) newer: bool,
}

impl Judge<'_> {
    /// Whether a neighbour brought a revocation list that no beacon of ours pins yet.
    fn is_list_ahead(&self) -> bool {
        let list = self.held.revocations.as_ref();
        let beacon = self.held.beacon.as_ref();

        list.zip(beacon)
            .is_some_and(|(list, beacon)| list.opened.header.version > beacon.opened.body.revocations.version)
    }

    /// Judges a whole reply. `Err` changes nothing: it lists what was wrong.
    pub(super) fn reply(&self, reply: &PollReply) -> Result<Verdict, Vec<Refused>> {
        let (beacon, progress) = self.beacon(&reply.beacon).map_err(|refused| vec![refused])?;
        let newer = progress == Progress::Newer;
        let issued_at = beacon.opened.header.issued_at;
        let mut verdict = Verdict {
            next: Snapshot {
                beacon: Some(beacon.clone()),
                ..self.held.clone()
            },
            changed: BTreeSet::new(),
            refused: Vec::new(),
            left_out: Vec::new(),
            newer,
        };
        let under = Under {
            judge: self,
            beacon: &beacon,
            leaf: self.leaf(reply, &beacon).map_err(|refused| vec![refused])?,
            wall: clock::corrected(self.wall, Some(issued_at)),
            frozen: self.stale && !newer,
        };
        for bytes in &reply.shared {
            under.shared(bytes, &mut verdict);
        }
        for bytes in &reply.documents {
            under.delivered(bytes, &mut verdict);
        }
        under.hold_to_pins(&mut verdict);

        match verdict.refused.iter().all(|refused| refused.why.is_honest()) {
            true => Ok(verdict),
            false => Err(verdict.refused),
        }
    }

    fn beacon(&self, bytes: &ByteVec) -> Result<(Held<Beacon>, Progress), Refused> {
        let beacon: Held<Beacon> = Held::open(self.trust, bytes, Subject::All)?;
        let opened = &beacon.opened;
        let progress = self
            .marks
            .compare_beacon(opened.body.rank(&opened.header), opened.hash)
            .map_err(|why| Refused::of(&opened.header, why))?;

        Ok((beacon, progress))
    }

    /// What the beacon pins for this node.
    fn leaf(&self, reply: &PollReply, beacon: &Held<Beacon>) -> Result<Leaf, Refused> {
        let leaf = Leaf::new(self.node, reply.leaf.iter().copied());
        let Beacon { root, leaves, .. } = &beacon.opened.body;
        match reply.inclusion.proves(&leaf, root, *leaves) {
            true => Ok(leaf),
            false => Err(Refused::of(&beacon.opened.header, Refusal::NotInSnapshot)),
        }
    }
}

/// A reply whose beacon and leaf hold.
struct Under<'a> {
    judge: &'a Judge<'a>,
    beacon: &'a Held<Beacon>,
    leaf: Leaf,
    wall: Wall,
    frozen: bool,
}

impl Under<'_> {
    /// Takes a document that the beacon pins by version and hash.
    fn shared(&self, bytes: &ByteVec, verdict: &mut Verdict) {
        let kind = claimed_kind(bytes);
        let taken = match kind {
            Ok(Kind::TrustBundle) => self.bundle(bytes, verdict),
            Ok(Kind::RevocationList) => self.revocations(bytes, verdict),
            Ok(found) => Err(Refused::unread(Refusal::WrongKind { found })),
            Err(refused) => Err(refused),
        };
        verdict.refused.extend(taken.err());
    }

    fn bundle(&self, bytes: &ByteVec, verdict: &mut Verdict) -> Result<(), Refused> {
        let new: Held<TrustBundle> = Held::open(self.judge.trust, bytes, Subject::All)?;
        self.hold_to_pin(&new, &self.beacon.opened.body.bundle)?;
        let held = self.judge.held.bundle.as_ref();
        if self.may_adopt(&new, held)? {
            verdict.next.bundle = Some(new);
            verdict.changed.insert(Kind::TrustBundle);
        }

        Ok(())
    }

    fn revocations(&self, bytes: &ByteVec, verdict: &mut Verdict) -> Result<(), Refused> {
        let new: Held<RevocationList> = Held::open(self.judge.trust, bytes, Subject::All)?;
        let held = self.judge.held.revocations.as_ref();
        let is_newer = |held: &Held<RevocationList>| held.opened.header.rank() > new.opened.header.rank();
        if self.judge.is_list_ahead() && held.is_some_and(is_newer) {
            return hold_to(&new, &self.beacon.opened.body.revocations);
        }
        self.hold_to_pin(&new, &self.beacon.opened.body.revocations)?;
        if self.may_adopt(&new, held)? {
            follows(&new, held, self.wall)?;
            verdict.next.revocations = Some(new);
            verdict.changed.insert(Kind::RevocationList);
        }

        Ok(())
    }

    fn hold_to_pin<D: Document>(&self, new: &Held<D>, pin: &Pin) -> Result<(), Refused> {
        let header = &new.opened.header;
        self.judge
            .marks
            .compare(header, new.opened.hash)
            .map_err(|why| Refused::of(header, why))?;

        hold_to(new, pin)
    }

    /// Takes a document of this node.
    fn delivered(&self, bytes: &ByteVec, verdict: &mut Verdict) {
        let held = self.judge.held;
        let taken = match claimed_kind(bytes) {
            Ok(Kind::SyntheticConfig) => self
                .own(bytes, held.config.as_ref())
                .map(|new| put(&mut verdict.next.config, new, &mut verdict.changed)),
            Ok(Kind::Routes) => self
                .own(bytes, held.routes.as_ref())
                .map(|new| put(&mut verdict.next.routes, new, &mut verdict.changed)),
            Ok(Kind::LeaseTable) => self
                .own(bytes, held.leases.as_ref())
                .map(|new| put(&mut verdict.next.leases, new, &mut verdict.changed)),
            Ok(found) => Err(Refused::unread(Refusal::WrongKind { found })),
            Err(refused) => Err(refused),
        };
        verdict.refused.extend(taken.err());
    }

    /// Opens a document that must be ours, in the leaf, and no older than what was adopted. None if it is in force
    /// already.
    fn own<D: Bounded>(&self, bytes: &ByteVec, held: Option<&Held<D>>) -> Result<Option<Held<D>>, Refused> {
        let subject = Subject::Node(self.judge.node);
        let new: Held<D> = Held::open(self.judge.trust, bytes, subject)?;
        let header = &new.opened.header;
        let refused = |why| Refused::of(header, why);
        self.judge
            .marks
            .compare(header, new.opened.hash)
            .map_err(refused)?;
        if !self.leaf.entries().contains(&entry(&new.have())) {
            return Err(refused(Refusal::NotInSnapshot));
        }
        if !new.opened.body.is_within_limits() {
            return Err(refused(Refusal::Limits));
        }

        Ok(self.may_adopt(&new, held)?.then_some(new))
    }

    /// Everything that the beacon pins must be in force after this reply, or have been left out for a reason, now or
    /// when it came first: the rest was held back.
    fn hold_to_pins(&self, verdict: &mut Verdict) {
        let has: Vec<Entry> = verdict.next.have().iter().map(entry).collect();
        for (kind, pinned) in self.pinned() {
            if has.contains(&pinned) || (kind == Kind::RevocationList && self.is_list_ahead_of(&pinned)) {
                continue;
            }
            let is_excused = verdict.refused.iter().any(|refused| refused.is_of(kind))
                || self.judge.left_out.contains(&pinned);
            match is_excused {
                true => verdict.left_out.push(pinned),
                false => verdict.refused.push(Refused::withheld(
                    kind,
                    pinned.version,
                    &self.beacon.opened.header,
                )),
            }
        }
    }

    fn is_list_ahead_of(&self, pinned: &Entry) -> bool {
        let held = self.judge.held.revocations.as_ref();

        self.judge.is_list_ahead() && held.is_some_and(|held| held.opened.header.version > pinned.version)
    }

    fn pinned(&self) -> Vec<(Kind, Entry)> {
        let body = &self.beacon.opened.body;
        let shared = [
            (Kind::TrustBundle, body.bundle),
            (Kind::RevocationList, body.revocations),
        ];
        let shared = shared
            .into_iter()
            .filter(|(_, pin)| pin.version > 0)
            .map(|(kind, pin)| (kind, Entry::new(kind, pin.version, pin.hash)));
        let own = [Kind::SyntheticConfig, Kind::Routes, Kind::LeaseTable];
        let own = own.into_iter().filter_map(|kind| {
            let found = self.leaf.entries().iter().find(|entry| entry.is_of(kind));

            found.map(|entry| (kind, *entry))
        });

        shared.chain(own).collect()
    }

    /// Whether a document that verifies is news, and may come into force now.
    fn may_adopt<D: Document>(&self, new: &Held<D>, held: Option<&Held<D>>) -> Result<bool, Refused> {
        let header = &new.opened.header;
        if held.is_some_and(|held| held.have() == new.have()) {
            return Ok(false);
        }
        if self.frozen {
            return Err(Refused::of(header, Refusal::Stale));
        }
        match header.valid_until.filter(|until| *until < self.wall) {
            Some(valid_until) => Err(Refused::of(header, Refusal::Expired { valid_until })),
            None => Ok(true),
        }
    }
}

/// Bodies with bounds that their types do not have.
trait Bounded: Document {
    fn is_within_limits(&self) -> bool;
}

impl Bounded for SyntheticConfig {
    fn is_within_limits(&self) -> bool {
        self.neighbours
            .iter()
            .all(|neighbour| neighbour.candidates.len() <= CANDIDATES)
    }
}

impl Bounded for Routes {
    fn is_within_limits(&self) -> bool {
        self.decisions
            .iter()
            .all(|decision| decision.standbys.len() <= STANDBYS)
    }
}

impl Bounded for LeaseTable {
    fn is_within_limits(&self) -> bool {
        self.rows.len() <= LEASE_ROWS
    }
}

/// Whether a document is the one that a beacon pins.
fn hold_to<D: Document>(new: &Held<D>, pin: &Pin) -> Result<(), Refused> {
    let header = &new.opened.header;
    match pin.version == header.version && pin.hash == new.opened.hash {
        true => Ok(()),
        false => Err(Refused::of(header, Refusal::NotInSnapshot)),
    }
}

/// The kind that a document claims, which says whose rules to judge it by.
fn claimed_kind(bytes: &[u8]) -> Result<Kind, Refused> {
    Envelope::parse(bytes)
        .map(|envelope| envelope.claimed().kind)
        .map_err(|error| Refused::unread(error.into()))
}

/// How a leaf has a document.
fn entry(have: &Have) -> Entry {
    Entry::new(have.kind, have.version, have.hash)
}

fn put<D: Document>(place: &mut Option<Held<D>>, new: Option<Held<D>>, changed: &mut BTreeSet<Kind>) {
    if new.is_some() {
        *place = new;
        changed.insert(D::KIND);
    }
}

/// Holds a revocation list to the one in force: nothing is missing but what had ended at its floor, which lies in the
/// past.
pub(super) fn follows(
    new: &Held<RevocationList>,
    held: Option<&Held<RevocationList>>,
    wall: Wall,
) -> Result<(), Refused> {
    let (header, body) = (&new.opened.header, &new.opened.body);
    if body.floor > header.issued_at.min(wall) {
        return Err(Refused::of(header, Refusal::FloorAhead));
    }
    match held.is_none_or(|held| keeps_all(&held.opened.body, body)) {
        true => Ok(()),
        false => Err(Refused::of(header, Refusal::Shrunk)),
    }
}

/// Whether `new` revokes everything that `old` does, but for what had ended at its floor. An end is never brought
/// forward: else a list could say that an entry ends today and the next one leave it out.
fn keeps_all(old: &RevocationList, new: &RevocationList) -> bool {
    let must_stay = |ends_at: Wall| ends_at > new.floor;
    let certificates: BTreeMap<_, _> = new
        .certificates
        .iter()
        .map(|entry| ((entry.issuer, entry.serial), entry.ends_at))
        .collect();
    let issuers: BTreeSet<_> = new.issuers.iter().collect();
    let mut nodes: BTreeMap<NodeId, Vec<&RevokedNode>> = BTreeMap::new();
    for entry in &new.nodes {
        nodes.entry(entry.node).or_default().push(entry);
    }
    let has_certificate = |entry: &RevokedCertificate| {
        certificates
            .get(&(entry.issuer, entry.serial))
            .is_some_and(|ends_at| *ends_at >= entry.ends_at)
    };
    let has_node = |entry: &RevokedNode| {
        nodes.get(&entry.node).is_some_and(|found| {
            found
                .iter()
                .any(|new| new.generation >= entry.generation && new.ends_at >= entry.ends_at)
        })
    };

    new.floor >= old.floor
        && old
            .certificates
            .iter()
            .all(|entry| !must_stay(entry.ends_at) || has_certificate(entry))
        && old.issuers.iter().all(|issuer| issuers.contains(issuer))
        && old
            .nodes
            .iter()
            .all(|entry| !must_stay(entry.ends_at) || has_node(entry))
}
