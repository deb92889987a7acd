//! What the controller does by the clock: presence, beacons, routing, its own certificate.

use std::sync::Arc;
use std::time::Duration;

use control_api::fleet::Fleet;
use control_api::request::{Caller, Request};
use control_api::routing;
use control_core::behind;
use control_core::cluster;
use control_core::liveness::Change;
use control_core::store::StoreError;
use protocol::id::ClusterId;
use protocol::key::VerifyKey;
use tokio::sync::Notify;

use crate::listen::Service;

/// Wakes the routing loop before its time.
#[derive(Clone, Debug, Default)]
pub struct Nudge(Arc<Notify>);

impl Nudge {
    pub fn now(&self) {
        self.0.notify_one();
    }
}

/// Hands changes of presence to the writer. Nobody waits: what is not stored is seen again at the next heartbeat.
pub(crate) fn submit(service: &Service, changes: Vec<Change>) {
    if changes.is_empty() {
        return;
    }
    let service = service.clone();
    tokio::spawn(async move {
        let request = Request::Heard {
            changes: changes.clone(),
        };
        let Err(failure) = service.door.call(Caller::Controller, request).await else {
            return;
        };
        tracing::warn!(code = failure.code.text(), "a change of presence was not stored");
        let (snapshot, now) = (service.board.snapshot(), service.clock.now());
        let restored = service.board.live().handle_unstored(&snapshot, &changes, now);
        if let Err(error) = restored {
            tracing::error!(%error, "the nodes cannot be read");
        }
    });
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

/// Lets presence age, every second.
pub(crate) async fn presence(service: Service) {
    let mut tick = tokio::time::interval(PRESENCE);
    loop {
        tick.tick().await;
        if service.board.behind().is_some() {
            mark(&service).await;
            continue;
        }
        let now = service.clock.now();
        let snapshot = service.board.snapshot();
        let restored = service.board.live().restore(&snapshot, now);
        if let Err(error) = restored {
            tracing::error!(%error, "the nodes cannot be read");
        }
        let changes = service.board.live().handle_timeout(now);
        submit(&service, changes);
    }
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

/// Decides every second, and at once when a report says that a path is bad.
pub(crate) async fn routes(service: Service) {
    loop {
        // A short pause between passes lets the reports of one event come in together.
        tokio::time::sleep(ROUTING_PAUSE).await;
        let _ = tokio::time::timeout(ROUTING, service.routing.0.notified()).await;
        if service.board.read_only().is_some() {
            continue;
        }
        if let Err(error) = decide_all(&service).await {
            tracing::error!(%error, "routes could not be decided");
        }
    }
}

async fn decide_all(service: &Service) -> Result<(), StoreError> {
    let snapshot = service.board.snapshot();
    for row in cluster::list(&snapshot)? {
        let outcomes = decide(service, &snapshot, row.id)?;
        if outcomes.is_empty() {
            continue;
        }
        metrics::counter!("gabion_controller_decisions_total").increment(outcomes.len() as u64);
        let request = Request::Decide {
            cluster: row.id,
            outcomes,
        };
        if let Err(failure) = service.door.call(Caller::Controller, request).await {
            tracing::warn!(code = failure.code.text(), "decisions were not stored");
        }
    }

    Ok(())
}

/// One pass over a snapshot.
fn decide(
    service: &Service,
    snapshot: &control_store::Snapshot,
    cluster: ClusterId,
) -> Result<Vec<control_routing::decide::Outcome>, StoreError> {
    let fleet = Fleet::read(snapshot, cluster)?;
    let now = service.clock.now();
    let mut live = service.board.live();

    Ok(routing::decide(&fleet, live.of_mut(cluster), now))
}

const PRESENCE: Duration = Duration::from_secs(1);
/// DESIGN 3: with every commit that publishes, and at least this often.
const BEACON: Duration = Duration::from_secs(10);
const CERTIFICATES: Duration = Duration::from_secs(3_600);
const ROUTING: Duration = Duration::from_secs(1);
const ROUTING_PAUSE: Duration = Duration::from_millis(20);
