//! A controller's store without its controller: opened to be read, never led.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use control_core::store::{Entry, StoreError, Table, View};
use control_store::engine::EngineReader;
use control_store::sqlite::{OpenFailed, SqliteEngine};
use control_store::{Key, Revision, Span};
use rustix::fs::{FlockOperation, flock};

use crate::exit::Exit;
use crate::failure::Failure;

/// The rows of an engine as they were committed last.
#[derive(Debug)]
pub(crate) struct Stored {
    engine: SqliteEngine,
    /// Taken away when the engine is closed: fields are dropped in their order.
    _copy: Option<Directory>,
}

impl Stored {
    /// The store of a controller that does not run, for the time before it does.
    pub(crate) fn of(engine: SqliteEngine) -> Self {
        Self { engine, _copy: None }
    }

    /// Gives the engine back.
    pub(crate) fn into_engine(self) -> SqliteEngine {
        self.engine
    }

    /// A private copy of a data directory or of a backup; the original is only read.
    pub(crate) fn copy_of(path: &Path) -> Result<Self, Failure> {
        let copy = Directory::create().map_err(|error| {
            Failure::new(Exit::Failed, "no_space", "there is no place for a copy").because(error.to_string())
        })?;
        copy_files(path, &copy.0)?;
        let engine = SqliteEngine::open(&copy.0).map_err(|refused| unopenable(path, &refused))?;

        Ok(Self {
            engine,
            _copy: Some(copy),
        })
    }
}

impl View for Stored {
    fn get_bytes(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let span = Span::of_key(&Key::new(table, key));
        let entries = self
            .engine
            .range(&span, Revision::NEWEST, 1)
            .map_err(unreadable)?;

        Ok(entries.first().map(|entry| entry.value.to_vec()))
    }

    fn scan_bytes(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let span = Span::of_rows(table, prefix, after);
        let entries = self
            .engine
            .range(&span, Revision::NEWEST, limit)
            .map_err(unreadable)?;

        Ok(entries
            .into_iter()
            .map(|entry| (entry.key.row().to_vec(), entry.value.to_vec()))
            .collect())
    }
}

fn unreadable(error: impl std::fmt::Display) -> StoreError {
    StoreError::Unreadable(error.to_string())
}

/// Copies the database and its log while nobody can open them.
fn copy_files(from: &Path, to: &Path) -> Result<(), Failure> {
    let refuse = |error: io::Error| {
        Failure::usage(format!("{} holds no store that can be read", from.display()))
            .because(error.to_string())
    };
    if !fs::metadata(from).map_err(refuse)?.is_dir() {
        return fs::copy(from, to.join(DATABASE)).map(|_| ()).map_err(refuse);
    }
    let _lock = locked(from).map_err(refuse)?.ok_or_else(|| in_use(from))?;
    fs::copy(from.join(DATABASE), to.join(DATABASE)).map_err(refuse)?;
    match fs::copy(from.join(LOG), to.join(LOG)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refuse(error)),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// Holds off a controller while the files are copied; none if there is one.
fn locked(directory: &Path) -> io::Result<Option<Lock>> {
    let file = match File::open(directory.join(LOCK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Some(Lock(None))),
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(Some(Lock(Some(file)))),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Ends when it is dropped.
struct Lock(#[expect(dead_code, reason = "closing the file ends the lock")] Option<File>);

fn in_use(path: &Path) -> Failure {
    Failure::new(
        Exit::Conflict,
        "in_use",
        format!("a controller uses {}", path.display()),
    )
    .because("what it is writing would be copied by halves")
    .fixed_by("gabion audit verify    (asks the controller)    or    gabion backup FILE, and verify that")
}

fn unopenable(path: &Path, refused: &OpenFailed) -> Failure {
    let found = matches!(refused, OpenFailed::Damaged { .. } | OpenFailed::Foreign { .. });
    let exit = if found { Exit::Problems } else { Exit::Failed };

    Failure::new(
        exit,
        "store_unusable",
        format!("the store in {} cannot be opened", path.display()),
    )
    .because_of(refused)
}

/// A directory of our own, gone when this is dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn create() -> io::Result<Self> {
        let name = format!("gabion-{:016x}", rand::random::<u64>());
        let path = std::env::temp_dir().join(name);
        DirBuilder::new().mode(0o700).create(&path)?;

        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            tracing::warn!(%error, path = %self.0.display(), "a copy is left behind");
        }
    }
}

/// As the engine names its files.
const DATABASE: &str = "gabion.db";
const LOG: &str = "gabion.db-wal";
const LOCK: &str = "controller.lock";
