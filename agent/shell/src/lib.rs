//! What a node does: sockets, TLS, disk, names, clocks, and the loop that drives the cores.

pub mod agent;
pub mod clock;
pub mod disk;
pub mod interfaces;
pub mod parts;
pub mod quic;
pub mod resolve;
pub mod tls;
