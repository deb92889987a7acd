//! The port to a durable engine: ordered keys under one revision, written by whoever leads.
//!
//! Small on purpose: it must fit an embedded database, an SQL server and etcd alike. An engine knows nothing of
//! tables or rows; [`crate::Store`] gives it batches and reads them back.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use batch::{Batch, Expected, Write, WriteSet};
pub(crate) use changes::ChangeWindow;
pub use failure::{
    BackupFailed, CampaignFailed, Cause, ChangesFailed, CheckFailed, CommitFailed, ReadFailed, RenewFailed,
};

use crate::key::{Key, Span};

mod batch;
mod changes;
mod failure;

/// An engine as its one writer holds it.
pub trait Engine: EngineReader + Send + 'static {
    /// What one commit may hold, and how often the lease wants renewal.
    fn limits(&self) -> Limits;

    /// A handle for other threads, which read without waiting for a commit.
    fn reader(&self) -> Arc<dyn EngineReader + Send + Sync>;

    /// Takes the leadership and returns its fencing term, higher than every term before it.
    ///
    /// Whoever led before, this process included, can no longer commit.
    fn campaign(&mut self) -> Result<Term, CampaignFailed>;

    /// Extends the lease of `term`.
    fn renew(&mut self, term: Term) -> Result<(), RenewFailed>;

    /// Gives the lease of `term` back; commits of that term are refused from now on.
    fn resign(&mut self, term: Term) -> Result<(), RenewFailed>;

    /// Writes the whole batch durably, or nothing of it, and returns the revision it made.
    ///
    /// Term and preconditions are checked in the same transaction. A batch without writes checks them and makes no
    /// revision. After [`CommitFailed::Io`] nobody knows whether the batch will be found when the engine is opened
    /// again: the engine gives its term up and commits nothing more.
    fn commit(&mut self, batch: &Batch) -> Result<Revision, CommitFailed>;
}

/// What every thread may ask of an engine.
pub trait EngineReader {
    /// The revision of the newest commit; zero before the first.
    fn revision(&self) -> Result<Revision, ReadFailed>;

    /// At most `limit` entries of `span` in key order, without those written after `until`.
    ///
    /// An entry overwritten or deleted after `until` is left out, not shown as it was.
    fn range(&self, span: &Span, until: Revision, limit: usize) -> Result<Vec<Entry>, ReadFailed>;

    /// What the commits after `after` wrote, oldest first: at most `limit` commits, each of them whole.
    ///
    /// At least the newest [`CHANGES_KEPT`] writes are kept; older commits may be compacted.
    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<ChangeSet>, ChangesFailed>;

    /// Writes a consistent copy of the newest commit to the new file `target`, without holding up the writer.
    fn backup(&self, target: &Path) -> Result<(), BackupFailed>;

    /// Makes the same copy in a file without a name, which goes with its last reader. An engine that keeps nothing
    /// outside this process has none.
    fn copy(&self) -> Result<File, BackupFailed> {
        Err(BackupFailed::Unsupported)
    }

    /// Reads everything and says what is damaged.
    fn check(&self) -> Result<(), CheckFailed>;
}

/// Counts commits: each one that writes makes exactly the next revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(u64);

impl Revision {
    /// As `until`: nothing is left out. Engines keep revisions in signed 64 bits.
    pub const NEWEST: Self = Self(i64::MAX as u64);

    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// The fencing term of a leadership: who holds an older one cannot commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term(u64);

impl Term {
    pub const fn new(count: u64) -> Self {
        Self(count)
    }

    pub const fn get(self) -> u64 {
        self.0
    }

    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Writes in one commit.
    pub operations: usize,
    /// Bytes of keys and values in one commit.
    pub bytes: usize,
    /// How long a lease lasts without renewal; `None` when it lasts as long as the engine is open.
    pub lease: Option<Duration>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub value: Arc<[u8]>,
    /// The commit that wrote it.
    pub revision: Revision,
}

/// What one commit wrote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangeSet {
    pub revision: Revision,
    pub writes: BTreeMap<Key, Write>,
}

/// Writes that [`EngineReader::changes`] can still tell: some minutes of a busy controller, a few megabytes.
pub const CHANGES_KEPT: usize = 16_384;
