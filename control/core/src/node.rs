//! Nodes: what is known of each, and what an operator or the node itself changes about it.
//!
//! ```text
//! tenure     enabled ⇄ draining      enabled, draining ⇄ disabled      all ──► revoked
//! presence   active ⇄ degraded ⇄ offline            (stored when it changes; heartbeats live in memory)
//! ```

mod floor;
mod renew;
mod revoke;

use std::time::Duration;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::certificate::{Holder, Identity};
use protocol::document::authority::Serial;
use protocol::document::config::Candidate;
use protocol::error::Code;
use protocol::id::{BootId, ClusterId, NodeId, RequestId};
use protocol::key::{Digest, Fingerprint, SealKey, VerifyKey};
use protocol::net::Address;
use protocol::node::{Labels, Name, NodeRole};
use protocol::time::Wall;
use protocol::wire::NodeRequest;

use crate::audit::{Action, Target};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::finding::{self, Finding, FindingKind, Severity};
use crate::join::{self, RequestState};
use crate::liveness::Change;
use crate::names::{self, NameHolder};
use crate::settings::Reversal;
use crate::store::{Row, Rows, RowsMut, StoreError, Table, Tx, View};

pub use floor::{LIST_ROOM, RevocationFloorRow, prune};
pub use renew::{
    EXPIRED_RENEWAL, LastRenewal, RenewError, Renewal, VALID_CERTIFICATES, renew, renew_expired,
};
pub use revoke::{RevocationEntry, RevocationRow, leave, revocation_list, revocations, revoke};

/// What an operator has decided about a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Tenure {
    #[n(1)]
    Enabled,
    /// Keeps its identity and is nobody's neighbour.
    #[n(2)]
    Disabled,
    /// For ever.
    #[n(3)]
    Revoked,
    /// A relay that keeps what it carries until that is replaced, and is given nothing new.
    #[n(4)]
    Draining,
}

/// What heartbeats say about a node. Declared best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Presence {
    #[n(1)]
    Active,
    #[n(2)]
    Degraded,
    #[n(3)]
    Offline,
}

/// Tenure and presence in one word, as lists show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeState {
    Active,
    Degraded,
    Offline,
    Draining,
    Disabled,
    Revoked,
    /// It gave its identity back.
    Left,
}

impl NodeState {
    pub const ALL: [Self; 6] = [
        Self::Active,
        Self::Degraded,
        Self::Offline,
        Self::Disabled,
        Self::Revoked,
        Self::Left,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Offline => "offline",
            Self::Draining => "draining",
            Self::Disabled => "disabled",
            Self::Revoked => "revoked",
            Self::Left => "left",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct NodeRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub id: NodeId,
    #[n(2)]
    pub name: Name,
    #[n(3)]
    pub roles: Vec<NodeRole>,
    #[n(4)]
    pub labels: Labels,
    /// Of the identity: rises when the node is replaced.
    #[n(5)]
    pub generation: u64,
    #[n(6)]
    pub key: VerifyKey,
    #[n(7)]
    pub seal_key: SealKey,
    /// Who issued the current certificate.
    #[n(8)]
    pub issuer: Digest,
    #[n(9)]
    pub serial: Serial,
    /// The current certificate, DER.
    #[n(10)]
    pub certificate: ByteVec,
    #[n(11)]
    pub not_after: Wall,
    #[n(12)]
    pub renewal: Option<LastRenewal>,
    #[n(13)]
    pub tenure: Tenure,
    #[n(14)]
    pub presence: Presence,
    #[n(15)]
    pub presence_since: Wall,
    /// The run of its agent that was heard last; none if it never was.
    #[n(16)]
    pub boot: Option<BootId>,
    /// Best first.
    #[n(17)]
    pub candidates: Vec<Candidate>,
    #[n(18)]
    pub agent_version: String,
    /// The highest authority epoch that the agent has verified.
    #[n(19)]
    pub epoch: u64,
    /// A hash of the host's machine id, as the join request gave it.
    #[n(20)]
    pub machine: Option<Fingerprint>,
    #[n(21)]
    pub request: RequestId,
    #[n(22)]
    pub joined_at: Wall,
    /// When it was revoked or left.
    #[n(23)]
    pub ended_at: Option<Wall>,
    /// Those of its candidates at which a neighbour's handshake reached it.
    #[n(24)]
    pub confirmed: Option<Vec<Address>>,
    /// What ended it. Rows that ended before this was kept have none.
    #[n(25)]
    pub ending: Option<Ending>,
    /// The settings that it went back from last.
    #[n(26)]
    pub reverted: Option<Reversal>,
}

/// What ended a node. For the fleet both are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Ending {
    /// An operator revoked it.
    #[n(1)]
    Revoked,
    /// It gave its identity back.
    #[n(2)]
    Left,
}

