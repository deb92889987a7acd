//! The last twenty probes of one path: how many were lost, and in which direction.
//!
//! The responder says how many probes it has received. Between two answers, what it received less than was sent was
//! lost on the way out; the other misses were answered, and their answers were lost on the way in.

use std::collections::VecDeque;

use protocol::time::Boot;

/// A probe that was sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sent {
    pub(super) id: u64,
    /// Which probe on its path, as told to the responder.
    pub(super) number: u64,
    pub(super) at: Boot,
}

/// The outcome of one probe.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    sent: Sent,
    /// What the responder said it had received, if it answered.
    received: Option<u64>,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    outcomes: VecDeque<Outcome>,
    /// Number and count of the last answer that left the window.
    base: (u64, u64),
}

/// Losses of the last [`WINDOW`] probes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Loss {
    /// Probes without an answer.
    pub(super) missed: u8,
    /// Those that did not reach the peer, or of which nothing is known.
    pub(super) out: u8,
    /// Those whose answers were lost. A probe of which nothing is known counts here too if nothing at all came from
    /// the peer since.
    pub(super) back: u8,
    /// Probes judged.
    pub(super) of: u8,
}

impl Loss {
    /// Whether at least 20 % of a full window were lost.
    pub(super) fn is_lossy(self) -> bool {
        usize::from(self.of) >= WINDOW && usize::from(self.missed) * 5 >= WINDOW
    }

    /// Whether less than half of `other`'s share was lost here, by enough probes to tell.
    pub(super) fn is_better_than(self, other: Self) -> bool {
        let (here, there) = (u32::from(self.missed), u32::from(other.missed));

        self.of >= ENOUGH && here * 2 * u32::from(other.of) < there * u32::from(self.of)
    }
}

impl Window {
    pub(super) fn answered(&mut self, sent: Sent, received: u64) {
        self.push(Outcome {
            sent,
            received: Some(received),
        });
    }

    pub(super) fn missed(&mut self, sent: Sent) {
        self.push(Outcome { sent, received: None });
    }

    /// Forgets what was judged so far: an outage that is over says nothing of the path as it is now.
    pub(super) fn start_over(&mut self) {
        for outcome in std::mem::take(&mut self.outcomes) {
            if let Some(received) = outcome.received {
                self.base = (outcome.sent.number, received);
            }
        }
    }

    /// The probe that was given up for missed was answered after all: it was slow, and not lost. Returns when it went,
    /// unless that was too long ago to be known.
    pub(super) fn answered_late(&mut self, id: u64, received: u64) -> Option<Boot> {
        let mut outcomes = self.outcomes.iter_mut();
        let missed = outcomes.find(|outcome| outcome.sent.id == id)?;
        missed.received.get_or_insert(received);

        Some(missed.sent.at)
    }

    /// `heard_at`: when anything last came from the peer over this path.
    pub(super) fn loss(&self, heard_at: Option<Boot>) -> Loss {
        let (mut missed, mut out, mut silent, mut all) = (0, 0, 0, 0);
        let mut last = self.base;
        for outcome in &self.outcomes {
            let Some(received) = outcome.received else {
                missed += 1;
                silent += u64::from(heard_at.is_none_or(|heard| heard < outcome.sent.at));
                continue;
            };
            let sent = outcome.sent.number.saturating_sub(last.0);
            let lost = sent.saturating_sub(received.saturating_sub(last.1));
            out += lost.min(missed);
            all += missed;
            (missed, silent) = (0, 0);
            last = (outcome.sent.number, received);
        }
        let back = all - out + silent;

        Loss {
            missed: narrow(all + missed),
            out: narrow(out + missed),
            back: narrow(back),
            of: narrow(self.outcomes.len() as u64),
        }
    }

    /// Outcomes are kept in the order of sending, in which they mostly come.
    fn push(&mut self, outcome: Outcome) {
        let place = self
            .outcomes
            .partition_point(|other| other.sent.number < outcome.sent.number);
        self.outcomes.insert(place, outcome);
        if self.outcomes.len() > WINDOW
            && let Some(oldest) = self.outcomes.pop_front()
            && let Some(received) = oldest.received
        {
            self.base = (oldest.sent.number, received);
        }
    }
}

