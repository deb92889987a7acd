//! The processes of a lab, each in the namespace of its host and with a log of its own.

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A process that runs until it is killed, at the latest with the lab.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `command`; what it says is added to `log`.
    pub(super) fn start(mut command: Command, log: &Path) -> Self {
        let said = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log");
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(said)
            .spawn();

        Self {
            child: child.expect("it starts"),
            log: log.to_owned(),
        }
    }

    /// Ends it without warning, even when it stands still.
    pub(super) fn kill(&mut self) {
        // What has ended already needs no end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Lets it stand still, with everything it holds.
    pub(super) fn stop(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets it go on.
    pub(super) fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// How it ended, if nobody killed it and it is over.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the system knows its child")
    }

    /// The last of what it said.
    pub(super) fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();

        lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        let sent = kill_process(pid.expect("a process has an id"), signal);
        sent.expect("our own process can be signalled");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

const LAST_LINES: usize = 25;
