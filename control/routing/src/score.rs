//! How good a path is: an order, best first, not a sum of weights.
//!
//! Tier, loss, round trip, kind and load are compared in classes, in this order; then the path in use wins, then
//! the finer load, then a rendezvous hash. Every score keeps its reasons.

use minicbor::{Decode, Encode};
use protocol::document::routes::Reason;
use protocol::id::RouteId;
use protocol::limits::LEASE_ROWS;
use serde::{Deserialize, Serialize};

use crate::evidence::{Evidence, LinkState};
use crate::pool::RelayStanding;
use crate::reasons::Reasons;
use crate::rendezvous;
use crate::via::Via;

/// The order of the candidates of one route: the lower is the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score {
    pub class: Class,
    pub sticky: Stickiness,
    /// Leases and routes that the relay carries or was promised; 0 if direct.
    pub reserved: u32,
    /// Spreads what is equal otherwise.
    pub rank: u64,
}

/// What one path must have over another to be called better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    pub tier: Tier,
    pub loss: LossClass,
    pub rtt: RttClass,
    pub kind: PathKind,
    pub load: LoadClass,
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Its own probes were answered lately.
    #[n(1)]
    Usable,
    /// They were answered, and it failed so often of late that it is to wait.
    #[n(4)]
    Damped,
    /// Not measured, or not lately.
    #[n(2)]
    Suspect,
    /// An end reported drift or failure on exactly this path, a link it needs is down, or its relay is going or gone.
    #[n(3)]
    Stale,
}

impl Tier {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Usable => "usable",
            Self::Damped => "damped",
            Self::Suspect => "suspect",
            Self::Stale => "stale",
        }
    }
}

#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode, Serialize, Deserialize,
)]
#[cbor(index_only)]
#[serde(rename_all = "snake_case")]
pub enum LossClass {
    /// At most one of the last 20.
    #[n(1)]
    Clean,
    /// Two or three of the last 20.
    #[n(2)]
    Light,
    /// 20 % or more: where agents leave a path by themselves.
    #[n(3)]
    High,
}

impl LossClass {
    /// The class of a number of lost probes out of the last 20.
    pub const fn of(lost: u8) -> Self {
        match lost {
            0..=1 => Self::Clean,
            2..=3 => Self::Light,
            4.. => Self::High,
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::Light => "light",
            Self::High => "high",
        }
    }
}

/// Round trips that are as good as each other: classes of 20 %, at least 10 ms wide. Unknown is the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RttClass(u8);

impl RttClass {
    pub const UNKNOWN: Self = Self(u8::MAX);

