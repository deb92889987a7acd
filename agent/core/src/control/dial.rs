//! The connection to one controller of many: whom to dial next, when, and how far the present one has come.
//!
//! ```text
//!          due                connected            opened               proven
//!  Resting ───▶ Dialling ───────────▶ Welcoming ─────────▶ Open ─────────────────▶ Open
//!     ▲             │ refused, late       │ late, refused    │ lost: full jitter    │ lost: once within 10 s,
//!     └─────────────┴── full jitter ──────┴──────────────────┘                      │ or 1 s if another is known
//!     └──────────────────────────────────────────────────────────────────────────────┘
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::limits;
use protocol::time::{Boot, Now};

use super::effect::ConnectionId;
use super::input::ServerLeaf;
use super::outbox::{Call, Outbox};
use super::turn::Turn;

/// See the module.
#[derive(Debug)]
pub(super) struct Dialler {
    endpoints: Vec<String>,
    at: usize,
    /// Of the present connection, which may have left the list since.
    present: Option<String>,
    link: Link,
    /// Attempts in a row that came to nothing.
    failures: u32,
    /// When the present attempt began.
    began: Boot,
    /// When the newest attempt at each endpoint began that has failed since the last success.
    in_vain: BTreeMap<String, Boot>,
}

#[derive(Debug)]
enum Link {
    Dialling {
        connection: ConnectionId,
        until: Boot,
    },
    Open {
        connection: ConnectionId,
        exported: [u8; 32],
        proven: bool,
    },
    Resting {
        until: Boot,
    },
    Welcoming {
        connection: ConnectionId,
        server: ServerLeaf,
        exported: [u8; 32],
        until: Boot,
    },
}

/// Whether every endpoint has failed since the last success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Round {
    /// `since`: when the oldest of the newest attempts at each began.
    Complete {
        since: Boot,
    },
    Incomplete,
}

impl Dialler {
    /// Dials the first of `endpoints` at once.
    pub(super) fn new(endpoints: Vec<String>) -> Self {
        Self {
            endpoints,
            at: 0,
            present: None,
            link: Link::Resting {
                until: Boot::default(),
            },
            failures: 0,
            began: Boot::default(),
            in_vain: BTreeMap::new(),
        }
    }

    /// Knows other endpoints from now on; the present connection stays.
    pub(super) fn set_endpoints(&mut self, endpoints: Vec<String>) {
        let present = self.endpoint();
        let position = endpoints.iter().position(|endpoint| endpoint == present);
        // One that left the list is followed by the first.
        self.at = position.unwrap_or_else(|| endpoints.len().saturating_sub(1));
        self.endpoints = endpoints;
    }

    /// The endpoint of the present connection, or of the next.
    pub(super) fn endpoint(&self) -> &str {
        let next = || self.endpoints.get(self.at).map_or("", String::as_str);

        self.present.as_deref().unwrap_or_else(next)
    }

    /// Whether it is time to dial.
    pub(super) fn is_due(&self, now: Now) -> bool {
        let rested = matches!(self.link, Link::Resting { until } if until <= now.boot);

        rested && !self.endpoints.is_empty()
    }

    pub(super) fn dial(&mut self, call: Call, turn: &mut Turn<'_>) {
        let endpoint = self.endpoint().to_owned();
        let connection = turn.out.connect(call, &endpoint);
        self.present = Some(endpoint);
        self.began = turn.now.boot;
        self.link = Link::Dialling {
            connection,
            until: turn.now.boot.after(DIAL),
        };
    }

