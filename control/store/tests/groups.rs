//! Groups of requests: what each sees, what remains of it, and what a failure leaves.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::Duration;
use std::{iter, thread};

use control_core::store::{StoreError, Table, Tx, View};
use control_store::engine::{CommitFailed, Limits};
use control_store::memory::{CommitFault, MemoryDisk, MemoryEngine};
use control_store::{Bound, Engine, Group, Revision, Store, StoreOpenFailed};
use protocol::limits::{WRITE_BYTES, WRITE_KEYS};

#[test]
fn a_refused_request_leaves_nothing_and_the_others_stay() {
    let mut store = open(&MemoryDisk::default());
    let mut group = store.begin();
    put(&mut group, "first", "kept");
    let refused = group.request(|tx| {
        tx.put_bytes(Table::Nodes, b"first", b"spoiled".to_vec())?;
        tx.put_bytes(Table::Nodes, b"second", b"spoiled".to_vec())?;
        tx.delete_bytes(Table::Nodes, b"first")?;
        Err::<(), _>(Refused::Decided)
    });
    assert_eq!(refused, Err(Refused::Decided));
    put(&mut group, "third", "kept");
    group.commit().unwrap();

    assert_eq!(
        rows(&store.snapshot()),
        [("first", "kept"), ("third", "kept")].map(owned)
    );
}

#[test]
fn a_request_sees_the_group_and_readers_see_it_after_the_commit() {
    let mut store = open(&MemoryDisk::default());
    let reader = store.reader();
    let mut group = store.begin();
    put(&mut group, "a", "1");
    let seen = group.request(|tx| tx.get_bytes(Table::Nodes, b"a")).unwrap();

    assert_eq!(seen, Some(b"1".to_vec()));
    assert_eq!(rows(&reader.snapshot()), []);
    let before = reader.snapshot();
    let revision = group.commit().unwrap();
    assert_eq!((rows(&before), before.revision()), (vec![], Revision::new(0)));
    assert_eq!(
        (rows(&reader.snapshot()), reader.snapshot().revision()),
        (vec![owned(("a", "1"))], revision)
    );
}

#[test]
fn a_dropped_group_leaves_nothing() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    put(&mut store.begin(), "a", "1");

    assert_eq!(store.begin().commit().unwrap(), Revision::new(0));
    assert_eq!(rows(&store.snapshot()), []);
    drop(store);
    assert_eq!(rows(&open(&disk).snapshot()), []);
}

#[test]
fn a_failed_commit_leaves_the_view_as_it_was() {
    for fault in [CommitFault::IoKept, CommitFault::IoLost, CommitFault::StoreFull] {
        let disk = MemoryDisk::default();
        let mut store = open(&disk);
        commit_one(&mut store, "a", "old");
        disk.fail_commit(0, fault);
        let mut group = store.begin();
        put(&mut group, "a", "new");
        let failed = group.commit().unwrap_err();

        assert_eq!(failed.durable, 0, "{fault:?}");
        assert_eq!(rows(&store.snapshot()), [owned(("a", "old"))], "{fault:?}");
        drop(store);
        let after = if fault == CommitFault::IoKept {
            "new"
        } else {
            "old"
        };
        assert_eq!(rows(&open(&disk).snapshot()), [owned(("a", after))], "{fault:?}");
    }
}

#[test]
fn after_a_failed_write_the_store_commits_nothing_until_it_is_opened_again() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    disk.fail_commit(0, CommitFault::IoLost);
    let mut group = store.begin();
    put(&mut group, "a", "1");
    assert!(matches!(group.commit().unwrap_err().reason, CommitFailed::Io(_)));

    let mut group = store.begin();
    put(&mut group, "b", "2");
    assert!(matches!(
        group.commit().unwrap_err().reason,
        CommitFailed::TermLost
    ));
    drop(store);
    commit_one(&mut open(&disk), "c", "3");
}

