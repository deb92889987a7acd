//! Observers that are not believed alone.
//!
//! A probe goes out and comes back over the same path, so whatever stops one end's probes stops the other's. An end that
//! calls many paths down while their far ends find them well is itself what is ill: its host, its clock, or the way its
//! reports take. Then its word moves a route only together with the far end's, and its routes are not improved; a path that
//! both ends report down moves as ever, and what agents do by themselves is never held back.
//!
//! What the far end said before the trouble began is no contradiction: hosts that died said that all was well. But so much
//! bad news at once is believed only when the far ends have been heard, or are not heard any more.

use std::collections::{BTreeMap, BTreeSet};

use protocol::id::{NodeId, RouteId};
use protocol::limits::STANDBYS;
use protocol::time::Boot;

use crate::evidence::Ends;
use crate::member::Member;
use crate::observations::{FRESH, Observations, PathSeen};
use crate::policy::Wanted;

/// Whose reports are looked at together.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Circle {
    Observer(NodeId),
    /// Every node with this label `site`.
    Site(String),
    /// All that this controller hears of the cluster.
    Cluster,
}

/// A circle that is suspected, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspect {
    pub circle: Circle,
    pub count: Count,
}

/// What a circle reports of the paths that end at it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Count {
    pub paths: u32,
    /// Called down.
    pub bad: u32,
    /// Of these, those that the far end last found well, be it before.
    pub well: u32,
    /// Of these, those that the far end has found well since.
    pub disputed: u32,
    /// Sites of the far ends of what is called down; a node without the label is one of its own.
    pub sites: u32,
}

impl Count {
    /// So much at once that the far ends are to be heard first.
    const fn is_doubtful(&self) -> bool {
        let is_wide = self.paths >= PATHS && self.sites >= SITES;

        is_wide && 100 * self.bad >= PERCENT * self.paths && 2 * self.well >= self.bad
    }

    const fn is_suspect(&self) -> bool {
        self.is_doubtful() && 2 * self.disputed >= self.bad
    }
}

/// Whom to doubt at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Suspicion {
    suspects: Vec<Suspect>,
    observers: BTreeSet<NodeId>,
}

impl Suspicion {
    /// Looks at what is fresh of the wanted routes.
    pub fn of(
        observations: &Observations,
        members: &BTreeMap<NodeId, Member>,
        wanted: &Wanted,
        now: Boot,
    ) -> Self {
        let mut tallies: BTreeMap<Circle, Tally> = BTreeMap::new();
        for source in observations.reporters() {
            let tally = Tally::of(source, observations, members, wanted, now);
            let circles = [
                Some(Circle::Observer(source)),
                label(members, source).map(Circle::Site),
                Some(Circle::Cluster),
            ];
            for circle in circles.into_iter().flatten() {
                tallies.entry(circle).or_default().add(&tally);
            }
        }
        let doubtful: Vec<Suspect> = tallies
            .into_iter()
            .map(|(circle, tally)| (circle, tally.count()))
            .filter(|(_, count)| count.is_doubtful())
            .map(|(circle, count)| Suspect { circle, count })
            .collect();

        Self {
            observers: observers(&doubtful, observations, members),
            suspects: doubtful
                .into_iter()
                .filter(|suspect| suspect.count.is_suspect())
                .collect(),
        }
    }

    /// As a case has it: whether all improvement is frozen, and which of its ends are doubted.
    pub(crate) fn as_known(freezes: bool, observers: BTreeSet<NodeId>) -> Self {
        let somebody = Suspect {
            circle: Circle::Cluster,
            count: Count::default(),
        };

        Self {
            suspects: freezes.then_some(somebody).into_iter().collect(),
            observers,
        }
    }

    /// Whether this end's word alone counts for nothing.
    pub fn doubts(&self, observer: NodeId) -> bool {
        self.observers.contains(&observer)
    }

    /// Whether nothing is improved for now, wherever it is: all that is heard is suspect. One observer, or one site, has that
    /// power over its own routes only.
    pub fn freezes(&self) -> bool {
        self.suspects
            .iter()
            .any(|suspect| suspect.circle == Circle::Cluster)
    }

    /// Whether this route is not improved for now.
    pub fn freezes_between(&self, ends: Ends) -> bool {
        self.freezes() || ends.both().into_iter().any(|end| self.doubts(end))
    }

