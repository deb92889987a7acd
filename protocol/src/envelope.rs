//! The signed envelope: COSE_Sign (RFC 9052 4.1) over a header and a body, both deterministic CBOR.
//!
//! ```text
//! [ protected: h'', unprotected: {}, payload, [ [ {1: -19, 4: key id}, {}, signature ], ... ] ]
//! payload = { 0: header, 1: body bytes }          external AAD = type ‖ cluster ‖ subject
//! ```
//!
//! The bytes that were signed are the bytes that are kept and sent; nothing is ever encoded again. A verifier
//! names what it expects, and the AAD is made from that expectation, never from what the document claims.

mod header;

pub use header::{Header, Kind, Realm, Stamp, Subject};

use coset::{
    CborSerializable, CoseSign, CoseSignBuilder, CoseSignature, CoseSignatureBuilder, HeaderBuilder, iana,
};
use minicbor::{Decode, Encode};

use crate::cbor::{self, Malformed};
use crate::key::{Digest, Fingerprint, Sign, VerifyKey};
use crate::strict;

/// A body with a kind of its own.
pub trait Document: Encode<()> + for<'b> Decode<'b, ()> {
    const KIND: Kind;
    /// Rises when a reader of the old schema would misread the new one.
    const SCHEMA: u16 = 1;

    /// Features without which a reader must keep what it has, by what is in the body.
    fn needs(&self) -> Vec<u32> {
        Vec::new()
    }
}

/// What a verifier was going to accept: everything that the signature is bound to from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expected {
    pub realm: Realm,
    pub subject: Subject,
}

/// A verified document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened<D> {
    pub header: Header,
    pub body: D,
    pub hash: Digest,
}

/// Signs `body` under `header`'s realm, subject and numbers; the kind and schema come from the body's type.
pub fn seal<D: Document>(stamp: &Stamp, body: &D, signers: &[&dyn Sign]) -> Vec<u8> {
    let header = stamp.header(body);
    let aad = aad(header.kind, header.realm, header.subject);
    let payload = cbor::encode(&Payload {
        header,
        body: cbor::encode(body).into(),
    });
    let unsigned = CoseSignBuilder::new().payload(payload);
    let signed = signers.iter().fold(unsigned, |envelope, signer| {
        let slot = slot(signer.verify_key().fingerprint());
        envelope.add_created_signature(slot, &aad, |message| signer.sign(message).to_vec())
    });

    signed
        .build()
        .to_vec()
        .expect("an envelope built here has a CBOR form")
}

/// The hash that a beacon pins for a body under a stamp, without signing it.
pub fn payload_hash<D: Document>(stamp: &Stamp, body: &D) -> Digest {
    let payload = Payload {
        header: stamp.header(body),
        body: cbor::encode(body).into(),
    };

    Digest::of(&cbor::encode(&payload))
}

/// An envelope whose form is right and whose signatures nobody has checked yet.
#[derive(Debug)]
pub struct Envelope {
    sign: CoseSign,
    payload: Payload,
    hash: Digest,
}

impl Envelope {
    /// Reads the outer form. Says nothing about who signed.
    pub fn parse(bytes: &[u8]) -> Result<Self, OpenError> {
        strict::check(bytes).map_err(Malformed::from)?;
        let (outer, slots) = protected_headers(bytes).map_err(|_| OpenError::NotAnEnvelope)?;
        for protected in slots {
            strict::check(protected).map_err(Malformed::from)?;
        }
        let sign = CoseSign::from_slice(bytes).map_err(|_| OpenError::NotAnEnvelope)?;
        let plain = outer.is_empty() && sign.unprotected.is_empty();
        if !plain || sign.signatures.is_empty() || sign.signatures.len() > MAX_SIGNATURES {
            return Err(OpenError::NotAnEnvelope);
        }
        let inner = sign.payload.as_deref().ok_or(OpenError::NotAnEnvelope)?;
        let payload = cbor::decode(inner)?;
        let hash = Digest::of(inner);

        Ok(Self { sign, payload, hash })
    }

    /// What the document says of itself; **unverified**, fit for choosing a key and for talk.
    pub fn claimed(&self) -> &Header {
        &self.payload.header
    }

    /// The body, **unverified**: fit for talk, and for finding out whose key to ask for.
    pub fn claimed_body<D: Document>(&self) -> Result<D, OpenError> {
        self.hold_to_kind::<D>()?;

        Ok(cbor::decode(&self.payload.body)?)
    }

    pub fn hash(&self) -> Digest {
        self.hash
    }

