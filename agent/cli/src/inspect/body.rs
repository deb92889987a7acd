//! The bodies of documents as JSON.

use data_encoding::BASE64URL_NOPAD;
use protocol::document::authority::{ActivationManifest, RevocationList, RoleGrant, Succession, TrustBundle};
use protocol::document::beacon::{Beacon, Pin};
use protocol::document::config::{CandidateKind, ControllerAddress, Neighbour, SyntheticConfig};
use protocol::document::join::{ApprovalMode, JoinClaims, JoinContract};
use protocol::document::routes::{Cadence, LeaseTable, Path, RouteDecision, Routes};
use protocol::envelope::{Envelope, Kind, OpenError};
use protocol::key::{Digest, VerifyKey};
use protocol::node::{Labels, NodeRole};
use serde_json::{Value, json};

use super::time;

/// The body that an envelope claims to have.
pub(super) fn of(envelope: &Envelope) -> Result<Value, OpenError> {
    Ok(match envelope.claimed().kind {
        Kind::ActivationManifest => activation(&envelope.claimed_body()?),
        Kind::RoleGrant => grant(&envelope.claimed_body()?),
        Kind::JoinToken => claims(&envelope.claimed_body()?),
        Kind::JoinContract => contract(&envelope.claimed_body()?),
        Kind::TrustBundle => bundle(&envelope.claimed_body()?),
        Kind::RevocationList => revocations(&envelope.claimed_body()?),
        Kind::SyntheticConfig => config(&envelope.claimed_body()?),
        Kind::Routes => routes(&envelope.claimed_body()?),
        Kind::LeaseTable => leases(&envelope.claimed_body()?),
        Kind::Beacon => beacon(&envelope.claimed_body()?),
        Kind::Succession => succession(&envelope.claimed_body()?),
    })
}

fn activation(body: &ActivationManifest) -> Value {
    json!({
        "installation": body.installation,
        "owner": body.owner,
        "owner_name": body.owner_name,
        "owner_key": key(&body.owner_key),
        "role": body.role.name(),
        "nonce": BASE64URL_NOPAD.encode(&body.nonce),
        "not_before": time(body.not_before),
        "not_after": time(body.not_after),
    })
}

fn grant(body: &RoleGrant) -> Value {
    json!({
        "operator": body.operator,
        "name": body.name,
        "key": key(&body.key),
        "role": body.role.name(),
        "cluster": body.cluster,
    })
}

fn claims(body: &JoinClaims) -> Value {
    json!({
        "token": body.token,
        "cluster": body.cluster,
        "authority": body.authority,
        "controllers": body.controllers,
        "roles": roles(&body.roles),
        "labels": labels(&body.labels),
        "max_uses": body.max_uses,
        "expires": time(body.expires),
        "approval": match body.approval {
            ApprovalMode::Manual => "manual",
            ApprovalMode::Auto => "auto",
        },
        "sources": body.sources.iter().map(|block| block.0.to_string()).collect::<Vec<_>>(),
    })
}

fn contract(body: &JoinContract) -> Value {
    json!({
        "request": body.request,
        "node": body.node,
        "name": body.name,
        "roles": roles(&body.roles),
        "labels": labels(&body.labels),
        "generation": body.generation,
        "certificate": certificate(&body.certificate),
        "key": key(&body.key),
        "authority": key(&body.authority),
        "controllers": body.controllers.iter().map(controller).collect::<Vec<_>>(),
    })
}

fn bundle(body: &TrustBundle) -> Value {
    json!({
        "node_cas": body.node_cas.iter().map(|der| certificate(der)).collect::<Vec<_>>(),
        "controller_cas": body.controller_cas.iter().map(|der| certificate(der)).collect::<Vec<_>>(),
    })
}

fn revocations(body: &RevocationList) -> Value {
    let certificates = body.certificates.iter().map(|revoked| {
        json!({
            "issuer": revoked.issuer.to_string(),
            "serial": revoked.serial.to_string(),
            "ends_at": time(revoked.ends_at),
        })
    });
    let nodes = body.nodes.iter().map(|revoked| {
        json!({
            "node": revoked.node,
            "generation": revoked.generation,
            "ends_at": time(revoked.ends_at),
        })
    });

    json!({
        "floor": time(body.floor),
        "certificates": certificates.collect::<Vec<_>>(),
        "nodes": nodes.collect::<Vec<_>>(),
        "issuers": body.issuers.iter().map(Digest::to_string).collect::<Vec<_>>(),
    })
}

