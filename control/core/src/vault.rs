//! A [`Signer`] whose keys are sealed rows: XChaCha20-Poly1305 under a data key of each record, wrapped by a
//! versioned key-encryption key (KEK).
//!
//! ```text
//! wrapped = seal(KEK[version], data key)       body = seal(data key, secret)
//! both with AAD = domain ‖ algorithm ‖ KEK version ‖ purpose ‖ public key
//! ```

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{KeyInit, XChaCha20Poly1305};
use protocol::certificate::{self, IssuingCa, Leaf, Validity};
use protocol::document::authority::Serial;
use protocol::key::{Digest, Sign, SigningKey, VerifyKey};
use zeroize::Zeroizing;

use crate::signer::{IssueFailure, KeptKey, KeyPurpose, SealFailure, Sealed, Signer};

/// A key-encryption key. Wiped when dropped; it has no text at all.
#[derive(Clone)]
pub struct Kek(Zeroizing<[u8; KEY]>);

impl Kek {
    pub fn from_bytes(bytes: [u8; KEY]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    pub fn generate(rng: &mut dyn rand::CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; KEY]);
        rng.fill_bytes(bytes.as_mut_slice());

        Self(bytes)
    }

    /// The bytes, for the file that keeps them.
    pub fn reveal(&self) -> &[u8; KEY] {
        &self.0
    }
}

/// Seals and opens in memory. Keys that were opened stay open, at most [`OPEN_KEYS`] of them.
pub struct Vault {
    keks: BTreeMap<u32, Kek>,
    opened: Mutex<BTreeMap<Digest, Arc<SigningKey>>>,
}

impl Vault {
    /// A vault over KEKs by version; it seals under the highest. Without any it is [locked](SealFailure::Locked).
    pub fn new(keks: BTreeMap<u32, Kek>) -> Self {
        Self {
            keks,
            opened: Mutex::default(),
        }
    }

    fn signing_key(&self, kept: &KeptKey<'_>) -> Result<Arc<SigningKey>, SealFailure> {
        let bound = Bound::to(&kept.purpose, Some(kept.key));
        let name = Digest::of_parts(&[&bound.0, &kept.sealed.wrapped, &kept.sealed.body]);
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = opened.get(&name) {
            return Ok(key.clone());
        }
        let seed = self.open_sealed(&bound, kept.sealed)?;
        let seed = Zeroizing::new(<[u8; KEY]>::try_from(seed.as_slice()).map_err(|_| SealFailure::Broken)?);
        let key = Arc::new(SigningKey::from_seed(&seed));
        if key.verify_key() != *kept.key {
            return Err(SealFailure::Broken);
        }
        if opened.len() >= OPEN_KEYS {
            opened.clear();
        }
        opened.insert(name, key.clone());

        Ok(key)
    }

    fn seal_bound(
        &self,
        bound: &Bound,
        plain: &[u8],
        rng: &mut dyn rand::CryptoRng,
    ) -> Result<Sealed, SealFailure> {
        let (version, kek) = self.keks.last_key_value().ok_or(SealFailure::Locked)?;
        let mut data_key = Zeroizing::new([0; KEY]);
        rng.fill_bytes(data_key.as_mut_slice());

        Ok(Sealed {
            algorithm: XCHACHA20_POLY1305,
            kek: *version,
            wrapped: encrypt(&kek.0, &bound.aad(WRAP, *version), data_key.as_slice(), rng)?.into(),
            body: encrypt(&data_key, &bound.aad(BODY, *version), plain, rng)?.into(),
        })
    }

    fn open_sealed(&self, bound: &Bound, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealFailure> {
        if sealed.algorithm != XCHACHA20_POLY1305 {
            return Err(SealFailure::UnknownAlgorithm {
                found: sealed.algorithm,
            });
        }
        if self.keks.is_empty() {
            return Err(SealFailure::Locked);
        }
        let version = sealed.kek;
        let kek = self
            .keks
            .get(&version)
            .ok_or(SealFailure::UnknownKek { version })?;
        let data_key = decrypt(&kek.0, &bound.aad(WRAP, version), &sealed.wrapped)?;
        let data_key =
            Zeroizing::new(<[u8; KEY]>::try_from(data_key.as_slice()).map_err(|_| SealFailure::Broken)?);

        decrypt(&data_key, &bound.aad(BODY, version), &sealed.body)
    }
}

impl Signer for Vault {
    fn create(
        &self,
        purpose: &KeyPurpose,
        rng: &mut dyn rand::CryptoRng,
    ) -> Result<(VerifyKey, Sealed), SealFailure> {
        let key = SigningKey::generate(rng);
        let public = key.verify_key();
        let bound = Bound::to(purpose, Some(&public));
        let sealed = self.seal_bound(&bound, key.reveal_seed().as_slice(), rng)?;

        Ok((public, sealed))
    }

