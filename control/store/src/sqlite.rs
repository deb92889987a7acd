//! The embedded engine: one SQLite file, one process, one connection that writes.
//!
//! Write-ahead log with `synchronous=FULL`: a commit has been synced when it returns, and readers on other connections
//! do not wait for it. Rows live in `kv`, the newest writes in `changes`, counters in the single row of `meta`.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use crate::engine::{
    BackupFailed, Batch, CampaignFailed, ChangeSet, ChangeWindow, ChangesFailed, CheckFailed, CommitFailed,
    Engine, EngineReader, Entry, Limits, ReadFailed, RenewFailed, Revision, Term,
};
use crate::key::Span;
use fault::Fault;
use lock::DirectoryLock;
pub use open::OpenFailed;
use reader::SqliteReader;
use reserve::Reserve;

mod backup;
mod commit;
mod fault;
mod files;
mod lock;
mod open;
mod reader;
mod reserve;
mod schema;
mod value;

/// The writer of one database file, with the lock on its directory.
#[derive(Debug)]
pub struct SqliteEngine {
    connection: Connection,
    window: ChangeWindow,
    path: PathBuf,
    reader: Arc<SqliteReader>,
    /// After a failed sync nobody knows what the file holds.
    doubtful: bool,
    reserve: Reserve,
    /// Nothing was committed yet: until then the reserve may be used.
    opening: bool,
    /// Declared last: released after the connection that writes is closed.
    _lock: DirectoryLock,
}

impl SqliteEngine {
    /// Opens the store in `directory`, or creates both with modes 0700 and 0600.
    ///
    /// Locks the directory against a second process, checks the file, and brings its schema up to date. On a full disk
    /// the room that was kept for it is used, up to the first commit.
    pub fn open(directory: &Path) -> Result<Self, OpenFailed> {
        files::prepare_directory(directory)?;
        let lock = DirectoryLock::acquire(directory)?;
        let path = directory.join(DATABASE);
        files::prepare_database(directory, &path)?;
        let mut reserve = Reserve::of(directory);
        let connection = match open::writer(&path) {
            Err(OpenFailed::StoreFull { .. }) if reserve.give_up() => open::writer(&path)?,
            opened => opened?,
        };
        let window =
            commit::kept_changes(&connection).map_err(|error| OpenFailed::from_sqlite(&path, error))?;
        let reader = SqliteReader::open(&path).map_err(|error| OpenFailed::from_sqlite(&path, error))?;

        Ok(Self {
            connection,
            window,
            path,
            reader: Arc::new(reader),
            doubtful: false,
            reserve,
            opening: true,
            _lock: lock,
        })
    }

    /// The database file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Engine for SqliteEngine {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn reader(&self) -> Arc<dyn EngineReader + Send + Sync> {
        self.reader.clone()
    }

    fn campaign(&mut self) -> Result<Term, CampaignFailed> {
        if self.doubtful {
            return Err(Fault::Doubtful.into());
        }
        match take_lead(&mut self.connection) {
            Err(Fault::Full) if self.opening && self.reserve.give_up() => {
                Ok(take_lead(&mut self.connection)?)
            }
            taken => Ok(taken?),
        }
    }

    fn renew(&mut self, term: Term) -> Result<(), RenewFailed> {
        let leads = "SELECT 1 FROM meta WHERE term = ?1 AND holder IS NOT NULL";
        let held = self
            .connection
            .query_row(leads, [term], |_| Ok(()))
            .optional()
            .map_err(Fault::from)?;
        match held {
            Some(()) if !self.doubtful => Ok(()),
            _ => Err(RenewFailed::TermLost),
        }
    }

    fn resign(&mut self, term: Term) -> Result<(), RenewFailed> {
        let give_back = "UPDATE meta SET holder = NULL WHERE term = ?1 AND holder IS NOT NULL";
        match self.connection.execute(give_back, [term]).map_err(Fault::from)? {
            0 => Err(RenewFailed::TermLost),
            _ => Ok(()),
        }
    }

    fn commit(&mut self, batch: &Batch) -> Result<Revision, CommitFailed> {
        batch.within(&LIMITS)?;
        if self.doubtful {
            return Err(CommitFailed::TermLost);
        }
        let mut committed = commit::commit(&mut self.connection, &mut self.window, batch);
        if self.opening && matches!(committed, Err(CommitFailed::StoreFull)) && self.reserve.give_up() {
            committed = commit::commit(&mut self.connection, &mut self.window, batch);
        }
        if committed.is_ok() {
            self.opening = false;
            self.reserve.keep();
        }
        self.doubtful = matches!(committed, Err(CommitFailed::Io(_)));

        committed
    }
}

