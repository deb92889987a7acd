//! What the door takes and gives.

use control_core::audit::Actor;
use control_core::behind::BehindRow;
use control_core::join::JoinCaller;
use control_core::liveness::Change;
use control_core::node::NodeCaller;
use control_routing::decide::Outcome;
use control_routing::lease::TableVersion;
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
    Local { operator: Option<OperatorId> },
    /// This controller, on its own timers.
    Controller,
}

impl Caller {
    /// How the audit names it.
    pub fn actor(&self) -> Actor {
        match self {
            Self::Joiner(_) => Actor::Joiner,
            Self::Node(caller) => Actor::Node(caller.node),
            Self::Local {
                operator: Some(operator),
            } => Actor::Operator(*operator),
            Self::Local { operator: None } => Actor::Local,
            Self::Controller => Actor::Controller,
        }
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
