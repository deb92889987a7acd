//! A world: one real controller and real agents on simulated hosts, in virtual time, by seed.
//!
//! ```text
//!  World ── faults ──▶ Net ◀── packets ──▶ Agent, Agent, … Controller      one thread, one paused clock
//!    │                                          │ events
//!    └── asks: paths, flows, rows ─────────▶    ▼
//!                                           Witness: history, error! ──▶ the run fails
//! ```
//!
//! Nothing moves but within [`World::run_for`], [`World::until`] and questions, and questions take no time. A seed gives
//! one history: all chance comes from it, and what the network does to a packet does not depend on who else sends.

mod ask;
mod controller;
mod host;
mod ledger;
mod lips;
mod moves;
mod node;
pub mod weather;
mod witness;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use protocol::document::config::Transport;
use protocol::wire::Report;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::Instant;
use tracing::subscriber::DefaultGuard;

use crate::net::{Net, Way};
pub use ask::{Received, Via};
use controller::ControlHost;
use host::HostClock;
use ledger::Ledger;
pub use moves::{Decided, Moved};
use node::NodeHost;
use witness::Witness;

/// One host of a world: its controller, or a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Host(usize);

impl Host {
    /// Where the controller runs.
    pub const CONTROLLER: Self = Self(0);
    /// Where nothing ever runs.
    pub const NOWHERE: Self = Self(250);
}

/// What a world is made from besides its seed.
#[derive(Clone, Copy, Debug)]
pub struct Ground {
    /// How packets fare from any host to any other, until told otherwise.
    pub usual: Way,
    /// Intervals that the controller gives to every node.
    pub transport: Transport,
}

impl Default for Ground {
    fn default() -> Self {
        Self {
            usual: Way {
                jitter: Duration::from_millis(2),
                ..Way::taking(Duration::from_millis(5))
            },
            transport: Transport::default(),
        }
    }
}

pub struct World {
    seed: u64,
    rng: StdRng,
    net: Net,
    witness: Witness,
    control: ControlHost,
    /// The controller's process is started again when it ends by itself, as a supervisor does.
    restart_at: Option<Instant>,
    nodes: Vec<NodeHost>,
    ledger: Ledger,
    _told: DefaultGuard,
    /// Last, so that what still runs on it ends after all that it is told of.
    runtime: Runtime,
}

impl World {
    /// A controller with a cluster, and no node yet.
    pub fn new(seed: u64) -> Self {
        Self::on(seed, Ground::default())
    }

    pub fn on(seed: u64, ground: Ground) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime without I/O");
        let entered = runtime.enter();
        let mut rng = StdRng::seed_from_u64(seed);
        let witness = Witness::new();
        let told = tracing::subscriber::set_default(witness.clone());
        let net = Net::new(seed, ground.usual);
        let clock = clock(&mut rng);
        let control = ControlHost::install(seed, address(Host::CONTROLLER), clock, ground.transport);
        drop(entered);
        let mut world = Self {
            seed,
            rng,
            net,
            witness,
            control,
            restart_at: None,
            nodes: Vec::new(),
            ledger: Ledger::default(),
            _told: told,
            runtime,
        };
        world.start(Host::CONTROLLER);
        world.act("cluster/create", json!({ "name": "prod" }));

