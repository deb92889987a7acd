//! The files of the state directory.

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
}

impl FileName {
    pub const ALL: [Self; 5] = [
        Self::Identity,
        Self::HighWater,
        Self::LastGoodA,
        Self::LastGoodB,
        Self::Controllers,
    ];

    /// The name within the state directory.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::HighWater => "high-water",
            Self::LastGoodA => "last-good-a",
            Self::LastGoodB => "last-good-b",
            Self::Controllers => "controllers",
        }
    }
}
