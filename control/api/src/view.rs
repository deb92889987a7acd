//! What the admin API shows: plain records for JSON, the same for the CLI, scripts and later the console.
//!
//! Every record has at least `id`, `name` and `state`. Times are RFC 3339 in UTC, written by [`time`].

use std::collections::BTreeMap;

use protocol::time::Wall;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InstallationView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub mode: String,
    /// Fingerprints of the product root's keys.
    pub product_roots: Vec<String>,
    pub threshold: usize,
    pub first_owner: Option<OwnerView>,
    pub activated_at: Option<String>,
    /// Said in every status line while the root is a throw-away one.
    pub warning: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OwnerView {
    pub id: String,
    pub name: String,
    pub fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OperatorView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub roles: Vec<String>,
    pub fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GrantView {
    pub id: String,
    pub name: String,
    /// `active`, `expired`, `revoked` or `invalid`: a grant without a valid signature has no effect.
    pub state: String,
    pub role: String,
    pub cluster: Option<String>,
    pub signer: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub authority_epoch: u64,
    pub fingerprint: String,
    pub nodes: usize,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuthorityView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub cluster: String,
    pub epoch: u64,
    pub public_key: String,
    pub fingerprint: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TokenView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub roles: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub max_uses: u32,
    pub used: u32,
    pub approval: String,
    pub expires_at: String,
    /// Fingerprint of the authority that the joiner will pin.
    pub fingerprint: String,
}

/// The only time the token's text leaves the controller.
#[derive(Clone, Serialize, Deserialize)]
pub struct TokenCreated {
    #[serde(flatten)]
    pub view: TokenView,
    pub token: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RequestView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub token: String,
    /// Of the key that asks to join: compare it with what the host shows.
    pub fingerprint: String,
    /// Of the authority that will sign.
    pub authority_fingerprint: String,
    pub roles: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub hostname: String,
    pub source: String,
    pub created_at: String,
    pub node: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub roles: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub config_version: u64,
    pub routes_version: u64,
    pub authority_epoch: u64,
    pub last_seen: Option<String>,
    pub fingerprint: String,
    pub candidates: Vec<String>,
    /// Addresses that the node claims and nobody is told of.
    #[serde(default)]
    pub candidates_left_out: Vec<LeftOutView>,
    pub agent_version: String,
    pub certificate_not_after: String,
    /// The settings that it went back from last.
    #[serde(default)]
    pub reverted: Option<RevertedView>,
}

/// Controller addresses and intervals that led a node to no controller.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RevertedView {
    /// `held`: it is kept on the earlier ones; `acknowledged`: it may have them again.
    pub state: String,
    /// Of the config that brought them.
    pub config_version: u64,
    /// Their digest, which is the subject of the finding.
    pub settings: String,
    /// Of those that it went back to.
    pub restored: Option<String>,
    pub at: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftOutView {
    pub address: String,
    /// `loopback`, `link_local`, `multicast`, `unspecified`, `no_port` or `too_many`.
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkView {
    pub id: String,
    pub name: String,
    /// `up`, `down`, or `stale` when its end has said nothing of it for 15 s.
    pub state: String,
    pub source: String,
    pub target: String,
    /// `link` for a connection, `path` for a probed path of a route.
    pub observation: String,
    pub relay: Option<String>,
    pub effective_path: Vec<String>,
    pub observed_path: Vec<String>,
    pub drift: String,
    pub rtt_ms: Option<f64>,
    pub loss: Option<f64>,
    pub age_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RouteView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub source: String,
    pub target: String,
    /// Node names in order.
    pub path: Vec<String>,
    pub path_kind: Option<String>,
    pub generation: u64,
    pub action: String,
    pub reasons: Vec<String>,
    pub standbys: Vec<Vec<String>>,
    pub rtt_ms: Option<f64>,
    pub loss: Option<f64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelayView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub labels: BTreeMap<String, String>,
    pub leases: usize,
    pub active_leases: usize,
    pub routes: usize,
    /// Rows that its table can hold, those of a node that only introduces included; a full relay is no candidate.
    pub room: usize,
    /// Frames that it says it has carried and refused under its present leases, since its process started.
    pub forwarded: u64,
    pub forwarded_bytes: u64,
    pub refused: u64,
    pub last_seen: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeaseView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub kind: String,
    pub relay: String,
    pub source: String,
    pub target: String,
    pub generation: u64,
    pub budget_kib: u32,
    /// When the relay last polled with success, as the controller saw it.
    pub fresh_at: Option<String>,
    pub grace_ends_at: Option<String>,
    pub granted_at: String,
    /// Frames that the relay says it has carried under it since the relay's process started; none before it did.
    pub forwarded: Option<u64>,
    pub forwarded_bytes: Option<u64>,
    /// Frames that it did not carry.
    pub refused: Option<u64>,
    /// Since the relay last had something to tell of it.
    pub told_ms: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FindingView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub severity: String,
    pub subject: String,
    pub detail: String,
    pub raised_at: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditView {
    pub id: u64,
    pub name: String,
    pub state: String,
    pub at: String,
    pub actor: String,
    pub target: String,
    pub outcome: String,
    pub detail: String,
    pub hash: String,
    /// The user of the controller's host who asked, if one did.
    pub uid: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AuditVerdict {
    pub ok: bool,
    pub records: u64,
    pub head: String,
    /// The first record that does not fit, and why.
    pub first_bad: Option<u64>,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusView {
    pub id: String,
    pub name: String,
    pub state: String,
    pub version: String,
    pub mode: String,
    pub activated: bool,
    pub clusters: Vec<ClusterStatus>,
    pub revision: u64,
    pub read_only: Option<String>,
    pub warning: Option<String>,
    /// Open findings that are about no single cluster.
    pub findings: usize,
    /// How long the writer has stood, if it does: nothing is written meanwhile.
    pub writer_stood_seconds: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterStatus {
    pub name: String,
    pub fingerprint: String,
    pub epoch: u64,
    pub beacon: u64,
    pub nodes: BTreeMap<String, usize>,
    pub relays: usize,
    pub routes: BTreeMap<String, usize>,
    pub pending_requests: usize,
    pub findings: usize,
    pub journal: JournalView,
}

/// How far the decision journal of a cluster reaches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JournalView {
    pub entries: u64,
    pub bytes: u64,
    /// When the oldest entry was written.
    pub since: Option<String>,
    pub oldest_seconds: u64,
    /// Decisions that were never kept, too many at once.
    pub missed: u64,
}

/// RFC 3339 in UTC; a time past the year 9999 shows as its end.
pub fn time(at: Wall) -> String {
    i64::try_from(at.0)
        .ok()
        .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rfc_3339_in_utc() {
        assert_eq!(time(Wall(0)), "1970-01-01T00:00:00Z");
        assert_eq!(time(Wall(1_792_628_342_250)), "2026-10-22T00:19:02.25Z");
        assert!(time(Wall(u64::MAX)).starts_with("9999-12-3"));
    }
}
