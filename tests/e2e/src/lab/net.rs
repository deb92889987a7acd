//! The network of a lab: one namespace with a bridge, and one namespace for each host behind it.
//!
//! ```text
//!   host ─ eth0 ══ port ─┐
//!   host ─ eth0 ══ port ─┼─ bridge        nothing of it is in the namespace of the machine
//!   host ─ eth0 ══ port ─┘
//! ```
//!
//! Names carry the process that made them, so that what a dead run left behind can be told from what is in use.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::process::{Pid, Signal, kill_process};

use super::Lacking;
use super::place::{INSIDE, OUTSIDE, Place, WALL, cable, v6};

/// The namespaces of one lab. They go with it.
#[derive(Debug)]
pub(super) struct Net {
    prefix: String,
    hosts: BTreeMap<String, Ipv4Addr>,
    /// The namespaces of routers.
    routers: Vec<String>,
}

impl Net {
    /// Makes the bridge, after it has removed what dead runs left behind.
    pub(super) fn open() -> Result<Self, Lacking> {
        check_machine()?;
        sweep();
        let number = LABS.fetch_add(1, Ordering::Relaxed);
        let net = Self {
            prefix: format!("{PREFIX}{}-{number}-", std::process::id()),
            hosts: BTreeMap::new(),
            routers: Vec::new(),
        };
        let hub = net.hub();
        run(ip(&["netns", "add", &hub]), "").map_err(Lacking::Namespaces)?;
        let bridge = format!("link set lo up\nlink add {BRIDGE} type bridge\nlink set {BRIDGE} up\n");
        run(ip(&["-n", &hub, "-batch", "-"]), &bridge).map_err(Lacking::Namespaces)?;

        Ok(net)
    }

    /// Adds a host at the next address of the lab's own network, which its outermost router has if it is behind some.
    pub(super) fn add(&mut self, host: &str, place: Place) -> Ipv4Addr {
        let number = self.hosts.len() + 1;
        let last = u8::try_from(number).ok().filter(|last| *last < MOVED_BY);
        let last = last.expect("a lab has at most 99 hosts");
        let address = Ipv4Addr::new(10, 77, 0, last);
        let (hub, name) = (self.hub(), self.namespace(host));
        assert!(
            self.hosts.insert(host.to_owned(), address).is_none(),
            "two hosts are called {host}"
        );
        must(ip(&["netns", "add", &name]), "");
        must(ip(&["-n", &name, "link", "set", "lo", "up"]), "");
        let mut outermost = name;
        for (number, nat) in (0..).zip(place.routers()) {
            let router = format!("{}nat{number}-{host}", self.prefix);
            must(ip(&["netns", "add", &router]), "");
            self.routers.push(router.clone());
            let (near, far) = cable(last, number);
            let laid = format!(
                "link set lo up\nlink add {INSIDE} type veth peer name {OUTSIDE} netns {outermost}\n\
                 address add {near}/30 dev {INSIDE}\nlink set {INSIDE} up\n"
            );
            must(ip(&["-n", &router, "-batch", "-"]), &laid);
            let led = format!(
                "address add {far}/30 dev {OUTSIDE}\nlink set {OUTSIDE} up\nroute add default via {near}\n"
            );
            must(ip(&["-n", &outermost, "-batch", "-"]), &led);
            let mut forward = Self::inside(&router, Path::new("sh"));
            forward.args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward && nft -f -"]);
            must(forward, &nat.rules());
            outermost = router;
        }
        let port = port(address);
        let plugged = format!(
            "link add {port} type veth peer name {OUTSIDE} netns {outermost}\nlink set {port} master {BRIDGE}\n\
             link set {port} up\n"
        );
        must(ip(&["-n", &hub, "-batch", "-"]), &plugged);
        let mut addressed = format!("link set {OUTSIDE} up\n");
        if place.has_v4() {
            addressed += &format!("address add {address}/24 broadcast + dev {OUTSIDE}\n");
        }
        if place.has_v6() {
            addressed += &format!("address add {}/64 dev {OUTSIDE} nodad\n", v6(address));
        }
        must(ip(&["-n", &outermost, "-batch", "-"]), &addressed);
        if place == Place::Walled {
            let mut wall = Self::inside(&outermost, Path::new("nft"));
            wall.args(["-f", "-"]);
            must(wall, WALL);
        }

        address
    }

