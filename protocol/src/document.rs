//! The bodies of signed documents, one file per concern. Field numbers are the wire format: never reuse one.

pub mod authority;
pub mod beacon;
pub mod config;
pub mod join;
pub mod routes;
