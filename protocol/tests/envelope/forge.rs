//! Writes envelopes by hand, so that each part can be wrong on its own.

use minicbor::Encoder;
use protocol::cbor;
use protocol::envelope::{Document, Header, Kind, Subject};
use protocol::id::ClusterId;
use protocol::key::{Fingerprint, SigningKey};

use crate::{CLUSTER, US, authority, body, stamp};

/// A good document in its default; what is replaced is signed as it is shown, but for `shown` and `shown_raw`.
pub(crate) struct Forgery {
    pub(crate) protected: &'static [u8],
    /// CBOR.
    pub(crate) unprotected: &'static [u8],
    pub(crate) payload: Vec<u8>,
    /// Stands in place of the payload that was signed.
    pub(crate) shown: Option<Vec<u8>>,
    /// CBOR; stands in place of the payload's byte string.
    pub(crate) shown_raw: Option<Vec<u8>>,
    pub(crate) aad: Vec<u8>,
    pub(crate) slots: Vec<Slot>,
}

impl Default for Forgery {
    fn default() -> Self {
        Self::of(payload(&header(), &cbor::encode(&body())))
    }
}

impl Forgery {
    /// The authority's signature over any payload.
    pub(crate) fn of(payload: Vec<u8>) -> Self {
        Self {
            protected: &[],
            unprotected: EMPTY_MAP,
            payload,
            shown: None,
            shown_raw: None,
            aad: aad(Kind::Beacon, CLUSTER, Subject::Node(US)),
            slots: vec![Slot::by(authority())],
        }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let shown = byte_string(self.shown.as_ref().unwrap_or(&self.payload));
        let slots: Vec<u8> = self.slots.iter().flat_map(|slot| slot.bytes(self)).collect();

        [
            array_head(4),
            byte_string(self.protected),
            self.unprotected.to_vec(),
            self.shown_raw.clone().unwrap_or(shown),
            array_head(self.slots.len()),
            slots,
        ]
        .concat()
    }
}

/// One signature, in its default as the crate writes it.
#[derive(Clone)]
pub(crate) struct Slot {
    pub(crate) signer: SigningKey,
    pub(crate) named: Fingerprint,
    pub(crate) algorithm: i8,
    /// One more entry of the protected header, CBOR.
    pub(crate) extra: &'static [u8],
    /// Stands in place of the whole protected header.
    pub(crate) protected: Option<Vec<u8>>,
    /// CBOR.
    pub(crate) unprotected: &'static [u8],
}

impl Slot {
    pub(crate) fn by(signer: SigningKey) -> Self {
        Self {
            named: signer.verify_key().fingerprint(),
            signer,
            algorithm: -19,
            extra: &[],
            protected: None,
            unprotected: EMPTY_MAP,
        }
    }

    fn bytes(&self, forgery: &Forgery) -> Vec<u8> {
        let protected = self.protected.clone().unwrap_or_else(|| self.header());
        let to_be_signed = [
            array_head(5),
            cbor::encode(&"Signature"),
            byte_string(forgery.protected),
            byte_string(&protected),
            byte_string(&forgery.aad),
            byte_string(&forgery.payload),
        ]
        .concat();

        [
            array_head(3),
            byte_string(&protected),
            self.unprotected.to_vec(),
            byte_string(&self.signer.sign(&to_be_signed)),
        ]
        .concat()
    }

    fn header(&self) -> Vec<u8> {
        let entries = 2 + u8::from(!self.extra.is_empty());

        [
            vec![0xa0 | entries, 0x01],
            cbor::encode(&self.algorithm),
            vec![0x04],
            byte_string(self.named.as_bytes()),
            self.extra.to_vec(),
        ]
        .concat()
    }
}

/// The header that [`stamp`] makes of a beacon.
pub(crate) fn header() -> Header {
    let stamp = stamp();

    Header {
        kind: Kind::Beacon,
        schema: protocol::document::beacon::Beacon::SCHEMA,
        realm: stamp.realm,
        subject: stamp.subject,
        epoch: stamp.epoch,
        version: stamp.version,
        previous: stamp.previous,
        issued_at: stamp.issued_at,
        valid_until: stamp.valid_until,
        needs: Vec::new(),
    }
}

pub(crate) fn payload(header: &Header, body: &[u8]) -> Vec<u8> {
    payload_of(&cbor::encode(header), body)
}

/// As [`payload`], of a header in CBOR.
pub(crate) fn payload_of(header: &[u8], body: &[u8]) -> Vec<u8> {
    [&[0xa2, 0x00], header, &[0x01], &byte_string(body)].concat()
}

pub(crate) fn aad(kind: Kind, cluster: ClusterId, subject: Subject) -> Vec<u8> {
    let subject = match &subject {
        Subject::All => b"*".as_slice(),
        Subject::Node(id) => id.as_bytes(),
    };

    [&cbor::encode(&kind), cluster.as_bytes().as_slice(), subject].concat()
}

fn byte_string(bytes: &[u8]) -> Vec<u8> {
    cbor::encode(&minicbor::bytes::ByteVec::from(bytes.to_vec()))
}

fn array_head(items: usize) -> Vec<u8> {
    let mut e = Encoder::new(Vec::new());
    e.array(items as u64).expect("writing to a Vec cannot fail");

    e.into_writer()
}

const EMPTY_MAP: &[u8] = &[0xa0];
