//! Issuing CAs, one per role and cluster, and the certificates below them.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::certificate::{CA_LIFE, CertificateRole, Holder, LEAF_LIFE, Leaf, Validity};
use protocol::document::authority::{Serial, TrustBundle};
use protocol::document::config::ControllerAddress;
use protocol::error::Code;
use protocol::id::{ClusterId, ControllerId, NodeId};
use protocol::key::{Digest, VerifyKey};
use protocol::limits::TEXT_BYTES;
use protocol::time::Wall;

use crate::audit::{Action, Target};
use crate::cluster;
use crate::desk::Desk;
use crate::failure::{Failure, fails};
use crate::signer::{KeptKey, KeyPurpose, Sealed};
use crate::store::{Row, Rows, RowsMut, Scanned, StoreError, Table, UnreadableRow, View};

/// [`CertificateRole`] as a row keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Encode, Decode)]
#[cbor(index_only)]
pub enum CaRole {
    #[n(1)]
    Node,
    #[n(2)]
    Controller,
}

impl CaRole {
    pub const ALL: [Self; 2] = [Self::Node, Self::Controller];
}

impl From<CaRole> for CertificateRole {
    fn from(role: CaRole) -> Self {
        match role {
            CaRole::Node => Self::Node,
            CaRole::Controller => Self::Controller,
        }
    }
}

impl From<CertificateRole> for CaRole {
    fn from(role: CertificateRole) -> Self {
        match role {
            CertificateRole::Node => Self::Node,
            CertificateRole::Controller => Self::Controller,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct IssuingCaRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub role: CaRole,
    /// From 1; the highest issues.
    #[n(2)]
    pub number: u32,
    #[n(3)]
    pub key: VerifyKey,
    #[n(4)]
    pub sealed: Sealed,
    /// Self-signed, DER.
    #[n(5)]
    pub certificate: ByteVec,
    #[n(6)]
    pub not_after: Wall,
}

impl IssuingCaRow {
    /// What revocations call this CA: SHA-256 of its SubjectPublicKeyInfo.
    pub fn id(&self) -> Digest {
        Digest::of(&self.key.spki())
    }

    fn kept(&self) -> KeptKey<'_> {
        KeptKey {
            purpose: purpose(self.cluster, self.role, self.number),
            key: &self.key,
            sealed: &self.sealed,
        }
    }
}

impl Row for IssuingCaRow {
    const TABLE: Table = Table::IssuingCas;

    fn key(&self) -> Vec<u8> {
        [
            self.cluster.as_bytes().as_slice(),
            &protocol::cbor::encode(&self.role),
            &self.number.to_be_bytes(),
        ]
        .concat()
    }
}

/// [`Holder`] as a row keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
pub enum CertificateHolder {
    #[n(0)]
    Node(#[n(0)] NodeId),
    #[n(1)]
    Controller(#[n(0)] ControllerId),
}

impl From<CertificateHolder> for Holder {
    fn from(holder: CertificateHolder) -> Self {
        match holder {
            CertificateHolder::Node(id) => Self::Node(id),
            CertificateHolder::Controller(id) => Self::Controller(id),
        }
    }
}

/// `issued → superseded | revoked`; that one expired follows from its date.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(index_only)]
pub enum CertificateState {
    #[n(1)]
    Issued,
    #[n(2)]
    Superseded,
    #[n(3)]
    Revoked,
}

/// A certificate that was issued.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct CertificateRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub holder: CertificateHolder,
    #[n(2)]
    pub issuer: Digest,
    #[n(3)]
    pub serial: Serial,
    #[n(4)]
    pub key: VerifyKey,
    #[n(5)]
    pub not_after: Wall,
    #[n(6)]
    pub state: CertificateState,
    /// When its state last changed.
    #[n(7)]
    pub changed_at: Wall,
}

impl Row for CertificateRow {
    const TABLE: Table = Table::Certificates;

    fn key(&self) -> Vec<u8> {
        [
            &prefix(self.cluster, self.holder),
            self.serial.as_bytes().as_slice(),
        ]
        .concat()
    }
}

/// A controller of a cluster, with its certificate and where it is reached.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub struct ControllerIdentityRow {
    #[n(0)]
    pub cluster: ClusterId,
    #[n(1)]
    pub controller: ControllerId,
    #[n(2)]
    pub key: VerifyKey,
    /// `host:port`, as agents dial it.
    #[n(3)]
    pub endpoints: Vec<String>,
    /// DER.
    #[n(4)]
    pub certificate: ByteVec,
    #[n(5)]
    pub issuer: Digest,
    #[n(6)]
    pub serial: Serial,
    #[n(7)]
    pub issued_at: Wall,
    #[n(8)]
    pub not_after: Wall,
}

impl Row for ControllerIdentityRow {
    const TABLE: Table = Table::ControllerIdentities;

