//! How often the addresses of one node may change for others: every neighbour's config is compiled and signed anew for it.

use std::time::Duration;

use protocol::document::config::Candidate;
use protocol::time::Boot;

/// The addresses of one node that others are told, and those that wait for their turn.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Pace {
    /// The newest ones, as long as it is too early for them.
    waiting: Option<Vec<Candidate>>,
    /// When as many changes can be made at once as ever; none if none was made.
    full_at: Option<Boot>,
}

impl Pace {
    /// Takes in what the node claims now. Returns it if others may be told at once; otherwise it waits, in the place of
    /// whatever waited before.
    pub(super) fn hear(
        &mut self,
        told: &[Candidate],
        claimed: Vec<Candidate>,
        now: Boot,
    ) -> Option<Vec<Candidate>> {
        self.waiting = (claimed != told).then_some(claimed);

        self.take_up(now)
    }

    /// What has waited long enough, and is told to others from now on.
    pub(super) fn take_up(&mut self, now: Boot) -> Option<Vec<Candidate>> {
        if self.next(now) > now {
            return None;
        }
        let taken = self.waiting.take()?;
        self.full_at = Some(self.full_at.map_or(now, |at| at.max(now)).after(EVERY));

        Some(taken)
    }

    /// When there is something to take up; none if nothing waits.
    pub(super) fn poll_timeout(&self, now: Boot) -> Option<Boot> {
        self.waiting.as_ref().map(|_| self.next(now))
    }

    /// When the next change may be made: `now`, or later.
    fn next(&self, now: Boot) -> Boot {
        let used = self.full_at.unwrap_or(now).since(now);

        now.after(used.saturating_sub(EVERY.saturating_mul(BURST - 1)))
    }
}

/// In the long run one change in so long: a heartbeat's interval, in which an agent tells all that has changed at once.
const EVERY: Duration = Duration::from_secs(10);
/// A host that moves to another network claims some addresses of it before the others, and may be seen from one more.
const BURST: u32 = 4;

#[cfg(test)]
mod tests {
    use protocol::document::config::CandidateKind;

    use super::*;

    #[test]
    fn a_burst_is_told_at_once_and_the_newest_of_the_rest_when_it_is_time() {
        let (mut pace, mut told) = (Pace::default(), Vec::new());
        for port in 1..=4 {
            told = pace
                .hear(&told, at_port(port), Boot(1_000))
                .expect("one of the burst");
            assert_eq!(told, at_port(port));
        }
        for port in [5, 6] {
            assert_eq!(pace.hear(&told, at_port(port), Boot(1_000)), None);
        }

        assert_eq!(pace.poll_timeout(Boot(2_000)), Some(Boot(11_000)));
        assert_eq!(pace.take_up(Boot(10_999)), None);
        assert_eq!(pace.take_up(Boot(11_000)), Some(at_port(6)));
        assert_eq!(pace.poll_timeout(Boot(11_000)), None);
        assert_eq!(pace.take_up(Boot(99_000)), None);
    }

    #[test]
    fn who_goes_back_to_what_others_are_told_has_nothing_waiting() {
        let (mut pace, mut told) = (Pace::default(), Vec::new());
        for port in 1..=4 {
            told = pace
                .hear(&told, at_port(port), Boot(0))
                .expect("one of the burst");
        }
        assert_eq!(pace.hear(&told, at_port(5), Boot(0)), None);
        assert_eq!(pace.hear(&told, told.clone(), Boot(0)), None);

        assert_eq!(pace.poll_timeout(Boot(0)), None);
        assert_eq!(pace.take_up(Boot(99_000)), None);
    }

    #[test]
    fn addresses_that_alternate_change_once_in_ten_seconds() {
        let (mut pace, mut told, mut changes) = (Pace::default(), Vec::new(), 0);
        for beat in 0..2_000_u64 {
            let claimed = at_port(1 + (beat % 2) as u16);
            if let Some(taken) = pace.hear(&told, claimed, Boot(beat * 500)) {
                (told, changes) = (taken, changes + 1);
            }
        }

        assert!((100..=104).contains(&changes), "{changes} in 1,000 s");
    }

    fn at_port(port: u16) -> Vec<Candidate> {
        vec![Candidate::new(
            CandidateKind::Lan,
            ([192, 168, 0, 1], port).into(),
        )]
    }
}
