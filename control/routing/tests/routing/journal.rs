//! What the journal keeps, what it lets go, and what it says of either.

use std::time::Duration;

use control_core::store::{Table, Tx, View};
use control_core::testing::MemoryTx;
use control_routing::decide::Outcome;
use control_routing::journal::{self, Decided, JournalHead, JournalRow, Retention, What};
use protocol::time::Wall;

use crate::world::{CLUSTER, World, member};

#[test]
fn a_decision_comes_back_with_its_case_and_follows_from_it() {
    let outcomes = decisions(4);
    let mut tx = MemoryTx::default();
    record(&mut tx, &outcomes, 1);
    let found = journal::list(&tx, CLUSTER, 0, 100).expect("reads");

    assert_eq!(
        found.iter().map(|entry| entry.seq).collect::<Vec<_>>(),
        [1, 2, 3, 4, 5, 6]
    );
    for (entry, outcome) in found.iter().zip(&outcomes) {
        let row = entry.row.as_ref().expect("readable");
        let What::Decided { result, case } = &row.what else {
            panic!("a decision: {row:?}")
        };
        let derived = journal::case(case).expect("a case").decide().expect("a decision");
        assert_eq!(&derived, outcome);
        assert_eq!(Decided::of(&derived).as_ref(), Some(result.as_ref()));
    }
    let after = journal::list(&tx, CLUSTER, 4, 1).expect("reads");
    assert_eq!(after.iter().map(|entry| entry.seq).collect::<Vec<_>>(), [5]);
}

#[test]
fn what_has_no_case_or_no_room_is_counted() {
    let mut outcomes = decisions(4);
    outcomes[1].case = None;
    outcomes[2].case = None;
    let mut tx = MemoryTx::default();
    record(&mut tx, &outcomes, 1);
    let many: Vec<Outcome> = std::iter::repeat_n(outcomes[0].clone(), 8_000).collect();
    record(&mut tx, &many, 2);
    let found = journal::list(&tx, CLUSTER, 0, usize::MAX).expect("reads");
    let missed = found
        .iter()
        .filter_map(|entry| match &entry.row.as_ref().ok()?.what {
            What::Missed(count) => Some(*count),
            What::Decided { .. } => None,
        });
    let missed: Vec<u64> = missed.collect();
    let kept = found.len() as u64 - 2;
    let head = head(&tx);

    assert_eq!(missed.len(), 2);
    assert_eq!(missed[0], 2);
    assert_eq!(
        kept + missed[1],
        4 + 8_000,
        "nothing is lost without a word: {missed:?}"
    );
    assert!((1_000_000..2_200_000).contains(&head.bytes), "{head:?}");
    assert_eq!((head.entries(), head.missed), (kept + 2, missed[0] + missed[1]));
}

#[test]
fn a_pass_that_decides_nothing_writes_nothing() {
    let mut tx = MemoryTx::default();
    record(&mut tx, &[], 1);

    assert_eq!(tx, MemoryTx::default());
}

#[test]
fn the_oldest_go_by_bytes_and_by_age_step_by_step() {
    let outcomes = decisions(4);
    let mut tx = MemoryTx::default();
    for at in 1..=200 {
        record(&mut tx, &outcomes, at * 1_000);
    }
    let full = head(&tx);
    assert_eq!((full.entries(), full.since), (1_200, Some(Wall(1_000))));

    let half = Retention {
        bytes: full.bytes / 2,
        age: Duration::from_secs(1_000_000),
    };
    let steps: Vec<usize> = (0..4).map(|_| prune(&mut tx, half, 200_000)).collect();
    assert_eq!(
        (steps[0], &steps[2..]),
        (500, [0, 0].as_slice()),
        "a bounded number at a time"
    );
    let left = head(&tx);
    assert_eq!(left.entries() + 500 + steps[1] as u64, 1_200);
    assert_eq!(left.since, Some(Wall((left.first - 1) / 6 * 1_000 + 1_000)));
    assert!(
        (half.bytes - 3_000..=half.bytes).contains(&left.bytes),
        "{left:?} {half:?}"
    );
    assert_eq!(stored(&tx), left.bytes, "the head counts what is there");

    let aged = Retention {
        bytes: u64::MAX,
        age: Duration::from_secs(50),
    };
    prune(&mut tx, aged, 200_000);
    assert_eq!(head(&tx).since, Some(Wall(150_000)), "exactly as old as is kept");
    assert_eq!(prune(&mut tx, aged, 200_000 + HOUR), 51 * 6);
    let none = head(&tx);
    assert_eq!((none.entries(), none.bytes, none.since), (0, 0, None));
    record(&mut tx, &outcomes[..1], 201_000 + HOUR);
    assert_eq!(head(&tx).first, 1_201, "no number is given twice");
}

