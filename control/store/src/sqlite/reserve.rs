//! Room that is kept on the disk so that a store can be opened when there is none left: the write-ahead log, the term
//! and the first commit of a leader need some, and without them nobody would serve what the store holds.
//!
//! ```text
//! kept ──(no space, from opening to the first commit)──► given up ──(a commit, and plenty of space)──► kept
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::files;

/// The reserve of one directory.
#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    kept: bool,
    /// The file system does not set room aside: not tried again.
    hopeless: bool,
}

impl Reserve {
    pub(super) fn of(directory: &Path) -> Self {
        let path = directory.join(NAME);

        Self {
            kept: path.exists(),
            path,
            hopeless: false,
        }
    }

    /// Sets the room aside if it is not, and if there is so much that nobody misses it.
    pub(super) fn keep(&mut self) {
        if self.kept || self.hopeless || !self.is_plenty() {
            return;
        }
        match self.set_aside() {
            Ok(()) => self.kept = true,
            Err(error) => {
                tracing::debug!(%error, "no room is kept for a start on a full disk");
                self.hopeless = true;
                // What was begun is no room; if it cannot be removed either, the next start finds it and can use it.
                let _ = fs::remove_file(&self.path);
            }
        }
    }

    /// Gives the room back to the disk. Returns whether there was any.
    pub(super) fn give_up(&mut self) -> bool {
        if !self.kept {
            return false;
        }
        self.kept = false;
        match fs::remove_file(&self.path) {
            Ok(()) => {
                tracing::warn!("no space left: the store is opened in the room that was kept for that");
                true
            }
            Err(error) => {
                tracing::warn!(%error, "the room that was kept for a full disk cannot be given up");
                false
            }
        }
    }

    fn is_plenty(&self) -> bool {
        let directory = self.path.parent().unwrap_or_else(|| Path::new("."));

        statvfs(directory).is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= PLENTY)
    }

    fn set_aside(&self) -> io::Result<()> {
        let file: File = files::create_private(&self.path)?;
        fallocate(&file, FallocateFlags::empty(), 0, RESERVE)?;

        file.sync_all()
    }
}

const NAME: &str = "reserve";
/// The log and its index, and what a start publishes: a beacon, and after an upgrade every document's row.
const RESERVE: u64 = 8 * 1024 * 1024;
/// Free space from which on the reserve is no loss to anybody.
const PLENTY: u64 = 8 * RESERVE;
