//! The writer's side: groups of requests, committed together.

use std::sync::Arc;

use control_core::store::{StoreError, Tx};

use crate::engine::{
    Batch, CampaignFailed, CommitFailed, Engine, Limits, ReadFailed, Revision, Term, WriteSet,
};
use crate::overlay::{Bound, Chunk, Overlay, Transaction};
use crate::rows::{Committed, Source};
use crate::snapshot::{Snapshot, StoreReader};
use crate::view::ResidentView;

/// The store as its one writer holds it.
pub struct Store<E: Engine> {
    engine: E,
    limits: Limits,
    term: Term,
    reader: StoreReader,
}

impl<E: Engine> Store<E> {
    /// Takes the leadership, then loads the resident tables, so that nobody else writes in between.
    pub fn open(mut engine: E) -> Result<Self, StoreOpenFailed> {
        let term = engine.campaign().map_err(StoreOpenFailed::Leadership)?;
        let committed = load(&engine).map_err(StoreOpenFailed::Load)?;
        tracing::info!(
            revision = committed.revision.get(),
            term = term.get(),
            "store opened"
        );

        Ok(Self {
            limits: engine.limits(),
            reader: StoreReader::new(committed, engine.reader()),
            term,
            engine,
        })
    }

    /// Starts a group of requests, which see each other's writes and are committed together.
    pub fn begin(&mut self) -> Group<'_, E> {
        Group {
            base: self.reader.committed(),
            store: self,
            overlay: Overlay::default(),
            requests: 0,
        }
    }

    /// A handle for other threads.
    pub fn reader(&self) -> StoreReader {
        self.reader.clone()
    }

    /// What is committed now.
    pub fn snapshot(&self) -> Snapshot {
        self.reader.snapshot()
    }

    /// The fencing term under which this store commits.
    pub fn term(&self) -> Term {
        self.term
    }

    /// The engine, for its lease.
    pub fn engine(&mut self) -> &mut E {
        &mut self.engine
    }

    fn note(&self, failed: &CommitFailed) {
        let full = matches!(failed, CommitFailed::StoreFull);
        if full && self.reader.note_full(true) {
            tracing::warn!("no space left: the store is read-only until a commit succeeds");
        }
    }
}

/// Requests decided one after another on an overlay of the committed view. Dropping the group drops their writes.
pub struct Group<'s, E: Engine> {
    store: &'s mut Store<E>,
    base: Arc<Committed>,
    overlay: Overlay,
    requests: usize,
}

impl<E: Engine> Group<'_, E> {
    /// Decides one request within [`Bound::REQUEST`]. `Err` drops its writes alone.
    ///
    /// No answer may leave before [`Self::commit`], refusals included: they may rest on writes of this group.
    pub fn request<T, X>(&mut self, decide: impl FnOnce(&mut dyn Tx) -> Result<T, X>) -> Result<T, X>
    where
        X: From<StoreError>,
    {
        self.request_within(Bound::REQUEST, decide)
    }

    /// As [`Self::request`], for internal work that writes more; what one engine commit holds remains the limit.
    pub fn request_within<T, X>(
        &mut self,
        bound: Bound,
        decide: impl FnOnce(&mut dyn Tx) -> Result<T, X>,
    ) -> Result<T, X>
    where
        X: From<StoreError>,
    {
        let ordinal = self.requests;
        self.requests += 1;
        let source = Source {
            committed: &self.base,
            engine: &self.store.engine,
        };
        let mut transaction = Transaction::new(source, &self.overlay, bound.within(&self.store.limits));
        let reply = decide(&mut transaction)?;
        let writes = transaction.into_writes()?;
        self.overlay.absorb(writes, ordinal, &self.store.limits);

        Ok(reply)
    }

    /// How many requests this group has decided, refused ones included.
    pub fn requests(&self) -> usize {
        self.requests
    }

    /// Writes the group in as few engine commits as the limit allows, none of which splits a request; then readers
    /// see it. On failure they see what became durable before it: see [`GroupFailed::durable`].
    pub fn commit(self) -> Result<Revision, GroupFailed> {
        let mut landed = Vec::new();
        let mut failed = None;
        for chunk in self.overlay.into_chunks() {
            let Chunk {
                writes,
                first_request,
            } = chunk;
            let batch = Batch::new(self.store.term, writes);
            match self.store.engine.commit(&batch) {
                Ok(revision) => landed.push((batch.writes, revision)),
                Err(reason) => {
                    self.store.note(&reason);
                    failed = Some(GroupFailed {
                        durable: first_request,
                        reason,
                    });
                    break;
                }
            }
        }
        let revision = publish(&self.store.reader, &self.base, landed, failed.is_none());

        failed.map_or(Ok(revision), Err)
    }
}

/// Applies what landed to a copy of the view and shows it.
fn publish(
    reader: &StoreReader,
    base: &Committed,
    landed: Vec<(WriteSet, Revision)>,
    complete: bool,
) -> Revision {
    let Some((_, revision)) = landed.last() else {
        return base.revision;
    };
    let revision = *revision;
    let mut view = base.view.clone();
    for (writes, _) in &landed {
        view.apply(writes);
    }
    reader.publish(Committed { view, revision });
    if complete && reader.note_full(false) {
        tracing::info!("space is available again: the store takes writes");
    }

    revision
}

/// Why a group, or its last part, was not committed.
#[derive(Debug, thiserror::Error)]
#[error("the group was committed only up to its request {durable}")]
pub struct GroupFailed {
    /// How many requests, counted from the first and with the refused ones, stand on durable writes alone: their
    /// answers may leave. Zero unless the group needed several engine commits.
    pub durable: usize,
    #[source]
    pub reason: CommitFailed,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreOpenFailed {
    /// Somebody else leads, or the term cannot be written.
    #[error("the store cannot be led")]
    Leadership(#[source] CampaignFailed),
    /// The resident tables cannot be read.
    #[error("the store cannot be loaded")]
    Load(#[source] ReadFailed),
}

fn load(engine: &impl Engine) -> Result<Committed, ReadFailed> {
    let mut view = ResidentView::default();
    for mut span in ResidentView::spans() {
        loop {
            let entries = engine.range(&span, Revision::NEWEST, LOAD_ROWS)?;
            let Some(last) = entries.last() else { break };
            span = span.resume_after(&last.key);
            view.extend(entries.into_iter().map(|entry| (entry.key, entry.value)));
        }
    }

    Ok(Committed {
        view,
        revision: engine.revision()?,
    })
}

/// Rows read from the engine at once when the view loads.
const LOAD_ROWS: usize = 4_096;
