//! What the agents measured lately, in memory: the latest row of every (source, route, path) and (source, peer).
//!
//! Sources never overwrite each other, and a node speaks only of routes that end at it. Ages are counted on
//! the controller's own boot clock from the moment a report came in.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::id::{ClusterId, NodeId, RouteId};
use protocol::time::Boot;
use protocol::wire::{Drift, LinkObservation, PathObservation, Report, Switch};

use crate::via::Via;

/// The evidence of one cluster. A copy shares what each source said until that source says something else.
#[derive(Clone, Debug, Default)]
pub struct Observations {
    sources: BTreeMap<NodeId, Arc<Source>>,
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

/// What one end last said of one path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathSeen {
    /// The route generation it was probed under.
    pub generation: u64,
    pub active: bool,
    pub drift: Drift,
    pub expected_hops: Vec<NodeId>,
    pub observed_hops: Vec<NodeId>,
    pub rtt_us: Option<u32>,
    pub lost_out: u8,
    pub lost_in: u8,
    pub window: u8,
    pub misses: u16,
    pub at: Boot,
}

impl PathSeen {
    /// Whether nothing gets through, or not the way it should.
    pub fn is_down(&self) -> bool {
        self.is_silent() || self.is_at_fault()
    }

    /// Whether the reporter's probes go unanswered, be it for the path or for a peer that is heard on none.
    pub const fn is_silent(&self) -> bool {
        self.misses >= DOWN_MISSES
    }

    /// Whether the reporter blames the path itself.
    pub fn is_at_fault(&self) -> bool {
        self.drift != Drift::None
    }
}

/// What one node last said of its link to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkSeen {
    pub connected: bool,
    pub rtt_us: Option<u32>,
    pub at: Boot,
}

/// The last failover that one end did by itself on a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SwitchSeen {
    pub switch: Switch,
    pub at: Boot,
}

impl Observations {
    /// Takes a report in and returns the routes that it says something about, ascending. Rows about routes that do
    /// not end at `source` are counted and ignored.
    pub fn handle_report(
        &mut self,
        cluster: ClusterId,
        source: NodeId,
        report: &Report,
        now: Boot,
    ) -> Vec<RouteId> {
        self.stats.reports += 1;
        let reporter = Arc::make_mut(self.sources.entry(source).or_default());
        reporter.prune(now);
        let mut touched = Vec::new();
        for row in &report.paths {
            let is_own = row.peer != source && row.route == RouteId::between(cluster, source, row.peer);
            if !is_own {
                self.stats.foreign += 1;
            } else if !is_plausible(row) {
                self.stats.malformed += 1;
            } else if !reporter.take_path(row, now) {
                self.stats.surplus += 1;
            } else {
                touched.push(row.route);
            }
        }
        for row in &report.links {
            if row.peer == source {
                self.stats.malformed += 1;
            } else if !reporter.take_link(row, now) {
                self.stats.surplus += 1;
            }
        }
        for switch in &report.switches {
            match reporter.take_switch(switch, now) {
                true => touched.push(switch.route),
                false => self.stats.foreign += 1,
            }
        }
        touched.sort_unstable();
        touched.dedup();

        touched
    }

    /// Lets time pass: what was not repeated within [`RETAIN`] goes, whoever said it.
    pub fn handle_timeout(&mut self, now: Boot) {
        self.sources.retain(|_, source| {
            Arc::make_mut(source).prune(now);
            !source.is_empty()
        });
    }

    /// Drops what a node said and what others said of their links to it.
    pub fn forget(&mut self, node: NodeId) {
        if self.sources.remove(&node).is_none() {
            return;
        }
        for source in self.sources.values_mut() {
            if source.links.contains_key(&node) {
                Arc::make_mut(source).links.remove(&node);
            }
        }
    }

    /// What `source` last said of one path of a route.
    pub fn path(&self, source: NodeId, route: RouteId, via: Via) -> Option<&PathSeen> {
        self.sources.get(&source)?.paths.get(&(route, via))
    }

    /// What `source` last said of every path of a route, direct first.
    pub fn paths(&self, source: NodeId, route: RouteId) -> impl Iterator<Item = (Via, &PathSeen)> {
        let paths = self.sources.get(&source).map(|source| &source.paths);
        let of_route = paths
            .into_iter()
            .flat_map(move |paths| paths.range((route, Via::Direct)..=(route, LAST)));

        of_route.map(|((_, via), seen)| (*via, seen))
    }

