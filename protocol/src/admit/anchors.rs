//! The CAs that are trusted, by cluster and role.

use std::collections::BTreeMap;

use rustls_pki_types::{CertificateDer, TrustAnchor};

use crate::certificate::{CertificateRole, InvalidCertificate, Validity, read_ca};
use crate::document::authority::TrustBundle;
use crate::id::ClusterId;
use crate::key::Digest;

/// The anchors of every cluster that is known here, from their signed trust bundles.
#[derive(Clone, Debug, Default)]
pub struct Anchors(BTreeMap<ClusterId, OfCluster>);

impl Anchors {
    /// Takes the anchors of `cluster` from its bundle, in place of those it had. The caller has verified the
    /// bundle's signature; a refused bundle changes nothing.
    pub fn put(&mut self, cluster: ClusterId, bundle: &TrustBundle) -> Result<(), InvalidBundle> {
        let of_cluster = OfCluster {
            node: read(CertificateRole::Node, cluster, &bundle.node_cas)?,
            controller: read(CertificateRole::Controller, cluster, &bundle.controller_cas)?,
        };
        self.0.insert(cluster, of_cluster);

        Ok(())
    }

    /// Every CA certificate, for a TLS verifier that does not see which door a client came to.
    pub fn certificates(&self) -> impl Iterator<Item = &CertificateDer<'static>> {
        self.0
            .values()
            .flat_map(|anchors| anchors.node.iter().chain(&anchors.controller))
            .map(|anchor| &anchor.certificate)
    }

    /// The clusters that have anchors here.
    pub fn clusters(&self) -> impl Iterator<Item = ClusterId> + '_ {
        self.0.keys().copied()
    }

    pub(super) fn has(&self, cluster: ClusterId) -> bool {
        self.0.contains_key(&cluster)
    }

    pub(super) fn of(&self, cluster: ClusterId, role: CertificateRole) -> &[Anchor] {
        match (self.0.get(&cluster), role) {
            (Some(anchors), CertificateRole::Node) => &anchors.node,
            (Some(anchors), CertificateRole::Controller) => &anchors.controller,
            (None, _) => &[],
        }
    }
}

#[derive(Clone, Debug)]
struct OfCluster {
    node: Vec<Anchor>,
    controller: Vec<Anchor>,
}

/// One trusted CA.
#[derive(Clone, Debug)]
pub(super) struct Anchor {
    pub(super) id: Digest,
    pub(super) trust: TrustAnchor<'static>,
    pub(super) validity: Validity,
    certificate: CertificateDer<'static>,
}

/// A bundle that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBundle {
    /// One of the certificates is not that of an issuing CA.
    #[error("the trust bundle holds something else than a ca certificate")]
    Certificate(#[from] InvalidCertificate),
    /// A role has more than [`CAS_PER_ROLE`] CAs.
    #[error("the trust bundle holds more than {CAS_PER_ROLE} cas of one role")]
    TooMany,
    /// A CA of another cluster is among them.
    #[error("the trust bundle holds a ca of cluster {found}")]
    WrongCluster { found: ClusterId },
    /// A CA stands among those of another role.
    #[error("the trust bundle lists a {} ca under another role", .found.name())]
    WrongRole { found: CertificateRole },
}

/// CAs of one role in a bundle: a rotation needs two, an interrupted one leaves a third.
pub const CAS_PER_ROLE: usize = 4;

fn read(
    role: CertificateRole,
    cluster: ClusterId,
    certificates: &[minicbor::bytes::ByteVec],
) -> Result<Vec<Anchor>, InvalidBundle> {
    if certificates.len() > CAS_PER_ROLE {
        return Err(InvalidBundle::TooMany);
    }

    certificates
        .iter()
        .map(|der| anchor(role, cluster, der))
        .collect()
}

fn anchor(role: CertificateRole, cluster: ClusterId, der: &[u8]) -> Result<Anchor, InvalidBundle> {
    let ca = read_ca(der)?;
    if ca.role != role {
        return Err(InvalidBundle::WrongRole { found: ca.role });
    }
    if ca.cluster != cluster {
        return Err(InvalidBundle::WrongCluster { found: ca.cluster });
    }
    let certificate = CertificateDer::from(der.to_vec());
    let trust = webpki::anchor_from_trusted_cert(&certificate)
        .map_err(|_| InvalidCertificate::Malformed)?
        .to_owned();

    Ok(Anchor {
        id: ca.id(),
        trust,
        validity: ca.validity,
        certificate,
    })
}