    fn key(&self) -> Vec<u8> {
        [self.cluster.as_bytes().as_slice(), self.controller.as_bytes()].concat()
    }
}

/// A leaf as it was just issued.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issued {
    /// DER.
    pub certificate: Vec<u8>,
    pub issuer: Digest,
    pub serial: Serial,
    pub validity: Validity,
}

/// What a controller asks to be certified as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewController {
    pub controller: ControllerId,
    pub key: VerifyKey,
    /// `host:port`, 1 to [`MAX_ENDPOINTS`].
    pub endpoints: Vec<String>,
}

/// Issues the controller's own certificate for one cluster and notes where agents reach it. Its key stays with
/// whoever drew it. A new one replaces the old; what was issued before counts until it expires.
pub fn issue_controller_certificate(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    new: NewController,
) -> Result<ControllerIdentityRow, ControllerCertificateError> {
    if cluster::get(desk.tx, cluster)?.is_none() {
        return Err(ControllerCertificateError::UnknownCluster);
    }
    if !are_endpoints(&new.endpoints) {
        return Err(ControllerCertificateError::InvalidEndpoint);
    }
    let holder = CertificateHolder::Controller(new.controller);
    supersede(desk, cluster, holder)?;
    let issued = issue(desk, cluster, holder, new.key)?;
    let row = ControllerIdentityRow {
        cluster,
        controller: new.controller,
        key: new.key,
        endpoints: new.endpoints,
        certificate: issued.certificate.into(),
        issuer: issued.issuer,
        serial: issued.serial,
        issued_at: desk.now.wall,
        not_after: issued.validity.not_after,
    };
    desk.tx.put(&row)?;
    desk.record(
        Action::CONTROLLER_CERTIFIED,
        Target::Controller(row.controller),
        format!("serial {}", row.serial),
    )?;

    Ok(row)
}

/// Where the controllers of a cluster are, as contracts and configs say it.
pub fn controllers(view: &dyn View, cluster: ClusterId) -> Result<Vec<ControllerAddress>, StoreError> {
    let rows = view.scan::<ControllerIdentityRow>(cluster.as_bytes())?;

    Ok(rows
        .into_iter()
        .map(|row| ControllerAddress {
            controller: row.controller,
            endpoints: row.endpoints,
        })
        .collect())
}

pub fn controller(
    view: &dyn View,
    cluster: ClusterId,
    controller: ControllerId,
) -> Result<Option<ControllerIdentityRow>, StoreError> {
    view.get(&[cluster.as_bytes().as_slice(), controller.as_bytes()].concat())
}

/// Every issuing CA of a cluster.
pub fn cas(view: &dyn View, cluster: ClusterId) -> Result<Vec<IssuingCaRow>, StoreError> {
    view.scan(cluster.as_bytes())
}

/// The anchors of a cluster as its trust bundle publishes them.
pub fn trust_bundle(view: &dyn View, cluster: ClusterId) -> Result<TrustBundle, StoreError> {
    let rows = cas(view, cluster)?;
    let of = |role: CaRole| {
        rows.iter()
            .filter(|row| row.role == role)
            .map(|row| row.certificate.clone())
            .collect()
    };

    Ok(TrustBundle {
        node_cas: of(CaRole::Node),
        controller_cas: of(CaRole::Controller),
    })
}

/// Every certificate that is on record for `holder` and can be read.
pub fn certificates(
    view: &dyn View,
    cluster: ClusterId,
    holder: CertificateHolder,
) -> Result<Vec<CertificateRow>, StoreError> {
    Ok(scan_certificates(view, cluster, holder)?.rows)
}

/// Every certificate that is on record for `holder`, and those that cannot be read.
pub(crate) fn scan_certificates(
    view: &dyn View,
    cluster: ClusterId,
    holder: CertificateHolder,
) -> Result<Scanned<CertificateRow>, StoreError> {
    view.scan_readable(&prefix(cluster, holder))
}

/// The serial of the certificate whose row has this key.
pub(crate) fn serial_of(row: &UnreadableRow) -> Option<Serial> {
    row.key.last_chunk().map(|serial| Serial::from_bytes(*serial))
}

/// The CAs of a new cluster, made if they are not there.
pub(crate) fn found(desk: &mut Desk<'_>, cluster: ClusterId) -> Result<(), Failure> {
    let existing = cas(desk.tx, cluster)?;
    for role in CaRole::ALL {
        if !existing.iter().any(|row| row.role == role) {
            found_one(desk, cluster, role)?;
        }
    }

    Ok(())
}

