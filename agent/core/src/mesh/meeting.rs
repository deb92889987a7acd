//! Meeting neighbours half way: both ends dial at the same moment, so that the packets of each open its own NAT for
//! those of the other. They agree on the moment over the relay that both have a connection to, or, if there is none, over the
//! node that their decision names for that.
//!
//! ```text
//!   one                        relay                      other
//!    │── Meet, Look to the relay ─┼───────────────────────▶│
//!    │◀───────── Seen ────────────│                        │
//!    │◀───────────────────────────┼── Meet agreed, Look ───│
//!    │                            │───────── Seen ────────▶│
//!  dials half a round trip later          dials a whole round trip later: the same moment
//! ```
//!
//! Whoever wants something of us may lie. An address is dialled only if our config names it, or if the neighbour claims
//! it and the relay sees the neighbour there: one liar alone aims nobody at anything. A pair that cannot meet, since a
//! NAT uses another port for each destination, asks ever more rarely.
//!
//! A node asks few neighbours at a time, and agrees to few more: one that many pairs lead to and that moves would dial all
//! of them in the same second otherwise. The others wait in the order of need: those without a path before those that have
//! one through a relay, and among these those that have tried least often.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use protocol::frame::{Meet, PathTag};
use protocol::id::NodeId;
use protocol::net::Address;
use protocol::time::Boot;
use rand::Rng;

/// Every pair of this node with the far end of a route.
#[derive(Debug)]
pub(super) struct Meetings {
    us: NodeId,
    /// Where we believe that we can be reached.
    own: Vec<Address>,
    pairs: BTreeMap<NodeId, Pair>,
    /// Meetings that are not over: those that we asked for, and those that we agreed to.
    under_way: UnderWay,
    /// Pairs whose turn has come while there was no place, most needed first: what failed least often, and then longest.
    waiting: BTreeSet<(Place, NodeId)>,
    timers: BTreeSet<(Boot, NodeId)>,
    effects: VecDeque<MeetingEffect>,
}

/// Where a pair that has no connection can agree on a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ground {
    /// A path between the two that works, through a relay; or one that carries nothing but this.
    pub(super) path: PathTag,
    pub(super) relay: NodeId,
    /// Of the path.
    pub(super) rtt: Duration,
    /// Whether traffic can go over it meanwhile.
    pub(super) carries: bool,
}

/// What a meeting wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum MeetingEffect {
    /// Dial now, at what the config names and at these.
    Dial {
        peer: NodeId,
        vouched: Vec<SocketAddr>,
    },
    /// Ask the relay where it sees the far end of the path.
    Look {
        relay: NodeId,
        path: PathTag,
    },
    Say {
        peer: NodeId,
        path: PathTag,
        meet: Meet,
    },
}

#[derive(Clone, Copy, Debug, Default)]
struct UnderWay {
    ours: usize,
    theirs: usize,
}

/// Where a pair stands in the queue: whether it has a path, its failures, and since when it waits.
type Place = (bool, u32, Boot);

#[derive(Debug, Default)]
struct Pair {
    /// None while the two are connected, or cannot hear each other.
    ground: Option<Ground>,
    /// Meetings in a row that led to nothing.
    failures: u32,
    /// When to ask.
    next: Option<Boot>,
    /// Since when it waits for a place, with nothing else to do.
    waits_since: Option<Boot>,
    /// Whether it has one, for the meeting that it is to open next.
    is_called: bool,
    open: Option<Open>,
    /// Connections that meetings led to.
    met: u32,
    /// When the other end was last agreed with, at most [`AGREED`] times.
    agreed: VecDeque<Boot>,
}

/// A meeting that is not over.
#[derive(Debug)]
struct Open {
    number: u64,
    path: PathTag,
    is_ours: bool,
    /// What the other end says of itself, once it has said it.
    claimed: Option<Vec<SocketAddr>>,
    /// Where the relay sees it.
    seen: Option<SocketAddr>,
    dial_at: Option<Boot>,
    until: Boot,
}

