//! The one writer: takes what is waiting, decides it on one overlay, publishes, commits, replies.
//!
//! No answer leaves before the commit that it rests on, nor before the publication that its changes belong to. At most
//! ten publications are made in a second: what comes sooner is stored at once and goes out with the next one.
//! Production runs this on a thread of its own; the simulator runs the same loop as a task.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use agent_shell::clock::Clock;
use control_api::answer::{self, Bench, Call};
use control_api::failure::Failure;
use control_api::pace::Pace;
use control_api::publish::{self, Pen, Place, Press, Published, Transactions};
use control_api::request::{Caller, Reply, Request};
use control_api::touched::Touched;
use control_api::witness;
use control_core::audit;
use control_core::behind::BehindRow;
use control_core::signer::Signer;
use control_core::store::Tx;
use control_store::engine::CommitFailed;
use control_store::{Bound, Engine, GroupFailed, Store};
use protocol::error::Code;
use protocol::id::ClusterId;
use rand::rngs::StdRng;
use tokio::sync::oneshot;

use crate::board::Board;
use crate::pulse::IDLE;
use crate::queue::{Job, Waiting};
use crate::{figures, journal};

/// A request that was decided, and whose answer waits for the commit.
struct Answered {
    reply: oneshot::Sender<Result<Reply, Failure>>,
    result: Result<Reply, Failure>,
    /// What it changed of that which is published.
    publishes: Touched,
    /// Whether a person asked, who should know that agents do not have it yet.
    is_operators: bool,
}

impl Answered {
    /// What is answered when `overdue` could not be published.
    fn beside(self, overdue: &BTreeSet<ClusterId>) -> Self {
        let concerns = |cluster: &ClusterId| !self.publishes.leaves_alone(*cluster);
        match self.is_operators && overdue.iter().any(concerns) {
            true => Self {
                result: Err(unpublished()),
                ..self
            },
            false => self,
        }
    }

    fn reply(self) {
        let Self { reply, result, .. } = self;
        // The caller may have gone; its request is done all the same.
        let _ = reply.send(result);
    }

    fn send(self, result: Result<Reply, Failure>) {
        Self { result, ..self }.reply();
    }
}

/// What the writer owns.
pub struct Writer<E: Engine> {
    pub store: Store<E>,
    pub signer: Arc<dyn Signer>,
    pub bench: Bench,
    pub rng: StdRng,
    pub clock: Arc<dyn Clock>,
    pub board: Arc<Board>,
    pub press: Press,
    pub backlog: Backlog,
    /// Whether the engine takes nothing more: after a failed sync nobody knows what the disk holds, and without
    /// the term somebody else leads. The process must start anew.
    pub spent: bool,
}

/// What is stored and not published yet.
#[derive(Default)]
pub struct Backlog {
    touched: Touched,
    pace: Pace,
    /// Callers whose changes are stored and go out with the next publication.
    held: Vec<Answered>,
    /// Whether the last try failed: the next one comes with the next request, or the next beacon.
    failed: bool,
}

/// The engine takes nothing more.
struct Spent;

/// One group, decided.
struct Group {
    answered: Vec<Answered>,
    /// What is to be published: of this group and of those before.
    touched: Touched,
    /// None if it is not time yet.
    published: Option<Result<Published, Failure>>,
    /// Whether the disk was full when it was decided.
    was_full: bool,
}

impl<E: Engine> Writer<E> {
    /// Looks at what the store holds, and publishes it, before anyone is let in.
    pub fn open(&mut self) -> Result<(), Failure> {
        self.inspect()?;
        self.backlog.touched = Touched::everything();

        self.process(Vec::new(), true)
    }

    fn inspect(&mut self) -> Result<(), Failure> {
        let (now, told) = (self.clock.now(), self.told());
        let (bench, signer, rng) = (&self.bench, self.signer.as_ref(), &mut self.rng);
        let mut group = self.store.begin();
        group.request_within(WIDE, |tx| {
            answer::open(Call {
                bench,
                tx,
                signer,
                now,
                rng,
                press: &self.press,
                // Everything is published next.
                touched: &mut Touched::default(),
            })
        })?;
        let committed = group.commit();
        journal::tell(&self.store.snapshot(), told);

        committed.map(|_| ()).map_err(|failed| commit_failure(&failed))
    }

