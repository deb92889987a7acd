//! The replay window of one neighbour (RFC 4303 3.4.3), for each of its last two boots.

use super::{BootTag, Sequence};

/// Remembers which frames of a neighbour were accepted. Ask it only about frames that opened.
///
/// Two boots, so that the last frames of a run that ended may overtake the first of the next. Boots that fell out
/// are remembered by name and stay refused; a frame cannot be replayed by making us forget.
#[derive(Clone, Debug, Default)]
pub struct ReplayGuard {
    /// Newest first.
    windows: [Option<(BootTag, ReplayWindow)>; BOOTS],
    /// A ring of the boots that fell out.
    retired: [Option<BootTag>; RETIRED],
    next_retired: usize,
}

impl ReplayGuard {
    /// Accepts each (boot, sequence) at most once.
    pub fn accept(&mut self, boot: BootTag, sequence: Sequence) -> Result<(), Replayed> {
        if let Some((_, window)) = self
            .windows
            .iter_mut()
            .flatten()
            .find(|(known, _)| *known == boot)
        {
            return window.accept(sequence);
        }
        if self.retired.contains(&Some(boot)) {
            return Err(Replayed);
        }
        let mut window = ReplayWindow::default();
        let accepted = window.accept(sequence);
        self.begin(boot, window);

        accepted
    }

    fn begin(&mut self, boot: BootTag, window: ReplayWindow) {
        self.windows.rotate_right(1);
        if let Some((oldest, _)) = self.windows[0].replace((boot, window)) {
            self.retired[self.next_retired] = Some(oldest);
            self.next_retired = (self.next_retired + 1) % RETIRED;
        }
    }
}

/// The highest sequence seen, and a bit for each of the 1,024 up to it.
#[derive(Clone, Debug, Default)]
struct ReplayWindow {
    top: Option<u64>,
    /// Sequence `s` has bit `s % WIDTH`.
    seen: [u64; WORDS],
}

impl ReplayWindow {
    fn accept(&mut self, sequence: Sequence) -> Result<(), Replayed> {
        let sequence = sequence.0;
        match self.top {
            None => self.top = Some(sequence),
            Some(top) if sequence > top => self.slide(top, sequence),
            Some(top) if top - sequence >= WIDTH => return Err(Replayed),
            Some(_) => {}
        }
        let (word, bit) = place(sequence);
        if self.seen[word] & bit != 0 {
            return Err(Replayed);
        }
        self.seen[word] |= bit;

        Ok(())
    }

    /// Moves the top, and clears the places that come to stand for new sequences.
    fn slide(&mut self, top: u64, sequence: u64) {
        if sequence - top >= WIDTH {
            self.seen = [0; WORDS];
        } else {
            for passed in top + 1..=sequence {
                let (word, bit) = place(passed);
                self.seen[word] &= !bit;
            }
        }
        self.top = Some(sequence);
    }
}

fn place(sequence: u64) -> (usize, u64) {
    let index = (sequence % WIDTH) as usize;

    (index / 64, 1 << (index % 64))
}

/// The frame was accepted before, or is too old to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame that was seen before, or too old to tell")]
pub struct Replayed;

/// Frames a late one may be behind: one second of a busy pair.
const WIDTH: u64 = 1_024;
const WORDS: usize = WIDTH as usize / 64;
const BOOTS: usize = 2;
/// Boots that stay refused: as many as a neighbour starts while its X25519 key lasts, and then some.
const RETIRED: usize = 32;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The window agrees with a set of everything ever accepted, which is too large to ship.
        #[test]
        fn behaves_like_the_model(steps in prop::collection::vec(step(), 1..400), start in start()) {
            let mut window = ReplayWindow::default();
            let mut accepted = BTreeSet::new();
            let mut at = start;
            for step in steps {
                at = at.saturating_add_signed(step);
                let top = accepted.last().copied();
                let in_window = top.is_none_or(|top: u64| at > top || top - at < 1_024);
                let expected = in_window && accepted.insert(at);

                prop_assert_eq!(window.accept(Sequence(at)).is_ok(), expected, "sequence {}", at);
            }
        }
    }

    #[test]
    fn the_window_is_1024_wide() {
        let mut guard = ReplayGuard::default();

        assert_eq!(guard.accept(boot(1), Sequence(5_000)), Ok(()));
        assert_eq!(guard.accept(boot(1), Sequence(5_000 - 1_023)), Ok(()));
        assert_eq!(guard.accept(boot(1), Sequence(5_000 - 1_024)), Err(Replayed));
        assert_eq!(guard.accept(boot(1), Sequence(5_000)), Err(Replayed));
    }

    #[test]
    fn a_boot_has_a_window_of_its_own_and_the_last_two_are_open() {
        let mut guard = ReplayGuard::default();

        assert_eq!(guard.accept(boot(1), Sequence(1)), Ok(()));
        assert_eq!(guard.accept(boot(2), Sequence(1)), Ok(()));
        assert_eq!(guard.accept(boot(1), Sequence(2)), Ok(()));
        assert_eq!(guard.accept(boot(1), Sequence(1)), Err(Replayed));
        assert_eq!(guard.accept(boot(2), Sequence(1)), Err(Replayed));
    }

    #[test]
    fn a_boot_that_fell_out_stays_refused() {
        let mut guard = ReplayGuard::default();
        for start in 1..=20 {
            assert_eq!(guard.accept(boot(start), Sequence(1)), Ok(()));
        }

        assert_eq!(guard.accept(boot(1), Sequence(2)), Err(Replayed));
        assert_eq!(guard.accept(boot(18), Sequence(2)), Err(Replayed));
        assert_eq!(guard.accept(boot(19), Sequence(2)), Ok(()));
        assert_eq!(guard.accept(boot(20), Sequence(2)), Ok(()));
    }

    /// Mostly the next one, some late ones, some from far behind, and leaps.
    fn step() -> impl Strategy<Value = i64> {
        prop_oneof![
            6 => Just(1_i64),
            3 => -40..40_i64,
            2 => -1_100..1_100_i64,
            1 => 0..5_000_i64,
        ]
    }

    fn start() -> impl Strategy<Value = u64> {
        prop_oneof![0..3_000_u64, u64::MAX - 3_000..=u64::MAX]
    }

    fn boot(number: u8) -> BootTag {
        BootTag::from_bytes([number; 8])
    }
}
