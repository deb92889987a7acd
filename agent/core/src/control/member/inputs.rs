//! What comes in at a member: welcomes, replies, finished writes, and what the mesh and the host say.

use std::time::Duration;

use minicbor::bytes::ByteVec;
use protocol::cbor;
use protocol::certificate::Validity;
use protocol::document::authority::{RevocationList, RevokedNode};
use protocol::document::config::Candidate;
use protocol::envelope::Kind;
use protocol::error::{Code, WireError};
use protocol::limits::CANDIDATES;
use protocol::time::{Boot, Now};
use protocol::wire::{Answer, JoinReply, NodeReply, Renewed, Report};

use super::Membership;
use crate::control::clock;
use crate::control::dial::Round;
use crate::control::disk::Purpose;
use crate::control::effect::{Adopted, ConnectionId, Door, Effect, Payload, Tag};
use crate::control::event::{Event, RenewalFailure, SessionEnd, Witness};
use crate::control::file::FileName;
use crate::control::identity::{Keys, Standing};
use crate::control::input::{Disconnected, Lost, ServerLeaf};
use crate::control::leaving::Leaving;
use crate::control::refusal::Weight;
use crate::control::renewal::{self, Renewal, Step};
use crate::control::session::Asked;
use crate::control::trust::Refused;
use crate::control::turn::Turn;
use crate::control::welcome::{Judgement, Known, Verified};
use crate::control::{MOVE_CAP, REFUSED_PAUSE, addresses, contract};

impl Membership {
    pub(in crate::control) fn is(&self, connection: ConnectionId) -> bool {
        self.session.dialler.is(connection)
    }

    pub(in crate::control) fn handle_connected(&mut self, server: ServerLeaf, exported: [u8; 32], now: Now) {
        self.session.dialler.handle_connected(server, exported, now);
    }

    pub(in crate::control) fn handle_welcome(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        let Some(server) = self.session.dialler.welcoming() else {
            return;
        };
        let judgement = Judgement {
            known: Known::Trust(&self.member.trust),
            marks: self.documents.marks(),
            revocations: &self.documents.revocations(&self.member.trust),
            server,
            wall: self.documents.wall(turn.now),
        };
        match judgement.welcome(bytes) {
            Ok(verified) => self.open(verified, turn),
            Err(why) => {
                let endpoint = self.session.dialler.endpoint().to_owned();
                turn.out.event(Event::WelcomeRefused { endpoint, why });
                self.hang_up(SessionEnd::Untrustworthy, turn);
            }
        }
        self.drive(turn);
    }

    fn open(&mut self, verified: Verified, turn: &mut Turn<'_>) {
        self.session.open(verified.controller, turn);
        self.documents.forget_left_out();
        let corrected = self.documents.wall(turn.now).since(turn.now.wall);
        self.behind = corrected.saturating_add(verified.behind);
        if verified.trust.highest() > self.member.trust.highest() {
            self.member.trust = verified.trust;
            let epoch = self.member.trust.highest();
            turn.out.event(Event::EpochReached { epoch });
            // Before any document of the new epoch: writes keep their order.
            turn.out.persist(vec![self.file()], Purpose::Quiet);
        }
        let endpoint = self.session.dialler.endpoint().to_owned();
        match self.session.door {
            Door::Node => {
                self.prove_trial();
                turn.out.event(Event::SessionOpened {
                    controller: verified.controller,
                    endpoint,
                });
            }
            Door::Join => {
                self.bundle_in_doubt = false;
                self.anchors = Some(verified.anchors);
                let is_listed = verified.revoked.is_some_and(|list| self.is_on(&list));
                if is_listed && !std::mem::replace(&mut self.shut_out, true) {
                    turn.out.event(Event::Revoked);
                }
                let write = self.documents.take_bundle(verified.bundle, &self.member.trust);
                self.write_bundle(write, turn);
                self.forget_if_revoked(turn);
            }
        }
    }

