//! Public keys that were found to be sound before. Rows and documents with the same few keys are decoded again and again, and
//! finding a point costs as much as all the rest of a row; whether 32 bytes are one never changes.

use std::cell::RefCell;

thread_local! {
    /// Each key has one place, and the latest of those that share it stays.
    static KNOWN: RefCell<Vec<Option<[u8; 32]>>> = const { RefCell::new(Vec::new()) };
}

pub(super) fn is_known(bytes: &[u8; 32]) -> bool {
    KNOWN.with_borrow(|known| {
        known
            .get(place(bytes))
            .is_some_and(|there| there.as_ref() == Some(bytes))
    })
}

pub(super) fn note(bytes: [u8; 32]) {
    KNOWN.with_borrow_mut(|known| {
        known.resize(PLACES, None);
        if let Some(there) = known.get_mut(place(&bytes)) {
            *there = Some(bytes);
        }
    });
}

/// Bytes of a key are as good as random.
fn place(bytes: &[u8; 32]) -> usize {
    usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % PLACES
}

/// 33 KiB for each thread that decodes keys: those of a few hundred nodes and operators mostly find theirs.
const PLACES: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::super::VerifyKey;
    use super::*;

    #[test]
    fn a_key_that_was_refused_is_refused_again_and_its_neighbour_in_place_is_not_taken_for_it() {
        let mut rng = <rand::rngs::StdRng as rand::SeedableRng>::seed_from_u64(7);
        let sound = super::super::SigningKey::generate(&mut rng).verify_key();
        assert!(VerifyKey::parse(*sound.as_bytes()).is_ok() && is_known(sound.as_bytes()));

        // Of the bytes that share its first two, half are no point; each is judged by itself.
        let mut refused = 0;
        for last in 0..=u8::MAX {
            let mut other = *sound.as_bytes();
            other[20] = last;
            let (first, again) = (VerifyKey::parse(other).is_ok(), VerifyKey::parse(other).is_ok());
            assert_eq!(first, again);
            assert_eq!(is_known(&other), first, "{last}");
            refused += u32::from(!first);
        }
        assert!((64..192).contains(&refused), "{refused}");
    }
}
