//! Since when something has been so without a break: the memory between two passes, lost at a restart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::id::RouteId;
use protocol::time::Boot;

use crate::damping::Damping;
use crate::via::Via;

/// What can be so for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Aspect {
    /// The path is better than the one in use.
    Better,
    /// The path would make a better standby than one that is.
    BetterStandby,
    /// The relay's lease is used by nothing.
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

    /// Notes which of the paths are down.
    #[must_use]
    pub fn with_paths(mut self, paths: impl IntoIterator<Item = (Via, bool)>, now: Boot) -> Self {
        let carried = paths.into_iter().filter_map(|(via, is_down)| {
            let before = self.damping.get(&via).copied();

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

    /// How long it has been so; none if it is not.
    pub fn lasting(&self, aspect: Aspect, via: Via, now: Boot) -> Option<Duration> {
        self.since.get(&(aspect, via)).map(|since| now.since(*since))
    }

    pub fn is_empty(&self) -> bool {
        self.since.is_empty() && self.damping.is_empty() && self.improved.is_empty()
    }
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