    /// Runs until every door is dropped.
    pub async fn run(mut self, mut waiting: Waiting) {
        loop {
            let wait = self.due_in().map_or(IDLE, |due| due.min(IDLE));
            let first = match tokio::time::timeout(wait, waiting.next()).await {
                Ok(None) => break,
                Ok(first) => first,
                // Nobody came. What was held back may be due.
                Err(_) => None,
            };
            let is_idle = first.is_none() && self.due_in().is_none();
            if !is_idle && self.take(first, &mut waiting).is_err() {
                break;
            }
            self.board.pulse().turned(self.clock.now().boot);
        }
        // What is not published yet is published by the next start.
        self.release();
    }

    /// When the next publication is to be made without waiting for a request; none if nothing waits for one.
    fn due_in(&self) -> Option<Duration> {
        let is_stuck = self.backlog.failed || self.is_full() || self.board.behind().is_some();
        let waits = !self.backlog.touched.is_empty() && !is_stuck;

        waits.then(|| self.backlog.pace.wait(self.clock.now().boot))
    }

    /// Whether the last commit found no room.
    fn is_full(&self) -> bool {
        self.store.reader().is_full()
    }

    fn take(&mut self, first: Option<Job>, waiting: &mut Waiting) -> Result<(), Spent> {
        let jobs = waiting.group(first);
        if !jobs.is_empty() {
            metrics::histogram!("gabion_controller_batch_requests").record(jobs.len() as f64);
        }
        // Every job has its reply by now, or is held; what failed beyond them is logged where it failed.
        let _ = self.process(jobs, false);
        match self.spent {
            true => Err(Spent),
            false => Ok(()),
        }
    }

    /// Decides `jobs` as one group, and publishes if it is time. `opening` publishes whatever stands against it.
    fn process(&mut self, jobs: Vec<Job>, opening: bool) -> Result<(), Failure> {
        let (now, told) = (self.clock.now(), self.told());
        let (behind, was_full) = (self.board.behind(), self.is_full());
        let place = Place {
            term: self.store.term().get(),
            revision: self.store.snapshot().revision().get(),
        };
        let mut pen = Pen {
            bench: &self.bench,
            signer: self.signer.as_ref(),
            now,
            rng: &mut self.rng,
        };
        let mut open = Open(self.store.begin());
        let mut touched = std::mem::take(&mut self.backlog.touched);
        let mut answered = Vec::with_capacity(jobs.len());
        for job in jobs {
            let standing = Standing {
                behind: behind.as_ref(),
                press: &self.press,
            };
            answered.push(decide(&mut open.0, &mut pen, standing, job, &mut touched));
        }
        // What is touched keeps the beacon of a group that failed.
        let beacon = opening || answered.iter().any(|answer| answer.publishes.beacon);
        let is_due = !touched.is_empty() && self.backlog.pace.is_due(now.boot, was_full, beacon);
        let published = (is_due && (opening || behind.is_none())).then(|| {
            self.backlog.pace.note(now.boot);
            let press = &mut self.press;
            publish::publish(&mut pen, &mut open, press, &touched, place)
        });
        // A start shows what stood in a store that is behind, and keeps nothing of what that took.
        let committed = match opening && behind.is_some() {
            true => {
                self.press.forget();
                Ok(())
            }
            false => open.0.commit().map(|_| ()),
        };
        journal::tell(&self.store.snapshot(), told);
        let group = Group {
            answered,
            touched,
            published,
            was_full,
        };

        self.conclude(committed, group)
    }

    /// How far the audit is committed, and with it the log.
    fn told(&self) -> u64 {
        audit::head(&self.store.snapshot()).map_or(u64::MAX, |head| head.count)
    }

