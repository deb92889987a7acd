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

use protocol::id::NodeId;
use protocol::time::Boot;

use crate::evidence::Ends;
use crate::member::Member;
use crate::observations::Observations;
use crate::policy::Wanted;
use crate::tally::{Sum, Tallies};

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
    /// Of these, those that the far end last found well, be it before, as long as that is not old.
    pub well: u32,
    /// Of these, those that the far end has found well since.
    pub disputed: u32,
    /// Sites of the far ends of what is called down; a node without the label is one of its own.
    pub sites: u32,
}

impl Count {
    fn of(sum: Sum, sites: &BTreeSet<String>) -> Self {
        Self {
            paths: sum.paths,
            bad: sum.bad,
            well: sum.well,
            disputed: sum.disputed,
            sites: u32::try_from(sites.len()).unwrap_or(u32::MAX),
        }
    }

    /// So much at once, and so wide, that the far ends are to be heard first.
    const fn is_doubtful(&self) -> bool {
        self.sites >= SITES
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
    /// Looks at what is fresh of the wanted routes, all of it.
    pub fn of(
        observations: &Observations,
        members: &BTreeMap<NodeId, Member>,
        wanted: &Wanted,
        now: Boot,
    ) -> Self {
        let mut tallies = Tallies::default();
        tallies.update(observations, wanted, now);

        Self::among(&tallies, members)
    }

    /// Looks at what is counted already.
    pub fn among(tallies: &Tallies, members: &BTreeMap<NodeId, Member>) -> Self {
        let mut all = Sum::default();
        let mut by_site: BTreeMap<&str, Sum> = BTreeMap::new();
        for (observer, tally) in tallies.iter() {
            all.add(tally.sum);
            if let Some(site) = label(members, observer) {
                by_site.entry(site).or_default().add(tally.sum);
            }
        }
        let single = tallies
            .iter()
            .map(|(observer, tally)| (Circle::Observer(observer), tally.sum));
        let sites = by_site
            .into_iter()
            .map(|(site, sum)| (Circle::Site(site.to_owned()), sum));
        let doubtful = single
            .chain(sites)
            .chain([(Circle::Cluster, all)])
            .filter(|(_, sum)| is_much(*sum))
            .map(|(circle, sum)| Suspect {
                count: Count::of(sum, &sites_blamed(&circle, tallies, members)),
                circle,
            });
        let doubtful: Vec<Suspect> = doubtful.filter(|suspect| suspect.count.is_doubtful()).collect();

        Self {
            observers: observers(&doubtful, tallies, members),
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

/// Whether so much is called down at once, and so much of that was found well, that it matters how wide it is.
const fn is_much(sum: Sum) -> bool {
    sum.paths >= PATHS && 100 * sum.bad >= PERCENT * sum.paths && 2 * sum.well >= sum.bad
}

/// The sites of the far ends of what a circle calls down.
fn sites_blamed(circle: &Circle, tallies: &Tallies, members: &BTreeMap<NodeId, Member>) -> BTreeSet<String> {
    let is_within = |observer: NodeId| is_within(circle, observer, members);
    let blamed: BTreeSet<NodeId> = tallies
        .iter()
        .filter(|(observer, _)| is_within(*observer))
        .flat_map(|(_, tally)| tally.blamed())
        .collect();
    let site = |node: NodeId| label(members, node).map_or_else(|| node.to_string(), str::to_owned);

    blamed.into_iter().map(site).collect()
}

fn observers(
    doubtful: &[Suspect],
    tallies: &Tallies,
    members: &BTreeMap<NodeId, Member>,
) -> BTreeSet<NodeId> {
    let is_doubted = |observer: &NodeId| {
        doubtful
            .iter()
            .any(|suspect| is_within(&suspect.circle, *observer, members))
    };

    tallies
        .iter()
        .map(|(observer, _)| observer)
        .filter(is_doubted)
        .collect()
}

fn is_within(circle: &Circle, observer: NodeId, members: &BTreeMap<NodeId, Member>) -> bool {
    match circle {
        Circle::Observer(node) => *node == observer,
        Circle::Site(site) => label(members, observer) == Some(site),
        Circle::Cluster => true,
    }
}

fn label(members: &BTreeMap<NodeId, Member>, node: NodeId) -> Option<&str> {
    members.get(&node)?.labels.get("site")
}

/// DESIGN 5: from so many paths and sites on, and from such a share on, it is no accident of one path.
const PATHS: u32 = 20;
const SITES: u32 = 3;
const PERCENT: u32 = 30;
