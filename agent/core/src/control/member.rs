//! A node and its controllers: everything that happens once there is an identity.
//!
//! ```text
//!              certificate good                        welcome holds
//!   resting ──────────────────▶ node door, dialling ─────────────────▶ poll, heartbeat, report, renew, leave
//!      ▲  │    certificate expired                     welcome holds                     │
//!      │  └──────────────────▶ join door, dialling ─────────────────▶ renewal by proof ──┤
//!      └────────── lost, refused, asked away: what is in force stays in force ───────────┘
//! ```

mod adopting;
mod confirming;
mod inputs;

use std::time::Duration;

use protocol::admit::Anchors;
use protocol::cbor;
use protocol::certificate::{Validity, controller_server_name};
use protocol::document::config::{Candidate, LeftOut};
use protocol::net::Address;
use protocol::time::{Boot, Now, Wall};
use protocol::wire::{Heartbeat, JoinRequest, NodeRequest, Welcome};
use rustls_pki_types::CertificateDer;

use super::clock;
use super::disk::Purpose;
use super::documents::Documents;
use super::effect::{Adopted, Door};
use super::enrol::Enrolled;
use super::event::{Event, SessionEnd};
use super::feedback::Feedback;
use super::identity::Member;
use super::leaving::Leaving;
use super::ledger::Ledger;
use super::outbox::Call;
use super::renewal::{self, Renewal, Step};
use super::session::{self, Asked, Session};
use super::trouble::{Admission, Trouble};
use super::turn::Turn;
use adopting::Adopting;

/// See the module.
#[derive(Debug)]
pub(super) struct Membership {
    member: Member,
    documents: Documents,
    session: Session,
    renewal: Renewal,
    ledger: Ledger,
    candidates: Vec<Candidate>,
    observed: Option<Address>,
    /// Addresses of ours that the controller tells nobody.
    left_out: Vec<LeftOut>,
    adopting: Option<Adopting>,
    trouble: Trouble,
    feedback: Feedback,
    /// A poll that followed a bad report was answered; what it brought may not be in force yet.
    refresh_answered: bool,
    /// From the address file.
    remembered: Vec<String>,
    /// Of the last welcome at the join door, which may know newer CAs.
    anchors: Option<Anchors>,
    /// No controller's certificate is believed at the node door: perhaps the bundle is behind.
    bundle_in_doubt: bool,
    /// A revocation list that was shown at the join door names this node.
    shut_out: bool,
    /// By how much this host's clock was behind the beacon of the last welcome.
    behind: Duration,
    /// Certificates in a row that begin ahead.
    ahead: u32,
    marks_at: Boot,
    leaving: Option<Leaving>,
    /// Nothing is done any more: the identity is being forgotten.
    gone: bool,
    started: bool,
}

impl Membership {
    /// Hands over what is in force, and is ready to dial.
    pub(super) fn new(enrolled: Enrolled, turn: &mut Turn<'_>) -> Self {
        let Enrolled {
            member,
            kept,
            remembered,
            behind,
        } = enrolled;
        // A certificate that cannot be read counts as expired, and is renewed by proof.
        let validity = member.claimed().map_or(NEVER, |claimed| claimed.validity);
        let renewal = Renewal::new(validity, member.renewal.is_some(), turn.out);
        let documents = Documents::new(member.node, kept);
        turn.out.adopt([Adopted::Identity(Box::new(member.identity()))]);
        turn.out.adopt(documents.all());
        let mut membership = Self {
            session: Session::new(Vec::new()),
            member,
            documents,
            renewal,
            ledger: Ledger::default(),
            candidates: Vec::new(),
            observed: None,
            left_out: Vec::new(),
            adopting: None,
            trouble: Trouble::default(),
            feedback: Feedback::default(),
            refresh_answered: false,
            remembered,
            anchors: None,
            bundle_in_doubt: false,
            shut_out: false,
            behind,
            ahead: 0,
            marks_at: Boot::default(),
            leaving: None,
            gone: false,
            started: false,
        };
        membership.session = Session::new(membership.endpoints(turn));

        membership
    }

    pub(super) fn member(&self) -> &Member {
        &self.member
    }

    pub(super) fn documents(&self) -> &Documents {
        &self.documents
    }

    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn feedback(&self) -> &Feedback {
        &self.feedback
    }

    pub(super) fn trouble(&self) -> &Trouble {
        &self.trouble
    }

    /// Whether the controllers take this host for a node.
    pub(super) fn admission(&self) -> Admission {
        match self.is_revoked() {
            true => Admission::Revoked,
            false => self.trouble.admission(),
        }
    }

