//! What the local API shows, as JSON: names beside ids, ages in milliseconds.

use std::net::SocketAddr;

use protocol::document::config::LeftOut;
use protocol::id::{ClusterId, ControllerId, LeaseId, NodeId, RequestId, RouteId};
use protocol::key::Fingerprint;
use serde::{Deserialize, Serialize};

use crate::doors::Shut;

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
    /// The newest report of each path of a route that was bad.
    #[serde(default)]
    pub refresh_reports: Vec<RefreshReportRow>,
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
    /// `loopback`, `link_local`, `multicast`, `unspecified`, `no_port` or `too_many`; of a further address to listen on that
    /// cannot be listened on yet: `port_taken`, `not_permitted` or `unusable`.
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

/// What the newest poll after bad news of one path brought, and what was held back since; see [`protocol::wire::Refresh`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefreshReportRow {
    pub route: RouteId,
    /// None for the direct path.
    pub relay: Option<NodeId>,
    pub relay_name: Option<String>,
    pub trigger: String,
    /// `changed`, `unchanged` or `suppressed`.
    pub outcome: String,
    /// Of the routes document, before and after.
    pub versions: [u64; 2],
    /// Of the decision, before and after.
    pub generations: [Option<u64>; 2],
    /// Of the authority, before and after.
    pub epochs: [u64; 2],
    /// From the answer on; none if the decision changed.
    pub cooldown_ms: Option<u64>,
    pub suppressed: u64,
    /// Since the answer.
    pub age_ms: u64,
    /// Since the last that was suppressed.
    pub suppressed_age_ms: Option<u64>,
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
    /// The node over which the ends are to agree when to dial each other, while they have no path that works.
    #[serde(default)]
    pub meets_over: Option<MeetingRow>,
}

/// A node that lets pass what two ends say to meet, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeetingRow {
    pub node: NodeId,
    pub node_name: Option<String>,
    pub lease: LeaseId,
    pub generation: u32,
    /// Whether the far end can be asked there, as a path's.
    pub health: String,
    pub linked: bool,
    pub refused: Option<String>,
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
    /// Connections to it that came up at a moment that both had agreed on, since this agent has a route to it.
    #[serde(default)]
    pub met: u32,
}

impl LeftOutRow {
    pub(crate) fn of(left_out: LeftOut, by: &str) -> Self {
        Self {
            address: left_out.address.0.to_string(),
            why: left_out.why.name().to_owned(),
            by: by.to_owned(),
        }
    }

    pub(crate) fn shut(listen: SocketAddr, why: Shut) -> Self {
        Self {
            address: listen.to_string(),
            why: why.name().to_owned(),
            by: "agent".to_owned(),
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
    /// `relay` or `rendezvous`.
    pub kind: String,
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
