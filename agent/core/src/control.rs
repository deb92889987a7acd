//! An agent's relation with its controllers, as a pure machine: enrolment, verification of everything signed,
//! high-water marks, polling, renewal.
//!
//! ```text
//!                    ┌────────────── no identity on disk ──────────────┐
//!  boot(files) ──▶ Persisted ──▶ Control ──▶ Joining ──▶ Member ──▶ Ended (left, refused for good)
//!                                               │           │
//!                                   join door ◀─┘           ├──▶ node door: poll, heartbeat, report, renew, leave
//!                                                           └──▶ join door: renewal after expiry, by proof
//! ```
//!
//! The host calls one `handle_*`, then drains [`Control::poll_effect`], then asks [`Control::poll_timeout`] when to
//! call [`Control::handle_timeout`] next. A machine that was just made wants `handle_timeout` at once. Every
//! [`Effect::Connect`] is answered by `handle_connected` or `handle_disconnected`, every [`Effect::Request`] by one
//! `handle_reply` unless its connection ends first, every [`Effect::Persist`] by one `handle_persisted`.

mod addresses;
mod boot;
mod clock;
mod config;
mod confirm;
mod contract;
mod dial;
mod disk;
mod documents;
mod effect;
mod enrol;
mod event;
mod feedback;
mod file;
mod identity;
mod input;
mod judge;
mod leaving;
mod ledger;
mod marks;
mod member;
mod outbox;
mod refusal;
mod renewal;
mod session;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod trouble;
mod trust;
mod turn;
mod welcome;

pub use boot::{Persisted, Unbootable, boot};
pub use config::{Config, POLL_INTERVAL, Pin, Seed};
pub use confirm::Unconfirmed;
pub use effect::{Adopted, ConnectionId, Door, Effect, NodeIdentity, Payload, Tag, WriteId};
pub use event::{Event, JoinFailure, NotLeft, Refusal, RenewalFailure, SessionEnd, WelcomeRefusal, Witness};
pub use feedback::{RefreshReport, Refreshed, Tally, Way};
pub use file::FileName;
pub use input::{Disconnected, Lost, ServerLeaf, WriteFailed};
pub use status::{JoinStatus, MemberStatus, Status};
pub use trouble::{Admission, LastFailure};
pub use trust::SUCCESSIONS;

use std::time::Duration;

use protocol::document::config::Candidate;
use protocol::time::{Boot, Now};
use protocol::wire::Report;

use enrol::{End, Enrolled, Joiner};
use identity::Standing;
use member::Membership;
use outbox::Outbox;
use status::{JoinStatus as Joining, MemberStatus as Member};
use turn::Turn;

/// The machine.
#[derive(Debug)]
pub struct Control {
    config: Config,
    out: Outbox,
    phase: Phase,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
enum Phase {
    Ended { failure: Option<JoinFailure> },
    Joining(Box<Joiner>),
    Member(Box<Membership>),
}

impl Control {
    /// Carries on from what [`boot()`] read. With nothing there, this is a machine that has yet to join.
    pub fn new(persisted: Persisted, config: Config, seed: &Seed) -> Self {
        let mut out = Outbox::new(seed);
        for event in persisted.events() {
            out.event(event);
        }
        let mut turn = Turn {
            now: Now {
                boot: Boot::default(),
                wall: protocol::time::Wall::default(),
            },
            config: &config,
            out: &mut out,
        };
        let begun = match persisted.standing {
            Standing::Member(member) => {
                let enrolled = Enrolled {
                    member: *member,
                    kept: persisted.kept,
                    remembered: persisted.endpoints,
                    behind: Duration::ZERO,
                };
                let phase = Phase::Member(Box::new(Membership::new(enrolled, &mut turn)));

                return Self::in_phase(phase, config, out);
            }
            Standing::Joining(joining) => Some(*joining),
            Standing::Stranger => None,
        };
        let phase = match Joiner::new(&config, begun) {
            Ok(joiner) => Phase::Joining(Box::new(joiner)),
            Err(failure) => {
                out.event(Event::JoinFailed(failure.clone()));

                Phase::Ended {
                    failure: Some(failure),
                }
            }
        };

        Self::in_phase(phase, config, out)
    }

    fn in_phase(phase: Phase, config: Config, out: Outbox) -> Self {
        Self {
            config,
            out,
            phase,
            candidates: Vec::new(),
        }
    }

    /// Does what is due. The host calls it once at the start, and then at every [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Now) {
        self.out.handle_timeout(now);
        let end = self.with(now, |phase, turn| match phase {
            Phase::Ended { .. } => None,
            Phase::Joining(joiner) => joiner.handle_timeout(turn),
            Phase::Member(member) => {
                member.handle_timeout(turn);
                None
            }
        });
        self.end(end, now);
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Boot> {
        let phase = match &self.phase {
            Phase::Ended { .. } => None,
            Phase::Joining(joiner) => joiner.poll_timeout(),
            Phase::Member(member) => member.poll_timeout(),
        };

        [phase, self.out.poll_timeout()].into_iter().flatten().min()
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.out.poll()
    }