    /// What `source` last said of its link to `peer`.
    pub fn link(&self, source: NodeId, peer: NodeId) -> Option<&LinkSeen> {
        self.sources.get(&source)?.links.get(&peer)
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
}

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
    fn take_path(&mut self, row: &PathObservation, now: Boot) -> bool {
        let key = (row.route, Via::from(&row.path));
        if !self.paths.contains_key(&key) && self.paths.len() >= PATH_ROWS {
            return false;
        }
        self.paths.insert(
            key,
            PathSeen {
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
            },
        );
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
    fn take_link(&mut self, row: &LinkObservation, now: Boot) -> bool {
        if !self.links.contains_key(&row.peer) && self.links.len() >= LINK_ROWS {
            return false;
        }
        let seen = LinkSeen {
            connected: row.connected,
            rtt_us: row.rtt_us,
            at: now,
        };
        self.links.insert(row.peer, seen);

        true
    }

    /// False if the node has shown no path of that route, which would make it one of its own.
    fn take_switch(&mut self, switch: &Switch, now: Boot) -> bool {
        let Some(run) = self.runs.get_mut(&switch.route) else {
            return false;
        };
        run.switch = Some(SwitchSeen {
            switch: *switch,
            at: now,
        });

        true
    }

    fn is_empty(&self) -> bool {
        self.paths.is_empty() && self.links.is_empty() && self.runs.is_empty()
    }

    fn prune(&mut self, now: Boot) {
        let is_kept = |at: Boot| now.since(at) <= RETAIN;
        self.paths.retain(|_, seen| is_kept(seen.at));
        self.links.retain(|_, seen| is_kept(seen.at));
        self.runs.retain(|_, run| is_kept(run.last));
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
/// Paths of one reporter: 2,000 routes of four paths, which is more than one report can carry.
pub const PATH_ROWS: usize = 8_192;
/// Links of one reporter: every node of a large cluster that one node could be connected to.
pub const LINK_ROWS: usize = 4_096;
/// Hops of a path with its one relay, and one more to show where it went wrong.
pub const HOPS: usize = 4;
const LAST: Via = Via::Relay(NodeId::from_bytes([0xff; 16]));

#[cfg(test)]
mod tests {
    use protocol::document::routes::Path;

    use super::*;

    #[test]
    fn sources_and_paths_do_not_overwrite_each_other() {
        let mut seen = Observations::default();
        let relayed = Path::Relay {
            relay: node(9),
            lease: protocol::id::LeaseId::from_bytes([1; 16]),
            generation: 1,
            budget: 1,
        };
        for (source, peer, path, rtt) in [
            (1, 2, Path::Direct, 10),
            (2, 1, Path::Direct, 20),
            (1, 2, relayed, 30),
            (1, 2, Path::Direct, 11),
        ] {
            take(&mut seen, source, vec![row(source, peer, path, rtt)], 0);
        }
        let rtt = |source, via| {
            seen.path(node(source), route(1, 2), via)
                .and_then(|seen| seen.rtt_us)
        };

        assert_eq!(rtt(1, Via::Direct), Some(11));
        assert_eq!(rtt(2, Via::Direct), Some(20));
        assert_eq!(rtt(1, Via::Relay(node(9))), Some(30));
        assert_eq!(seen.paths(node(1), route(1, 2)).count(), 2);
        assert_eq!(seen.paths(node(2), route(1, 2)).count(), 1);
    }

    #[test]
    fn a_node_speaks_only_of_routes_that_end_at_it() {
        let mut seen = Observations::default();
        let foreign = row(1, 2, Path::Direct, 10);
        let itself = row(3, 3, Path::Direct, 10);
        let touched = take(
            &mut seen,
            3,
            vec![foreign, itself, row(3, 1, Path::Direct, 10)],
            0,
        );

        assert_eq!(touched, [route(1, 3)]);
        assert_eq!(seen.stats().foreign, 2);
        assert_eq!(seen.path(node(3), route(1, 2), Via::Direct), None);
    }

    #[test]
    fn numbers_that_contradict_each_other_are_ignored() {
        let mut seen = Observations::default();
        let sound = row(1, 2, Path::Direct, 10);
        let wrong = [
            PathObservation {
                window: 21,
                ..sound.clone()
            },
            PathObservation {
                lost_in: 5,
                window: 4,
                ..sound.clone()
            },
            PathObservation {
                observed_hops: vec![node(1); 5],
                ..sound
            },
        ];
        let touched = take(&mut seen, 1, wrong.to_vec(), 0);

        assert_eq!((touched.len(), seen.stats().malformed), (0, 3));
    }

    #[test]
    fn a_pause_starts_a_new_series_of_reports() {
        let mut seen = Observations::default();
        let since = |seen: &Observations, now| seen.reporting_since(node(1), route(1, 2), Boot(now));
        for at in [0, 5_000, 20_000] {
            take(&mut seen, 1, vec![row(1, 2, Path::Direct, 10)], at);
        }
        assert_eq!(since(&seen, 35_000), Some(Boot(0)));
        assert_eq!(since(&seen, 35_001), None);
        take(&mut seen, 1, vec![row(1, 2, Path::Direct, 10)], 36_000);

        assert_eq!(since(&seen, 36_000), Some(Boot(36_000)));
    }

    #[test]
    fn one_reporter_cannot_fill_the_memory() {
        let mut seen = Observations::default();
        let links = (0..u32::try_from(LINK_ROWS).expect("small") + 10).map(|number| LinkObservation {
            peer: wide(number),
            connected: true,
            rtt_us: None,
            reached: None,
        });
        let paths = (0..u32::try_from(PATH_ROWS).expect("small") + 10).map(|number| {
            let peer = wide(number);
            let route = RouteId::between(CLUSTER, node(1), peer);

            PathObservation {
                peer,
                route,
                ..row(1, 2, Path::Direct, 10)
            }
        });
        let report = Report {
            paths: paths.collect(),
            links: links.collect(),
            switches: Vec::new(),
        };
        seen.handle_report(CLUSTER, node(1), &report, Boot(0));
        assert_eq!(seen.stats().surplus, 20);
        let later = Boot(0).after(RETAIN).after(Duration::from_millis(1));
        seen.handle_report(CLUSTER, node(1), &Report::default(), later);

        assert_eq!(seen.links().count(), 0, "what nobody repeats is dropped");
    }

    #[test]
    fn what_a_silent_reporter_said_goes_without_its_help() {
        let mut seen = Observations::default();
        take(&mut seen, 1, vec![row(1, 2, Path::Direct, 10)], 0);
        seen.handle_timeout(Boot(0).after(RETAIN));
        assert!(seen.path(node(1), route(1, 2), Via::Direct).is_some());
        seen.handle_timeout(Boot(1).after(RETAIN));

        assert_eq!(seen.path(node(1), route(1, 2), Via::Direct), None);
        assert!(seen.sources.is_empty());
    }

    #[test]
    fn a_node_that_is_forgotten_leaves_nothing() {
        let mut seen = Observations::default();
        let link = LinkObservation {
            peer: node(2),
            connected: true,
            rtt_us: Some(1),
            reached: None,
        };
        let report = Report {
            links: vec![link],
            ..Report::default()
        };
        seen.handle_report(CLUSTER, node(1), &report, Boot(0));
        take(&mut seen, 2, vec![row(2, 1, Path::Direct, 10)], 0);
        seen.forget(node(2));

        assert_eq!(seen.link(node(1), node(2)), None);
        assert_eq!(seen.path(node(2), route(1, 2), Via::Direct), None);
    }

    fn take(seen: &mut Observations, source: u8, paths: Vec<PathObservation>, at: u64) -> Vec<RouteId> {
        let report = Report {
            paths,
            ..Report::default()
        };

        seen.handle_report(CLUSTER, node(source), &report, Boot(at))
    }

    fn row(source: u8, peer: u8, path: Path, rtt_us: u32) -> PathObservation {
        PathObservation {
            route: route(source, peer),
            peer: node(peer),
            path,
            generation: 1,
            active: true,
            drift: Drift::None,
            expected_hops: Vec::new(),
            observed_hops: Vec::new(),
            rtt_us: Some(rtt_us),
            lost_out: 0,
            lost_in: 0,
            window: 20,
            misses: 0,
        }
    }

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    fn wide(number: u32) -> NodeId {
        let mut bytes = [0xAB; 16];
        bytes[..4].copy_from_slice(&number.to_be_bytes());

        NodeId::from_bytes(bytes)
    }

    fn route(one: u8, other: u8) -> RouteId {
        RouteId::between(CLUSTER, node(one), node(other))
    }

    const CLUSTER: ClusterId = ClusterId::from_bytes([0xC0; 16]);
}
