//! Damping of paths that come and go (RFC 2439): each failure costs, cost fades, and who costs too much waits.
//!
//! Kept for each path of each route, whether or not it is in use. A damped path still carries what nothing else can:
//! it goes behind every sound one, and in front of what is down.

use std::time::Duration;

use minicbor::{Decode, Encode};
use protocol::time::Boot;
use serde::{Deserialize, Serialize};

use crate::evidence::MARK;

/// What one path has to its debit. It is memory, and after a start the journal brings back what a decision was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Damping {
    /// At `at`, when it failed last.
    #[n(0)]
    penalty: u32,
    #[n(1)]
    at: Boot,
    #[n(2)]
    is_down: bool,
    /// When it was seen to work again, or to be down last.
    #[n(3)]
    changed_at: Boot,
    /// Since it failed last with [`SUPPRESS`] or more, until it has come down to [`REUSE`].
    #[n(4)]
    is_suppressed: bool,
}

impl Damping {
    /// Carries on what was known of a path: another failure is added. None once nothing is worth to be remembered.
    pub fn carried_on(before: Option<Self>, is_down: bool, now: Boot) -> Option<Self> {
        let Some(known) = before else {
            return is_down.then(|| Self::failed(0, false, now));
        };
        if is_down && !known.is_down {
            return Some(Self::failed(known.penalty(now), known.is_suppressed(now), now));
        }
        let is_worth_keeping = is_down || known.penalty(now) > REUSE / 2;
        let changed_at = if is_down == known.is_down {
            known.changed_at
        } else {
            now
        };

        is_worth_keeping.then_some(Self {
            is_down,
            changed_at,
            ..known
        })
    }

    fn failed(faded: u32, was_suppressed: bool, now: Boot) -> Self {
        let penalty = faded.saturating_add(FAILURE).min(CEILING);

        Self {
            penalty,
            at: now,
            is_down: true,
            changed_at: now,
            is_suppressed: was_suppressed || penalty >= SUPPRESS,
        }
    }

    /// The same on another clock, of which it is `to` when it is `until` on this one. Of what was down is to be heard whether it
    /// still is.
    pub(crate) fn moved(&self, until: Boot, to: Boot) -> Self {
        let changed_at = match self.is_down {
            true => to,
            false => to.before(until.since(self.changed_at)),
        };

        Self {
            penalty: self.penalty(until),
            at: to,
            is_down: self.is_down,
            changed_at,
            is_suppressed: self.is_suppressed(until),
        }
    }

    /// Whether it was down a moment ago, for a path that nobody has said anything of since.
    pub(crate) fn is_down_yet(&self, now: Boot) -> bool {
        self.is_down && now.since(self.changed_at) <= MARK
    }

    /// Whether it has been down for so long without a break.
    pub(crate) fn is_down_for(&self, least: Duration, now: Boot) -> bool {
        self.is_down && now.since(self.changed_at) >= least
    }

    /// What is left of the penalty.
    pub fn penalty(&self, now: Boot) -> u32 {
        let (halvings, rest) = split(now.since(self.at));
        let at_halving = self.penalty.checked_shr(halvings).unwrap_or(0);

        // Between two halvings a straight line is at most 6 % above the curve.
        at_halving - scaled(at_halving, rest) / 2
    }

    /// Whether the path is to wait.
    pub fn is_suppressed(&self, now: Boot) -> bool {
        self.is_suppressed && self.penalty(now) > REUSE
    }

    /// Whether it is down, or has not worked for [`PROBATION`] since it was.
    pub fn is_on_probation(&self, now: Boot) -> bool {
        self.is_down || now.since(self.changed_at) < PROBATION
    }

    /// For how long it is to wait yet, if it does not fail again: at most 15 min, three halvings from the ceiling.
    pub fn suppressed_for(&self, now: Boot) -> Option<Duration> {
        self.is_suppressed(now).then(|| self.reusable_in(now))
    }

    /// Until the penalty has fallen to [`REUSE`], if it does not fail again; nothing if it has.
    pub fn reusable_in(&self, now: Boot) -> Duration {
        if self.penalty <= REUSE {
            return Duration::ZERO;
        }
        let mut halvings = 0_u32;
        while self.penalty >> (halvings + 1) > REUSE {
            halvings += 1;
        }
        let from = u64::from(self.penalty >> halvings);
        let fall = from.saturating_sub(u64::from(REUSE));
        // On the line that falls by half of `from` in one half-life.
        let rest = millis(HALF_LIFE) * fall * 2 / from.max(1);
        let whole = millis(HALF_LIFE) * u64::from(halvings);
        let due = Duration::from_millis(whole + rest);

        due.saturating_sub(now.since(self.at))
    }
}

