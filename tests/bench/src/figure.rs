//! Many samples as one figure.

use serde::{Deserialize, Serialize};

/// A distribution, as it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    /// The one number to quote: the median.
    pub(crate) value: f64,
    pub(crate) unit: String,
    /// What it cannot go below, in the same unit.
    pub(crate) floor: f64,
    /// `value` by `floor`.
    pub(crate) ratio: f64,
    /// Repetitions.
    pub(crate) n: usize,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
}

impl Figure {
    /// None without samples, and none beside nothing: JSON has no number for that ratio.
    pub(crate) fn of(samples: &[f64], unit: &str, floor: f64) -> Option<Self> {
        if floor <= 0.0 {
            return None;
        }
        let mut sorted = samples.to_vec();
        sorted.sort_by(f64::total_cmp);
        let p50 = percentile(&sorted, 50)?;

        Some(Self {
            value: p50,
            unit: unit.to_owned(),
            floor: rounded(floor),
            ratio: hundredths(p50 / floor),
            n: sorted.len(),
            min: *sorted.first()?,
            max: *sorted.last()?,
            p50,
            p99: percentile(&sorted, 99)?,
        })
    }
}

/// The smallest sample that at least `percent` of a hundred are not above (nearest rank).
pub(crate) fn percentile(sorted: &[f64], percent: usize) -> Option<f64> {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);

    sorted.get(rank - 1).copied()
}

/// To tenths, and where they would say little to hundredths.
fn rounded(value: f64) -> f64 {
    match value < FEW {
        true => hundredths(value),
        false => (value * 10.0).round() / 10.0,
    }
}

fn hundredths(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

const FEW: f64 = 10.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentile_is_a_sample_and_the_nearest_rank() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        let five = [1.0, 2.0, 3.0, 4.0, 5.0];

        assert_eq!(percentile(&hundred, 50), Some(50.0));
        assert_eq!(percentile(&hundred, 99), Some(99.0));
        assert_eq!(percentile(&five, 50), Some(3.0));
        assert_eq!(percentile(&five, 99), Some(5.0));
        assert_eq!(percentile(&[7.0], 1), Some(7.0));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn a_figure_stands_beside_its_floor_whatever_the_order_of_its_samples() {
        let figure = Figure::of(&[900.0, 300.0, 600.0], "ms", 400.04).unwrap();

        assert_eq!((figure.value, figure.p50, figure.p99), (600.0, 600.0, 900.0));
        assert_eq!((figure.min, figure.max, figure.n), (300.0, 900.0, 3));
        assert_eq!((figure.floor, figure.ratio), (400.0, 1.5));
    }

    #[test]
    fn a_small_floor_is_not_rounded_away() {
        let figure = Figure::of(&[0.3], "%", 0.062).unwrap();

        assert_eq!((figure.floor, figure.ratio), (0.06, 4.84));
    }

    #[test]
    fn nothing_measured_is_no_figure() {
        assert_eq!(Figure::of(&[], "ms", 1.0), None);
        assert_eq!(Figure::of(&[1.0], "%", 0.0), None);
    }
}
