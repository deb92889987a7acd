//! How often: publications of a controller, and requests of one node.

use std::time::Duration;

use protocol::error::Code;
use protocol::time::Boot;

use crate::failure::Failure;

/// When the next publication may be made. What is touched meanwhile goes into that one together.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    last: Option<Boot>,
}

impl Pace {
    /// How long to wait yet; zero when it may be made now.
    pub fn wait(&self, now: Boot) -> Duration {
        let next = self.last.map_or(now, |last| last.after(PUBLICATION));

        next.since(now)
    }

    /// Whether a publication is made now. On a full disk it would be compiled for nothing, so that none is tried there but
    /// with a `beacon`, whose commit finds out whether there is room again.
    pub fn is_due(&self, now: Boot, is_full: bool, beacon: bool) -> bool {
        self.wait(now).is_zero() && (beacon || !is_full)
    }

    pub fn note(&mut self, now: Boot) {
        self.last = Some(now);
    }
}

/// What a node asks without writing, each kind with a rate of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    Heartbeat,
    Poll,
    Report,
}

/// How often one node has asked lately.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turnstile {
    heartbeats: Bucket,
    polls: Bucket,
    reports: Bucket,
}

impl Turnstile {
    /// Lets one request in, or says when to come back.
    pub fn admit(&mut self, asked: Asked, now: Boot) -> Result<(), Failure> {
        let (bucket, rate) = match asked {
            Asked::Heartbeat => (&mut self.heartbeats, HEARTBEATS),
            Asked::Poll => (&mut self.polls, POLLS),
            Asked::Report => (&mut self.reports, REPORTS),
        };

        bucket.take(rate, now).map_err(|wait| {
            let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
            Failure {
                retry_after_ms: Some(wait.max(1)),
                ..Failure::new(Code::RateLimited, "this node asks more often than any has to")
            }
        })
    }
}

/// A bucket of tokens, kept as the time at which it will be full again.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    full_at: Option<Boot>,
}

struct Rate {
    /// One token comes back in so long.
    every: Duration,
    burst: u32,
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: Boot) -> Result<(), Duration> {
        let full_at = self.full_at.map_or(now, |at| at.max(now)).after(rate.every);
        let wait = full_at
            .since(now)
            .saturating_sub(rate.every.saturating_mul(rate.burst));
        if wait.is_zero() {
            self.full_at = Some(full_at);
            return Ok(());
        }

        Err(wait)
    }
}

/// DESIGN 3: at most ten beacons a second.
const PUBLICATION: Duration = Duration::from_millis(100);
/// One in 10 s is usual; each that says something new is a row.
const HEARTBEATS: Rate = Rate {
    every: Duration::from_millis(500),
    burst: 20,
};
/// A poll is answered at once for each publication that brings news, ten a second at most.
const POLLS: Rate = Rate {
    every: Duration::from_millis(50),
    burst: 60,
};
/// One in 5 s is usual, and one at once for each path that fails.
const REPORTS: Rate = Rate {
    every: Duration::from_millis(200),
    burst: 30,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn publications_are_a_tenth_of_a_second_apart() {
        let mut pace = Pace::default();
        assert_eq!(
            pace.wait(Boot(5_000)),
            Duration::ZERO,
            "the first waits for nothing"
        );
        pace.note(Boot(5_000));

        assert_eq!(pace.wait(Boot(5_000)), Duration::from_millis(100));
        assert_eq!(pace.wait(Boot(5_099)), Duration::from_millis(1));
        assert_eq!(pace.wait(Boot(5_100)), Duration::ZERO);
        assert_eq!(pace.wait(Boot(99_000)), Duration::ZERO);
    }

    #[test]
    fn on_a_full_disk_nothing_is_compiled_but_for_a_beacon() {
        let mut pace = Pace::default();
        for (is_full, beacon, is_due) in [
            (false, false, true),
            (false, true, true),
            (true, false, false),
            (true, true, true),
        ] {
            assert_eq!(pace.is_due(Boot(5_000), is_full, beacon), is_due);
        }
        pace.note(Boot(5_000));

        assert!(!pace.is_due(Boot(5_099), false, true), "a beacon waits its turn");
    }

    #[test]
    fn a_node_that_asks_as_agents_do_is_never_turned_away() {
        let mut turnstile = Turnstile::default();
        for second in 0..10_000 {
            let now = Boot(second * 1_000);
            for asked in [Asked::Heartbeat, Asked::Poll, Asked::Report] {
                assert!(turnstile.admit(asked, now).is_ok(), "{asked:?} at {now:?}");
            }
        }
    }

    #[test]
    fn who_asks_too_often_is_told_when_to_come_back_and_is_let_in_then() {
        for (asked, burst) in [
            (Asked::Heartbeat, HEARTBEATS.burst),
            (Asked::Poll, POLLS.burst),
            (Asked::Report, REPORTS.burst),
        ] {
            let mut turnstile = Turnstile::default();
            let now = Boot(1_000);
            for _ in 0..burst {
                assert!(turnstile.admit(asked, now).is_ok());
            }
            let refused = turnstile.admit(asked, now).expect_err("one too many");
            assert_eq!(refused.code, Code::RateLimited);
            let wait = refused.retry_after_ms.expect("a time");
            let later = now.after(Duration::from_millis(wait));

            assert!(turnstile.admit(asked, later).is_ok(), "{asked:?} after {wait} ms");
            assert!(turnstile.admit(asked, later).is_err(), "and only once");
        }
    }

    #[test]
    fn one_kind_of_request_does_not_use_up_another() {
        let mut turnstile = Turnstile::default();
        while turnstile.admit(Asked::Report, Boot(0)).is_ok() {}

        assert!(turnstile.admit(Asked::Poll, Boot(0)).is_ok());
        assert!(turnstile.admit(Asked::Heartbeat, Boot(0)).is_ok());
    }
}
