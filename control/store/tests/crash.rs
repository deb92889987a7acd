//! The store in a process that dies: what was acknowledged is there, and no request is there in part.
//!
//! A child process decides numbered requests in groups and prints `acked N` when the requests up to N are committed.
//! It is killed (`SIGKILL`) before and after every engine commit, and, under strace, before every system call by
//! which SQLite changes files. Then the parent opens what is left.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{self, BufRead, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use control_core::store::{StoreError, Table, Tx, View};
use control_store::engine::{
    BackupFailed, Batch, CampaignFailed, ChangeSet, ChangesFailed, CheckFailed, CommitFailed, Entry, Limits,
    ReadFailed, RenewFailed,
};
use control_store::sqlite::SqliteEngine;
use control_store::{Engine, EngineReader, Revision, Span, Store, Term};
use rustix::process::{Signal, getpid, kill_process};

mod child;

#[test]
fn killed_at_any_commit_boundary_the_store_keeps_what_it_acknowledged() {
    let boundaries = 2 * COMMITS;
    let mut acked_values = Vec::new();
    for boundary in 1..=boundaries {
        let directory = tempfile::tempdir().unwrap();
        let run = run(&[], directory.path(), boundary);
        assert_eq!(run.signal, Some(SIGKILL), "boundary {boundary} was not reached");
        let found = require_whole(directory.path(), run.acked, &format!("boundary {boundary}"));
        let commits = boundary / 2;
        assert_eq!(
            found,
            requests_after(commits),
            "what returned is there, what did not is absent"
        );
        acked_values.push(run.acked);
    }

    assert!(boundaries > 0 && acked_values.contains(&0) && acked_values.contains(&(REQUESTS - GROUP)));
    let directory = tempfile::tempdir().unwrap();
    let run = run(&[], directory.path(), boundaries + 1);
    assert_eq!(
        (run.signal, run.acked),
        (None, REQUESTS),
        "there are no more boundaries"
    );
    assert_eq!(require_whole(directory.path(), REQUESTS, "undisturbed"), REQUESTS);
}

#[test]
fn killed_at_any_write_or_sync_the_store_keeps_what_it_acknowledged() {
    if !may_trace() {
        return;
    }
    let counted = count_calls();
    for (call, count) in &counted {
        for nth in 1..=*count {
            let directory = tempfile::tempdir().unwrap();
            let run = run(&killing(call, nth), directory.path(), NEVER);
            let place = format!("{call} {nth} of {count}");
            assert_eq!(run.signal, Some(SIGKILL), "{place} was not reached");
            require_whole(directory.path(), run.acked, &place);
        }
    }

    eprintln!("killed at: {counted:?}");
    let count = |call| counted.iter().find(|(name, _)| *name == call).unwrap().1;
    assert!(count("pwrite64") > COMMITS && count("fsync") + count("fdatasync") > COMMITS);
}

#[test]
fn nothing_is_acknowledged_before_it_is_synced() {
    if !may_trace() {
        return;
    }
    let mut synced = true;
    let mut acks = 0;
    for call in trace(&["pwrite64", "fdatasync", "fsync", "write"]).lines() {
        match call {
            _ if call.contains(" pwrite64(") => synced = false,
            _ if call.contains("sync(") => synced = true,
            _ if call.contains("acked") => {
                assert!(synced, "acknowledgement {acks} before its sync");
                acks += 1;
            }
            _ => {}
        }
    }

    assert_eq!(acks, REQUESTS / GROUP);
}

/// The process that the tests above kill.
#[test]
#[ignore = "needs its input from the tests above"]
fn writer() {
    let mut input = String::new();
    io::stdin().lock().read_line(&mut input).unwrap();
    let Some((directory, boundary)) = input.trim().split_once('\t') else {
        return;
    };
    let engine = SqliteEngine::open(Path::new(directory)).unwrap();
    let mut store = Store::open(Mortal {
        engine,
        left: boundary.parse().unwrap(),
    })
    .unwrap();
    for group in 0..REQUESTS / GROUP {
        let mut open = store.begin();
        for request in group * GROUP + 1..=(group + 1) * GROUP {
            open.request(|tx| decide(tx, request)).unwrap();
        }
        open.commit().unwrap();
        writeln!(io::stdout(), "\nacked {}", (group + 1) * GROUP).unwrap();
    }
}

/// Writes `request` to a counter that all requests share, to a resident row and to a record of its own.
fn decide(tx: &mut dyn Tx, request: usize) -> Result<(), StoreError> {
    let number = (request as u64).to_be_bytes();
    tx.put_bytes(Table::Nodes, COUNTER, number.to_vec())?;
    tx.put_bytes(Table::Policies, &number, vec![request as u8; ROW_BYTES])?;
    tx.put_bytes(Table::Audit, &number, vec![request as u8; ROW_BYTES])
}

