//! What the door takes and gives.

use control_core::audit::{Actor, Uid};
use control_core::behind::BehindRow;
use control_core::installation;
use control_core::join::JoinCaller;
use control_core::liveness::Change;
use control_core::node::NodeCaller;
use control_core::store::{StoreError, View};
use control_routing::decide::Outcome;
use control_routing::lease::TableVersion;
use control_routing::suspicion::Suspect;
use protocol::error::Code;
use protocol::id::{ClusterId, ControllerId, NodeId, OperatorId};
use protocol::key::VerifyKey;
use protocol::net::Address;
use protocol::wire::{JoinReply, JoinRequest, NodeReply, Renew};
use serde_json::Value;

use crate::action::Action;
use crate::failure::Failure;

/// Who asks, as the shell has established it.
#[derive(Clone, Debug)]
pub enum Caller {
    /// Somebody at the join door.
    Joiner(JoinCaller),
    /// A node whose certificate was admitted on this very connection.
    Node(NodeCaller),
    /// Whoever opened the local socket; with an operator chosen, or as the first owner.
    Local {
        operator: Option<OperatorId>,
        /// Whom the socket's kernel names.
        uid: Option<Uid>,
    },
    /// This controller, on its own timers.
    Controller,
}

impl Caller {
    /// How the audit names it: an operator by its id, also the first owner in whose name an unnamed one acts.
    pub fn actor(&self, view: &dyn View) -> Result<Actor, StoreError> {
        Ok(match self {
            Self::Joiner(_) => Actor::Joiner,
            Self::Node(caller) => Actor::Node(caller.node),
            Self::Local { operator, .. } => effective(view, *operator)?.map_or(Actor::Local, Actor::Operator),
            Self::Controller => Actor::Controller,
        })
    }

    /// The user of this host that it is, if it is one.
    pub const fn uid(&self) -> Option<Uid> {
        match self {
            Self::Local { uid, .. } => *uid,
            Self::Joiner(_) | Self::Node(_) | Self::Controller => None,
        }
    }
}

/// In whose name an operator acts: its own, or the first owner's when none is named. None before the activation.
pub(crate) fn effective(
    view: &dyn View,
    operator: Option<OperatorId>,
) -> Result<Option<OperatorId>, StoreError> {
    match operator {
        Some(operator) => Ok(Some(operator)),
        None => Ok(installation::find(view)?.and_then(|row| row.first_owner)),
    }
}

/// A request that writes.
#[derive(Clone, Debug)]
pub enum Request {
    Join(Box<JoinRequest>),
    Renew(Renew),
    Leave,
    Act {
        action: Action,
        input: Value,
    },
    /// How the copy ended that [`Action::StoreBackup`] began; with a code if it failed.
    BackedUp {
        failed: Option<Code>,
    },
    /// What heartbeats, or their absence, changed about nodes.
    Heard {
        changes: Vec<Change>,
    },
    /// A relay has this lease table in force.
    Carried {
        cluster: ClusterId,
        relay: NodeId,
        table: TableVersion,
    },
    /// Addresses at which handshakes of neighbours reached nodes.
    Confirm {
        cluster: ClusterId,
        reached: Vec<(NodeId, Address)>,
    },
    /// What routing decided on a snapshot.
    Decide {
        cluster: ClusterId,
        outcomes: Vec<Outcome>,
    },
    /// Whom routing does not believe alone any more, all of them.
    Doubt {
        cluster: ClusterId,
        suspects: Vec<Suspect>,
    },
    /// Certifies this controller in every cluster that it serves, and renews what is half spent.
    Serve {
        controller: ControllerId,
        key: VerifyKey,
        endpoints: Vec<String>,
    },
    /// An agent has a beacon that this store never made.
    Behind(Box<BehindRow>),
    /// Makes a new beacon, and looks for what nobody asks about: roles without a signature.
    Tick,
}

#[derive(Clone, Debug)]
pub enum Reply {
    Join(JoinReply),
    Node(NodeReply),
    View(Value),
    Done,
    /// A refusal whose traces are kept: what it found out is worth more than a rollback.
    Refused(Failure),
}

impl Reply {
    /// What the caller hears.
    pub fn into_result(self) -> Result<Self, Failure> {
        match self {
            Self::Refused(failure) => Err(failure),
            Self::Join(_) | Self::Node(_) | Self::View(_) | Self::Done => Ok(self),
        }
    }
}