#[test]
fn a_clock_that_jumps_takes_a_slice_of_the_journal_and_not_all_of_it() {
    let outcomes = decisions(2);
    let mut tx = MemoryTx::default();
    let first = 1_000 * HOUR;
    for hour in 0..240 {
        record(&mut tx, &outcomes[..1], first + hour * HOUR);
    }
    let month = Retention::default();
    let now = first + 240 * HOUR;
    assert_eq!(prune(&mut tx, month, now), 0, "none is a month old");

    let ahead = now + 365 * 24 * HOUR;
    record(&mut tx, &outcomes[..1], ahead);
    let taken: Vec<usize> = [0, 1, HOUR, 2 * HOUR]
        .iter()
        .map(|passed| prune(&mut tx, month, ahead + passed))
        .collect();
    assert_eq!(taken, [6, 0, 6, 6], "six hours of it in an hour");
    for behind in [now, now + HOUR, 0, HOUR] {
        assert_eq!(
            prune(&mut tx, month, behind),
            0,
            "the clock is right again, or behind"
        );
    }
    assert_eq!(head(&tx).first, 19);
    record(&mut tx, &outcomes[..1], now + 2 * HOUR);

    let later = now + 40 * 24 * HOUR;
    let steps = 0..100;
    let taken: usize = steps.map(|step| prune(&mut tx, month, later + step * HOUR)).sum();
    assert_eq!(
        taken, 224,
        "what the clock wrote that was ahead goes with what follows it"
    );
    assert_eq!(head(&tx).entries(), 0);
}

#[test]
fn an_entry_that_cannot_be_read_is_found_and_pruned_and_stops_nothing() {
    let outcomes = decisions(4);
    let mut tx = MemoryTx::default();
    record(&mut tx, &outcomes, 1_000);
    let key = JournalRow::key_of(CLUSTER, 2);
    tx.put_bytes(Table::Journal, &key, vec![0xff; 7]).expect("writes");
    record(&mut tx, &outcomes, 2_000);
    let found = journal::list(&tx, CLUSTER, 0, 100).expect("reads");
    let unreadable: Vec<u64> = found
        .iter()
        .filter(|entry| entry.row.is_err())
        .map(|entry| entry.seq)
        .collect();
    assert_eq!((found.len(), unreadable), (12, vec![2]));

    let moved = tx.get_bytes(Table::Journal, &JournalRow::key_of(CLUSTER, 4));
    tx.put_bytes(
        Table::Journal,
        &key,
        moved.expect("reads").expect("is there").to_vec(),
    )
    .expect("writes");
    let found = journal::list(&tx, CLUSTER, 1, 1).expect("reads");
    let refused = found[0].row.as_ref().expect_err("a copy of another");
    assert_eq!(refused.to_string(), "it says that it is entry 4");

    let none = Retention {
        bytes: 0,
        age: Duration::ZERO,
    };
    assert_eq!(prune(&mut tx, none, 3_000), 12);
    assert_eq!(tx.count(Table::Journal), 0);
}

#[test]
fn a_head_that_cannot_be_read_is_made_anew_from_what_is_there() {
    let outcomes = decisions(4);
    let mut tx = MemoryTx::default();
    record(&mut tx, &outcomes, 1_000);
    let before = head(&tx);
    tx.put_bytes(Table::JournalHead, CLUSTER.as_bytes(), vec![0xff])
        .expect("writes");
    assert_eq!(head(&tx), before);
    record(&mut tx, &outcomes[..1], 2_000);

    assert_eq!(head(&tx).last, 7);
}

const HOUR: u64 = 3_600_000;

fn record(tx: &mut MemoryTx, outcomes: &[Outcome], at: u64) {
    journal::record(tx, CLUSTER, outcomes.iter(), ("test", Wall(at))).expect("writes");
}

fn prune(tx: &mut MemoryTx, retention: Retention, now: u64) -> usize {
    journal::prune(tx, CLUSTER, retention, Wall(now)).expect("writes")
}

fn head(tx: &MemoryTx) -> JournalHead {
    journal::head(tx, CLUSTER).expect("reads")
}

fn stored(tx: &MemoryTx) -> u64 {
    let rows = tx
        .scan_bytes(Table::Journal, &[], None, usize::MAX)
        .expect("reads");

    rows.iter()
        .map(|(key, value)| (key.len() + value.len()) as u64)
        .sum()
}

/// The first decisions of a cluster of so many members.
fn decisions(members: u8) -> Vec<Outcome> {
    World::of((1..=members).map(member)).decide()
}
