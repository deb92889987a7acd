//! The state directory on a real disk: for its owner alone, and for one process at a time.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use agent_core::control::{FileName, Payload, WriteFailed};
use rustix::fs::FlockOperation;
use tokio::sync::oneshot;

use super::replace::{FILE_MODE, InDirectory, TEMPORARY, replace};
use super::{DiskRefused, StateDisk};
use crate::parts::Pending;

/// A directory of mode 0700 whose files have mode 0600. One thread writes, in the order in which it is asked.
#[derive(Debug)]
pub struct DirectoryDisk {
    path: PathBuf,
    /// None once it is told to end.
    jobs: Option<mpsc::SyncSender<Job>>,
    writer: Option<JoinHandle<()>>,
    /// Held as long as the agent runs; the kernel gives it back when the process ends, however it does.
    _lock: File,
}

/// What is to be written, and who waits for it.
#[derive(Debug)]
struct Job {
    files: Vec<(FileName, Payload)>,
    done: oneshot::Sender<Result<(), WriteFailed>>,
}

impl DirectoryDisk {
    /// Makes the directory if it is not there, takes it for this process, and refuses it when others could reach
    /// what is in it.
    pub fn open(path: &Path) -> Result<Self, DiskRefused> {
        make(path)?;
        hold_private(path, &metadata(path)?, DIRECTORY_MODE)?;
        let lock = lock(path)?;
        for entry in std::fs::read_dir(path).map_err(|source| refused(path, source))? {
            let entry = entry.map_err(|source| refused(path, source))?.path();
            let about = metadata(&entry)?;
            if about.is_file() {
                hold_private(&entry, &about, FILE_MODE)?;
            }
        }

        let (jobs, due) = mpsc::sync_channel(JOBS);
        let directory = path.to_owned();
        let writer = std::thread::Builder::new()
            .name("disk".to_owned())
            .spawn(move || write_all(&directory, &due))
            .map_err(|source| refused(path, source))?;

        Ok(Self {
            path: path.to_owned(),
            jobs: Some(jobs),
            writer: Some(writer),
            _lock: lock,
        })
    }
}

