//! The probe state machine of one path in one direction.
//!
//! ```text
//!             1 answer                1 miss                 3 misses
//!  Unproven ───────────▶ Up ─────────────────▶ Doubtful ─────────────────▶ Down
//!                        ▲ ◀─────────────────────┘ 1 answer                 │ ▲
//!                        │               3 answers in a row        1 answer ▼ │ 1 miss
//!                        └───────────────────────────────────────────── Recovering
//! ```
//!
//! An answer that comes after its probe was counted as a miss does not revive a path. But it was no loss, and the next
//! probes of a path that is down are given the time that it took: one that became slower comes back as what it is now.

use std::collections::VecDeque;
use std::time::Duration;

use protocol::time::{Boot, millis};

use super::window::{Loss, Sent, Window};

/// What a path's own probes say of it. Declared best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Health {
    /// Answers come.
    Up,
    /// The last probe was missed, or the last two.
    Doubtful,
    /// Was down and answers again, for less than three times in a row.
    Recovering,
    /// Was never answered and not yet missed three times.
    Unproven,
    /// Three misses in a row.
    Down,
}

impl Health {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Doubtful => "doubtful",
            Self::Recovering => "recovering",
            Self::Unproven => "unproven",
            Self::Down => "down",
        }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// Names the next probe. Starts at a random number, so that no reply can be prepared for it.
    next_id: u64,
    interval: Duration,
    next_at: Boot,
    sent_at: Option<Boot>,
    in_flight: VecDeque<Flight>,
    health: Health,
    /// Whether the path was ever answered.
    proven: bool,
    misses: u16,
    /// When the first of these misses was noticed.
    missed_since: Option<Boot>,
    answers: u16,
    round_trip: Option<RoundTrip>,
    /// What the last answer took that came too late, until the path is up.
    slow: Option<Duration>,
    window: Window,
    heard_at: Option<Boot>,
    answered_at: Option<Boot>,
}

#[derive(Clone, Copy, Debug)]
struct Flight {
    sent: Sent,
    deadline: Boot,
    /// Whether its answer tells the round trip: not if this process stood still meanwhile.
    timely: bool,
}

/// What a reply meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Answered,
    /// To a probe that was missed, or to none.
    Late,
}

/// What a call to [`Probe::handle_timeout`] found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Judged {
    /// A probe should be sent now.
    pub(super) due: bool,
    pub(super) missed: u16,
    /// Probes that would have been misses, had this process not been late itself.
    pub(super) unjudged: u16,
}

impl Probe {
    /// The first probe is due at once; the pace is set before it goes.
    pub(super) fn new(first_id: u64, now: Boot) -> Self {
        Self {
            next_id: first_id,
            interval: FASTEST,
            next_at: now,
            sent_at: None,
            in_flight: VecDeque::new(),
            health: Health::Unproven,
            proven: false,
            misses: 0,
            missed_since: None,
            answers: 0,
            round_trip: None,
            slow: None,
            window: Window::default(),
            heard_at: None,
            answered_at: None,
        }
    }

    /// Probes at another pace from now on. A faster one also shortens the wait for what is in flight.
    pub(super) fn set_interval(&mut self, interval: Duration, now: Boot) {
        let interval = interval.max(FASTEST);
        if interval >= self.interval {
            self.interval = interval;
            return;
        }
        self.interval = interval;
        let due = self.sent_at.map_or(now, |sent| sent.after(interval));
        self.next_at = self.next_at.min(due.max(now));
        let deadline = now.after(self.timeout());
        for flight in &mut self.in_flight {
            flight.deadline = flight.deadline.min(deadline);
        }
    }

    /// Sends one as soon as may be.
    pub(super) fn hurry(&mut self, now: Boot) {
        let rested = self.sent_at.map_or(now, |sent| sent.after(FASTEST));
        self.next_at = self.next_at.min(rested.max(now));
    }

    pub(super) fn poll_timeout(&self) -> Boot {
        let judged = self.in_flight.iter().map(|flight| flight.deadline).min();

        judged.map_or(self.next_at, |deadline| deadline.min(self.next_at))
    }

    /// Judges what is overdue, and says whether to send. `late`: this process is behind its own timers, so that
    /// answers may be waiting to be read.
    pub(super) fn handle_timeout(&mut self, late: bool, now: Boot) -> Judged {
        let mut judged = Judged::default();
        let patience = now.after(self.timeout());
        for mut flight in std::mem::take(&mut self.in_flight) {
            match (flight.deadline <= now, late) {
                (false, _) => self.in_flight.push_back(flight),
                (true, true) => {
                    (flight.deadline, flight.timely) = (patience, false);
                    self.in_flight.push_back(flight);
                    judged.unjudged += 1;
                }
                (true, false) => {
                    self.miss(flight, now);
                    judged.missed += 1;
                }
            }
        }
        if self.next_at <= now {
            self.next_at = now.after(self.interval);
            judged.due = true;
        }

        judged
    }

