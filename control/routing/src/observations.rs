//! What the agents measured lately, in memory: the latest row of every (source, route, path) and (source, peer).
//!
//! Sources never overwrite each other, and a node speaks only of routes that end at it. Ages are counted on
//! the controller's own boot clock from the moment a report came in.

mod excerpt;
mod seen;

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::iter::Peekable;
use std::sync::Arc;
use std::time::Duration;

use protocol::id::{ClusterId, LeaseId, NodeId, RouteId};
use protocol::limits::{LEASE_ROWS, REFRESHES};
use protocol::time::Boot;
use protocol::wire::{Carried, LinkObservation, PathObservation, Refresh, Report, Switch};

use crate::via::Via;

pub use excerpt::{Excerpt, LinkSaid, PathSaid, Reporting};
pub use seen::{CarriedSeen, LinkSeen, PathSeen, RefreshSeen, SwitchSeen};

/// The evidence of one cluster. A copy shares what each source said until that source says something else.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    sources: BTreeMap<NodeId, Arc<Source>>,
    /// Reports that were taken in: each gives its source another version.
    taken: u64,
    stats: Stats,
}

/// What came in and what was not believed, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    pub reports: u64,
    /// Rows about routes that do not end at their reporter.
    pub foreign: u64,
    /// Rows whose numbers contradict each other.
    pub malformed: u64,
    /// Rows of reporters that had [`PATH_ROWS`] or [`LINK_ROWS`] already.
    pub surplus: u64,
}

impl Stats {
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            reports: self.reports + other.reports,
            foreign: self.foreign + other.foreign,
            malformed: self.malformed + other.malformed,
            surplus: self.surplus + other.surplus,
        }
    }
}

/// What a report says that was not known, as far as decisions can differ for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct News {
    /// Routes of which something is in another class than before: health, loss, round trip, the path in use, the
    /// generation in force.
    pub changed: BTreeSet<RouteId>,
    /// Those that have become worse, or that their end has moved by itself: they want a decision at once.
    pub worse: BTreeSet<RouteId>,
    /// A link of the reporter came or went, which bears on every route that ends at it.
    pub relinked: bool,
}

impl News {
    fn compare(&mut self, route: RouteId, before: Option<&PathSeen>, seen: &PathSeen) {
        if before.is_none_or(|before| before.bearing() != seen.bearing()) {
            self.changed.insert(route);
        }
        if seen.badness() > before.map_or(0, PathSeen::badness) {
            self.worse.insert(route);
        }
    }
}

impl Observations {
    /// Takes a report in. Rows about routes that do not end at `source` are counted and ignored.
    pub fn handle_report(&mut self, cluster: ClusterId, source: NodeId, report: &Report, now: Boot) -> News {
        self.stats.reports += 1;
        self.taken += 1;
        let reporter = Arc::make_mut(self.sources.entry(source).or_default());
        reporter.prune(now);
        reporter.version = self.taken;
        let mut news = News::default();
        for row in &report.paths {
            let is_own = row.peer != source && row.route == RouteId::between(cluster, source, row.peer);
            if !is_own {
                self.stats.foreign += 1;
            } else if !is_plausible(row) {
                self.stats.malformed += 1;
            } else if !reporter.take_path(row, now, &mut news) {
                self.stats.surplus += 1;
            }
        }
        for row in &report.links {
            if row.peer == source {
                self.stats.malformed += 1;
            } else if !reporter.take_link(row, now, &mut news) {
                self.stats.surplus += 1;
            }
        }
        for carried in &report.carried {
            if !reporter.take_carried(*carried, now) {
                self.stats.surplus += 1;
            }
        }
        for switch in &report.switches {
            if !reporter.take_switch(switch, now, &mut news) {
                self.stats.foreign += 1;
            }
        }
        for refresh in &report.refreshes {
            if !reporter.take_refresh(*refresh, now) {
                self.stats.foreign += 1;
            }
        }

        news
    }

    /// Lets time pass: what was not repeated within [`RETAIN`] goes, whoever said it.
    pub fn handle_timeout(&mut self, now: Boot) {
        self.sources.retain(|_, source| {
            // A copy that is decided on shares it: what has nothing old in it is not to be copied for that.
            if source.has_old(now) {
                Arc::make_mut(source).prune(now);
            }
            !source.is_empty()
        });
    }

