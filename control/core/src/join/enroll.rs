//! Spending a token: every check, in an order that tells a token's state only to who holds its secret.

use protocol::certificate::{InvalidCsr, parse_csr};
use protocol::document::join::{ApprovalMode, JoinClaims};
use protocol::envelope::{Envelope, Expected, Subject};
use protocol::error::Code;
use protocol::id::RequestId;
use protocol::key::{Digest, SealKey, SealSecret, VerifyKey};
use protocol::limits::TEXT_BYTES;
use protocol::net::Address;
use protocol::node::Name;
use protocol::wire::{Enroll, HostFacts, JoinReply};

use crate::audit::{Action, Target};
use crate::authority::{self, AuthorityState};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::names::{self, NameHolder};
use crate::node;
use crate::store::{Rows, RowsMut, StoreError, View};
use crate::token::{self, JoinTokenRow, TokenState};

use super::decide::admit;
use super::status::{StatusError, standing};
use super::{JoinCaller, JoinRequestRow, RequestByKeyRow, RequestState, by_key, get};

/// How an enrolment stands after a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrolled {
    pub request: RequestId,
    /// Whether this very call made the request and spent a use.
    pub created: bool,
    pub reply: JoinReply,
}

/// Makes a request with a token, or finds the one that this key has made with it before.
pub fn enroll(desk: &mut Desk<'_>, caller: &JoinCaller, enroll: &Enroll) -> Result<Enrolled, EnrollError> {
    let (mut token, claims) = authenticate(desk.tx, enroll)?;
    let proven = prove(caller, enroll);
    if let Ok(key) = &proven
        && let Some(row) = earlier(desk.tx, &token, key)?
    {
        check_door(caller, &claims)?;
        return answer(desk, &row, false);
    }
    check_state(desk.tx, &token, enroll, desk.now.wall)?;
    check_door(caller, &claims)?;
    let key = proven?;
    let name = check_form(desk, enroll)?;
    check_name(desk, caller, &name)?;

    token.used += 1;
    desk.tx.put(&token)?;
    let mut row = JoinRequestRow {
        cluster: token.cluster,
        id: RequestId::random(desk.rng),
        token: token.id,
        key,
        seal_key: enroll.seal_key,
        name,
        facts: enroll.facts.clone(),
        source: Address(caller.source),
        roles: claims.roles,
        labels: claims.labels,
        approval: claims.approval,
        decided: RequestState::Pending,
        created_at: desk.now.wall,
        decided_at: None,
        decided_by: None,
        reason: None,
        node: None,
        contract: None,
    };
    enter(desk, &row)?;
    if row.approval == ApprovalMode::Auto {
        admit(desk, &mut row, "by the token")?;
    }

    answer(desk, &row, true)
}

fn enter(desk: &mut Desk<'_>, row: &JoinRequestRow) -> Result<(), StoreError> {
    desk.tx.put(row)?;
    desk.tx.put(&RequestByKeyRow {
        token: row.token,
        key: row.key,
        cluster: row.cluster,
        request: row.id,
    })?;
    names::give(desk.tx, row.cluster, &row.name, NameHolder::Request(row.id))?;
    desk.record(
        Action::TOKEN_CONSUMED,
        Target::Token(row.token),
        format!("by request {}", row.id),
    )?;

    desk.record(
        Action::REQUEST_CREATED,
        Target::Request(row.id),
        format!("{} with key {}", row.name, row.fingerprint()),
    )
}

/// Finds the token that the caller holds the secret of. Everybody else learns that there is none.
fn authenticate(view: &dyn View, enroll: &Enroll) -> Result<(JoinTokenRow, JoinClaims), EnrollError> {
    let unknown = |_| EnrollError::TokenUnknown;
    let envelope = Envelope::parse(&enroll.claims).map_err(unknown)?;
    let claimed: JoinClaims = envelope.claimed_body().map_err(unknown)?;
    let row = token::get(view, claimed.cluster, claimed.token)?.ok_or(EnrollError::TokenUnknown)?;
    if !enroll.secret.matches(&row.secret_hash) {
        return Err(EnrollError::TokenUnknown);
    }
    let epoch = envelope.claimed().epoch;
    let signer = authority::of_epoch(view, row.cluster, epoch)?
        .filter(|authority| authority.state != AuthorityState::Revoked)
        .ok_or(EnrollError::ClaimsForged)?;
    let expected = Expected {
        realm: row.cluster.into(),
        subject: Subject::All,
    };
    let claims = envelope.open::<JoinClaims>(&expected, &signer.key);
    match claims {
        Ok(opened) if row.claims == enroll.claims => Ok((row, opened.body)),
        Ok(_) | Err(_) => Err(EnrollError::ClaimsForged),
    }
}

