//! Says why a route goes where it goes: the decision in force, what it was made from, and how the candidates stand now.

use std::time::Duration;

use protocol::document::routes::{Path, Reason};
use protocol::id::{LeaseId, NodeId, RouteId};
use protocol::time::{Boot, Now, Wall};
use serde::Serialize;

use crate::assign;
use crate::candidate::{Candidate, appraise};
use crate::damping::{self, Damping};
use crate::decide::Snapshot;
use crate::evidence::{Ends, LinkState, Trust};
use crate::observations::{PathSeen, RefreshSeen, SwitchSeen};
use crate::reservation::Reservations;
use crate::route::{Considered, RouteRow, Verdict};
use crate::via::Via;

/// Everything known about one route, for people and scripts. Ages are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explanation {
    pub id: RouteId,
    pub source: String,
    pub target: String,
    /// None while no policy wants the route, or for the default one.
    pub policy: Option<String>,
    pub wanted: bool,
    /// None until there is one.
    pub decision: Option<DecisionView>,
    /// How long a path must be better now before a good one is left for it.
    pub hold_ms: u64,
    /// Whether nothing is improved for now, since somebody's reports are in doubt.
    pub improvement_frozen: bool,
    /// Ends of the route whose word alone counts for nothing now.
    pub doubted: Vec<String>,
    /// For how long both ends must call a path of it down without a break before that counts; 0 if it does at once.
    pub steady_ms: u64,
    /// As they stand now, best first.
    pub candidates: Vec<CandidateView>,
    pub leases: Vec<LeaseView>,
    /// Where the ends are to meet that have no path, or why nowhere; none while the route is not wanted.
    pub rendezvous: Option<RendezvousView>,
    /// The last move that each end made by itself, as far as it is known.
    pub switches: Vec<SwitchView>,
    /// The newest report of a refresh that each end told of for each path.
    pub refreshes: Vec<RefreshView>,
}

/// What asking for a better decision brought after bad news of a path, and how often that was held back since.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RefreshView {
    pub reporter: String,
    /// `direct`, or the name of the relay.
    pub via: String,
    /// What was bad: `path_drift`, `unreachable` or `failure`.
    pub trigger: &'static str,
    /// `changed`, `unchanged`, or `suppressed` once bad news was held back under its cooldown.
    pub outcome: &'static str,
    /// Of the routes document, before and after.
    pub versions: [u64; 2],
    /// Of the decision, before and after; none without one.
    pub generations: [Option<u64>; 2],
    /// Of the authority, before and after.
    pub epochs: [u64; 2],
    /// From the answer on; none if the decision changed.
    pub cooldown_ms: Option<u64>,
    pub suppressed: u64,
    /// Since the answer.
    pub age_ms: u64,
    /// Since the last that was suppressed.
    pub suppressed_age_ms: Option<u64>,
}

