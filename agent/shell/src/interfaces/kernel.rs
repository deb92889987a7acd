//! The addresses that the kernel lists under /proc, of this process's network namespace.

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::Interfaces;

/// `/proc/self/net`.
#[derive(Clone, Copy, Debug, Default)]
pub struct KernelInterfaces;

impl Interfaces for KernelInterfaces {
    fn addresses(&self) -> io::Result<BTreeSet<IpAddr>> {
        let v4 = std::fs::read_to_string(FIB_TRIE)?;
        // Absent on a host without IPv6.
        let v6 = std::fs::read_to_string(IF_INET6).unwrap_or_default();

        Ok(local_v4(&v4)
            .map(IpAddr::V4)
            .chain(usable_v6(&v6).map(IpAddr::V6))
            .collect())
    }
}

/// The host routes of the local table: a line with the address, then one that says `/32 host LOCAL`.
fn local_v4(fib_trie: &str) -> impl Iterator<Item = Ipv4Addr> {
    fib_trie
        .lines()
        .zip(fib_trie.lines().skip(1))
        .filter(|(_, about)| about.trim_start() == "/32 host LOCAL")
        .filter_map(|(address, _)| address.trim_start().strip_prefix("|-- ")?.parse().ok())
}

/// Lines of address, interface index, prefix length, scope, flags and name, all but the name in hexadecimal.
fn usable_v6(if_inet6: &str) -> impl Iterator<Item = Ipv6Addr> {
    if_inet6.lines().filter_map(|line| {
        let mut fields = line.split_ascii_whitespace();
        let address = u128::from_str_radix(fields.next()?, 16).ok()?;
        let flags = u32::from_str_radix(fields.nth(3)?, 16).ok()?;

        (flags & UNUSABLE == 0).then(|| Ipv6Addr::from_bits(address))
    })
}

const FIB_TRIE: &str = "/proc/self/net/fib_trie";
const IF_INET6: &str = "/proc/self/net/if_inet6";

/// `IFA_F_DADFAILED`, `IFA_F_DEPRECATED` and `IFA_F_TENTATIVE` (linux/if_addr.h).
const UNUSABLE: u32 = 0x08 | 0x20 | 0x40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_the_host_routes_of_the_local_table() {
        let found: Vec<_> = local_v4(FIB).map(|ip| ip.to_string()).collect();

        assert_eq!(found, ["10.1.0.5", "127.0.0.1"]);
    }

    #[test]
    fn tentative_failed_and_deprecated_addresses_are_left_out() {
        let found: Vec<_> = usable_v6(INET6).map(|ip| ip.to_string()).collect();

        assert_eq!(found, ["2001:db8::5", "::1"]);
    }

    #[test]
    fn this_host_has_a_loopback_address() {
        let found = KernelInterfaces.addresses().unwrap();

        assert!(found.iter().any(IpAddr::is_loopback), "{found:?}");
    }

    const FIB: &str = "\
Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     |-- 10.1.0.0
        /24 link UNICAST
Local:
  +-- 0.0.0.0/0 3 0 5
     +-- 10.1.0.0/24 2 0 2
        |-- 10.1.0.5
           /32 host LOCAL
        |-- 10.1.0.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
";

    const INET6: &str = "\
20010db8000000000000000000000005 02 40 00 80     eth0
20010db8000000000000000000000006 02 40 00 c0     eth0
20010db8000000000000000000000007 02 40 00 a0     eth0
20010db8000000000000000000000008 02 40 00 88     eth0
00000000000000000000000000000001 01 80 10 80       lo
";
}
