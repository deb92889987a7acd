//! The network of the demo: every packet between two of its machines passes through this process, which can delay,
//! drop or cut it.
//!
//! ```text
//!   machine a                      underlay                       machine b
//!  127.77.0.a:x ──▶ 127.78.0.b:p  … delay, drop, cut …  127.78.0.a:q ──▶ 127.77.0.b:y
//! ```
//!
//! A machine listens on an address of its own in 127.77.0.0/24, and the others know it by one in 127.78.0.0/24. So a
//! packet that arrives here shows by its source who sent it and by its socket for whom it is, and it leaves from the
//! socket that stands for its sender. Machines are found by what they send, as behind a NAT.

mod lines;

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::task::JoinSet;
use tokio::time::Instant;

pub(crate) use lines::Count;
use lines::Lines;

/// One machine of the demo: the last byte of its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Machine(u8);

impl Machine {
    pub(crate) const fn new(number: u8) -> Self {
        Self(number)
    }

    /// Where the machine's processes listen.
    pub(crate) const fn own_address(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 77, 0, self.0)
    }

    const fn public_address(self) -> Ipv4Addr {
        Ipv4Addr::new(127, 78, 0, self.0)
    }

    /// The machine that has this address, if it is one of `count`.
    fn at(address: IpAddr, count: usize) -> Option<Self> {
        let IpAddr::V4(address) = address.to_canonical() else {
            return None;
        };
        let machine = Self(address.octets()[3]);
        let exists = (1..=count).contains(&usize::from(machine.0));

        (exists && machine.own_address() == address).then_some(machine)
    }

    fn place(self) -> usize {
        usize::from(self.0) - 1
    }
}

/// Machines 1 to `count`, and the lines between them. Packets are carried until it is dropped.
#[derive(Debug)]
pub(crate) struct Underlay {
    shared: Arc<Shared>,
    /// Aborted when dropped.
    _couriers: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    /// In the order of the machines.
    posts: Vec<Post>,
    lines: Mutex<Lines>,
}

/// What stands for one machine towards the others.
#[derive(Debug)]
struct Post {
    socket: UdpSocket,
    address: SocketAddr,
}

impl Underlay {
    /// Opens the sockets and starts to carry. `seed` is where all chance comes from.
    pub(crate) fn start(count: u8, seed: u64) -> io::Result<Self> {
        let posts: Vec<Post> = (1..=count)
            .map(|number| post(Machine(number)))
            .collect::<io::Result<_>>()?;
        let shared = Arc::new(Shared {
            posts,
            lines: Mutex::new(Lines::new(seed)),
        });
        let mut couriers = JoinSet::new();
        for number in 1..=count {
            couriers.spawn(courier(shared.clone(), Machine(number)));
        }

        Ok(Self {
            shared,
            _couriers: couriers,
        })
    }

    /// The address by which the others know this machine.
    pub(crate) fn address(&self, machine: Machine) -> SocketAddr {
        self.shared.posts[machine.place()].address
    }

    /// Says where a machine listens that does not speak first.
    pub(crate) fn settle(&self, machine: Machine, address: SocketAddr) {
        self.shared.lines().handle_home(machine, address);
    }

    /// Gives both directions between two machines this latency.
    pub(crate) fn shape(&self, (one, other): (Machine, Machine), latency: Duration) {
        let mut lines = self.shared.lines();
        lines.shape(one, other, latency);
        lines.shape(other, one, latency);
    }

    /// Loses this share of what goes from one machine to another, and nothing of what comes back.
    pub(crate) fn lose(&self, (from, to): (Machine, Machine), share: f64) {
        self.shared.lines().set_loss(from, to, share);
    }

    /// Delivers whatever a machine sends this much later.
    pub(crate) fn delay(&self, from: Machine, delay: Duration) {
        let mut lines = self.shared.lines();
        for to in self.others(from) {
            lines.set_delay(from, to, delay);
        }
    }

    /// Packets from a machine that came later than they should.
    pub(crate) fn delayed(&self, from: Machine) -> u64 {
        let lines = self.shared.lines();

        self.others(from).map(|to| lines.count(from, to).delayed).sum()
    }

    /// Drops silently whatever goes between two machines, in both directions.
    pub(crate) fn cut(&self, pair: (Machine, Machine)) {
        self.set_cut(pair, true);
    }

    /// Ends a cut.
    pub(crate) fn mend(&self, pair: (Machine, Machine)) {
        self.set_cut(pair, false);
    }

    /// Ends every cut, loss and delay. Returns how many directions suffered one.
    pub(crate) fn mend_all(&self) -> u64 {
        self.shared.lines().mend_all()
    }

    fn others(&self, machine: Machine) -> impl Iterator<Item = Machine> {
        let count = u8::try_from(self.shared.posts.len()).unwrap_or(u8::MAX);

        (1..=count).map(Machine).filter(move |other| *other != machine)
    }

    fn set_cut(&self, (one, other): (Machine, Machine), is_cut: bool) {
        let mut lines = self.shared.lines();
        lines.set_cut(one, other, is_cut);
        lines.set_cut(other, one, is_cut);
    }

    /// From now on counts what is addressed to a machine whose processes do not answer.
    pub(crate) fn note_absent(&self, machine: Machine, is_absent: bool) {
        self.shared.lines().set_absent(machine, is_absent);
    }