impl Drop for DirectoryDisk {
    /// Lets what was begun be written before another process may have the directory.
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

fn write_all(directory: &Path, due: &mpsc::Receiver<Job>) {
    for Job { files, done } in due {
        let mut steps = InDirectory::new(directory);
        let written = files
            .iter()
            .try_for_each(|(name, payload)| replace(&mut steps, name.name(), payload.as_bytes()))
            .map_err(|error| failure(&error));
        // Nobody waits any more if the agent is ending.
        let _ = done.send(written);
    }
}

impl StateDisk for DirectoryDisk {
    fn read(&self) -> Result<BTreeMap<FileName, Vec<u8>>, DiskRefused> {
        let mut files = BTreeMap::new();
        for name in FileName::ALL {
            let path = self.path.join(name.name());
            match std::fs::read(&path) {
                Ok(bytes) => drop(files.insert(name, bytes)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(refused(&path, source)),
            }
            // What a crash left behind may hold a key that nobody needs any more.
            let _ = std::fs::remove_file(self.path.join(format!("{}{TEMPORARY}", name.name())));
        }

        Ok(files)
    }

    fn write(&self, files: Vec<(FileName, Payload)>) -> Pending<Result<(), WriteFailed>> {
        let (done, written) = oneshot::channel();
        if let Some(jobs) = &self.jobs {
            // What is not taken, as the writer is gone or stands, drops the other end of `written`.
            let _ = jobs.try_send(Job { files, done });
        }

        Box::pin(async { written.await.unwrap_or(Err(WriteFailed::Io)) })
    }
}

fn failure(error: &io::Error) -> WriteFailed {
    tracing::warn!(%error, "could not write to the state directory");
    match is_full(error) {
        true => WriteFailed::Full,
        false => WriteFailed::Io,
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

fn make(path: &Path) -> Result<(), DiskRefused> {
    let made = DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(path);

    made.map_err(|source| refused(path, source))
}

fn metadata(path: &Path) -> Result<Metadata, DiskRefused> {
    std::fs::symlink_metadata(path).map_err(|source| refused(path, source))
}

/// Refuses what others than this user can reach.
fn hold_private(path: &Path, about: &Metadata, wanted: u32) -> Result<(), DiskRefused> {
    let user = rustix::process::geteuid().as_raw();
    if about.uid() != user {
        return Err(DiskRefused::Foreign {
            path: path.to_owned(),
            owner: about.uid(),
            wanted: user,
        });
    }
    let mode = about.mode() & 0o7777;
    match mode & OTHERS {
        0 => Ok(()),
        _ => Err(DiskRefused::Exposed {
            path: path.to_owned(),
            mode,
            wanted,
        }),
    }
}

/// Takes the lock file, and writes this process's id into it.
fn lock(directory: &Path) -> Result<File, DiskRefused> {
    let path = directory.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&path)
        .map_err(|source| refused(&path, source))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => {
            let mut pid = String::new();
            let _ = file.read_to_string(&mut pid);

            return Err(DiskRefused::Locked {
                path: directory.to_owned(),
                pid: pid.trim().to_owned(),
            });
        }
        Err(error) => return Err(refused(&path, error.into())),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(|source| refused(&path, source))?;

    Ok(file)
}

fn refused(path: &Path, source: io::Error) -> DiskRefused {
    DiskRefused::Io {
        path: path.to_owned(),
        source,
    }
}

const LOCK: &str = "lock";
const DIRECTORY_MODE: u32 = 0o700;
/// The permission bits of group and others.
const OTHERS: u32 = 0o077;

/// Writes that wait: an agent asks for the next one when the last is done, and for a few more while it ends.
const JOBS: usize = 16;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn what_was_written_is_read_back_by_the_next_run() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        let disk = DirectoryDisk::open(&path).unwrap();
        let files = vec![
            (FileName::Identity, Payload::from(b"key".to_vec())),
            (FileName::HighWater, Payload::from(b"mark".to_vec())),
        ];
        disk.write(files).await.unwrap();
        disk.write(vec![(FileName::HighWater, Payload::from(b"higher".to_vec()))])
            .await
            .unwrap();
        drop(disk);

        let read = DirectoryDisk::open(&path).unwrap().read().unwrap();
        assert_eq!(
            read,
            BTreeMap::from([
                (FileName::Identity, b"key".to_vec()),
                (FileName::HighWater, b"higher".to_vec()),
            ])
        );
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join("identity")), 0o600);
    }

    #[tokio::test]
    async fn a_key_file_that_others_can_read_is_refused_with_the_command_that_fixes_it() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        let disk = DirectoryDisk::open(&path).unwrap();
        disk.write(vec![(FileName::Identity, Payload::from(b"key".to_vec()))])
            .await
            .unwrap();
        drop(disk);
        let key = path.join("identity");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();

        let refused = DirectoryDisk::open(&path).unwrap_err().to_string();
        assert!(refused.contains("mode 0644"), "{refused}");
        assert!(
            refused.ends_with(&format!("chmod 0600 {}", key.display())),
            "{refused}"
        );
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let place = tempfile::tempdir().unwrap();
        std::fs::set_permissions(place.path(), std::fs::Permissions::from_mode(0o750)).unwrap();

        let refused = DirectoryDisk::open(place.path()).unwrap_err().to_string();
        assert!(
            refused.ends_with(&format!("chmod 0700 {}", place.path().display())),
            "{refused}"
        );
    }

    #[test]
    fn a_second_agent_on_one_directory_is_refused_naming_the_first() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        let first = DirectoryDisk::open(&path).unwrap();

        let refused = DirectoryDisk::open(&path).unwrap_err();
        let pid = std::process::id().to_string();
        assert!(
            matches!(&refused, DiskRefused::Locked { pid: found, .. } if *found == pid),
            "{refused}"
        );
        drop(first);
        assert!(DirectoryDisk::open(&path).is_ok());
    }

    #[tokio::test]
    async fn what_an_interrupted_write_left_behind_is_removed_and_not_read() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        drop(DirectoryDisk::open(&path).unwrap());
        let left = path.join("identity.new");
        std::fs::write(&left, b"half").unwrap();
        std::fs::set_permissions(&left, std::fs::Permissions::from_mode(0o600)).unwrap();

        assert!(DirectoryDisk::open(&path).unwrap().read().unwrap().is_empty());
        assert!(!left.exists());
    }

    #[test]
    fn a_full_disk_is_told_from_a_broken_one() {
        assert!(is_full(&rustix::io::Errno::NOSPC.into()));
        assert!(is_full(&rustix::io::Errno::DQUOT.into()));
        assert!(!is_full(&rustix::io::Errno::ROFS.into()));
    }

    #[tokio::test]
    async fn a_write_that_cannot_be_made_fails_and_keeps_what_was_there() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("state");
        let disk = DirectoryDisk::open(&path).unwrap();
        // A directory in the way of the temporary file stops even root.
        std::fs::create_dir(path.join("high-water.new")).unwrap();
        let files = vec![
            (FileName::Identity, Payload::from(b"key".to_vec())),
            (FileName::HighWater, Payload::from(b"mark".to_vec())),
        ];

        assert_eq!(disk.write(files).await, Err(WriteFailed::Io));
        let read = disk.read().unwrap();
        assert_eq!(read, BTreeMap::from([(FileName::Identity, b"key".to_vec())]));
    }

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }
}