#[test]
fn a_full_store_is_read_only_until_a_commit_succeeds() {
    let disk = MemoryDisk::default();
    let mut store = open(&disk);
    let reader = store.reader();
    commit_one(&mut store, "a", "1");
    disk.set_full(true);
    for _ in 0..2 {
        let mut group = store.begin();
        put(&mut group, "b", "2");
        assert!(matches!(
            group.commit().unwrap_err().reason,
            CommitFailed::StoreFull
        ));
        assert!(reader.is_full());
    }

    let mut group = store.begin();
    let read = group.request(|tx| tx.get_bytes(Table::Nodes, b"a")).unwrap();
    group.commit().unwrap();
    assert_eq!(
        (read, rows(&reader.snapshot())),
        (Some(b"1".to_vec()), vec![owned(("a", "1"))])
    );
    assert!(
        reader.is_full(),
        "a group without writes says nothing about space"
    );
    disk.set_full(false);
    commit_one(&mut store, "c", "3");
    assert!(!reader.is_full());
    assert_eq!(rows(&reader.snapshot()), [("a", "1"), ("c", "3")].map(owned));
}

#[test]
fn a_request_may_write_so_many_keys_and_no_more() {
    let mut store = open(&MemoryDisk::default());
    let mut group = store.begin();

    group.request(|tx| fill(tx, WRITE_KEYS, 1)).unwrap();
    assert!(matches!(
        group.request(|tx| fill(tx, WRITE_KEYS + 1, 1)),
        Err(StoreError::TooLarge)
    ));
    let rewritten = group.request(|tx| iter::repeat_n((), 3).try_for_each(|()| fill(tx, WRITE_KEYS, 1)));
    assert!(rewritten.is_ok(), "a key counts once");
}

#[test]
fn a_request_may_write_so_many_bytes_and_no_more() {
    let mut store = open(&MemoryDisk::default());
    let mut group = store.begin();
    let room = WRITE_BYTES - 1 - b"k".len();

    group
        .request(|tx| tx.put_bytes(Table::Nodes, b"k", vec![0; room]))
        .unwrap();
    let over = group.request(|tx| tx.put_bytes(Table::Nodes, b"k", vec![0; room + 1]));
    assert!(matches!(over, Err(StoreError::TooLarge)));
}

#[test]
fn a_request_that_ignores_its_bound_is_refused_all_the_same() {
    let mut store = open(&MemoryDisk::default());
    let mut group = store.begin();
    let answer = group.request(|tx| {
        let _ignored = fill(tx, WRITE_KEYS + 1, 1);
        Ok::<_, StoreError>(())
    });
    assert!(matches!(answer, Err(StoreError::TooLarge)));

    assert_eq!(group.commit().unwrap(), Revision::new(0));
}

#[test]
fn internal_work_may_write_more_up_to_one_engine_commit() {
    let mut store = open(&MemoryDisk::default());
    let wide = Bound {
        keys: usize::MAX,
        bytes: usize::MAX,
    };
    let limits = store.engine().limits();
    let mut group = store.begin();

    let over = group.request_within(wide, |tx| fill(tx, limits.operations + 1, 1));
    assert!(matches!(over, Err(StoreError::TooLarge)));
    group
        .request_within(wide, |tx| fill(tx, limits.operations, 1))
        .unwrap();
    assert_eq!(group.commit().unwrap(), Revision::new(1));
}

#[test]
fn a_group_takes_as_few_commits_as_fit_and_splits_no_request() {
    let mut store = narrow(&MemoryDisk::default());
    let mut group = store.begin();
    for (request, keys) in [3, 4, 5, 5, 6, 1, 10, 2].into_iter().enumerate() {
        group.request(|tx| fill(tx, keys, request as u8)).unwrap();
    }
    group.request(|_| Ok::<_, StoreError>(())).unwrap();

    assert_eq!(group.commit().unwrap(), Revision::new(5));
    let sizes: Vec<_> = changes(&store).iter().map(Vec::len).collect();
    assert_eq!(sizes, [7, 10, 7, 10, 2]);
    for commit in changes(&store) {
        for request in commit.iter().map(|(_, request)| request) {
            let written = commit.iter().filter(|(_, found)| found == request).count();
            assert_eq!(written, [3, 4, 5, 5, 6, 1, 10, 2][*request as usize]);
        }
    }
}

#[test]
fn a_key_written_by_two_requests_takes_no_more_room_than_one() {
    let mut store = narrow(&MemoryDisk::default());
    let mut group = store.begin();
    for value in 0..50 {
        group
            .request(|tx| tx.put_bytes(Table::Nodes, b"counter", vec![value]))
            .unwrap();
    }

    assert_eq!(group.commit().unwrap(), Revision::new(1));
    assert_eq!(
        store.snapshot().get_bytes(Table::Nodes, b"counter").unwrap(),
        Some(vec![49])
    );
}

