//! One cluster's publication in the making.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use control_core::authority::{self, OpenAuthority};
use control_core::desk::Desk;
use control_core::publish::{self as kernel, BeaconInput, PublishedDocument};
use control_core::settings::SettingsBook;
use control_core::store::{RowsMut, UnreadableRow};
use control_core::{issuing, node};
use control_routing::compile;
use control_routing::lease::{RelayLease, TableVersion};
use control_routing::neighbour::Learners;
use control_routing::policy::FULL_MESH;
use protocol::document::config::Settings;
use protocol::envelope::{self, Document, Subject};
use protocol::id::{ClusterId, NodeId};
use protocol::merkle::{Leaf, Tree};
use protocol::node::NodeRole;

use crate::answer::Bench;
use crate::failure::Failure;
use crate::fleet::{Fleet, LastGood};
use crate::live::ClusterLife;
use crate::publication::{Publication, SignedDocument};
use crate::publish::Place;
use crate::touched::Touched;

pub(super) struct Work<'a> {
    cluster: ClusterId,
    authority: OpenAuthority,
    before: Option<&'a Publication>,
    last_good: Arc<LastGood>,
    /// What documents are compiled from; none when a beacon alone is due.
    records: Option<Records>,
    /// What is to be compiled yet, node after node.
    due: VecDeque<(NodeId, Due)>,
    /// Whether bundle and revocations are to be compiled too.
    shared: bool,
    documents: BTreeMap<NodeId, Vec<Arc<SignedDocument>>>,
    tree: Tree,
    /// Rows that the transaction under way has written.
    written: usize,
}

struct Records {
    fleet: Fleet,
    settings: SettingsBook,
    learners: Learners,
    /// Documents are compiled from records alone.
    nothing: ClusterLife,
}

/// Which documents of one node are to be compiled.
#[derive(Clone, Copy)]
struct Due {
    config: bool,
    routes: bool,
    table: bool,
}

impl<'a> Work<'a> {
    pub(super) fn of(
        desk: &Desk<'_>,
        bench: &Bench,
        cluster: ClusterId,
        before: Option<&'a Publication>,
        touched: &Touched,
    ) -> Result<Self, Failure> {
        let authority = authority::open(desk.tx, desk.signer, cluster)?;
        // Another epoch signs everything anew.
        let mut last_good = before.map(|before| before.last_good.clone()).unwrap_or_default();
        let before = before.filter(|before| before.rank.epoch == authority.epoch);
        let is_whole = before.is_none() || touched.is_whole(cluster);
        let records = match is_whole || touched.has_nodes(cluster) {
            true => {
                let (records, read) = Records::read(desk, bench, cluster, &last_good)?;
                last_good = Arc::new(read);

                Some(records)
            }
            false => None,
        };
        let mut work = Self {
            cluster,
            authority,
            before,
            last_good,
            records,
            due: VecDeque::new(),
            shared: is_whole || touched.trust.contains(&cluster),
            documents: before.map(|before| before.documents.clone()).unwrap_or_default(),
            tree: before.map(|before| before.tree.clone()).unwrap_or_default(),
            written: 0,
        };
        work.plan(is_whole, touched);

        Ok(work)
    }

    /// Lists what is to be compiled, and takes the documents of nodes that have none any more out of the tree. A node
    /// whose row cannot be read keeps its leaf.
    fn plan(&mut self, is_whole: bool, touched: &Touched) {
        let Some(Records { fleet, .. }) = &self.records else {
            return;
        };
        let of = |set: &BTreeSet<(ClusterId, NodeId)>| -> BTreeSet<NodeId> {
            let of_cluster = set.iter().filter(|(cluster, _)| *cluster == self.cluster);

            of_cluster.map(|(_, node)| *node).collect()
        };
        let (configs, settings) = (of(&touched.configs), of(&touched.settings));
        let (routes, tables) = (of(&touched.routes), of(&touched.relays));
        let is_large = fleet.members.len() > FULL_MESH;
        let mut gone = Vec::new();
        for (id, member) in &fleet.members {
            let due = Due {
                // In a small cluster everybody knows every relay, leased or not.
                config: is_whole || settings.contains(id) || (is_large && configs.contains(id)),
                routes: is_whole || routes.contains(id),
                table: member.has(NodeRole::Relay) && (is_whole || tables.contains(id)),
            };
            if !member.state.is_in_force() {
                gone.push(*id);
            } else if due.config || due.routes || due.table {
                self.due.push_back((*id, due));
            }
        }
        for id in gone {
            self.documents.remove(&id);
            self.tree.remove(id);
        }
    }

