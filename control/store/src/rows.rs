//! Committed rows, wherever they stand, and the merge of pending writes over them.

use std::error::Error;
use std::iter::Peekable;
use std::sync::Arc;
use std::vec;

use control_core::store::{StoreError, Table};

use crate::engine::{EngineReader, ReadFailed, Revision, Write};
use crate::key::{Key, Span};
use crate::view::ResidentView;

/// What the store showed after one commit.
#[derive(Debug, Default)]
pub(crate) struct Committed {
    pub(crate) view: ResidentView,
    pub(crate) revision: Revision,
}

/// Reads resident tables from memory and the others from the engine, both as of one revision.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) committed: &'a Committed,
    pub(crate) engine: &'a dyn EngineReader,
}

impl<'a> Source<'a> {
    pub(crate) fn find(self, table: Table, key: &Key) -> Result<Option<Arc<[u8]>>, StoreError> {
        if table.is_resident() {
            return Ok(self.committed.view.get(key).cloned());
        }
        let found = self
            .engine
            .range(&Span::of_key(key), self.committed.revision, 1)
            .map_err(unreadable)?;

        Ok(found.into_iter().next().map(|entry| entry.value))
    }

    /// The rows of `span` with `pending` laid over them, in key order. Nobody will take more than `limit`.
    pub(crate) fn scan(
        self,
        table: Table,
        span: &'a Span,
        pending: impl Iterator<Item = (&'a Key, &'a Write)> + 'a,
        limit: usize,
    ) -> Box<dyn Iterator<Item = Result<StoredRow, StoreError>> + 'a> {
        if table.is_resident() {
            let rows = self.committed.view.range(span);
            let rows = rows.map(|(key, value)| {
                Ok(StoredRow {
                    key: key.clone(),
                    value: value.clone(),
                })
            });
            return Box::new(Merged {
                committed: rows.peekable(),
                pending: pending.peekable(),
            });
        }
        let rows = EngineRows::new(self, span.clone(), limit);

        Box::new(Merged {
            committed: rows.peekable(),
            pending: pending.peekable(),
        })
    }
}

/// A row as it is stored.
pub(crate) struct StoredRow {
    key: Key,
    value: Arc<[u8]>,
}

impl StoredRow {
    /// The key within the table, and the value.
    pub(crate) fn into_bytes(self) -> (Vec<u8>, Vec<u8>) {
        (self.key.row().to_vec(), self.value.to_vec())
    }
}

/// Committed rows with pending writes laid over them, both in key order.
struct Merged<C: Iterator, P: Iterator> {
    committed: Peekable<C>,
    pending: Peekable<P>,
}

impl<'p, C, P> Iterator for Merged<C, P>
where
    C: Iterator<Item = Result<StoredRow, ReadFailed>>,
    P: Iterator<Item = (&'p Key, &'p Write)>,
{
    type Item = Result<StoredRow, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some((key, _)) = self.pending.peek() {
            let earlier = self
                .committed
                .next_if(|row| row.as_ref().map_or(true, |row| row.key < **key));
            if let Some(row) = earlier {
                return Some(row.map_err(unreadable));
            }
            self.committed
                .next_if(|row| row.as_ref().is_ok_and(|row| row.key == **key));
            let (key, write) = self.pending.next()?;
            if let Some(value) = write.value() {
                return Some(Ok(StoredRow {
                    key: key.clone(),
                    value: value.clone(),
                }));
            }
        }

        self.committed.next().map(|row| row.map_err(unreadable))
    }
}

/// The engine's rows of a span, read page by page.
struct EngineRows<'a> {
    source: Source<'a>,
    rest: Span,
    page: vec::IntoIter<StoredRow>,
    page_rows: usize,
    ended: bool,
}

impl<'a> EngineRows<'a> {
    fn new(source: Source<'a>, span: Span, limit: usize) -> Self {
        let ended = span.is_empty() || limit == 0;
        Self {
            source,
            rest: span,
            page: Vec::new().into_iter(),
            page_rows: limit.clamp(1, PAGE_ROWS),
            ended,
        }
    }

    fn read_page(&mut self) -> Result<(), ReadFailed> {
        let entries = self
            .source
            .engine
            .range(&self.rest, self.source.committed.revision, self.page_rows)?;
        self.ended = entries.len() < self.page_rows;
        if let Some(last) = entries.last() {
            self.rest = self.rest.resume_after(&last.key);
        }
        let rows = entries.into_iter().map(|entry| StoredRow {
            key: entry.key,
            value: entry.value,
        });
        self.page = rows.collect::<Vec<_>>().into_iter();

        Ok(())
    }
}

impl Iterator for EngineRows<'_> {
    type Item = Result<StoredRow, ReadFailed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0
            && !self.ended
            && let Err(failed) = self.read_page()
        {
            self.ended = true;
            return Some(Err(failed));
        }

        self.page.next().map(Ok)
    }
}

/// The port's form of a failed read: the whole chain as text.
pub(crate) fn unreadable(failed: ReadFailed) -> StoreError {
    let mut text = failed.to_string();
    let mut cause = failed.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }

    StoreError::Unreadable(text)
}

/// Rows fetched from the engine at once: a few hundred kilobytes of audit records.
const PAGE_ROWS: usize = 512;