/// The key that the caller holds: it signed the request, and this connection.
fn prove(caller: &JoinCaller, enroll: &Enroll) -> Result<VerifyKey, EnrollError> {
    let key = parse_csr(&enroll.csr)?;
    let about = Digest::of(&enroll.csr);
    match enroll.proof.is_by(&key, &caller.exported, about.as_bytes()) {
        true => Ok(key),
        false => Err(EnrollError::ProofInvalid),
    }
}

fn earlier(
    view: &dyn View,
    token: &JoinTokenRow,
    key: &VerifyKey,
) -> Result<Option<JoinRequestRow>, EnrollError> {
    let Some(found) = view.get::<RequestByKeyRow>(&by_key(token.id, key))? else {
        return Ok(None);
    };
    let row = get(view, found.cluster, found.request)?;

    Ok(Some(row.ok_or(Failure::Inconsistent(
        "a request that is known by its key is missing",
    ))?))
}

fn check_state(
    view: &dyn View,
    token: &JoinTokenRow,
    enroll: &Enroll,
    now: protocol::time::Wall,
) -> Result<(), EnrollError> {
    match token.state(now) {
        TokenState::Active => Ok(()),
        TokenState::Exhausted => match is_namesake(view, token, &enroll.name)? {
            true => Err(EnrollError::TokenSpentByOtherKey),
            false => Err(EnrollError::TokenConsumed),
        },
        TokenState::Expired => Err(EnrollError::TokenExpired),
        TokenState::Revoked => Err(EnrollError::TokenRevoked),
    }
}

/// Whether this very token was spent under the name that is asked for: most likely by the same host, before it lost
/// its keys.
fn is_namesake(view: &dyn View, token: &JoinTokenRow, name: &str) -> Result<bool, EnrollError> {
    let Ok(name) = name.parse() else {
        return Ok(false);
    };
    let request = match names::holder(view, token.cluster, &name)? {
        None => None,
        Some(NameHolder::Node(id)) => node::get(view, token.cluster, id)?.map(|node| node.request),
        Some(NameHolder::Request(id)) => Some(id),
    };
    let row = match request {
        Some(id) => get(view, token.cluster, id)?,
        None => None,
    };

    Ok(row.is_some_and(|row| row.token == token.id))
}

/// Whether the token is for the cluster that was dialled, and from where it was dialled.
fn check_door(caller: &JoinCaller, claims: &JoinClaims) -> Result<(), EnrollError> {
    if claims.cluster != caller.cluster {
        return Err(EnrollError::WrongCluster);
    }
    let from = caller.source.ip();
    let refused = !claims.sources.is_empty() && !claims.sources.iter().any(|block| block.contains(from));
    match refused {
        true => Err(EnrollError::SourceDenied),
        false => Ok(()),
    }
}

fn check_form(desk: &mut Desk<'_>, enroll: &Enroll) -> Result<Name, EnrollError> {
    let name = enroll.name.parse().map_err(|_| EnrollError::InvalidName)?;
    if !are_short(&enroll.facts) {
        return Err(EnrollError::FactsTooLong);
    }
    match can_be_sealed_to(desk, &enroll.seal_key) {
        true => Ok(name),
        false => Err(EnrollError::InvalidSealKey),
    }
}

fn are_short(facts: &HostFacts) -> bool {
    [&facts.hostname, &facts.os, &facts.agent_version]
        .iter()
        .all(|text| text.len() <= TEXT_BYTES && !text.chars().any(char::is_control))
}

/// A point of small order shows only when a secret is to be agreed on with it.
pub(crate) fn can_be_sealed_to(desk: &mut Desk<'_>, key: &SealKey) -> bool {
    SealSecret::generate(desk.rng).agree(key).is_ok()
}

