//! The rows of one cluster in memory, kept up with the store row by row.
//!
//! Who keeps such books need not read the cluster again for each change, and learns what a row was before it changed.
//! After any sequence of rows they are what [`Fleet::read`] would find, but for rows that are damaged: a node or a policy
//! stays what it was.

use std::collections::{BTreeMap, BTreeSet};

use control_core::store::{StoreError, Table, UnreadableRow, View};
use control_routing::lease::Lease;
use control_routing::member::Member;
use control_routing::policy::{PolicyRow, Wanted, WantedRoute};
use control_routing::route::RouteRow;
use control_routing::selection::{Selected, Selection};
use protocol::cbor;
use protocol::id::{ClusterId, LeaseId, NodeId, RouteId};
use protocol::node::Labels;

use crate::fleet::{self, Fleet, LastGood, last_id};

/// See the module.
#[derive(Clone, Debug)]
pub struct Books {
    fleet: Fleet,
    /// By their keys.
    policies: BTreeMap<Vec<u8>, PolicyRow>,
    /// Rows that cannot be read.
    unreadable: BTreeSet<UnreadableRow>,
    /// Who changed since the wanted routes were selected, each with the labels by which policies selected it then.
    stirred: BTreeMap<NodeId, Option<Labels>>,
    /// Whether policies have changed since.
    reselects: bool,
    /// Selects for those who changed alone; none if it has to be made anew.
    selection: Option<Selection>,
}

/// What books keep, each under the cluster's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Book {
    Nodes,
    Policies,
    Routes,
    Leases,
}

impl Book {
    pub const ALL: [Self; 4] = [Self::Nodes, Self::Policies, Self::Routes, Self::Leases];

    /// The table that its rows stand in.
    pub const fn table(self) -> Table {
        match self {
            Self::Nodes => Table::Nodes,
            Self::Policies => Table::Policies,
            Self::Routes => Table::Routes,
            Self::Leases => Table::Leases,
        }
    }

    /// The book that a table's rows stand in, if there is one.
    pub fn of(table: Table) -> Option<Self> {
        Self::ALL.into_iter().find(|book| book.table() == table)
    }
}

/// What a row that was taken over has changed, and what it was before.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    Node(Box<ChangedNode>),
    Policy,
    Route {
        route: RouteId,
        before: Option<RouteRow>,
    },
    Lease {
        lease: LeaseId,
        before: Option<Lease>,
    },
}

#[derive(Clone, Debug, PartialEq)]
pub struct ChangedNode {
    pub node: NodeId,
    pub before: Option<Member>,
    /// Whether its row could not be read before, and nothing was known of it.
    pub was_unknown: bool,
    /// Whether it changed as a relay.
    pub repooled: bool,
}

impl Books {
    /// Reads the cluster. Leaves out single rows that cannot be read, but no policy: without one, every pair that it
    /// selects would go. Nodes and policies that cannot be read are what they were when they could be read last, if that is
    /// known.
    pub fn read(view: &dyn View, cluster: ClusterId, last: &LastGood) -> Result<Self, StoreError> {
        let (fleet, policies) = Fleet::read_after(view, cluster, last)?;

        Ok(Self::of(fleet, policies))
    }

    /// Of a cluster as it is.
    pub fn of(mut fleet: Fleet, policies: BTreeMap<Vec<u8>, PolicyRow>) -> Self {
        Self {
            unreadable: std::mem::take(&mut fleet.unreadable).into_iter().collect(),
            fleet,
            policies,
            stirred: BTreeMap::new(),
            reselects: false,
            selection: None,
        }
    }

    /// The wanted routes among it are those of the last [`reselect`](Self::reselect).
    pub fn fleet(&self) -> &Fleet {
        &self.fleet
    }

    /// Nodes whose rows cannot be read and of which nothing is known.
    pub fn unknown(&self) -> impl Iterator<Item = NodeId> {
        let nodes = self.unreadable.iter().filter_map(fleet::node_of);

        nodes.filter(|node| !self.fleet.members.contains_key(node))
    }

    pub fn unreadable(&self) -> &BTreeSet<UnreadableRow> {
        &self.unreadable
    }

    /// Nodes and policies as they could be read last.
    pub fn into_last_good(self) -> LastGood {
        LastGood {
            members: self.fleet.members,
            policies: self.policies,
        }
    }

    /// Takes over one row as the store has it now; none if it is gone. Of routes and leases, what cannot be read counts as
    /// gone; a node or a policy stays what it was, and nothing has changed. A policy that never could be read is an error: then
    /// nothing can be decided until it is mended and everything is read anew.
    pub fn handle_row(
        &mut self,
        book: Book,
        key: &[u8],
        row: Option<&[u8]>,
    ) -> Result<Option<Change>, StoreError> {
        let change = match book {
            Book::Nodes => {
                let Some(node) = last_id(key).map(NodeId::from_bytes) else {
                    return Ok(None);
                };
                let member = row.map(Fleet::member_of);
                let was_unreadable = self.note(book, key, member != Some(None));
                if member == Some(None) {
                    return Ok(self.handle_damaged_node(node, was_unreadable));
                }

                self.handle_member(node, member.flatten(), was_unreadable)
            }
            Book::Policies => {
                let policy: Option<PolicyRow> = match row.map(cbor::decode).transpose() {
                    Ok(policy) => policy,
                    Err(_) if self.policies.contains_key(key) => {
                        self.note(book, key, false);
                        return Ok(None);
                    }
                    Err(source) => {
                        return Err(StoreError::Corrupt {
                            table: book.table(),
                            source,
                        });
                    }
                };
                self.note(book, key, true);
                self.handle_policy(key, policy)
            }
            Book::Routes => {
                let Some(route) = last_id(key).map(RouteId::from_bytes) else {
                    return Ok(None);
                };
                let decoded = row.and_then(|row| cbor::decode(row).ok());
                self.note(book, key, row.is_none() || decoded.is_some());
                self.handle_route(route, decoded)
            }
            Book::Leases => {
                let Some(lease) = last_id(key).map(LeaseId::from_bytes) else {
                    return Ok(None);
                };
                let decoded = row.and_then(|row| cbor::decode(row).ok());
                self.note(book, key, row.is_none() || decoded.is_some());
                self.handle_lease(lease, decoded)
            }
        };

        Ok(Some(change))
    }

