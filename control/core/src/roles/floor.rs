//! What has been recorded of each role, so that a row which is taken out of the store brings no older grant back.
//!
//! A grant that takes a role away is a row like any other, and without it the one before would count again. So every
//! role has its newest grant noted twice more: in a row of its own, which every question asks, and in the audit chain,
//! whose head agents hold copies of and from which that row is restored whenever the store is opened.

use std::collections::BTreeMap;

use minicbor::{Decode, Encode};
use protocol::document::authority::Role;
use protocol::envelope::Envelope;
use protocol::id::{ClusterId, OperatorId};
use protocol::key::Digest;

use crate::audit::{self, Action, Outcome, Record, Target};
use crate::desk::Desk;
use crate::store::{Row, Rows, RowsMut, StoreError, Table, View};

use super::RoleGrantRow;

/// One role of one operator, in one cluster or in every one.
pub(super) type Right = (OperatorId, Option<ClusterId>, Role);

/// The newest grant of a role that was ever recorded.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct RoleFloorRow {
    #[n(0)]
    pub operator: OperatorId,
    #[n(1)]
    pub cluster: Option<ClusterId>,
    #[n(2)]
    pub role: Role,
    #[n(3)]
    pub version: u64,
    /// SHA-256 of the document with its signatures.
    #[n(4)]
    pub bytes: Digest,
}

impl Row for RoleFloorRow {
    const TABLE: Table = Table::RoleFloors;

    fn key(&self) -> Vec<u8> {
        key((self.operator, self.cluster, self.role))
    }
}

impl RoleFloorRow {
    pub(super) fn of(row: &RoleGrantRow) -> Self {
        Self {
            operator: row.operator,
            cluster: row.cluster,
            role: row.role,
            version: row.version,
            bytes: Digest::of(&row.bytes),
        }
    }

    pub(super) fn right(&self) -> Right {
        (self.operator, self.cluster, self.role)
    }

    /// Whether `row` is what was recorded, to the last byte, and has the columns that belong to it: else it counts for
    /// nothing, and the grant before it would count again.
    fn is_of(&self, row: &RoleGrantRow) -> bool {
        // Most rows are of other rights, and reading a document costs more than all else here.
        let is_named = (row.operator, row.cluster, row.role, row.version)
            == (self.operator, self.cluster, self.role, self.version);
        if !is_named || Self::of(row) != *self {
            return false;
        }

        Envelope::parse(&row.bytes).is_ok_and(|envelope| envelope.hash() == row.document)
    }

    /// How the audit has it.
    pub(super) fn detail(&self) -> String {
        let cluster = self
            .cluster
            .map_or_else(|| EVERYWHERE.to_owned(), |id| id.to_string());

        format!("{} {cluster} {} {}", self.role.name(), self.version, self.bytes)
    }

    /// Reads what [`Self::detail`] wrote.
    fn of_record(record: &Record) -> Option<Self> {
        let is_grant = record.action == Action::ROLE_GRANTED || record.action == Action::ROLE_REVOKED;
        let Target::Operator(operator) = record.target else {
            return None;
        };
        if !is_grant || record.outcome != Outcome::Done {
            return None;
        }
        let mut words = record.detail.split(' ');
        let role = words.next()?;
        let role = Role::ALL.into_iter().find(|known| known.name() == role)?;
        let cluster = match words.next()? {
            EVERYWHERE => None,
            id => Some(id.parse().ok()?),
        };

        Some(Self {
            operator,
            cluster,
            role,
            version: words.next()?.parse().ok()?,
            bytes: words.next()?.parse().ok()?,
        })
    }
}

/// The rights whose newest grant is not in the store as it was recorded, each with that grant's version.
pub(super) fn missing(view: &dyn View, rows: &[RoleGrantRow]) -> Result<BTreeMap<Right, u64>, StoreError> {
    let floors = view.scan::<RoleFloorRow>(&[])?;
    let lacks = |floor: &RoleFloorRow| !rows.iter().any(|row| floor.is_of(row));

    Ok(floors
        .iter()
        .filter(|floor| lacks(floor))
        .map(|floor| (floor.right(), floor.version))
        .collect())
}

pub(super) fn get(view: &dyn View, right: Right) -> Result<Option<RoleFloorRow>, StoreError> {
    view.get(&key(right))
}

/// Puts back what the audit chain knows and the rows do not. Reads the whole chain, once for each time that a store is
/// opened: while it is open nobody else writes to it.
pub fn restore_floors(desk: &mut Desk<'_>) -> Result<usize, StoreError> {
    let mut newest: BTreeMap<Right, RoleFloorRow> = BTreeMap::new();
    let mut after = 0;
    loop {
        let records = audit::list(desk.tx, after, PAGE)?;
        let Some(last) = records.last() else { break };
        after = last.seq;
        for floor in records.iter().filter_map(RoleFloorRow::of_record) {
            let known = newest.entry(floor.right()).or_insert_with(|| floor.clone());
            if known.version < floor.version {
                *known = floor;
            }
        }
    }
    let mut restored = 0;
    for (right, floor) in newest {
        let stands = get(desk.tx, right)?.is_some_and(|known| known == floor);
        if !stands {
            desk.tx.put(&floor)?;
            restored += 1;
        }
    }

    Ok(restored)
}

fn key((operator, cluster, role): Right) -> Vec<u8> {
    let cluster = cluster.map(|id| *id.as_bytes()).unwrap_or_default();

    [
        operator.as_bytes().as_slice(),
        &cluster,
        &protocol::cbor::encode(&role),
    ]
    .concat()
}

const EVERYWHERE: &str = "everywhere";
/// Records held at once while the chain is read.
const PAGE: usize = 1_000;
