//! Assigns a path and standbys to one wanted route.

use std::collections::BTreeSet;
use std::time::Duration;

use protocol::document::routes::{Action, LeaseKind, Path, Reason, Rendezvous};
use protocol::id::NodeId;
use protocol::limits::STANDBYS;
use protocol::time::{Boot, Now};

use crate::account;
use crate::candidate::{Candidate, Standing, appraise};
use crate::choose::{self, Primary, Standbys, WARM_UP};
use crate::decide::{Assigned, Change, Snapshot};
use crate::evidence::Ends;
use crate::lease::LeaseRequest;
use crate::meeting::{Held, Meeting, Why};
use crate::observations::FRESH;
use crate::policy::WantedRoute;
use crate::reasons::Reasons;
use crate::reservation::Reservations;
use crate::route::RouteRow;
use crate::score::{LossClass, Tier, margin_us};
use crate::trend::{Aspect, HOLD, Trend};
use crate::via::Via;

/// Decides one wanted route.
pub(crate) fn assign(input: &Snapshot<'_>, ends: Ends, reserved: &Reservations, now: Now) -> Assigned {
    let Some(wanted) = input.wanted.find(ends.route) else {
        return Assigned::nothing();
    };
    let decided = decided(input, ends);
    let candidates = appraise(input, ends, decided, reserved, now);

    Desk::of(input, (ends, wanted), &candidates, now).assign(decided, reserved)
}

/// Whether the ends of a route are to meet over a node that carries nothing for them, as a pass would find it now; none if the
/// route is not wanted.
pub(crate) fn meeting(
    input: &Snapshot<'_>,
    ends: Ends,
    reserved: &Reservations,
    now: Now,
) -> Option<Meeting> {
    let wanted = input.wanted.find(ends.route)?;
    let decided = decided(input, ends);
    let candidates = appraise(input, ends, decided, reserved, now);
    let desk = Desk::of(input, (ends, wanted), &candidates, now);
    let needed = desk.needed(desk.primary(desk.switched(decided).or(decided)));

    Some(desk.meeting(&needed, reserved))
}

fn decided(input: &Snapshot<'_>, ends: Ends) -> Option<Via> {
    let standing = input.routes.find(ends.route);

    standing.and_then(|row| row.path.as_ref()).map(Via::from)
}

/// Whether an end has reported on the route for a whole window: before that, evidence may be half of the story.
fn is_warm(input: &Snapshot<'_>, ends: Ends, now: Now) -> bool {
    let since = |end| input.observations.reporting_since(end, ends.route, now.boot);
    let mut starts = ends.both().into_iter().filter_map(since);

    starts.any(|since| now.boot.since(since) >= WARM_UP)
}

/// Reserves what a decision takes, and frees what it gives back.
pub(crate) fn reserve(reserved: &mut Reservations, standing: Option<&RouteRow>, assigned: &Assigned) {
    for request in &assigned.requests {
        reserved.lease(request.relay);
    }
    if let Some(row) = &assigned.row {
        let before = standing.and_then(|row| row.path.as_ref()).and_then(Path::relay);
        let after = row.path.as_ref().and_then(Path::relay);
        before.into_iter().for_each(|relay| reserved.release(relay));
        after.into_iter().for_each(|relay| reserved.add(relay));
    }
}

/// Everything about one route, laid out.
struct Desk<'a> {
    input: &'a Snapshot<'a>,
    ends: Ends,
    now: Now,
    wanted: &'a WantedRoute,
    standing: Option<&'a RouteRow>,
    candidates: &'a [Candidate<'a>],
    trend: &'a Trend,
    is_warm: bool,
}

impl<'a> Desk<'a> {
    fn of(
        input: &'a Snapshot<'a>,
        (ends, wanted): (Ends, &'a WantedRoute),
        candidates: &'a [Candidate<'a>],
        now: Now,
    ) -> Self {
        Self {
            input,
            ends,
            now,
            wanted,
            standing: input.routes.find(ends.route),
            candidates,
            trend: input.trends.of(ends.route),
            is_warm: is_warm(input, ends, now),
        }
    }

