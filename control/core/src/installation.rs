//! The installation: what mode it runs in, which product root it answers to, and who owns it first.
//!
//! ```text
//! uninitialized ──(signed manifest, once)──► activated
//! ```
//!
//! Both modes take the same way; in dev mode the product root is a throw-away key beside the data. An installation
//! never changes its mode or its roots.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::document::authority::{ActivationManifest, Role};
use protocol::envelope::{Envelope, Expected, OpenError, Opened, Realm, Subject};
use protocol::error::Code;
use protocol::id::{InstallationId, OperatorId};
use protocol::key::{Digest, Fingerprint, VerifyKey};
use protocol::time::Wall;

use crate::audit::{Action, Target};
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::operator::{self, OperatorError};
use crate::roles::RoleGrantRow;
use crate::store::{Row, Rows, RowsMut, StoreError, Table, View};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum Mode {
    #[n(1)]
    Strict,
    #[n(2)]
    Dev,
}

impl Mode {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Strict => "strict",
            Self::Dev => "dev",
        }
    }
}

/// The offline keys that an installation answers to: at least `threshold` of `keys` must sign.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ProductRoot {
    /// Ascending, each once.
    #[n(0)]
    pub keys: Vec<VerifyKey>,
    #[n(1)]
    pub threshold: u32,
}

impl ProductRoot {
    /// Accepts 1 to [`MAX_ROOTS`] keys and a threshold of 1 to as many as there are different keys.
    pub fn new(keys: impl IntoIterator<Item = VerifyKey>, threshold: u32) -> Result<Self, InvalidRoot> {
        let keys: std::collections::BTreeSet<_> = keys.into_iter().collect();
        let count = u32::try_from(keys.len()).unwrap_or(u32::MAX);
        match (1..=MAX_ROOTS).contains(&count) && (1..=count).contains(&threshold) {
            true => Ok(Self {
                keys: keys.into_iter().collect(),
                threshold,
            }),
            false => Err(InvalidRoot),
        }
    }

    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        self.keys.iter().map(VerifyKey::fingerprint).collect()
    }
}

/// There is no key, too many, or the threshold cannot be reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a product root has 1 to {MAX_ROOTS} keys and a threshold of at most as many")]
pub struct InvalidRoot;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum InstallationState {
    #[n(1)]
    Uninitialized,
    #[n(2)]
    Activated,
}

impl InstallationState {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uninitialized => "uninitialized",
            Self::Activated => "activated",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct InstallationRow {
    #[n(0)]
    pub id: InstallationId,
    #[n(1)]
    pub mode: Mode,
    #[n(2)]
    pub root: ProductRoot,
    #[n(3)]
    pub state: InstallationState,
    #[n(4)]
    pub created_at: Wall,
    #[n(5)]
    pub activated_at: Option<Wall>,
    /// Hash of the manifest that activated it.
    #[n(6)]
    pub manifest: Option<Digest>,
    #[n(7)]
    pub first_owner: Option<OperatorId>,
}

impl InstallationRow {
    /// What documents of the installation are addressed to.
    pub fn expected(&self) -> Expected {
        Expected {
            realm: Realm::from(self.id),
            subject: Subject::All,
        }
    }
}

impl Row for InstallationRow {
    const TABLE: Table = Table::Installation;

    fn key(&self) -> Vec<u8> {
        KEY.to_vec()
    }
}

/// A manifest's nonce, kept for ever so that no manifest is consumed twice.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ManifestNonceRow {
    #[n(0)]
    #[cbor(with = "minicbor::bytes")]
    pub nonce: [u8; 16],
    #[n(1)]
    pub manifest: Digest,
    #[n(2)]
    pub consumed_at: Wall,
}

impl Row for ManifestNonceRow {
    const TABLE: Table = Table::ManifestNonces;

    fn key(&self) -> Vec<u8> {
        self.nonce.to_vec()
    }
}

/// Creates the installation in an empty store.
pub fn initialise(
    desk: &mut Desk<'_>,
    mode: Mode,
    root: ProductRoot,
) -> Result<InstallationRow, InitialiseError> {
    if let Some(row) = find(desk.tx)? {
        return Err(InitialiseError::Exists { mode: row.mode });
    }
    let row = InstallationRow {
        id: InstallationId::random(desk.rng),
        mode,
        root,
        state: InstallationState::Uninitialized,
        created_at: desk.now.wall,
        activated_at: None,
        manifest: None,
        first_owner: None,
    };
    desk.tx.put(&row)?;
    desk.record(
        Action::INSTALLATION_INITIALISED,
        Target::Installation(row.id),
        format!("mode {}", mode.name()),
    )?;

    Ok(row)
}

/// Checks at start that the store is what the configuration says: the same mode, and the same product root if one
/// is configured. So neither an edited row nor an edited file changes whom this controller obeys.
pub fn confirm(
    view: &dyn View,
    mode: Mode,
    root: Option<&ProductRoot>,
) -> Result<InstallationRow, ConfirmError> {
    let row = find(view)?.ok_or(ConfirmError::NotInitialised)?;
    if row.mode != mode {
        return Err(ConfirmError::OtherMode { found: row.mode });
    }
    if root.is_some_and(|root| *root != row.root) {
        return Err(ConfirmError::OtherRoot);
    }

    Ok(row)
}

