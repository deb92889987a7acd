//! What usually stands behind a code, and what usually mends it: for replies whose own place knows nothing better.

use protocol::error::Code;

/// What is known once a request was refused with `code`, whatever it asked for.
pub const fn why(code: Code) -> &'static str {
    match code {
        Code::AlreadyDecided => "somebody approved, rejected or withdrew it before this came",
        Code::ConflictState => "the record's state does not admit it, or changed since it was read",
        Code::CsrInvalid => "its signature does not verify, or it asks for a key that is not Ed25519",
        Code::ForkDetected => "two different documents were signed under one version",
        Code::GenerationStale => "something newer of the same kind is in force",
        Code::IdentityCloned => "the same identity was renewed with another key",
        Code::IdentityMissing => "no certificate was shown where one is needed, or it expired too long ago",
        Code::Internal => "something of the controller's own contradicts itself, and its log has the details",
        Code::InvalidRequest => "it does not decode, or has a member that this version does not know",
        Code::ManifestConsumed => "a manifest makes one first owner, once",
        Code::NameTaken => "a name stands for one thing at a time",
        Code::NodeDisabled => "an operator took the node out of the mesh for a while",
        Code::NodeRevoked => "the node was revoked, or has left, and that is for ever",
        Code::NotFound => "neither an id nor a whole name matches",
        Code::PayloadForwardingDisabled => "this version carries no traffic of users",
        Code::RateLimited => "there was too much of the same in too short a time",
        Code::ReadOnly => "the controller takes no writes at the moment",
        Code::RetryInCooldown => "it was tried a moment ago, and nothing has changed",
        Code::RoleDenied => "no valid role grant of the operator allows it",
        Code::Sealed => "the key that opens sealed records is missing, or is another one",
        Code::SignatureInvalid => "a signature or a proof of possession does not verify",
        Code::SourceDenied => "the request came from outside the address blocks of its token",
        Code::StoreFull => "the disk under the controller's store has no room",
        Code::TokenConsumed => "every use of the token is spent",
        Code::TokenExpired => "the token's time is over, or it was revoked",
        Code::TokenMalformed => "its checksum does not fit: it was cut short or mistyped",
        Code::TokenUnknown => "this controller did not make the token, or the secret in it is another one",
        Code::TooLarge => "it is more than one transaction or one frame holds",
        Code::Unavailable => "the controller, or something that it needs, does not answer at the moment",
        Code::ValidationFailed => "a value is outside what is allowed",
        Code::WrongCertKind => "the certificate opens another door",
        Code::WrongCluster => "the document, token or certificate names another cluster or installation",
    }
}

/// A command, or what to do where no command helps.
pub const fn fix(code: Code) -> &'static str {
    match code {
        Code::AlreadyDecided => "gabion request list",
        Code::ConflictState => "gabion status    (shows what state things are in)",
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
        Code::NotFound => "gabion status    (shows which clusters there are)",
        Code::PayloadForwardingDisabled => "gabion version    (a later one may)",
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
        Code::ValidationFailed => "gabion --help    (--help of a command says what it takes)",
        Code::WrongCertKind => "gabion inspect FILE    (says what the certificate is for)",
        Code::WrongCluster => "gabion inspect FILE    (says which cluster it is for)",
    }
}
