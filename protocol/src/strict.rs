//! The gate before every decoder: one iterative pass that admits only deterministic CBOR (RFC 8949 4.2.1).
//!
//! No tags, floats or indefinite lengths; shortest forms; map keys strictly ascending in their encoded bytes;
//! every length within the bytes that are left; nothing trailing. A decoder behind this gate can trust a length
//! before it allocates.

use crate::limits::CBOR_DEPTH;

/// Accepts `bytes` if they are exactly one item of deterministic CBOR.
pub fn check(bytes: &[u8]) -> Result<(), NotStrict> {
    let mut open: Vec<Container<'_>> = Vec::with_capacity(CBOR_DEPTH);
    let mut rest = bytes;
    loop {
        let start = rest;
        let head = Head::take(&mut rest)?;
        let opened = head.enter(&mut rest)?;
        if let Some(container) = open.last_mut() {
            container.note_item(start, start.len() - rest.len(), opened.is_some())?;
        }
        if let Some(container) = opened {
            if open.len() == CBOR_DEPTH {
                return Err(NotStrict::TooDeep);
            }
            open.push(container);
        }
        while open.last().is_some_and(|container| container.left == 0) {
            open.pop();
        }
        if open.is_empty() {
            break;
        }
    }

    match rest.is_empty() {
        true => Ok(()),
        false => Err(NotStrict::Trailing),
    }
}

/// An array or map that still has items to come.
struct Container<'b> {
    left: usize,
    is_map: bool,
    last_key: Option<&'b [u8]>,
}

impl<'b> Container<'b> {
    /// Counts one direct child, and holds map keys to their order.
    fn note_item(&mut self, at: &'b [u8], length: usize, is_container: bool) -> Result<(), NotStrict> {
        if self.is_map && self.left.is_multiple_of(2) {
            if is_container {
                return Err(NotStrict::ContainerAsKey);
            }
            let key = &at[..length];
            if self.last_key.is_some_and(|last| last >= key) {
                return Err(NotStrict::KeyOrder);
            }
            self.last_key = Some(key);
        }
        self.left -= 1;

        Ok(())
    }
}

/// The initial byte of an item and its argument.
struct Head {
    major: u8,
    argument: u64,
}

impl Head {
    fn take(rest: &mut &[u8]) -> Result<Self, NotStrict> {
        let initial = take(rest, 1)?[0];
        let (major, info) = (initial >> 5, initial & 0x1f);
        if major == 7 && !(20..=22).contains(&info) {
            return Err(NotStrict::Forbidden);
        }
        let (argument, smallest) = match info {
            0..=23 => (u64::from(info), 0),
            24 => (u64::from(take(rest, 1)?[0]), 24),
            25 => (be(take(rest, 2)?), 1 << 8),
            26 => (be(take(rest, 4)?), 1 << 16),
            27 => (be(take(rest, 8)?), 1 << 32),
            28..=30 => return Err(NotStrict::Reserved),
            _ => return Err(NotStrict::Indefinite),
        };
        match argument < smallest {
            true => Err(NotStrict::NotShortest),
            false => Ok(Self { major, argument }),
        }
    }

    /// Skips the content of a string, or opens a container. A length is believed only if it fits what is left.
    fn enter<'b>(&self, rest: &mut &'b [u8]) -> Result<Option<Container<'b>>, NotStrict> {
        let length = usize::try_from(self.argument).map_err(|_| NotStrict::Truncated);
        match self.major {
            0 | 1 | 7 => Ok(None),
            2 => take(rest, length?).map(|_| None),
            3 => {
                let text = take(rest, length?)?;
                std::str::from_utf8(text).map_err(|_| NotStrict::Utf8)?;

                Ok(None)
            }
            4 => Container::open(length?, false, rest).map(Some),
            5 => {
                let items = length?.checked_mul(2).ok_or(NotStrict::Truncated)?;

                Container::open(items, true, rest).map(Some)
            }
            _ => Err(NotStrict::Forbidden),
        }
    }
}

impl Container<'_> {
    fn open(left: usize, is_map: bool, rest: &[u8]) -> Result<Self, NotStrict> {
        match left > rest.len() {
            true => Err(NotStrict::Truncated),
            false => Ok(Self {
                left,
                is_map,
                last_key: None,
            }),
        }
    }
}