#[test]
fn the_newest_of_several_parts_is_what_a_request_reads() {
    let mut store = narrow(&MemoryDisk::default());
    let mut group = store.begin();
    for part in 0..3 {
        group.request(|tx| fill(tx, 9, part)).unwrap();
        group
            .request(|tx| tx.put_bytes(Table::Policies, b"newest", vec![part]))
            .unwrap();
    }
    let read = group.request(|tx| {
        let scanned = tx.scan_bytes(Table::Policies, &[], None, 10)?;
        Ok::<_, StoreError>((tx.get_bytes(Table::Policies, b"newest")?, scanned))
    });

    assert_eq!(
        read.unwrap(),
        (Some(vec![2]), vec![(b"newest".to_vec(), vec![2])])
    );
    assert_eq!(group.commit().unwrap(), Revision::new(3));
}

#[test]
fn when_a_later_part_fails_the_parts_before_it_are_durable_and_shown() {
    for failing in 0..3 {
        let disk = MemoryDisk::default();
        let mut store = narrow(&disk);
        disk.fail_commit(failing, CommitFault::StoreFull);
        let mut group = store.begin();
        for request in 0..3 {
            group.request(|tx| fill(tx, 8, request)).unwrap();
            let refused = group.request(|_| Err::<(), _>(Refused::Decided));
            assert_eq!(refused, Err(Refused::Decided));
        }
        let failed = group.commit().unwrap_err();

        assert_eq!(
            failed.durable,
            failing * 2,
            "each part has one request that writes and one refused"
        );
        let shown = store.snapshot();
        assert_eq!(rows(&shown).len(), failing * 8);
        assert_eq!(shown.revision(), Revision::new(failing as u64));
        assert!(store.reader().is_full());
        drop(store);
        assert_eq!(rows(&narrow(&disk).snapshot()), rows(&shown));
    }
}

#[test]
fn rows_that_are_not_resident_are_read_with_pending_writes_over_them() {
    let mut store = open(&MemoryDisk::default());
    let mut group = store.begin();
    for row in 0..3_000_u16 {
        let row = row.to_be_bytes();
        group
            .request(|tx| tx.put_bytes(Table::Audit, &row, b"old".to_vec()))
            .unwrap();
    }
    group.commit().unwrap();

    let mut group = store.begin();
    group
        .request(|tx| tx.put_bytes(Table::Audit, &7_u16.to_be_bytes(), b"new".to_vec()))
        .unwrap();
    let read = |tx: &mut dyn Tx| {
        tx.delete_bytes(Table::Audit, &0_u16.to_be_bytes())?;
        tx.put_bytes(Table::Audit, &3_000_u16.to_be_bytes(), b"next".to_vec())?;
        let all = tx.scan_bytes(Table::Audit, &[], None, usize::MAX)?;
        let page = tx.scan_bytes(Table::Audit, &[], Some(&5_u16.to_be_bytes()), 2)?;
        Ok::<_, StoreError>((all, page, tx.get_bytes(Table::Audit, &0_u16.to_be_bytes())?))
    };
    let (all, page, deleted) = group.request(read).unwrap();

    assert_eq!(
        (all.len(), all[0].0.as_slice(), deleted),
        (3_000, [0, 1].as_slice(), None)
    );
    assert_eq!(all.last().unwrap().1, b"next");
    assert_eq!(
        page,
        [(vec![0, 6], b"old".to_vec()), (vec![0, 7], b"new".to_vec())]
    );
}

#[test]
fn a_snapshot_shows_no_record_written_after_it() {
    let mut store = open(&MemoryDisk::default());
    append(&mut store, 1);
    let early = store.snapshot();
    append(&mut store, 2);

    assert_eq!(early.scan_bytes(Table::Audit, &[], None, 10).unwrap().len(), 1);
    assert_eq!(early.get_bytes(Table::Audit, &[2]).unwrap(), None);
    assert_eq!(
        store
            .snapshot()
            .scan_bytes(Table::Audit, &[], None, 10)
            .unwrap()
            .len(),
        2
    );
}

