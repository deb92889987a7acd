//! The port to the store: an open transaction over typed rows.
//!
//! A row says where it lives ([`Row::TABLE`]) and under which key; [`View`] and [`Tx`] move bytes, and the typed
//! calls ([`Rows`], [`RowsMut`]) sit on top of them. `control-store` implements the byte calls over its engine.

use protocol::cbor;

/// The tables, each with the byte that starts its keys on an engine. Part of the store's format: never renumber.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    Installation = 1,
    Operators = 2,
    RoleGrants = 3,
    Clusters = 4,
    Authorities = 5,
    IssuingCas = 6,
    JoinTokens = 7,
    JoinRequests = 8,
    JoinRequestsByKey = 9,
    Nodes = 10,
    NodesByName = 11,
    Certificates = 12,
    Revocations = 13,
    Policies = 14,
    Routes = 15,
    Leases = 16,
    Published = 17,
    Beacons = 18,
    Audit = 19,
    AuditHead = 20,
    Findings = 21,
    ManifestNonces = 22,
    Journal = 23,
    ControllerIdentities = 24,
    RevocationFloors = 25,
    RoleFloors = 26,
    Behind = 27,
    Settings = 28,
    JournalHead = 29,
}

impl Table {
    /// Whether the in-memory view holds this table; the others can outgrow memory and are read from the engine.
    pub const fn is_resident(self) -> bool {
        !matches!(self, Self::Audit | Self::Journal)
    }
}

/// A row of one table, stored as deterministic CBOR.
pub trait Row: Sized + minicbor::Encode<()> + for<'b> minicbor::Decode<'b, ()> {
    const TABLE: Table;

    /// The key within the table; rows are scanned in the order of these bytes.
    fn key(&self) -> Vec<u8>;
}

/// A consistent reading of the store.
pub trait View {
    /// The bytes under `key`, if any.
    fn get_bytes(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` entries whose key starts with `prefix` and comes strictly after `after`, in key order.
    fn scan_bytes(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, StoreError>;
}

/// A key within its table, and the bytes of its row.
pub type Entry = (Vec<u8>, Vec<u8>);

/// What can be read of some rows, and which cannot.
#[derive(Clone, Debug)]
pub struct Scanned<R> {
    pub rows: Vec<R>,
    pub unreadable: Vec<UnreadableRow>,
}

/// A row that does not decode: the file was damaged, or written by a newer version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnreadableRow {
    pub table: Table,
    pub key: Vec<u8>,
}

/// An open write transaction: reads see its own writes, and nothing is kept unless the request succeeds.
pub trait Tx: View {
    fn put_bytes(&mut self, table: Table, key: &[u8], value: Vec<u8>) -> Result<(), StoreError>;

    fn delete_bytes(&mut self, table: Table, key: &[u8]) -> Result<(), StoreError>;
}

/// Typed reads.
pub trait Rows: View {
    fn get<R: Row>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        self.get_bytes(R::TABLE, key)?
            .map(|bytes| decode(R::TABLE, &bytes))
            .transpose()
    }

    /// As [`get`](Self::get), but a row that does not decode is as good as none.
    fn get_readable<R: Row>(&self, key: &[u8]) -> Result<Option<R>, StoreError> {
        match self.get(key) {
            Err(StoreError::Corrupt { .. }) => Ok(None),
            other => other,
        }
    }

    /// Every row whose key starts with `prefix`, in key order.
    fn scan<R: Row>(&self, prefix: &[u8]) -> Result<Vec<R>, StoreError> {
        self.page(prefix, None, usize::MAX)
    }

    /// As [`scan`](Self::scan), but leaves out single rows that do not decode, and names them.
    fn scan_readable<R: Row>(&self, prefix: &[u8]) -> Result<Scanned<R>, StoreError> {
        let mut scanned = Scanned {
            rows: Vec::new(),
            unreadable: Vec::new(),
        };
        for (key, bytes) in self.scan_bytes(R::TABLE, prefix, None, usize::MAX)? {
            match decode(R::TABLE, &bytes) {
                Ok(row) => scanned.rows.push(row),
                Err(_) => scanned.unreadable.push(UnreadableRow { table: R::TABLE, key }),
            }
        }

        Ok(scanned)
    }

    /// At most `limit` rows whose key starts with `prefix` and comes after `after`.
    fn page<R: Row>(&self, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<Vec<R>, StoreError> {
        self.scan_bytes(R::TABLE, prefix, after, limit)?
            .iter()
            .map(|(_, bytes)| decode(R::TABLE, bytes))
            .collect()
    }
}

impl<V: View + ?Sized> Rows for V {}

/// Typed writes.
pub trait RowsMut: Tx {
    fn put<R: Row>(&mut self, row: &R) -> Result<(), StoreError> {
        self.put_bytes(R::TABLE, &row.key(), cbor::encode(row))
    }

    fn delete<R: Row>(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.delete_bytes(R::TABLE, key)
    }
}

impl<T: Tx + ?Sized> RowsMut for T {}

fn decode<R: Row>(table: Table, bytes: &[u8]) -> Result<R, StoreError> {
    cbor::decode(bytes).map_err(|source| StoreError::Corrupt { table, source })
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A row does not decode: the file was damaged, or written by a newer version.
    #[error("a row of table {table:?} cannot be read")]
    Corrupt {
        table: Table,
        #[source]
        source: cbor::Malformed,
    },
    /// The engine could not read; the text names its own reason.
    #[error("the store cannot be read: {0}")]
    Unreadable(String),
    /// One request wrote more than [`protocol::limits::WRITE_KEYS`] keys or [`protocol::limits::WRITE_BYTES`].
    #[error("the request writes more than one transaction may")]
    TooLarge,
}
