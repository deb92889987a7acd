//! The documents of this node: what is in force, what was ever in force, and how old the newest word is.
//!
//! ```text
//!             reply ─▶ judge ─┬─ refused ─▶ counted, told, state kept
//!                             ├─ nothing new ─▶ beacon noted, freshness
//!                             └─ news ─▶ high-water mark and next generation written ─▶ adopted ─▶ freshness
//! ```
//!
//! A revocation list only takes away and does not wait for the disk. Nor does freshness, if what cannot be written is not
//! the lease table: an agent whose disk is full or hangs goes on with what it has, and knows that it is of today.

mod confirming;
mod standing;

use std::collections::{BTreeMap, BTreeSet};

use minicbor::bytes::ByteVec;
use protocol::admit::{Anchors, Revocations};
use protocol::document::authority::{RevocationList, TrustBundle};
use protocol::document::beacon::{Beacon, BeaconRank};
use protocol::document::config::{ControllerAddress, Transport};
use protocol::envelope::{Kind, Subject};
use protocol::id::NodeId;
use protocol::key::Digest;
use protocol::merkle::Entry;
use protocol::node::NodeRole;
use protocol::time::{Boot, Now, Wall};
use protocol::wire::{Have, PollReply};

use super::confirm::Confirm;
use super::effect::{Adopted, Payload};
use super::event::Refusal;
use super::file::FileName;
use super::judge::{Judge, follows};
use super::marks::{Marks, Progress};
use super::snapshot::{Held, Snapshot};
use super::trust::{Refused, Trust};

/// See the module.
#[derive(Debug)]
pub(super) struct Documents {
    node: NodeId,
    snapshot: Snapshot,
    marks: Marks,
    /// What the newest beacon pins and this node cannot use: it is not asked for again in this session.
    left_out: Vec<Entry>,
    /// Of the snapshot on disk.
    generation: u64,
    /// The triples and hashes of the last beacons seen, to tell a fork from lateness.
    seen: BTreeMap<BeaconRank, Digest>,
    newest_at: Boot,
    stale: bool,
    noted: bool,
    /// The revocation list in force is not in the snapshot on disk.
    unsaved: bool,
    confirm: Confirm,
    /// The version of a config whose trial has ended well, until that is told.
    confirmed: Option<u64>,
    /// How the trial stands is not on disk, nor about to be.
    unsaved_trial: bool,
}

/// A reply that is to come into force once its files are written.
#[derive(Debug)]
pub(super) struct Adoption {
    next: Snapshot,
    changed: BTreeSet<Kind>,
    newer: bool,
    /// Its beacon counts already.
    held_over: bool,
    /// The confirmed config that its files name.
    confirmed: Option<Have>,
}

/// A poll that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Polled {
    pub(super) sent_at: Boot,
    /// Whether it was asked where the config in force says.
    pub(super) proves: bool,
}

/// What became of a reply.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is in force as far as it brought anything; `refused` was left out. `fresh`: what a relay carries is right.
    Settled {
        newer: bool,
        fresh: bool,
        refused: Vec<Refused>,
    },
    /// These files first.
    Write {
        files: Vec<(FileName, Payload)>,
        adoption: Box<Adoption>,
        fresh: bool,
        refused: Vec<Refused>,
    },
    /// Nothing of it counts.
    Discredited(Vec<Refused>),
    /// The reply to another poll, sent later, was faster: this one says nothing any more.
    Overtaken,
}

impl Documents {
    pub(super) fn new(node: NodeId, kept: Kept) -> Self {
        Self {
            node,
            snapshot: kept.snapshot,
            marks: kept.marks,
            left_out: Vec::new(),
            generation: kept.generation,
            seen: BTreeMap::new(),
            newest_at: Boot::default(),
            stale: false,
            noted: true,
            unsaved: false,
            confirm: kept.confirm,
            confirmed: None,
            unsaved_trial: false,
        }
    }

    /// Counts the time without news from here.
    pub(super) fn start(&mut self, now: Now) {
        self.newest_at = now.boot;
        self.confirm.start(now.boot);
    }