#[test]
fn readers_on_other_threads_see_every_commit_whole() {
    let mut store = open(&MemoryDisk::default());
    let reader = store.reader();
    let watch = move || {
        let mut seen = 0;
        while seen < COMMITS {
            let snapshot = reader.snapshot();
            let pair =
                [b"left".as_slice(), b"right"].map(|key| snapshot.get_bytes(Table::Nodes, key).unwrap());
            assert_eq!(pair[0], pair[1]);
            let number = pair[0]
                .as_ref()
                .map_or(0, |bytes| u32::from_be_bytes(bytes[..].try_into().unwrap()));
            assert_eq!(u64::from(number), snapshot.revision().get());
            assert!(number >= seen, "{number} after {seen}");
            seen = number;
        }
    };
    let watchers = [thread::spawn(watch.clone()), thread::spawn(watch)];
    for number in 1..=COMMITS {
        let mut group = store.begin();
        for key in [b"left".as_slice(), b"right"] {
            group
                .request(|tx| tx.put_bytes(Table::Nodes, key, number.to_be_bytes().to_vec()))
                .unwrap();
        }
        group.commit().unwrap();
    }
    for watcher in watchers {
        watcher.join().unwrap();
    }
}

#[test]
fn a_store_whose_lease_ran_out_cannot_commit_and_its_successor_has_everything() {
    let disk = MemoryDisk::default();
    let mut first = open(&disk);
    commit_one(&mut first, "a", "1");
    let held = Store::open(MemoryEngine::open(&disk, "two"));
    assert!(matches!(held, Err(StoreOpenFailed::Leadership(_))));

    disk.expire_lease();
    let mut second = Store::open(MemoryEngine::open(&disk, "two")).unwrap();
    assert!(second.term() > first.term());
    let mut group = first.begin();
    put(&mut group, "a", "late");
    assert!(matches!(
        group.commit().unwrap_err().reason,
        CommitFailed::TermLost
    ));
    commit_one(&mut second, "b", "2");
    assert_eq!(rows(&second.snapshot()), [("a", "1"), ("b", "2")].map(owned));
}

#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Decided,
    Store(String),
}

impl From<StoreError> for Refused {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

fn open(disk: &MemoryDisk) -> Store<MemoryEngine> {
    Store::open(MemoryEngine::open(disk, "one")).unwrap()
}

/// A store whose engine takes ten writes in one commit.
fn narrow(disk: &MemoryDisk) -> Store<MemoryEngine> {
    let limits = Limits {
        operations: 10,
        bytes: 1_000_000,
        lease: Some(Duration::from_secs(10)),
    };
    Store::open(MemoryEngine::open(disk, "one").with_limits(limits)).unwrap()
}

fn put(group: &mut Group<'_, MemoryEngine>, key: &str, value: &str) {
    group
        .request(|tx| tx.put_bytes(Table::Nodes, key.as_bytes(), value.into()))
        .unwrap();
}

fn commit_one(store: &mut Store<MemoryEngine>, key: &str, value: &str) {
    let mut group = store.begin();
    put(&mut group, key, value);
    group.commit().unwrap();
}

fn append(store: &mut Store<MemoryEngine>, record: u8) {
    let mut group = store.begin();
    group
        .request(|tx| tx.put_bytes(Table::Audit, &[record], vec![record]))
        .unwrap();
    group.commit().unwrap();
}

/// Writes so many rows, each named after and holding `request`.
fn fill(tx: &mut dyn Tx, keys: usize, request: u8) -> Result<(), StoreError> {
    (0..keys as u32).try_for_each(|row| {
        let key = [[request].as_slice(), &row.to_be_bytes()].concat();
        tx.put_bytes(Table::Nodes, &key, vec![request])
    })
}

/// For each engine commit its keys with the request that wrote them.
fn changes(store: &Store<MemoryEngine>) -> Vec<Vec<(Vec<u8>, u8)>> {
    let sets = store.reader().changes(Revision::new(0), usize::MAX).unwrap();
    let written = |set: control_store::engine::ChangeSet| {
        set.writes
            .keys()
            .map(|key| (key.row().to_vec(), key.row()[0]))
            .collect()
    };
    sets.into_iter().map(written).collect()
}

fn rows(view: &impl View) -> Vec<(String, String)> {
    let rows = view.scan_bytes(Table::Nodes, &[], None, usize::MAX).unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    rows.into_iter()
        .map(|(key, value)| (text(key), text(value)))
        .collect()
}

fn owned((key, value): (&str, &str)) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

const COMMITS: u32 = 2_000;