    fn file(&self) -> (FileName, Payload) {
        Standing::Member(Box::new(self.member.clone())).file()
    }

    pub(in crate::control) fn handle_reply(
        &mut self,
        tag: Tag,
        reply: Result<Vec<u8>, Lost>,
        turn: &mut Turn<'_>,
    ) {
        let Some(asked) = self.session.answered(tag).filter(|_| !self.gone) else {
            return;
        };
        match reply {
            Err(_) => self.hang_up(SessionEnd::NoReply, turn),
            Ok(bytes) if self.session.door == Door::Join => self.handle_join_reply(&bytes, turn),
            Ok(bytes) => match cbor::decode::<Answer<NodeReply>>(&bytes).map(Answer::into_result) {
                Ok(Ok(reply)) => self.handle_answer(asked, reply, turn),
                Ok(Err(error)) => self.handle_refused(asked, error, turn),
                Err(_) => self.hang_up(SessionEnd::Untrustworthy, turn),
            },
        }
        self.drive(turn);
    }

    fn handle_answer(&mut self, asked: Asked, reply: NodeReply, turn: &mut Turn<'_>) {
        match (asked, reply) {
            (Asked::Poll { sent_at, urgent }, NodeReply::Poll(reply)) => {
                self.refresh_answered |= urgent;
                self.handle_poll_reply(&reply, sent_at, turn);
            }
            (Asked::Heartbeat { told }, NodeReply::Heard { observed, left_out }) => {
                self.prove();
                self.ledger.told(&told);
                if self.observed != observed {
                    self.observed = observed;
                    turn.out.event(Event::Observed(observed));
                }
                if self.left_out != left_out {
                    self.left_out.clone_from(&left_out);
                    turn.out.event(Event::LeftOut(left_out));
                }
            }
            (Asked::Report(_), NodeReply::Reported) => self.prove(),
            (Asked::Renew, NodeReply::Renewed(renewed)) => self.handle_renewed(renewed, turn),
            (Asked::Leave { .. }, NodeReply::Left) => self.forget(turn),
            (
                Asked::Heartbeat { .. }
                | Asked::Leave { .. }
                | Asked::Poll { .. }
                | Asked::Renew
                | Asked::Report(_),
                _,
            ) => self.hang_up(SessionEnd::Untrustworthy, turn),
        }
    }

    pub(super) fn tell_fresh(&mut self, poll_sent_at: Boot, newer: bool, turn: &mut Turn<'_>) {
        turn.out.push(Effect::Fresh { poll_sent_at, newer });
        self.recover(turn);
    }

    pub(super) fn recover(&mut self, turn: &mut Turn<'_>) {
        if self.documents.recover(turn.now) {
            turn.out.event(Event::NoLongerStale);
        }
    }

    pub(super) fn note_refused(&mut self, refused: &[Refused], turn: &mut Turn<'_>) {
        for refused in refused {
            self.ledger.note(refused, Kind::Beacon, turn.out);
        }
    }

    /// The controller goes away: another one is dialled, or this one again, within the time it names.
    pub(super) fn move_away(&mut self, within_ms: u64, turn: &mut Turn<'_>) {
        turn.out.event(Event::MovedAway { within_ms });
        self.hang_up(SessionEnd::MovedAway, turn);
        let within = Duration::from_millis(within_ms).min(MOVE_CAP);
        let pause = turn.out.up_to(within);
        self.session.dialler.rest_exactly(pause, turn.now);
    }

