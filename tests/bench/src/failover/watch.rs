//! One end of a pair around a fault, as its agent shows it.

use std::time::{Duration, Instant};

use e2e::lab::{Door, relay_of};

/// What one end shows of a fault while it lasts.
#[derive(Debug)]
pub(super) struct Watch {
    received: Option<u64>,
    /// When the last frame was seen to come; at the earliest the cut.
    heard: Instant,
    moved: Option<Instant>,
    detected: Option<Instant>,
}

/// What one end has shown in the end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    /// When the first frame came after the silence.
    pub(super) moved: Instant,
    /// When it had another path in use.
    pub(super) detected: Instant,
}

impl Watch {
    pub(super) const fn begin(cut_at: Instant) -> Self {
        Self {
            received: None,
            heard: cut_at,
            moved: None,
            detected: None,
        }
    }

    /// Asks the end once. `dead`: the relay of the path that was cut; none for the direct one.
    pub(super) fn look(&mut self, door: &Door, peer: &str, dead: Option<&str>) -> Result<(), String> {
        if self.detected.is_none() && relay_of(&door.route(peer)?.active) != dead {
            self.detected = Some(Instant::now());
        }
        if self.moved.is_none() {
            let received = door.received(peer)?.received;
            let now = Instant::now();
            if self
                .received
                .replace(received)
                .is_some_and(|before| before < received)
            {
                // What was under way when the path was cut still comes.
                self.moved = Some(now).filter(|now| *now - self.heard > SILENCE);
                self.heard = now;
            }
        }

        Ok(())
    }

    pub(super) fn seen(&self) -> Option<Seen> {
        self.moved
            .zip(self.detected)
            .map(|(moved, detected)| Seen { moved, detected })
    }
}

/// Longer than three frames need to come, and shorter than any path is left in.
const SILENCE: Duration = Duration::from_millis(70);
