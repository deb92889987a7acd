//! What a test does to processes: start them under a tracer, stop them, wait for their end, read their figures.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{PATIENCE, Site};

/// How a command ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            signal: output.status.signal(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Ended {
    /// The text of a refusal, which ended with `exit` and names `code`.
    pub fn refused(self, exit: i32, code: &str) -> String {
        let begins = self.stderr.contains(&format!("error[{code}]: "));
        assert!(self.code == Some(exit) && begins, "not {exit} {code}: {self:?}");

        self.stderr
    }
}

impl Site {
    /// Runs a command to its end, whatever that is.
    pub fn attempt(&self, args: &[&str]) -> Ended {
        self.try_run(args).into()
    }

    /// Starts a command whose end the test waits for.
    pub fn begin(&self, args: &[&str]) -> Child {
        self.command(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts")
    }

    /// As [`Site::start`], under `wrapper`.
    pub fn start_under(&mut self, name: &str, wrapper: &[String], args: &[&str]) {
        let log = std::fs::File::create(self.path(&format!("{name}.log"))).expect("a log");
        let inner = self.command(args);
        let (program, before) = wrapper.split_first().expect("a wrapper");
        let mut command = Command::new(program);
        command
            .args(before)
            .arg(inner.get_program())
            .args(inner.get_args())
            .env("GABION_SOCKET", self.path("admin.sock"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log);
        self.adopt(name, command.spawn().expect("the wrapper starts"));
    }

    /// Takes care of a process that the test started.
    pub fn adopt(&mut self, name: &str, child: Child) {
        self.processes.push((name.to_owned(), child));
    }

    pub fn pid(&self, name: &str) -> u32 {
        self.known(name).id()
    }

    pub fn signal(&self, name: &str, signal: Signal) {
        kill_process(Pid::from_child(self.known(name)), signal).expect("it runs");
    }

    /// Whether a process has not ended.
    pub fn lives(&mut self, name: &str) -> bool {
        let found = self.processes.iter_mut().find(|(known, _)| known == name);
        let (_, child) = found.expect("it was started");

        child.try_wait().expect("a child").is_none()
    }

    /// Waits until a process has ended, and gives its status.
    pub fn ended(&mut self, name: &str) -> ExitStatus {
        until(&format!("{name} ends"), || !self.lives(name));
        let at = self.processes.iter().position(|(known, _)| known == name);
        let (_, mut child) = self.processes.remove(at.expect("it was started"));

        child.wait().expect("a child")
    }

    /// Asks a process to end, and waits until it has.
    pub fn stop(&mut self, name: &str) -> ExitStatus {
        self.signal(name, Signal::TERM);
        self.ended(name)
    }

    /// What a process has logged so far.
    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// A figure of the controller, as Prometheus would read it: the sum over the series that begin so.
    pub fn controller_figure(&self, series: &str) -> f64 {
        figure(&self.path("admin.sock"), series)
    }

    /// A figure of an agent.
    pub fn agent_figure(&self, name: &str, series: &str) -> f64 {
        figure(&self.path(&format!("{name}.sock")), series)
    }

    /// What an agent tells of itself at `place` of its local API; null while it does not answer.
    pub fn told(&self, name: &str, place: &str) -> Value {
        let body = get(&self.path(&format!("{name}.sock")), place).unwrap_or_default();

        serde_json::from_str(&body).unwrap_or_default()
    }

    fn known(&self, name: &str) -> &Child {
        let found = self.processes.iter().find(|(known, _)| known == name);

        &found.expect("it was started").1
    }
}

/// Looks until `holds`.
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < PATIENCE, "never: {what}");
        std::thread::yield_now();
    }
}

fn figure(socket: &Path, series: &str) -> f64 {
    let text = get(socket, "/metrics").unwrap_or_default();
    let values = text
        .lines()
        .filter(|line| line.starts_with(series))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());

    values.sum()
}

fn get(socket: &Path, place: &str) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(format!("GET {place} HTTP/1.0\r\nhost: localhost\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (_, body) = text.split_once("\r\n\r\n").unwrap_or_default();

    Ok(body.to_owned())
}