    fn handle_refused(&mut self, asked: Asked, error: WireError, turn: &mut Turn<'_>) {
        let pause = match Weight::of(&error) {
            Weight::Passing { pause } => pause,
            Weight::ForGood => REFUSED_PAUSE,
        };
        match asked {
            Asked::Renew => self.handle_renewal_refused(error, turn),
            Asked::Leave { .. } if error.known() == Some(Code::NodeRevoked) => self.forget(turn),
            Asked::Leave { .. } => {
                if let Some(leaving) = &mut self.leaving {
                    leaving.note_refused(error.clone());
                }
                self.hang_up(SessionEnd::Refused(error.code), turn);
                self.session.dialler.rest_longer(pause, turn.now);
            }
            Asked::Poll { .. } => {
                self.hang_up(SessionEnd::Refused(error.code), turn);
                self.session.dialler.rest_longer(pause, turn.now);
            }
            // The next one may be taken; what must not be lost goes with it.
            Asked::Heartbeat { .. } => {}
            Asked::Report(report) if Weight::of(&error) != Weight::ForGood => {
                self.session.queue_behind(report)
            }
            Asked::Report(_) => {}
        }
    }

    fn handle_renewal_refused(&mut self, error: WireError, turn: &mut Turn<'_>) {
        match Weight::of(&error) {
            Weight::Passing { pause } => self.renewal.retry(pause, turn.now),
            Weight::ForGood if error.known() == Some(Code::IdentityCloned) => self.renewal.stop(),
            Weight::ForGood => self.renewal.retry(REFUSED_PAUSE, turn.now),
        }
        turn.out
            .event(Event::RenewalFailed(RenewalFailure::Refused(error)));
    }

    fn handle_join_reply(&mut self, bytes: &[u8], turn: &mut Turn<'_>) {
        match cbor::decode::<Answer<JoinReply>>(bytes).map(Answer::into_result) {
            Ok(Ok(JoinReply::Renewed(renewed))) => self.handle_renewed(renewed, turn),
            Ok(Ok(JoinReply::Rejected(error)) | Err(error)) => {
                let code = error.code.clone();
                self.handle_renewal_refused(error, turn);
                self.hang_up(SessionEnd::Refused(code), turn);
                self.session.dialler.rest_longer(REFUSED_PAUSE, turn.now);
            }
            Ok(Ok(JoinReply::Approved(_) | JoinReply::Pending { .. } | JoinReply::Withdrawn)) | Err(_) => {
                self.hang_up(SessionEnd::Untrustworthy, turn);
            }
        }
    }

    fn handle_renewed(&mut self, reply: Renewed, turn: &mut Turn<'_>) {
        self.prove();
        let Some(next) = self.member.renewal.clone() else {
            return;
        };
        let holder = (self.member.node, self.member.cluster(), next.node.verify_key());
        let known = self.documents.anchors(&self.member.trust);
        let holds = std::iter::once(&known)
            .chain(&self.anchors)
            .any(|anchors| contract::certifies(&reply.certificate, holder, anchors, turn.now.wall));
        if !holds {
            self.renewal.retry(REFUSED_PAUSE, turn.now);
            turn.out.event(Event::RenewalFailed(RenewalFailure::Certificate));
            return self.hang_up(SessionEnd::Untrustworthy, turn);
        }
        self.member = renewal::renewed(&self.member, &next, reply);
        self.renewal.step = Step::Writing;
        turn.out.persist(vec![self.file()], Purpose::Certificate);
    }

    /// The keys of the next certificate, once they are on disk.
    pub(super) fn next_keys(&mut self, turn: &mut Turn<'_>) -> Option<Keys> {
        match self.renewal.step {
            Step::Ready => self.member.renewal.clone(),
            Step::Saving | Step::Writing => None,
            Step::Resting => {
                self.member.renewal = Some(Keys::generate(turn.out.rng()));
                self.renewal.step = Step::Saving;
                turn.out.persist(vec![self.file()], Purpose::RenewalKeys);

                None
            }
        }
    }

    /// What waited for a write goes on. Returns whether this node has left.
    pub(in crate::control) fn handle_persisted(&mut self, purpose: Purpose, turn: &mut Turn<'_>) -> bool {
        match purpose {
            Purpose::Snapshot => self.adopt(turn),
            Purpose::RenewalKeys => self.renewal.step = Step::Ready,
            Purpose::Certificate => self.swap_identity(turn),
            Purpose::Leave => {
                self.session.dialler.close(turn.out);
                return true;
            }
            Purpose::Contract | Purpose::JoinKeys | Purpose::JoinRequest | Purpose::Quiet => {}
        }
        self.drive(turn);

        false
    }

