//! What an SQLite error means for the engine's operations.

use std::io;

use rusqlite::{ErrorCode, ffi};

use crate::engine::{CampaignFailed, Cause, CheckFailed, CommitFailed, ReadFailed, RenewFailed};

/// An error of one statement, sorted by what follows from it.
#[derive(Debug)]
pub(super) enum Fault {
    /// A write failed before and the engine has stopped writing.
    Doubtful,
    /// No space is left; the transaction is rolled back.
    Full,
    /// The system failed.
    Io(Cause),
    /// The file is damaged, or is no database.
    Unreadable(Cause),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        if is_full(&error) {
            return Self::Full;
        }
        match is_damage(&error) {
            true => Self::Unreadable(Cause::new(error)),
            false => Self::Io(Cause::new(error)),
        }
    }
}

/// Whether the disk is full. Growing the shared-memory file has a code of its own.
pub(super) fn is_full(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DiskFull)
        || error.sqlite_extended_error_code() == Some(ffi::SQLITE_IOERR_SHMSIZE)
}

/// As [`is_full`], for what the engine does to files itself.
pub(super) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

impl From<Fault> for CampaignFailed {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Doubtful => Self::Io(Cause::new("a write failed before")),
            Fault::Full => Self::StoreFull,
            Fault::Io(cause) => Self::Io(cause),
            Fault::Unreadable(cause) => Self::Unreadable(cause),
        }
    }
}

impl From<Fault> for CommitFailed {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Doubtful => Self::TermLost,
            Fault::Full => Self::StoreFull,
            Fault::Io(cause) => Self::Io(cause),
            Fault::Unreadable(cause) => Self::Unreadable(cause),
        }
    }
}

impl From<Fault> for RenewFailed {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Doubtful => Self::TermLost,
            Fault::Full => Self::StoreFull,
            Fault::Io(cause) => Self::Io(cause),
            Fault::Unreadable(cause) => Self::Unreadable(cause),
        }
    }
}

impl From<rusqlite::Error> for CommitFailed {
    fn from(error: rusqlite::Error) -> Self {
        Fault::from(error).into()
    }
}

impl From<rusqlite::Error> for ReadFailed {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unreadable(Cause::new(error))
    }
}

impl From<rusqlite::Error> for CheckFailed {
    fn from(error: rusqlite::Error) -> Self {
        match is_damage(&error) {
            true => Self::Damaged {
                findings: vec![error.to_string()],
            },
            false => Self::Unreadable(Cause::new(error)),
        }
    }
}
