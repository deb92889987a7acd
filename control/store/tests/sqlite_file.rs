//! The file of the SQLite engine: who may open it, what is refused, and its copies.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs::{self, Permissions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use control_core::store::{StoreError, Table, View};
use control_store::engine::{BackupFailed, CheckFailed};
use control_store::sqlite::{OpenFailed, SqliteEngine};
use control_store::{Revision, Store};
use rusqlite::Connection;
use tempfile::TempDir;

mod child;

#[test]
fn directory_and_files_are_closed_to_others_from_the_start() {
    let (_root, directory) = place();
    let mut store = open(&directory).unwrap();
    commit(&mut store, 1);

    assert_eq!(mode(&directory), 0o700);
    let files: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(
        files.len(),
        5,
        "database, log, index of the log, lock, reserve: {files:?}"
    );
    for file in files {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn a_database_that_others_may_read_is_refused_with_the_command_that_closes_it() {
    let (_root, directory) = place();
    let path = database(open(&directory).unwrap());
    fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();

    let refused = open(&directory).err().unwrap();
    assert!(
        matches!(refused, OpenFailed::Exposed { found: 0o640, .. }),
        "{refused}"
    );
    assert!(
        refused
            .to_string()
            .ends_with(&format!("run: chmod 0600 {}", path.display())),
        "{refused}"
    );
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    open(&directory).unwrap();
}

#[test]
fn a_directory_that_others_may_write_is_refused() {
    let (_root, directory) = place();
    drop(open(&directory).unwrap());
    fs::set_permissions(&directory, Permissions::from_mode(0o770)).unwrap();

    assert!(matches!(
        open(&directory),
        Err(OpenFailed::Exposed {
            found: 0o770,
            wanted: 0o700,
            ..
        })
    ));
}

#[test]
fn a_second_opening_is_refused_and_names_the_process_that_has_it() {
    let (_root, directory) = place();
    let mut holder = child::spawn(&[], "holder", &format!("{}\n", directory.display()));
    let said = BufReader::new(holder.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(said.into_iter().any(|line| line == OPENED));

    let refused = open(&directory).err().unwrap();
    assert!(
        matches!(refused, OpenFailed::Locked { pid: Some(pid), .. } if pid == holder.id()),
        "{refused:?}"
    );
    let expected = format!("{} is in use by process {}", directory.display(), holder.id());
    assert_eq!(refused.to_string(), expected);
    holder.kill().unwrap();
    holder.wait().unwrap();
    open(&directory).unwrap();
}

/// The process that has the store open in the test above, until its stdin ends or it is killed.
#[test]
#[ignore = "needs its input from the test above"]
fn holder() {
    let mut input = String::new();
    io::stdin().lock().read_line(&mut input).unwrap();
    if input.is_empty() {
        return;
    }
    let _engine = SqliteEngine::open(Path::new(input.trim())).unwrap();
    writeln!(io::stdout(), "\n{OPENED}").unwrap();
    io::stdin().lock().read_to_string(&mut input).unwrap();
}

#[test]
fn within_one_process_too_the_store_opens_once() {
    let (_root, directory) = place();
    let first = open(&directory).unwrap();

    let refused = open(&directory).err().unwrap();
    assert!(matches!(refused, OpenFailed::Locked { pid: Some(pid), .. } if pid == std::process::id()));
    drop(first);
    open(&directory).unwrap();
}

#[test]
fn a_newer_schema_is_refused_and_not_touched() {
    let (_root, directory) = place();
    let path = database(open(&directory).unwrap());
    Connection::open(&path)
        .unwrap()
        .pragma_update(None, "user_version", 99)
        .unwrap();
    let before = fs::read(&path).unwrap();

    let refused = open(&directory).err().unwrap();
    assert!(
        matches!(
            refused,
            OpenFailed::NewerSchema {
                found: 99,
                known: 1,
                ..
            }
        ),
        "{refused}"
    );
    assert!(
        refused.to_string().contains("schema 99, newer than 1"),
        "{refused}"
    );
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_database_of_another_program_is_refused_and_not_touched() {
    let (_root, directory) = place();
    let path = database(open(&directory).unwrap());
    fs::remove_file(&path).unwrap();
    Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE theirs (x)")
        .unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
    let before = fs::read(&path).unwrap();

    assert!(matches!(open(&directory), Err(OpenFailed::Foreign { .. })));
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let (_root, directory) = place();
    let path = database(open(&directory).unwrap());
    fs::write(&path, vec![b'x'; 8_192]).unwrap();

    assert!(matches!(open(&directory), Err(OpenFailed::Damaged { .. })));
}

#[test]
fn a_damaged_page_that_opening_does_not_need_is_found_all_the_same() {
    let (_root, directory) = place();
    let mut store = open(&directory).unwrap();
    (1..=200).for_each(|number| commit(&mut store, number));
    damage_a_record(&database(store));

    let refused = SqliteEngine::open(&directory).unwrap_err();
    assert!(matches!(refused, OpenFailed::Damaged { .. }), "{refused:?}");
}

#[test]
fn a_check_finds_a_page_damaged_while_the_store_is_open() {
    let (_root, directory) = place();
    let mut store = open(&directory).unwrap();
    (1..=200).for_each(|number| commit(&mut store, number));
    drop(store);
    let mut store = open(&directory).unwrap();
    damage_a_record(store.engine().path());

    let found = store.reader().check();
    assert!(matches!(found, Err(CheckFailed::Damaged { .. })), "{found:?}");
}

#[test]
fn a_check_finds_rows_changed_behind_the_stores_back() {
    let (_root, directory) = place();
    let tampering = [
        "UPDATE kv SET value = x'00'",
        "UPDATE kv SET revision = 99",
        "DELETE FROM kv",
        "UPDATE changes SET revision = 99",
        "DELETE FROM meta",
    ];
    for statement in tampering {
        let directory = directory.join(statement.split(' ').collect::<String>());
        let mut store = open(&directory).unwrap();
        commit(&mut store, 1);
        store.reader().check().unwrap();
        let path = store.engine().path().to_owned();
        Connection::open(path).unwrap().execute(statement, []).unwrap();

        let found = store.reader().check();
        assert!(
            matches!(found, Err(CheckFailed::Damaged { .. })),
            "{statement}: {found:?}"
        );
    }
}

#[test]
fn a_backup_taken_while_commits_go_on_is_one_commit_whole() {
    let (root, directory) = place();
    let mut store = open(&directory).unwrap();
    (1..=50).for_each(|number| commit(&mut store, number));
    let reader = store.reader();
    let (started, ended) = (AtomicBool::new(false), AtomicBool::new(false));
    let targets: Vec<_> = (0..4)
        .map(|copy| root.path().join(format!("copy{copy}/gabion.db")))
        .collect();
    targets
        .iter()
        .for_each(|target| fs::create_dir(target.parent().unwrap()).unwrap());
    thread::scope(|scope| {
        scope.spawn(|| {
            for target in &targets {
                reader.backup(target).unwrap();
                started.store(true, Ordering::SeqCst);
            }
            ended.store(true, Ordering::SeqCst);
        });
        let mut number = 50;
        while !(started.load(Ordering::SeqCst) && ended.load(Ordering::SeqCst)) {
            number += 1;
            commit(&mut store, number);
        }
    });

    for target in targets {
        assert_eq!(mode(&target), 0o600);
        let beside = fs::read_dir(target.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "a copy is one file");
        assert_eq!(
            fs::read(&target).unwrap()[18..20],
            [1, 1],
            "and needs none beside it to be read"
        );
        let mut copy = open(target.parent().unwrap()).unwrap();
        copy.reader().check().unwrap();
        let revision = copy.snapshot().revision();
        assert!((Revision::new(50)..=store.snapshot().revision()).contains(&revision));
        assert_eq!(rows(&copy), (1..=revision.get()).collect::<Vec<_>>());
        commit(&mut copy, revision.get() + 1);
    }
}

#[test]
fn a_backup_overwrites_nothing() {
    let (root, directory) = place();
    let mut store = open(&directory).unwrap();
    commit(&mut store, 1);
    let target = root.path().join("copy");
    fs::write(&target, b"precious").unwrap();

    let refused = store.reader().backup(&target);
    assert!(matches!(refused, Err(BackupFailed::Exists(path)) if path == target));
    assert_eq!(fs::read(&target).unwrap(), b"precious");
    let nowhere = store.reader().backup(&root.path().join("absent/copy"));
    assert!(matches!(nowhere, Err(BackupFailed::Io { .. })), "{nowhere:?}");
    assert_eq!(
        fs::read_dir(root.path()).unwrap().count(),
        2,
        "nothing is left behind"
    );
}

#[test]
fn reading_records_does_not_wait_for_the_writer() {
    let (_root, directory) = place();
    let mut store = open(&directory).unwrap();
    commit(&mut store, 1);
    let reader = store.reader();
    let mut group = store.begin();
    let seen = group.request(|tx| {
        tx.put_bytes(Table::Audit, &2_u64.to_be_bytes(), vec![])?;
        let beside = thread::spawn(move || reader.snapshot().scan_bytes(Table::Audit, &[], None, 10));
        beside.join().unwrap()
    });

    assert_eq!(seen.unwrap().len(), 1);
    group.commit().unwrap();
}

fn place() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("store");

    (root, directory)
}

fn open(directory: &Path) -> Result<Store<SqliteEngine>, OpenFailed> {
    SqliteEngine::open(directory).map(|engine| Store::open(engine).unwrap())
}

/// Closes the store and says where its file is.
fn database(mut store: Store<SqliteEngine>) -> PathBuf {
    store.engine().path().to_owned()
}

fn commit(store: &mut Store<SqliteEngine>, number: u64) {
    let mut group = store.begin();
    let put = group.request(|tx| {
        tx.put_bytes(Table::Nodes, &number.to_be_bytes(), vec![1; 500])?;
        tx.put_bytes(Table::Audit, &number.to_be_bytes(), RECORD.to_vec())?;
        Ok::<_, StoreError>(())
    });
    put.unwrap();
    group.commit().unwrap();
}

/// Overwrites the head of the last page of `kv` that holds an audit record; no other table is left to hold one.
fn damage_a_record(path: &Path) {
    Connection::open(path)
        .unwrap()
        .execute_batch("DELETE FROM changes; VACUUM; PRAGMA wal_checkpoint(TRUNCATE)")
        .unwrap();
    let bytes = fs::read(path).unwrap();
    let last = bytes
        .windows(RECORD.len())
        .rposition(|found| found == RECORD)
        .unwrap() as u64;
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(last / PAGE * PAGE)).unwrap();
    file.write_all(&[0xa5; 64]).unwrap();
}

/// The numbers committed, which both tables must agree on.
fn rows(store: &Store<SqliteEngine>) -> Vec<u64> {
    let numbers = |table| -> Vec<u64> {
        let rows = store.snapshot().scan_bytes(table, &[], None, usize::MAX).unwrap();
        rows.into_iter()
            .map(|(key, _)| u64::from_be_bytes(key.try_into().unwrap()))
            .collect()
    };
    assert_eq!(numbers(Table::Nodes), numbers(Table::Audit));

    numbers(Table::Nodes)
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

const RECORD: &[u8] = &[2; 500];
const OPENED: &str = "opened";
const PAGE: u64 = 4_096;
