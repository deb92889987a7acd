//! The synthetic config: what one node is, whom it may talk to, and how.

use std::net::{IpAddr, SocketAddr};

use minicbor::{Decode, Encode};

use crate::cbor;
use crate::envelope::{Document, Kind};
use crate::id::{ControllerId, NodeId};
use crate::key::{Digest, SealKey};
use crate::net::Address;
use crate::node::{Labels, NodeRole};

/// Addressed to one node; compiled by a pure function of the store.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct SyntheticConfig {
    #[n(0)]
    pub name: String,
    #[n(1)]
    #[cbor(decode_with = "cbor::known")]
    pub roles: Vec<NodeRole>,
    #[n(2)]
    pub labels: Labels,
    /// Generation of this node's identity.
    #[n(3)]
    pub generation: u64,
    /// Sorted by node id.
    #[n(4)]
    pub neighbours: Vec<Neighbour>,
    #[n(5)]
    pub controllers: Vec<ControllerAddress>,
    #[n(6)]
    pub transport: Transport,
    /// [`Settings::digest`], as the writer knows them: a reader may have skipped fields of them. A writer
    /// of the first version left it out.
    #[n(7)]
    pub settings: Option<Digest>,
    /// Set for a node that went back from these settings and may have them again, as an operator said: how often that was
    /// said of them. Another number than in the config before is a new trial.
    #[n(8)]
    pub offered_again: Option<u64>,
}

impl SyntheticConfig {
    /// The part that a node may go back to an earlier version of.
    pub fn settings(&self) -> Settings {
        Settings {
            controllers: self.controllers.clone(),
            transport: self.transport,
        }
    }
}

impl Document for SyntheticConfig {
    const KIND: Kind = Kind::SyntheticConfig;
}

/// Where controllers are and how to talk: all of a config that can cut a node off, and that it may go back in.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Settings {
    #[n(0)]
    pub controllers: Vec<ControllerAddress>,
    #[n(1)]
    pub transport: Transport,
}

impl Settings {
    /// The same for the same settings, whatever else a config says.
    pub fn digest(&self) -> Digest {
        Digest::of(&cbor::encode(self))
    }

    /// These, as they hold for a node that went back to them from `tried`: how long a relay goes on without a controller
    /// is a limit, and nobody gets out of one by going back.
    pub fn gone_back_to_from(mut self, tried: &Transport) -> Self {
        self.transport.freshness = self.transport.freshness.min(tried.freshness);
        self.transport.activity = self.transport.activity.min(tried.activity);

        self
    }
}

/// A node as seen from another.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Neighbour {
    #[n(0)]
    pub node: NodeId,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub generation: u64,
    #[n(3)]
    #[cbor(decode_with = "cbor::known")]
    pub roles: Vec<NodeRole>,
    #[n(4)]
    pub seal_key: SealKey,
    #[n(5)]
    #[cbor(decode_with = "cbor::known")]
    pub candidates: Vec<Candidate>,
}

/// A socket address at which a node may be reached, and where that knowledge comes from. Declared best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum CandidateKind {
    /// On an interface, with a global address.
    #[n(1)]
    Public,
    /// On an interface, with a private address.
    #[n(2)]
    Lan,
    /// Seen by the controller as the source of the node's connection.
    #[n(3)]
    Reflexive,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(array)]
pub struct Candidate {
    #[n(0)]
    pub kind: CandidateKind,
    #[n(1)]
    pub address: Address,
}

impl Candidate {
    pub fn new(kind: CandidateKind, address: SocketAddr) -> Self {
        Self {
            kind,
            address: Address(address),
        }
    }
}

/// Why an address is told to nobody. The names are read by scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(index_only)]
pub enum Unfit {
    /// Of this host alone; told only in dev mode, by an installation and by an agent that both are in it.
    #[n(1)]
    Loopback,
    /// Of one cable alone: `169.254.0.0/16`, `fe80::/10`.
    #[n(2)]
    LinkLocal,
    /// Of many hosts at once, broadcast among them.
    #[n(3)]
    Multicast,
    /// `0.0.0.0` or `::`.
    #[n(4)]
    Unspecified,
    /// Port 0.
    #[n(5)]
    NoPort,
    /// More than a node may have.
    #[n(6)]
    TooMany,
}

impl Unfit {
    /// What is wrong with an address that neighbours are to dial; loopback is let through if `dev`.
    pub fn of(address: SocketAddr, dev: bool) -> Option<Self> {
        let ip = address.ip().to_canonical();
        let (is_broadcast, is_link_local) = match ip {
            IpAddr::V4(ip) => (ip.is_broadcast(), ip.is_link_local()),
            IpAddr::V6(ip) => (false, ip.is_unicast_link_local()),
        };
        if ip.is_unspecified() {
            Some(Self::Unspecified)
        } else if ip.is_multicast() || is_broadcast {
            Some(Self::Multicast)
        } else if is_link_local {
            Some(Self::LinkLocal)
        } else if ip.is_loopback() && !dev {
            Some(Self::Loopback)
        } else {
            (address.port() == 0).then_some(Self::NoPort)
        }
    }

    pub const fn name(self) -> &'static str {
        match self {
            Self::Loopback => "loopback",
            Self::LinkLocal => "link_local",
            Self::Multicast => "multicast",
            Self::Unspecified => "unspecified",
            Self::NoPort => "no_port",
            Self::TooMany => "too_many",
        }
    }
}

/// An address that a node claims and nobody is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, Decode)]
#[cbor(array)]
pub struct LeftOut {
    #[n(0)]
    pub address: Address,
    #[n(1)]
    pub why: Unfit,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ControllerAddress {
    #[n(0)]
    pub controller: ControllerId,
    /// `host:port`; the host is a name or an address literal, IPv6 in brackets.
    #[n(1)]
    pub endpoints: Vec<String>,
}

/// Intervals in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Transport {
    #[n(0)]
    pub probe_fast: u32,
    #[n(1)]
    pub probe_normal: u32,
    #[n(2)]
    pub probe_rest: u32,
    #[n(3)]
    pub heartbeat: u32,
    /// Age of the newest beacon's poll at which a relay's rows stop being live.
    #[n(4)]
    pub freshness: u32,
    /// How long an active pair outlives freshness.
    #[n(5)]
    pub activity: u32,
}

impl Default for Transport {
    fn default() -> Self {
        Self {
            probe_fast: 200,
            probe_normal: 1_000,
            probe_rest: 5_000,
            heartbeat: 10_000,
            freshness: 60_000,
            activity: 60_000,
        }
    }
}
