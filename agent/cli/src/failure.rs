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

use control_api::usual;
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
        Self::new(exit_of(code), code.text(), summary)
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
        let usual = usual(self.exit, &self.code);
        let parts = [
            ("why", why.as_deref().unwrap_or(usual.why)),
            ("effect", effect.as_deref().unwrap_or(usual.effect)),
            ("fix", fix.as_deref().unwrap_or(usual.fix)),
        ];
        for (name, text) in parts {
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

/// What is left to say of an error whose own place said no more: from its code if it crossed a wire, else from how the
/// command ends.
struct Usual {
    why: &'static str,
    effect: &'static str,
    fix: &'static str,
}

fn usual(exit: Exit, code: &str) -> Usual {
    let of_exit = usual_of(exit);
    match Code::parse(code) {
        Some(code) => Usual {
            why: usual::why(code),
            fix: usual::fix(code),
            ..of_exit
        },
        None => of_exit,
    }
}

const fn usual_of(exit: Exit) -> Usual {
    let (why, effect, fix) = match exit {
        Exit::Usage => (
            "the command line, or a file that it names, does not say what is needed",
            "nothing was changed",
            "gabion --help    (--help of a command says what it takes)",
        ),
        Exit::NotAllowed => (
            "the caller has no right to it",
            "nothing was changed",
            "gabion role list    (says who may do what)",
        ),
        Exit::Conflict => (
            "what is there does not admit it now",
            "nothing was changed",
            "gabion status    (shows what state things are in)",
        ),
        Exit::Unreachable => (
            "nobody answers where it was looked for",
            "nothing was changed; agents go on with what they have",
            "gabion status    (says which of controller and agent answers)",
        ),
        Exit::TimedOut => (
            "nothing came within the time that was given",
            "it may still be done: look before it is repeated",
            "gabion status    (then again, with a longer --timeout)",
        ),
        Exit::Done | Exit::Failed | Exit::Problems | Exit::Partial => (
            "the system, or the other side, did not do its part",
            "what was asked for was not done",
            "gabion status    (shows how controller and agent of this host stand)",
        ),
    };

    Usual { why, effect, fix }
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
    fn an_error_whose_place_says_no_more_still_has_every_part() {
        let exits = [
            Exit::Failed,
            Exit::Usage,
            Exit::Problems,
            Exit::Unreachable,
            Exit::NotAllowed,
            Exit::Conflict,
            Exit::TimedOut,
        ];
        let bare = exits.map(|exit| Failure::new(exit, "anything", "no"));
        let coded = Code::ALL.iter().map(|code| Failure::of_code(*code, "no"));
        for failure in bare.into_iter().chain(coded) {
            let told = failure.to_string();
            for part in ["\n  why     ", "\n  effect  ", "\n  fix     "] {
                assert!(told.contains(part), "{told}");
            }
        }
    }

    #[test]
    fn every_code_has_an_exit_that_says_it_failed() {
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

        assert!(
            failure
                .to_string()
                .starts_with("error[usage]: no\n  why     outer: inner\n")
        );
    }
}
