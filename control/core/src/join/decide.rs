//! Deciding a request. Approval makes the node, its certificate and its contract in one transaction.

use protocol::document::join::JoinContract;
use protocol::envelope::{self, Stamp, Subject};
use protocol::error::Code;
use protocol::id::{ClusterId, NodeId, RequestId};
use protocol::limits::TEXT_BYTES;
use protocol::node::Name;
use protocol::sealed;

use crate::audit::{Action, Target};
use crate::authority::{self, AuthorityError};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::issuing::{self, CertificateHolder, Issued};
use crate::names::{self, NameHolder};
use crate::node::{NodeRow, Presence, Tenure};
use crate::store::RowsMut;

use super::enroll::is_taken;
use super::{JoinRequestRow, RequestState, get};

/// Approves a request, under the name it asked for or another. Repeating it changes nothing.
pub fn approve(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    request: RequestId,
    name: Option<Name>,
) -> Result<JoinRequestRow, DecideError> {
    let mut row = get(desk.tx, cluster, request)?.ok_or(DecideError::Unknown)?;
    match row.state(desk.now.wall) {
        RequestState::Pending => {}
        RequestState::Approved | RequestState::Bootstrapped => return Ok(row),
        state @ (RequestState::Rejected | RequestState::Withdrawn | RequestState::Expired) => {
            return Err(DecideError::Decided { state });
        }
    }
    if let Some(name) = name.filter(|name| *name != row.name) {
        if is_taken(desk, cluster, &name)? {
            return Err(DecideError::NameTaken);
        }
        names::free(desk.tx, cluster, &row.name, NameHolder::Request(row.id))?;
        row.name = name;
    }
    admit(desk, &mut row, "by an operator")?;

    Ok(row)
}

/// Rejects a request, with a reason for whoever runs the host. Repeating it changes nothing.
pub fn reject(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    request: RequestId,
    reason: &str,
) -> Result<JoinRequestRow, DecideError> {
    if reason.len() > TEXT_BYTES {
        return Err(DecideError::ReasonTooLong);
    }
    let mut row = get(desk.tx, cluster, request)?.ok_or(DecideError::Unknown)?;
    match row.state(desk.now.wall) {
        RequestState::Pending => {}
        RequestState::Rejected => return Ok(row),
        state @ (RequestState::Approved
        | RequestState::Bootstrapped
        | RequestState::Withdrawn
        | RequestState::Expired) => return Err(DecideError::Decided { state }),
    }
    row.reason = Some(reason.to_owned()).filter(|reason| !reason.is_empty());
    close(desk, &mut row, RequestState::Rejected)?;
    desk.record(Action::REQUEST_REJECTED, Target::Request(row.id), reason)?;

    Ok(row)
}

/// Ends a request without a node, and frees its name.
pub(super) fn close(
    desk: &mut Desk<'_>,
    row: &mut JoinRequestRow,
    state: RequestState,
) -> Result<(), crate::store::StoreError> {
    row.decided = state;
    row.decided_at = Some(desk.now.wall);
    row.decided_by = Some(desk.actor.clone());
    names::free(desk.tx, row.cluster, &row.name, NameHolder::Request(row.id))?;

    desk.tx.put(row)
}

/// Makes the node of a request.
pub(super) fn admit(desk: &mut Desk<'_>, row: &mut JoinRequestRow, how: &str) -> Result<(), Failure> {
    let id = NodeId::random(desk.rng);
    let issued = issuing::issue(desk, row.cluster, CertificateHolder::Node(id), row.key)?;
    let node = new_node(desk, row, id, &issued);
    desk.tx.put(&node)?;
    names::give(desk.tx, row.cluster, &row.name, NameHolder::Node(id))?;
    row.contract = Some(contract(desk, row, &node)?.into());
    row.node = Some(id);
    row.decided = RequestState::Approved;
    row.decided_at = Some(desk.now.wall);
    row.decided_by = Some(desk.actor.clone());
    desk.tx.put(row)?;
    desk.record(Action::REQUEST_APPROVED, Target::Request(row.id), how)?;
    desk.record(
        Action::NODE_JOINED,
        Target::Node(id),
        format!("{} with key {}", row.name, row.fingerprint()),
    )?;

    Ok(())
}

fn new_node(desk: &Desk<'_>, row: &JoinRequestRow, id: NodeId, issued: &Issued) -> NodeRow {
    NodeRow {
        cluster: row.cluster,
        id,
        name: row.name.clone(),
        roles: row.roles.clone(),
        labels: row.labels.clone(),
        generation: 1,
        key: row.key,
        seal_key: row.seal_key,
        issuer: issued.issuer,
        serial: issued.serial,
        certificate: issued.certificate.clone().into(),
        not_after: issued.validity.not_after,
        renewal: None,
        tenure: Tenure::Enabled,
        presence: Presence::Offline,
        presence_since: desk.now.wall,
        boot: None,
        candidates: Vec::new(),
        agent_version: row.facts.agent_version.clone(),
        epoch: 0,
        machine: row.facts.machine,
        request: row.id,
        joined_at: desk.now.wall,
        ended_at: None,
        confirmed: None,
        ending: None,
        reverted: None,
    }
}

/// The contract, signed and sealed. It is addressed to `*`, since its reader learns its node id from it; the request
/// id in body and AAD and the key in the body bind it to one joiner.
fn contract(desk: &mut Desk<'_>, row: &JoinRequestRow, node: &NodeRow) -> Result<Vec<u8>, Failure> {
    let authority =
        authority::open(desk.tx, desk.signer, row.cluster).map_err(AuthorityError::into_failure)?;
    let body = JoinContract {
        request: row.id,
        node: node.id,
        name: node.name.as_str().to_owned(),
        roles: node.roles.clone(),
        labels: node.labels.clone(),
        generation: node.generation,
        certificate: node.certificate.clone(),
        key: node.key,
        authority: authority.key.verify_key(),
        controllers: issuing::controllers(desk.tx, row.cluster)?,
    };
    let stamp = Stamp {
        realm: row.cluster.into(),
        subject: Subject::All,
        epoch: authority.epoch,
        version: 1,
        previous: None,
        issued_at: desk.now.wall,
        valid_until: None,
    };
    let signed = envelope::seal(&stamp, &body, &[authority.key.as_ref()]);

    sealed::seal_to(
        &row.seal_key,
        sealed::JOIN_CONTRACT,
        row.id.as_bytes(),
        &signed,
        desk.rng,
    )
    .map_err(|_| Failure::Inconsistent("a request has a sealing key that was checked and is none"))
}

#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// Somebody decided otherwise, the joiner took it back, or nobody decided in time.
    #[error("the request is {} already", .state.name())]
    Decided { state: RequestState },
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The approver's name for the node belongs to another.
    #[error("the name is taken in this cluster")]
    NameTaken,
    /// Longer than [`TEXT_BYTES`].
    #[error("the reason is longer than {TEXT_BYTES} bytes")]
    ReasonTooLong,
    /// The cluster has no request of this id.
    #[error("no such request")]
    Unknown,
}

impl DecideError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Decided { .. } => Code::AlreadyDecided,
            Self::Failure(failure) => failure.code(),
            Self::NameTaken => Code::NameTaken,
            Self::ReasonTooLong => Code::ValidationFailed,
            Self::Unknown => Code::NotFound,
        }
    }
}

fails!(DecideError);
