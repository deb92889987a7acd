//! The one place where errors become replies.

use std::error::Error;

use protocol::error::{Code, WireError};
use serde_json::{Value, json};

use crate::action::Action;
use crate::usual;

/// Why a request was not done, as the caller will hear it. What is left out here is filled in by [`told`](Self::told).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub message: String,
    /// The evidence.
    pub why: Option<String>,
    /// What it touched.
    pub effect: Option<String>,
    /// A command.
    pub fix: Option<String>,
    /// Tells the caller to come back after this many milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            why: None,
            effect: None,
            fix: None,
            retry_after_ms: None,
        }
    }

    /// A refusal's own text is shown; of a failure of ours the caller hears the code, and the log has the chain.
    pub fn of(code: Code, error: &(dyn Error + 'static)) -> Self {
        if code.number() < 500 {
            let failure = Self::new(code, error.to_string());

            return match error.source() {
                Some(source) => failure.because(chain(source)),
                None => failure,
            };
        }
        tracing::warn!(code = code.text(), error = chain(error), "a request failed");

        Self::new(code, OURS)
    }

    pub fn not_found(what: &str, name: &str) -> Self {
        let noun = what.rsplit(' ').next().unwrap_or(what);

        Self::new(Code::NotFound, format!("no {what} is called {name:?}"))
            .because("neither an id nor a whole name matches")
            .fixed_by(format!("gabion {noun} list"))
    }

    /// Says in what part of the input it lies.
    #[must_use]
    pub fn within(mut self, part: impl std::fmt::Display) -> Self {
        self.message = format!("{part}: {}", self.message);
        self
    }

    pub fn because(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    pub fn affecting(mut self, effect: impl Into<String>) -> Self {
        self.effect = Some(effect.into());
        self
    }

    pub fn fixed_by(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    /// What an operator is told: what, why, effect and fix, the latter three from `action` and code where the place
    /// that refused knew nothing better. `action` is none if what was asked for is no action.
    pub fn told(&self, action: Option<Action>) -> Value {
        let is_input = matches!(self.code, Code::InvalidRequest | Code::ValidationFailed);
        let is_there = matches!(self.code, Code::ConflictState | Code::NameTaken | Code::NotFound);
        let usual_fix = || match action {
            Some(action) if is_input => format!("gabion {} --help", action.command()),
            Some(action) if is_there => format!("gabion {}    (shows what is there)", action.listing()),
            Some(_) | None => usual::fix(self.code).to_owned(),
        };

        json!({
            "number": self.code.number(),
            "code": self.code.text(),
            "message": self.message,
            "why": self.why.as_deref().unwrap_or_else(|| usual::why(self.code)),
            "effect": self.effect.as_deref().unwrap_or(UNDONE),
            "fix": self.fix.clone().unwrap_or_else(usual_fix),
        })
    }
}

impl From<Failure> for WireError {
    fn from(failure: Failure) -> Self {
        Self {
            retry_after_ms: failure.retry_after_ms,
            ..Self::new(failure.code, failure.message)
        }
    }
}

fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }

    text
}

/// Lets `?` turn the kernel's errors, which all know their code, into replies.
macro_rules! replies {
    ($($error:ty),* $(,)?) => {$(
        impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::of(error.code(), &error)
            }
        }
    )*};
}

replies! {
    control_core::authority::AuthorityError,
    control_core::cluster::CreateClusterError,
    control_core::failure::Failure,
    control_core::finding::FindingError,
    control_core::installation::ActivateError,
    control_core::issuing::ControllerCertificateError,
    control_core::join::DecideError,
    control_core::join::EnrollError,
    control_core::join::StatusError,
    control_core::node::NodeError,
    control_core::node::RenewError,
    control_core::publish::BeaconError,
    control_core::publish::PublishError,
    control_core::roles::GrantError,
    control_core::store::StoreError,
    control_core::token::CreateTokenError,
    control_core::token::RevokeTokenError,
}

/// An error rolls its transaction back.
const UNDONE: &str = "nothing was changed; agents go on with what they have";
const OURS: &str = "the controller could not do this now; its log says why";
