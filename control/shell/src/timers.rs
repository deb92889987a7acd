//! What the controller does by the clock: presence, beacons, routing, its own certificate.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use control_api::books::Book;
use control_api::failure::Failure;
use control_api::journal;
use control_api::request::{Caller, Request};
use control_api::router::Router;
use control_api::routing;
use control_core::behind;
use control_core::cluster;
use control_core::node::NodeRow;
use control_core::store::{StoreError, Table};
use control_routing::decide::Outcome;
use control_routing::suspicion::{Circle, Suspect};
use control_routing::trend::Trends;
use control_store::Snapshot;
use protocol::cbor;
use protocol::id::{ClusterId, RouteId};
use protocol::key::VerifyKey;
use protocol::time::Now;
use tokio::sync::Notify;

use crate::controller::Writing;
use crate::journal::Turn;
use crate::listen::Service;

/// Wakes the routing loop before its time.
#[derive(Clone, Debug, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// Writes down that this store is behind its fleet, unless it is written down. Tried each second: a disk may be full.
pub(crate) async fn mark(service: &Service) {
    let Some(row) = service.board.behind() else { return };
    if behind::find(&service.board.snapshot()).is_ok_and(|known| known.is_some()) {
        return;
    }
    let request = Request::Behind(Box::new(row));
    if let Err(failure) = service.door.call(Caller::Controller, request).await {
        tracing::error!(
            code = failure.code.text(),
            "that this store is behind its fleet is not on disk"
        );
    }
}

/// Lets presence age, every second, and stores what memory has and the store has not: at once when there is news, and
/// each second again what could not be stored. One after another, so that of two changes the later one stays.
pub(crate) async fn presence(service: Service) {
    let mut tick = tokio::time::interval(PRESENCE);
    let mut failed = false;
    let mut restored = None;
    loop {
        let is_second = tokio::select! {
            biased;
            _ = tick.tick() => true,
            () = service.storing.0.notified(), if !failed => false,
        };
        if service.board.behind().is_some() {
            mark(&service).await;
            continue;
        }
        if is_second {
            age(&service, &mut restored);
        }
        let outcome = store(&service).await;
        if let (Err(failure), false) = (&outcome, failed) {
            let code = failure.code.text();
            tracing::warn!(
                code,
                "what nodes told is not stored, and is tried again each second"
            );
        }
        failed = outcome.is_err();
    }
}

/// Lets presence age, and takes over what was stored of nodes since `restored`.
fn age(service: &Service, restored: &mut Option<Snapshot>) {
    let (snapshot, now) = (service.board.snapshot(), service.clock.now());
    let Some(before) = restored else {
        let mut live = service.board.live();
        live.prune(now.boot);
        match live.restore(&snapshot, now) {
            Ok(()) => *restored = Some(snapshot),
            Err(error) => tracing::error!(%error, "the nodes cannot be read"),
        }
        return;
    };
    let changed = snapshot.changes_since(before, Table::Nodes, &[]);
    // What cannot be read is told of by the publication.
    let rows = changed
        .iter()
        .filter_map(|(_, row)| cbor::decode::<NodeRow>(row.as_deref()?).ok());
    let rows: Vec<NodeRow> = rows.collect();
    *restored = Some(snapshot);
    let mut live = service.board.live();
    live.prune(now.boot);
    rows.iter().for_each(|row| live.restore_node(row, now));
}

async fn store(service: &Service) -> Result<(), Failure> {
    let unstored = service.board.live().unstored(service.clock.now());
    for request in &unstored {
        let mut turns = Vec::new();
        if let Request::Heard { changes } = request {
            turns = Turn::of(&service.board.snapshot(), changes)?;
        }
        service.door.call(Caller::Controller, request.clone()).await?;
        turns.iter().for_each(Turn::tell);
        service.board.live().handle_done(request);
        if matches!(request, Request::Carried { .. }) {
            service.routing.now();
        }
    }
    if !unstored.is_empty() {
        // There may be more than one request takes.
        service.storing.now();
    }

    Ok(())
}

