//! One cluster's publication in the making.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use control_core::authority::{self, OpenAuthority};
use control_core::desk::Desk;
use control_core::publish::{self as kernel, BeaconInput, PublishedDocument};
use control_core::settings::SettingsBook;
use control_core::store::RowsMut;
use control_core::{damage, issuing, node};
use control_routing::compile;
use control_routing::lease::{Lease, TableVersion};
use protocol::document::config::Settings;
use protocol::envelope::{self, Document, Subject};
use protocol::id::{ClusterId, NodeId};
use protocol::merkle::{Leaf, Tree};

use super::press::Kept;
use super::records::Records;
use crate::answer::Bench;
use crate::books::Books;
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::publication::{Publication, SignedDocument};
use crate::publish::{Place, Task};
use crate::touched::Touched;

pub(super) struct Work<'a> {
    cluster: ClusterId,
    authority: OpenAuthority,
    before: Option<&'a Publication>,
    /// What is to be compiled yet, node after node.
    due: VecDeque<(NodeId, Due)>,
    /// Whether bundle and revocations are to be compiled too.
    shared: bool,
    documents: BTreeMap<NodeId, Vec<Arc<SignedDocument>>>,
    tree: Tree,
    /// Rows that the transaction under way has written.
    written: usize,
}

/// Which documents of one node are to be compiled.
#[derive(Clone, Copy)]
struct Due {
    config: bool,
    routes: bool,
    table: bool,
}

impl Due {
    const ALL: Self = Self {
        config: true,
        routes: true,
        table: true,
    };
    /// What was decided, whatever policies say now.
    const DECIDED: Self = Self {
        config: false,
        ..Self::ALL
    };
    const TABLE: Self = Self {
        routes: false,
        ..Self::DECIDED
    };
}

impl<'a> Work<'a> {
    pub(super) fn of(
        desk: &mut Desk<'_>,
        bench: &Bench,
        task: &Task<'a>,
        kept: &mut Kept,
    ) -> Result<Self, Failure> {
        let Task {
            cluster,
            standing,
            touched,
            ..
        } = *task;
        let authority = authority::open(desk.tx, desk.signer, cluster)?;
        // Another epoch signs everything anew.
        let before = standing.filter(|standing| standing.rank.epoch == authority.epoch);
        let mut work = Self {
            cluster,
            authority,
            before,
            due: VecDeque::new(),
            shared: touched.trust.contains(&cluster),
            documents: before.map(|before| before.documents.clone()).unwrap_or_default(),
            tree: before.map(|before| before.tree.clone()).unwrap_or_default(),
            written: 0,
        };
        let is_known = before.is_some() && kept.records.is_some();
        if task.withdraws {
            work.shared = true;
            work.withdraw(desk, bench, kept)?;
        } else if touched.is_whole(cluster) || before.is_none() || (touched.has_news(cluster) && !is_known) {
            work.shared = true;
            work.read(desk, bench, kept)?;
        } else if let Some(records) = &mut kept.records {
            work.catch_up(desk, touched, records)?;
        }

        Ok(work)
    }

    /// Begins with everything that the store has.
    fn read(&mut self, desk: &mut Desk<'_>, bench: &Bench, kept: &mut Kept) -> Result<(), Failure> {
        kept.forget();
        let Records { books, settings, .. } =
            kept.records
                .insert(Records::read(desk, bench, self.cluster, &kept.last_good)?);
        watch_damage(desk, self.cluster, books)?;
        let members = books.fleet().members.values();
        let reversals = members.filter_map(|member| member.reverted.as_ref());
        // For nodes that will go back to them.
        settings.note(desk, self.cluster, reversals)?;
        for id in books.fleet().members.keys() {
            self.plan(books.fleet(), *id, Due::ALL);
        }

        Ok(())
    }

    /// Begins with what was written since the last publication.
    fn catch_up(
        &mut self,
        desk: &mut Desk<'_>,
        touched: &Touched,
        records: &mut Records,
    ) -> Result<(), Failure> {
        let Some(written) = touched.rows.get(&self.cluster) else {
            return Ok(());
        };
        let damaged = records.books.unreadable().clone();
        let concerned = records.catch_up(desk.tx, written)?;
        if *records.books.unreadable() != damaged {
            watch_damage(desk, self.cluster, &records.books)?;
        }
        let members = &records.fleet().members;
        let mut nodes: BTreeSet<NodeId> = concerned.configs.union(&concerned.routes).copied().collect();
        nodes.extend(&concerned.tables);
        if concerned.everybody {
            nodes.extend(members.keys());
        }
        for node in nodes {
            let due = Due {
                config: concerned.everybody || concerned.configs.contains(&node),
                routes: concerned.routes.contains(&node),
                table: concerned.tables.contains(&node),
            };
            self.plan(records.fleet(), node, due);
        }

        Ok(())
    }

