//! The rows that the local API shows, as JSON: names beside ids, ages in milliseconds.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::control::{Admission, LastFailure, MemberStatus, Status, Unconfirmed};
use agent_core::mesh::effect::RelayPause;
use agent_core::mesh::view::{FlowView, LinkView, PathView, RelayView, RouteView, RowView};
use protocol::document::config::LeftOut;
use protocol::document::routes::{Cadence, Path};
use protocol::frame::Mark;
use protocol::id::{ClusterId, ControllerId, LeaseId, NodeId, RequestId, RouteId};
use protocol::key::Fingerprint;
use protocol::time::{Boot, Now, millis};
use serde::{Deserialize, Serialize};

use crate::flows::Flow;

/// How this agent stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusRow {
    /// `joining`, `pending`, `member`, `refused`, `revoked`, `leaving` or `ended`.
    pub state: String,
    pub id: Option<NodeId>,
    pub name: Option<String>,
    pub cluster: Option<ClusterId>,
    pub generation: Option<u64>,
    /// Of the key that this node has, or asks for a certificate for.
    pub fingerprint: Option<Fingerprint>,
    /// The pending request.
    pub request: Option<RequestId>,
    /// Why this host did not become a node.
    pub failure: Option<String>,
    /// Why the last session with a controller failed; none once one does what it is asked.
    #[serde(default)]
    pub last_failure: Option<FailureRow>,
    /// What polls after bad reports brought since the start; none before this host is a node.
    #[serde(default)]
    pub refreshes: Option<RefreshRow>,
    pub controller: Option<ControllerRow>,
    pub authority: Option<Authority>,
    pub certificate_left_ms: Option<u64>,
    pub beacon: Option<BeaconRow>,
    /// Whether no newer beacon came for too long.
    pub stale: bool,
    pub documents: Vec<DocumentRow>,
    /// How the controller addresses and transport settings of the config stand, unless they are confirmed.
    #[serde(default)]
    pub unconfirmed: Option<UnconfirmedRow>,
    /// Where the controller sees this node's packets come from.
    pub observed: Option<String>,
    /// Addresses of this node that neighbours are not told of, and why.
    #[serde(default)]
    pub candidates_left_out: Vec<LeftOutRow>,
    pub refused: Vec<RefusedRow>,
    pub neighbours: usize,
    pub links: usize,
    /// The latest that the loop took up a deadline in the last second.
    pub loop_late_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOutRow {
    pub address: String,
    /// `loopback`, `link_local`, `multicast`, `unspecified`, `no_port` or `too_many`.
    pub why: String,
    /// `agent` or `controller`.
    pub by: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailureRow {
    /// The code that the controller gave, or what was seen here: `unreachable`, `handshake`, `silent`, `closed`, `no_reply`
    /// or `untrustworthy`.
    pub code: String,
    /// RFC 3339, UTC.
    pub at: String,
    pub endpoint: String,
}

/// For each path that was bad; see [`agent_core::control::Tally`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshRow {
    pub changed: u64,
    pub unchanged: u64,
    /// Held back by the cooldown of a route and relay.
    pub suppressed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ControllerRow {
    pub id: Option<ControllerId>,
    pub endpoint: String,
    pub connected: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Authority {
    /// The highest epoch whose succession was verified.
    pub epoch: Option<u64>,
    pub fingerprint: Fingerprint,
    /// The key that was pinned at enrolment.
    pub pin: Option<Fingerprint>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BeaconRow {
    pub epoch: u64,
    pub term: u64,
    pub number: u64,
    pub age_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocumentRow {
    pub kind: String,
    pub epoch: u64,
    pub version: u64,
    pub hash: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnconfirmedRow {
    /// `on_trial`, or `reverted` where the settings of version `confirmed` are in force.
    pub state: String,
    /// Of the config whose settings are on trial, or were gone back from.
    pub tried: u64,
    /// Of the config whose settings were confirmed last.
    pub confirmed: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedRow {
    pub kind: String,
    pub code: String,
    pub documents: u64,
}

/// One route as this end sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteRow {
    pub id: RouteId,
    pub peer: NodeId,
    pub peer_name: Option<String>,
    pub generation: u64,
    pub priority: u8,
    pub cadence: String,
    pub decided: PathRow,
    pub active: PathRow,
    /// Moves of this end within the generation.
    pub counter: u64,
    /// The second path while in doubt.
    pub doubling: Option<PathRow>,
    pub peer_choice: Option<MarkRow>,
    pub peer_path: Option<PathRow>,
    pub paths: Vec<ProbedPath>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathRow {
    /// `direct` or `relay`.
    pub kind: String,
    pub relay: Option<NodeId>,
    pub relay_name: Option<String>,
    pub lease: Option<LeaseId>,
    pub generation: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRow {
    pub generation: u64,
    pub counter: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbedPath {
    #[serde(flatten)]
    pub path: PathRow,
    pub active: bool,
    pub health: String,
    pub misses: u16,
    pub rtt_us: Option<u64>,
    pub lost_out: u8,
    pub lost_in: u8,
    /// Probes that the two counts above are of.
    pub window: u8,
    /// Whether there is a connection to the first hop.
    pub linked: bool,
    pub observed_hops: Vec<String>,
    pub answered_age_ms: Option<u64>,
    /// Why the relay does not carry it.
    pub refused: Option<String>,
}

/// One neighbour and the connection to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkRow {
    pub peer: NodeId,
    pub peer_name: Option<String>,
    /// `up`, `down`, or `idle` where no route needs it.
    pub state: String,
    pub needed: bool,
    pub dialled_by_us: Option<bool>,
    pub up_age_ms: Option<u64>,
    pub rtt_us: Option<u64>,
    /// Dials in a row that failed.
    pub failures: u32,
    pub next_dial_in_ms: Option<u64>,
    pub confirmed: bool,
}

impl LeftOutRow {
    pub(crate) fn of(left_out: LeftOut, by: &str) -> Self {
        Self {
            address: left_out.address.0.to_string(),
            why: left_out.why.name().to_owned(),
            by: by.to_owned(),
        }
    }
}

/// The relay that this node is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RelayRow {
    pub fresh_age_ms: Option<u64>,
    /// `not_fresh` or `stood_still`.
    pub pause: Option<String>,
    /// Rows that would be carried now.
    pub live: usize,
    pub rows: Vec<LeaseRow>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeaseRow {
    pub id: LeaseId,
    pub low: NodeId,
    pub low_name: Option<String>,
    pub high: NodeId,
    pub high_name: Option<String>,
    pub generation: u32,
    pub live: bool,
    pub active_age_ms: Option<u64>,
    pub forwarded: u64,
    pub forwarded_bytes: u64,
    pub refused: u64,
    pub grace_left_ms: Option<u64>,
}

/// Test traffic both ways.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRows {
    pub received: Vec<FlowRow>,
    pub sending: Vec<SendingRow>,
}

/// What arrived from one peer, by this receiver's own log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowRow {
    pub peer: NodeId,
    pub peer_name: Option<String>,
    pub received: u64,
    pub missing: u64,
    pub duplicates: u64,
    pub largest_gap_ms: u64,
    /// Since the largest gap ended.
    pub gap_age_ms: Option<u64>,
    pub last_age_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SendingRow {
    pub peer: NodeId,
    pub peer_name: Option<String>,
    pub rate_per_s: u16,
    pub bytes: u16,
    pub sent: u64,
    /// Frames that had no way to go.
    pub refused: u64,
    pub left_ms: Option<u64>,
}

/// Makes rows: who is called what, and what time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viewer<'a> {
    /// This node and its name.
    pub(crate) us: Option<(NodeId, &'a str)>,
    /// The neighbours.
    pub(crate) names: &'a BTreeMap<NodeId, String>,
    pub(crate) now: Now,
}

impl Viewer<'_> {
    pub(crate) fn status(&self, status: &Status) -> StatusRow {
        match status {
            Status::Ended { failure } => StatusRow {
                state: "ended".to_owned(),
                failure: failure.as_ref().map(ToString::to_string),
                ..StatusRow::default()
            },
            Status::Joining(joining) => StatusRow {
                state: match (joining.leaving, joining.request) {
                    (true, _) => "leaving",
                    (false, Some(_)) => "pending",
                    (false, None) => "joining",
                }
                .to_owned(),
                fingerprint: joining.key,
                request: joining.request,
                controller: Some(ControllerRow {
                    id: None,
                    endpoint: joining.endpoint.clone(),
                    connected: false,
                }),
                authority: joining.authority.map(|fingerprint| Authority {
                    epoch: None,
                    fingerprint,
                    pin: None,
                }),
                ..StatusRow::default()
            },
            Status::Member(member) => self.member(member),
        }
    }

    fn member(&self, member: &MemberStatus) -> StatusRow {
        let wall = self.now.wall;

        StatusRow {
            state: match (member.leaving, member.admission) {
                (true, _) => "leaving",
                (false, Admission::Admitted) => "member",
                (false, Admission::Refused) => "refused",
                (false, Admission::Revoked) => "revoked",
            }
            .to_owned(),
            id: Some(member.node),
            name: Some(member.name.clone()),
            cluster: Some(member.cluster),
            generation: Some(member.generation),
            fingerprint: Some(member.key),
            last_failure: member.last_failure.as_ref().map(failure),
            refreshes: Some(RefreshRow {
                changed: member.refreshes.changed,
                unchanged: member.refreshes.unchanged,
                suppressed: member.refreshes.suppressed,
            }),
            controller: Some(ControllerRow {
                id: member.controller,
                endpoint: member.endpoint.clone(),
                connected: member.connected,
            }),
            authority: Some(Authority {
                epoch: Some(member.epoch),
                fingerprint: member.authority,
                pin: Some(member.pin),
            }),
            certificate_left_ms: Some(millis(member.certificate_until.since(wall))),
            beacon: member.beacon.map(|rank| BeaconRow {
                epoch: rank.epoch,
                term: rank.term,
                number: rank.number,
                age_ms: member.beacon_issued_at.map(|at| millis(wall.since(at))),
            }),
            stale: member.stale,
            documents: documents(member),
            unconfirmed: member.unconfirmed.map(unconfirmed),
            observed: member.observed.map(|address| address.0.to_string()),
            candidates_left_out: member
                .left_out
                .iter()
                .map(|left_out| LeftOutRow::of(*left_out, "controller"))
                .collect(),
            refused: refused(member),
            ..StatusRow::default()
        }
    }

    pub(crate) fn route(&self, view: &RouteView) -> RouteRow {
        RouteRow {
            id: view.route,
            peer: view.peer,
            peer_name: self.name(view.peer),
            generation: view.generation,
            priority: view.priority,
            cadence: cadence(view.cadence).to_owned(),
            decided: self.path(&view.decided),
            active: self.path(&view.active),
            counter: view.counter,
            doubling: view.doubling.as_ref().map(|path| self.path(path)),
            peer_choice: view.peer_choice.map(mark),
            peer_path: view.peer_path.as_ref().map(|path| self.path(path)),
            paths: view.paths.iter().map(|path| self.probed(path)).collect(),
        }
    }

    fn path(&self, path: &Path) -> PathRow {
        let (lease, generation) = match path {
            Path::Direct => (None, None),
            Path::Relay {
                lease, generation, ..
            } => (Some(*lease), Some(*generation)),
        };

        PathRow {
            kind: path.kind().to_owned(),
            relay: path.relay(),
            relay_name: path.relay().and_then(|relay| self.name(relay)),
            lease,
            generation,
        }
    }

    fn probed(&self, view: &PathView) -> ProbedPath {
        ProbedPath {
            path: self.path(&view.path),
            active: view.active,
            health: view.health.name().to_owned(),
            misses: view.misses,
            rtt_us: view.rtt.map(micros),
            lost_out: view.lost_out,
            lost_in: view.lost_in,
            window: view.window,
            linked: view.linked,
            observed_hops: view.observed_hops.iter().map(|hop| self.called(*hop)).collect(),
            answered_age_ms: self.age(view.answered_at),
            refused: view.refused.map(|why| why.name().to_owned()),
        }
    }

    pub(crate) fn link(&self, view: &LinkView) -> LinkRow {
        let state = match (view.link, view.needed) {
            (Some(_), _) => "up",
            (None, true) => "down",
            (None, false) => "idle",
        };

        LinkRow {
            peer: view.peer,
            peer_name: self.name(view.peer),
            state: state.to_owned(),
            needed: view.needed,
            dialled_by_us: view.dialled_by_us,
            up_age_ms: self.age(view.up_since),
            rtt_us: view.rtt.map(micros),
            failures: view.failures,
            next_dial_in_ms: view.next_dial.map(|at| millis(at.since(self.now.boot))),
            confirmed: view.confirmed,
        }
    }

    pub(crate) fn relay(&self, view: &RelayView) -> RelayRow {
        RelayRow {
            fresh_age_ms: self.age(view.fresh_at),
            pause: view.pause.map(|pause| {
                match pause {
                    RelayPause::NotFresh => "not_fresh",
                    RelayPause::StoodStill => "stood_still",
                }
                .to_owned()
            }),
            live: view.live,
            rows: view.rows.iter().map(|row| self.lease(row)).collect(),
        }
    }

    fn lease(&self, row: &RowView) -> LeaseRow {
        LeaseRow {
            id: row.lease,
            low: row.low,
            low_name: self.name(row.low),
            high: row.high,
            high_name: self.name(row.high),
            generation: row.generation,
            live: row.live,
            active_age_ms: self.age(row.active_at),
            forwarded: row.forwarded,
            forwarded_bytes: row.forwarded_bytes,
            refused: row.refused,
            grace_left_ms: row.grace_ends_at.map(|at| millis(at.since(self.now.boot))),
        }
    }

    pub(crate) fn received(&self, peer: NodeId, view: &FlowView) -> FlowRow {
        FlowRow {
            peer,
            peer_name: self.name(peer),
            received: view.received,
            missing: view.missing,
            duplicates: view.duplicates,
            largest_gap_ms: millis(view.largest_gap),
            gap_age_ms: self.age(view.gap_ended_at),
            last_age_ms: self.age(view.last_at),
        }
    }

    pub(crate) fn sending(&self, peer: NodeId, flow: &Flow) -> SendingRow {
        SendingRow {
            peer,
            peer_name: self.name(peer),
            rate_per_s: flow.pace.rate,
            bytes: flow.pace.bytes,
            sent: flow.sent,
            refused: flow.refused,
            left_ms: flow.left(self.now.boot).map(millis),
        }
    }

    fn name(&self, node: NodeId) -> Option<String> {
        match self.us {
            Some((us, name)) if us == node => Some(name.to_owned()),
            Some(_) | None => self.names.get(&node).cloned(),
        }
    }

    /// The name, or the id of a node without one.
    fn called(&self, node: NodeId) -> String {
        self.name(node).unwrap_or_else(|| node.to_string())
    }

    fn age(&self, at: Option<Boot>) -> Option<u64> {
        at.map(|at| millis(self.now.boot.since(at)))
    }
}

fn failure(last: &LastFailure) -> FailureRow {
    FailureRow {
        code: last.code.clone(),
        at: i64::try_from(last.at.0)
            .ok()
            .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
            .unwrap_or(jiff::Timestamp::MAX)
            .to_string(),
        endpoint: last.endpoint.clone(),
    }
}

fn unconfirmed(unconfirmed: Unconfirmed) -> UnconfirmedRow {
    let (state, tried, confirmed) = match unconfirmed {
        Unconfirmed::Pending { tried, confirmed } => ("on_trial", tried, confirmed),
        Unconfirmed::Reverted { tried, confirmed } => ("reverted", tried, confirmed),
    };

    UnconfirmedRow {
        state: state.to_owned(),
        tried,
        confirmed,
    }
}

fn documents(member: &MemberStatus) -> Vec<DocumentRow> {
    let rows = member.have.iter().map(|have| DocumentRow {
        kind: have.kind.name().to_owned(),
        epoch: have.epoch,
        version: have.version,
        hash: have.hash.to_string(),
    });

    rows.collect()
}

fn refused(member: &MemberStatus) -> Vec<RefusedRow> {
    let rows = member.refused.iter().map(|((kind, code), documents)| RefusedRow {
        kind: kind.name().to_owned(),
        code: code.text().to_owned(),
        documents: *documents,
    });

    rows.collect()
}

fn mark(mark: Mark) -> MarkRow {
    MarkRow {
        generation: mark.generation,
        counter: mark.counter,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

const fn cadence(cadence: Cadence) -> &'static str {
    match cadence {
        Cadence::Auto => "auto",
        Cadence::Fast => "fast",
        Cadence::Normal => "normal",
        Cadence::Rest => "rest",
    }
}
