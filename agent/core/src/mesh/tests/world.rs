//! A small world in virtual time: hosts that drive a mesh each, wires with latency, loss and cuts, and connections
//! that behave as QUIC's do: a handshake of one and a half round trips, silence when a wire is cut, an end after 30 s
//! of silence. A run is a function of its seed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use protocol::document::config::{Candidate, CandidateKind, Neighbour, SyntheticConfig, Transport};
use protocol::document::routes::{
    Action, Cadence, LeaseKind, LeaseRow, LeaseTable, Path, RouteDecision, Routes,
};
use protocol::id::{BootId, ClusterId, LeaseId, NodeId, RouteId};
use protocol::key::SealSecret;
use protocol::node::Labels;
use protocol::time::Boot;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::mesh::effect::{Effect, Event, LinkId};
use crate::mesh::view::RouteView;
use crate::mesh::{LinkUp, Mesh, MeshIdentity};

pub(super) struct World {
    pub(super) now: u64,
    pub(super) history: Vec<String>,
    pub(super) events: Vec<(u64, u8, Event)>,
    hosts: BTreeMap<u8, Host>,
    wires: BTreeMap<(u8, u8), Wire>,
    under_way: BTreeMap<(u64, u64), Packet>,
    connections: BTreeMap<u64, Connection>,
    flows: Vec<Flow>,
    /// Nodes whose polls a controller answers, every five seconds.
    polling: BTreeSet<u8>,
    /// Hosts whose NAT lets in only what comes from where they have sent to.
    natted: BTreeSet<u8>,
    /// The last first packet of a handshake, from one to another, to where the other was then.
    sent_first: BTreeMap<(u8, u8), u64>,
    moved: BTreeMap<u8, SocketAddr>,
    next: u64,
    rng: StdRng,
    checked_at: u64,
}

struct Host {
    mesh: Mesh,
    state: State,
    boots: u8,
    next_link: u64,
    links: BTreeMap<LinkId, u64>,
    waiting: Vec<Packet>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    /// As by SIGSTOP.
    Stopped,
    Dead,
}

#[derive(Clone, Copy)]
pub(super) struct Wire {
    pub(super) latency: u64,
    pub(super) lost_permille: u32,
    pub(super) cut: bool,
}

struct Connection {
    ends: [u8; 2],
    links: [Option<LinkId>; 2],
    dead_since: Option<u64>,
}

#[derive(Clone)]
struct Packet {
    to: u8,
    what: What,
}

#[derive(Clone)]
enum What {
    Close(u64),
    Datagram(u64, Vec<u8>),
    DialTimeout(u64, u8),
    Hello(u64, u8),
    HelloAgain(u64, u8),
    Finished(u64),
    Welcome(u64, u8),
    PollAnswered(u64),
}

struct Flow {
    from: u8,
    to: u8,
    every: u64,
    next: u64,
}

impl World {
    pub(super) fn new(seed: u64, nodes: &[u8]) -> Self {
        let mut world = Self {
            now: 1_000_000,
            history: Vec::new(),
            events: Vec::new(),
            hosts: BTreeMap::new(),
            wires: BTreeMap::new(),
            under_way: BTreeMap::new(),
            connections: BTreeMap::new(),
            flows: Vec::new(),
            polling: BTreeSet::new(),
            natted: BTreeSet::new(),
            sent_first: BTreeMap::new(),
            moved: BTreeMap::new(),
            next: 0,
            rng: StdRng::seed_from_u64(seed),
            checked_at: 0,
        };
        for one in nodes {
            for other in nodes.iter().filter(|other| *other != one) {
                let wire = Wire {
                    latency: 2 + u64::from(one.abs_diff(*other)),
                    lost_permille: 0,
                    cut: false,
                };
                world.wires.insert((*one, *other), wire);
            }
            world.start(*one);
        }
        for node in nodes {
            world.configure(*node, nodes);
        }

        world
    }

    pub(super) fn mesh(&self, node: u8) -> &Mesh {
        &self.hosts[&node].mesh
    }

    pub(super) fn boot(&self) -> Boot {
        Boot(self.now)
    }

    /// Calls into a mesh as its host would, and carries out what it wants.
    pub(super) fn with<T>(&mut self, node: u8, call: impl FnOnce(&mut Mesh, Boot) -> T) -> T {
        let now = Boot(self.now);
        let host = self.hosts.get_mut(&node).unwrap();
        let result = call(&mut host.mesh, now);
        self.pump(node);

        result
    }

