//! The relays of a cluster, and the nodes that introduce others to each other, as route decisions see them.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use protocol::document::routes::LeaseKind;
use protocol::id::NodeId;
use protocol::node::NodeRole;
use serde::{Deserialize, Serialize};

use crate::member::{Member, MemberState};

/// Every relay in force, by id, and every introducer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelayPool {
    relays: BTreeMap<NodeId, Relay>,
    introducers: BTreeMap<NodeId, RelayStanding>,
}

/// A node with role `rendezvous` that is no relay: two that both reach it can agree over it when to dial each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introducer {
    pub node: NodeId,
    pub standing: RelayStanding,
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
        let introducers = members.values().filter_map(introducer);

        Self {
            relays: relays.collect(),
            introducers: introducers
                .map(|introducer| (introducer.node, introducer.standing))
                .collect(),
        }
    }

    /// The same relays, with these who introduce.
    #[must_use]
    pub fn with_introducers(self, introducers: impl IntoIterator<Item = Introducer>) -> Self {
        let introducers = introducers.into_iter();

        Self {
            introducers: introducers
                .map(|introducer| (introducer.node, introducer.standing))
                .collect(),
            ..self
        }
    }

    /// Takes over a member as it is now, none if it is gone. True if that changes the pool.
    pub fn put(&mut self, node: NodeId, member: Option<&Member>) -> bool {
        let relay = member.and_then(relay);
        let introducer = member.and_then(introducer);
        if self.relays.get(&node) == relay.as_ref() && self.introducer(node) == introducer {
            return false;
        }
        match relay {
            Some(relay) => self.relays.insert(node, relay),
            None => self.relays.remove(&node),
        };
        match introducer {
            Some(introducer) => self.introducers.insert(node, introducer.standing),
            None => self.introducers.remove(&node),
        };

        true
    }

    /// Whether the node serves leases of this kind.
    pub fn serves(&self, node: NodeId, kind: LeaseKind) -> bool {
        match kind {
            LeaseKind::Relay => self.relays.contains_key(&node),
            LeaseKind::Rendezvous => self.introducers.contains_key(&node),
        }
    }

    /// Whether the node serves leases at all, and so has a table of them.
    pub fn has_table(&self, node: NodeId) -> bool {
        self.serves(node, LeaseKind::Relay) || self.serves(node, LeaseKind::Rendezvous)
    }

    pub fn introducer(&self, node: NodeId) -> Option<Introducer> {
        let standing = *self.introducers.get(&node)?;

        Some(Introducer { node, standing })
    }

    /// By id.
    pub fn introducers(&self) -> impl Iterator<Item = Introducer> {
        self.introducers.iter().map(|(node, standing)| Introducer {
            node: *node,
            standing: *standing,
        })
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
            introducers: BTreeMap::new(),
        }
    }
}

fn standing(member: &Member) -> Option<RelayStanding> {
    match member.state {
        MemberState::Active | MemberState::Degraded => Some(RelayStanding::Ready),
        MemberState::Draining => Some(RelayStanding::Draining),
        MemberState::Offline => Some(RelayStanding::Offline),
        MemberState::Disabled | MemberState::Quarantined | MemberState::Revoked => None,
    }
}

fn introducer(member: &Member) -> Option<Introducer> {
    let introduces = member.has(NodeRole::Rendezvous) && !member.has(NodeRole::Relay);

    Some(Introducer {
        node: member.node,
        standing: standing(member).filter(|_| introduces)?,
    })
}

fn relay(member: &Member) -> Option<Relay> {
    let standing = standing(member)?;
    let label = |key| member.labels.get(key).map(str::to_owned);

    member.has(NodeRole::Relay).then(|| Relay {
        node: member.node,
        standing,
        site: label("site"),
        host: label("host"),
    })
}
