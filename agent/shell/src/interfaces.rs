//! The addresses of this host at which neighbours may reach it.

mod kernel;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, SocketAddr};

use protocol::document::config::{Candidate, CandidateKind, LeftOut, Unfit};
use protocol::limits::CANDIDATES;
use protocol::net::Address;

pub use kernel::KernelInterfaces;

/// Where the host's addresses are read.
pub trait Interfaces: Send + Sync + 'static {
    /// Every address that is assigned to an interface and usable, loopback among them.
    fn addresses(&self) -> io::Result<BTreeSet<IpAddr>>;
}

/// What decides which addresses are published.
#[derive(Clone, Debug)]
pub(crate) struct Publication {
    /// Where the sockets are bound or wanted, the one to dial from first.
    pub(crate) bound: Vec<SocketAddr>,
    /// In place of the interfaces' addresses, if any.
    pub(crate) configured: Vec<SocketAddr>,
    pub(crate) dev: bool,
}

impl Publication {
    /// The candidates to publish when the interfaces have `addresses`, best first and at most [`CANDIDATES`].
    pub(crate) fn candidates(&self, addresses: &BTreeSet<IpAddr>) -> Vec<Candidate> {
        let mut candidates: Vec<_> = self
            .published(addresses)
            .into_iter()
            .filter(|address| Unfit::of(*address, self.dev).is_none())
            .map(|address| Candidate::new(kind(address.ip()), address))
            .collect();
        candidates.sort();
        candidates.dedup();
        candidates.truncate(CANDIDATES);

        candidates
    }

    fn published(&self, addresses: &BTreeSet<IpAddr>) -> Vec<SocketAddr> {
        if !self.configured.is_empty() {
            return self.configured.iter().copied().map(canonical).collect();
        }
        let of_socket = |bound: &SocketAddr| reached_at(*bound, addresses);

        self.bound.iter().flat_map(of_socket).collect()
    }

    /// What an operator named, as a candidate or to listen on, and what is not published all the same. An interface may
    /// have any address.
    pub(crate) fn left_out(&self) -> Vec<LeftOut> {
        let mut left_out: Vec<LeftOut> = self
            .published(&BTreeSet::new())
            .into_iter()
            .filter_map(|address| {
                let why = Unfit::of(address, self.dev)?;

                Some(LeftOut {
                    address: Address(address),
                    why,
                })
            })
            .collect();
        left_out.sort_unstable();
        left_out.dedup();

        left_out
    }
}

/// Where a socket is reached that is bound to one address, or to all of them.
fn reached_at(bound: SocketAddr, addresses: &BTreeSet<IpAddr>) -> Vec<SocketAddr> {
    if !bound.ip().is_unspecified() {
        return vec![canonical(bound)];
    }
    let reachable = |ip: &&IpAddr| bound.is_ipv6() || ip.is_ipv4();
    let reached = addresses.iter().filter(reachable);

    reached.map(|ip| SocketAddr::new(*ip, bound.port())).collect()
}

fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Private blocks (RFC 1918, RFC 4193), carriers' shared block (RFC 6598) and loopback are of this site alone.
fn kind(ip: IpAddr) -> CandidateKind {
    let lan = match ip {
        IpAddr::V4(ip) => {
            let [first, second, ..] = ip.octets();
            ip.is_private() || ip.is_loopback() || (first == 100 && (64..128).contains(&second))
        }
        IpAddr::V6(ip) => ip.is_unique_local() || ip.is_loopback(),
    };
    match lan {
        true => CandidateKind::Lan,
        false => CandidateKind::Public,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_addresses_of_interfaces_are_published_with_the_bound_port_public_ones_first() {
        let publication = on("[::]:7601");

        assert_eq!(
            shown(
                &publication,
                &["10.0.0.7", "198.51.100.7", "2001:db8::7", "fd00::7", "100.64.0.1"]
            ),
            [
                "Public 198.51.100.7:7601",
                "Public [2001:db8::7]:7601",
                "Lan 10.0.0.7:7601",
                "Lan 100.64.0.1:7601",
                "Lan [fd00::7]:7601",
            ]
        );
    }

    #[test]
    fn what_nobody_else_can_reach_is_not_published() {
        let unreachable = [
            "127.0.0.1",
            "::1",
            "169.254.1.1",
            "fe80::1",
            "224.0.0.1",
            "0.0.0.0",
        ];

        assert!(shown(&on("[::]:7601"), &unreachable).is_empty());
        let dev = Publication {
            dev: true,
            ..on("[::]:7601")
        };
        assert_eq!(
            shown(&dev, &unreachable),
            ["Lan 127.0.0.1:7601", "Lan [::1]:7601"]
        );
    }

    #[test]
    fn a_socket_bound_to_one_address_is_reached_there_alone() {
        assert_eq!(
            shown(&on("10.0.0.7:7601"), &["10.0.0.7", "10.0.0.8"]),
            ["Lan 10.0.0.7:7601"]
        );
        assert_eq!(
            shown(&on("0.0.0.0:7601"), &["10.0.0.7", "fd00::7"]),
            ["Lan 10.0.0.7:7601"]
        );
    }

    #[test]
    fn every_socket_is_published_with_its_port_and_its_family() {
        let publication = Publication {
            bound: vec!["[::]:7601".parse().unwrap(), "0.0.0.0:443".parse().unwrap()],
            ..on("[::]:7601")
        };
        assert_eq!(
            shown(&publication, &["10.0.0.7", "2001:db8::7"]),
            [
                "Public [2001:db8::7]:7601",
                "Lan 10.0.0.7:443",
                "Lan 10.0.0.7:7601"
            ]
        );
    }

    #[test]
    fn configured_candidates_replace_those_of_the_interfaces() {
        let publication = Publication {
            configured: vec!["203.0.113.9:443".parse().unwrap()],
            ..on("[::]:7601")
        };

        assert_eq!(shown(&publication, &["10.0.0.7"]), ["Public 203.0.113.9:443"]);
    }

    #[test]
    fn what_an_operator_named_and_nobody_is_told_of_is_said_with_its_reason() {
        let named = [
            "169.254.1.1:7",
            "10.0.0.7:7",
            "[ff02::1]:7",
            "10.0.0.7:0",
            "0.0.0.0:7",
        ];
        let publication = Publication {
            configured: named.iter().map(|address| address.parse().unwrap()).collect(),
            ..on("[::]:7601")
        };
        let told = |publication: &Publication| -> Vec<String> {
            let left_out = publication.left_out().into_iter();

            left_out
                .map(|left_out| format!("{} {}", left_out.address.0, left_out.why.name()))
                .collect()
        };

        assert_eq!(
            told(&publication),
            [
                "0.0.0.0:7 unspecified",
                "10.0.0.7:0 no_port",
                "169.254.1.1:7 link_local",
                "[ff02::1]:7 multicast"
            ]
        );
        assert_eq!(told(&on("127.0.0.1:7601")), ["127.0.0.1:7601 loopback"]);
        assert_eq!(
            told(&on("[::]:7601")),
            [""; 0],
            "no operator named what interfaces have"
        );
    }

    #[test]
    fn no_more_than_a_node_may_have_are_published() {
        let many: Vec<_> = (1..=20).map(|last| format!("10.0.0.{last}")).collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();

        assert_eq!(shown(&on("[::]:7601"), &many).len(), CANDIDATES);
    }

    fn on(bound: &str) -> Publication {
        Publication {
            bound: vec![bound.parse().unwrap()],
            configured: Vec::new(),
            dev: false,
        }
    }

    fn shown(publication: &Publication, addresses: &[&str]) -> Vec<String> {
        let addresses = addresses.iter().map(|ip| ip.parse().unwrap()).collect();

        publication
            .candidates(&addresses)
            .into_iter()
            .map(|candidate| format!("{:?} {:?}", candidate.kind, candidate.address))
            .collect()
    }
}
