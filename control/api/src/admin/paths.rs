//! Links, policies, routes, relays, leases.

use std::time::Duration;

use control_routing::decide::Snapshot;
use control_routing::explain;
use control_routing::lease::{Lease, LeaseState, MEETING_PAIRS};
use control_routing::observations::{FRESH, PathSeen};
use control_routing::pool::RelayStanding;
use control_routing::route::RouteRow;
use control_routing::via::Via;
use protocol::document::routes::Path;
use protocol::envelope::Kind;
use protocol::error::Code;
use protocol::id::{NodeId, RouteId};
use protocol::limits::LEASE_ROWS;
use protocol::time::Boot;
use protocol::wire::{Carried, Drift};
use serde_json::{Value, json};

use super::input::{Item, Leases, OfCluster, Pair};
use super::sight::{Sight, loss, millis};
use super::{Reading, joining, journal, resolve, show};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::live::ClusterLife;
use crate::publication::Publication;
use crate::view::{LeaseView, LinkView, RelayView, RouteView, time};

/// A cluster as it is stored, beside what memory holds of it.
pub(super) struct Scene<'a> {
    pub(super) reading: &'a Reading<'a>,
    pub(super) fleet: Fleet,
    nothing: ClusterLife,
}

impl<'a> Scene<'a> {
    pub(super) fn of(reading: &'a Reading<'a>, cluster: Option<&str>) -> Result<Self, Failure> {
        let cluster = resolve::cluster(reading.view, cluster)?;

        Ok(Self {
            reading,
            fleet: Fleet::read(reading.view, cluster.id)?,
            nothing: ClusterLife::default(),
        })
    }

    pub(super) fn life(&self) -> &ClusterLife {
        self.reading.live.of(self.fleet.cluster).unwrap_or(&self.nothing)
    }

    /// As routing sees it.
    pub(super) fn snapshot(&self) -> Snapshot<'_> {
        let life = self.life();

        self.fleet
            .snapshot(&life.observations, &life.suspicion, &life.trends)
    }

    pub(super) fn node(&self, named: &str) -> Result<NodeId, Failure> {
        resolve::node(self.reading.view, self.fleet.cluster, named).map(|row| row.id)
    }

    /// What the ends of a route say of one of its paths.
    pub(super) fn sight(&self, row: &RouteRow, via: Via) -> Sight<'_> {
        Sight::of(&self.life().observations, row, via, self.reading.now.boot)
    }

    /// Whether the node takes part: what is said by or of another says nothing any more.
    fn is_in_force(&self, node: NodeId) -> bool {
        self.fleet
            .members
            .get(&node)
            .is_some_and(|member| member.state.is_in_force())
    }

    fn names(&self, hops: &[NodeId]) -> Vec<String> {
        hops.iter().map(|hop| self.fleet.name(*hop)).collect()
    }

    /// The nodes of a path in order, ends included.
    pub(super) fn hops(&self, low: NodeId, high: NodeId, path: &Path) -> Vec<String> {
        let hops: Vec<NodeId> = [Some(low), path.relay(), Some(high)]
            .into_iter()
            .flatten()
            .collect();

        self.names(&hops)
    }
}

pub(super) fn links(reading: &Reading<'_>, input: OfCluster) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let observations = &scene.life().observations;
    let known = observations
        .links()
        .filter(|(source, target, _)| scene.is_in_force(*source) && scene.is_in_force(*target));
    let links = known.map(|(source, target, link)| {
        let (from, to) = (scene.fleet.name(source), scene.fleet.name(target));
        LinkView {
            id: format!("{source}/{target}"),
            name: format!("{from} {to}"),
            state: standing(reading, link.at, link.connected).to_owned(),
            effective_path: vec![from.clone(), to.clone()],
            observed_path: Vec::new(),
            source: from,
            target: to,
            observation: "link".to_owned(),
            relay: None,
            drift: Drift::None.name().to_owned(),
            rtt_ms: link.rtt_us.map(millis),
            loss: None,
            age_ms: age(reading, link.at),
        }
    });
    let mut views: Vec<LinkView> = links.collect();
    for row in scene.fleet.routes.iter() {
        if !(scene.is_in_force(row.low) && scene.is_in_force(row.high)) {
            continue;
        }
        for source in [row.low, row.high] {
            let seen = observations
                .paths(source, row.route)
                .filter(|(via, _)| via.relay().is_none_or(|relay| scene.is_in_force(relay)));
            views.extend(seen.map(|(via, seen)| path_link(&scene, row, source, via, seen)));
        }
    }

    show(&views)
}

