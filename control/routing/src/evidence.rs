//! What both ends together know of one path of one route.

use std::time::Duration;

use protocol::id::{NodeId, RouteId};
use protocol::time::Boot;

use crate::decide::Snapshot;
use crate::observations::{FRESH, LinkSeen, LinksOf, PathSeen, Sight};
use crate::suspicion::Suspicion;
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
    /// other. One end alone whose probes go unanswered on every path says of its peer that it stands still, and of no path.
    /// One that is under suspicion blames in vain what the other end finds well; two that are ill are heard after
    /// [`STEADY`], and so is everybody while all that is heard is suspect.
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

    /// Sums up what each end said, the lower one first.
    fn sum(
        (via, trust): (Via, Trust),
        probes: [Option<&PathSeen>; 2],
        links: [Option<&LinkSeen>; 2],
        now: Boot,
    ) -> Self {
        let links = links.map(|seen| seen.filter(|seen| now.since(seen.at) <= FRESH));
        let down = trust.finds_down(probes, now);
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

/// How far the ends of a route are believed, the lower one first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust {
    /// Whose word alone counts for nothing.
    doubted: [bool; 2],
    /// Whether both are doubted, and not for their sites alone.
    are_ill: bool,
    /// Whether all that is heard is suspect, or was lately.
    is_wary: bool,
}

impl Trust {
    pub(crate) fn of(suspicion: &Suspicion, ends: Ends) -> Self {
        Self {
            doubted: ends.both().map(|end| suspicion.doubts(end)),
            are_ill: ends.both().into_iter().all(|end| suspicion.is_ill(end)),
            is_wary: suspicion.is_wary(),
        }
    }

    /// For how long both ends must call a path down without a break before that counts.
    pub(crate) const fn patience(self) -> Duration {
        match self.are_ill || self.is_wary {
            true => STEADY,
            false => Duration::ZERO,
        }
    }

    /// Whether a path is called down, so that it counts. A word of a doubted end alone is no blame.
    fn finds_down(self, probes: [Option<&PathSeen>; 2], now: Boot) -> bool {
        let is_contradicted = |end: usize| {
            let pair = probes[end].zip(probes[1 - end]);

            pair.is_some_and(|(seen, other)| other.contradicts(seen, now))
        };
        // What was said long ago does not stand against what the other end says now.
        let is_old = |end: usize| probes[end].is_some_and(|seen| now.since(seen.at) > FRESH);
        let is_doubted =
            |end: usize| is_contradicted(end) && (is_old(end) || self.is_wary || self.doubted[end]);
        let blamed = [0, 1]
            .into_iter()
            .any(|end| probes[end].is_some_and(PathSeen::is_at_fault) && !is_doubted(end));
        let silent = probes.iter().all(|seen| seen.is_some_and(PathSeen::is_silent));

        (blamed || silent) && !self.may_be_chance(probes, now)
    }

    /// Whether what is said of a path counts only once it has been said for a while, and has not been. Two that are ill
    /// bear each other out only so; while all is suspect that holds for whoever says anything.
    fn may_be_chance(self, probes: [Option<&PathSeen>; 2], now: Boot) -> bool {
        let are_down = probes.iter().all(|seen| seen.is_some_and(PathSeen::is_down));
        let must_last = self.is_wary || (self.are_ill && are_down);
        let mut callers = probes.into_iter().flatten().filter(|seen| seen.is_down());

        must_last && callers.any(|seen| !seen.is_down_for(STEADY, now))
    }
}

/// What both ends said of one route and of their links, read along the relays of the pool.
pub(crate) struct Hearing<'a> {
    ends: Ends,
    /// Older generations than this one are no evidence.
    from: u64,
    now: Boot,
    trust: Trust,
    columns: [Column<'a>; 2],
}

impl<'a> Hearing<'a> {
    pub(crate) fn of(input: &Snapshot<'a>, ends: Ends, from: u64, now: Boot) -> Self {
        Self {
            ends,
            from,
            now,
            trust: Trust::of(input.suspicion, ends),
            columns: ends
                .both()
                .map(|end| Column::of(input.observations.sight(end), ends.route)),
        }
    }

    pub(crate) fn direct(&self) -> Evidence {
        let [low, high] = &self.columns;
        let links = [low.sight.link(self.ends.high), high.sight.link(self.ends.low)];

        self.sum(Via::Direct, links)
    }

    /// Each relay once, in the order of their ids.
    pub(crate) fn through(&mut self, relay: NodeId) -> Evidence {
        let links = self.columns.each_mut().map(|column| column.next_link(relay));

        self.sum(Via::Relay(relay), links)
    }

    fn sum(&self, via: Via, links: [Option<&LinkSeen>; 2]) -> Evidence {
        let counts = |seen: &&PathSeen| seen.generation >= self.from && self.now.since(seen.at) <= MARK;
        let probes = self
            .columns
            .each_ref()
            .map(|column| column.path(via).filter(counts));

        Evidence::sum((via, self.trust), probes, links, self.now)
    }
}

/// What one end said.
struct Column<'a> {
    sight: Sight<'a>,
    paths: Vec<(Via, &'a PathSeen)>,
    /// Those that follow the last one asked for.
    links: LinksOf<'a>,
}

impl<'a> Column<'a> {
    fn of(sight: Sight<'a>, route: RouteId) -> Self {
        Self {
            sight,
            paths: sight.paths(route).collect(),
            links: sight.links(),
        }
    }

    fn path(&self, via: Via) -> Option<&'a PathSeen> {
        let found = self.paths.iter().find(|(known, _)| *known == via);

        found.map(|(_, seen)| *seen)
    }

    fn next_link(&mut self, peer: NodeId) -> Option<&'a LinkSeen> {
        while self.links.next_if(|(known, _)| **known < peer).is_some() {}

        self.links
            .next_if(|(known, _)| **known == peer)
            .map(|(_, seen)| seen)
    }
}

/// The slower of what the ends measured; old measurements count only if there is no fresh one.
fn newest_rtt(probes: [Option<&PathSeen>; 2], now: Boot) -> Option<u32> {
    let measured = || probes.into_iter().flatten();
    let fresh = measured().filter(|seen| now.since(seen.at) <= FRESH);
    let newest = fresh.filter_map(|seen| seen.rtt_us).max();

    newest.or_else(|| measured().filter_map(|seen| seen.rtt_us).max())
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

/// How long a path must be called down without a break where chance may have a hand in it: what spoils three reports of ten
/// spoils seven in a row of both ends once in twenty million times.
pub const STEADY: Duration = Duration::from_secs(30);
/// How long bad news outlives the report that brought it: a path that is not probed any more cannot clear itself.
pub const MARK: Duration = Duration::from_secs(60);
