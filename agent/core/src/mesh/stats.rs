//! Counts since this process started; the shell turns them into metrics.

use std::collections::BTreeMap;

use protocol::frame::Class;

use super::effect::Refusal;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frames of our own that were handed to a link.
    pub sent: BTreeMap<Class, u64>,
    /// Frames for us that opened and were new.
    pub received: BTreeMap<Class, u64>,
    /// Frames carried as a relay, untouched.
    pub forwarded: u64,
    pub forwarded_bytes: u64,
    /// Frames not carried and not taken, by reason; `payload` is in here under its own.
    pub refused: BTreeMap<Refusal, u64>,
    /// Refusals told to their sender on `route_control`; fewer than `refused`, for they are rate-limited.
    pub refusals_answered: u64,
    /// Refusals that relays told us.
    pub refusals_heard: u64,
    /// Frames whose sequence was taken already.
    pub replayed: u64,
    /// Second copies of what was sent on two paths.
    pub duplicates: u64,
    /// Datagrams that are no frame; each closes its connection.
    pub malformed: u64,
    pub probes_sent: u64,
    pub probes_answered: u64,
    /// Answers that came after their probe was counted as a miss, or to no probe at all.
    pub probes_late: u64,
    pub probes_missed: u64,
    /// Probes not judged because this process itself was late.
    pub probes_unjudged: u64,
    /// Answers we gave.
    pub answers_sent: u64,
    /// Frames sent a second time, on another path, while in doubt.
    pub doubled: u64,
    /// Traffic moved by this node's own decision.
    pub switches: u64,
    /// Traffic moved because a decision said so.
    pub moves: u64,
    pub dials: u64,
    pub dials_failed: u64,
    /// Dials among them at a moment that the neighbour had agreed to.
    pub meetings: u64,
    pub duplicates_closed: u64,
    /// Times this process stood still for longer than [`STILL`](super::standstill::STILL).
    pub stalls: u64,
}

impl Stats {
    pub(super) fn refuse(&mut self, why: Refusal) {
        *self.refused.entry(why).or_default() += 1;
    }

    pub(super) fn count(frames: &mut BTreeMap<Class, u64>, class: Class) {
        *frames.entry(class).or_default() += 1;
    }
}
