//! How a path goes, without the lease that allows it: what evidence is keyed by.

use std::fmt;
use std::str::FromStr;

use minicbor::{Decode, Encode};
use protocol::document::routes::Path;
use protocol::id::{InvalidId, NodeId};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A path as evidence knows it. A renewed lease changes the [`Path`], never the `Via`. Its text is `direct`, or the id of
/// the relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
pub enum Via {
    #[n(1)]
    Direct,
    #[n(2)]
    Relay(#[n(0)] NodeId),
}

impl Via {
    pub const fn relay(self) -> Option<NodeId> {
        match self {
            Self::Direct => None,
            Self::Relay(relay) => Some(relay),
        }
    }
}

impl From<&Path> for Via {
    fn from(path: &Path) -> Self {
        path.relay().map_or(Self::Direct, Self::Relay)
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str(DIRECT),
            Self::Relay(relay) => relay.fmt(f),
        }
    }
}

impl FromStr for Via {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        match text {
            DIRECT => Ok(Self::Direct),
            relay => relay.parse().map(Self::Relay),
        }
    }
}

impl Serialize for Via {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Via {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;

        text.parse().map_err(serde::de::Error::custom)
    }
}

const DIRECT: &str = "direct";
