//! The relays of a cluster, as route decisions see them.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use protocol::id::NodeId;
use protocol::node::NodeRole;
use serde::{Deserialize, Serialize};

use crate::member::{Member, MemberState};

/// Every relay in force, by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayPool {
    relays: BTreeMap<NodeId, Relay>,
}

/// A node that carries others' routes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relay {
    pub node: NodeId,
    pub standing: RelayStanding,
    /// Label `site`: what fails together.
    pub site: Option<String>,
    /// Label `host`: what fails together within a site.
    pub host: Option<String>,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum RelayStanding {
    #[n(1)]
    Ready,
    /// Keeps its routes until they have another path; takes no new ones.
    #[n(2)]
    Draining,
    /// Not heard of for 5 min. What still flows through it stays until there is something better.
    #[n(3)]
    Offline,
}

impl RelayPool {
    /// A disabled, quarantined or revoked relay is none.
    pub fn of(members: &BTreeMap<NodeId, Member>) -> Self {
        let relays = members
            .values()
            .filter_map(relay)
            .map(|relay| (relay.node, relay));

        Self {
            relays: relays.collect(),
        }
    }

    /// Takes over a member as it is now, none if it is gone. True if that changes the pool.
    pub fn put(&mut self, node: NodeId, member: Option<&Member>) -> bool {
        let relay = member.and_then(relay);
        if self.relays.get(&node) == relay.as_ref() {
            return false;
        }
        match relay {
            Some(relay) => self.relays.insert(node, relay),
            None => self.relays.remove(&node),
        };

        true
    }

    pub fn find(&self, node: NodeId) -> Option<&Relay> {
        self.relays.get(&node)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Relay> {
        self.relays.values()
    }

    pub fn len(&self) -> usize {
        self.relays.len()
    }

    pub fn is_empty(&self) -> bool {
        self.relays.is_empty()
    }
}

impl FromIterator<Relay> for RelayPool {
    fn from_iter<I: IntoIterator<Item = Relay>>(relays: I) -> Self {
        Self {
            relays: relays.into_iter().map(|relay| (relay.node, relay)).collect(),
        }
    }
}

fn relay(member: &Member) -> Option<Relay> {
    let standing = match member.state {
        MemberState::Active | MemberState::Degraded => RelayStanding::Ready,
        MemberState::Draining => RelayStanding::Draining,
        MemberState::Offline => RelayStanding::Offline,
        MemberState::Disabled | MemberState::Quarantined | MemberState::Revoked => return None,
    };
    let label = |key| member.labels.get(key).map(str::to_owned);

    member.has(NodeRole::Relay).then(|| Relay {
        node: member.node,
        standing,
        site: label("site"),
        host: label("host"),
    })
}