    /// Remembers where controllers are, should everything else be lost.
    pub(super) fn note_controllers(&mut self, turn: &mut Turn<'_>) {
        let endpoints = self.endpoints(turn);
        if endpoints != self.remembered {
            turn.out
                .persist(vec![addresses::file(&endpoints)], Purpose::Quiet);
            turn.out
                .event(Event::ControllersChanged(self.documents.controllers().to_vec()));
            self.session.dialler.set_endpoints(endpoints.clone());
            self.remembered = endpoints;
        }
    }

    /// Whether the list in force revokes this node, or one that was shown at the join door, where a node comes that is
    /// let in nowhere else.
    pub(super) fn is_revoked(&self) -> bool {
        let list = self.documents.snapshot().revocations.as_ref();

        self.shut_out || list.is_some_and(|list| self.is_on(&list.opened.body))
    }

    fn is_on(&self, list: &RevocationList) -> bool {
        let us = |entry: &RevokedNode| {
            entry.node == self.member.node && entry.generation >= self.member.generation
        };

        list.nodes.iter().any(us)
    }

    /// A node that is revoked has nothing left to give back, and nobody who would take it.
    fn forget_if_revoked(&mut self, turn: &mut Turn<'_>) {
        if self.is_leaving() && !self.gone && self.is_revoked() {
            self.forget(turn);
        }
    }

    fn swap_identity(&mut self, turn: &mut Turn<'_>) {
        let Ok(claimed) = self.member.claimed() else {
            return;
        };
        self.renewal = Renewal::new(claimed.validity, false, turn.out);
        match clock::begins_ahead(claimed.validity, self.wall(turn.now)) {
            true => self.renew_ahead(claimed.validity, turn),
            false => self.ahead = 0,
        }
        turn.out
            .adopt([Adopted::Identity(Box::new(self.member.identity()))]);
        turn.out.event(Event::Renewed {
            not_after: claimed.validity.not_after,
        });
        if self.session.is_open(Door::Node) {
            self.show_identity(turn);
        }
    }

    /// A certificate that begins ahead has to be taken: the controller counts from it, and would repeat it or call
    /// anything else a clone. It is renewed again, ever more rarely: the clock that is wrong may be this host's.
    fn renew_ahead(&mut self, validity: Validity, turn: &mut Turn<'_>) {
        let pause = REFUSED_PAUSE.saturating_mul(1 << self.ahead.min(AHEAD_DOUBLINGS));
        self.ahead = self.ahead.saturating_add(1);
        self.renewal.retry(pause, turn.now);
        let not_before = validity.not_before;
        let ahead = RenewalFailure::BeginsAhead { not_before };
        turn.out.event(Event::RenewalFailed(ahead));
    }

    /// Dials the same controller again at once: it knows this node by the certificate of the connection.
    fn show_identity(&mut self, turn: &mut Turn<'_>) {
        let endpoint = self.session.dialler.endpoint().to_owned();
        turn.out.event(Event::SessionClosed {
            endpoint,
            why: SessionEnd::Renewed,
        });
        self.session.dialler.close(turn.out);
        self.session.dialler.again(Duration::ZERO, turn.now);
        self.session.clear();
    }

    pub(in crate::control) fn handle_interfaces(&mut self, candidates: Vec<Candidate>, turn: &mut Turn<'_>) {
        let candidates: Vec<Candidate> = candidates.into_iter().take(CANDIDATES).collect();
        if candidates != self.candidates {
            self.candidates = candidates;
            self.session.heartbeat_now(turn);
        }
        self.drive(turn);
    }

