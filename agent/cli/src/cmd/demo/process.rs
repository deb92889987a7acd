//! The processes of the demo: this very binary, once for each machine, each with a log of its own.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

/// The binary that is started, and where what it says is kept.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    binary: PathBuf,
    logs: PathBuf,
    /// What of its work is logged.
    filter: String,
}

impl Program {
    /// The binary of this process.
    pub(crate) fn this(logs: PathBuf, filter: String) -> Result<Self, NotStarted> {
        let binary = std::env::current_exe().map_err(|source| NotStarted::Unknown { source })?;

        Ok(Self::of(binary, logs, filter))
    }

    const fn of(binary: PathBuf, logs: PathBuf, filter: String) -> Self {
        Self { binary, logs, filter }
    }

    /// Starts a process. It ends when it is dropped.
    pub(crate) fn start(&self, name: &str, arguments: &[OsString]) -> Result<Process, NotStarted> {
        let log = self.logs.join(format!("{name}.log"));
        let refuse = |source| NotStarted::Refused {
            name: name.to_owned(),
            source,
        };
        let said = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .map_err(refuse)?;
        let also_said = said.try_clone().map_err(refuse)?;
        let child = Command::new(&self.binary)
            .args(arguments)
            .env_clear()
            .env("GABION_LOG", &self.filter)
            .stdin(Stdio::null())
            .stdout(said)
            .stderr(also_said)
            .kill_on_drop(true)
            .spawn()
            .map_err(refuse)?;

        Ok(Process {
            name: name.to_owned(),
            child,
            log,
        })
    }

    /// Runs a process to its end, which must be a good one.
    pub(crate) async fn finish(&self, name: &str, arguments: &[OsString]) -> Result<(), Ended> {
        let mut process = self.start(name, arguments).map_err(Ended::NotStarted)?;
        match process.child.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(process.ended(status)),
            Err(source) => Err(process.lost(source)),
        }
    }
}

/// A process that was started. Signals to it are sent, not waited for, unless it says otherwise.
#[derive(Debug)]
pub(crate) struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Whether it ended by itself, and how.
    pub(crate) fn check(&mut self) -> Result<(), Ended> {
        match self.child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(self.ended(status)),
            Err(source) => Err(self.lost(source)),
        }
    }

    /// Kills it without warning, even when it stands still, and waits until it is gone.
    pub(crate) async fn kill(&mut self) -> Result<(), Ended> {
        self.child.kill().await.map_err(|source| self.lost(source))
    }

    /// Lets it stand still, with everything it holds.
    pub(crate) fn stop(&self) -> Result<(), Ended> {
        self.signal(Signal::STOP)
    }

    /// Lets it go on.
    pub(crate) fn resume(&self) -> Result<(), Ended> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<(), Ended> {
        let pid = self
            .child
            .id()
            .and_then(|id| i32::try_from(id).ok())
            .and_then(Pid::from_raw);
        let Some(pid) = pid else {
            return Err(Ended::Gone {
                name: self.name.clone(),
                log: self.log.clone(),
            });
        };

        kill_process(pid, signal).map_err(|error| self.lost(error.into()))
    }

    fn ended(&self, status: ExitStatus) -> Ended {
        Ended::ByItself {
            name: self.name.clone(),
            status,
            log: self.log.clone(),
            last: last_lines(&self.log),
        }
    }

    fn lost(&self, source: io::Error) -> Ended {
        Ended::Lost {
            name: self.name.clone(),
            source,
        }
    }
}

