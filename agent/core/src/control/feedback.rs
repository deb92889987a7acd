//! Asking again after bad news, without asking for ever: refresh dampening (REQUIREMENTS R-38, R-32).
//!
//! A report that calls a path down, or says that it goes another way than decided, is followed by one poll at once: the
//! controller may have a better decision already. An answer that leaves the decision of that route as it was starts a
//! cooldown for this route and relay, which doubles with every such answer. Reports go on meanwhile; the polls that are
//! held back are counted. Each refresh leaves a report, and one that is suppressed counts up in the newest of its way.
//!
//! ```text
//!   clear ──bad report──▶ asking ──the decision changed──▶ clear
//!                            └──unchanged──▶ cooling, 15 s·2ⁿ ──over, and a bad report──▶ asking
//!   cooling ──a healthy report, another decision, another epoch──▶ clear
//! ```

mod kept;

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::id::{NodeId, RouteId};
use protocol::time::Boot;
use protocol::wire::{Drift, InForce, PathObservation, Refresh, Report};

use kept::Kept;

pub use kept::RefreshReport;

/// One way of one route.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Way {
    pub route: RouteId,
    /// None for the direct path.
    pub relay: Option<NodeId>,
}

/// What one refresh brought for one way: what was bad, the decision before and after, and how long nothing is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refreshed {
    pub way: Way,
    pub trigger: Drift,
    pub before: InForce,
    pub after: InForce,
    /// None if the decision changed.
    pub cooldown: Option<Duration>,
}

/// How often it was asked and held back, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    pub changed: u64,
    pub unchanged: u64,
    /// Bad reports that were not followed by a poll, one for each way.
    pub suppressed: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Feedback {
    cooling: BTreeMap<Way, Cooling>,
    /// What the refresh under way is about.
    asking: BTreeMap<Way, Asking>,
    kept: Kept,
    tally: Tally,
}

#[derive(Clone, Copy, Debug)]
struct Cooling {
    /// Answers in a row that changed nothing.
    unchanged: u32,
    until: Boot,
    standing: InForce,
}

#[derive(Clone, Copy, Debug)]
struct Asking {
    trigger: Drift,
    before: InForce,
    /// Answers in a row that changed nothing before this one.
    unchanged: u32,
}

impl Feedback {
    /// Takes a report in that goes out now. Says whether to poll at once.
    pub(super) fn handle_report(
        &mut self,
        report: &Report,
        standing: impl Fn(RouteId) -> InForce,
        now: Boot,
    ) -> bool {
        self.cooling
            .retain(|way, cooling| !differs(&cooling.standing, &standing(way.route)));
        let mut asks = false;
        for row in &report.paths {
            let way = Way {
                route: row.route,
                relay: row.path.relay(),
            };
            if is_healthy(row) {
                self.cooling.remove(&way);
            } else if row.drift != Drift::None {
                asks |= self.ask(way, row.drift, standing(way.route), now);
            }
        }

        asks
    }

    /// Whether a poll about this way is due, and none is under way.
    fn ask(&mut self, way: Way, trigger: Drift, before: InForce, now: Boot) -> bool {
        if self.asking.contains_key(&way) {
            return false;
        }
        let cooling = self.cooling.get(&way);
        if cooling.is_some_and(|cooling| now < cooling.until) {
            self.tally.suppressed += 1;
            self.kept.handle_suppressed(way, now);
            return false;
        }
        let unchanged = cooling.map_or(0, |cooling| cooling.unchanged);
        self.asking.insert(
            way,
            Asking {
                trigger,
                before,
                unchanged,
            },
        );

        true
    }

    /// The refresh was answered, and what the answer brought is in force. `jitter` spreads a cooldown by a fifth.
    pub(super) fn handle_answer(
        &mut self,
        standing: impl Fn(RouteId) -> InForce,
        mut jitter: impl FnMut(Duration) -> Duration,
        now: Boot,
    ) -> Vec<Refreshed> {
        let mut brought: Vec<Refreshed> = Vec::new();
        for (way, asked) in std::mem::take(&mut self.asking) {
            let after = standing(way.route);
            let cooldown = (!differs(&asked.before, &after)).then(|| jitter(cooldown(asked.unchanged)));
            match cooldown {
                None => {
                    self.tally.changed += 1;
                    self.cooling.remove(&way);
                }
                Some(pause) => {
                    self.tally.unchanged += 1;
                    let cooling = Cooling {
                        unchanged: asked.unchanged.saturating_add(1),
                        until: now.after(pause),
                        standing: after,
                    };
                    self.cooling.insert(way, cooling);
                }
            }
            brought.push(Refreshed {
                way,
                trigger: asked.trigger,
                before: asked.before,
                after,
                cooldown,
            });
        }
        for refreshed in &brought {
            self.kept.handle_refreshed(refreshed, now);
        }

        brought
    }

