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
use crate::via::Via;

/// The place that the decision in force names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) place: Rendezvous,
    /// Whether both ends call the direct path down.
    pub(crate) are_apart: bool,
}

impl Held {
    /// Whether it has had its turn: the ends have been apart for all of it, so that another node may do better. A node that
    /// takes its lease and lets nothing pass looks like one that works, and nobody reports of it. Every grant on the same
    /// node doubles its turn, so that ends that cannot meet anywhere make few decisions.
    fn is_over(self, input: &Snapshot<'_>, ends: Ends, now: Now) -> bool {
        let direct = input.trends.of(ends.route).damping(Via::Direct);
        let lease = input.leases.on(ends.route, self.place.node);
        let turn = TURN * (1 << self.place.generation.saturating_sub(1).min(DOUBLINGS));
        let is_down = direct.is_some_and(|direct| direct.is_down_for(turn, now.boot));
        let is_granted = lease.is_some_and(|lease| now.wall.since(lease.granted_at) >= turn);

        self.are_apart && is_down && is_granted
    }
}

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

    /// For a route without a path. The node that is named now stays unless an end cannot reach it, it is leaving, or the ends
    /// have not met in its turn, and another one can take its place; that happens once the other has shown that it knows. Of
    /// those that are alike a hash decides, so that not all pairs come to the same one.
    pub(crate) fn find(
        input: &Snapshot<'_>,
        ends: Ends,
        held: Option<Held>,
        reserved: &Reservations,
        now: Now,
    ) -> Self {
        let prospects = prospects(input, ends, held, reserved, now);
        let best = prospects.iter().filter(|found| found.is_obtainable()).min();
        let kept = held.map(|held| held.place).filter(|held| {
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
    order: Order,
    lease: Standing,
    link: LinkState,
    /// Spreads what is equal otherwise; counted from the node whose turn is over.
    rank: u64,
    node: NodeId,
    is_full: bool,
    /// What a decision can name, once the node has acknowledged the lease.
    named: Option<Rendezvous>,
}

/// How the decision in force bears on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order {
    /// The turn of the one that is named is over, and both ends have a connection to this one.
    Next,
    Named,
    Other,
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
    held: Option<Held>,
    reserved: &Reservations,
    now: Now,
) -> Vec<Prospect> {
    let rank = |node: NodeId| rendezvous::rank(ends.route.as_bytes(), node.as_bytes());
    let named = held.map(|held| held.place.node);
    let over = held
        .filter(|held| held.is_over(input, ends, now))
        .map(|held| held.place.node);
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
                order: match link {
                    _ if named == Some(node) => Order::Named,
                    LinkState::Up if over.is_some() => Order::Next,
                    LinkState::Up | LinkState::Unknown | LinkState::Down => Order::Other,
                },
                lease,
                link,
                rank: rank(node).wrapping_sub(over.map_or(0, rank)),
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
/// How long a node is named, while the ends do not meet, before it is the turn of another one that both reach: in that time an
/// end asks four times, after 3, 10, 30 and 90 s (ADR 10).
pub(crate) const TURN: Duration = Duration::from_mins(3);
/// Turns become no longer than 24 min: in that time an end asks twice, however often it has asked before.
const DOUBLINGS: u32 = 3;
