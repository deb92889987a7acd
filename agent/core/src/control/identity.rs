//! What the identity file holds: keys, the pinned authority, and how far this machine has come with its cluster.

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::certificate::{ClaimedIdentity, InvalidCertificate, claimed_identity};
use protocol::document::config::ControllerAddress;
use protocol::id::{ClusterId, NodeId, RequestId, TokenId};
use protocol::key::{Digest, SealSecret, SigningKey};
use rustls_pki_types::CertificateDer;

use super::effect::{NodeIdentity, Payload};
use super::file::FileName;
use super::trust::Trust;

/// How far this machine has come. What is on disk is one of these, whole.
#[derive(Clone, Debug, Default, Encode, Decode)]
pub(super) enum Standing {
    /// Never joined, or left.
    #[default]
    #[n(0)]
    Stranger,
    #[n(1)]
    Joining(#[n(0)] Box<Joining>),
    #[n(2)]
    Member(#[n(0)] Box<Member>),
}

impl Standing {
    /// The identity file with this in it.
    pub(super) fn file(&self) -> (FileName, Payload) {
        FileName::Identity.write(&IdentityFile {
            format: FORMAT,
            standing: self.clone(),
        })
    }

    /// Reads the identity file.
    pub(super) fn read(bytes: &[u8]) -> Result<Self, UnreadableIdentity> {
        if let Some(file) = FileName::Identity.read::<IdentityFile>(bytes) {
            return Ok(file.standing);
        }
        match FileName::Identity.read::<FormatOnly>(bytes) {
            Some(file) if file.format > FORMAT => Err(UnreadableIdentity::TooNew { found: file.format }),
            Some(_) | None => Err(UnreadableIdentity::Damaged),
        }
    }
}

/// Two private keys that are made, certified and replaced together.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub(super) struct Keys {
    #[n(0)]
    #[cbor(with = "signing_key")]
    pub(super) node: SigningKey,
    #[n(1)]
    #[cbor(with = "seal_secret")]
    pub(super) seal: SealSecret,
}

impl Keys {
    pub(super) fn generate(rng: &mut dyn rand::CryptoRng) -> Self {
        Self {
            node: SigningKey::generate(rng),
            seal: SealSecret::generate(rng),
        }
    }
}

/// Keys and pin of a machine that asks to join. Written before the first request that names the keys.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub(super) struct Joining {
    #[n(0)]
    pub(super) token: TokenId,
    #[n(1)]
    pub(super) keys: Keys,
    #[n(2)]
    pub(super) trust: Trust,
    #[n(3)]
    pub(super) controllers: Vec<String>,
    /// `pending_join_request_id`, once the controller gave one.
    #[n(4)]
    pub(super) request: Option<RequestId>,
}

/// A node of a cluster.
#[derive(Clone, Debug, Encode, Decode)]
#[cbor(map)]
pub(super) struct Member {
    #[n(0)]
    pub(super) node: NodeId,
    #[n(1)]
    pub(super) name: String,
    #[n(2)]
    pub(super) generation: u64,
    #[n(3)]
    pub(super) certificate: ByteVec,
    #[n(4)]
    pub(super) keys: Keys,
    #[n(5)]
    #[cbor(with = "optional_seal_secret")]
    pub(super) previous_seal: Option<SealSecret>,
    #[n(6)]
    pub(super) trust: Trust,
    /// As contract or last renewal named them.
    #[n(7)]
    pub(super) controllers: Vec<ControllerAddress>,
    /// Keys for the next certificate, once a renewal has begun.
    #[n(8)]
    pub(super) renewal: Option<Keys>,
}

impl Member {
    pub(super) fn cluster(&self) -> ClusterId {
        self.trust.cluster()
    }

    /// What the certificate says, read once more.
    pub(super) fn claimed(&self) -> Result<ClaimedIdentity, InvalidCertificate> {
        claimed_identity(&self.certificate)
    }

    /// The nonce of the next renewal. It follows from the certificate, so two copies of one identity spend the same
    /// nonce for different keys, and that is how a clone is found.
    pub(super) fn renewal_nonce(&self) -> [u8; 16] {
        let digest = Digest::of_parts(&[b"gabion renewal nonce v1", &self.certificate]);

        *digest.as_bytes().first_chunk().expect("a digest has 32 bytes")
    }

    /// What the mesh and the host need of it.
    pub(super) fn identity(&self) -> NodeIdentity {
        NodeIdentity {
            node: self.node,
            cluster: self.cluster(),
            name: self.name.clone(),
            generation: self.generation,
            certificate: CertificateDer::from(self.certificate.to_vec()),
            key: self.keys.node.clone(),
            seal: self.keys.seal.clone(),
            previous_seal: self.previous_seal.clone(),
        }
    }
}

/// An identity file that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UnreadableIdentity {
    Damaged,
    TooNew { found: u16 },
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct IdentityFile {
    #[n(0)]
    format: u16,
    #[n(1)]
    standing: Standing,
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct FormatOnly {
    #[n(0)]
    format: u16,
}

/// Rises when an older version would misread the file.
const FORMAT: u16 = 1;

/// The seed of an Ed25519 key, as a byte string.
mod signing_key {
    use protocol::key::SigningKey;

    pub(super) fn encode<C, W: minicbor::encode::Write>(
        key: &SigningKey,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(key.reveal_seed().as_slice())?.ok()
    }

    pub(super) fn decode<C>(
        d: &mut minicbor::Decoder<'_>,
        _: &mut C,
    ) -> Result<SigningKey, minicbor::decode::Error> {
        let seed: &[u8; 32] = d.bytes()?.try_into().map_err(|_| super::not_a_key())?;

        Ok(SigningKey::from_seed(seed))
    }
}

/// An X25519 scalar, as a byte string.
mod seal_secret {
    use protocol::key::SealSecret;

    pub(super) fn encode<C, W: minicbor::encode::Write>(
        secret: &SealSecret,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(secret.reveal().as_slice())?.ok()
    }

    pub(super) fn decode<C>(
        d: &mut minicbor::Decoder<'_>,
        _: &mut C,
    ) -> Result<SealSecret, minicbor::decode::Error> {
        let bytes: [u8; 32] = d.bytes()?.try_into().map_err(|_| super::not_a_key())?;

        Ok(SealSecret::from_bytes(bytes))
    }
}

/// The same, or null.
mod optional_seal_secret {
    use protocol::key::SealSecret;

    pub(super) fn encode<C, W: minicbor::encode::Write>(
        secret: &Option<SealSecret>,
        e: &mut minicbor::Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match secret {
            Some(secret) => super::seal_secret::encode(secret, e, ctx),
            None => e.null()?.ok(),
        }
    }

    pub(super) fn decode<C>(
        d: &mut minicbor::Decoder<'_>,
        ctx: &mut C,
    ) -> Result<Option<SealSecret>, minicbor::decode::Error> {
        if d.datatype()? == minicbor::data::Type::Null {
            return d.null().map(|()| None);
        }

        super::seal_secret::decode(d, ctx).map(Some)
    }
}

fn not_a_key() -> minicbor::decode::Error {
    minicbor::decode::Error::message("not a private key")
}
