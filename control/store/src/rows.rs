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

    /// At most `limit` rows of `span` with `pending` laid over them; keys without the table's byte.
    pub(crate) fn scan<'p>(
        self,
        table: Table,
        span: &'a Span,
        pending: impl Iterator<Item = (&'p Key, &'p Write)>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        if table.is_resident() {
            let rows = self
                .committed
                .view
                .range(span)
                .map(|(key, value)| Ok((key.clone(), value.clone())));
            return merge(rows, pending, limit);
        }

        merge(EngineRows::new(self, span.clone(), limit), pending, limit)
    }
}

/// Lays `pending` over `committed`, both in key order.
fn merge<'p>(
    committed: impl Iterator<Item = Result<(Key, Arc<[u8]>), ReadFailed>>,
    pending: impl Iterator<Item = (&'p Key, &'p Write)>,
    limit: usize,
) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
    let (mut committed, mut pending) = (committed.peekable(), pending.peekable());
    let mut rows = Vec::new();
    while rows.len() < limit {
        let Some((key, value)) = next_merged(&mut committed, &mut pending)? else {
            break;
        };
        if let Some(value) = value {
            rows.push((key.row().to_vec(), value.to_vec()));
        }
    }

    Ok(rows)
}

/// The next key of either side; `None` as its value when it is pending deletion.
#[expect(
    clippy::type_complexity,
    reason = "the pair is taken apart at once by its only caller"
)]
fn next_merged<'p>(
    committed: &mut Peekable<impl Iterator<Item = Result<(Key, Arc<[u8]>), ReadFailed>>>,
    pending: &mut Peekable<impl Iterator<Item = (&'p Key, &'p Write)>>,
) -> Result<Option<(Key, Option<Arc<[u8]>>)>, StoreError> {
    let Some((written, _)) = pending.peek() else {
        let row = committed.next().transpose().map_err(unreadable)?;
        return Ok(row.map(|(key, value)| (key, Some(value))));
    };
    let earlier = committed.next_if(|row| !row.as_ref().is_ok_and(|(key, _)| key >= *written));
    if let Some((key, value)) = earlier.transpose().map_err(unreadable)? {
        return Ok(Some((key, Some(value))));
    }
    committed.next_if(|row| row.as_ref().is_ok_and(|(key, _)| key == *written));

    Ok(pending
        .next()
        .map(|(key, write)| (key.clone(), write.value().cloned())))
}

/// The engine's rows of a span, read page by page.
struct EngineRows<'a> {
    source: Source<'a>,
    rest: Span,
    page: vec::IntoIter<(Key, Arc<[u8]>)>,
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
        self.page = entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect::<Vec<_>>()
            .into_iter();

        Ok(())
    }
}

impl Iterator for EngineRows<'_> {
    type Item = Result<(Key, Arc<[u8]>), ReadFailed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.page.len() == 0 && !self.ended {
            if let Err(failed) = self.read_page() {
                self.ended = true;
                return Some(Err(failed));
            }
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
