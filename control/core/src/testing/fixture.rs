//! People and machines that act on a test's controller.

use std::net::SocketAddr;

use protocol::certificate;
use protocol::document::authority::{ActivationManifest, Role, RoleGrant};
use protocol::document::join::JoinContract;
use protocol::envelope::{self, Envelope, Expected, Opened, Stamp, Subject};
use protocol::id::{ClusterId, InstallationId, OperatorId, RequestId};
use protocol::key::{Digest, SealSecret, SigningKey};
use protocol::sealed;
use protocol::time::Wall;
use protocol::token::JoinToken;
use protocol::wire::{Enroll, EnrollmentStatus, HostFacts, Proof};
use rand::Rng;

use crate::authority;
use crate::join::JoinCaller;

use super::World;

/// The manifest that makes the world's owner the first one, signed by its product root.
pub fn manifest(world: &World, installation: InstallationId) -> Vec<u8> {
    let now = world.now.wall;
    let body = ActivationManifest {
        installation,
        owner: world.owner,
        owner_name: "alice".to_owned(),
        owner_key: world.owner_key.verify_key(),
        role: Role::Owner,
        nonce: *world.owner.as_bytes(),
        not_before: now,
        not_after: now.after(std::time::Duration::from_secs(3600)),
    };

    envelope::seal(&stamp(installation, 1, now), &body, &[&world.root])
}

/// A role grant of `version`, in force until further notice unless `until` says otherwise.
pub fn signed_grant(
    signer: &SigningKey,
    installation: InstallationId,
    body: &RoleGrant,
    (version, until): (u64, Option<Wall>),
) -> Vec<u8> {
    let stamp = Stamp {
        valid_until: until,
        ..stamp(installation, version, Wall(1_800_000_000_000))
    };

    envelope::seal(&stamp, body, &[signer])
}

/// A grant's body for an operator whose id and key come from `seed`.
pub fn grant_to(seed: u8, name: &str, role: Role) -> (RoleGrant, SigningKey) {
    let key = SigningKey::from_seed(&[seed; 32]);
    let body = RoleGrant {
        operator: OperatorId::from_bytes([seed; 16]),
        name: name.to_owned(),
        key: key.verify_key(),
        role,
        cluster: None,
    };

    (body, key)
}

fn stamp(installation: InstallationId, version: u64, issued_at: Wall) -> Stamp {
    Stamp {
        realm: installation.into(),
        subject: Subject::All,
        epoch: 0,
        version,
        previous: None,
        issued_at,
        valid_until: None,
    }
}

/// The secret's bytes, which only its encoding gives out.
pub fn secret_of(token: &JoinToken) -> [u8; 32] {
    let encoded = protocol::cbor::encode(token.secret());

    *encoded
        .last_chunk()
        .expect("a secret has 32 bytes behind its head")
}

/// A machine that wants to join, on one connection.
#[derive(Clone, Debug)]
pub struct Joiner {
    pub key: SigningKey,
    pub seal_secret: SealSecret,
    pub name: String,
    pub caller: JoinCaller,
}

impl Joiner {
    pub fn new(world: &mut World, cluster: ClusterId, name: &str) -> Self {
        let mut exported = [0; 32];
        world.rng.fill_bytes(&mut exported);

        Self {
            key: SigningKey::generate(&mut world.rng),
            seal_secret: SealSecret::generate(&mut world.rng),
            name: name.to_owned(),
            caller: JoinCaller {
                cluster,
                exported,
                source: SocketAddr::from(([192, 0, 2, 7], 40_000)),
            },
        }
    }

    pub fn enroll(&self, token: &JoinToken) -> Enroll {
        let csr = certificate::csr(&self.key);
        let about = Digest::of(&csr);

        Enroll {
            claims: token.claims_bytes().to_vec().into(),
            secret: token.secret().clone(),
            csr: csr.into(),
            seal_key: self.seal_secret.seal_key(),
            name: self.name.clone(),
            facts: HostFacts::default(),
            proof: Proof::new(&self.key, &self.caller.exported, about.as_bytes()),
        }
    }

    pub fn question(&self, request: RequestId) -> EnrollmentStatus {
        EnrollmentStatus {
            request,
            proof: Proof::new(&self.key, &self.caller.exported, request.as_bytes()),
        }
    }

    /// Opens and verifies a contract as an agent does.
    pub fn open(&self, world: &World, request: RequestId, contract: &[u8]) -> Opened<JoinContract> {
        let signed = sealed::open_sealed(
            &self.seal_secret,
            sealed::JOIN_CONTRACT,
            request.as_bytes(),
            contract,
        )
        .expect("sealed to this joiner");
        let authority = authority::current(&world.tx, self.caller.cluster).expect("an authority");
        let expected = Expected {
            realm: self.caller.cluster.into(),
            subject: Subject::All,
        };

        Envelope::parse(&signed)
            .expect("an envelope")
            .open(&expected, &authority.key)
            .expect("signed by the authority")
    }
}