fn check_name(desk: &Desk<'_>, caller: &JoinCaller, name: &Name) -> Result<(), EnrollError> {
    match is_taken(desk, caller.cluster, name)? {
        true => Err(EnrollError::NameTaken),
        false => Ok(()),
    }
}

/// A request that nobody decided in time no longer holds its name.
pub(super) fn is_taken(
    desk: &Desk<'_>,
    cluster: protocol::id::ClusterId,
    name: &Name,
) -> Result<bool, StoreError> {
    match names::holder(desk.tx, cluster, name)? {
        None => Ok(false),
        Some(NameHolder::Node(_)) => Ok(true),
        Some(NameHolder::Request(id)) => {
            let row = get(desk.tx, cluster, id)?;

            Ok(row.is_some_and(|row| row.state(desk.now.wall) != RequestState::Expired))
        }
    }
}

fn answer(desk: &Desk<'_>, row: &JoinRequestRow, created: bool) -> Result<Enrolled, EnrollError> {
    let reply = standing(desk.tx, row, desk.now.wall).map_err(|error| match error {
        StatusError::Failure(failure) => EnrollError::Failure(failure),
        StatusError::Revoked => EnrollError::Revoked,
        StatusError::NotPending | StatusError::Unknown => {
            EnrollError::Failure(Failure::Inconsistent("a request that was just read is gone"))
        }
    })?;

    Ok(Enrolled {
        request: row.id,
        created,
        reply,
    })
}

#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// The secret is right and the claims are not those that were signed with it.
    #[error("the claims of the join token are not the ones that were signed")]
    ClaimsForged,
    /// The certificate request does not verify, or is of another algorithm.
    #[error("the certificate request is refused")]
    CsrInvalid(#[from] InvalidCsr),
    /// A host fact is longer than [`TEXT_BYTES`] or holds control characters.
    #[error("a host fact is too long or not printable")]
    FactsTooLong,
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The name asked for is none.
    #[error("the name is not valid: 1 to 63 characters of a-z, 0-9, '-', '_' and '.'")]
    InvalidName,
    /// Nothing can be sealed to the X25519 key.
    #[error("the sealing key is not usable")]
    InvalidSealKey,
    /// A node, or a request that is not decided, has this name. No use is spent.
    #[error("the name is taken in this cluster")]
    NameTaken,
    /// The caller does not hold the key of its certificate request.
    #[error("the proof of possession does not verify")]
    ProofInvalid,
    /// The node that came of this request was revoked.
    #[error("the node was revoked")]
    Revoked,
    /// The caller's address is outside the token's blocks.
    #[error("the join token does not allow this source address")]
    SourceDenied,
    /// Every use was spent, by other keys.
    #[error("the join token is used up")]
    TokenConsumed,
    /// Every use was spent, and one of them for a host of this name, by a key that is not the caller's.
    #[error("the join token was spent for a host of this name by another key")]
    TokenSpentByOtherKey,
    /// The token is past its time.
    #[error("the join token has expired")]
    TokenExpired,
    /// An operator has revoked the token.
    #[error("the join token was revoked")]
    TokenRevoked,
    /// No token has this id, or the secret is not its secret: the caller cannot find out which.
    #[error("the join token is not known here")]
    TokenUnknown,
    /// The token is for another cluster than the one that was dialled.
    #[error("the join token is for another cluster")]
    WrongCluster,
}

impl EnrollError {
    pub const fn code(&self) -> Code {
        match self {
            Self::ClaimsForged | Self::ProofInvalid => Code::SignatureInvalid,
            Self::CsrInvalid(_) => Code::CsrInvalid,
            Self::FactsTooLong | Self::InvalidName | Self::InvalidSealKey => Code::ValidationFailed,
            Self::Failure(failure) => failure.code(),
            Self::NameTaken => Code::NameTaken,
            Self::Revoked => Code::NodeRevoked,
            Self::SourceDenied => Code::SourceDenied,
            Self::TokenConsumed | Self::TokenSpentByOtherKey => Code::TokenConsumed,
            Self::TokenExpired | Self::TokenRevoked => Code::TokenExpired,
            Self::TokenUnknown => Code::TokenUnknown,
            Self::WrongCluster => Code::WrongCluster,
        }
    }
}

fails!(EnrollError);