    /// Judges the reply to a poll and says what is to be done with it.
    pub(super) fn handle_reply(
        &mut self,
        reply: &PollReply,
        Polled { sent_at, proves }: Polled,
        trust: &Trust,
        now: Now,
    ) -> Outcome {
        let judge = Judge {
            trust,
            node: self.node,
            held: &self.snapshot,
            marks: &self.marks,
            left_out: &self.left_out,
            stale: self.stale,
            wall: self.wall(now),
        };
        let verdict = match judge.reply(reply) {
            Ok(verdict) => verdict,
            Err(refused) if self.overtook(&refused, sent_at) => return Outcome::Overtaken,
            Err(refused) => return Outcome::Discredited(refused),
        };
        self.left_out = verdict.left_out;
        self.note_polled(sent_at, proves);
        let fresh = self.says_what_is_carried();
        if verdict.changed.is_empty() && !self.unsaved {
            self.note(verdict.next, verdict.newer, now);

            return Outcome::Settled {
                newer: verdict.newer,
                fresh,
                refused: verdict.refused,
            };
        }
        let files = self.files(&verdict.next, trust);
        let confirmed = self.confirmed_in(&verdict.next);

        Outcome::Write {
            files,
            adoption: Box::new(Adoption {
                next: verdict.next,
                changed: verdict.changed,
                newer: verdict.newer,
                held_over: false,
                confirmed,
            }),
            fresh,
            refused: verdict.refused,
        }
    }

    /// Whether what a relay carries is right by the newest beacon.
    fn says_what_is_carried(&self) -> bool {
        !self
            .left_out
            .iter()
            .any(|entry| entry.is_of(Kind::LeaseTable) || entry.is_of(Kind::RevocationList))
    }

    /// Asks for everything again: the clock may have been set since.
    pub(super) fn forget_left_out(&mut self) {
        self.left_out.clear();
    }

    /// What the controller need not send again.
    pub(super) fn left_out(&self) -> &[Entry] {
        &self.left_out
    }

    /// Whether all that is wrong with a reply is that a newer beacon came after its poll was sent.
    fn overtook(&self, refused: &[Refused], sent_at: Boot) -> bool {
        let is_older = |refused: &Refused| refused.is_of(Kind::Beacon) && refused.why == Refusal::Older;

        sent_at < self.newest_at && refused.iter().all(is_older)
    }

    /// The files of an adoption are on disk: what it brings is in force. Returns what to hand over, and whether the
    /// beacon is newer.
    pub(super) fn adopt(&mut self, adoption: Adoption, now: Now) -> (Vec<Adopted>, bool) {
        let handed = adoption.next.adopted(|kind| adoption.changed.contains(&kind));
        let mut next = adoption.next;
        self.try_config(next.config.as_ref(), adoption.confirmed, now);
        let written = next.revocations.as_ref().map(Held::have);
        self.keep_newer(&mut next);
        self.unsaved = next.revocations.as_ref().map(Held::have) != written;
        self.generation = self.generation.saturating_add(1);
        self.note(next, adoption.newer && !adoption.held_over, now);
        self.noted = true;

        (self.with_settings(handed), adoption.newer)
    }

    /// What did not wait for the disk may be newer than what was written.
    fn keep_newer(&self, next: &mut Snapshot) {
        let shown = next.beacon_mark().map(|mark| mark.rank);
        if self.marks.beacon().is_some_and(|mark| Some(mark.rank) > shown) {
            next.beacon.clone_from(&self.snapshot.beacon);
        }
        let rank = |list: &Option<Held<RevocationList>>| list.as_ref().map(|held| held.opened.header.rank());
        if rank(&self.snapshot.revocations) > rank(&next.revocations) {
            next.revocations.clone_from(&self.snapshot.revocations);
        }
    }

    /// Puts the revocation list of an adoption in force, before it is written. Returns what to hand over.
    pub(super) fn take_away(&mut self, adoption: &mut Adoption) -> Option<Adopted> {
        if !adoption.changed.remove(&Kind::RevocationList) {
            return None;
        }
        self.snapshot.revocations.clone_from(&adoption.next.revocations);

        self.put_list_in_force()
    }

    fn put_list_in_force(&mut self) -> Option<Adopted> {
        self.marks.merge(&self.snapshot.marks());
        self.unsaved = true;
        let handed = self.snapshot.adopted(|kind| kind == Kind::RevocationList);

        handed.into_iter().next()
    }

