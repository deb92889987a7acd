//! Route decisions for one node, and the table of leases that one relay carries.

use minicbor::{Decode, Encode};
use serde::{Deserialize, Serialize};

use crate::cbor;
use crate::envelope::{Document, Kind, LEASE_KINDS};
use crate::id::{LeaseId, NodeId, RouteId};

/// Every decision that concerns one node. A route that is missing is kept as it is; a withdrawal is explicit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Routes {
    /// Sorted by route id.
    #[n(0)]
    #[cbor(decode_with = "cbor::known")]
    pub decisions: Vec<RouteDecision>,
}

impl Document for Routes {
    const KIND: Kind = Kind::Routes;
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RouteDecision {
    #[n(0)]
    pub route: RouteId,
    /// The far end, seen from the node that this document is for.
    #[n(1)]
    pub peer: NodeId,
    /// A lower generation never overwrites a higher one.
    #[n(2)]
    pub generation: u64,
    #[n(3)]
    pub action: Action,
    /// Absent when withdrawn.
    #[n(4)]
    pub path: Option<Path>,
    /// Ranked, at most [`crate::limits::STANDBYS`].
    #[n(5)]
    #[cbor(decode_with = "cbor::known")]
    pub standbys: Vec<Path>,
    #[n(6)]
    #[cbor(decode_with = "cbor::known")]
    pub reasons: Vec<Reason>,
    /// Higher is more important.
    #[n(7)]
    pub priority: u8,
    #[n(8)]
    #[cbor(decode_with = "cbor::known_or_usual")]
    pub cadence: Cadence,
    /// Where the ends may agree to dial each other, while they have no path that works.
    #[n(9)]
    pub rendezvous: Option<Rendezvous>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    #[n(1)]
    Keep,
    #[n(2)]
    Replace,
    #[n(3)]
    Withdraw,
}

impl Action {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Replace => "replace",
            Self::Withdraw => "withdraw",
        }
    }
}

/// The way from one node to another.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Path {
    #[n(1)]
    Direct,
    #[n(2)]
    Relay {
        #[n(0)]
        relay: NodeId,
        #[n(1)]
        lease: LeaseId,
        /// The lease's, as the frames that use it have it.
        #[n(2)]
        generation: u32,
        /// Bytes a second, both directions together.
        #[n(3)]
        budget: u32,
    },
}

impl Path {
    pub fn relay(&self) -> Option<NodeId> {
        match self {
            Self::Direct => None,
            Self::Relay { relay, .. } => Some(*relay),
        }
    }

    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay { .. } => "relay",
        }
    }
}

/// A rendezvous lease, seen from an end: a node that both ends reach, and that lets a few frames of class `fabric_control`
/// pass between them and nothing else. Never a path.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Rendezvous {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub lease: LeaseId,
    /// The lease's, as the frames that use it have it. Never 0.
    #[n(2)]
    pub generation: u32,
}

/// How often a route is probed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Encode, Decode, Serialize, Deserialize)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Cadence {
    /// Fast while in use and for a node's first routes, rest otherwise.
    #[default]
    #[n(1)]
    Auto,
    #[n(2)]
    Fast,
    #[n(3)]
    Normal,
    #[n(4)]
    Rest,
}

/// Why a path was chosen or refused. The names are read by scripts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    #[n(1)]
    DirectPreferred,
    #[n(2)]
    DirectUnconfirmed,
    #[n(3)]
    DirectDown,
    #[serde(rename = "rh_healthy_low_latency")]
    #[n(4)]
    HealthyLowLatency,
    #[serde(rename = "rh_stale_exact_relay")]
    #[n(5)]
    StaleExactRelay,
    #[n(6)]
    RelayOffline,
    #[n(7)]
    RelayDraining,
    #[n(8)]
    RelayFull,
    #[n(9)]
    RelayUnconfirmed,
    #[serde(rename = "rh_loss_high")]
    #[n(10)]
    LossHigh,
    #[n(11)]
    Sticky,
    #[n(12)]
    OnlyCandidate,
    #[n(13)]
    NoCandidate,
    #[n(14)]
    StandbyShort,
    #[n(15)]
    NoPolicy,
    #[n(16)]
    EndRevoked,
    #[n(17)]
    LeasePending,
    #[n(18)]
    SlowerThanChosen,
    #[n(19)]
    HeldBack,
    /// A link that the path needs is down, as one end of that link says.
    #[n(20)]
    LinkDown,
    /// It failed so often of late that it waits (RFC 2439).
    #[serde(rename = "rh_damped")]
    #[n(21)]
    Damped,
    /// No path works and no relay can carry the pair: the ends are told of a node over which they can agree to dial.
    #[n(22)]
    RendezvousGranted,
}