    /// Everyone whose word alone counts for nothing.
    pub fn observers(&self) -> &BTreeSet<NodeId> {
        &self.observers
    }

    pub fn suspects(&self) -> &[Suspect] {
        &self.suspects
    }
}

/// Answered, and blamed by nobody.
pub(crate) fn is_well(seen: &PathSeen) -> bool {
    seen.rtt_us.is_some() && seen.window > 0 && !seen.is_down()
}

fn observers(
    doubtful: &[Suspect],
    observations: &Observations,
    members: &BTreeMap<NodeId, Member>,
) -> BTreeSet<NodeId> {
    let is_doubtful = |circle: &Circle| doubtful.iter().any(|suspect| suspect.circle == *circle);
    if doubtful.is_empty() {
        return BTreeSet::new();
    }
    let is_doubted = |observer: &NodeId| {
        is_doubtful(&Circle::Cluster)
            || is_doubtful(&Circle::Observer(*observer))
            || label(members, *observer).is_some_and(|site| is_doubtful(&Circle::Site(site)))
    };

    observations.reporters().filter(is_doubted).collect()
}

#[derive(Debug, Default)]
struct Tally {
    paths: u32,
    bad: u32,
    well: u32,
    disputed: u32,
    sites: BTreeSet<String>,
}

impl Tally {
    /// What one observer reports. Paths that nobody decided are anybody's to invent: of each wanted route as many count as
    /// it can have.
    fn of(
        source: NodeId,
        observations: &Observations,
        members: &BTreeMap<NodeId, Member>,
        wanted: &Wanted,
        now: Boot,
    ) -> Self {
        let mut tally = Self::default();
        let mut last: Option<(RouteId, Option<NodeId>, usize)> = None;
        let is_fresh = |seen: &PathSeen| now.since(seen.at) <= FRESH;
        for (route, via, seen) in observations
            .of_reporter(source)
            .filter(|(.., seen)| is_fresh(seen))
        {
            let (far, counted) = match last {
                Some((same, far, counted)) if same == route => (far, counted),
                Some(_) | None => {
                    let far = wanted
                        .find(route)
                        .and_then(|wanted| wanted.ends().peer_of(source));

                    (far, 0)
                }
            };
            last = Some((route, far, counted + 1));
            let Some(far) = far.filter(|_| counted < PATHS_OF_ROUTE) else {
                continue;
            };
            tally.paths += 1;
            if seen.is_down() {
                let answer = observations
                    .path(far, route, via)
                    .filter(|answer| is_fresh(answer));
                tally.take_bad(seen, answer);
                tally.sites.insert(site(members, far));
            }
        }

        tally
    }

    /// A path is called down; `answer` is what the far end says of it.
    fn take_bad(&mut self, seen: &PathSeen, answer: Option<&PathSeen>) {
        let well = answer.filter(|answer| is_well(answer));
        let is_later = well.is_some_and(|answer| Some(answer.at) >= seen.down_since);
        self.bad += 1;
        self.well += u32::from(well.is_some());
        self.disputed += u32::from(is_later);
    }

    fn add(&mut self, other: &Self) {
        self.paths += other.paths;
        self.bad += other.bad;
        self.well += other.well;
        self.disputed += other.disputed;
        self.sites.extend(other.sites.iter().cloned());
    }

    fn count(&self) -> Count {
        Count {
            paths: self.paths,
            bad: self.bad,
            well: self.well,
            disputed: self.disputed,
            sites: u32::try_from(self.sites.len()).unwrap_or(u32::MAX),
        }
    }
}

fn label(members: &BTreeMap<NodeId, Member>, node: NodeId) -> Option<String> {
    members.get(&node)?.labels.get("site").map(str::to_owned)
}

fn site(members: &BTreeMap<NodeId, Member>, node: NodeId) -> String {
    label(members, node).unwrap_or_else(|| node.to_string())
}

/// DESIGN 5: from so many paths and sites on, and from such a share on, it is no accident of one path.
const PATHS: u32 = 20;
const SITES: u32 = 3;
const PERCENT: u32 = 30;
/// Of one route: its path and its standbys, and one that it has just left.
const PATHS_OF_ROUTE: usize = STANDBYS + 2;
