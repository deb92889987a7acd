//! Opening the database: settings, checks, and the reasons to refuse.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::fault::{is_damage, is_full, is_out_of_space};
use super::schema;
use crate::engine::Cause;

/// Opens the connection that writes. The file exists already.
pub(super) fn writer(path: &Path) -> Result<Connection, OpenFailed> {
    let refuse = |error| OpenFailed::from_sqlite(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(refuse)?;
    prepare(&connection).map_err(refuse)?;
    schema::require_known(&connection, path)?;
    require_intact(&connection, path)?;
    make_durable(&connection, path)?;
    schema::migrate(&mut connection).map_err(refuse)?;

    Ok(connection)
}

/// Opens a connection that reads beside the writer.
pub(super) fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    prepare(&connection)?;

    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "temp_store", "MEMORY")
}

fn require_intact(connection: &Connection, path: &Path) -> Result<(), OpenFailed> {
    let verdict = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match verdict {
        Ok(verdict) if verdict == INTACT => Ok(()),
        Ok(finding) => Err(OpenFailed::Damaged {
            path: path.to_owned(),
            finding,
        }),
        Err(error) => Err(OpenFailed::from_sqlite(path, error)),
    }
}

/// A commit has reached the disk when it returns.
fn make_durable(connection: &Connection, path: &Path) -> Result<(), OpenFailed> {
    let refuse = |error| OpenFailed::from_sqlite(path, error);
    let mode = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0));
    let mode = mode.map_err(refuse)?;
    if mode != "wal" {
        let source = Cause::new(format!("no write-ahead log here, only journal mode {mode}"));
        return Err(OpenFailed::Io {
            path: path.to_owned(),
            source,
        });
    }
    connection
        .pragma_update(None, "synchronous", "FULL")
        .map_err(refuse)?;
    let limit = format!("PRAGMA journal_size_limit = {LOG_BYTES}");

    connection.query_row(&limit, [], |_| Ok(())).map_err(refuse)
}

#[derive(Debug, thiserror::Error)]
pub enum OpenFailed {
    /// The file contradicts itself: restore a backup.
    #[error("{path} is damaged: {finding}")]
    Damaged { path: PathBuf, finding: String },
    /// Others than the owner may write to the directory or open the file.
    #[error("{path} has mode {found:04o} and others can reach it; run: chmod {wanted:04o} {path}")]
    Exposed { path: PathBuf, found: u32, wanted: u32 },
    /// The file is a database of some other program.
    #[error("{path} is not a store of this program")]
    Foreign { path: PathBuf },
    /// The system refuses to create, lock or read a file.
    #[error("{path} cannot be opened")]
    Io {
        path: PathBuf,
        #[source]
        source: Cause,
    },
    /// Another process has the store open; its pid, unless it has only just begun.
    #[error("{directory} is in use by {}", holder(*pid))]
    Locked { directory: PathBuf, pid: Option<u32> },
    /// A newer version of this program wrote the file.
    #[error(
        "{path} has schema {found}, newer than {known}, the newest that this version knows; run that version, or restore a backup made by this one"
    )]
    NewerSchema { path: PathBuf, found: u32, known: u32 },
    /// No space is left for what opening writes: the lock, the log, a migration.
    #[error("no space left for {path}")]
    StoreFull { path: PathBuf },
}

impl OpenFailed {
    pub(super) fn from_io(path: &Path, error: io::Error) -> Self {
        let path = path.to_owned();
        match is_out_of_space(&error) {
            true => Self::StoreFull { path },
            false => Self::Io {
                path,
                source: Cause::new(error),
            },
        }
    }

    pub(super) fn from_sqlite(path: &Path, error: rusqlite::Error) -> Self {
        let path = path.to_owned();
        if is_full(&error) {
            return Self::StoreFull { path };
        }
        match is_damage(&error) {
            true => Self::Damaged {
                path,
                finding: error.to_string(),
            },
            false => Self::Io {
                path,
                source: Cause::new(error),
            },
        }
    }
}

fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

/// How long to wait for a tool that holds a lock on the file: an operator's shell, briefly.
const BUSY: Duration = Duration::from_secs(5);
/// What the log keeps on disk after a checkpoint: above the largest commit, so that only a backlog is given back.
const LOG_BYTES: u32 = 64 * 1024 * 1024;
pub(super) const INTACT: &str = "ok";
