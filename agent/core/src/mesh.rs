//! What one node does with its neighbours: which connections it keeps, what it probes, over which path its traffic
//! goes, and, as a relay, what it carries for others.
//!
//! Documents come in verified. Time is `CLOCK_BOOTTIME`, chance a seeded generator. The host calls a `handle_*` or
//! [`Mesh::send_synthetic`], then takes every effect from [`Mesh::poll_effect`], then waits until
//! [`Mesh::poll_timeout`] at the latest. That is never more than a second away, so that a longer gap between two
//! calls means that this process stood still.
//!
//! ```text
//!  documents ──▶ RouteTable ── wants ──▶ Links ──▶ Dial, CloseLink
//!                  │  ▲ health             │ ▲
//!                  ▼  │                    ▼ │ up, down
//!  datagram ──▶ Pair (open) ◀── probes, answers, traffic ──▶ Pair (seal) ──▶ Send
//!      └─────▶ Relay (a row names it: same bytes) ─────────────────────────▶ Send
//! ```

mod arrive;
mod bucket;
mod cadence;
mod decision;
mod depart;
mod documents;
pub mod effect;
mod flow;
mod heard;
pub mod links;
mod meet;
mod meeting;
mod pair;
mod pairs;
pub mod probe;
pub mod queue;
mod relay;
mod reporting;
mod route;
pub mod standstill;
pub mod stats;
mod table;
mod track;
pub mod view;
mod window;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use protocol::document::config::Transport;
use protocol::frame::{BootTag, Sequence};
use protocol::id::{BootId, ClusterId, NodeId};
use protocol::key::SealSecret;
use protocol::time::Boot;
use rand::rngs::StdRng;

pub use depart::NotSent;
use effect::{CloseReason, Effect, Event, LinkId};
use flow::Flow;
use heard::Heard;
use links::{LinkEffect, Links, Probing};
use meeting::Meetings;
use pair::{Ours, Pair};
use pairs::Pairs;
use probe::Health;
use relay::Relay;
use route::RouteEffect;
use standstill::Standstill;
use stats::Stats;
use table::RouteTable;
use view::{FlowView, LinkView, RelayView, RouteView};

/// What one node does with its neighbours. See the module's head for how to drive it.
#[derive(Debug)]
pub struct Mesh {
    node: NodeId,
    cluster: ClusterId,
    boot: BootTag,
    /// Newest first.
    secrets: Vec<SealSecret>,
    /// Loopback addresses are dialled in dev mode alone.
    dev: bool,
    rng: StdRng,
    transport: Transport,
    neighbours: BTreeMap<NodeId, u64>,
    revocations: BTreeMap<NodeId, u64>,
    pairs: Pairs,
    links: Links,
    /// Where handshakes that this node began have reached neighbours that it is connected to.
    reached: BTreeMap<NodeId, SocketAddr>,
    routes: RouteTable,
    relay: Relay,
    flows: BTreeMap<NodeId, Flow>,
    heard: Heard,
    meetings: Meetings,
    /// Whether another pair may have to meet, or can.
    grounds_changed: bool,
    /// Our newest signed beacon, shown to every neighbour that connects.
    beacon: Option<Vec<u8>>,
    /// Of frames for the other end of a link.
    link_sequence: Sequence,
    standstill: Standstill,
    deadline: Option<Boot>,
    /// When the last report was taken, or the first routes came.
    reported_at: Option<Boot>,
    effects: VecDeque<Effect>,
    stats: Stats,
    /// Working space for opening bodies.
    scratch: Vec<u8>,
}

/// Who this node is to its neighbours.
#[derive(Clone, Debug)]
pub struct MeshIdentity {
    pub node: NodeId,
    pub cluster: ClusterId,
    /// This run of the process; never the same twice.
    pub boot: BootId,
    pub seal_secret: SealSecret,
}

