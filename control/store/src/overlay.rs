//! Writes of a group that are not committed yet, and the layer of the request being decided.

use std::collections::BTreeMap;
use std::sync::Arc;

use control_core::store::{StoreError, Table, Tx, View};
use protocol::limits;

use crate::engine::{Limits, Write, WriteSet};
use crate::key::{Key, Span};
use crate::rows::{Source, StoredRow};

/// What one request may write; exceeding it is [`StoreError::TooLarge`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Distinct keys put or deleted.
    pub keys: usize,
    /// Bytes of those keys and of the values put.
    pub bytes: usize,
}

impl Bound {
    /// What a caller's request may write.
    pub const REQUEST: Self = Self {
        keys: limits::WRITE_KEYS,
        bytes: limits::WRITE_BYTES,
    };

    /// No request is split over two commits, so none may exceed what one commit holds.
    pub(crate) fn within(self, limits: &Limits) -> Self {
        Self {
            keys: self.keys.min(limits.operations),
            bytes: self.bytes.min(limits.bytes),
        }
    }
}

/// The writes of one future engine commit.
#[derive(Debug)]
pub(crate) struct Chunk {
    pub(crate) writes: WriteSet,
    /// The ordinal, within the group, of the first request that wrote into it.
    pub(crate) first_request: usize,
}

/// The writes of a group in the order of its requests, cut into as few commits as the engine's limit allows.
#[derive(Debug, Default)]
pub(crate) struct Overlay {
    chunks: Vec<Chunk>,
}

impl Overlay {
    /// Takes the writes of the successful request number `request`.
    pub(crate) fn absorb(&mut self, writes: WriteSet, request: usize, limits: &Limits) {
        if writes.is_empty() {
            return;
        }
        if let Some(chunk) = self.chunks.last_mut() {
            let (keys, bytes) = chunk.writes.size_with(&writes);
            if keys <= limits.operations && bytes <= limits.bytes {
                return chunk.writes.absorb(writes);
            }
        }
        self.chunks.push(Chunk {
            writes,
            first_request: request,
        });
    }

    pub(crate) fn into_chunks(self) -> Vec<Chunk> {
        self.chunks
    }

    fn get(&self, key: &Key) -> Option<&Write> {
        self.chunks
            .iter()
            .rev()
            .find_map(|chunk| chunk.writes.as_map().get(key))
    }
}

/// One request's transaction: its layer over the group's overlay over what is committed.
pub(crate) struct Transaction<'a> {
    source: Source<'a>,
    overlay: &'a Overlay,
    layer: WriteSet,
    bound: Bound,
    exceeded: bool,
}

impl<'a> Transaction<'a> {
    pub(crate) fn new(source: Source<'a>, overlay: &'a Overlay, bound: Bound) -> Self {
        Self {
            source,
            overlay,
            layer: WriteSet::default(),
            bound,
            exceeded: false,
        }
    }

    /// The writes of the request; an error when it exceeded its bound, even if it went on regardless.
    pub(crate) fn into_writes(self) -> Result<WriteSet, StoreError> {
        match self.exceeded {
            true => Err(StoreError::TooLarge),
            false => Ok(self.layer),
        }
    }

    fn write(&mut self, key: Key, write: Write) -> Result<(), StoreError> {
        self.layer.insert(key, write);
        if self.layer.len() > self.bound.keys || self.layer.bytes() > self.bound.bytes {
            self.exceeded = true;
            return Err(StoreError::TooLarge);
        }

        Ok(())
    }

    /// The newest pending write to each key of `span`.
    fn pending(&self, span: &Span) -> BTreeMap<&Key, &Write> {
        self.overlay
            .chunks
            .iter()
            .map(|chunk| &chunk.writes)
            .chain([&self.layer])
            .flat_map(|writes| writes.as_map().range::<[u8], _>(span.bounds()))
            .collect()
    }
}

impl View for Transaction<'_> {
    fn get_bytes(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let key = Key::new(table, key);
        let found = match self.layer.as_map().get(&key).or_else(|| self.overlay.get(&key)) {
            Some(write) => write.value().cloned(),
            None => self.source.find(table, &key)?,
        };

        Ok(found.map(|value| value.to_vec()))
    }

    fn scan_bytes(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let span = Span::of_rows(table, prefix, after);
        let pending = self.pending(&span).into_iter();
        let rows = self.source.scan(table, &span, pending, limit);

        rows.take(limit)
            .map(|row| row.map(StoredRow::into_bytes))
            .collect()
    }
}

impl Tx for Transaction<'_> {
    fn put_bytes(&mut self, table: Table, key: &[u8], value: Vec<u8>) -> Result<(), StoreError> {
        self.write(Key::new(table, key), Write::Put(Arc::from(value)))
    }

    fn delete_bytes(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError> {
        self.write(Key::new(table, key), Write::Delete)
    }
}
