//! One pair and its rounds: ready, cut, moved, confirmed, healed.

use std::time::{Duration, Instant, SystemTime};

use agent_shell::local::{FlowRow, RouteRow};
use e2e::lab::{Door, Lab, is_calm, is_settled, ready, relay_of};

use super::watch::{Seen, Watch};

/// Two nodes with one route between them.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) kind: Kind,
    pub(super) one: String,
    pub(super) other: String,
}

/// Which path dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Direct,
    Relay,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
        }
    }
}

/// One failover. Of the two directions the worse one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    /// The receiver's longest silence.
    pub(super) gap_ms: f64,
    /// From the cut to the first frame over another path.
    pub(super) moved_ms: f64,
    /// From the cut until both ends use another path.
    pub(super) detected_ms: f64,
    /// Frames that never came, both directions together.
    pub(super) lost: f64,
    /// Of the path that died, before it did.
    pub(super) round_trip_ms: f64,
}

/// All that one pair gave.
#[derive(Clone, Debug, Default)]
pub(super) struct Outcome {
    pub(super) samples: Vec<Sample>,
    /// Why rounds gave no sample.
    pub(super) failures: Vec<String>,
}

impl Pair {
    pub(super) fn new(kind: Kind, number: usize) -> Self {
        let name = format!("{}{number}", &kind.name()[..1]);

        Self {
            kind,
            one: format!("{name}a"),
            other: format!("{name}b"),
        }
    }

    pub(super) fn name(&self) -> &str {
        self.one.trim_end_matches('a')
    }

    pub(super) fn ends(&self) -> [&str; 2] {
        [&self.one, &self.other]
    }

    /// Fails over `rounds` times, or until `deadline`, or until too much went wrong.
    pub(super) fn repeat(&self, lab: &Lab, rounds: usize, deadline: Instant) -> Outcome {
        let ends = Ends::of(self, lab);
        let mut outcome = Outcome::default();
        if let Err(why) = ends.start_frames() {
            outcome.failures.push(format!("{}: {why}", self.name()));
            return outcome;
        }
        while outcome.samples.len() < rounds && outcome.failures.len() < FAILURES && Instant::now() < deadline
        {
            match ends.round() {
                Ok(sample) => outcome.samples.push(sample),
                Err(why) => outcome.failures.push(format!("{}: {why}", self.name())),
            }
        }
        eprintln!(
            "bench: {} has {} of {rounds} repetitions",
            self.name(),
            outcome.samples.len()
        );

        outcome
    }
}

/// The two ends of a pair, as they are asked and cut.
struct Ends<'a> {
    pair: &'a Pair,
    lab: &'a Lab,
    doors: [Door; 2],
}

impl<'a> Ends<'a> {
    fn of(pair: &'a Pair, lab: &'a Lab) -> Self {
        Self {
            pair,
            lab,
            doors: pair.ends().map(|end| lab.door(end)),
        }
    }

    fn start_frames(&self) -> Result<(), String> {
        self.settle()?;
        for (door, peer) in self.each() {
            door.send_frames(peer, FRAMES_PER_SECOND, FRAME_BYTES)?;
        }
        wait("frames each way", LOOK, || self.take_logs().map(|_| ()))
    }

    /// One failover and back. Whatever it gave, everything is healed afterwards.
    fn round(&self) -> Result<Sample, String> {
        let sample = self.ready().and_then(|routes| self.fail_over(&routes));
        let back = self.recover();

        back.and(sample)
    }

    /// Waits for a moment to cut: any within a probe's interval, in which the path is well. Whatever a round waited for
    /// came with a probe, and a busy machine makes paths look ill that nobody cut.
    fn ready(&self) -> Result<[RouteRow; 2], String> {
        wait("a path that is well", LOOK, || {
            let routes = self.settle()?;
            wait_out_phase();
            let is_same = |route: &RouteRow| route.active == routes[0].active && is_calm(route);
            self.both(is_same)
        })
    }