/// A handshake that went through, with the peer that its certificate names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkUp {
    pub link: LinkId,
    pub peer: NodeId,
    /// Whether it answers an [`Effect::Dial`].
    pub dialled_by_us: bool,
    /// Where the peer answered the handshake, wherever its packets say that they come from since.
    pub address: SocketAddr,
}

impl Mesh {
    /// A mesh that knows nobody. `dev` allows loopback candidates.
    pub fn new(identity: MeshIdentity, rng: StdRng, dev: bool) -> Self {
        let transport = Transport::default();

        Self {
            node: identity.node,
            cluster: identity.cluster,
            boot: identity.boot.into(),
            secrets: vec![identity.seal_secret],
            dev,
            rng,
            transport,
            neighbours: BTreeMap::new(),
            revocations: BTreeMap::new(),
            pairs: Pairs::default(),
            links: Links::new(identity.node, probing(&transport)),
            reached: BTreeMap::new(),
            routes: RouteTable::new(identity.node),
            relay: Relay::new(),
            flows: BTreeMap::new(),
            heard: Heard::default(),
            meetings: Meetings::new(identity.node),
            grounds_changed: false,
            beacon: None,
            link_sequence: Sequence::default(),
            standstill: Standstill::default(),
            deadline: None,
            reported_at: None,
            effects: VecDeque::new(),
            stats: Stats::default(),
            scratch: Vec::new(),
        }
    }

    /// A poll of this node's own, sent at `poll_sent_at`, brought the newest beacon: leases are fresh from then.
    pub fn handle_fresh(&mut self, poll_sent_at: Boot, now: Boot) {
        self.turn(now);
        self.relay.handle_fresh(poll_sent_at, now);
        self.settle(now);
    }

    /// A poll of this node's own, sent at `poll_sent_at`, succeeded and brought no newer beacon: a controller is
    /// there, and freshness stays as it is.
    pub fn handle_controller_answered(&mut self, poll_sent_at: Boot, now: Boot) {
        self.turn(now);
        self.relay.handle_controller_answered(poll_sent_at, now);
        self.settle(now);
    }

    /// Every controller was tried by attempts that began at `since` or later, and none answered.
    pub fn handle_controllers_tried_in_vain(&mut self, since: Boot, now: Boot) {
        self.turn(now);
        self.relay.handle_controllers_tried_in_vain(since, now);
        self.settle(now);
    }

    /// A connection came up: one that this node dialled, or one that it accepted.
    pub fn handle_link_up(&mut self, up: LinkUp, now: Boot) {
        self.turn(now);
        self.links.handle_link_up(up, &mut self.rng, now);
        if self.is_revoked(up.peer) {
            self.links.close_all(up.peer, CloseReason::Revoked, now);
        } else {
            if up.dialled_by_us {
                self.reached.insert(up.peer, up.address);
            }
            self.show_beacon(up.link);
            self.note_meeting(up.peer, now);
        }
        self.settle(now);
    }

    /// A neighbour showed its newest beacon otherwise than over a link: in its welcome.
    pub fn handle_beacon_shown(&mut self, peer: NodeId, beacon: Vec<u8>, now: Boot) {
        self.turn(now);
        self.take_beacon(peer, beacon, now);
        self.settle(now);
    }

    /// A beacon that this neighbour showed is not signed by the authority of this cluster. Who does that again and
    /// again is not listened to.
    pub fn handle_forged_beacon(&mut self, peer: NodeId, now: Boot) {
        self.turn(now);
        if self.heard.handle_forged(peer, now) {
            self.links.close_all(peer, CloseReason::Forger, now);
        }
        self.settle(now);
    }

    /// A connection ended, however it did.
    pub fn handle_link_down(&mut self, link: LinkId, now: Boot) {
        self.turn(now);
        let peer = self.links.handle_link_down(link, &mut self.rng, now);
        if let Some(peer) = peer.filter(|peer| self.links.current(*peer).is_none()) {
            self.reached.remove(&peer);
        }
        self.settle(now);
    }

