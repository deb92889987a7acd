//! Compiles, numbers and signs what a batch of requests has touched.
//!
//! Runs inside the batch's own group commit: the versions are on disk before the first byte leaves, and no reply
//! carries a document that its beacon lacks. The signed bytes live in the [`Publication`] alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use control_core::audit::Actor;
use control_core::authority::{self, OpenAuthority};
use control_core::desk::Desk;
use control_core::publish::{self as kernel, BeaconInput, PublishedDocument};
use control_core::store::RowsMut;
use control_core::{behind, cluster, issuing, node};
use control_routing::compile::{self, Settings};
use control_routing::lease::{RelayLease, TableVersion};
use control_routing::neighbour::Learners;
use protocol::envelope::{self, Document, Subject};
use protocol::id::{ClusterId, NodeId};
use protocol::merkle::{Leaf, Tree};
use protocol::node::NodeRole;

use crate::answer::{Bench, Call};
use crate::failure::Failure;
use crate::fleet::Fleet;
use crate::live::ClusterLife;
use crate::publication::{Publication, SignedDocument};
use crate::touched::Touched;

/// What every cluster shows.
pub type Publications = BTreeMap<ClusterId, Arc<Publication>>;

/// Where in the order of all beacons this one stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub term: u64,
    pub revision: u64,
}

/// Makes the publications that follow `before`, given what was touched since.
///
/// A store that is behind its fleet makes no beacon: what is compiled stands under the one that it has, for a controller
/// that has to know whom it may let in, and none of it leaves.
pub fn publish(call: Call<'_>, before: &Publications, place: Place) -> Result<Publications, Failure> {
    let Call {
        bench,
        tx,
        signer,
        now,
        rng,
        touched,
    } = call;
    let mut desk = Desk {
        tx,
        signer,
        now,
        rng,
        actor: Actor::Controller,
    };
    let is_behind = behind::find(desk.tx)?.is_some();
    let mut after = Publications::new();
    for row in cluster::list(desk.tx)? {
        let standing = before.get(&row.id);
        let publication = match standing {
            Some(standing) if touched.leaves_alone(row.id) => standing.clone(),
            _ => {
                let mut work = Work::of(&desk, bench, row.id, standing.map(Arc::as_ref))?;
                work.is_behind = is_behind;
                Arc::new(work.carry_out(&mut desk, touched, place)?)
            }
        };
        after.insert(row.id, publication);
    }

    Ok(after)
}

/// One cluster's publication in the making.
struct Work<'a> {
    cluster: ClusterId,
    authority: OpenAuthority,
    before: Option<&'a Publication>,
    fleet: Fleet,
    settings: Settings,
    learners: Learners,
    /// Documents are compiled from records alone.
    nothing: ClusterLife,
    documents: BTreeMap<NodeId, Vec<Arc<SignedDocument>>>,
    tree: Tree,
    is_behind: bool,
}

impl<'a> Work<'a> {
    fn of(
        desk: &Desk<'_>,
        bench: &Bench,
        cluster: ClusterId,
        before: Option<&'a Publication>,
    ) -> Result<Self, Failure> {
        let authority = authority::open(desk.tx, desk.signer, cluster)?;
        // Another epoch signs everything anew.
        let before = before.filter(|before| before.rank.epoch == authority.epoch);

        let (fleet, nothing) = (Fleet::read(desk.tx, cluster)?, ClusterLife::default());
        let learners = Learners::of(&fleet.snapshot(&nothing));
        let settings = Settings {
            controllers: issuing::controllers(desk.tx, cluster)?,
            transport: bench.transport,
        };

        Ok(Self {
            cluster,
            authority,
            before,
            fleet,
            settings,
            learners,
            nothing,
            documents: before.map(|before| before.documents.clone()).unwrap_or_default(),
            tree: before.map(|before| before.tree.clone()).unwrap_or_default(),
            is_behind: false,
        })
    }

    fn carry_out(
        mut self,
        desk: &mut Desk<'_>,
        touched: &Touched,
        place: Place,
    ) -> Result<Publication, Failure> {
        let whole = self.before.is_none() || touched.all || touched.members.contains(&self.cluster);
        let of = |set: &BTreeSet<(ClusterId, NodeId)>| -> BTreeSet<NodeId> {
            set.iter()
                .filter(|(cluster, _)| *cluster == self.cluster)
                .map(|(_, node)| *node)
                .collect()
        };
        let (routes, relays) = (of(&touched.routes), of(&touched.relays));
        let nodes: Vec<NodeId> = self.fleet.members.keys().copied().collect();
        for id in nodes {
            if !self.fleet.members[&id].state.is_in_force() {
                self.withdraw(id);
                continue;
            }
            let is_relay = self.fleet.members[&id].has(NodeRole::Relay);
            let has_news = whole || routes.contains(&id) || relays.contains(&id);
            if whole {
                self.config(desk, id)?;
            }
            if whole || routes.contains(&id) {
                self.routes(desk, id)?;
            }
            if is_relay && (whole || relays.contains(&id)) {
                self.lease_table(desk, id)?;
            }
            if has_news {
                self.plant(id);
            }
        }
        kernel::publish_shared(desk, self.cluster)?;

        self.seal(desk, place)
    }

