//! Whether the writer turns. The supervisor is fed from its turns, and who looks hears how long it has stood.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use protocol::time::Boot;

/// The writer's turns. It turns at least once a second, also when nobody wants anything written.
#[derive(Debug)]
pub struct Pulse {
    turns: AtomicU64,
    /// When the last turn was over, in milliseconds of [`Boot`].
    last: AtomicU64,
}

impl Pulse {
    pub fn new(now: Boot) -> Self {
        Self {
            turns: AtomicU64::new(0),
            last: AtomicU64::new(now.0),
        }
    }

    /// A turn is over: what it committed is on the disk, and its answers have left.
    pub(crate) fn turned(&self, now: Boot) {
        self.last.store(now.0, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Release);
    }

    /// How long the writer has stood, if that is longer than it should.
    pub fn stood(&self, now: Boot) -> Option<Duration> {
        let stood = now.since(Boot(self.last.load(Ordering::Relaxed)));

        (stood >= STANDS).then_some(stood)
    }
}

/// Who looks after the writer, once a second.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    turns: u64,
    /// How long it had stood when that was told last.
    told: Duration,
}

impl Watch {
    pub(crate) fn look(&mut self, pulse: &Pulse, now: Boot) -> Seen {
        let turns = pulse.turns.load(Ordering::Acquire);
        if turns != self.turns {
            *self = Self {
                turns,
                told: Duration::ZERO,
            };
            return Seen::Turned;
        }
        match pulse.stood(now).filter(|stood| *stood >= self.told + STANDS) {
            Some(stood) => {
                self.told = stood;
                Seen::Stands(stood)
            }
            None => Seen::Waits,
        }
    }
}

/// What the writer has done since somebody looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// It has turned: the supervisor may hear that work goes on.
    Turned,
    /// It is in the middle of a turn, or its standing was told already.
    Waits,
    /// It has stood for so long, which is worth a line in the log.
    Stands(Duration),
}

/// A writer that has nothing to do turns as often as that.
pub(crate) const IDLE: Duration = Duration::from_secs(1);
/// Longer than any healthy turn: syncs take milliseconds, and the largest publication about a second. Far below the
/// watchdog of the unit.
const STANDS: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_that_turns_feeds_and_one_that_stands_is_told_of_every_few_seconds() {
        let pulse = Pulse::new(Boot(0));
        let mut watch = Watch::default();
        assert_eq!(
            watch.look(&pulse, Boot(1_000)),
            Seen::Waits,
            "it has done nothing yet"
        );
        pulse.turned(Boot(1_500));
        assert_eq!(watch.look(&pulse, Boot(2_000)), Seen::Turned);
        assert_eq!(watch.look(&pulse, Boot(3_000)), Seen::Waits);
        let told: Vec<u64> = (4..=17)
            .filter(|second| matches!(watch.look(&pulse, Boot(second * 1_000)), Seen::Stands(_)))
            .collect();
        assert_eq!(told, [7, 12, 17]);
        assert_eq!(pulse.stood(Boot(17_000)), Some(Duration::from_millis(15_500)));
        pulse.turned(Boot(17_100));
        assert_eq!(watch.look(&pulse, Boot(18_000)), Seen::Turned);
        assert_eq!(pulse.stood(Boot(18_000)), None);
    }
}