    /// Whether the present attempt has taken too long.
    pub(super) fn is_late(&self, now: Now) -> bool {
        match self.link {
            Link::Dialling { until, .. } | Link::Welcoming { until, .. } => until <= now.boot,
            Link::Open { .. } | Link::Resting { .. } => false,
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        match self.link {
            Link::Resting { .. } if self.endpoints.is_empty() => None,
            Link::Dialling { until, .. } | Link::Welcoming { until, .. } | Link::Resting { until } => {
                Some(until)
            }
            Link::Open { .. } => None,
        }
    }

    /// Whether `connection` is the present one.
    pub(super) fn is(&self, connection: ConnectionId) -> bool {
        self.connection() == Some(connection)
    }

    fn connection(&self) -> Option<ConnectionId> {
        match self.link {
            Link::Dialling { connection, .. }
            | Link::Open { connection, .. }
            | Link::Welcoming { connection, .. } => Some(connection),
            Link::Resting { .. } => None,
        }
    }

    /// TLS is up: the welcome is waited for.
    pub(super) fn handle_connected(&mut self, server: ServerLeaf, exported: [u8; 32], now: Now) {
        if let Link::Dialling { connection, .. } = self.link {
            self.link = Link::Welcoming {
                connection,
                server,
                exported,
                until: now.boot.after(limits::HANDSHAKE),
            };
        }
    }

    /// The server whose welcome is waited for.
    pub(super) fn welcoming(&self) -> Option<&ServerLeaf> {
        match &self.link {
            Link::Welcoming { server, .. } => Some(server),
            Link::Dialling { .. } | Link::Open { .. } | Link::Resting { .. } => None,
        }
    }

    /// The welcome holds: requests may be sent.
    pub(super) fn open(&mut self) {
        if let Link::Welcoming {
            connection, exported, ..
        } = self.link
        {
            self.link = Link::Open {
                connection,
                exported,
                proven: false,
            };
        }
    }

    /// The connection that requests may be sent on, and its exporter's bytes.
    pub(super) fn opened(&self) -> Option<(ConnectionId, [u8; 32])> {
        match self.link {
            Link::Open {
                connection, exported, ..
            } => Some((connection, exported)),
            Link::Dialling { .. } | Link::Resting { .. } | Link::Welcoming { .. } => None,
        }
    }

    /// A request was answered: this controller works.
    pub(super) fn prove(&mut self) {
        if let Link::Open { proven, .. } = &mut self.link {
            *proven = true;
            self.failures = 0;
            self.in_vain.clear();
        }
    }

    /// The present connection is gone, or the attempt failed: rests, and turns to the next endpoint.
    pub(super) fn end(&mut self, turn: &mut Turn<'_>) -> Round {
        let was_proven = matches!(self.link, Link::Open { proven: true, .. });
        let tried = self.endpoint().to_owned();
        let pause = match was_proven {
            true if self.endpoints.len() > 1 => ELSEWHERE,
            true => AFTER_SESSION,
            false => BACKOFF.saturating_mul(1 << self.failures.min(6)).min(BACKOFF_CAP),
        };
        self.rest(turn.out.up_to(pause), turn.now);
        if was_proven {
            return Round::Incomplete;
        }
        self.failures = self.failures.saturating_add(1);
        self.in_vain.insert(tried, self.began);

        self.round()
    }

    /// An attempt under way when the process stood still fails by that alone, so each round says how far back it goes.
    fn round(&mut self) -> Round {
        let endpoints = &self.endpoints;
        self.in_vain.retain(|endpoint, _| endpoints.contains(endpoint));
        let all = endpoints
            .iter()
            .all(|endpoint| self.in_vain.contains_key(endpoint));
        let oldest = self.in_vain.values().min().copied();

        match oldest.filter(|_| all) {
            Some(since) => Round::Complete { since },
            None => Round::Incomplete,
        }
    }

    /// Closes the present connection, if any.
    pub(super) fn close(&self, out: &mut Outbox) {
        if let Some(connection) = self.connection() {
            out.close(connection);
        }
    }

    /// Dials the next endpoint after `pause`.
    fn rest(&mut self, pause: Duration, now: Now) {
        self.at = (self.at + 1) % self.endpoints.len().max(1);
        self.again(pause, now);
    }

    /// Dials the first endpoint of the list after `pause`.
    pub(super) fn start_over(&mut self, pause: Duration, now: Now) {
        self.at = 0;
        self.again(pause, now);
    }

    /// Whether no attempt is under way whose end is open.
    pub(super) fn is_settled(&self) -> bool {
        matches!(self.link, Link::Resting { .. } | Link::Open { proven: true, .. })
    }

    /// Dials the same endpoint again after `pause`.
    pub(super) fn again(&mut self, pause: Duration, now: Now) {
        self.present = None;
        self.link = Link::Resting {
            until: now.boot.after(pause),
        };
    }

    /// Rests for at least `pause` from now, if it rests.
    pub(super) fn rest_longer(&mut self, pause: Duration, now: Now) {
        if let Link::Resting { until } = &mut self.link {
            *until = now.boot.after(pause).max(*until);
        }
    }

    /// Rests for exactly `pause` from now, if it rests.
    pub(super) fn rest_exactly(&mut self, pause: Duration, now: Now) {
        if let Link::Resting { until } = &mut self.link {
            *until = now.boot.after(pause);
        }
    }

    /// Whether an attempt came to nothing since a controller last answered.
    pub(super) fn has_failed(&self) -> bool {
        self.failures > 0
    }

    /// How many controllers' endpoints are known.
    pub(super) fn known(&self) -> usize {
        self.endpoints.len()
    }
}

/// An attempt with all its name look-ups; the handshake within it has its own limit.
const DIAL: Duration = Duration::from_secs(15);
/// First step of the backoff between attempts (full jitter).
const BACKOFF: Duration = Duration::from_millis(500);
/// Last step: an agent finds its controller within half a minute of its return.
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// Spread of a whole fleet that lost its only controller.
const AFTER_SESSION: Duration = Duration::from_secs(10);
/// Spread when another controller is there to go to.
const ELSEWHERE: Duration = Duration::from_secs(1);