fn config(body: &SyntheticConfig) -> Value {
    let transport = &body.transport;

    json!({
        "name": body.name,
        "roles": roles(&body.roles),
        "labels": labels(&body.labels),
        "generation": body.generation,
        "neighbours": body.neighbours.iter().map(neighbour).collect::<Vec<_>>(),
        "controllers": body.controllers.iter().map(controller).collect::<Vec<_>>(),
        "transport": {
            "probe_fast_ms": transport.probe_fast,
            "probe_normal_ms": transport.probe_normal,
            "probe_rest_ms": transport.probe_rest,
            "heartbeat_ms": transport.heartbeat,
            "freshness_ms": transport.freshness,
            "activity_ms": transport.activity,
        },
        "settings": body.settings.map(|settings| settings.to_string()),
    })
}

fn neighbour(neighbour: &Neighbour) -> Value {
    let candidates = neighbour.candidates.iter().map(|candidate| {
        let kind = match candidate.kind {
            CandidateKind::Public => "public",
            CandidateKind::Lan => "lan",
            CandidateKind::Reflexive => "reflexive",
        };
        json!({ "kind": kind, "address": candidate.address.0.to_string() })
    });

    json!({
        "node": neighbour.node,
        "name": neighbour.name,
        "generation": neighbour.generation,
        "roles": roles(&neighbour.roles),
        "seal_key": BASE64URL_NOPAD.encode(neighbour.seal_key.as_bytes()),
        "candidates": candidates.collect::<Vec<_>>(),
    })
}

fn routes(body: &Routes) -> Value {
    json!({ "decisions": body.decisions.iter().map(decision).collect::<Vec<_>>() })
}

fn decision(decision: &RouteDecision) -> Value {
    json!({
        "route": decision.route,
        "peer": decision.peer,
        "generation": decision.generation,
        "action": decision.action.name(),
        "path": decision.path.as_ref().map(path),
        "standbys": decision.standbys.iter().map(path).collect::<Vec<_>>(),
        "reasons": decision.reasons.iter().map(|reason| reason.name()).collect::<Vec<_>>(),
        "priority": decision.priority,
        "cadence": match decision.cadence {
            Cadence::Auto => "auto",
            Cadence::Fast => "fast",
            Cadence::Normal => "normal",
            Cadence::Rest => "rest",
        },
        "rendezvous": decision.rendezvous.map(|place| json!({
            "node": place.node,
            "lease": place.lease,
            "generation": place.generation,
        })),
    })
}

fn path(path: &Path) -> Value {
    match path {
        Path::Direct => json!({ "kind": "direct" }),
        Path::Relay {
            relay,
            lease,
            generation,
            budget,
        } => json!({
            "kind": "relay",
            "relay": relay,
            "lease": lease,
            "generation": generation,
            "budget_bytes_per_second": budget,
        }),
    }
}

fn leases(body: &LeaseTable) -> Value {
    let rows = body.rows.iter().map(|row| {
        json!({
            "lease": row.lease,
            "low": row.low,
            "high": row.high,
            "generation": row.generation,
            "budget_kib": row.budget_kib,
            "grace_minutes": row.grace_minutes,
            "kind": row.kind.name(),
        })
    });

    json!({ "rows": rows.collect::<Vec<_>>() })
}

fn beacon(body: &Beacon) -> Value {
    json!({
        "term": body.term,
        "revision": body.revision,
        "root": body.root.to_string(),
        "leaves": body.leaves,
        "bundle": pin(&body.bundle),
        "revocations": pin(&body.revocations),
        "audit": pin(&body.audit),
    })
}

fn succession(body: &Succession) -> Value {
    json!({ "epoch": body.epoch, "key": key(&body.key) })
}

fn pin(pin: &Pin) -> Value {
    json!({ "version": pin.version, "hash": pin.hash.to_string() })
}

fn controller(address: &ControllerAddress) -> Value {
    json!({ "controller": address.controller, "endpoints": address.endpoints })
}

fn key(key: &VerifyKey) -> Value {
    json!({ "public_key": key, "fingerprint": key.fingerprint() })
}

/// A certificate is known by the hash of its bytes.
fn certificate(der: &[u8]) -> Value {
    json!({ "sha256": Digest::of(der).to_string(), "bytes": der.len() })
}

fn roles(roles: &[NodeRole]) -> Vec<&'static str> {
    roles.iter().map(|role| role.name()).collect()
}

fn labels(labels: &Labels) -> Value {
    labels
        .iter()
        .map(|(key, value)| (key.to_owned(), Value::from(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}