    /// What came cannot be written for now. Its beacon counts all the same; says whether it is newer than any before.
    pub(super) fn hold_over(&mut self, adoption: &mut Adoption, now: Now) -> bool {
        let newer = adoption.newer && !std::mem::replace(&mut adoption.held_over, true);
        let next = Snapshot {
            beacon: adoption.next.beacon.clone(),
            ..self.snapshot.clone()
        };
        self.note(next, newer, now);

        newer
    }

    fn note(&mut self, next: Snapshot, newer: bool, now: Now) {
        self.snapshot = next;
        self.marks.merge(&self.snapshot.marks());
        if let Some(mark) = self.marks.beacon() {
            self.seen.insert(mark.rank, mark.hash);
        }
        while self.seen.len() > SEEN {
            self.seen.pop_first();
        }
        if newer {
            self.newest_at = now.boot;
            self.noted = false;
        }
    }

    /// The files that make `next` durable: the marks first, so that they are never behind what is adopted, and before a
    /// config what its node may go back to.
    fn files(&self, next: &Snapshot, trust: &Trust) -> Vec<(FileName, Payload)> {
        let mut marks = self.marks.clone();
        marks.merge(&next.marks());
        let generation = self.generation.saturating_add(1);

        let trial = self
            .trial_of(next)
            .map(|trial| trial.file(trust.cluster(), self.node));
        let marks = marks.file(trust.cluster(), self.node);
        let snapshot = next.file(generation, trust.cluster(), self.node);

        [marks].into_iter().chain(trial).chain([snapshot]).collect()
    }

    /// The high-water file, if the newest beacon is not in it yet.
    pub(super) fn unwritten_marks(&mut self, trust: &Trust) -> Option<(FileName, Payload)> {
        if self.noted {
            return None;
        }
        self.noted = true;

        Some(self.marks.file(trust.cluster(), self.node))
    }

    /// Whether there are marks that no write was asked for yet.
    pub(super) fn has_unwritten_marks(&self) -> bool {
        !self.noted
    }

    /// Takes the newer bundle of a verified welcome, if it is newer.
    pub(super) fn take_bundle(&self, bundle: Held<TrustBundle>, trust: &Trust) -> Option<Outcome> {
        let held = self.snapshot.bundle.as_ref().map(Held::have);
        if held.is_some_and(|held| held == bundle.have()) {
            return None;
        }
        let next = Snapshot {
            bundle: Some(bundle),
            ..self.snapshot.clone()
        };

        Some(Outcome::Write {
            files: self.files(&next, trust),
            adoption: Box::new(Adoption {
                confirmed: self.confirmed_in(&next),
                next,
                changed: BTreeSet::from([Kind::TrustBundle]),
                newer: false,
                held_over: false,
            }),
            fresh: false,
            refused: Vec::new(),
        })
    }

    /// Judges a revocation list that a neighbour showed, and puts it in force if it is newer: it is signed, and only
    /// takes away. Returns what to hand over.
    pub(super) fn handle_list(
        &mut self,
        list: &ByteVec,
        trust: &Trust,
        now: Now,
    ) -> Result<Option<Adopted>, Refused> {
        let held = self.snapshot.revocations.as_ref();
        if held.is_some_and(|held| *held.bytes == *list) {
            return Ok(None);
        }
        let new: Held<RevocationList> = Held::open(trust, list, Subject::All)?;
        let header = &new.opened.header;
        match self.marks.compare(header, new.opened.hash) {
            Ok(Progress::Newer) => {}
            // A neighbour may be behind.
            Ok(Progress::Same) | Err(Refusal::Older) => return Ok(None),
            Err(why) => return Err(Refused::of(header, why)),
        }
        follows(&new, held, self.wall(now))?;
        self.snapshot.revocations = Some(new);

        Ok(self.put_list_in_force())
    }

