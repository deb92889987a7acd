//! How a path goes, without the lease that allows it: what evidence is keyed by.

use minicbor::{Decode, Encode};
use protocol::document::routes::Path;
use protocol::id::NodeId;

/// A path as evidence knows it. A renewed lease changes the [`Path`], never the `Via`.
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
