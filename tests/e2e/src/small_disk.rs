//! A disk that can be filled: a small tmpfs in a mount namespace of its own, in which one ignored test runs.

use std::fs::OpenOptions;
use std::io::{self, BufRead, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs the ignored test `entry` of this very binary in a mount namespace of its own, which needs root.
pub fn in_own_mounts(entry: &str) {
    let may = Command::new("unshare").args(["--mount", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs root, to mount a small tmpfs");
        return;
    }
    let mut child = Command::new("unshare")
        .arg("--mount")
        .arg(std::env::current_exe().expect("a test has a path"))
        .args([entry, "--exact", "--ignored", "--nocapture", "--test-threads=1"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut stdin = child.stdin.take().expect("piped");
    writeln!(stdin, "{GO}").expect("it listens");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");

    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    assert!(output.status.success() && said.contains(DONE), "{said}");
}

/// Whether [`in_own_mounts`] runs this, and not a person who runs every ignored test.
pub fn is_meant() -> bool {
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);

    read.is_ok() && line.trim() == GO
}

/// Says that an entry came to its end.
pub fn done() {
    eprintln!("\n{DONE}");
}

/// A tmpfs. It is gone when this is dropped, whoever still uses it.
pub struct SmallDisk(PathBuf);

impl SmallDisk {
    pub fn mount(path: &Path, bytes: usize) -> Self {
        std::fs::create_dir_all(path).expect("a directory");
        let options = format!("size={bytes},mode=0700");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
            .arg(path)
            .status();
        assert!(mounted.expect("mount runs").success());

        Self(path.to_owned())
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Leaves no page free.
    pub fn fill(&self) {
        let mut filler = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(self.0.join(FILLER))
            .expect("room for a name");
        let page = [0; 4096];
        let full = loop {
            if let Err(error) = filler.write_all(&page) {
                break error;
            }
        };
        assert_eq!(full.kind(), io::ErrorKind::StorageFull);
    }

    pub fn free(&self) {
        std::fs::remove_file(self.0.join(FILLER)).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "unmounted");
    }
}

const GO: &str = "go";
const FILLER: &str = "filler";
const DONE: &str = "came to its end";
