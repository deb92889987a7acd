//! A network in memory: datagrams between simulated hosts, each way with its own latency, loss, duplication and cuts.
//!
//! Time is tokio's paused clock and chance a seeded generator, so a run is a function of its seed. A packet is put
//! into the receiver's inbox under the time of its arrival; no task carries it, so the order of arrivals depends on
//! nothing else.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use quinn::udp::{RecvMeta, Transmit};
use quinn::{AsyncUdpSocket, UdpPoller};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::time::{Instant, Sleep};

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
    /// Swallows everything, silently.
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
    rng: StdRng,
    usual: Way,
    ways: BTreeMap<(IpAddr, IpAddr), Way>,
    inboxes: BTreeMap<SocketAddr, Arc<Inbox>>,
    next: u64,
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
            rng: StdRng::seed_from_u64(seed),
            usual,
            ways: BTreeMap::new(),
            inboxes: BTreeMap::new(),
            next: 0,
            counts: Counts::default(),
            trace: VecDeque::new(),
            digest: FNV_OFFSET,
        })))
    }

    /// A socket at `address`. One that was there before hears nothing any more.
    pub fn socket(&self, address: SocketAddr) -> Arc<Socket> {
        let inbox = Arc::new(Inbox::default());
        self.state().inboxes.insert(address, Arc::clone(&inbox));

        Arc::new(Socket {
            address,
            net: self.clone(),
            inbox,
        })
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

    /// The newest packets, oldest first.
    pub fn trace(&self) -> Vec<Packet> {
        self.state().trace.iter().copied().collect()
    }

    /// One number that stands for every packet that was ever sent: time, ends, length and fate. Contents are left
    /// out, for handshakes draw randomness of their own.
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
    fn way(&self, from: IpAddr, to: IpAddr) -> Way {
        self.ways.get(&(from, to)).copied().unwrap_or(self.usual)
    }

    fn send(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let way = self.way(from.ip(), to.ip());
        // Always the same number of draws, so that one way's settings do not shift the chance of the others.
        let (loss, duplication) = (self.per_mille(), self.per_mille());
        let arrivals = [self.arrival(way), self.arrival(way)];
        let fate = if way.cut {
            Fate::Cut
        } else if loss < way.loss {
            Fate::Lost
        } else {
            let copies = if duplication < way.duplication { 2 } else { 1 };
            self.deliver(from, to, bytes, &arrivals[..copies])
        };
        self.note(Packet {
            at: self.began.elapsed(),
            from,
            to,
            bytes: bytes.len(),
            fate,
        });
    }

    fn deliver(&mut self, from: SocketAddr, to: SocketAddr, bytes: &[u8], arrivals: &[Instant]) -> Fate {
        let Some(inbox) = self.inboxes.get(&to) else {
            return Fate::Unheard;
        };
        for arrival in arrivals {
            self.next += 1;
            if !inbox.put((*arrival, self.next), from, bytes) {
                return Fate::Unheard;
            }
        }
        match arrivals.len() {
            1 => Fate::Delivered,
            _ => Fate::Duplicated,
        }
    }

    fn arrival(&mut self, way: Way) -> Instant {
        let share = u32::from(self.per_mille());

        Instant::now() + way.latency + way.jitter * share / 1_000
    }

    fn per_mille(&mut self) -> u16 {
        u16::try_from(self.rng.next_u32() % 1_000).unwrap_or(0)
    }

    fn note(&mut self, packet: Packet) {
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
        for byte in format!("{packet:?}").bytes() {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
        }
        if self.trace.len() == REMEMBERED {
            self.trace.pop_front();
        }
        self.trace.push_back(packet);
    }
}

/// What is on its way to one socket, by the time and order of arrival.
#[derive(Default)]
struct Inbox(Mutex<Arriving>);

#[derive(Default)]
struct Arriving {
    packets: BTreeMap<(Instant, u64), (SocketAddr, Vec<u8>)>,
    reader: Option<Waker>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Inbox {
    fn put(&self, at: (Instant, u64), from: SocketAddr, bytes: &[u8]) -> bool {
        let mut arriving = self.arriving();
        if arriving.packets.len() >= INBOX {
            return false;
        }
        arriving.packets.insert(at, (from, bytes.to_vec()));
        if let Some(reader) = arriving.reader.take() {
            reader.wake();
        }

        true
    }

    fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arriving {
    /// The next packet that has arrived by now.
    fn take(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let next = self.packets.first_entry()?;

        (next.key().0 <= Instant::now()).then(|| next.remove())
    }

    /// Has the reader woken when the next packet arrives, or one comes that arrives before.
    fn wake_reader(&mut self, cx: &mut Context<'_>) -> bool {
        self.reader = Some(cx.waker().clone());
        let Some(((at, _), _)) = self.packets.first_key_value() else {
            self.alarm = None;
            return false;
        };
        let at = *at;
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if alarm.deadline() != at {
            alarm.as_mut().reset(at);
        }

        alarm.as_mut().poll(cx).is_ready()
    }
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
        let ours = |inbox: &Arc<Inbox>| Arc::ptr_eq(inbox, &self.inbox);
        if state.inboxes.get(&self.address).is_some_and(ours) {
            state.inboxes.remove(&self.address);
        }
    }
}

impl AsyncUdpSocket for Socket {
    fn create_io_poller(self: Arc<Self>) -> Pin<Box<dyn UdpPoller>> {
        Box::pin(AlwaysWritable)
    }

    fn try_send(&self, transmit: &Transmit<'_>) -> io::Result<()> {
        self.net
            .state()
            .send(self.address, transmit.destination, transmit.contents);

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

/// Packets that may be on their way to one socket: a receive buffer of 4 MiB.
const INBOX: usize = 4_096;
/// Packets that the trace keeps.
const REMEMBERED: usize = 100_000;

/// FNV-1a, 64 bits (draft-eastlake-fnv).
const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;