    /// A dial ended without a connection.
    pub fn handle_dial_failed(&mut self, peer: NodeId, now: Boot) {
        self.turn(now);
        self.stats.dials_failed += 1;
        self.links.handle_dial_failed(peer, &mut self.rng, now);
        self.settle(now);
    }

    /// The transport's own estimate of a connection's round trip.
    pub fn handle_link_rtt(&mut self, link: LinkId, rtt: Duration) {
        self.links.handle_rtt(link, rtt);
    }

    /// Where the transport sends to on a connection by now; QUIC lets an end move.
    pub fn handle_link_place(&mut self, link: LinkId, address: SocketAddr) {
        self.links.handle_place(link, address);
    }

    /// Time has come to [`poll_timeout`](Self::poll_timeout), or anything else woke the host.
    pub fn handle_timeout(&mut self, now: Boot) {
        self.turn(now);
        let late = self.standstill.is_late(now);
        let routes = self.routes.handle_timeout(&self.transport, late, now);
        let links = self.links.handle_timeout(late, &mut self.rng, now);
        self.stats.probes_missed += u64::from(routes.missed + links.missed);
        self.stats.probes_unjudged += u64::from(routes.unjudged + links.unjudged);
        self.relay.handle_timeout(now);
        self.meetings.handle_timeout(&mut self.rng, now);
        self.settle(now);
    }

    /// When to call [`handle_timeout`](Self::handle_timeout) at the latest. None before the first call of any kind.
    pub fn poll_timeout(&self) -> Option<Boot> {
        self.deadline
    }

    pub fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Every route, in the order of the nodes at their far ends.
    pub fn routes(&self, now: Boot) -> Vec<RouteView> {
        self.routes.iter().map(|route| route.view(now)).collect()
    }

    /// Every neighbour that is needed or connected.
    pub fn links(&self) -> Vec<LinkView> {
        let proven = |peer| self.pairs.get(peer).and_then(Pair::proven_boot);

        self.links
            .views()
            .into_iter()
            .map(|view| LinkView {
                boot: proven(view.peer),
                met: self.meetings.met(view.peer),
                ..view
            })
            .collect()
    }

    pub fn relay(&self, now: Boot) -> RelayView {
        self.relay.view(now)
    }

    /// The receiver's log of what came from `peer`.
    pub fn flow(&self, peer: NodeId) -> Option<FlowView> {
        self.flows.get(&peer).map(Flow::view)
    }

    /// The receiver's log of every peer, begun anew.
    pub fn take_flow_log(&mut self) -> BTreeMap<NodeId, FlowView> {
        self.flows
            .iter_mut()
            .map(|(peer, flow)| (*peer, flow.take()))
            .collect()
    }

    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Every way in begins here: a gap since the last one means that this process stood still.
    fn turn(&mut self, now: Boot) {
        if let Some(still) = self.standstill.turn(now) {
            self.stats.stalls += 1;
            self.relay.handle_still(now);
            self.effects.push_back(Effect::Event(Event::Stalled { still }));
        }
    }

    /// Every way in but a forwarded frame ends here: what the parts want is done, until none wants anything.
    fn settle(&mut self, now: Boot) {
        loop {
            if self.links.take_changed() {
                self.grounds_changed = true;
                let links = &self.links;
                self.routes
                    .handle_links(&|node| links.current(node).is_some(), now);
            }
            if let Some(effect) = self.links.poll_effect() {
                self.perform_link(effect, now);
            } else if let Some((peer, effect)) = self.routes.poll_effect() {
                self.perform_route(peer, effect, now);
            } else if std::mem::take(&mut self.grounds_changed) {
                self.find_grounds(now);
            } else if let Some(effect) = self.meetings.poll_effect() {
                self.perform_meeting(effect, now);
            } else {
                break;
            }
        }
        while let Some(pause) = self.relay.poll_change() {
            let event = pause.map_or(Event::RelayStarted, |why| Event::RelayStopped { why });
            self.effects.push_back(Effect::Event(event));
        }
        self.deadline = [
            self.links.poll_timeout(),
            self.routes.poll_timeout(),
            self.relay.poll_timeout(),
            self.meetings.poll_timeout(),
            self.standstill.poll_timeout(),
        ]
        .into_iter()
        .flatten()
        .min();
        self.standstill.expect(self.deadline);
    }

