//! What the host tells the machine besides time.

use protocol::error::Code;
use rustls_pki_types::CertificateDer;

/// What a server showed in a finished TLS handshake. The host has checked possession of the leaf's key; with a
/// non-empty trust list it has also checked the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerLeaf {
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// A request that got no reply: its deadline passed, or its stream was reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    Deadline,
    /// The other side broke the stream off, or sent more than [`protocol::limits::FRAME_BYTES`].
    Stream,
}

/// How a connection, or the attempt at one, ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disconnected {
    /// The other side closed it, with its code if it gave one that this version knows.
    Closed(Option<Code>),
    /// The TLS handshake failed: another CA, an expired or unknown certificate, no common protocol.
    Handshake,
    /// It was up, and then nothing came for the idle time.
    Silent,
    /// The name did not resolve, or nothing answered within the handshake's limit.
    Unreachable,
}

/// A write that did not become durable. Nothing may be concluded about the files it named but that each has either
/// its old or its new content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteFailed {
    /// No space, no quota, no inodes.
    Full,
    /// Anything else: read-only, input/output error.
    Io,
}
