//! Since when something has been so without a break, and what paths owe: the memory between two passes. After a start
//! [`crate::recall`] brings back what is owed; what was so without a break has to be so anew.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use minicbor::{Decode, Encode};
use protocol::id::RouteId;
use protocol::time::Boot;
use serde::{Deserialize, Serialize};

use crate::damping::Damping;
use crate::via::Via;

/// What can be so for a while.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Aspect {
    /// The path is better than the one in use.
    #[n(1)]
    Better,
    /// The path would make a better standby than one that is.
    #[n(2)]
    BetterStandby,
    /// The relay's lease is used by nothing.
    #[n(3)]
    Unused,
}

/// The running trends of one route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trend {
    since: BTreeMap<(Aspect, Via), Boot>,
    damping: BTreeMap<Via, Damping>,
    /// When a path that worked was left for a better one, within the last [`BRAKED`].
    improved: Vec<Boot>,
}

impl Trend {
    /// This trend carried on: what still holds keeps its start, what is new starts now, the rest ends. Penalties and
    /// improvements stay until they are told anew.
    pub fn carried_on(&self, holding: impl IntoIterator<Item = (Aspect, Via)>, now: Boot) -> Self {
        let since = |key: &(Aspect, Via)| self.since.get(key).copied().unwrap_or(now);

        Self {
            since: holding.into_iter().map(|key| (key, since(&key))).collect(),
            damping: self.damping.clone(),
            improved: self.improvements(now).collect(),
        }
    }

    /// Notes which of the paths are down; none of one that nobody says anything of.
    #[must_use]
    pub fn with_paths(mut self, paths: impl IntoIterator<Item = (Via, Option<bool>)>, now: Boot) -> Self {
        let carried = paths.into_iter().filter_map(|(via, is_down)| {
            let before = self.damping.get(&via).copied();
            let is_down = is_down.unwrap_or_else(|| before.is_some_and(|known| known.is_down_yet(now)));

            Damping::carried_on(before, is_down, now).map(|damping| (via, damping))
        });
        self.damping = carried.collect();

        self
    }

    /// Notes that a path that worked was left for a better one.
    #[must_use]
    pub fn with_improvement(mut self, now: Boot) -> Self {
        self.improved.push(now);

        self
    }

    /// What is owed of this trend so long after a moment, on a clock of which it is `to` by then.
    #[must_use]
    pub fn moved(&self, (from, passed): (Boot, Duration), to: Boot) -> Self {
        let until = from.after(passed);
        let debits = self.damping.iter();

        Self {
            since: BTreeMap::new(),
            damping: debits
                .map(|(via, damping)| (*via, damping.moved(until, to)))
                .collect(),
            improved: self
                .improvements(until)
                .map(|at| to.before(until.since(at)))
                .collect(),
        }
    }

    /// What a path has to its debit.
    pub fn damping(&self, via: Via) -> Option<&Damping> {
        self.damping.get(&via)
    }

    /// How long a path must be better before a good one is left for it: [`HOLD`], doubled by every such move of the last
    /// hour. A path that fails every few minutes draws the route back a few times, and then not any more.
    pub fn hold(&self, now: Boot) -> Duration {
        let moves = u32::try_from(self.improvements(now).count()).unwrap_or(DOUBLINGS);

        HOLD * (1 << moves.min(DOUBLINGS))
    }

    fn improvements(&self, now: Boot) -> impl Iterator<Item = Boot> {
        let is_recent = move |at: &Boot| now.since(*at) < BRAKED;

        self.improved.iter().copied().filter(is_recent)
    }

    /// The paths of which it has been so for `duration` at least.
    pub fn for_long(&self, aspect: Aspect, duration: Duration, now: Boot) -> impl Iterator<Item = Via> {
        let all = self.since.range((aspect, Via::Direct)..);
        let of_aspect = all.take_while(move |((other, _), _)| *other == aspect);

        of_aspect
            .filter(move |(_, since)| now.since(**since) >= duration)
            .map(|((_, via), _)| *via)
    }

    /// How long it has been so; none if it is not.
    pub fn lasting(&self, aspect: Aspect, via: Via, now: Boot) -> Option<Duration> {
        self.since.get(&(aspect, via)).map(|since| now.since(*since))
    }

    /// Everything that it remembers.
    pub(crate) fn memory(&self) -> Memory {
        Memory {
            lasting: self
                .since
                .iter()
                .map(|((aspect, via), since)| Lasting {
                    aspect: *aspect,
                    via: *via,
                    since: *since,
                })
                .collect(),
            debits: self
                .damping
                .iter()
                .map(|(via, damping)| Debit {
                    via: *via,
                    damping: *damping,
                })
                .collect(),
            improved: self.improved.clone(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.since.is_empty() && self.damping.is_empty() && self.improved.is_empty()
    }
}

impl From<&Memory> for Trend {
    fn from(memory: &Memory) -> Self {
        let lasting = memory.lasting.iter();
        let debits = memory.debits.iter();

        Self {
            since: lasting.map(|it| ((it.aspect, it.via), it.since)).collect(),
            damping: debits.map(|it| (it.via, it.damping)).collect(),
            improved: memory.improved.clone(),
        }
    }
}

/// A trend laid out for a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Ascending.
    #[n(0)]
    pub lasting: Vec<Lasting>,
    /// By path.
    #[n(1)]
    pub debits: Vec<Debit>,
    /// When a path that worked was left for a better one.
    #[n(2)]
    pub improved: Vec<Boot>,
}

/// What has been so, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Lasting {
    #[n(0)]
    pub aspect: Aspect,
    #[n(1)]
    pub via: Via,
    #[n(2)]
    pub since: Boot,
}

/// What a path has to its debit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Debit {
    #[n(0)]
    pub via: Via,
    #[n(1)]
    pub damping: Damping,
}

/// The running trends of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Trends(BTreeMap<RouteId, Arc<Trend>>);

impl Trends {
    pub fn of(&self, route: RouteId) -> &Trend {
        self.0.get(&route).map_or(&NONE, Arc::as_ref)
    }

    /// Keeps what an outcome says of its route.
    pub fn set(&mut self, route: RouteId, trend: Arc<Trend>) {
        match trend.is_empty() {
            true => self.0.remove(&route),
            false => self.0.insert(route, trend),
        };
    }
}

static NONE: Trend = Trend {
    since: BTreeMap::new(),
    damping: BTreeMap::new(),
    improved: Vec::new(),
};

/// Three windows of 10 s (DESIGN 5): how long something must be better before a good path is left for it.
pub const HOLD: Duration = Duration::from_secs(30);
/// How long a move counts.
pub const BRAKED: Duration = Duration::from_hours(1);
/// At most 32 times [`HOLD`], a quarter of an hour: about as long as a damped path waits.
const DOUBLINGS: u32 = 5;