    /// The key ids of the signature slots; unverified.
    pub fn claimed_signers(&self) -> impl Iterator<Item = Fingerprint> + '_ {
        self.sign.signatures.iter().filter_map(signer_of)
    }

    /// Whether `key` signed this document as one of `kind` for `expected`.
    pub fn is_signed_by(&self, kind: Kind, expected: &Expected, key: &VerifyKey) -> bool {
        let aad = aad(kind, expected.realm, expected.subject);
        let id = key.fingerprint();
        self.sign.signatures.iter().enumerate().any(|(index, slot)| {
            signer_of(slot) == Some(id)
                && self
                    .sign
                    .verify_signature(index, &aad, |signature, message| key.verify(message, signature))
                    .is_ok()
        })
    }

    /// Opens a document that `key` must have signed.
    pub fn open<D: Document>(&self, expected: &Expected, key: &VerifyKey) -> Result<Opened<D>, OpenError> {
        self.open_by(expected, std::slice::from_ref(key), 1)
    }

    /// Opens a document that at least `threshold` different keys of `keys` must have signed.
    pub fn open_by<D: Document>(
        &self,
        expected: &Expected,
        keys: &[VerifyKey],
        threshold: usize,
    ) -> Result<Opened<D>, OpenError> {
        self.hold_to_kind::<D>()?;
        let header = &self.payload.header;
        if header.realm != expected.realm {
            return Err(OpenError::WrongRealm { found: header.realm });
        }
        if header.subject != expected.subject {
            return Err(OpenError::WrongSubject {
                found: header.subject,
            });
        }
        let signers: std::collections::BTreeSet<&VerifyKey> = keys
            .iter()
            .filter(|key| self.is_signed_by(D::KIND, expected, key))
            .collect();
        if signers.len() < threshold.max(1) {
            return Err(OpenError::NotSigned);
        }
        if header.schema > D::SCHEMA {
            return Err(OpenError::UnknownSchema { found: header.schema });
        }
        if let Some(feature) = header
            .needs
            .iter()
            .copied()
            .find(|feature| !FEATURES.contains(feature))
        {
            return Err(OpenError::UnknownFeature { feature });
        }
        let body = cbor::decode(&self.payload.body)?;

        Ok(Opened {
            header: header.clone(),
            body,
            hash: self.hash,
        })
    }

    fn hold_to_kind<D: Document>(&self) -> Result<(), OpenError> {
        let found = self.payload.header.kind;
        match found == D::KIND {
            true => Ok(()),
            false => Err(OpenError::WrongKind {
                expected: D::KIND,
                found,
            }),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// Header or body are not what their type says, or not deterministic CBOR.
    #[error("the document is malformed")]
    Malformed(#[from] Malformed),
    /// The outer form is not the envelope of this module.
    #[error("not a signed document")]
    NotAnEnvelope,
    /// No slot holds a signature by a key that is trusted for this, or too few do.
    #[error("not signed by a key that is trusted for it")]
    NotSigned,
    /// The document needs a feature that this version lacks.
    #[error("the document needs feature {feature}, which this version lacks")]
    UnknownFeature { feature: u32 },
    /// The document was written for a newer schema.
    #[error("the document has schema {found}, newer than this version reads")]
    UnknownSchema { found: u16 },
    /// A document of another kind.
    #[error("a {} was expected, and this is a {}", .expected.name(), .found.name())]
    WrongKind { expected: Kind, found: Kind },
    /// A document of another cluster or installation.
    #[error("the document belongs to cluster {found}")]
    WrongRealm { found: Realm },
    /// A document for another node.
    #[error("the document is addressed to {found}")]
    WrongSubject { found: Subject },
}

#[derive(Debug, Encode, Decode)]
#[cbor(map)]
struct Payload {
    #[n(0)]
    header: Header,
    #[n(1)]
    body: minicbor::bytes::ByteVec,
}

/// The protected headers of the envelope and of each slot: bytes to the outer gate, CBOR to the COSE decoder.
fn protected_headers(bytes: &[u8]) -> Result<(&[u8], Vec<&[u8]>), minicbor::decode::Error> {
    let mut d = minicbor::Decoder::new(bytes);
    d.array()?;
    let outer = d.bytes()?;
    d.skip()?;
    d.skip()?;
    let mut slots = Vec::new();
    for _ in 0..d.array()?.unwrap_or(0) {
        d.array()?;
        slots.push(d.bytes()?);
        d.skip()?;
        d.skip()?;
    }

    Ok((outer, slots))
}

/// What a signature is bound to besides the payload: type ‖ cluster ‖ subject.
fn aad(kind: Kind, realm: Realm, subject: Subject) -> Vec<u8> {
    let mut aad = vec![kind.number()];
    aad.extend_from_slice(realm.as_bytes());
    match subject {
        Subject::All => aad.push(b'*'),
        Subject::Node(id) => aad.extend_from_slice(id.as_bytes()),
    }

    aad
}

fn slot(signer: Fingerprint) -> CoseSignature {
    let protected = HeaderBuilder::new()
        .algorithm(iana::Algorithm::Ed25519)
        .key_id(signer.as_bytes().to_vec())
        .build();

    CoseSignatureBuilder::new().protected(protected).build()
}

/// The signer a slot names, if the slot has exactly the form that [`slot`] gives it.
fn signer_of(found: &CoseSignature) -> Option<Fingerprint> {
    let id = Fingerprint::from_bytes(found.protected.header.key_id.as_slice().try_into().ok()?);
    let ours = slot(id);
    let same = ours.protected.header == found.protected.header && found.unprotected.is_empty();

    same.then_some(id)
}

/// Slots of one envelope: product roots are at most 5-of-8.
const MAX_SIGNATURES: usize = 8;

/// Rows of a lease table have kinds, and not each of them allows to carry all that its ends send.
pub const LEASE_KINDS: u32 = 1;
/// Features this version has.
const FEATURES: &[u32] = &[LEASE_KINDS];
