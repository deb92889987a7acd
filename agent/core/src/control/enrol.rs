//! How a machine becomes a node, at the join door.
//!
//! ```text
//!          connected, welcome holds        keys durable               Pending
//!   Away ───────────┬──────────────▶ Saving(Keys) ─▶ Asking(Enroll) ────────▶ Saving(Request) ─▶ Waiting
//!    ▲              │ keys are there                    ▲  │ Approved           │ request durable  │ interval
//!    │              └───────────────────────────────────┘  ▼                    ▼                  ▼
//!    │ connection or reply lost                       Saving(Identity) ◀── Asking(Status) ◀─────────┘
//!    └── (keys and request stay)                           │ identity and pin durable
//!                                                          ▼
//!                                                       a member
//! ```

mod begin;

use std::time::Duration;

use protocol::cbor;
use protocol::certificate::controller_server_name;
use protocol::error::WireError;
use protocol::id::{ClusterId, RequestId};
use protocol::time::{Boot, Now};
use protocol::wire::{Answer, JoinReply};

use super::addresses;
use super::config::Config;
use super::confirm::Confirm;
use super::contract;
use super::dial::{Dialler, Round};
use super::disk::Purpose;
use super::documents::Kept;
use super::effect::{ConnectionId, Door, Effect, Tag};
use super::event::{Event, JoinFailure};
use super::identity::{Joining, Keys, Member, Standing};
use super::input::{Disconnected, Lost, ServerLeaf};
use super::leaving::Leaving;
use super::outbox::Call;
use super::refusal::Weight;
use super::snapshot::Snapshot;
use super::turn::Turn;
use super::welcome::{Judgement, Known, Verified};
use begin::Beginning;

/// See the module.
#[derive(Debug)]
pub(super) struct Joiner {
    cluster: ClusterId,
    joining: Option<Joining>,
    dialler: Dialler,
    step: Step,
    /// Of the present connection.
    welcomed: Option<Verified>,
    give_up_at: Option<Boot>,
    /// How the last attempt at a controller ended.
    last_end: Option<Disconnected>,
    started: bool,
    leaving: Option<Leaving>,
}

#[derive(Debug)]
enum Step {
    Asking(Tag),
    /// No connection that has proven itself.
    Away,
    Saving(Saving),
    Waiting {
        until: Boot,
    },
}

#[derive(Debug)]
enum Saving {
    Identity(Box<Enrolled>),
    Keys,
    /// That there is nothing to come back to.
    Nothing,
    /// With the time at which to ask about it.
    Request {
        ask_at: Boot,
    },
}

/// A member, and the files' content that goes with it.
#[derive(Debug)]
pub(super) struct Enrolled {
    pub(super) member: Member,
    pub(super) kept: Kept,
    /// The address file's.
    pub(super) remembered: Vec<String>,
    /// By how much this host's clock was last seen to be behind.
    pub(super) behind: Duration,
}

/// How joining ended.
#[derive(Debug)]
pub(super) enum End {
    Enrolled(Box<Enrolled>),
    /// For good, on this run.
    Failed(JoinFailure),
    Left,
}

impl Joiner {
    /// Takes up a request that was begun with the same token, or prepares a new one.
    pub(super) fn new(config: &Config, joining: Option<Joining>) -> Result<Self, JoinFailure> {
        let beginning = Beginning::of(config, joining)?;

        Ok(Self {
            cluster: beginning.cluster,
            joining: beginning.begun,
            dialler: Dialler::new(beginning.endpoints),
            step: Step::Away,
            welcomed: None,
            give_up_at: None,
            last_end: None,
            started: false,
            leaving: None,
        })
    }

    /// The pending request, if the controller gave one.
    pub(super) fn request(&self) -> Option<RequestId> {
        self.joining.as_ref()?.request
    }

    /// Whether nothing but others is waited for: an approver, or a controller that was sought in vain.
    pub(super) fn is_settled(&self) -> bool {
        let is_pending = self.request().is_some() && !matches!(self.step, Step::Saving(_));

        is_pending || self.dialler.has_failed()
    }

