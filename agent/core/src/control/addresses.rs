//! Where controllers are: every source of addresses in one ring, in an order of this machine's own.

use minicbor::{Decode, Encode};
use protocol::document::config::ControllerAddress;
use protocol::key::Digest;

use super::effect::Payload;
use super::file::FileName;

/// Orders the controllers that documents name by a hash with `spread`, so that a fleet divides itself among them,
/// and puts `fallbacks` behind, in their own order. Each endpoint stands once.
pub(super) fn ring<'a>(
    spread: &[u8],
    named: &'a [ControllerAddress],
    fallbacks: impl IntoIterator<Item = &'a String>,
) -> Vec<String> {
    let mut named: Vec<&ControllerAddress> = named.iter().collect();
    named.sort_by_key(|address| Digest::of_parts(&[address.controller.as_bytes(), spread]));

    unique(
        named
            .iter()
            .flat_map(|address| &address.endpoints)
            .chain(fallbacks),
    )
}

/// Orders endpoints of which it is not known whose they are.
pub(super) fn scattered(spread: &[u8], endpoints: &[String]) -> Vec<String> {
    let mut endpoints = endpoints.to_vec();
    endpoints.sort_by_key(|endpoint| Digest::of_parts(&[spread, endpoint.as_bytes()]));

    endpoints
}

/// The address file with these endpoints in it.
pub(super) fn file(endpoints: &[String]) -> (FileName, Payload) {
    FileName::Controllers.write(&AddressFile {
        endpoints: endpoints.to_vec(),
    })
}

/// Reads the address file, if it is whole.
pub(super) fn read(bytes: &[u8]) -> Option<Vec<String>> {
    let file: AddressFile = FileName::Controllers.read(bytes)?;

    Some(unique(&file.endpoints))
}

fn unique<'a>(endpoints: impl IntoIterator<Item = &'a String>) -> Vec<String> {
    let mut unique: Vec<String> = Vec::new();
    for endpoint in endpoints {
        let usable = !endpoint.is_empty() && endpoint.len() <= ENDPOINT_BYTES;
        if usable && unique.len() < ENDPOINTS && !unique.contains(endpoint) {
            unique.push(endpoint.clone());
        }
    }

    unique
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct AddressFile {
    #[n(0)]
    endpoints: Vec<String>,
}

/// Endpoints that are kept: a few controllers with a few addresses each, and what they were before.
const ENDPOINTS: usize = 64;
/// A DNS name (253 bytes), a colon and a port, with room for brackets.
const ENDPOINT_BYTES: usize = 264;

#[cfg(test)]
mod tests {
    use protocol::id::ControllerId;

    use super::*;

    #[test]
    fn every_endpoint_stands_once_and_fallbacks_stand_behind() {
        let named = [address(1, &["a:1", "b:1"]), address(2, &["c:1", ""])];
        let fallbacks = ["b:1".to_owned(), "d:1".to_owned(), "x".repeat(300)];
        let ring = ring(b"node", &named, &fallbacks);

        assert_eq!(ring.len(), 4);
        assert_eq!(ring[3], "d:1");
        assert!(ring.windows(2).any(|pair| pair == ["a:1", "b:1"]));
    }

    #[test]
    fn a_fleet_divides_itself_among_its_controllers() {
        let named = [address(1, &["a:1"]), address(2, &["b:1"]), address(3, &["c:1"])];
        let first = |node: u16| ring(&node.to_be_bytes(), &named, &[])[0].clone();
        let at_a = (0..300).filter(|node| first(*node) == "a:1").count();

        assert!((70..=130).contains(&at_a), "{at_a}");
    }

    #[test]
    fn more_endpoints_than_are_kept_are_cut() {
        let many: Vec<String> = (0..100).map(|n| format!("host{n}:1")).collect();

        assert_eq!(ring(b"node", &[], &many).len(), ENDPOINTS);
        assert_eq!(
            read(file(&many).1.as_bytes()).map(|read| read.len()),
            Some(ENDPOINTS)
        );
    }

    fn address(id: u8, endpoints: &[&str]) -> ControllerAddress {
        ControllerAddress {
            controller: ControllerId::from_bytes([id; 16]),
            endpoints: endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect(),
        }
    }
}
