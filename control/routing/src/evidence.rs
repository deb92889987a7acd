//! What both ends together know of one path of one route.

use std::time::Duration;

use protocol::id::{NodeId, RouteId};
use protocol::time::Boot;

use crate::observations::{FRESH, LinkSeen, PathSeen, Sight};
use crate::suspicion::{Suspicion, is_well};
use crate::via::Via;

/// The ends of a route: the only ones whose word on it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    pub route: RouteId,
    pub low: NodeId,
    pub high: NodeId,
}

impl Ends {
    pub const fn both(&self) -> [NodeId; 2] {
        [self.low, self.high]
    }

    /// The far end, seen from `node`; none if that is no end.
    pub fn peer_of(&self, node: NodeId) -> Option<NodeId> {
        match node {
            _ if node == self.low => Some(self.high),
            _ if node == self.high => Some(self.low),
            _ => None,
        }
    }
}

/// The sum of the reports about one path, the worse end counting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// An end blames it, or did within [`MARK`], neither has been heard of since nor contradicted; or neither end hears the
    /// other. One
    /// end alone whose probes go unanswered on every path says of its peer that it stands still, and of no path. One that
    /// is under suspicion blames in vain what the other end finds well.
    pub down: bool,
    /// Answers came within [`FRESH`], to an end that still gets some, and no end calls it down.
    pub probed: bool,
    /// What the links that it would use look like.
    pub link: LinkState,
    /// Of the path itself if that was measured within [`MARK`], else the sum of its links; microseconds.
    pub rtt_us: Option<u32>,
    /// Lost probes of the last 20, in the worse direction.
    pub lost: u8,
    /// Since the newest report about the path or its links.
    pub age: Option<Duration>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum LinkState {
    Up,
    #[default]
    Unknown,
    Down,
}

impl Evidence {
    /// Whether it cannot carry, as far as is known: called down, or without a link that it needs.
    pub fn is_down(&self) -> bool {
        self.down || (!self.probed && self.link == LinkState::Down)
    }

    /// Gathers what the ends reported of `via` under route generations that are not below `from`.
    pub(crate) fn gather(
        (ends, sights): (Ends, [Sight<'_>; 2]),
        suspicion: &Suspicion,
        via: Via,
        from: u64,
        now: Boot,
    ) -> Self {
        let probes = sights
            .map(|sight| sight.path(ends.route, via))
            .map(|seen| seen.filter(|seen| seen.generation >= from && now.since(seen.at) <= MARK));
        let [low, high] = sights;
        let peers = link_peers(ends, via);
        let links = [low.link(peers[0]), high.link(peers[1])]
            .map(|seen| seen.filter(|seen| now.since(seen.at) <= FRESH));
        let is_well =
            |end: usize| probes[end].is_some_and(|seen| now.since(seen.at) <= FRESH && is_well(seen));
        // What was said long ago does not stand against what the other end says now.
        let is_old = |end: usize| probes[end].is_some_and(|seen| now.since(seen.at) > FRESH);
        let is_doubted = |end: usize| is_well(1 - end) && (is_old(end) || suspicion.doubts(ends.both()[end]));
        let blamed = [0, 1]
            .into_iter()
            .any(|end| probes[end].is_some_and(PathSeen::is_at_fault) && !is_doubted(end));
        let silent = probes.iter().all(|seen| seen.is_some_and(PathSeen::is_silent));
        let down = blamed || silent;
        let fresh = |seen: &&PathSeen| now.since(seen.at) <= FRESH;
        let answered = |seen: &PathSeen| seen.rtt_us.is_some() && seen.window > 0;
        let probed = probes
            .iter()
            .flatten()
            .copied()
            .filter(fresh)
            .any(|seen| answered(seen) && !seen.is_at_fault() && !seen.is_silent());
        let (link, link_rtt) = links_of(via, links);
        let seen_at = probes.iter().flatten().map(|seen| seen.at);

        Self {
            down,
            probed: probed && !down,
            link,
            rtt_us: newest_rtt(probes, now).or(link_rtt),
            lost: probes
                .iter()
                .flatten()
                .copied()
                .filter(fresh)
                .map(|seen| seen.lost_out.max(seen.lost_in))
                .max()
                .unwrap_or(0),
            age: seen_at
                .chain(links.iter().flatten().map(|seen| seen.at))
                .max()
                .map(|at| now.since(at)),
        }
    }
}

/// The slower of what the ends measured; old measurements count only if there is no fresh one.
fn newest_rtt(probes: [Option<&PathSeen>; 2], now: Boot) -> Option<u32> {
    let measured = || probes.into_iter().flatten();
    let fresh = measured().filter(|seen| now.since(seen.at) <= FRESH);
    let newest = fresh.filter_map(|seen| seen.rtt_us).max();

    newest.or_else(|| measured().filter_map(|seen| seen.rtt_us).max())
}

/// Whom the lower end and the higher one need a link to.
const fn link_peers(ends: Ends, via: Via) -> [NodeId; 2] {
    match via {
        Via::Direct => [ends.high, ends.low],
        Via::Relay(relay) => [relay, relay],
    }
}

/// A direct path has one link that either end may know; one through a relay needs both of its links.
fn links_of(via: Via, links: [Option<&LinkSeen>; 2]) -> (LinkState, Option<u32>) {
    let states = links.map(|link| match link {
        Some(seen) if seen.connected => LinkState::Up,
        Some(_) => LinkState::Down,
        None => LinkState::Unknown,
    });
    let rtts = links.map(|link| link.filter(|seen| seen.connected).and_then(|seen| seen.rtt_us));
    match via {
        Via::Direct if states.contains(&LinkState::Up) => (LinkState::Up, rtts[0].max(rtts[1])),
        Via::Direct | Via::Relay(_) => {
            let sum = rtts[0].zip(rtts[1]).map(|(near, far)| near.saturating_add(far));

            (states[0].max(states[1]), sum)
        }
    }
}

/// How long bad news outlives the report that brought it: a path that is not probed any more cannot clear itself.
pub const MARK: Duration = Duration::from_secs(60);
