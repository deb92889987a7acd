//! What must hold at every moment of every world.

use std::collections::{BTreeMap, BTreeSet};

use agent_shell::local::{LeaseRow, RouteRow as AgentRoute, StatusRow};
use control_core::store::Table;
use control_routing::lease::Lease;
use control_routing::route::RouteRow;
use control_store::EngineReader;
use control_store::engine::{Revision, Write};
use protocol::cbor;
use protocol::id::{LeaseId, NodeId, RouteId};

use super::{Host, World};

/// What was seen so far.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// The highest beacon that a run of a node has shown. A crash may forget those of a minute that brought nothing
    /// else: their marks are written once a minute.
    beacons: BTreeMap<(Host, u64), Rank>,
    /// The highest version of each kind of document that a node has shown.
    documents: BTreeMap<(Host, String), Version>,
    /// The highest generation of each route at a node.
    generations: BTreeMap<(Host, RouteId), u64>,
    /// Every grant that the store ever held: for whom a relay may carry.
    grants: BTreeSet<Grant>,
    /// Every decision that the store ever held, in the order of their commits.
    pub(super) decisions: Vec<RouteRow>,
    /// Who was seen under which id.
    pub(super) hosts: BTreeMap<NodeId, Host>,
    read_up_to: Revision,
}

/// Epoch, term, number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Rank(u64, u64, u64);

/// Epoch, version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u64, u64);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Grant {
    relay: NodeId,
    lease: LeaseId,
    generation: u32,
    low: NodeId,
    high: NodeId,
}

impl World {
    /// Looks at everything; what does not hold fails the run.
    pub(super) fn look(&mut self) {
        let mut broken = Vec::new();
        self.read_grants();
        for host in self.nodes() {
            let Some(status) = self.status(host) else {
                continue;
            };
            let routes = self.routes(host);
            self.ledger.hosts.extend(status.id.map(|id| (id, host)));
            let run = self.node(host).runs();
            let rows = self.relay_rows(host).map(|relay| relay.rows).unwrap_or_default();
            let seen = [
                self.ledger.see_status((host, run), &status),
                self.ledger.see_routes(host, &routes),
                self.ledger.see_relay(status.id, &rows),
            ];
            let name = self.name(host);
            broken.extend(seen.into_iter().flatten().map(|what| format!("{name}: {what}")));
        }
        if !broken.is_empty() {
            self.break_off(&broken.join("\n"));
        }
    }

    /// Reads every commit since the last look; decisions become lines of the history.
    pub(super) fn read_grants(&mut self) {
        let from = self.ledger.read_up_to;
        let changes = self.control.disk.changes(from, usize::MAX);
        let Ok(changes) = changes else {
            self.break_off("more commits in a second than the disk keeps");
        };
        for change in changes {
            self.ledger.read_up_to = change.revision;
            for (key, write) in &change.writes {
                let Write::Put(value) = write else { continue };
                let table = key.as_bytes().first().copied();
                if table == Some(Table::Leases as u8) {
                    self.read_lease(&cbor::decode(value).expect("a row of ours"));
                } else if table == Some(Table::Routes as u8) {
                    self.read_decision(cbor::decode(value).expect("a row of ours"));
                }
            }
        }
    }

    fn read_lease(&mut self, lease: &Lease) {
        self.ledger.grants.insert(Grant {
            relay: lease.relay,
            lease: lease.lease,
            generation: lease.generation,
            low: lease.low,
            high: lease.high,
        });
    }

    fn read_decision(&mut self, row: RouteRow) {
        let path = row.path.map(|path| (path.kind(), path.relay()));
        let what = format!(
            "decided on route {:?}, generation {}: {path:?}, {} standbys, {:?}",
            row.route,
            row.generation,
            row.standbys.len(),
            row.reasons
        );
        self.note(Host::CONTROLLER, what);
        self.ledger.decisions.push(row);
    }
}

impl Ledger {
    /// No beacon goes back within a run, and no document ever.
    fn see_status(&mut self, (host, run): (Host, u64), status: &StatusRow) -> Option<String> {
        if let Some(beacon) = &status.beacon {
            let rank = Rank(beacon.epoch, beacon.term, beacon.number);
            let highest = self.beacons.entry((host, run)).or_default();
            if rank < *highest {
                return Some(format!("the beacon went back from {highest:?} to {rank:?}"));
            }
            *highest = rank;
        }
        for document in &status.documents {
            let version = Version(document.epoch, document.version);
            let kind = document.kind.clone();
            let highest = self.documents.entry((host, kind)).or_default();
            if version < *highest {
                return Some(format!(
                    "{} went back from {highest:?} to {version:?}",
                    document.kind
                ));
            }
            *highest = version;
        }

        None
    }

    fn see_routes(&mut self, host: Host, routes: &[AgentRoute]) -> Option<String> {
        for route in routes {
            let highest = self.generations.entry((host, route.id)).or_default();
            if route.generation < *highest {
                return Some(format!(
                    "the route to {:?} went back from generation {highest} to {}",
                    route.peer_name, route.generation
                ));
            }
            *highest = route.generation;
        }

        None
    }

    /// A relay has carried for no pair but those that the controller once granted it.
    fn see_relay(&self, relay: Option<NodeId>, rows: &[LeaseRow]) -> Option<String> {
        let relay = relay?;
        let stranger = rows.iter().filter(|row| row.forwarded > 0).find(|row| {
            let carried = Grant {
                relay,
                lease: row.id,
                generation: row.generation,
                low: row.low,
                high: row.high,
            };
            !self.grants.contains(&carried)
        });

        stranger.map(|row| format!("carried for a pair that it has no lease for: {row:?}"))
    }
}
