//! What the mesh asks of its host, and the facts it tells.

use std::net::SocketAddr;
use std::time::Duration;

use protocol::document::routes::Path;
use protocol::frame::{Class, RefusalReason};
use protocol::id::{LeaseId, NodeId, RouteId};
use protocol::wire::SwitchCause;

use super::probe::Health;

/// One connection, numbered by the host in the order in which connections come up; never used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// Something for the host to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Closes a connection. The mesh has forgotten it already; `handle_link_down` may still be called.
    CloseLink { link: LinkId, why: CloseReason },
    /// Dials one node at all of these addresses and keeps the first that answers. Ends with `handle_link_up` or
    /// `handle_dial_failed`, always.
    Dial {
        peer: NodeId,
        candidates: Vec<SocketAddr>,
    },
    /// Tells a fact.
    Event(Event),
    /// Puts a frame into the link's [`ClassQueue`](super::queue::ClassQueue).
    Send {
        link: LinkId,
        class: Class,
        frame: Vec<u8>,
    },
}

/// Why a connection is closed from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CloseReason {
    /// Three probes in a row went unanswered: a fresh one is dialled.
    Dead,
    /// The other of two live connections stays.
    Duplicate,
    /// It showed forged beacons.
    Forger,
    /// It brought something that is not a frame.
    Malformed,
    /// The node at the other end is revoked.
    Revoked,
    /// More connections than [`LINKS`](super::links::LINKS).
    TooMany,
    /// No route and no lease needs it any more.
    Unneeded,
}

impl CloseReason {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dead => "dead",
            Self::Duplicate => "duplicate",
            Self::Forger => "forger",
            Self::Malformed => "malformed",
            Self::Revoked => "revoked",
            Self::TooMany => "too_many",
            Self::Unneeded => "unneeded",
        }
    }
}

/// A fact, for logs and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A neighbour showed a signed beacon: for the control side to verify and compare.
    BeaconShown { peer: NodeId, beacon: Vec<u8> },
    /// A decision was refused and the one in force kept.
    DecisionRefused { route: RouteId, why: DecisionRefusal },
    /// Two live connections to one node became one.
    LinkDuplicateClosed { peer: NodeId, link: LinkId },
    /// A connection came up when both ends had agreed to dial at the same moment.
    Met { peer: NodeId },
    /// A path of a route got another health.
    PathChanged {
        route: RouteId,
        peer: NodeId,
        path: Path,
        from: Health,
        to: Health,
    },
    /// The path that carries the traffic went down by its own probes.
    PathDown {
        route: RouteId,
        peer: NodeId,
        path: Path,
    },
    /// A relay told us that it does not carry our frames.
    RelayRefuses {
        relay: NodeId,
        lease: LeaseId,
        why: RefusalReason,
    },
    /// As a relay, stopped to carry rows: freshness ran out, or this process stood still.
    RelayStopped { why: RelayPause },
    /// As a relay, carries rows (again).
    RelayStarted,
    /// This process stood still for this long: as a relay it forwards nothing until a poll that is sent from now on
    /// succeeds, so one should be sent at once.
    Stalled { still: Duration },
    /// Traffic moved by this node's own decision.
    Switched {
        route: RouteId,
        peer: NodeId,
        from: Path,
        to: Path,
        cause: SwitchCause,
    },
    /// Traffic moved because a decision said so.
    Moved {
        route: RouteId,
        peer: NodeId,
        from: Option<Path>,
        to: Path,
        generation: u64,
    },
    /// A route ended by an explicit withdrawal.
    Withdrawn {
        route: RouteId,
        peer: NodeId,
        generation: u64,
    },
}

/// Why a relay stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RelayPause {
    /// The newest beacon's poll was sent too long ago: only active pairs go on, under grace.
    NotFresh,
    /// The process's own loop stood still.
    StoodStill,
}

/// Why a route decision was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DecisionRefusal {
    /// It has a path that leads through one of its ends, or a generation that no frame can carry.
    BadPath,
    /// Another content under the generation in force.
    Conflict,
    /// It names no path and is no withdrawal.
    NoPath,
    /// A lower generation than one already seen.
    Stale,
}

/// Why a frame was not carried as a relay, or not taken as an end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// The lease's bytes a second are spent.
    BudgetSpent,
    /// An end of the pair is revoked.
    EndRevoked,
    /// The far end has no connection to this relay.
    FarEndAway,
    /// The body does not open under any key of the pair.
    Forged,
    /// Another generation of the lease is in force.
    GenerationStale,
    /// The lease is for meetings, and the frame is not of class `fabric_control`.
    MeetingOnly,
    /// The row is not live: neither fresh nor active, or past its grace.
    NotFresh,
    /// As a relay, no row names the lease for this connection; as an end, no route of this or the previous
    /// generation has the path.
    NotLeased,
    /// Class `payload`, which this version does not carry.
    PayloadForwardingDisabled,
    /// This relay's process stood still and has not heard from a controller since.
    StoodStill,
    /// No neighbour of that id.
    UnknownPeer,
    /// The sender's run of its process has not been proven yet: only probes are heard.
    UnprovenBoot,
    /// The neighbour sealed it, and this version does not understand it.
    Unreadable,
}

impl Refusal {
    pub const ALL: [Self; 13] = [
        Self::BudgetSpent,
        Self::EndRevoked,
        Self::FarEndAway,
        Self::Forged,
        Self::GenerationStale,
        Self::MeetingOnly,
        Self::NotFresh,
        Self::NotLeased,
        Self::PayloadForwardingDisabled,
        Self::StoodStill,
        Self::UnknownPeer,
        Self::UnprovenBoot,
        Self::Unreadable,
    ];

    /// What the sender is told, if this is for it to know.
    pub const fn told(self) -> Option<RefusalReason> {
        match self {
            Self::BudgetSpent => Some(RefusalReason::OverBudget),
            Self::EndRevoked | Self::MeetingOnly | Self::NotLeased => Some(RefusalReason::NotLeased),
            Self::FarEndAway => Some(RefusalReason::FarEndAbsent),
            Self::Forged | Self::UnknownPeer | Self::Unreadable | Self::UnprovenBoot => None,
            Self::GenerationStale => Some(RefusalReason::GenerationStale),
            Self::NotFresh | Self::StoodStill => Some(RefusalReason::NotFresh),
            Self::PayloadForwardingDisabled => Some(RefusalReason::PayloadForwardingDisabled),
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::BudgetSpent => "budget_spent",
            Self::EndRevoked => "end_revoked",
            Self::FarEndAway => "far_end_away",
            Self::Forged => "forged",
            Self::GenerationStale => "generation_stale",
            Self::MeetingOnly => "meeting_only",
            Self::NotFresh => "not_fresh",
            Self::NotLeased => "not_leased",
            Self::PayloadForwardingDisabled => "payload_forwarding_disabled",
            Self::StoodStill => "stood_still",
            Self::UnknownPeer => "unknown_peer",
            Self::Unreadable => "unreadable",
            Self::UnprovenBoot => "unproven_boot",
        }
    }
}
