//! The files of an agent's state directory: a checksum, and signed documents among what no one else needs to see.

use agent_core::control::FileName;
use protocol::key::{Digest, VerifyKey};
use serde_json::{Value, json};

use super::{Found, document};

/// Shows whether a state file is whole, and every signed document in it. Keys and pins in it are not shown.
pub(super) fn inspect(name: &str, bytes: &[u8], keys: &[VerifyKey]) -> Found {
    let body = bytes.get(MAGIC.len()..).unwrap_or_default();
    let Some((checksum, content)) = body.split_first_chunk::<32>() else {
        return shown(name, false, Vec::new());
    };
    // A copy may have any name; the checksum knows the one under which it was written.
    let written_as = FileName::ALL
        .into_iter()
        .find(|file| Digest::of_parts(&[file.name().as_bytes(), &[0], content]).as_bytes() == checksum);
    let documents = byte_strings(content)
        .filter_map(|bytes| document(bytes, keys).ok())
        .collect();

    shown(
        written_as.map_or(name, |file| file.name()),
        written_as.is_some(),
        documents,
    )
}

fn shown(name: &str, intact: bool, documents: Vec<Found>) -> Found {
    let verified = !documents.is_empty() && documents.iter().all(|found| found.verified);
    let documents: Vec<Value> = documents.into_iter().map(|found| found.shown).collect();

    Found {
        shown: json!({
            "name": name,
            "state": if intact { "intact" } else { "damaged" },
            "documents": documents,
        }),
        verified,
        intact,
    }
}

/// Every byte string in a piece of CBOR, in order. Containers need no place of their own: what they hold follows
/// them.
fn byte_strings(content: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = content;
    std::iter::from_fn(move || {
        loop {
            let (major, value, after) = head(rest)?;
            rest = after;
            if major == BYTES || major == TEXT {
                let length = usize::try_from(value)
                    .ok()
                    .filter(|length| *length <= rest.len())?;
                let (item, after) = rest.split_at(length);
                rest = after;
                if major == BYTES {
                    return Some(item);
                }
            }
        }
    })
}

/// The head of a data item (RFC 8949 3): major type, argument, and what follows.
fn head(bytes: &[u8]) -> Option<(u8, u64, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (major, additional) = (first >> 5, first & 0x1f);
    let width = match additional {
        0..=23 => return Some((major, u64::from(additional), rest)),
        24..=27 => 1_usize << (additional - 24),
        _ => return None,
    };
    let (argument, rest) = rest.split_at_checked(width)?;
    let value = argument
        .iter()
        .fold(0, |value, byte| value << 8 | u64::from(*byte));

    Some((major, value, rest))
}

/// How every state file begins.
pub(super) const MAGIC: &[u8] = b"gab1";
/// Major types of CBOR.
const BYTES: u8 = 2;
const TEXT: u8 = 3;

#[cfg(test)]
mod tests {
    use super::super::inspect;
    use super::super::tests::{signer_of, vector};
    use super::*;

    #[test]
    fn a_state_file_shows_its_documents_and_whether_it_is_whole() {
        let keys = [signer_of("beacon"), signer_of("trust bundle")];
        let found = inspect("copy", &file("last-good-a"), &keys).unwrap();

        assert!(found.intact && found.verified, "{}", found.shown);
        assert_eq!(found.shown["name"], "last-good-a");
        assert_eq!(found.shown["documents"][0]["name"], "beacon");
        assert_eq!(found.shown["documents"][1]["name"], "trust bundle");

        let half = inspect("copy", &file("last-good-a"), &keys[..1]).unwrap();
        assert!(half.intact && !half.verified);
    }

    #[test]
    fn damage_is_seen_and_the_rest_is_shown_all_the_same() {
        let mut bytes = file("last-good-a");
        bytes[4] ^= 1;

        let found = inspect("last-good-a", &bytes, &[]).unwrap();
        assert!(!found.intact);
        assert_eq!(found.shown["state"], "damaged");
        assert_eq!(found.shown["documents"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn nothing_but_documents_is_shown() {
        let found = inspect("identity", &file("identity"), &[]).unwrap();

        assert!(!found.shown.to_string().contains("secret"), "{}", found.shown);
    }

    #[test]
    fn a_file_that_ends_anywhere_is_read_to_there() {
        let whole = file("last-good-a");
        for end in 4..whole.len() {
            assert!(
                !inspect("last-good-a", &whole[..end], &[]).unwrap().intact,
                "{end}"
            );
        }
    }

    /// As an agent writes it: a map with a number, a text that reads like the head of a byte string, a secret and two
    /// documents.
    fn file(name: &str) -> Vec<u8> {
        let bytes = |content: &[u8]| {
            [
                &[0x59][..],
                &(u16::try_from(content.len()).unwrap()).to_be_bytes(),
                content,
            ]
            .concat()
        };
        let content = [
            &[0xa5, 0x00, 0x18, 0x2a, 0x01, 0x66][..],
            b"Xzebra",
            &[0x02],
            &bytes(b"secret seed of thirty-two bytes!"),
            &[0x03],
            &bytes(&vector("beacon")),
            &[0x04],
            &bytes(&vector("trust bundle")),
        ]
        .concat();
        let checksum = Digest::of_parts(&[name.as_bytes(), &[0], &content]);

        [MAGIC, checksum.as_bytes(), &content].concat()
    }
}
