//! Compiles, numbers and signs what a batch of requests has touched.
//!
//! Runs inside the batch's own group commit: the versions are on disk before the first byte leaves, and no reply
//! carries a document that its beacon lacks. The signed bytes live in the [`Publication`] alone.
//!
//! One cluster's publication may need several transactions. Those before the last only number documents: what is not
//! pinned by a beacon yet was shown to nobody, and the same content keeps its number when it is compiled again.

use std::collections::BTreeMap;
use std::sync::Arc;

use control_core::audit::Actor;
use control_core::desk::Desk;
use control_core::finding::{self, Finding, FindingKind, Severity};
use control_core::signer::Signer;
use control_core::store::Tx;
use control_core::{behind, cluster};
use protocol::id::ClusterId;
use protocol::time::Now;

use crate::answer::Bench;
use crate::failure::Failure;
use crate::publication::Publication;
use crate::touched::Touched;

mod press;
mod records;
mod work;

use press::Kept;
pub use press::Press;
use work::Work;

/// What every cluster shows.
pub type Publications = BTreeMap<ClusterId, Arc<Publication>>;

/// Where in the order of all beacons this one stands.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub term: u64,
    pub revision: u64,
}

/// What publishing draws from, besides the store.
pub struct Pen<'a> {
    pub bench: &'a Bench,
    pub signer: &'a dyn Signer,
    pub now: Now,
    pub rng: &'a mut dyn rand::CryptoRng,
}

/// Opens transactions one after another; each sees what the ones before it wrote.
pub trait Transactions {
    /// An error of `decide` takes back what it wrote.
    fn within(&mut self, decide: &mut dyn FnMut(&mut dyn Tx) -> Result<(), Failure>) -> Result<(), Failure>;
}

/// What came of a publication.
#[derive(Debug)]
pub struct Published {
    pub publications: Publications,
    /// What is still to be published: clusters that failed.
    pub owed: Touched,
}

/// Makes the publications that follow those of the press, given what was touched since. The caller gives them to the press
/// once the transactions are committed; if these come to nothing, the press must [forget](Press::forget).
///
/// A cluster that fails keeps the documents that it shows, raises a finding, and holds up no other; it is
/// [tried again](Touched::retries) when a beacon is due. Until then the documents stand under new beacons, so that relays
/// stay fresh, unless what its trust rests on cannot be published either: a revocation must not wait under a beacon that
/// calls it complete. One that fails at the start, when it shows nothing yet, shows what no policy has a say in. A store
/// that is behind its fleet makes no beacon: what is compiled stands under the one that it has, for a controller that has
/// to know whom it may let in, and none of it leaves.
pub fn publish(
    pen: &mut Pen<'_>,
    transactions: &mut dyn Transactions,
    press: &mut Press,
    touched: &Touched,
    place: Place,
) -> Result<Published, Failure> {
    let before = press.publications.clone();
    let (mut clusters, mut is_behind) = (Vec::new(), false);
    transactions.within(&mut |tx| {
        clusters = cluster::ids(tx)?;
        is_behind = behind::find(tx)?.is_some();

        Ok(())
    })?;
    let (mut publications, mut owed) = (Publications::new(), Touched::default());
    for id in clusters {
        let standing = before.get(&id);
        let has_failed = touched.overdue.contains(&id);
        let is_due = match has_failed {
            true => touched.retries(id),
            false => standing.is_none() || !touched.leaves_alone(id),
        };
        if !is_due {
            publications.extend(standing.map(|standing| (id, standing.clone())));
            owed.overdue.extend(has_failed.then_some(id));
            // Whoever publishes next catches up with them.
            owed.rows
                .extend(touched.rows.get(&id).map(|rows| (id, rows.clone())));
            continue;
        }
        let task = Task {
            cluster: id,
            standing: standing.map(Arc::as_ref),
            touched,
            place: (!is_behind).then_some(place),
            withdraws: false,
        };
        let kept = press.of(id);
        match task.carry_out(pen, transactions, kept) {
            Ok(publication) => {
                publications.insert(id, Arc::new(publication));
            }
            Err(failure) => {
                kept.forget();
                owed.overdue.insert(id);
                alarm(pen, transactions, id, &failure);
                let kept = task.prolong(pen, transactions, kept);
                publications.extend(kept.or_else(|| standing.cloned()).map(|kept| (id, kept)));
            }
        }
    }

    Ok(Published { publications, owed })
}