    /// Cuts the path in use and measures.
    fn fail_over(&self, routes: &[RouteRow; 2]) -> Result<Sample, String> {
        let [one, other] = self.pair.ends();
        let dead = relay_of(&routes[0].active);
        let dropped = || match dead {
            None => self.lab.dropped(one, other) + self.lab.dropped(other, one),
            Some(relay) => self.lab.dropped(one, relay) + self.lab.dropped(other, relay),
        };
        let before = dropped();
        self.take_logs()?;

        let cut_at = Instant::now();
        match dead {
            None => self.lab.cut(&[one], &[other]),
            Some(relay) => self.lab.cut(&[one, other], &[relay]),
        }
        let seen = self.watch(cut_at, dead)?;
        self.frames_arrive()?;
        let logs = self.take_logs()?;
        if dropped() == before {
            return Err("nothing was dropped".to_owned());
        }

        Ok(Sample {
            gap_ms: worse(logs.each_ref().map(|log| exact(log.largest_gap_ms))),
            moved_ms: worse(seen.each_ref().map(|end| millis(end.moved - cut_at))),
            detected_ms: worse(seen.each_ref().map(|end| millis(end.detected - cut_at))),
            lost: logs.iter().map(|log| exact(log.missing)).sum(),
            round_trip_ms: round_trip(&routes[0]),
        })
    }

    /// Looks at both ends until each has left the dead path and hears the other again.
    fn watch(&self, cut_at: Instant, dead: Option<&str>) -> Result<[Seen; 2], String> {
        let mut watches = [Watch::begin(cut_at), Watch::begin(cut_at)];
        wait("both ends leave the dead path", FINE, || {
            for (watch, (door, peer)) in watches.iter_mut().zip(self.each()) {
                watch.look(door, peer, dead)?;
            }
            let [one, other] = watches.each_ref().map(Watch::seen);

            one.zip(other)
                .map(|(one, other)| [one, other])
                .ok_or_else(|| format!("{watches:?}"))
        })
    }

    /// Waits until the pair is where its rounds begin: on its kind of path, as decided, with another one ready.
    fn settle(&self) -> Result<[RouteRow; 2], String> {
        let wants_relay = self.pair.kind == Kind::Relay;
        let routes = wait("the path to be cut, and another one ready", LOOK, || {
            let routes = self.both(|route| {
                relay_of(&route.active).is_some() == wants_relay
                    && is_settled(route)
                    && ready(route).any(|path| relay_of(path).is_some())
            })?;
            match routes[0].active == routes[1].active && routes[0].generation == routes[1].generation {
                true => Ok(routes),
                false => Err("the ends are not at one".to_owned()),
            }
        })?;

        Ok(routes)
    }

    /// Heals what was cut. A direct pair is driven back by cutting its relays, once the direct path is ready: by itself
    /// it goes back after half a minute.
    fn recover(&self) -> Result<(), String> {
        let [one, other] = self.pair.ends();
        let confirmed = wait("the controller confirms", LOOK, || {
            self.both(is_settled).map(|_| ())
        });
        if self.pair.kind == Kind::Relay {
            self.lab.heal(&[one, other], &RELAYS);
            return confirmed;
        }
        self.lab.heal(&[one], &[other]);
        let is_direct_ready = |route: &RouteRow| {
            relay_of(&route.active).is_none() || ready(route).any(|path| relay_of(path).is_none())
        };
        let healed = wait("the direct path is ready again", LOOK, || {
            self.both(|route| is_direct_ready(route)).map(|_| ())
        });
        self.lab.cut(&[one, other], &RELAYS);
        let back = wait("both ends are back on the direct path", LOOK, || {
            self.both(|route| relay_of(&route.active).is_none()).map(|_| ())
        });
        self.lab.heal(&[one, other], &RELAYS);

        confirmed.and(healed).and(back)
    }

