//! What becomes of what a poll brings: written, then in force, or held over while the disk takes nothing.
//!
//! ```text
//!  reply ──▶ judged ──▶ being written ──────────────────────▶ in force
//!                             │ fails, or hangs                  ▲
//!                             ▼                                  │ written after all
//!                        held over: revocations and beacon count,┘
//!                        polls go on, and what they bring takes its place
//! ```

use std::time::Duration;

use minicbor::bytes::ByteVec;
use protocol::time::Boot;
use protocol::wire::PollReply;

use super::Membership;
use crate::control::MARKS_INTERVAL;
use crate::control::disk::Purpose;
use crate::control::documents::{Adoption, Outcome, Polled};
use crate::control::effect::{Adopted, Payload};
use crate::control::event::{Event, SessionEnd, Witness};
use crate::control::file::FileName;
use crate::control::turn::Turn;

/// Documents that are being written.
#[derive(Debug)]
pub(super) struct Adopting {
    adoption: Box<Adoption>,
    /// The poll they came with.
    sent_at: Option<Boot>,
    /// Whether they count as freshness.
    fresh: bool,
    begun_at: Boot,
    /// The disk takes nothing for now.
    held_over: bool,
    /// A newer beacon came, and freshness waits for what is being written.
    owed: bool,
}

impl Adopting {
    /// When a write that has not ended is taken for one that hangs.
    pub(super) fn hangs_at(&self) -> Option<Boot> {
        (!self.held_over).then(|| self.begun_at.after(HANGING))
    }

    /// The poll that says that all in force is of now, if this is the last word on what a relay carries.
    fn fresh_since(&self) -> Option<Boot> {
        self.sent_at
            .filter(|_| self.fresh && self.adoption.keeps_leases())
    }
}

impl Membership {
    /// Whether polls go out: not while what the last one brought is being written, for that is a matter of milliseconds.
    pub(super) fn may_poll(&self) -> bool {
        self.adopting.as_ref().is_none_or(|adopting| adopting.held_over)
    }

    pub(super) fn handle_poll_reply(&mut self, reply: &PollReply, sent_at: Boot, turn: &mut Turn<'_>) {
        if !self.may_poll() {
            self.session.hurry(Duration::ZERO);
            return;
        }
        let proves = self.is_where_config_says(turn);
        let polled = Polled { sent_at, proves };
        let outcome = self
            .documents
            .handle_reply(reply, polled, &self.member.trust, turn.now);
        self.tell_confirmed(turn);
        match outcome {
            Outcome::Discredited(refused) => {
                self.note_refused(&refused, turn);
                return self.hang_up(SessionEnd::Untrustworthy, turn);
            }
            Outcome::Overtaken => self.session.space_polls(sent_at),
            Outcome::Settled {
                newer,
                fresh,
                refused,
            } => {
                self.note_refused(&refused, turn);
                self.session.space_polls(sent_at);
                if fresh {
                    self.tell_fresh(sent_at, newer, turn);
                }
            }
            Outcome::Write {
                files,
                adoption,
                fresh,
                refused,
            } => {
                self.note_refused(&refused, turn);
                let adopting = Adopting {
                    adoption,
                    sent_at: Some(sent_at),
                    fresh,
                    begun_at: turn.now.boot,
                    held_over: false,
                    owed: false,
                };
                self.write(files, adopting, turn);
            }
        }
        self.prove();
        if let Some(within_ms) = reply.retry_within_ms {
            self.move_away(within_ms, turn);
        }
    }

    /// Writes the bundle of a verified welcome, if there is one to write and nothing else is being written.
    pub(super) fn write_bundle(&mut self, outcome: Option<Outcome>, turn: &mut Turn<'_>) {
        if let Some(Outcome::Write { files, adoption, .. }) = outcome
            && self.adopting.is_none()
        {
            let adopting = Adopting {
                adoption,
                sent_at: None,
                fresh: false,
                begun_at: turn.now.boot,
                held_over: false,
                owed: false,
            };
            self.write(files, adopting, turn);
        }
    }

