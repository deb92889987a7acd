//! What a node does: sockets, TLS, disk, names, clocks, and the loop that drives the cores.

pub mod clock;
pub mod quic;
pub mod tls;
