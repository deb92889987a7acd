//! `kill -9` on the spot: a process that dies as it enters its nth call of a kind.
//!
//! strace counts the calls of each thread by itself. A process that writes from one thread is followed from its start;
//! of another, the thread is named.

use std::path::Path;
use std::process::Command;

use super::{Site, until};

/// Whether this machine lets a test trace; says so when it does not.
pub fn may_trace() -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    let may = traced.is_ok_and(|status| status.success());
    if !may {
        eprintln!("skipped: strace is missing or may not trace (apt-get install strace)");
    }

    may
}

/// Starts a command so that it dies at its `nth` `call`. The process is the command itself.
pub fn killing(call: &str, nth: usize) -> Vec<String> {
    [
        &["strace", "-D", "-f", "-qq"].map(str::to_owned),
        injection(call, nth).as_slice(),
    ]
    .concat()
}

/// Writes down every call of `calls` that a command makes, and its end. The process is the command itself.
pub fn noting(calls: &[&str], log: &str) -> Vec<String> {
    let calls = format!("trace={}", calls.join(","));

    [
        "strace",
        "-D",
        "-f",
        "-q",
        "-e",
        "signal=none",
        "-e",
        &calls,
        "-o",
        log,
    ]
    .map(str::to_owned)
    .to_vec()
}

/// The log of [`noting`] once it is whole.
pub fn noted(log: &Path, pid: u32) -> String {
    let end = format!("{pid} +++ exited with");
    let read = || std::fs::read_to_string(log).unwrap_or_default();
    until("the tracer has written all", || {
        let text = read();
        text.lines().any(|line| {
            line.split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
                .starts_with(&end)
        })
    });

    read()
}

/// How often each of `calls` was made, by a log of [`noting`]; all of them must be of one thread, or a death of
/// [`killing`] would not be where it seems.
pub fn counted<'a>(log: &str, calls: &[&'a str], of: impl Fn(&str) -> bool) -> Vec<(&'a str, usize)> {
    let is_call = |line: &&str| calls.iter().any(|call| line.contains(&format!(" {call}(")));
    let lines: Vec<&str> = log.lines().filter(is_call).filter(|line| of(line)).collect();
    let threads: std::collections::BTreeSet<_> = lines
        .iter()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(threads.len(), 1, "one thread writes: {log}");

    calls
        .iter()
        .map(|call| {
            let made = lines.iter().filter(|line| line.contains(&format!(" {call}(")));
            (*call, made.count())
        })
        .collect()
}

fn injection(call: &str, nth: usize) -> [String; 6] {
    [
        "-e".to_owned(),
        format!("trace={call}"),
        "-e".to_owned(),
        format!("inject={call}:signal=SIGKILL:when={nth}"),
        "-o".to_owned(),
        "/dev/null".to_owned(),
    ]
}

impl Site {
    /// Lets a thread of a process that runs, and with it the process, die at its `nth` `call` from now on.
    pub fn doom(&mut self, name: &str, thread: &str, (call, nth): (&str, usize)) {
        let thread = thread_of(self.pid(name), thread);
        let args = [
            &["-p".to_owned(), thread.to_string()],
            injection(call, nth).as_slice(),
        ]
        .concat();
        let log = std::fs::File::create(self.path("strace.log")).expect("a log");
        let tracer = Command::new("strace").args(args).stderr(log).spawn();
        self.adopt("strace", tracer.expect("strace starts"));
        until("strace is attached", || self.log("strace").contains("attached"));
    }
}

fn thread_of(pid: u32, name: &str) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let named = |task: std::io::Result<std::fs::DirEntry>| {
        let task = task.ok()?;
        let comm = std::fs::read_to_string(task.path().join("comm")).ok()?;

        (comm.trim() == name).then(|| task.file_name().to_str()?.parse().ok())?
    };

    tasks.into_iter().find_map(named).expect("a thread of that name")
}
