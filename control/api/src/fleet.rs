//! The rows of one cluster in the form that routing and compiling want.

use std::collections::BTreeMap;

use control_core::node::{NodeRow, Presence, Tenure};
use control_core::store::{Row, Rows, StoreError, Table, UnreadableRow, View};
use control_routing::decide::Snapshot;
use control_routing::lease::{Lease, LeaseBook};
use control_routing::member::{Endpoint, Member, MemberState};
use control_routing::observations::Observations;
use control_routing::policy::{PolicyRow, Wanted};
use control_routing::pool::RelayPool;
use control_routing::route::{RouteBook, RouteRow};
use control_routing::suspicion::Suspicion;
use control_routing::trend::Trends;
use protocol::cbor;
use protocol::document::config::{Candidate, CandidateKind};
use protocol::id::{ClusterId, NodeId};
use protocol::net::Address;

/// Members, routes and leases of a cluster, as one view has them.
#[derive(Clone, Debug, PartialEq)]
pub struct Fleet {
    pub cluster: ClusterId,
    pub members: BTreeMap<NodeId, Member>,
    pub relays: RelayPool,
    pub wanted: Wanted,
    pub leases: LeaseBook,
    pub routes: RouteBook,
    /// Rows of nodes, leases and routes that are left out because they do not decode.
    pub unreadable: Vec<UnreadableRow>,
}

/// Rows as they were when they could be read last. One that is damaged after that changes nothing that is in force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LastGood {
    pub members: BTreeMap<NodeId, Member>,
    /// By their keys.
    pub policies: BTreeMap<Vec<u8>, PolicyRow>,
}

impl Fleet {
    /// Leaves out single rows that cannot be read, but no policy: without one, every pair that it selects would go.
    pub fn read(view: &dyn View, cluster: ClusterId) -> Result<Self, StoreError> {
        let (fleet, _) = Self::read_after(view, cluster, &LastGood::default())?;

        Ok(fleet)
    }

    /// Nodes and policies that cannot be read are what they were when they could be read last, if that is known. The policies
    /// come beside it, by their keys.
    pub(crate) fn read_after(
        view: &dyn View,
        cluster: ClusterId,
        last: &LastGood,
    ) -> Result<(Self, BTreeMap<Vec<u8>, PolicyRow>), StoreError> {
        let scanned = view.scan_readable::<PolicyRow>(cluster.as_bytes())?;
        let mut policies: BTreeMap<Vec<u8>, PolicyRow> = scanned
            .rows
            .into_iter()
            .map(|policy| (policy.key(), policy))
            .collect();
        let known = |row: &UnreadableRow| last.policies.get_key_value(&row.key);
        if !scanned.unreadable.iter().all(|row| known(row).is_some()) {
            // This fails, and says why.
            view.scan::<PolicyRow>(cluster.as_bytes())?;
        }
        let kept = scanned.unreadable.iter().filter_map(known);
        policies.extend(kept.map(|(key, policy)| (key.clone(), policy.clone())));
        let list: Vec<PolicyRow> = policies.values().cloned().collect();
        let mut fleet = Self::under(&list, view, cluster, &last.members)?;
        fleet.unreadable.extend(scanned.unreadable);

        Ok((fleet, policies))
    }

    /// For what no policy has a say in: which nodes are in force, and what relays carry for them.
    pub(crate) fn without_policies(
        view: &dyn View,
        cluster: ClusterId,
        last: &LastGood,
    ) -> Result<Self, StoreError> {
        Self::under(&[], view, cluster, &last.members)
    }

    fn under(
        policies: &[PolicyRow],
        view: &dyn View,
        cluster: ClusterId,
        last: &BTreeMap<NodeId, Member>,
    ) -> Result<Self, StoreError> {
        let nodes = view.scan_readable::<NodeRow>(cluster.as_bytes())?;
        let leases = view.scan_readable::<Lease>(cluster.as_bytes())?;
        let routes = view.scan_readable::<RouteRow>(cluster.as_bytes())?;
        let mut members: BTreeMap<NodeId, Member> = nodes
            .rows
            .into_iter()
            .map(member)
            .map(|member| (member.node, member))
            .collect();

        let kept = nodes
            .unreadable
            .iter()
            .filter_map(node_of)
            .filter_map(|node| last.get(&node));
        members.extend(kept.map(|member| (member.node, member.clone())));

        Ok(Self {
            cluster,
            relays: RelayPool::of(&members),
            wanted: Wanted::select(cluster, policies, &members),
            leases: leases.rows.into_iter().collect(),
            routes: routes.rows.into_iter().collect(),
            members,
            unreadable: [nodes.unreadable, leases.unreadable, routes.unreadable].concat(),
        })
    }

    /// The member that a stored row describes, if the row can be read.
    pub(crate) fn member_of(row: &[u8]) -> Option<Member> {
        cbor::decode::<NodeRow>(row).ok().map(member)
    }

    /// As routing wants it, beside what is in memory.
    pub fn snapshot<'a>(
        &'a self,
        observations: &'a Observations,
        suspicion: &'a Suspicion,
        trends: &'a Trends,
    ) -> Snapshot<'a> {
        Snapshot {
            cluster: self.cluster,
            members: &self.members,
            relays: &self.relays,
            wanted: &self.wanted,
            leases: &self.leases,
            routes: &self.routes,
            observations,
            suspicion,
            trends,
        }
    }

    /// A node's name, or its id if it is gone.
    pub fn name(&self, node: NodeId) -> String {
        self.members
            .get(&node)
            .map_or_else(|| node.to_string(), |member| member.name.to_string())
    }
}

/// The node whose row it is.
pub(crate) fn node_of(row: &UnreadableRow) -> Option<NodeId> {
    let id = last_id(&row.key).filter(|_| row.table == Table::Nodes)?;

    Some(NodeId::from_bytes(id))
}

/// The id that ends a key after that of the cluster.
pub(crate) fn last_id(key: &[u8]) -> Option<[u8; 16]> {
    key.get(16..)?.try_into().ok()
}

fn member(row: NodeRow) -> Member {
    let state = match (row.tenure, row.presence) {
        (Tenure::Revoked, _) => MemberState::Revoked,
        (Tenure::Disabled, _) => MemberState::Disabled,
        (Tenure::Draining, _) => MemberState::Draining,
        (Tenure::Enabled, Presence::Active) => MemberState::Active,
        (Tenure::Enabled, Presence::Degraded) => MemberState::Degraded,
        (Tenure::Enabled, Presence::Offline) => MemberState::Offline,
    };

    Member {
        node: row.id,
        name: row.name,
        generation: row.generation,
        roles: row.roles,
        labels: row.labels,
        seal_key: row.seal_key,
        endpoints: row
            .candidates
            .iter()
            .map(|candidate| endpoint(*candidate, row.confirmed.as_deref().unwrap_or_default()))
            .collect(),
        state,
        reverted: row.reverted,
    }
}

/// An address that the controller has seen the node come from was confirmed by that very handshake, another by one that
/// a neighbour reported.
fn endpoint(candidate: Candidate, confirmed: &[Address]) -> Endpoint {
    Endpoint {
        candidate,
        confirmed: candidate.kind == CandidateKind::Reflexive || confirmed.contains(&candidate.address),
    }
}
