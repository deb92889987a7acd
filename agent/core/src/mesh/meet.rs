//! What meetings have to do with the rest: who can meet where, what they say, and where a relay sees whom.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use protocol::frame::{LinkMessage, Meet, Message, PathTag};
use protocol::id::NodeId;
use protocol::limits::CANDIDATES;
use protocol::net::Address;
use protocol::time::Boot;

use super::Mesh;
use super::documents::is_dialled;
use super::effect::{Effect, Event, LinkId, Refusal};
use super::meeting::{Ground, MeetingEffect};

impl Mesh {
    /// Where this node believes that it can be reached: its interfaces, and where a controller sees it. Told to
    /// neighbours when they and this node try to meet.
    pub fn handle_own_addresses(&mut self, addresses: &[SocketAddr], now: Boot) {
        self.turn(now);
        let mut own: Vec<Address> = Vec::new();
        for address in addresses
            .iter()
            .map(|address| Address(*address).canonical())
            .filter(|address| is_dialled(address.0, self.dev))
        {
            if own.len() < CANDIDATES && !own.contains(&address) {
                own.push(address);
            }
        }
        self.meetings.handle_own_addresses(own, &mut self.rng, now);
        self.settle(now);
    }

    /// Finds for every route whether its ends are to meet, and where they can.
    pub(super) fn find_grounds(&mut self, now: Boot) {
        let mut grounds: BTreeMap<NodeId, Option<Ground>> = BTreeMap::new();
        for route in self.routes.iter() {
            let peer = route.peer();
            let seeks = self.links.is_sought(peer) && !self.is_revoked(peer);
            grounds.insert(peer, route.ground().filter(|_| seeks));
        }
        self.meetings.handle_grounds(&grounds, &mut self.rng, now);
    }

    pub(super) fn perform_meeting(&mut self, effect: MeetingEffect, now: Boot) {
        match effect {
            MeetingEffect::Dial { peer, vouched } => {
                if self.links.handle_meeting(peer, vouched, now) {
                    self.stats.meetings += 1;
                }
            }
            MeetingEffect::Look { relay, path } => {
                if let Some(link) = self.links.current(relay) {
                    self.send_link(link, &LinkMessage::Look(path));
                }
            }
            // What does not leave is asked again after a while.
            MeetingEffect::Say { peer, path, meet } => {
                let _ = self.send(peer, path, None, Message::Meet(meet));
            }
        }
    }

    /// `path`: the one that it came over.
    pub(super) fn take_meet(
        &mut self,
        peer: NodeId,
        path: PathTag,
        meet: &Meet,
        now: Boot,
    ) -> Result<(), Refusal> {
        if meet.addresses.len() > CANDIDATES {
            return Err(Refusal::Unreadable);
        }
        let route = self.routes.route(peer).ok_or(Refusal::NotLeased)?;
        let ground = route.ground_on(path).ok_or(Refusal::NotLeased)?;
        let claimed = meet.addresses.iter().map(|address| address.canonical());
        let meet = Meet {
            addresses: claimed
                .filter(|address| is_dialled(address.0, self.dev))
                .collect(),
            ..*meet
        };
        self.meetings.handle_meet(peer, ground, &meet, now);

        Ok(())
    }

    /// As a relay, tells an end of a lease where the other end is: that is where somebody answered a handshake, and
    /// nothing if its packets come from elsewhere since. That elsewhere is not told: the end could have forged it, and
    /// would be the relay's word and its own.
    pub(super) fn take_look(&mut self, from: NodeId, link: LinkId, path: PathTag, now: Boot) {
        if !self.heard.takes_look(from, now) {
            return;
        }
        let other = self.relay.other_end(from, path, now);
        if let Some(address) = other.and_then(|other| self.links.address(other)) {
            let address = Address(address).canonical();
            self.send_link(link, &LinkMessage::Seen { path, address });
        }
    }

    /// A relay's word counts for the paths through it alone.
    pub(super) fn take_seen(&mut self, relay: NodeId, path: PathTag, address: Address) {
        let address = address.canonical().0;
        if path != PathTag::Direct
            && is_dialled(address, self.dev)
            && let Some(peer) = self.routes.far_end(path, relay)
        {
            self.meetings.handle_seen(peer, path, address);
        }
    }

    /// A connection came up, perhaps because both ends dialled at once.
    pub(super) fn note_meeting(&mut self, peer: NodeId, now: Boot) {
        if self.meetings.handle_linked(peer, now) {
            self.effects.push_back(Effect::Event(Event::Met { peer }));
        }
    }
}