fn found_one(desk: &mut Desk<'_>, cluster: ClusterId, role: CaRole) -> Result<(), Failure> {
    let purpose = purpose(cluster, role, FIRST);
    let (key, sealed) = desk.signer.create(&purpose, desk.rng)?;
    let serial = Serial::random(desk.rng);
    let validity = Validity::starting(desk.now.wall, CA_LIFE);
    let kept = KeptKey {
        purpose,
        key: &key,
        sealed: &sealed,
    };
    let certificate = desk.signer.issue_ca(&kept, serial, validity)?;
    desk.tx.put(&IssuingCaRow {
        cluster,
        role,
        number: FIRST,
        key,
        sealed,
        certificate: certificate.into(),
        not_after: validity.not_after,
    })?;

    Ok(())
}

/// Issues a leaf under the newest CA of the holder's role, and puts it on record.
pub(crate) fn issue(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    holder: CertificateHolder,
    key: VerifyKey,
) -> Result<Issued, Failure> {
    let role = CaRole::from(Holder::from(holder).role());
    let ca = cas(desk.tx, cluster)?
        .into_iter()
        .rfind(|row| row.role == role)
        .ok_or(Failure::Inconsistent("a cluster without issuing ca"))?;
    let leaf = Leaf {
        holder: holder.into(),
        cluster,
        key,
        serial: Serial::random(desk.rng),
        validity: Validity::starting(desk.now.wall, LEAF_LIFE),
    };
    let certificate = desk.signer.issue(&ca.kept(), &ca.certificate, &leaf)?;
    desk.tx.put(&CertificateRow {
        cluster,
        holder,
        issuer: ca.id(),
        serial: leaf.serial,
        key,
        not_after: leaf.validity.not_after,
        state: CertificateState::Issued,
        changed_at: desk.now.wall,
    })?;

    Ok(Issued {
        certificate,
        issuer: ca.id(),
        serial: leaf.serial,
        validity: leaf.validity,
    })
}

/// Notes that the certificates of `holder` have a successor, and forgets those that have expired. Returns how many are
/// still valid. One that cannot be read stays as it is, and is not counted.
pub(crate) fn supersede(
    desk: &mut Desk<'_>,
    cluster: ClusterId,
    holder: CertificateHolder,
) -> Result<usize, StoreError> {
    let now = desk.now.wall;
    let mut valid = 0;
    for mut row in certificates(desk.tx, cluster, holder)? {
        if row.not_after < now {
            desk.tx.delete::<CertificateRow>(&row.key())?;
            continue;
        }
        valid += 1;
        if row.state == CertificateState::Issued {
            row.state = CertificateState::Superseded;
            row.changed_at = now;
            desk.tx.put(&row)?;
        }
    }

    Ok(valid)
}

fn are_endpoints(endpoints: &[String]) -> bool {
    (1..=MAX_ENDPOINTS).contains(&endpoints.len()) && endpoints.iter().all(|text| is_endpoint(text))
}

/// `host:port`; what the host is, a resolver decides.
pub(crate) fn is_endpoint(text: &str) -> bool {
    let port = text.rsplit_once(':').filter(|(host, _)| !host.is_empty());
    let plain = text.len() <= TEXT_BYTES && text.chars().all(|letter| letter.is_ascii_graphic());

    plain && port.is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0))
}

fn purpose(cluster: ClusterId, role: CaRole, number: u32) -> KeyPurpose {
    KeyPurpose::IssuingCa {
        cluster,
        role: role.into(),
        number,
    }
}

fn prefix(cluster: ClusterId, holder: CertificateHolder) -> Vec<u8> {
    let (kind, id) = match &holder {
        CertificateHolder::Node(id) => (1, id.as_bytes()),
        CertificateHolder::Controller(id) => (2, id.as_bytes()),
    };

    [cluster.as_bytes().as_slice(), &[kind], id].concat()
}

#[derive(Debug, thiserror::Error)]
pub enum ControllerCertificateError {
    #[error(transparent)]
    Failure(#[from] Failure),
    /// There is none, there are more than [`MAX_ENDPOINTS`], or one is not `host:port`.
    #[error("a controller needs 1 to {MAX_ENDPOINTS} endpoints of the form host:port")]
    InvalidEndpoint,
    /// No cluster has this id.
    #[error("no such cluster")]
    UnknownCluster,
}

impl ControllerCertificateError {
    pub const fn code(&self) -> Code {
        match self {
            Self::Failure(failure) => failure.code(),
            Self::InvalidEndpoint => Code::ValidationFailed,
            Self::UnknownCluster => Code::NotFound,
        }
    }
}

fails!(ControllerCertificateError);

/// Addresses of one controller: two families on a few networks.
pub const MAX_ENDPOINTS: usize = 8;

const FIRST: u32 = 1;
