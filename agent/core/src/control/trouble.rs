//! What stands between a node and its controllers: why the last session failed, and whether one turned the node away.

use protocol::error::Code;
use protocol::time::Wall;

use super::event::SessionEnd;
use super::input::Disconnected;
use super::refusal;

/// Why the last session, or the attempt at one, failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastFailure {
    /// As [`SessionEnd::code`] has it.
    pub code: String,
    pub at: Wall,
    pub endpoint: String,
}

/// Whether the controllers take this host for a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// As far as is known here.
    Admitted,
    /// A controller turned it away, for a reason that does not pass by itself.
    Refused,
    /// It is on the cluster's revocation list, or a controller closed the connection for that.
    Revoked,
}

/// See the module. All of it is over once a controller does what it is asked.
#[derive(Clone, Debug, Default)]
pub(super) struct Trouble {
    last: Option<LastFailure>,
    /// Stays while controllers cannot be reached: what comes later says less.
    turned_away: Option<Code>,
}

impl Trouble {
    /// Notes how a session ended. `proven`: whether it was known to be a controller who ended it.
    pub(super) fn note(&mut self, why: &SessionEnd, proven: bool, endpoint: &str, at: Wall) {
        if !why.is_failure() {
            return;
        }
        self.last = Some(LastFailure {
            code: why.code().to_owned(),
            at,
            endpoint: endpoint.to_owned(),
        });
        if let Some(code) = why.refusal().filter(|_| proven) {
            self.turned_away = Some(code);
        }
    }

    /// A controller did what it was asked.
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    pub(super) fn last(&self) -> Option<&LastFailure> {
        self.last.as_ref()
    }

    pub(super) fn admission(&self) -> Admission {
        match self.turned_away {
            None => Admission::Admitted,
            Some(Code::NodeRevoked) => Admission::Revoked,
            Some(_) => Admission::Refused,
        }
    }
}

impl SessionEnd {
    /// One word for it: the code that the controller gave, or what this side saw.
    pub fn code(&self) -> &str {
        match self {
            Self::Disconnected(Disconnected::Closed(Some(code))) => code.text(),
            Self::Disconnected(Disconnected::Closed(None)) => "closed",
            Self::Disconnected(Disconnected::Handshake) => "handshake",
            Self::Disconnected(Disconnected::Silent) => "silent",
            Self::Disconnected(Disconnected::Unreachable) => "unreachable",
            Self::MovedAway => "moved_away",
            Self::NoReply => "no_reply",
            Self::Readdressed => "readdressed",
            Self::Untrustworthy => "untrustworthy",
            Self::Refused(code) => code,
            Self::Renewed => "renewed",
            Self::Stale => "stale",
        }
    }

    /// The code with which a controller turned this node away, unless it passes by itself.
    pub fn refusal(&self) -> Option<Code> {
        let code = match self {
            Self::Disconnected(Disconnected::Closed(code)) => *code,
            Self::Refused(code) => Code::parse(code),
            Self::Disconnected(
                Disconnected::Handshake | Disconnected::Silent | Disconnected::Unreachable,
            )
            | Self::MovedAway
            | Self::NoReply
            | Self::Readdressed
            | Self::Untrustworthy
            | Self::Renewed
            | Self::Stale => None,
        };

        code.filter(|code| !refusal::may_pass(code.number()))
    }

    /// Whether something went wrong: sessions also end so that a better one can begin.
    const fn is_failure(&self) -> bool {
        match self {
            Self::Disconnected(_) | Self::NoReply | Self::Untrustworthy | Self::Refused(_) => true,
            Self::MovedAway | Self::Readdressed | Self::Renewed | Self::Stale => false,
        }
    }
}
