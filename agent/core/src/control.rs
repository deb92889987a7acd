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

mod config;
mod effect;
mod event;
mod file;
mod input;

pub use config::{Config, Pin, Seed};
pub use effect::{Adopted, ConnectionId, Door, Effect, NodeIdentity, Payload, Tag, WriteId};
pub use event::{Event, JoinFailure, Refusal, RenewalFailure, SessionEnd, WelcomeRefusal};
pub use file::FileName;
pub use input::{Disconnected, Lost, ServerLeaf, WriteFailed};

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::document::config::Candidate;
use protocol::time::{Boot, Now};
use protocol::wire::Report;

/// The machine.
#[derive(Debug, Default)]
pub struct Control {
    effects: VecDeque<Effect>,
    now: Option<Now>,
}

impl Control {
    /// Carries on from what [`boot`] read; with an empty state directory this is a machine that has yet to join.
    pub fn new(persisted: Persisted, config: Config, seed: &Seed) -> Self {
        let _ = (persisted, config, seed);
        Self::default()
    }

    /// Does what is due. The host calls it once at the start, and then at every [`Self::poll_timeout`].
    pub fn handle_timeout(&mut self, now: Now) {
        self.now = Some(now);
    }

    /// When [`Self::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Boot> {
        self.now.map(|now| now.boot)
    }

    /// The next thing to do, in order.
    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
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
        let _ = (connection, server, exported, now);
    }

    /// The server's first frame, without its length.
    pub fn handle_welcome(&mut self, connection: ConnectionId, welcome: &[u8], now: Now) {
        let _ = (connection, welcome, now);
    }

    pub fn handle_reply(
        &mut self,
        connection: ConnectionId,
        tag: Tag,
        reply: Result<Vec<u8>, Lost>,
        now: Now,
    ) {
        let _ = (connection, tag, reply, now);
    }

    pub fn handle_disconnected(&mut self, connection: ConnectionId, why: Disconnected, now: Now) {
        let _ = (connection, why, now);
    }

    pub fn handle_persisted(&mut self, write: WriteId, result: Result<(), WriteFailed>, now: Now) {
        let _ = (write, result, now);
    }

    pub fn handle_interfaces(&mut self, candidates: Vec<Candidate>, now: Now) {
        let _ = (candidates, now);
    }

    pub fn handle_report(&mut self, report: Report, now: Now) {
        let _ = (report, now);
    }

    /// Polls once more at once, beside the parked poll: the mesh stood still and wants to hear from a controller.
    pub fn handle_refresh(&mut self, now: Now) {
        let _ = now;
    }

    /// A beacon that a neighbour showed.
    pub fn handle_witness(&mut self, beacon: &[u8], now: Now) {
        let _ = (beacon, now);
    }

    /// Gives back what this node holds.
    pub fn handle_leave(&mut self, now: Now) {
        let _ = now;
    }
}

/// What the state directory held, verified. Its `Debug` shows no secret.
#[derive(Debug, Default)]
pub struct Persisted {}

/// Reads the files of the state directory and verifies again every signature in them. A damaged generation of the
/// last known good state is passed over for the one before.
pub fn boot(files: &BTreeMap<FileName, Vec<u8>>) -> Result<Persisted, Unbootable> {
    let _ = files;
    Ok(Persisted::default())
}

/// The state directory cannot be carried on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unbootable {
    /// The identity file is damaged: its checksum does not hold.
    #[error("the identity file is damaged")]
    Identity,
    /// The identity file was written by a newer version of the program.
    #[error("the identity file has format {found}, newer than this version reads")]
    TooNew { found: u16 },
}

/// Time without a newer beacon after which the state is called stale.
pub const STALE_AFTER: Duration = Duration::from_secs(15 * 60);
/// Successions that are walked in one welcome.
pub const SUCCESSIONS: usize = 1_024;
