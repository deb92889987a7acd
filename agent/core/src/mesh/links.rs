//! Which neighbours this node keeps a connection to, and which of two connections to one neighbour stays.
//!
//! Wanted are the peers of direct paths and the relays of all paths, standbys included. Either end may dial at any
//! time. A connection that this node dialled and nobody here needs any more is closed after a while; one that the
//! other end dialled is for the other end to close. The far end of a route that has no direct path is welcome: nobody
//! dials it but when both ends have agreed on a moment, and a connection that is there is kept.

mod contest;
mod dial;
mod neighbour;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use protocol::frame::ProbeReply;
use protocol::id::NodeId;
use protocol::time::Boot;
use rand::Rng;

use super::LinkUp;
use super::effect::{CloseReason, LinkId};
use super::probe::{Judged, Reply};
use super::view::LinkView;
pub(super) use neighbour::Want;
use neighbour::{Chance, Neighbour};

#[derive(Debug)]
pub(super) struct Links {
    us: NodeId,
    peers: BTreeMap<NodeId, Neighbour>,
    by_link: BTreeMap<LinkId, NodeId>,
    /// When each neighbour is to be looked at next.
    timers: BTreeSet<(Boot, NodeId)>,
    /// How long a connection to a relay may stay unprobed, and how soon to ask again after a miss.
    probing: Probing,
    effects: VecDeque<LinkEffect>,
    /// Whether some neighbour got a connection, lost its last one, or was found to need another, since that was asked.
    changed: bool,
}

/// How the links themselves are probed, where no path does it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probing {
    pub(super) rest: Duration,
    pub(super) doubt: Duration,
}

/// What the links want done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum LinkEffect {
    Close {
        peer: NodeId,
        link: LinkId,
        why: CloseReason,
    },
    Dial {
        peer: NodeId,
        candidates: Vec<SocketAddr>,
    },
    /// Send the peer a probe over this very connection, to see whether it lives.
    Ask { peer: NodeId, link: LinkId, probe: u64 },
    /// Send the peer a probe over whichever connection is in use; [`Links::begin_probe`] names it.
    Probe { peer: NodeId },
}

impl Links {
    pub(super) fn new(us: NodeId, probing: Probing) -> Self {
        Self {
            us,
            peers: BTreeMap::new(),
            by_link: BTreeMap::new(),
            timers: BTreeSet::new(),
            probing,
            effects: VecDeque::new(),
            changed: false,
        }
    }

    pub(super) fn handle_probing(&mut self, probing: Probing) {
        self.probing = probing;
    }

    /// Takes in where each neighbour may be reached; one that is left out has no address any more.
    pub(super) fn handle_candidates(&mut self, candidates: &BTreeMap<NodeId, Vec<SocketAddr>>, now: Boot) {
        let known: BTreeSet<NodeId> = self.peers.keys().chain(candidates.keys()).copied().collect();
        for peer in known {
            let addresses = candidates.get(&peer).cloned().unwrap_or_default();
            self.with(peer, |neighbour| neighbour.handle_candidates(addresses, now));
        }
    }

    /// Takes in which neighbours are needed; those left out are not.
    pub(super) fn handle_wants(&mut self, wants: &BTreeMap<NodeId, Want>, rng: &mut impl Rng, now: Boot) {
        let known: BTreeSet<NodeId> = self.peers.keys().chain(wants.keys()).copied().collect();
        for peer in known {
            let want = wants.get(&peer).copied().unwrap_or_default();
            let first_probe = rng.next_u64();
            self.with(peer, |neighbour| {
                neighbour.handle_want(want, first_probe, now);
            });
        }
    }

    /// A handshake is through, whoever began it.
    pub(super) fn handle_link_up(&mut self, up: LinkUp, rng: &mut impl Rng, now: Boot) {
        let LinkUp { link, peer, .. } = up;
        if self.by_link.len() >= LINKS {
            self.effects.push_back(LinkEffect::Close {
                peer,
                link,
                why: CloseReason::TooMany,
            });
            return;
        }
        self.by_link.insert(link, peer);
        let chance = Chance::draw(rng);
        self.with(peer, |neighbour| neighbour.handle_up(up, chance, now));
    }

    /// Returns whose connection it was. It may have been forgotten already.
    pub(super) fn handle_link_down(&mut self, link: LinkId, rng: &mut impl Rng, now: Boot) -> Option<NodeId> {
        let peer = self.by_link.remove(&link)?;
        let chance = Chance::draw(rng);
        self.with(peer, |neighbour| neighbour.handle_down(link, chance, now));

        Some(peer)
    }

    pub(super) fn handle_dial_failed(&mut self, peer: NodeId, rng: &mut impl Rng, now: Boot) {
        let chance = Chance::draw(rng);
        self.with(peer, |neighbour| neighbour.handle_dial_failed(chance, now));
    }

    pub(super) fn handle_rtt(&mut self, link: LinkId, rtt: Duration) {
        let peer = self.by_link.get(&link);
        if let Some(neighbour) = peer.and_then(|peer| self.peers.get_mut(peer)) {
            neighbour.handle_rtt(link, rtt);
        }
    }

    /// Where the transport sends to on a connection by now.
    pub(super) fn handle_place(&mut self, link: LinkId, address: SocketAddr) {
        let peer = self.by_link.get(&link);
        if let Some(neighbour) = peer.and_then(|peer| self.peers.get_mut(peer)) {
            neighbour.handle_place(link, address);
        }
    }

