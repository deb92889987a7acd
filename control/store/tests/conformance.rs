//! What every engine must do, run on each of them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::thread;

use control_core::store::Table;
use control_store::engine::{
    Batch, CHANGES_KEPT, ChangesFailed, CommitFailed, Expected, RenewFailed, Write, WriteSet,
};
use control_store::{Engine, EngineReader, Key, Revision, Span, Term};
use ground::{Ground, Memory, Sqlite, key, put, writes};

mod ground;

macro_rules! on_every_engine {
    ($($test:ident),* $(,)?) => {
        mod memory { $(#[test] fn $test() { super::$test(<super::Memory as super::Ground>::new()); })* }
        mod sqlite { $(#[test] fn $test() { super::$test(<super::Sqlite as super::Ground>::new()); })* }
    };
}

on_every_engine! {
    a_batch_above_the_limits_is_refused_whole,
    a_batch_at_the_limit_is_taken,
    a_batch_without_writes_makes_no_revision,
    a_commit_under_an_older_term_is_refused,
    a_failed_precondition_names_its_key_and_writes_nothing,
    a_precondition_that_holds_lets_the_batch_through,
    a_range_is_ordered_bounded_and_limited,
    a_range_leaves_out_what_was_written_later,
    a_reader_on_another_thread_sees_what_was_committed,
    a_term_given_back_cannot_commit,
    a_term_is_never_given_twice,
    changes_beyond_the_bound_are_compacted_and_stay_so,
    changes_tell_every_commit_whole_and_in_order,
    every_commit_makes_the_next_revision,
    nobody_commits_without_a_term,
    what_was_committed_is_there_after_reopening,
}

fn every_commit_makes_the_next_revision(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    assert_eq!(engine.revision().unwrap(), Revision::new(0));

    for number in 1..=3 {
        let made = engine
            .commit(&Batch::new(term, writes([put(1, b"same")])))
            .unwrap();
        assert_eq!(
            (made, engine.revision().unwrap()),
            (Revision::new(number), Revision::new(number))
        );
    }
}

fn what_was_committed_is_there_after_reopening(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    engine
        .commit(&Batch::new(term, writes([put(1, b"kept"), put(2, b"deleted")])))
        .unwrap();
    engine
        .commit(&Batch::new(term, writes([(key(2), Write::Delete), put(3, b"")])))
        .unwrap();
    let before = all(&engine);
    drop(engine);

    let engine = ground.open();
    assert_eq!(engine.revision().unwrap(), Revision::new(2));
    assert_eq!(all(&engine), before);
    assert_eq!(before, [(1, b"kept".to_vec(), 1), (3, Vec::new(), 2)]);
    engine.check().unwrap();
}

fn a_range_is_ordered_bounded_and_limited(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    let rows = [b"b".as_slice(), b"a", b"a\0", b"aa", b"\xff\xff", b"", b"c"];
    let rows = rows.map(|row| (Key::new(Table::Nodes, row), Write::Put(row.into())));
    let neighbours = [Table::Certificates, Table::JoinRequestsByKey, Table::NodesByName]
        .map(|table| (Key::new(table, b"a"), Write::Put([].as_slice().into())));
    engine
        .commit(&Batch::new(term, writes(rows.into_iter().chain(neighbours))))
        .unwrap();

    let found = |prefix: &[u8], after: Option<&[u8]>, limit| {
        let span = Span::of_rows(Table::Nodes, prefix, after);
        let entries = engine.range(&span, Revision::NEWEST, limit).unwrap();
        entries
            .iter()
            .map(|entry| entry.key.row().to_vec())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        found(b"", None, 100),
        [b"".as_slice(), b"a", b"a\0", b"aa", b"b", b"c", b"\xff\xff"]
    );
    assert_eq!(found(b"a", None, 100), [b"a".as_slice(), b"a\0", b"aa"]);
    assert_eq!(found(b"a", Some(b"a"), 100), [b"a\0".as_slice(), b"aa"]);
    assert_eq!(found(b"\xff", None, 100), [b"\xff\xff"]);
    assert_eq!(found(b"", Some(b"a\0"), 2), [b"aa".as_slice(), b"b"]);
    assert_eq!(found(b"a", Some(b"b"), 100), Vec::<Vec<u8>>::new());
    assert_eq!(found(b"", None, 0), Vec::<Vec<u8>>::new());
    assert_eq!(found(b"", None, usize::MAX).len(), 7);
}

fn a_range_leaves_out_what_was_written_later(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    for row in 1..=4 {
        engine
            .commit(&Batch::new(term, writes([put(row, b"value")])))
            .unwrap();
    }
    let early = engine.range(&Span::everything(), Revision::new(2), 2).unwrap();
    assert_eq!(
        early.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>(),
        [key(1), key(2)]
    );

    engine
        .commit(&Batch::new(term, writes([put(1, b"again")])))
        .unwrap();
    let early = engine.range(&Span::everything(), Revision::new(3), 100).unwrap();
    assert_eq!(
        early.iter().map(|entry| entry.key.clone()).collect::<Vec<_>>(),
        [key(2), key(3)]
    );
}

fn a_batch_without_writes_makes_no_revision(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    engine
        .commit(&Batch::new(term, writes([put(1, b"value")])))
        .unwrap();

    let empty = Batch::new(term, WriteSet::default());
    assert_eq!(engine.commit(&empty).unwrap(), Revision::new(1));
    let conflict = Batch {
        preconditions: BTreeMap::from([(key(1), Expected::Absent)]),
        ..empty
    };
    assert!(
        matches!(engine.commit(&conflict), Err(CommitFailed::Conflict { key: found }) if found == key(1))
    );
    assert_eq!(engine.changes(Revision::new(0), 10).unwrap().len(), 1);
}

fn a_precondition_that_holds_lets_the_batch_through(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    engine
        .commit(&Batch::new(term, writes([put(1, b"one")])))
        .unwrap();
    engine
        .commit(&Batch::new(term, writes([put(2, b"two")])))
        .unwrap();

    let batch = Batch {
        term,
        preconditions: BTreeMap::from([
            (key(1), Expected::At(Revision::new(1))),
            (key(2), Expected::At(Revision::new(2))),
            (key(3), Expected::Absent),
        ]),
        writes: writes([put(3, b"three")]),
    };
    assert_eq!(engine.commit(&batch).unwrap(), Revision::new(3));
}

fn a_failed_precondition_names_its_key_and_writes_nothing(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    engine
        .commit(&Batch::new(term, writes([put(1, b"one")])))
        .unwrap();

    let wrong = [
        (key(1), Expected::Absent),
        (key(1), Expected::At(Revision::new(2))),
        (key(9), Expected::At(Revision::new(1))),
    ];
    for (conflict, expected) in wrong {
        let preconditions = BTreeMap::from([(key(0), Expected::Absent), (conflict.clone(), expected)]);
        let batch = Batch {
            term,
            preconditions,
            writes: writes([put(5, b"five"), (key(1), Write::Delete)]),
        };
        let refused = engine.commit(&batch);
        assert!(matches!(refused, Err(CommitFailed::Conflict { key }) if key == conflict));
    }
    assert_eq!(all(&engine), [(1, b"one".to_vec(), 1)]);
    assert_eq!(engine.revision().unwrap(), Revision::new(1));
}

fn a_commit_under_an_older_term_is_refused(ground: impl Ground) {
    let (mut engine, older) = lead(&ground);
    engine
        .commit(&Batch::new(older, writes([put(1, b"one")])))
        .unwrap();
    let newer = engine.campaign().unwrap();
    assert!(newer > older);

    let late = engine.commit(&Batch::new(older, writes([put(1, b"late")])));
    assert!(matches!(late, Err(CommitFailed::TermLost)), "{late:?}");
    assert!(matches!(engine.renew(older), Err(RenewFailed::TermLost)));
    engine.renew(newer).unwrap();
    assert_eq!(all(&engine), [(1, b"one".to_vec(), 1)]);
    engine
        .commit(&Batch::new(newer, writes([put(1, b"two")])))
        .unwrap();
}

fn a_term_is_never_given_twice(ground: impl Ground) {
    let mut last = Term::default();
    for _ in 0..3 {
        let (mut engine, term) = lead(&ground);
        assert!(term > last, "{term:?} after {last:?}");
        engine.resign(term).unwrap();
        last = engine.campaign().unwrap();
        assert!(last > term, "{last:?} after {term:?}");
    }
}

fn a_term_given_back_cannot_commit(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    engine.resign(term).unwrap();

    let late = engine.commit(&Batch::new(term, writes([put(1, b"late")])));
    assert!(matches!(late, Err(CommitFailed::TermLost)), "{late:?}");
    assert!(matches!(engine.renew(term), Err(RenewFailed::TermLost)));
    assert!(matches!(engine.resign(term), Err(RenewFailed::TermLost)));
}

fn nobody_commits_without_a_term(ground: impl Ground) {
    let mut engine = ground.open();

    for term in [Term::default(), Term::new(1), Term::new(99)] {
        let refused = engine.commit(&Batch::new(term, writes([put(1, b"value")])));
        assert!(matches!(refused, Err(CommitFailed::TermLost)), "{refused:?}");
    }
}

fn a_batch_above_the_limits_is_refused_whole(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    let limits = engine.limits();
    let many = (0..=limits.operations as u32).map(|row| put(row, b""));
    let large = [put(1, &vec![0; limits.bytes])];

    for set in [writes(many), writes(large)] {
        let refused = engine.commit(&Batch::new(term, set));
        assert!(matches!(refused, Err(CommitFailed::TooLarge)), "{refused:?}");
    }
    assert_eq!(
        (all(&engine).len(), engine.revision().unwrap()),
        (0, Revision::new(0))
    );
}

fn a_batch_at_the_limit_is_taken(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    let limits = engine.limits();
    let many = (0..limits.operations as u32).map(|row| put(row, b"value"));
    engine.commit(&Batch::new(term, writes(many))).unwrap();
    let large = put(1, &vec![7; limits.bytes - key(1).as_bytes().len()]);
    engine.commit(&Batch::new(term, writes([large]))).unwrap();
    drop(engine);

    let engine = ground.open();
    let entries = engine
        .range(&Span::everything(), Revision::NEWEST, usize::MAX)
        .unwrap();
    assert_eq!(entries.len(), limits.operations);
    assert_eq!(entries[1].value.len(), limits.bytes - 5);
}

fn changes_tell_every_commit_whole_and_in_order(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    let sets = [
        writes([put(1, b"one"), put(2, b"two")]),
        writes([put(1, b"again"), (key(2), Write::Delete), (key(7), Write::Delete)]),
        writes([put(3, b"")]),
    ];
    for set in &sets {
        engine.commit(&Batch::new(term, set.clone())).unwrap();
    }
    drop(engine);

    let engine = ground.open();
    let told = engine.changes(Revision::new(0), usize::MAX).unwrap();
    assert_eq!(told.len(), 3);
    for (number, (change, set)) in told.iter().zip(&sets).enumerate() {
        assert_eq!(
            (change.revision.get(), &change.writes),
            (number as u64 + 1, set.as_map())
        );
    }
    assert_eq!(engine.changes(Revision::new(1), 1).unwrap(), told[1..2]);
    assert_eq!(engine.changes(Revision::new(3), 10).unwrap(), []);
}

fn changes_beyond_the_bound_are_compacted_and_stay_so(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    let full = engine.limits().operations;
    let commits = 2 * CHANGES_KEPT.div_ceil(full) + 1;
    for _ in 0..commits {
        let many = (0..full as u32).map(|row| put(row, b"value"));
        engine.commit(&Batch::new(term, writes(many))).unwrap();
    }
    drop(engine);

    let mut engine = ground.open();
    let Err(ChangesFailed::Compacted { through }) = engine.changes(Revision::new(0), 1) else {
        panic!("changes from the beginning are still there after {commits} commits of {full}");
    };
    let kept = engine.changes(through, usize::MAX).unwrap();
    assert_eq!(kept[0].revision, through.next());
    let writes_kept: usize = kept.iter().map(|change| change.writes.len()).sum();
    assert!(writes_kept >= CHANGES_KEPT, "only {writes_kept} kept");
    assert!(writes_kept < CHANGES_KEPT + 2 * full, "{writes_kept} kept");
    assert!(matches!(
        engine.changes(Revision::new(through.get() - 1), 1),
        Err(ChangesFailed::Compacted { .. })
    ));

    let term = engine.campaign().unwrap();
    engine
        .commit(&Batch::new(term, writes([put(1, b"last")])))
        .unwrap();
    assert_eq!(engine.changes(engine.revision().unwrap(), 1).unwrap(), []);
    engine.check().unwrap();
}

fn a_reader_on_another_thread_sees_what_was_committed(ground: impl Ground) {
    let (mut engine, term) = lead(&ground);
    let reader = engine.reader();
    let made = engine
        .commit(&Batch::new(term, writes([put(1, b"one")])))
        .unwrap();

    let seen = thread::spawn(move || {
        let entries = reader
            .range(&Span::of_key(&key(1)), Revision::NEWEST, 10)
            .unwrap();
        (
            entries,
            reader.revision().unwrap(),
            reader.changes(Revision::new(0), 10).unwrap().len(),
        )
    });
    let (entries, revision, changes) = seen.join().unwrap();
    assert_eq!(
        (entries.len(), &*entries[0].value, entries[0].revision),
        (1, b"one".as_slice(), made)
    );
    assert_eq!((revision, changes), (made, 1));
}

fn lead<G: Ground>(ground: &G) -> (G::Engine, Term) {
    let mut engine = ground.open();
    let term = engine.campaign().unwrap();

    (engine, term)
}

/// Every row as (number, value, revision).
fn all(engine: &impl EngineReader) -> Vec<(u32, Vec<u8>, u64)> {
    let entries = engine
        .range(&Span::everything(), Revision::NEWEST, usize::MAX)
        .unwrap();
    let row = |key: &Key| u32::from_be_bytes(key.row().try_into().unwrap());
    entries
        .iter()
        .map(|entry| (row(&entry.key), entry.value.to_vec(), entry.revision.get()))
        .collect()
}