/// One cluster that has something to publish.
struct Task<'a> {
    cluster: ClusterId,
    standing: Option<&'a Publication>,
    touched: &'a Touched,
    /// None if no beacon may be made.
    place: Option<Place>,
    /// Whether nothing but what is withdrawn goes out, and what no policy has a say in where nothing stands.
    withdraws: bool,
}

impl Task<'_> {
    /// Pins what stands with a new beacon, beside bundle and revocations as they are now, and without what was withdrawn:
    /// a beacon makes whatever it pins fresh. Agents keep a document of which it says nothing.
    fn prolong(
        &self,
        pen: &mut Pen<'_>,
        transactions: &mut dyn Transactions,
        kept: &mut Kept,
    ) -> Option<Arc<Publication>> {
        self.place?;
        let trust = Touched::trust_of(self.cluster);
        let task = Task {
            touched: &trust,
            withdraws: true,
            ..*self
        };
        let prolonged = task.carry_out(pen, transactions, kept);
        // They lack the policies, and whoever reads them next must know what these were.
        kept.records = None;
        if let Err(failure) = &prolonged {
            tracing::warn!(cluster = ?self.cluster, code = failure.code.text(), "no new beacon either");
        }

        prolonged.ok().map(Arc::new)
    }

    fn carry_out(
        &self,
        pen: &mut Pen<'_>,
        transactions: &mut dyn Transactions,
        kept: &mut Kept,
    ) -> Result<Publication, Failure> {
        let bench = pen.bench;
        let mut work = None;
        at_desk(pen, transactions, &mut |desk| {
            work = Some(Work::of(desk, bench, self, kept)?);

            Ok(())
        })?;
        let mut work = work.expect("made by the transaction that succeeded");
        while work.has_more() {
            at_desk(pen, transactions, &mut |desk| work.step(desk, kept))?;
        }
        let mut publication = None;
        at_desk(pen, transactions, &mut |desk| {
            // Taken back with all of this step if that fails.
            if self.touched.is_whole(self.cluster) {
                finding::clear(desk, &trouble(self.cluster, ""))?;
            }
            publication = Some(work.seal(desk, self.place)?);

            Ok(())
        })?;

        Ok(publication.expect("made by the transaction that succeeded"))
    }
}

fn at_desk(
    pen: &mut Pen<'_>,
    transactions: &mut dyn Transactions,
    decide: &mut dyn FnMut(&mut Desk<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let (signer, now) = (pen.signer, pen.now);
    let rng = &mut *pen.rng;
    transactions.within(&mut |tx| {
        decide(&mut Desk {
            tx,
            signer,
            now,
            rng: &mut *rng,
            actor: Actor::Controller,
            uid: None,
        })
    })
}

/// Tells a person; the cluster goes on with what it shows.
fn alarm(pen: &mut Pen<'_>, transactions: &mut dyn Transactions, cluster: ClusterId, failure: &Failure) {
    tracing::warn!(
        ?cluster,
        code = failure.code.text(),
        message = failure.message,
        "nothing new could be published; the documents that stand go on standing"
    );
    let raised = at_desk(pen, transactions, &mut |desk| {
        finding::raise(desk, trouble(cluster, failure.code.text()))?;

        Ok(())
    });
    if let Err(failure) = raised {
        tracing::warn!(code = failure.code.text(), "the finding about it was not stored");
    }
}

fn trouble(cluster: ClusterId, code: &str) -> Finding {
    Finding {
        kind: FindingKind::PUBLICATION_FAILED,
        severity: Severity::Critical,
        cluster: Some(cluster),
        subject: cluster.to_string(),
        text: format!(
            "nothing new can be published for this cluster ({code}); the documents that stand go on standing, and the \
             log has the cause"
        ),
    }
}
