//! Findings: what the controller noticed and a human should look at.
//!
//! ```text
//! open ──► acknowledged ──► resolved ──(it happens again)──► open
//! ```

use std::borrow::Cow;

use minicbor::{Decode, Encode};
use protocol::error::Code;
use protocol::id::ClusterId;
use protocol::key::Digest;
use protocol::time::Wall;

use crate::audit::{Action, Target};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::store::{Row, Rows, RowsMut, Scanned, StoreError, Table, View};

/// What was noticed. Its fingerprint is over kind, cluster and subject: the same thing is one finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub kind: FindingKind,
    pub severity: Severity,
    pub cluster: Option<ClusterId>,
    /// The id or name of what it is about.
    pub subject: String,
    /// One sentence for people; never a secret.
    pub text: String,
}

impl Finding {
    pub fn fingerprint(&self) -> Digest {
        let cluster = self.cluster.map(|id| *id.as_bytes()).unwrap_or_default();
        let kind = self.kind.as_str().as_bytes();

        Digest::of_parts(&[
            b"gabion finding v1",
            &cluster,
            &[u8::try_from(kind.len()).unwrap_or(u8::MAX)],
            kind,
            self.subject.as_bytes(),
        ])
    }
}

/// A kind of finding, in snake case. A name is never given a second meaning.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(transparent)]
pub struct FindingKind(#[n(0)] Cow<'static, str>);

impl FindingKind {
    /// A node went back from the settings of its config: see [`crate::settings`].
    pub const CONFIG_REVERTED: Self = Self::named("config_reverted");
    /// A beacon was made in what is now the future.
    pub const CLOCK_BEHIND: Self = Self::named("clock_behind");
    /// An agent has a beacon that this store never made: see [`crate::behind`].
    pub const CONTROLLER_BEHIND: Self = Self::named("controller_behind");
    /// A node would not apply a document that this controller published.
    pub const DOCUMENT_REFUSED: Self = Self::named("document_refused");
    /// A node saw two documents, or two beacons, under one version.
    pub const FORK_DETECTED: Self = Self::named("fork_detected");
    /// Two holders of one identity.
    pub const IDENTITY_CLONED: Self = Self::named("identity_cloned");
    /// Observers whose reports nobody confirms.
    pub const OBSERVER_SUSPECT: Self = Self::named("observer_suspect");
    /// Nothing new can be published for a cluster.
    pub const PUBLICATION_FAILED: Self = Self::named("publication_failed");
    /// A revocation list that has grown towards what one message holds.
    pub const REVOCATIONS_LONG: Self = Self::named("revocations_long");
    /// The newest grant of a role is not in the store any more.
    pub const ROLE_MISSING: Self = Self::named("role_missing");
    /// A row of the role table that no signature stands for.
    pub const ROLE_UNSIGNED: Self = Self::named("role_unsigned");
    /// A row that does not decode: see [`crate::damage`].
    pub const ROW_UNREADABLE: Self = Self::named("row_unreadable");

    pub const fn named(name: &'static str) -> Self {
        Self(Cow::Borrowed(name))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Declared worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum Severity {
    #[n(1)]
    Critical,
    #[n(2)]
    Warning,
    #[n(3)]
    Notice,
}

impl Severity {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
            Self::Notice => "notice",
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum FindingState {
    #[n(1)]
    Open,
    #[n(2)]
    Acknowledged,
    #[n(3)]
    Resolved,
}

impl FindingState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Acknowledged => "acknowledged",
            Self::Resolved => "resolved",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct FindingRow {
    #[n(0)]
    pub fingerprint: Digest,
    #[n(1)]
    pub kind: FindingKind,
    #[n(2)]
    pub severity: Severity,
    #[n(3)]
    pub cluster: Option<ClusterId>,
    #[n(4)]
    pub subject: String,
    #[n(5)]
    pub text: String,
    #[n(6)]
    pub state: FindingState,
    /// When it was opened last.
    #[n(7)]
    pub opened_at: Wall,
    /// When its state last changed.
    #[n(8)]
    pub changed_at: Wall,
}

impl Row for FindingRow {
    const TABLE: Table = Table::Findings;

    fn key(&self) -> Vec<u8> {
        self.fingerprint.as_bytes().to_vec()
    }
}

/// Opens a finding, or opens a resolved one again. One that is open or acknowledged stays as it is, unless it has
/// become worse. Returns whether anything changed.
pub fn raise(desk: &mut Desk<'_>, finding: Finding) -> Result<bool, StoreError> {
    let fingerprint = finding.fingerprint();
    let known = known(desk, &finding)?;
    let stands = |row: &FindingRow| row.state != FindingState::Resolved && row.severity <= finding.severity;
    if known.as_ref().is_some_and(stands) {
        return Ok(false);
    }
    let detail = format!("{} {}", finding.severity.name(), finding.kind.as_str());
    desk.tx.put(&FindingRow {
        fingerprint,
        kind: finding.kind,
        severity: finding.severity,
        cluster: finding.cluster,
        subject: finding.subject,
        text: finding.text,
        state: FindingState::Open,
        opened_at: desk.now.wall,
        changed_at: desk.now.wall,
    })?;
    desk.record(Action::FINDING_RAISED, Target::Finding(fingerprint), detail)?;

    Ok(true)
}

/// Raises a finding, or tells an open one anew that has grown: in its place, and without a further record.
pub fn raise_or_retell(desk: &mut Desk<'_>, finding: Finding) -> Result<(), StoreError> {
    let known = known(desk, &finding)?;
    match known.filter(|row| row.state == FindingState::Open && row.severity <= finding.severity) {
        Some(row) => desk.tx.put(&FindingRow {
            text: finding.text,
            ..row
        }),
        None => raise(desk, finding).map(|_| ()),
    }
}

/// Notes that somebody has seen it. Repeating it changes nothing.
pub fn acknowledge(desk: &mut Desk<'_>, fingerprint: &Digest) -> Result<FindingRow, FindingError> {
    let row = get(desk.tx, fingerprint)?;
    match row.state {
        FindingState::Open => change(
            desk,
            row,
            FindingState::Acknowledged,
            Action::FINDING_ACKNOWLEDGED,
        ),
        FindingState::Acknowledged => Ok(row),
        FindingState::Resolved => Err(FindingError::Resolved),
    }
}

/// Closes it. Repeating it changes nothing.
pub fn resolve(desk: &mut Desk<'_>, fingerprint: &Digest) -> Result<FindingRow, FindingError> {
    let row = get(desk.tx, fingerprint)?;
    match row.state {
        FindingState::Open | FindingState::Acknowledged => {
            change(desk, row, FindingState::Resolved, Action::FINDING_RESOLVED)
        }
        FindingState::Resolved => Ok(row),
    }
}

/// Closes it because what it told of is over. One that was never raised, or is closed already, is left alone.
pub fn clear(desk: &mut Desk<'_>, finding: &Finding) -> Result<(), StoreError> {
    let Some(mut row) = known(desk, finding)?.filter(|row| row.state != FindingState::Resolved) else {
        return Ok(());
    };
    row.state = FindingState::Resolved;
    row.changed_at = desk.now.wall;
    desk.tx.put(&row)?;

    desk.record(
        Action::FINDING_RESOLVED,
        Target::Finding(row.fingerprint),
        row.kind.as_str(),
    )
}

/// What is recorded of a finding. A record that cannot be read counts as none, and is written anew when it is raised: it must
/// not stand in the way of what it would be told beside.
pub(crate) fn known(desk: &Desk<'_>, finding: &Finding) -> Result<Option<FindingRow>, StoreError> {
    desk.tx.get_readable(finding.fingerprint().as_bytes())
}

/// Every finding that can be read, resolved ones included.
pub fn list(view: &dyn View) -> Result<Vec<FindingRow>, StoreError> {
    Ok(scan(view)?.rows)
}

/// Every finding, and those that cannot be read.
pub fn scan(view: &dyn View) -> Result<Scanned<FindingRow>, StoreError> {
    view.scan_readable(&[])
}

/// The finding of a fingerprint.
pub fn find(view: &dyn View, fingerprint: &Digest) -> Result<Option<FindingRow>, StoreError> {
    view.get(fingerprint.as_bytes())
}

fn get(view: &dyn View, fingerprint: &Digest) -> Result<FindingRow, FindingError> {
    find(view, fingerprint)?.ok_or(FindingError::Unknown)
}

fn change(
    desk: &mut Desk<'_>,
    mut row: FindingRow,
    state: FindingState,
    action: Action,
) -> Result<FindingRow, FindingError> {
    row.state = state;
    row.changed_at = desk.now.wall;
    desk.tx.put(&row)?;
    desk.record(action, Target::Finding(row.fingerprint), row.kind.as_str())?;

    Ok(row)
}

#[derive(Debug, thiserror::Error)]
pub enum FindingError {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// It was resolved meanwhile.
    #[error("the finding is resolved already")]
    Resolved,
    /// No finding has this fingerprint.
    #[error("no such finding")]
    Unknown,
}

impl FindingError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::Resolved => Code::ConflictState,
            Self::Unknown => Code::NotFound,
        }
    }
}

fails!(FindingError);

#[cfg(test)]
mod tests;
