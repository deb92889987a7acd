//! What one view has and another has not, found without looking into what both share.

use std::cmp::Ordering;
use std::sync::Arc;

use super::{Leaf, ResidentView};
use crate::key::{Key, Span};

/// A row as it is now; none if there is none any more.
pub(crate) type Changed = (Key, Option<Arc<[u8]>>);

impl ResidentView {
    /// The rows of `span` that are not as in `before`, in key order. Costs a comparison of two pointers for each leaf that
    /// both views share.
    pub(crate) fn changes_since(&self, before: &Self, span: &Span) -> Vec<Changed> {
        let (mut now, mut then) = (Cursor::at(self, span), Cursor::at(before, span));
        let mut changes = Vec::new();
        loop {
            if now.skip_shared(&mut then) {
                continue;
            }
            let order = match (now.row(), then.row()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some((key, _)), Some((other, _))) => key.cmp(other),
            };
            let row = order.is_le().then(|| now.take()).flatten();
            let replaced = order.is_ge().then(|| then.take()).flatten();
            match (row, replaced) {
                (Some((_, value)), Some((_, other))) if value == other => {}
                (Some((key, value)), _) => changes.push((key.clone(), Some(value.clone()))),
                (None, Some((key, _))) => changes.push((key.clone(), None)),
                (None, None) => break,
            }
        }

        changes
    }
}

/// A place in a view, within a span.
struct Cursor<'a> {
    leaves: &'a [Arc<Leaf>],
    /// Of the first leaf.
    row: usize,
    to: &'a [u8],
}

impl<'a> Cursor<'a> {
    fn at(view: &'a ResidentView, span: &'a Span) -> Self {
        let first = view.leaf_for(span.from()).min(view.leaves.len());
        let leaves = &view.leaves[first..];
        let before = |leaf: &Arc<Leaf>| leaf.rows.partition_point(|(key, _)| key.as_bytes() < span.from());
        let mut cursor = Self {
            leaves,
            row: leaves.first().map_or(0, before),
            to: span.to(),
        };
        cursor.settle();

        cursor
    }

    fn row(&self) -> Option<&'a (Key, Arc<[u8]>)> {
        let row = self.leaves.first()?.rows.get(self.row)?;

        (row.0.as_bytes() < self.to).then_some(row)
    }

    fn take(&mut self) -> Option<&'a (Key, Arc<[u8]>)> {
        let row = self.row()?;
        self.row += 1;
        self.settle();

        Some(row)
    }

    /// Goes on to the next leaf when this one is done.
    fn settle(&mut self) {
        if self
            .leaves
            .first()
            .is_some_and(|leaf| self.row >= leaf.rows.len())
        {
            self.leaves = &self.leaves[1..];
            self.row = 0;
        }
    }

    /// Passes over a leaf that both have, if both stand at its start.
    fn skip_shared(&mut self, other: &mut Self) -> bool {
        let (Some(mine), Some(theirs)) = (self.leaves.first(), other.leaves.first()) else {
            return false;
        };
        let is_shared = self.row == other.row && self.row().is_some() && Arc::ptr_eq(mine, theirs);
        if is_shared {
            self.leaves = &self.leaves[1..];
            other.leaves = &other.leaves[1..];
            (self.row, other.row) = (0, 0);
        }

        is_shared
    }
}
