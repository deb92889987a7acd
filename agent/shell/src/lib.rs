//! What a node does: sockets, TLS, disk, names, clocks, and the loop that drives the cores.
//!
//! [`agent::run`] runs one agent on the [`parts::Parts`] it is given: [`host::parts`] makes those of a real host, a
//! simulation makes its own.

pub mod agent;
pub mod clock;
mod controllers;
mod counters;
pub mod disk;
mod doors;
mod drive;
mod flows;
pub mod host;
mod in_force;
mod input;
pub mod interfaces;
mod links;
pub mod local;
pub mod parts;
pub mod quic;
mod race;
pub mod resolve;
pub mod socket;
mod station;
#[cfg(test)]
mod testing;
pub mod tls;
