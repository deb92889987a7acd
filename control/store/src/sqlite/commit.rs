//! One batch as one SQLite transaction.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use crate::engine::{Batch, ChangeWindow, CommitFailed, Revision, Term, Write};

/// Commits `batch`, or nothing of it.
///
/// [`CommitFailed::Io`] may come from any statement: treating all of them as doubtful costs an opening more than it
/// must, and never trusts a log that failed to sync.
pub(super) fn commit(
    connection: &mut Connection,
    window: &mut ChangeWindow,
    batch: &Batch,
) -> Result<Revision, CommitFailed> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let newest = require_term(&transaction, batch.term)?;
    require_preconditions(&transaction, batch)?;
    if batch.writes.is_empty() {
        return Ok(newest);
    }
    let revision = newest.next();
    write(&transaction, batch, revision)?;
    if let Some(through) = window.excess(batch.writes.len()) {
        compact(&transaction, through)?;
    }
    transaction
        .prepare_cached("UPDATE meta SET revision = ?1")?
        .execute([revision])?;
    transaction.commit()?;
    window.push(revision, batch.writes.len());

    Ok(revision)
}

/// The commits whose changes the file still keeps.
pub(super) fn kept_changes(connection: &Connection) -> rusqlite::Result<ChangeWindow> {
    let mut counts =
        connection.prepare("SELECT revision, count(*) FROM changes GROUP BY revision ORDER BY revision")?;
    let counts = counts.query_map([], |row| Ok((row.get(0)?, row.get::<_, u32>(1)? as usize)))?;

    counts.collect()
}

fn require_term(transaction: &Transaction<'_>, term: Term) -> Result<Revision, CommitFailed> {
    let lead = "SELECT revision FROM meta WHERE term = ?1 AND holder IS NOT NULL";
    let revision = transaction
        .prepare_cached(lead)?
        .query_row([term], |row| row.get(0))
        .optional()?;

    revision.ok_or(CommitFailed::TermLost)
}

fn require_preconditions(transaction: &Transaction<'_>, batch: &Batch) -> Result<(), CommitFailed> {
    let mut written = transaction.prepare_cached("SELECT revision FROM kv WHERE key = ?1")?;
    for (key, expected) in &batch.preconditions {
        let found = written.query_row([key.as_bytes()], |row| row.get(0)).optional()?;
        if !expected.holds(found) {
            return Err(CommitFailed::Conflict { key: key.clone() });
        }
    }

    Ok(())
}

fn write(transaction: &Transaction<'_>, batch: &Batch, revision: Revision) -> rusqlite::Result<()> {
    let mut put = transaction.prepare_cached(
        "INSERT INTO kv (key, value, revision) VALUES (?1, ?2, ?3)
         ON CONFLICT (key) DO UPDATE SET value = excluded.value, revision = excluded.revision",
    )?;
    let mut delete = transaction.prepare_cached("DELETE FROM kv WHERE key = ?1")?;
    let mut note =
        transaction.prepare_cached("INSERT INTO changes (revision, key, value) VALUES (?1, ?2, ?3)")?;
    for (key, write) in batch.writes.as_map() {
        match write {
            Write::Delete => delete.execute([key.as_bytes()])?,
            Write::Put(value) => put.execute((key.as_bytes(), &**value, revision))?,
        };
        note.execute((revision, key.as_bytes(), write.value().map(|value| &**value)))?;
    }

    Ok(())
}

fn compact(transaction: &Transaction<'_>, through: Revision) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM changes WHERE revision <= ?1")?
        .execute([through])?;
    transaction
        .prepare_cached("UPDATE meta SET compacted = ?1")?
        .execute([through])?;

    Ok(())
}
