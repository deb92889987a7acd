//! Errors that cross the wire: a number with HTTP meaning and a stable string.

use minicbor::{Decode, Encode};

/// Declares each code once: its string and its number.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)*) => {
        /// Why a request was refused or failed. Scripts and `gabion explain` know these by their strings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The number, with the meaning HTTP gives it.
            pub const fn number(self) -> u16 {
                match self { $(Self::$name => $number,)* }
            }

            /// The stable string.
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }
        }
    };
}

codes! {
    /// The request does not decode or contradicts itself.
    InvalidRequest = 400 "invalid_request",
    /// The certificate signing request does not verify or asks for another key type.
    CsrInvalid = 400 "csr_invalid",
    /// The text is not a token: mistyped or cut.
    TokenMalformed = 400 "token_malformed",
    /// No certificate where one is needed.
    IdentityMissing = 401 "identity_missing",
    /// A signature or proof of possession does not verify.
    SignatureInvalid = 401 "signature_invalid",
    /// The caller could not prove that it holds a secret of this token.
    TokenUnknown = 401 "token_unknown",
    /// The identity was revoked.
    NodeRevoked = 403 "node_revoked",
    /// The identity is disabled by an operator.
    NodeDisabled = 403 "node_disabled",
    /// The operator's role grants do not allow this.
    RoleDenied = 403 "role_denied",
    /// The caller's address is outside the token's blocks.
    SourceDenied = 403 "source_denied",
    /// The token or document belongs to another cluster.
    WrongCluster = 403 "wrong_cluster",
    /// The certificate is of a kind that does not open this door.
    WrongCertKind = 403 "wrong_cert_kind",
    /// Nothing of that name or id.
    NotFound = 404 "not_found",
    /// Somebody decided already.
    AlreadyDecided = 409 "already_decided",
    /// The record is in a state in which this cannot be done, or changed since it was read.
    ConflictState = 409 "conflict_state",
    /// Two different documents under one version.
    ForkDetected = 409 "fork_detected",
    /// The generation is lower than one already in force.
    GenerationStale = 409 "generation_stale",
    /// The name is taken in this cluster.
    NameTaken = 409 "name_taken",
    /// A nonce that was used for one key comes with another: the identity was cloned.
    IdentityCloned = 409 "identity_cloned",
    /// The token's uses are spent.
    TokenConsumed = 410 "token_consumed",
    /// The token is past its time, or was revoked.
    TokenExpired = 410 "token_expired",
    /// The manifest was used already.
    ManifestConsumed = 410 "manifest_consumed",
    /// Longer than the limit.
    TooLarge = 413 "too_large",
    /// Well formed, and a value is not allowed.
    ValidationFailed = 422 "validation_failed",
    /// The same question too soon.
    RetryInCooldown = 425 "retry_in_cooldown",
    /// More requests than allowed; the reply says when to come back.
    RateLimited = 429 "rate_limited",
    /// A defect here; the log has the whole chain.
    Internal = 500 "internal",
    /// User traffic is not carried in this version.
    PayloadForwardingDisabled = 501 "payload_forwarding_disabled",
    /// Something this controller needs is out of reach, or a bound is reached: come back later.
    Unavailable = 503 "dependency_unavailable",
    /// The controller is behind its fleet, or follows another leader: it answers reads alone.
    ReadOnly = 503 "read_only",
    /// The key-encryption key is missing.
    Sealed = 503 "sealed",
    /// No room on the disk: reads and polls go on.
    StoreFull = 503 "store_full",
}

impl Code {
    /// The code of a string as [`Code::text`] gives it.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.text() == text)
    }
}

/// A refusal as it travels. An older reader shows the text of a code that it does not know.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct WireError {
    #[n(0)]
    pub number: u16,
    #[n(1)]
    pub code: String,
    /// One sentence for people; never a secret, never an address.
    #[n(2)]
    pub message: String,
    #[n(3)]
    pub retry_after_ms: Option<u64>,
}

impl WireError {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            number: code.number(),
            code: code.text().to_owned(),
            message: message.into(),
            retry_after_ms: None,
        }
    }

    /// The code, if this version knows it.
    pub fn known(&self) -> Option<Code> {
        Code::parse(&self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_unique_and_read_back() {
        for code in Code::ALL {
            assert_eq!(Code::parse(code.text()), Some(*code));
            assert!((400..=503).contains(&code.number()), "{code:?}");
        }
    }
}
