//! The agent's metrics. Every label value comes from an enum of ours, never from a peer.

use std::time::Duration;

use agent_core::control::{MemberStatus, Tally, Unconfirmed};
use agent_core::mesh::queue::QueueDrops;
use agent_core::mesh::stats::Stats;
use metrics::{counter, gauge, histogram};
use protocol::time::Wall;

/// Why a neighbour that dialled did not come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HandshakeRefusal {
    /// Its certificate does not open this door, or is revoked.
    Certificate,
    /// This node has no identity or no trust yet.
    NotReady,
    /// Too many handshakes of this source are under way.
    Source,
    /// It did not finish in time.
    Timeout,
    /// TLS failed on either side.
    Tls,
    /// Too many handshakes are under way.
    TooMany,
    /// It meant another node, or is this node.
    WrongServer,
}

impl HandshakeRefusal {
    const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::NotReady => "not_ready",
            Self::Source => "source",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::TooMany => "too_many",
            Self::WrongServer => "wrong_server",
        }
    }
}

pub(crate) fn refused_handshake(why: HandshakeRefusal) {
    counter!("gabion_agent_handshakes_refused_total", "reason" => why.name()).increment(1);
}

/// A poll that was answered.
pub(crate) fn polled(newer: bool) {
    let news = if newer { "newer" } else { "same" };
    counter!("gabion_agent_polls_total", "beacon" => news).increment(1);
}

/// What polls after bad reports brought since the start, and how many were held back.
pub(crate) fn refreshes(tally: &Tally) {
    let outcomes = [
        ("changed", tally.changed),
        ("unchanged", tally.unchanged),
        ("suppressed", tally.suppressed),
    ];
    for (outcome, count) in outcomes {
        counter!("gabion_agent_refreshes_total", "outcome" => outcome).absolute(count);
    }
}

/// A config whose settings led to no controller.
pub(crate) fn reverted() {
    counter!("gabion_agent_configs_reverted_total").increment(1);
}

/// How late the loop took up a deadline.
pub(crate) fn late(by: Duration) {
    histogram!("gabion_agent_loop_late_seconds").record(by.as_secs_f64());
}

/// What the mesh counted since the start.
pub(crate) fn mesh(stats: &Stats) {
    for (class, frames) in &stats.sent {
        counter!("gabion_agent_frames_sent_total", "class" => class.name()).absolute(*frames);
    }
    for (class, frames) in &stats.received {
        counter!("gabion_agent_frames_received_total", "class" => class.name()).absolute(*frames);
    }
    for (why, frames) in &stats.refused {
        counter!("gabion_agent_frames_refused_total", "reason" => why.name()).absolute(*frames);
    }
    counter!("gabion_agent_frames_forwarded_total").absolute(stats.forwarded);
    counter!("gabion_agent_forwarded_bytes_total").absolute(stats.forwarded_bytes);
    counter!("gabion_agent_frames_doubled_total").absolute(stats.doubled);
    counter!("gabion_agent_frames_replayed_total").absolute(stats.replayed);
    counter!("gabion_agent_datagrams_malformed_total").absolute(stats.malformed);
    for (outcome, probes) in [
        ("sent", stats.probes_sent),
        ("answered", stats.probes_answered),
        ("late", stats.probes_late),
        ("missed", stats.probes_missed),
        ("unjudged", stats.probes_unjudged),
    ] {
        counter!("gabion_agent_probes_total", "outcome" => outcome).absolute(probes);
    }
    counter!("gabion_agent_probe_answers_total").absolute(stats.answers_sent);
    counter!("gabion_agent_switches_total").absolute(stats.switches);
    counter!("gabion_agent_moves_total").absolute(stats.moves);
    counter!("gabion_agent_dials_total").absolute(stats.dials);
    counter!("gabion_agent_dials_failed_total").absolute(stats.dials_failed);
    counter!("gabion_agent_meetings_total").absolute(stats.meetings);
    counter!("gabion_agent_stalls_total").absolute(stats.stalls);
}

/// Connections to neighbours, and the frames that waited for one in vain.
pub(crate) fn links(live: usize, drops: QueueDrops) {
    gauge!("gabion_agent_links").set(live as f64);
    for (class, frames) in [
        ("control", drops.control_refused),
        ("synthetic", drops.synthetic_refused),
        ("telemetry", drops.telemetry_dropped),
    ] {
        counter!("gabion_agent_queue_dropped_total", "class" => class).absolute(frames);
    }
}

/// How the node stands with its controllers.
pub(crate) fn member(status: &MemberStatus, now: Wall) {
    gauge!("gabion_agent_connected").set(f64::from(u8::from(status.connected)));
    gauge!("gabion_agent_stale").set(f64::from(u8::from(status.stale)));
    let is_reverted = matches!(status.unconfirmed, Some(Unconfirmed::Reverted { .. }));
    gauge!("gabion_agent_config_reverted").set(f64::from(u8::from(is_reverted)));
    gauge!("gabion_agent_certificate_left_seconds").set(status.certificate_until.since(now).as_secs_f64());
    if let Some(issued_at) = status.beacon_issued_at {
        gauge!("gabion_agent_beacon_age_seconds").set(now.since(issued_at).as_secs_f64());
    }
    for ((kind, code), documents) in &status.refused {
        let labels = [("kind", kind.name()), ("code", code.text())];
        counter!("gabion_agent_documents_refused_total", &labels).absolute(*documents);
    }
}