    /// Nobody answers the refresh any more: the next bad report asks again. Whoever is asked then has heard of none before.
    pub(super) fn handle_lost(&mut self) {
        self.asking.clear();
        self.kept.handle_lost();
    }

    /// The reports of refreshes that the next report takes along.
    pub(super) fn take_news(&mut self, now: Boot) -> Vec<Refresh> {
        self.kept.take_news(now)
    }

    /// The newest report of each way.
    pub(super) fn reports(&self) -> impl Iterator<Item = &RefreshReport> {
        self.kept.reports()
    }

    pub(super) fn tally(&self) -> Tally {
        self.tally
    }
}

/// Whether the route is decided otherwise; another version of the document may concern other routes alone.
fn differs(one: &InForce, other: &InForce) -> bool {
    (one.epoch, one.generation) != (other.epoch, other.generation)
}

fn is_healthy(row: &PathObservation) -> bool {
    row.drift == Drift::None && row.misses == 0 && row.rtt_us.is_some()
}

fn cooldown(unchanged: u32) -> Duration {
    let doublings = unchanged.min(MOST.as_secs().ilog2());

    MOST.min(FIRST * (1 << doublings))
}

/// The first cooldown, and the longest (DESIGN 5).
const FIRST: Duration = Duration::from_secs(15);
const MOST: Duration = Duration::from_mins(5);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use protocol::document::routes::Path;
    use protocol::id::LeaseId;
    use protocol::limits::REFRESHES;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    #[test]
    fn ten_minutes_of_failure_with_unchanged_answers_ask_at_most_seven_times() {
        for seed in 0..200 {
            let mut bench = Bench::new(seed);
            let mut asked = Vec::new();
            for second in (0..600).step_by(5) {
                if bench.report(second, &[(1, Drift::Failure)]) {
                    asked.push(second);
                    bench.answer(second);
                }
            }

            assert!((5..=7).contains(&asked.len()), "{asked:?}, seed {seed}");
            assert_eq!(asked[0], 0, "at once");
            assert_eq!(bench.feedback.tally().unchanged, asked.len() as u64);
            assert_eq!(bench.feedback.tally().suppressed, 120 - asked.len() as u64);
        }
    }

    #[test]
    fn a_changed_answer_a_healthy_report_another_decision_and_another_epoch_begin_anew() {
        let after_three = |mend: &dyn Fn(&mut Bench)| {
            let mut bench = Bench::new(1);
            for second in [0, 20, 60] {
                assert!(bench.report(second, &[(1, Drift::Failure)]));
                bench.answer(second);
            }
            assert!(!bench.report(70, &[(1, Drift::Failure)]), "cooling");
            mend(&mut bench);
            assert!(bench.report(75, &[(1, Drift::Failure)]));
            let brought = bench.answer(75);

            brought[0].cooldown.map(|pause| pause.as_secs())
        };
        let first = 12..=18;
        assert!(first.contains(&after_three(&|bench| bench.generation.set(2)).unwrap()));
        assert!(first.contains(&after_three(&|bench| bench.epoch.set(2)).unwrap()));
        let healthy = |bench: &mut Bench| {
            bench.report(71, &[(1, Drift::None)]);
        };
        assert!(first.contains(&after_three(&healthy).unwrap()));

        let mut bench = Bench::new(2);
        assert!(bench.report(0, &[(1, Drift::Failure)]));
        bench.generation.set(9);
        assert_eq!(bench.answer(0)[0].cooldown, None, "changed: nothing cools");
        assert!(bench.report(1, &[(1, Drift::Failure)]));
        assert_eq!(bench.feedback.tally().changed, 1);
    }

    #[test]
    fn each_relay_of_a_route_cools_by_itself_and_one_poll_asks_for_all() {
        let mut bench = Bench::new(3);
        assert!(bench.report(0, &[(1, Drift::Failure), (2, Drift::PathDrift)]));
        assert!(!bench.report(1, &[(1, Drift::Failure)]), "one is under way");
        let brought = bench.answer(1);
        assert_eq!(brought.len(), 2);
        assert_eq!(brought[1].trigger, Drift::PathDrift);
        assert_eq!(bench.feedback.tally().suppressed, 0);
        assert!(
            bench.report(2, &[(1, Drift::Failure), (3, Drift::Failure)]),
            "a new relay"
        );
        assert_eq!(bench.answer(2).len(), 1, "about the new one alone");
    }

    #[test]
    fn a_refresh_that_nobody_answered_is_asked_again_by_the_next_bad_report() {
        let mut bench = Bench::new(4);
        assert!(bench.report(0, &[(1, Drift::Failure)]));
        bench.feedback.handle_lost();
        assert!(bench.feedback.asking.is_empty());

        assert!(bench.report(5, &[(1, Drift::Failure)]));
    }

    #[test]
    fn a_suppressed_refresh_counts_up_in_the_newest_report_of_its_way_and_leaves_none_of_its_own() {
        let mut bench = Bench::new(5);
        bench.report(0, &[(1, Drift::Failure), (2, Drift::Unreachable)]);
        bench.answer(0);
        assert_eq!(bench.told(0), [(1, "unchanged", 0), (2, "unchanged", 0)]);
        assert_eq!(bench.told(0), [], "each is told once");

        bench.report(5, &[(1, Drift::Failure)]);
        bench.report(10, &[(1, Drift::Failure)]);
        assert_eq!(bench.told(11), [(1, "suppressed", 2)]);
        let newest = bench.feedback.reports().next().expect("kept").row(Boot(12_000));
        assert_eq!((newest.age_ms, newest.suppressed_ms), (12_000, Some(2_000)));
        assert_eq!((newest.before.version, newest.after.version), (5, 5));
        assert!(newest.cooldown_ms.is_some_and(|pause| pause >= 12_000));

        bench.feedback.handle_lost();
        assert_eq!(bench.told(12).len(), 2, "who is asked now heard of none");
        bench.generation.set(2);
        bench.report(13, &[(1, Drift::Failure)]);
        bench.generation.set(3);
        bench.answer(13);
        assert_eq!(bench.told(13), [(1, "changed", 0)], "another one takes its place");
    }

    #[test]
    fn a_storm_keeps_no_more_reports_than_there_is_room_for() {
        let mut bench = Bench::new(6);
        let mut ask = |second: u64, route: u32| {
            let mut bytes = [7; 16];
            bytes[..4].copy_from_slice(&route.to_be_bytes());
            let row = PathObservation {
                route: RouteId::from_bytes(bytes),
                ..row(1, Drift::Failure)
            };
            let report = Report {
                paths: vec![row],
                ..Report::default()
            };
            let standing = bench.standing();
            let asks = bench
                .feedback
                .handle_report(&report, |_| standing, Boot(second * 1_000));
            if asks {
                bench.answer(second);
            }
            bench.feedback.reports().count()
        };
        let most = (0..2_000).map(|route| ask(u64::from(route) / 100, route)).max();
        assert_eq!(most, Some(REFRESHES));
        let most = (0..2_000).map(|number| ask(21, 1_999 - number % 200)).max();
        assert_eq!(most, Some(REFRESHES), "suppressed, all of them");
        assert_eq!(bench.told(21).len(), REFRESHES);
    }

    struct Bench {
        feedback: Feedback,
        generation: Cell<u64>,
        epoch: Cell<u64>,
        rng: StdRng,
    }

    impl Bench {
        fn new(seed: u64) -> Self {
            Self {
                feedback: Feedback::default(),
                generation: Cell::new(1),
                epoch: Cell::new(1),
                rng: StdRng::seed_from_u64(seed),
            }
        }

        fn standing(&self) -> InForce {
            InForce {
                epoch: self.epoch.get(),
                version: 5,
                generation: Some(self.generation.get()),
            }
        }

        fn report(&mut self, second: u64, rows: &[(u8, Drift)]) -> bool {
            let standing = self.standing();
            let report = Report {
                paths: rows.iter().map(|(relay, drift)| row(*relay, *drift)).collect(),
                ..Report::default()
            };

            self.feedback
                .handle_report(&report, |_| standing, Boot(second * 1_000))
        }

        /// By relay: what came of it, and how many were suppressed since.
        fn told(&mut self, second: u64) -> Vec<(u8, &'static str, u64)> {
            let news = self.feedback.take_news(Boot(second * 1_000));

            news.iter()
                .map(|row| {
                    let relay = row.relay.expect("relayed").as_bytes()[0];

                    (relay, row.outcome(), row.suppressed)
                })
                .collect()
        }

        fn answer(&mut self, second: u64) -> Vec<Refreshed> {
            let standing = self.standing();
            let rng = &mut self.rng;
            let jitter = |pause: Duration| pause.mul_f64(rng.random_range(0.8..=1.2));

            self.feedback
                .handle_answer(|_| standing, jitter, Boot(second * 1_000))
        }
    }

    fn row(relay: u8, drift: Drift) -> PathObservation {
        let is_good = drift == Drift::None;

        PathObservation {
            route: RouteId::from_bytes([7; 16]),
            peer: NodeId::from_bytes([8; 16]),
            path: Path::Relay {
                relay: NodeId::from_bytes([relay; 16]),
                lease: LeaseId::from_bytes([relay; 16]),
                generation: 1,
                budget: 1,
            },
            generation: 1,
            active: true,
            drift,
            expected_hops: Vec::new(),
            observed_hops: Vec::new(),
            rtt_us: is_good.then_some(2_000),
            lost_out: 0,
            lost_in: 0,
            window: 20,
            misses: if is_good { 0 } else { 5 },
            answered_ms: None,
        }
    }
}
