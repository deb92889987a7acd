//! The join token: what an operator hands to a machine so that it may ask to become a node.
//!
//! ```text
//! gbj1_ base32( length ‖ claims ‖ secret ‖ checksum )        lower case, no padding (RFC 4648 6)
//!
//! length     2  of the claims, big endian
//! claims     n  envelope of JoinClaims, signed by the cluster authority
//! secret    32  random; the store keeps only its hash
//! checksum   4  first bytes of SHA-256("gabion join token checksum v1" ‖ length ‖ claims ‖ secret)
//! ```
//!
//! The checksum tells a typo from a forgery: whoever sees [`TokenMistyped`] should copy the text again. It
//! protects nothing; the signature and the secret do.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use minicbor::{Decode, Encode};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::document::join::JoinClaims;
use crate::envelope::{Envelope, Expected, OpenError, Stamp, Subject};
use crate::key::{Digest, Fingerprint, VerifyKey};
use crate::time::Wall;

/// Signed claims and the secret that goes with them.
pub struct JoinToken {
    claims: Vec<u8>,
    secret: TokenSecret,
}

impl JoinToken {
    /// Joins `claims`, the envelope of a [`JoinClaims`] sealed under [`stamp`], with its secret.
    pub fn new(claims: Vec<u8>, secret: TokenSecret) -> Result<Self, ClaimsTooLong> {
        match claims.len() > CLAIMS_BYTES {
            true => Err(ClaimsTooLong { found: claims.len() }),
            false => Ok(Self { claims, secret }),
        }
    }

    /// Reads the text form; white space around it is ignored.
    pub fn parse(text: &str) -> Result<Self, TokenMistyped> {
        let encoded = text.trim().strip_prefix(PREFIX).ok_or(TokenMistyped)?;
        let lower = !encoded.bytes().any(|byte| byte.is_ascii_uppercase());
        if !lower || encoded.len() > BASE32_NOPAD.encode_len(LENGTH + CLAIMS_BYTES + SECRET + CHECKSUM) {
            return Err(TokenMistyped);
        }
        let upper = Zeroizing::new(encoded.to_ascii_uppercase());
        let decoded = BASE32_NOPAD.decode(upper.as_bytes()).map_err(|_| TokenMistyped)?;
        let bytes = Zeroizing::new(decoded);

        let (rest, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(TokenMistyped)?;
        let (rest, secret) = rest.split_last_chunk::<SECRET>().ok_or(TokenMistyped)?;
        let (length, claims) = rest.split_first_chunk::<LENGTH>().ok_or(TokenMistyped)?;
        if usize::from(u16::from_be_bytes(*length)) != claims.len()
            || *checksum != checksum_of(claims, secret)
        {
            return Err(TokenMistyped);
        }

        Self::new(claims.to_vec(), TokenSecret(Zeroizing::new(*secret))).map_err(|_| TokenMistyped)
    }

    /// The text form. A method, not `Display`, so that no log line can print it by accident.
    pub fn reveal(&self) -> Zeroizing<String> {
        let bytes = Zeroizing::new(
            [
                length_of(&self.claims).as_slice(),
                &self.claims,
                self.secret.0.as_slice(),
                &checksum_of(&self.claims, &self.secret.0),
            ]
            .concat(),
        );
        let upper = Zeroizing::new(BASE32_NOPAD.encode(&bytes));
        let mut text = Zeroizing::new(String::with_capacity(PREFIX.len() + upper.len()));
        text.push_str(PREFIX);
        text.extend(upper.chars().map(|letter| letter.to_ascii_lowercase()));

        text
    }

    /// The signed claims as they travel.
    pub fn claims_bytes(&self) -> &[u8] {
        &self.claims
    }

    pub fn secret(&self) -> &TokenSecret {
        &self.secret
    }

    /// What the token says, **unverified**: enough to know whom to dial and which authority to expect.
    pub fn claims_unverified(&self) -> Result<JoinClaims, OpenError> {
        Envelope::parse(&self.claims)?.claimed_body()
    }

    /// The claims, once `authority` is the key they pin and its signature over them holds.
    pub fn verify(&self, authority: &VerifyKey) -> Result<JoinClaims, TokenRefused> {
        let envelope = Envelope::parse(&self.claims)?;
        let claims: JoinClaims = envelope.claimed_body()?;
        let shown = authority.fingerprint();
        if shown != claims.authority {
            return Err(TokenRefused::OtherAuthority {
                pinned: claims.authority,
                shown,
            });
        }
        let expected = Expected {
            realm: claims.cluster.into(),
            subject: Subject::All,
        };

        Ok(envelope.open(&expected, authority)?.body)
    }
}

/// Shows the start of the hash that the store keeps, so that a log line can be matched to a row.
impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinToken({:?}, ..)", self.secret.hash())
    }
}