    fn perform_link(&mut self, effect: LinkEffect, now: Boot) {
        match effect {
            LinkEffect::Ask { peer, link, probe } => self.ask_link(peer, link, probe),
            LinkEffect::Close { peer, link, why } => {
                if self.links.current(peer).is_none() {
                    self.relay.handle_peer_gone(peer);
                }
                if why == CloseReason::Duplicate {
                    self.stats.duplicates_closed += 1;
                    let closed = Event::LinkDuplicateClosed { peer, link };
                    self.effects.push_back(Effect::Event(closed));
                }
                self.effects.push_back(Effect::CloseLink { link, why });
            }
            LinkEffect::Dial { peer, candidates } => {
                self.stats.dials += 1;
                self.effects.push_back(Effect::Dial { peer, candidates });
            }
            LinkEffect::Probe { peer } => self.probe_link(peer, now),
        }
    }

    fn perform_route(&mut self, peer: NodeId, effect: RouteEffect, now: Boot) {
        match effect {
            RouteEffect::Announce => self.announce(peer),
            RouteEffect::Grounds => self.grounds_changed = true,
            RouteEffect::Probe(path) => self.probe_path(peer, path, now),
            RouteEffect::Event(event) => {
                self.take_note(peer, &event, now);
                self.effects.push_back(Effect::Event(event));
            }
        }
    }

    /// What a fact about a route means to the other parts.
    fn take_note(&mut self, peer: NodeId, event: &Event, now: Boot) {
        self.grounds_changed |= matches!(event, Event::PathChanged { .. } | Event::Withdrawn { .. });
        match event {
            Event::PathChanged { path, to, .. } if path.relay().is_none() => match to {
                Health::Down => self.links.handle_path(peer, true, now),
                Health::Up | Health::Recovering => self.links.handle_path(peer, false, now),
                Health::Doubtful | Health::Unproven => {}
            },
            Event::Switched { .. } => self.stats.switches += 1,
            Event::Moved { from: Some(_), .. } => self.stats.moves += 1,
            Event::Moved { from: None, .. }
            | Event::BeaconShown { .. }
            | Event::DecisionRefused { .. }
            | Event::LinkDuplicateClosed { .. }
            | Event::Met { .. }
            | Event::PathChanged { .. }
            | Event::PathDown { .. }
            | Event::RelayRefuses { .. }
            | Event::RelayStarted
            | Event::RelayStopped { .. }
            | Event::Stalled { .. }
            | Event::Withdrawn { .. } => {}
        }
    }

    fn is_revoked(&self, node: NodeId) -> bool {
        let known = self.neighbours.get(&node);

        self.revocations
            .get(&node)
            .is_some_and(|revoked| known.is_none_or(|generation| generation <= revoked))
    }

    fn revoked(&self) -> BTreeSet<NodeId> {
        self.revocations
            .keys()
            .copied()
            .filter(|node| self.is_revoked(*node))
            .collect()
    }

    /// The pair with `peer`, its keys derived.
    fn pair(&mut self, peer: NodeId) -> Option<&mut Pair> {
        let pair = self.pairs.get_mut(peer)?;
        pair.derive_once(
            Ours {
                cluster: self.cluster,
                node: self.node,
                secrets: &self.secrets,
            },
            peer,
        );

        Some(pair)
    }
}

/// A relay that no path probes directly is asked as often as a route at rest.
fn probing(transport: &Transport) -> Probing {
    Probing {
        rest: Duration::from_millis(u64::from(transport.probe_rest)),
        doubt: Duration::from_millis(u64::from(transport.probe_normal)),
    }
}

#[cfg(test)]
mod tests;
