//! Who may come in: a connection is judged by its ALPN, the server name it asked for and the leaf it showed, before
//! one byte of a stream or datagram is read.
//!
//! ```text
//! ALPN              server name                  leaf must come from         is then
//! gabion-join/1     controller.<cluster>.gabion  nobody, it is ignored       a stranger
//! gabion-node/1     controller.<cluster>.gabion  the cluster's node CA       a node
//! gabion-peer/1     controller.<cluster>.gabion  the cluster's controller CA a controller
//! gabion-mesh/1     <node>.<cluster>.gabion      the cluster's node CA       a neighbour
//! gabion-partner/1  not served
//! ```
//!
//! TLS proves that the other side holds the leaf's key; with all doors behind one socket it verifies against the
//! union of the anchors, so everything else is proven here, against the anchors of one role and one cluster.
//! Intermediates are never used: our CAs have none below them.

mod anchors;
mod revocations;
#[cfg(test)]
mod tests;

use std::time::Duration;

use rustls_pki_types::{CertificateDer, SignatureVerificationAlgorithm, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

pub use anchors::{Anchors, CAS_PER_ROLE, InvalidBundle};
pub use revocations::{Revocations, RevokedBy};

use crate::certificate::{
    CertificateRole, ClaimedIdentity, Holder, Identity, InvalidCertificate, ServerOf, claimed_identity,
    parse_server_name,
};
use crate::id::{ClusterId, ControllerId, NodeId};
use crate::time::Wall;

use anchors::Anchor;

/// Enrolment, and renewal of what has expired.
pub const JOIN: &[u8] = b"gabion-join/1";
/// A node and its controller.
pub const NODE: &[u8] = b"gabion-node/1";
/// Controllers of one installation.
pub const PEER: &[u8] = b"gabion-peer/1";
/// Another installation. This version does not serve it.
pub const PARTNER: &[u8] = b"gabion-partner/1";
/// Node to node.
pub const MESH: &[u8] = b"gabion-mesh/1";

/// What a connection turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admitted {
    Controller {
        controller: ControllerId,
        identity: Identity,
    },
    /// A node, at the door of another node.
    Neighbour { node: NodeId, identity: Identity },
    /// A node, at the door of a controller.
    Node { node: NodeId, identity: Identity },
    /// Somebody of whom nothing is known but which cluster they want to join.
    Stranger { cluster: ClusterId },
}