/// A new beacon every 10 s. Its commit is also what finds out that a full disk has room again.
pub(crate) async fn beacons(service: Service) {
    let mut tick = tokio::time::interval(BEACON);
    loop {
        tick.tick().await;
        if service.board.behind().is_some() {
            continue;
        }
        if let Err(failure) = service.door.call(Caller::Controller, Request::Tick).await {
            tracing::warn!(code = failure.code.text(), "no beacon could be made");
        }
    }
}

/// Keeps this controller certified in every cluster.
pub(crate) async fn certificates(service: Service, key: VerifyKey, endpoints: Vec<String>) {
    let mut tick = tokio::time::interval(CERTIFICATES);
    loop {
        tick.tick().await;
        let request = Request::Serve {
            controller: service.controller,
            key,
            endpoints: endpoints.clone(),
        };
        if let Err(failure) = service.door.call(Caller::Controller, request).await {
            tracing::warn!(
                code = failure.code.text(),
                message = failure.message,
                "this controller is not certified"
            );
        }
    }
}

/// What this controller keeps of a cluster from pass to pass.
struct Kept {
    router: Router,
    /// The store that the router knows.
    snapshot: Snapshot,
    /// Whom the store has a finding about; none as long as nobody has looked.
    doubted: Option<BTreeSet<Circle>>,
    /// What was brought back from before this process, as long as nobody took it.
    recalled: Option<Trends>,
}

impl Kept {
    /// Goes on from nothing but what the last passes remembered, those of this process or those before.
    fn read(
        snapshot: Snapshot,
        cluster: ClusterId,
        memory: Option<Trends>,
        now: Now,
    ) -> Result<Self, StoreError> {
        let recalled = memory
            .is_none()
            .then(|| journal::recalled(&snapshot, cluster, now));
        let trends = memory.or_else(|| recalled.clone()).unwrap_or_default();
        let router = Router::read(&snapshot, cluster, trends)?;

        Ok(Self {
            router,
            snapshot,
            doubted: None,
            recalled,
        })
    }

    /// Takes over everything that was stored until `snapshot`.
    fn catch_up(&mut self, snapshot: Snapshot, cluster: ClusterId) -> Result<(), StoreError> {
        for book in Book::ALL {
            for (key, row) in snapshot.changes_since(&self.snapshot, book.table(), cluster.as_bytes()) {
                self.router.handle_row(book, &key, row.as_deref())?;
            }
        }
        self.snapshot = snapshot;

        Ok(())
    }

    /// Has the store told whom routing does not believe, when that has changed.
    async fn doubt(&mut self, service: &Service, cluster: ClusterId, suspects: &[Suspect]) {
        let circles: BTreeSet<Circle> = suspects.iter().map(|suspect| suspect.circle.clone()).collect();
        if self.doubted.as_ref() == Some(&circles) {
            return;
        }
        for suspect in suspects {
            let (circle, count) = (&suspect.circle, &suspect.count);
            tracing::warn!(
                ?cluster,
                ?circle,
                paths = count.paths,
                bad = count.bad,
                disputed = count.disputed,
                "not believed alone"
            );
        }
        let request = Request::Doubt {
            cluster,
            suspects: suspects.to_vec(),
        };
        match service.door.call(Caller::Controller, request).await {
            Ok(_) => self.doubted = Some(circles),
            Err(failure) => tracing::warn!(
                code = failure.code.text(),
                "no finding tells of observers that are not believed"
            ),
        }
    }
}

