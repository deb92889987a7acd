//! Keys and hashes. A public key that exists is valid; a private one has no text, and its bytes are wiped.

mod sound;

use std::fmt;
use std::str::FromStr;

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use ed25519_dalek::Signer;
use ed25519_dalek::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

/// SHA-256 of something both sides have.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The hash of `parts` written one after the other; at most one of them may have a variable length.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }

        Self(hasher.finalize().into())
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Digest {
    type Err = InvalidKey;

    /// Reads what a digest displays.
    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bytes = HEXLOWER.decode(text.as_bytes()).map_err(|_| InvalidKey)?;

        bytes.try_into().map(Self).map_err(|_| InvalidKey)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0[..4]))
    }
}

/// SHA-256 over the DER of a SubjectPublicKeyInfo (RFC 5280 4.1): how people compare keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FINGERPRINT_PREFIX}{}", BASE64URL_NOPAD.encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{FINGERPRINT_PREFIX}{}..",
            &BASE64URL_NOPAD.encode(&self.0)[..8]
        )
    }
}

impl FromStr for Fingerprint {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let encoded = text.strip_prefix(FINGERPRINT_PREFIX).ok_or(InvalidKey)?;
        let bytes = BASE64URL_NOPAD
            .decode(encoded.as_bytes())
            .map_err(|_| InvalidKey)?;

        bytes.try_into().map(Self).map_err(|_| InvalidKey)
    }
}

/// An Ed25519 public key (RFC 8032): a point on the curve, and not one of small order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct VerifyKey([u8; 32]);

impl VerifyKey {
    /// Accepts 32 bytes that decompress to a curve point of large order and are its canonical form
    /// (RFC 8032 5.1.3), so that a key has one fingerprint.
    pub fn parse(bytes: [u8; 32]) -> Result<Self, InvalidKey> {
        if sound::is_known(&bytes) {
            return Ok(Self(bytes));
        }
        let key = ed25519_dalek::VerifyingKey::from_bytes(&bytes).map_err(|_| InvalidKey)?;
        let canonical = key.to_edwards().compress().to_bytes() == bytes;
        if !canonical || key.is_weak() {
            return Err(InvalidKey);
        }
        sound::note(bytes);

        Ok(Self(bytes))
    }

    /// Reads the key out of the DER of a SubjectPublicKeyInfo of algorithm Ed25519 (RFC 8410).
    pub fn from_spki(der: &[u8]) -> Result<Self, InvalidKey> {
        let bytes = der.strip_prefix(&SPKI_PREFIX).ok_or(InvalidKey)?;

        Self::parse(bytes.try_into().map_err(|_| InvalidKey)?)
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The SubjectPublicKeyInfo in DER (RFC 8410 4).
    pub fn spki(&self) -> Vec<u8> {
        [SPKI_PREFIX.as_slice(), &self.0].concat()
    }

    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint(Sha256::digest(self.spki()).into())
    }

    /// Checks a signature by the strict rules (RFC 8032 5.1.7, no small-order points, canonical S).
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| BadSignature)?;
        ed25519_dalek::VerifyingKey::from_bytes(&self.0)
            .and_then(|key| key.verify_strict(message, &signature))
            .map_err(|_| BadSignature)
    }
}

impl fmt::Debug for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", &BASE64URL_NOPAD.encode(&self.0)[..8])
    }
}

/// As in files and on command lines: base64url without padding.
impl fmt::Display for VerifyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64URL_NOPAD.encode(&self.0))
    }
}

impl FromStr for VerifyKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|_| InvalidKey)?;

        Self::parse(bytes.try_into().map_err(|_| InvalidKey)?)
    }
}

/// Something that signs with one Ed25519 key: a key in memory, or one that stays in a vault.
pub trait Sign: Send + Sync {
    fn verify_key(&self) -> VerifyKey;

    fn sign(&self, message: &[u8]) -> [u8; 64];
}

impl Sign for SigningKey {
    fn verify_key(&self) -> VerifyKey {
        Self::verify_key(self)
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        Self::sign(self, message)
    }
}

/// An Ed25519 private key. It has no `Display`, hides in `Debug`, and is wiped when dropped.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    pub fn generate(rng: &mut dyn rand::CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0; 32]);
        rng.fill_bytes(seed.as_mut_slice());

        Self::from_seed(&seed)
    }

    /// The key of a 32-byte seed (RFC 8032 5.1.5).
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads PKCS#8 DER (RFC 8410 7), as [`reveal_pkcs8`](Self::reveal_pkcs8) writes it.
    pub fn from_pkcs8(der: &[u8]) -> Result<Self, InvalidKey> {
        ed25519_dalek::SigningKey::from_pkcs8_der(der)
            .map(Self)
            .map_err(|_| InvalidKey)
    }

    pub fn verify_key(&self) -> VerifyKey {
        VerifyKey(self.0.verifying_key().to_bytes())
    }

    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    /// The seed, for sealing at rest.
    pub fn reveal_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// PKCS#8 DER, for a key file and for rustls.
    pub fn reveal_pkcs8(&self) -> Zeroizing<Vec<u8>> {
        let der = self.0.to_pkcs8_der().expect("an Ed25519 key has a PKCS#8 form");

        Zeroizing::new(der.as_bytes().to_vec())
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({:?})", self.verify_key())
    }
}

