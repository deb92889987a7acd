//! What the two ends say of one path of a route, as far as it still counts.

use std::time::Duration;

use control_routing::observations::{FRESH, Observations, PathSeen};
use control_routing::route::RouteRow;
use control_routing::via::Via;
use protocol::id::NodeId;
use protocol::time::Boot;
use protocol::wire::Drift;

/// The evidence of both ends about one path. What is older than [`FRESH`], or of a time before the route was withdrawn,
/// is only known to have been there.
pub(super) struct Sight<'a> {
    low: NodeId,
    seen: [Option<&'a PathSeen>; 2],
    /// Since the newest report that is too old.
    stale: Option<Duration>,
}

/// How a path does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// Its probes are answered.
    Healthy,
    /// The probes of an end call it down.
    Down,
    /// Nobody has reported on it for longer than [`FRESH`].
    Stale,
    /// Nobody has measured it yet.
    Unmeasured,
}

impl Health {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Down => "down",
            Self::Stale => "stale",
            Self::Unmeasured => "unmeasured",
        }
    }
}

/// The states that a route of a policy can be in.
pub const ROUTE_STATES: [&str; 4] = [
    Health::Healthy.name(),
    Health::Down.name(),
    Health::Stale.name(),
    Health::Unmeasured.name(),
];

impl<'a> Sight<'a> {
    pub(super) fn of(observations: &'a Observations, row: &RouteRow, via: Via, now: Boot) -> Self {
        let counts = |seen: &&PathSeen| seen.generation >= row.evident_from();
        let age = |seen: &PathSeen| now.since(seen.at);
        let known = [row.low, row.high].map(|end| observations.path(end, row.route, via).filter(counts));
        let stale = known.iter().flatten().map(|seen| age(seen)).min();

        Self {
            low: row.low,
            seen: known.map(|seen| seen.filter(|seen| age(seen) <= FRESH)),
            stale: stale.filter(|age| *age > FRESH),
        }
    }

    pub(super) fn health(&self) -> Health {
        let mut seen = self.seen.iter().flatten().peekable();
        if seen.peek().is_none() {
            return match self.stale {
                Some(_) => Health::Stale,
                None => Health::Unmeasured,
            };
        }
        if seen.clone().any(|seen| seen.is_down()) {
            return Health::Down;
        }

        match seen.any(|seen| seen.rtt_us.is_some()) {
            true => Health::Healthy,
            false => Health::Unmeasured,
        }
    }

    /// The slower of what the ends measured, in milliseconds.
    pub(super) fn rtt_ms(&self) -> Option<f64> {
        let measured = self.seen.iter().flatten().filter_map(|seen| seen.rtt_us);

        measured.max().map(millis)
    }

    /// The worse share of lost probes.
    pub(super) fn loss(&self) -> Option<f64> {
        self.seen
            .iter()
            .flatten()
            .filter_map(|seen| loss(seen))
            .reduce(f64::max)
    }

    /// For how long nobody has reported, if that is too long.
    pub(super) const fn stale(&self) -> Option<Duration> {
        self.stale
    }

    /// Whether frames of its peer arrive at `end`; none if it does not say.
    ///
    /// Probes and answers take the same path, so a cut in one direction leaves both ends without answers. The end that
    /// goes on hearing the other is what proves the other direction: of its probes that missed in a row, some do not
    /// count as lost on the way in, which they would if nothing had come from the peer.
    pub(super) fn hears(&self, end: NodeId) -> Option<bool> {
        let seen = self.seen[usize::from(end != self.low)]?;
        let is_answered = seen.misses == 0 && seen.drift != Drift::Unreachable;

        Some(is_answered || u16::from(seen.lost_in) < seen.misses.min(u16::from(seen.window)))
    }
}

/// The worse direction's share of lost probes.
pub(super) fn loss(seen: &PathSeen) -> Option<f64> {
    let worse = f64::from(seen.lost_out.max(seen.lost_in));

    (seen.window > 0).then(|| worse / f64::from(seen.window))
}

pub(super) fn millis(micros: u32) -> f64 {
    f64::from(micros) / 1_000.0
}
