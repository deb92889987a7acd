//! Time as the cores see it: two clocks, read by the shell and handed in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// One reading of both clocks, the only time a core ever sees.
///
/// `boot` is `CLOCK_BOOTTIME`: it never steps and it counts suspend, so every interval, lease and timeout is
/// measured on it. `wall` is for what leaves the machine: validity, audit, text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    pub boot: Boot,
    pub wall: Wall,
}

/// Milliseconds since this machine booted (`CLOCK_BOOTTIME`). Meaningless on another machine, and in a record only beside
/// the reading that it is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Boot(pub u64);

/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Wall(pub u64);

impl Boot {
    /// The time from `earlier` to here, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This instant, `by` later.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This instant, `by` earlier; no earlier than the start of the machine.
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }
}

impl Wall {
    /// The time from `earlier` to here, zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This instant, `by` later.
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(millis(by)))
    }

    /// This instant, `by` earlier.
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(millis(by)))
    }

    /// Whole seconds since 1970, as X.509 counts.
    pub fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// A duration in whole milliseconds, saturating.
pub fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A reading in a record is its milliseconds.
macro_rules! number_in_records {
    ($($name:ident),*) => {$(
        impl<C> minicbor::Encode<C> for $name {
            fn encode<W: minicbor::encode::Write>(
                &self,
                e: &mut minicbor::Encoder<W>,
                _: &mut C,
            ) -> Result<(), minicbor::encode::Error<W::Error>> {
                e.u64(self.0)?.ok()
            }
        }

        impl<'b, C> minicbor::Decode<'b, C> for $name {
            fn decode(d: &mut minicbor::Decoder<'b>, _: &mut C) -> Result<Self, minicbor::decode::Error> {
                d.u64().map(Self)
            }
        }
    )*};
}

number_in_records!(Boot, Wall);