/// An X25519 public key (RFC 7748): where bodies for one node are sealed to. Never the all-zero point.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SealKey([u8; 32]);

impl SealKey {
    pub fn parse(bytes: [u8; 32]) -> Result<Self, InvalidKey> {
        match bytes == [0; 32] {
            true => Err(InvalidKey),
            false => Ok(Self(bytes)),
        }
    }

    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for SealKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x25519:{}", &BASE64URL_NOPAD.encode(&self.0)[..8])
    }
}

/// An X25519 private key, wiped when dropped.
#[derive(Clone)]
pub struct SealSecret(x25519_dalek::StaticSecret);

impl SealSecret {
    pub fn generate(rng: &mut dyn rand::CryptoRng) -> Self {
        Self(x25519_dalek::StaticSecret::random_from_rng(rng))
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(x25519_dalek::StaticSecret::from(bytes))
    }

    pub fn seal_key(&self) -> SealKey {
        SealKey(x25519_dalek::PublicKey::from(&self.0).to_bytes())
    }

    /// The shared secret with `peer`; refuses a peer whose point has small order (RFC 7748 6.1).
    pub fn agree(&self, peer: &SealKey) -> Result<Zeroizing<[u8; 32]>, InvalidKey> {
        let shared = self.0.diffie_hellman(&x25519_dalek::PublicKey::from(peer.0));
        match shared.was_contributory() {
            true => Ok(Zeroizing::new(shared.to_bytes())),
            false => Err(InvalidKey),
        }
    }

    /// The scalar, for a key file.
    pub fn reveal(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }
}

impl fmt::Debug for SealSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SealSecret({:?})", self.seal_key())
    }
}

/// The bytes or text are not a key or fingerprint of this kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid key")]
pub struct InvalidKey;

/// The signature is not by this key over this message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// Writes the wire form of a 32-byte value: a CBOR byte string.
macro_rules! bytes32_on_the_wire {
    ($($name:ident: $parse:expr;)*) => {$(
        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.bytes(&self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                let invalid = || minicbor::decode::Error::message(concat!("not a ", stringify!($name)));
                let bytes: [u8; 32] = d.bytes()?.try_into().map_err(|_| invalid())?;
                let parse: fn([u8; 32]) -> Result<Self, InvalidKey> = $parse;

                parse(bytes).map_err(|_| invalid())
            }
        }
    )*};
}

bytes32_on_the_wire! {
    Digest: |bytes| Ok(Self(bytes));
    Fingerprint: |bytes| Ok(Self(bytes));
    VerifyKey: Self::parse;
    SealKey: Self::parse;
}

/// Writes a value's text where serde asks for it (JSON, TOML).
macro_rules! text_in_serde {
    ($($name:ident;)*) => {$(
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

text_in_serde! {
    Fingerprint;
    VerifyKey;
}

const FINGERPRINT_PREFIX: &str = "SHA256:";

/// SEQUENCE { SEQUENCE { OID 1.3.101.112 } BIT STRING } up to the key (RFC 8410 10.1).
const SPKI_PREFIX: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_of_rfc_8032_verifies_and_a_changed_one_does_not() {
        // RFC 8032 7.1, test 2.
        let seed = hex32("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb");
        let public = hex32("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c");
        let signature = HEXLOWER
            .decode(
                b"92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
                  085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
            )
            .expect("test input is hex");
        let key = SigningKey::from_seed(&seed);

        assert_eq!(key.verify_key().as_bytes(), &public);
        assert_eq!(key.sign(&[0x72]).as_slice(), signature);
        assert_eq!(key.verify_key().verify(&[0x72], &signature), Ok(()));
        assert_eq!(key.verify_key().verify(&[0x73], &signature), Err(BadSignature));
    }

    #[test]
    fn small_order_points_are_no_keys() {
        let identity = hex32("0100000000000000000000000000000000000000000000000000000000000000");

        assert_eq!(VerifyKey::parse(identity), Err(InvalidKey));
        assert_eq!(VerifyKey::parse([0xff; 32]), Err(InvalidKey));
        assert_eq!(SealKey::parse([0; 32]), Err(InvalidKey));
        let low_order = SealKey::parse(identity).expect("parses: only agreement shows its order");
        assert_eq!(
            SealSecret::from_bytes([7; 32]).agree(&low_order).err(),
            Some(InvalidKey)
        );
    }

    #[test]
    fn spki_and_text_read_back() {
        let key = SigningKey::from_seed(&[9; 32]).verify_key();

        assert_eq!(VerifyKey::from_spki(&key.spki()), Ok(key));
        assert_eq!(key.to_string().parse(), Ok(key));
        assert_eq!(key.fingerprint().to_string().parse(), Ok(key.fingerprint()));
    }

    #[test]
    fn private_keys_do_not_show_themselves() {
        let key = SigningKey::from_seed(&[0xAB; 32]);
        let shown = format!("{key:?} {:?}", SealSecret::from_bytes([0xAB; 32]));

        assert!(
            !shown.contains("171") && !shown.to_lowercase().contains("abab"),
            "{shown}"
        );
    }

    fn hex32(text: &str) -> [u8; 32] {
        HEXLOWER
            .decode(text.as_bytes())
            .expect("test input is hex")
            .try_into()
            .expect("32 bytes")
    }
}