    /// Takes over a lease that whoever keeps the books has written.
    pub(crate) fn put_lease(&mut self, lease: Lease) {
        self.fleet.leases.put(lease);
    }

    /// Selects the wanted routes for what has changed, if nodes or policies have. Returns those that came, those that changed and
    /// those that went, some of them perhaps twice.
    pub fn reselect(&mut self) -> Vec<WantedRoute> {
        let stirred = std::mem::take(&mut self.stirred);
        if std::mem::take(&mut self.reselects) {
            self.selection = None;
            return self.select();
        }
        if stirred.is_empty() {
            return Vec::new();
        }
        let mut turned = self.select_for(&stirred);
        if self.selection.is_none() {
            // A route that turned before that, and turns back, is told all the same.
            turned.extend(self.select());
        }

        turned
    }

    /// Selects for a few, as far as that goes: without a selection after that, everything is to be selected.
    fn select_for(&mut self, stirred: &BTreeMap<NodeId, Option<Labels>>) -> Vec<WantedRoute> {
        let mut turned = Vec::new();
        let Some(mut selection) = self.selection.take() else {
            return turned;
        };
        let is_done = stirred.iter().all(|(node, before)| {
            let selected = Selected {
                node: *node,
                before: before.as_ref(),
                after: self.fleet.members.get(node).and_then(Member::selected_by),
            };

            selection.put(&mut self.fleet.wanted, selected, &mut turned)
        });
        self.selection = is_done.then_some(selection);

        turned
    }

    /// Selects everything. While a node has no room for all its pairs, so it stays.
    fn select(&mut self) -> Vec<WantedRoute> {
        let policies: Vec<PolicyRow> = self.policies.values().cloned().collect();
        let (cluster, members) = (self.fleet.cluster, &self.fleet.members);
        let wanted = Wanted::select(cluster, &policies, members);
        let is_bound = wanted.left_out() > 0;
        self.selection = (!is_bound).then(|| Selection::of(cluster, &policies, members));
        let before = std::mem::replace(&mut self.fleet.wanted, wanted);
        let wanted = &self.fleet.wanted;
        let news = wanted
            .iter()
            .filter(|route| before.find(route.route) != Some(route));
        let gone = before.iter().filter(|route| wanted.find(route.route).is_none());

        news.chain(gone).cloned().collect()
    }

    /// A damaged row changes nothing of a node that is known.
    fn handle_damaged_node(&self, node: NodeId, was_unreadable: bool) -> Option<Change> {
        let is_known = was_unreadable || self.fleet.members.contains_key(&node);

        (!is_known).then(|| {
            Change::Node(Box::new(ChangedNode {
                node,
                before: None,
                was_unknown: false,
                repooled: false,
            }))
        })
    }

    pub(crate) fn handle_member(
        &mut self,
        node: NodeId,
        member: Option<Member>,
        was_unreadable: bool,
    ) -> Change {
        let repooled = self.fleet.relays.put(node, member.as_ref());
        let known = self.fleet.members.get(&node).and_then(Member::selected_by);
        if known != member.as_ref().and_then(Member::selected_by) {
            self.stirred.entry(node).or_insert_with(|| known.cloned());
        }
        let before = match member {
            Some(member) => self.fleet.members.insert(node, member),
            None => self.fleet.members.remove(&node),
        };

        Change::Node(Box::new(ChangedNode {
            node,
            was_unknown: was_unreadable && before.is_none(),
            before,
            repooled,
        }))
    }

    fn handle_policy(&mut self, key: &[u8], policy: Option<PolicyRow>) -> Change {
        match policy {
            Some(policy) => self.policies.insert(key.to_vec(), policy),
            None => self.policies.remove(key),
        };
        self.reselects = true;

        Change::Policy
    }

    fn handle_route(&mut self, route: RouteId, row: Option<RouteRow>) -> Change {
        let before = match row {
            Some(row) => self.fleet.routes.put(row),
            None => self.fleet.routes.remove(route),
        };

        Change::Route { route, before }
    }

    fn handle_lease(&mut self, lease: LeaseId, row: Option<Lease>) -> Change {
        let before = self.fleet.leases.find(lease).copied();
        match row {
            Some(row) => self.fleet.leases.put(row),
            None => drop(self.fleet.leases.remove(lease)),
        }

        Change::Lease { lease, before }
    }

    /// Notes whether a row can be read. Returns whether it could not be before.
    fn note(&mut self, book: Book, key: &[u8], reads: bool) -> bool {
        if reads && self.unreadable.is_empty() {
            return false;
        }
        let row = UnreadableRow {
            table: book.table(),
            key: key.to_vec(),
        };
        match reads {
            true => self.unreadable.remove(&row),
            false => !self.unreadable.insert(row),
        }
    }
}

/// The keys of the rows that were written, within their books.
pub type Written = BTreeSet<(Book, Vec<u8>)>;
