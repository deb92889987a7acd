//! The candidates of one route: direct and each relay, judged, best first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::document::routes::{Path, Reason};
use protocol::id::NodeId;
use protocol::limits::LEASE_ROWS;
use protocol::time::Now;

use crate::case::CASES;
use crate::decide::Snapshot;
use crate::evidence::{Ends, Evidence};
use crate::lease::{LeaseState, RelayLease};
use crate::pool::{Relay, RelayStanding};
use crate::route::RouteRow;
use crate::score::{LossClass, RttClass, Score, Stickiness, Subject, Tier, margin_us};
use crate::via::Via;

/// One way to go, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub via: Via,
    pub score: Score,
    pub evidence: Evidence,
    pub reasons: BTreeSet<Reason>,
    /// The path to decide for; none while the relay has not acknowledged a lease.
    pub path: Option<Path>,
    pub lease: Standing,
    /// Whether it failed and has not worked for long enough since.
    pub on_probation: bool,
}

/// How far a candidate is with the right to be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Direct needs none, or the relay has acknowledged it.
    Granted,
    /// Granted, and not acknowledged yet.
    Pending,
    /// Granted for longer than [`PATIENCE`], and still not acknowledged.
    Overdue,
    /// Could be asked for.
    None,
    /// The relay takes nothing new.
    Barred,
}

impl Candidate {
    /// Whether a decision may name it now: the right is there, and nobody calls it down.
    pub fn is_open(&self) -> bool {
        self.path.is_some() && self.score.class.tier != Tier::Stale
    }

    /// Whether it would be open once leased.
    pub fn is_promising(&self) -> bool {
        let obtainable = match self.lease {
            Standing::Granted | Standing::Pending | Standing::None => true,
            Standing::Overdue | Standing::Barred => false,
        };

        obtainable && self.score.class.tier != Tier::Stale
    }

    /// Whether its own probes are answered, nearly all of them, as they have been for a while.
    pub fn is_sound(&self) -> bool {
        let class = self.score.class;
        let is_good = class.tier == Tier::Usable && class.loss != LossClass::High;

        self.is_open() && is_good && !self.on_probation
    }

    /// Whether it works and only its relay is leaving: to be replaced, with no hurry.
    pub fn is_draining(&self) -> bool {
        self.reasons.contains(&Reason::RelayDraining)
            && !self.reasons.contains(&Reason::StaleExactRelay)
            && !self.reasons.contains(&Reason::LinkDown)
    }

    /// Whether it is better than `other` by enough to leave that for it.
    ///
    /// Classes have edges and a value can sit on one, so a shorter round trip must also be shorter by the margin, and
    /// a lower load by two classes.
    pub fn is_better_than(&self, other: &Self) -> bool {
        let (this, that) = (self.score.class, other.score.class);
        if (this.tier, this.loss) != (that.tier, that.loss) {
            return (this.tier, this.loss) < (that.tier, that.loss);
        }
        if this.rtt > that.rtt || (this.rtt < that.rtt && is_shorter(self, other)) {
            return this.rtt < that.rtt;
        }
        if this.kind != that.kind {
            return this.kind < that.kind;
        }

        this.load.is_well_below(that.load)
    }
}

fn is_shorter(one: &Candidate, other: &Candidate) -> bool {
    let (Some(one), Some(other)) = (one.evidence.rtt_us, other.evidence.rtt_us) else {
        return other.score.class.rtt == RttClass::UNKNOWN;
    };

    u64::from(one) + margin_us(u64::from(other)) <= u64::from(other)
}

/// What this pass has promised so far, on top of what the books say: the next assignment sees it, so that many
/// orphans of one relay do not all choose the same next one.
#[derive(Clone, Debug, Default)]
pub struct Reservations {
    load: BTreeMap<NodeId, i64>,
    /// Rows of relays' tables.
    rows: BTreeMap<NodeId, usize>,
    /// Decisions of this pass whose cases were laid open.
    cases: usize,
}

impl Reservations {
    pub fn add(&mut self, relay: NodeId) {
        *self.load.entry(relay).or_default() += 1;
    }

    pub fn release(&mut self, relay: NodeId) {
        *self.load.entry(relay).or_default() -= 1;
    }

    /// As far ahead of the books as a case says that a pass was.
    pub(crate) fn ahead(&mut self, relay: NodeId, load: i64, rows: usize) {
        self.load.insert(relay, load);
        self.rows.insert(relay, rows);
    }

    /// Whether another case may be laid open in this pass, and if so counts it.
    pub(crate) fn open_case(&mut self) -> bool {
        let has_room = self.cases < CASES;
        self.cases += usize::from(has_room);

        has_room
    }

    /// A lease that is asked for.
    pub fn lease(&mut self, relay: NodeId) {
        self.add(relay);
        *self.rows.entry(relay).or_default() += 1;
    }

    /// Rows of the relay's table, promised ones included: what may be withdrawn meanwhile gives no room yet.
    pub fn rows(&self, input: &Snapshot<'_>, relay: NodeId) -> usize {
        input.leases.rows(relay) + self.rows.get(&relay).copied().unwrap_or(0)
    }