impl Presence {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Degraded => "degraded",
            Self::Offline => "offline",
        }
    }
}

impl NodeRow {
    pub const fn state(&self) -> NodeState {
        match (self.tenure, self.presence) {
            (Tenure::Revoked, _) => match self.ending {
                Some(Ending::Left) => NodeState::Left,
                Some(Ending::Revoked) | None => NodeState::Revoked,
            },
            (Tenure::Disabled, _) => NodeState::Disabled,
            (Tenure::Draining, _) => NodeState::Draining,
            (Tenure::Enabled, Presence::Active) => NodeState::Active,
            (Tenure::Enabled, Presence::Degraded) => NodeState::Degraded,
            (Tenure::Enabled, Presence::Offline) => NodeState::Offline,
        }
    }

    pub fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }

    /// Whether a certificate is the present one, or the one before that is just being swapped.
    fn stands_on(&self, serial: Serial, now: Wall) -> bool {
        let is_swapped = |last: &LastRenewal| last.previous_serial == serial && now.since(last.at) < OVERLAP;

        serial == self.serial || self.renewal.as_ref().is_some_and(is_swapped)
    }
}

impl Row for NodeRow {
    const TABLE: Table = Table::Nodes;

    fn key(&self) -> Vec<u8> {
        key(self.cluster, self.id)
    }
}

/// A node at the node door, as its certificate proved it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeCaller {
    pub cluster: ClusterId,
    pub node: NodeId,
    pub serial: Serial,
}

impl NodeCaller {
    /// The node of an admitted identity; controllers are none.
    pub const fn of(identity: &Identity) -> Option<Self> {
        match identity.holder {
            Holder::Node(node) => Some(Self {
                cluster: identity.cluster,
                node,
                serial: identity.serial,
            }),
            Holder::Controller(_) => None,
        }
    }
}

/// Whether a node may ask this. Asked before every request.
///
/// Renewal is for every holder of a certificate that was not revoked: it keeps a disabled node's identity, and its
/// ratchet tells who is a clone. Everything else takes the present certificate, or for [`OVERLAP`] the one before.
pub fn may_ask(
    view: &dyn View,
    caller: &NodeCaller,
    request: &NodeRequest,
    now: Wall,
) -> Result<(), NodeError> {
    let row = get(view, caller.cluster, caller.node)?.ok_or(NodeError::Unknown)?;
    match (row.tenure, request) {
        (Tenure::Revoked, _) => Err(NodeError::Revoked),
        (Tenure::Enabled | Tenure::Draining | Tenure::Disabled, NodeRequest::Renew(_)) => Ok(()),
        (Tenure::Disabled, _) => Err(NodeError::Disabled),
        (Tenure::Enabled | Tenure::Draining, _) => match row.stands_on(caller.serial, now) {
            true => Ok(()),
            false => Err(NodeError::Superseded),
        },
    }
}

pub fn get(view: &dyn View, cluster: ClusterId, id: NodeId) -> Result<Option<NodeRow>, StoreError> {
    view.get(&key(cluster, id))
}

/// The node of a name; revoked ones have none.
pub fn find(view: &dyn View, cluster: ClusterId, name: &Name) -> Result<Option<NodeRow>, StoreError> {
    match names::holder(view, cluster, name)? {
        Some(NameHolder::Node(id)) => get(view, cluster, id),
        Some(NameHolder::Request(_)) | None => Ok(None),
    }
}

/// Every node of a cluster, revoked ones included, by id. One whose row cannot be read is left out, so that it spoils
/// no other.
pub fn list(view: &dyn View, cluster: ClusterId) -> Result<Vec<NodeRow>, StoreError> {
    Ok(view.scan_readable(cluster.as_bytes())?.rows)
}