    fn assign(&self, decided: Option<Via>, reserved: &Reservations) -> Assigned {
        let current = self.switched(decided).or(decided);
        let primary = self.primary(current);
        let mut needed = self.needed(primary);
        let mut requests = self.requests(&needed);
        let meeting = self.meeting(&needed, reserved);
        let (change, row) = match primary {
            Primary::Take(via) => self.take(via, &needed, meeting.named),
            Primary::Stuck => self.stay(meeting.named),
            Primary::Nothing => (Change::None, None),
        };
        if let Some(node) = meeting.node {
            let missing = meeting
                .is_missing
                .then(|| self.request(node, LeaseKind::Rendezvous));
            requests.extend(missing);
            needed.insert(node);
        }
        tracing::debug!(route = ?self.ends.route, ?primary, ?change, requests = requests.len(), "route decided");

        Assigned {
            change,
            row,
            requests,
            needed,
            holding: self.holding(current),
            paths: self.paths(),
            improves: change == Change::Decided && self.improves(primary, current),
        }
    }

    fn primary(&self, current: Option<Via>) -> Primary {
        let hold = self.trend.hold(self.now.boot);
        let is_frozen = self.input.suspicion.freezes_between(self.ends);
        let is_mature = |via| {
            let lasting = self.lasting(Aspect::Better, via);

            !is_frozen && lasting.is_some_and(|lasting| lasting >= hold)
        };

        choose::primary(self.candidates, current, self.is_warm, is_mature)
    }

    /// Where the ends are to meet. `needed`: the relays that the route is to have, over which they meet otherwise. What was
    /// granted stays until the direct path has worked for a while; a controller that has just started knows too little to
    /// end it. Both ends must say that the direct path is down: when a host dies the others have nobody to meet.
    fn meeting(&self, needed: &BTreeSet<NodeId>, reserved: &Reservations) -> Meeting {
        if !needed.is_empty() {
            return Meeting::none(Why::RelayLeased);
        }
        let held = self.standing.and_then(|row| row.rendezvous);
        let direct = self.find(Via::Direct);
        let is_down = direct.is_some_and(|direct| direct.evidence.is_down());
        let is_sound = direct.is_some_and(Candidate::is_sound);
        let is_held = held.is_some() && !(self.is_warm && is_sound);
        if !is_down && !is_held {
            return Meeting::none(Why::DirectNotDown);
        }
        let mut both = self.ends.both().into_iter();
        let are_apart = both.all(|end| self.calls_direct_down(end));
        if held.is_none() && !are_apart {
            return Meeting::none(Why::OneEndAlone);
        }
        let held = held.map(|place| Held { place, are_apart });

        Meeting::find(self.input, self.ends, held, reserved, self.now)
    }

    fn calls_direct_down(&self, end: NodeId) -> bool {
        let observations = self.input.observations;
        let is_fresh = |at: Boot| self.now.boot.since(at) <= FRESH;
        let path = observations.path(end, self.ends.route, Via::Direct);
        let peer = self.ends.peer_of(end);
        let link = peer.and_then(|peer| observations.link(end, peer));

        path.is_some_and(|seen| is_fresh(seen.at) && seen.is_down())
            || link.is_some_and(|seen| is_fresh(seen.at) && !seen.connected)
    }

    /// Whether this leaves a path that works.
    fn improves(&self, primary: Primary, current: Option<Via>) -> bool {
        let taken = match primary {
            Primary::Take(via) => Some(via),
            Primary::Stuck | Primary::Nothing => None,
        };
        let left = current.filter(|via| taken.is_some_and(|taken| taken != *via));

        left.and_then(|via| self.find(via))
            .is_some_and(|found| found.is_open())
    }

