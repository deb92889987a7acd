//! The resident tables in memory: an ordered map whose copies share what they have in common.
//!
//! The rows stand in sorted leaves behind `Arc`s. Copying the map copies one pointer for each leaf; writing to a copy
//! copies only the leaves it touches. So the writer prepares the next view beside the current one and swaps a
//! pointer, a reader keeps a consistent view as long as it likes, and neither waits for the other. Against a general
//! persistent map it costs one pointer for each 64 to 128 rows at every commit, and is small enough to read.

use std::sync::Arc;

use control_core::store::Table;

use crate::engine::{Write, WriteSet};
use crate::key::{Key, Span};

mod difference;

#[derive(Clone, Debug, Default)]
pub(crate) struct ResidentView {
    /// In key order, none empty.
    leaves: Vec<Arc<Leaf>>,
}

impl ResidentView {
    /// The keys that a view holds: those between the tables that are not resident.
    pub(crate) fn spans() -> Vec<Span> {
        let starts = NOT_RESIDENT.iter().map(|table| *table as u8 + 1);
        let ends = NOT_RESIDENT.iter().map(|table| *table as u8);

        [0].into_iter()
            .chain(starts)
            .zip(ends.chain([u8::MAX]))
            .map(|(start, end)| Span::of_tables(start, end))
            .collect()
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<[u8]>> {
        let leaf = self.leaves.get(self.leaf_for(key.as_bytes()))?;
        let at = leaf.find(key).ok()?;

        Some(&leaf.rows[at].1)
    }

    pub(crate) fn range<'a>(
        &'a self,
        span: &'a Span,
    ) -> impl Iterator<Item = &'a (Key, Arc<[u8]>)> + use<'a> {
        self.leaves[self.leaf_for(span.from()).min(self.leaves.len())..]
            .iter()
            .flat_map(|leaf| &leaf.rows)
            .skip_while(|(key, _)| key.as_bytes() < span.from())
            .take_while(|(key, _)| key.as_bytes() < span.to())
    }

    /// Takes over those of `writes` that belong to resident tables.
    pub(crate) fn apply(&mut self, writes: &WriteSet) {
        for (key, write) in writes.as_map().iter().filter(|(key, _)| is_resident(key)) {
            match write {
                Write::Delete => self.remove(key),
                Write::Put(value) => self.put(key, value),
            }
        }
    }

    fn put(&mut self, key: &Key, value: &Arc<[u8]>) {
        let index = self.leaf_for(key.as_bytes());
        let Some(leaf) = self.leaves.get_mut(index) else {
            self.leaves.push(Arc::new(Leaf {
                rows: vec![(key.clone(), value.clone())],
            }));
            return;
        };
        let leaf = Arc::make_mut(leaf);
        match leaf.find(key) {
            Ok(at) => leaf.rows[at].1 = value.clone(),
            Err(at) => leaf.rows.insert(at, (key.clone(), value.clone())),
        }
        if leaf.rows.len() > LEAF_ROWS {
            let upper = leaf.rows.split_off(LEAF_ROWS / 2);
            self.leaves.insert(index + 1, Arc::new(Leaf { rows: upper }));
        }
    }

    fn remove(&mut self, key: &Key) {
        let index = self.leaf_for(key.as_bytes());
        let Some(leaf) = self.leaves.get_mut(index) else {
            return;
        };
        let Ok(at) = leaf.find(key) else { return };
        let leaf = Arc::make_mut(leaf);
        leaf.rows.remove(at);
        match leaf.rows.is_empty() {
            true => drop(self.leaves.remove(index)),
            false => {
                self.join_next(index);
                self.join_next(index.saturating_sub(1));
            }
        }
    }

    /// Joins a leaf with the next one when both have become small, so that deleting does not leave crumbs.
    fn join_next(&mut self, index: usize) {
        let Some(next) = self.leaves.get(index + 1) else {
            return;
        };
        if self.leaves[index].rows.len() + next.rows.len() > LEAF_ROWS / 2 {
            return;
        }
        let next = self.leaves.remove(index + 1);
        Arc::make_mut(&mut self.leaves[index])
            .rows
            .extend(next.rows.iter().cloned());
    }

    /// The index of the leaf that holds `key` or would: the last one that starts at or before it, else the first.
    fn leaf_for(&self, key: &[u8]) -> usize {
        self.leaves
            .partition_point(|leaf| leaf.rows[0].0.as_bytes() <= key)
            .saturating_sub(1)
    }
}

/// Loads rows in any order; ascending ones fastest.
impl Extend<(Key, Arc<[u8]>)> for ResidentView {
    fn extend<I: IntoIterator<Item = (Key, Arc<[u8]>)>>(&mut self, rows: I) {
        for (key, value) in rows {
            self.put(&key, &value);
        }
    }
}

#[derive(Clone, Debug)]
struct Leaf {
    rows: Vec<(Key, Arc<[u8]>)>,
}

impl Leaf {
    fn find(&self, key: &Key) -> Result<usize, usize> {
        self.rows.binary_search_by(|(found, _)| found.cmp(key))
    }
}

fn is_resident(key: &Key) -> bool {
    !NOT_RESIDENT
        .iter()
        .any(|table| key.as_bytes().first() == Some(&(*table as u8)))
}

/// The tables that [`Table::is_resident`] denies, in the order of their bytes. One that were missing here would cost
/// memory only: nobody looks for its rows in the view.
const NOT_RESIDENT: [Table; 2] = [Table::Audit, Table::Journal];
const _: () = assert!(!Table::Audit.is_resident() && !Table::Journal.is_resident());
const _: () = assert!((Table::Audit as u8) < Table::Journal as u8);