    pub(super) fn endpoint(&self) -> &str {
        self.dialler.endpoint()
    }

    pub(super) fn joining(&self) -> Option<&Joining> {
        self.joining.as_ref()
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        if !self.started {
            return Some(Boot::default());
        }
        let waiting = match self.step {
            Step::Waiting { until } => Some(until),
            Step::Asking(_) | Step::Away | Step::Saving(_) => None,
        };

        let leaving = self.leaving.as_ref().map(Leaving::until);

        [self.dialler.poll_timeout(), self.give_up_at, waiting, leaving]
            .into_iter()
            .flatten()
            .min()
    }

    pub(super) fn handle_timeout(&mut self, turn: &mut Turn<'_>) -> Option<End> {
        if !self.started {
            self.started = true;
            self.give_up_at = turn.config.timeout.map(|timeout| turn.now.boot.after(timeout));
        }
        if self.give_up_at.is_some_and(|at| at <= turn.now.boot) {
            let failure = match self.request() {
                Some(_) => JoinFailure::TimedOut,
                None => JoinFailure::Unanswered { last: self.last_end },
            };
            return self.fail(failure, turn);
        }
        if let Some(why) = Leaving::take_over(&mut self.leaving, turn.now) {
            turn.out.event(Event::NotLeft(why));
        }
        if self.dialler.is_late(turn.now) {
            self.dialler.close(turn.out);
            self.handle_disconnected(Disconnected::Silent, turn);
        }
        if self.dialler.is_due(turn.now) {
            self.dialler.dial(self.call(), turn);
        }
        if matches!(self.step, Step::Waiting { until } if until <= turn.now.boot) {
            self.step = Step::Away;
            self.proceed(turn);
        }

        None
    }

    fn call(&self) -> Call {
        Call {
            door: Door::Join,
            server_name: controller_server_name(self.cluster),
            trust: Vec::new(),
            client_identity: false,
        }
    }

    /// Whether `connection` is this machine's present one.
    pub(super) fn is(&self, connection: ConnectionId) -> bool {
        self.dialler.is(connection)
    }

    pub(super) fn handle_connected(&mut self, server: ServerLeaf, exported: [u8; 32], now: Now) {
        self.dialler.handle_connected(server, exported, now);
    }

    pub(super) fn handle_welcome(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        let Some(server) = self.dialler.welcoming() else {
            return;
        };
        let known = match (&self.joining, &turn.config.token) {
            (Some(joining), _) => Known::Trust(&joining.trust),
            (None, Some(token)) => Known::Pins {
                cluster: self.cluster,
                token,
                pin: &turn.config.pin,
            },
            (None, None) => return,
        };
        let judgement = Judgement {
            known,
            marks: &Default::default(),
            revocations: &Default::default(),
            server,
            wall: turn.now.wall,
        };
        match judgement.welcome(bytes) {
            Ok(verified) => {
                self.dialler.open();
                if let Some(joining) = &mut self.joining {
                    joining.trust = verified.trust.clone();
                }
                self.welcomed = Some(verified);
                self.proceed(turn);
            }
            Err(why) => {
                let endpoint = self.dialler.endpoint().to_owned();
                turn.out.event(Event::WelcomeRefused { endpoint, why });
                self.hang_up(turn);
            }
        }
    }

    /// Does the next thing on a connection that has proven itself.
    fn proceed(&mut self, turn: &mut Turn<'_>) {
        let (Some((connection, exported)), Some(welcomed)) = (self.dialler.opened(), &self.welcomed) else {
            return;
        };
        if !matches!(self.step, Step::Away) {
            return;
        }
        let request = match &self.joining {
            Some(joining) => begin::question(joining, turn.config, &exported, self.leaving.is_some()),
            None => {
                let Some(token) = turn
                    .config
                    .token
                    .as_ref()
                    .and_then(|token| token.claims_unverified().ok())
                else {
                    return;
                };
                let joining = Joining {
                    token: token.token,
                    keys: Keys::generate(turn.out.rng()),
                    trust: welcomed.trust.clone(),
                    controllers: token.controllers,
                    request: None,
                };
                self.save(joining, Saving::Keys, Purpose::JoinKeys, turn);
                return;
            }
        };
        if let Some(request) = request {
            let mut deadline = turn.now.boot.after(super::REQUEST_DEADLINE);
            if let Some(leaving) = &mut self.leaving {
                leaving.note_asked();
                deadline = deadline.min(leaving.until());
            }
            let tag = turn.out.request(connection, &request, deadline);
            self.step = Step::Asking(tag);
        }
    }