/// What an end said counts while it goes on saying it.
fn standing(reading: &Reading<'_>, at: Boot, is_up: bool) -> &'static str {
    match (reading.now.boot.since(at) <= FRESH, is_up) {
        (false, _) => "stale",
        (true, true) => "up",
        (true, false) => "down",
    }
}

fn path_link(scene: &Scene<'_>, row: &RouteRow, source: NodeId, via: Via, seen: &PathSeen) -> LinkView {
    let target = if source == row.low { row.high } else { row.low };
    let (from, to) = (scene.fleet.name(source), scene.fleet.name(target));

    LinkView {
        id: format!(
            "{}/{source}/{}",
            row.route,
            via.relay()
                .map_or_else(|| "direct".to_owned(), |relay| relay.to_string())
        ),
        name: format!("{from} {to}"),
        state: standing(scene.reading, seen.at, !seen.is_down()).to_owned(),
        source: from,
        target: to,
        observation: "path".to_owned(),
        relay: via.relay().map(|relay| scene.fleet.name(relay)),
        effective_path: scene.names(&seen.expected_hops),
        observed_path: scene.names(&seen.observed_hops),
        drift: seen.drift.name().to_owned(),
        rtt_ms: seen.rtt_us.map(millis),
        loss: loss(seen),
        age_ms: age(scene.reading, seen.at),
    }
}

pub(super) fn routes(reading: &Reading<'_>, input: OfCluster) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let views: Vec<RouteView> = scene
        .fleet
        .routes
        .iter()
        .map(|row| route_view(&scene, row))
        .collect();

    show(&views)
}

pub(super) fn route(reading: &Reading<'_>, input: Pair) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let row = scene.fleet.routes.find(route_id(&scene, &input)?);
    let row = row.ok_or_else(|| no_route(&input))?;

    show(&route_view(&scene, row))
}

pub(super) fn explain(reading: &Reading<'_>, input: Pair) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let (source, target) = (scene.node(&input.source)?, scene.node(&input.target)?);
    let words = explain::Words {
        name: &|node| scene.fleet.name(node),
        time: &time,
    };
    let snapshot = scene.snapshot();
    let explanation = explain::explain(&snapshot, source, target, reading.now, words);
    let mut view = show(&explanation.ok_or_else(|| no_route(&input))?)?;
    view["history"] = Value::from(journal::history(&scene, route_id(&scene, &input)?)?);
    if let Some(publication) = reading.publications.get(&scene.fleet.cluster) {
        view["signer"] = json!(publication.authority.fingerprint().to_string());
        view["epoch"] = json!(publication.rank.epoch);
        view["published"] = json!([source, target].map(|end| decisions_of(publication, end)));
    }

    Ok(view)
}

/// The version of the document that tells a node its decisions.
fn decisions_of(publication: &Publication, node: NodeId) -> Option<u64> {
    let mut documents = publication.of(node);

    documents
        .find(|document| document.kind == Kind::Routes)
        .map(|document| document.version)
}

pub(super) fn route_view(scene: &Scene<'_>, row: &RouteRow) -> RouteView {
    let sight = row.path.as_ref().map(|path| scene.sight(row, Via::from(path)));
    let state = match &sight {
        None => "withdrawn",
        Some(sight) => sight.health().name(),
    };
    let hops = |path: &Path| scene.hops(row.low, row.high, path);

    RouteView {
        id: row.route.to_string(),
        name: format!("{} {}", scene.fleet.name(row.low), scene.fleet.name(row.high)),
        state: state.to_owned(),
        source: scene.fleet.name(row.low),
        target: scene.fleet.name(row.high),
        path: row.path.as_ref().map(hops).unwrap_or_default(),
        path_kind: row.path.map(|path| path.kind().to_owned()),
        generation: row.generation,
        action: row.action.name().to_owned(),
        reasons: row
            .reasons
            .iter()
            .map(|reason| reason.name().to_owned())
            .collect(),
        standbys: row.standbys.iter().map(hops).collect(),
        rtt_ms: sight.as_ref().and_then(Sight::rtt_ms),
        loss: sight.as_ref().and_then(Sight::loss),
    }
}

fn route_id(scene: &Scene<'_>, pair: &Pair) -> Result<RouteId, Failure> {
    Ok(RouteId::between(
        scene.fleet.cluster,
        scene.node(&pair.source)?,
        scene.node(&pair.target)?,
    ))
}

fn no_route(pair: &Pair) -> Failure {
    Failure::new(
        Code::NotFound,
        format!("there is no route between {} and {}", pair.source, pair.target),
    )
    .because("no policy wants the pair, or it has not been decided yet")
    .fixed_by(format!("gabion why {} {}", pair.source, pair.target))
}

pub(super) fn relays(reading: &Reading<'_>, input: OfCluster) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let views: Vec<RelayView> = scene
        .fleet
        .relays
        .iter()
        .map(|relay| relay_view(&scene, relay.node))
        .collect();

    show(&views)
}

pub(super) fn relay(reading: &Reading<'_>, input: Item) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let node = scene.node(&input.id)?;
    if !scene.fleet.relays.has_table(node) {
        return Err(Failure::not_found("relay", &input.id));
    }

    show(&relay_view(&scene, node))
}

fn relay_view(scene: &Scene<'_>, node: NodeId) -> RelayView {
    let relay = scene.fleet.relays.find(node).map(|relay| relay.standing);
    let introducer = scene.fleet.relays.introducer(node);
    let standing = relay.or_else(|| Some(introducer?.standing));
    let labels = scene
        .fleet
        .members
        .get(&node)
        .map(|member| joining::pairs(&member.labels));
    let leases: Vec<&Lease> = scene.fleet.leases.carried_by(node).collect();
    let active = leases
        .iter()
        .filter(|lease| lease.state == LeaseState::Active)
        .count();
    let observations = &scene.life().observations;
    let carried: Vec<Carried> = leases
        .iter()
        .filter_map(|lease| observations.carried(node, lease.lease))
        .map(|seen| seen.carried)
        .collect();
    let sum = |count: fn(&Carried) -> u64| carried.iter().map(count).fold(0, u64::saturating_add);

    RelayView {
        id: node.to_string(),
        name: scene.fleet.name(node),
        state: standing.map_or("unknown", standing_name).to_owned(),
        labels: labels.unwrap_or_default(),
        leases: leases.len(),
        active_leases: active,
        routes: usize::try_from(scene.fleet.routes.carried_by(node)).unwrap_or(usize::MAX),
        room: match introducer {
            None => LEASE_ROWS,
            Some(_) => MEETING_PAIRS,
        },
        forwarded: sum(|row| row.forwarded),
        forwarded_bytes: sum(|row| row.forwarded_bytes),
        refused: sum(|row| row.refused),
        last_seen: scene.reading.live.last_seen(scene.fleet.cluster, node).map(time),
    }
}

const fn standing_name(standing: RelayStanding) -> &'static str {
    match standing {
        RelayStanding::Ready => "ready",
        RelayStanding::Draining => "draining",
        RelayStanding::Offline => "offline",
    }
}