/// Small enough that copying a leaf for one write is about a microsecond, large enough that the list of leaves of a
/// million rows copies in tens.
const LEAF_ROWS: usize = 128;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use control_core::store::Table;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_view_agrees_with_a_sorted_map_and_a_copy_does_not_change(
            before in writes(400),
            after in writes(400),
            from in 0..KEYS,
        ) {
            let (mut view, mut model) = (ResidentView::default(), BTreeMap::new());
            apply(&before, &mut view, &mut model);
            let (copy, copied) = (view.clone(), model.clone());
            apply(&after, &mut view, &mut model);

            let span = Span::of_rows(Table::Nodes, &[], Some(&from.to_be_bytes()));
            for (view, model) in [(&view, &model), (&copy, &copied)] {
                prop_assert!(view.leaves.iter().all(|leaf| (1..=LEAF_ROWS).contains(&leaf.rows.len())));
                let all: Vec<_> = view.range(&Span::everything()).cloned().collect();
                prop_assert_eq!(&all, &model.clone().into_iter().collect::<Vec<_>>());
                let tail: Vec<_> = view.range(&span).cloned().collect();
                let expected: Vec<_> = model.range(key(from + 1)..).map(|(k, v)| (k.clone(), v.clone())).collect();
                prop_assert_eq!(tail, expected);
                prop_assert_eq!(view.get(&key(from)), model.get(&key(from)));
            }
        }
    }

    proptest! {
        #[test]
        fn the_changes_between_two_views_are_those_between_two_maps(
            common in writes(400),
            ours in writes(400),
            theirs in writes(40),
            (from, to) in (0..KEYS, 0..KEYS),
        ) {
            let (mut view, mut model) = (ResidentView::default(), BTreeMap::new());
            apply(&common, &mut view, &mut model);
            let (mut other, mut other_model) = (view.clone(), model.clone());
            apply(&ours, &mut view, &mut model);
            apply(&theirs, &mut other, &mut other_model);

            let span = Span::between(&key(from.min(to)), &key(from.max(to)));
            let keys: std::collections::BTreeSet<&Key> = model.keys().chain(other_model.keys()).collect();
            let expected: Vec<_> = keys
                .into_iter()
                .filter(|key| (span.from()..span.to()).contains(&key.as_bytes()))
                .filter(|key| model.get(*key) != other_model.get(*key))
                .map(|key| (key.clone(), model.get(key).cloned()))
                .collect();
            prop_assert_eq!(view.changes_since(&other, &span), expected);
            prop_assert_eq!(view.changes_since(&view.clone(), &Span::everything()), []);
        }
    }

    #[test]
    fn tables_that_are_not_resident_take_no_memory() {
        let mut view = ResidentView::default();
        let writes = [
            Table::Beacons,
            Table::Audit,
            Table::AuditHead,
            Table::Journal,
            Table::ControllerIdentities,
            Table::Behind,
        ];
        let keys = writes.map(|table| Key::new(table, b"row"));
        view.apply(
            &keys
                .iter()
                .map(|key| (key.clone(), Write::Put(value(0))))
                .collect(),
        );

        let held: Vec<_> = view
            .range(&Span::everything())
            .map(|(key, _)| key.clone())
            .collect();
        assert_eq!(held, [0, 2, 4, 5].map(|at: usize| keys[at].clone()));
        let loaded = |key: &Key| {
            ResidentView::spans()
                .iter()
                .any(|span| (span.from()..span.to()).contains(&key.as_bytes()))
        };
        assert_eq!(
            keys.iter().filter(|key| loaded(key)).cloned().collect::<Vec<_>>(),
            held
        );
    }

    #[test]
    fn deleting_nearly_everything_leaves_no_crumbs() {
        let mut view = ResidentView::default();
        view.extend((0..10_000).map(|row| (key(row), value(0))));
        let deletes = (0..10_000)
            .filter(|row| row % 100 != 0)
            .map(|row| (key(row), Write::Delete));
        view.apply(&deletes.collect());

        assert_eq!(view.range(&Span::everything()).count(), 100);
        assert!(
            view.leaves.len() <= 8,
            "{} leaves for 100 rows",
            view.leaves.len()
        );
    }

    #[test]
    fn a_write_to_a_copy_shares_the_leaves_it_does_not_touch() {
        let mut view = ResidentView::default();
        view.extend((0..10_000).map(|row| (key(row), value(0))));
        let copy = view.clone();
        view.apply(&[(key(5_000), Write::Put(value(1)))].into_iter().collect());

        let differing = view
            .leaves
            .iter()
            .zip(&copy.leaves)
            .filter(|(a, b)| !Arc::ptr_eq(a, b))
            .count();
        assert_eq!(differing, 1);
    }

    fn apply(writes: &[(u16, Option<u8>)], view: &mut ResidentView, model: &mut BTreeMap<Key, Arc<[u8]>>) {
        for (row, put) in writes {
            let write = put.map_or(Write::Delete, |byte| Write::Put(value(byte)));
            view.apply(&[(key(*row), write)].into_iter().collect());
            match put {
                Some(byte) => model.insert(key(*row), value(*byte)),
                None => model.remove(&key(*row)),
            };
        }
    }

    fn writes(most: usize) -> impl Strategy<Value = Vec<(u16, Option<u8>)>> {
        prop::collection::vec((0..KEYS, prop::option::weighted(0.6, any::<u8>())), 0..most)
    }

    fn key(row: u16) -> Key {
        Key::new(Table::Nodes, &row.to_be_bytes())
    }

    fn value(byte: u8) -> Arc<[u8]> {
        [byte].as_slice().into()
    }

    /// Enough for several leaves, few enough to meet the same key twice.
    const KEYS: u16 = 600;
}
