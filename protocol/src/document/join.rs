//! How a machine becomes a node: what a join token says, and the contract that answers it.

use minicbor::{Decode, Encode};

use crate::document::config::ControllerAddress;
use crate::envelope::{Document, Kind};
use crate::id::{ClusterId, NodeId, RequestId, TokenId};
use crate::key::{Fingerprint, VerifyKey};
use crate::net::Cidr;
use crate::node::{Labels, NodeRole};
use crate::time::Wall;

/// The claims of a join token, signed by the cluster authority. The secret travels beside them, never inside.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JoinClaims {
    #[n(0)]
    pub token: TokenId,
    #[n(1)]
    pub cluster: ClusterId,
    /// SHA-256 over the SubjectPublicKeyInfo of the authority: what the joiner pins before it sends anything.
    #[n(2)]
    pub authority: Fingerprint,
    /// `host:port` of the controllers.
    #[n(3)]
    pub controllers: Vec<String>,
    #[n(4)]
    pub roles: Vec<NodeRole>,
    #[n(5)]
    pub labels: Labels,
    #[n(6)]
    pub max_uses: u32,
    #[n(7)]
    pub expires: Wall,
    #[n(8)]
    pub approval: ApprovalMode,
    /// Can only refuse; a source address never authorises.
    #[n(9)]
    pub sources: Vec<Cidr>,
}

impl Document for JoinClaims {
    const KIND: Kind = Kind::JoinToken;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum ApprovalMode {
    #[default]
    #[n(1)]
    Manual,
    #[n(2)]
    Auto,
}

/// What a node is given when it is approved. Signed by the authority, sealed to the node's X25519 key.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JoinContract {
    #[n(0)]
    pub request: RequestId,
    #[n(1)]
    pub node: NodeId,
    #[n(2)]
    pub name: String,
    #[n(3)]
    pub roles: Vec<NodeRole>,
    #[n(4)]
    pub labels: Labels,
    #[n(5)]
    pub generation: u64,
    /// The node's leaf certificate, DER.
    #[n(6)]
    pub certificate: minicbor::bytes::ByteVec,
    /// The key this contract binds: the one the request proved.
    #[n(7)]
    pub key: VerifyKey,
    #[n(8)]
    pub authority: VerifyKey,
    #[n(9)]
    pub controllers: Vec<ControllerAddress>,
}

impl Document for JoinContract {
    const KIND: Kind = Kind::JoinContract;
}
