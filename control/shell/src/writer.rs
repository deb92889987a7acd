//! The one writer: takes what is waiting, decides it on one overlay, publishes, commits, replies.
//!
//! No answer leaves before the commit that it rests on. Production runs this on a thread of its own; the simulator
//! runs the same loop as a task.

use std::sync::Arc;

use agent_shell::clock::Clock;
use control_api::answer::{self, Bench, Call};
use control_api::failure::Failure;
use control_api::publish::{self, Publications};
use control_api::request::{Caller, Reply, Request};
use control_api::touched::Touched;
use control_api::witness;
use control_core::signer::Signer;
use control_store::engine::CommitFailed;
use control_store::{Bound, Engine, GroupFailed, Revision, Store};
use protocol::error::Code;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, oneshot};

use crate::board::Board;

/// Where every thread hands in what is to be written.
#[derive(Clone, Debug)]
pub struct Door {
    jobs: mpsc::Sender<Job>,
}

impl Door {
    /// Hands in a request and waits for the commit that answers it. A full queue is an answer, not a wait.
    pub async fn call(&self, caller: Caller, request: Request) -> Result<Reply, Failure> {
        let (reply, answer) = oneshot::channel();
        self.jobs
            .try_send(Job {
                caller,
                request,
                reply,
            })
            .map_err(|_| {
                Failure::new(
                    Code::Unavailable,
                    "the controller has more requests than it can take",
                )
            })?;

        answer
            .await
            .map_err(|_| Failure::new(Code::Unavailable, "the controller is stopping"))?
    }
}

/// A request on its way to the writer.
#[derive(Debug)]
pub struct Job {
    caller: Caller,
    request: Request,
    reply: oneshot::Sender<Result<Reply, Failure>>,
}

/// A request that was decided, and whose answer waits for the commit.
struct Answered {
    reply: oneshot::Sender<Result<Reply, Failure>>,
    result: Result<Reply, Failure>,
}

/// A door and what comes through it.
pub fn door() -> (Door, mpsc::Receiver<Job>) {
    let (jobs, waiting) = mpsc::channel(QUEUE);

    (Door { jobs }, waiting)
}

/// What the writer owns.
pub struct Writer<E: Engine> {
    pub store: Store<E>,
    pub signer: Arc<dyn Signer>,
    pub bench: Bench,
    pub rng: StdRng,
    pub clock: Arc<dyn Clock>,
    pub board: Arc<Board>,
    pub publications: Publications,
    /// Whether the engine takes nothing more: after a failed sync nobody knows what the disk holds, and without
    /// the term somebody else leads. The process must start anew.
    pub spent: bool,
}

/// The engine takes nothing more.
struct Spent;

impl<E: Engine> Writer<E> {
    /// Looks at what the store holds, and publishes it, before anyone is let in.
    pub fn open(&mut self) -> Result<(), Failure> {
        self.inspect()?;

        self.process(Vec::new(), true)
    }

    fn inspect(&mut self) -> Result<(), Failure> {
        let now = self.clock.now();
        let (bench, signer, rng) = (&self.bench, self.signer.as_ref(), &mut self.rng);
        let mut group = self.store.begin();
        group.request_within(WIDE, |tx| {
            answer::open(Call {
                bench,
                tx,
                signer,
                now,
                rng,
                // Everything is published next.
                touched: &mut Touched::default(),
            })
        })?;
        let committed = group.commit();

        committed.map(|_| ()).map_err(|failed| commit_failure(&failed))
    }

    /// Runs until every door is dropped.
    pub async fn run(mut self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(first) = waiting.recv().await {
            if let Err(Spent) = self.take(first, &mut waiting) {
                break;
            }
        }
    }

    /// As [`Self::run`], on a thread of its own.
    pub fn run_blocking(mut self, mut waiting: mpsc::Receiver<Job>) {
        while let Some(first) = waiting.blocking_recv() {
            if let Err(Spent) = self.take(first, &mut waiting) {
                break;
            }
        }
    }

    fn take(&mut self, first: Job, waiting: &mut mpsc::Receiver<Job>) -> Result<(), Spent> {
        let mut jobs = vec![first];
        while jobs.len() < BATCH {
            let Ok(next) = waiting.try_recv() else { break };
            jobs.push(next);
        }
        metrics::histogram!("gabion_controller_batch_requests").record(jobs.len() as f64);
        // Every job has its reply by now; what failed beyond them is logged where it failed.
        let _ = self.process(jobs, false);
        match self.spent {
            true => Err(Spent),
            false => Ok(()),
        }
    }

