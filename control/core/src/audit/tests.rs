use proptest::prelude::*;
use protocol::time::Wall;

use super::*;
use crate::store::RowsMut;
use crate::testing::MemoryTx;

#[test]
fn an_untouched_chain_verifies_up_to_its_head() {
    let tx = chain(5);

    assert_eq!(verify(&tx, None).unwrap(), head(&tx).unwrap());
    assert_eq!(head(&tx).unwrap().count, 5);
    assert_eq!(verify(&MemoryTx::default(), None).unwrap(), Head::default());
}

#[test]
fn a_walk_may_rest_after_every_record() {
    let tx = chain(5);
    let mut verification = Verification::start(None);
    for seq in 1..=5 {
        assert_eq!(verification.advance(&tx, 1).unwrap(), Progress::Verified(seq));
    }

    assert_eq!(
        verification.advance(&tx, 1).unwrap(),
        Progress::Complete(head(&tx).unwrap())
    );
}

#[test]
fn records_are_listed_by_range() {
    let tx = chain(5);
    let seqs = |after, limit| {
        list(&tx, after, limit)
            .unwrap()
            .iter()
            .map(|record| record.seq)
            .collect::<Vec<_>>()
    };

    assert_eq!(seqs(0, 2), [1, 2]);
    assert_eq!(seqs(2, 2), [3, 4]);
    assert_eq!(seqs(4, 9), [5]);
}

#[test]
fn a_chain_that_was_written_anew_is_not_the_one_that_was_witnessed() {
    let witness = head(&chain(4)).unwrap();
    let mut forged = MemoryTx::default();
    for seq in 1..=6 {
        append(&mut forged, entry(seq + 100), Wall(seq)).unwrap();
    }

    assert!(verify(&forged, None).is_ok());
    assert_eq!(
        first_bad(&forged, Some(witness)),
        Some((4, Why::OtherThanWitnessed))
    );
}

#[test]
fn a_chain_that_was_cut_off_with_its_head_is_shorter_than_was_witnessed() {
    let witness = head(&chain(6)).unwrap();
    let cut = chain(4);

    assert!(verify(&cut, None).is_ok());
    assert_eq!(first_bad(&cut, Some(witness)), Some((5, Why::Missing)));
}

#[test]
fn a_record_beyond_the_head_is_found() {
    let mut tx = chain(4);
    let longer = chain(5);
    tx.put(&record(&longer, 5)).unwrap();

    assert_eq!(first_bad(&tx, None), Some((5, Why::BeyondHead)));
}

#[test]
fn a_head_that_was_changed_speaks_against_the_last_record() {
    let mut tx = chain(3);
    tx.put(&Head {
        count: 3,
        hash: Digest::of(b"another"),
    })
    .unwrap();

    assert_eq!(first_bad(&tx, None), Some((3, Why::Changed)));
}

#[test]
fn long_details_are_cut_between_characters() {
    let mut tx = MemoryTx::default();
    let mut long = entry(1);
    long.detail = "ä".repeat(TEXT_BYTES);
    let record = append(&mut tx, long, Wall(1)).unwrap();

    assert_eq!(record.detail.len(), TEXT_BYTES);
    assert!(verify(&tx, None).is_ok());
}

proptest! {
    /// Whatever is done to one place of the chain, verification names that place.
    #[test]
    fn tampering_is_found_at_the_first_bad_record(
        length in 2u64..40,
        at in 0u64..40,
        other in 0u64..40,
        how in tampering(),
        page in 1usize..7,
    ) {
        let (at, other) = (at % length + 1, other % length + 1);
        prop_assume!(at != other);
        let mut tx = chain(length);
        tamper(&mut tx, how, at, other);
        let mut verification = Verification::start(None);
        let found = loop {
            match verification.advance(&tx, page) {
                Ok(Progress::Complete(_)) => break None,
                Ok(Progress::Verified(_)) => {}
                Err(VerifyFailure::Broken(bad)) => break Some(bad.seq),
                Err(VerifyFailure::Store(error)) => panic!("{error}"),
            }
        };
        let first = match how {
            Tampering::Swap => at.min(other),
            Tampering::Detail
            | Tampering::Time
            | Tampering::Previous
            | Tampering::Garbage
            | Tampering::Delete
            | Tampering::Truncate => at,
        };

        prop_assert_eq!(found, Some(first));
        prop_assert_eq!(first_bad(&tx, None).map(|(seq, _)| seq), Some(first));
    }
}

#[derive(Clone, Copy, Debug)]
enum Tampering {
    Detail,
    Time,
    Previous,
    Garbage,
    Delete,
    Swap,
    Truncate,
}

fn tampering() -> impl Strategy<Value = Tampering> {
    prop::sample::select(vec![
        Tampering::Detail,
        Tampering::Time,
        Tampering::Previous,
        Tampering::Garbage,
        Tampering::Delete,
        Tampering::Swap,
        Tampering::Truncate,
    ])
}

fn tamper(tx: &mut MemoryTx, how: Tampering, at: u64, other: u64) {
    let mut edited = record(tx, at);
    match how {
        Tampering::Detail => edited.detail.push('!'),
        Tampering::Time => edited.at = Wall(edited.at.0 + 1),
        Tampering::Previous => edited.previous = Digest::of(b"elsewhere"),
        Tampering::Garbage => {
            let garbage = vec![0xff; 9];
            return tx.put_bytes(Table::Audit, &at.to_be_bytes(), garbage).unwrap();
        }
        Tampering::Delete => return tx.delete::<Record>(&at.to_be_bytes()).unwrap(),
        Tampering::Swap => {
            let one = cbor::encode(&edited);
            let two = cbor::encode(&record(tx, other));
            tx.put_bytes(Table::Audit, &at.to_be_bytes(), two).unwrap();
            return tx.put_bytes(Table::Audit, &other.to_be_bytes(), one).unwrap();
        }
        Tampering::Truncate => {
            for seq in at..=head(tx).unwrap().count {
                tx.delete::<Record>(&seq.to_be_bytes()).unwrap();
            }
            return;
        }
    }
    tx.put(&edited).unwrap();
}

fn first_bad(tx: &MemoryTx, witness: Option<Head>) -> Option<(u64, Why)> {
    match verify(tx, witness) {
        Ok(_) => None,
        Err(VerifyFailure::Broken(bad)) => Some((bad.seq, bad.why)),
        Err(VerifyFailure::Store(error)) => panic!("{error}"),
    }
}

fn record(tx: &MemoryTx, seq: u64) -> Record {
    tx.get(&seq.to_be_bytes()).unwrap().expect("a record")
}

fn chain(length: u64) -> MemoryTx {
    let mut tx = MemoryTx::default();
    for seq in 1..=length {
        append(&mut tx, entry(seq), Wall(1_000 + seq)).unwrap();
    }

    tx
}

fn entry(number: u64) -> Entry {
    Entry {
        actor: Actor::Local,
        uid: None,
        action: Action::TOKEN_CREATED,
        target: Target::Token(TokenId::from_bytes([1; 16])),
        outcome: Outcome::Done,
        detail: format!("number {number}"),
    }
}
