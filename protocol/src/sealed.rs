//! Sealing to one node's key: HPKE in base mode (RFC 9180), DHKEM(X25519, HKDF-SHA256), HKDF-SHA256,
//! ChaCha20-Poly1305, one message per encapsulation.
//!
//! ```text
//! sealed = enc (32) ‖ ciphertext ‖ tag (16)
//! ```
//!
//! Base mode says nothing about who sealed: what is inside must be signed.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::{Kem, X25519HkdfSha256};
use hpke::{Deserializable, OpModeR, OpModeS, Serializable};
use zeroize::Zeroizing;

use crate::key::{InvalidKey, SealKey, SealSecret};

/// The `info` under which a join contract is sealed; its AAD is the 16 bytes of the request id.
pub const JOIN_CONTRACT: &[u8] = b"gabion join contract v1";

/// Seals `plaintext` so that only the holder of `key`'s private half can read it, for this `info` and `aad` alone.
///
/// Fails if `key` is a point of small order, with which no secret can be shared.
pub fn seal_to(
    key: &SealKey,
    info: &[u8],
    aad: &[u8],
    plaintext: &[u8],
    mut rng: &mut dyn rand::CryptoRng,
) -> Result<Vec<u8>, InvalidKey> {
    let receiver = PublicKey::from_bytes(key.as_bytes()).map_err(|_| InvalidKey)?;
    let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<Aead, Kdf, Kems>(
        &OpModeS::Base,
        &receiver,
        info,
        plaintext,
        aad,
        &mut rng,
    )
    .map_err(|_| InvalidKey)?;

    Ok([encapsulated.to_bytes().as_slice(), &ciphertext].concat())
}

/// Opens what [`seal_to`] sealed to the public half of `secret`.
pub fn open_sealed(
    secret: &SealSecret,
    info: &[u8],
    aad: &[u8],
    bytes: &[u8],
) -> Result<Zeroizing<Vec<u8>>, NotSealedToUs> {
    let (encapsulated, ciphertext) = bytes.split_at_checked(ENCAPSULATED_BYTES).ok_or(NotSealedToUs)?;
    let encapsulated = <Kems as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| NotSealedToUs)?;
    let secret = PrivateKey::from_bytes(secret.reveal().as_slice()).map_err(|_| NotSealedToUs)?;

    hpke::single_shot_open::<Aead, Kdf, Kems>(&OpModeR::Base, &secret, &encapsulated, info, ciphertext, aad)
        .map(Zeroizing::new)
        .map_err(|_| NotSealedToUs)
}

/// The bytes were changed, or sealed to another key, for another purpose or under other associated data.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not sealed to this key for this purpose")]
pub struct NotSealedToUs;

type Kems = X25519HkdfSha256;
type Kdf = HkdfSha256;
type Aead = ChaCha20Poly1305;
type PublicKey = <Kems as Kem>::PublicKey;
type PrivateKey = <Kems as Kem>::PrivateKey;

/// `Nenc` of DHKEM(X25519, HKDF-SHA256) (RFC 9180 7.1).
const ENCAPSULATED_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_message_of_rfc_9180_opens() {
        // RFC 9180 A.2.1, sequence number 0.
        let secret = hex("8057991eef8f1f1af18f4a9491d16a1ce333f695d4db8e38da75975c4478e0fb");
        let sealed = [
            hex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"),
            hex("1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28"),
        ]
        .concat();
        let opened = open_sealed(
            &SealSecret::from_bytes(secret.try_into().expect("32 bytes")),
            &hex("4f6465206f6e2061204772656369616e2055726e"),
            &hex("436f756e742d30"),
            &sealed,
        );

        assert_eq!(
            opened.as_deref().map(Vec::as_slice),
            Ok(b"Beauty is truth, truth beauty".as_slice())
        );
    }

    #[test]
    fn only_the_right_key_purpose_and_context_open() {
        let secret = SealSecret::from_bytes([7; 32]);
        let sealed = seal(&secret.seal_key()).expect("a good key");
        let opened = |secret: &SealSecret, info: &[u8], aad: &[u8]| {
            open_sealed(secret, info, aad, &sealed).map(|plain| plain.to_vec())
        };

        assert_eq!(
            opened(&secret, JOIN_CONTRACT, b"request"),
            Ok(b"contract".to_vec())
        );
        assert_eq!(
            opened(&SealSecret::from_bytes([8; 32]), JOIN_CONTRACT, b"request"),
            Err(NotSealedToUs)
        );
        assert_eq!(opened(&secret, b"else", b"request"), Err(NotSealedToUs));
        assert_eq!(opened(&secret, JOIN_CONTRACT, b"other"), Err(NotSealedToUs));
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_refused() {
        let secret = SealSecret::from_bytes([7; 32]);
        let sealed = seal(&secret.seal_key()).expect("a good key");
        for bit in 0..sealed.len() * 8 {
            let mut changed = sealed.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            let opened = open_sealed(&secret, JOIN_CONTRACT, b"request", &changed);
            assert_eq!(opened.err(), Some(NotSealedToUs), "bit {bit}");
        }
        for length in 0..sealed.len() {
            let opened = open_sealed(&secret, JOIN_CONTRACT, b"request", &sealed[..length]);
            assert_eq!(opened.err(), Some(NotSealedToUs), "{length} bytes");
        }
    }

    #[test]
    fn a_point_of_small_order_is_no_receiver() {
        let mut one = [0; 32];
        one[0] = 1;
        let key = SealKey::parse(one).expect("parses: only agreement shows its order");

        assert_eq!(seal(&key), Err(InvalidKey));
    }

    fn seal(key: &SealKey) -> Result<Vec<u8>, InvalidKey> {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);

        seal_to(key, JOIN_CONTRACT, b"request", b"contract", &mut rng)
    }

    fn hex(text: &str) -> Vec<u8> {
        HEXLOWER.decode(text.as_bytes()).expect("test input is hex")
    }
}
