//! One path of one route: its probes, its first hop, and what is known of its far side.

use protocol::document::routes::Path;
use protocol::frame::{PathTag, ProbeReply, RefusalReason};
use protocol::id::{NodeId, RouteId};
use protocol::time::Boot;
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
    /// The health that was last told.
    told: Health,
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
        }

        meant
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

    pub(super) fn observe(&self, standing: &Standing, active: bool) -> PathObservation {
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
        if self.is_lease_refused() || self.probe.health() == Health::Down {
            return Drift::Failure;
        }
        match self.observed {
            Some(_) if self.observed_hops(ends) != self.expected_hops(ends) => Drift::PathDrift,
            Some(_) | None => Drift::None,
        }
    }
}
