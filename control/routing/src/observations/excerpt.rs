//! What one end said that bears on one route, laid out for a record, and taken back from it.

use std::sync::Arc;

use minicbor::{Decode, Encode};
use protocol::id::{NodeId, RouteId};
use protocol::time::Boot;
use protocol::wire::Drift;
use serde::{Deserialize, Serialize};

use super::{LinkSeen, Observations, PathSeen, Run, Source};
use crate::via::Via;

/// What one end said of a route, and of its links to some nodes. What no decision reads is left out: the hops, which the
/// drift sums up, and failovers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Excerpt {
    /// Direct first.
    #[n(0)]
    pub paths: Vec<PathSaid>,
    /// By peer.
    #[n(1)]
    pub links: Vec<LinkSaid>,
    /// None while it has not reported on the route.
    #[n(2)]
    pub reporting: Option<Reporting>,
}

/// What it last said of one path.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct PathSaid {
    #[n(0)]
    pub via: Via,
    #[n(1)]
    pub generation: u64,
    #[n(2)]
    pub active: bool,
    #[n(3)]
    pub drift: Drift,
    #[n(4)]
    pub rtt_us: Option<u32>,
    #[n(5)]
    pub lost_out: u8,
    #[n(6)]
    pub lost_in: u8,
    #[n(7)]
    pub window: u8,
    #[n(8)]
    pub misses: u16,
    #[n(9)]
    pub at: Boot,
    #[n(10)]
    pub answered_at: Option<Boot>,
    #[n(11)]
    pub down_since: Option<Boot>,
}

/// What it last said of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct LinkSaid {
    #[n(0)]
    pub peer: NodeId,
    #[n(1)]
    pub connected: bool,
    #[n(2)]
    pub rtt_us: Option<u32>,
    #[n(3)]
    pub at: Boot,
}

/// Its series of reports on the route, and the generation that it has shown to have applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Reporting {
    #[n(0)]
    pub since: Boot,
    #[n(1)]
    pub last: Boot,
    #[n(2)]
    pub applied: u64,
}

impl Observations {
    /// What `source` said of the paths of a route that `is_of_interest`, and of its links to `peers`.
    pub(crate) fn excerpt(
        &self,
        (source, route): (NodeId, RouteId),
        is_of_interest: impl Fn(Via) -> bool,
        peers: impl Iterator<Item = NodeId>,
    ) -> Excerpt {
        let paths = self.paths(source, route).filter(|(via, _)| is_of_interest(*via));
        let links = peers.filter_map(|peer| Some(LinkSaid::of(peer, self.link(source, peer)?)));
        let run = self.sources.get(&source).and_then(|said| said.runs.get(&route));

        Excerpt {
            paths: paths.map(|(via, seen)| PathSaid::of(via, seen)).collect(),
            links: links.collect(),
            reporting: run.map(|run| Reporting {
                since: run.since,
                last: run.last,
                applied: run.applied,
            }),
        }
    }

    /// Takes an excerpt back, as all that `source` ever said.
    pub(crate) fn take_excerpt(&mut self, (source, route): (NodeId, RouteId), excerpt: &Excerpt) {
        let paths = excerpt.paths.iter();
        let links = excerpt.links.iter();
        let runs = excerpt.reporting.iter().map(|reporting| {
            let run = Run {
                since: reporting.since,
                last: reporting.last,
                applied: reporting.applied,
                switch: None,
            };

            (route, run)
        });
        let said = Source {
            paths: paths.map(|said| ((route, said.via), said.seen())).collect(),
            links: links.map(|said| (said.peer, said.seen())).collect(),
            runs: runs.collect(),
            ..Source::default()
        };
        self.sources.insert(source, Arc::new(said));
    }
}

impl PathSaid {
    fn of(via: Via, seen: &PathSeen) -> Self {
        Self {
            via,
            generation: seen.generation,
            active: seen.active,
            drift: seen.drift,
            rtt_us: seen.rtt_us,
            lost_out: seen.lost_out,
            lost_in: seen.lost_in,
            window: seen.window,
            misses: seen.misses,
            at: seen.at,
            answered_at: seen.answered_at,
            down_since: seen.down_since,
        }
    }

    fn seen(&self) -> PathSeen {
        PathSeen {
            generation: self.generation,
            active: self.active,
            drift: self.drift,
            expected_hops: Vec::new(),
            observed_hops: Vec::new(),
            rtt_us: self.rtt_us,
            lost_out: self.lost_out,
            lost_in: self.lost_in,
            window: self.window,
            misses: self.misses,
            at: self.at,
            answered_at: self.answered_at,
            down_since: self.down_since,
        }
    }
}

impl LinkSaid {
    fn of(peer: NodeId, seen: &LinkSeen) -> Self {
        Self {
            peer,
            connected: seen.connected,
            rtt_us: seen.rtt_us,
            at: seen.at,
        }
    }

    fn seen(self) -> LinkSeen {
        LinkSeen {
            connected: self.connected,
            rtt_us: self.rtt_us,
            at: self.at,
        }
    }
}
