//! A disk that does not come back from a sync.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex};

use agent_shell::parts::Supervisor;
use control_store::Span;
use control_store::engine::{BackupFailed, ChangeSet, ChangesFailed, CheckFailed, Limits as Room};
use control_store::engine::{
    Batch, CampaignFailed, CommitFailed, EngineReader, Entry, ReadFailed, RenewFailed, Revision, Term,
};
use protocol::time::{Boot, Now};

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_hangs_starves_the_watchdog_and_is_said_in_status() {
    let dir = tempfile::tempdir().expect("a directory");
    initialised(dir.path());
    let world = Arc::new(World::default());
    let controller = Running::open_as(dir, Limits::default(), |parts| world.clone().around(parts)).await;
    world.is_fed_after(0).await;
    let calm = controller.read("status/show").await;
    assert_eq!(calm["state"], "leading", "{calm}");

    world.hang(true);
    tokio::join!(controller.create_cluster(), async {
        world.hangs().await;
        world.ahead.store(20_000, Ordering::Relaxed);
        let status = tokio::time::timeout(Duration::from_secs(5), controller.read("status/show"));
        let status = status.await.expect("status does not wait for the writer");
        assert_eq!(status["state"], "writer_stands", "{status}");
        assert!(status["writer_stood_seconds"].as_u64() >= Some(20), "{status}");
        let warning = status["warning"].as_str().unwrap_or_default();
        assert!(warning.contains("the writer has stood for 2"), "{status}");
        world.looked_at_without_feeding().await;

        let fed = world.fed.load(Ordering::Relaxed);
        world.hang(false);
        world.is_fed_after(fed).await;
    });
    controller.stop().await;
}

/// A clock that can be set ahead, a supervisor that counts, and a gate in front of every commit.
#[derive(Default)]
struct World {
    ahead: AtomicU64,
    asked: AtomicUsize,
    fed: AtomicUsize,
    hung: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl World {
    fn around(self: Arc<Self>, parts: Parts<SqliteEngine>) -> Parts<Gated> {
        Parts {
            clock: self.clone(),
            engine: Gated {
                engine: parts.engine,
                world: self.clone(),
            },
            supervisor: self,
            socket: parts.socket,
            runtime: parts.runtime,
            kek: parts.kek,
            controller: parts.controller,
            key: parts.key,
            metrics_text: parts.metrics_text,
            seed: parts.seed,
            writing: parts.writing,
        }
    }

    fn hang(&self, hung: bool) {
        self.hung.lock().expect("no panic").0 = hung;
        self.changed.notify_all();
    }

    fn pass(&self) {
        let mut hung = self.hung.lock().expect("no panic");
        while hung.0 {
            hung.1 = true;
            hung = self.changed.wait(hung).expect("no panic");
        }
    }

    async fn hangs(&self) {
        until(|| self.hung.lock().expect("no panic").1).await;
    }

    async fn is_fed_after(&self, count: usize) {
        until(|| self.fed.load(Ordering::Relaxed) > count).await;
    }

    /// The controller looks at the clock each second when it looks after its writer; the first look may still see the
    /// turn before.
    async fn looked_at_without_feeding(&self) {
        self.is_asked().await;
        let fed = self.fed.load(Ordering::Relaxed);
        self.is_asked().await;
        assert_eq!(
            self.fed.load(Ordering::Relaxed),
            fed,
            "nothing feeds the watchdog"
        );
    }

    async fn is_asked(&self) {
        let asked = self.asked.load(Ordering::Relaxed);
        until(|| self.asked.load(Ordering::Relaxed) > asked + 4).await;
    }
}

async fn until(is_so: impl Fn() -> bool) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while !is_so() {
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it comes to pass");
}

impl Clock for World {
    fn now(&self) -> Now {
        self.asked.fetch_add(1, Ordering::Relaxed);
        let now = SystemClock.now();

        Now {
            boot: Boot(now.boot.0 + self.ahead.load(Ordering::Relaxed)),
            ..now
        }
    }
}

impl Supervisor for World {
    fn ready(&self) {}

    fn status(&self, _: &str) {}

    fn worked(&self) {
        self.fed.fetch_add(1, Ordering::Relaxed);
    }
}

struct Gated {
    engine: SqliteEngine,
    world: Arc<World>,
}

impl Engine for Gated {
    fn limits(&self) -> Room {
        self.engine.limits()
    }

    fn reader(&self) -> Arc<dyn EngineReader + Send + Sync> {
        self.engine.reader()
    }

    fn campaign(&mut self) -> Result<Term, CampaignFailed> {
        self.engine.campaign()
    }

    fn renew(&mut self, term: Term) -> Result<(), RenewFailed> {
        self.engine.renew(term)
    }

    fn resign(&mut self, term: Term) -> Result<(), RenewFailed> {
        self.engine.resign(term)
    }

    fn commit(&mut self, batch: &Batch) -> Result<Revision, CommitFailed> {
        self.world.pass();
        self.engine.commit(batch)
    }
}

impl EngineReader for Gated {
    fn revision(&self) -> Result<Revision, ReadFailed> {
        self.engine.revision()
    }

    fn range(&self, span: &Span, until: Revision, limit: usize) -> Result<Vec<Entry>, ReadFailed> {
        self.engine.range(span, until, limit)
    }

    fn changes(&self, after: Revision, limit: usize) -> Result<Vec<ChangeSet>, ChangesFailed> {
        self.engine.changes(after, limit)
    }

    fn backup(&self, target: &Path) -> Result<(), BackupFailed> {
        self.engine.backup(target)
    }

    fn check(&self) -> Result<(), CheckFailed> {
        self.engine.check()
    }
}
