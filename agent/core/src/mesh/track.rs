//! One path of one route: its probes, its first hop, and what is known of its far side.

use protocol::document::routes::Path;
use protocol::frame::{PathTag, ProbeReply, RefusalReason};
use protocol::id::{NodeId, RouteId};
use protocol::time::{Boot, millis};
use protocol::wire::{Drift, PathObservation};

use super::probe::{Health, Probe, Reply};
use super::view::PathView;

#[derive(Clone, Debug)]
pub(super) struct Track {
    pub(super) path: Path,
    pub(super) tag: PathTag,
    pub(super) first_hop: NodeId,
    pub(super) probe: Probe,
    linked: bool,
    /// Of the last answer: the far side of our link that brought it, and of the peer's that brought the probe.
    observed: Option<(NodeId, NodeId)>,
    /// What the relay said since the last answer.
    refused: Option<RefusalReason>,
    blame: Blame,
    /// The health that was last told.
    told: Health,
}

/// Whether misses are the path's fault. A far end that stands still for want of a processor answers nowhere, and then
/// everywhere at once: so once the peer has answered over another path, this one has the time of one more answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blame {
    /// The path answers, or the peer was heard nowhere since it does not.
    Open,
    /// The path's, if it does not answer until then.
    Due(Boot),
    Certain,
}

/// The route that a path belongs to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) us: NodeId,
    pub(super) peer: NodeId,
    pub(super) route: RouteId,
    pub(super) generation: u64,
}

/// How good a path is to send on. Declared best first; the order of the decision breaks ties.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fitness {
    /// Answers come.
    Fit,
    /// Answers came until a moment ago.
    Doubtful,
    /// Came back from being down and is not trusted yet.
    Recovering,
    /// Never answered so far.
    Unproven,
    /// Down by its probes, without a first hop, or refused by its relay.
    Unusable,
}

impl Track {
    pub(super) fn new(path: Path, tag: PathTag, first_hop: NodeId, probe: Probe) -> Self {
        Self {
            path,
            tag,
            first_hop,
            told: probe.health(),
            probe,
            linked: false,
            observed: None,
            refused: None,
            blame: Blame::Open,
        }
    }

    pub(super) fn fitness(&self) -> Fitness {
        if !self.linked || self.is_lease_refused() {
            return Fitness::Unusable;
        }
        match self.probe.health() {
            Health::Up => Fitness::Fit,
            Health::Doubtful => Fitness::Doubtful,
            Health::Recovering => Fitness::Recovering,
            Health::Unproven => Fitness::Unproven,
            Health::Down => Fitness::Unusable,
        }
    }

    pub(super) fn is_usable(&self) -> bool {
        self.fitness() != Fitness::Unusable
    }

    pub(super) fn is_linked(&self) -> bool {
        self.linked
    }

    /// Whether the relay said that it does not carry the lease.
    pub(super) fn is_lease_refused(&self) -> bool {
        self.refused.is_some_and(|reason| match reason {
            RefusalReason::NotLeased | RefusalReason::GenerationStale | RefusalReason::NotFresh => true,
            RefusalReason::OverBudget
            | RefusalReason::FarEndAbsent
            | RefusalReason::PayloadForwardingDisabled => false,
        })
    }

    /// What the node that serves the lease said since the last answer.
    pub(super) const fn refused(&self) -> Option<RefusalReason> {
        self.refused
    }

    pub(super) fn handle_link(&mut self, linked: bool, now: Boot) {
        if linked && !self.linked {
            self.probe.hurry(now);
        }
        if !linked && self.linked {
            self.probe.handle_unlinked();
        }
        self.linked = linked;
    }

    /// Says whether that is news.
    pub(super) fn handle_refused(&mut self, reason: RefusalReason) -> bool {
        self.refused.replace(reason) != Some(reason)
    }

    /// `brought_by`: the far side of our link; `observed_from`: what the peer saw on its own.
    pub(super) fn handle_reply(&mut self, reply: &ProbeReply, brought_by: NodeId, now: Boot) -> Reply {
        let meant = self.probe.handle_reply(reply.probe, reply.received, now);
        if meant == Reply::Answered {
            self.observed = Some((brought_by, reply.observed_from));
            self.refused = None;
            self.blame = Blame::Open;
        }

        meant
    }