impl Reason {
    /// In their order.
    pub const ALL: [Self; 22] = [
        Self::DirectPreferred,
        Self::DirectUnconfirmed,
        Self::DirectDown,
        Self::HealthyLowLatency,
        Self::StaleExactRelay,
        Self::RelayOffline,
        Self::RelayDraining,
        Self::RelayFull,
        Self::RelayUnconfirmed,
        Self::LossHigh,
        Self::Sticky,
        Self::OnlyCandidate,
        Self::NoCandidate,
        Self::StandbyShort,
        Self::NoPolicy,
        Self::EndRevoked,
        Self::LeasePending,
        Self::SlowerThanChosen,
        Self::HeldBack,
        Self::LinkDown,
        Self::Damped,
        Self::RendezvousGranted,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::DirectPreferred => "direct_preferred",
            Self::DirectUnconfirmed => "direct_unconfirmed",
            Self::DirectDown => "direct_down",
            Self::HealthyLowLatency => "rh_healthy_low_latency",
            Self::StaleExactRelay => "rh_stale_exact_relay",
            Self::RelayOffline => "relay_offline",
            Self::RelayDraining => "relay_draining",
            Self::RelayFull => "relay_full",
            Self::RelayUnconfirmed => "relay_unconfirmed",
            Self::LossHigh => "rh_loss_high",
            Self::Sticky => "sticky",
            Self::OnlyCandidate => "only_candidate",
            Self::NoCandidate => "no_candidate",
            Self::StandbyShort => "standby_short",
            Self::NoPolicy => "no_policy",
            Self::EndRevoked => "end_revoked",
            Self::LeasePending => "lease_pending",
            Self::SlowerThanChosen => "slower_than_chosen",
            Self::HeldBack => "held_back",
            Self::LinkDown => "link_down",
            Self::Damped => "rh_damped",
            Self::RendezvousGranted => "rendezvous_granted",
        }
    }
}

/// Every lease that one relay carries: default deny, so what is not here is not forwarded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct LeaseTable {
    /// Sorted by lease id; at most [`crate::limits::LEASE_ROWS`].
    #[n(0)]
    pub rows: Vec<LeaseRow>,
}

impl Document for LeaseTable {
    const KIND: Kind = Kind::LeaseTable;

    /// A reader that knows of no kinds would carry whatever the ends of a rendezvous lease send.
    fn needs(&self) -> Vec<u32> {
        let has_kinds = self.rows.iter().any(|row| !row.kind.is_relay());

        has_kinds.then_some(LEASE_KINDS).into_iter().collect()
    }
}

/// At most 64 bytes encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct LeaseRow {
    #[n(0)]
    pub lease: LeaseId,
    /// The pair, lower id first.
    #[n(1)]
    pub low: NodeId,
    #[n(2)]
    pub high: NodeId,
    /// The fencing token: a relay refuses any lower one it has seen a higher one for.
    #[n(3)]
    pub generation: u32,
    /// KiB a second, both directions together.
    #[n(4)]
    pub budget_kib: u16,
    /// Minutes that the row outlives the relay's freshness.
    #[n(5)]
    pub grace_minutes: u16,
    /// Left out of the bytes if it is the usual one.
    #[n(6)]
    #[cbor(skip_if = "LeaseKind::is_relay")]
    pub kind: LeaseKind,
}

/// What a lease allows.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum LeaseKind {
    /// To carry every class but `payload`.
    #[default]
    #[n(1)]
    Relay,
    /// To carry class `fabric_control`, a few frames a second: enough for two ends to agree when to dial.
    #[n(2)]
    Rendezvous,
}

impl LeaseKind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Rendezvous => "rendezvous",
        }
    }

    pub const fn is_relay(&self) -> bool {
        matches!(self, Self::Relay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_a_reason_is_its_name() {
        let reasons = (1..=23).filter_map(|number| cbor::decode::<Reason>(&[number]).ok());
        let mut count = 0;
        for reason in reasons {
            count += 1;
            assert_eq!(serde_json::json!(reason), reason.name());
            assert_eq!(
                serde_json::from_value::<Reason>(reason.name().into()).ok(),
                Some(reason)
            );
        }
        assert_eq!(count, 22);
    }

    #[test]
    fn a_reason_of_a_later_version_does_not_make_a_decision_unreadable() {
        let decision = RouteDecision {
            route: RouteId::from_bytes([1; 16]),
            peer: NodeId::from_bytes([2; 16]),
            generation: 1,
            action: Action::Replace,
            path: Some(Path::Direct),
            standbys: Vec::new(),
            reasons: vec![Reason::LinkDown, Reason::Sticky],
            priority: 0,
            cadence: Cadence::Fast,
            rendezvous: None,
        };
        let routes = Routes {
            decisions: vec![decision.clone()],
        };
        let mut bytes = cbor::encode(&routes);
        let reasons = bytes
            .windows(3)
            .position(|window| window == [0x82, 20, 11])
            .expect("both reasons are one byte each");
        bytes[reasons + 1] = 23;

        let read: Routes = cbor::decode(&bytes).expect("still readable");
        assert_eq!(read.decisions[0].reasons, [Reason::Sticky]);
        assert_eq!(
            RouteDecision {
                reasons: Vec::new(),
                ..read.decisions[0].clone()
            },
            RouteDecision {
                reasons: Vec::new(),
                ..decision
            }
        );
    }

    /// What a version without kinds wrote, and reads.
    #[test]
    fn a_row_of_a_relay_lease_is_what_it_was_before_leases_had_kinds() {
        let row = LeaseRow {
            lease: LeaseId::from_bytes([1; 16]),
            low: NodeId::from_bytes([2; 16]),
            high: NodeId::from_bytes([3; 16]),
            generation: 4,
            budget_kib: 5,
            grace_minutes: 6,
            kind: LeaseKind::Relay,
        };
        let mut before = vec![0x86];
        for id in [1, 2, 3] {
            before.push(0x50);
            before.extend([id; 16]);
        }
        before.extend([4, 5, 6]);
        assert_eq!(cbor::encode(&row), before);
        assert_eq!(cbor::decode(&before), Ok(row));

        let kind = LeaseKind::Rendezvous;
        let meeting = LeaseRow { kind, ..row };
        assert_eq!(cbor::decode(&cbor::encode(&meeting)), Ok(meeting));
        let needs = |rows: &[LeaseRow]| LeaseTable { rows: rows.to_vec() }.needs();
        assert_eq!(
            (needs(&[row]), needs(&[row, meeting])),
            (vec![], vec![LEASE_KINDS])
        );
    }
}
