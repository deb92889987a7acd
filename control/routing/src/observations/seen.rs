//! What one node last said of a path, of a link, of a lease that it carries, of its own failovers, and of its refreshes.

use std::time::Duration;

use protocol::id::NodeId;
use protocol::time::Boot;
use protocol::wire::{Carried, Drift, Refresh, Switch};

use super::{DOWN_MISSES, FRESH};
use crate::score::{LossClass, RttClass};

/// What one end last said of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSeen {
    /// The route generation it was probed under.
    pub generation: u64,
    pub active: bool,
    pub drift: Drift,
    pub expected_hops: Vec<NodeId>,
    pub observed_hops: Vec<NodeId>,
    pub rtt_us: Option<u32>,
    pub lost_out: u8,
    pub lost_in: u8,
    pub window: u8,
    pub misses: u16,
    pub at: Boot,
    /// When the newest answer came, as far as the reporter tells; none if there was none, or from one that tells no age.
    pub answered_at: Option<Boot>,
    /// Since when it is called down without a break, be it a silence longer than [`FRESH`]; none if it is not.
    pub down_since: Option<Boot>,
}

impl PathSeen {
    /// Whether nothing gets through, or not the way it should.
    pub fn is_down(&self) -> bool {
        self.is_silent() || self.is_at_fault()
    }

    /// Whether that has been said for so long without a break, from the first report of it to the newest, which is fresh.
    pub fn is_down_for(&self, least: Duration, now: Boot) -> bool {
        let lasts = self.down_since.is_some_and(|since| self.at.since(since) >= least);

        lasts && now.since(self.at) <= FRESH
    }

    /// Whether the reporter's probes go unanswered, be it for the path or for a peer that is heard on none.
    pub const fn is_silent(&self) -> bool {
        self.misses >= DOWN_MISSES
    }

    /// Whether it stands against `ill`, which the other end says of the same path: answers came since that was said first,
    /// or so lately that the other end may know no better yet. A standby that rests is probed more rarely than told of.
    pub fn contradicts(&self, ill: &Self, now: Boot) -> bool {
        let is_recent = now.since(self.found_at()) <= FRESH;

        self.is_well() && now.since(self.at) <= FRESH && (is_recent || self.has_answered_since(ill))
    }

    /// Whether answers came since `ill` was said first.
    pub fn has_answered_since(&self, ill: &Self) -> bool {
        Some(self.found_at()) >= ill.down_since
    }

    /// How long it goes on to contradict `ill`, as it does now.
    pub(crate) fn stands_until(&self, ill: &Self) -> Boot {
        let counts_from = match self.has_answered_since(ill) {
            true => self.at,
            false => self.at.min(self.found_at()),
        };

        counts_from.after(FRESH)
    }

    /// Answered, and blamed by nobody.
    pub fn is_well(&self) -> bool {
        self.rtt_us.is_some() && self.window > 0 && !self.is_down()
    }

    /// When it was found to be so. An agent that tells no age of its answers is taken at its word when it speaks.
    fn found_at(&self) -> Boot {
        self.answered_at.unwrap_or(self.at)
    }

    /// Whether the reporter blames the path itself.
    pub fn is_at_fault(&self) -> bool {
        self.drift != Drift::None
    }

    /// How bad it is: well, missing probes, silent, at fault.
    pub(super) const fn badness(&self) -> u8 {
        match (self.drift, self.misses) {
            (Drift::None, 0) => 0,
            (Drift::None, ..DOWN_MISSES) => 1,
            (Drift::None, _) => 2,
            (Drift::Failure | Drift::PathDrift | Drift::Unreachable, _) => 3,
        }
    }

    /// All of it that a decision can differ for at once; the rest is its age.
    pub(super) fn bearing(&self) -> (u8, bool, u64, LossClass, RttClass) {
        let loss = LossClass::of(self.lost_out.max(self.lost_in));

        (
            self.badness(),
            self.active,
            self.generation,
            loss,
            RttClass::of(self.rtt_us),
        )
    }
}

/// What one node last said of its link to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSeen {
    pub connected: bool,
    pub rtt_us: Option<u32>,
    pub at: Boot,
}

/// What a relay last said that it did for one lease, since its process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CarriedSeen {
    pub carried: Carried,
    pub at: Boot,
}

/// The last failover that one end did by itself on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchSeen {
    pub switch: Switch,
    pub at: Boot,
}

/// The newest report of a refresh that one end told of for one path of a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefreshSeen {
    pub refresh: Refresh,
    pub at: Boot,
}
