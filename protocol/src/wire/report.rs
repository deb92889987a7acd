//! What an agent measured: the evidence that route decisions are made from.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::cbor;
use crate::document::routes::Path;
use crate::id::{LeaseId, NodeId, RouteId};
use crate::net::Address;

/// Every 5 s, and at once after a local switch or a change of health.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Report {
    #[n(0)]
    #[cbor(decode_with = "cbor::known")]
    pub paths: Vec<PathObservation>,
    #[n(1)]
    pub links: Vec<LinkObservation>,
    #[n(2)]
    #[cbor(decode_with = "cbor::known")]
    pub switches: Vec<Switch>,
    /// Of a relay: the rows of its lease table that carried or refused something since they were last told.
    #[n(3)]
    #[cbor(default)]
    pub carried: Vec<Carried>,
    /// Reports of refreshes that are new, or that more were suppressed under; see [`Refresh`].
    #[n(4)]
    #[cbor(default)]
    #[cbor(decode_with = "cbor::known")]
    pub refreshes: Vec<Refresh>,
}

/// What a relay did for one lease since its process started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Carried {
    #[n(0)]
    pub lease: LeaseId,
    /// Frames.
    #[n(1)]
    pub forwarded: u64,
    #[n(2)]
    pub forwarded_bytes: u64,
    /// Frames that it did not carry, for whatever reason.
    #[n(3)]
    pub refused: u64,
}

/// How one path of one route did, seen from the reporter; the key is (reporter, route, path).
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct PathObservation {
    #[n(0)]
    pub route: RouteId,
    #[n(1)]
    pub peer: NodeId,
    #[n(2)]
    pub path: Path,
    /// The route generation that the path was probed under.
    #[n(3)]
    pub generation: u64,
    /// Whether the reporter sends its traffic here.
    #[n(4)]
    pub active: bool,
    #[n(5)]
    pub drift: Drift,
    /// From the reporter to the peer, both included.
    #[n(6)]
    pub expected_hops: Vec<NodeId>,
    /// What both ends saw on their own links; empty if no answer came.
    #[n(7)]
    pub observed_hops: Vec<NodeId>,
    /// Smoothed round trip in microseconds (RFC 6298), once measured.
    #[n(8)]
    pub rtt_us: Option<u32>,
    /// Lost probes of the last 20, towards the peer.
    #[n(9)]
    pub lost_out: u8,
    /// Lost answers of the last 20, from the peer.
    #[n(10)]
    pub lost_in: u8,
    /// Probes that the window above holds, at most 20.
    #[n(11)]
    pub window: u8,
    /// Misses in a row up to now.
    #[n(12)]
    pub misses: u16,
    /// Age of the newest answer, in milliseconds; none without an answer, and from agents before it was defined.
    #[n(13)]
    pub answered_ms: Option<u64>,
}

/// How the effective path compares with the decided one.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// With three misses or more: the peer is heard on no path, and none is blamed.
    #[default]
    #[n(1)]
    None,
    /// Answers come over other hops than decided.
    #[n(2)]
    PathDrift,
    /// No link to the first hop.
    #[n(3)]
    Unreachable,
    /// The first hop is there, and answers do not come, although the peer answers over another path; or the relay
    /// refuses.
    #[n(4)]
    Failure,
}

impl Drift {
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::PathDrift => "path_drift",
            Self::Unreachable => "unreachable",
            Self::Failure => "failure",
        }
    }
}

/// A QUIC link to a neighbour, relays among them; the key is (reporter, peer).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LinkObservation {
    #[n(0)]
    pub peer: NodeId,
    #[n(1)]
    pub connected: bool,
    /// The transport's own estimate, microseconds.
    #[n(2)]
    pub rtt_us: Option<u32>,
    /// Where the reporter reached the peer, if it dialled the link: a handshake has confirmed that address.
    #[n(3)]
    pub reached: Option<Address>,
}

/// The report that a refresh leaves: what the poll after bad news of one way of a route brought, and how many more bad
/// reports were not followed by one since. The key is (reporter, route, relay), and the newest holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Refresh {
    #[n(0)]
    pub route: RouteId,
    /// None for the direct path.
    #[n(1)]
    pub relay: Option<NodeId>,
    /// What was bad.
    #[n(2)]
    pub trigger: Drift,
    #[n(3)]
    pub before: InForce,
    #[n(4)]
    pub after: InForce,
    /// Milliseconds from the answer on in which no poll follows bad news of this way; none if the decision changed.
    #[n(5)]
    pub cooldown_ms: Option<u64>,
    /// Bad reports of this way since, that no poll followed.
    #[n(6)]
    pub suppressed: u64,
    /// Milliseconds from the answer to this report.
    #[n(7)]
    pub age_ms: u64,
    /// Milliseconds from the last that was suppressed to this report; none if none was.
    #[n(8)]
    pub suppressed_ms: Option<u64>,
}

impl Refresh {
    /// `changed`, `unchanged`, or `suppressed` once bad news was held back after an answer that changed nothing.
    pub const fn outcome(&self) -> &'static str {
        match (self.cooldown_ms, self.suppressed) {
            (None, _) => "changed",
            (Some(_), 0) => "unchanged",
            (Some(_), _) => "suppressed",
        }
    }
}

/// The decision of a route that is in force at a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InForce {
    /// Of the authority that signed the document it stands in.
    #[n(0)]
    pub epoch: u64,
    /// Of the routes document; 0 without one.
    #[n(1)]
    pub version: u64,
    /// Of the decision; none if there is none.
    #[n(2)]
    pub generation: Option<u64>,
}

/// A local failover: the agent's own decision, told afterwards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Switch {
    #[n(0)]
    pub route: RouteId,
    #[n(1)]
    pub generation: u64,
    #[n(2)]
    pub from: Path,
    #[n(3)]
    pub to: Path,
    #[n(4)]
    pub cause: SwitchCause,
    /// Milliseconds before this report.
    #[n(5)]
    pub age_ms: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum SwitchCause {
    /// Three misses in a row.
    #[n(1)]
    PathDown,
    /// At least 20 % of the last 20 lost, and a better standby.
    #[n(2)]
    PathLossy,
    /// The path is not leased any more.
    #[n(3)]
    LeaseEnded,
}

impl SwitchCause {
    pub const fn name(self) -> &'static str {
        match self {
            Self::PathDown => "path_down",
            Self::PathLossy => "path_lossy",
            Self::LeaseEnded => "lease_ended",
        }
    }
}