    fn save(&mut self, joining: Joining, saving: Saving, purpose: Purpose, turn: &mut Turn<'_>) {
        turn.out
            .persist(vec![Standing::Joining(Box::new(joining.clone())).file()], purpose);
        self.joining = Some(joining);
        self.step = Step::Saving(saving);
    }

    pub(super) fn handle_reply(
        &mut self,
        tag: Tag,
        reply: Result<Vec<u8>, Lost>,
        turn: &mut Turn<'_>,
    ) -> Option<End> {
        if !matches!(self.step, Step::Asking(asked) if asked == tag) {
            return None;
        }
        self.step = Step::Away;
        let answer = reply
            .ok()
            .and_then(|bytes| cbor::decode::<Answer<JoinReply>>(&bytes).ok());
        match answer.map(Answer::into_result) {
            Some(Ok(JoinReply::Pending {
                request,
                poll_after_ms,
            })) => {
                let after = Duration::from_millis(poll_after_ms).max(super::ASK_PAUSE);
                self.handle_pending(request, after, turn)
            }
            Some(Ok(JoinReply::Approved(sealed))) => self.handle_approved(&sealed, turn),
            Some(Ok(JoinReply::Withdrawn)) if self.leaving.is_some() => self.forget(turn),
            Some(Ok(JoinReply::Withdrawn)) => self.fail(JoinFailure::Withdrawn, turn),
            Some(Ok(JoinReply::Rejected(error)) | Err(error)) => self.handle_refused(error, turn),
            Some(Ok(JoinReply::Renewed(_))) | None => {
                self.hang_up(turn);
                None
            }
        }
    }

    fn handle_pending(&mut self, request: RequestId, after: Duration, turn: &mut Turn<'_>) -> Option<End> {
        self.dialler.prove();
        let joining = self.joining.as_mut()?;
        match joining.request {
            Some(known) if known == request => {
                let pause = after.max(turn.config.poll_interval);
                self.step = Step::Waiting {
                    until: turn.now.boot.after(pause),
                };
            }
            // One key has one request: another id for it is not an answer to what was asked.
            Some(_) => self.hang_up(turn),
            None => {
                joining.request = Some(request);
                let joining = joining.clone();
                let ask_at = turn.now.boot.after(after);
                self.save(joining, Saving::Request { ask_at }, Purpose::JoinRequest, turn);
            }
        }

        None
    }

    fn handle_approved(&mut self, sealed: &[u8], turn: &mut Turn<'_>) -> Option<End> {
        let (Some(joining), Some(welcomed)) = (&self.joining, &self.welcomed) else {
            return None;
        };
        // The contract is sealed for a request: without its id it cannot be opened.
        let Some(request) = joining.request else {
            let code = "approved_without_request".to_owned();
            turn.out.event(Event::JoinRetried { code });
            self.hang_up(turn);
            return None;
        };
        let member = match contract::accept(sealed, joining, request, welcomed, turn.now.wall) {
            Ok(member) => member,
            Err(failure) => return self.fail(failure, turn),
        };
        self.dialler.prove();
        let snapshot = Snapshot {
            bundle: Some(welcomed.bundle.clone()),
            ..Snapshot::default()
        };
        let kept = Kept {
            marks: snapshot.marks(),
            snapshot,
            generation: 1,
            confirm: Confirm::default(),
        };
        let (cluster, node) = (member.cluster(), member.node);
        let remembered = addresses::ring(node.as_bytes(), &member.controllers, &joining.controllers);
        // The identity last: who has one has everything that goes with it.
        let files = vec![
            kept.marks.file(cluster, node),
            kept.snapshot.file(kept.generation, cluster, node),
            addresses::file(&remembered),
            Standing::Member(Box::new(member.clone())).file(),
        ];
        turn.out.persist(files, Purpose::Contract);
        let enrolled = Enrolled {
            member,
            kept,
            remembered,
            behind: welcomed.behind,
        };
        self.step = Step::Saving(Saving::Identity(Box::new(enrolled)));
        self.give_up_at = None;

        None
    }