    /// Puts a probe in flight and names it. `number`: how many have been sent on this path, this one included.
    pub(super) fn begin(&mut self, number: u64, now: Boot) -> u64 {
        let id = self.next_id;
        self.next_id = self.next_id.wrapping_add(1);
        self.sent_at = Some(now);
        self.in_flight.push_back(Flight {
            sent: Sent { id, number, at: now },
            deadline: now.after(self.timeout()),
            timely: true,
        });

        id
    }

    /// `received`: what the responder said it has received.
    pub(super) fn handle_reply(&mut self, id: u64, received: u64, now: Boot) -> Reply {
        let Some(place) = self.in_flight.iter().position(|flight| flight.sent.id == id) else {
            let sent_at = self.window.answered_late(id, received);
            self.slow = sent_at.map(|at| now.since(at)).or(self.slow);
            return Reply::Late;
        };
        let flight = self.in_flight.remove(place).expect("the position was just found");
        if flight.timely && now <= flight.deadline {
            self.measure(now.since(flight.sent.at));
        }
        if self.health == Health::Down {
            self.window.start_over();
        }
        self.window.answered(flight.sent, received);
        self.answered_at = Some(now);
        self.heard_at = Some(now);
        (self.misses, self.missed_since) = (0, None);
        self.answers = self.answers.saturating_add(1);
        self.health = match self.health {
            Health::Up | Health::Doubtful | Health::Unproven => Health::Up,
            Health::Down | Health::Recovering if !self.proven || self.answers >= PROBATION => Health::Up,
            Health::Down | Health::Recovering => Health::Recovering,
        };
        self.proven = true;
        if self.health == Health::Up {
            self.slow = None;
        }

        Reply::Answered
    }

    /// Something of the peer's came over this path.
    pub(super) fn handle_heard(&mut self, now: Boot) {
        self.heard_at = Some(now);
    }

    /// There is no connection to the first hop any more: what is in flight will not be answered.
    pub(super) fn handle_unlinked(&mut self) {
        self.in_flight.clear();
        self.answers = 0;
        if self.health != Health::Unproven {
            self.health = Health::Down;
        }
    }

    pub(super) fn health(&self) -> Health {
        self.health
    }

    /// When the first of the misses in a row was noticed.
    pub(super) fn missed_since(&self) -> Option<Boot> {
        self.missed_since
    }

    /// Misses in a row.
    pub(super) fn misses(&self) -> u16 {
        self.misses
    }

    pub(super) fn loss(&self) -> Loss {
        self.window.loss(self.heard_at)
    }

    /// The smoothed round trip (RFC 6298 2).
    pub(super) fn rtt(&self) -> Option<Duration> {
        self.round_trip
            .map(|round_trip| Duration::from_micros(round_trip.smoothed))
    }

    pub(super) fn answered_at(&self) -> Option<Boot> {
        self.answered_at
    }

    /// How long an answer may take: max(interval, srtt + max(clock granularity, 4·rttvar)), RFC 6298 2; and as long as
    /// the last one that was too late, and a quarter more, while the path is down.
    pub(super) fn timeout(&self) -> Duration {
        let expected = self.round_trip.map_or(FIRST_TIMEOUT, |round_trip| {
            let variation = (4 * round_trip.variation).max(GRANULARITY_MICROS);
            Duration::from_micros(round_trip.smoothed + variation)
        });

        let slow = match self.health {
            Health::Up | Health::Doubtful => None,
            Health::Recovering | Health::Unproven | Health::Down => self.slow,
        };
        let slow = slow.map_or(Duration::ZERO, |slow| slow + slow / 4);

        expected.max(slow).min(LONGEST_EXPECTED).max(self.interval)
    }

    fn miss(&mut self, flight: Flight, now: Boot) {
        self.window.missed(flight.sent);
        self.answers = 0;
        self.misses = self.misses.saturating_add(1);
        self.missed_since.get_or_insert(now);
        self.health = match self.health {
            Health::Up | Health::Doubtful | Health::Unproven if self.misses >= MISSES => Health::Down,
            Health::Up | Health::Doubtful => Health::Doubtful,
            Health::Unproven => Health::Unproven,
            Health::Recovering | Health::Down => Health::Down,
        };
    }

