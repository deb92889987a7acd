//! Reads on a connection of their own, beside the writer.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{Connection, Rows};

use super::backup;
use super::open::{self, INTACT};
use crate::engine::{
    BackupFailed, Cause, ChangeSet, ChangesFailed, CheckFailed, EngineReader, Entry, ReadFailed, Revision,
    Write,
};
use crate::key::{Key, Span};

/// Shared by every thread that reads pages of tables that are not resident. Long work opens a connection of its own.
#[derive(Debug)]
pub(super) struct SqliteReader {
    path: PathBuf,
    connection: Mutex<Connection>,
    /// Copies have one working name beside the file.
    copying: Mutex<()>,
}

impl SqliteReader {
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            connection: Mutex::new(open::read_only(path)?),
            copying: Mutex::default(),
        })
    }

    /// A connection whose holder panicked is still good: every read is one statement.
    fn connection(&self) -> MutexGuard<'_, Connection> {
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EngineReader for SqliteReader {
    fn revision(&self) -> Result<Revision, ReadFailed> {
        revision(&self.connection())
    }

    fn range(&self, span: &Span, until: Revision, limit: usize) -> Result<Vec<Entry>, ReadFailed> {
        range(&self.connection(), span, until, limit)
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<ChangeSet>, ChangesFailed> {
        changes(&self.connection(), after, limit)
    }

    fn backup(&self, target: &Path) -> Result<(), BackupFailed> {
        backup::backup(&self.path, target)
    }

    fn copy(&self) -> Result<File, BackupFailed> {
        let _alone = self.copying.lock().unwrap_or_else(PoisonError::into_inner);

        backup::nameless(&self.path)
    }

    fn check(&self) -> Result<(), CheckFailed> {
        check(&open::read_only(&self.path)?)
    }
}

pub(super) fn revision(connection: &Connection) -> Result<Revision, ReadFailed> {
    let mut newest = connection.prepare_cached("SELECT revision FROM meta")?;

    Ok(newest.query_row([], |row| row.get(0))?)
}

pub(super) fn range(
    connection: &Connection,
    span: &Span,
    until: Revision,
    limit: usize,
) -> Result<Vec<Entry>, ReadFailed> {
    let mut entries = connection.prepare_cached(
        "SELECT key, value, revision FROM kv
         WHERE key >= ?1 AND key < ?2 AND revision <= ?3 ORDER BY key LIMIT ?4",
    )?;
    let entries = entries.query_map((span.from(), span.to(), until, rows(limit)), |row| {
        let key = Key::from_bytes(row.get_ref(0)?.as_blob()?);
        Ok(Entry {
            key,
            value: row.get(1)?,
            revision: row.get(2)?,
        })
    })?;

    Ok(entries.collect::<rusqlite::Result<_>>()?)
}

pub(super) fn changes(
    connection: &Connection,
    after: Revision,
    limit: usize,
) -> Result<Vec<ChangeSet>, ChangesFailed> {
    let unreadable = |error: rusqlite::Error| ChangesFailed::Unreadable(Cause::new(error));
    let transaction = connection.unchecked_transaction().map_err(unreadable)?;
    let through = transaction
        .query_row("SELECT compacted FROM meta", [], |row| row.get(0))
        .map_err(unreadable)?;
    if after < through {
        return Err(ChangesFailed::Compacted { through });
    }
    let mut writes = transaction
        .prepare_cached(
            "SELECT revision, key, value FROM changes WHERE revision IN
               (SELECT DISTINCT revision FROM changes WHERE revision > ?1 ORDER BY revision LIMIT ?2)
             ORDER BY revision, key",
        )
        .map_err(unreadable)?;

    writes
        .query((after, rows(limit)))
        .and_then(change_sets)
        .map_err(unreadable)
}

fn change_sets(mut rows: Rows<'_>) -> rusqlite::Result<Vec<ChangeSet>> {
    let mut sets: BTreeMap<Revision, BTreeMap<Key, Write>> = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let key = Key::from_bytes(row.get_ref(1)?.as_blob()?);
        let write = row.get::<_, Option<_>>(2)?.map_or(Write::Delete, Write::Put);
        sets.entry(row.get(0)?).or_default().insert(key, write);
    }

    Ok(sets
        .into_iter()
        .map(|(revision, writes)| ChangeSet { revision, writes })
        .collect())
}

/// Reads the whole file: pages, then what the engine itself promises.
pub(super) fn check(connection: &Connection) -> Result<(), CheckFailed> {
    let mut pages = connection.prepare("PRAGMA integrity_check")?;
    let verdicts = pages.query_map([], |row| row.get(0))?;
    let mut findings: Vec<String> = verdicts.collect::<rusqlite::Result<_>>()?;
    findings.retain(|finding| finding != INTACT);
    for (promise, finding) in PROMISES {
        if connection.query_row(promise, [], |row| row.get(0))? {
            findings.push((*finding).to_owned());
        }
    }
    match findings.is_empty() {
        true => Ok(()),
        false => Err(CheckFailed::Damaged { findings }),
    }
}

fn rows(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// A question whose answer must be no, and what it means when it is yes.
const PROMISES: [(&str, &str); 4] = [
    (
        "SELECT NOT EXISTS (SELECT 1 FROM meta)",
        "the counters are missing",
    ),
    (
        "SELECT EXISTS (SELECT 1 FROM kv WHERE revision > (SELECT revision FROM meta))",
        "a row is newer than the newest commit",
    ),
    (
        "SELECT EXISTS (SELECT 1 FROM changes, meta WHERE changes.revision NOT BETWEEN compacted + 1 AND meta.revision)",
        "a change lies outside the commits that are kept",
    ),
    (
        "SELECT EXISTS (SELECT 1 FROM (SELECT key, value, max(revision) AS revision FROM changes GROUP BY key) AS newest
           LEFT JOIN kv USING (key)
           WHERE newest.value IS NOT kv.value OR newest.revision <> kv.revision)",
        "the newest change of a key differs from its row",
    ),
];
