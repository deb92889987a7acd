//! What leaves this node: probes, answers, announcements, traffic, and words to the other end of one connection.

use protocol::frame::{
    Class, Content, Form, FrameHeader, LinkMessage, Message, PathTag, Probe, ProbeReply, RefusalReason,
    Synthetic,
};
use protocol::id::NodeId;
use protocol::limits::MESH_FRAME_BYTES;
use protocol::time::Boot;

use super::Mesh;
use super::effect::{Effect, LinkId, Refusal};
use super::pair::SealRefused;
use super::stats::Stats;

/// Why a frame did not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotSent {
    /// The config names no usable key of this node.
    #[error("no key for this neighbour")]
    NoKey,
    /// The path in use has no connection to its first hop, nor has any other.
    #[error("no connection on the way to this neighbour")]
    NoLink,
    /// No decision says how to reach this node.
    #[error("no route to this neighbour")]
    NoRoute,
    /// The frame would not fit a datagram.
    #[error("a frame of {found} bytes is longer than {MESH_FRAME_BYTES}")]
    TooLong { found: usize },
}

impl Mesh {
    /// Sends test traffic to `peer` over the active path; while in doubt, over a second one too.
    pub fn send_synthetic(&mut self, peer: NodeId, payload: &[u8], now: Boot) -> Result<(), NotSent> {
        self.turn(now);
        let route = self.routes.route_mut(peer).ok_or(NotSent::NoRoute)?;
        route.handle_carried(now);
        let targets = route.targets(now);
        let pair = self.pair(peer).ok_or(NotSent::NoKey)?;
        let message = Message::Synthetic(Synthetic {
            pair_sequence: pair.next_number(),
            bytes: payload.to_vec().into(),
        });
        let mut sent = self.send(peer, targets.active, None, message.clone());
        if let Some(second) = targets.second {
            let copy = self.send(peer, second, None, message);
            self.stats.doubled += u64::from(copy.is_ok());
            sent = sent.or(copy);
        }
        self.settle(now);

        sent
    }

    /// Tells `peer` over the active path that this is the one.
    pub(super) fn announce(&mut self, peer: NodeId) {
        if let Some(route) = self.routes.route(peer) {
            let choice = route.choice();
            // Every frame carries the mark: an announcement that cannot leave is made up for.
            let _ = self.send(peer, choice.path, None, Message::Choice(choice));
        }
    }

    /// Probes one path of the route to `peer`.
    pub(super) fn probe_path(&mut self, peer: NodeId, path: PathTag, now: Boot) {
        let Some(pair) = self.pair(peer) else {
            return;
        };
        let sent = pair.count_sent(path);
        let route = self.routes.route_mut(peer);
        if let Some(probe) = route.and_then(|route| route.begin_probe(path, sent, now)) {
            self.send_probe(peer, None, Probe { probe, path, sent });
        }
    }

    /// Probes the connection to a neighbour that no path probes.
    pub(super) fn probe_link(&mut self, peer: NodeId, now: Boot) {
        let Some(pair) = self.pair(peer) else {
            return;
        };
        let path = PathTag::Direct;
        let sent = pair.count_sent(path);
        if let Some(probe) = self.links.begin_probe(peer, sent, now) {
            self.send_probe(peer, None, Probe { probe, path, sent });
        }
    }

    /// Asks over one of several connections whether it lives.
    pub(super) fn ask_link(&mut self, peer: NodeId, link: LinkId, probe: u64) {
        let Some(pair) = self.pair(peer) else {
            return;
        };
        let path = PathTag::Direct;
        let sent = pair.count_sent(path);
        self.send_probe(peer, Some(link), Probe { probe, path, sent });
    }

    /// Answers a probe over the connection that it came by.
    pub(super) fn answer(&mut self, peer: NodeId, link: LinkId, reply: ProbeReply) {
        let sent = self.send(peer, reply.path, Some(link), Message::ProbeReply(reply));
        self.stats.answers_sent += u64::from(sent.is_ok());
    }