    /// TLS is up: what the server showed, and 32 bytes of this connection's exporter under
    /// [`Proof::EXPORTER_LABEL`](protocol::wire::Proof::EXPORTER_LABEL) with an empty context.
    pub fn handle_connected(
        &mut self,
        connection: ConnectionId,
        server: ServerLeaf,
        exported: [u8; 32],
        now: Now,
    ) {
        match &mut self.phase {
            Phase::Joining(joiner) if joiner.is(connection) => joiner.handle_connected(server, exported, now),
            Phase::Member(member) if member.is(connection) => member.handle_connected(server, exported, now),
            Phase::Ended { .. } | Phase::Joining(_) | Phase::Member(_) => {}
        }
    }

    /// The server's first frame, without its length.
    pub fn handle_welcome(&mut self, connection: ConnectionId, welcome: &[u8], now: Now) {
        self.with(now, |phase, turn| match phase {
            Phase::Joining(joiner) if joiner.is(connection) => joiner.handle_welcome(welcome, turn),
            Phase::Member(member) if member.is(connection) => member.handle_welcome(welcome, turn),
            Phase::Ended { .. } | Phase::Joining(_) | Phase::Member(_) => {}
        });
    }

    /// The reply to a request, without its length, or that there will be none.
    pub fn handle_reply(
        &mut self,
        connection: ConnectionId,
        tag: Tag,
        reply: Result<Vec<u8>, Lost>,
        now: Now,
    ) {
        let end = self.with(now, |phase, turn| match phase {
            Phase::Joining(joiner) if joiner.is(connection) => joiner.handle_reply(tag, reply, turn),
            Phase::Member(member) if member.is(connection) => {
                member.handle_reply(tag, reply, turn);
                None
            }
            Phase::Ended { .. } | Phase::Joining(_) | Phase::Member(_) => None,
        });
        self.end(end, now);
    }

    /// A connection, or the attempt at one, ended otherwise than by [`Effect::Close`].
    pub fn handle_disconnected(&mut self, connection: ConnectionId, why: Disconnected, now: Now) {
        self.with(now, |phase, turn| match phase {
            Phase::Joining(joiner) if joiner.is(connection) => joiner.handle_disconnected(why, turn),
            Phase::Member(member) if member.is(connection) => member.handle_disconnected(why, turn),
            Phase::Ended { .. } | Phase::Joining(_) | Phase::Member(_) => {}
        });
    }

    /// How a write ended.
    pub fn handle_persisted(&mut self, write: WriteId, result: Result<(), WriteFailed>, now: Now) {
        let Some(purpose) = self.out.handle_persisted(write, result, now) else {
            return self.handle_unwritten(result, now);
        };
        let end = self.with(now, |phase, turn| match phase {
            Phase::Ended { .. } => None,
            Phase::Joining(joiner) => joiner.handle_persisted(purpose, turn),
            Phase::Member(member) => member.handle_persisted(purpose, turn).then_some(End::Left),
        });
        self.end(end, now);
    }

    fn handle_unwritten(&mut self, result: Result<(), WriteFailed>, now: Now) {
        if result.is_err() {
            self.with(now, |phase, turn| match phase {
                Phase::Member(member) => member.handle_unwritten(turn),
                Phase::Ended { .. } | Phase::Joining(_) => {}
            });
        }
    }

    /// The addresses of this host's interfaces, best first; told to the controller when they change.
    pub fn handle_interfaces(&mut self, candidates: Vec<Candidate>, now: Now) {
        self.candidates.clone_from(&candidates);
        self.with(now, |phase, turn| match phase {
            Phase::Member(member) => member.handle_interfaces(candidates, turn),
            Phase::Ended { .. } | Phase::Joining(_) => {}
        });
    }

    /// What the mesh measured. One report waits at most; what a newer one measured replaces it.
    pub fn handle_report(&mut self, report: Report, now: Now) {
        self.with(now, |phase, turn| match phase {
            Phase::Member(member) => member.handle_report(report, turn),
            Phase::Ended { .. } | Phase::Joining(_) => {}
        });
    }

    /// Polls once more at once, beside the parked poll: the mesh stood still and wants to hear from a controller.
    pub fn handle_refresh(&mut self, now: Now) {
        self.with(now, |phase, turn| match phase {
            Phase::Member(member) => member.handle_refresh(turn),
            Phase::Ended { .. } | Phase::Joining(_) => {}
        });
    }

    /// A signed beacon that a neighbour showed. Says what it is worth.
    pub fn handle_witness(&mut self, beacon: &[u8], now: Now) -> Witness {
        self.with(now, |phase, turn| match phase {
            Phase::Member(member) => member.handle_witness(&beacon.to_vec().into(), turn),
            Phase::Ended { .. } | Phase::Joining(_) => Witness::Believed,
        })
    }

