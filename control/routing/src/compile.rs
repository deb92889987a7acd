//! Compiles the documents of one node: pure functions of the records, so that equal records give equal bytes.
//!
//! A record that makes no sense is left out of what it would spoil and named in [`Compiled::left_out`]; only a node's
//! own record, or too much of everything, keeps its document from being made.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use protocol::document::config::{Candidate, Neighbour, Settings, SyntheticConfig};
use protocol::document::routes::{LeaseKind, LeaseRow, LeaseTable, Path, Rendezvous, RouteDecision, Routes};
use protocol::id::{NodeId, RouteId};
use protocol::limits::{CANDIDATES, LEASE_ROWS, STANDBYS};

use crate::decide::Snapshot;
use crate::lease::{Lease, LeaseBook};
use crate::member::{Endpoint, Member};
use crate::neighbour::{Learners, neighbours};
use crate::route::{RouteBook, RouteRow};

/// A document, and the routes whose records were not fit for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled<D> {
    pub document: D,
    /// Ascending.
    pub left_out: Vec<RouteId>,
}

/// The decisions that concern `node`: all that stand, and as many withdrawals as fit, the latest first.
pub fn routes(node: NodeId, rows: &RouteBook, leases: &LeaseBook) -> Compiled<Routes> {
    let (sound, spoiled): (Vec<&RouteRow>, Vec<&RouteRow>) =
        rows.of_node(node).partition(|row| is_sound(row, leases));
    let mut sound = sound;
    sound.sort_by_key(|row| {
        let age = row.is_withdrawn().then_some(Reverse(row.decided_at));

        (age, Reverse(row.priority), row.route)
    });
    sound.truncate(DECISIONS);
    let mut decisions: Vec<RouteDecision> = sound.into_iter().filter_map(|row| decision(node, row)).collect();
    decisions.sort_by_key(|decision| decision.route);

    Compiled {
        document: Routes { decisions },
        left_out: spoiled.into_iter().map(|row| row.route).collect(),
    }
}

fn decision(node: NodeId, row: &RouteRow) -> Option<RouteDecision> {
    Some(RouteDecision {
        route: row.route,
        peer: row.peer_of(node)?,
        generation: row.generation,
        action: row.action,
        path: row.path,
        standbys: row.standbys.clone(),
        reasons: row.reasons.clone(),
        priority: row.priority,
        cadence: row.cadence,
        rendezvous: row.rendezvous,
    })
}

/// Whether the row agrees with itself and with the leases it names.
fn is_sound(row: &RouteRow, leases: &LeaseBook) -> bool {
    let is_leased = |path: &Path| match path {
        Path::Direct => true,
        Path::Relay {
            relay,
            lease,
            generation,
            budget: _,
        } => leases.find(*lease).is_some_and(|found| {
            let same_place = (found.relay, found.route) == (*relay, row.route);

            same_place && found.kind == LeaseKind::Relay && found.generation >= *generation
        }),
    };
    let is_met = |place: &Rendezvous| {
        let found = leases.find(place.lease);
        let is_its = |found: &&Lease| {
            let same_place = (found.relay, found.route) == (place.node, row.route);

            same_place && found.kind == LeaseKind::Rendezvous && found.generation >= place.generation
        };

        found.filter(is_its).is_some()
    };
    let is_shaped = row.low < row.high && row.standbys.len() <= STANDBYS;
    let is_shaped = is_shaped && row.rendezvous.iter().all(is_met);

    is_shaped && (row.path.is_some() || row.standbys.is_empty()) && row.paths().all(is_leased)
}

/// Every live lease of `relay` whose ends are in force, of the kinds that its roles let it serve. What is granted to ends of
/// which nobody can say whether they are (`unknown`) stays.
pub fn lease_table(
    input: &Snapshot<'_>,
    unknown: &BTreeSet<NodeId>,
    relay: NodeId,
) -> Result<LeaseTable, TableError> {
    if !input.relays.has_table(relay) {
        return Err(TableError::NotARelay);
    }
    let in_force = |node: &NodeId| match input.members.get(node) {
        Some(member) => member.can_end_routes(),
        None => unknown.contains(node),
    };
    let mut rows: Vec<LeaseRow> = input
        .leases
        .carried_by(relay)
        .filter(|lease| in_force(&lease.low) && in_force(&lease.high))
        .filter(|lease| input.relays.serves(relay, lease.kind))
        .map(Lease::row)
        .collect();
    if rows.len() > LEASE_ROWS {
        return Err(TableError::TooManyRows);
    }
    rows.sort_by_key(|row| row.lease);

    Ok(LeaseTable { rows })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// The node has neither role, or is not in force.
    #[error("the node is no relay and introduces nobody")]
    NotARelay,
    /// The store has more leases on the relay than one table may carry.
    #[error("the relay has more leases than its table may carry")]
    TooManyRows,
}

/// The synthetic config of `node`.
pub fn config(
    input: &Snapshot<'_>,
    learners: &Learners,
    node: NodeId,
    settings: &Settings,
) -> Result<SyntheticConfig, ConfigError> {
    let member = input.members.get(&node).ok_or(ConfigError::Unknown)?;
    if !member.state.is_in_force() {
        return Err(ConfigError::NotInForce);
    }
    let others = neighbours(input, node);
    if others.len() > NEIGHBOURS {
        return Err(ConfigError::TooManyNeighbours);
    }
    let neighbours = others
        .iter()
        .filter_map(|other| input.members.get(other))
        .map(|other| neighbour(other, learners.admit(other.node, node)));

    Ok(SyntheticConfig {
        name: member.name.as_str().to_owned(),
        roles: sorted(member.roles.clone()),
        labels: member.labels.clone(),
        generation: member.generation,
        neighbours: neighbours.collect(),
        controllers: settings.controllers.clone(),
        transport: settings.transport,
        settings: Some(settings.digest()),
        offered_again: None,
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The node is disabled, quarantined or revoked.
    #[error("the node is not in force")]
    NotInForce,
    /// Its routes and relays are more than one document can name.
    #[error("the node has more than {NEIGHBOURS} neighbours")]
    TooManyNeighbours,
    /// There is no such node.
    #[error("there is no such node")]
    Unknown,
}

fn neighbour(member: &Member, learns_all: bool) -> Neighbour {
    let candidates: Vec<Candidate> = member
        .endpoints
        .iter()
        .filter(|endpoint| endpoint.confirmed || learns_all)
        .filter(|endpoint| is_dialable(endpoint))
        .map(|endpoint| endpoint.candidate)
        .collect();
    let mut candidates = sorted(candidates);
    candidates.truncate(CANDIDATES);

    Neighbour {
        node: member.node,
        name: member.name.as_str().to_owned(),
        generation: member.generation,
        roles: sorted(member.roles.clone()),
        seal_key: member.seal_key,
        candidates,
    }
}

/// Whether the address names one host. Loopback passes: whether the mode allows it was asked when it came in.
fn is_dialable(endpoint: &Endpoint) -> bool {
    let address = endpoint.candidate.address.0;
    let ip = address.ip().to_canonical();
    let is_link_local = match ip {
        std::net::IpAddr::V4(ip) => ip.is_link_local() || ip.is_broadcast(),
        std::net::IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };

    address.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !is_link_local
}

fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort_unstable();
    items.dedup();

    items
}

/// Neighbours of one node: at 640 bytes each the document stays below a frame.
pub const NEIGHBOURS: usize = 1_280;
/// Decisions in one document: at 400 bytes each it stays below a frame.
pub const DECISIONS: usize = 2_048;