    /// What is down, and what was lately; none of one that nobody says anything of.
    fn paths(&self) -> Vec<(Via, Option<bool>)> {
        let said = |found: &Candidate<'_>| found.evidence.age.map(|_| found.evidence.is_down());

        self.candidates
            .iter()
            .map(|found| (found.via, said(found)))
            .filter(|(via, said)| *said == Some(true) || self.trend.damping(*via).is_some())
            .collect()
    }

    /// The path that an end has moved its traffic to by itself, under the decision that stands. If the ends moved to
    /// different ones, the better of them. One under suspicion is followed only where the other end has gone too.
    fn switched(&self, decided: Option<Via>) -> Option<Via> {
        let generation = self.standing?.generation;
        let has_moved = |end, via| {
            let seen = self.input.observations.path(end, self.ends.route, via);

            seen.is_some_and(|seen| {
                let is_fresh = self.now.boot.since(seen.at) <= FRESH;

                seen.active && seen.generation == generation && is_fresh
            })
        };
        let moved = |via: Via| {
            let ends = self.ends.both();
            let mut movers = ends.into_iter().filter(|end| has_moved(*end, via));
            let are_both = ends.iter().all(|end| has_moved(*end, via));

            are_both || movers.any(|end| !self.input.suspicion.doubts(end))
        };
        let others = self.candidates.iter().filter(|found| Some(found.via) != decided);
        let mut open = others.filter(|found| self.is_warm && found.is_open());

        open.find(|found| moved(found.via)).map(|found| found.via)
    }

    /// The relays that path and standbys would have if every lease were there.
    fn needed(&self, primary: Primary) -> BTreeSet<NodeId> {
        let promising: Vec<&Candidate<'_>> = self
            .candidates
            .iter()
            .filter(|found| found.is_promising())
            .collect();
        let taken = match primary {
            Primary::Take(via) => promising.iter().find(|found| found.via == via),
            Primary::Stuck | Primary::Nothing => None,
        };
        let Some(first) = taken.or_else(|| promising.first()).copied() else {
            return BTreeSet::new();
        };
        let standbys = self.pick(first, &promising);

        standbys
            .into_iter()
            .chain([first.via])
            .filter_map(Via::relay)
            .collect()
    }

    fn requests(&self, needed: &BTreeSet<NodeId>) -> Vec<LeaseRequest> {
        let missing = |relay: &&NodeId| {
            self.find(Via::Relay(**relay))
                .is_some_and(|found| found.lease == Standing::None)
        };
        let request = |relay: &NodeId| self.request(*relay, LeaseKind::Relay);

        needed.iter().filter(missing).map(request).collect()
    }

    fn request(&self, node: NodeId, kind: LeaseKind) -> LeaseRequest {
        let previous = self.input.leases.on(self.ends.route, node);

        LeaseRequest {
            kind,
            cluster: self.input.cluster,
            route: self.ends.route,
            low: self.ends.low,
            high: self.ends.high,
            relay: node,
            previous: previous.map(|lease| lease.lease),
        }
    }