/// Sets some labels and takes others away.
pub fn label(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    id: NodeId,
    changes: &[LabelChange],
) -> Result<NodeRow, NodeError> {
    let mut row = living(desk.tx, cluster, id)?;
    let mut labels: std::collections::BTreeMap<String, String> = row
        .labels
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    for change in changes {
        match &change.value {
            Some(value) => labels.insert(change.key.clone(), value.clone()),
            None => labels.remove(&change.key),
        };
    }
    let labels = Labels::parse(labels).map_err(|_| NodeError::InvalidLabels)?;
    if labels != row.labels {
        row.labels = labels;
        desk.tx.put(&row)?;
        let changed: Vec<&str> = changes.iter().map(|change| change.key.as_str()).collect();
        desk.record(Action::NODE_LABELLED, Target::Node(id), changed.join(" "))?;
    }

    Ok(row)
}

/// A label to set, or to take away if it has no value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabelChange {
    pub key: String,
    pub value: Option<String>,
}

/// Takes a node out of everybody's neighbours; it keeps its identity. Repeating it changes nothing.
/// `reason` is for the audit.
pub fn disable(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    id: NodeId,
    reason: &str,
) -> Result<NodeRow, NodeError> {
    set_tenure(
        desk,
        (cluster, id),
        Tenure::Disabled,
        (Action::NODE_DISABLED, reason),
    )
}

/// Takes a relay, or a node that introduces others, out of use before it goes: what it serves moves to others first, and then
/// its leases end. A route that has no other path stays, and so does a pair that can meet nowhere else. Repeating it changes
/// nothing. `reason` is for the audit.
pub fn drain(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    id: NodeId,
    reason: &str,
) -> Result<NodeRow, NodeError> {
    let row = living(desk.tx, cluster, id)?;
    let serves = |role: &NodeRole| matches!(role, NodeRole::Relay | NodeRole::Rendezvous);
    if !row.roles.iter().any(serves) {
        return Err(NodeError::ServesNobody);
    }
    if row.tenure == Tenure::Disabled {
        return Err(NodeError::Disabled);
    }

    set_tenure(
        desk,
        (cluster, id),
        Tenure::Draining,
        (Action::RELAY_DRAINED, reason),
    )
}

/// Lets a disabled or draining node take part again. Repeating it changes nothing.
pub fn enable(desk: &mut Desk<'_>, cluster: ClusterId, id: NodeId) -> Result<NodeRow, NodeError> {
    set_tenure(desk, (cluster, id), Tenure::Enabled, (Action::NODE_ENABLED, ""))
}

/// Stores what the liveness machine has noticed. A node that has ended meanwhile, or whose row cannot be read, stays as
/// it is.
pub fn record_change(tx: &mut dyn Tx, change: &Change) -> Result<(), StoreError> {
    let Some(mut row) = find_readable(tx, change.cluster, change.node)? else {
        return Ok(());
    };
    let before = row.clone();
    if row.boot.is_none() && change.boot.is_some() {
        bootstrapped(tx, &row)?;
    }
    if row.presence != change.presence {
        row.presence = change.presence;
        row.presence_since = change.at;
    }
    row.boot = change.boot.or(row.boot);
    row.candidates = change.candidates.clone().unwrap_or(row.candidates);
    row.agent_version = change.agent_version.clone().unwrap_or(row.agent_version);
    row.epoch = change.epoch.unwrap_or(row.epoch);
    if row == before {
        return Ok(());
    }

    tx.put(&row)
}

/// Notes that a neighbour's handshake reached a node at `address`. Only what the node itself publishes can be confirmed,
/// which also bounds what is kept. Says whether that is news.
pub fn confirm(
    tx: &mut dyn Tx,
    cluster: ClusterId,
    id: NodeId,
    address: Address,
) -> Result<bool, StoreError> {
    let Some(mut row) = find_readable(tx, cluster, id)? else {
        return Ok(false);
    };
    let published = |address: &Address| {
        row.candidates
            .iter()
            .any(|candidate| candidate.address == *address)
    };
    let mut confirmed = row.confirmed.clone().unwrap_or_default();
    confirmed.retain(published);
    if !published(&address) || confirmed.contains(&address) {
        return Ok(false);
    }
    confirmed.push(address);
    row.confirmed = Some(confirmed);
    tx.put(&row)?;

    Ok(true)
}

