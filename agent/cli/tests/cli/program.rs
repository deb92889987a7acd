//! The program under test, in a directory and an environment of its own.

use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// A directory in which commands are run.
pub(crate) struct Place {
    directory: TempDir,
    /// Given to every command.
    surroundings: Vec<(String, String)>,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            surroundings: Vec::new(),
        }
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.surroundings.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();

        path
    }

    /// A file that nobody else may read, there at once and whole.
    pub(crate) fn write_private(&self, name: &str, text: &str) {
        let draft = self.write("draft", text);
        std::fs::set_permissions(&draft, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        std::fs::rename(draft, self.path(name)).unwrap();
    }

    /// Runs the command to its end.
    pub(crate) fn run(&self, line: &str) -> Ran {
        Ran::from(self.command(line).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs the command to its end with something on its standard input.
    pub(crate) fn run_with_input(&self, line: &str, input: &str) -> Ran {
        self.start(line, input).ended()
    }

    /// Starts a command with something on its standard input.
    pub(crate) fn start(&self, line: &str, input: &str) -> Started {
        let mut command = self.command(line);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();

        Started(Some(child))
    }

    /// Starts a service and waits until it says that it is ready.
    pub(crate) fn serve(&self, line: &str) -> Service {
        let place = self.path(&format!("notify-{}", rand::random::<u32>()));
        let notify = UnixDatagram::bind(&place).unwrap();
        let child = self
            .command(line)
            .env("NOTIFY_SOCKET", &place)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut service = Service {
            child: Some(child),
            notify,
        };
        service.until("READY=1");

        service
    }

    /// A command line of plain words; paths are relative to the directory.
    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gabion"));
        command
            .args(line.split_whitespace())
            .current_dir(self.directory.path())
            .env_clear()
            .env("HOME", self.directory.path())
            .env("TMPDIR", self.directory.path())
            .envs(self.surroundings.iter().map(|(name, value)| (name, value)));

        command
    }
}

/// A command that goes on until it ends by itself, or until this is dropped.
pub(crate) struct Started(Option<Child>);

impl Started {
    /// Waits until it has ended.
    pub(crate) fn ended(mut self) -> Ran {
        Ran::from(self.0.take().unwrap().wait_with_output().unwrap())
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    /// The result, of a command that ended well.
    pub(crate) fn done(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");

        self.stdout
    }

    /// The result as JSON, of a command that ended well.
    pub(crate) fn json(self) -> Value {
        serde_json::from_str(&self.done()).unwrap()
    }

    /// The error, of a command that ended with `code` and printed no result.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!((self.code, self.stdout.as_str()), (code, ""), "{self:?}");

        self.stderr
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A service that runs until it is stopped, or until this is dropped.
pub(crate) struct Service {
    child: Option<Child>,
    notify: UnixDatagram,
}

impl Service {
    /// Waits until it tells its manager something that begins so.
    pub(crate) fn until(&mut self, wanted: &str) {
        let patience = std::time::Duration::from_secs(60);
        self.notify.set_read_timeout(Some(patience)).unwrap();
        let mut buffer = [0; 4_096];
        loop {
            let Ok(length) = self.notify.recv(&mut buffer) else {
                panic!("{wanted} was never said: {:?}", self.end(Signal::KILL));
            };
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.lines().any(|line| line.starts_with(wanted)) {
                return;
            }
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(mut self) -> Ran {
        self.end(Signal::TERM)
    }

    /// Waits until it has ended by itself.
    pub(crate) fn ended(mut self) -> Ran {
        Ran::from(self.child.take().unwrap().wait_with_output().unwrap())
    }

    fn end(&mut self, signal: Signal) -> Ran {
        let child = self.child.take().unwrap();
        let _ = kill_process(Pid::from_child(&child), signal);

        Ran::from(child.wait_with_output().unwrap())
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        if self.child.is_some() {
            let ran = self.end(Signal::KILL);
            eprintln!("{}", ran.stderr);
        }
    }
}

/// The mode of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(path).unwrap()) & 0o777
}
