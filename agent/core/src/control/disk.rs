//! Writes, one at a time and in order, so that a file never says less than one written before it.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::time::{Boot, Now};

use super::effect::{Effect, Payload, WriteId};
use super::event::Event;
use super::file::FileName;
use super::input::WriteFailed;

/// What waits for a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A renewed identity comes into force.
    Certificate,
    /// A machine that was approved is a node.
    Contract,
    /// The keys of a machine that joins may be named.
    JoinKeys,
    /// The id of a join request may be asked about.
    JoinRequest,
    /// There is no identity here any more.
    Leave,
    /// Nothing: it is only kept.
    Quiet,
    /// The keys of the next certificate may be named.
    RenewalKeys,
    /// Documents come into force.
    Snapshot,
}

/// The queue of writes.
#[derive(Debug, Default)]
pub(super) struct Disk {
    issued: u64,
    waiting: VecDeque<Job>,
    running: Option<WriteId>,
    failures: u32,
    retry_at: Option<Boot>,
}

#[derive(Debug)]
struct Job {
    files: Vec<(FileName, Payload)>,
    purpose: Purpose,
}

impl Disk {
    /// Asks for a write, after all that were asked for before.
    pub(super) fn push(&mut self, files: Vec<(FileName, Payload)>, purpose: Purpose) -> Option<Effect> {
        self.waiting.push_back(Job { files, purpose });

        self.next()
    }

    /// Takes back the writes of one purpose that wait, for one that says more. False if one is under way, which cannot be
    /// taken back.
    pub(super) fn take_back(&mut self, purpose: Purpose) -> bool {
        let first = self.waiting.front().map(|job| job.purpose);
        let can = self.running.is_none() || first != Some(purpose);
        if can {
            self.waiting.retain(|job| job.purpose != purpose);
        }

        can
    }

    /// Whether a write that nothing waits for is under way already.
    pub(super) fn is_busy(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A write ended: what waited for it may go on, and the next may begin. A failed one is tried again.
    pub(super) fn handle_persisted(
        &mut self,
        write: WriteId,
        result: Result<(), WriteFailed>,
        now: Now,
    ) -> (Option<Purpose>, Option<Effect>) {
        if self.running != Some(write) {
            return (None, None);
        }
        self.running = None;
        match result {
            Ok(()) => {
                self.failures = 0;
                let done = self.waiting.pop_front().map(|job| job.purpose);

                (done, self.next())
            }
            Err(why) => (None, self.fail(why, now)),
        }
    }

    fn fail(&mut self, why: WriteFailed, now: Now) -> Option<Effect> {
        let pause = RETRY.saturating_mul(1 << self.failures.min(5)).min(RETRY_CAP);
        self.retry_at = Some(now.boot.after(pause));
        self.failures = self.failures.saturating_add(1);
        let files = self
            .waiting
            .front()?
            .files
            .iter()
            .map(|(name, _)| *name)
            .collect();

        (self.failures == 1).then_some(Effect::Event(Event::WriteFailed { files, why }))
    }

    /// Tries a failed write again, when its time has come.
    pub(super) fn handle_timeout(&mut self, now: Now) -> Option<Effect> {
        self.retry_at.filter(|at| *at <= now.boot)?;
        self.retry_at = None;

        self.next()
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        self.retry_at
    }

    fn next(&mut self) -> Option<Effect> {
        if self.running.is_some() || self.retry_at.is_some() {
            return None;
        }
        let job = self.waiting.front()?;
        let write = WriteId(self.issued);
        self.issued += 1;
        self.running = Some(write);

        Some(Effect::Persist {
            write,
            files: job.files.clone(),
        })
    }
}

/// Pause before a failed write is tried again; doubled each time.
const RETRY: Duration = Duration::from_secs(1);
/// A disk that is full for hours is asked twice a minute.
const RETRY_CAP: Duration = Duration::from_secs(30);
