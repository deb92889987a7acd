//! One process per directory: a lock file that names its holder.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::fault::is_out_of_space;
use super::files::FILE_MODE;
use super::open::OpenFailed;

/// Holds the lock of a directory until it is dropped or the process ends, however it ends.
///
/// The file stays: removing it would let two processes lock two files of one name.
#[derive(Debug)]
pub(super) struct DirectoryLock {
    file: File,
}

impl DirectoryLock {
    pub(super) fn acquire(directory: &Path) -> Result<Self, OpenFailed> {
        let path = directory.join(LOCK);
        let refuse = |source: io::Error| OpenFailed::from_io(&path, source);
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE);
        let mut file = options.open(&path).map_err(refuse)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                return Err(OpenFailed::Locked {
                    directory: directory.to_owned(),
                    pid: holder(&mut file),
                });
            }
            Err(errno) => return Err(refuse(errno.into())),
        }
        match name_holder(&mut file) {
            // The lock is held all the same, and a full disk must not keep a store from being opened.
            Err(error) if is_out_of_space(&error) => {}
            named => named.map_err(refuse)?,
        }

        Ok(Self { file })
    }
}

impl Drop for DirectoryLock {
    /// Leaves no pid behind that another process may have by then. Closing the file ends the lock.
    fn drop(&mut self) {
        if let Err(error) = self.file.set_len(0) {
            tracing::debug!(%error, "the lock file keeps the pid of its last holder");
        }
    }
}

fn name_holder(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all(format!("{}\n", std::process::id()).as_bytes())
}

/// The pid in the file; none while its holder is still writing it.
fn holder(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(PID_BYTES).read_to_string(&mut text).ok()?;

    text.trim().parse().ok()
}

const LOCK: &str = "controller.lock";
/// A pid has at most seven digits on Linux.
const PID_BYTES: u64 = 16;
