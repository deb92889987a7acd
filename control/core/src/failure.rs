//! What goes wrong on our side while a request is decided. The caller hears a code; the log has the chain.

use protocol::error::Code;

use crate::signer::{IssueFailure, SealFailure};
use crate::store::StoreError;

/// Ours, not the caller's.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A row names another that is not there, or holds what this program never writes: the store was damaged or
    /// edited.
    #[error("the store contradicts itself: {0}")]
    Inconsistent(&'static str),
    /// A certificate could not be issued with a key that is kept here.
    #[error("a certificate could not be issued")]
    Issue(#[from] IssueFailure),
    /// A sealed key or secret could not be used.
    #[error("a sealed key could not be used")]
    Seal(#[from] SealFailure),
    /// The store could not be read, or would not take the write.
    #[error("the store failed")]
    Store(#[from] StoreError),
}

impl Failure {
    pub const fn code(&self) -> Code {
        match self {
            Self::Inconsistent(_) => Code::Internal,
            Self::Issue(failure) => failure.code(),
            Self::Seal(failure) => failure.code(),
            Self::Store(failure) => failure.code(),
        }
    }
}

impl StoreError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Corrupt { .. } => Code::Internal,
            Self::TooLarge => Code::TooLarge,
            Self::Unreadable(_) => Code::Unavailable,
        }
    }
}

/// Lets `?` turn our failures into the `Failure` variant of each operation's own error.
macro_rules! fails {
    ($($name:ty),* $(,)?) => {$(
        impl From<$crate::store::StoreError> for $name {
            fn from(source: $crate::store::StoreError) -> Self {
                Self::Failure(source.into())
            }
        }

        impl From<$crate::signer::SealFailure> for $name {
            fn from(source: $crate::signer::SealFailure) -> Self {
                Self::Failure(source.into())
            }
        }

        impl From<$crate::signer::IssueFailure> for $name {
            fn from(source: $crate::signer::IssueFailure) -> Self {
                Self::Failure(source.into())
            }
        }
    )*};
}

pub(crate) use fails;