/// At most [`WINDOW`], by construction.
fn narrow(count: u64) -> u8 {
    u8::try_from(count).unwrap_or(u8::MAX)
}

/// Probes that loss is judged over: at 200 ms, four seconds.
pub(super) const WINDOW: usize = 20;

/// Probes that a standby must have been judged by before it counts as the better one.
const ENOUGH: u8 = 5;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_probe_that_did_not_arrive_was_lost_on_the_way_out() {
        let mut window = Window::default();
        window.answered(sent(1, 0), 1);
        window.missed(sent(2, 200));
        window.answered(sent(3, 400), 2);

        assert_eq!(window.loss(Some(Boot(401))), loss(1, 1, 0, 3));
    }

    #[test]
    fn a_probe_that_arrived_and_was_not_answered_was_lost_on_the_way_back() {
        let mut window = Window::default();
        window.answered(sent(1, 0), 1);
        window.missed(sent(2, 200));
        window.answered(sent(3, 400), 3);

        assert_eq!(window.loss(Some(Boot(401))), loss(1, 0, 1, 3));
    }

    #[test]
    fn silence_counts_in_both_directions_and_a_peer_that_is_heard_only_outwards() {
        let mut window = Window::default();
        window.answered(sent(1, 0), 1);
        window.missed(sent(2, 200));
        window.missed(sent(3, 400));

        assert_eq!(window.loss(Some(Boot(1))), loss(2, 2, 2, 3));
        assert_eq!(window.loss(Some(Boot(500))), loss(2, 2, 0, 3));
    }

    #[test]
    fn a_probe_that_was_answered_late_was_not_lost() {
        let mut window = Window::default();
        window.answered(sent(1, 0), 1);
        window.missed(sent(2, 200));
        window.missed(sent(3, 400));
        window.answered_late(72, 2);
        window.answered_late(99, 3);
        window.answered(sent(4, 600), 3);

        assert_eq!(window.loss(Some(Boot(601))), loss(1, 1, 0, 4));
    }

    #[test]
    fn a_responder_that_started_anew_confuses_nothing_but_the_direction() {
        let mut window = Window::default();
        window.answered(sent(100, 0), 100);
        window.missed(sent(101, 200));
        window.answered(sent(102, 400), 1);

        assert_eq!(window.loss(Some(Boot(401))), loss(1, 1, 0, 3));
    }

    proptest! {
        /// Against a world that knows what happened to each probe. The far end's count reaches us only with an
        /// answer, so the last losses are left out by ending on one.
        #[test]
        fn directions_are_told_apart(fates in prop::collection::vec(0_u8..4, 0..60)) {
            let (mut window, mut received, mut judged) = (Window::default(), 0, Vec::new());
            for (index, fate) in fates.into_iter().chain([3]).enumerate() {
                let number = index as u64 + 1;
                received += u64::from(fate != 0);
                judged.push(fate);
                match fate {
                    0 | 1 => window.missed(sent(number, number)),
                    _ => window.answered(sent(number, number), received),
                }
            }
            let last = &judged[judged.len().saturating_sub(WINDOW)..];
            let count = |fate: u8| last.iter().filter(|found| **found == fate).count() as u8;
            let found = window.loss(Some(Boot(1_000)));

            prop_assert_eq!(found.missed, count(0) + count(1));
            prop_assert_eq!(found.of as usize, last.len());
            let before = judged.len().checked_sub(WINDOW + 1).map(|place| judged[place]);
            if before.is_none_or(|fate| fate > 1) {
                prop_assert_eq!((found.out, found.back), (count(0), count(1)));
            }
        }
    }

    fn sent(number: u64, at: u64) -> Sent {
        Sent {
            id: 70 + number,
            number,
            at: Boot(at),
        }
    }

    fn loss(missed: u8, out: u8, back: u8, of: u8) -> Loss {
        Loss {
            missed,
            out,
            back,
            of,
        }
    }
}