    /// A decision for this path, unless it is the one that stands.
    fn take(
        &self,
        via: Via,
        needed: &BTreeSet<NodeId>,
        rendezvous: Option<Rendezvous>,
    ) -> (Change, Option<RouteRow>) {
        let Some((chosen, path)) = self.find(via).and_then(|found| Some((found, found.path?))) else {
            return self.stay(rendezvous);
        };
        let vias = self.pick(chosen, &self.eligible(needed));
        let found: Vec<&Candidate<'_>> = vias.iter().filter_map(|via| self.find(*via)).collect();
        let standbys: Vec<Path> = found.iter().filter_map(|found| found.path).collect();
        let alarms = alarms(&found);
        let stands = self.standing.is_some_and(|row| {
            let wanted = (self.wanted.priority, self.wanted.cadence);

            row.path == Some(path)
                && row.standbys == standbys
                && (row.priority, row.cadence) == wanted
                && row.rendezvous == rendezvous
        });
        if stands {
            return self.note(alarms);
        }
        let before = self.standing.and_then(|row| row.path.as_ref()).map(Via::from);
        let granted = rendezvous.map(|_| Reason::RendezvousGranted);
        let row = RouteRow {
            cluster: self.input.cluster,
            route: self.ends.route,
            low: self.ends.low,
            high: self.ends.high,
            generation: self.standing.map_or(1, |row| row.generation.saturating_add(1)),
            action: if before == Some(via) {
                Action::Keep
            } else {
                Action::Replace
            },
            path: Some(path),
            standbys,
            reasons: self.reasons(chosen, needed, alarms.union(granted.into_iter().collect())),
            priority: self.wanted.priority,
            cadence: self.wanted.cadence,
            decided_at: self.now.wall,
            considered: account::considered(self.candidates, chosen, &found),
            withdrawn_at: self.standing.and_then(|row| row.withdrawn_at),
            rendezvous,
        };

        (Change::Decided, Some(row))
    }

    /// The path that stands, with nothing to put in its place; a new decision only if the ends are to meet elsewhere.
    fn stay(&self, rendezvous: Option<Rendezvous>) -> (Change, Option<RouteRow>) {
        let alarm = Reason::NoCandidate;
        let Some(standing) = self
            .standing
            .filter(|row| !row.is_withdrawn() && row.rendezvous != rendezvous)
        else {
            return self.note([alarm].into_iter().collect());
        };
        let find = |path: &Path| self.find(Via::from(path));
        let chosen = standing.path.as_ref().and_then(find);
        let standbys: Vec<&Candidate<'_>> = standing.standbys.iter().filter_map(find).collect();
        let compared = chosen.map_or(Reasons::EMPTY, |chosen| {
            account::reasons(self.candidates, chosen, Some(chosen.via))
        });
        let granted = rendezvous.map(|_| Reason::RendezvousGranted);
        let reasons = compared.union([alarm].into_iter().chain(granted).collect());
        let row = RouteRow {
            generation: standing.generation.saturating_add(1),
            action: Action::Keep,
            reasons: reasons.iter().collect(),
            priority: self.wanted.priority,
            cadence: self.wanted.cadence,
            decided_at: self.now.wall,
            considered: chosen.map_or_else(Vec::new, |chosen| {
                account::considered(self.candidates, chosen, &standbys)
            }),
            rendezvous,
            ..standing.clone()
        };

        (Change::Decided, Some(row))
    }

    /// The decision that stands, with an alarm raised or cleared if that is news.
    fn note(&self, alarms: Reasons) -> (Change, Option<RouteRow>) {
        let Some(row) = self.standing else {
            return (Change::None, None);
        };
        let standing: Reasons = row.reasons.iter().copied().collect();
        let all: Reasons = ALARMS.into_iter().collect();
        if standing.intersection(all) == alarms {
            return (Change::None, None);
        }
        let noted = RouteRow {
            reasons: standing.difference(all).union(alarms).iter().collect(),
            ..row.clone()
        };

        (Change::Noted, Some(noted))
    }

    fn reasons(&self, chosen: &Candidate<'_>, needed: &BTreeSet<NodeId>, alarms: Reasons) -> Vec<Reason> {
        let before = self.standing.and_then(|row| row.path.as_ref()).map(Via::from);
        let is_pending = needed
            .iter()
            .filter_map(|relay| self.find(Via::Relay(*relay)))
            .any(|found| found.path.is_none());
        let mut reasons = alarms;
        reasons.extend(is_pending.then_some(Reason::LeasePending));
        let compared = account::reasons(self.candidates, chosen, before);

        reasons.union(compared).iter().collect()
    }