    /// Has `files` written, for what they guard to come into force. What only takes away does not wait for that.
    fn write(&mut self, files: Vec<(FileName, Payload)>, mut adopting: Adopting, turn: &mut Turn<'_>) {
        let revocations = self.documents.take_away(&mut adopting.adoption);
        self.apply(revocations, turn);
        let is_held_over = self.adopting.is_some();
        adopting.owed |= self.adopting.as_ref().is_some_and(|before| before.owed);
        if is_held_over && !turn.out.take_back(Purpose::Snapshot) {
            // The write that hangs may yet succeed, and what it guards must be what comes into force then.
            return self.count(&mut adopting, turn);
        }
        turn.out.persist(files, Purpose::Snapshot);
        if is_held_over {
            self.count(&mut adopting, turn);
        }
        self.adopting = Some(adopting);
    }

    /// A neighbour showed its revocation list: a newer one is applied, and written with what the next poll brings.
    pub(in crate::control) fn handle_list(&mut self, list: &ByteVec, turn: &mut Turn<'_>) -> Witness {
        match self.documents.handle_list(list, &self.member.trust, turn.now) {
            Ok(revocations) => {
                self.apply(revocations, turn);
                self.drive(turn);

                Witness::Believed
            }
            Err(refused) => self.note_witness(refused, turn),
        }
    }

    fn apply(&mut self, revocations: Option<Adopted>, turn: &mut Turn<'_>) {
        let is_news = revocations.is_some();
        turn.out.adopt(revocations);
        if is_news && self.is_revoked() {
            turn.out.event(Event::Revoked);
        }
    }

    /// The disk takes nothing: what waits for it is held over, and polls go on.
    pub(in crate::control) fn handle_unwritten(&mut self, turn: &mut Turn<'_>) {
        self.hold_over(turn);
        self.drive(turn);
    }

    pub(super) fn hold_over(&mut self, turn: &mut Turn<'_>) {
        let Some(mut adopting) = self.adopting.take() else {
            return;
        };
        if !adopting.held_over {
            self.count(&mut adopting, turn);
        }
        self.adopting = Some(adopting);
    }

    /// Lets the beacon count of what cannot be written, and freshness if a relay's leases stay as they are.
    fn count(&mut self, adopting: &mut Adopting, turn: &mut Turn<'_>) {
        adopting.held_over = true;
        let newer = self.documents.hold_over(&mut adopting.adoption, turn.now);
        match adopting.fresh_since() {
            Some(sent_at) => self.tell_fresh(sent_at, newer, turn),
            None => adopting.owed |= newer,
        }
        self.recover(turn);
        // It brings the same documents at once, as long as they are not in force.
        self.session.set_poll(turn.now.boot.after(HELD_OVER_POLL));
    }

    pub(super) fn adopt(&mut self, turn: &mut Turn<'_>) {
        let Some(Adopting {
            adoption,
            sent_at,
            fresh,
            held_over,
            owed,
            ..
        }) = self.adopting.take()
        else {
            return;
        };
        let (handed, newer) = self.documents.adopt(*adoption, turn.now);
        let config = handed.iter().any(|adopted| matches!(adopted, Adopted::Config(_)));
        turn.out.adopt(handed);
        self.marks_at = turn.now.boot.after(MARKS_INTERVAL);
        if held_over {
            self.session.set_poll(turn.now.boot);
        }
        if let Some(sent_at) = sent_at.filter(|_| fresh) {
            self.tell_fresh(sent_at, newer || owed, turn);
        }
        if config {
            self.note_controllers(turn);
            self.begin_trial(turn);
        }
    }
}

/// A write that takes this long is not waited for any more: a disk that is merely busy takes a second.
const HANGING: Duration = Duration::from_secs(10);

/// Pause between polls whose documents cannot be written: a relay stays fresh for twelve of them.
const HELD_OVER_POLL: Duration = Duration::from_secs(5);
