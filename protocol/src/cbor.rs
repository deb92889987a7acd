//! CBOR in and out: [`crate::strict`] judges the bytes before minicbor sees them.

use minicbor::{Decode, Decoder, Encode};

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

/// Decodes a list of what may grow new variants: an element that has one which this version does not know is passed
/// over. For `decode_with`. What was signed stays as it is; nothing is ever encoded again.
pub(crate) fn known<'b, C, T: Decode<'b, C>>(
    d: &mut Decoder<'b>,
    context: &mut C,
) -> Result<Vec<T>, minicbor::decode::Error> {
    let length = d
        .array()?
        .ok_or_else(|| minicbor::decode::Error::message("a list of unknown length"))?;
    let mut known = Vec::new();
    for _ in 0..length {
        let at = d.position();
        match T::decode(d, context) {
            Ok(element) => known.push(element),
            Err(error) if error.is_unknown_variant() => {
                d.set_position(at);
                d.skip()?;
            }
            Err(error) => return Err(error),
        }
    }

    Ok(known)
}

/// Decodes a preference: one that this version does not know is the usual one. For `decode_with`.
pub(crate) fn known_or_usual<'b, C, T: Decode<'b, C> + Default>(
    d: &mut Decoder<'b>,
    context: &mut C,
) -> Result<T, minicbor::decode::Error> {
    let at = d.position();
    match T::decode(d, context) {
        Err(error) if error.is_unknown_variant() => {
            d.set_position(at);
            d.skip()?;

            Ok(T::default())
        }
        decoded => decoded,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// As a version of today has it.
    #[derive(Debug, PartialEq, Eq, Decode)]
    #[cbor(map)]
    struct Today {
        #[n(0)]
        #[cbor(decode_with = "known")]
        stones: Vec<Stone>,
        #[n(1)]
        #[cbor(decode_with = "known_or_usual")]
        usual: Stone,
    }

    #[derive(Debug, Default, PartialEq, Eq, Encode, Decode)]
    enum Stone {
        #[default]
        #[n(1)]
        Granite,
        #[n(2)]
        Slate(#[n(0)] u8),
    }

    #[test]
    fn what_a_later_version_added_is_passed_over() {
        let later = |usual: u8| {
            let mut e = minicbor::Encoder::new(Vec::new());
            e.map(2).and_then(|e| e.u8(0)?.array(3)).expect("to a Vec");
            e.array(2)
                .and_then(|e| e.u8(2)?.array(1)?.u8(7))
                .expect("to a Vec");
            e.array(2)
                .and_then(|e| e.u8(9)?.array(2)?.str("new")?.array(0))
                .expect("to a Vec");
            e.array(2).and_then(|e| e.u8(1)?.array(0)).expect("to a Vec");
            e.u8(1)
                .and_then(|e| e.array(2)?.u8(usual)?.array(1)?.u8(3))
                .expect("to a Vec");
            e.into_writer()
        };
        let stones = || vec![Stone::Slate(7), Stone::Granite];

        assert_eq!(
            decode(&later(9)),
            Ok(Today {
                stones: stones(),
                usual: Stone::Granite
            })
        );
        assert_eq!(
            decode(&later(2)),
            Ok(Today {
                stones: stones(),
                usual: Stone::Slate(3)
            })
        );
    }

    #[test]
    fn what_is_malformed_is_not_taken_for_news() {
        let wrong_type = [
            0xa2, 0x00, 0x81, 0x82, 0x02, 0x81, 0x61, 0x78, 0x01, 0x82, 0x01, 0x80,
        ];

        assert!(matches!(decode::<Today>(&wrong_type), Err(Malformed::Shape(_))));
    }
}