fn take<'b>(rest: &mut &'b [u8], length: usize) -> Result<&'b [u8], NotStrict> {
    let (taken, left) = rest.split_at_checked(length).ok_or(NotStrict::Truncated)?;
    *rest = left;

    Ok(taken)
}

fn be(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotStrict {
    /// A map key is an array or a map.
    #[error("a container stands as a map key")]
    ContainerAsKey,
    /// A tag, a float, `undefined` or a simple value other than false, true and null.
    #[error("a kind of item that is not used here")]
    Forbidden,
    /// A length is given as indefinite.
    #[error("an indefinite length")]
    Indefinite,
    /// Map keys are out of order, or one stands twice.
    #[error("map keys are not strictly ascending")]
    KeyOrder,
    /// A length or integer is not in its shortest form.
    #[error("an argument is not in its shortest form")]
    NotShortest,
    /// A reserved length of head.
    #[error("a reserved initial byte")]
    Reserved,
    /// Nesting goes beyond [`CBOR_DEPTH`].
    #[error("nested too deep")]
    TooDeep,
    /// Bytes follow the item.
    #[error("bytes after the end")]
    Trailing,
    /// The bytes end before the item does, or a length points past them.
    #[error("shorter than it says")]
    Truncated,
    /// Text is not UTF-8.
    #[error("text is not UTF-8")]
    Utf8,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deterministic_items_pass() {
        for hex in [
            "00",
            "17",
            "1818",
            "20",
            "40",
            "6161",
            "80",
            "820102",
            "a0",
            "a201020304",
            "f4",
            "f6",
            "a10181a0",
        ] {
            assert_eq!(check(&bytes(hex)), Ok(()), "{hex}");
        }
    }

    #[test]
    fn each_break_has_its_name() {
        let cases = [
            ("", NotStrict::Truncated),
            ("0000", NotStrict::Trailing),
            ("1817", NotStrict::NotShortest),
            ("190017", NotStrict::NotShortest),
            ("1a0000ffff", NotStrict::NotShortest),
            ("1b00000000ffffffff", NotStrict::NotShortest),
            ("5f4100ff", NotStrict::Indefinite),
            ("9f00ff", NotStrict::Indefinite),
            ("1c", NotStrict::Reserved),
            ("a203040102", NotStrict::KeyOrder),
            ("a201020102", NotStrict::KeyOrder),
            ("a1800000", NotStrict::ContainerAsKey),
            ("c000", NotStrict::Forbidden),
            ("f7", NotStrict::Forbidden),
            ("f93c00", NotStrict::Forbidden),
            ("f814", NotStrict::Forbidden),
            ("61ff", NotStrict::Utf8),
            ("5b7fffffffffffffff", NotStrict::Truncated),
            ("9bffffffffffffffff", NotStrict::Truncated),
            ("bbffffffffffffffff", NotStrict::Truncated),
            ("8201", NotStrict::Truncated),
        ];
        for (hex, expected) in cases {
            assert_eq!(check(&bytes(hex)), Err(expected), "{hex}");
        }
    }

    #[test]
    fn depth_ends_at_the_limit() {
        let nested = |depth: usize| [vec![0x81; depth], vec![0x00]].concat();

        assert_eq!(check(&nested(CBOR_DEPTH)), Ok(()));
        assert_eq!(check(&nested(CBOR_DEPTH + 1)), Err(NotStrict::TooDeep));
        assert_eq!(check(&vec![0x81; 1 << 20]), Err(NotStrict::TooDeep));
    }

    proptest::proptest! {
        /// Whatever the gate admits, a general decoder reads to its end and a deterministic encoder writes back.
        #[test]
        fn admitted_bytes_have_one_form(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..64)) {
            if check(&bytes).is_ok() {
                let mut decoder = minicbor::Decoder::new(&bytes);
                decoder.skip().expect("admitted bytes decode");
                proptest::prop_assert_eq!(decoder.position(), bytes.len());
            }
        }
    }

    fn bytes(hex: &str) -> Vec<u8> {
        data_encoding::HEXLOWER
            .decode(hex.as_bytes())
            .expect("test input is hex")
    }
}