    pub(super) fn not_after(&self) -> Wall {
        self.renewal.validity().not_after
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.leaving.is_some()
    }

    pub(super) fn left_out(&self) -> &[LeftOut] {
        &self.left_out
    }

    pub(super) fn observed(&self) -> Option<Address> {
        self.observed
    }

    /// What to say first to a neighbour.
    pub(super) fn neighbour_welcome(&self) -> Option<Vec<u8>> {
        let snapshot = self.documents.snapshot();
        let trust = &self.member.trust;
        let welcome = Welcome {
            controller: None,
            authority: trust.newest(),
            epoch: trust.highest(),
            successions: trust.successions().to_vec(),
            bundle: (*snapshot.bundle.as_ref()?.bytes).clone(),
            beacon: self.documents.beacon().cloned(),
            revocations: snapshot.revocations.as_ref().map(|held| (*held.bytes).clone()),
        };

        Some(cbor::encode(&welcome))
    }

    /// Where controllers may be: as the config has them, or else contract and last renewal; then what an operator
    /// configured, and what was known earlier.
    fn endpoints(&self, turn: &Turn<'_>) -> Vec<String> {
        let named = match self.documents.controllers() {
            [] => &self.member.controllers,
            of_config => of_config,
        };

        session::endpoints(
            self.member.node.as_bytes(),
            named,
            [&turn.config.controllers, &self.remembered],
        )
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        if !self.started {
            return Some(Boot::default());
        }
        if self.gone {
            return self.leaving.as_ref().map(Leaving::until);
        }
        let marks = self.documents.has_unwritten_marks().then_some(self.marks_at);
        let is_saving = matches!(self.renewal.step, Step::Saving | Step::Writing);
        let can_renew = self.session.is_open(Door::Node) && !self.session.is_renewing() && !is_saving;
        let renewal = self.renewal.poll_timeout().filter(|_| can_renew);

        [
            self.session.poll_timeout(self.may_poll()),
            self.adopting.as_ref().and_then(Adopting::hangs_at),
            self.documents.poll_timeout(),
            marks,
            renewal,
            self.leaving.as_ref().map(Leaving::until),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn handle_timeout(&mut self, turn: &mut Turn<'_>) {
        if !self.started {
            self.started = true;
            self.documents.start(turn.now);
        }
        if self.documents.grow_stale(turn.now) {
            turn.out.event(Event::Stale);
            if self.session.dialler.known() > 1 && self.session.is_open(Door::Node) {
                self.hang_up(SessionEnd::Stale, turn);
            }
        }
        if self.session.dialler.is_late(turn.now) {
            self.hang_up(SessionEnd::NoReply, turn);
        }
        if self
            .adopting
            .as_ref()
            .and_then(Adopting::hangs_at)
            .is_some_and(|at| at <= turn.now.boot)
        {
            self.hold_over(turn);
        }
        if let Some(why) = Leaving::take_over(&mut self.leaving, turn.now) {
            turn.out.event(Event::NotLeft(why));
        }
        self.look_at_trial(turn);
        self.write_marks(turn);
        self.drive(turn);
    }

    /// Writes the mark of beacons that brought nothing else, once a minute: an fsync for each would cost every host
    /// of a fleet 8,640 a day.
    fn write_marks(&mut self, turn: &mut Turn<'_>) {
        if self.marks_at > turn.now.boot {
            return;
        }
        self.marks_at = turn.now.boot.after(super::MARKS_INTERVAL);
        if turn.out.is_writing() {
            return;
        }
        if let Some(file) = self.documents.unwritten_marks(&self.member.trust) {
            turn.out.persist(vec![file], Purpose::Quiet);
        }
    }

    /// The wall clock, as far as what the authority has signed corrects it.
    fn wall(&self, now: Now) -> Wall {
        self.documents
            .wall(now)
            .max(clock::forward(now.wall, self.behind))
    }

    /// Sends whatever is due, or dials.
    pub(super) fn drive(&mut self, turn: &mut Turn<'_>) {
        if self.gone {
            return;
        }
        self.conclude_refresh(turn);
        let wall = self.wall(turn.now);
        self.renewal.plan(turn.now, wall);
        if self.session.dialler.is_due(turn.now) {
            self.dial(wall, turn);
        }
        if self.session.is_open(Door::Node) {
            self.ask(turn);
        }
        if self.session.is_open(Door::Join) {
            self.ask_expired(wall, turn);
        }
    }

    /// Tells what the poll after a bad report brought, once that is in force.
    fn conclude_refresh(&mut self, turn: &mut Turn<'_>) {
        if !self.refresh_answered || self.adopting.is_some() {
            return;
        }
        self.refresh_answered = false;
        let documents = &self.documents;
        let out = &mut *turn.out;
        let brought = self.feedback.handle_answer(
            |route| documents.standing(route),
            |pause| out.within_a_fifth(pause),
            turn.now.boot,
        );
        for refreshed in brought {
            turn.out.event(Event::Refreshed(refreshed));
        }
    }

    fn dial(&mut self, wall: Wall, turn: &mut Turn<'_>) {
        let joins = self.renewal.needs_proof(turn.now, wall) || self.bundle_in_doubt;
        self.session.door = if joins { Door::Join } else { Door::Node };
        let trust = match &self.documents.snapshot().bundle {
            Some(bundle) if !joins => bundle.opened.body.controller_cas.as_slice(),
            Some(_) | None => &[],
        };
        let call = Call {
            door: self.session.door,
            server_name: controller_server_name(self.member.cluster()),
            trust: trust
                .iter()
                .map(|der| CertificateDer::from(der.to_vec()))
                .collect(),
            client_identity: !joins,
        };
        self.session.dialler.dial(call, turn);
    }

    fn ask(&mut self, turn: &mut Turn<'_>) {
        if let Some(leaving) = &mut self.leaving
            && !self.session.is_leaving()
        {
            leaving.note_asked();
            let until = leaving.until();
            self.session
                .send(&NodeRequest::Leave, Asked::Leave { until }, turn);
        }
        let wait = match self.documents.serves_leases() {
            true => super::RELAY_WAIT,
            false => super::NODE_WAIT,
        };
        if self.may_poll()
            && let Some((wait, asked)) = self.session.poll_due(wait, turn)
        {
            self.session
                .send(&session::poll(&self.documents, wait), asked, turn);
        }
        if self.session.is_heartbeat_due(turn) {
            self.send_heartbeat(turn);
        }
        if let Some(report) = self.session.report_due() {
            self.session
                .send(&NodeRequest::Report(report.clone()), Asked::Report(report), turn);
        }
        self.renew(turn);
    }

    fn send_heartbeat(&mut self, turn: &mut Turn<'_>) {
        let told = self.ledger.untold().to_vec();
        let heartbeat = Heartbeat {
            boot: turn.config.boot,
            candidates: self.candidates.clone(),
            epoch: self.member.trust.highest(),
            applied: self.documents.have(),
            agent_version: turn.config.facts.agent_version.clone(),
            refused: told.clone(),
            reverted: self.documents.reverted(),
        };
        self.session.send(
            &NodeRequest::Heartbeat(heartbeat),
            Asked::Heartbeat { told },
            turn,
        );
        let interval = Duration::from_millis(self.documents.transport().heartbeat.into());
        self.session.set_heartbeat(interval, turn);
    }

    /// Begins or goes on with a renewal that is due.
    fn renew(&mut self, turn: &mut Turn<'_>) {
        let wall = self.wall(turn.now);
        if !self.renewal.is_due(turn.now, wall) || self.session.is_renewing() {
            return;
        }
        if let Some(next) = self.next_keys(turn) {
            let request = NodeRequest::Renew(renewal::request(&self.member, &next));
            self.session.send(&request, Asked::Renew, turn);
        }
    }

    /// At the join door: renews what is no good, and goes away once there is nothing to renew.
    fn ask_expired(&mut self, wall: Wall, turn: &mut Turn<'_>) {
        if !self.may_poll() || self.renewal.step == Step::Writing || self.session.is_renewing() {
            return;
        }
        if !self.renewal.needs_proof(turn.now, wall) {
            self.session.dialler.close(turn.out);
            self.session.dialler.again(Duration::ZERO, turn.now);
            self.session.clear();
            return self.drive(turn);
        }
        let Some((connection, exported)) = self.session.dialler.opened() else {
            return;
        };
        if let Some(next) = self.next_keys(turn) {
            let request = JoinRequest::RenewExpired(renewal::expired(&self.member, &next, &exported));
            let deadline = turn.now.boot.after(super::REQUEST_DEADLINE);
            let tag = turn.out.request(connection, &request, deadline);
            self.session.note(tag, Asked::Renew);
        }
    }
}

/// Of a certificate that cannot be read.
const NEVER: Validity = Validity {
    not_before: Wall(0),
    not_after: Wall(0),
};
