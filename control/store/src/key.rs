//! Keys as engines see them: the byte of the table, then the key of the row.

use std::borrow::Borrow;
use std::fmt;
use std::ops;
use std::sync::Arc;

use control_core::store::Table;

/// A key of the engine. Cloning shares the bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Arc<[u8]>);

impl Key {
    pub fn new(table: Table, row: &[u8]) -> Self {
        Self(prefixed(table, row).into())
    }

    /// Takes the bytes that an engine returned.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        Self(bytes.into())
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key within the table.
    pub fn row(&self) -> &[u8] {
        self.0.get(1..).unwrap_or_default()
    }
}

impl Borrow<[u8]> for Key {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(")?;
        for byte in self.0.iter() {
            write!(f, "{byte:02x}")?;
        }
        f.write_str(")")
    }
}

/// The keys from `from` up to, but without, `to`. `from` never exceeds `to`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    from: Vec<u8>,
    to: Vec<u8>,
}

impl Span {
    /// Every key of every table.
    pub fn everything() -> Self {
        Self {
            from: Vec::new(),
            to: vec![BEYOND_TABLES],
        }
    }

    /// Every key of the tables whose byte is in `first..end`.
    pub fn of_tables(first: u8, end: u8) -> Self {
        Self {
            from: vec![first],
            to: vec![end.max(first)],
        }
    }

    /// The keys from `from` up to, but without, `to`.
    #[cfg(test)]
    pub(crate) fn between(from: &Key, to: &Key) -> Self {
        Self {
            from: from.as_bytes().to_vec(),
            to: to.as_bytes().to_vec(),
        }
    }

    /// One key.
    pub fn of_key(key: &Key) -> Self {
        Self {
            from: key.as_bytes().to_vec(),
            to: successor(key.as_bytes()),
        }
    }

    /// The rows of `table` whose key starts with `prefix` and comes strictly after `after`.
    pub fn of_rows(table: Table, prefix: &[u8], after: Option<&[u8]>) -> Self {
        let prefix = prefixed(table, prefix);
        let to = end_of_prefix(&prefix);
        let from = match after {
            Some(after) => prefix.max(successor(&prefixed(table, after))).min(to.clone()),
            None => prefix,
        };

        Self { from, to }
    }

    /// The same span without `key` and everything before it.
    pub(crate) fn resume_after(&self, key: &Key) -> Self {
        let from = successor(key.as_bytes())
            .max(self.from.clone())
            .min(self.to.clone());
        Self {
            from,
            to: self.to.clone(),
        }
    }

    pub fn from(&self) -> &[u8] {
        &self.from
    }

    pub fn to(&self) -> &[u8] {
        &self.to
    }

    pub(crate) fn bounds(&self) -> (ops::Bound<&[u8]>, ops::Bound<&[u8]>) {
        (ops::Bound::Included(&self.from), ops::Bound::Excluded(&self.to))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.from == self.to
    }
}

fn prefixed(table: Table, row: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(1 + row.len());
    bytes.push(table as u8);
    bytes.extend_from_slice(row);

    bytes
}

/// The first key after `bytes`.
fn successor(bytes: &[u8]) -> Vec<u8> {
    let mut next = bytes.to_vec();
    next.push(0);

    next
}

/// The first key after every key that starts with `prefix`.
fn end_of_prefix(prefix: &[u8]) -> Vec<u8> {
    let kept = prefix
        .iter()
        .rposition(|byte| *byte != u8::MAX)
        .map_or(0, |last| last + 1);
    let mut end = prefix[..kept].to_vec();
    match end.last_mut() {
        Some(last) => *last += 1,
        None => end.push(BEYOND_TABLES),
    }

    end
}

/// No table has this byte ([`Table`] starts at 1 and ends far below).
const BEYOND_TABLES: u8 = u8::MAX;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_that_ends_in_ff_ends_before_the_next_shorter_key() {
        let span = Span::of_rows(Table::Nodes, &[7, 0xff, 0xff], None);

        assert_eq!(span.from(), [Table::Nodes as u8, 7, 0xff, 0xff]);
        assert_eq!(span.to(), [Table::Nodes as u8, 8]);
    }

    #[test]
    fn a_span_of_a_table_ends_where_the_next_table_starts() {
        let span = Span::of_rows(Table::Nodes, &[], None);

        assert_eq!(
            (span.from(), span.to()),
            (
                [Table::Nodes as u8].as_slice(),
                [Table::Nodes as u8 + 1].as_slice()
            )
        );
    }

    #[test]
    fn resuming_after_a_row_leaves_that_row_out_and_keeps_its_extensions() {
        let span = Span::of_rows(Table::Nodes, b"a", Some(b"ab"));

        assert!(Key::new(Table::Nodes, b"ab").as_bytes() < span.from());
        assert!(Key::new(Table::Nodes, b"ab\0").as_bytes() >= span.from());
    }

    #[test]
    fn resuming_beyond_the_prefix_leaves_an_empty_span() {
        let span = Span::of_rows(Table::Nodes, b"a", Some(b"zz"));

        assert!(span.is_empty());
    }

    #[test]
    fn resuming_before_the_prefix_starts_at_the_prefix() {
        let span = Span::of_rows(Table::Nodes, b"m", Some(b"a"));

        assert_eq!(span.from(), [Table::Nodes as u8, b'm']);
    }
}