/// A move of one end from a path to another that nobody had decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SwitchView {
    pub reporter: String,
    /// Of the decision that it was made under.
    pub generation: u64,
    /// `direct`, or the name of the relay.
    pub from: String,
    pub to: String,
    /// `path_down`, `path_lossy` or `lease_ended`.
    pub cause: &'static str,
    pub age_ms: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DecisionView {
    pub generation: u64,
    pub action: &'static str,
    pub path: Option<PathView>,
    pub standbys: Vec<PathView>,
    pub reasons: Vec<&'static str>,
    pub priority: u8,
    pub decided_at: String,
    /// The generation that each end has shown to have applied: source, target.
    pub applied: [Option<u64>; 2],
    /// The candidates as they stood when it was made.
    pub considered: Vec<ConsideredView>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PathView {
    pub kind: &'static str,
    /// Names in order, both ends included.
    pub hops: Vec<String>,
    pub lease: Option<LeaseId>,
    pub lease_generation: Option<u32>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConsideredView {
    /// `direct`, or the name of the relay.
    pub via: String,
    pub verdict: &'static str,
    pub tier: &'static str,
    pub loss: &'static str,
    pub rtt_us: Option<u32>,
    pub measured: bool,
    pub load: u32,
    pub age_ms: Option<u64>,
    pub reasons: Vec<&'static str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CandidateView {
    #[serde(flatten)]
    pub judged: ConsideredView,
    /// Whether a decision could name it now.
    pub open: bool,
    pub link: &'static str,
    /// For how long it has been better than the path in force.
    pub better_for_ms: Option<u64>,
    /// What is left of the penalty for its failures (RFC 2439); 0 if it has none.
    pub penalty: u32,
    /// For how long it is damped yet, if it does not fail again.
    pub damped_for_ms: Option<u64>,
    /// None while it has nothing to its debit.
    pub damping: Option<DampingView>,
    pub evidence: Vec<SightingView>,
}

/// The curve that a penalty falls along, if the path does not fail again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DampingView {
    pub penalty: u32,
    /// From here on a path waits, until its penalty has fallen to `reuse`.
    pub suppress: u32,
    pub reuse: u32,
    /// In which a penalty falls by half.
    pub half_life_ms: u64,
    /// Until it has fallen to `reuse`; 0 if it has.
    pub reusable_in_ms: u64,
    /// Whether it is down, or has not worked for long enough since.
    pub on_probation: bool,
}

impl DampingView {
    fn of(damping: &Damping, now: Boot) -> Self {
        Self {
            penalty: damping.penalty(now),
            suppress: damping::SUPPRESS,
            reuse: damping::REUSE,
            half_life_ms: age(damping::HALF_LIFE),
            reusable_in_ms: age(damping.reusable_in(now)),
            on_probation: damping.is_on_probation(now),
        }
    }
}

/// What one end last reported of a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SightingView {
    pub reporter: String,
    pub generation: u64,
    pub active: bool,
    pub drift: &'static str,
    pub expected_hops: Vec<String>,
    pub observed_hops: Vec<String>,
    pub rtt_us: Option<u32>,
    pub lost_out: u8,
    pub lost_in: u8,
    pub window: u8,
    pub misses: u16,
    pub age_ms: u64,
}

/// A node over which the ends can agree when to dial each other, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RendezvousView {
    /// The node that is leased for that, or is being leased.
    pub node: Option<String>,
    /// Whether the decision in force names it, so that the ends know.
    pub named: bool,
    pub why: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LeaseView {
    pub id: LeaseId,
    /// `relay`, or `rendezvous` of one that carries nothing but what two ends say to meet.
    pub kind: &'static str,
    pub relay: String,
    pub generation: u32,
    pub state: &'static str,
    pub granted_at: String,
    /// For how long nothing has used it.
    pub unused_for_ms: Option<u64>,
}

/// How the caller writes what has no text of its own.
#[derive(Clone, Copy)]
pub struct Words<'a> {
    /// What to call a node.
    pub name: &'a dyn Fn(NodeId) -> String,
    pub time: &'a dyn Fn(Wall) -> String,
}

/// Explains the route from `source` to `target`; none if nothing is known of it.
pub fn explain(
    input: &Snapshot<'_>,
    source: NodeId,
    target: NodeId,
    now: Now,
    words: Words<'_>,
) -> Option<Explanation> {
    let route = RouteId::between(input.cluster, source, target);
    let (wanted, row) = (input.wanted.find(route), input.routes.find(route));
    if wanted.is_none() && row.is_none() {
        return None;
    }
    let desk = Desk {
        input,
        route,
        source,
        target,
        now,
        name: words.name,
        time: words.time,
    };

    Some(Explanation {
        id: route,
        source: (words.name)(source),
        target: (words.name)(target),
        policy: wanted
            .and_then(|wanted| wanted.policy.as_ref())
            .map(ToString::to_string),
        wanted: wanted.is_some(),
        decision: row.map(|row| desk.decision(row)),
        hold_ms: age(input.trends.of(route).hold(now.boot)),
        improvement_frozen: input.suspicion.freezes_between(desk.ends()),
        doubted: [source, target]
            .into_iter()
            .filter(|end| input.suspicion.doubts(*end))
            .map(words.name)
            .collect(),
        steady_ms: age(Trust::of(input.suspicion, desk.ends()).patience()),
        candidates: desk.candidates(row),
        leases: desk.leases(),
        rendezvous: desk.rendezvous(row),
        switches: desk.switches(),
        refreshes: desk.refreshes(),
    })
}

