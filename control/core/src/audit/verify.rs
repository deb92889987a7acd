//! Walking the chain from its first record: which is the first that does not belong?

use protocol::cbor;
use protocol::key::Digest;

use crate::store::{Rows, StoreError, Table, View};

use super::{Head, Record, hash_of, head};

/// Walks the whole chain and compares its end with the head row, and with a `witness` (a head that some beacon
/// carried) if there is one.
pub fn verify(view: &dyn View, witness: Option<Head>) -> Result<Head, VerifyFailure> {
    let mut verification = Verification::start(witness);
    loop {
        if let Progress::Complete(head) = verification.advance(view, PAGE)? {
            return Ok(head);
        }
    }
}

/// A walk along the chain that can rest between pages.
#[derive(Clone, Debug)]
pub struct Verification {
    /// The last record that is known to be right.
    at: Head,
    witness: Option<Head>,
}

/// How far a [`Verification`] has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Everything up to this record is in order; call again.
    Verified(u64),
    /// The chain is whole and ends here.
    Complete(Head),
}

impl Verification {
    pub fn start(witness: Option<Head>) -> Self {
        Self {
            at: Head::default(),
            witness: witness.filter(|head| head.count > 0),
        }
    }

    /// Checks up to `limit` more records.
    pub fn advance(&mut self, view: &dyn View, limit: usize) -> Result<Progress, VerifyFailure> {
        let after = self.at.count.to_be_bytes();
        let rows = view.scan_bytes(Table::Audit, &[], Some(&after), limit)?;
        if rows.is_empty() {
            return self.finish(view).map(Progress::Complete);
        }
        for (key, bytes) in rows {
            self.step(view, &key, &bytes)?;
        }

        Ok(Progress::Verified(self.at.count))
    }

    fn step(&mut self, view: &dyn View, key: &[u8], bytes: &[u8]) -> Result<(), VerifyFailure> {
        let seq = self.at.count + 1;
        if key != seq.to_be_bytes() {
            return Err(bad(seq, Why::Missing));
        }
        let record: Record = cbor::decode(bytes).map_err(|_| bad(seq, Why::Unreadable))?;
        if record.seq != seq {
            return Err(bad(seq, Why::OutOfPlace { found: record.seq }));
        }
        let hash = hash_of(bytes);
        if record.previous != self.at.hash {
            return Err(self.blame(view, seq, hash)?);
        }
        if let Some(witness) = self.witness.filter(|witness| witness.count == seq)
            && witness.hash != hash
        {
            return Err(bad(seq, Why::OtherThanWitnessed));
        }
        self.at = Head { count: seq, hash };

        Ok(())
    }

    /// `seq` and the record before it disagree. If what follows vouches for `seq`, the one before it was changed.
    fn blame(&self, view: &dyn View, seq: u64, hash: Digest) -> Result<VerifyFailure, StoreError> {
        let vouched = match view.get_bytes(Table::Audit, &(seq + 1).to_be_bytes())? {
            Some(next) => cbor::decode::<Record>(&next).is_ok_and(|next| next.previous == hash),
            None => head(view)?.hash == hash,
        };

        Ok(match vouched && seq > 1 {
            true => bad(seq - 1, Why::Changed),
            false => bad(seq, Why::Changed),
        })
    }

    fn finish(&self, view: &dyn View) -> Result<Head, VerifyFailure> {
        let stored: Head = view.get(super::HEAD_KEY)?.unwrap_or_default();
        let witnessed = self.witness.map_or(0, |witness| witness.count);
        if self.at.count < stored.count.max(witnessed) {
            return Err(bad(self.at.count + 1, Why::Missing));
        }
        if self.at.count > stored.count {
            return Err(bad(stored.count + 1, Why::BeyondHead));
        }
        if self.at.hash != stored.hash {
            return Err(bad(self.at.count, Why::Changed));
        }

        Ok(self.at)
    }
}

fn bad(seq: u64, why: Why) -> VerifyFailure {
    VerifyFailure::Broken(FirstBad { seq, why })
}

/// The first record that is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FirstBad {
    pub seq: u64,
    pub why: Why,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Why {
    /// The record is newer than the head: it was added without it, or the head was set back.
    #[error("it is beyond the head of the chain")]
    BeyondHead,
    /// Its bytes are not those that the next record, or the head, was chained to.
    #[error("it was changed")]
    Changed,
    /// It was deleted, or the chain was cut off here.
    #[error("it is missing")]
    Missing,
    /// A beacon carried another hash for this record: the chain was written anew.
    #[error("it is not the record that a beacon witnessed")]
    OtherThanWitnessed,
    /// It stands under another record's number.
    #[error("it is record {found}, moved here")]
    OutOfPlace { found: u64 },
    /// Its bytes are no audit record.
    #[error("it cannot be read")]
    Unreadable,
}

#[derive(Debug, thiserror::Error)]
pub enum VerifyFailure {
    /// The chain was tampered with.
    #[error("audit record {} is the first bad one: {}", .0.seq, .0.why)]
    Broken(FirstBad),
    /// The store could not be read.
    #[error("the audit chain cannot be read")]
    Store(#[from] StoreError),
}

/// Records read at once: a few hundred KiB.
const PAGE: usize = 1_000;