    fn measure(&mut self, sample: Duration) {
        let sample = millis(sample).saturating_mul(1_000);
        self.round_trip = Some(match self.round_trip {
            None => RoundTrip {
                smoothed: sample,
                variation: sample / 2,
            },
            Some(RoundTrip { smoothed, variation }) => RoundTrip {
                smoothed: (7 * smoothed + sample) / 8,
                variation: (3 * variation + smoothed.abs_diff(sample)) / 4,
            },
        });
    }
}

/// Microseconds.
#[derive(Clone, Copy, Debug)]
struct RoundTrip {
    smoothed: u64,
    variation: u64,
}

/// Misses in a row that make a path down.
pub(super) const MISSES: u16 = 3;

/// Answers in a row that make a path that was down up again.
const PROBATION: u16 = 3;

/// No path is probed faster than this, whatever a config says.
pub(super) const FASTEST: Duration = Duration::from_millis(50);

/// How long the first answer may take, before any was measured (RFC 6298 2.1).
const FIRST_TIMEOUT: Duration = Duration::from_secs(1);

/// A path whose round trip takes longer is as good as down; it also bounds what is in flight to 60.
const LONGEST_EXPECTED: Duration = Duration::from_secs(3);

/// The clock of the cores counts milliseconds.
const GRANULARITY_MICROS: u64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_answer_proves_a_path() {
        let mut world = World::new();
        assert_eq!(world.probe.health(), Health::Unproven);
        world.answer_after(10);

        assert_eq!(world.probe.health(), Health::Up);
        assert_eq!(world.probe.rtt(), Some(Duration::from_millis(10)));
    }

    #[test]
    fn three_misses_in_a_row_make_a_path_down_and_not_earlier() {
        let mut world = World::proven();
        let cut = world.now;
        // the next probe goes 195 ms after the answer
        world.run_silent(195 + 3 * 200);
        assert_eq!(world.probe.health(), Health::Doubtful);
        assert_eq!(world.probe.misses(), 2);
        world.run_silent(1);

        assert_eq!(world.probe.health(), Health::Down);
        assert_eq!(world.now.since(cut), Duration::from_millis(796));
    }

    #[test]
    fn a_late_reply_does_not_revive_a_path() {
        let mut world = World::proven();
        world.run_silent(800);
        let ids = world.sent.clone();
        for id in ids {
            if world.in_flight(id) {
                continue;
            }
            assert_eq!(world.probe.handle_reply(id, 1, world.now), Reply::Late);
        }

        assert_eq!(world.probe.health(), Health::Down);
    }

    #[test]
    fn a_path_that_was_down_needs_three_answers_in_a_row() {
        let mut world = World::proven();
        world.run_silent(900);
        for expected in [Health::Recovering, Health::Recovering, Health::Up] {
            world.answer_after(5);
            assert_eq!(world.probe.health(), expected);
        }
    }

    #[test]
    fn losses_of_an_outage_that_is_over_do_not_count() {
        let mut world = World::proven();
        world.run_silent(2_000);
        assert!(world.probe.loss().missed > 4);
        world.answer_after(5);

        assert_eq!((world.probe.loss().missed, world.probe.loss().of), (0, 1));
    }

    #[test]
    fn a_miss_on_probation_is_down_again() {
        let mut world = World::proven();
        world.run_silent(900);
        world.answer_after(5);
        assert_eq!(world.probe.health(), Health::Recovering);
        world.run_silent(400);

        assert_eq!(world.probe.health(), Health::Down);
    }

    #[test]
    fn a_slow_path_is_given_its_round_trip_and_four_deviations() {
        let mut world = World::new();
        world.answer_after(600);
        // srtt 600, rttvar 300
        assert_eq!(world.probe.timeout(), Duration::from_millis(1_800));
        world.run_silent(100);
        assert_eq!(world.probe.misses(), 0);
        world.run_silent(1_900);

        assert!(world.probe.misses() > 0);
    }

    #[test]
    fn a_path_that_became_slow_comes_back_once_its_round_trip_is_known() {
        for slow in [250, 400, 900, 2_500] {
            let mut world = World::proven();
            world.run_answered(slow, 12 * slow);

            assert_eq!(world.probe.health(), Health::Up, "{slow} ms");
            assert!(world.probe.timeout() >= Duration::from_millis(slow), "{slow} ms");
        }
    }

    #[test]
    fn one_slow_answer_makes_no_path_patient_once_it_is_up() {
        let mut world = World::proven();
        world.run_answered(1_500, 1_600);
        assert_eq!(world.probe.health(), Health::Down);
        for _ in 0..PROBATION {
            world.answer_after(5);
        }

        assert_eq!(world.probe.health(), Health::Up);
        assert_eq!(world.probe.timeout(), Duration::from_millis(200));
    }

    #[test]
    fn nothing_is_a_miss_while_this_process_is_late() {
        let mut world = World::proven();
        world.run_silent(1);
        let due = world.probe.poll_timeout().after(Duration::from_secs(2));
        let judged = world.probe.handle_timeout(true, due);
        assert_eq!((judged.missed, judged.unjudged), (0, 0));
        world.now = due;
        world.probe.begin(99, due);
        let later = due.after(Duration::from_secs(3));
        let judged = world.probe.handle_timeout(true, later);

        assert_eq!((judged.missed, judged.unjudged), (0, 1));
        assert_eq!(world.probe.misses(), 0);
        world.probe.handle_reply(
            world.probe.in_flight[0].sent.id,
            99,
            later.after(Duration::from_millis(1)),
        );
        assert_eq!(
            world.probe.rtt(),
            Some(Duration::from_millis(5)),
            "it measured its own sleep"
        );
    }

    #[test]
    fn a_faster_pace_shortens_the_wait_for_what_is_in_flight() {
        let mut world = World::proven();
        world.probe.set_interval(Duration::from_secs(20), world.now);
        world.run_silent(200);
        assert!(!world.probe.in_flight.is_empty());
        world.probe.set_interval(Duration::from_millis(200), world.now);
        world.run_silent(201);

        assert_eq!(world.probe.health(), Health::Doubtful);
    }

    #[test]
    fn no_pace_is_faster_than_the_fastest() {
        let mut probe = Probe::new(0, Boot(0));
        probe.set_interval(Duration::ZERO, Boot(0));
        assert!(probe.handle_timeout(false, Boot(0)).due);

        assert_eq!(probe.poll_timeout(), Boot(0).after(FASTEST));
    }

    #[test]
    fn a_lost_connection_is_down_at_once_and_an_unproven_path_stays_unproven() {
        let mut world = World::proven();
        world.probe.handle_unlinked();
        assert_eq!(world.probe.health(), Health::Down);

        let mut fresh = World::new();
        fresh.probe.handle_unlinked();
        assert_eq!(fresh.probe.health(), Health::Unproven);
    }

    struct World {
        probe: Probe,
        now: Boot,
        sent: Vec<u64>,
    }

    impl World {
        fn new() -> Self {
            let mut probe = Probe::new(7, Boot(1_000));
            probe.set_interval(Duration::from_millis(200), Boot(1_000));

            Self {
                probe,
                now: Boot(1_000),
                sent: Vec::new(),
            }
        }

        fn proven() -> Self {
            let mut world = Self::new();
            world.answer_after(5);
            world
        }

        /// Runs to the next probe, and answers it.
        fn answer_after(&mut self, rtt: u64) {
            let before = self.sent.len();
            while self.sent.len() == before {
                self.step();
            }
            self.now = Boot(self.now.0 + rtt - 1);
            let id = *self.sent.last().unwrap();
            let received = self.sent.len() as u64;
            assert_eq!(self.probe.handle_reply(id, received, self.now), Reply::Answered);
        }

        fn run_silent(&mut self, millis: u64) {
            for _ in 0..millis {
                self.step();
            }
        }

        /// Every probe is answered `rtt` after it went.
        fn run_answered(&mut self, rtt: u64, millis: u64) {
            let mut answers = VecDeque::new();
            for _ in 0..millis {
                let before = self.sent.len();
                self.step();
                answers.extend(self.sent[before..].iter().map(|id| (self.now.0 - 1 + rtt, *id)));
                while let Some((_, id)) = answers.pop_front_if(|(due, _)| *due <= self.now.0) {
                    let received = self.sent.len() as u64;
                    self.probe.handle_reply(id, received, self.now);
                }
            }
        }

        fn step(&mut self) {
            if self.probe.poll_timeout() <= self.now && self.probe.handle_timeout(false, self.now).due {
                let number = self.sent.len() as u64 + 1;
                self.sent.push(self.probe.begin(number, self.now));
            }
            self.now = Boot(self.now.0 + 1);
        }

        fn in_flight(&self, id: u64) -> bool {
            self.probe.in_flight.iter().any(|flight| flight.sent.id == id)
        }
    }
}
