//! What the operator configured, and the chance that the machine draws from.

use std::fmt;
use std::time::Duration;

use protocol::id::BootId;
use protocol::key::{Fingerprint, VerifyKey};
use protocol::token::JoinToken;
use protocol::wire::HostFacts;
use zeroize::Zeroizing;

/// How this agent joins and whom it talks to.
#[derive(Debug)]
pub struct Config {
    /// Needed until the machine is enrolled, and not looked at afterwards.
    pub token: Option<JoinToken>,
    /// The cluster authority as the operator knows it; must agree with the token.
    pub pin: Pin,
    /// The name to ask for; the approver confirms it.
    pub name: String,
    pub facts: HostFacts,
    /// `host:port` of controllers, beside those of token, contract and synthetic config.
    pub controllers: Vec<String>,
    /// Time between two questions about a pending request.
    pub poll_interval: Duration,
    /// Time after which a pending enrolment is given up; none waits for ever.
    pub timeout: Option<Duration>,
    /// This run of the process.
    pub boot: BootId,
}

/// What a cluster authority must be. Everything that is given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pin {
    pub key: Option<VerifyKey>,
    pub fingerprint: Option<Fingerprint>,
}

impl Pin {
    /// Whether `key` is what everything that is pinned asks for.
    pub fn admits(&self, key: &VerifyKey) -> bool {
        self.agrees_with(&key.fingerprint())
    }

    /// Whether nothing that is pinned asks for another key than that of `fingerprint`.
    pub fn agrees_with(&self, fingerprint: &Fingerprint) -> bool {
        self.key.is_none_or(|pinned| pinned.fingerprint() == *fingerprint)
            && self.fingerprint.is_none_or(|pinned| pinned == *fingerprint)
    }
}

/// Where all of the machine's chance comes from: keys, and jitter. From the system's entropy in production, from
/// the run's seed in a simulation.
#[derive(Clone)]
pub struct Seed(Zeroizing<[u8; 32]>);

impl Seed {
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub(super) fn bytes(&self) -> [u8; 32] {
        *self.0
    }
}

impl fmt::Debug for Seed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// Time between two questions about a pending request, unless configured.
pub const POLL_INTERVAL: Duration = Duration::from_secs(5);
