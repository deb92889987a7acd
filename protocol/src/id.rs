//! Identifiers: 128 random bits, 26 lower-case base32 characters in text, 16 bytes on the wire.
//!
//! An id names a thing for ever and is separate from its keys, which change.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD;

/// Declares one kind of identifier. Each is a type of its own, so that a node's id cannot stand for a lease's.
macro_rules! identifiers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// Draws a new one.
            pub fn random(rng: &mut dyn rand::CryptoRng) -> Self {
                let mut bytes = [0; 16];
                rng.fill_bytes(&mut bytes);

                Self(bytes)
            }

            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&text(&self.0))
            }
        }

        /// Short, for logs: the first eight characters.
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&text(&self.0)[..8])
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text).map(Self)
            }
        }

        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let bytes = d.bytes()?;
                bytes.try_into().map(Self).map_err(|_| minicbor::decode::Error::message("an id has 16 bytes"))
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

identifiers! {
    /// One control plane and its data.
    InstallationId;
    /// The isolation boundary.
    ClusterId;
    /// A machine of a cluster, whatever its current key.
    NodeId;
    /// A controller process of an installation. Controllers are not nodes.
    ControllerId;
    /// A person or automation with role grants.
    OperatorId;
    /// A right to join.
    TokenId;
    /// One attempt to join.
    RequestId;
    /// A right of one relay to carry one pair.
    LeaseId;
    /// A pair of nodes for which paths are chosen.
    RouteId;
    /// One run of a process: changes at every start.
    BootId;
}

impl RouteId {
    /// The route between two nodes of a cluster, the same from either end.
    pub fn between(cluster: ClusterId, one: NodeId, other: NodeId) -> Self {
        let (low, high) = if one < other { (one, other) } else { (other, one) };
        let digest = crate::key::Digest::of_parts(&[
            b"gabion route id v1",
            cluster.as_bytes(),
            low.as_bytes(),
            high.as_bytes(),
        ]);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest.as_bytes()[..16]);

        Self(bytes)
    }
}

/// The text is not 26 characters of lower-case base32 without padding (RFC 4648), or its last bits are not zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an id: expected 26 characters of a-z and 2-7")]
pub struct InvalidId;

fn text(bytes: &[u8; 16]) -> String {
    BASE32_NOPAD.encode(bytes).to_ascii_lowercase()
}

fn parse(text: &str) -> Result<[u8; 16], InvalidId> {
    if text.len() != TEXT_LENGTH || text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(InvalidId);
    }
    let bytes = BASE32_NOPAD
        .decode(text.to_ascii_uppercase().as_bytes())
        .map_err(|_| InvalidId)?;

    bytes.try_into().map_err(|_| InvalidId)
}

/// Characters of an id in text.
pub const TEXT_LENGTH: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_bytes_agree_with_another_implementation() {
        // python3: base64.b32encode(bytes(range(16))).decode().rstrip("=").lower()
        let id = NodeId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);

        assert_eq!(id.to_string(), "aaaqeayeaudaocajbifqydiob4");
        assert_eq!("aaaqeayeaudaocajbifqydiob4".parse(), Ok(id));
    }

    #[test]
    fn an_id_has_one_text() {
        for wrong in [
            "",
            "aaaqeayeaudaocajbifqydiob",
            "AAAQEAYEAUDAOCAJBIFQYDIOB4",
            "aaaqeayeaudaocajbifqydiob5",
            "aaaqeayeaudaocajbifqydio1!",
        ] {
            assert_eq!(wrong.parse::<NodeId>(), Err(InvalidId), "{wrong}");
        }
    }

    #[test]
    fn a_route_is_the_same_from_either_end_and_bound_to_its_cluster() {
        let (one, other) = (NodeId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
        let cluster = ClusterId::from_bytes([3; 16]);
        let route = RouteId::between(cluster, one, other);

        assert_eq!(route, RouteId::between(cluster, other, one));
        assert_ne!(
            route,
            RouteId::between(ClusterId::from_bytes([4; 16]), one, other)
        );
    }
}