/// Consumes a signed activation manifest: its owner becomes the first one, with the manifest itself as the proof.
pub fn activate(desk: &mut Desk<'_>, manifest: &[u8]) -> Result<InstallationRow, ActivateError> {
    let mut row = find(desk.tx)?.ok_or(ActivateError::NotInitialised)?;
    let opened = open_manifest(&row, manifest)?;
    let body = &opened.body;
    if desk.tx.get::<ManifestNonceRow>(&body.nonce)?.is_some() {
        return Err(ActivateError::Consumed);
    }
    if row.state == InstallationState::Activated {
        return Err(ActivateError::Activated);
    }
    check_manifest(&row, &opened, desk.now.wall)?;

    desk.tx.put(&ManifestNonceRow {
        nonce: body.nonce,
        manifest: opened.hash,
        consumed_at: desk.now.wall,
    })?;
    operator::enter(desk, body.owner, &body.owner_name, body.owner_key)?;
    desk.tx.put(&RoleGrantRow {
        operator: body.owner,
        cluster: None,
        role: body.role,
        version: opened.header.version,
        document: opened.hash,
        bytes: ByteVec::from(manifest.to_vec()),
        recorded_at: desk.now.wall,
    })?;
    row.state = InstallationState::Activated;
    row.activated_at = Some(desk.now.wall);
    row.manifest = Some(opened.hash);
    row.first_owner = Some(body.owner);
    desk.tx.put(&row)?;
    desk.record(
        Action::INSTALLATION_ACTIVATED,
        Target::Installation(row.id),
        format!("first owner {}", body.owner),
    )?;

    Ok(row)
}

/// The installation, if the store has one.
pub fn find(view: &dyn View) -> Result<Option<InstallationRow>, StoreError> {
    view.get(KEY)
}

fn open_manifest(
    row: &InstallationRow,
    manifest: &[u8],
) -> Result<Opened<ActivationManifest>, ActivateError> {
    let envelope = Envelope::parse(manifest)?;
    let threshold = usize::try_from(row.root.threshold).unwrap_or(usize::MAX);

    Ok(envelope.open_by(&row.expected(), &row.root.keys, threshold)?)
}

fn check_manifest(
    row: &InstallationRow,
    opened: &Opened<ActivationManifest>,
    now: Wall,
) -> Result<(), ActivateError> {
    let body = &opened.body;
    if body.installation != row.id {
        return Err(ActivateError::OtherInstallation {
            found: body.installation,
        });
    }
    if now < body.not_before {
        return Err(ActivateError::NotYetValid);
    }
    if now > body.not_after || opened.header.valid_until.is_some_and(|until| now > until) {
        return Err(ActivateError::Expired);
    }
    match body.role {
        Role::Owner => Ok(()),
        Role::Admin | Role::Approver | Role::Auditor | Role::Viewer => Err(ActivateError::NotAnOwner),
    }
}

#[derive(Debug, thiserror::Error)]
pub enum InitialiseError {
    /// The data directory holds an installation already; neither mode turns into the other.
    #[error("there is an installation in {} mode already, and its mode never changes", .mode.name())]
    Exists { mode: Mode },
    #[error(transparent)]
    Failure(#[from] Failure),
}

impl InitialiseError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Exists { .. } => Code::ConflictState,
            Self::Failure(failure) => failure.code(),
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The store is empty.
    #[error("the data directory holds no installation yet")]
    NotInitialised,
    /// The configuration asks for another mode than the one the installation was made in.
    #[error("the installation was made in {} mode, and its mode never changes", .found.name())]
    OtherMode { found: Mode },
    /// The configured product root is not the stored one: one of the two was changed.
    #[error("the configured product root is not the one of the installation")]
    OtherRoot,
}

impl ConfirmError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::NotInitialised => Code::NotFound,
            Self::OtherMode { .. } | Self::OtherRoot => Code::ConflictState,
        }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// Another manifest activated it.
    #[error("the installation is activated already")]
    Activated,
    /// This manifest was used before.
    #[error("the activation manifest was consumed already")]
    Consumed,
    /// Its time is over.
    #[error("the activation manifest has expired")]
    Expired,
    #[error(transparent)]
    Failure(#[from] Failure),
    /// The manifest gives its operator another role than owner.
    #[error("the activation manifest does not make an owner")]
    NotAnOwner,
    /// The store is empty.
    #[error("the data directory holds no installation yet")]
    NotInitialised,
    /// Its time has not come; or a clock is wrong.
    #[error("the activation manifest is not valid yet")]
    NotYetValid,
    /// The manifest does not decode, or is not signed by the product root for this installation.
    #[error("the activation manifest is refused")]
    Open(#[from] OpenError),
    /// The owner it names cannot be entered.
    #[error("the first owner cannot be entered")]
    Operator(#[from] OperatorError),
    /// The manifest names another installation in its body.
    #[error("the activation manifest is for installation {found}")]
    OtherInstallation { found: InstallationId },
}

impl ActivateError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Activated => Code::ConflictState,
            Self::Consumed => Code::ManifestConsumed,
            Self::Expired | Self::NotAnOwner | Self::NotYetValid => Code::ValidationFailed,
            Self::Failure(failure) => failure.code(),
            Self::NotInitialised => Code::NotFound,
            Self::Open(refused) => open_code(refused),
            Self::Operator(refused) => refused.code(),
            Self::OtherInstallation { .. } => Code::WrongCluster,
        }
    }
}

/// What a document that does not open is answered with.
pub(crate) const fn open_code(refused: &OpenError) -> Code {
    match refused {
        OpenError::Malformed(_) | OpenError::NotAnEnvelope | OpenError::WrongKind { .. } => {
            Code::InvalidRequest
        }
        OpenError::NotSigned => Code::SignatureInvalid,
        OpenError::UnknownFeature { .. } | OpenError::UnknownSchema { .. } => Code::ValidationFailed,
        OpenError::WrongRealm { .. } | OpenError::WrongSubject { .. } => Code::WrongCluster,
    }
}

fails!(InitialiseError, ConfirmError, ActivateError);

const KEY: &[u8] = b"installation";

/// As many signatures as one envelope can hold.
pub const MAX_ROOTS: u32 = 8;

#[cfg(test)]
mod tests;
