//! A set of reasons in one word: every candidate of every route has one, so it must cost nothing to make.

use std::fmt;

use protocol::document::routes::Reason;

/// See the module. Iterates in the order of the reasons.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Reasons(u32);

impl Reasons {
    pub const EMPTY: Self = Self(0);

    pub const fn insert(&mut self, reason: Reason) {
        self.0 |= bit(reason);
    }

    pub const fn contains(self, reason: Reason) -> bool {
        self.0 & bit(reason) != 0
    }

    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those of both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Those that `other` has not.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = Reason> {
        Reason::ALL
            .into_iter()
            .filter(move |reason| self.contains(*reason))
    }
}

const fn bit(reason: Reason) -> u32 {
    1 << reason as u32
}

impl Extend<Reason> for Reasons {
    fn extend<I: IntoIterator<Item = Reason>>(&mut self, reasons: I) {
        reasons.into_iter().for_each(|reason| self.insert(reason));
    }
}

impl FromIterator<Reason> for Reasons {
    fn from_iter<I: IntoIterator<Item = Reason>>(reasons: I) -> Self {
        let mut set = Self::EMPTY;
        set.extend(reasons);

        set
    }
}

impl fmt::Debug for Reasons {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_place_of_its_own_and_comes_back_in_order() {
        let all: Reasons = Reason::ALL.into_iter().rev().collect();
        assert!(all.iter().eq(Reason::ALL), "{all:?}");
        for reason in Reason::ALL {
            let one: Reasons = [reason].into_iter().collect();
            assert!(one.iter().eq([reason]), "{one:?}");
            assert!(!all.difference(one).contains(reason));
            assert_eq!(all.intersection(one), one);
            assert_eq!(all.difference(one).union(one), all);
        }
        assert!(Reason::ALL.is_sorted());
    }
}
