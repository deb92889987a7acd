//! Sealing a body to one neighbour, and opening what it sealed to us.
//!
//! ```text
//! key  = HKDF-SHA256(ikm = X25519(ours, theirs), salt = cluster id,
//!                    info = "gabion mesh body v1" ‖ sender id ‖ receiver id)
//! body = nonce (24, random) ‖ XChaCha20-Poly1305(key, nonce, aad = the header's 39 bytes, CBOR of Content)
//! ```
//!
//! Each direction has a key of its own, so that a body reflected to its sender does not open.

use std::fmt;

use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{KeyInit, Tag, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Content, ContentTooLong, FrameHeader, HEADER_BYTES};
use crate::cbor::{self, Malformed};
use crate::id::{ClusterId, NodeId};
use crate::key::{InvalidKey, SealKey, SealSecret};
use crate::limits::MESH_FRAME_BYTES;

/// The keys between this node and one neighbour, derived once and kept while both X25519 keys last.
pub struct PairKeys {
    send: XChaCha20Poly1305,
    receive: XChaCha20Poly1305,
}

impl PairKeys {
    /// Derives the keys of `us` with `them`; fails if their key is a point of small order.
    pub fn derive(
        cluster: ClusterId,
        us: (NodeId, &SealSecret),
        them: (NodeId, &SealKey),
    ) -> Result<Self, InvalidKey> {
        let shared = us.1.agree(them.1)?;
        let hkdf = Hkdf::<Sha256>::new(Some(cluster.as_bytes()), shared.as_slice());

        Ok(Self {
            send: direction(&hkdf, us.0, them.0),
            receive: direction(&hkdf, them.0, us.0),
        })
    }

    /// Writes a whole frame to `out`, in place of what was there. Nothing is allocated once `out` has grown to a
    /// frame's size.
    pub fn seal(
        &self,
        header: &FrameHeader,
        content: &Content,
        rng: &mut dyn rand::CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<(), ContentTooLong> {
        let mut nonce = [0; NONCE_BYTES];
        rng.fill_bytes(&mut nonce);
        out.clear();
        out.extend_from_slice(&header.encode());
        out.extend_from_slice(&nonce);
        cbor::encode_to(content, out);

        self.finish(out)
    }

    /// Turns header ‖ nonce ‖ plaintext into a frame.
    pub(super) fn finish(&self, frame: &mut Vec<u8>) -> Result<(), ContentTooLong> {
        let found = frame.len() + TAG_BYTES;
        if found > MESH_FRAME_BYTES {
            return Err(ContentTooLong { found });
        }
        self.encrypt(frame);

        Ok(())
    }

    fn encrypt(&self, frame: &mut Vec<u8>) {
        let (head, body) = frame.split_at_mut(HEADER_BYTES);
        let (nonce, plain) = body
            .split_first_chunk_mut::<NONCE_BYTES>()
            .expect("a nonce stands behind the header");
        let tag = self
            .send
            .encrypt_inout_detached(&XNonce::from(*nonce), head, plain.into())
            .expect("a frame is far below the cipher's 256 GiB");
        frame.extend_from_slice(&tag);
    }

    /// Opens the body behind `header`. `scratch` is working space that the caller keeps from frame to frame; it holds
    /// the plaintext until then.
    pub fn open(
        &self,
        header: &FrameHeader,
        body: &[u8],
        scratch: &mut Vec<u8>,
    ) -> Result<Content, OpenBodyError> {
        let (nonce, ciphertext, tag) = split(body).ok_or(OpenBodyError::TooShort { found: body.len() })?;
        scratch.clear();
        scratch.extend_from_slice(ciphertext);
        self.receive
            .decrypt_inout_detached(
                &XNonce::from(*nonce),
                &header.encode(),
                scratch.as_mut_slice().into(),
                &Tag::from(*tag),
            )
            .map_err(|_| OpenBodyError::NotSealedToUs)?;

        Ok(cbor::decode(scratch)?)
    }
}

impl fmt::Debug for PairKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PairKeys(..)")
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenBodyError {
    /// The neighbour sealed something that is not [`Content`].
    #[error("the sealed content is malformed")]
    Malformed(#[from] Malformed),
    /// Header or body were changed on the way, or somebody else sealed it.
    #[error("not sealed by this neighbour to this node")]
    NotSealedToUs,
    /// Shorter than a nonce and a tag.
    #[error("a sealed body of {found} bytes is too short to be one")]
    TooShort { found: usize },
}

/// A body's nonce, ciphertext and tag.
fn split(body: &[u8]) -> Option<(&[u8; NONCE_BYTES], &[u8], &[u8; TAG_BYTES])> {
    let (nonce, rest) = body.split_first_chunk()?;
    let (ciphertext, tag) = rest.split_last_chunk()?;

    Some((nonce, ciphertext, tag))
}

fn direction(hkdf: &Hkdf<Sha256>, sender: NodeId, receiver: NodeId) -> XChaCha20Poly1305 {
    let mut key = Zeroizing::new([0; 32]);
    hkdf.expand_multi_info(
        &[BODY_DOMAIN, sender.as_bytes(), receiver.as_bytes()],
        key.as_mut_slice(),
    )
    .expect("32 bytes are one block of SHA-256");

    XChaCha20Poly1305::new(key.as_slice().try_into().expect("32 bytes"))
}

const BODY_DOMAIN: &[u8] = b"gabion mesh body v1";
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
