//! The join contract: opened with the key that asked, verified against the pinned authority, held to the request.

use protocol::admit::{self, Anchors, Revocations};
use protocol::certificate::{ServerOf, claimed_identity};
use protocol::document::join::JoinContract;
use protocol::envelope::{Envelope, Subject};
use protocol::id::{ClusterId, NodeId, RequestId};
use protocol::key::VerifyKey;
use protocol::sealed::{JOIN_CONTRACT, open_sealed};
use protocol::time::Wall;
use rustls_pki_types::CertificateDer;

use super::event::JoinFailure;
use super::identity::{Joining, Member};
use super::welcome::Verified;

/// Makes a member of a machine that was approved.
pub(super) fn accept(
    sealed: &[u8],
    joining: &Joining,
    request: RequestId,
    welcomed: &Verified,
    now: Wall,
) -> Result<Member, JoinFailure> {
    let signed = open_sealed(&joining.keys.seal, JOIN_CONTRACT, request.as_bytes(), sealed)
        .map_err(|_| JoinFailure::ContractRefused)?;
    let trust = &joining.trust;
    let subject = addressee(&signed)?;
    let contract = trust
        .open::<JoinContract>(&signed, subject)
        .map_err(|_| JoinFailure::ContractRefused)?;
    let key = joining.keys.node.verify_key();
    let authority = trust.key(contract.header.epoch);
    let contract = contract.body;
    let fits = contract.request == request
        && contract.key == key
        && Some(&contract.authority) == authority
        && (subject == Subject::All || subject == Subject::Node(contract.node));
    let certified = certifies(
        &contract.certificate,
        (contract.node, trust.cluster(), key),
        &welcomed.anchors,
        now,
    );
    if !fits || !certified {
        return Err(JoinFailure::ContractMismatch);
    }

    Ok(Member {
        node: contract.node,
        name: contract.name,
        generation: contract.generation,
        certificate: contract.certificate,
        keys: joining.keys.clone(),
        previous_seal: None,
        trust: trust.clone(),
        controllers: contract.controllers,
        renewal: None,
    })
}

/// Whether `der` certifies that this node of this cluster holds this key.
///
/// Judged at a time at which the certificate counts: it may have waited here longer than its life, and is then
/// renewed; and the clock of a machine that has just been set up may be wrong.
pub(super) fn certifies(
    der: &[u8],
    (node, cluster, key): (NodeId, ClusterId, VerifyKey),
    anchors: &Anchors,
    now: Wall,
) -> bool {
    let Ok(claimed) = claimed_identity(der) else {
        return false;
    };
    let at = now.clamp(claimed.validity.not_before, claimed.validity.not_after);
    let chain = [CertificateDer::from(der)];
    let expected = (ServerOf::Node(node), cluster);
    let identity = admit::verify_server(&chain, expected, anchors, &Revocations::default(), at);

    identity.is_ok_and(|identity| identity.key == key)
}

/// The node that a contract is addressed to, which the machine does not know before; the body must name it too.
fn addressee(signed: &[u8]) -> Result<Subject, JoinFailure> {
    let envelope = Envelope::parse(signed).map_err(|_| JoinFailure::ContractRefused)?;

    Ok(envelope.claimed().subject)
}
