//! Finds a node over which the ends of a route can agree to dial each other: one with role `rendezvous`, for a pair that has
//! no path that works, and that no relay can carry.
//!
//! ```text
//! direct path down, no relay ─▶ the best introducer ─▶ lease asked for ─▶ acknowledged ─▶ named in the decision
//!                                                                                           │
//!            decision without it, lease withdrawn ◀── the direct path is sound ◀── the ends dial each other
//! ```
//!
//! It is never a path: it is no candidate, nothing is measured over it, and no traffic passes there.

use std::time::Duration;

use protocol::document::routes::{LeaseKind, Rendezvous};
use protocol::id::NodeId;
use protocol::time::{Boot, Now};

use crate::candidate::{Service, Standing, standing};
use crate::decide::Snapshot;
use crate::evidence::{Ends, LinkState};
use crate::lease::{LeaseState, MEETING_PAIRS};
use crate::observations::{FRESH, LinkSeen};
use crate::pool::RelayStanding;
use crate::rendezvous;
use crate::reservation::Reservations;

/// What a route has by way of a rendezvous, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// What its decision is to name.
    pub named: Option<Rendezvous>,
    /// The node that it is to have a lease on: the one that is named, or one that is to take its place.
    pub node: Option<NodeId>,
    /// Whether the lease on that node must be asked for.
    pub(crate) is_missing: bool,
    pub why: Why,
}

/// Why a route has a rendezvous, or has none. The names are read by scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// The direct path is not known to be down.
    DirectNotDown,
    /// A relay carries the pair, or is being leased for it: the ends meet over that.
    RelayLeased,
    /// No path works, and the ends are told where to meet.
    Granted,
    /// A node is chosen, and has not shown yet that it knows.
    LeasePending,
    /// No other node in force has the role.
    NoRendezvous,
    /// Those with the role were not heard of, or do not take up what they are given.
    RendezvousAway,
    /// Those with the role introduce as many pairs as they may.
    RendezvousFull,
    /// An end says of each of them that it cannot reach it.
    RendezvousUnreachable,
    /// Only one end says that the direct path is down; the other one is not heard of, or finds it well.
    OneEndAlone,
}

impl Why {
    pub const fn name(self) -> &'static str {
        match self {
            Self::DirectNotDown => "direct_not_down",
            Self::RelayLeased => "relay_leased",
            Self::Granted => "granted",
            Self::LeasePending => "lease_pending",
            Self::NoRendezvous => "no_rendezvous",
            Self::RendezvousAway => "rendezvous_away",
            Self::RendezvousFull => "rendezvous_full",
            Self::RendezvousUnreachable => "rendezvous_unreachable",
            Self::OneEndAlone => "one_end_alone",
        }
    }
}

impl Meeting {
    /// A route that needs none.
    pub(crate) const fn none(why: Why) -> Self {
        Self {
            named: None,
            node: None,
            is_missing: false,
            why,
        }
    }

    /// For a route without a path. The node that is named now stays unless an end cannot reach it or it is leaving, and
    /// another one can take its place; that happens once the other has shown that it knows. Of those that are alike a hash
    /// decides, so that not all pairs come to the same one.
    pub(crate) fn find(
        input: &Snapshot<'_>,
        ends: Ends,
        held: Option<Rendezvous>,
        reserved: &Reservations,
        now: Now,
    ) -> Self {
        let prospects = prospects(input, ends, held, reserved, now);
        let best = prospects.iter().filter(|found| found.is_obtainable()).min();
        let kept = held.filter(|held| {
            let mut known = prospects.iter();

            known.any(|found| found.node == held.node && found.named == Some(*held))
        });
        let Some(best) = best else {
            return Self {
                named: kept,
                node: kept.map(|kept| kept.node),
                is_missing: false,
                why: why_none(&prospects),
            };
        };
        let is_tried = best.lease != Standing::None;
        if best.is_cut_off() && !is_tried {
            return Self {
                named: kept,
                node: kept.map(|kept| kept.node),
                is_missing: false,
                why: Why::RendezvousUnreachable,
            };
        }

        Self {
            named: best.named.or(kept),
            node: Some(best.node),
            is_missing: !is_tried,
            why: match best.named {
                Some(_) if best.is_cut_off() => Why::RendezvousUnreachable,
                Some(_) => Why::Granted,
                None => Why::LeasePending,
            },
        }
    }
}

/// A node that could introduce the ends. The best is the least; the order of the fields is the order of the rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Prospect {
    /// An end cannot reach it, or it is going or gone.
    is_bad: bool,
    /// It is not the one that the decision names.
    is_other: bool,
    lease: Standing,
    link: LinkState,
    /// Spreads what is equal otherwise.
    rank: u64,
    node: NodeId,
    is_full: bool,
    /// What a decision can name, once the node has acknowledged the lease.
    named: Option<Rendezvous>,
}

impl Prospect {
    fn is_obtainable(&self) -> bool {
        match self.lease {
            Standing::Granted | Standing::Pending | Standing::None => true,
            Standing::Overdue | Standing::Barred => false,
        }
    }

    fn is_cut_off(&self) -> bool {
        self.link == LinkState::Down
    }
}

fn prospects(
    input: &Snapshot<'_>,
    ends: Ends,
    held: Option<Rendezvous>,
    reserved: &Reservations,
    now: Now,
) -> Vec<Prospect> {
    let introducers = input.relays.introducers().zip(reserved.introduced());
    let others = introducers.filter(|(introducer, _)| !ends.both().contains(&introducer.node));

    others
        .map(|(introducer, rows)| {
            let node = introducer.node;
            let known = input.leases.on(ends.route, node);
            let is_full = rows >= MEETING_PAIRS;
            let service = Service {
                kind: LeaseKind::Rendezvous,
                standing: introducer.standing,
                is_full,
            };
            let (lease, _) = standing(service, known, now);
            let active = known.filter(|lease| lease.state == LeaseState::Active);
            let link = link(input, ends, node, now.boot);

            Prospect {
                is_bad: link == LinkState::Down || introducer.standing != RelayStanding::Ready,
                is_other: held.is_none_or(|held| held.node != node),
                lease,
                link,
                rank: rendezvous::rank(ends.route.as_bytes(), node.as_bytes()),
                node,
                is_full,
                named: active.and_then(|lease| lease.rendezvous()),
            }
        })
        .collect()
}

/// The worse of what the ends say of their links to a node.
fn link(input: &Snapshot<'_>, ends: Ends, node: NodeId, now: Boot) -> LinkState {
    let of = |end| match input.observations.link(end, node) {
        Some(LinkSeen {
            connected: true, at, ..
        }) if now.since(*at) <= FRESH => LinkState::Up,
        Some(LinkSeen {
            connected: false, at, ..
        }) if now.since(*at) <= SHUNNED => LinkState::Down,
        Some(_) | None => LinkState::Unknown,
    };

    of(ends.low).max(of(ends.high))
}

fn why_none(prospects: &[Prospect]) -> Why {
    if prospects.is_empty() {
        Why::NoRendezvous
    } else if prospects.iter().any(|found| found.is_full) {
        Why::RendezvousFull
    } else {
        Why::RendezvousAway
    }
}

/// How long an end's word that it cannot reach a node outlives its trying: once nothing is wanted of the node there, nobody
/// tries, and nobody could say better.
pub(crate) const SHUNNED: Duration = Duration::from_secs(300);
