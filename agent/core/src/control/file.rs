//! The files of the state directory, and the checksum that stands before the content of each.
//!
//! ```text
//! magic 4  "gab1"     checksum 32  SHA-256(name ‖ 0x00 ‖ content)     content  deterministic CBOR
//! ```
//!
//! The checksum finds damage, not forgery: what must be authentic is signed inside.

use minicbor::{Decode, Encode};
use protocol::cbor;
use protocol::key::Digest;

use super::effect::Payload;

/// A file of the agent's state directory. All are written whole: temporary file, fsync, rename, fsync of the
/// directory; mode 0600.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// Keys, pin, certificate, pending request.
    Identity,
    /// What must never be gone below.
    HighWater,
    /// The last known good snapshot, generations of even number.
    LastGoodA,
    /// The last known good snapshot, generations of odd number.
    LastGoodB,
    /// Controllers that were once told of, so that a node finds them after any outage.
    Controllers,
    /// The config whose settings were confirmed last, while those of the one in force are not.
    Confirmed,
}

impl FileName {
    pub const ALL: [Self; 6] = [
        Self::Identity,
        Self::HighWater,
        Self::LastGoodA,
        Self::LastGoodB,
        Self::Controllers,
        Self::Confirmed,
    ];

    /// The name within the state directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::HighWater => "high-water",
            Self::LastGoodA => "last-good-a",
            Self::LastGoodB => "last-good-b",
            Self::Controllers => "controllers",
            Self::Confirmed => "confirmed",
        }
    }

    /// The file with `value` in it, ready to be written.
    pub(super) fn write<T: Encode<()>>(self, value: &T) -> (Self, Payload) {
        let content = Payload::from(cbor::encode(value));
        let checksum = self.checksum(content.as_bytes());
        let bytes = [MAGIC, checksum.as_bytes(), content.as_bytes()].concat();

        (self, Payload::from(bytes))
    }

    /// The value in a file, if the file is whole and was written under this name.
    pub(super) fn read<'b, T: Decode<'b, ()>>(self, bytes: &'b [u8]) -> Option<T> {
        let (checksum, content) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<32>()?;
        match self.checksum(content).as_bytes() == checksum {
            true => cbor::decode(content).ok(),
            false => None,
        }
    }

    fn checksum(self, content: &[u8]) -> Digest {
        Digest::of_parts(&[self.name().as_bytes(), &[0], content])
    }
}

/// A file whose content cannot be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Damaged;

const MAGIC: &[u8] = b"gab1";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_reads_back_under_its_own_name_alone() {
        let (name, payload) = FileName::LastGoodA.write(&7_u64);

        assert_eq!(name.read::<u64>(payload.as_bytes()), Some(7));
        assert_eq!(FileName::LastGoodB.read::<u64>(payload.as_bytes()), None);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let (name, payload) = FileName::HighWater.write(&[1_u64, 2, 3]);
        let whole = payload.as_bytes();
        for bit in 0..whole.len() * 8 {
            let mut flipped = whole.to_vec();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(name.read::<[u64; 3]>(&flipped), None, "bit {bit}");
        }
        for length in 0..whole.len() {
            assert_eq!(name.read::<[u64; 3]>(&whole[..length]), None, "{length} bytes");
        }
    }
}
