//! A length of time as people write it: `5s`, `1h30m`, `7d`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SpanRelativeTo;
use serde::{Deserialize, Deserializer};

/// More than nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Span(Duration);

impl Span {
    pub(crate) const fn new(duration: Duration) -> Self {
        Self(duration)
    }

    pub(crate) const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = NotASpan;

    fn from_str(text: &str) -> Result<Self, NotASpan> {
        let refuse = || NotASpan(text.to_owned());
        let span: jiff::Span = text.trim().parse().map_err(|_| refuse())?;
        let duration = span
            .to_duration(SpanRelativeTo::days_are_24_hours())
            .map_err(|_| refuse())?;
        let duration = Duration::try_from(duration).map_err(|_| refuse())?;

        (!duration.is_zero()).then_some(Self(duration)).ok_or_else(refuse)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

/// Not a number with a unit, negative, or nothing at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a length of time such as \"5s\", \"1h30m\" or \"7d\"")]
pub(crate) struct NotASpan(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_write_numbers_with_units() {
        for (text, seconds) in [
            ("5s", 5),
            ("24h", 86_400),
            ("1h30m", 5_400),
            ("1h 30m", 5_400),
            ("7d", 604_800),
        ] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!("250ms".parse(), Ok(Span(Duration::from_millis(250))));
    }

    #[test]
    fn what_is_no_length_of_time_is_refused() {
        for text in ["", "5", "0s", "-5s", "soon", "1h!", "99999999999999h"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
    }
}