/// Decides every second, and at once when a report says that a path has become bad.
pub(crate) async fn routes(service: Service, writing: Writing) {
    let mut routers: BTreeMap<ClusterId, Kept> = BTreeMap::new();
    loop {
        // A short pause between passes lets the reports of one event come in together.
        tokio::time::sleep(ROUTING_PAUSE).await;
        let _ = tokio::time::timeout(ROUTING, service.routing.0.notified()).await;
        if service.board.read_only().is_some() {
            continue;
        }
        let snapshot = service.board.snapshot();
        match cluster::ids(&snapshot) {
            Ok(clusters) => {
                routers.retain(|cluster, _| clusters.contains(cluster));
                for cluster in clusters {
                    let kept = routers.remove(&cluster);
                    let kept = decide(&service, writing, (&snapshot, cluster), kept).await;
                    routers.extend(kept.map(|kept| (cluster, kept)));
                }
            }
            Err(error) => tracing::error!(%error, "the clusters cannot be read"),
        }
    }
}

/// One pass over a snapshot of the store and a copy of the evidence: nothing is held meanwhile, and on a real
/// controller another thread does it. Without what it gives back the next pass reads everything anew.
async fn decide(
    service: &Service,
    writing: Writing,
    (snapshot, cluster): (&Snapshot, ClusterId),
    kept: Option<Kept>,
) -> Option<Kept> {
    let (evidence, memory) = {
        let mut live = service.board.live();
        let life = live.of_mut(cluster);
        let memory = kept.is_none().then(|| life.memory()).flatten();

        (life.evidence(), memory)
    };
    let (snapshot, now) = (snapshot.clone(), service.clock.now());
    let started = Instant::now();
    let pass = move || {
        let mut kept = match kept {
            None => Kept::read(snapshot, cluster, memory, now)?,
            Some(mut kept) => {
                kept.catch_up(snapshot, cluster)?;
                kept
            }
        };
        let passed = kept.router.pass(evidence, now);

        Ok::<_, StoreError>((kept, passed))
    };
    let passed = match writing {
        Writing::Task => pass(),
        Writing::Thread => match tokio::task::spawn_blocking(pass).await {
            Ok(passed) => passed,
            Err(error) => {
                tracing::error!(?cluster, %error, "a routing pass was cut short");
                return None;
            }
        },
    };
    let (mut kept, mut passed) = match passed {
        Ok(passed) => passed,
        Err(error) => {
            tracing::error!(?cluster, %error, "routes could not be decided");
            return None;
        }
    };
    metrics::histogram!("gabion_controller_routing_pass_seconds").record(started.elapsed().as_secs_f64());
    metrics::histogram!("gabion_controller_routing_pass_routes").record(passed.decided as f64);
    let outcomes = std::mem::take(&mut passed.outcomes);
    let unstored = store_decisions(service, cluster, outcomes).await;
    {
        let mut live = service.board.live();
        let life = live.of_mut(cluster);
        if let Some(recalled) = kept.recalled.take() {
            life.recall(recalled);
        }
        life.handle_pass(&passed, &unstored);
        kept.router.take_back(&unstored, &life.trends);
    }
    kept.doubt(service, cluster, &passed.suspects).await;

    Some(kept)
}

/// Has what a pass decided stored. Returns the routes of which that failed.
async fn store_decisions(service: &Service, cluster: ClusterId, outcomes: Vec<Outcome>) -> BTreeSet<RouteId> {
    let mut unstored = BTreeSet::new();
    for outcomes in routing::batches(outcomes) {
        let decisions = outcomes.iter().filter(|outcome| outcome.is_decision()).count();
        metrics::counter!("gabion_controller_decisions_total").increment(decisions as u64);
        let routes: Vec<RouteId> = outcomes.iter().map(|outcome| outcome.route).collect();
        let request = Request::Decide { cluster, outcomes };
        if let Err(failure) = service.door.call(Caller::Controller, request).await {
            tracing::warn!(code = failure.code.text(), "decisions were not stored");
            unstored.extend(routes);
        }
    }

    unstored
}

const PRESENCE: Duration = Duration::from_secs(1);
/// DESIGN 3: with every commit that publishes, and at least this often.
const BEACON: Duration = Duration::from_secs(10);
const CERTIFICATES: Duration = Duration::from_secs(3_600);
const ROUTING: Duration = Duration::from_secs(1);
const ROUTING_PAUSE: Duration = Duration::from_millis(20);