    /// Judges a beacon that a neighbour showed: an error is a fork. `Some` says that our controllers hold a newer
    /// one back.
    pub(super) fn handle_witness(
        &self,
        beacon: &ByteVec,
        trust: &Trust,
    ) -> Result<Option<BeaconRank>, Refused> {
        let shown: Held<Beacon> = Held::open(trust, beacon, Subject::All)?;
        let (header, hash) = (&shown.opened.header, shown.opened.hash);
        let rank = shown.opened.body.rank(header);
        if self.seen.get(&rank).is_some_and(|known| *known != hash) {
            return Err(Refused::of(header, Refusal::Fork));
        }
        let lead = self
            .marks
            .beacon()
            .filter(|ours| ours.rank < rank)
            .map(|ours| header.issued_at.since(ours.issued_at));

        Ok(lead.filter(|lead| *lead > super::WITNESS_LEAD).map(|_| rank))
    }

    /// Whether the time without a newer beacon has just passed the limit.
    pub(super) fn grow_stale(&mut self, now: Now) -> bool {
        let late = !self.stale && now.boot >= self.stale_at();
        self.stale |= late;

        late
    }

    /// Whether a newer beacon has just ended staleness.
    pub(super) fn recover(&mut self, now: Now) -> bool {
        let recovered = self.stale && now.boot < self.stale_at();
        self.stale &= !recovered;

        recovered
    }

    /// When to look at staleness, or at the trial of a config, again.
    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        let stale = (!self.stale).then(|| self.stale_at());

        stale.into_iter().chain(self.confirm.poll_timeout()).min()
    }

    fn stale_at(&self) -> Boot {
        self.newest_at.after(super::STALE_AFTER)
    }

    pub(super) fn is_stale(&self) -> bool {
        self.stale
    }

    /// The wall clock, as far as the newest beacon corrects it.
    pub(super) fn wall(&self, now: Now) -> Wall {
        self.marks.corrected(now.wall)
    }

    pub(super) fn have(&self) -> Vec<Have> {
        self.snapshot.have()
    }

    pub(super) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    pub(super) fn marks(&self) -> &Marks {
        &self.marks
    }

    /// Everything in force, for a mesh that starts.
    pub(super) fn all(&self) -> Vec<Adopted> {
        self.with_settings(self.snapshot.adopted(|_| true))
    }

    /// The newest signed beacon.
    pub(super) fn beacon(&self) -> Option<&ByteVec> {
        self.snapshot.beacon.as_ref().map(|held| &*held.bytes)
    }

    /// The CAs of this cluster.
    pub(super) fn anchors(&self, trust: &Trust) -> Anchors {
        let mut anchors = Anchors::default();
        if let Some(bundle) = &self.snapshot.bundle {
            let put = anchors.put(trust.cluster(), &bundle.opened.body);
            if let Err(error) = put {
                tracing::warn!(%error, "the trust bundle in force cannot be used");
            }
        }

        anchors
    }

    pub(super) fn revocations(&self, trust: &Trust) -> Revocations {
        let mut revocations = Revocations::default();
        if let Some(list) = &self.snapshot.revocations {
            revocations.add(trust.cluster(), &list.opened.body);
        }

        revocations
    }

    pub(super) fn controllers(&self) -> &[ControllerAddress] {
        self.settled_by().map_or(&[], |config| &config.controllers)
    }

    pub(super) fn transport(&self) -> Transport {
        self.settled_by()
            .map_or_else(Transport::default, |config| config.transport)
    }

    /// Whether others' leases hang on this node's freshness.
    pub(super) fn serves_leases(&self) -> bool {
        let serves = |role: &NodeRole| matches!(role, NodeRole::Relay | NodeRole::Rendezvous);

        self.snapshot
            .config
            .as_ref()
            .is_some_and(|config| config.opened.body.roles.iter().any(serves))
    }
}

impl Adoption {
    /// Whether what a relay carries stays as it is.
    pub(super) fn keeps_leases(&self) -> bool {
        !self.changed.contains(&Kind::LeaseTable)
    }
}

/// What is left of the documents from an earlier run.
#[derive(Clone, Debug, Default)]
pub(super) struct Kept {
    pub(super) snapshot: Snapshot,
    pub(super) marks: Marks,
    pub(super) generation: u64,
    pub(super) confirm: Confirm,
}

/// Beacons remembered to compare with those of neighbours: ten minutes of them.
const SEEN: usize = 64;