    /// The route at both ends, if it is at each as it should be.
    fn both(&self, is_so: impl Fn(&RouteRow) -> bool) -> Result<[RouteRow; 2], String> {
        let look = |(door, peer): (&Door, &str)| {
            let route = door.route(peer)?;
            match is_so(&route) {
                true => Ok(route),
                false => Err(format!("to {peer}: {}", told(&route))),
            }
        };
        let [one, other] = self.each();

        Ok([look(one)?, look(other)?])
    }

    fn take_logs(&self) -> Result<[FlowRow; 2], String> {
        let [one, other] = self.each().map(|(door, peer)| door.take_received(peer));

        Ok([one?, other?])
    }

    /// Waits for so many more frames each way that the gap is over and is the longest one.
    fn frames_arrive(&self) -> Result<(), String> {
        let counts = || -> Result<[u64; 2], String> {
            let [one, other] = self.each().map(|(door, peer)| door.received(peer));

            Ok([one?.received, other?.received])
        };
        let before = counts()?;
        wait("frames each way", LOOK, || {
            let now = counts()?;
            match now
                .iter()
                .zip(before)
                .all(|(now, before)| *now >= before + AFTERMATH)
            {
                true => Ok(()),
                false => Err(format!("{now:?} after {before:?}")),
            }
        })
    }

    /// Each end with its peer's name.
    fn each(&self) -> [(&Door, &str); 2] {
        [
            (&self.doors[0], self.pair.other.as_str()),
            (&self.doors[1], self.pair.one.as_str()),
        ]
    }
}

/// Looks every so often until it sees, and says after [`PATIENCE`] what it saw instead.
fn wait<T>(what: &str, every: Duration, mut look: impl FnMut() -> Result<T, String>) -> Result<T, String> {
    let begun = Instant::now();
    loop {
        let instead = match look() {
            Ok(seen) => return Ok(seen),
            Err(instead) => instead,
        };
        if begun.elapsed() > PATIENCE {
            return Err(format!("{what}: not within {} s: {instead}", PATIENCE.as_secs()));
        }
        std::thread::park_timeout(every);
    }
}

/// Lets a random part of a probe interval pass: whatever a round waited for before came with a probe.
fn wait_out_phase() {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let nanos = now.map_or(0, |since| since.subsec_nanos());
    let until = Instant::now() + Duration::from_millis(u64::from(nanos / 1_000 % PHASE_MS));
    while Instant::now() < until {
        std::thread::park_timeout(FINE);
    }
}

fn told(route: &RouteRow) -> String {
    let name = |relay: Option<&str>| relay.unwrap_or("direct").to_owned();
    let standing: Vec<String> = ready(route).map(|path| name(relay_of(path))).collect();

    format!(
        "in use {}, decided {}, ready {}",
        name(relay_of(&route.active)),
        name(relay_of(&route.decided)),
        standing.join(" ")
    )
}

fn round_trip(route: &RouteRow) -> f64 {
    let active = route.paths.iter().find(|path| path.active);

    active
        .and_then(|path| path.rtt_us)
        .map_or(0.0, |micros| exact(micros) / 1_000.0)
}

fn worse(directions: [f64; 2]) -> f64 {
    directions[0].max(directions[1])
}

fn millis(duration: Duration) -> f64 {
    exact(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
}

/// Counts of milliseconds and frames are far below what a double cannot tell apart.
fn exact(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Every path has one of them.
pub(super) const RELAYS: [&str; 2] = ["relay-1", "relay-2"];
const FRAMES_PER_SECOND: u16 = 50;
const FRAME_BYTES: u16 = 64;
/// Frames after which a fault lies behind: half a second of them.
const AFTERMATH: u64 = 25;
/// Between two looks while it is measured; and else, when eleven observers must not crowd out what they observe.
const FINE: Duration = Duration::from_millis(5);
const LOOK: Duration = Duration::from_millis(100);
/// For anything a round waits for. Coming back may take a link's longest pause between dials.
const PATIENCE: Duration = Duration::from_secs(60);
/// Two of the longer probe intervals.
const PHASE_MS: u32 = 400;
/// Rounds without a sample after which a pair gives up.
const FAILURES: usize = 3;
