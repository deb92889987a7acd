//! The join door: from a token to a node.
//!
//! ```text
//! enroll ──► pending ──► approved ──► bootstrapped (the node was heard)
//!               ├──► rejected
//!               ├──► withdrawn
//!               └──► expired (nobody decided within 7 days)
//! ```
//!
//! A use of the token is spent in the transaction that makes the request. The same key with the same token is the
//! same request, however often it asks. Nothing is told to a caller that does not prove its key over this very
//! connection: the proof of [`Enroll`](protocol::wire::Enroll) is over SHA-256 of the CSR, that of a question about
//! a request over the request's 16 bytes.

mod decide;
mod enroll;
mod status;

use std::net::SocketAddr;
use std::time::Duration;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::document::join::ApprovalMode;
use protocol::id::{ClusterId, NodeId, RequestId, TokenId};
use protocol::key::{Fingerprint, SealKey, VerifyKey};
use protocol::net::Address;
use protocol::node::{Labels, Name, NodeRole};
use protocol::time::Wall;
use protocol::wire::HostFacts;

use crate::audit::Actor;
use crate::store::{Row, Rows, StoreError, Table, View};

pub use decide::{DecideError, approve, reject};
pub(crate) use enroll::can_be_sealed_to;
pub use enroll::{EnrollError, Enrolled, enroll};
pub use status::{StatusError, standing, status, withdraw};

/// What the shell knows of a caller at the join door.
#[derive(Clone, Copy, Debug)]
pub struct JoinCaller {
    /// The cluster whose server name was dialled.
    pub cluster: ClusterId,
    /// 32 bytes of this connection's exporter under [`protocol::wire::Proof::EXPORTER_LABEL`].
    pub exported: [u8; 32],
    pub source: SocketAddr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum RequestState {
    #[n(1)]
    Pending,
    #[n(2)]
    Approved,
    /// The node was heard.
    #[n(3)]
    Bootstrapped,
    #[n(4)]
    Rejected,
    #[n(5)]
    Withdrawn,
    /// Never stored: what [`JoinRequestRow::state`] makes of a request that was pending for too long.
    #[n(6)]
    Expired,
}

impl RequestState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Bootstrapped => "bootstrapped",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::Expired => "expired",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JoinRequestRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub id: RequestId,
    #[n(2)]
    pub token: TokenId,
    #[n(3)]
    pub key: VerifyKey,
    #[n(4)]
    pub seal_key: SealKey,
    /// The name asked for; an approver may give another.
    #[n(5)]
    pub name: Name,
    #[n(6)]
    pub facts: HostFacts,
    /// Where the request came from, for the approver.
    #[n(7)]
    pub source: Address,
    /// From the token.
    #[n(8)]
    pub roles: Vec<NodeRole>,
    /// From the token.
    #[n(9)]
    pub labels: Labels,
    #[n(10)]
    pub approval: ApprovalMode,
    /// As decided; see [`state`](Self::state).
    #[n(11)]
    pub decided: RequestState,
    #[n(12)]
    pub created_at: Wall,
    #[n(13)]
    pub decided_at: Option<Wall>,
    #[n(14)]
    pub decided_by: Option<Actor>,
    /// Why it was rejected, for the joiner's operator.
    #[n(15)]
    pub reason: Option<String>,
    #[n(16)]
    pub node: Option<NodeId>,
    /// The join contract, sealed to `seal_key`: the same bytes for every question.
    #[n(17)]
    pub contract: Option<ByteVec>,
}

impl JoinRequestRow {
    pub fn state(&self, now: Wall) -> RequestState {
        let waited = now.since(self.created_at) >= PENDING_LIFE;
        match self.decided {
            RequestState::Pending if waited => RequestState::Expired,
            RequestState::Pending
            | RequestState::Approved
            | RequestState::Bootstrapped
            | RequestState::Rejected
            | RequestState::Withdrawn
            | RequestState::Expired => self.decided,
        }
    }

    /// What an approver compares with what the host shows.
    pub fn fingerprint(&self) -> Fingerprint {
        self.key.fingerprint()
    }
}

impl Row for JoinRequestRow {
    const TABLE: Table = Table::JoinRequests;

    fn key(&self) -> Vec<u8> {
        key(self.cluster, self.id)
    }
}

/// Finds the request that a key has made with a token.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RequestByKeyRow {
    #[n(0)]
    pub token: TokenId,
    #[n(1)]
    pub key: VerifyKey,
    #[n(2)]
    pub cluster: ClusterId,
    #[n(3)]
    pub request: RequestId,
}

impl Row for RequestByKeyRow {
    const TABLE: Table = Table::JoinRequestsByKey;

    fn key(&self) -> Vec<u8> {
        by_key(self.token, &self.key)
    }
}

pub fn get(view: &dyn View, cluster: ClusterId, id: RequestId) -> Result<Option<JoinRequestRow>, StoreError> {
    view.get(&key(cluster, id))
}

/// Every request of a cluster, decided ones included.
pub fn list(view: &dyn View, cluster: ClusterId) -> Result<Vec<JoinRequestRow>, StoreError> {
    view.scan(cluster.as_bytes())
}

fn key(cluster: ClusterId, id: RequestId) -> Vec<u8> {
    [cluster.as_bytes().as_slice(), id.as_bytes()].concat()
}

fn by_key(token: TokenId, key: &VerifyKey) -> Vec<u8> {
    [token.as_bytes().as_slice(), key.as_bytes()].concat()
}

/// How long a request waits for somebody to decide: as long as the longest token.
pub const PENDING_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// When a pending joiner may ask again. One question costs a signature check.
pub const POLL_AFTER: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