    /// Has documents of a node compiled, or takes those of one that has none any more out of the tree. A node whose row
    /// cannot be read keeps its leaf.
    fn plan(&mut self, fleet: &Fleet, node: NodeId, due: Due) {
        match fleet.members.get(&node) {
            Some(member) if !member.state.is_in_force() => {
                self.documents.remove(&node);
                self.tree.remove(node);
            }
            Some(_) => {
                let table = due.table && fleet.relays.has_table(node);
                self.due.push_back((node, Due { table, ..due }));
            }
            None => {}
        }
    }

    /// Takes back what is withdrawn although nothing else can be published: the documents of nodes that are not in force
    /// any more, and the rows for them in the lease tables of relays. Where nothing stands, begins with the documents in
    /// which no policy has a say: routes and lease tables, as they were decided. A config made without the policies would
    /// take a node's neighbours from it.
    fn withdraw(&mut self, desk: &Desk<'_>, bench: &Bench, kept: &mut Kept) -> Result<(), Failure> {
        let no_settings = SettingsBook::of_nobody(Settings {
            controllers: Vec::new(),
            transport: bench.transport,
        });
        let fleet = Fleet::without_policies(desk.tx, self.cluster, &kept.last_good)?;
        let records = Records::of(Books::of(fleet, BTreeMap::new()), no_settings);
        let fleet = kept.records.insert(records).fleet();
        let is_over = |id: &NodeId| {
            let member = fleet.members.get(id);

            member.is_some_and(|member| !member.state.is_in_force())
        };
        let over: Vec<NodeId> = fleet.members.keys().copied().filter(is_over).collect();
        if self.before.is_none() {
            for id in fleet.members.keys() {
                self.plan(fleet, *id, Due::DECIDED);
            }
            return Ok(());
        }
        let carries_for = |relay: &NodeId| {
            let mut carried = fleet.leases.carried_by(*relay);

            carried.any(|lease| is_over(&lease.low) || is_over(&lease.high))
        };
        let standing = self.documents.keys().copied();
        let relays = standing.filter(|id| !is_over(id) && fleet.relays.has_table(*id) && carries_for(id));
        self.due.extend(relays.map(|relay| (relay, Due::TABLE)));
        for id in over {
            self.documents.remove(&id);
            self.tree.remove(id);
        }

        Ok(())
    }

    pub(super) fn has_more(&self) -> bool {
        !self.due.is_empty()
    }

    /// Compiles for as many nodes as one transaction may write for.
    pub(super) fn step(&mut self, desk: &mut Desk<'_>, kept: &mut Kept) -> Result<(), Failure> {
        self.written = 0;
        let Some(records) = &mut kept.records else {
            self.due.clear();
            return Ok(());
        };
        while self.written < STEP_ROWS
            && let Some((id, due)) = self.due.pop_front()
        {
            if due.config {
                self.config(desk, records, id)?;
            }
            if due.routes {
                self.routes(desk, records, id)?;
            }
            if due.table {
                self.lease_table(desk, records, id)?;
            }
            self.plant(id);
        }

        Ok(())
    }

    fn config(&mut self, desk: &mut Desk<'_>, records: &Records, id: NodeId) -> Result<(), Failure> {
        let input = records.snapshot();
        let reversal = input.members.get(&id).and_then(|member| member.reverted.as_ref());
        let settings = records.settings.of(reversal);
        match compile::config(&input, &records.learners, id, &settings) {
            Ok(mut body) => {
                body.offered_again = records.settings.offered_again(reversal);
                self.put(desk, id, &body).map(|_| ())
            }
            Err(error) => skip(id, &error),
        }
    }

    fn routes(&mut self, desk: &mut Desk<'_>, records: &Records, id: NodeId) -> Result<(), Failure> {
        let fleet = records.fleet();
        let compiled = compile::routes(id, &fleet.routes, &fleet.leases);
        if !compiled.left_out.is_empty() {
            tracing::warn!(node = ?id, routes = ?compiled.left_out, "route records that make no sense were left out");
        }

        self.put(desk, id, &compiled.document).map(|_| ())
    }

    fn lease_table(&mut self, desk: &mut Desk<'_>, records: &mut Records, id: NodeId) -> Result<(), Failure> {
        let unknown = records.books.unknown().collect();
        let body = match compile::lease_table(&records.snapshot(), &unknown, id) {
            Ok(body) => body,
            Err(error) => return skip(id, &error),
        };
        let rows: Vec<Lease> = records.fleet().leases.carried_by(id).copied().collect();
        let row = self.put(desk, id, &body)?;
        let carried = TableVersion {
            epoch: row.epoch,
            version: row.version,
        };
        for mut lease in rows {
            let before = lease.carried_by;
            lease.carry(carried);
            if lease.carried_by != before {
                desk.tx.put(&lease)?;
                self.written += 1;
                records.books.put_lease(lease);
            }
        }

        Ok(())
    }

