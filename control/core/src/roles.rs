//! Who may do what. A role is a signed document, never a column: each question is answered from the documents anew.
//!
//! ```text
//! product root ──► first owner (by the activation manifest) ──► owner ──► owner ...
//!       │                  │                                      │
//!       └── any role       └── any role                           └── any role
//! ```
//!
//! Of several grants of one role to one operator the highest version counts, and one whose `valid_until` is over
//! takes the role away. A role whose newest recorded grant is not in the store any more has no effect at all: which of the
//! two it was is not known. Whether somebody owns the installation is decided by who is nearest to the root, so that no
//! owner can take away the rights of those above. All other roles any owner may give and take.

mod floor;
mod seals;
mod standing;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::cbor;
use protocol::document::authority::{Role, RoleGrant};
use protocol::envelope::{Envelope, OpenError};
use protocol::error::Code;
use protocol::id::{ClusterId, OperatorId};
use protocol::key::Digest;
use protocol::time::Wall;

use crate::audit::{Action, Target};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::finding::{self, Finding, FindingKind, Severity};
use crate::installation::{self, InstallationState, open_code};
use crate::operator::{self, OperatorError};
use crate::store::{Row, RowsMut, StoreError, Table, View};

pub use floor::{RoleFloorRow, restore_floors};
pub use seals::Seals;
pub use standing::{Fault, FaultReason, Grant, GrantSigner, GrantState, Standings};

/// A grant as it was signed, with columns that are for looking up only.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoleGrantRow {
    #[n(0)]
    pub operator: OperatorId,
    /// One cluster, or every one.
    #[n(1)]
    pub cluster: Option<ClusterId>,
    #[n(2)]
    pub role: Role,
    #[n(3)]
    pub version: u64,
    #[n(4)]
    pub document: Digest,
    /// The signed document: a role grant, or the activation manifest.
    #[n(5)]
    pub bytes: ByteVec,
    #[n(6)]
    pub recorded_at: Wall,
}

impl Row for RoleGrantRow {
    const TABLE: Table = Table::RoleGrants;

    fn key(&self) -> Vec<u8> {
        let cluster = self.cluster.map(|id| *id.as_bytes()).unwrap_or_default();

        [
            self.operator.as_bytes().as_slice(),
            &cluster,
            &cbor::encode(&self.role),
            &self.version.to_be_bytes(),
        ]
        .concat()
    }
}

/// Records a signed role grant, or the one that takes a role away (its `valid_until` is over). It must be signed by
/// the product root or by an owner of the whole installation, and be newer than what it replaces.
pub fn record(desk: &mut Desk<'_>, document: &[u8]) -> Result<Grant, GrantError> {
    let installation = installation::find(desk.tx)?
        .filter(|row| row.state == InstallationState::Activated)
        .ok_or(GrantError::NotActivated)?;
    let seals = Seals::default();
    let before = Standings::read(desk.tx, &seals, desk.now.wall)?;
    let envelope = Envelope::parse(document)?;
    let opened = before
        .open::<RoleGrant>(&envelope, &installation)
        .map_err(GrantError::Open)?;
    let right = (opened.body.operator, opened.body.cluster, opened.body.role);
    let recorded = floor::get(desk.tx, right)?.map(|floor| floor.version);
    let newest = before.newest_version(right).max(recorded);
    if newest.is_some_and(|newest| opened.header.version <= newest) {
        return Err(GrantError::Outdated);
    }
    operator::enter(desk, opened.body.operator, &opened.body.name, opened.body.key)?;
    let row = RoleGrantRow {
        operator: opened.body.operator,
        cluster: opened.body.cluster,
        role: opened.body.role,
        version: opened.header.version,
        document: opened.hash,
        bytes: ByteVec::from(document.to_vec()),
        recorded_at: desk.now.wall,
    };
    let floor = RoleFloorRow::of(&row);
    desk.tx.put(&row)?;
    desk.tx.put(&floor)?;
    let after = Standings::read(desk.tx, &seals, desk.now.wall)?;
    if after.has_no_owner() {
        return Err(GrantError::LastOwner);
    }
    let grant = after.grant(&row).cloned().ok_or(GrantError::NotYours)?;
    let action = match grant.state {
        GrantState::InForce => Action::ROLE_GRANTED,
        GrantState::Ended => Action::ROLE_REVOKED,
        GrantState::Overruled | GrantState::Superseded => return Err(GrantError::NotYours),
    };
    desk.record(action, Target::Operator(row.operator), floor.detail())?;

    Ok(grant)
}

/// The roles of an operator in a cluster, or in the whole installation if there is none. Only what verifies counts.
pub fn effective_roles(
    view: &dyn View,
    seals: &Seals,
    operator: OperatorId,
    cluster: Option<ClusterId>,
    now: Wall,
) -> Result<std::collections::BTreeSet<Role>, StoreError> {
    Ok(Standings::read(view, seals, now)?.roles(operator, cluster))
}

/// Every grant whose signature verifies, with its state.
pub fn list(view: &dyn View, seals: &Seals, now: Wall) -> Result<Vec<Grant>, StoreError> {
    Ok(Standings::read(view, seals, now)?.grants().to_vec())
}

/// The rows that have no effect because no valid signature stands for what they say, and the roles that have none
/// because their newest grant is gone.
pub fn role_findings(view: &dyn View, seals: &Seals, now: Wall) -> Result<Vec<Finding>, StoreError> {
    let standings = Standings::read(view, seals, now)?;
    let findings = standings.faults().iter().map(|fault| Finding {
        kind: match fault.why {
            FaultReason::Missing => FindingKind::ROLE_MISSING,
            FaultReason::ColumnsDiffer | FaultReason::Malformed | FaultReason::NotSigned => {
                FindingKind::ROLE_UNSIGNED
            }
        },
        severity: Severity::Critical,
        cluster: None,
        subject: format!("{}/{}", fault.operator, fault.role.name()),
        text: format!("the role {} is without effect: {}", fault.role.name(), fault.why),
    });

    Ok(findings.collect())
}

/// Raises what [`role_findings`] finds. Returns how many are new.
pub fn raise_findings(desk: &mut Desk<'_>, seals: &Seals) -> Result<usize, StoreError> {
    let mut raised = 0;
    for found in role_findings(desk.tx, seals, desk.now.wall)? {
        raised += usize::from(finding::raise(desk, found)?);
    }

    Ok(raised)
}

#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Nobody would be left who owns the installation.
    #[error("the last owner cannot be taken away")]
    LastOwner,
    /// The first owner comes with the activation manifest; nobody has roles before.
    #[error("the installation is not activated yet")]
    NotActivated,
    /// Whether this operator is an owner was decided by the product root or by an owner nearer to it.
    #[error("this is for the product root, or an owner nearer to it, to decide")]
    NotYours,
    /// The document does not decode, or is signed neither by the product root nor by an owner.
    #[error("the role grant is refused")]
    Open(#[from] OpenError),
    /// The operator it names cannot be entered.
    #[error("the operator cannot be entered")]
    Operator(#[from] OperatorError),
    /// A grant of the same or a higher version is recorded.
    #[error("a newer grant of this role is recorded already")]
    Outdated,
}

impl GrantError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::LastOwner | Self::NotActivated | Self::Outdated => Code::ConflictState,
            Self::NotYours => Code::RoleDenied,
            Self::Open(refused) => open_code(refused),
            Self::Operator(refused) => refused.code(),
        }
    }
}

fails!(GrantError);

#[cfg(test)]
mod tests;
