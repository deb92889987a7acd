//! The product and its floor by turns, so that both get the same machine.

use std::fmt::Write;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use crate::bench::{Budget, NotMeasured, Row};
use crate::figure::{Figure, percentile};

/// What came out of each round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rounds {
    product: Vec<f64>,
    floor: Vec<f64>,
}

impl Rounds {
    /// Measures `count` times: first the floor, then the product.
    pub(crate) fn take(
        count: usize,
        mut floor: impl FnMut() -> Result<f64, String>,
        mut product: impl FnMut() -> Result<f64, String>,
    ) -> Result<Self, NotMeasured> {
        let mut rounds = Self::default();
        for round in 1..=count {
            rounds.floor.push(whole(floor()?));
            rounds.product.push(whole(product()?));
            eprintln!(
                "bench: round {round} of {count}: {} beside a floor of {}",
                rounds.product[round - 1],
                rounds.floor[round - 1]
            );
        }

        Ok(rounds)
    }

    /// The figure, with the median of the floor's rounds as its floor.
    pub(crate) fn row(&self, name: &str, unit: &str, budget: Budget) -> Result<Row, NotMeasured> {
        let nothing = || NotMeasured::Broken("no round was measured".to_owned());
        let floor = median(&self.floor).ok_or_else(nothing)?;

        Ok(Row {
            name: name.to_owned(),
            figure: Figure::of(&self.product, unit, floor).ok_or_else(nothing)?,
            budget: Some(budget),
        })
    }

    /// What the figure leaves out: how far the floor moved, and every round's own ratio.
    pub(crate) fn note(&self) -> String {
        let mut note = format!(
            "The floor's {} rounds: {} to {}. Ratios of each round with the floor just before it:",
            self.floor.len(),
            self.floor.iter().copied().fold(f64::INFINITY, f64::min),
            self.floor.iter().copied().fold(0.0, f64::max),
        );
        for (product, floor) in self.product.iter().zip(&self.floor) {
            let _ = write!(note, " {:.2}", product / floor);
        }

        note + "."
    }
}

impl From<String> for NotMeasured {
    fn from(why: String) -> Self {
        Self::Broken(why)
    }
}

/// What a crowd is to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Work {
    /// Jobs at once.
    pub(crate) width: usize,
    pub(crate) jobs: usize,
    /// No job is begun later.
    pub(crate) within: Duration,
}

/// Does jobs by their numbers, and gives how many a second.
pub(crate) async fn crowd<J, F>(work: Work, job: J) -> Result<f64, String>
where
    J: Fn(usize) -> F + Clone + Send + 'static,
    F: Future<Output = Result<(), String>> + Send + 'static,
{
    let next = Arc::new(AtomicUsize::new(0));
    let begun = Instant::now();
    let mut workers: JoinSet<Result<(), String>> = JoinSet::new();
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..work.width {
        let (job, next, done) = (job.clone(), Arc::clone(&next), Arc::clone(&done));
        workers.spawn(async move {
            while begun.elapsed() < work.within {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= work.jobs {
                    break;
                }
                job(number).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }

            Ok(())
        });
    }
    while let Some(ended) = workers.join_next().await {
        ended.map_err(|_| "a caller panicked".to_owned())??;
    }

    Ok(done.load(Ordering::Relaxed) as f64 / begun.elapsed().as_secs_f64())
}

/// For work that is not measured, and must not last for ever.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);

    percentile(&sorted, 50)
}

/// More digits than that say nothing of a rate.
fn whole(value: f64) -> f64 {
    value.round()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floor_and_product_take_turns_and_the_floors_median_is_the_floor() {
        let turns = std::cell::RefCell::new(Vec::new());
        let turn = |who: char, values: [f64; 3]| {
            let mut values = values.into_iter();
            let turns = &turns;
            move || {
                turns.borrow_mut().push(who);
                values.next().ok_or_else(|| "over".to_owned())
            }
        };
        let rounds = Rounds::take(
            3,
            turn('f', [100.0, 300.0, 200.0]),
            turn('p', [80.0, 150.0, 90.0]),
        );
        let rounds = rounds.unwrap();
        let row = rounds
            .row("polls_per_s", "/s", Budget::AtLeastOfFloor(0.4))
            .unwrap();

        assert_eq!(turns.borrow().as_slice(), ['f', 'p', 'f', 'p', 'f', 'p']);
        assert_eq!(
            (row.figure.p50, row.figure.floor, row.figure.ratio),
            (90.0, 200.0, 0.45)
        );
        assert!(rounds.note().ends_with("0.80 0.50 0.45."), "{}", rounds.note());
    }

    #[test]
    fn a_round_that_fails_is_no_figure() {
        let failed = Rounds::take(1, || Ok(1.0), || Err("refused".to_owned()));

        assert!(matches!(failed, Err(NotMeasured::Broken(why)) if why == "refused"));
    }
}