    /// Leases and routes of the relay, promised ones included.
    pub fn load(&self, input: &Snapshot<'_>, relay: NodeId) -> u32 {
        let rows = i64::try_from(input.leases.rows(relay)).unwrap_or(i64::MAX);
        let carried = i64::from(input.routes.carried_by(relay));
        let promised = self.load.get(&relay).copied().unwrap_or(0);
        let load = rows.saturating_add(carried).saturating_add(promised);

        u32::try_from(load.max(0)).unwrap_or(u32::MAX)
    }
}

/// Judges every candidate of a route, best first.
pub fn appraise(
    input: &Snapshot<'_>,
    ends: Ends,
    current: Option<Via>,
    reserved: &Reservations,
    now: Now,
) -> Vec<Candidate> {
    let trend = input.trends.of(ends.route);
    let is_damped = |via| {
        trend
            .damping(via)
            .is_some_and(|damping| damping.is_suppressed(now.boot))
    };
    let from = input.routes.find(ends.route).map_or(0, RouteRow::evident_from);
    let relays = input
        .relays
        .iter()
        .filter(|relay| !ends.both().contains(&relay.node));
    let sights = ends.both().map(|end| input.observations.sight(end));
    let leases: Vec<&RelayLease> = input.leases.of_route(ends.route).collect();
    let relayed = relays.map(|relay| {
        let lease = leases.iter().find(|lease| lease.relay == relay.node).copied();
        let load = reserved.load(input, relay.node);
        let (standing, barred_for) = standing(relay, lease, reserved.rows(input, relay.node), now);
        let sticky = match standing {
            Standing::Granted | Standing::Pending => Stickiness::Leased,
            Standing::Overdue | Standing::None | Standing::Barred => Stickiness::New,
        };
        let subject = Subject {
            route: ends.route,
            via: Via::Relay(relay.node),
            standing: Some(relay.standing),
            sticky,
            reserved: load,
            is_damped: is_damped(Via::Relay(relay.node)),
        };
        let path = lease
            .filter(|lease| lease.state == LeaseState::Active)
            .map(RelayLease::path);

        (subject, standing, path, barred_for)
    });
    let direct = Subject {
        route: ends.route,
        via: Via::Direct,
        standing: None,
        sticky: Stickiness::Leased,
        reserved: 0,
        is_damped: is_damped(Via::Direct),
    };
    let mut candidates: Vec<Candidate> = relayed
        .chain([(direct, Standing::Granted, Some(Path::Direct), None)])
        .map(|(mut subject, lease, path, barred_for)| {
            if current == Some(subject.via) {
                subject.sticky = Stickiness::Current;
            }
            let evidence = Evidence::gather((ends, sights), input.suspicion, subject.via, from, now.boot);
            let (score, mut reasons) = Score::of(&subject, &evidence);
            reasons.extend(barred_for);

            Candidate {
                via: subject.via,
                score,
                evidence,
                reasons,
                path,
                lease,
                on_probation: trend
                    .damping(subject.via)
                    .is_some_and(|damping| damping.is_on_probation(now.boot)),
            }
        })
        .collect();
    candidates.sort_by_key(|candidate| (candidate.score, candidate.via));
    mark_healthy(&mut candidates);

    candidates
}

fn standing(relay: &Relay, lease: Option<&RelayLease>, rows: usize, now: Now) -> (Standing, Option<Reason>) {
    match (lease.filter(|lease| lease.is_live()), relay.standing) {
        (Some(lease), _) if lease.state == LeaseState::Active => (Standing::Granted, None),
        (Some(lease), _) if now.wall.since(lease.granted_at) > PATIENCE => {
            (Standing::Overdue, Some(Reason::LeasePending))
        }
        (Some(_), _) => (Standing::Pending, Some(Reason::LeasePending)),
        (None, RelayStanding::Draining | RelayStanding::Offline) => (Standing::Barred, None),
        (None, RelayStanding::Ready) if rows >= LEASE_ROWS => (Standing::Barred, Some(Reason::RelayFull)),
        (None, RelayStanding::Ready) => (Standing::None, None),
    }
}

/// Says of the paths in the best round-trip class that they are healthy and fast.
fn mark_healthy(candidates: &mut [Candidate]) {
    let is_healthy = |candidate: &Candidate| {
        let class = candidate.score.class;

        class.tier == Tier::Usable && class.loss == LossClass::Clean
    };
    let best = candidates
        .iter()
        .filter(|candidate| is_healthy(candidate))
        .map(|candidate| candidate.score.class.rtt)
        .min();
    for candidate in candidates {
        if is_healthy(candidate) && Some(candidate.score.class.rtt) == best {
            candidate.reasons.insert(Reason::HealthyLowLatency);
        }
    }
}

/// How long a relay may take to acknowledge a lease before another one is asked: its own poll returns at once when
/// there is news, and after 10 s at the latest (DESIGN 4).
pub const PATIENCE: Duration = Duration::from_secs(15);