    pub(super) fn run_for(&mut self, millis: u64) {
        let end = self.now + millis;
        while let Some(at) = self.next_event().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.step();
        }
        self.now = end;
    }

    /// Both directions.
    pub(super) fn set_cut(&mut self, one: u8, other: u8, cut: bool) {
        self.set_cut_towards(one, other, cut);
        self.set_cut_towards(other, one, cut);
    }

    pub(super) fn set_cut_towards(&mut self, from: u8, to: u8, cut: bool) {
        self.wires.get_mut(&(from, to)).unwrap().cut = cut;
        self.note(from, &format!("cut towards {to}: {cut}"));
    }

    pub(super) fn set_loss(&mut self, one: u8, other: u8, permille: u32) {
        for ends in [(one, other), (other, one)] {
            self.wires.get_mut(&ends).unwrap().lost_permille = permille;
        }
    }

    pub(super) fn set_latency(&mut self, one: u8, other: u8, millis: u64) {
        for ends in [(one, other), (other, one)] {
            self.wires.get_mut(&ends).unwrap().latency = millis;
        }
    }

    pub(super) fn latency(&self, one: u8, other: u8) -> u64 {
        self.wires[&(one, other)].latency
    }

    pub(super) fn add_flow(&mut self, from: u8, to: u8) {
        let next = self.now + self.rng.random_range(0..FRAME_EVERY);
        self.flows.push(Flow {
            from,
            to,
            every: FRAME_EVERY,
            next,
        });
    }

    /// From now on only what answers this host gets to it.
    pub(super) fn put_behind_nat(&mut self, node: u8) {
        self.natted.insert(node);
    }

    /// Gives the host another address, of which it knows, and nobody else yet.
    pub(super) fn move_to(&mut self, node: u8, address: SocketAddr) {
        self.moved.insert(node, address);
        self.with(node, |mesh, now| mesh.handle_own_addresses(&[address], now));
    }

    fn address_of(&self, node: u8) -> SocketAddr {
        self.moved.get(&node).copied().unwrap_or_else(|| address(node))
    }

    pub(super) fn set_polling(&mut self, node: u8, on: bool) {
        match on {
            true if self.polling.insert(node) => self.poll(node),
            true => {}
            false => {
                self.polling.remove(&node);
            }
        }
    }

    pub(super) fn stop(&mut self, node: u8) {
        self.hosts.get_mut(&node).unwrap().state = State::Stopped;
        self.note(node, "stopped");
    }

    /// Everything that came meanwhile is read before any timer is looked at, or after.
    pub(super) fn resume(&mut self, node: u8, timers_first: bool) {
        let host = self.hosts.get_mut(&node).unwrap();
        host.state = State::Running;
        let waiting = std::mem::take(&mut host.waiting);
        self.note(node, "resumed");
        if timers_first {
            self.with(node, |mesh, now| mesh.handle_timeout(now));
        }
        for packet in waiting {
            self.deliver(packet);
        }
    }

    /// Without a word to anybody.
    pub(super) fn kill(&mut self, node: u8) {
        self.hosts.get_mut(&node).unwrap().state = State::Dead;
        self.note(node, "killed");
    }

    /// A new process that knows nothing; its connections died with the old one.
    pub(super) fn restart(&mut self, node: u8, nodes: &[u8]) {
        self.start(node);
        self.configure(node, nodes);
        self.note(node, "restarted");
    }

    pub(super) fn route(&self, from: u8, to: u8) -> RouteView {
        let mut routes = self.mesh(from).routes(self.boot());
        routes.retain(|route| route.peer == node(to));
        routes.pop().expect("a route between the two")
    }

    pub(super) fn active(&self, from: u8, to: u8) -> Path {
        self.route(from, to).active
    }

    /// When `node` first told an event that `wanted` accepts, at `since` or later.
    pub(super) fn told(&self, node: u8, since: u64, wanted: impl Fn(&Event) -> bool) -> Option<u64> {
        self.events
            .iter()
            .find(|(at, who, event)| *at >= since && *who == node && wanted(event))
            .map(|(at, _, _)| *at)
    }

    pub(super) fn count(&self, node: u8, wanted: impl Fn(&Event) -> bool) -> usize {
        self.events
            .iter()
            .filter(|(_, who, event)| *who == node && wanted(event))
            .count()
    }

    /// Live connections between two nodes, counted where both ends have them.
    pub(super) fn connections_between(&self, one: u8, other: u8) -> usize {
        self.connections
            .values()
            .filter(|connection| {
                let ends = connection.ends;
                (ends == [one, other] || ends == [other, one]) && connection.links.iter().all(Option::is_some)
            })
            .count()
    }

    /// Puts a datagram on the newest connection between two nodes, as `from`'s process would.
    pub(super) fn inject(&mut self, from: u8, to: u8, datagram: Vec<u8>) {
        let (id, _) = self
            .connections
            .iter()
            .rev()
            .find(|(_, connection)| {
                let ends = connection.ends;
                (ends == [from, to] || ends == [to, from]) && connection.links.iter().all(Option::is_some)
            })
            .expect("a connection between the two");
        let id = *id;
        self.transmit(from, to, What::Datagram(id, datagram));
    }

    /// The newest frame of class `synthetic` that is on its way between two nodes.
    pub(super) fn capture(&mut self, from: u8, to: u8) -> Vec<u8> {
        loop {
            let found = self.under_way.values().rev().find_map(|packet| {
                let What::Datagram(id, bytes) = &packet.what else {
                    return None;
                };
                let ends = self.connections[id].ends;
                let between = ends == [from, to] || ends == [to, from];
                (between && packet.to == to && bytes[1] == SYNTHETIC).then(|| bytes.clone())
            });
            if let Some(frame) = found {
                return frame;
            }
            self.run_for(1);
        }
    }

    fn start(&mut self, number: u8) {
        let boots = self.hosts.get(&number).map_or(0, |host| host.boots) + 1;
        let seed = self.rng.random_range(0..u64::MAX);
        let identity = MeshIdentity {
            node: node(number),
            cluster: ClusterId::from_bytes([7; 16]),
            boot: BootId::from_bytes([number.wrapping_mul(16).wrapping_add(boots); 16]),
            seal_secret: secret(number),
        };
        self.hosts.insert(
            number,
            Host {
                mesh: Mesh::new(identity, StdRng::seed_from_u64(seed), true),
                state: State::Running,
                boots,
                next_link: u64::from(boots) * 1_000_000,
                links: BTreeMap::new(),
                waiting: Vec::new(),
            },
        );
        for connection in self.connections.values_mut() {
            for place in 0..2 {
                if connection.ends[place] == number {
                    connection.links[place] = None;
                }
            }
        }
    }

    pub(super) fn configure(&mut self, number: u8, nodes: &[u8]) {
        let neighbours = nodes.iter().filter(|other| **other != number);
        let config = SyntheticConfig {
            offered_again: None,
            name: format!("n{number}"),
            roles: Vec::new(),
            labels: Labels::default(),
            generation: 1,
            neighbours: neighbours.map(|other| neighbour(*other)).collect(),
            controllers: Vec::new(),
            transport: Transport::default(),
            settings: None,
        };
        self.with(number, |mesh, now| mesh.handle_config(&config, now));
    }

    fn next_event(&self) -> Option<u64> {
        let running = self.hosts.values().filter(|host| host.state == State::Running);
        let timers = running.filter_map(|host| host.mesh.poll_timeout()).map(|at| at.0);
        let packets = self.under_way.keys().next().map(|(at, _)| *at);
        let frames = self.flows.iter().map(|flow| flow.next);
        let check = self.checked_at + CHECK_EVERY;

        timers.chain(packets).chain(frames).chain([check]).min()
    }

    fn step(&mut self) {
        if self.now >= self.checked_at + CHECK_EVERY {
            self.checked_at = self.now;
            self.end_silent_connections();
        }
        while let Some(entry) = self
            .under_way
            .first_entry()
            .filter(|entry| entry.key().0 <= self.now)
        {
            let packet = entry.remove();
            self.deliver(packet);
        }
        for place in 0..self.flows.len() {
            let flow = &mut self.flows[place];
            if flow.next <= self.now {
                flow.next += flow.every;
                let (from, to) = (flow.from, flow.to);
                if self.hosts[&from].state == State::Running {
                    let _ = self.with(from, |mesh, now| mesh.send_synthetic(node(to), &[0; 100], now));
                }
            }
        }
        let due: Vec<u8> = self
            .hosts
            .iter()
            .filter(|(_, host)| host.state == State::Running)
            .filter(|(_, host)| host.mesh.poll_timeout().is_some_and(|at| at.0 <= self.now))
            .map(|(number, _)| *number)
            .collect();
        for number in due {
            self.with(number, |mesh, now| mesh.handle_timeout(now));
        }
    }

    fn deliver(&mut self, packet: Packet) {
        let to = packet.to;
        match self.hosts[&to].state {
            State::Dead => {}
            State::Stopped => self.hosts.get_mut(&to).unwrap().waiting.push(packet),
            State::Running => self.receive(to, packet.what),
        }
    }

    fn receive(&mut self, to: u8, what: What) {
        match what {
            What::Hello(dial, from) => {
                let is_open = |at: &u64| self.now - at < NAT_TIME;
                if !self.natted.contains(&to) || self.sent_first.get(&(to, from)).is_some_and(is_open) {
                    self.transmit(to, from, What::Welcome(dial, to));
                }
            }
            What::HelloAgain(dial, peer) => {
                if !self.connections.contains_key(&dial) {
                    self.transmit(to, peer, What::Hello(dial, to));
                }
            }
            What::Welcome(dial, _) if self.connections.contains_key(&dial) => {}
            What::Welcome(dial, from) => {
                let connection = Connection {
                    ends: [to, from],
                    links: [None, None],
                    dead_since: None,
                };
                self.connections.insert(dial, connection);
                self.bring_up(dial, to, from, true);
                self.transmit(to, from, What::Finished(dial));
            }
            What::Finished(dial) => {
                let ends = self.connections.get(&dial).map(|connection| connection.ends);
                if let Some([from, _]) = ends {
                    self.bring_up(dial, to, from, false);
                }
            }
            What::DialTimeout(dial, peer) => {
                if !self.connections.contains_key(&dial) {
                    self.with(to, |mesh, now| mesh.handle_dial_failed(node(peer), now));
                }
            }
            What::Datagram(id, bytes) => {
                if let Some(link) = self.link_of(id, to) {
                    self.with(to, |mesh, now| mesh.handle_datagram(link, &bytes, now));
                }
            }
            What::Close(id) => self.bring_down(id, to),
            What::PollAnswered(sent_at) => {
                self.with(to, |mesh, now| mesh.handle_fresh(Boot(sent_at), now));
                self.poll(to);
            }
        }
    }

    fn bring_up(&mut self, id: u64, at: u8, peer: u8, dialled_by_us: bool) {
        let host = self.hosts.get_mut(&at).unwrap();
        host.next_link += 1;
        let link = LinkId(host.next_link);
        host.links.insert(link, id);
        let connection = self.connections.get_mut(&id).unwrap();
        let place = usize::from(connection.ends[0] != at);
        connection.links[place] = Some(link);
        let address = self.address_of(peer);
        self.with(at, |mesh, now| {
            mesh.handle_link_up(
                LinkUp {
                    link,
                    peer: node(peer),
                    dialled_by_us,
                    address,
                },
                now,
            );
        });
    }

    fn bring_down(&mut self, id: u64, at: u8) {
        if let Some(link) = self.link_of(id, at) {
            let connection = self.connections.get_mut(&id).unwrap();
            let place = usize::from(connection.ends[0] != at);
            connection.links[place] = None;
            self.with(at, |mesh, now| mesh.handle_link_down(link, now));
        }
    }

    fn link_of(&self, id: u64, at: u8) -> Option<LinkId> {
        let connection = self.connections.get(&id)?;

        connection.links[usize::from(connection.ends[0] != at)]
    }

    fn end_silent_connections(&mut self) {
        let mut ended = Vec::new();
        for (id, connection) in &mut self.connections {
            let [one, other] = connection.ends;
            let works = |from: u8, to: u8, links: &[Option<LinkId>; 2]| {
                !self.wires[&(from, to)].cut
                    && self.hosts[&from].state == State::Running
                    && links.iter().all(Option::is_some)
            };
            let alive = works(one, other, &connection.links) && works(other, one, &connection.links);
            match (alive, connection.dead_since) {
                (true, _) => connection.dead_since = None,
                (false, None) => connection.dead_since = Some(self.now),
                (false, Some(since)) if self.now - since >= IDLE => ended.push(*id),
                (false, Some(_)) => {}
            }
        }
        for id in ended {
            for end in self.connections[&id].ends {
                self.deliver(Packet {
                    to: end,
                    what: What::Close(id),
                });
            }
        }
    }

    fn pump(&mut self, from: u8) {
        while let Some(effect) = self.hosts.get_mut(&from).unwrap().mesh.poll_effect() {
            match effect {
                Effect::Dial { peer, candidates } => {
                    assert!(!candidates.is_empty());
                    let peer = number(peer);
                    self.next += 1;
                    let dial = self.next;
                    self.note(from, &format!("dials {peer}"));
                    if candidates.contains(&self.address_of(peer)) {
                        self.sent_first.insert((from, peer), self.now);
                        self.transmit(from, peer, What::Hello(dial, from));
                        let repeats = !self.natted.is_empty();
                        for again in HELLOS_AGAIN.into_iter().filter(|_| repeats) {
                            self.after(again, from, What::HelloAgain(dial, peer));
                        }
                    }
                    self.after(5_000, from, What::DialTimeout(dial, peer));
                }
                Effect::CloseLink { link, why } => {
                    self.note(from, &format!("closes {link:?}: {why:?}"));
                    let Some(id) = self.hosts.get_mut(&from).unwrap().links.remove(&link) else {
                        continue;
                    };
                    let connection = self.connections.get_mut(&id).unwrap();
                    let place = usize::from(connection.ends[0] != from);
                    connection.links[place] = None;
                    let other = connection.ends[1 - place];
                    self.transmit(from, other, What::Close(id));
                }
                Effect::Send {
                    link,
                    class: _,
                    frame,
                } => {
                    let id = self.hosts[&from].links.get(&link).copied();
                    if let Some(id) = id
                        && let Some(connection) = self.connections.get(&id)
                    {
                        let [one, other] = connection.ends;
                        let to = if one == from { other } else { one };
                        self.transmit(from, to, What::Datagram(id, frame));
                    }
                }
                Effect::Event(event) => {
                    self.note(from, &format!("{event:?}"));
                    self.events.push((self.now, from, event));
                }
            }
        }
    }

    /// Handshakes are retransmitted, datagrams are not.
    fn transmit(&mut self, from: u8, to: u8, what: What) {
        let wire = self.wires[&(from, to)];
        let lost = matches!(what, What::Datagram(..)) && self.rng.random_range(0..1_000) < wire.lost_permille;
        if !wire.cut && !lost {
            self.after(wire.latency, to, what);
        }
    }

    fn after(&mut self, millis: u64, to: u8, what: What) {
        self.next += 1;
        self.under_way
            .insert((self.now + millis, self.next), Packet { to, what });
    }

    fn poll(&mut self, node: u8) {
        if self.polling.contains(&node) {
            self.after(5_000, node, What::PollAnswered(self.now));
        }
    }

    fn note(&mut self, node: u8, what: &str) {
        self.history.push(format!("{} {node} {what}", self.now));
    }
}

