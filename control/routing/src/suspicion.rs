//! Observers that are not believed alone.
//!
//! A probe goes out and comes back over the same path, so whatever stops one end's probes stops the other's. An end that
//! calls many paths down while their far ends find them well is itself what is ill: its host, its clock, or the way its
//! reports take. Then its word moves a route only together with the far end's, and its routes are not improved; what agents do by
//! themselves is never held back.
//!
//! A path that both ends report down moves at once, with two exceptions, where it moves once they have said so for
//! [`STEADY`](crate::evidence::STEADY): both ends are themselves ill, or all that is heard is suspect. The latter stands for
//! [`QUIET`] after its last sign, since what spoils reports by chance now and then spoils so many that nobody is left to
//! contradict.
//!
//! What the far end said before the trouble began is no contradiction: hosts that died said that all was well. But so much
//! bad news at once is believed only when the far ends have been heard, or are not heard any more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::id::NodeId;
use protocol::time::Boot;

use crate::evidence::Ends;
use crate::member::Member;
use crate::observations::Observations;
use crate::policy::Wanted;
use crate::tally::{Sum, Tallies, Tally};

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
    /// Of these, those that are doubted for what they say themselves, or since everybody is; not for their site alone.
    ill: BTreeSet<NodeId>,
    /// When all that is heard was suspect last, as long as that is not longer ago than [`QUIET`].
    alarmed: Option<Boot>,
}

/// What a case has of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    pub(crate) freezes: bool,
    pub(crate) observers: BTreeSet<NodeId>,
    pub(crate) ill: BTreeSet<NodeId>,
    /// When it was, if all that was heard was suspect within [`QUIET`].
    pub(crate) alarmed: Option<Boot>,
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
        let (mut all, mut worst) = (Sum::default(), 0);
        let mut everybody = Vec::new();
        let mut by_site: BTreeMap<&str, (Sum, Vec<NodeId>)> = BTreeMap::new();
        let mut doubts = Doubts {
            tallies,
            members,
            suspicion: Self::default(),
        };
        for (observer, tally) in tallies.iter() {
            doubts.look(Circle::Observer(observer), tally.sum, &[observer]);
            all.add(tally.sum);
            worst = worst.max(tally.sum.bad);
            everybody.push(observer);
            if let Some(site) = label(members, observer) {
                let (sum, observers) = by_site.entry(site).or_default();
                sum.add(tally.sum);
                observers.push(observer);
            }
        }
        for (site, (sum, observers)) in by_site {
            doubts.look(Circle::Site(site.to_owned()), sum, &observers);
        }
        // One that lies or is ill, be it the hub of all, makes nobody else suspect.
        if OBSERVERS * worst <= all.bad {
            doubts.look(Circle::Cluster, all, &everybody);
        }

        doubts.suspicion
    }

    /// Goes on from what was before: that all was suspect is not forgotten at once.
    #[must_use]
    pub fn following(mut self, before: &Self, now: Boot) -> Self {
        let lasting = before.alarmed.filter(|at| now.since(*at) <= QUIET);
        self.alarmed = self.freezes().then_some(now).or(lasting);

        self
    }

    /// As a case has it: whether all improvement is frozen, and which of its ends are doubted.
    pub(crate) fn as_known(known: Known) -> Self {
        let somebody = Suspect {
            circle: Circle::Cluster,
            count: Count::default(),
        };

        Self {
            suspects: known.freezes.then_some(somebody).into_iter().collect(),
            observers: known.observers,
            ill: known.ill,
            alarmed: known.alarmed,
        }
    }

    /// Whether this end's word alone counts for nothing.
    pub fn doubts(&self, observer: NodeId) -> bool {
        self.observers.contains(&observer)
    }

    /// Whether this end is doubted for what it says itself, or since everybody is; not for what others of its site say.
    pub fn is_ill(&self, observer: NodeId) -> bool {
        self.ill.contains(&observer)
    }

    /// Whether all that is heard is suspect, or was within [`QUIET`]: chance may have a hand in anything.
    pub const fn is_wary(&self) -> bool {
        self.alarmed.is_some()
    }

    /// When all that is heard was suspect last; none if that is over.
    pub(crate) const fn alarmed(&self) -> Option<Boot> {
        self.alarmed
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

/// Whom to doubt, as one circle after the other is looked at. Each costs what its observers blame: when a site is lost, nearly
/// everybody is looked at closely.
struct Doubts<'a> {
    tallies: &'a Tallies,
    members: &'a BTreeMap<NodeId, Member>,
    suspicion: Suspicion,
}

impl Doubts<'_> {
    fn look(&mut self, circle: Circle, sum: Sum, observers: &[NodeId]) {
        if !is_much(sum) {
            return;
        }
        let count = Count::of(sum, &self.sites_blamed(observers));
        if !count.is_doubtful() {
            return;
        }
        self.suspicion.observers.extend(observers);
        match circle {
            Circle::Observer(_) | Circle::Cluster => self.suspicion.ill.extend(observers),
            Circle::Site(_) => {}
        }
        if count.is_suspect() {
            self.suspicion.suspects.push(Suspect { circle, count });
        }
    }

    /// The sites of the far ends of what these observers call down.
    fn sites_blamed(&self, observers: &[NodeId]) -> BTreeSet<String> {
        let tallies = observers
            .iter()
            .filter_map(|observer| self.tallies.find(*observer));
        let blamed: BTreeSet<NodeId> = tallies.flat_map(Tally::blamed).collect();
        let site = |node: NodeId| label(self.members, node).map_or_else(|| node.to_string(), str::to_owned);

        blamed.into_iter().map(site).collect()
    }
}

fn label(members: &BTreeMap<NodeId, Member>, node: NodeId) -> Option<&str> {
    members.get(&node)?.labels.get("site")
}

/// DESIGN 5: from so many paths and sites on, and from such a share on, it is no accident of one path.
const PATHS: u32 = 20;
const SITES: u32 = 3;
const PERCENT: u32 = 30;
/// Nobody has a larger part in what makes everybody suspect than one of so many.
const OBSERVERS: u32 = 3;
/// So long after the last sign of it a suspicion is over, as far as findings go and what waits for [`Suspicion::is_wary`].
pub const QUIET: Duration = Duration::from_mins(10);
