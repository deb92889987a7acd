//! What becomes of a datagram: carried on for others, taken in, or refused and counted.

use protocol::frame::{
    Class, Content, Form, FrameHeader, LinkMessage, Mark, Message, PathTag, Probe, ProbeReply, RefusalReason,
    Synthetic,
};
use protocol::id::NodeId;
use protocol::time::Boot;

use super::Mesh;
use super::effect::{CloseReason, Effect, Event, LinkId, Refusal};
use super::probe::Reply;
use super::relay::Freight;
use super::stats::Stats;

/// A frame that opened: who sealed it, and how it came.
#[derive(Clone, Copy, Debug)]
struct Arrival {
    sender: NodeId,
    /// The far side of the connection that brought it.
    brought_by: NodeId,
    link: LinkId,
    header: FrameHeader,
    now: Boot,
}

impl Mesh {
    /// Takes in one datagram. Anything that is no frame closes its connection.
    pub fn handle_datagram(&mut self, link: LinkId, datagram: &[u8], now: Boot) {
        self.turn(now);
        let Some(from) = self.links.peer_of(link) else {
            return;
        };
        let Ok((header, body)) = FrameHeader::parse(datagram) else {
            self.stats.malformed += 1;
            self.links.close(link, CloseReason::Malformed, &mut self.rng, now);
            self.settle(now);
            return;
        };
        if self.is_for_others(&header) {
            self.forward((from, link), &header, datagram, now);
            return;
        }
        match header.form {
            Form::Link => self.take_link_message((from, link), body, now),
            Form::Sealed => {
                if let Err(why) = self.take_sealed((from, link), &header, body, now) {
                    self.refuse((from, link), &header, why, now);
                }
            }
        }
        self.settle(now);
    }

    fn is_for_others(&self, header: &FrameHeader) -> bool {
        match header.path {
            PathTag::Direct => false,
            PathTag::Relay { lease, .. } => self.relay.has_row(lease),
        }
    }

    /// Nothing here changes a deadline: a relay's cost for a frame is this, and nothing that grows with its links.
    fn forward(&mut self, from: (NodeId, LinkId), header: &FrameHeader, datagram: &[u8], now: Boot) {
        let links = &self.links;
        let link_to = |node| links.current(node);
        let freight = Freight {
            from: from.0,
            header,
            bytes: datagram.len(),
        };
        match self.relay.carry(freight, &link_to, now) {
            Ok(passage) => {
                self.stats.forwarded += 1;
                self.stats.forwarded_bytes += datagram.len() as u64;
                self.effects.push_back(Effect::Send {
                    link: passage.link,
                    class: header.class,
                    frame: datagram.to_vec(),
                });
            }
            Err(why) => self.refuse(from, header, why, now),
        }
    }

    fn take_link_message(&mut self, (from, link): (NodeId, LinkId), body: &[u8], now: Boot) {
        match LinkMessage::read(body) {
            Ok(LinkMessage::Refused { path, reason, .. }) => self.take_refusal(from, path, reason, now),
            Ok(LinkMessage::Beacon(beacon)) => self.take_beacon(from, beacon.into(), now),
            Ok(LinkMessage::Look(path)) => self.take_look(from, link, path, now),
            Ok(LinkMessage::Seen { path, address }) => self.take_seen(from, path, address),
            Err(_) => self.stats.refuse(Refusal::Unreadable),
        }
    }

    /// A beacon costs the control side a signature to verify.
    pub(super) fn take_beacon(&mut self, peer: NodeId, beacon: Vec<u8>, now: Boot) {
        if self.heard.takes_beacon(peer, &beacon, now) {
            let shown = Event::BeaconShown { peer, beacon };
            self.effects.push_back(Effect::Event(shown));
        }
    }

    /// A relay's word counts for the paths through it alone.
    fn take_refusal(&mut self, relay: NodeId, path: PathTag, why: RefusalReason, now: Boot) {
        if !self.heard.takes_refusal(relay, now) {
            return;
        }
        self.stats.refusals_heard += 1;
        let PathTag::Relay { lease, .. } = path else {
            return;
        };
        let Some(peer) = self.routes.far_end(path, relay) else {
            return;
        };
        if let Some(route) = self.routes.route_mut(peer)
            && route.handle_refused(path, why, now)
        {
            let refuses = Event::RelayRefuses { relay, lease, why };
            self.effects.push_back(Effect::Event(refuses));
        }
    }