    /// What is better than what is in force, whether or not it has been for long enough.
    fn holding(&self, current: Option<Via>) -> Vec<(Aspect, Via)> {
        let current = current.and_then(|via| self.find(via));
        let improvements = self
            .candidates
            .iter()
            .filter(|found| current.is_some_and(|current| choose::is_improvement(found, current)))
            .map(|found| (Aspect::Better, found.via));
        let slowest = self
            .standing
            .into_iter()
            .flat_map(|row| &row.standbys)
            .filter(|path| path.relay().is_some())
            .filter_map(|path| self.find(Via::from(path))?.evidence.rtt_us)
            .max();
        let in_force = self.in_force();
        let faster = self
            .candidates
            .iter()
            .filter(|found| slowest.is_some_and(|slowest| is_faster_relay(found, slowest)))
            .filter(|found| !in_force.contains(&found.via))
            .map(|found| (Aspect::BetterStandby, found.via));

        improvements.chain(faster).collect()
    }

    /// What a decision may name as a standby: open candidates, and those in force as long as nothing replaces them. One
    /// whose relay drains is let go once all that could replace it is there, be that nothing.
    fn eligible(&self, needed: &BTreeSet<NodeId>) -> Vec<&Candidate<'_>> {
        let in_force = self.in_force();
        let is_complete = needed
            .iter()
            .filter_map(|relay| self.find(Via::Relay(*relay)))
            .all(|found| found.path.is_some());
        let is_kept = |found: &&Candidate<'_>| {
            let is_released = found.reasons.contains(Reason::RelayDraining) && is_complete;

            found.path.is_some() && in_force.contains(&found.via) && !is_released
        };

        self.candidates
            .iter()
            .filter(|found| found.is_open() || is_kept(found))
            .collect()
    }

    fn pick(&self, primary: &Candidate<'_>, eligible: &[&Candidate<'_>]) -> Vec<Via> {
        let kept: Vec<Via> = self
            .in_force()
            .into_iter()
            .filter(|via| *via != primary.via)
            .collect();
        let favoured = self.trend.for_long(Aspect::BetterStandby, HOLD, self.now.boot);
        let favoured: BTreeSet<Via> = match self.input.suspicion.freezes_between(self.ends) {
            true => BTreeSet::new(),
            false => favoured.collect(),
        };
        let standbys = Standbys {
            kept: &kept,
            favoured: &favoured,
            frozen: !self.is_warm,
        };

        standbys.pick(primary, eligible, STANDBYS)
    }

    /// The standbys in force and, last, the path.
    fn in_force(&self) -> Vec<Via> {
        let row = self.standing;
        let standbys = row.into_iter().flat_map(|row| &row.standbys);

        standbys
            .chain(row.and_then(|row| row.path.as_ref()))
            .map(Via::from)
            .collect()
    }

    fn find(&self, via: Via) -> Option<&Candidate<'_>> {
        self.candidates.iter().find(|found| found.via == via)
    }

    fn lasting(&self, aspect: Aspect, via: Via) -> Option<Duration> {
        self.trend.lasting(aspect, via, self.now.boot)
    }
}

fn alarms(standbys: &[&Candidate<'_>]) -> Reasons {
    let open = standbys.iter().filter(|found| found.is_open()).count();
    let is_short = open < STANDBYS;

    is_short.then_some(Reason::StandbyShort).into_iter().collect()
}

/// Whether a relay that is not in force looks faster than the slowest standby, by enough.
fn is_faster_relay(found: &Candidate<'_>, slowest: u32) -> bool {
    let slowest = u64::from(slowest);
    let class = found.score.class;
    let is_sound = found.is_promising() && class.tier != Tier::Stale && class.loss == LossClass::Clean;
    let is_faster = |rtt: u32| u64::from(rtt) + margin_us(slowest) <= slowest;

    found.via.relay().is_some() && is_sound && found.evidence.rtt_us.is_some_and(is_faster)
}

/// Reasons that come and go on a decision that stands.
const ALARMS: [Reason; 2] = [Reason::NoCandidate, Reason::StandbyShort];
