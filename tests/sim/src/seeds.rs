//! How many seeds a test runs.

use std::ops::Range;

/// The seeds of one of `parts` tests that share the work: `SIM_SEEDS` in all, or as many as CI runs. Each part has seeds of
/// its own.
pub fn share(part: u64, parts: u64) -> Range<u64> {
    let all = std::env::var("SIM_SEEDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(DEFAULT);
    let each = all.div_ceil(parts);

    part * each..(part + 1) * each
}

/// Enough for the rare orders of events, and few enough for every change.
const DEFAULT: u64 = 105;