    /// A signed revocation list that a neighbour showed. Says what it is worth.
    pub fn handle_list(&mut self, list: &[u8], now: Now) -> Witness {
        self.with(now, |phase, turn| match phase {
            Phase::Member(member) => member.handle_list(&list.to_vec().into(), turn),
            Phase::Ended { .. } | Phase::Joining(_) => Witness::Believed,
        })
    }

    /// Gives back what this node holds, or takes a pending request back, unless that takes longer than `until`.
    /// [`Event::Left`] says that it is done, [`Event::NotLeft`] that it was not done by then, and will not be.
    pub fn handle_leave(&mut self, until: Boot, now: Now) {
        self.with(now, |phase, turn| match phase {
            Phase::Ended { .. } => {}
            Phase::Joining(joiner) => joiner.handle_leave(until, turn),
            Phase::Member(member) => member.handle_leave(until, turn),
        });
    }

    /// Nobody waits for this node to leave any more: what has not been asked for is not done.
    pub fn handle_stay(&mut self, now: Now) {
        self.with(now, |phase, _| match phase {
            Phase::Ended { .. } => {}
            Phase::Joining(joiner) => joiner.handle_stay(),
            Phase::Member(member) => member.handle_stay(),
        });
    }

    /// How things stand.
    pub fn status(&self) -> Status {
        match &self.phase {
            Phase::Ended { failure } => Status::Ended {
                failure: failure.clone(),
            },
            Phase::Joining(joiner) => Status::Joining(Joining::of(joiner)),
            Phase::Member(member) => Status::Member(Box::new(Member::of(member))),
        }
    }

    /// Whether this machine has begun all that it can by itself: what its disk held is in force, or its enrolment
    /// waits for others. A machine that never asked anybody is not; nor is one that ended.
    pub fn is_settled(&self) -> bool {
        match &self.phase {
            Phase::Ended { .. } => false,
            Phase::Joining(joiner) => joiner.is_settled(),
            Phase::Member(_) => true,
        }
    }

    /// What a node says first to a neighbour that dials it: a `Welcome` in CBOR, once there is a bundle.
    pub fn neighbour_welcome(&self) -> Option<Vec<u8>> {
        match &self.phase {
            Phase::Member(member) => member.neighbour_welcome(),
            Phase::Ended { .. } | Phase::Joining(_) => None,
        }
    }

    fn with<T>(&mut self, now: Now, act: impl FnOnce(&mut Phase, &mut Turn<'_>) -> T) -> T {
        let mut turn = Turn {
            now,
            config: &self.config,
            out: &mut self.out,
        };

        act(&mut self.phase, &mut turn)
    }

    /// Goes over to what comes after a phase that ended.
    fn end(&mut self, end: Option<End>, now: Now) {
        let failure = match end {
            None => return,
            Some(End::Enrolled(enrolled)) => return self.begin_membership(*enrolled, now),
            Some(End::Failed(failure)) => {
                self.out.event(Event::JoinFailed(failure.clone()));

                Some(failure)
            }
            Some(End::Left) => {
                self.out.event(Event::Left);

                None
            }
        };
        self.phase = Phase::Ended { failure };
    }

    fn begin_membership(&mut self, enrolled: Enrolled, now: Now) {
        let member = &enrolled.member;
        self.out.event(Event::Enrolled {
            node: member.node,
            authority: member.trust.pin().fingerprint(),
        });
        let mut turn = Turn {
            now,
            config: &self.config,
            out: &mut self.out,
        };
        let mut membership = Membership::new(enrolled, &mut turn);
        membership.handle_interfaces(self.candidates.clone(), &mut turn);
        membership.handle_timeout(&mut turn);
        self.phase = Phase::Member(Box::new(membership));
    }
}

/// Time without a newer beacon after which the state is called stale (DESIGN 3, attack table).
pub const STALE_AFTER: Duration = Duration::from_secs(15 * 60);
/// How long a controller may hold a poll of a node; below the idle time of anything on the way.
pub const NODE_WAIT: Duration = Duration::from_secs(50);
/// The same for a relay: its freshness is the age of its polls, and ends at 60 s.
pub const RELAY_WAIT: Duration = Duration::from_secs(10);
/// How long any other request may take.
const REQUEST_DEADLINE: Duration = Duration::from_secs(10);
/// How far a neighbour's beacon may be ahead of ours before that is strange: polls are held 50 s.
const WITNESS_LEAD: Duration = Duration::from_secs(120);
/// How often the mark of beacons that brought nothing else is written.
const MARKS_INTERVAL: Duration = Duration::from_secs(60);
/// Pause after a refusal that an operator has to lift.
const REFUSED_PAUSE: Duration = Duration::from_secs(60);
/// The longest time a controller can send its nodes away for.
const MOVE_CAP: Duration = Duration::from_secs(300);
/// Least time between two questions about a pending request, whatever is configured.
const ASK_PAUSE: Duration = Duration::from_millis(100);