pub(super) fn leases(reading: &Reading<'_>, input: Leases) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let relay = match &input.relay {
        Some(named) => Some(resolve::node(reading.view, scene.fleet.cluster, named)?.id),
        None => None,
    };
    let views: Vec<LeaseView> = scene
        .fleet
        .leases
        .iter()
        .filter(|lease| relay.is_none_or(|relay| lease.relay == relay))
        .map(|lease| lease_view(&scene, lease))
        .collect();

    show(&views)
}

pub(super) fn lease(reading: &Reading<'_>, input: Item) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let lease = resolve::lease(&scene.fleet.leases, &input.id)?;

    show(&lease_view(&scene, lease))
}

fn lease_view(scene: &Scene<'_>, lease: &Lease) -> LeaseView {
    let fresh = scene
        .reading
        .live
        .last_poll(scene.fleet.cluster, lease.relay)
        .and_then(|poll| poll.at);
    let grace = Duration::from_secs(60 * u64::from(lease.grace_minutes));
    let seen = scene.life().observations.carried(lease.relay, lease.lease);

    LeaseView {
        id: lease.lease.to_string(),
        name: format!("{} {}", scene.fleet.name(lease.low), scene.fleet.name(lease.high)),
        state: lease.state.name().to_owned(),
        kind: lease.kind.name().to_owned(),
        relay: scene.fleet.name(lease.relay),
        source: scene.fleet.name(lease.low),
        target: scene.fleet.name(lease.high),
        generation: u64::from(lease.generation),
        budget_kib: u32::from(lease.budget_kib),
        fresh_at: fresh.map(|now| time(now.wall)),
        grace_ends_at: fresh.map(|now| time(now.wall.after(grace))),
        granted_at: time(lease.granted_at),
        forwarded: seen.map(|seen| seen.carried.forwarded),
        forwarded_bytes: seen.map(|seen| seen.carried.forwarded_bytes),
        refused: seen.map(|seen| seen.carried.refused),
        told_ms: seen.map(|seen| age(scene.reading, seen.at)),
    }
}

fn age(reading: &Reading<'_>, at: Boot) -> u64 {
    protocol::time::millis(reading.now.boot.since(at))
}