    fn conclude(&mut self, committed: Result<(), GroupFailed>, group: Group) -> Result<(), Failure> {
        let Group {
            answered,
            touched,
            published,
            was_full,
        } = group;
        if let Err(failed) = committed {
            figures::commit_failed(&failed.reason);
            self.spent = matches!(failed.reason, CommitFailed::Io(_) | CommitFailed::TermLost);
            // A part may be durable all the same: what it touched is still to be published.
            self.backlog.touched = touched;
            self.backlog.failed = true;
            if published.is_some() {
                self.press.forget();
            }
            let failure = commit_failure(&failed);
            for answer in answered {
                // A refusal too may rest on what was not kept.
                answer.send(Err(failure.clone()));
            }
            self.release();
            return Err(failure);
        }
        let mut overdue = BTreeSet::new();
        let outcome = match published {
            None => {
                self.backlog.touched = touched;
                // There is room again, and what waited for it is due.
                self.backlog.failed &= !was_full || self.is_full();
                self.hold(answered);
                return Ok(());
            }
            Some(Ok(Published { publications, owed })) => {
                overdue.clone_from(&owed.overdue);
                self.backlog.touched = owed;
                self.press.publications.clone_from(&publications);
                self.board.show(publications, &touched);
                Ok(())
            }
            Some(Err(failure)) => {
                tracing::warn!(code = failure.code.text(), "nothing could be published");
                self.backlog.touched = touched;
                Err(failure)
            }
        };
        self.backlog.failed = outcome.is_err();
        let held = std::mem::take(&mut self.backlog.held);
        let told = held.into_iter().chain(answered);
        self.backlog.held = told.map(|answer| answer.beside(&overdue)).collect();
        self.release();

        outcome
    }

    /// Answers those whose changes nobody will see published; the others wait for the publication, a tenth of a second
    /// at most.
    fn hold(&mut self, answered: Vec<Answered>) {
        let waits = self.due_in().is_some();
        let (held, free): (Vec<Answered>, Vec<Answered>) = answered
            .into_iter()
            .partition(|answer| waits && !answer.publishes.is_empty());
        self.backlog.held.extend(held);
        free.into_iter().for_each(Answered::reply);
        if !waits {
            self.release();
        }
    }

    fn release(&mut self) {
        self.backlog.held.drain(..).for_each(Answered::reply);
    }
}

/// What a request is decided beside.
#[derive(Clone, Copy)]
struct Standing<'a> {
    behind: Option<&'a BehindRow>,
    press: &'a Press,
}

/// Decides one request on a layer of its own, and notes what it touched.
fn decide<E: Engine>(
    group: &mut control_store::Group<'_, E>,
    pen: &mut Pen<'_>,
    Standing { behind, press }: Standing<'_>,
    job: Job,
    touched: &mut Touched,
) -> Answered {
    let mut of_job = Touched::default();
    let now = pen.now;
    let result = group.request_within(bound(&job.request), |tx| {
        witness::admit(behind, &job.request)?;
        let call = Call {
            bench: pen.bench,
            tx,
            signer: pen.signer,
            now,
            rng: &mut *pen.rng,
            press,
            touched: &mut of_job,
        };
        answer::answer(call, &job.caller, &job.request)
    });
    let mut publishes = Touched::default();
    match &result {
        Ok(_) => {
            touched.absorb(of_job.clone());
            publishes = of_job;
        }
        // Not even a refusal is written down by a store that is behind.
        Err(_) if behind.is_some() => {}
        Err(failure) => {
            let noted = group.request(|tx| answer::note_refused(tx, &job.caller, &job.request, failure, now));
            if let Err(unnoted) = noted {
                tracing::warn!(code = unnoted.code.text(), "a refusal is not in the audit");
            }
        }
    }

    Answered {
        reply: job.reply,
        result,
        publishes,
        is_operators: matches!(job.caller, Caller::Local { .. }),
    }
}

/// A group as publishing sees it.
struct Open<'s, E: Engine>(control_store::Group<'s, E>);

impl<E: Engine> Transactions for Open<'_, E> {
    fn within(&mut self, decide: &mut dyn FnMut(&mut dyn Tx) -> Result<(), Failure>) -> Result<(), Failure> {
        self.0.request_within(WIDE, |tx| decide(tx))
    }
}

/// What one request may write; routing and the inspection write for a whole cluster.
fn bound(request: &Request) -> Bound {
    match request {
        Request::Decide { .. }
        | Request::Heard { .. }
        | Request::Carried { .. }
        | Request::Confirm { .. }
        | Request::Doubt { .. }
        | Request::Tick
        | Request::Behind(_)
        | Request::Serve { .. } => WIDE,
        Request::Join(_)
        | Request::Renew(_)
        | Request::Leave
        | Request::Act { .. }
        | Request::BackedUp { .. } => Bound::REQUEST,
    }
}

fn unpublished() -> Failure {
    Failure::new(Code::Unavailable, "the change is stored, and not published")
        .because("nothing new can be published for its cluster; the finding publication_failed says more")
        .affecting("agents go on with what they have; only revocations and what was withdrawn go out")
        .fixed_by("gabion finding list    (it is published by itself once that is mended; do not repeat it)")
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
