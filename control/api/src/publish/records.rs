//! What the documents of one cluster are compiled from, kept from publication to publication, and whom a change of it
//! concerns.

use std::collections::BTreeSet;

use control_core::desk::Desk;
use control_core::issuing;
use control_core::settings::SettingsBook;
use control_core::store::{StoreError, View};
use control_routing::lease::Lease;
use control_routing::member::Member;
use control_routing::neighbour::Learners;
use control_routing::policy::FULL_MESH;
use protocol::document::config::Settings;
use protocol::id::{ClusterId, NodeId};
use protocol::node::NodeRole;

use crate::answer::Bench;
use crate::books::{Books, Change, ChangedNode, Written};
use crate::failure::Failure;
use crate::fleet::{Fleet, LastGood};
use crate::live::ClusterLife;

/// See the module.
pub(super) struct Records {
    pub books: Books,
    pub settings: SettingsBook,
    pub learners: Learners,
    /// Documents are compiled from records alone.
    pub nothing: ClusterLife,
}

/// What may differ in which documents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Concerned {
    /// Whether it is every config.
    pub everybody: bool,
    pub configs: BTreeSet<NodeId>,
    pub routes: BTreeSet<NodeId>,
    pub tables: BTreeSet<NodeId>,
}

impl Records {
    pub(super) fn read(
        desk: &Desk<'_>,
        bench: &Bench,
        cluster: ClusterId,
        last: &LastGood,
    ) -> Result<Self, Failure> {
        let settings = Settings {
            controllers: issuing::controllers(desk.tx, cluster)?,
            transport: bench.transport,
        };
        let settings = SettingsBook::read(desk.tx, cluster, settings)?;

        Ok(Self::of(Books::read(desk.tx, cluster, last)?, settings))
    }

    pub(super) fn of(books: Books, settings: SettingsBook) -> Self {
        let nothing = ClusterLife::default();
        let learners = Learners::of(&snapshot(books.fleet(), &nothing));

        Self {
            books,
            settings,
            learners,
            nothing,
        }
    }

    pub(super) fn fleet(&self) -> &Fleet {
        self.books.fleet()
    }

    /// As the compilers want it.
    pub(super) fn snapshot(&self) -> control_routing::decide::Snapshot<'_> {
        snapshot(self.books.fleet(), &self.nothing)
    }

    /// Takes over rows of nodes, routes and leases that were written, as the store has them now. Returns in whose documents that
    /// may show.
    pub(super) fn catch_up(&mut self, view: &dyn View, written: &Written) -> Result<Concerned, StoreError> {
        let mut changes = Changes::default();
        let was_small = is_small(self.fleet());
        for (book, key) in written {
            let row = view.get_bytes(book.table(), key)?;
            if let Some(change) = self.books.handle_row(*book, key, row.as_deref())? {
                changes.note(change, self.books.fleet());
            }
        }
        let ends = changes.nodes.iter().filter(|changed| self.shows(changed));
        let ends_before = ends.flat_map(|changed| self.fleet().wanted.far_ends(changed.node));
        let mut concerned = Concerned {
            configs: ends_before.collect(),
            ..changes.concerned
        };
        let mut moved = changes.moved;
        let reselected = self.books.reselect();
        moved.extend(reselected.iter().flat_map(|route| [route.low, route.high]));
        for changed in &changes.nodes {
            self.note_node(changed, was_small, &mut moved, &mut concerned);
        }
        let snapshot = snapshot(self.books.fleet(), &self.nothing);
        match concerned.everybody {
            true => self.learners = Learners::of(&snapshot),
            false => concerned
                .configs
                .append(&mut self.learners.update(&snapshot, &moved)),
        }
        concerned.configs.append(&mut moved);

        Ok(concerned)
    }

    /// Whether a document of somebody else may say something else of the node.
    fn shows(&self, changed: &ChangedNode) -> bool {
        match (&changed.before, self.fleet().members.get(&changed.node)) {
            (Some(before), Some(after)) => !before.publishes_as(after),
            (None, None) => false,
            (Some(_), None) | (None, Some(_)) => true,
        }
    }

    fn note_node(
        &self,
        changed: &ChangedNode,
        was_small: bool,
        moved: &mut BTreeSet<NodeId>,
        concerned: &mut Concerned,
    ) {
        let (fleet, node) = (self.fleet(), changed.node);
        let (before, after) = (changed.before.as_ref(), fleet.members.get(&node));
        // What it went back from is for its own config to say.
        concerned.configs.insert(node);
        if changed.was_unknown || self.books.unknown().any(|unknown| unknown == node) {
            concerned.tables.extend(relays_for(fleet, node));
        }
        if !self.shows(changed) {
            return;
        }
        moved.insert(node);
        concerned.configs.extend(fleet.wanted.far_ends(node));
        let carries = |member: &Member| member.has(NodeRole::Relay) || member.has(NodeRole::Rendezvous);
        let carries = before.into_iter().chain(after).any(carries);
        // Nearly everybody knows those who carry, and in a small cluster all know all.
        concerned.everybody |= carries || was_small || is_small(fleet);
        concerned.routes.insert(node);
        concerned.tables.insert(node);
        let ends_routes = |member: Option<&Member>| member.is_some_and(Member::can_end_routes);
        if ends_routes(before) != ends_routes(after) {
            concerned.tables.extend(relays_for(fleet, node));
        }
    }
}

/// What a batch of rows changed.
#[derive(Default)]
struct Changes {
    nodes: Vec<ChangedNode>,
    /// Whose neighbours may be others.
    moved: BTreeSet<NodeId>,
    concerned: Concerned,
}

impl Changes {
    fn note(&mut self, change: Change, fleet: &Fleet) {
        match change {
            Change::Node(changed) => self.nodes.push(*changed),
            Change::Route { route, before } => {
                let rows = before.as_ref().into_iter().chain(fleet.routes.find(route));
                self.concerned
                    .routes
                    .extend(rows.flat_map(|row| [row.low, row.high]));
            }
            Change::Lease { lease, before } => {
                let after = fleet.leases.find(lease);
                let pair = before.as_ref().zip(after);
                if pair.is_some_and(|(before, after)| before.publishes_as(after)) {
                    return;
                }
                for lease in before.iter().chain(after) {
                    let ends = [lease.low, lease.high];
                    self.moved.extend(ends);
                    self.concerned.routes.extend(ends);
                    self.concerned.tables.insert(lease.relay);
                }
            }
            // All of the cluster is read and compiled anew.
            Change::Policy => self.concerned.everybody = true,
        }
    }
}

fn snapshot<'a>(fleet: &'a Fleet, nothing: &'a ClusterLife) -> control_routing::decide::Snapshot<'a> {
    fleet.snapshot(&nothing.observations, &nothing.suspicion, &nothing.trends)
}

fn is_small(fleet: &Fleet) -> bool {
    fleet.members.len() <= FULL_MESH
}

/// The relays in whose tables leases of a node may stand, be it one whose row was gone for a while.
fn relays_for(fleet: &Fleet, node: NodeId) -> BTreeSet<NodeId> {
    let ends_there = |lease: &&Lease| lease.low == node || lease.high == node;
    let leases = fleet.leases.iter().filter(ends_there);

    leases.map(|lease| lease.relay).collect()
}

#[cfg(test)]
mod tests;