/// What a process said last.
fn last_lines(log: &Path) -> String {
    let read = || -> io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(LAST_BYTES)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();

    lines[lines.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// A process of the demo could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotStarted {
    /// The system does not start it, or its log cannot be written.
    #[error("{name} cannot be started")]
    Refused {
        name: String,
        #[source]
        source: io::Error,
    },
    /// The system does not say which binary this process runs.
    #[error("the binary of this process cannot be found")]
    Unknown {
        #[source]
        source: io::Error,
    },
}

/// A process of the demo is not there although it should be.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Ended {
    /// It ended, and nobody had asked it to.
    #[error("{name} ended by itself ({status}); its log is {}\n{last}", .log.display())]
    ByItself {
        name: String,
        status: ExitStatus,
        log: PathBuf,
        last: String,
    },
    /// It is to be sent a signal, and has ended before.
    #[error("{name} is not running; its log is {}", .log.display())]
    Gone { name: String, log: PathBuf },
    /// The system does not say how it is, or does not signal it.
    #[error("{name} cannot be reached")]
    Lost {
        name: String,
        #[source]
        source: io::Error,
    },
    /// It was to run to its end, and did not begin.
    #[error("a step was not taken")]
    NotStarted(#[source] NotStarted),
}

const LAST_BYTES: u64 = 4 * 1024;
const LAST_LINES: usize = 8;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_process_that_ends_badly_is_named_with_what_it_said_last() {
        let place = Place::new();

        let failed = place
            .shell()
            .finish("machine", &script("echo first; echo last >&2; exit 3"))
            .await;
        let text = failed.unwrap_err().to_string();
        assert!(
            text.contains("machine ended by itself (exit status: 3)"),
            "{text}"
        );
        assert!(text.contains("machine.log\nfirst\nlast"), "{text}");
    }

    #[tokio::test]
    async fn a_process_that_ends_well_is_finished() {
        let place = Place::new();

        assert!(place.shell().finish("machine", &script("exit 0")).await.is_ok());
    }

    #[tokio::test]
    async fn a_process_gets_nothing_of_our_environment_but_what_to_log() {
        let place = Place::new();

        let shell = place.shell();
        let lines = "[ -z \"$CARGO_MANIFEST_DIR\" ] && [ \"$GABION_LOG\" = debug ]";
        assert!(shell.finish("machine", &script(lines)).await.is_ok());
    }

    #[tokio::test]
    async fn a_stopped_process_stands_still_until_it_is_resumed() {
        let place = Place::new();
        let mut process = place.start("while :; do :; done");
        process.stop().unwrap();
        place.until(&process, |state| state == 'T').await;
        process.resume().unwrap();
        place.until(&process, |state| state == 'R').await;

        process.kill().await.unwrap();
        assert!(matches!(process.stop(), Err(Ended::Gone { .. })));
    }

    #[tokio::test]
    async fn a_stopped_process_can_be_killed() {
        let place = Place::new();
        let mut process = place.start("while :; do :; done");
        process.stop().unwrap();

        process.kill().await.unwrap();
        assert!(process.check().is_err());
    }

    #[tokio::test]
    async fn a_process_that_runs_is_not_said_to_have_ended() {
        let place = Place::new();
        let mut process = place.start("while :; do :; done");

        assert!(process.check().is_ok());
        process.kill().await.unwrap();
        assert!(process.check().is_err());
    }

    /// A directory for logs, and the system's shell as the binary.
    struct Place(tempfile::TempDir);

    impl Place {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn shell(&self) -> Program {
            Program::of(
                PathBuf::from("/bin/sh"),
                self.0.path().to_owned(),
                "debug".to_owned(),
            )
        }

        fn start(&self, lines: &str) -> Process {
            self.shell().start("machine", &script(lines)).unwrap()
        }

        /// Waits until the system says that the process is in such a state (proc(5), stat).
        async fn until(&self, process: &Process, is_so: impl Fn(char) -> bool) {
            let path = format!("/proc/{}/stat", process.child.id().unwrap());
            let state = || {
                let text = std::fs::read_to_string(&path).unwrap();
                text.rsplit(") ")
                    .next()
                    .and_then(|rest| rest.chars().next())
                    .unwrap()
            };
            let waited = async {
                while !is_so(state()) {
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), waited)
                .await
                .unwrap();
        }
    }

    fn script(lines: &str) -> Vec<OsString> {
        vec!["-c".into(), lines.into()]
    }
}
