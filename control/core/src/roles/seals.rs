//! Signatures of grants that were checked before.
//!
//! Whether a key has signed exactly these bytes never changes: it is remembered under a hash of all that the answer is made
//! from, the signer and the document with its signatures. Who counts, until when, and what was taken away is read from the
//! store and judged anew for every question, so that a grant that is revoked ends with the commit that says so.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::key::Digest;

use super::standing::Grant;

/// See the module. One of an installation serves all who ask.
#[derive(Debug, Default)]
pub struct Seals(Mutex<Inside>);

#[derive(Debug, Default)]
struct Inside {
    /// What a document says, or none where the signer did not sign it.
    known: BTreeMap<Digest, Option<Grant>>,
    checked: u64,
}

impl Seals {
    /// What `check` finds, which must depend on nothing that `content` is not a hash of.
    pub(super) fn of(&self, content: Digest, check: impl FnOnce() -> Option<Grant>) -> Option<Grant> {
        if let Some(known) = self.inside().known.get(&content) {
            return known.clone();
        }
        let found = check();
        let mut inside = self.inside();
        if inside.known.len() >= MOST {
            inside.known.clear();
        }
        inside.known.insert(content, found.clone());
        inside.checked += 1;

        found
    }

    /// How often a document was held against a signer, and not remembered.
    pub fn checked(&self) -> u64 {
        self.inside().checked
    }

    /// Nothing breaks in there.
    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A few grants of each of a few hundred operators, each held against a few owners; some 300 bytes each. When it is full all
/// are checked again once.
const MOST: usize = 4_096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_bounded() {
        let seals = Seals::default();
        for number in 0..3 * MOST {
            seals.of(Digest::of(&number.to_be_bytes()), || None);
            assert!(seals.inside().known.len() <= MOST);
        }
        assert_eq!(seals.checked(), 3 * MOST as u64);
    }
}