    /// The peer was heard over another path.
    pub(super) fn hear_witness(&mut self, now: Boot) {
        if self.blame == Blame::Open && self.probe.missed_since().is_some() {
            self.blame = Blame::Due(now.after(self.probe.timeout()));
        }
    }

    /// Lets time pass. Says whether the path is now known to be down.
    pub(super) fn settle_blame(&mut self, now: Boot) -> bool {
        match self.blame {
            Blame::Due(due) if due <= now => self.blame = Blame::Certain,
            Blame::Due(_) | Blame::Open | Blame::Certain => return false,
        }

        self.probe.health() == Health::Down
    }

    /// Whether what is wrong with the path is its own fault, as far as is known, and not the peer's.
    pub(super) fn is_to_blame(&self) -> bool {
        let is_missed = self.probe.missed_since().is_some();

        !self.linked || self.is_lease_refused() || !is_missed || self.blame == Blame::Certain
    }

    pub(super) fn poll_timeout(&self) -> Boot {
        let probe = self.probe.poll_timeout();
        match self.blame {
            Blame::Due(due) => probe.min(due),
            Blame::Open | Blame::Certain => probe,
        }
    }

    /// A change of health that was not told yet.
    pub(super) fn poll_change(&mut self) -> Option<(Health, Health)> {
        let health = self.probe.health();
        let before = std::mem::replace(&mut self.told, health);

        (before != health).then_some((before, health))
    }

    pub(super) fn view(&self, standing: &Standing, active: bool) -> PathView {
        let ends = (standing.us, standing.peer);
        let loss = self.probe.loss();

        PathView {
            path: self.path,
            active,
            health: self.probe.health(),
            misses: self.probe.misses(),
            rtt: self.probe.rtt(),
            lost_out: loss.out,
            lost_in: loss.back,
            window: loss.of,
            linked: self.linked,
            observed_hops: self.observed_hops(ends),
            answered_at: self.probe.answered_at(),
            refused: self.refused,
        }
    }

    /// Whether there is anything to report. As long as a connection is being made, or the first probe is out, a verdict
    /// would be about this node's own start, and replace what was known of the path.
    pub(super) fn is_judged(&self, is_hop_judged: bool) -> bool {
        match self.linked {
            true => self.refused.is_some() || self.probe.answered_at().is_some() || self.probe.misses() > 0,
            false => is_hop_judged,
        }
    }

    pub(super) fn observe(&self, standing: &Standing, active: bool, now: Boot) -> PathObservation {
        let ends = (standing.us, standing.peer);
        let loss = self.probe.loss();
        let rtt = self.probe.rtt().map(|rtt| rtt.as_micros());

        PathObservation {
            route: standing.route,
            peer: standing.peer,
            path: self.path,
            generation: standing.generation,
            active,
            drift: self.drift(ends),
            expected_hops: self.expected_hops(ends),
            observed_hops: self.observed_hops(ends),
            rtt_us: rtt.map(|micros| u32::try_from(micros).unwrap_or(u32::MAX)),
            lost_out: loss.out,
            lost_in: loss.back,
            window: loss.of,
            misses: self.probe.misses(),
            answered_ms: self.probe.answered_at().map(|at| millis(now.since(at))),
        }
    }

    fn expected_hops(&self, ends: (NodeId, NodeId)) -> Vec<NodeId> {
        match self.path.relay() {
            None => vec![ends.0, ends.1],
            Some(relay) => vec![ends.0, relay, ends.1],
        }
    }

    fn observed_hops(&self, ends: (NodeId, NodeId)) -> Vec<NodeId> {
        let Some((near, far)) = self.observed else {
            return Vec::new();
        };
        let mut hops = vec![ends.0];
        for hop in [near, far, ends.1] {
            // Directly, the peer sees us and we see the peer: neither is a hop of its own.
            if hops.last() != Some(&hop) && hop != ends.0 {
                hops.push(hop);
            }
        }

        hops
    }

    fn drift(&self, ends: (NodeId, NodeId)) -> Drift {
        if !self.linked {
            return Drift::Unreachable;
        }
        let is_down = self.probe.health() == Health::Down && self.is_to_blame();
        if self.is_lease_refused() || is_down {
            return Drift::Failure;
        }
        match self.observed {
            Some(_) if self.observed_hops(ends) != self.expected_hops(ends) => Drift::PathDrift,
            Some(_) | None => Drift::None,
        }
    }
}
