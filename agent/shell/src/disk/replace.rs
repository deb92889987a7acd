//! Replacing a file so that a crash at any point leaves the old content or the new.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The steps of a replacement; a test counts them and crashes between any two.
pub(super) trait Steps {
    /// Writes a temporary file whole, in place of one that was left behind.
    fn write(&mut self, temporary: &str, bytes: &[u8]) -> io::Result<()>;

    /// Makes its content durable.
    fn sync(&mut self, temporary: &str) -> io::Result<()>;

    /// Gives it the name of the file it replaces.
    fn rename(&mut self, temporary: &str, name: &str) -> io::Result<()>;

    /// Makes names durable.
    fn sync_directory(&mut self) -> io::Result<()>;
}

/// Puts `bytes` in place of the file `name`, durably.
pub(super) fn replace(steps: &mut impl Steps, name: &str, bytes: &[u8]) -> io::Result<()> {
    let temporary = format!("{name}{TEMPORARY}");
    steps.write(&temporary, bytes)?;
    steps.sync(&temporary)?;
    steps.rename(&temporary, name)?;

    steps.sync_directory()
}

/// The steps in a real directory.
#[derive(Debug)]
pub(super) struct InDirectory(PathBuf);

impl InDirectory {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }
}

impl Steps for InDirectory {
    fn write(&mut self, temporary: &str, bytes: &[u8]) -> io::Result<()> {
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(FILE_MODE)
            .open(self.0.join(temporary))?
            .write_all(bytes)
    }

    fn sync(&mut self, temporary: &str) -> io::Result<()> {
        File::open(self.0.join(temporary))?.sync_all()
    }

    fn rename(&mut self, temporary: &str, name: &str) -> io::Result<()> {
        std::fs::rename(self.0.join(temporary), self.0.join(name))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        File::open(&self.0)?.sync_all()
    }
}

/// The end of the name of a file that is being written.
pub(super) const TEMPORARY: &str = ".new";

/// For the owner alone: most files hold keys.
pub(super) const FILE_MODE: u32 = 0o600;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn a_crash_between_any_two_steps_leaves_the_old_content_or_the_new_in_order() {
        let all = crash_after(usize::MAX).done;
        assert_eq!(all, 8, "two files, four steps each");
        let mut outcomes = BTreeMap::new();
        for done in 0..=all {
            for rename_survives in [false, true] {
                let left = crash_after(done).after_crash(rename_survives);
                let state = (left["first"].as_str(), left["second"].as_str());
                assert!(
                    [("old", "old"), ("new", "old"), ("new", "new")].contains(&state),
                    "after step {done}: {state:?}"
                );
                *outcomes.entry(left).or_insert(0) += 1;
            }
        }

        assert_eq!(outcomes.len(), 3, "every outcome was seen: {outcomes:?}");
    }

    #[test]
    fn the_new_content_is_there_when_the_call_returns() {
        let left = crash_after(usize::MAX).after_crash(false);

        assert_eq!((left["first"].as_str(), left["second"].as_str()), ("new", "new"));
    }

    fn crash_after(steps: usize) -> Disk {
        let mut disk = Disk {
            names: [("first", "old"), ("second", "old")].map(own).into(),
            left: steps,
            ..Disk::default()
        };
        let _ = replace(&mut disk, "first", b"new").and_then(|()| replace(&mut disk, "second", b"new"));

        disk
    }

    fn own((name, content): (&str, &str)) -> (String, String) {
        (name.to_owned(), content.to_owned())
    }

    /// A disk that keeps what was synced. Of what was not, a renamed file is torn, and a rename itself may survive.
    #[derive(Default)]
    struct Disk {
        names: BTreeMap<String, String>,
        renamed: BTreeMap<String, String>,
        unsynced: BTreeMap<String, String>,
        synced: BTreeMap<String, String>,
        left: usize,
        done: usize,
    }

    impl Disk {
        fn step(&mut self) -> io::Result<()> {
            if self.done == self.left {
                return Err(io::Error::other("crash"));
            }
            self.done += 1;

            Ok(())
        }

        fn after_crash(mut self, rename_survives: bool) -> BTreeMap<String, String> {
            if rename_survives {
                self.names.append(&mut self.renamed);
            }

            self.names
        }
    }

    impl Steps for Disk {
        fn write(&mut self, temporary: &str, bytes: &[u8]) -> io::Result<()> {
            self.step()?;
            let content = String::from_utf8_lossy(bytes).into_owned();
            self.unsynced.insert(temporary.to_owned(), content);

            Ok(())
        }

        fn sync(&mut self, temporary: &str) -> io::Result<()> {
            self.step()?;
            let content = self.unsynced.remove(temporary).expect("it was written");
            self.synced.insert(temporary.to_owned(), content);

            Ok(())
        }

        fn rename(&mut self, temporary: &str, name: &str) -> io::Result<()> {
            self.step()?;
            let content = self.synced.remove(temporary);
            self.renamed
                .insert(name.to_owned(), content.unwrap_or_else(|| "torn".to_owned()));

            Ok(())
        }

        fn sync_directory(&mut self) -> io::Result<()> {
            self.step()?;
            self.names.append(&mut self.renamed);

            Ok(())
        }
    }
}
