//! The schema and the way to it from every older one.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::open::OpenFailed;

/// Refuses a file of another program, or of a newer version of this one, before anything in it changes.
pub(super) fn require_known(connection: &Connection, path: &Path) -> Result<(), OpenFailed> {
    let found = version(connection).map_err(|error| OpenFailed::from_sqlite(path, error))?;
    let application = application(connection).map_err(|error| OpenFailed::from_sqlite(path, error))?;
    let fresh = found == 0
        && application == 0
        && is_empty(connection).map_err(|error| OpenFailed::from_sqlite(path, error))?;
    if !fresh && application != APPLICATION {
        return Err(OpenFailed::Foreign {
            path: path.to_owned(),
        });
    }
    match found > NEWEST {
        true => Err(OpenFailed::NewerSchema {
            path: path.to_owned(),
            found,
            known: NEWEST,
        }),
        false => Ok(()),
    }
}

/// Runs what is missing in one transaction: a crash leaves the old schema or the new one.
pub(super) fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    let found = version(connection)?;
    if found == NEWEST {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for migration in &MIGRATIONS[found as usize..] {
        transaction.execute_batch(migration)?;
    }
    transaction.pragma_update(None, "user_version", NEWEST)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.commit()?;
    tracing::info!(from = found, to = NEWEST, "store schema migrated");

    Ok(())
}

fn version(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

fn application(connection: &Connection) -> rusqlite::Result<u32> {
    connection.query_row("PRAGMA application_id", [], |row| row.get(0))
}

fn is_empty(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM sqlite_schema)", [], |row| {
        row.get(0)
    })
}

/// Each makes the schema with the number of its place, counted from one. A shipped one never changes.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];
const NEWEST: u32 = MIGRATIONS.len() as u32;

/// Marks the file as ours: "GABN".
const APPLICATION: u32 = 0x4741_424e;
