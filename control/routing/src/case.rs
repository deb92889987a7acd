//! The case of one decision: everything that it was made from and nothing else, so that it can be made again.
//!
//! ```text
//! Snapshot + Reservations + Now ── Case::of ──▶ Case ── CBOR in the journal, JSON in an export ──▶ Case
//!              │                                                                                    │
//!              └── decide::outcome ──▶ Outcome         ==         Outcome ◀── decide::outcome ── Case::decide
//! ```
//!
//! There is no second implementation of any rule: [`Case::decide`] lays the case out as a small [`Snapshot`] and hands it
//! to the very function that made the decision.

use std::collections::BTreeMap;
use std::sync::Arc;

use minicbor::{Decode, Encode};
use protocol::document::routes::Cadence;
use protocol::id::{ClusterId, NodeId, RouteId};
use protocol::key::SealKey;
use protocol::node::{Labels, NodeRole};
use protocol::time::{Boot, Now, Wall};
use serde::{Deserialize, Serialize};

use crate::decide::{self, Outcome, Snapshot};
use crate::evidence::Ends;
use crate::lease::{Lease, LeaseBook};
use crate::member::{Member, MemberState};
use crate::observations::{Excerpt, Observations};
use crate::policy::{Wanted, WantedRoute};
use crate::pool::{Introducer, Relay, RelayPool, RelayStanding};
use crate::reservation::{Reservations, Room};
use crate::route::{RouteBook, RouteRow};
use crate::suspicion::{Known, Suspicion};
use crate::trend::{Memory, Trend, Trends};
use crate::via::Via;

/// What one decision was made from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Case {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub route: RouteId,
    #[n(2)]
    pub low: End,
    #[n(3)]
    pub high: End,
    /// When it was decided, on the clock that the ages of evidence are counted on.
    #[n(4)]
    pub boot: Boot,
    #[n(5)]
    pub wall: Wall,
    /// None if no policy wants the route any more.
    #[n(6)]
    pub wanted: Option<Terms>,
    /// The decision that stood.
    #[n(7)]
    pub standing: Option<RouteRow>,
    /// Every relay of the pool, by id: none is left out, since any may become a candidate, a standby or a reason.
    #[n(8)]
    pub relays: Vec<RelayCase>,
    /// Of this route, withdrawn ones included.
    #[n(9)]
    pub leases: Vec<Lease>,
    /// What the passes before remembered of the route.
    #[n(10)]
    pub memory: Memory,
    /// Whether no route at all was improved, since most of what was heard was in doubt.
    #[n(11)]
    pub frozen: bool,
    /// Every node that introduces others, by id.
    #[n(12)]
    #[cbor(skip_if = "Vec::is_empty")]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub introducers: Vec<IntroducerCase>,
    /// When all that was heard was suspect last, if that still held up what was called down for no more than a moment.
    #[n(13)]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alarmed: Option<Boot>,
}

/// One end of the route.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct End {
    #[n(0)]
    pub node: NodeId,
    /// Whether routes may end there.
    #[n(1)]
    pub stands: bool,
    #[n(2)]
    pub said: Excerpt,
    /// Whether its word alone counted for nothing.
    #[n(3)]
    pub doubted: bool,
    /// Whether that was for what others of its site said, and for nothing else.
    #[n(4)]
    #[cbor(skip_if = "std::ops::Not::not")]
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub for_its_site: bool,
}

/// What the policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    #[n(0)]
    pub priority: u8,
    #[n(1)]
    pub cadence: Cadence,
}

/// One relay as the pass saw it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct RelayCase {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub standing: RelayStanding,
    #[n(2)]
    pub site: Option<String>,
    #[n(3)]
    pub host: Option<String>,
    /// Leases and routes, with what the pass had promised by then.
    #[n(4)]
    pub load: u32,
    /// Rows of its table, with what the pass had promised by then.
    #[n(5)]
    pub rows: u32,
}

/// One node that introduces others, as the pass saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct IntroducerCase {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub standing: RelayStanding,
    /// Rows of its table, with what the pass had promised by then.
    #[n(2)]
    pub rows: u32,
}

impl Case {
    /// Lays open what decides the route between `ends` now.
    pub fn of(input: &Snapshot<'_>, ends: Ends, reserved: &Reservations, now: Now) -> Self {
        let relays = input
            .relays
            .iter()
            .zip(reserved.rooms())
            .map(|(relay, room)| RelayCase {
                node: relay.node,
                standing: relay.standing,
                site: relay.site.clone(),
                host: relay.host.clone(),
                load: room.load(),
                rows: u32::try_from(room.rows).unwrap_or(u32::MAX),
            });
        let introducers = input.relays.introducers().zip(reserved.introduced());
        let introducers = introducers.map(|(introducer, rows)| IntroducerCase {
            node: introducer.node,
            standing: introducer.standing,
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
        });
        let wanted = input.wanted.find(ends.route);

        Self {
            cluster: input.cluster,
            route: ends.route,
            low: End::of(input, ends, ends.low),
            high: End::of(input, ends, ends.high),
            boot: now.boot,
            wall: now.wall,
            wanted: wanted.map(|wanted| Terms {
                priority: wanted.priority,
                cadence: wanted.cadence,
            }),
            standing: input.routes.find(ends.route).cloned(),
            relays: relays.collect(),
            leases: input.leases.of_route(ends.route).copied().collect(),
            memory: input.trends.of(ends.route).memory(),
            frozen: input.suspicion.freezes(),
            introducers: introducers.collect(),
            alarmed: input.suspicion.alarmed(),
        }
    }

