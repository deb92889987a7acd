//! The receiver's own log of what one peer sent in class `synthetic`: what came, what did not, and the longest silence.
//!
//! Numbers are the sender's, over all paths, so a copy that was sent on two paths counts once. A sender that starts
//! anew starts its numbers anew; what its last run lost stays counted.

use std::time::Duration;

use protocol::frame::BootTag;
use protocol::time::Boot;

use super::view::FlowView;

#[derive(Clone, Debug, Default)]
pub(super) struct Flow {
    run: Option<Run>,
    /// Counts of runs that ended.
    received: u64,
    missing: u64,
    duplicates: u64,
    largest_gap: Duration,
    gap_ended_at: Option<Boot>,
    last_at: Option<Boot>,
}

/// One run of the sender's process.
#[derive(Clone, Debug)]
struct Run {
    boot: BootTag,
    /// The first that counts.
    first: u64,
    highest: u64,
    /// Numbers that count, up to the highest.
    expected: u64,
    /// Bit `n` stands for the number `highest - n`.
    seen: [u64; WORDS],
    received: u64,
}

impl Flow {
    /// Notes an arrival and says whether it is new. A number from before the window counts as a copy.
    pub(super) fn handle(&mut self, boot: BootTag, number: u64, now: Boot) -> bool {
        if self
            .run
            .as_ref()
            .is_none_or(|run| !run.is_continued(boot, number))
        {
            self.end_run();
            self.run = Some(Run::begin(boot, number));
        } else if !self.run.as_mut().is_some_and(|run| run.take(number)) {
            self.duplicates += 1;
            return false;
        }
        let gap = self.last_at.map_or(Duration::ZERO, |last| now.since(last));
        if gap > self.largest_gap {
            self.largest_gap = gap;
            self.gap_ended_at = Some(now);
        }
        self.last_at = Some(now);

        true
    }

    pub(super) fn view(&self) -> FlowView {
        let (received, missing) = self.run.as_ref().map_or((0, 0), Run::counts);

        FlowView {
            received: self.received.saturating_add(received),
            missing: self.missing.saturating_add(missing),
            duplicates: self.duplicates,
            largest_gap: self.largest_gap,
            gap_ended_at: self.gap_ended_at,
            last_at: self.last_at,
        }
    }

    /// Returns the log and begins a new one at the newest number. The silence that is going on now counts in both.
    pub(super) fn take(&mut self) -> FlowView {
        let view = self.view();
        *self = Self {
            run: self.run.take().map(Run::renewed),
            last_at: self.last_at,
            ..Self::default()
        };

        view
    }

    fn end_run(&mut self) {
        if let Some(run) = self.run.take() {
            let (received, missing) = run.counts();
            self.received = self.received.saturating_add(received);
            self.missing = self.missing.saturating_add(missing);
        }
    }
}

impl Run {
    fn begin(boot: BootTag, number: u64) -> Self {
        let mut seen = [0; WORDS];
        seen[0] = 1;

        Self {
            boot,
            first: number,
            highest: number,
            expected: 1,
            seen,
            received: 1,
        }
    }

    /// Whether a frame belongs to this run.
    fn is_continued(&self, boot: BootTag, number: u64) -> bool {
        self.boot == boot && number.saturating_sub(self.highest) <= LEAP
    }

    /// Whether `number` is new.
    fn take(&mut self, number: u64) -> bool {
        if number > self.highest {
            let ahead = number - self.highest;
            shift(&mut self.seen, ahead);
            self.expected = self.expected.saturating_add(ahead);
            self.highest = number;
        }
        let back = self.highest - number;
        if back >= WINDOW {
            return false;
        }
        let (word, bit) = ((back / 64) as usize, 1_u64 << (back % 64));
        let new = self.seen[word] & bit == 0;
        self.seen[word] |= bit;
        if new && number >= self.first {
            self.received += 1;
        }

        new
    }

    fn counts(&self) -> (u64, u64) {
        (self.received, self.expected.saturating_sub(self.received))
    }

    /// The same window with counts from the next number on.
    fn renewed(self) -> Self {
        Self {
            first: self.highest.saturating_add(1),
            expected: 0,
            received: 0,
            ..self
        }
    }
}

/// Moves every bit up by `by` places.
fn shift(seen: &mut [u64; WORDS], by: u64) {
    let (words, bits) = ((by / 64) as usize, by % 64);
    for place in (0..WORDS).rev() {
        let high = place.checked_sub(words).map_or(0, |from| seen[from] << bits);
        let carried = match (bits, place.checked_sub(words + 1)) {
            (1.., Some(from)) => seen[from] >> (64 - bits),
            _ => 0,
        };
        seen[place] = high | carried;
    }
}

/// Numbers that a sender may skip within one run: those of three hours at a thousand frames a second, while a link lives
/// half a minute of silence at most. One that skips more has begun anew, or lies.
const LEAP: u64 = 10_000_000;