impl EngineReader for SqliteEngine {
    fn revision(&self) -> Result<Revision, ReadFailed> {
        reader::revision(&self.connection)
    }

    fn range(&self, span: &Span, until: Revision, limit: usize) -> Result<Vec<Entry>, ReadFailed> {
        reader::range(&self.connection, span, until, limit)
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<ChangeSet>, ChangesFailed> {
        reader::changes(&self.connection, after, limit)
    }

    fn backup(&self, target: &Path) -> Result<(), BackupFailed> {
        self.reader.backup(target)
    }

    fn copy(&self) -> Result<File, BackupFailed> {
        self.reader.copy()
    }

    fn check(&self) -> Result<(), CheckFailed> {
        self.reader.check()
    }
}

fn take_lead(connection: &mut Connection) -> Result<Term, Fault> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let lead = "UPDATE meta SET term = term + 1, holder = ?1 RETURNING term";
    let term = transaction.query_row(lead, [std::process::id()], |row| row.get(0))?;
    transaction.commit()?;

    Ok(term)
}

/// What one transaction may hold: 10,000 operations keep a commit in the tens of milliseconds; the bytes, each
/// written to `kv` and to `changes`, keep what one commit adds to the write-ahead log near 32 MiB.
pub(crate) const LIMITS: Limits = Limits {
    operations: 10_000,
    bytes: 16 * 1024 * 1024,
    lease: None,
};

const DATABASE: &str = "gabion.db";

#[cfg(test)]
mod tests {
    use control_core::store::Table;

    use super::*;
    use crate::engine::{Write, WriteSet};
    use crate::key::Key;

    #[test]
    fn a_full_database_refuses_the_commit_and_takes_the_next_one_that_fits() {
        let directory = tempfile::tempdir().unwrap();
        let mut engine = SqliteEngine::open(directory.path()).unwrap();
        let term = engine.campaign().unwrap();
        let pages: u32 = engine
            .connection
            .query_row("PRAGMA page_count", [], |row| row.get(0))
            .unwrap();
        engine
            .connection
            .query_row(&format!("PRAGMA max_page_count = {pages}"), [], |_| Ok(()))
            .unwrap();

        let refused = engine.commit(&Batch::new(term, one(&[0; 100_000])));
        assert!(matches!(refused, Err(CommitFailed::StoreFull)), "{refused:?}");
        assert_eq!(
            engine.range(&Span::everything(), Revision::NEWEST, 10).unwrap(),
            []
        );
        let accepted = engine.commit(&Batch::new(term, one(b"small")));

        assert_eq!(accepted.unwrap(), Revision::new(1));
    }

    #[test]
    fn after_a_failed_write_the_engine_commits_nothing_more() {
        let directory = tempfile::tempdir().unwrap();
        let mut engine = SqliteEngine::open(directory.path()).unwrap();
        let term = engine.campaign().unwrap();
        engine.connection.pragma_update(None, "query_only", true).unwrap();
        let failed = engine.commit(&Batch::new(term, one(b"lost")));
        assert!(matches!(failed, Err(CommitFailed::Io(_))), "{failed:?}");
        engine
            .connection
            .pragma_update(None, "query_only", false)
            .unwrap();

        let refused = engine.commit(&Batch::new(term, one(b"later")));
        assert!(matches!(refused, Err(CommitFailed::TermLost)), "{refused:?}");
        assert!(engine.campaign().is_err() && engine.renew(term).is_err());
        drop(engine);
        let mut engine = SqliteEngine::open(directory.path()).unwrap();
        let term = engine.campaign().unwrap();
        assert_eq!(
            engine.commit(&Batch::new(term, one(b"anew"))).unwrap(),
            Revision::new(1)
        );
    }

    fn one(value: &[u8]) -> WriteSet {
        [(Key::new(Table::Nodes, b"row"), Write::Put(value.into()))]
            .into_iter()
            .collect()
    }
}
