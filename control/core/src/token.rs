//! Join tokens: what they allow is signed, what they prove is a secret of which only the hash is kept.
//!
//! ```text
//! active ──► exhausted | expired | revoked        rows are never deleted: a used token is told from an unknown one
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::document::join::{ApprovalMode, JoinClaims};
use protocol::envelope;
use protocol::error::Code;
use protocol::id::{ClusterId, TokenId};
use protocol::key::Digest;
use protocol::net::Cidr;
use protocol::node::{Labels, NodeRole};
use protocol::time::Wall;
use protocol::token::{self, ClaimsTooLong, JoinToken, TokenSecret};
use zeroize::Zeroizing;

use crate::audit::{Action, Actor, Target};
use crate::authority::{self, AuthorityError};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::issuing;
use crate::store::{Row, Rows, RowsMut, StoreError, Table, View};

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct JoinTokenRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub id: TokenId,
    /// [`TokenSecret::hash`].
    #[n(2)]
    pub secret_hash: Digest,
    /// The signed claims, as they are in the token.
    #[n(3)]
    pub claims: ByteVec,
    #[n(4)]
    pub max_uses: u32,
    #[n(5)]
    pub used: u32,
    #[n(6)]
    pub approval: ApprovalMode,
    #[n(7)]
    pub roles: Vec<NodeRole>,
    #[n(8)]
    pub labels: Labels,
    #[n(9)]
    pub created_at: Wall,
    #[n(10)]
    pub created_by: Actor,
    #[n(11)]
    pub expires: Wall,
    #[n(12)]
    pub revoked_at: Option<Wall>,
}

impl JoinTokenRow {
    pub fn state(&self, now: Wall) -> TokenState {
        if self.revoked_at.is_some() {
            TokenState::Revoked
        } else if self.used >= self.max_uses {
            TokenState::Exhausted
        } else if self.expires <= now {
            TokenState::Expired
        } else {
            TokenState::Active
        }
    }
}

impl Row for JoinTokenRow {
    const TABLE: Table = Table::JoinTokens;

    fn key(&self) -> Vec<u8> {
        key(self.cluster, self.id)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenState {
    Active,
    Exhausted,
    Expired,
    Revoked,
}

impl TokenState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Exhausted => "exhausted",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }
}

/// What a new token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Roles of the nodes that join with it; none means member.
    pub roles: BTreeSet<NodeRole>,
    pub labels: Labels,
    /// 1 to [`MAX_USES`].
    pub max_uses: u32,
    /// At most [`MAX_LIFE`].
    pub life: Duration,
    pub approval: ApprovalMode,
    /// Blocks outside of which the token is refused; none refuses nobody. At most [`MAX_SOURCES`].
    pub sources: Vec<Cidr>,
    /// `host:port` of controllers; none means those on record.
    pub controllers: Vec<String>,
}

impl Default for NewToken {
    fn default() -> Self {
        Self {
            roles: BTreeSet::new(),
            labels: Labels::default(),
            max_uses: 1,
            life: DEFAULT_LIFE,
            approval: ApprovalMode::Manual,
            sources: Vec::new(),
            controllers: Vec::new(),
        }
    }
}

/// A token that was just made.
#[derive(Debug)]
pub struct CreatedToken {
    pub row: JoinTokenRow,
    /// Its only copy: shown once, kept nowhere.
    pub token: JoinToken,
}

impl CreatedToken {
    /// The text for the machine that is to join.
    pub fn reveal(&self) -> Zeroizing<String> {
        self.token.reveal()
    }
}

/// Makes a token, signed by the cluster's authority.
pub fn create(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    new: NewToken,
) -> Result<CreatedToken, CreateTokenError> {
    check(&new)?;
    let authority = authority::open(desk.tx, desk.signer, cluster)?;
    let claims = JoinClaims {
        token: TokenId::random(desk.rng),
        cluster,
        authority: authority.key.verify_key().fingerprint(),
        controllers: controllers(desk.tx, cluster, new.controllers)?,
        roles: roles(new.roles),
        labels: new.labels,
        max_uses: new.max_uses,
        expires: desk.now.wall.after(new.life),
        approval: new.approval,
        sources: new.sources,
    };
    let stamp = token::stamp(&claims, authority.epoch, desk.now.wall);
    let signed = envelope::seal(&stamp, &claims, &[authority.key.as_ref()]);
    let secret = TokenSecret::generate(desk.rng);
    let row = JoinTokenRow {
        cluster,
        id: claims.token,
        secret_hash: secret.hash(),
        claims: signed.clone().into(),
        max_uses: claims.max_uses,
        used: 0,
        approval: claims.approval,
        roles: claims.roles,
        labels: claims.labels,
        created_at: desk.now.wall,
        created_by: desk.actor.clone(),
        expires: claims.expires,
        revoked_at: None,
    };
    let token = JoinToken::new(signed, secret)?;
    desk.tx.put(&row)?;
    desk.record(
        Action::TOKEN_CREATED,
        Target::Token(row.id),
        format!(
            "{} uses, approval {}",
            row.max_uses,
            match row.approval {
                ApprovalMode::Manual => "manual",
                ApprovalMode::Auto => "auto",
            }
        ),
    )?;

    Ok(CreatedToken { row, token })
}

