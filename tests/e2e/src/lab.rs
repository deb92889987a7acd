//! A lab: hosts that are network namespaces on one bridge, real processes on them, and cables that can be cut.
//!
//! Needs root, `ip` and `nft`. Everything goes with the lab, also after a panic; what a run that was killed left behind
//! is swept by the next lab. A lab is alone in its namespaces, so ports are as shipped.

mod cluster;
mod door;
mod filter;
mod net;
mod place;
mod process;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::Site;
use filter::{Cuts, Line};
use net::Net;
use process::Running;

pub use cluster::{Mode, Node};
pub use door::{Door, is_calm, is_settled, ready, relay_of};
pub use filter::Meter;
pub use place::{Nat, Place};

/// Hosts, what runs on them, and what is cut between them.
///
/// The fields end in the order in which they stand: nothing runs in a namespace that is removed.
#[derive(Debug)]
pub struct Lab {
    processes: BTreeMap<String, Running>,
    /// Behind a lock so that many pairs can be cut at once, each by its own observer.
    cuts: Mutex<Cuts>,
    /// What the agents of some hosts are told besides, by host.
    args: BTreeMap<String, Vec<String>>,
    net: Net,
    site: Site,
}

/// Why there can be no lab here.
#[derive(Debug, thiserror::Error)]
pub enum Lacking {
    #[error("the kernel filters no bridge: {0}")]
    Filter(String),
    #[error("network namespaces cannot be made: {0}")]
    Namespaces(String),
    #[error("network namespaces need root")]
    Root,
    #[error("needs {tool} (apt-get install {package})")]
    Tool {
        tool: &'static str,
        package: &'static str,
    },
}

impl Lab {
    pub fn open() -> Result<Self, Lacking> {
        let net = Net::open()?;
        let cuts = Cuts::open(&net.hub()).map_err(Lacking::Filter)?;

        Ok(Self {
            processes: BTreeMap::new(),
            cuts: Mutex::new(cuts),
            args: BTreeMap::new(),
            net,
            site: Site::default(),
        })
    }

    /// A lab, or none with a notice that `test` is skipped: without root or a tool. A kernel that refuses root fails the
    /// test, so that one which must run, as in CI, does not pass unseen.
    pub fn for_test(test: &str) -> Option<Self> {
        match Self::open() {
            Ok(lab) => Some(lab),
            Err(lacking @ (Lacking::Root | Lacking::Tool { .. })) => {
                eprintln!("SKIPPED {test}: {lacking}");
                None
            }
            Err(lacking @ (Lacking::Namespaces(_) | Lacking::Filter(_))) => {
                panic!("{test} cannot run: {lacking}")
            }
        }
    }

    /// The directory of everything that runs here, and the command line of an operator on the controller's host.
    pub const fn site(&self) -> &Site {
        &self.site
    }

    /// Adds a host and gives its address.
    pub fn host(&mut self, name: &str) -> Ipv4Addr {
        self.host_at(name, Place::Open)
    }

    /// Adds a host that stands elsewhere, and gives the address at which the others see it.
    pub fn host_at(&mut self, name: &str, place: Place) -> Ipv4Addr {
        self.net.add(name, place)
    }

    /// Gives a host another address in place of the one it has; [`Lab::address`] still gives the old one.
    pub fn move_host(&mut self, name: &str, place: Place) -> Ipv4Addr {
        self.net.move_host(name, place)
    }

    /// The address that goes with one of the lab, on hosts that have both families.
    pub const fn v6(address: Ipv4Addr) -> Ipv6Addr {
        place::v6(address)
    }

    pub fn address(&self, host: &str) -> Ipv4Addr {
        self.net.address(host)
    }

    /// Starts `gabion` on a host, under the host's name.
    pub fn start(&mut self, host: &str, args: &[&str]) {
        let mut command = Net::inside(&self.net.namespace(host), &crate::gabion());
        command.args(args);
        let log = self.site.path(&format!("{host}.log"));
        self.processes
            .insert(host.to_owned(), Running::start(command, &log));
    }

    /// Runs any program on a host to its end, and says whether that was a good one.
    pub fn run(&self, host: &str, program: &str, args: &[&str]) -> bool {
        let mut command = Net::inside(&self.net.namespace(host), program.as_ref());
        let status = command.args(args).stdin(std::process::Stdio::null()).status();

        status.is_ok_and(|status| status.success())
    }

    /// Ends what runs on a host without warning (SIGKILL).
    pub fn kill(&mut self, host: &str) {
        self.processes.remove(host).expect("it was started").kill();
    }

