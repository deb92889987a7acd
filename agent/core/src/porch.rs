//! Whose handshake goes on at a node's socket, before anybody has shown a certificate.
//!
//! Only what a source must prove counts against it, and no source may fill the place of another: addresses are asked to
//! show that they are their own before they fill a share, each has a share, and sources from which a neighbour has come
//! keep half of the room for themselves. All those from which one neighbour alone has come have one share together, so that
//! none fills that half. Outbound dials need none of this: a node under attack still reaches others.

use std::collections::BTreeMap;
use std::net::IpAddr;

use protocol::id::NodeId;
use protocol::net::Source;

use known::Known;

mod known;

/// What becomes of a connection that has just arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// The handshake may go on; tell [`Porch::handle_end`] when it is over, whatever came of it.
    Enter,
    /// The source must first show that its address is its own (RFC 9000 8.1.2).
    Prove,
    /// There is no place for anybody, or for one of whom nothing is known.
    Full,
    /// This source has its share, or the neighbour that comes from there has it elsewhere.
    Share,
}

/// The handshakes under way.
#[derive(Clone, Debug, Default)]
pub struct Porch {
    total: usize,
    /// Of sources from which no neighbour has come.
    unknown: usize,
    under_way: BTreeMap<Source, usize>,
    known: Known,
}

impl Porch {
    /// Somebody has arrived, of whom nothing is known but the address, and whether that was `validated`.
    pub fn handle_arrival(&mut self, address: IpAddr, validated: bool) -> Arrival {
        let source = Source::of(address);
        let of_source = self.under_way.get(&source).copied().unwrap_or(0);
        let is_known = self.known.contains(source);
        let is_pressed = self.total >= HANDSHAKES / 4 || of_source >= RETRY_OF_SOURCE;
        if is_pressed && !validated {
            return Arrival::Prove;
        }
        if self.total >= HANDSHAKES || (!is_known && self.unknown >= HANDSHAKES / 2) {
            return Arrival::Full;
        }
        if self.is_share_taken(source) {
            return Arrival::Share;
        }
        self.total += 1;
        self.unknown += usize::from(!is_known);
        *self.under_way.entry(source).or_default() += 1;

        Arrival::Enter
    }

    /// A handshake that was let in is over; `admitted`: the neighbour that came in by it.
    pub fn handle_end(&mut self, address: IpAddr, admitted: Option<NodeId>) {
        let source = Source::of(address);
        let Some(count) = self.under_way.get_mut(&source) else {
            return;
        };
        *count -= 1;
        let is_last = *count == 0;
        if is_last {
            self.under_way.remove(&source);
        }
        self.total = self.total.saturating_sub(1);
        if !self.known.contains(source) {
            self.unknown = self.unknown.saturating_sub(1);
        }
        if let Some(node) = admitted.filter(|node| self.has_share(*node, source)) {
            self.remember(node, source);
        }
    }

    /// Whether nothing more may come in from there. Of a source from which several neighbours came, as from behind one router,
    /// any of them may: none takes the share of another one by what it has elsewhere.
    fn is_share_taken(&self, source: Source) -> bool {
        let mut visitors = self.known.visitors(source).peekable();
        let is_known = visitors.peek().is_some();

        self.of(source) >= OF_SOURCE || (is_known && visitors.all(|node| self.of_node(node) >= OF_SOURCE))
    }

    /// Whether what is under way from there has room in the node's share, or is in it already. What is under way from the
    /// source that it would push out would be nobody's, and a node could have one share after the other.
    fn has_share(&self, node: NodeId, source: Source) -> bool {
        let is_its_own = self.known.sources(node).any(|known| known == source);
        let pushed_out = self.known.oldest_but_for(node, source);
        let has_room = pushed_out.is_none_or(|oldest| !self.under_way.contains_key(&oldest));

        is_its_own || (has_room && self.of_node(node) + self.of(source) <= OF_SOURCE)
    }

    /// From all sources of a node together.
    fn of_node(&self, node: NodeId) -> usize {
        self.known.sources(node).map(|source| self.of(source)).sum()
    }

    /// What counts in the share of a source: of this very host, nothing.
    fn of(&self, source: Source) -> usize {
        match source {
            Source::Here => 0,
            Source::At(_) => self.under_way.get(&source).copied().unwrap_or(0),
        }
    }

