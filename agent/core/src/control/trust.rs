//! Whose signature counts: the pinned key of the cluster authority, and every epoch that follows from it.

use std::collections::BTreeMap;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::document::authority::Succession;
use protocol::envelope::{Document, Envelope, Expected, Header, Kind, Opened, Subject};
use protocol::id::ClusterId;
use protocol::key::VerifyKey;

use super::event::Refusal;

/// The keys of one cluster's authority by epoch, from the pinned one on, each signed for by the one before.
#[derive(Clone, Debug)]
pub(super) struct Trust {
    cluster: ClusterId,
    pinned: u64,
    keys: BTreeMap<u64, VerifyKey>,
    /// The signed successions behind every key but the pinned one, in the order of epochs.
    successions: Vec<ByteVec>,
}

impl Trust {
    /// Trusts `key` in `epoch`, and nothing else yet.
    pub(super) fn pinned(cluster: ClusterId, epoch: u64, key: VerifyKey) -> Self {
        Self {
            cluster,
            pinned: epoch,
            keys: BTreeMap::from([(epoch, key)]),
            successions: Vec::new(),
        }
    }

    pub(super) fn cluster(&self) -> ClusterId {
        self.cluster
    }

    /// The key that was pinned when this machine joined.
    pub(super) fn pin(&self) -> VerifyKey {
        self.keys[&self.pinned]
    }

    /// The highest epoch whose key is known.
    pub(super) fn highest(&self) -> u64 {
        self.keys
            .last_key_value()
            .map_or(self.pinned, |(epoch, _)| *epoch)
    }

    pub(super) fn key(&self, epoch: u64) -> Option<&VerifyKey> {
        self.keys.get(&epoch)
    }

    /// The newest key.
    pub(super) fn newest(&self) -> VerifyKey {
        self.keys[&self.highest()]
    }

    pub(super) fn successions(&self) -> &[ByteVec] {
        &self.successions
    }

    /// Follows `successions` epoch by epoch as far as each is signed by the key before it. Returns whether anything
    /// new was learnt; what does not follow is left out, and whoever needed it will miss its key.
    pub(super) fn walk(&mut self, successions: &[ByteVec]) -> bool {
        let before = self.highest();
        for bytes in successions {
            self.step(bytes);
        }

        self.highest() > before
    }

    fn step(&mut self, bytes: &ByteVec) {
        let (last, key) = (self.highest(), self.newest());
        let expected = self.expected(Subject::All);
        let opened = Envelope::parse(bytes).and_then(|envelope| envelope.open::<Succession>(&expected, &key));
        let Some(succession) = opened.ok().map(|opened| opened.body) else {
            return;
        };
        if last.checked_add(1) == Some(succession.epoch) {
            self.keys.insert(succession.epoch, succession.key);
            self.successions.push(bytes.clone());
        }
    }

    /// Opens a document that the authority must have signed, with the key of the epoch that it names.
    pub(super) fn open<D: Document>(&self, bytes: &[u8], subject: Subject) -> Result<Opened<D>, Refused> {
        let envelope = Envelope::parse(bytes).map_err(|error| Refused::unread(error.into()))?;
        let header = envelope.claimed();
        let refused = |why| Refused::of(header, why);
        let Some(key) = self.key(header.epoch) else {
            return Err(refused(self.unknown_epoch::<D>(header, subject)));
        };

        envelope
            .open(&self.expected(subject), key)
            .map_err(|error| refused(error.into()))
    }

    /// What is wrong with a document of an epoch without key: that, unless it is not ours in the first place.
    fn unknown_epoch<D: Document>(&self, header: &Header, subject: Subject) -> Refusal {
        if header.kind != D::KIND {
            return Refusal::WrongKind { found: header.kind };
        }
        if header.realm != self.cluster.into() {
            return Refusal::WrongRealm { found: header.realm };
        }
        match header.subject == subject {
            true => Refusal::UnknownEpoch,
            false => Refusal::WrongSubject {
                found: header.subject,
            },
        }
    }

    fn expected(&self, subject: Subject) -> Expected {
        Expected {
            realm: self.cluster.into(),
            subject,
        }
    }
}

/// A document that was not opened, with what it claims to be as far as that could be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) claimed: Option<Claimed>,
    pub(super) why: Refusal,
}

/// Kind and numbers of a document; unverified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    pub(super) kind: Kind,
    pub(super) epoch: u64,
    pub(super) version: u64,
}

impl Refused {
    pub(super) fn of(header: &Header, why: Refusal) -> Self {
        let claimed = Claimed {
            kind: header.kind,
            epoch: header.epoch,
            version: header.version,
        };

        Self {
            claimed: Some(claimed),
            why,
        }
    }

    /// A document that `beacon` pins under these numbers, and that did not come.
    pub(super) fn withheld(kind: Kind, version: u64, beacon: &Header) -> Self {
        let claimed = Claimed {
            kind,
            epoch: beacon.epoch,
            version,
        };

        Self {
            claimed: Some(claimed),
            why: Refusal::Withheld,
        }
    }

    /// Whether this is about a document that claims to be of `kind`.
    pub(super) fn is_of(&self, kind: Kind) -> bool {
        self.claimed.is_some_and(|claimed| claimed.kind == kind)
    }

    pub(super) fn unread(why: Refusal) -> Self {
        Self { claimed: None, why }
    }
}

/// As on disk. The keys are not written: they are walked again, so that a changed file cannot add one.
#[derive(Encode, Decode)]
#[cbor(map)]
struct Form {
    #[n(0)]
    cluster: ClusterId,
    #[n(1)]
    epoch: u64,
    #[n(2)]
    key: VerifyKey,
    #[n(3)]
    successions: Vec<ByteVec>,
}

impl<C> Encode<C> for Trust {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        let form = Form {
            cluster: self.cluster,
            epoch: self.pinned,
            key: self.pin(),
            successions: self.successions.clone(),
        };

        form.encode(e, &mut ())
    }
}

impl<'b, C> Decode<'b, C> for Trust {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        let form = Form::decode(d, &mut ())?;
        let mut trust = Self::pinned(form.cluster, form.epoch, form.key);
        trust.walk(&form.successions);

        Ok(trust)
    }
}

/// Successions that are walked in one welcome: an authority that rotates every week is followed for 19 years.
pub const SUCCESSIONS: usize = 1_024;