    fn take_sealed(
        &mut self,
        from: (NodeId, LinkId),
        header: &FrameHeader,
        body: &[u8],
        now: Boot,
    ) -> Result<(), Refusal> {
        let (brought_by, link) = from;
        if header.class == Class::Payload {
            return Err(Refusal::PayloadForwardingDisabled);
        }
        let sender = match header.path {
            PathTag::Direct => brought_by,
            PathTag::Relay { .. } => self
                .routes
                .far_end(header.path, brought_by)
                .ok_or(Refusal::NotLeased)?,
        };
        if self.is_revoked(sender) {
            return Err(Refusal::EndRevoked);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let opened = self
            .pair(sender)
            .ok_or(Refusal::UnknownPeer)
            .and_then(|pair| pair.open(header, body, &mut scratch));
        self.scratch = scratch;

        let header = *header;
        self.take_content(
            Arrival {
                sender,
                brought_by,
                link,
                header,
                now,
            },
            opened?,
        )
    }

    fn take_content(&mut self, arrival: Arrival, content: Content) -> Result<(), Refusal> {
        if let Some(route) = self.routes.route_mut(arrival.sender) {
            route.handle_heard(arrival.header.path, arrival.now);
        }
        match content.message {
            Message::Probe(probe) => self.take_probe(arrival, content.mark, probe),
            Message::ProbeReply(reply) => self.take_reply(arrival, content.mark, reply),
            Message::Choice(choice) => {
                if self.take_proven(&arrival)? {
                    self.take_mark(&arrival, content.mark, Some(choice.path));
                }
                Ok(())
            }
            Message::Synthetic(synthetic) => self.take_synthetic(arrival, content.mark, &synthetic),
            Message::Meet(meet) => match self.take_proven(&arrival)? {
                true => self.take_meet(arrival.sender, arrival.header.path, &meet, arrival.now),
                false => Ok(()),
            },
        }
    }

    /// A probe is answered whichever run of its sender it comes from; one that is not known is asked in turn.
    fn take_probe(&mut self, arrival: Arrival, mark: Mark, probe: Probe) -> Result<(), Refusal> {
        let path = arrival.header.path;
        if probe.path != path {
            return Err(Refusal::Forged);
        }
        match self.take_proven(&arrival) {
            Ok(true) => self.take_mark(&arrival, mark, None),
            Ok(false) => return Ok(()),
            Err(_) => self.hurry(&arrival),
        }
        let boot = arrival.header.boot;
        let received = self
            .pairs
            .get_mut(arrival.sender)
            .map_or(0, |pair| pair.count_received(boot, path));
        self.answer(
            arrival.sender,
            arrival.link,
            ProbeReply {
                probe: probe.probe,
                path,
                observed_from: arrival.brought_by,
                received,
            },
        );

        Ok(())
    }

    fn take_reply(&mut self, arrival: Arrival, mark: Mark, reply: ProbeReply) -> Result<(), Refusal> {
        if reply.path != arrival.header.path {
            return Err(Refusal::Forged);
        }
        let Arrival {
            sender,
            brought_by,
            now,
            ..
        } = arrival;
        let by_route = self
            .routes
            .route_mut(sender)
            .and_then(|route| route.handle_reply(&reply, brought_by, now));
        let meant = match by_route {
            Some(Reply::Answered) => Reply::Answered,
            Some(Reply::Late) | None => self.links.handle_reply(sender, &reply, now),
        };
        if meant == Reply::Late {
            self.stats.probes_late += 1;
            return Ok(());
        }
        self.stats.probes_answered += 1;
        if let Some(pair) = self.pairs.get_mut(sender) {
            pair.prove(arrival.header.boot);
        }
        if self.take_proven(&arrival)? {
            self.take_mark(&arrival, mark, None);
        }

        Ok(())
    }

    fn take_synthetic(&mut self, arrival: Arrival, mark: Mark, synthetic: &Synthetic) -> Result<(), Refusal> {
        let Arrival {
            sender, header, now, ..
        } = arrival;
        let route = self.routes.route(sender);
        if !route.is_some_and(|route| route.accepts(header.path)) {
            return Err(Refusal::NotLeased);
        }
        if !self.take_proven(&arrival)? {
            return Ok(());
        }
        self.take_mark(&arrival, mark, Some(header.path));
        if let Some(route) = self.routes.route_mut(sender) {
            route.handle_carried(now);
        }
        let flow = self.flows.entry(sender).or_default();
        if !flow.handle(header.boot, synthetic.pair_sequence, now) {
            self.stats.duplicates += 1;
        }

        Ok(())
    }

    /// Whether the frame is the first of its sequence; refused if its sender's run is not proven, which is then asked.
    fn take_proven(&mut self, arrival: &Arrival) -> Result<bool, Refusal> {
        let Some(pair) = self.pairs.get_mut(arrival.sender) else {
            return Err(Refusal::UnknownPeer);
        };
        if !pair.is_proven(arrival.header.boot) {
            self.hurry(arrival);
            return Err(Refusal::UnprovenBoot);
        }
        let is_new = pair.accept(&arrival.header);
        match is_new {
            true => Stats::count(&mut self.stats.received, arrival.header.class),
            false => self.stats.replayed += 1,
        }

        Ok(is_new)
    }

    fn take_mark(&mut self, arrival: &Arrival, mark: Mark, path: Option<PathTag>) {
        if let Some(route) = self.routes.route_mut(arrival.sender) {
            route.handle_peer(mark, path);
        }
    }

    /// Asks a sender at once which run it is.
    fn hurry(&mut self, arrival: &Arrival) {
        if let Some(route) = self.routes.route_mut(arrival.sender) {
            route.hurry(arrival.header.path, arrival.now);
        }
    }
}
