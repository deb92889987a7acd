//! The one place where errors become replies.

use std::error::Error;

use protocol::error::{Code, WireError};

/// Why a request was not done, as the caller will hear it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub code: Code,
    pub message: String,
    /// Tells the caller to come back after this many milliseconds.
    pub retry_after_ms: Option<u64>,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// A refusal's own text is shown; of a failure of ours the caller hears the code, and the log has the chain.
    pub fn of(code: Code, error: &(dyn Error + 'static)) -> Self {
        if code.number() < 500 {
            return Self::new(code, error.to_string());
        }
        tracing::warn!(code = code.text(), error = chain(error), "a request failed");

        Self::new(code, OURS)
    }

    pub fn not_found(what: &str, name: &str) -> Self {
        Self::new(Code::NotFound, format!("no {what} is called {name:?}"))
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

const OURS: &str = "the controller could not do this now; its log says why";
