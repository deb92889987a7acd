//! What other threads read while the writer works.

use std::fs::File;
use std::iter;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use control_core::store::{StoreError, Table, View};

use crate::engine::{BackupFailed, ChangeSet, ChangesFailed, CheckFailed, EngineReader, Revision};
use crate::key::{Key, Span};
use crate::rows::{Committed, Source, StoredRow};

/// A handle on the store for any thread.
#[derive(Clone)]
pub struct StoreReader {
    shared: Arc<Shared>,
}

impl StoreReader {
    pub(crate) fn new(committed: Committed, engine: Arc<dyn EngineReader + Send + Sync>) -> Self {
        let committed = RwLock::new(Arc::new(committed));
        Self {
            shared: Arc::new(Shared {
                committed,
                full: AtomicBool::new(false),
                engine,
            }),
        }
    }

    /// What is committed now. Costs two reference counts; the writer goes on beside it.
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            committed: self.committed(),
            engine: self.shared.engine.clone(),
        }
    }

    /// Whether the last commit failed for want of space. Reads go on; the next commit that succeeds ends it.
    pub fn is_full(&self) -> bool {
        self.shared.full.load(Ordering::Relaxed)
    }

    /// What the commits after `after` wrote: see [`EngineReader::changes`].
    pub fn changes(&self, after: Revision, limit: usize) -> Result<Vec<ChangeSet>, ChangesFailed> {
        self.shared.engine.changes(after, limit)
    }

    /// Copies the store to the new file `target`: see [`EngineReader::backup`].
    pub fn backup(&self, target: &Path) -> Result<(), BackupFailed> {
        self.shared.engine.backup(target)
    }

    /// Copies the store to a file without a name: see [`EngineReader::copy`].
    pub fn copy(&self) -> Result<File, BackupFailed> {
        self.shared.engine.copy()
    }

    /// Reads everything and says what is damaged.
    pub fn check(&self) -> Result<(), CheckFailed> {
        self.shared.engine.check()
    }

    pub(crate) fn committed(&self) -> Arc<Committed> {
        self.shared
            .committed
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Makes `committed` what readers see. The lock is held for the exchange of a pointer.
    pub(crate) fn publish(&self, committed: Committed) {
        let next = Arc::new(committed);
        let mut current = self
            .shared
            .committed
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let previous = std::mem::replace(&mut *current, next);
        drop(current);
        drop(previous);
    }

    /// Notes whether the store is full and says whether that is news.
    pub(crate) fn note_full(&self, full: bool) -> bool {
        self.shared.full.swap(full, Ordering::Relaxed) != full
    }
}

struct Shared {
    committed: RwLock<Arc<Committed>>,
    full: AtomicBool,
    engine: Arc<dyn EngineReader + Send + Sync>,
}

/// The store as it was after one commit.
///
/// Rows of tables that are not resident are read from the engine: those overwritten or deleted since are missing, so
/// such tables are for rows that are written once (audit, journal).
#[derive(Clone)]
pub struct Snapshot {
    committed: Arc<Committed>,
    engine: Arc<dyn EngineReader + Send + Sync>,
}

impl Snapshot {
    /// The commit that this shows.
    pub fn revision(&self) -> Revision {
        self.committed.revision
    }

    /// The rows of a resident table under `prefix` that are not as in `before`, an earlier snapshot of the same store: the
    /// key of each, and the row as it is now, none if there is none any more. What both have costs next to nothing.
    pub fn changes_since(&self, before: &Self, table: Table, prefix: &[u8]) -> Vec<ChangedRow> {
        debug_assert!(table.is_resident(), "the others are not in the view");
        let span = Span::of_rows(table, prefix, None);
        let changes = self.committed.view.changes_since(&before.committed.view, &span);

        changes
            .into_iter()
            .map(|(key, value)| (key.row().to_vec(), value))
            .collect()
    }

    fn source(&self) -> Source<'_> {
        Source {
            committed: &self.committed,
            engine: &*self.engine,
        }
    }
}

/// A key within its table, and its row as it is now.
pub type ChangedRow = (Vec<u8>, Option<Arc<[u8]>>);

impl View for Snapshot {
    fn get_bytes(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self
            .source()
            .find(table, &Key::new(table, key))?
            .map(|value| value.to_vec()))
    }

    fn scan_bytes(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let span = Span::of_rows(table, prefix, after);
        let rows = self.source().scan(table, &span, iter::empty(), limit);

        rows.take(limit)
            .map(|row| row.map(StoredRow::into_bytes))
            .collect()
    }
}
