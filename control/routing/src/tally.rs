//! What each observer reports of the paths that end at it, counted again when somebody concerned says something, and kept
//! from pass to pass: a pass that walked through all that is heard would do so up to fifty times a second.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{NodeId, RouteId};
use protocol::limits::STANDBYS;
use protocol::time::Boot;

use crate::observations::{FRESH, Observations, PathSeen};
use crate::policy::Wanted;

/// The counts of every observer. They hold for copies of one store of observations, and for one set of wanted routes: where
/// these change, their ends are to be [counted again](Tallies::recount).
#[derive(Clone, Debug, Default)]
pub struct Tallies {
    observers: BTreeMap<NodeId, Tally>,
    /// Who calls a path to this node down: its answers count there.
    blamers: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

/// What one observer reports.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    pub(crate) sum: Sum,
    /// By the far end, where something is called down.
    bad: BTreeMap<NodeId, (RouteId, Sum)>,
    /// Of its reports, when they were counted.
    version: u64,
    /// As long as nothing that was counted is too old.
    until: Boot,
}

/// Paths of one or more routes, seen from one end of each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) paths: u32,
    /// Called down.
    pub(crate) bad: u32,
    /// Of these, those that the far end last found well, be it before, as long as that is not old.
    pub(crate) well: u32,
    /// Of these, those that the far end has found well since.
    pub(crate) disputed: u32,
}

impl Tallies {
    /// Brings the counts up to what is known at `now`.
    pub fn update(&mut self, observations: &Observations, wanted: &Wanted, now: Boot) {
        let heard: BTreeMap<NodeId, u64> = observations.versions().collect();
        let told = |node: &NodeId| self.observers.get(node).map(|tally| tally.version);
        let has_changed = |node: &&NodeId| told(node) != heard.get(*node).copied();
        let known = self.observers.keys().chain(heard.keys());
        let changed: BTreeSet<NodeId> = known.filter(has_changed).copied().collect();
        let is_over = |(_, tally): &(&NodeId, &Tally)| tally.until < now;
        let over = self.observers.iter().filter(is_over).map(|(node, _)| *node);
        let anew: BTreeSet<NodeId> = changed.iter().copied().chain(over).collect();
        for observer in &anew {
            let version = heard.get(observer);
            let tally = version.map(|version| Tally::of(*observer, *version, observations, wanted, now));
            self.put(*observer, tally);
        }
        for far in changed {
            let blamers = self.blamers.get(&far).into_iter().flatten();
            for blamer in blamers.filter(|blamer| !anew.contains(blamer)) {
                if let Some(tally) = self.observers.get_mut(blamer) {
                    tally.hear(*blamer, far, observations, now);
                }
            }
        }
    }

    /// Has an observer counted again: the wanted routes that end there are others.
    pub fn recount(&mut self, observer: NodeId) {
        if let Some(tally) = self.observers.get_mut(&observer) {
            tally.version = STALE;
        }
    }

    pub(crate) fn find(&self, observer: NodeId) -> Option<&Tally> {
        self.observers.get(&observer)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Tally)> {
        self.observers.iter().map(|(observer, tally)| (*observer, tally))
    }

    fn put(&mut self, observer: NodeId, tally: Option<Tally>) {
        for far in tally.iter().flat_map(Tally::blamed) {
            self.blamers.entry(far).or_default().insert(observer);
        }
        let after: BTreeSet<NodeId> = tally.iter().flat_map(Tally::blamed).collect();
        let before = match tally {
            Some(tally) => self.observers.insert(observer, tally),
            None => self.observers.remove(&observer),
        };
        let over = before.iter().flat_map(Tally::blamed);
        for far in over.filter(|far| !after.contains(far)) {
            if let Some(blamers) = self.blamers.get_mut(&far) {
                blamers.remove(&observer);
                if blamers.is_empty() {
                    self.blamers.remove(&far);
                }
            }
        }
    }
}

impl Tally {
    /// Counts all that `observer` says of wanted routes.
    fn of(observer: NodeId, version: u64, observations: &Observations, wanted: &Wanted, now: Boot) -> Self {
        let mut tally = Self {
            sum: Sum::default(),
            bad: BTreeMap::new(),
            version,
            until: NEVER,
        };
        let mut last = None;
        for (route, ..) in observations.of_reporter(observer) {
            if last.replace(route) == Some(route) {
                continue;
            }
            let ends = wanted.find(route).map(|wanted| wanted.ends());
            if let Some(far) = ends.and_then(|ends| ends.peer_of(observer)) {
                let sum = tally.count([observer, far], route, observations, now);
                tally.sum.add(sum);
                if sum.bad > 0 {
                    tally.bad.insert(far, (route, sum));
                }
            }
        }

        tally
    }

    /// The far ends of what is called down.
    pub(crate) fn blamed(&self) -> impl Iterator<Item = NodeId> {
        self.bad.keys().copied()
    }

    /// Takes in that `far` has said something: whether it contradicts may be another matter now.
    fn hear(&mut self, observer: NodeId, far: NodeId, observations: &Observations, now: Boot) {
        if let Some((route, before)) = self.bad.get(&far).copied() {
            let sum = self.count([observer, far], route, observations, now);
            self.sum.subtract(before);
            self.sum.add(sum);
            self.bad.insert(far, (route, sum));
        }
    }

    /// Counts one route. Paths that nobody decided are anybody's to invent: as many count as it can have.
    fn count(
        &mut self,
        [observer, far]: [NodeId; 2],
        route: RouteId,
        observations: &Observations,
        now: Boot,
    ) -> Sum {
        let is_fresh = |seen: &PathSeen| now.since(seen.at) <= FRESH;
        let fresh = observations
            .paths(observer, route)
            .filter(|(_, seen)| is_fresh(seen));
        let mut sum = Sum::default();
        for (via, seen) in fresh.take(PATHS_OF_ROUTE) {
            sum.paths += 1;
            self.until = self.until.min(seen.at.after(FRESH));
            if seen.is_down() {
                let answer = observations.path(far, route, via);
                let answer = answer.filter(|answer| answer.contradicts(seen, now));
                if let Some(answer) = answer {
                    self.until = self.until.min(answer.stands_until(seen));
                }
                sum.take_bad(seen, answer);
            }
        }

        sum
    }
}

impl Sum {
    /// A path is called down; `well` is what the far end says to the contrary.
    fn take_bad(&mut self, seen: &PathSeen, well: Option<&PathSeen>) {
        let is_later = well.is_some_and(|well| well.has_answered_since(seen));
        self.bad += 1;
        self.well += u32::from(well.is_some());
        self.disputed += u32::from(is_later);
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.paths += other.paths;
        self.bad += other.bad;
        self.well += other.well;
        self.disputed += other.disputed;
    }

    fn subtract(&mut self, other: Self) {
        self.paths -= other.paths;
        self.bad -= other.bad;
        self.well -= other.well;
        self.disputed -= other.disputed;
    }
}

/// Of one route: its path and its standbys, and one that it has just left.
const PATHS_OF_ROUTE: usize = STANDBYS + 2;
const NEVER: Boot = Boot(u64::MAX);
/// A version of reports that nobody has.
const STALE: u64 = u64::MAX;

#[cfg(test)]
mod tests;