    pub fn of(rtt_us: Option<u32>) -> Self {
        let Some(rtt) = rtt_us.map(u64::from) else {
            return Self::UNKNOWN;
        };
        let class = RTT_BOUNDS_US.partition_point(|bound| rtt > *bound);

        Self(u8::try_from(class).unwrap_or(u8::MAX - 1))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PathKind {
    Direct,
    Relay,
}

/// Load in eighths of what a relay can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LoadClass(u32);

impl LoadClass {
    pub const fn of(reserved: u32) -> Self {
        Self(reserved / LOAD_STEP)
    }

    /// Whether the difference is more than the edge between two classes.
    pub const fn is_well_below(self, other: Self) -> bool {
        self.0 + 1 < other.0
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stickiness {
    /// In use now.
    Current,
    /// Leased for this route.
    Leased,
    New,
}

/// What scoring needs to know of a candidate besides the evidence.
#[derive(Clone, Copy, Debug)]
pub struct Subject {
    pub route: RouteId,
    pub via: Via,
    /// None if direct.
    pub standing: Option<RelayStanding>,
    pub sticky: Stickiness,
    pub reserved: u32,
    /// Whether it failed so often of late that it is to wait.
    pub is_damped: bool,
}

impl Score {
    /// Judges one candidate, and says why.
    pub fn of(subject: &Subject, evidence: &Evidence) -> (Self, Reasons) {
        let mut reasons = Reasons::EMPTY;
        let tier = tier(subject, evidence, &mut reasons);
        let loss = LossClass::of(evidence.lost);
        if loss == LossClass::High {
            reasons.insert(Reason::LossHigh);
        }
        let (kind, rank) = match subject.via {
            Via::Direct => (PathKind::Direct, 0),
            Via::Relay(relay) => (
                PathKind::Relay,
                rendezvous::rank(subject.route.as_bytes(), relay.as_bytes()),
            ),
        };
        let class = Class {
            tier,
            loss,
            rtt: RttClass::of(evidence.rtt_us),
            kind,
            load: LoadClass::of(subject.reserved),
        };
        let score = Self {
            class,
            sticky: subject.sticky,
            reserved: subject.reserved,
            rank,
        };

        (score, reasons)
    }
}

fn tier(subject: &Subject, evidence: &Evidence, reasons: &mut Reasons) -> Tier {
    let is_direct = subject.via == Via::Direct;
    let (tier, reason) = match (evidence.down, evidence.probed, evidence.link) {
        (true, ..) if is_direct => (Tier::Stale, Some(Reason::DirectDown)),
        (true, ..) => (Tier::Stale, Some(Reason::StaleExactRelay)),
        (false, true, _) if subject.is_damped => (Tier::Damped, Some(Reason::Damped)),
        (false, true, _) => (Tier::Usable, None),
        (false, false, LinkState::Down) if is_direct => (Tier::Stale, Some(Reason::DirectDown)),
        (false, false, LinkState::Down) => (Tier::Stale, Some(Reason::LinkDown)),
        (false, false, _) if is_direct => (Tier::Suspect, Some(Reason::DirectUnconfirmed)),
        (false, false, _) => (Tier::Suspect, Some(Reason::RelayUnconfirmed)),
    };
    reasons.extend(reason);
    match subject.standing {
        None | Some(RelayStanding::Ready) => tier,
        Some(RelayStanding::Draining) => {
            reasons.insert(Reason::RelayDraining);
            Tier::Stale
        }
        Some(RelayStanding::Offline) => {
            reasons.insert(Reason::RelayOffline);
            let still_carries = matches!(tier, Tier::Usable | Tier::Damped);
            if still_carries { Tier::Suspect } else { Tier::Stale }
        }
    }
}

/// By how much a round trip must be shorter than `rtt_us` to be worth a move: 20 %, at least 10 ms.
pub const fn margin_us(rtt_us: u64) -> u64 {
    let fifth = rtt_us / 5;

    if fifth > RTT_FLOOR_US { fifth } else { RTT_FLOOR_US }
}

/// 10 ms: below this nobody notices, and jitter alone would reorder (DESIGN 5).
pub const RTT_FLOOR_US: u64 = 10_000;
/// The longest round trip of each class: longer than that of the class before by the margin. The last is longer than any that
/// a report can name.
const RTT_BOUNDS_US: [u64; 68] = {
    let mut bounds = [RTT_FLOOR_US; 68];
    let mut class = 1;
    while class < bounds.len() {
        bounds[class] = bounds[class - 1] + margin_us(bounds[class - 1]);
        class += 1;
    }

    bounds
};
/// Loads within an eighth of a relay's table are alike.
#[expect(clippy::cast_possible_truncation, reason = "8,000 fits")]
pub const LOAD_STEP: u32 = (LEASE_ROWS / 8) as u32;

#[cfg(test)]
mod tests {
    use protocol::id::NodeId;

    use super::*;

    #[test]
    fn the_rules_apply_in_their_order() {
        let best = class();
        let worse = [
            Class {
                load: LoadClass::of(LOAD_STEP),
                ..best
            },
            Class {
                kind: PathKind::Relay,
                ..best
            },
            Class {
                rtt: RttClass::of(Some(25_000)),
                ..best
            },
            Class {
                loss: LossClass::Light,
                ..best
            },
            Class {
                tier: Tier::Suspect,
                ..best
            },
            Class {
                tier: Tier::Stale,
                ..best
            },
        ];

        assert!(worse.is_sorted() && best < worse[0]);
        let stickiest = score(worse[0], Stickiness::Current, 0);
        assert!(
            score(best, Stickiness::New, 9) < stickiest,
            "a class outweighs stickiness"
        );
        assert!(score(best, Stickiness::Current, 9) < score(best, Stickiness::Leased, 0));
        assert!(score(best, Stickiness::Leased, 1) < score(best, Stickiness::Leased, 2));
    }

    #[test]
    fn round_trips_within_ten_milliseconds_or_a_fifth_are_alike() {
        let class = |rtt_ms: u32| RttClass::of(Some(rtt_ms * 1_000));

        assert_eq!(class(0), class(10));
        assert!(class(10) < class(11) && class(11) == class(20));
        assert!(class(59) == class(60) && class(60) < class(61) && class(61) == class(72));
        assert!(class(4_000_000) < RttClass::UNKNOWN);
        assert_eq!(RttClass::of(None), RttClass::UNKNOWN);
    }

    #[test]
    fn loss_is_high_where_agents_leave_by_themselves() {
        let classes = [0, 1, 2, 3, 4, 20].map(LossClass::of);

        assert_eq!(
            classes,
            [
                LossClass::Clean,
                LossClass::Clean,
                LossClass::Light,
                LossClass::Light,
                LossClass::High,
                LossClass::High
            ]
        );
    }

    #[test]
    fn probes_outweigh_links_and_bad_news_outweighs_both() {
        let good = Evidence {
            probed: true,
            link: LinkState::Down,
            ..Evidence::default()
        };
        let down = Evidence {
            down: true,
            link: LinkState::Up,
            ..Evidence::default()
        };
        let unlinked = Evidence {
            link: LinkState::Down,
            ..Evidence::default()
        };
        let relay = subject(Some(RelayStanding::Ready));
        let judged = |evidence| {
            let (score, reasons) = Score::of(&relay, &evidence);

            (score.class.tier, reasons.iter().collect::<Vec<_>>())
        };

        assert_eq!(judged(good), (Tier::Usable, vec![]));
        assert_eq!(judged(down), (Tier::Stale, vec![Reason::StaleExactRelay]));
        assert_eq!(judged(unlinked), (Tier::Stale, vec![Reason::LinkDown]));
        assert_eq!(
            judged(Evidence::default()),
            (Tier::Suspect, vec![Reason::RelayUnconfirmed])
        );
    }

    #[test]
    fn a_relay_that_is_not_heard_of_counts_as_long_as_probes_pass_through_it() {
        let offline = subject(Some(RelayStanding::Offline));
        let probed = Evidence {
            probed: true,
            ..Evidence::default()
        };
        let tier = |evidence| Score::of(&offline, &evidence).0.class.tier;

        assert_eq!(tier(probed), Tier::Suspect);
        assert_eq!(tier(Evidence::default()), Tier::Stale);
    }

    fn class() -> Class {
        Class {
            tier: Tier::Usable,
            loss: LossClass::Clean,
            rtt: RttClass::of(Some(15_000)),
            kind: PathKind::Direct,
            load: LoadClass::of(0),
        }
    }

    fn score(class: Class, sticky: Stickiness, reserved: u32) -> Score {
        Score {
            class,
            sticky,
            reserved,
            rank: 0,
        }
    }

    fn subject(standing: Option<RelayStanding>) -> Subject {
        Subject {
            route: RouteId::from_bytes([1; 16]),
            via: Via::Relay(NodeId::from_bytes([2; 16])),
            standing,
            sticky: Stickiness::New,
            reserved: 0,
            is_damped: false,
        }
    }
}
