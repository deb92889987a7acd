//! CBOR in and out: [`crate::strict`] judges the bytes before minicbor sees them.

use minicbor::{Decode, Encode};

use crate::strict::{self, NotStrict};

/// Encodes a value whose derive uses numbered fields, which makes the bytes deterministic (RFC 8949 4.2).
pub fn encode<T: Encode<()>>(value: &T) -> Vec<u8> {
    minicbor::to_vec(value).expect("writing to a Vec cannot fail")
}

/// As [`encode`], to the end of `out`.
pub fn encode_to<T: Encode<()>>(value: &T, out: &mut Vec<u8>) {
    minicbor::encode(value, out).expect("writing to a Vec cannot fail");
}

/// Decodes exactly one value from exactly these bytes.
pub fn decode<'b, T: Decode<'b, ()>>(bytes: &'b [u8]) -> Result<T, Malformed> {
    strict::check(bytes)?;
    minicbor::decode(bytes).map_err(|error| Malformed::Shape(error.to_string()))
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The bytes are not deterministic CBOR.
    #[error(transparent)]
    NotStrict(#[from] NotStrict),
    /// The bytes are CBOR, but not of the type asked for.
    #[error("not of the expected shape: {0}")]
    Shape(String),
}
