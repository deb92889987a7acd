//! Which of the addresses that a node claims others may be told of.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use protocol::document::config::{Candidate, CandidateKind, LeftOut, Unfit};
use protocol::limits::CANDIDATES;
use protocol::net::Address;

/// Which addresses a node may publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addresses {
    Routable,
    /// In dev mode everything may run on one machine.
    AlsoLoopback,
}

impl Addresses {
    /// The candidates that may be published, best first: those of the heartbeat that are fit for it, and the address
    /// its connection was seen from. Those that are not fit are left out, since an interface may have any address.
    pub(super) fn choose(self, claimed: &[Candidate], observed: Option<SocketAddr>) -> Choice {
        let mut chosen: BTreeSet<Candidate> = BTreeSet::new();
        let mut left_out: BTreeSet<LeftOut> = BTreeSet::new();
        // What the controller has seen for itself counts for more than where the node found it.
        let reflexive = observed.map(canonical).filter(|address| self.allow(*address));
        let mut known: BTreeSet<SocketAddr> = reflexive.into_iter().collect();
        for candidate in claimed
            .iter()
            .filter(|candidate| candidate.kind != CandidateKind::Reflexive)
        {
            let address = canonical(candidate.address.0);
            if let Some(why) = self.unfit(address) {
                left_out.insert(LeftOut {
                    address: Address(address),
                    why,
                });
            } else if known.insert(address) {
                chosen.insert(Candidate::new(candidate.kind, address));
            }
        }
        let room = CANDIDATES - usize::from(reflexive.is_some());
        left_out.extend(chosen.iter().skip(room).map(|candidate| LeftOut {
            address: candidate.address,
            why: Unfit::TooMany,
        }));
        let seen = reflexive.map(|address| Candidate::new(CandidateKind::Reflexive, address));

        Choice {
            candidates: chosen.into_iter().take(room).chain(seen).collect(),
            left_out: left_out.into_iter().collect(),
        }
    }

    /// Whether others may be told to send to `address`.
    pub fn allow(self, address: SocketAddr) -> bool {
        self.unfit(address).is_none()
    }

    fn unfit(self, address: SocketAddr) -> Option<Unfit> {
        Unfit::of(address, self == Self::AlsoLoopback)
    }
}

/// What becomes of the addresses that a node claims.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) candidates: Vec<Candidate>,
    pub(super) left_out: Vec<LeftOut>,
}

/// IPv4 in IPv6 clothes is IPv4; flow and scope are no part of a candidate.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use super::*;

    #[test]
    fn a_node_cannot_claim_what_the_controller_observes() {
        let claimed = Candidate::new(CandidateKind::Reflexive, v4([203, 0, 113, 1], 1));

        assert_eq!(Addresses::Routable.choose(&[claimed], None).candidates, []);
    }

    #[test]
    fn addresses_that_nobody_should_send_to_are_left_out() {
        let v6 = |text: &str| SocketAddr::new(text.parse::<Ipv6Addr>().unwrap().into(), 1);
        for address in [
            v4([0, 0, 0, 0], 1),
            v4([224, 0, 0, 1], 1),
            v4([255, 255, 255, 255], 1),
            v4([169, 254, 1, 1], 1),
            v4([127, 0, 0, 1], 1),
            v4([203, 0, 113, 1], 0),
            v6("::"),
            v6("::1"),
            v6("ff02::1"),
            v6("fe80::1"),
            v6("::ffff:224.0.0.1"),
            v6("::ffff:127.0.0.1"),
        ] {
            assert!(!Addresses::Routable.allow(address), "{address}");
            assert_eq!(
                Addresses::AlsoLoopback.allow(address),
                address.ip().to_canonical().is_loopback(),
                "{address}"
            );
        }
        for address in [
            v4([10, 0, 0, 1], 1),
            v4([203, 0, 113, 1], 1),
            v6("2001:db8::1"),
            v6("fd00::1"),
        ] {
            assert!(Addresses::Routable.allow(address), "{address}");
        }
    }

    #[test]
    fn at_most_eight_candidates_are_kept_and_the_observed_one_is_among_them() {
        let many: Vec<Candidate> = (1..=8)
            .map(|n| Candidate::new(CandidateKind::Lan, v4([10, 0, 0, n], 1)))
            .collect();
        let seen = v4([203, 0, 113, 9], 1);
        let chosen = Addresses::Routable.choose(&many, Some(seen)).candidates;

        assert_eq!(chosen.len(), CANDIDATES);
        assert_eq!(chosen[7], Candidate::new(CandidateKind::Reflexive, seen));
    }

    fn v4(octets: [u8; 4], port: u16) -> SocketAddr {
        SocketAddr::from((octets, port))
    }
}