    /// Packets that went to a machine while it was absent.
    pub(crate) fn unanswered(&self, machine: Machine) -> u64 {
        self.shared.lines().unanswered(machine)
    }

    /// What became of the packets between two machines, both directions together.
    pub(crate) fn count(&self, (one, other): (Machine, Machine)) -> Count {
        let lines = self.shared.lines();
        let (there, back) = (lines.count(one, other), lines.count(other, one));

        Count {
            carried: there.carried + back.carried,
            cut: there.cut + back.cut,
            lost: there.lost + back.lost,
            delayed: there.delayed + back.delayed,
        }
    }
}

impl Shared {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what waits at the post of `to`.
    fn collect(&self, to: Machine, bag: &mut Bag) {
        let post = &self.posts[to.place()];
        for _ in 0..BATCH {
            let mut packet = bag.blank();
            let Ok((length, source)) = post.socket.try_recv_from(packet.as_mut_slice()) else {
                bag.put_back(packet);
                return;
            };
            let fate = Machine::at(source.ip(), self.posts.len()).and_then(|from| {
                let mut lines = self.lines();
                lines.handle_home(from, source);
                lines.handle_packet(from, to).map(|latency| (from, latency))
            });
            match fate {
                Some((from, latency)) => bag.add(from, packet, length, Instant::now() + latency),
                None => bag.put_back(packet),
            }
        }
    }

    /// Sends on what is due. A full socket drops, as networks do.
    fn deliver(&self, to: Machine, bag: &mut Bag) {
        let home = self.lines().home(to);
        while let Some(parcel) = bag.take_due(Instant::now()) {
            if let Some(home) = home {
                let sender = &self.posts[parcel.from.place()];
                if let Err(error) = sender.socket.try_send_to(&parcel.packet[..parcel.length], home) {
                    tracing::debug!(%error, "the underlay dropped a packet");
                }
            }
            bag.put_back(parcel.packet);
        }
    }
}

/// Carries what goes to one machine.
async fn courier(shared: Arc<Shared>, to: Machine) {
    let mut bag = Bag::default();
    let post = &shared.posts[to.place()];
    loop {
        tokio::select! {
            () = bag.due() => shared.deliver(to, &mut bag),
            ready = post.socket.readable() => match ready {
                Ok(()) => shared.collect(to, &mut bag),
                Err(error) => {
                    tracing::error!(%error, "a socket of the underlay failed");
                    return;
                }
            },
        }
    }
}

fn post(machine: Machine) -> io::Result<Post> {
    let address = SocketAddr::new(machine.public_address().into(), 0);
    let bound = agent_shell::quic::bind(address)?;
    bound.socket.set_nonblocking(true)?;
    let socket = UdpSocket::from_std(bound.socket)?;

    Ok(Post {
        address: socket.local_addr()?,
        socket,
    })
}

/// Packets under way to one machine.
#[derive(Debug, Default)]
struct Bag {
    parcels: BinaryHeap<Reverse<Parcel>>,
    taken: u64,
    blanks: Vec<Packet>,
}

type Packet = Box<[u8; PACKET_BYTES]>;

/// Ordered by when it is due, then by when it came.
#[derive(Debug)]
struct Parcel {
    due: Instant,
    number: u64,
    from: Machine,
    packet: Packet,
    length: usize,
}

impl Bag {
    /// Space for a packet: used before, if there is any.
    fn blank(&mut self) -> Packet {
        self.blanks.pop().unwrap_or_else(|| Box::new([0; PACKET_BYTES]))
    }

    fn put_back(&mut self, packet: Packet) {
        if self.blanks.len() < BLANKS {
            self.blanks.push(packet);
        }
    }

    fn add(&mut self, from: Machine, packet: Packet, length: usize, due: Instant) {
        if self.parcels.len() >= UNDER_WAY {
            return self.put_back(packet);
        }
        self.taken += 1;
        self.parcels.push(Reverse(Parcel {
            due,
            number: self.taken,
            from,
            packet,
            length,
        }));
    }

    fn take_due(&mut self, now: Instant) -> Option<Parcel> {
        let is_due = self.parcels.peek().is_some_and(|Reverse(first)| first.due <= now);

        is_due
            .then(|| self.parcels.pop())
            .flatten()
            .map(|Reverse(parcel)| parcel)
    }

    /// Waits until the first packet is due; for ever when there is none.
    async fn due(&self) {
        match self.parcels.peek() {
            Some(Reverse(first)) => tokio::time::sleep_until(first.due).await,
            None => std::future::pending().await,
        }
    }
}

impl PartialEq for Parcel {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Parcel {}

impl PartialOrd for Parcel {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Parcel {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.due, self.number).cmp(&(other.due, other.number))
    }
}

/// More than QUIC puts into one packet on a path that it has not measured to be wider (1,452 bytes).
const PACKET_BYTES: usize = 2_048;
/// Packets taken in one go, so that what is due meanwhile does not wait long.
const BATCH: usize = 64;
/// Packets under way to one machine; more are dropped: 8 MiB.
const UNDER_WAY: usize = 4_096;
/// Packets whose space is kept for the next.
const BLANKS: usize = 256;

#[cfg(test)]
mod tests;
