//! Revisions and terms as SQLite integers.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::engine::{Revision, Term};

impl ToSql for Revision {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        to_sql(self.get())
    }
}

impl FromSql for Revision {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        from_sql(value).map(Self::new)
    }
}

impl ToSql for Term {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        to_sql(self.get())
    }
}

impl FromSql for Term {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        from_sql(value).map(Self::new)
    }
}

fn to_sql(count: u64) -> rusqlite::Result<ToSqlOutput<'static>> {
    let stored =
        i64::try_from(count).map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))?;

    Ok(stored.into())
}

fn from_sql(value: ValueRef<'_>) -> FromSqlResult<u64> {
    let stored = value.as_i64()?;

    u64::try_from(stored).map_err(|_| FromSqlError::OutOfRange(stored))
}
