//! How many writes a second are on the disk with their audit record when they are answered, for 64 callers.

mod caller;
mod group_commit;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use control_core::store::Table;
use rusqlite::{Connection, OpenFlags};

use crate::bench::{Bench, Budget, Findings, NotMeasured};
use crate::client;
use crate::rounds::{PATIENCE, Rounds, Work, crowd};
use caller::Caller;
use group_commit::{GroupCommit, Sizes};

pub(crate) const BENCH: Bench = Bench {
    name: "audited_writes",
    run,
};

fn run() -> Result<Findings, NotMeasured> {
    let runtime = client::runtime()?;
    let site = e2e::Site::founded();
    let callers = (0..CALLERS).map(|_| Caller::connect(site.path("admin.sock")));
    let callers = runtime.block_on(async {
        let mut connected = Vec::new();
        for caller in callers {
            connected.push(caller.await?);
        }
        Ok::<_, String>(Arc::new(
            connected.into_iter().map(Mutex::new).collect::<Vec<_>>(),
        ))
    })?;
    // The first round of all: what a row of each kind weighs, for the floor to write rows like it.
    runtime.block_on(write_all(&callers, CALLERS))?;
    let sizes = sizes(&site.path("controller/gabion.db"))?;
    let begun = records(&site.path("controller/gabion.db"))?;
    let mut floor = GroupCommit::open(&site.path("floor"), sizes)?;
    let mut written = 0;
    let rounds = Rounds::take(
        ROUNDS,
        || floor.write(CALLERS, FLOOR_WRITES),
        || {
            written += WRITES;
            runtime.block_on(write_all(&callers, WRITES))
        },
    )?;
    let recorded = records(&site.path("controller/gabion.db"))? - begun;
    let row = rounds.row("audited_writes_per_s", "/s", Budget::AtLeastOfFloor(0.4))?;
    let words = format!(
        "{WORDS}\n\nRows are {} and {} bytes with their keys; {recorded} audit records for {written} writes. {}",
        sizes.subject,
        sizes.audit,
        rounds.note()
    );

    Ok(Findings {
        words,
        rows: vec![row],
    })
}

/// Makes tokens and revokes them, every caller by turns.
async fn write_all(callers: &Arc<Vec<Mutex<Caller>>>, writes: usize) -> Result<f64, String> {
    let each = writes / CALLERS;
    let callers = Arc::clone(callers);
    let work = Work {
        width: CALLERS,
        jobs: CALLERS,
        within: PATIENCE,
    };
    let rate = crowd(work, move |number| {
        let callers = Arc::clone(&callers);
        async move {
            let mut caller = callers[number]
                .try_lock()
                .map(|mut caller| std::mem::take(&mut *caller))
                .map_err(|_| "a caller is asked twice".to_owned())?;
            for _ in 0..each {
                caller.write().await?;
            }
            *callers[number].lock().unwrap_or_else(PoisonError::into_inner) = caller;

            Ok(())
        }
    })
    .await?;

    Ok(rate * each as f64)
}

/// How many audit records the store holds.
fn records(database: &Path) -> Result<u64, NotMeasured> {
    let count = "SELECT count(*) FROM kv WHERE key >= ?1 AND key < ?2";

    look(database, count, Table::Audit)
}

/// The mean length of a token's row and of an audit record, each with its key.
fn sizes(database: &Path) -> Result<Sizes, NotMeasured> {
    let mean =
        "SELECT CAST(avg(length(key) + length(value)) AS INTEGER) FROM kv WHERE key >= ?1 AND key < ?2";
    let mean = |table| look(database, mean, table);

    Ok(Sizes {
        subject: usize::try_from(mean(Table::JoinTokens)?).unwrap_or(usize::MAX),
        audit: usize::try_from(mean(Table::Audit)?).unwrap_or(usize::MAX),
    })
}

/// Asks one number of the rows of one table, beside the controller.
fn look(database: &Path, question: &str, table: Table) -> Result<u64, NotMeasured> {
    let broken = |error: rusqlite::Error| NotMeasured::Broken(error.to_string());
    let store = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY).map_err(broken)?;
    let span = ([table as u8], [table as u8 + 1]);

    store
        .query_row(question, span, |row| row.get::<_, i64>(0))
        .map(i64::unsigned_abs)
        .map_err(broken)
}

const CALLERS: usize = 64;
const ROUNDS: usize = 5;
const WRITES: usize = 64 * CALLERS;
const FLOOR_WRITES: usize = 512 * CALLERS;

const WORDS: &str = "\
A controller as it is shipped, and 64 callers that each keep a connection to its admin socket. Every caller makes a join
token and revokes it, again and again: each is one request over HTTP, one decision, one row and one audit record that is
chained to the one before, synced to the disk before the answer; making a token signs it besides. Nothing is published by
either.

The floor is SQLite alone: 64 threads that wait for their commit, one that commits for all who wait, write-ahead log,
`synchronous=FULL`, in the same directory. A write of the floor is what the product needs at least: one row changed and one
record added, of the same lengths. The product also reads, decides, keeps what it wrote for followers, speaks HTTP and JSON,
and shares its two cores with its callers.";