    /// Counts a frame that was not carried or not taken, and tells the other end of the connection that brought it,
    /// if that is for it to know and it was not told too often.
    pub(super) fn refuse(&mut self, from: (NodeId, LinkId), header: &FrameHeader, why: Refusal, now: Boot) {
        self.stats.refuse(why);
        let Some(reason) = why.told() else {
            return;
        };
        if self.relay.may_tell(from.0, now) {
            self.tell_refused(from.1, header, reason);
        }
    }

    pub(super) fn show_beacon(&mut self, link: LinkId) {
        if let Some(beacon) = self.beacon.clone() {
            self.send_link(link, &LinkMessage::Beacon(beacon.into()));
        }
    }

    fn tell_refused(&mut self, link: LinkId, header: &FrameHeader, reason: RefusalReason) {
        self.stats.refusals_answered += 1;
        self.send_link(
            link,
            &LinkMessage::Refused {
                path: header.path,
                class: header.class,
                reason,
            },
        );
    }

    fn send_probe(&mut self, peer: NodeId, via: Option<LinkId>, probe: Probe) {
        let sent = self.send(peer, probe.path, via, Message::Probe(probe));
        self.stats.probes_sent += u64::from(sent.is_ok());
    }

    /// Seals a message and hands it to a connection: `via`, or the one in use to the path's first hop.
    pub(super) fn send(
        &mut self,
        peer: NodeId,
        path: PathTag,
        via: Option<LinkId>,
        message: Message,
    ) -> Result<(), NotSent> {
        let route = self.routes.route(peer);
        let mark = route.map(|route| route.mark()).unwrap_or_default();
        let first_hop = match path {
            PathTag::Direct => Some(peer),
            PathTag::Relay { .. } => route.and_then(|route| route.first_hop(path)),
        };
        let in_use = first_hop.and_then(|node| self.links.current(node));
        let link = via.or(in_use).ok_or(NotSent::NoLink)?;
        // The node that the ends meet over lets nothing else pass.
        let meets = route.is_some_and(|route| route.meets_over(path));
        let class = if meets {
            Class::FabricControl
        } else {
            class(&message)
        };
        let boot = self.boot;
        let pair = self.pairs.get_mut(peer).ok_or(NotSent::NoKey)?;
        let header = FrameHeader {
            class,
            form: Form::Sealed,
            path,
            boot,
            sequence: pair.next_sequence(),
        };
        let mut frame = Vec::with_capacity(MESH_FRAME_BYTES);
        let content = Content { mark, message };
        pair.seal(&header, &content, &mut self.rng, &mut frame)
            .map_err(|refused| match refused {
                SealRefused::NoKey => NotSent::NoKey,
                SealRefused::TooLong(long) => NotSent::TooLong { found: long.found },
            })?;
        Stats::count(&mut self.stats.sent, class);
        self.effects.push_back(Effect::Send { link, class, frame });

        Ok(())
    }

    pub(super) fn send_link(&mut self, link: LinkId, message: &LinkMessage) {
        let mut frame = Vec::new();
        self.link_sequence = self.link_sequence.next();
        // A beacon that is too long for a frame is not shown; the neighbour has its own controllers.
        if message.write(self.boot, self.link_sequence, &mut frame).is_ok() {
            let class = message.class();
            Stats::count(&mut self.stats.sent, class);
            self.effects.push_back(Effect::Send { link, class, frame });
        }
    }
}

/// Probes go before the traffic whose path they judge: a full queue is not a broken path.
fn class(message: &Message) -> Class {
    match message {
        Message::Probe(_) | Message::ProbeReply(_) | Message::Choice(_) => Class::RouteControl,
        Message::Synthetic(_) => Class::Synthetic,
        Message::Meet(_) => Class::FabricControl,
    }
}