/// Numbers a late copy may be behind: twenty seconds of 50 frames a second.
const WINDOW: u64 = 1_024;
const WORDS: usize = WINDOW as usize / 64;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_log_counts_what_came_what_did_not_and_the_longest_silence() {
        let mut flow = Flow::default();
        for (number, at) in [(5, 0), (6, 20), (9, 500), (9, 501), (7, 510), (10, 520)] {
            flow.handle(ONE, number, Boot(at));
        }

        let view = flow.view();
        assert_eq!((view.received, view.missing, view.duplicates), (5, 1, 1));
        assert_eq!(view.largest_gap, Duration::from_millis(480));
        assert_eq!(view.gap_ended_at, Some(Boot(500)));
    }

    #[test]
    fn a_second_copy_is_no_arrival() {
        let mut flow = Flow::default();
        assert!(flow.handle(ONE, 1, Boot(0)));
        assert!(!flow.handle(ONE, 1, Boot(300)));
        assert!(flow.handle(ONE, 2, Boot(400)));

        assert_eq!(flow.view().largest_gap, Duration::from_millis(400));
    }

    #[test]
    fn a_new_run_of_the_sender_starts_its_numbers_anew() {
        let mut flow = Flow::default();
        for (boot, number) in [(ONE, 100), (ONE, 102), (TWO, 0), (TWO, 1)] {
            assert!(flow.handle(boot, number, Boot(0)));
        }

        assert_eq!((flow.view().received, flow.view().missing), (4, 1));
    }

    #[test]
    fn a_taken_log_starts_over_and_still_knows_copies() {
        let mut flow = Flow::default();
        flow.handle(ONE, 1, Boot(0));
        flow.handle(ONE, 2, Boot(20));
        assert_eq!(flow.take().received, 2);
        assert!(!flow.handle(ONE, 2, Boot(30)));
        flow.handle(ONE, 4, Boot(120));

        let view = flow.view();
        assert_eq!((view.received, view.missing, view.duplicates), (1, 1, 1));
        assert_eq!(view.largest_gap, Duration::from_millis(100));
    }

    #[test]
    fn a_number_that_nobody_could_have_come_to_begins_a_new_run() {
        let mut flow = Flow::default();
        for number in [1, 2, u64::MAX] {
            assert!(flow.handle(ONE, number, Boot(0)));
        }
        assert!(flow.handle(TWO, 1, Boot(1)));

        let view = flow.view();
        assert_eq!((view.received, view.missing, view.duplicates), (4, 0, 0));
    }

    proptest! {
        /// Whatever a sender claims, the log goes on, and no frame accounts for more than [`LEAP`] that are missing.
        #[test]
        fn no_number_upsets_the_log(frames in prop::collection::vec((0_u8..3, number(), any::<bool>()), 1..60)) {
            let (mut flow, mut received, mut missing) = (Flow::default(), 0_u64, 0_u64);
            let sent = frames.len() as u64;
            for (boot, number, take) in frames {
                flow.handle(BootTag::from_bytes([boot; 8]), number, Boot(0));
                if take {
                    let view = flow.take();
                    received += view.received;
                    missing += view.missing;
                }
            }
            let view = flow.view();
            prop_assert!(received + view.received <= sent);
            prop_assert!(missing + view.missing <= sent * LEAP);
        }

        /// The log agrees with a set of all numbers, which is too large to ship.
        #[test]
        fn behaves_like_the_model(steps in prop::collection::vec(-20_i64..70, 1..300)) {
            let (mut flow, mut model, mut at) = (Flow::default(), BTreeSet::new(), 1_000_u64);
            let (first, mut duplicates) = (1_000, 0);
            prop_assert!(flow.handle(ONE, at, Boot(0)));
            model.insert(at);
            for step in steps {
                at = at.saturating_add_signed(step).max(first);
                let highest = *model.last().unwrap();
                let in_window = at > highest || highest - at < WINDOW;
                let new = in_window && model.insert(at);
                duplicates += u64::from(!new);

                prop_assert_eq!(flow.handle(ONE, at, Boot(0)), new);
            }
            let view = flow.view();
            prop_assert_eq!(view.received, model.len() as u64);
            prop_assert_eq!(view.missing, model.last().unwrap() - first + 1 - model.len() as u64);
            prop_assert_eq!(view.duplicates, duplicates);
        }
    }

    fn number() -> impl Strategy<Value = u64> {
        prop_oneof![
            any::<u64>(),
            0_u64..10,
            (0_u64..10).prop_map(|back| u64::MAX - back),
            (0_u64..3).prop_map(|beyond| LEAP + beyond),
        ]
    }

    const ONE: BootTag = BootTag::from_bytes([1; 8]);
    const TWO: BootTag = BootTag::from_bytes([2; 8]);
}