/// Raises an alarm for each document that an agent would not apply: the strongest one when it saw two under one
/// version, which takes two signers. The same alarm of the same node is one finding.
pub fn raise_refusals(desk: &mut Desk<'_>, change: &Change) -> Result<(), StoreError> {
    for refusal in &change.refused {
        let is_fork = refusal.code == Some(Code::ForkDetected);
        let (kind, severity) = match is_fork {
            true => (FindingKind::FORK_DETECTED, Severity::Critical),
            false => (FindingKind::DOCUMENT_REFUSED, Severity::Warning),
        };
        let (node, document, code) = (change.node, refusal.kind.name(), refusal.text());
        let finding = Finding {
            kind,
            severity,
            cluster: Some(change.cluster),
            subject: format!("{node} {document} {code}"),
            text: format!(
                "node {node} refused a document of kind {document} ({code}) and keeps the one it has"
            ),
        };
        finding::raise(desk, finding)?;
    }

    Ok(())
}

/// The first sign of life of a node ends its enrolment.
fn bootstrapped(tx: &mut dyn Tx, row: &NodeRow) -> Result<(), StoreError> {
    let approved =
        join::get(tx, row.cluster, row.request)?.filter(|request| request.decided == RequestState::Approved);
    match approved {
        Some(mut request) => {
            request.decided = RequestState::Bootstrapped;
            tx.put(&request)
        }
        None => Ok(()),
    }
}

fn set_tenure(
    desk: &mut Desk<'_>,
    (cluster, id): (ClusterId, NodeId),
    tenure: Tenure,
    (action, reason): (Action, &str),
) -> Result<NodeRow, NodeError> {
    let mut row = living(desk.tx, cluster, id)?;
    if row.tenure != tenure {
        row.tenure = tenure;
        desk.tx.put(&row)?;
        let detail = format!("{} {reason}", row.name);
        desk.record(action, Target::Node(id), detail.trim_end())?;
    }

    Ok(row)
}

/// A node that has not ended, for what concerns many nodes at once: a row that cannot be read holds up no other.
pub fn find_readable(view: &dyn View, cluster: ClusterId, id: NodeId) -> Result<Option<NodeRow>, StoreError> {
    let row: Option<NodeRow> = view.get_readable(&key(cluster, id))?;

    Ok(row.filter(|row| row.tenure != Tenure::Revoked))
}

/// A node that has not ended.
fn living(view: &dyn View, cluster: ClusterId, id: NodeId) -> Result<NodeRow, NodeError> {
    let row = get(view, cluster, id)?.ok_or(NodeError::Unknown)?;
    match row.tenure {
        Tenure::Enabled | Tenure::Draining | Tenure::Disabled => Ok(row),
        Tenure::Revoked => Err(NodeError::Revoked),
    }
}

fn key(cluster: ClusterId, id: NodeId) -> Vec<u8> {
    [cluster.as_bytes().as_slice(), id.as_bytes()].concat()
}

#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// An operator has disabled it.
    #[error("the node is disabled")]
    Disabled,
    #[error(transparent)]
    Failure(#[from] Failure),
    /// A key or value is no name, or there would be too many.
    #[error("not valid labels: at most 16, of a-z, 0-9, '-', '_' and '.'")]
    InvalidLabels,
    /// It was revoked, or has left.
    #[error("the node was revoked")]
    Revoked,
    /// It carries nothing for others and introduces nobody, so that there is nothing to drain.
    #[error("the node has neither role relay nor role rendezvous: there is nothing to drain")]
    ServesNobody,
    /// The caller shows an earlier certificate of a node that has renewed since.
    #[error("the certificate was superseded by a newer one of this node")]
    Superseded,
    /// The cluster has no node of this id.
    #[error("no such node")]
    Unknown,
}

impl NodeError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Disabled => Code::NodeDisabled,
            Self::Failure(failure) => failure.code(),
            Self::InvalidLabels | Self::ServesNobody => Code::ValidationFailed,
            Self::Revoked => Code::NodeRevoked,
            Self::Superseded => Code::GenerationStale,
            Self::Unknown => Code::NotFound,
        }
    }
}

fails!(NodeError);

/// How long the certificate before still opens the door: for the reply to arrive, the files to be written, and the
/// agent to dial anew.
pub const OVERLAP: Duration = Duration::from_secs(10 * 60);

#[cfg(test)]
mod tests;