        world
    }

    /// A host that joins with a token of its own.
    pub fn member(&mut self) -> Host {
        let host = self.stranger("member", &["member"], None);
        self.start(host);

        host
    }

    /// A host that joins as a relay of this site.
    pub fn relay(&mut self, site: &str) -> Host {
        let host = self.stranger("relay", &["relay"], Some(site));
        self.start(host);

        host
    }

    /// A host that joins to let others meet.
    pub fn introducer(&mut self) -> Host {
        let host = self.stranger("rendezvous", &["rendezvous"], None);
        self.start(host);

        host
    }

    /// A host that has a token and has not started yet. The names of relays begin with `relay`, of those that let others meet
    /// with `rendezvous`.
    pub fn stranger(&mut self, kind: &str, roles: &[&str], site: Option<&str>) -> Host {
        let mut input = json!({ "approval": "auto", "roles": roles });
        if let Some(site) = site {
            input["labels"] = json!({ "site": site });
        }
        let created = self.act("token/create", input);
        let token = created["token"].as_str().expect("a token's text").to_owned();
        let of_kind = self.nodes.iter().filter(|node| node.name.starts_with(kind));
        let name = format!("{kind}-{}", of_kind.count() + 1);
        let host = Host(self.nodes.len() + 1);
        let clock = {
            let _entered = self.runtime.enter();
            clock(&mut self.rng)
        };
        self.nodes
            .push(NodeHost::new(self.seed, &name, address(host), clock, token));

        host
    }

    /// Starts a process where there is none.
    pub fn start(&mut self, host: Host) {
        let _entered = self.runtime.enter();
        match host.0.checked_sub(1) {
            None => self.control.start(&self.net, &self.witness),
            Some(at) => self.nodes[at].start(&self.net, &self.witness),
        }
    }

    /// Ends a process at once: it says nothing any more, and what it had not made durable is lost.
    pub fn crash(&mut self, host: Host) {
        self.note(host, "crashes");
        match host.0.checked_sub(1) {
            None => {
                self.restart_at = None;
                self.runtime.block_on(self.control.crash(&self.net));
            }
            Some(at) => self.runtime.block_on(self.nodes[at].crash(&self.net)),
        }
    }

    pub fn restart(&mut self, host: Host) {
        self.crash(host);
        self.start(host);
    }

    /// Restarts the controller, which says from then on that it is reached at the address of `host`, and is reached where
    /// it was.
    pub fn advertise(&mut self, host: Host) {
        let port = address(Host::CONTROLLER).port();
        self.control.advertised = SocketAddr::new(ip(host), port);
        self.note(
            Host::CONTROLLER,
            format!("is said to be at {}", self.control.advertised),
        );
        self.restart(Host::CONTROLLER);
    }

    /// Stops a node's process without ending it, or lets it go on.
    pub fn freeze(&mut self, host: Host, frozen: bool) {
        self.note(host, if frozen { "stops" } else { "goes on" });
        self.node(host).freeze(&self.net, frozen);
    }

    /// Puts a router before a host that lets in answers alone.
    pub fn put_behind_nat(&mut self, host: Host) {
        self.note(host, "is behind a router from now on");
        self.net.guard(ip(host));
    }

    /// Lets a node tell controllers something else than what it measured, from now on.
    pub fn lie(&mut self, host: Host, lie: impl Fn(Report) -> Report + Send + 'static) {
        self.note(host, "lies");
        self.node(host).lips.lie(lie);
    }

    /// How many of a node's reports were no truth.
    pub fn lies(&self, host: Host) -> u64 {
        self.node(host).lips.lies()
    }

    /// Cuts or heals the way from one host to another, and leaves the way back as it is.
    pub fn set_cut(&mut self, from: Host, to: Host, cut: bool) {
        let what = if cut {
            "is cut off from"
        } else {
            "is reached again by"
        };
        self.note(to, format!("{what} {}", self.name(from)));
        self.net.cut(ip(from), ip(to), cut);
    }

    /// Cuts or heals both directions.
    pub fn set_cut_between(&mut self, one: Host, other: Host, cut: bool) {
        self.set_cut(one, other, cut);
        self.set_cut(other, one, cut);
    }

    /// Changes how packets fare from one host to another.
    pub fn set_way(&mut self, from: Host, to: Host, way: Way) {
        self.note(to, format!("is reached by {} with {way:?}", self.name(from)));
        self.net.set(ip(from), ip(to), way);
    }

    pub fn way(&self, from: Host, to: Host) -> Way {
        self.net.way(ip(from), ip(to))
    }

    /// Lets virtual time pass, and looks at everything that must hold every second.
    pub fn run_for(&mut self, duration: Duration) {
        let mut left = duration;
        while !left.is_zero() {
            let step = left.min(LOOK);
            self.pass(step);
            self.look();
            left -= step;
        }
    }

    /// Runs until `reached`, and says how long that took. Fails the run when it takes longer than `limit`.
    pub fn until(
        &mut self,
        what: &str,
        limit: Duration,
        mut reached: impl FnMut(&mut Self) -> bool,
    ) -> Duration {
        let mut passed = Duration::ZERO;
        while !reached(self) {
            if passed >= limit {
                self.break_off(&format!("not within {limit:?}: {what}"));
            }
            self.pass(STEP);
            passed += STEP;
            if passed.as_millis().is_multiple_of(LOOK.as_millis()) {
                self.look();
            }
        }

        passed
    }

    /// Runs until every node is enrolled and every pair of nodes has a healthy route at both of its ends.
    pub fn settle(&mut self, limit: Duration) -> Duration {
        self.until("every node and route is well", limit, |world| world.is_well())
    }

    /// Takes an administrative action in the owner's name, as the admin socket does.
    pub fn act(&mut self, action: &str, input: Value) -> Value {
        match self.try_act(action, input) {
            Ok(reply) => reply,
            Err(why) => self.break_off(&format!("{action}: {why}")),
        }
    }

    /// As [`Self::act`]; a refusal, or that there is no controller, is told.
    pub fn try_act(&mut self, action: &str, input: Value) -> Result<Value, String> {
        let (admin, owner) = self.control.admin().ok_or("no controller runs")?;
        let answered = self.runtime.block_on(admin.answer(action, Some(owner), input));

        answered.map_err(|failure| format!("{} {}", failure.code.text(), failure.message))
    }

    /// Adds a line to the history.
    pub fn note(&self, host: Host, what: impl Into<String>) {
        let _entered = self.runtime.enter();
        self.witness.note(&self.name(host), what);
    }

    /// One line for each thing that happened: time, who, what.
    pub fn history(&self) -> Vec<String> {
        self.witness.history()
    }

    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The network, for its counts and its digest.
    pub fn net(&self) -> &Net {
        &self.net
    }

    /// The disk of the controller, for faults.
    pub fn store(&self) -> &control_store::memory::MemoryDisk {
        &self.control.disk
    }

    /// The state directory of a node, for faults.
    pub fn disk(&self, host: Host) -> &agent_shell::disk::MemoryDisk {
        &self.node(host).disk
    }

    pub fn is_running(&self, host: Host) -> bool {
        match host.0.checked_sub(1) {
            None => self.control.is_running(),
            Some(at) => self.nodes[at].is_running(),
        }
    }

    /// The nodes, in the order in which they came.
    pub fn nodes(&self) -> Vec<Host> {
        (1..=self.nodes.len()).map(Host).collect()
    }

    pub fn name(&self, host: Host) -> Arc<str> {
        match host.0.checked_sub(1) {
            None => Arc::clone(&self.control.name),
            Some(at) => Arc::clone(&self.nodes[at].name),
        }
    }

    pub fn is_relay(&self, host: Host) -> bool {
        self.node(host).is_relay
    }

    fn node(&self, host: Host) -> &NodeHost {
        &self.nodes[host.0.checked_sub(1).expect("a node, not the controller")]
    }

    fn pass(&mut self, step: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(step).await });
        self.tend();
        let broken = self.witness.broken();
        if !broken.is_empty() {
            self.break_off(&broken.join("\n"));
        }
    }

    /// Does what a supervisor does for a process that ended by itself.
    fn tend(&mut self) {
        let now = self.runtime.block_on(async { Instant::now() });
        if let Some(how) = self.runtime.block_on(self.control.ended(&self.net)) {
            self.note(Host::CONTROLLER, format!("ends: {how}"));
            self.restart_at = Some(now + RESTART);
        }
        if self.restart_at.is_some_and(|at| at <= now) {
            self.restart_at = None;
            self.start(Host::CONTROLLER);
        }
        for node in &mut self.nodes {
            if let Some(how) = self.runtime.block_on(node.ended(&self.net)) {
                let _entered = self.runtime.enter();
                self.witness.fail(format!("{} ended: {how}", node.name));
            }
        }
    }

    /// Ends the run as failed, with what is needed to see why.
    fn break_off(&mut self, why: &str) -> ! {
        let standing = self.standing();
        let history = self.history();
        let shown = history.len().saturating_sub(SHOWN);
        let tail = history[shown..].join("\n");

        panic!("{tail}\n{standing}seed {}: {why}", self.seed);
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the world of seed {} failed", self.seed);
        }
    }
}

fn clock(rng: &mut StdRng) -> HostClock {
    let up = 1_000 + u64::from(rng.next_u32() % 1_000_000);
    let skew = u64::from(rng.next_u32() % 400);

    HostClock::new(up, skew)
}

fn ip(host: Host) -> IpAddr {
    let last = u8::try_from(host.0).expect("fewer hosts than a byte counts");

    IpAddr::from([10, 0, 0, last])
}

fn address(host: Host) -> SocketAddr {
    let port = if host == Host::CONTROLLER { 7600 } else { 7601 };

    SocketAddr::new(ip(host), port)
}

/// How often a condition is looked at that a test waits for.
const STEP: Duration = Duration::from_millis(100);
/// How often everything that must always hold is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// A supervisor's pause before it starts a process again.
const RESTART: Duration = Duration::from_secs(1);
/// Lines of the history that a failed run shows.
const SHOWN: usize = 120;