    /// Takes back what is withdrawn although nothing else can be published: the documents of nodes that are not in force
    /// any more, and the rows for them in the lease tables of relays.
    pub(super) fn withdraw(&mut self, desk: &mut Desk<'_>, bench: &Bench) -> Result<(), Failure> {
        let no_settings = SettingsBook::of_nobody(Settings {
            controllers: Vec::new(),
            transport: bench.transport,
        });
        let records = Records::of(
            Fleet::without_policies(desk.tx, self.cluster, &self.last_good)?,
            no_settings,
        );
        let fleet = &records.fleet;
        let is_over = |id: &NodeId| {
            let member = fleet.members.get(id);

            member.is_some_and(|member| !member.state.is_in_force())
        };
        let over: Vec<NodeId> = fleet.members.keys().copied().filter(is_over).collect();
        let carries_for = |relay: &NodeId| {
            let mut carried = fleet.leases.carried_by(*relay);

            carried.any(|lease| is_over(&lease.low) || is_over(&lease.high))
        };
        let standing = self.documents.keys().copied();
        let relays: Vec<NodeId> = standing
            .filter(|id| !is_over(id) && fleet.relays.find(*id).is_some() && carries_for(id))
            .collect();
        for id in over {
            self.documents.remove(&id);
            self.tree.remove(id);
        }
        self.records = Some(records);
        for relay in relays {
            self.lease_table(desk, relay)?;
            self.plant(relay);
        }

        Ok(())
    }

    /// Keeps the settings that are published, for nodes that will go back to them.
    pub(super) fn note_settings(&self, desk: &mut Desk<'_>) -> Result<(), Failure> {
        if let Some(Records { fleet, settings, .. }) = &self.records {
            let reversals = fleet
                .members
                .values()
                .filter_map(|member| member.reverted.as_ref());
            settings.note(desk, self.cluster, reversals)?;
        }

        Ok(())
    }

    /// Rows that were left out, if the records were read.
    pub(super) fn unreadable(&self) -> &[UnreadableRow] {
        let records = self.records.as_ref();

        records.map_or(&[], |records| records.fleet.unreadable.as_slice())
    }

    pub(super) fn has_more(&self) -> bool {
        !self.due.is_empty()
    }

    /// Compiles for as many nodes as one transaction may write for.
    pub(super) fn step(&mut self, desk: &mut Desk<'_>) -> Result<(), Failure> {
        self.written = 0;
        while self.written < STEP_ROWS
            && let Some((id, due)) = self.due.pop_front()
        {
            if due.config {
                self.config(desk, id)?;
            }
            if due.routes {
                self.routes(desk, id)?;
            }
            if due.table {
                self.lease_table(desk, id)?;
            }
            self.plant(id);
        }

        Ok(())
    }

    fn config(&mut self, desk: &mut Desk<'_>, id: NodeId) -> Result<(), Failure> {
        let Some(records) = &self.records else {
            return Ok(());
        };
        let input = records.fleet.snapshot(
            &records.nothing.observations,
            &records.nothing.suspicion,
            &records.nothing.trends,
        );
        let reversal = input.members.get(&id).and_then(|member| member.reverted.as_ref());
        let settings = records.settings.of(reversal);
        match compile::config(&input, &records.learners, id, &settings) {
            Ok(body) => self.put(desk, id, &body).map(|_| ()),
            Err(error) => skip(id, &error),
        }
    }

    fn routes(&mut self, desk: &mut Desk<'_>, id: NodeId) -> Result<(), Failure> {
        let Some(Records { fleet, .. }) = &self.records else {
            return Ok(());
        };
        let compiled = compile::routes(id, &fleet.routes, &fleet.leases);
        if !compiled.left_out.is_empty() {
            tracing::warn!(node = ?id, routes = ?compiled.left_out, "route records that make no sense were left out");
        }

        self.put(desk, id, &compiled.document).map(|_| ())
    }

    fn lease_table(&mut self, desk: &mut Desk<'_>, id: NodeId) -> Result<(), Failure> {
        let Some(Records { fleet, nothing, .. }) = &self.records else {
            return Ok(());
        };
        let body = match compile::lease_table(
            &fleet.snapshot(&nothing.observations, &nothing.suspicion, &nothing.trends),
            id,
        ) {
            Ok(body) => body,
            Err(error) => return skip(id, &error),
        };
        let rows: Vec<RelayLease> = fleet.leases.carried_by(id).copied().collect();
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
                self.records
                    .iter_mut()
                    .for_each(|records| records.fleet.leases.put(lease));
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
            last_good: self.last_good.clone(),
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

impl Records {
    fn read(
        desk: &Desk<'_>,
        bench: &Bench,
        cluster: ClusterId,
        last: &LastGood,
    ) -> Result<(Self, LastGood), Failure> {
        let settings = Settings {
            controllers: issuing::controllers(desk.tx, cluster)?,
            transport: bench.transport,
        };
        let settings = SettingsBook::read(desk.tx, cluster, settings)?;

        let (fleet, read) = Fleet::read_after(desk.tx, cluster, last)?;

        Ok((Self::of(fleet, settings), read))
    }

    fn of(fleet: Fleet, settings: SettingsBook) -> Self {
        let nothing = ClusterLife::default();
        let learners =
            Learners::of(&fleet.snapshot(&nothing.observations, &nothing.suspicion, &nothing.trends));

        Self {
            fleet,
            settings,
            learners,
            nothing,
        }
    }
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