    /// Those of a source that becomes known, or is forgotten, count where it belongs now.
    fn remember(&mut self, node: NodeId, source: Source) {
        let of = |source: &Source| self.under_way.get(source).copied().unwrap_or(0);
        if !self.known.contains(source) {
            self.unknown = self.unknown.saturating_sub(of(&source));
        }
        let forgotten = self.known.remember(node, source);
        self.unknown += forgotten.iter().map(of).sum::<usize>();
    }
}

/// Handshakes under way at once: a post-quantum one takes a third of a millisecond of a core and up to 64 KiB.
pub const HANDSHAKES: usize = 256;
/// More than a node has neighbours behind one address, and the share of all addresses of one neighbour; this very host, where
/// a whole fleet is tried, has no share.
pub const OF_SOURCE: usize = 32;
/// Handshakes of one source from which on its address must be proven: nobody can fill another's share.
const RETRY_OF_SOURCE: usize = 4;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_source_fills_its_share_and_no_more_and_only_once_it_has_shown_its_address() {
        let mut porch = Porch::default();
        let flood: Vec<Arrival> = (0..1_000).map(|_| porch.handle_arrival(at(1), false)).collect();
        assert_eq!(
            count(&flood, Arrival::Enter),
            RETRY_OF_SOURCE,
            "spoofed ones end here"
        );
        let flood: Vec<Arrival> = (0..1_000).map(|_| porch.handle_arrival(at(1), true)).collect();
        assert_eq!(count(&flood, Arrival::Enter), OF_SOURCE - RETRY_OF_SOURCE);
        assert_eq!(flood.last(), Some(&Arrival::Share));

        assert_eq!(
            porch.handle_arrival(at(2), true),
            Arrival::Enter,
            "others are not touched"
        );
    }

    #[test]
    fn many_sources_leave_half_of_the_room_to_those_from_which_a_neighbour_came() {
        let mut porch = Porch::default();
        assert_eq!(porch.handle_arrival(at(1), false), Arrival::Enter);
        porch.handle_end(at(1), Some(node(1)));
        let flood: Vec<Arrival> = (1_000..9_000)
            .map(|from| porch.handle_arrival(at(from), true))
            .collect();
        assert_eq!(count(&flood, Arrival::Enter), HANDSHAKES / 2);
        assert_eq!(porch.handle_arrival(at(2), true), Arrival::Full, "a stranger");

        assert_eq!(
            porch.handle_arrival(at(1), true),
            Arrival::Enter,
            "a neighbour's host"
        );
    }

    #[test]
    fn addresses_of_one_network_of_ipv6_are_one_source_and_this_host_has_no_share() {
        let mut porch = Porch::default();
        let of_network = |host: u128| IpAddr::from(Ipv6Addr::from((0x2001_0db8 << 96) | host));
        let flood: Vec<Arrival> = (1..500)
            .map(|host| porch.handle_arrival(of_network(host), true))
            .collect();
        assert_eq!(count(&flood, Arrival::Enter), OF_SOURCE);

        let mut porch = Porch::default();
        let here: Vec<Arrival> = (0..OF_SOURCE + 1)
            .map(|_| porch.handle_arrival(Ipv6Addr::LOCALHOST.into(), true))
            .collect();
        assert_eq!(count(&here, Arrival::Enter), OF_SOURCE + 1);
    }

    #[test]
    fn one_neighbour_with_a_network_of_addresses_takes_no_other_from_among_the_known() {
        let mut porch = Porch::default();
        let mut comes = |source: IpAddr, node| {
            assert_eq!(porch.handle_arrival(source, true), Arrival::Enter);
            porch.handle_end(source, Some(node));
        };
        comes(at(1), node(1));
        // A /48, of which each /64 is a source.
        for network in 0..5_000_u128 {
            let source = Ipv6Addr::from((0x2001_0db8_0000 << 80) | (network << 64) | 1);
            comes(source.into(), node(2));
        }
        for from in 1_000..9_000 {
            porch.handle_arrival(at(from), true);
        }
        assert_eq!(porch.handle_arrival(at(2), true), Arrival::Full, "a stranger");

        assert_eq!(
            porch.handle_arrival(at(1), true),
            Arrival::Enter,
            "the other neighbour"
        );
    }

    #[test]
    fn one_neighbour_has_one_share_from_all_sources_that_it_is_known_by() {
        let mut porch = Porch::default();
        for from in 1..=4 {
            comes(&mut porch, at(from), node(1));
        }
        comes(&mut porch, at(9), node(2));
        let flood: Vec<Arrival> = (0..1_000_u32)
            .map(|number| porch.handle_arrival(at(1 + number % 4), true))
            .collect();
        assert_eq!(count(&flood, Arrival::Enter), OF_SOURCE);
        assert_eq!(flood.last(), Some(&Arrival::Share));
        for from in 1_000..9_000 {
            porch.handle_arrival(at(from), true);
        }

        assert_eq!(porch.total, OF_SOURCE + HANDSHAKES / 2);
        assert_eq!(
            porch.handle_arrival(at(9), true),
            Arrival::Enter,
            "the other neighbour"
        );
    }

    #[test]
    fn a_neighbour_that_comes_from_ever_new_places_has_no_second_share_for_what_it_left_under_way() {
        let mut porch = Porch::default();
        comes(&mut porch, at(99), node(2));
        for from in 1..=4 {
            comes(&mut porch, at(from), node(1));
        }
        let next: Vec<IpAddr> = (5..=20).map(at).collect();
        for source in &next {
            porch.handle_arrival(*source, true);
        }
        for (from, fresh) in (1..).map(at).zip(next) {
            for _ in 0..OF_SOURCE {
                porch.handle_arrival(from, true);
            }
            porch.handle_end(fresh, Some(node(1)));
        }

        assert!(porch.unknown <= HANDSHAKES / 2, "{}", porch.unknown);
        assert!(porch.total <= OF_SOURCE + HANDSHAKES / 2, "{}", porch.total);
        assert_eq!(
            porch.handle_arrival(at(99), true),
            Arrival::Enter,
            "the other neighbour"
        );
    }

    #[test]
    fn what_a_neighbour_has_under_way_from_elsewhere_gets_no_room_among_the_known_beyond_its_share() {
        let mut porch = Porch::default();
        comes(&mut porch, at(9), node(2));
        for from in 1..=4 {
            for _ in 0..OF_SOURCE {
                assert_eq!(porch.handle_arrival(at(from), true), Arrival::Enter);
            }
        }
        for from in 1..=4 {
            porch.handle_end(at(from), Some(node(1)));
        }
        for from in 1_000..9_000 {
            porch.handle_arrival(at(from), true);
        }

        assert!(porch.total <= OF_SOURCE + HANDSHAKES / 2, "{}", porch.total);
        assert_eq!(
            porch.handle_arrival(at(9), true),
            Arrival::Enter,
            "the other neighbour"
        );
    }

    #[test]
    fn a_neighbour_behind_the_same_router_as_another_keeps_what_that_router_has() {
        let mut porch = Porch::default();
        comes(&mut porch, at(1), node(1));
        comes(&mut porch, at(2), node(1));
        comes(&mut porch, at(1), node(2));
        let elsewhere: Vec<Arrival> = (0..100).map(|_| porch.handle_arrival(at(2), true)).collect();
        assert_eq!(count(&elsewhere, Arrival::Enter), OF_SOURCE);
        let behind: Vec<Arrival> = (0..100).map(|_| porch.handle_arrival(at(1), true)).collect();

        assert_eq!(count(&behind, Arrival::Enter), OF_SOURCE);
    }

    proptest! {
        /// Whatever order handshakes come and end in, the books are empty when all have ended, and known ones are never
        /// kept out by unknown ones.
        #[test]
        fn the_books_balance(steps in prop::collection::vec((0..40_u32, any::<bool>(), prop::option::of(0..6_u8)), 0..600)) {
            let mut porch = Porch::default();
            let mut inside: Vec<u32> = Vec::new();
            for (from, arrives, admitted) in steps {
                if arrives {
                    if porch.handle_arrival(at(from), true) == Arrival::Enter {
                        inside.push(from);
                    }
                } else if let Some(gone) = inside.pop() {
                    porch.handle_end(at(gone), admitted.map(node));
                }
                prop_assert!(porch.unknown <= HANDSHAKES / 2 && porch.total <= HANDSHAKES);
                prop_assert_eq!(porch.total, inside.len());
                let unknown = inside.iter().filter(|from| !porch.known.contains(Source::of(at(**from)))).count();
                prop_assert_eq!(porch.unknown, unknown);
            }
        }
    }

    fn comes(porch: &mut Porch, source: IpAddr, admitted: NodeId) {
        assert_eq!(porch.handle_arrival(source, true), Arrival::Enter);
        porch.handle_end(source, Some(admitted));
    }

    fn count(all: &[Arrival], wanted: Arrival) -> usize {
        all.iter().filter(|arrival| **arrival == wanted).count()
    }

    fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    fn at(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0A00_0000 + number).into()
    }
}