impl Meetings {
    pub(super) fn new(us: NodeId) -> Self {
        Self {
            us,
            own: Vec::new(),
            pairs: BTreeMap::new(),
            under_way: UnderWay::default(),
            waiting: BTreeSet::new(),
            timers: BTreeSet::new(),
            effects: VecDeque::new(),
        }
    }

    /// Takes in where we believe that we can be reached. News makes every pair try again soon.
    pub(super) fn handle_own_addresses(&mut self, own: Vec<Address>, rng: &mut impl Rng, now: Boot) {
        let is_news = own.iter().any(|address| !self.own.contains(address));
        self.own = own;
        let peers: Vec<NodeId> = self.pairs.keys().copied().filter(|_| is_news).collect();
        for peer in peers {
            let permille = permille(rng);
            self.with(peer, |pair, us| {
                pair.failures = 0;
                pair.rearm(us < peer, permille, now);
            });
        }
    }

    /// Takes in the far end of every route, and where those can meet that are not connected.
    pub(super) fn handle_grounds(
        &mut self,
        grounds: &BTreeMap<NodeId, Option<Ground>>,
        rng: &mut impl Rng,
        now: Boot,
    ) {
        let gone: Vec<NodeId> = self
            .pairs
            .keys()
            .copied()
            .filter(|peer| !grounds.contains_key(peer))
            .collect();
        for peer in gone {
            self.with(peer, |pair, _| pair.rest());
            self.pairs.remove(&peer);
        }
        for (peer, ground) in grounds {
            let permille = permille(rng);
            self.with(*peer, |pair, us| {
                pair.ground = *ground;
                match ground {
                    None => pair.rest(),
                    Some(_) if pair.is_idle() => pair.rearm(us < *peer, permille, now),
                    Some(_) => {}
                }
            });
        }
        self.fill(now);
    }

    /// A connection to `peer` is there. Says whether a meeting led to it.
    pub(super) fn handle_linked(&mut self, peer: NodeId, now: Boot) -> bool {
        let mut met = false;
        if self.pairs.contains_key(&peer) {
            self.with(peer, |pair, _| {
                met = pair.open.as_ref().is_some_and(|open| open.claimed.is_some());
                pair.met = pair.met.saturating_add(u32::from(met));
                pair.failures = 0;
                pair.rest();
            });
        }
        self.fill(now);

        met
    }

    /// How many connections meetings with `peer` led to, since this node has a route to it.
    pub(super) fn met(&self, peer: NodeId) -> u32 {
        self.pairs.get(&peer).map_or(0, |pair| pair.met)
    }

    /// The far end of `ground` asks to meet, or agrees to. Its message has no addresses that may not be dialled at all.
    pub(super) fn handle_meet(&mut self, peer: NodeId, ground: Ground, meet: &Meet, now: Boot) {
        let own = self.own.clone();
        let claimed = meet.addresses.iter().map(|address| address.0).collect();
        let mut agreed = None;
        let has_place = self.under_way.theirs < AT_ONCE;
        if self.pairs.contains_key(&peer) {
            self.with(peer, |pair, us| match meet.agreed {
                true => pair.take_agreement(ground, meet.number, claimed, now),
                false if has_place => agreed = pair.agree(us < peer, ground, (meet.number, claimed), now),
                false => {}
            });
        }
        self.fill(now);
        if let Some(number) = agreed {
            self.speak(peer, ground, (number, true), own);
        }
    }

    /// The relay of `path` says where it sees `peer`.
    pub(super) fn handle_seen(&mut self, peer: NodeId, path: PathTag, address: SocketAddr) {
        let open = self.pairs.get_mut(&peer).and_then(|pair| pair.open.as_mut());
        if let Some(open) = open.filter(|open| open.path == path) {
            open.seen.get_or_insert(address);
        }
    }