struct Desk<'a> {
    input: &'a Snapshot<'a>,
    route: RouteId,
    source: NodeId,
    target: NodeId,
    now: Now,
    name: &'a dyn Fn(NodeId) -> String,
    time: &'a dyn Fn(Wall) -> String,
}

impl Desk<'_> {
    fn ends(&self) -> Ends {
        Ends {
            route: self.route,
            low: self.source.min(self.target),
            high: self.source.max(self.target),
        }
    }

    fn decision(&self, row: &RouteRow) -> DecisionView {
        let applied = |end| self.input.observations.applied(end, self.route);

        DecisionView {
            generation: row.generation,
            action: row.action.name(),
            path: row.path.as_ref().map(|path| self.path(path)),
            standbys: row.standbys.iter().map(|path| self.path(path)).collect(),
            reasons: names(&row.reasons),
            priority: row.priority,
            decided_at: (self.time)(row.decided_at),
            applied: [applied(self.source), applied(self.target)],
            considered: row
                .considered
                .iter()
                .map(|found| self.considered(found))
                .collect(),
        }
    }

    fn path(&self, path: &Path) -> PathView {
        let hops = [Some(self.source), path.relay(), Some(self.target)];
        let (lease, lease_generation) = match path {
            Path::Direct => (None, None),
            Path::Relay {
                lease, generation, ..
            } => (Some(*lease), Some(*generation)),
        };

        PathView {
            kind: path.kind(),
            hops: hops.into_iter().flatten().map(self.name).collect(),
            lease,
            lease_generation,
        }
    }

    fn considered(&self, found: &Considered) -> ConsideredView {
        ConsideredView {
            via: self.via(found.via),
            verdict: found.verdict.name(),
            tier: found.tier.name(),
            loss: found.loss.name(),
            rtt_us: found.rtt_us,
            measured: found.measured,
            load: found.load,
            age_ms: found.age_ms,
            reasons: names(&found.reasons),
        }
    }

    fn candidates(&self, row: Option<&RouteRow>) -> Vec<CandidateView> {
        let ends = self.ends();
        let path = row.and_then(|row| row.path.as_ref()).map(Via::from);
        let standbys: Vec<Via> = row
            .into_iter()
            .flat_map(|row| &row.standbys)
            .map(Via::from)
            .collect();
        let judged = appraise(self.input, ends, path, &Reservations::of(self.input), self.now);
        let place = |via: Via| {
            if Some(via) == path {
                Verdict::Chosen
            } else if standbys.contains(&via) {
                Verdict::Standby
            } else {
                Verdict::Refused
            }
        };

        judged
            .iter()
            .map(|found| self.candidate(found, place(found.via)))
            .collect()
    }

    fn candidate(&self, found: &Candidate<'_>, verdict: Verdict) -> CandidateView {
        let seen = |end| {
            let seen = self.input.observations.path(end, self.route, found.via);

            seen.map(|seen| self.sighting(end, seen))
        };
        let trend = self.input.trends.of(self.route);
        let better = trend.lasting(crate::trend::Aspect::Better, found.via, self.now.boot);
        let damping = trend.damping(found.via);
        let judged = Considered::of(found, verdict);

        CandidateView {
            judged: self.considered(&judged),
            open: found.is_open(),
            link: match found.evidence.link {
                LinkState::Up => "up",
                LinkState::Unknown => "unknown",
                LinkState::Down => "down",
            },
            better_for_ms: better.map(protocol::time::millis),
            penalty: damping.map_or(0, |damping| damping.penalty(self.now.boot)),
            damped_for_ms: damping
                .and_then(|damping| damping.suppressed_for(self.now.boot))
                .map(age),
            damping: damping.map(|damping| DampingView::of(damping, self.now.boot)),
            evidence: [self.source, self.target].into_iter().filter_map(seen).collect(),
        }
    }

    fn sighting(&self, reporter: NodeId, seen: &PathSeen) -> SightingView {
        let hops = |hops: &[NodeId]| hops.iter().copied().map(self.name).collect();

        SightingView {
            reporter: (self.name)(reporter),
            generation: seen.generation,
            active: seen.active,
            drift: seen.drift.name(),
            expected_hops: hops(&seen.expected_hops),
            observed_hops: hops(&seen.observed_hops),
            rtt_us: seen.rtt_us,
            lost_out: seen.lost_out,
            lost_in: seen.lost_in,
            window: seen.window,
            misses: seen.misses,
            age_ms: age(self.now.boot.since(seen.at)),
        }
    }

    fn leases(&self) -> Vec<LeaseView> {
        let trend = self.input.trends.of(self.route);
        let unused = |relay| trend.lasting(crate::trend::Aspect::Unused, Via::Relay(relay), self.now.boot);

        self.input
            .leases
            .of_route(self.route)
            .map(|lease| LeaseView {
                id: lease.lease,
                kind: lease.kind.name(),
                relay: (self.name)(lease.relay),
                generation: lease.generation,
                state: lease.state.name(),
                granted_at: (self.time)(lease.granted_at),
                unused_for_ms: unused(lease.relay).map(age),
            })
            .collect()
    }

    fn rendezvous(&self, row: Option<&RouteRow>) -> Option<RendezvousView> {
        let reserved = Reservations::of(self.input);
        let meeting = assign::meeting(self.input, self.ends(), &reserved, self.now)?;
        let named = row.and_then(|row| row.rendezvous);

        Some(RendezvousView {
            node: meeting.node.map(self.name),
            named: named.is_some_and(|named| meeting.node == Some(named.node)),
            why: meeting.why.name(),
        })
    }

    fn switches(&self) -> Vec<SwitchView> {
        let ends = [self.source, self.target].into_iter();
        let seen = ends.filter_map(|end| Some((end, self.input.observations.switch(end, self.route)?)));

        seen.map(|(end, SwitchSeen { switch, at })| SwitchView {
            reporter: (self.name)(end),
            generation: switch.generation,
            from: self.via(Via::from(&switch.from)),
            to: self.via(Via::from(&switch.to)),
            cause: switch.cause.name(),
            age_ms: age(self.now.boot.since(*at)) + switch.age_ms,
        })
        .collect()
    }

    fn refreshes(&self) -> Vec<RefreshView> {
        let ends = [self.source, self.target].into_iter();
        let seen = ends.flat_map(|end| {
            let of_end = self.input.observations.refreshes(end, self.route);

            of_end.map(move |seen| (end, seen))
        });

        seen.map(|(end, RefreshSeen { refresh, at })| {
            let said = age(self.now.boot.since(*at));
            let (before, after) = (&refresh.before, &refresh.after);

            RefreshView {
                reporter: (self.name)(end),
                via: self.via(refresh.relay.map_or(Via::Direct, Via::Relay)),
                trigger: refresh.trigger.name(),
                outcome: refresh.outcome(),
                versions: [before.version, after.version],
                generations: [before.generation, after.generation],
                epochs: [before.epoch, after.epoch],
                cooldown_ms: refresh.cooldown_ms,
                suppressed: refresh.suppressed,
                age_ms: said.saturating_add(refresh.age_ms),
                suppressed_age_ms: refresh.suppressed_ms.map(|since| said.saturating_add(since)),
            }
        })
        .collect()
    }

    fn via(&self, via: Via) -> String {
        via.relay().map_or_else(|| "direct".to_owned(), self.name)
    }
}

fn names(reasons: &[Reason]) -> Vec<&'static str> {
    reasons.iter().map(|reason| reason.name()).collect()
}

fn age(duration: Duration) -> u64 {
    protocol::time::millis(duration)
}
