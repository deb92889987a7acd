//! What routing needs to know of a node. The caller fills it from its own rows.

use control_core::settings::Reversal;
use protocol::document::config::Candidate;
use protocol::id::NodeId;
use protocol::key::SealKey;
use protocol::node::{Labels, Name, NodeRole};

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub node: NodeId,
    pub name: Name,
    /// Generation of the node's identity.
    pub generation: u64,
    pub roles: Vec<NodeRole>,
    pub labels: Labels,
    pub seal_key: SealKey,
    pub endpoints: Vec<Endpoint>,
    pub state: MemberState,
    /// The settings that it went back from.
    pub reverted: Option<Reversal>,
}

impl Member {
    pub fn has(&self, role: NodeRole) -> bool {
        self.roles.contains(&role)
    }

    /// Whether a route may end here: a member in force. A relay that is no member carries and never ends.
    pub fn can_end_routes(&self) -> bool {
        self.has(NodeRole::Member) && self.state.is_in_force()
    }

    /// The labels by which policies select it; none if no route may end here.
    pub fn selected_by(&self) -> Option<&Labels> {
        self.can_end_routes().then_some(&self.labels)
    }
}

impl Member {
    /// Whether every document of others says the same of both: all but how it stands, as long as it is in force or not,
    /// and what it went back from, which is for its own config to say.
    pub fn publishes_as(&self, other: &Self) -> bool {
        let Self {
            node,
            name,
            generation,
            roles,
            labels,
            seal_key,
            endpoints,
            state,
            reverted: _,
        } = self;
        let identity = (node, name, generation) == (&other.node, &other.name, &other.generation);
        let rights = (roles, labels) == (&other.roles, &other.labels);
        let reach = (seal_key, endpoints) == (&other.seal_key, &other.endpoints);

        identity && rights && reach && state.is_in_force() == other.state.is_in_force()
    }
}

/// Where a node stands with the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MemberState {
    Active,
    /// No heartbeat for 40 s.
    Degraded,
    /// No heartbeat for 5 min.
    Offline,
    /// Keeps what it carries until that is replaced, and is given nothing new.
    Draining,
    /// Set aside by an operator.
    Disabled,
    /// Set aside because its identity is in doubt.
    Quarantined,
    Revoked,
}

impl MemberState {
    /// Whether the node takes part at all; an offline one does, since a lost control connection removes nothing.
    pub const fn is_in_force(self) -> bool {
        match self {
            Self::Active | Self::Degraded | Self::Offline | Self::Draining => true,
            Self::Disabled | Self::Quarantined | Self::Revoked => false,
        }
    }
}

/// An address of a node. Until a handshake has confirmed it, few neighbours learn it: a liar must not aim a fleet
/// at a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Endpoint {
    pub candidate: Candidate,
    pub confirmed: bool,
}
