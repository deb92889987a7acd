//! Somewhere to open an engine, again and again, on what the last one left.

use control_core::store::Table;
use control_store::engine::{Write, WriteSet};
use control_store::memory::{MemoryDisk, MemoryEngine};
use control_store::sqlite::SqliteEngine;
use control_store::{Engine, Key};
use tempfile::TempDir;

pub(crate) trait Ground {
    type Engine: Engine;

    fn new() -> Self;

    /// Opens an engine; the one before must have been dropped.
    fn open(&self) -> Self::Engine;
}

pub(crate) struct Memory(MemoryDisk);

impl Ground for Memory {
    type Engine = MemoryEngine;

    fn new() -> Self {
        Self(MemoryDisk::default())
    }

    fn open(&self) -> MemoryEngine {
        MemoryEngine::open(&self.0, "one")
    }
}

pub(crate) struct Sqlite(TempDir);

impl Ground for Sqlite {
    type Engine = SqliteEngine;

    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> SqliteEngine {
        SqliteEngine::open(self.0.path()).unwrap()
    }
}

pub(crate) fn key(row: u32) -> Key {
    Key::new(Table::Nodes, &row.to_be_bytes())
}

pub(crate) fn put(row: u32, value: &[u8]) -> (Key, Write) {
    (key(row), Write::Put(value.into()))
}

pub(crate) fn writes(writes: impl IntoIterator<Item = (Key, Write)>) -> WriteSet {
    writes.into_iter().collect()
}