/// Opens what a dead process left and says up to which request everything is there.
fn require_whole(directory: &Path, acked: usize, place: &str) -> usize {
    let mut store = Store::open(SqliteEngine::open(&directory.join(STORE)).unwrap()).unwrap();
    store.reader().check().unwrap();
    let view = store.snapshot();
    let counter = view.get_bytes(Table::Nodes, COUNTER).unwrap();
    let found = counter.map_or(0, |bytes| u64::from_be_bytes(bytes.try_into().unwrap()) as usize);

    assert!(
        (acked..=acked + GROUP).contains(&found),
        "{place}: {acked} acknowledged, {found} found"
    );
    for table in [Table::Policies, Table::Audit] {
        let rows = view.scan_bytes(table, &[], None, usize::MAX).unwrap();
        let expected: Vec<_> = (1..=found)
            .map(|request| {
                (
                    (request as u64).to_be_bytes().to_vec(),
                    vec![request as u8; ROW_BYTES],
                )
            })
            .collect();
        assert_eq!(rows, expected, "{place}: {table:?}");
    }
    let mut group = store.begin();
    group.request(|tx| decide(tx, found + 1)).unwrap();
    group.commit().unwrap();

    found
}

struct Run {
    acked: usize,
    signal: Option<i32>,
}

/// Runs the writer until it ends or kills itself at `boundary`.
fn run(wrapper: &[String], directory: &Path, boundary: usize) -> Run {
    let input = format!("{}\t{boundary}\n", directory.join(STORE).display());
    let output = child::spawn(wrapper, "writer", &input)
        .wait_with_output()
        .unwrap();
    let acked = String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.strip_prefix("acked ")?.parse().ok())
        .next_back()
        .unwrap_or(0);
    let signal = output.status.signal();
    assert!(
        signal.is_some() || output.status.success(),
        "the writer failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );

    Run { acked, signal }
}

fn may_trace() -> bool {
    let traced = Command::new("strace").args(["-o", "/dev/null", "true"]).status();
    let may = traced.is_ok_and(|status| status.success());
    if !may {
        eprintln!("skipped: strace is missing or may not trace (apt-get install strace)");
    }

    may
}

/// How often an undisturbed writer makes each of [`CALLS`].
fn count_calls() -> Vec<(&'static str, usize)> {
    let log = trace(&CALLS);

    CALLS
        .map(|call| (call, log.matches(&format!(" {call}(")).count()))
        .to_vec()
}

/// The calls of an undisturbed writer, one on each line.
fn trace(calls: &[&str]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("calls");
    let calls = format!("trace={}", calls.join(","));
    let wrapper = [
        "strace",
        "-f",
        "-qq",
        "-e",
        &calls,
        "-e",
        "signal=none",
        "-o",
        log.to_str().unwrap(),
    ];
    let run = run(&wrapper.map(str::to_owned), directory.path(), NEVER);
    assert_eq!(run.acked, REQUESTS);

    fs::read_to_string(log).unwrap()
}

fn killing(call: &str, nth: usize) -> Vec<String> {
    let (trace, inject) = (
        format!("trace={call}"),
        format!("inject={call}:signal=SIGKILL:when={nth}"),
    );
    [
        "strace",
        "-f",
        "-qq",
        "-e",
        &trace,
        "-e",
        &inject,
        "-o",
        "/dev/null",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// An engine that kills its process before or after one of its commits.
struct Mortal {
    engine: SqliteEngine,
    /// Boundaries until death; it never comes at zero.
    left: usize,
}

impl Mortal {
    fn boundary(&mut self) {
        if self.left == 1 {
            kill_process(getpid(), Signal::KILL).unwrap();
        }
        self.left = self.left.saturating_sub(1);
    }
}

impl Engine for Mortal {
    /// Room for two requests, so that each group takes two commits.
    fn limits(&self) -> Limits {
        Limits {
            operations: 6,
            ..self.engine.limits()
        }
    }

    fn reader(&self) -> Arc<dyn EngineReader + Send + Sync> {
        self.engine.reader()
    }

    fn campaign(&mut self) -> Result<Term, CampaignFailed> {
        self.engine.campaign()
    }

    fn renew(&mut self, term: Term) -> Result<(), RenewFailed> {
        self.engine.renew(term)
    }

    fn resign(&mut self, term: Term) -> Result<(), RenewFailed> {
        self.engine.resign(term)
    }

    fn commit(&mut self, batch: &Batch) -> Result<Revision, CommitFailed> {
        self.boundary();
        let committed = self.engine.commit(batch);
        self.boundary();

        committed
    }
}

impl EngineReader for Mortal {
    fn revision(&self) -> Result<Revision, ReadFailed> {
        self.engine.revision()
    }

    fn range(&self, span: &Span, until: Revision, limit: usize) -> Result<Vec<Entry>, ReadFailed> {
        self.engine.range(span, until, limit)
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<ChangeSet>, ChangesFailed> {
        self.engine.changes(after, limit)
    }

    fn backup(&self, target: &Path) -> Result<(), BackupFailed> {
        self.engine.backup(target)
    }

    fn check(&self) -> Result<(), CheckFailed> {
        self.engine.check()
    }
}

/// The request up to which everything is committed after so many commits: two requests, then the third of a group.
fn requests_after(commits: usize) -> usize {
    commits / 2 * GROUP + commits % 2 * 2
}

/// By which SQLite and the engine change what is on disk. Mapped pages (the shared index of the log) are rebuilt.
const CALLS: [&str; 5] = ["pwrite64", "fdatasync", "fsync", "ftruncate", "unlink"];
const COUNTER: &[u8] = b"counter";
const GROUP: usize = 3;
const REQUESTS: usize = 6;
const COMMITS: usize = REQUESTS / GROUP * 2;
/// Two requests fill a page, so that commits touch several.
const ROW_BYTES: usize = 700;
const STORE: &str = "store";
const SIGKILL: i32 = 9;
const NEVER: usize = 0;
