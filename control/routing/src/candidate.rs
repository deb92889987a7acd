//! The candidates of one route: direct and each relay, judged, best first.

use std::time::Duration;

use protocol::document::routes::{LeaseKind, Path, Reason};
use protocol::limits::LEASE_ROWS;
use protocol::time::Now;

use crate::decide::Snapshot;
use crate::evidence::{Ends, Evidence, Hearing};
use crate::lease::{Lease, LeaseState};
use crate::pool::{Relay, RelayStanding};
use crate::reasons::Reasons;
use crate::reservation::{Reservations, Room};
use crate::route::RouteRow;
use crate::score::{LossClass, RttClass, Score, Stickiness, Subject, Tier, margin_us};
use crate::trend::Trend;
use crate::via::Via;

/// One way to go, judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Candidate<'a> {
    pub via: Via,
    /// None if direct.
    pub relay: Option<&'a Relay>,
    pub score: Score,
    pub evidence: Evidence,
    pub reasons: Reasons,
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

impl Candidate<'_> {
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
        self.reasons.contains(Reason::RelayDraining)
            && !self.reasons.contains(Reason::StaleExactRelay)
            && !self.reasons.contains(Reason::LinkDown)
    }

    /// Whether it is better than `other` by enough to leave that for it.
    ///
    /// Classes have edges and a value can sit on one, so a shorter round trip must also be shorter by the margin, and
    /// a lower load by two classes.
    pub fn is_better_than(&self, other: &Candidate<'_>) -> bool {
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

fn is_shorter(one: &Candidate<'_>, other: &Candidate<'_>) -> bool {
    let (Some(one), Some(other)) = (one.evidence.rtt_us, other.evidence.rtt_us) else {
        return other.score.class.rtt == RttClass::UNKNOWN;
    };

    u64::from(one) + margin_us(u64::from(other)) <= u64::from(other)
}

/// Judges every candidate of a route, best first.
pub fn appraise<'a>(
    input: &Snapshot<'a>,
    ends: Ends,
    current: Option<Via>,
    reserved: &Reservations,
    now: Now,
) -> Vec<Candidate<'a>> {
    let from = input.routes.find(ends.route).map_or(0, RouteRow::evident_from);
    let mut bench = Bench {
        ends,
        trend: input.trends.of(ends.route),
        current,
        leases: input.leases.of_route(ends.route).collect(),
        hearing: Hearing::of(input, ends, from, now.boot),
        now,
    };
    let mut candidates = Vec::with_capacity(input.relays.len() + 1);
    candidates.push(bench.direct());
    let relays = input.relays.iter().zip(reserved.rooms());
    let others = relays.filter(|(relay, _)| !ends.both().contains(&relay.node));
    candidates.extend(others.map(|(relay, room)| bench.relayed(relay, room)));
    mark_healthy(&mut candidates);

    in_order(&candidates)
}

/// What judging one candidate after the other needs, found once for the route.
struct Bench<'a> {
    ends: Ends,
    trend: &'a Trend,
    current: Option<Via>,
    leases: Vec<&'a Lease>,
    hearing: Hearing<'a>,
    now: Now,
}

impl<'a> Bench<'a> {
    fn direct(&self) -> Candidate<'a> {
        let subject = self.subject(Via::Direct, None, Stickiness::Leased, 0);

        self.judge(
            &subject,
            self.hearing.direct(),
            (Standing::Granted, Some(Path::Direct)),
        )
    }

    /// In the order of the pool.
    fn relayed(&mut self, relay: &'a Relay, room: Room) -> Candidate<'a> {
        let lease = self
            .leases
            .iter()
            .find(|lease| lease.relay == relay.node)
            .copied();
        let (standing, barred_for) = standing(Service::of_relay(relay, room.rows), lease, self.now);
        let sticky = match standing {
            Standing::Granted | Standing::Pending => Stickiness::Leased,
            Standing::Overdue | Standing::None | Standing::Barred => Stickiness::New,
        };
        let subject = self.subject(Via::Relay(relay.node), Some(relay.standing), sticky, room.load());
        let path = lease
            .filter(|lease| lease.state == LeaseState::Active)
            .and_then(Lease::path);
        let evidence = self.hearing.through(relay.node);
        let mut judged = self.judge(&subject, evidence, (standing, path));
        judged.relay = Some(relay);
        judged.reasons.extend(barred_for);

        judged
    }

    fn subject(
        &self,
        via: Via,
        standing: Option<RelayStanding>,
        sticky: Stickiness,
        reserved: u32,
    ) -> Subject {
        let damping = self.trend.damping(via);

        Subject {
            route: self.ends.route,
            via,
            standing,
            sticky: match self.current == Some(via) {
                true => Stickiness::Current,
                false => sticky,
            },
            reserved,
            is_damped: damping.is_some_and(|damping| damping.is_suppressed(self.now.boot)),
        }
    }

    fn judge(
        &self,
        subject: &Subject,
        evidence: Evidence,
        (lease, path): (Standing, Option<Path>),
    ) -> Candidate<'a> {
        let (score, reasons) = Score::of(subject, &evidence);
        let damping = self.trend.damping(subject.via);

        Candidate {
            via: subject.via,
            relay: None,
            score,
            evidence,
            reasons,
            path,
            lease,
            on_probation: damping.is_some_and(|damping| damping.is_on_probation(self.now.boot)),
        }
    }
}

/// What a node could do for a route.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Service {
    pub(crate) kind: LeaseKind,
    pub(crate) standing: RelayStanding,
    pub(crate) is_full: bool,
}

impl Service {
    fn of_relay(relay: &Relay, rows: usize) -> Self {
        Self {
            kind: LeaseKind::Relay,
            standing: relay.standing,
            is_full: rows >= LEASE_ROWS,
        }
    }
}

/// How far a route is with the right to a service; `lease`: the one that it has with that node, if any. One of another kind
/// must end before.
pub(crate) fn standing(service: Service, lease: Option<&Lease>, now: Now) -> (Standing, Option<Reason>) {
    match (lease.filter(|lease| lease.is_live()), service.standing) {
        (Some(lease), _) if lease.kind != service.kind => (Standing::Barred, Some(Reason::LeasePending)),
        (Some(lease), _) if lease.state == LeaseState::Active => (Standing::Granted, None),
        (Some(lease), _) if now.wall.since(lease.granted_at) > PATIENCE => {
            (Standing::Overdue, Some(Reason::LeasePending))
        }
        (Some(_), _) => (Standing::Pending, Some(Reason::LeasePending)),
        (None, RelayStanding::Draining | RelayStanding::Offline) => (Standing::Barred, None),
        (None, RelayStanding::Ready) if service.is_full => (Standing::Barred, Some(Reason::RelayFull)),
        (None, RelayStanding::Ready) => (Standing::None, None),
    }
}

/// Best first. A candidate is several times as long as what it is ordered by.
fn in_order<'a>(candidates: &[Candidate<'a>]) -> Vec<Candidate<'a>> {
    let keys = candidates
        .iter()
        .enumerate()
        .map(|(at, candidate)| (candidate.score, candidate.via, at));
    let mut order: Vec<(Score, Via, usize)> = keys.collect();
    order.sort_unstable();

    order.into_iter().map(|(.., at)| candidates[at]).collect()
}

/// Says of the paths in the best round-trip class that they are healthy and fast.
fn mark_healthy(candidates: &mut [Candidate<'_>]) {
    let is_healthy = |candidate: &Candidate<'_>| {
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
