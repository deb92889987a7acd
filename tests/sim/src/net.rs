//! A network in memory: datagrams between simulated hosts, each way with its own latency, loss, duplication and cuts.
//!
//! Time is tokio's paused clock, and what becomes of a packet depends on the seed, its way, and how many went that
//! way before it: not on who else sent in the same instant, so the order in which tasks of different hosts run is not
//! seen here. A packet is put into the receiver's inbox under the time of its arrival; no task carries it.

mod chance;
mod inbox;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use tokio::time::Instant;

use chance::{Chance, mix, way_hash};
use inbox::{Inbox, Place};

/// The network of one world. Clones are the same network.
#[derive(Clone)]
pub struct Net(Arc<Mutex<State>>);

/// How packets fare from one host to another. Chances are per mille.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Way {
    pub latency: Duration,
    /// Added to the latency, evenly from nothing to this: packets overtake each other.
    pub jitter: Duration,
    pub loss: u16,
    pub duplication: u16,
    /// Swallows everything, silently. So does a router that lets in answers alone, with what is none.
    pub cut: bool,
}

impl Way {
    /// A way that takes this long and does nothing else.
    pub const fn taking(latency: Duration) -> Self {
        Self {
            latency,
            jitter: Duration::ZERO,
            loss: 0,
            duplication: 0,
            cut: false,
        }
    }
}

/// What became of packets since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub sent: u64,
    pub delivered: u64,
    pub lost: u64,
    pub cut: u64,
    pub duplicated: u64,
    /// To an address that nobody has, or whose inbox was full.
    pub unheard: u64,
}

/// One packet that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet {
    /// Since the network was made.
    pub at: Duration,
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub bytes: usize,
    pub fate: Fate,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Cut,
    Delivered,
    Duplicated,
    Lost,
    Unheard,
}

struct State {
    began: Instant,
    seed: u64,
    usual: Way,
    ways: BTreeMap<(IpAddr, IpAddr), Way>,
    inboxes: BTreeMap<SocketAddr, Arc<Inbox>>,
    /// Hosts behind a router that lets in answers alone.
    guarded: BTreeSet<IpAddr>,
    /// What such routers remember, by who is inside and who outside.
    holes: BTreeMap<(SocketAddr, SocketAddr), Hole>,
    /// Packets so far, by where from and where to.
    sent: BTreeMap<(SocketAddr, SocketAddr), u64>,
    counts: Counts,
    /// The newest packets, at most [`REMEMBERED`].
    trace: VecDeque<Packet>,
    digest: u64,
}

impl Net {
    /// A network on which every way is `usual`. Must be made within a runtime.
    pub fn new(seed: u64, usual: Way) -> Self {
        Self(Arc::new(Mutex::new(State {
            began: Instant::now(),
            seed,
            usual,
            ways: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            guarded: BTreeSet::new(),
            holes: BTreeMap::new(),
            sent: BTreeMap::new(),
            counts: Counts::default(),
            trace: VecDeque::new(),
            digest: 0,
        })))
    }

    /// A socket at `address`. One that was there before hears and says nothing any more.
    pub fn socket(&self, address: SocketAddr) -> Arc<Socket> {
        let inbox = Arc::new(Inbox::default());
        self.state().inboxes.insert(address, Arc::clone(&inbox));

        Arc::new(Socket {
            address,
            net: self.clone(),
            inbox,
        })
    }

    /// Takes whatever socket is at `address` off the network, as the end of its process does: it hears nothing any
    /// more, and what it still has to say is heard by nobody and counted nowhere.
    pub fn unplug(&self, address: SocketAddr) {
        self.state().inboxes.remove(&address);
    }

    /// Holds what arrives at `address`, and swallows what is sent from there, until it is set back: how a stopped
    /// process looks from outside.
    pub fn freeze(&self, address: SocketAddr, frozen: bool) {
        if let Some(inbox) = self.state().inboxes.get(&address) {
            inbox.freeze(frozen);
        }
    }

