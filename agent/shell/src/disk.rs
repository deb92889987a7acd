//! The state directory.

mod directory;
mod memory;
mod replace;

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use agent_core::control::{FileName, Payload, WriteFailed};

use crate::parts::Pending;

pub use directory::DirectoryDisk;
pub use memory::MemoryDisk;

/// Where the agent's files are kept.
pub trait StateDisk: Send + Sync + 'static {
    /// Every file that is there.
    fn read(&self) -> Result<BTreeMap<FileName, Vec<u8>>, DiskRefused>;

    /// Writes each file whole, durable before the next is begun, and answers when the last one is. One call at a
    /// time.
    fn write(&self, files: Vec<(FileName, Payload)>) -> Pending<Result<(), WriteFailed>>;
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskRefused {
    /// Others than the owner may read or write it.
    #[error(
        "{} has mode {mode:04o}, so others can reach it; fix it with: chmod {wanted:04o} {}",
        .path.display(), .path.display()
    )]
    Exposed { path: PathBuf, mode: u32, wanted: u32 },
    /// It belongs to another user, who could replace what is in it.
    #[error(
        "{} belongs to user {owner}; fix it with: chown -R {wanted} {}",
        .path.display(), .path.display()
    )]
    Foreign { path: PathBuf, owner: u32, wanted: u32 },
    /// A directory or file could not be opened, read or made.
    #[error("could not use {}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Another process has the directory.
    #[error("{} is in use by process {pid}", .path.display())]
    Locked { path: PathBuf, pid: String },
}