/// The stamp that the claims of a token are sealed under.
pub fn stamp(claims: &JoinClaims, epoch: u64, issued_at: Wall) -> Stamp {
    Stamp {
        realm: claims.cluster.into(),
        subject: Subject::All,
        epoch,
        version: 1,
        previous: None,
        issued_at,
        valid_until: Some(claims.expires),
    }
}

/// The half of a token that only its holder knows. Wiped when dropped.
#[derive(Clone)]
pub struct TokenSecret(Zeroizing<[u8; SECRET]>);

impl TokenSecret {
    pub fn generate(rng: &mut dyn rand::CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; SECRET]);
        rng.fill_bytes(bytes.as_mut_slice());

        Self(bytes)
    }

    pub fn from_bytes(bytes: [u8; SECRET]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// What the store keeps: nobody can join with it.
    pub fn hash(&self) -> Digest {
        Digest::of_parts(&[SECRET_DOMAIN, self.0.as_slice()])
    }

    /// Whether this is the secret behind a kept hash, in a time that does not depend on the answer.
    pub fn matches(&self, kept: &Digest) -> bool {
        self.hash().as_bytes().ct_eq(kept.as_bytes()).into()
    }
}

/// In constant time.
impl PartialEq for TokenSecret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(other.0.as_slice()).into()
    }
}

impl Eq for TokenSecret {}

impl fmt::Debug for TokenSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenSecret({:?}, ..)", self.hash())
    }
}

impl<C> Encode<C> for TokenSecret {
    fn encode<W: minicbor::encode::Write>(
        &self,
        e: &mut minicbor::Encoder<W>,
        _: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        e.bytes(self.0.as_slice())?.ok()
    }
}

impl<'b, C> Decode<'b, C> for TokenSecret {
    fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
        d.bytes()?
            .try_into()
            .map(Self::from_bytes)
            .map_err(|_| minicbor::decode::Error::message("a token secret has 32 bytes"))
    }
}

/// The claims, with all their labels and addresses, do not fit a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the claims of a join token take {found} bytes, more than {CLAIMS_BYTES}")]
pub struct ClaimsTooLong {
    pub found: usize,
}

/// The text is no join token, or a character of it was changed, lost or added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a complete join token: it was cut short or mistyped")]
pub struct TokenMistyped;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenRefused {
    /// The claims are malformed, forged, or signed for something else.
    #[error("the claims of the join token do not verify")]
    Claims(#[from] OpenError),
    /// The authority that was shown is not the one the token was made by.
    #[error("the join token pins authority {pinned}, and {shown} was shown")]
    OtherAuthority { pinned: Fingerprint, shown: Fingerprint },
}

fn checksum_of(claims: &[u8], secret: &[u8; SECRET]) -> [u8; CHECKSUM] {
    let digest = Digest::of_parts(&[CHECKSUM_DOMAIN, &length_of(claims), claims, secret]);

    *digest.as_bytes().first_chunk().expect("a digest has 32 bytes")
}

fn length_of(claims: &[u8]) -> [u8; LENGTH] {
    u16::try_from(claims.len())
        .expect("held to CLAIMS_BYTES when the token was made")
        .to_be_bytes()
}

/// Longest claims. As text that is 6.6 KB, which still fits the 16 KB of a cloud instance's user data.
pub const CLAIMS_BYTES: usize = 4 * 1024;

const PREFIX: &str = "gbj1_";
const CHECKSUM_DOMAIN: &[u8] = b"gabion join token checksum v1";
const SECRET_DOMAIN: &[u8] = b"gabion join token secret v1";
const LENGTH: usize = 2;
const SECRET: usize = 32;
const CHECKSUM: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::join::ApprovalMode;
    use crate::envelope;
    use crate::id::{ClusterId, TokenId};
    use crate::key::SigningKey;
    use crate::node::{Labels, NodeRole};

    #[test]
    fn a_token_reads_back_and_verifies_against_its_authority() {
        let text = token().reveal();
        let read = JoinToken::parse(&format!("  {}\n", text.as_str())).expect("read back");

        assert!(text.starts_with("gbj1_"));
        assert_eq!(read.reveal(), text);
        assert_eq!(read.secret(), &secret());
        assert_eq!(read.claims_unverified(), Ok(claims()));
        assert_eq!(read.verify(&authority().verify_key()), Ok(claims()));
    }

