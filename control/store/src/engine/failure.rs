//! Why an operation of an engine failed: one enum per operation.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use super::Revision;
use crate::key::Key;

/// The error of the library or system underneath an engine.
#[derive(Debug)]
pub struct Cause(Box<dyn Error + Send + Sync>);

impl Cause {
    pub fn new(error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(error.into())
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

#[derive(Debug, thiserror::Error)]
pub enum BackupFailed {
    /// The target is there already; a backup never overwrites.
    #[error("{0} exists already")]
    Exists(PathBuf),
    /// The target cannot be created, written or synced.
    #[error("the backup cannot be written to {path}")]
    Io {
        path: PathBuf,
        #[source]
        source: Cause,
    },
    /// There is no room for the copy.
    #[error("no space left for the backup")]
    NoSpace,
    /// The store, or the copy just made of it, cannot be read.
    #[error("the store cannot be read")]
    Unreadable(#[source] Cause),
    /// The engine keeps nothing outside this process.
    #[error("this engine has nothing to back up")]
    Unsupported,
}

#[derive(Debug, thiserror::Error)]
pub enum CampaignFailed {
    /// Another candidate leads and its lease has not ended.
    #[error("{holder} holds the leadership")]
    Held { holder: String },
    /// The term cannot be written.
    #[error("the leadership cannot be taken")]
    Io(#[source] Cause),
    /// No space is left to write the term.
    #[error("no space left in the store")]
    StoreFull,
    /// The engine cannot read its own state.
    #[error("the store cannot be read")]
    Unreadable(#[source] Cause),
}

#[derive(Debug, thiserror::Error)]
pub enum ChangesFailed {
    /// The changes asked for have been dropped: read everything anew.
    #[error("changes up to revision {} have been compacted", through.get())]
    Compacted {
        /// The newest revision whose changes are gone.
        through: Revision,
    },
    /// The engine cannot read.
    #[error("the changes cannot be read")]
    Unreadable(#[source] Cause),
}

#[derive(Debug, thiserror::Error)]
pub enum CheckFailed {
    /// The engine's data contradicts itself.
    #[error("the store is damaged: {}", findings.join("; "))]
    Damaged { findings: Vec<String> },
    /// The engine cannot read.
    #[error("the store cannot be read")]
    Unreadable(#[source] Cause),
}

#[derive(Debug, thiserror::Error)]
pub enum CommitFailed {
    /// A precondition does not hold; nothing was written.
    #[error("{key:?} is not as expected")]
    Conflict { key: Key },
    /// The system failed to write or to sync. The batch may or may not be found after opening again, and this
    /// engine commits nothing more.
    #[error("the commit cannot be written")]
    Io(#[source] Cause),
    /// No space is left; nothing was written, and reads go on.
    #[error("no space left in the store")]
    StoreFull,
    /// Somebody else leads since, or this engine gave its term up; nothing was written.
    #[error("the leadership is lost")]
    TermLost,
    /// The batch exceeds [`super::Limits`]; nothing was written.
    #[error("the commit is larger than the engine allows")]
    TooLarge,
    /// The engine cannot read what the commit depends on; nothing was written.
    #[error("the store cannot be read")]
    Unreadable(#[source] Cause),
}

#[derive(Debug, thiserror::Error)]
pub enum ReadFailed {
    /// The system cannot read, or what it reads is damaged.
    #[error("the store cannot be read")]
    Unreadable(#[source] Cause),
}

#[derive(Debug, thiserror::Error)]
pub enum RenewFailed {
    /// The lease cannot be written.
    #[error("the lease cannot be written")]
    Io(#[source] Cause),
    /// No space is left to write the lease.
    #[error("no space left in the store")]
    StoreFull,
    /// Somebody else leads since, or the term was given back.
    #[error("the leadership is lost")]
    TermLost,
    /// The engine cannot read its own state.
    #[error("the store cannot be read")]
    Unreadable(#[source] Cause),
}