    /// Numbers one document, and signs it unless the signed bytes are at hand.
    fn put<D: Document>(
        &mut self,
        desk: &mut Desk<'_>,
        id: NodeId,
        body: &D,
    ) -> Result<PublishedDocument, Failure> {
        let subject = Subject::Node(id);
        let published = kernel::publish(desk, self.cluster, subject, body)?;
        self.written += usize::from(published.changed);
        let of_node = self.documents.entry(id).or_default();
        let known = of_node.iter().find(|known| known.kind == D::KIND);
        if known.is_none_or(|known| known.hash != published.row.hash) {
            let signed = sign(&self.authority, known, &published.row, body);
            of_node.retain(|known| known.kind != D::KIND);
            of_node.push(Arc::new(signed));
        }

        Ok(published.row)
    }

    /// Brings the leaf of a node up to its documents.
    fn plant(&mut self, node: NodeId) {
        let documents = self.documents.get(&node).into_iter().flatten();

        self.tree
            .set(Leaf::new(node, documents.map(|document| document.entry())));
    }

    /// Pins it all with a beacon; without a place, with the one that stands.
    pub(super) fn seal(&mut self, desk: &mut Desk<'_>, place: Option<Place>) -> Result<Publication, Failure> {
        let (bundle, revocations) = match self.before.filter(|_| !self.shared) {
            Some(before) => (before.bundle.clone(), before.revocations.clone()),
            None => self.shared(desk)?,
        };
        let row = match place {
            None => kernel::beacon(desk.tx, self.cluster)?.ok_or(NO_BEACON)?,
            Some(place) => {
                let input = BeaconInput {
                    term: place.term,
                    revision: place.revision,
                    root: self.tree.root(),
                    leaves: self.tree.len(),
                };
                kernel::next_beacon(desk, self.cluster, input)?
            }
        };

        Ok(Publication {
            cluster: self.cluster,
            authority: self.authority.key.verify_key(),
            rank: row.rank(),
            beacon_hash: row.hash,
            beacon: envelope::seal(&row.stamp(), &row.body, &[self.authority.key.as_ref()]),
            bundle,
            revocations,
            documents: std::mem::take(&mut self.documents),
            tree: std::mem::take(&mut self.tree),
        })
    }

    /// Bundle and revocation list as the rows have them now.
    fn shared(&self, desk: &mut Desk<'_>) -> Result<(Arc<SignedDocument>, Arc<SignedDocument>), Failure> {
        kernel::publish_shared(desk, self.cluster)?;
        let bundle = issuing::trust_bundle(desk.tx, self.cluster)?;
        let list = node::revocation_list(desk.tx, self.cluster)?;
        let (old_bundle, old_list) = self
            .before
            .map(|before| (&before.bundle, &before.revocations))
            .unzip();

        Ok((
            self.signed(desk, old_bundle, &bundle)?,
            self.signed(desk, old_list, &list)?,
        ))
    }

    fn signed<D: Document>(
        &self,
        desk: &Desk<'_>,
        known: Option<&Arc<SignedDocument>>,
        body: &D,
    ) -> Result<Arc<SignedDocument>, Failure> {
        let row = kernel::published(desk.tx, self.cluster, Subject::All, D::KIND)?;
        let row = row.ok_or(control_core::failure::Failure::Inconsistent(
            "a shared document was not numbered",
        ))?;
        let at_hand = known.filter(|known| known.hash == row.hash).cloned();

        Ok(at_hand.unwrap_or_else(|| Arc::new(sign(&self.authority, known, &row, body))))
    }
}

/// Tells of rows that cannot be read.
fn watch_damage(desk: &mut Desk<'_>, cluster: ClusterId, books: &Books) -> Result<(), Failure> {
    let mut unreadable = books.unreadable().clone();
    unreadable.extend(kernel::unreadable(desk.tx, cluster)?);

    Ok(damage::watch(desk, cluster, &unreadable)?)
}

fn sign<D: Document>(
    authority: &OpenAuthority,
    known: Option<&Arc<SignedDocument>>,
    row: &PublishedDocument,
    body: &D,
) -> SignedDocument {
    let before = row.previous.map(|hash| (row.version.saturating_sub(1), hash));

    SignedDocument {
        kind: D::KIND,
        epoch: row.epoch,
        version: row.version,
        hash: row.hash,
        bytes: envelope::seal(&row.stamp(), body, &[authority.key.as_ref()]),
        earlier: known.map_or_else(|| before.into_iter().collect(), |known| known.line()),
    }
}

/// One bad record spoils one node's document: it keeps the one it has.
fn skip(node: NodeId, error: &dyn std::error::Error) -> Result<(), Failure> {
    tracing::warn!(?node, %error, "a document could not be compiled; the node keeps what it has");

    Ok(())
}

const NO_BEACON: control_core::failure::Failure =
    control_core::failure::Failure::Inconsistent("a store that is behind has no beacon");
/// Rows after which a transaction takes no further node. With the leases of one full relay on top it still fits one
/// commit of an engine (10,000 writes).
const STEP_ROWS: usize = 1_000;
