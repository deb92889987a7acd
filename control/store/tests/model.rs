//! A store under random requests agrees with a sorted map, also after it was closed and opened again.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;
use std::mem;

use control_core::store::{StoreError, Table, Tx, View};
use control_store::{Engine, Group, Store};
use ground::{Ground, Memory, Sqlite};
use proptest::prelude::*;

#[allow(
    dead_code,
    reason = "shared with the conformance suite, which uses more of it"
)]
mod ground;

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_in_memory_agrees_with_a_sorted_map(steps in steps()) {
        run::<Memory>(&steps)?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_on_sqlite_agrees_with_a_sorted_map(steps in steps()) {
        run::<Sqlite>(&steps)?;
    }
}

type Model = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

#[derive(Clone, Debug)]
enum Step {
    Group { requests: Vec<Request>, commit: bool },
    Reopen,
}

#[derive(Clone, Debug)]
struct Request {
    writes: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
    look: Look,
    refuse: bool,
}

#[derive(Clone, Debug)]
struct Look {
    table: Table,
    prefix: Vec<u8>,
    after: Option<Vec<u8>>,
    limit: usize,
}

fn run<G: Ground>(steps: &[Step]) -> Result<(), TestCaseError> {
    let ground = G::new();
    let mut store = Store::open(ground.open()).unwrap();
    let mut model = Model::new();
    for step in steps {
        match step {
            Step::Group { requests, commit } => {
                let mut group = store.begin();
                let mut ahead = model.clone();
                for request in requests {
                    decide(&mut group, &mut ahead, request)?;
                }
                if *commit {
                    group.commit().unwrap();
                    model = mem::take(&mut ahead);
                }
            }
            Step::Reopen => {
                drop(store);
                store = Store::open(ground.open()).unwrap();
            }
        }
        for table in TABLES {
            let all = Look {
                table,
                prefix: vec![],
                after: None,
                limit: usize::MAX,
            };
            prop_assert_eq!(all.in_view(&store.snapshot()), all.in_model(&model));
        }
        store.reader().check().unwrap();
    }

    Ok(())
}

fn decide<E: Engine>(
    group: &mut Group<'_, E>,
    model: &mut Model,
    request: &Request,
) -> Result<(), TestCaseError> {
    let mut ahead = model.clone();
    let decided = group.request(|tx| {
        for (table, key, value) in &request.writes {
            write(tx, *table, key, value.as_deref())?;
            match value {
                Some(value) => ahead.insert((*table, key.clone()), value.clone()),
                None => ahead.remove(&(*table, key.clone())),
            };
            let found = tx.get_bytes(*table, key)?;
            assert_eq!(found.as_ref(), ahead.get(&(*table, key.clone())));
        }
        assert_eq!(request.look.in_view(&*tx), request.look.in_model(&ahead));
        match request.refuse {
            true => Err(StoreError::TooLarge),
            false => Ok(()),
        }
    });
    prop_assert_eq!(decided.is_err(), request.refuse);
    if decided.is_ok() {
        *model = ahead;
    }

    Ok(())
}

fn write(tx: &mut dyn Tx, table: Table, key: &[u8], value: Option<&[u8]>) -> Result<(), StoreError> {
    match value {
        Some(value) => tx.put_bytes(table, key, value.to_vec()),
        None => tx.delete_bytes(table, key),
    }
}

impl Look {
    fn in_view(&self, view: &(impl View + ?Sized)) -> Vec<(Vec<u8>, Vec<u8>)> {
        view.scan_bytes(self.table, &self.prefix, self.after.as_deref(), self.limit)
            .unwrap()
    }

    fn in_model(&self, model: &Model) -> Vec<(Vec<u8>, Vec<u8>)> {
        model
            .iter()
            .filter(|((table, key), _)| *table == self.table && key.starts_with(&self.prefix))
            .filter(|((_, key), _)| self.after.as_ref().is_none_or(|after| key > after))
            .take(self.limit)
            .map(|((_, key), value)| (key.clone(), value.clone()))
            .collect()
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let group = (prop::collection::vec(request(), 0..6), prop::bool::weighted(0.8))
        .prop_map(|(requests, commit)| Step::Group { requests, commit });
    prop::collection::vec(prop_oneof![8 => group, 1 => Just(Step::Reopen)], 1..12)
}

fn request() -> impl Strategy<Value = Request> {
    let write = (
        table(),
        key(),
        prop::option::weighted(0.6, prop::collection::vec(any::<u8>(), 0..4)),
    );
    (
        prop::collection::vec(write, 0..12),
        look(),
        prop::bool::weighted(0.25),
    )
        .prop_map(|(writes, look, refuse)| Request { writes, look, refuse })
}

fn look() -> impl Strategy<Value = Look> {
    let limit = prop_oneof![Just(usize::MAX), 0_usize..8];
    (
        table(),
        prop::collection::vec(byte(), 0..2),
        prop::option::of(key()),
        limit,
    )
        .prop_map(|(table, prefix, after, limit)| Look {
            table,
            prefix,
            after,
            limit,
        })
}

fn table() -> impl Strategy<Value = Table> {
    prop::sample::select(TABLES.to_vec())
}

/// Few and short, so that they meet and contain each other.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(byte(), 0..3)
}

fn byte() -> impl Strategy<Value = u8> {
    prop::sample::select(vec![0, 1, 2, 0xfe, 0xff])
}

/// Neighbours in the order of keys, two of them not resident.
const TABLES: [Table; 7] = [
    Table::Beacons,
    Table::Audit,
    Table::AuditHead,
    Table::Journal,
    Table::ControllerIdentities,
    Table::Behind,
    Table::JournalHead,
];
