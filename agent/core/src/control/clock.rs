//! What the wall clock of this host is worth, beside the times that the authority has signed.
//!
//! A clock that is behind something signed is wrong, or the signer's was ahead. So a beacon may set the clock forward by
//! a part of a certificate's life and no more: a controller that was in another year once must not make its agents judge
//! every certificate by that year. A clock that was never set is set whatever it takes.

use std::time::Duration;

use protocol::certificate::{LEAF_LIFE, Validity};
use protocol::time::Wall;

/// The time of a host whose clock says `wall` when a beacon of `issued_at` is known.
pub(super) fn corrected(wall: Wall, issued_at: Option<Wall>) -> Wall {
    let Some(issued_at) = issued_at else {
        return wall;
    };
    match is_set(wall) {
        true => wall.max(issued_at.min(wall.after(MOST_BEHIND))),
        false => wall.max(issued_at),
    }
}

/// The time of a host whose clock says `wall` and was last seen to be this much behind.
pub(super) fn forward(wall: Wall, behind: Duration) -> Wall {
    corrected(wall, Some(wall.after(behind)))
}

/// Whether a certificate begins so far ahead that it was made by a wrong clock. Nothing can be said by one that was
/// never set.
pub(super) fn begins_ahead(validity: Validity, wall: Wall) -> bool {
    is_set(wall) && validity.not_before > wall.after(TOLERANCE)
}

fn is_set(wall: Wall) -> bool {
    wall >= FIRST_RELEASE
}

/// Controllers renew their certificates at half life: judged this far ahead, one that is good is still good.
const MOST_BEHIND: Duration = Duration::from_secs(LEAF_LIFE.as_secs() / 3);

/// By which the clocks of two hosts may differ without either being wrong.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// 2026-01-01, before the first version of this program: a clock that is earlier was never set.
const FIRST_RELEASE: Wall = Wall(1_767_225_600_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beacon_sets_a_slow_clock_right_and_a_fast_beacon_moves_it_a_little() {
        assert_eq!(corrected(NOW, None), NOW);
        assert_eq!(corrected(NOW, Some(NOW.before(DAY))), NOW);
        assert_eq!(corrected(NOW, Some(NOW.after(DAY))), NOW.after(DAY));

        assert_eq!(corrected(NOW, Some(NOW.after(DAY * 365))), NOW.after(MOST_BEHIND));
        assert!(MOST_BEHIND < LEAF_LIFE / 2);
    }

    #[test]
    fn a_clock_that_was_never_set_takes_the_time_of_the_beacon() {
        assert_eq!(corrected(Wall(5), Some(NOW)), NOW);
    }

    #[test]
    fn five_minutes_are_no_difference() {
        let from = |not_before| Validity {
            not_before,
            not_after: NOW.after(DAY * 7),
        };

        assert!(!begins_ahead(from(NOW.after(TOLERANCE)), NOW));
        assert!(begins_ahead(
            from(NOW.after(TOLERANCE + Duration::from_millis(1))),
            NOW
        ));
        assert!(
            !begins_ahead(from(NOW), Wall(5)),
            "nothing is known by such a clock"
        );
    }

    const NOW: Wall = Wall(1_800_000_000_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);
}