    fn handle_refused(&mut self, error: WireError, turn: &mut Turn<'_>) -> Option<End> {
        match (Weight::of(&error), &mut self.leaving) {
            (Weight::ForGood, Some(_)) => self.forget(turn),
            (Weight::ForGood, None) => self.fail(JoinFailure::Refused(error), turn),
            (Weight::Passing { pause }, leaving) => {
                if let Some(leaving) = leaving {
                    leaving.note_refused(error.clone());
                }
                turn.out.event(Event::JoinRetried { code: error.code });
                self.hang_up(turn);
                self.dialler.rest_longer(pause, turn.now);

                None
            }
        }
    }

    /// What waited for a write goes on.
    pub(super) fn handle_persisted(&mut self, purpose: Purpose, turn: &mut Turn<'_>) -> Option<End> {
        match (std::mem::replace(&mut self.step, Step::Away), purpose) {
            (Step::Saving(Saving::Identity(enrolled)), Purpose::Contract) => {
                self.dialler.close(turn.out);

                return Some(End::Enrolled(enrolled));
            }
            (Step::Saving(Saving::Nothing), Purpose::Leave) => {
                self.dialler.close(turn.out);

                return Some(End::Left);
            }
            (Step::Saving(Saving::Keys), Purpose::JoinKeys) => self.proceed(turn),
            (Step::Saving(Saving::Request { ask_at }), Purpose::JoinRequest) => {
                self.announce(turn);
                if self.dialler.opened().is_some() {
                    self.step = Step::Waiting { until: ask_at };
                }
            }
            (step, _) => self.step = step,
        }

        None
    }

    fn announce(&self, turn: &mut Turn<'_>) {
        if let Some((joining, request)) = self.joining.as_ref().zip(self.request()) {
            turn.out.event(Event::JoinPending {
                request,
                key: joining.keys.node.verify_key().fingerprint(),
            });
        }
    }

    /// Takes a pending request back, or just forgets that there was to be one.
    pub(super) fn handle_leave(&mut self, until: Boot, turn: &mut Turn<'_>) {
        Leaving::wish(&mut self.leaving, until);
        if self.request().is_none() {
            self.forget(turn);
        }
        if matches!(self.step, Step::Waiting { .. }) {
            self.step = Step::Away;
        }
        self.proceed(turn);
    }

    pub(super) fn handle_stay(&mut self) {
        self.leaving = None;
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    fn forget(&mut self, turn: &mut Turn<'_>) -> Option<End> {
        if let Some(leaving) = &mut self.leaving {
            leaving.note_given_back();
        }
        turn.out.persist(vec![Standing::Stranger.file()], Purpose::Leave);
        self.step = Step::Saving(Saving::Nothing);

        None
    }

    fn fail(&mut self, failure: JoinFailure, turn: &mut Turn<'_>) -> Option<End> {
        self.dialler.close(turn.out);

        Some(End::Failed(failure))
    }

    fn hang_up(&mut self, turn: &mut Turn<'_>) {
        self.dialler.close(turn.out);
        self.handle_disconnected(Disconnected::Closed(None), turn);
    }

    /// The connection is gone; keys and request stay.
    pub(super) fn handle_disconnected(&mut self, why: Disconnected, turn: &mut Turn<'_>) {
        self.last_end = Some(why);
        self.welcomed = None;
        if !matches!(self.step, Step::Saving(_)) {
            self.step = Step::Away;
        }
        if let Round::Complete { since } = self.dialler.end(turn) {
            turn.out.push(Effect::TriedInVain { since });
        }
    }
}
