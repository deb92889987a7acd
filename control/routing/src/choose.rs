//! Chooses a path and its standbys among judged candidates, without haste where nothing is broken.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::candidate::Candidate;
use crate::score::{Score, Stickiness, Tier};
use crate::via::Via;

/// What became of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Primary {
    /// The current one stays, or this one takes its place.
    Take(Via),
    /// The current one cannot carry, and there is nothing to put in its place.
    Stuck,
    /// There is nothing that may be used, and there was nothing.
    Nothing,
}

/// Chooses the path.
///
/// `current` is left at once when it is down, for the best sound candidate or else the best open one; a working one that
/// is damped or whose relay drains only for a sound one; a good one only for what is mature (`is_mature`): better for long
/// enough.
/// Without a window of reports (`is_warm` false) whatever has a lease stays. Where nothing is in force, the best
/// candidate is taken even if it is called down: only what is decided is probed, so only a decision can clear it.
pub fn primary(
    candidates: &[Candidate<'_>],
    current: Option<Via>,
    is_warm: bool,
    is_mature: impl Fn(Via) -> bool,
) -> Primary {
    let best = |fits: &dyn Fn(&Candidate<'_>) -> bool| {
        let mut open = candidates.iter().filter(|candidate| candidate.is_open());

        open.find(|candidate| fits(candidate)).map(|found| found.via)
    };
    let Some(via) = current else {
        let usable = || candidates.iter().find(|candidate| candidate.path.is_some());
        let taken = best(&|_| true).or_else(|| usable().map(|found| found.via));

        return taken.map_or(Primary::Nothing, Primary::Take);
    };
    let held = candidates
        .iter()
        .find(|candidate| candidate.via == via && candidate.path.is_some());
    let Some(held) = held else {
        return best(&|_| true).map_or(Primary::Stuck, Primary::Take);
    };
    if !is_warm {
        return Primary::Take(via);
    }
    if held.is_draining() || held.score.class.tier == Tier::Damped {
        return Primary::Take(best(&|found| found.is_sound()).unwrap_or(via));
    }
    if held.score.class.tier == Tier::Stale {
        let repair = best(&|found| found.is_sound()).or_else(|| best(&|_| true));

        return repair.map_or(Primary::Stuck, Primary::Take);
    }
    let matured = best(&|other| is_improvement(other, held) && is_mature(other.via));

    Primary::Take(matured.unwrap_or(via))
}

/// Whether `candidate` could take over from `current` if it stays that good: its own probes must say so.
pub fn is_improvement(candidate: &Candidate<'_>, current: &Candidate<'_>) -> bool {
    candidate.is_open()
        && candidate.score.class.tier == Tier::Usable
        && candidate.via != current.via
        && candidate.is_better_than(current)
}

/// How standbys are picked.
#[derive(Clone, Copy, Debug)]
pub struct Standbys<'a> {
    /// Those in force, in their order.
    pub kept: &'a [Via],
    /// Those that have earned a place.
    pub favoured: &'a BTreeSet<Via>,
    /// Whether those in force are not to be exchanged for anything.
    pub frozen: bool,
}

impl Standbys<'_> {
    /// Picks at most `count` of `eligible`, as diverse to `primary` and among each other as exist; those in force stay
    /// where nothing more diverse does, and stale ones come last.
    pub fn pick(&self, primary: &Candidate<'_>, eligible: &[&Candidate<'_>], count: usize) -> Vec<Via> {
        let mut open: Vec<Merit> = eligible
            .iter()
            .enumerate()
            .filter(|(_, candidate)| candidate.via != primary.via)
            .map(|(at, candidate)| self.merit(candidate, primary, at))
            .collect();
        let mut chosen = Vec::with_capacity(count);
        while chosen.len() < count
            && let Some(best) = (0..open.len()).min_by_key(|at| open[*at])
        {
            let next = eligible[open.swap_remove(best).at];
            chosen.push(next.via);
            for merit in &mut open {
                merit.distance = merit.distance.max(distance(eligible[merit.at], next));
            }
        }
        self.rank(&mut chosen, eligible);

        chosen
    }

    /// A set that is in force keeps its order but for tier and loss, lest jitter makes new decisions. In a new one, what is
    /// alike stands by hash and not by the finer load: agents go to the first standby by themselves, and those of a lost
    /// relay would all find the same one to be the emptier by a single lease.
    fn rank(&self, chosen: &mut [Via], eligible: &[&Candidate<'_>]) {
        let score = |via: &Via| {
            eligible
                .iter()
                .find(|found| found.via == *via)
                .map(|found| found.score)
        };
        let is_same = chosen.len() == self.kept.len() && chosen.iter().all(|via| self.kept.contains(via));
        if is_same {
            chosen.copy_from_slice(self.kept);
            chosen.sort_by_key(|via| score(via).map(|score| (score.class.tier, score.class.loss)));
        } else {
            chosen.sort_by_key(|via| score(via).map(|score| (score.class, score.rank, *via)));
        }
    }

    fn merit(&self, candidate: &Candidate<'_>, primary: &Candidate<'_>, at: usize) -> Merit {
        let place = self.place(candidate);

        Merit {
            is_leaving: candidate.score.class.tier == Tier::Stale && place != Place::Frozen,
            is_not_frozen: place != Place::Frozen,
            distance: distance(candidate, primary),
            place,
            score: candidate.score,
            via: candidate.via,
            at,
        }
    }

    fn place(&self, candidate: &Candidate<'_>) -> Place {
        let is_kept = self.kept.contains(&candidate.via);
        if is_kept && self.frozen {
            Place::Frozen
        } else if self.favoured.contains(&candidate.via) {
            Place::Favoured
        } else if is_kept {
            Place::Kept
        } else if candidate.score.sticky < Stickiness::New {
            Place::Leased
        } else {
            Place::New
        }
    }
}

fn distance(one: &Candidate<'_>, other: &Candidate<'_>) -> Distance {
    let (Some(one), Some(other)) = (one.relay, other.relay) else {
        return Distance::Kind;
    };
    if one.site != other.site {
        Distance::Site
    } else if one.host != other.host {
        Distance::Host
    } else {
        Distance::Relay
    }
}

/// What makes one standby the better pick; the order of the fields is the order of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Merit {
    is_leaving: bool,
    is_not_frozen: bool,
    distance: Distance,
    place: Place,
    score: Score,
    via: Via,
    /// Where it stands among the eligible.
    at: usize,
}

/// How little two paths have in common, most diverse first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Distance {
    /// One is direct.
    Kind,
    Site,
    Host,
    Relay,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Frozen,
    Favoured,
    Kept,
    Leased,
    New,
}

/// One window: how long reports must have come in before they move anything.
pub const WARM_UP: Duration = Duration::from_secs(10);