    fn open(&self, kept: &KeptKey<'_>) -> Result<Arc<dyn Sign>, SealFailure> {
        self.signing_key(kept).map(|key| key as Arc<dyn Sign>)
    }

    fn issue_ca(
        &self,
        kept: &KeptKey<'_>,
        serial: Serial,
        validity: Validity,
    ) -> Result<Vec<u8>, IssueFailure> {
        let KeyPurpose::IssuingCa { cluster, role, .. } = kept.purpose else {
            return Err(IssueFailure::NotACa);
        };
        let key = self.signing_key(kept)?;
        let certificate = certificate::issue_ca(role, cluster, &key, serial, validity);

        Ok(certificate.map_err(IssueFailure::Leaf)?.to_vec())
    }

    fn issue(&self, kept: &KeptKey<'_>, ca: &[u8], leaf: &Leaf) -> Result<Vec<u8>, IssueFailure> {
        let key = self.signing_key(kept)?;
        let issuer = IssuingCa::open(ca, &key).map_err(IssueFailure::Ca)?;

        Ok(issuer.issue(leaf).map_err(IssueFailure::Leaf)?.to_vec())
    }

    fn seal(
        &self,
        purpose: &KeyPurpose,
        plain: &[u8],
        rng: &mut dyn rand::CryptoRng,
    ) -> Result<Sealed, SealFailure> {
        self.seal_bound(&Bound::to(purpose, None), plain, rng)
    }

    fn unseal(&self, purpose: &KeyPurpose, sealed: &Sealed) -> Result<Zeroizing<Vec<u8>>, SealFailure> {
        self.open_sealed(&Bound::to(purpose, None), sealed)
    }
}

/// The row that a sealed value belongs to.
struct Bound(Vec<u8>);

impl Bound {
    /// A key's public half is part of what its row says; other secrets have none.
    fn to(purpose: &KeyPurpose, key: Option<&VerifyKey>) -> Self {
        let public = key.map_or(&[][..], |key| key.as_bytes().as_slice());

        Self([&purpose.bytes(), public].concat())
    }

    fn aad(&self, layer: &[u8], kek: u32) -> Vec<u8> {
        [layer, &[XCHACHA20_POLY1305], &kek.to_be_bytes(), &self.0].concat()
    }
}

fn encrypt(
    key: &[u8; KEY],
    aad: &[u8],
    plain: &[u8],
    rng: &mut dyn rand::CryptoRng,
) -> Result<Vec<u8>, SealFailure> {
    let mut nonce = [0; NONCE];
    rng.fill_bytes(&mut nonce);
    let ciphertext = XChaCha20Poly1305::new(key.into())
        .encrypt(&nonce.into(), Payload { msg: plain, aad })
        .map_err(|_| SealFailure::Broken)?;

    Ok([nonce.as_slice(), &ciphertext].concat())
}

fn decrypt(key: &[u8; KEY], aad: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealFailure> {
    let (nonce, ciphertext) = sealed.split_first_chunk::<NONCE>().ok_or(SealFailure::Broken)?;

    XChaCha20Poly1305::new(key.into())
        .decrypt(&(*nonce).into(), Payload { msg: ciphertext, aad })
        .map(Zeroizing::new)
        .map_err(|_| SealFailure::Broken)
}

/// The only algorithm of this version, as sealed rows name it.
pub const XCHACHA20_POLY1305: u8 = 1;

/// Keys that stay open: an authority, two CAs and a controller for 256 clusters.
pub const OPEN_KEYS: usize = 1024;

const WRAP: &[u8] = b"gabion data key v1";
const BODY: &[u8] = b"gabion sealed v1";
const KEY: usize = 32;
const NONCE: usize = 24;

#[cfg(test)]
mod tests;
