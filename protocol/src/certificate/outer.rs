//! The outer form of everything that is signed in X.509: `SEQUENCE { signed, algorithm, BIT STRING }`.
//!
//! The signature does not cover it and parsers are lenient about it, so it is written again and compared with all
//! there is: one signed body has one encoding, and nothing trails it.

/// Whether `der` is `signed` and `signature` in exactly the outer form that Ed25519 has (RFC 8410 3).
pub(super) fn is_canonical(der: &[u8], signed: &[u8], signature: &[u8]) -> bool {
    let content = [signed, &ALGORITHM, &SIGNATURE_HEADER, signature].concat();
    let header = match content.len() {
        length @ 0..=0x7f => vec![SEQUENCE, bytes(length)[1]],
        length @ 0x80..=0xff => vec![SEQUENCE, 0x81, bytes(length)[1]],
        length @ 0x100..=0xffff => [&[SEQUENCE, 0x82], bytes(length).as_slice()].concat(),
        _ => return false,
    };

    der == [header, content].concat()
}

/// The two low bytes of a length, high one first.
fn bytes(length: usize) -> [u8; 2] {
    let [.., high, low] = length.to_be_bytes();

    [high, low]
}

const SEQUENCE: u8 = 0x30;
/// SEQUENCE { OID 1.3.101.112 }, without parameters.
const ALGORITHM: [u8; 7] = [0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70];
/// BIT STRING of 65 bytes: that no bits are unused, and the 64 of a signature.
const SIGNATURE_HEADER: [u8; 3] = [0x03, 0x41, 0x00];