    pub(super) fn handle_timeout(&mut self, rng: &mut impl Rng, now: Boot) {
        while let Some((_, peer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            let (number, permille) = (rng.next_u64(), permille(rng));
            let (mut dial, mut asked) = (None, None);
            self.with(peer, |pair, us| {
                dial = pair.take_dial(now);
                pair.take_end(us < peer, permille, now);
                asked = pair.take_turn(number, now);
            });
            self.fill(now);
            if let Some(vouched) = dial {
                self.effects.push_back(MeetingEffect::Dial { peer, vouched });
            }
            if let Some(ground) = asked {
                self.speak(peer, ground, (number, false), self.own.clone());
            }
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn poll_effect(&mut self) -> Option<MeetingEffect> {
        self.effects.pop_front()
    }

    fn speak(
        &mut self,
        peer: NodeId,
        ground: Ground,
        (number, agreed): (u64, bool),
        addresses: Vec<Address>,
    ) {
        let Ground { path, relay, .. } = ground;
        let meet = Meet {
            number,
            agreed,
            addresses,
        };
        self.effects.push_back(MeetingEffect::Look { relay, path });
        self.effects.push_back(MeetingEffect::Say { peer, path, meet });
    }

    /// Gives the places that are free to those that need them most.
    fn fill(&mut self, now: Boot) {
        let free = AT_ONCE.saturating_sub(self.under_way.ours);
        let called: Vec<NodeId> = self.waiting.iter().take(free).map(|(_, peer)| *peer).collect();
        for peer in called {
            self.with(peer, |pair, _| {
                pair.waits_since = None;
                pair.is_called = true;
                pair.next = Some(now);
            });
        }
    }

    fn with(&mut self, peer: NodeId, work: impl FnOnce(&mut Pair, NodeId)) {
        let pair = self.pairs.entry(peer).or_default();
        let (timer, place, open) = (pair.poll_timeout(), pair.place(), pair.under_way());
        work(pair, self.us);
        if let Some(at) = timer {
            self.timers.remove(&(at, peer));
        }
        self.timers.extend(pair.poll_timeout().map(|at| (at, peer)));
        if let Some(place) = place {
            self.waiting.remove(&(place, peer));
        }
        self.waiting.extend(pair.place().map(|place| (place, peer)));
        let is_open = pair.under_way();
        self.under_way.ours = self.under_way.ours + is_open.ours - open.ours;
        self.under_way.theirs = self.under_way.theirs + is_open.theirs - open.theirs;
    }
}

impl Pair {
    fn poll_timeout(&self) -> Option<Boot> {
        let open = self.open.as_ref();

        [
            open.and_then(|open| open.dial_at),
            open.map(|open| open.until),
            self.next,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    fn place(&self) -> Option<Place> {
        let carries = self.ground.is_some_and(|ground| ground.carries);

        self.waits_since.map(|since| (carries, self.failures, since))
    }

    fn under_way(&self) -> UnderWay {
        let is_open = |ours| self.open.as_ref().is_some_and(|open| open.is_ours == ours);

        UnderWay {
            ours: usize::from(self.is_called || is_open(true)),
            theirs: usize::from(is_open(false)),
        }
    }

    fn is_idle(&self) -> bool {
        self.next.is_none() && self.waits_since.is_none() && self.open.is_none()
    }

    fn rest(&mut self) {
        self.next = None;
        self.waits_since = None;
        self.is_called = false;
        self.open = None;
    }

    /// The lower end asks first; the other only if nothing came of that.
    fn rearm(&mut self, we_are_lower: bool, permille: u32, now: Boot) {
        let pause = PAUSES[PAUSES.len().min(self.failures as usize + 1) - 1];
        let turn = if we_are_lower { pause } else { pause * 3 / 2 };
        if self.ground.is_some() && self.open.is_none() {
            self.waits_since = None;
            self.is_called = false;
            self.next = Some(now.after(turn * permille / 1_000));
        }
    }

    /// If it is time, opens a meeting of ours in the place that it has, or begins to wait for one.
    fn take_turn(&mut self, number: u64, now: Boot) -> Option<Ground> {
        let ground = self
            .ground
            .filter(|_| self.open.is_none() && self.next.is_some_and(|next| next <= now))?;
        self.next = None;
        if !std::mem::take(&mut self.is_called) {
            self.waits_since = Some(now);
            return None;
        }
        self.open = Some(Open {
            number,
            path: ground.path,
            is_ours: true,
            claimed: None,
            seen: None,
            dial_at: None,
            until: now.after(LONGEST),
        });

        Some(ground)
    }

    fn take_dial(&mut self, now: Boot) -> Option<Vec<SocketAddr>> {
        let open = self.open.as_mut()?;
        open.dial_at.take_if(|at| *at <= now)?;
        let vouched = open.claimed.iter().flatten().copied();

        // One at most: an address that is claimed eight times is not dialled eight times.
        Some(
            vouched
                .filter(|claimed| Some(*claimed) == open.seen)
                .take(1)
                .collect(),
        )
    }

    fn take_end(&mut self, we_are_lower: bool, permille: u32, now: Boot) {
        if self.open.take_if(|open| open.until <= now).is_some() {
            self.failures = self.failures.saturating_add(1);
            self.rearm(we_are_lower, permille, now);
        }
    }

    /// Takes the other end's word that it will be there. It dials half a round trip from now.
    fn take_agreement(&mut self, ground: Ground, number: u64, claimed: Vec<SocketAddr>, now: Boot) {
        let asked = self
            .open
            .as_mut()
            .filter(|open| open.is_ours && open.claimed.is_none());
        if let Some(open) = asked.filter(|open| (open.number, open.path) == (number, ground.path)) {
            open.claimed = Some(claimed);
            open.dial_at = Some(now.after(wait(ground.rtt / 2)));
        }
    }

    /// Agrees to what the other end asks, unless we ask the same, are about to dial, or were asked too often.
    fn agree(
        &mut self,
        we_are_lower: bool,
        ground: Ground,
        (number, claimed): (u64, Vec<SocketAddr>),
        now: Boot,
    ) -> Option<u64> {
        self.ground?;
        let is_taken = self
            .open
            .as_ref()
            .is_some_and(|open| we_are_lower || open.claimed.is_some());
        let is_often = self.agreed.len() >= AGREED
            && self
                .agreed
                .front()
                .is_some_and(|first| now.since(*first) < AGREED_SPAN);
        if is_taken || is_often {
            return None;
        }
        if self.agreed.len() >= AGREED {
            self.agreed.pop_front();
        }
        self.agreed.push_back(now);
        self.next = None;
        self.waits_since = None;
        self.is_called = false;
        self.open = Some(Open {
            number,
            path: ground.path,
            is_ours: false,
            claimed: Some(claimed),
            seen: None,
            dial_at: Some(now.after(wait(ground.rtt))),
            until: now.after(LONGEST),
        });

        Some(number)
    }
}

/// The relay's answer takes a part of the path's round trip, and now and then a little longer.
fn wait(part: Duration) -> Duration {
    part.min(LONGEST_WAIT) + MARGIN
}

/// 800 to 1,200.
fn permille(rng: &mut impl Rng) -> u32 {
    800 + rng.next_u32() % 401
}

/// Before the first meeting and between two that led to nothing: within a minute a NAT that lets itself be opened has
/// been, and one that does not is asked six times an hour.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_secs(90),
    Duration::from_secs(270),
    Duration::from_secs(600),
];

/// Until a meeting counts as failed: a round trip to agree, and a dial that is given its 5 s.
const LONGEST: Duration = Duration::from_secs(8);

/// Longer parts of a round trip are not waited for: the handshakes repeat their first packets after 1 s and 3 s.
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const MARGIN: Duration = Duration::from_millis(25);

/// Meetings that one neighbour may have of us: as often as an unconfirmed address is dialled.
const AGREED: usize = 3;
const AGREED_SPAN: Duration = Duration::from_secs(60);

/// Meetings under way that a node asked for, and as many that it agreed to: two dials in the same second for each of the
/// others' NATs are no load, and a meeting that succeeds is over within a second.
const AT_ONCE: usize = 8;

#[cfg(test)]
mod tests;
