//! The audit chain: a record of every change, written in the transaction that makes it.
//!
//! ```text
//! record n = CBOR { seq n, previous = SHA-256(record n-1), at, actor, action, target, outcome, detail }
//! head     = (n, SHA-256(record n)), in a row of its own and in every beacon
//! ```
//!
//! No record holds a secret: people and things appear by id and name.

mod verify;

use std::borrow::Cow;

use minicbor::{Decode, Encode};
use protocol::cbor;
use protocol::document::beacon::Pin;
use protocol::error::Code;
use protocol::id::{
    ClusterId, ControllerId, InstallationId, NodeId, OperatorId, RequestId, RouteId, TokenId,
};
use protocol::key::Digest;
use protocol::limits::TEXT_BYTES;
use protocol::time::Wall;

use crate::store::{Row, Rows, RowsMut, StoreError, Table, Tx, View};

pub use verify::{FirstBad, Progress, Verification, VerifyFailure, Why, verify};

/// What happened, before it has a place in the chain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub actor: Actor,
    /// As whom the host's kernel knows who asked, if it was somebody on this host.
    pub uid: Option<Uid>,
    pub action: Action,
    pub target: Target,
    pub outcome: Outcome,
    /// For people; cut at [`TEXT_BYTES`].
    pub detail: String,
}

/// A link of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct Record {
    /// From 1, without gaps.
    #[n(0)]
    pub seq: u64,
    /// Hash of the record before this one; all zero for the first.
    #[n(1)]
    pub previous: Digest,
    #[n(2)]
    pub at: Wall,
    #[n(3)]
    pub actor: Actor,
    #[n(4)]
    pub action: Action,
    #[n(5)]
    pub target: Target,
    #[n(6)]
    pub outcome: Outcome,
    #[n(7)]
    pub detail: String,
    #[n(8)]
    pub uid: Option<Uid>,
}

impl Record {
    pub fn hash(&self) -> Digest {
        hash_of(&cbor::encode(self))
    }
}

impl Row for Record {
    const TABLE: Table = Table::Audit;

    fn key(&self) -> Vec<u8> {
        self.seq.to_be_bytes().to_vec()
    }
}

