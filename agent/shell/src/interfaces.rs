//! The addresses of this host at which neighbours may reach it.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;

/// Where the host's addresses are read.
pub trait Interfaces: Send + Sync + 'static {
    /// Every address that is assigned to an interface and usable, loopback among them.
    fn addresses(&self) -> io::Result<BTreeSet<IpAddr>>;
}