    pub(in crate::control) fn handle_report(&mut self, mut report: Report, turn: &mut Turn<'_>) {
        if self.session.is_open(Door::Node) {
            let documents = &self.documents;
            let asks = self
                .feedback
                .handle_report(&report, |route| documents.standing(route), turn.now.boot);
            if asks {
                self.session.hurry(REFRESH_WAIT);
            }
            report.refreshes = self.feedback.take_news(turn.now.boot);
        }
        self.session.queue(report);
        self.drive(turn);
    }

    pub(in crate::control) fn handle_refresh(&mut self, turn: &mut Turn<'_>) {
        self.session.hurry(Duration::ZERO);
        self.drive(turn);
    }

    pub(in crate::control) fn handle_leave(&mut self, until: Boot, turn: &mut Turn<'_>) {
        Leaving::wish(&mut self.leaving, until);
        self.forget_if_revoked(turn);
        self.drive(turn);
    }

    pub(in crate::control) fn handle_stay(&mut self) {
        self.leaving = None;
    }

    pub(in crate::control) fn handle_witness(&mut self, beacon: &ByteVec, turn: &mut Turn<'_>) -> Witness {
        let mut witness = Witness::Believed;
        match self.documents.handle_witness(beacon, &self.member.trust) {
            Ok(None) => {}
            Ok(Some(rank)) => {
                turn.out.event(Event::WitnessAhead {
                    epoch: rank.epoch,
                    number: rank.number,
                });
                self.session.hurry(Duration::ZERO);
            }
            Err(refused) => witness = self.note_witness(refused, turn),
        }
        self.drive(turn);

        witness
    }

    /// Counts what a neighbour showed and should not have, and says what that makes of it.
    pub(super) fn note_witness(&mut self, refused: Refused, turn: &mut Turn<'_>) -> Witness {
        if !refused.why.is_forgery() {
            self.note_refused(&[refused], turn);
            return Witness::Believed;
        }
        // Its numbers are whatever the neighbour likes: all forgeries are one to a controller.
        self.note_refused(&[Refused::unread(refused.why)], turn);

        Witness::Forged
    }

    fn forget(&mut self, turn: &mut Turn<'_>) {
        self.gone = true;
        if let Some(leaving) = &mut self.leaving {
            leaving.note_given_back();
        }
        turn.out.persist(vec![Standing::Stranger.file()], Purpose::Leave);
    }

    pub(in crate::control) fn handle_disconnected(&mut self, why: Disconnected, turn: &mut Turn<'_>) {
        self.end_session(SessionEnd::Disconnected(why), turn);
        self.drive(turn);
    }

    /// A controller did what it was asked.
    pub(super) fn prove(&mut self) {
        self.session.dialler.prove();
        self.trouble.end();
    }

    pub(super) fn hang_up(&mut self, why: SessionEnd, turn: &mut Turn<'_>) {
        self.session.dialler.close(turn.out);
        self.end_session(why, turn);
    }

    fn end_session(&mut self, why: SessionEnd, turn: &mut Turn<'_>) {
        let endpoint = self.session.dialler.endpoint().to_owned();
        // At the join door anybody can answer: only a welcome that held, or a reply after it, is a controller's.
        let proven = self.session.door == Door::Node
            || self.session.is_open(Door::Join)
            || matches!(why, SessionEnd::Refused(_));
        self.trouble
            .note(&why, proven, &endpoint, self.documents.wall(turn.now));
        let doubtful =
            self.session.door == Door::Node && why == SessionEnd::Disconnected(Disconnected::Handshake);
        turn.out.event(Event::SessionClosed { endpoint, why });
        self.session.clear();
        self.feedback.handle_lost();
        self.refresh_answered = false;
        if let Round::Complete { since } = self.session.dialler.end(turn) {
            self.bundle_in_doubt |= doubtful;
            turn.out.push(Effect::TriedInVain { since });
        }
    }
}

/// How long a controller may hold a poll that follows a bad report: for it to take the report in, decide and publish.
const REFRESH_WAIT: Duration = Duration::from_secs(2);
/// Doublings of the pause between renewals of certificates that begin ahead: up to an hour.
const AHEAD_DOUBLINGS: u32 = 6;