    /// Drops what a node said and what others said of their links to it.
    pub fn forget(&mut self, node: NodeId) {
        self.sources.remove(&node);
        for source in self.sources.values_mut() {
            if source.links.contains_key(&node) {
                Arc::make_mut(source).links.remove(&node);
            }
        }
    }

    /// What `source` said, found once for many questions.
    pub(crate) fn sight(&self, source: NodeId) -> Sight<'_> {
        Sight(self.sources.get(&source).map(Arc::as_ref))
    }

    /// What `source` last said of one path of a route.
    pub fn path(&self, source: NodeId, route: RouteId, via: Via) -> Option<&PathSeen> {
        self.sight(source).path(route, via)
    }

    /// Everyone who said something.
    pub fn reporters(&self) -> impl Iterator<Item = NodeId> {
        self.sources.keys().copied()
    }

    /// Everyone who said something, with a number that is another one whenever they say something again.
    pub(crate) fn versions(&self) -> impl Iterator<Item = (NodeId, u64)> {
        self.sources.iter().map(|(source, said)| (*source, said.version))
    }

    /// What `source` last said of every path that ends at it.
    pub fn of_reporter(&self, source: NodeId) -> impl Iterator<Item = (RouteId, Via, &PathSeen)> {
        let paths = self.sources.get(&source).map(|source| &source.paths);
        let all = paths.into_iter().flatten();

        all.map(|((route, via), seen)| (*route, *via, seen))
    }

    /// What `source` last said of every path of a route, direct first.
    pub fn paths(&self, source: NodeId, route: RouteId) -> impl Iterator<Item = (Via, &PathSeen)> {
        self.sight(source).paths(route)
    }

    /// What `source` last said of its link to `peer`.
    pub fn link(&self, source: NodeId, peer: NodeId) -> Option<&LinkSeen> {
        self.sight(source).link(peer)
    }

    /// What `relay` last said that it did for a lease.
    pub fn carried(&self, relay: NodeId, lease: LeaseId) -> Option<&CarriedSeen> {
        self.sources.get(&relay)?.carried.get(&lease)
    }

    /// Every link, by reporter and peer.
    pub fn links(&self) -> impl Iterator<Item = (NodeId, NodeId, &LinkSeen)> {
        self.sources
            .iter()
            .flat_map(|(source, seen)| seen.links.iter().map(|(peer, link)| (*source, *peer, link)))
    }

    /// The last failover that `source` reported on a route.
    pub fn switch(&self, source: NodeId, route: RouteId) -> Option<&SwitchSeen> {
        self.sources.get(&source)?.runs.get(&route)?.switch.as_ref()
    }

    /// The newest report of a refresh that `source` told of for each path of a route, direct first.
    pub fn refreshes(&self, source: NodeId, route: RouteId) -> impl Iterator<Item = &RefreshSeen> {
        let of_source = self.sources.get(&source).map(|source| &source.refreshes);
        let of_route = of_source
            .into_iter()
            .flat_map(move |all| all.range((route, Via::Direct)..=(route, LAST)));

        of_route.map(|(_, seen)| seen)
    }

    /// Since when `source` has been reporting on a route without a pause longer than [`FRESH`]; none if it does not
    /// now.
    pub fn reporting_since(&self, source: NodeId, route: RouteId, now: Boot) -> Option<Boot> {
        let run = self.sources.get(&source)?.runs.get(&route)?;

        (now.since(run.last) <= FRESH).then_some(run.since)
    }

    /// The highest route generation that `source` has probed under: what it has applied.
    pub fn applied(&self, source: NodeId, route: RouteId) -> Option<u64> {
        Some(self.sources.get(&source)?.runs.get(&route)?.applied)
    }

    pub const fn stats(&self) -> Stats {
        self.stats
    }
}