    #[test]
    fn every_changed_lost_or_added_character_is_a_typo() {
        let text = token().reveal();
        for index in 0..text.len() {
            let other = if &text[index..=index] == "a" { "b" } else { "a" };
            let changed = format!("{}{other}{}", &text[..index], &text[index + 1..]);
            let lost = format!("{}{}", &text[..index], &text[index + 1..]);
            let added = format!("{}{other}{}", &text[..index], &text[index..]);
            for wrong in [changed, lost, added] {
                assert!(JoinToken::parse(&wrong).is_err(), "{wrong}");
            }
        }
    }

    #[test]
    fn a_token_has_one_text() {
        let text = token().reveal();
        for wrong in [
            text.to_uppercase(),
            format!("gbj1_{}", text[5..].to_uppercase()),
            text.replacen("gbj1_", "gbj2_", 1),
            format!("{}====", text.as_str()),
            String::new(),
            "gbj1_".to_owned(),
            format!("gbj1_{}", "a".repeat(1 << 20)),
        ] {
            assert_eq!(JoinToken::parse(&wrong).err(), Some(TokenMistyped));
        }
    }

    #[test]
    fn another_authority_is_told_from_a_forged_signature() {
        let other = SigningKey::from_seed(&[8; 32]);
        let forged = JoinToken::new(
            envelope::seal(&stamp(&claims(), 1, Wall(1)), &claims(), &[&other]),
            secret(),
        )
        .expect("short");

        assert_eq!(
            token().verify(&other.verify_key()),
            Err(TokenRefused::OtherAuthority {
                pinned: authority().verify_key().fingerprint(),
                shown: other.verify_key().fingerprint(),
            })
        );
        assert_eq!(
            forged.verify(&authority().verify_key()),
            Err(TokenRefused::Claims(OpenError::NotSigned))
        );
    }

    #[test]
    fn claims_signed_for_another_cluster_are_refused() {
        let elsewhere = Stamp {
            realm: ClusterId::from_bytes([9; 16]).into(),
            ..stamp(&claims(), 1, Wall(1))
        };
        let token =
            JoinToken::new(envelope::seal(&elsewhere, &claims(), &[&authority()]), secret()).expect("short");

        assert!(matches!(
            token.verify(&authority().verify_key()),
            Err(TokenRefused::Claims(OpenError::WrongRealm { .. }))
        ));
    }

    #[test]
    fn claims_that_do_not_fit_make_no_token() {
        assert!(JoinToken::new(vec![0; CLAIMS_BYTES], secret()).is_ok());
        assert_eq!(
            JoinToken::new(vec![0; CLAIMS_BYTES + 1], secret()).err(),
            Some(ClaimsTooLong {
                found: CLAIMS_BYTES + 1
            })
        );
    }

    #[test]
    fn only_the_secret_behind_a_hash_matches_it() {
        assert!(secret().matches(&secret().hash()));
        assert!(!TokenSecret::from_bytes([0x5B; 32]).matches(&secret().hash()));
        assert_ne!(secret(), TokenSecret::from_bytes([0x5B; 32]));
        assert_ne!(secret().hash(), Digest::of(&[0x5A; 32]));
    }

    #[test]
    fn a_token_does_not_show_its_secret() {
        let shown = format!("{:?} {:?}", token(), secret());
        let text = token().reveal();
        let tail = &text[text.len() - 60..];

        assert!(!shown.contains(&tail[..12]) && !shown.contains("90") && !shown.contains("5a5a"));
        assert!(shown.len() < 60, "{shown}");
    }

    fn token() -> JoinToken {
        let sealed = envelope::seal(
            &stamp(&claims(), 1, Wall(1_800_000_000_000)),
            &claims(),
            &[&authority()],
        );

        JoinToken::new(sealed, secret()).expect("short")
    }

    fn claims() -> JoinClaims {
        JoinClaims {
            token: TokenId::from_bytes([1; 16]),
            cluster: ClusterId::from_bytes([2; 16]),
            authority: authority().verify_key().fingerprint(),
            controllers: vec!["192.0.2.1:4433".to_owned()],
            roles: vec![NodeRole::Member],
            labels: Labels::default(),
            max_uses: 1,
            expires: Wall(1_800_003_600_000),
            approval: ApprovalMode::Manual,
            sources: Vec::new(),
        }
    }

    fn authority() -> SigningKey {
        SigningKey::from_seed(&[7; 32])
    }

    fn secret() -> TokenSecret {
        TokenSecret::from_bytes([0x5A; 32])
    }
}
