//! The state directory.

use std::collections::BTreeMap;
use std::path::PathBuf;

use agent_core::control::{FileName, Payload, WriteFailed};

use crate::parts::Pending;

/// Where the agent's files are kept.
pub trait StateDisk: Send + Sync + 'static {
    /// Every file that is there.
    fn read(&self) -> Result<BTreeMap<FileName, Vec<u8>>, DiskRefused>;

    /// Writes each file whole, durable before the next is begun, and answers when the last one is.
    fn write(&self, files: Vec<(FileName, Payload)>) -> Pending<Result<(), WriteFailed>>;
}

/// The state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskRefused {
    /// A directory or file could not be opened, read or made.
    #[error("could not use {}", .path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// Another process has the directory.
    #[error("{} is in use by process {pid}", .path.display())]
    Locked { path: PathBuf, pid: String },
    /// Others than the owner may read or write it.
    #[error("{} has mode {mode:04o}, and others can reach it; fix it with: chmod {wanted:04o} {}", .path.display(), .path.display())]
    Exposed { path: PathBuf, mode: u32, wanted: u32 },
}