/// What one node said.
#[derive(Clone, Debug, Default)]
struct Source {
    paths: BTreeMap<(RouteId, Via), PathSeen>,
    runs: BTreeMap<RouteId, Run>,
    links: BTreeMap<NodeId, LinkSeen>,
    carried: BTreeMap<LeaseId, CarriedSeen>,
    refreshes: BTreeMap<(RouteId, Via), RefreshSeen>,
    /// Which of all reports was its last.
    version: u64,
}

/// What one node last said; nothing, if it never said anything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sight<'a>(Option<&'a Source>);

impl<'a> Sight<'a> {
    pub(crate) fn path(self, route: RouteId, via: Via) -> Option<&'a PathSeen> {
        self.0?.paths.get(&(route, via))
    }

    /// Of every path of a route, direct first.
    pub(crate) fn paths(self, route: RouteId) -> impl Iterator<Item = (Via, &'a PathSeen)> {
        let paths = self.0.into_iter().map(|source| &source.paths);
        let of_route = paths.flat_map(move |paths| paths.range((route, Via::Direct)..=(route, LAST)));

        of_route.map(|((_, via), seen)| (*via, seen))
    }

    pub(crate) fn link(self, peer: NodeId) -> Option<&'a LinkSeen> {
        self.0?.links.get(&peer)
    }

    /// By peer.
    pub(crate) fn links(self) -> LinksOf<'a> {
        let links = self.0.map_or(&NO_LINKS, |source| &source.links);

        links.iter().peekable()
    }
}

/// What one node said of its links, by peer.
pub(crate) type LinksOf<'a> = Peekable<btree_map::Iter<'a, NodeId, LinkSeen>>;

static NO_LINKS: BTreeMap<NodeId, LinkSeen> = BTreeMap::new();

/// An unbroken series of reports on one route.
#[derive(Clone, Debug)]
struct Run {
    since: Boot,
    last: Boot,
    applied: u64,
    switch: Option<SwitchSeen>,
}

impl Source {
    /// False if there is no room.
    fn take_path(&mut self, row: &PathObservation, now: Boot, news: &mut News) -> bool {
        let key = (row.route, Via::from(&row.path));
        if !self.paths.contains_key(&key) && self.paths.len() >= PATH_ROWS {
            return false;
        }
        let mut seen = PathSeen {
            generation: row.generation,
            active: row.active,
            drift: row.drift,
            expected_hops: row.expected_hops.clone(),
            observed_hops: row.observed_hops.clone(),
            rtt_us: row.rtt_us,
            lost_out: row.lost_out,
            lost_in: row.lost_in,
            window: row.window,
            misses: row.misses,
            at: now,
            answered_at: row.answered_ms.map(|age| Boot(now.0.saturating_sub(age))),
            down_since: None,
        };
        let before = self.paths.get(&key);
        let unbroken = before.filter(|before| now.since(before.at) <= FRESH);
        let since = unbroken.and_then(|before| before.down_since).unwrap_or(now);
        seen.down_since = seen.is_down().then_some(since);
        news.compare(row.route, before, &seen);
        self.paths.insert(key, seen);
        let run = self.runs.entry(row.route).or_insert(Run {
            since: now,
            last: now,
            applied: 0,
            switch: None,
        });
        if now.since(run.last) > FRESH {
            run.since = now;
        }
        run.last = now;
        run.applied = run.applied.max(row.generation);

        true
    }

    /// False if there is no room.
    fn take_link(&mut self, row: &LinkObservation, now: Boot, news: &mut News) -> bool {
        if !self.links.contains_key(&row.peer) && self.links.len() >= LINK_ROWS {
            return false;
        }
        let seen = LinkSeen {
            connected: row.connected,
            rtt_us: row.rtt_us,
            at: now,
        };
        let before = self.links.insert(row.peer, seen);
        news.relinked |= before.is_none_or(|before| before.connected != seen.connected);

        true
    }

    /// False if there is no room.
    fn take_carried(&mut self, carried: Carried, now: Boot) -> bool {
        let has_room = self.carried.len() < LEASE_ROWS || self.carried.contains_key(&carried.lease);
        if has_room {
            self.carried
                .insert(carried.lease, CarriedSeen { carried, at: now });
        }

        has_room
    }

