//! What a commit holds.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{CommitFailed, Limits, Revision, Term};
use crate::key::Key;

/// One commit: all of it or nothing, and only under its term.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub term: Term,
    /// What must hold before the writes; the first key that differs is the conflict.
    pub preconditions: BTreeMap<Key, Expected>,
    pub writes: WriteSet,
}

impl Batch {
    /// A batch without preconditions.
    pub fn new(term: Term, writes: WriteSet) -> Self {
        Self {
            term,
            preconditions: BTreeMap::new(),
            writes,
        }
    }

    pub(crate) fn within(&self, limits: &Limits) -> Result<(), CommitFailed> {
        let fits = self.writes.len() <= limits.operations && self.writes.bytes() <= limits.bytes;
        match fits {
            true => Ok(()),
            false => Err(CommitFailed::TooLarge),
        }
    }
}

/// What a precondition asks of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Absent,
    /// Present, and last written by this commit.
    At(Revision),
}

impl Expected {
    pub(crate) fn holds(self, found: Option<Revision>) -> bool {
        match self {
            Self::Absent => found.is_none(),
            Self::At(revision) => found == Some(revision),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    Delete,
    Put(Arc<[u8]>),
}

impl Write {
    pub fn value(&self) -> Option<&Arc<[u8]>> {
        match self {
            Self::Delete => None,
            Self::Put(value) => Some(value),
        }
    }
}

/// Writes to distinct keys, with their size; the last write to a key wins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WriteSet {
    writes: BTreeMap<Key, Write>,
    bytes: usize,
}

impl WriteSet {
    pub fn insert(&mut self, key: Key, write: Write) {
        self.bytes += size(&key, &write);
        let key_bytes = key.as_bytes().len();
        if let Some(replaced) = self.writes.insert(key, write) {
            self.bytes -= key_bytes + value_size(&replaced);
        }
    }

    pub(crate) fn absorb(&mut self, later: Self) {
        for (key, write) in later.writes {
            self.insert(key, write);
        }
    }

    /// Keys and bytes that this set would have after [`Self::absorb`].
    pub(crate) fn size_with(&self, later: &Self) -> (usize, usize) {
        let replaced = later
            .writes
            .keys()
            .filter_map(|key| self.writes.get_key_value(key));
        let (keys, bytes) = replaced.fold((0, 0), |(keys, bytes), (key, write)| {
            (keys + 1, bytes + size(key, write))
        });

        (self.len() + later.len() - keys, self.bytes + later.bytes - bytes)
    }

    /// Distinct keys.
    pub fn len(&self) -> usize {
        self.writes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of all keys and of the values that are put.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn as_map(&self) -> &BTreeMap<Key, Write> {
        &self.writes
    }
}

impl FromIterator<(Key, Write)> for WriteSet {
    fn from_iter<I: IntoIterator<Item = (Key, Write)>>(writes: I) -> Self {
        let mut set = Self::default();
        for (key, write) in writes {
            set.insert(key, write);
        }

        set
    }
}

fn size(key: &Key, write: &Write) -> usize {
    key.as_bytes().len() + value_size(write)
}

fn value_size(write: &Write) -> usize {
    write.value().map_or(0, |value| value.len())
}

#[cfg(test)]
mod tests {
    use control_core::store::Table;

    use super::*;

    #[test]
    fn a_key_written_twice_counts_once_with_its_last_value() {
        let mut set = WriteSet::default();
        set.insert(key(1), put(&[0; 100]));
        set.insert(key(1), put(&[0; 10]));

        assert_eq!((set.len(), set.bytes()), (1, 2 + 10));
    }

    #[test]
    fn the_size_foretold_is_the_size_after_absorbing() {
        let mut set: WriteSet = [(key(1), put(&[0; 5])), (key(2), Write::Delete)]
            .into_iter()
            .collect();
        let later: WriteSet = [(key(2), put(&[0; 7])), (key(3), put(&[0; 1]))]
            .into_iter()
            .collect();
        let foretold = set.size_with(&later);
        set.absorb(later);

        assert_eq!(foretold, (set.len(), set.bytes()));
        assert_eq!(foretold, (3, 3 * 2 + 5 + 7 + 1));
    }

    fn key(row: u8) -> Key {
        Key::new(Table::Nodes, &[row])
    }

    fn put(value: &[u8]) -> Write {
        Write::Put(value.into())
    }
}