    /// Changes the way from one host to another; the way back stays as it is. What is under way already arrives.
    pub fn set(&self, from: IpAddr, to: IpAddr, way: Way) {
        self.state().ways.insert((from, to), way);
    }

    /// Cuts or heals one direction and keeps the rest of the way as it is.
    pub fn cut(&self, from: IpAddr, to: IpAddr, cut: bool) {
        let mut state = self.state();
        let way = state.way(from, to);
        state.ways.insert((from, to), Way { cut, ..way });
    }

    /// From now on a router before this host lets in what answers it alone, and keeps its address and port as many do. It
    /// forgets soon whom the host has sent to, unless that one has answered.
    pub fn guard(&self, host: IpAddr) {
        self.state().guarded.insert(host);
    }

    /// Cuts or heals both directions.
    pub fn cut_between(&self, one: IpAddr, other: IpAddr, cut: bool) {
        self.cut(one, other, cut);
        self.cut(other, one, cut);
    }

    pub fn way(&self, from: IpAddr, to: IpAddr) -> Way {
        self.state().way(from, to)
    }

    pub fn counts(&self) -> Counts {
        self.state().counts
    }

    /// The newest packets, oldest first, those of one instant by their way.
    pub fn trace(&self) -> Vec<Packet> {
        let mut trace: Vec<_> = self.state().trace.iter().copied().collect();
        trace.sort_by_key(|packet| (packet.at, packet.from, packet.to));

        trace
    }

    /// One number that stands for every packet that was ever sent: time, ends, place on its way, length and fate.
    /// Contents are left out, for handshakes draw randomness of their own.
    pub fn digest(&self) -> u64 {
        self.state().digest
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Net")
            .field("counts", &self.counts())
            .finish_non_exhaustive()
    }
}

impl State {
    /// Whether the socket with this inbox is the one at `address`.
    fn is_at(&self, address: SocketAddr, inbox: &Arc<Inbox>) -> bool {
        self.inboxes
            .get(&address)
            .is_some_and(|there| Arc::ptr_eq(there, inbox))
    }

    fn way(&self, from: IpAddr, to: IpAddr) -> Way {
        self.ways.get(&(from, to)).copied().unwrap_or(self.usual)
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let way = self.way(from.ip(), to.ip());
        let number = self.sent.entry((from, to)).or_default();
        *number += 1;
        let number = *number;
        let mut chance = Chance::of(self.seed, (from, to), number);
        // Always the same number of draws, so that a way's settings do not shift its later chances.
        let (loss, duplication) = (chance.per_mille(), chance.per_mille());
        let arrivals = [0, 1].map(|_| arrival(way, chance.per_mille()));
        let fate = if way.cut || !self.lets_pass(from, to) {
            Fate::Cut
        } else if loss < way.loss {
            Fate::Lost
        } else {
            let copies = if duplication < way.duplication { 2 } else { 1 };
            self.deliver((from, to, number), bytes, &arrivals[..copies])
        };
        let at = self.began.elapsed();
        let bytes = bytes.len();
        self.note(
            Packet {
                at,
                from,
                to,
                bytes,
                fate,
            },
            number,
        );
    }

    /// What the routers before both ends make of a packet.
    fn lets_pass(&mut self, from: SocketAddr, to: SocketAddr) -> bool {
        let now = Instant::now();
        let is_open = |hole: &Hole| now - hole.at <= if hole.is_answered { ANSWERED } else { UNANSWERED };
        if self.guarded.contains(&from.ip()) {
            let known = self.holes.get(&(from, to)).filter(|hole| is_open(hole));
            let is_answered = known.is_some_and(|hole| hole.is_answered);
            self.holes.insert((from, to), Hole { at: now, is_answered });
        }
        if !self.guarded.contains(&to.ip()) {
            return true;
        }
        let hole = self.holes.get_mut(&(to, from)).filter(|hole| is_open(hole));
        let is_let_in = hole.is_some();
        if let Some(hole) = hole {
            *hole = Hole {
                at: now,
                is_answered: true,
            };
        }

        is_let_in
    }