    /// False if the node has shown no path of that route, which would make it one of its own.
    fn take_switch(&mut self, switch: &Switch, now: Boot, news: &mut News) -> bool {
        let Some(run) = self.runs.get_mut(&switch.route) else {
            return false;
        };
        if run.switch.is_none_or(|seen| seen.switch != *switch) {
            news.worse.insert(switch.route);
        }
        run.switch = Some(SwitchSeen {
            switch: *switch,
            at: now,
        });

        true
    }

    /// False if the node has shown no such path, which would make it one of its own. Nothing is decided by it. Of more than
    /// there is room for, the one that was told of longest ago goes.
    fn take_refresh(&mut self, refresh: Refresh, now: Boot) -> bool {
        let key = (refresh.route, refresh.relay.map_or(Via::Direct, Via::Relay));
        if !self.paths.contains_key(&key) {
            return false;
        }
        self.refreshes.insert(key, RefreshSeen { refresh, at: now });
        if self.refreshes.len() > REFRESHES {
            let oldest = self.refreshes.iter().min_by_key(|(_, seen)| seen.at);
            let oldest = oldest.map(|(key, _)| *key);
            oldest.and_then(|key| self.refreshes.remove(&key));
        }

        true
    }

    fn is_empty(&self) -> bool {
        let has_measured = !self.paths.is_empty() || !self.links.is_empty() || !self.runs.is_empty();

        !has_measured && self.carried.is_empty() && self.refreshes.is_empty()
    }

    fn has_old(&self, now: Boot) -> bool {
        let is_old = |at: Boot| now.since(at) > RETAIN;
        let measured = self.paths.values().any(|seen| is_old(seen.at))
            || self.links.values().any(|seen| is_old(seen.at));

        measured
            || self
                .refreshes
                .values()
                .any(|seen| now.since(seen.at) > RETAIN_REFRESHES)
            || self.runs.values().any(|run| is_old(run.last))
            || self
                .carried
                .values()
                .any(|seen| now.since(seen.at) > RETAIN_CARRIED)
    }

    fn prune(&mut self, now: Boot) {
        let is_kept = |at: Boot| now.since(at) <= RETAIN;
        self.paths.retain(|_, seen| is_kept(seen.at));
        self.links.retain(|_, seen| is_kept(seen.at));
        self.runs.retain(|_, run| is_kept(run.last));
        self.carried
            .retain(|_, seen| now.since(seen.at) <= RETAIN_CARRIED);
        self.refreshes
            .retain(|_, seen| now.since(seen.at) <= RETAIN_REFRESHES);
    }
}

fn is_plausible(row: &PathObservation) -> bool {
    let hops = [&row.expected_hops, &row.observed_hops];

    row.window <= WINDOW
        && row.lost_out.max(row.lost_in) <= row.window
        && hops.iter().all(|hops| hops.len() <= HOPS)
}

/// Probes that a window holds (the wire's own bound).
pub const WINDOW: u8 = 20;
/// Misses in a row after which an agent calls a path down (DESIGN 6).
pub const DOWN_MISSES: u16 = 3;
/// Age up to which a report is evidence: three reporting intervals of 5 s, so that one lost report changes nothing.
pub const FRESH: Duration = Duration::from_secs(15);
/// Age after which a row is dropped: only explanations read it by then.
pub const RETAIN: Duration = Duration::from_secs(300);
/// What a relay did is told when it did something: kept for as long as a day's silence can be told from none.
pub const RETAIN_CARRIED: Duration = Duration::from_hours(24);
/// What a refresh brought is told once, unless more are suppressed: kept for whoever asks an hour later.
pub const RETAIN_REFRESHES: Duration = Duration::from_hours(1);
/// Paths of one reporter: 2,000 routes of four paths, which is more than one report can carry.
pub const PATH_ROWS: usize = 8_192;
/// Links of one reporter: every node of a large cluster that one node could be connected to.
pub const LINK_ROWS: usize = 4_096;
/// Hops of a path with its one relay, and one more to show where it went wrong.
pub const HOPS: usize = 4;
const LAST: Via = Via::Relay(NodeId::from_bytes([0xff; 16]));

#[cfg(test)]
mod tests;
