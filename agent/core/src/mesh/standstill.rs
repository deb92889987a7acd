//! Whether this process itself was late: it must not blame a path, or carry for others, for what it slept through.

use std::time::Duration;

use protocol::time::Boot;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standstill {
    turned_at: Option<Boot>,
    due: Option<Boot>,
}

impl Standstill {
    /// Notes that the loop turns. Returns how long it stood still, if that was longer than [`STILL`].
    pub(super) fn turn(&mut self, now: Boot) -> Option<Duration> {
        let last = self.turned_at.replace(now)?;

        Some(now.since(last)).filter(|still| *still > STILL)
    }

    /// Whether a timer that was due is only handled now.
    pub(super) fn is_late(&self, now: Boot) -> bool {
        self.due.is_some_and(|due| now.since(due) > LATE)
    }

    /// Notes the next deadline that the host was told.
    pub(super) fn expect(&mut self, due: Option<Boot>) {
        self.due = due;
    }

    /// The latest time to turn again, so that a gap between turns means a standstill.
    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        self.turned_at.map(|turned| turned.after(TICK))
    }
}

/// A loop that turned this late does not count misses.
const LATE: Duration = Duration::from_millis(100);

/// A relay whose loop did not turn for longer forwards nothing until a controller was heard or sought in vain.
pub const STILL: Duration = Duration::from_secs(5);

const TICK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_of_more_than_five_seconds_is_a_standstill() {
        let mut standstill = Standstill::default();
        assert_eq!(standstill.turn(Boot(100_000)), None);
        assert_eq!(standstill.turn(Boot(105_000)), None);

        assert_eq!(standstill.turn(Boot(110_001)), Some(Duration::from_millis(5_001)));
        assert_eq!(standstill.turn(Boot(110_002)), None);
    }

    #[test]
    fn a_timer_handled_more_than_a_tenth_of_a_second_late_is_late() {
        let mut standstill = Standstill::default();
        standstill.expect(Some(Boot(1_000)));

        assert!(!standstill.is_late(Boot(1_100)));
        assert!(standstill.is_late(Boot(1_101)));
    }
}
