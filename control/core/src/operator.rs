//! Operators: people and automation by id and name. What one may do is a matter of [`crate::roles`].
//!
//! ```text
//! active ⇄ suspended      active, suspended ──► removed
//! ```

use minicbor::{Decode, Encode};
use protocol::error::Code;
use protocol::id::OperatorId;
use protocol::key::VerifyKey;
use protocol::time::Wall;

use crate::audit::{Action, Target};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::roles::{Seals, Standings};
use crate::store::{Row, Rows, RowsMut, StoreError, Table, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum OperatorState {
    #[n(1)]
    Active,
    #[n(2)]
    Suspended,
    #[n(3)]
    Removed,
}

impl OperatorState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Removed => "removed",
        }
    }
}

/// A name for an id. The key shown here is the one of the latest grant; rights are checked against the grants alone.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct OperatorRow {
    #[n(0)]
    pub id: OperatorId,
    #[n(1)]
    pub name: String,
    #[n(2)]
    pub key: VerifyKey,
    #[n(3)]
    pub state: OperatorState,
    #[n(4)]
    pub created_at: Wall,
}

impl Row for OperatorRow {
    const TABLE: Table = Table::Operators;

    fn key(&self) -> Vec<u8> {
        self.id.as_bytes().to_vec()
    }
}

pub fn get(view: &dyn View, id: OperatorId) -> Result<Option<OperatorRow>, StoreError> {
    view.get(id.as_bytes())
}

/// The operator of a name; removed ones have none.
pub fn find(view: &dyn View, name: &str) -> Result<Option<OperatorRow>, StoreError> {
    let named = |row: &OperatorRow| row.name == name && row.state != OperatorState::Removed;

    Ok(list(view)?.into_iter().find(named))
}

/// Every operator, removed ones included.
pub fn list(view: &dyn View) -> Result<Vec<OperatorRow>, StoreError> {
    view.scan(&[])
}

/// Takes an operator's roles away for a while.
pub fn suspend(desk: &mut Desk<'_>, id: OperatorId) -> Result<OperatorRow, OperatorError> {
    change(desk, id, OperatorState::Suspended, Action::OPERATOR_SUSPENDED)
}

/// Gives a suspended operator its roles back.
pub fn resume(desk: &mut Desk<'_>, id: OperatorId) -> Result<OperatorRow, OperatorError> {
    change(desk, id, OperatorState::Active, Action::OPERATOR_RESUMED)
}

/// Takes an operator's roles away for ever and frees its name.
pub fn remove(desk: &mut Desk<'_>, id: OperatorId) -> Result<OperatorRow, OperatorError> {
    change(desk, id, OperatorState::Removed, Action::OPERATOR_REMOVED)
}

/// Makes sure that the operator of a verified grant is known, under the grant's key.
pub(crate) fn enter(
    desk: &mut Desk<'_>,
    id: OperatorId,
    name: &str,
    key: VerifyKey,
) -> Result<OperatorRow, OperatorError> {
    if !is_printable(name) {
        return Err(OperatorError::InvalidName);
    }
    let known = get(desk.tx, id)?;
    if known
        .as_ref()
        .is_some_and(|row| row.state == OperatorState::Removed)
    {
        return Err(OperatorError::Removed);
    }
    if find(desk.tx, name)?.is_some_and(|other| other.id != id) {
        return Err(OperatorError::NameTaken);
    }
    let row = OperatorRow {
        id,
        name: name.to_owned(),
        key,
        state: known.as_ref().map_or(OperatorState::Active, |row| row.state),
        created_at: known.as_ref().map_or(desk.now.wall, |row| row.created_at),
    };
    if known.as_ref() != Some(&row) {
        desk.tx.put(&row)?;
    }

    Ok(row)
}

fn change(
    desk: &mut Desk<'_>,
    id: OperatorId,
    state: OperatorState,
    action: Action,
) -> Result<OperatorRow, OperatorError> {
    let mut row = get(desk.tx, id)?.ok_or(OperatorError::Unknown)?;
    if row.state == state {
        return Ok(row);
    }
    if row.state == OperatorState::Removed {
        return Err(OperatorError::Removed);
    }
    row.state = state;
    desk.tx.put(&row)?;
    let standings = Standings::read(desk.tx, &Seals::default(), desk.now.wall)?;
    if standings.has_no_owner() {
        return Err(OperatorError::LastOwner);
    }
    desk.record(action, Target::Operator(id), row.name.clone())?;

    Ok(row)
}

fn is_printable(name: &str) -> bool {
    (1..=NAME_BYTES).contains(&name.len()) && !name.chars().any(char::is_control) && name.trim() == name
}

#[derive(Debug, thiserror::Error)]
pub enum OperatorError {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// Empty, longer than [`NAME_BYTES`], with control characters, or with white space around it.
    #[error("not a name for an operator: 1 to {NAME_BYTES} printable bytes")]
    InvalidName,
    /// Nobody would be left who owns the installation.
    #[error("the last owner cannot be taken away")]
    LastOwner,
    /// Another operator has this name.
    #[error("another operator has this name")]
    NameTaken,
    /// Removed operators stay removed.
    #[error("the operator was removed")]
    Removed,
    /// No operator has this id.
    #[error("no such operator")]
    Unknown,
}

impl OperatorError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::InvalidName => Code::ValidationFailed,
            Self::LastOwner | Self::Removed => Code::ConflictState,
            Self::NameTaken => Code::NameTaken,
            Self::Unknown => Code::NotFound,
        }
    }
}

fails!(OperatorError);

/// The longest name of an operator: an e-mail address fits.
pub const NAME_BYTES: usize = 128;
