//! A store on a disk that is full, on a real one: a small tmpfs in a mount namespace of its own.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a test fails by panicking"
)]

use std::fs;
use std::io::{self, BufRead, Write};
use std::path::Path;
use std::process::Command;

use control_core::store::{StoreError, Table, View};
use control_store::engine::CommitFailed;
use control_store::sqlite::SqliteEngine;
use control_store::{GroupFailed, Revision, Store};

mod child;

#[test]
fn a_full_disk_stops_writes_alone_and_loses_nothing() {
    in_a_namespace("on_a_small_disk");
}

#[test]
fn a_store_is_opened_and_led_although_the_disk_is_full() {
    in_a_namespace("on_a_disk_that_others_filled");
}

/// Runs a test of this file as a process of its own, in a mount namespace of its own.
fn in_a_namespace(test: &str) {
    let unshare = ["unshare", "--mount"].map(str::to_owned);
    let may = Command::new("unshare").args(["--mount", "true"]).output();
    if !may.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: needs root, to mount a small tmpfs");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let input = format!("{}\n", directory.path().display());
    let output = child::spawn(&unshare, test, &input).wait_with_output().unwrap();

    let said = [output.stdout, output.stderr]
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .concat();
    assert!(output.status.success() && said.contains(DONE), "{said}");
}

/// What the test above runs as a process of its own, in a mount namespace of its own.
#[test]
#[ignore = "needs its input from the test above"]
fn on_a_small_disk() {
    let mut input = String::new();
    io::stdin().lock().read_line(&mut input).unwrap();
    if input.is_empty() {
        return;
    }
    let disk = Path::new(input.trim());
    mount(disk, DISK_BYTES);
    let filler = disk.join("filler");
    fs::write(&filler, vec![0; DISK_BYTES / 2]).unwrap();
    let directory = disk.join("store");
    let mut store = Store::open(SqliteEngine::open(&directory).unwrap()).unwrap();

    let acked = fill(&mut store);
    assert!(acked > 10, "only {acked} commits fitted");
    require(&store, acked);
    assert!(store.reader().is_full());
    assert!(matches!(
        append(&mut store, acked + 1).unwrap_err().reason,
        CommitFailed::StoreFull
    ));
    require(&store, acked);

    fs::remove_file(&filler).unwrap();
    append(&mut store, acked + 1).unwrap();
    assert!(!store.reader().is_full());
    require(&store, acked + 1);
    drop(store);
    let store = Store::open(SqliteEngine::open(&directory).unwrap()).unwrap();
    require(&store, acked + 1);
    writeln!(io::stdout(), "\n{DONE} after {acked} commits").unwrap();
}

/// As [`on_a_small_disk`], for a disk that something else fills while no controller runs.
#[test]
#[ignore = "needs its input from a test above"]
fn on_a_disk_that_others_filled() {
    let mut input = String::new();
    io::stdin().lock().read_line(&mut input).unwrap();
    if input.is_empty() {
        return;
    }
    let disk = Path::new(input.trim());
    mount(disk, ROOMY_DISK_BYTES);
    let directory = disk.join("store");
    let mut store = Store::open(SqliteEngine::open(&directory).unwrap()).unwrap();
    append(&mut store, 1).unwrap();
    drop(store);
    let filler = disk.join("filler");
    fill_up(&filler);

    let mut store = Store::open(SqliteEngine::open(&directory).unwrap()).unwrap();
    append(&mut store, 2).unwrap();
    require(&store, 2);
    let mut acked = 2;
    while append(&mut store, acked + 1).is_ok() {
        acked += 1;
    }
    assert!(store.reader().is_full());
    require(&store, acked);
    fs::remove_file(&filler).unwrap();
    append(&mut store, acked + 1).unwrap();
    drop(store);
    fill_up(&filler);
    let mut store = Store::open(SqliteEngine::open(&directory).unwrap()).unwrap();
    append(&mut store, acked + 2).unwrap();
    require(&store, acked + 2);
    writeln!(io::stdout(), "\n{DONE}").unwrap();
}

/// Takes what is left of the disk, to the last block.
fn fill_up(filler: &Path) {
    let mut file = fs::File::create(filler).unwrap();
    for bytes in [1024 * 1024, 4096] {
        let block = vec![0; bytes];
        while file.write_all(&block).is_ok() {}
    }
}

fn mount(disk: &Path, bytes: usize) {
    let options = format!("size={bytes},mode=0700");
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", &options, "tmpfs"])
        .arg(disk)
        .status();
    assert!(mounted.unwrap().success());
}

/// Appends rows until the disk is full and says how many were acknowledged.
fn fill(store: &mut Store<SqliteEngine>) -> u64 {
    for number in 1..DISK_BYTES as u64 / ROW_BYTES as u64 {
        match append(store, number) {
            Ok(_) => {}
            Err(GroupFailed {
                reason: CommitFailed::StoreFull,
                durable: 0,
            }) => return number - 1,
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("the disk never filled up");
}

fn append(store: &mut Store<SqliteEngine>, number: u64) -> Result<Revision, GroupFailed> {
    let mut group = store.begin();
    for table in [Table::Nodes, Table::Audit] {
        let put = group.request(|tx| {
            tx.put_bytes(table, &number.to_be_bytes(), vec![number as u8; ROW_BYTES])?;
            Ok::<_, StoreError>(())
        });
        put.unwrap();
    }

    group.commit()
}

/// Everything up to `acked` is readable, and nothing beyond it.
fn require(store: &Store<SqliteEngine>, acked: u64) {
    store.reader().check().unwrap();
    for table in [Table::Nodes, Table::Audit] {
        let rows = store.snapshot().scan_bytes(table, &[], None, usize::MAX).unwrap();
        assert_eq!(rows.len() as u64, acked, "{table:?}");
        for ((key, value), number) in rows.iter().zip(1_u64..) {
            assert_eq!(
                (key.as_slice(), value),
                (number.to_be_bytes().as_slice(), &vec![number as u8; ROW_BYTES])
            );
        }
    }
}

const DISK_BYTES: usize = 2 * 1024 * 1024;
/// With room for the reserve and what must be free beside it.
const ROOMY_DISK_BYTES: usize = 96 * 1024 * 1024;
const ROW_BYTES: usize = 2_000;
const DONE: &str = "nothing was lost";
