//! How much each neighbour may say about others in words that cost this node something: a signature to verify, a line in
//! the log.
//!
//! Any node with a certificate may connect. What it shows of the cluster's state is welcome once a second, worth nothing
//! if it was shown before, and after a few forgeries not looked at for a while.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use protocol::id::NodeId;
use protocol::key::Digest;
use protocol::time::Boot;

use super::bucket::Bucket;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Heard {
    peers: BTreeMap<NodeId, Peer>,
    /// Of the last beacons that were passed on, whoever showed them.
    shown: VecDeque<Digest>,
}

#[derive(Debug)]
struct Peer {
    beacons: Bucket,
    refusals: Bucket,
    looks: Bucket,
    forged: u32,
    /// Nothing it shows is looked at until then.
    distrusted_until: Option<Boot>,
    heard_at: Boot,
}

impl Heard {
    /// Whether a beacon that `peer` shows is worth a look.
    pub(super) fn takes_beacon(&mut self, peer: NodeId, beacon: &[u8], now: Boot) -> bool {
        let from = self.peer(peer, now);
        if from.distrusted_until.is_some_and(|until| now < until) || !from.beacons.take(1, now) {
            return false;
        }
        let hash = Digest::of(beacon);
        if self.shown.contains(&hash) {
            return false;
        }
        if self.shown.len() == SHOWN {
            self.shown.pop_front();
        }
        self.shown.push_back(hash);

        true
    }

    /// Whether a refusal that `peer` tells of is worth a look. An honest relay tells no more than this.
    pub(super) fn takes_refusal(&mut self, peer: NodeId, now: Boot) -> bool {
        self.peer(peer, now).refusals.take(1, now)
    }

    /// Whether a question of `peer`, where this relay sees another, is worth an answer.
    pub(super) fn takes_look(&mut self, peer: NodeId, now: Boot) -> bool {
        self.peer(peer, now).looks.take(1, now)
    }

    /// A beacon that `peer` showed was forged. Says whether its connections are to be closed.
    pub(super) fn handle_forged(&mut self, peer: NodeId, now: Boot) -> bool {
        let from = self.peer(peer, now);
        from.forged += 1;
        let is_enough = from.forged >= FORGERIES;
        if is_enough {
            from.forged = 0;
            from.distrusted_until = Some(now.after(DISTRUST));
        }

        is_enough
    }

    fn peer(&mut self, peer: NodeId, now: Boot) -> &mut Peer {
        if self.peers.len() >= PEERS && !self.peers.contains_key(&peer) {
            self.forget_quiet(now);
        }
        let from = self.peers.entry(peer).or_insert_with(|| Peer {
            beacons: Bucket::new(1, BEACONS, now),
            refusals: Bucket::new(REFUSALS, REFUSALS, now),
            looks: Bucket::new(LOOKS, LOOKS, now),
            forged: 0,
            distrusted_until: None,
            heard_at: now,
        });
        from.heard_at = now;

        from
    }

    /// Makes room: whoever was quiet for as long as distrust lasts is judged anew.
    fn forget_quiet(&mut self, now: Boot) {
        self.peers.retain(|_, peer| now.since(peer.heard_at) < DISTRUST);
    }
}

/// Beacons one neighbour may show at once; one a second after that. Each new connection shows one.
const BEACONS: u64 = 3;

/// Refusals one neighbour may tell of, a second: as many as it tells.
const REFUSALS: u64 = 16;

/// Questions of one neighbour that are answered, a second: when an end comes back, its pairs meet one after the other.
const LOOKS: u64 = 16;

/// Beacons remembered, as hashes: a cluster makes one every ten seconds, and its nodes are a few behind each other.
const SHOWN: usize = 16;

/// Forged beacons after which a neighbour's connections are closed.
const FORGERIES: u32 = 3;

/// How long nothing that it shows is looked at then.
const DISTRUST: Duration = Duration::from_secs(600);

/// Neighbours remembered before those that are quiet are forgotten: more than connect in ten minutes.
const PEERS: usize = 32_768;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_that_was_shown_before_is_not_looked_at_again() {
        let mut heard = Heard::default();
        assert!(heard.takes_beacon(node(1), b"one", Boot(0)));
        assert!(!heard.takes_beacon(node(2), b"one", Boot(0)));
        assert!(heard.takes_beacon(node(2), b"two", Boot(0)));
    }

    #[test]
    fn one_neighbour_is_heard_once_a_second_and_no_other_less_for_it() {
        let mut heard = Heard::default();
        let mut looked_at = 0;
        for at in 0..10_000_u64 {
            looked_at += u32::from(heard.takes_beacon(node(1), &at.to_be_bytes(), Boot(at)));
        }

        assert!((10..=13).contains(&looked_at), "{looked_at}");
        assert!(heard.takes_beacon(node(2), b"honest", Boot(10_000)));
    }

    #[test]
    fn after_a_few_forgeries_nothing_is_looked_at_for_a_while() {
        let mut heard = Heard::default();
        let closed: Vec<bool> = (0..3).map(|_| heard.handle_forged(node(1), Boot(0))).collect();
        assert_eq!(closed, [false, false, true]);

        assert!(!heard.takes_beacon(node(1), b"one", Boot(599_999)));
        assert!(heard.takes_beacon(node(1), b"one", Boot(600_000)));
    }

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }
}