    /// Decides it again; none if there is nothing to be done in this case.
    pub fn decide(&self) -> Option<Outcome> {
        let ends = [&self.low, &self.high];
        let members: BTreeMap<NodeId, Member> = ends.map(|end| (end.node, end.member())).into();
        let relays: RelayPool = self.relays.iter().map(RelayCase::relay).collect();
        let relays = relays.with_introducers(self.introducers.iter().map(|known| Introducer {
            node: known.node,
            standing: known.standing,
        }));
        let leases: LeaseBook = self.leases.iter().copied().collect();
        let routes: RouteBook = self.standing.clone().into_iter().collect();
        let mut observations = Observations::default();
        for end in ends {
            observations.take_excerpt((end.node, self.route), &end.said);
        }
        let suspicion = self.suspicion();
        let mut trends = Trends::default();
        trends.set(self.route, Arc::new(Trend::from(&self.memory)));
        let input = Snapshot {
            cluster: self.cluster,
            members: &members,
            relays: &relays,
            wanted: &self.wanted(),
            leases: &leases,
            routes: &routes,
            observations: &observations,
            suspicion: &suspicion,
            trends: &trends,
        };
        let now = Now {
            boot: self.boot,
            wall: self.wall,
        };

        decide::outcome(&input, self.route, &mut self.reserved(), now)
    }

    /// Whether all of it is about one route, as in every case that a pass laid open.
    pub fn is_of_one_route(&self) -> bool {
        let ends = (self.low.node, self.high.node);
        let is_own = |(cluster, route, low, high)| {
            (cluster, route) == (self.cluster, self.route) && (low, high) == ends
        };
        let standing = self
            .standing
            .iter()
            .map(|row| (row.cluster, row.route, row.low, row.high));
        let leases = self
            .leases
            .iter()
            .map(|lease| (lease.cluster, lease.route, lease.low, lease.high));
        let is_route = RouteId::between(self.cluster, ends.0, ends.1) == self.route;

        ends.0 < ends.1 && is_route && standing.chain(leases).all(is_own)
    }

    fn suspicion(&self) -> Suspicion {
        let doubted = || [&self.low, &self.high].into_iter().filter(|end| end.doubted);
        let ill = doubted().filter(|end| !end.for_its_site);

        Suspicion::as_known(Known {
            freezes: self.frozen,
            observers: doubted().map(|end| end.node).collect(),
            ill: ill.map(|end| end.node).collect(),
            alarmed: self.alarmed,
        })
    }

    fn wanted(&self) -> Wanted {
        let wanted = self.wanted.map(|terms| {
            Wanted::one(WantedRoute {
                route: self.route,
                low: self.low.node,
                high: self.high.node,
                priority: terms.priority,
                cadence: terms.cadence,
                policy: None,
            })
        });

        wanted.unwrap_or_default()
    }

    /// The books of the pass, with what it had promised.
    fn reserved(&self) -> Reservations {
        let relays = self.relays.iter();
        let rooms = relays.map(|relay| (relay.node, Room::known(relay.load, relay.rows)));

        let introduced = self.introducers.iter().map(|known| {
            let rows = usize::try_from(known.rows).unwrap_or(usize::MAX);

            (known.node, rows)
        });

        Reservations::known(rooms.collect(), introduced.collect())
    }
}

impl End {
    fn of(input: &Snapshot<'_>, ends: Ends, node: NodeId) -> Self {
        let is_relay = |via: Via| via.relay().is_none_or(|relay| input.relays.find(relay).is_some());
        let relays = input.relays.iter().map(|relay| relay.node);
        let introducers = input.relays.introducers().map(|introducer| introducer.node);
        let others = relays
            .chain(introducers)
            .filter(|relay| !ends.both().contains(relay));
        let peers = ends.both().into_iter().filter(|peer| *peer != node).chain(others);

        Self {
            node,
            stands: input.members.get(&node).is_some_and(Member::can_end_routes),
            said: input.observations.excerpt((node, ends.route), is_relay, peers),
            doubted: input.suspicion.doubts(node),
            for_its_site: input.suspicion.doubts(node) && !input.suspicion.is_ill(node),
        }
    }

    /// A member of which a decision sees whether routes may end at it, and nothing else.
    fn member(&self) -> Member {
        Member {
            node: self.node,
            name: "end".parse().expect("three letters are a name"),
            generation: 1,
            roles: vec![NodeRole::Member],
            labels: Labels::default(),
            seal_key: SealKey::parse([1; 32]).expect("not zero"),
            endpoints: Vec::new(),
            reverted: None,
            state: match self.stands {
                true => MemberState::Active,
                false => MemberState::Disabled,
            },
        }
    }
}

impl RelayCase {
    fn relay(&self) -> Relay {
        Relay {
            node: self.node,
            standing: self.standing,
            site: self.site.clone(),
            host: self.host.clone(),
        }
    }
}

/// Cases that one pass lays open: with a large pool each is some 10 KB, and a relay's death can decide every route of a
/// fleet at once.
pub const CASES: usize = 1_000;
