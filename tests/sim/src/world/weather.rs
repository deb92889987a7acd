//! Faults drawn from a seed, one after another, some at the same time.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Host, World};
use crate::net::Way;

/// A kind of fault. Those of the network fall on one direction between two hosts, unless they say otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    ControllerCrash,
    CutBothWays,
    CutOneWay,
    Duplication,
    Latency,
    Loss,
    MemberCrash,
    NodeStop,
    RelayCrash,
}

impl Fault {
    /// What only the network does.
    pub const NETWORK: &'static [Self] = &[
        Self::CutBothWays,
        Self::CutOneWay,
        Self::Duplication,
        Self::Latency,
        Self::Loss,
    ];
    /// What only processes do.
    pub const PROCESSES: &'static [Self] = &[
        Self::ControllerCrash,
        Self::MemberCrash,
        Self::NodeStop,
        Self::RelayCrash,
    ];
    pub const ALL: &'static [Self] = &[
        Self::ControllerCrash,
        Self::CutBothWays,
        Self::CutOneWay,
        Self::Duplication,
        Self::Latency,
        Self::Loss,
        Self::MemberCrash,
        Self::NodeStop,
        Self::RelayCrash,
    ];
}

/// How many faults of each kind there were.
pub type Fired = BTreeMap<Fault, u64>;

/// Faults that come and go in one world.
#[derive(Debug)]
pub struct Weather {
    rng: StdRng,
    kinds: &'static [Fault],
    usual: Way,
    passed: Duration,
    /// What lasts, by the time at which it ends.
    lasting: Vec<(Duration, Lasting)>,
    fired: Fired,
}

#[derive(Clone, Copy, Debug)]
enum Lasting {
    Down(Host),
    Stopped(Host),
    Way(Host, Host),
}

impl Weather {
    /// Faults of these kinds.
    pub fn new(world: &World, kinds: &'static [Fault]) -> Self {
        Self {
            rng: StdRng::seed_from_u64(world.seed() ^ SALT),
            kinds,
            usual: world.way(Host::CONTROLLER, Host::CONTROLLER),
            passed: Duration::ZERO,
            lasting: Vec::new(),
            fired: Fired::new(),
        }
    }

    /// Lets time pass while faults come and go.
    pub fn blow(&mut self, world: &mut World, duration: Duration) {
        let end = self.passed + duration;
        while self.passed < end {
            let pause = self.between(PAUSE).min(end - self.passed);
            world.run_for(pause);
            self.passed += pause;
            self.mend(world, self.passed);
            self.strike(world);
        }
    }

    /// Ends every fault, and says how many there were.
    pub fn clear(&mut self, world: &mut World) -> Fired {
        self.mend(world, Duration::MAX);

        std::mem::take(&mut self.fired)
    }

    fn strike(&mut self, world: &mut World) {
        let fault = self.kinds[self.below(self.kinds.len())];
        let ends = self.passed + self.between(LASTING);
        let lasting = match fault {
            Fault::ControllerCrash => self.crash(world, Some(Host::CONTROLLER)),
            Fault::MemberCrash => {
                let member = self.node(world, false);
                self.crash(world, member)
            }
            Fault::RelayCrash => {
                let relay = self.node(world, true);
                self.crash(world, relay)
            }
            Fault::NodeStop => self.stop(world),
            Fault::CutBothWays => {
                let (one, other) = self.pair(world);
                world.set_cut_between(one, other, true);
                self.lasting.push((ends, Lasting::Way(other, one)));
                Some(Lasting::Way(one, other))
            }
            Fault::CutOneWay => self.change(world, |way| way.cut = true),
            Fault::Duplication => self.change(world, |way| way.duplication = 300),
            Fault::Latency => self.change(world, |way| {
                way.latency = Duration::from_millis(120);
                way.jitter = Duration::from_millis(60);
            }),
            Fault::Loss => self.change(world, |way| way.loss = 300),
        };
        if let Some(lasting) = lasting {
            *self.fired.entry(fault).or_default() += 1;
            self.lasting.push((ends, lasting));
        }
    }

    fn crash(&mut self, world: &mut World, host: Option<Host>) -> Option<Lasting> {
        let host = host.filter(|host| self.is_whole(*host) && world.is_running(*host))?;
        world.crash(host);

        Some(Lasting::Down(host))
    }

    fn stop(&mut self, world: &mut World) -> Option<Lasting> {
        let nodes = world.nodes();
        let host = nodes[self.below(nodes.len())];
        if !self.is_whole(host) || !world.is_running(host) {
            return None;
        }
        world.freeze(host, true);

        Some(Lasting::Stopped(host))
    }

    fn change(&mut self, world: &mut World, change: impl FnOnce(&mut Way)) -> Option<Lasting> {
        let (from, to) = self.pair(world);
        let mut way = self.usual;
        change(&mut way);
        world.set_way(from, to, way);

        Some(Lasting::Way(from, to))
    }

    /// Ends what has lasted until `now`.
    fn mend(&mut self, world: &mut World, now: Duration) {
        let (over, rest) = self.lasting.drain(..).partition(|(ends, _)| *ends <= now);
        self.lasting = rest;
        for (_, what) in over {
            match what {
                Lasting::Down(host) => world.start(host),
                Lasting::Stopped(host) => world.freeze(host, false),
                Lasting::Way(from, to) => world.set_way(from, to, self.usual),
            }
        }
    }

    /// Whether no fault lasts on the process of this host.
    fn is_whole(&self, host: Host) -> bool {
        self.lasting.iter().all(|(_, what)| match what {
            Lasting::Down(down) | Lasting::Stopped(down) => *down != host,
            Lasting::Way(..) => true,
        })
    }

    fn node(&mut self, world: &World, relay: bool) -> Option<Host> {
        let mut nodes = world.nodes();
        nodes.retain(|node| world.is_relay(*node) == relay);
        if nodes.is_empty() {
            return None;
        }

        Some(nodes[self.below(nodes.len())])
    }

    /// Two hosts, the controller among them.
    fn pair(&mut self, world: &World) -> (Host, Host) {
        let mut hosts = [vec![Host::CONTROLLER], world.nodes()].concat();
        let one = hosts.remove(self.below(hosts.len()));

        (one, hosts[self.below(hosts.len())])
    }

    fn between(&mut self, (least, most): (Duration, Duration)) -> Duration {
        let span = u32::try_from((most - least).as_millis()).unwrap_or(u32::MAX);

        least + Duration::from_millis(u64::from(self.rng.next_u32() % span))
    }

    fn below(&mut self, count: usize) -> usize {
        usize::try_from(self.rng.next_u64() % count as u64).unwrap_or(0)
    }
}

/// The weather does not draw what the world draws.
const SALT: u64 = 0x5741_4554;
/// From one fault to the next.
const PAUSE: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(8));
/// How long one lasts: shorter than a miss, or longer than a node stays online.
const LASTING: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(50));