pub(super) fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

fn number(node: NodeId) -> u8 {
    node.as_bytes()[0]
}

pub(super) fn secret(number: u8) -> SealSecret {
    SealSecret::from_bytes([number + 100; 32])
}

/// Where a node is found.
pub(super) fn address(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7_000))
}

fn neighbour(number: u8) -> Neighbour {
    Neighbour {
        node: node(number),
        name: format!("n{number}"),
        generation: 1,
        roles: Vec::new(),
        seal_key: secret(number).seal_key(),
        candidates: vec![Candidate::new(CandidateKind::Lan, address(number))],
    }
}

pub(super) fn lease(relay: u8) -> LeaseId {
    LeaseId::from_bytes([relay; 16])
}

/// The path through a relay, whose one lease has the relay's number.
pub(super) fn via(relay: u8, generation: u32) -> Path {
    Path::Relay {
        relay: node(relay),
        lease: lease(relay),
        generation,
        budget: 1_000_000,
    }
}

pub(super) fn decision(peer: u8, generation: u64, path: Path, standbys: &[Path]) -> RouteDecision {
    RouteDecision {
        route: RouteId::from_bytes([9; 16]),
        peer: node(peer),
        generation,
        action: Action::Replace,
        path: Some(path),
        standbys: standbys.to_vec(),
        reasons: Vec::new(),
        priority: 10,
        cadence: Cadence::Auto,
        rendezvous: None,
    }
}

pub(super) fn routes(decision: RouteDecision) -> Routes {
    Routes {
        decisions: vec![decision],
    }
}

/// The table of a relay with one row, for the pair 1 and 2.
pub(super) fn table(relay: u8, generation: u32) -> LeaseTable {
    LeaseTable {
        rows: vec![LeaseRow {
            lease: lease(relay),
            low: node(1),
            high: node(2),
            generation,
            budget_kib: 1_000,
            grace_minutes: 24 * 60,
            kind: LeaseKind::Relay,
        }],
    }
}

/// The class's number in a header.
const SYNTHETIC: u8 = 3;
const FRAME_EVERY: u64 = 20;
const CHECK_EVERY: u64 = 1_000;
const IDLE: u64 = 30_000;
const NAT_TIME: u64 = 30_000;
/// When a client repeats its first packet.
const HELLOS_AGAIN: [u64; 2] = [1_000, 3_000];