/// Judges a connection by what its handshake showed: the protocol that was agreed on, the server name that the
/// client asked for (lower case), and the certificates it sent, leaf first; those after the leaf are not looked at.
#[expect(
    clippy::too_many_arguments,
    reason = "three from the handshake, three from here, and nothing else decides"
)]
pub fn admit(
    alpn: Option<&[u8]>,
    sni: Option<&str>,
    chain: &[CertificateDer<'_>],
    anchors: &Anchors,
    revocations: &Revocations,
    now: Wall,
) -> Result<Admitted, Refused> {
    let door = Door::of(alpn)?;
    let (called, cluster) = sni
        .and_then(parse_server_name)
        .ok_or(Refused::UnknownServerName)?;
    if !door.is_called_by(called) {
        return Err(Refused::UnknownServerName);
    }
    let check = Check {
        cluster,
        usage: KeyUsage::required(CLIENT_AUTH),
        anchors,
        revocations,
        now,
    };
    match door {
        Door::Join if !anchors.has(cluster) => Err(Refused::UnknownCluster { cluster }),
        Door::Join => Ok(Admitted::Stranger { cluster }),
        Door::Mesh => check
            .node(chain)
            .map(|(node, identity)| Admitted::Neighbour { node, identity }),
        Door::Node => check
            .node(chain)
            .map(|(node, identity)| Admitted::Node { node, identity }),
        Door::Peer => check
            .controller(chain)
            .map(|(controller, identity)| Admitted::Controller { controller, identity }),
    }
}

/// Judges the chain that a server showed to a client that dialled `expected`.
///
/// A joining client calls this with the anchors of the bundle it has just verified, and the chain of the very
/// connection the bundle came over; a node judges a certificate issued to itself as that of its own server.
pub fn verify_server(
    chain: &[CertificateDer<'_>],
    expected: (ServerOf, ClusterId),
    anchors: &Anchors,
    revocations: &Revocations,
    now: Wall,
) -> Result<Identity, Refused> {
    let (server, cluster) = expected;
    let check = Check {
        cluster,
        usage: KeyUsage::required(SERVER_AUTH),
        anchors,
        revocations,
        now,
    };
    match server {
        ServerOf::Controller => check.controller(chain).map(|(_, identity)| identity),
        ServerOf::Node(expected) => {
            let (found, identity) = check.node(chain)?;
            match found == expected {
                true => Ok(identity),
                false => Err(Refused::WrongNode { found }),
            }
        }
    }
}

/// Why a connection is not let in, or a server not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The leaf's `not_after` has passed.
    #[error("the certificate has expired")]
    Expired { not_after: Wall },
    /// The CA that issued the leaf has ended, or not yet begun.
    #[error("the issuer of the certificate is not valid now")]
    IssuerNotValid,
    /// The leaf is not in the form that our CAs issue.
    #[error("the certificate is malformed")]
    MalformedCertificate(#[from] InvalidCertificate),
    /// The other side showed none, at a door that needs one.
    #[error("no certificate was shown")]
    NoCertificate,
    /// The ALPN is one of ours whose door this version does not have.
    #[error("this protocol is not served by this version")]
    NotServed,
    /// The leaf's `not_before` is still to come: one of the two clocks is wrong.
    #[error("the certificate is not valid yet")]
    NotYetValid { not_before: Wall },
    /// The certificate, its node or its issuer is on the cluster's revocation list.
    #[error("the certificate is revoked, by {}", .0.name())]
    Revoked(RevokedBy),
    /// No ALPN was agreed on, or none of ours.
    #[error("unknown protocol")]
    UnknownAlpn,
    /// There are no anchors for the cluster of the server name.
    #[error("cluster {cluster} is not known here")]
    UnknownCluster { cluster: ClusterId },
    /// The client sent no server name, or one that does not belong to this door.
    #[error("the server name is not one of this protocol")]
    UnknownServerName,
    /// The path does not verify for a reason that our CAs never give.
    #[error("the certificate cannot be verified")]
    Unverifiable(#[source] webpki::Error),
    /// The leaf names another cluster than the server name does.
    #[error("the certificate is of cluster {found}")]
    WrongCluster { found: ClusterId },
    /// None of the role's CAs of the cluster signed the leaf.
    #[error("the certificate was not issued by a ca that is trusted here")]
    WrongIssuer,
    /// The server is another node than the one that was dialled.
    #[error("the certificate is that of node {found}")]
    WrongNode { found: NodeId },
    /// A node where a controller should be, or the other way round.
    #[error("the certificate is that of a {}", .found.name())]
    WrongRole { found: CertificateRole },
    /// The certificate is not for TLS clients, or not for TLS servers.
    #[error("the certificate is not for this use")]
    WrongUsage,
}

/// The protocols that are served.
#[derive(Clone, Copy)]
enum Door {
    Join,
    Mesh,
    Node,
    Peer,
}

impl Door {
    fn of(alpn: Option<&[u8]>) -> Result<Self, Refused> {
        match alpn {
            Some(JOIN) => Ok(Self::Join),
            Some(MESH) => Ok(Self::Mesh),
            Some(NODE) => Ok(Self::Node),
            Some(PEER) => Ok(Self::Peer),
            Some(PARTNER) => Err(Refused::NotServed),
            Some(_) | None => Err(Refused::UnknownAlpn),
        }
    }

    fn is_called_by(self, called: ServerOf) -> bool {
        match self {
            Self::Join | Self::Node | Self::Peer => called == ServerOf::Controller,
            Self::Mesh => matches!(called, ServerOf::Node(_)),
        }
    }
}

/// What a leaf is judged by.
struct Check<'a> {
    cluster: ClusterId,
    usage: KeyUsage,
    anchors: &'a Anchors,
    revocations: &'a Revocations,
    now: Wall,
}

impl Check<'_> {
    fn node(&self, chain: &[CertificateDer<'_>]) -> Result<(NodeId, Identity), Refused> {
        let (leaf, claimed) = self.claimed(chain)?;
        match claimed.holder {
            Holder::Node(node) => Ok((node, self.verify(leaf, claimed)?)),
            Holder::Controller(_) => Err(Refused::WrongRole {
                found: claimed.holder.role(),
            }),
        }
    }

    fn controller(&self, chain: &[CertificateDer<'_>]) -> Result<(ControllerId, Identity), Refused> {
        let (leaf, claimed) = self.claimed(chain)?;
        match claimed.holder {
            Holder::Controller(controller) => Ok((controller, self.verify(leaf, claimed)?)),
            Holder::Node(_) => Err(Refused::WrongRole {
                found: claimed.holder.role(),
            }),
        }
    }

    fn claimed<'c>(
        &self,
        chain: &'c [CertificateDer<'c>],
    ) -> Result<(&'c CertificateDer<'c>, ClaimedIdentity), Refused> {
        if !self.anchors.has(self.cluster) {
            return Err(Refused::UnknownCluster {
                cluster: self.cluster,
            });
        }
        let leaf = chain.first().ok_or(Refused::NoCertificate)?;

        Ok((leaf, claimed_identity(leaf)?))
    }

    /// Makes the claim an identity: same cluster, signed by a CA of the claimed role, in time, not revoked.
    fn verify(&self, leaf: &CertificateDer<'_>, claimed: ClaimedIdentity) -> Result<Identity, Refused> {
        if claimed.cluster != self.cluster {
            return Err(Refused::WrongCluster {
                found: claimed.cluster,
            });
        }
        let issuer = self.issuer(leaf, &claimed)?;
        if !issuer.validity.contains(self.now) {
            return Err(Refused::IssuerNotValid);
        }
        let identity = claimed.issued_by(issuer.id);
        match self.revocations.revoked(&identity) {
            Some(by) => Err(Refused::Revoked(by)),
            None => Ok(identity),
        }
    }

    /// The anchor that signed `leaf`, tried one by one so that it is known which.
    fn issuer(&self, leaf: &CertificateDer<'_>, claimed: &ClaimedIdentity) -> Result<&Anchor, Refused> {
        let leaf = EndEntityCert::try_from(leaf).map_err(Refused::Unverifiable)?;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(self.now.seconds()));
        let mut refused = Refused::WrongIssuer;
        for anchor in self.anchors.of(self.cluster, claimed.holder.role()) {
            let trusted = std::slice::from_ref(&anchor.trust);
            match leaf.verify_for_usage(ALGORITHMS, trusted, &[], now, self.usage, None, None) {
                Ok(_) => return Ok(anchor),
                Err(error) => refused = Refused::by_path(error, claimed),
            }
        }

        Err(refused)
    }
}

impl Refused {
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "webpki's errors grow, and most are about CRLs and names that are not used here"
    )]
    fn by_path(error: webpki::Error, claimed: &ClaimedIdentity) -> Self {
        use webpki::Error as Path;

        match error {
            Path::CertExpired { .. } => Self::Expired {
                not_after: claimed.validity.not_after,
            },
            Path::CertNotValidYet { .. } => Self::NotYetValid {
                not_before: claimed.validity.not_before,
            },
            Path::RequiredEkuNotFoundContext(_) => Self::WrongUsage,
            Path::InvalidSignatureForPublicKey | Path::UnknownIssuer => Self::WrongIssuer,
            other => Self::Unverifiable(other),
        }
    }
}

/// Ed25519 alone signs certificates here.
const ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[webpki::aws_lc_rs::ED25519];

/// id-kp-serverAuth and id-kp-clientAuth (RFC 5280 4.2.1.12), the content of their DER. A leaf must have them:
/// webpki's own constants would let one pass that has no extended key usage at all.
const SERVER_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x01];
const CLIENT_AUTH: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x02];
