//! The product as its user has it: the real binary, started as processes on loopback, asked by its own command line.

pub mod clock;
mod fleet;
pub mod lab;
mod process;
pub mod small_disk;
pub mod strace;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub use fleet::{copy, words};
pub use process::{Ended, until};
pub use rustix::process::Signal;

/// The binary that `cargo build --bins` made in the same target directory as what runs: a test, or a program beside it.
pub fn gabion() -> PathBuf {
    let running = std::env::current_exe().expect("what runs has a path");
    // Programs lie in target/PROFILE, tests in target/PROFILE/deps.
    let places = running.ancestors().skip(1).take(2);
    let mut binaries = places.map(|place| place.join("gabion"));

    binaries.find(|binary| binary.is_file()).unwrap_or_else(|| {
        panic!(
            "no gabion beside {}: cargo build --workspace --bins",
            running.display()
        )
    })
}

/// A controller's data directory and the processes that were started beside it. All end with the test.
#[derive(Debug)]
pub struct Site {
    dir: tempfile::TempDir,
    processes: Vec<(String, Child)>,
}

impl Default for Site {
    fn default() -> Self {
        Self {
            dir: tempfile::tempdir().expect("a directory"),
            processes: Vec::new(),
        }
    }
}

impl Site {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub fn run(&self, args: &[&str]) -> String {
        let output = self.try_run(args);
        let talk = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "gabion {}: {talk}", args.join(" "));

        String::from_utf8(output.stdout).expect("text")
    }

    pub fn try_run(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary starts")
    }

    /// The result of a command as JSON.
    pub fn json(&self, args: &[&str]) -> Value {
        let text = self.run(&[args, &["-o", "json"]].concat());

        serde_json::from_str(&text).expect("-o json prints JSON")
    }

    /// Starts a process that runs until the test ends or it is killed; it talks into a log beside its state.
    pub fn start(&mut self, name: &str, args: &[&str]) {
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).expect("a log");
        let child = self
            .command(args)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the binary starts");
        self.processes.push((name.to_owned(), child));
    }

    /// Ends a process without warning.
    pub fn kill(&mut self, name: &str) {
        let at = self
            .processes
            .iter()
            .position(|(known, _)| known == name)
            .expect("it was started");
        let (_, mut child) = self.processes.remove(at);
        child.kill().expect("it runs");
        child.wait().expect("it ends");
    }

    /// Asks until `holds` of the answer, and shows the last answer and the logs when time is up.
    pub fn until(&self, args: &[&str], holds: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let output = self.try_run(&[args, &["-o", "json"]].concat());
            let answer: Option<Value> = serde_json::from_slice(&output.stdout).ok();
            if let Some(answer) = answer.as_ref().filter(|answer| holds(answer)) {
                return answer.clone();
            }
            assert!(
                begun.elapsed() < PATIENCE,
                "{args:?} still says {answer:?}\n{}",
                self.logs()
            );
        }
    }

    fn logs(&self) -> String {
        let log =
            |name: &String| std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default();

        self.processes
            .iter()
            .map(|(name, _)| format!("--- {name}\n{}", log(name)))
            .collect()
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(gabion());
        command
            .args(args)
            .env("GABION_SOCKET", self.path("admin.sock"))
            .stdin(Stdio::null());

        command
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for (_, child) in &mut self.processes {
            // What has ended already needs no end.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Text of a path; test directories are plain.
pub fn text(path: &Path) -> String {
    path.to_str().expect("a plain path").to_owned()
}

/// Long enough for a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(120);
