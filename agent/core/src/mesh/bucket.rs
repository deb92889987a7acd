//! A token bucket: how much of something may pass in a time.

use protocol::time::{Boot, millis};

#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    /// Tokens a second.
    rate: u64,
    /// Tokens that can be saved up.
    burst: u64,
    /// Thousandths of a token, so that a slow bucket fills between two near calls.
    level: u64,
    at: Boot,
}

impl Bucket {
    /// Starts full.
    pub(super) fn new(rate: u64, burst: u64, now: Boot) -> Self {
        Self {
            rate,
            burst,
            level: burst.saturating_mul(1_000),
            at: now,
        }
    }

    /// Takes `tokens`, or nothing.
    pub(super) fn take(&mut self, tokens: u64, now: Boot) -> bool {
        let filled = self.rate.saturating_mul(millis(now.since(self.at)));
        self.level = self
            .level
            .saturating_add(filled)
            .min(self.burst.saturating_mul(1_000));
        self.at = self.at.max(now);
        let wanted = tokens.saturating_mul(1_000);
        let enough = wanted <= self.level;
        if enough {
            self.level -= wanted;
        }

        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_lets_its_rate_through_and_its_burst_at_once() {
        let mut bucket = Bucket::new(10, 5, Boot(0));
        let passed = (0..10).filter(|_| bucket.take(1, Boot(0))).count();
        assert_eq!(passed, 5);

        let passed = (1..=1_000).filter(|at| bucket.take(1, Boot(*at))).count();
        assert_eq!(passed, 10);
    }

    #[test]
    fn a_bucket_saves_no_more_than_its_burst() {
        let mut bucket = Bucket::new(10, 5, Boot(0));

        assert!(bucket.take(5, Boot(1_000_000)));
        assert!(!bucket.take(1, Boot(1_000_000)));
    }
}
