//! The directory of one demo: made for it, closed to others, and gone with it.

use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rand::RngExt;

/// Removed when dropped.
#[derive(Debug)]
pub(crate) struct Place {
    path: PathBuf,
    keeps_logs: bool,
}

impl Place {
    /// Makes the directory among the system's temporary ones, where sockets still have room for their names.
    pub(crate) fn new() -> io::Result<Self> {
        let usual = std::env::temp_dir();
        let parent = match usual.as_os_str().len() <= ROOM {
            true => usual,
            false => PathBuf::from("/tmp"),
        };

        Self::within(&parent)
    }

    fn within(parent: &Path) -> io::Result<Self> {
        let number: u32 = rand::rng().random();
        let place = Self {
            path: parent.join(format!("gabion-demo-{number:08x}")),
            keeps_logs: false,
        };
        make(&place.path)?;
        make(&place.logs())?;

        Ok(place)
    }

    /// Makes a directory in it that only we can enter.
    pub(crate) fn make(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        make(&path)?;

        Ok(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Where every process has its log.
    pub(crate) fn logs(&self) -> PathBuf {
        self.path.join("logs")
    }

    /// Lets the logs be, and only them: the keys go in any case.
    pub(crate) fn keep_logs(&mut self) {
        self.keeps_logs = true;
    }

    fn clear(&self) -> io::Result<()> {
        if !self.keeps_logs {
            return fs::remove_dir_all(&self.path);
        }
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            match entry.file_type()?.is_dir() {
                _ if entry.path() == self.logs() => {}
                true => fs::remove_dir_all(entry.path())?,
                false => fs::remove_file(entry.path())?,
            }
        }

        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = self.clear() {
            eprintln!("{} could not be removed: {error}", self.path.display());
        }
    }
}

fn make(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// A unix socket's name has at most 107 bytes (unix(7)); the longest here is `gabion-demo-xxxxxxxx/m61/agent.sock.new`.
const ROOM: usize = 64;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn nothing_stays_behind() {
        let parent = tempfile::tempdir().unwrap();
        let place = Place::within(parent.path()).unwrap();
        let inner = place.make("m1").unwrap();
        fs::write(inner.join("node.key"), "secret").unwrap();
        assert_eq!(fs::metadata(&inner).unwrap().mode() & 0o777, 0o700);
        drop(place);

        assert_eq!(fs::read_dir(parent.path()).unwrap().count(), 0);
    }

    #[test]
    fn logs_can_be_kept_and_keys_cannot() {
        let parent = tempfile::tempdir().unwrap();
        let mut place = Place::within(parent.path()).unwrap();
        let inner = place.make("m1").unwrap();
        fs::write(inner.join("node.key"), "secret").unwrap();
        fs::write(place.path().join("m1.token"), "secret").unwrap();
        fs::write(place.logs().join("m1.log"), "said").unwrap();
        let logs = place.logs();
        place.keep_logs();
        drop(place);

        assert_eq!(fs::read_to_string(logs.join("m1.log")).unwrap(), "said");
        assert_eq!(fs::read_dir(logs.parent().unwrap()).unwrap().count(), 1);
    }
}
