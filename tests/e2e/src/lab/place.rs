//! Where a host stands: on the lab's own network with one family of addresses or both, or behind routers that translate.
//!
//! ```text
//!   host ─ eth0 ══ in0 ─ router ─ eth0 ══ in0 ─ router ─ eth0 ══ port ─ bridge
//! ```
//!
//! Routers are as homes and carriers have them: they let in answers alone and drop the rest without a word. A router that
//! answered for itself would remember who knocked, and give the same port to nobody afterwards.

use std::net::{Ipv4Addr, Ipv6Addr};

/// Where a host stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// Reachable by IPv4.
    #[default]
    Open,
    /// Reachable by IPv4 and by IPv6.
    Dual,
    /// Reachable by IPv6, and without any other.
    OnlyV6,
    /// Behind these routers, the host's own first; IPv4 alone.
    Behind(&'static [Nat]),
    /// Behind a firewall that lets out nothing but UDP to port 443, and in what answers that; IPv4 and IPv6.
    Walled,
}

/// How a router translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Keeps the port, whatever the destination: `masquerade`.
    Masquerade,
    /// Takes another port for each destination: `masquerade fully-random`.
    PortVarying,
}

impl Place {
    pub(super) const fn has_v4(self) -> bool {
        match self {
            Self::Open | Self::Dual | Self::Behind(_) | Self::Walled => true,
            Self::OnlyV6 => false,
        }
    }

    pub(super) const fn has_v6(self) -> bool {
        match self {
            Self::Dual | Self::OnlyV6 | Self::Walled => true,
            Self::Open | Self::Behind(_) => false,
        }
    }

    pub(super) const fn routers(self) -> &'static [Nat] {
        match self {
            Self::Behind(routers) => routers,
            Self::Open | Self::Dual | Self::OnlyV6 | Self::Walled => &[],
        }
    }
}

impl Nat {
    /// What `nft` is to be told in the router's namespace.
    pub(super) fn rules(self) -> String {
        let how = match self {
            Self::Masquerade => "masquerade",
            Self::PortVarying => "masquerade fully-random",
        };

        format!(
            "table ip lab {{\n chain out {{ type nat hook postrouting priority 100; oifname \"{OUTSIDE}\" {how}; }}\n \
             chain in {{ type filter hook input priority 0; policy drop; }}\n \
             chain through {{ type filter hook forward priority 0; policy drop;\n  iifname \"{INSIDE}\" accept\n  \
             ct state established,related accept\n }}\n}}\n"
        )
    }
}

/// What `nft` is to be told on a host that is walled in. Neighbours on the cable are found all the same.
pub(super) const WALL: &str = "table inet wall {
 chain out { type filter hook output priority 0; policy drop;
  oifname \"lo\" accept
  meta l4proto ipv6-icmp accept
  udp dport 443 accept
 }
 chain in { type filter hook input priority 0; policy drop;
  iifname \"lo\" accept
  meta l4proto ipv6-icmp accept
  ct state established,related accept
 }
}
";

/// The two addresses of the cable between a router and what is behind it, the router's first.
pub(super) const fn cable(host: u8, router: u8) -> (Ipv4Addr, Ipv4Addr) {
    let first = 4 * router;

    (
        Ipv4Addr::new(192, 168, host, first + 1),
        Ipv4Addr::new(192, 168, host, first + 2),
    )
}

/// The address that goes with an IPv4 address of the lab's network.
pub(super) const fn v6(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, address.octets()[3] as u16)
}

/// A router's interfaces; a host's is called as the outer one.
pub(super) const OUTSIDE: &str = "eth0";
pub(super) const INSIDE: &str = "in0";