/// Ends a token. Requests that were made with it stay. Repeating it changes nothing.
pub fn revoke(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    id: TokenId,
) -> Result<JoinTokenRow, RevokeTokenError> {
    let mut row = get(desk.tx, cluster, id)?.ok_or(RevokeTokenError::Unknown)?;
    if row.revoked_at.is_none() {
        row.revoked_at = Some(desk.now.wall);
        desk.tx.put(&row)?;
        desk.record(Action::TOKEN_REVOKED, Target::Token(id), "")?;
    }

    Ok(row)
}

pub fn get(view: &dyn View, cluster: ClusterId, id: TokenId) -> Result<Option<JoinTokenRow>, StoreError> {
    view.get(&key(cluster, id))
}

/// Every token of a cluster, ended ones included.
pub fn list(view: &dyn View, cluster: ClusterId) -> Result<Vec<JoinTokenRow>, StoreError> {
    view.scan(cluster.as_bytes())
}

fn check(new: &NewToken) -> Result<(), CreateTokenError> {
    if new.life.is_zero() || new.life > MAX_LIFE {
        return Err(CreateTokenError::LifeOutOfRange);
    }
    if !(1..=MAX_USES).contains(&new.max_uses) {
        return Err(CreateTokenError::UsesOutOfRange);
    }
    match new.sources.len() > MAX_SOURCES {
        true => Err(CreateTokenError::TooManySources),
        false => Ok(()),
    }
}

fn roles(asked: BTreeSet<NodeRole>) -> Vec<NodeRole> {
    match asked.is_empty() {
        true => vec![NodeRole::Member],
        false => asked.into_iter().collect(),
    }
}

fn controllers(
    view: &dyn View,
    cluster: ClusterId,
    asked: Vec<String>,
) -> Result<Vec<String>, CreateTokenError> {
    if !asked.iter().all(|text| issuing::is_endpoint(text)) {
        return Err(CreateTokenError::InvalidController);
    }
    let addresses = match asked.is_empty() {
        true => issuing::controllers(view, cluster)?
            .into_iter()
            .flat_map(|controller| controller.endpoints)
            .collect(),
        false => asked,
    };
    match addresses.is_empty() {
        true => Err(CreateTokenError::NoController),
        false => Ok(addresses),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum CreateTokenError {
    /// The cluster does not exist, or its authority cannot sign.
    #[error("the cluster's authority cannot sign a token")]
    Authority(#[from] AuthorityError),
    /// Labels, blocks and addresses together are too long.
    #[error("the token would be too long")]
    ClaimsTooLong(#[from] ClaimsTooLong),
    #[error(transparent)]
    Failure(#[from] Failure),
    /// An address is not `host:port`.
    #[error("a controller address has the form host:port")]
    InvalidController,
    /// Zero, or longer than [`MAX_LIFE`].
    #[error("a join token lives for more than nothing and at most 7 days")]
    LifeOutOfRange,
    /// No address was given and no controller of the cluster is on record.
    #[error("the token would name no controller")]
    NoController,
    /// More than [`MAX_SOURCES`] blocks.
    #[error("a join token names at most {MAX_SOURCES} blocks of addresses")]
    TooManySources,
    /// Zero, or more than [`MAX_USES`].
    #[error("a join token has 1 to {MAX_USES} uses")]
    UsesOutOfRange,
}

impl CreateTokenError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Authority(error) => error.code(),
            Self::ClaimsTooLong(_)
            | Self::InvalidController
            | Self::LifeOutOfRange
            | Self::NoController
            | Self::TooManySources
            | Self::UsesOutOfRange => Code::ValidationFailed,
            Self::Failure(failure) => failure.code(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum RevokeTokenError {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The cluster has no token of this id.
    #[error("no such token")]
    Unknown,
}

impl RevokeTokenError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::Unknown => Code::NotFound,
        }
    }
}

fails!(CreateTokenError, RevokeTokenError);

fn key(cluster: ClusterId, id: TokenId) -> Vec<u8> {
    [cluster.as_bytes().as_slice(), id.as_bytes()].concat()
}

/// What a token lives if nobody says otherwise (REQUIREMENTS 5.20).
pub const DEFAULT_LIFE: Duration = Duration::from_secs(60 * 60);
/// The longest life of a token (REQUIREMENTS 5.20).
pub const MAX_LIFE: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// Uses of one token: the largest fleet that is enrolled by one image.
pub const MAX_USES: u32 = 10_000;
/// Blocks in one token: a few sites in two families.
pub const MAX_SOURCES: usize = 16;

#[cfg(test)]
mod tests;
