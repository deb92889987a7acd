//! Why a command did not do what was asked, in the form that people get to read.
//!
//! ```text
//! error[token_consumed]: the join token has been used up
//!   why     …evidence…
//!   effect  …what it touches…
//!   fix     …a command…
//! ```

use std::error::Error;
use std::fmt;

use protocol::error::Code;

use crate::exit::Exit;

/// An error with everything an operator needs to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// Stable, for scripts and for looking it up.
    pub(crate) code: String,
    pub(crate) summary: String,
    /// Boxed, as errors travel far and seldom.
    details: Box<Details>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Details {
    why: Option<String>,
    effect: Option<String>,
    fix: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, code: &str, summary: impl Into<String>) -> Self {
        Self {
            exit,
            code: code.to_owned(),
            summary: summary.into(),
            details: Box::default(),
        }
    }

    /// The command line, or a file it names, does not say what is needed.
    pub(crate) fn usage(summary: impl Into<String>) -> Self {
        Self::new(Exit::Usage, "usage", summary)
    }

    /// A failure that crossed a wire, by its code.
    pub(crate) fn of_code(code: Code, summary: impl Into<String>) -> Self {
        let failure = Self::new(exit_of(code), code.text(), summary);

        match fix_of(code) {
            Some(fix) => failure.fixed_by(fix),
            None => failure,
        }
    }

    /// Says what stands behind it: the error's own sources, one after the other.
    pub(crate) fn because_of(self, error: &(dyn Error + 'static)) -> Self {
        let mut chain = error.to_string();
        let mut source = error.source();
        while let Some(error) = source {
            chain.push_str(": ");
            chain.push_str(&error.to_string());
            source = error.source();
        }

        self.because(chain)
    }

    pub(crate) fn because(mut self, why: impl Into<String>) -> Self {
        self.details.why = Some(why.into());
        self
    }

    pub(crate) fn affecting(mut self, effect: impl Into<String>) -> Self {
        self.details.effect = Some(effect.into());
        self
    }

    /// Whether it says what it touches.
    pub(crate) fn has_effect(&self) -> bool {
        self.details.effect.is_some()
    }

    /// Replaces the fix; one that comes with the failure knows more than one that follows from its code.
    pub(crate) fn fixed_by(mut self, fix: impl Into<String>) -> Self {
        self.details.fix = Some(fix.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: {}", self.code, self.summary)?;
        let Details { why, effect, fix } = &*self.details;
        let parts = [("why", why), ("effect", effect), ("fix", fix)];
        for (name, text) in parts {
            let Some(text) = text else { continue };
            let mut lines = text.lines();
            write!(f, "\n  {name:<6}  {}", lines.next().unwrap_or_default())?;
            for line in lines {
                write!(f, "\n          {line}")?;
            }
        }

        Ok(())
    }
}

/// How a command that met `code` ends.
pub(crate) const fn exit_of(code: Code) -> Exit {
    match code {
        Code::InvalidRequest | Code::TokenMalformed | Code::ValidationFailed => Exit::Usage,
        Code::IdentityMissing
        | Code::NodeDisabled
        | Code::NodeRevoked
        | Code::RoleDenied
        | Code::SignatureInvalid
        | Code::SourceDenied
        | Code::TokenUnknown
        | Code::WrongCertKind
        | Code::WrongCluster => Exit::NotAllowed,
        Code::AlreadyDecided
        | Code::ConflictState
        | Code::ForkDetected
        | Code::GenerationStale
        | Code::IdentityCloned
        | Code::ManifestConsumed
        | Code::NameTaken
        | Code::RateLimited
        | Code::ReadOnly
        | Code::RetryInCooldown
        | Code::Sealed
        | Code::StoreFull
        | Code::TokenConsumed
        | Code::TokenExpired => Exit::Conflict,
        Code::Unavailable => Exit::Unreachable,
        Code::CsrInvalid
        | Code::Internal
        | Code::NotFound
        | Code::PayloadForwardingDisabled
        | Code::TooLarge => Exit::Failed,
    }
}

/// What usually mends it. `None` where only the message can know.
pub(crate) const fn fix_of(code: Code) -> Option<&'static str> {
    Some(match code {
        Code::ConflictState
        | Code::NotFound
        | Code::PayloadForwardingDisabled
        | Code::ValidationFailed
        | Code::WrongCertKind => return None,
        Code::AlreadyDecided => "gabion request list",
        Code::CsrInvalid => "upgrade gabion on the host that asked, and join again",
        Code::ForkDetected => "gabion finding list    (do two controllers speak for one cluster? stop one)",
        Code::GenerationStale => "run the command again",
        Code::IdentityCloned => {
            "gabion finding list    (revoke the copy, and join its host with a token of its own)"
        }
        Code::IdentityMissing => "gabion agent join --token-file FILE    (this host has no certificate)",
        Code::Internal | Code::Unavailable => "journalctl -u gabion-controller    (the log has the cause)",
        Code::InvalidRequest => "gabion version    (controller and command line should be of one version)",
        Code::ManifestConsumed => "gabion installation show    (a manifest is consumed once)",
        Code::NameTaken => "choose another name",
        Code::NodeDisabled => "gabion node enable NAME",
        Code::NodeRevoked => "gabion token create    (a revoked node stays out; its host joins anew)",
        Code::RateLimited | Code::RetryInCooldown => "wait, and run the command again",
        Code::ReadOnly => "gabion status    (says why the controller writes nothing)",
        Code::RoleDenied => "gabion role list    (an owner gives a role with: gabion role grant)",
        Code::Sealed => {
            "give the controller its key: the credential gabion.kek, or kek_file in controller.toml"
        }
        Code::SignatureInvalid => "gabion inspect FILE --key PUBLIC_KEY    (says who signed it)",
        Code::SourceDenied => "gabion token create --source CIDR    (a token for where this host is)",
        Code::StoreFull => "free space on the controller's disk; it takes writes again by itself",
        Code::TokenConsumed | Code::TokenExpired => {
            "gabion token create    (on the controller; then join with the new token)"
        }
        Code::TokenMalformed => "copy the token again, whole, into the file that --token-file names",
        Code::TokenUnknown => "gabion token create    (on the controller; this token was made elsewhere)",
        Code::TooLarge => "do it in smaller parts",
        Code::WrongCluster => "gabion inspect FILE    (says which cluster it is for)",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_what_why_effect_and_fix() {
        let failure = Failure::of_code(Code::TokenConsumed, "the join token has been used up")
            .because("it had one use\nand host web-07 spent it")
            .affecting("nothing changed on either side");

        assert_eq!(
            failure.to_string(),
            "error[token_consumed]: the join token has been used up\n  \
               why     it had one use\n          \
                       and host web-07 spent it\n  \
               effect  nothing changed on either side\n  \
               fix     gabion token create    (on the controller; then join with the new token)"
        );
        assert_eq!(failure.exit, Exit::Conflict);
    }

    #[test]
    fn what_is_not_known_is_not_shown() {
        assert_eq!(Failure::usage("no").to_string(), "error[usage]: no");
    }

    #[test]
    fn every_code_has_an_exit_and_a_fix_or_is_known_to_have_none() {
        let none: Vec<Code> = Code::ALL
            .iter()
            .copied()
            .filter(|code| fix_of(*code).is_none())
            .collect();

        assert_eq!(
            none,
            [
                Code::WrongCertKind,
                Code::NotFound,
                Code::ConflictState,
                Code::ValidationFailed,
                Code::PayloadForwardingDisabled,
            ]
        );
        for code in Code::ALL {
            assert!(
                !matches!(exit_of(*code), Exit::Done | Exit::Problems | Exit::Partial),
                "{code:?}"
            );
        }
    }

    #[test]
    fn codes_of_one_number_tell_scripts_the_same_kind_of_thing() {
        let exit = |number: u16| -> std::collections::BTreeSet<u8> {
            let same = Code::ALL.iter().filter(|code| code.number() == number);
            same.map(|code| exit_of(*code) as u8).collect()
        };

        for (number, expected) in [
            (401, Exit::NotAllowed),
            (403, Exit::NotAllowed),
            (409, Exit::Conflict),
            (410, Exit::Conflict),
        ] {
            assert_eq!(exit(number), [expected as u8].into(), "{number}");
        }
    }

    #[test]
    fn a_chain_of_errors_is_told_to_its_end() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);

        let failure = Failure::usage("no").because_of(&Outer(std::io::Error::other("inner")));

        assert_eq!(failure.to_string(), "error[usage]: no\n  why     outer: inner");
    }
}