    /// Takes the documents of a node that has none any more out of the tree.
    fn withdraw(&mut self, node: NodeId) {
        self.documents.remove(&node);
        self.tree.remove(node);
    }

    fn config(&mut self, desk: &mut Desk<'_>, id: NodeId) -> Result<(), Failure> {
        let input = self.fleet.snapshot(&self.nothing);
        match compile::config(&input, &self.learners, id, &self.settings) {
            Ok(body) => self.put(desk, id, &body).map(|_| ()),
            Err(error) => skip(id, &error),
        }
    }

    fn routes(&mut self, desk: &mut Desk<'_>, id: NodeId) -> Result<(), Failure> {
        let compiled = compile::routes(id, &self.fleet.routes, &self.fleet.leases);
        if !compiled.left_out.is_empty() {
            tracing::warn!(node = ?id, routes = ?compiled.left_out, "route records that make no sense were left out");
        }

        self.put(desk, id, &compiled.document).map(|_| ())
    }

    fn lease_table(&mut self, desk: &mut Desk<'_>, id: NodeId) -> Result<(), Failure> {
        let body = match compile::lease_table(&self.fleet.snapshot(&self.nothing), id) {
            Ok(body) => body,
            Err(error) => return skip(id, &error),
        };
        let row = self.put(desk, id, &body)?;
        let carried = TableVersion {
            epoch: row.epoch,
            version: row.version,
        };
        let rows: Vec<RelayLease> = self.fleet.leases.carried_by(id).copied().collect();
        for mut lease in rows {
            let before = lease.carried_by;
            lease.carry(carried);
            if lease.carried_by != before {
                desk.tx.put(&lease)?;
                self.fleet.leases.put(lease);
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
        let of_node = self.documents.entry(id).or_default();
        let at_hand = of_node
            .iter()
            .any(|known| known.kind == D::KIND && known.hash == published.row.hash);
        if !at_hand {
            let signed = sign(&self.authority, &published.row, body);
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

    fn shared<D: Document>(
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

        Ok(at_hand.unwrap_or_else(|| Arc::new(sign(&self.authority, &row, body))))
    }

    /// Pins it all with a beacon.
    fn seal(self, desk: &mut Desk<'_>, place: Place) -> Result<Publication, Failure> {
        let bundle_body = issuing::trust_bundle(desk.tx, self.cluster)?;
        let list_body = node::revocation_list(desk.tx, self.cluster)?;
        let bundle = self.shared(desk, self.before.map(|before| &before.bundle), &bundle_body)?;
        let revocations = self.shared(desk, self.before.map(|before| &before.revocations), &list_body)?;
        let input = BeaconInput {
            term: place.term,
            revision: place.revision,
            root: self.tree.root(),
            leaves: self.tree.len(),
        };
        let row = match self.is_behind {
            true => kernel::beacon(desk.tx, self.cluster)?.ok_or(NO_BEACON)?,
            false => kernel::next_beacon(desk, self.cluster, input)?,
        };

        Ok(Publication {
            cluster: self.cluster,
            authority: self.authority.key.verify_key(),
            rank: row.rank(),
            beacon_hash: row.hash,
            beacon: envelope::seal(&row.stamp(), &row.body, &[self.authority.key.as_ref()]),
            bundle,
            revocations,
            documents: self.documents,
            tree: self.tree,
        })
    }
}

const NO_BEACON: control_core::failure::Failure =
    control_core::failure::Failure::Inconsistent("a store that is behind has no beacon");

fn sign<D: Document>(authority: &OpenAuthority, row: &PublishedDocument, body: &D) -> SignedDocument {
    SignedDocument {
        kind: D::KIND,
        epoch: row.epoch,
        version: row.version,
        hash: row.hash,
        bytes: envelope::seal(&row.stamp(), body, &[authority.key.as_ref()]),
    }
}

/// One bad record spoils one node's document: it keeps the one it has.
fn skip(node: NodeId, error: &dyn std::error::Error) -> Result<(), Failure> {
    tracing::warn!(?node, %error, "a document could not be compiled; the node keeps what it has");

    Ok(())
}
