//! A consistent copy of the file while the writer goes on.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::{fault, files, open, reader};
use crate::engine::{BackupFailed, Cause};

/// Copies the database `source` to the new file `target`, which appears under its name only when it is complete,
/// checked and synced.
pub(super) fn backup(source: &Path, target: &Path) -> Result<(), BackupFailed> {
    if target.exists() {
        return Err(BackupFailed::Exists(target.to_owned()));
    }
    let partial = partial(target);
    let file = files::create_private(&partial).map_err(|error| from_io(&partial, error))?;
    let written = copy(source, &partial)
        .and_then(|()| file.sync_all().map_err(|error| from_io(&partial, error)))
        .and_then(|()| fs::hard_link(&partial, target).map_err(|error| from_io(target, error)));
    discard(&partial);
    written?;

    files::sync_directory(directory(target)).map_err(|error| from_io(target, error))
}

/// Copies the database `source` to a file beside it, whose name is taken away before anything is read from it: it needs
/// room there, and leaves none behind when it is closed.
pub(super) fn nameless(source: &Path) -> Result<File, BackupFailed> {
    let target = source.with_extension("copy");
    // What a copy that was cut short by the end of its process has left.
    for stale in [&target, &partial(&target)] {
        match fs::remove_file(stale) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(from_io(stale, error)),
            Ok(()) | Err(_) => {}
        }
    }
    backup(source, &target)?;
    let opened = File::open(&target).map_err(|error| from_io(&target, error));
    discard(&target);

    opened
}

/// Copies in one step: the reader's transaction shows one commit, and the writer appends to its log meanwhile. The
/// copy keeps no log beside it, so that it is one file.
fn copy(source: &Path, partial: &Path) -> Result<(), BackupFailed> {
    let refuse = |error| from_sqlite(partial, error);
    let source = open::read_only(source).map_err(|error| BackupFailed::Unreadable(Cause::new(error)))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(partial, flags).map_err(refuse)?;
    copy.pragma_update(None, "synchronous", "OFF").map_err(refuse)?;
    let step = Backup::new(&source, &mut copy)
        .and_then(|backup| backup.step(EVERY_PAGE))
        .map_err(refuse)?;
    if step != StepResult::Done {
        let source = Cause::new(format!("the copy stopped: {step:?}"));
        return Err(BackupFailed::Io {
            path: partial.to_owned(),
            source,
        });
    }
    copy.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
        .map_err(refuse)?;
    reader::check(&copy).map_err(|failed| BackupFailed::Unreadable(Cause::new(failed)))?;

    copy.close().map_err(|(_, error)| refuse(error))
}

/// Takes the working name away: the finished copy has its own by then.
fn discard(partial: &Path) {
    if let Err(error) = fs::remove_file(partial) {
        tracing::warn!(%error, "an unfinished backup is left behind");
    }
}

fn directory(target: &Path) -> &Path {
    target
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."))
}

fn partial(target: &Path) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".partial");

    name.into()
}

fn from_io(path: &Path, error: io::Error) -> BackupFailed {
    if error.kind() == io::ErrorKind::AlreadyExists {
        return BackupFailed::Exists(path.to_owned());
    }
    match fault::is_out_of_space(&error) {
        true => BackupFailed::NoSpace,
        false => BackupFailed::Io {
            path: path.to_owned(),
            source: Cause::new(error),
        },
    }
}

fn from_sqlite(path: &Path, error: rusqlite::Error) -> BackupFailed {
    match fault::is_full(&error) {
        true => BackupFailed::NoSpace,
        false => BackupFailed::Io {
            path: path.to_owned(),
            source: Cause::new(error),
        },
    }
}

/// To the backup interface, a negative count means all that remain.
const EVERY_PAGE: i32 = -1;