    fn deliver(
        &mut self,
        (from, to, number): (SocketAddr, SocketAddr, u64),
        bytes: &[u8],
        arrivals: &[Instant],
    ) -> Fate {
        let Some(inbox) = self.inboxes.get(&to) else {
            return Fate::Unheard;
        };
        for (copy, at) in arrivals.iter().enumerate() {
            let place = Place {
                at: *at,
                from,
                number,
                copy,
            };
            if !inbox.put(place, bytes) {
                return Fate::Unheard;
            }
        }
        match arrivals.len() {
            1 => Fate::Delivered,
            _ => Fate::Duplicated,
        }
    }

    fn note(&mut self, packet: Packet, number: u64) {
        self.counts.sent += 1;
        match packet.fate {
            Fate::Cut => self.counts.cut += 1,
            Fate::Delivered => self.counts.delivered += 1,
            Fate::Duplicated => {
                self.counts.delivered += 1;
                self.counts.duplicated += 1;
            }
            Fate::Lost => self.counts.lost += 1,
            Fate::Unheard => self.counts.unheard += 1,
        }
        let nanos = u64::try_from(packet.at.as_nanos()).unwrap_or(u64::MAX);
        let told = [nanos, number, packet.bytes as u64, packet.fate as u64];
        let hash = told
            .into_iter()
            .fold(way_hash((packet.from, packet.to)), |hash, part| mix(hash ^ part));
        // A sum, so that the order within an instant does not count.
        self.digest = self.digest.wrapping_add(hash);
        if self.trace.len() == REMEMBERED {
            self.trace.pop_front();
        }
        self.trace.push_back(packet);
    }
}

/// That somebody inside has sent to somebody outside.
#[derive(Clone, Copy, Debug)]
struct Hole {
    at: Instant,
    is_answered: bool,
}

fn arrival(way: Way, share: u16) -> Instant {
    Instant::now() + way.latency + way.jitter * u32::from(share) / 1_000
}

/// The UDP socket of a simulated host. A host that is dropped hears nothing any more.
pub struct Socket {
    address: SocketAddr,
    net: Net,
    inbox: Arc<Inbox>,
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Socket({})", self.address)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        let mut state = self.net.state();
        if state.is_at(self.address, &self.inbox) {
            state.inboxes.remove(&self.address);
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        let mut state = self.net.state();
        if state.is_at(self.address, &self.inbox) && !self.inbox.is_frozen() {
            state.send(self.address, transmit.destination, transmit.contents);
        }

        Ok(())
    }

    fn poll_recv(
        &self,
        cx: &mut Context<'_>,
        buffers: &mut [IoSliceMut<'_>],
        about: &mut [RecvMeta],
    ) -> Poll<io::Result<usize>> {
        let mut arriving = self.inbox.arriving();
        let mut read = 0;
        loop {
            while read < buffers.len().min(about.len())
                && let Some((from, bytes)) = arriving.take()
            {
                buffers[read][..bytes.len()].copy_from_slice(&bytes);
                about[read] = RecvMeta::default();
                about[read].addr = from;
                about[read].len = bytes.len();
                about[read].stride = bytes.len();
                read += 1;
            }
            if read > 0 {
                return Poll::Ready(Ok(read));
            }
            if !arriving.wake_reader(cx) {
                return Poll::Pending;
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(self.address)
    }

    fn may_fragment(&self) -> bool {
        false
    }
}

#[derive(Debug)]
struct AlwaysWritable;

impl UdpPoller for AlwaysWritable {
    fn poll_writable(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// How long a hole lasts: of those that nobody answered, hardly longer than a handshake waits before it repeats itself, so that
/// two ends must dial in the same second; of others, two minutes, as is usual.
const UNANSWERED: Duration = Duration::from_secs(1);
const ANSWERED: Duration = Duration::from_secs(120);
/// Packets that the trace keeps.
const REMEMBERED: usize = 100_000;
