//! Finding the addresses of a controller.

use std::net::{IpAddr, SocketAddr};

use hickory_resolver::proto::rr::RData;
use hickory_resolver::{Resolver, TokioResolver};

use crate::parts::Pending;

/// Where names are looked up.
pub trait Resolve: Send + Sync + 'static {
    /// The addresses of `host`, best first. Without a port, those of the service `_gabion._udp.<host>` (RFC 2782).
    fn resolve(&self, host: &str, port: Option<u16>) -> Pending<Result<Vec<SocketAddr>, Unresolved>>;
}

/// The name has no address, or none could be had.
#[derive(Debug, thiserror::Error)]
#[error("could not resolve {host}")]
pub struct Unresolved {
    pub host: String,
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The host's own resolver configuration, read anew for every question: dials are rare, and networks change.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, host: &str, port: Option<u16>) -> Pending<Result<Vec<SocketAddr>, Unresolved>> {
        let host = host.to_owned();

        Box::pin(async move {
            let found = match port {
                Some(port) => addresses(&host, port).await,
                None => services(&host).await,
            };
            match found {
                Ok(addresses) if !addresses.is_empty() => Ok(addresses),
                Ok(_) => Err(Unresolved { host, source: None }),
                Err(source) => Err(Unresolved {
                    host,
                    source: Some(source.into()),
                }),
            }
        })
    }
}

async fn addresses(host: &str, port: u16) -> Result<Vec<SocketAddr>, hickory_resolver::net::NetError> {
    let found = resolver()?.lookup_ip(host).await?;

    Ok(found.iter().map(|ip| SocketAddr::new(ip, port)).collect())
}

/// The addresses behind a service record: lowest priority first, then highest weight.
async fn services(name: &str) -> Result<Vec<SocketAddr>, hickory_resolver::net::NetError> {
    let resolver = resolver()?;
    let found = resolver.srv_lookup(format!("{SERVICE}.{name}")).await?;
    let mut targets: Vec<_> = found
        .answers()
        .iter()
        .filter_map(|record| {
            let RData::SRV(service) = &record.data else {
                return None;
            };
            Some(service.clone())
        })
        .collect();
    targets.sort_by_key(|service| (service.priority, std::cmp::Reverse(service.weight)));
    let mut addresses = Vec::new();
    for service in targets.into_iter().take(TARGETS) {
        // A target without an address is passed over for the next.
        if let Ok(found) = resolver.lookup_ip(service.target.to_utf8()).await {
            addresses.extend(found.iter().map(|ip| SocketAddr::new(ip, service.port)));
        }
    }

    Ok(addresses)
}

fn resolver() -> Result<TokioResolver, hickory_resolver::net::NetError> {
    Resolver::builder_tokio()?.build()
}

/// An endpoint as configured or published: `host:port` or `host`, IPv6 in brackets when a port follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Endpoint<'a> {
    Literal(SocketAddr),
    Name { host: &'a str, port: Option<u16> },
}

impl<'a> Endpoint<'a> {
    /// Reads an endpoint. None if it has no host, a port that is none, or is an address without a port.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        if let Ok(literal) = text.parse() {
            return Some(Self::Literal(literal));
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) => (host, Some(port.parse().ok()?)),
            None => (text, None),
        };
        let is_name = !host.is_empty() && !host.contains(':') && host.parse::<IpAddr>().is_err();

        is_name.then_some(Self::Name { host, port })
    }
}

const SERVICE: &str = "_gabion._udp";
/// Service records that are followed: an installation has three or five controllers.
const TARGETS: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_literal_a_name_with_a_port_or_a_service() {
        let name = |host, port| Some(Endpoint::Name { host, port });

        assert_eq!(
            Endpoint::parse("[2001:db8::1]:7600"),
            Some(Endpoint::Literal("[2001:db8::1]:7600".parse().unwrap()))
        );
        assert_eq!(
            Endpoint::parse("192.0.2.1:7600"),
            Some(Endpoint::Literal("192.0.2.1:7600".parse().unwrap()))
        );
        assert_eq!(
            Endpoint::parse("ctl.example.org:7600"),
            name("ctl.example.org", Some(7600))
        );
        assert_eq!(Endpoint::parse("example.org"), name("example.org", None));
        for wrong in ["", ":7600", "host:", "host:70000", "2001:db8::1", "192.0.2.1"] {
            assert_eq!(Endpoint::parse(wrong), None, "{wrong}");
        }
    }
}