    /// Lets it stand still (SIGSTOP).
    pub fn stop(&self, host: &str) {
        self.running(host).stop();
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self, host: &str) {
        self.running(host).resume();
    }

    /// From now on drops silently, both ways, what any host of one side sends to any of the other.
    pub fn cut(&self, ones: &[&str], others: &[&str]) {
        self.cuts().cut(&self.lines(ones, others));
    }

    /// From now on drops silently what one host sends to another, and nothing of what comes back.
    pub fn cut_one_way(&self, from: &str, to: &str) {
        self.cuts().cut(&[(self.address(from), self.address(to))]);
    }

    /// Ends every cut between the two sides.
    pub fn heal(&self, ones: &[&str], others: &[&str]) {
        self.cuts().heal(&self.lines(ones, others));
    }

    /// Packets from one host to another that were dropped so far: whether a fault happened.
    pub fn dropped(&self, from: &str, to: &str) -> u64 {
        self.cuts().dropped((self.address(from), self.address(to)))
    }

    /// Pulls the cable of a host.
    pub fn unplug(&self, host: &str) {
        self.net.set_plugged(host, false);
    }

    /// Puts it back.
    pub fn plug(&self, host: &str) {
        self.net.set_plugged(host, true);
    }

    /// Counts from now on what a host receives, by rules of nft that have names.
    pub fn meter(&self, host: &str, rules: &[(&str, String)]) -> Meter {
        Meter::open(&self.net.namespace(host), rules).unwrap_or_else(|said| panic!("{said}"))
    }

    /// Where the agent of a host answers.
    pub fn door(&self, host: &str) -> Door {
        Door::at(self.socket(host))
    }

    /// The namespaces of this lab that exist now.
    pub fn namespaces(&self) -> Vec<String> {
        let own = self.net.namespace("");
        let own = own.trim_end_matches("at-").to_owned();
        let all = net::namespaces().into_iter();

        all.filter(|name| name.starts_with(&own)).collect()
    }

    /// Looks again and again until `look` sees what it wants; until then it says what it sees instead. Panics with that
    /// and with the last words of every process after `patience`, or when a process ends that nobody killed.
    pub fn until<T>(
        &mut self,
        what: &str,
        patience: Duration,
        mut look: impl FnMut(&Self) -> Result<T, String>,
    ) -> T {
        let begun = Instant::now();
        loop {
            self.check();
            let instead = match look(self) {
                Ok(seen) => return seen,
                Err(instead) => instead,
            };
            assert!(
                begun.elapsed() < patience,
                "{what}: not within {patience:?}: {instead}\n{}",
                self.last_words()
            );
            pause();
        }
    }

    /// Panics if a process ended that nobody killed.
    pub fn check(&mut self) {
        for (host, running) in &mut self.processes {
            if let Some(status) = running.ended() {
                panic!("{host} ended by itself ({status})\n{}", running.last_words());
            }
        }
    }

    /// The end of every log.
    pub fn last_words(&self) -> String {
        self.processes
            .iter()
            .map(|(host, running)| format!("--- {host}\n{}\n", running.last_words()))
            .collect()
    }

    fn socket(&self, host: &str) -> PathBuf {
        self.site.path(&format!("{host}.sock"))
    }

    fn running(&self, host: &str) -> &Running {
        self.processes.get(host).expect("it runs")
    }

    fn cuts(&self) -> std::sync::MutexGuard<'_, Cuts> {
        self.cuts.lock().expect("nobody panics while it cuts")
    }

    fn lines(&self, ones: &[&str], others: &[&str]) -> Vec<Line> {
        let pairs = ones
            .iter()
            .flat_map(|one| others.iter().map(move |other| (one, other)));

        pairs
            .map(|(one, other)| (self.address(one), self.address(other)))
            .flat_map(|(one, other)| [(one, other), (other, one)])
            .collect()
    }
}

/// Removes what runs that were killed left behind; every new lab does so by itself.
pub fn sweep() {
    net::sweep();
}

/// The name that a namespace of a lab of this process would have.
pub fn namespace_of(pid: u32, host: &str) -> String {
    format!("{}{pid}-0-at-{host}", net::PREFIX)
}

/// Lets others have the processor between two looks.
pub fn pause() {
    std::thread::park_timeout(BETWEEN_LOOKS);
}

/// Much less than anything takes that is waited for.
const BETWEEN_LOOKS: Duration = Duration::from_millis(5);