    /// The moment has come that both ends agreed to dial at, us at these addresses too. Says whether we do.
    pub(super) fn handle_meeting(&mut self, peer: NodeId, vouched: Vec<SocketAddr>, now: Boot) -> bool {
        let mut dialled = false;
        self.with(peer, |neighbour| dialled = neighbour.handle_meeting(vouched, now));

        dialled
    }

    /// The direct path to `peer`, whose probes are not ours, went down or came up.
    pub(super) fn handle_path(&mut self, peer: NodeId, is_down: bool, now: Boot) {
        self.with(peer, |neighbour| neighbour.handle_path(is_down, now));
    }

    /// An answer to a probe that some `Ask` or `Probe` led to; late if it is to none of these.
    pub(super) fn handle_reply(&mut self, peer: NodeId, reply: &ProbeReply, now: Boot) -> Reply {
        let mut meant = Reply::Late;
        self.with(peer, |neighbour| meant = neighbour.handle_reply(reply, now));

        meant
    }

    /// Closes every connection to a node that may have none.
    pub(super) fn close_all(&mut self, peer: NodeId, why: CloseReason, now: Boot) {
        self.with(peer, |neighbour| neighbour.close_all(why, now));
    }

    /// Forgets one connection and closes it.
    pub(super) fn close(&mut self, link: LinkId, why: CloseReason, rng: &mut impl Rng, now: Boot) {
        if let Some(peer) = self.handle_link_down(link, rng, now) {
            self.effects.push_back(LinkEffect::Close { peer, link, why });
        }
    }

    pub(super) fn handle_timeout(&mut self, late: bool, rng: &mut impl Rng, now: Boot) -> Judged {
        let mut sum = Judged::default();
        while let Some((_, peer)) = self.timers.first().copied().filter(|(at, _)| *at <= now) {
            let chance = Chance::draw(rng);
            let probing = self.probing;
            self.with(peer, |neighbour| {
                let judged = neighbour.handle_timeout(probing, late, chance, now);
                sum.missed += judged.missed;
                sum.unjudged += judged.unjudged;
            });
        }

        sum
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        self.timers.first().map(|(at, _)| *at)
    }

    pub(super) fn poll_effect(&mut self) -> Option<LinkEffect> {
        self.effects.pop_front()
    }

    /// Whether some neighbour got a connection, lost its last one, or was found to need another, since the last call.
    pub(super) fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Puts a probe of the link to `peer` in flight, and names it.
    pub(super) fn begin_probe(&mut self, peer: NodeId, number: u64, now: Boot) -> Option<u64> {
        let mut id = None;
        self.with(peer, |neighbour| id = neighbour.begin_probe(number, now));

        id
    }

    pub(super) fn peer_of(&self, link: LinkId) -> Option<NodeId> {
        self.by_link.get(&link).copied()
    }

    /// Whether there is no connection to `peer` that lives.
    pub(super) fn is_sought(&self, peer: NodeId) -> bool {
        self.peers.get(&peer).is_none_or(Neighbour::is_sought)
    }

    /// Where `peer` answered a handshake, if it is connected and still there.
    pub(super) fn address(&self, peer: NodeId) -> Option<SocketAddr> {
        self.peers.get(&peer).and_then(Neighbour::address)
    }

    /// The connection to send on.
    pub(super) fn current(&self, peer: NodeId) -> Option<LinkId> {
        self.peers.get(&peer).and_then(Neighbour::current)
    }

    /// Whether anything can be said yet of how `peer` is reached. Of one that nobody needs all is said.
    pub(super) fn is_judged(&self, peer: NodeId, now: Boot) -> bool {
        self.peers
            .get(&peer)
            .is_none_or(|neighbour| neighbour.is_judged(now))
    }

    pub(super) fn views(&self) -> Vec<LinkView> {
        self.peers
            .iter()
            .filter(|(_, neighbour)| neighbour.is_shown())
            .map(|(peer, neighbour)| neighbour.view(*peer))
            .collect()
    }

    /// Works on one neighbour, then carries over what it wants done and when it is to be looked at again.
    fn with(&mut self, peer: NodeId, work: impl FnOnce(&mut Neighbour)) {
        let known = self.peers.remove(&peer);
        let mut neighbour = known.unwrap_or_else(|| Neighbour::new(self.us, peer));
        let before = neighbour.poll_timeout();
        let standing = |neighbour: &Neighbour| (neighbour.current().is_some(), neighbour.is_sought());
        let stood = standing(&neighbour);
        work(&mut neighbour);
        self.changed |= standing(&neighbour) != stood;
        while let Some(effect) = neighbour.poll_effect(peer) {
            if let LinkEffect::Close { link, .. } = effect {
                self.by_link.remove(&link);
            }
            self.effects.push_back(effect);
        }
        if let Some(at) = before {
            self.timers.remove(&(at, peer));
        }
        self.timers.extend(neighbour.poll_timeout().map(|at| (at, peer)));
        if !neighbour.is_forgettable() {
            self.peers.insert(peer, neighbour);
        }
    }
}

/// Connections to one neighbour: the one in use, one that takes its place, and one that crossed that on the way.
const LIVE: usize = 3;

/// Connections a node keeps: two for each row of a full lease table, and some.
pub const LINKS: usize = 2 * protocol::limits::LEASE_ROWS + 1_024;

#[cfg(test)]
mod tests;