/// On whose behalf something was done.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Actor {
    /// Whoever may run the controller's own commands on its host, before there is an owner.
    #[n(0)]
    Local,
    #[n(1)]
    Operator(#[n(0)] OperatorId),
    #[n(2)]
    Node(#[n(0)] NodeId),
    /// A machine at the join door that has no identity yet.
    #[n(3)]
    Joiner,
    /// The controller itself, on its own timer.
    #[n(4)]
    Controller,
}

/// A user of this host, by the number that its kernel has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(transparent)]
pub struct Uid(#[n(0)] pub u32);

/// What something was done to.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Target {
    #[n(0)]
    Installation(#[n(0)] InstallationId),
    #[n(1)]
    Operator(#[n(0)] OperatorId),
    #[n(2)]
    Cluster(#[n(0)] ClusterId),
    #[n(3)]
    Controller(#[n(0)] ControllerId),
    #[n(4)]
    Token(#[n(0)] TokenId),
    #[n(5)]
    Request(#[n(0)] RequestId),
    #[n(6)]
    Node(#[n(0)] NodeId),
    #[n(7)]
    Route(#[n(0)] RouteId),
    /// By its fingerprint.
    #[n(8)]
    Finding(#[n(0)] Digest),
    /// Anything else that has a name, and no secret in it.
    #[n(9)]
    Named(#[n(0)] String),
}

/// What was done, as `noun.verb_in_the_past`. A name is never given a second meaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct Action(#[n(0)] Cow<'static, str>);

impl Action {
    /// An operator asked for something and was refused: the target names what.
    pub const ACTION_REFUSED: Self = Self::named("action.refused");
    /// How a backup ended: its copy was handed over whole, or not.
    pub const BACKUP_ENDED: Self = Self::named("backup.ended");
    /// Written before the copy is made.
    pub const BACKUP_STARTED: Self = Self::named("backup.started");
    pub const CERTIFICATE_RENEWED: Self = Self::named("certificate.renewed");
    pub const CLUSTER_CREATED: Self = Self::named("cluster.created");
    pub const CONTROLLER_CERTIFIED: Self = Self::named("controller.certified");
    pub const FINDING_ACKNOWLEDGED: Self = Self::named("finding.acknowledged");
    pub const FINDING_RAISED: Self = Self::named("finding.raised");
    pub const FINDING_RESOLVED: Self = Self::named("finding.resolved");
    pub const INSTALLATION_ACTIVATED: Self = Self::named("installation.activated");
    pub const INSTALLATION_INITIALISED: Self = Self::named("installation.initialised");
    pub const NODE_DISABLED: Self = Self::named("node.disabled");
    pub const NODE_ENABLED: Self = Self::named("node.enabled");
    pub const NODE_JOINED: Self = Self::named("node.joined");
    pub const NODE_LABELLED: Self = Self::named("node.labelled");
    pub const NODE_LEFT: Self = Self::named("node.left");
    pub const NODE_REVOKED: Self = Self::named("node.revoked");
    pub const OPERATOR_REMOVED: Self = Self::named("operator.removed");
    pub const OPERATOR_RESUMED: Self = Self::named("operator.resumed");
    pub const OPERATOR_SUSPENDED: Self = Self::named("operator.suspended");
    pub const RELAY_DRAINED: Self = Self::named("relay.drained");
    pub const REQUEST_APPROVED: Self = Self::named("request.approved");
    pub const REQUEST_CREATED: Self = Self::named("request.created");
    pub const REQUEST_REJECTED: Self = Self::named("request.rejected");
    pub const REQUEST_WITHDRAWN: Self = Self::named("request.withdrawn");
    pub const REVOCATIONS_PRUNED: Self = Self::named("revocations.pruned");
    pub const ROLE_GRANTED: Self = Self::named("role.granted");
    pub const ROLE_REVOKED: Self = Self::named("role.revoked");
    pub const TOKEN_CONSUMED: Self = Self::named("token.consumed");
    pub const TOKEN_CREATED: Self = Self::named("token.created");
    pub const TOKEN_REVOKED: Self = Self::named("token.revoked");

    pub const fn named(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub enum Outcome {
    #[n(0)]
    Done,
    /// Refused, with the text of the [`Code`].
    #[n(1)]
    Refused(#[n(0)] String),
}

impl Outcome {
    pub fn refused(code: Code) -> Self {
        Self::Refused(code.text().to_owned())
    }
}

/// The end of the chain. Beacons carry it, so that agents are witnesses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cbor(array)]
pub struct Head {
    /// Records in the chain, which is also the last one's sequence number.
    #[n(0)]
    pub count: u64,
    /// Hash of the last record; all zero for an empty chain.
    #[n(1)]
    pub hash: Digest,
}

impl Row for Head {
    const TABLE: Table = Table::AuditHead;

    fn key(&self) -> Vec<u8> {
        HEAD_KEY.to_vec()
    }
}

impl From<Head> for Pin {
    fn from(head: Head) -> Self {
        Self {
            version: head.count,
            hash: head.hash,
        }
    }
}

/// Adds a record to the chain, in this transaction.
pub fn append(tx: &mut dyn Tx, entry: Entry, at: Wall) -> Result<Record, StoreError> {
    let head = head(tx)?;
    let record = Record {
        seq: head.count + 1,
        previous: head.hash,
        at,
        actor: entry.actor,
        action: entry.action,
        target: entry.target,
        outcome: entry.outcome,
        detail: cut(entry.detail),
        uid: entry.uid,
    };
    tx.put(&record)?;
    tx.put(&Head {
        count: record.seq,
        hash: record.hash(),
    })?;

    Ok(record)
}

/// The end of the chain as the store has it.
pub fn head(view: &dyn View) -> Result<Head, StoreError> {
    Ok(view.get(HEAD_KEY)?.unwrap_or_default())
}

/// At most `limit` records after the one numbered `after` (0 for the beginning), in order.
pub fn list(view: &dyn View, after: u64, limit: usize) -> Result<Vec<Record>, StoreError> {
    view.page(&[], Some(&after.to_be_bytes()), limit)
}

fn hash_of(record: &[u8]) -> Digest {
    Digest::of_parts(&[DOMAIN, record])
}

fn cut(mut text: String) -> String {
    let end = (0..=TEXT_BYTES.min(text.len()))
        .rev()
        .find(|end| text.is_char_boundary(*end))
        .unwrap_or(0);
    text.truncate(end);

    text
}

const HEAD_KEY: &[u8] = b"head";
const DOMAIN: &[u8] = b"gabion audit record v1";

#[cfg(test)]
mod tests;