/// Whole half-lives, and the milliseconds after the last of them.
fn split(passed: Duration) -> (u32, u64) {
    let (passed, life) = (millis(passed), millis(HALF_LIFE));

    (u32::try_from(passed / life).unwrap_or(u32::MAX), passed % life)
}

fn scaled(value: u32, rest: u64) -> u32 {
    let scaled = u64::from(value) * rest / millis(HALF_LIFE);

    u32::try_from(scaled).unwrap_or(value)
}

fn millis(duration: Duration) -> u64 {
    protocol::time::millis(duration)
}

/// What one failure costs (DESIGN 5, as the figures below).
pub const FAILURE: u32 = 1_000;
/// The most that a path can owe.
pub const CEILING: u32 = 6_000;
/// A penalty from which a path waits.
pub const SUPPRESS: u32 = 3_000;
/// A penalty at which it may come back.
pub const REUSE: u32 = 750;
/// How long a path that failed must work before it is chosen where another one would do (DESIGN 5).
pub const PROBATION: Duration = Duration::from_secs(30);
/// In which a penalty falls by half.
pub const HALF_LIFE: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_fourth_failure_in_a_row_suppresses_and_three_half_lives_free_from_the_ceiling() {
        let mut known = None;
        let mut suppressed = Vec::new();
        for failure in 0..40 {
            let now = Boot(20_000 * failure);
            known = Damping::carried_on(known, true, now);
            suppressed.extend(known.map(|known| known.is_suppressed(now)));
            known = Damping::carried_on(known, false, Boot(20_000 * failure + 10_000));
        }
        assert_eq!(&suppressed[..5], [false, false, false, true, true]);

        let (known, last) = (known.unwrap(), Boot(20_000 * 39));
        assert_eq!(known.penalty(last), CEILING);
        assert_eq!(known.suppressed_for(last), Some(3 * HALF_LIFE));
        assert!(known.is_suppressed(last.after(3 * HALF_LIFE - Duration::from_secs(1))));
        assert!(!known.is_suppressed(last.after(3 * HALF_LIFE)));
    }

    #[test]
    fn one_failure_suppresses_nothing_and_is_forgotten() {
        let known = Damping::carried_on(None, true, Boot(0)).unwrap();
        assert_eq!(
            (known.penalty(Boot(0)), known.is_suppressed(Boot(0))),
            (FAILURE, false)
        );
        assert_eq!(known.penalty(Boot(0).after(HALF_LIFE)), FAILURE / 2);
        let staying = Damping::carried_on(Some(known), true, Boot(0).after(10 * HALF_LIFE));
        assert!(
            staying.is_some(),
            "it has not come back yet: that is no new failure"
        );

        assert_eq!(
            Damping::carried_on(staying, false, Boot(0).after(10 * HALF_LIFE)),
            None
        );
        assert_eq!(Damping::carried_on(None, false, Boot(0)), None);
    }

    proptest! {
        /// Whatever a path does, it owes at most the ceiling, fades without a jump, and is free when it was said to be.
        #[test]
        fn a_penalty_is_bounded_and_fades(steps in prop::collection::vec((any::<bool>(), 1_u64..400_000), 1..60)) {
            let (mut known, mut now) = (None, Boot(0));
            for (is_down, passed) in steps {
                known = Damping::carried_on(known, is_down, now);
                if let Some(known) = known {
                    prop_assert!(known.penalty(now) <= CEILING);
                    let (soon, later) = (Boot(now.0 + 1_000), Boot(now.0 + passed));
                    prop_assert!(known.penalty(later) <= known.penalty(now));
                    prop_assert!(known.penalty(now) - known.penalty(soon) <= CEILING / 2 / 300 + 1);
                    if let Some(wait) = known.suppressed_for(now) {
                        prop_assert!(wait <= 3 * HALF_LIFE);
                        prop_assert!(!known.is_suppressed(now.after(wait + Duration::from_secs(1))));
                        let before = wait.saturating_sub(Duration::from_secs(1));
                        prop_assert!(known.is_suppressed(now.after(before)) || wait < Duration::from_secs(1));
                    }
                }
                now = Boot(now.0 + passed);
            }
        }
    }
}
