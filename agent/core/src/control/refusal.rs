//! How much a controller's "no" weighs.

use std::time::Duration;

use protocol::error::WireError;

/// What to do after a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weight {
    /// Asking again would be told the same.
    ForGood,
    /// The controller cannot now, or was asked too often.
    Passing { pause: Duration },
}

impl Weight {
    /// By number, so that codes of later versions are understood.
    pub(super) fn of(error: &WireError) -> Self {
        let pause = error.retry_after_ms.map_or(PAUSE, Duration::from_millis);
        match may_pass(error.number) {
            true => Self::Passing {
                pause: pause.min(PAUSE_CAP),
            },
            false => Self::ForGood,
        }
    }
}

/// Whether asking again later may be told something else.
pub(super) const fn may_pass(number: u16) -> bool {
    matches!(number, 425 | 429 | 500 | 502..)
}

/// Pause where the controller names none.
const PAUSE: Duration = Duration::from_secs(2);
/// The longest pause that a controller can ask for: its clock or its code may be wrong.
const PAUSE_CAP: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use protocol::error::Code;

    use super::*;

    #[test]
    fn only_what_may_pass_is_asked_again() {
        for code in Code::ALL {
            let weight = Weight::of(&WireError::new(*code, ""));
            let passing = [
                Code::RetryInCooldown,
                Code::RateLimited,
                Code::Internal,
                Code::Unavailable,
                Code::ReadOnly,
                Code::Sealed,
                Code::StoreFull,
            ];

            assert_eq!(weight != Weight::ForGood, passing.contains(code), "{code:?}");
        }
    }

    #[test]
    fn a_controller_cannot_send_a_node_away_for_ever() {
        let error = WireError {
            retry_after_ms: Some(u64::MAX),
            ..WireError::new(Code::RateLimited, "")
        };

        assert_eq!(Weight::of(&error), Weight::Passing { pause: PAUSE_CAP });
    }
}