    /// Decides `jobs` as one group. `whole` publishes everything anew.
    fn process(&mut self, jobs: Vec<Job>, whole: bool) -> Result<(), Failure> {
        let now = self.clock.now();
        let behind = self.board.behind();
        let term = self.store.term();
        let revision = self.store.snapshot().revision();
        let (bench, signer, rng) = (&self.bench, self.signer.as_ref(), &mut self.rng);
        let mut group = self.store.begin();
        let mut touched = if whole {
            Touched::everything()
        } else {
            Touched::default()
        };
        let mut answered = Vec::with_capacity(jobs.len());
        for job in jobs {
            let mut of_job = Touched::default();
            let result = group.request_within(bound(&job.request), |tx| {
                let call = Call {
                    bench,
                    tx,
                    signer,
                    now,
                    rng,
                    touched: &mut of_job,
                };
                witness::admit(behind.as_ref(), &job.request)?;
                answer::answer(call, &job.caller, &job.request)
            });
            match &result {
                Ok(_) => touched.absorb(of_job),
                // Not even a refusal is written down by a store that is behind.
                Err(_) if behind.is_some() => {}
                Err(failure) => {
                    let noted =
                        group.request(|tx| answer::note_refused(tx, &job.caller, &job.request, failure, now));
                    if let Err(unnoted) = noted {
                        tracing::warn!(code = unnoted.code.text(), "a refusal is not in the audit");
                    }
                }
            }
            answered.push(Answered {
                reply: job.reply,
                result,
            });
        }
        if behind.is_some() && !whole {
            let committed = group.commit().map_err(|failed| commit_failure(&failed));
            let publications = self.publications.clone();

            return self.conclude(committed.map(|at| (at, publications)), answered, &touched);
        }
        let published = group.request_within(WIDE, |tx| {
            let place = publish::Place {
                term: term.get(),
                revision: revision.get(),
            };
            let call = Call {
                bench,
                tx,
                signer,
                now,
                rng,
                touched: &mut touched,
            };
            publish::publish(call, &self.publications, place)
        });
        let committed = match published {
            // A start shows what stood in the store, and keeps nothing of what that took.
            Ok(publications) if behind.is_some() => Ok((revision, publications)),
            Ok(publications) => match group.commit() {
                Ok(revision) => Ok((revision, publications)),
                Err(failed) => {
                    self.spent = matches!(failed.reason, CommitFailed::Io(_) | CommitFailed::TermLost);
                    Err(commit_failure(&failed))
                }
            },
            Err(failure) => Err(failure),
        };

        self.conclude(committed, answered, &touched)
    }

    fn conclude(
        &mut self,
        committed: Result<(Revision, Publications), Failure>,
        answered: Vec<Answered>,
        touched: &Touched,
    ) -> Result<(), Failure> {
        let outcome = match committed {
            Ok((_, publications)) => {
                self.publications = publications.clone();
                self.board.show(publications, touched);
                Ok(())
            }
            Err(failure) => Err(failure),
        };
        for Answered { reply, result } in answered {
            let result = match (&outcome, result) {
                (Ok(()), result) => result,
                // A refusal too may rest on what was not kept.
                (Err(failure), _) => Err(failure.clone()),
            };
            // The caller may have gone; its request is done all the same.
            let _ = reply.send(result);
        }

        outcome
    }
}

/// What one request may write; routing and the inspection write for a whole cluster.
fn bound(request: &Request) -> Bound {
    match request {
        Request::Decide { .. }
        | Request::Heard { .. }
        | Request::Carried { .. }
        | Request::Confirm { .. }
        | Request::Tick
        | Request::Behind(_)
        | Request::Serve { .. } => WIDE,
        Request::Join(_) | Request::Renew(_) | Request::Leave | Request::Act { .. } => Bound::REQUEST,
    }
}

fn commit_failure(failed: &GroupFailed) -> Failure {
    match failed.reason {
        CommitFailed::StoreFull => Failure::new(
            Code::StoreFull,
            "the controller's disk is full: reads and polls go on, nothing is written",
        ),
        CommitFailed::TermLost => Failure::new(Code::ReadOnly, "this controller does not lead any more"),
        CommitFailed::Conflict { .. }
        | CommitFailed::Io(_)
        | CommitFailed::TooLarge
        | CommitFailed::Unreadable(_) => Failure::of(Code::Unavailable, failed),
    }
}

/// For work on a whole cluster; the engine's own limit remains.
const WIDE: Bound = Bound {
    keys: usize::MAX,
    bytes: usize::MAX,
};
/// Requests that may wait: at 10,000 commits a second less than half a second.
const QUEUE: usize = 4_096;
/// Requests of one group.
const BATCH: usize = 512;
