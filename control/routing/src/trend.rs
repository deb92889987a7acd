//! Since when something has been so without a break: the memory between two passes, lost at a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::id::RouteId;
use protocol::time::Boot;

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
pub struct Trend(BTreeMap<(Aspect, Via), Boot>);

impl Trend {
    /// This trend carried on: what still holds keeps its start, what is new starts now, the rest ends.
    pub fn carried_on(&self, holding: impl IntoIterator<Item = (Aspect, Via)>, now: Boot) -> Self {
        let since = |key: &(Aspect, Via)| self.0.get(key).copied().unwrap_or(now);

        Self(holding.into_iter().map(|key| (key, since(&key))).collect())
    }

    /// How long it has been so; none if it is not.
    pub fn lasting(&self, aspect: Aspect, via: Via, now: Boot) -> Option<Duration> {
        self.0.get(&(aspect, via)).map(|since| now.since(*since))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The running trends of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Trends(BTreeMap<RouteId, Trend>);

impl Trends {
    pub fn of(&self, route: RouteId) -> &Trend {
        self.0.get(&route).unwrap_or(&NONE)
    }

    /// Keeps what an outcome says of its route.
    pub fn set(&mut self, route: RouteId, trend: Trend) {
        match trend.is_empty() {
            true => self.0.remove(&route),
            false => self.0.insert(route, trend),
        };
    }
}

static NONE: Trend = Trend(BTreeMap::new());