    /// Gives a host that is behind nothing another IPv4 address, in place of the one it has.
    pub(super) fn move_host(&mut self, host: &str, place: Place) -> Ipv4Addr {
        let before = self.address(host);
        let mut octets = before.octets();
        octets[3] += MOVED_BY;
        let after = Ipv4Addr::from(octets);
        let mut moved = format!(
            "address delete {before}/24 dev {OUTSIDE}\naddress add {after}/24 broadcast + dev {OUTSIDE}\n"
        );
        if place.has_v6() {
            moved += &format!(
                "address delete {}/64 dev {OUTSIDE}\naddress add {}/64 dev {OUTSIDE} nodad\n",
                v6(before),
                v6(after)
            );
        }
        must(ip(&["-n", &self.namespace(host), "-batch", "-"]), &moved);

        after
    }

    pub(super) fn address(&self, host: &str) -> Ipv4Addr {
        *self.hosts.get(host).expect("a host of this lab")
    }

    /// The namespace of the bridge.
    pub(super) fn hub(&self) -> String {
        format!("{}hub", self.prefix)
    }

    pub(super) fn namespace(&self, host: &str) -> String {
        format!("{}at-{host}", self.prefix)
    }

    /// Pulls a host's cable or puts it back: its interface stays as it is and has no carrier.
    pub(super) fn set_plugged(&self, host: &str, plugged: bool) {
        let state = if plugged { "up" } else { "down" };
        let port = port(self.address(host));
        must(ip(&["-n", &self.hub(), "link", "set", &port, state]), "");
    }

    /// A command that runs in a namespace of this lab; `ip` replaces itself with it.
    pub(super) fn inside(namespace: &str, program: &Path) -> Command {
        let mut command = ip(&["netns", "exec", namespace]);
        command.arg(program);

        command
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for host in self.hosts.keys() {
            remove(&self.namespace(host));
        }
        for router in &self.routers {
            remove(router);
        }
        remove(&self.hub());
    }
}

/// Removes the namespaces of runs that are over, with what still runs in them.
pub(super) fn sweep() {
    for namespace in namespaces() {
        if maker(&namespace).is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            remove(&namespace);
        }
    }
}

/// Every namespace that has a name on this machine.
pub(super) fn namespaces() -> Vec<String> {
    let listed = run(ip(&["netns", "list"]), "").unwrap_or_default();
    let names = listed.lines().filter_map(|line| line.split_whitespace().next());

    names.map(str::to_owned).collect()
}

/// The process that made a namespace of a lab.
fn maker(namespace: &str) -> Option<u32> {
    let (pid, _) = namespace.strip_prefix(PREFIX)?.split_once('-')?;

    pid.parse().ok()
}

fn remove(namespace: &str) {
    let within = run(ip(&["netns", "pids", namespace]), "").unwrap_or_default();
    for pid in within.lines().filter_map(|line| line.trim().parse().ok()) {
        // What has ended meanwhile needs no end.
        let _ = Pid::from_raw(pid).map(|pid| kill_process(pid, Signal::KILL));
    }
    // Another run may have swept it as well.
    let _ = run(ip(&["netns", "delete", namespace]), "");
}

fn check_machine() -> Result<(), Lacking> {
    if !rustix::process::geteuid().is_root() {
        return Err(Lacking::Root);
    }
    for (tool, package) in [("ip", "iproute2"), ("nft", "nftables")] {
        let found = Command::new(tool)
            .arg("-V")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        if found.is_err() {
            return Err(Lacking::Tool { tool, package });
        }
    }

    Ok(())
}

fn ip(args: &[&str]) -> Command {
    let mut command = Command::new("ip");
    command.args(args);

    command
}

fn must(command: Command, input: &str) {
    if let Err(said) = run(command, input) {
        panic!("{said}");
    }
}

/// Runs a command to its end with `input`, and gives what it printed or what went wrong.
fn run(mut command: Command, input: &str) -> Result<String, String> {
    let shown = format!("{command:?}");
    let spawned = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = spawned.map_err(|error| format!("{shown}: {error}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that has ended already does not listen, and its status says why.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| format!("{shown}: {error}"))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(format!("{shown}: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// The bridge's end of a host's cable.
fn port(address: Ipv4Addr) -> String {
    format!("port{}", address.octets()[3])
}

/// Labs of this process so far.
static LABS: AtomicU32 = AtomicU32::new(0);

/// Then the id of the process that made it, a number and a host.
pub(super) const PREFIX: &str = "gabion-lab-";
const BRIDGE: &str = "bridge";
/// Hosts of a lab have lower numbers, so that each can move once.
const MOVED_BY: u8 = 100;
