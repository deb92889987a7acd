//! What joining begins with: whom to trust and dial, and what is asked first.

use protocol::certificate::csr;
use protocol::id::ClusterId;
use protocol::key::Digest;
use protocol::token::JoinToken;
use protocol::wire::{Enroll, EnrollmentStatus, JoinRequest, Proof};

use crate::control::addresses;
use crate::control::config::Config;
use crate::control::event::JoinFailure;
use crate::control::identity::Joining;

/// What token, configuration and disk say together.
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) cluster: ClusterId,
    /// What an earlier run began with the same token.
    pub(super) begun: Option<Joining>,
    pub(super) endpoints: Vec<String>,
}

impl Beginning {
    pub(super) fn of(config: &Config, joining: Option<Joining>) -> Result<Self, JoinFailure> {
        let claims = config
            .token
            .as_ref()
            .map(JoinToken::claims_unverified)
            .transpose()
            .map_err(|_| JoinFailure::MalformedToken)?;
        let same_token =
            |joining: &Joining| claims.as_ref().is_none_or(|claims| claims.token == joining.token);
        let begun = joining.filter(same_token);
        let (cluster, authority, named) = match (&claims, &begun) {
            (Some(claims), _) => (claims.cluster, claims.authority, &claims.controllers),
            (None, Some(begun)) => (
                begun.trust.cluster(),
                begun.trust.pin().fingerprint(),
                &begun.controllers,
            ),
            (None, None) => return Err(JoinFailure::NoToken),
        };
        if !config.pin.agrees_with(&authority) {
            return Err(JoinFailure::PinDisagrees);
        }
        let scattered = addresses::scattered(config.boot.as_bytes(), named);
        let endpoints = addresses::ring(&[], &[], config.controllers.iter().chain(&scattered));
        if endpoints.is_empty() {
            return Err(JoinFailure::NoController);
        }

        Ok(Self {
            cluster,
            begun,
            endpoints,
        })
    }
}

/// What to ask next, with keys that are on disk.
pub(super) fn question(
    joining: &Joining,
    config: &Config,
    exported: &[u8; 32],
    leaving: bool,
) -> Option<JoinRequest> {
    let keys = &joining.keys;
    if let Some(request) = joining.request {
        let status = EnrollmentStatus {
            request,
            proof: Proof::new(&keys.node, exported, request.as_bytes()),
        };

        return Some(match leaving {
            true => JoinRequest::Withdraw(status),
            false => JoinRequest::Status(status),
        });
    }
    let token = config.token.as_ref()?;
    let csr = csr(&keys.node);

    Some(JoinRequest::Enroll(Enroll {
        claims: token.claims_bytes().to_vec().into(),
        secret: token.secret().clone(),
        seal_key: keys.seal.seal_key(),
        name: config.name.clone(),
        facts: config.facts.clone(),
        proof: Proof::new(&keys.node, exported, Digest::of(&csr).as_bytes()),
        csr: csr.into(),
    }))
}
