//! SQLite alone: many who wait for their commit, one who commits for all of them.

use std::fs;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use rusqlite::{Connection, TransactionBehavior};

/// What one write weighs: rows with their keys.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sizes {
    /// The row that is changed.
    pub(super) subject: usize,
    /// The record that is added.
    pub(super) audit: usize,
}

pub(super) struct GroupCommit {
    store: Connection,
    sizes: Sizes,
    records: u64,
}

/// A write that waits.
struct Job {
    caller: u64,
    done: SyncSender<()>,
}

impl GroupCommit {
    pub(super) fn open(directory: &Path, sizes: Sizes) -> Result<Self, String> {
        let told = |error: rusqlite::Error| error.to_string();
        fs::create_dir(directory).map_err(|error| error.to_string())?;
        let store = Connection::open(directory.join("floor.db")).map_err(told)?;
        store
            .query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))
            .map_err(told)?;
        store.pragma_update(None, "synchronous", "FULL").map_err(told)?;
        store
            .execute_batch(
                "CREATE TABLE subject (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
                 CREATE TABLE audit (key BLOB PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;",
            )
            .map_err(told)?;

        Ok(Self {
            store,
            sizes,
            records: 0,
        })
    }

    /// Lets `callers` threads write `writes` times in all, and gives how many a second were committed.
    pub(super) fn write(&mut self, callers: usize, writes: usize) -> Result<f64, String> {
        let (send, waiting) = sync_channel(callers);
        let each = writes / callers;
        let begun = Instant::now();
        let committed = thread::scope(|scope| {
            for caller in 0..callers as u64 {
                let send = send.clone();
                scope.spawn(move || call(caller, each, &send));
            }
            drop(send);

            self.commit_all(&waiting)
        });

        committed.map(|count| count as f64 / begun.elapsed().as_secs_f64())
    }

    /// Commits until nobody calls any more: each time for all who wait.
    fn commit_all(&mut self, waiting: &Receiver<Job>) -> Result<usize, String> {
        let mut count = 0;
        while let Ok(first) = waiting.recv() {
            let group: Vec<Job> = [first].into_iter().chain(waiting.try_iter()).collect();
            self.commit(&group).map_err(|error| error.to_string())?;
            count += group.len();
            for job in group {
                // Its caller waits for nothing else.
                let _ = job.done.send(());
            }
        }

        Ok(count)
    }

    fn commit(&mut self, group: &[Job]) -> rusqlite::Result<()> {
        let (subject, audit) = (self.sizes.subject - KEY, self.sizes.audit - KEY);
        let transaction = self
            .store
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        {
            let mut change = transaction.prepare_cached(
                "INSERT INTO subject (key, value) VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET value = excluded.value",
            )?;
            let mut add = transaction.prepare_cached("INSERT INTO audit (key, value) VALUES (?1, ?2)")?;
            for job in group {
                change.execute((key(job.caller), vec![self.records as u8; subject]))?;
                add.execute((key(self.records), vec![7; audit]))?;
                self.records += 1;
            }
        }

        transaction.commit()
    }
}

fn call(caller: u64, writes: usize, send: &SyncSender<Job>) {
    for _ in 0..writes {
        let (done, committed) = sync_channel(1);
        if send.send(Job { caller, done }).is_err() || committed.recv().is_err() {
            return;
        }
    }
}

fn key(number: u64) -> [u8; KEY] {
    let mut key = [0; KEY];
    key[KEY - 8..].copy_from_slice(&number.to_be_bytes());

    key
}

/// As long as the key of a row of a cluster.
const KEY: usize = 33;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_write_is_one_record_and_every_caller_one_row() {
        let directory = tempfile::tempdir().unwrap();
        let sizes = Sizes {
            subject: 300,
            audit: 200,
        };
        let mut floor = GroupCommit::open(&directory.path().join("floor"), sizes).unwrap();
        assert!(floor.write(4, 40).unwrap() > 0.0);
        let count = |table: &str| -> u32 {
            let count = format!("SELECT count(*) FROM {table}");
            floor.store.query_row(&count, [], |row| row.get(0)).unwrap()
        };

        assert_eq!((count("audit"), count("subject")), (40, 4));
    }
}
