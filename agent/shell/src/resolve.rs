//! Finding the addresses of a controller.

use std::net::SocketAddr;

use crate::parts::Pending;

/// Where names are looked up.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, best first. Without a port, those of the service `_gabion._udp.<host>` (RFC 2782).
    fn resolve(&self, host: &str, port: Option<u16>) -> Pending<Result<Vec<SocketAddr>, Unresolved>>;
}

/// The name has no address, or none could be had in time.
#[derive(Debug, thiserror::Error)]
#[error("could not resolve {host}")]
pub struct Unresolved {
    pub host: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}
