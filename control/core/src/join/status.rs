//! How a request stands, told to who proves its key and to nobody else.

use protocol::error::{Code, WireError};
use protocol::time::{Wall, millis};
use protocol::wire::{EnrollmentStatus, JoinReply};

use crate::audit::{Action, Target};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::node::{self, Tenure};
use crate::store::View;

use super::decide::close;
use super::{JoinCaller, JoinRequestRow, POLL_AFTER, RequestState, get};

/// Answers a joiner that waits. Writes nothing.
pub fn status(
    view: &dyn View,
    caller: &JoinCaller,
    question: &EnrollmentStatus,
    now: Wall,
) -> Result<JoinReply, StatusError> {
    let row = proven(view, caller, question)?;

    standing(view, &row, now)
}

/// Takes a pending request back: the use stays spent, the name becomes free. Repeating it changes nothing.
pub fn withdraw(
    desk: &mut Desk<'_>,
    caller: &JoinCaller,
    question: &EnrollmentStatus,
) -> Result<JoinReply, StatusError> {
    let mut row = proven(desk.tx, caller, question)?;
    match row.state(desk.now.wall) {
        RequestState::Pending => {
            close(desk, &mut row, RequestState::Withdrawn)?;
            desk.record(Action::REQUEST_WITHDRAWN, Target::Request(row.id), "")?;
        }
        RequestState::Withdrawn => {}
        RequestState::Approved
        | RequestState::Bootstrapped
        | RequestState::Rejected
        | RequestState::Expired => return Err(StatusError::NotPending),
    }

    Ok(JoinReply::Withdrawn)
}

/// What to tell the joiner of `row`, which has proven its key.
pub fn standing(view: &dyn View, row: &JoinRequestRow, now: Wall) -> Result<JoinReply, StatusError> {
    match row.state(now) {
        RequestState::Pending => Ok(JoinReply::Pending {
            request: row.id,
            poll_after_ms: millis(POLL_AFTER),
        }),
        RequestState::Approved | RequestState::Bootstrapped => approved(view, row),
        RequestState::Rejected => {
            let reason = row
                .reason
                .as_deref()
                .unwrap_or("an operator rejected the request");

            Ok(JoinReply::Rejected(WireError::new(Code::AlreadyDecided, reason)))
        }
        RequestState::Withdrawn => Ok(JoinReply::Withdrawn),
        RequestState::Expired => Ok(JoinReply::Rejected(WireError::new(
            Code::TokenExpired,
            "nobody decided on the request in time",
        ))),
    }
}

fn approved(view: &dyn View, row: &JoinRequestRow) -> Result<JoinReply, StatusError> {
    let node = match row.node {
        Some(id) => node::get(view, row.cluster, id)?,
        None => None,
    };
    let node = node.ok_or(Failure::Inconsistent("an approved request has no node"))?;
    if node.tenure == Tenure::Revoked {
        return Err(StatusError::Revoked);
    }
    let contract = row
        .contract
        .clone()
        .ok_or(Failure::Inconsistent("an approved request has no contract"))?;

    Ok(JoinReply::Approved(contract))
}

/// The request, if the caller holds its key. A request that is not there and a proof that fails look alike.
fn proven(
    view: &dyn View,
    caller: &JoinCaller,
    question: &EnrollmentStatus,
) -> Result<JoinRequestRow, StatusError> {
    let about = question.request.as_bytes();

    get(view, caller.cluster, question.request)?
        .filter(|row| question.proof.is_by(&row.key, &caller.exported, about))
        .ok_or(StatusError::Unknown)
}

#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Only a pending request can be taken back.
    #[error("the request was decided already")]
    NotPending,
    /// The node that came of the request was revoked.
    #[error("the node was revoked")]
    Revoked,
    /// There is no such request, or the caller does not prove that it is its own.
    #[error("no such request of this key")]
    Unknown,
}

impl StatusError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::NotPending => Code::AlreadyDecided,
            Self::Revoked => Code::NodeRevoked,
            Self::Unknown => Code::SignatureInvalid,
        }
    }
}

fails!(StatusError);
