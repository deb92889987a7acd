//! The fleet with its onlookers: everything that is waited for is waited for here.

use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

use super::fleet::Fleet;
use super::plan::Pair;
use super::screen::Screen;
use super::sight::{Standing, told};
use crate::exit::Exit;
use crate::failure::Failure;

#[derive(Debug)]
pub(crate) struct World {
    pub(crate) fleet: Fleet,
    pub(crate) screen: Screen,
}

impl World {
    pub(crate) fn say(&mut self, step: &str) {
        self.screen.say(step);
    }

    /// Looks again and again until `look` sees `what`; otherwise `look` says what it sees instead. Fails after
    /// `patience`, or when a process ends that nobody killed.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        patience: Duration,
        look: impl AsyncFn(&Fleet) -> Result<T, String>,
    ) -> Result<T, Failure> {
        let deadline = Instant::now() + patience;
        let mut turns = tokio::time::interval(LOOK);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            self.fleet.check()?;
            let instead = match look(&self.fleet).await {
                Ok(seen) => return Ok(seen),
                Err(instead) => instead,
            };
            if Instant::now() >= deadline {
                return Err(not_seen(what, patience, &instead));
            }
            self.screen.refresh(&self.fleet).await;
        }
    }

    /// Keeps the table up to date, for ever.
    pub(crate) async fn stay(&mut self) {
        let mut turns = tokio::time::interval(LOOK);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            self.screen.refresh(&self.fleet).await;
        }
    }

    /// Waits until both ends of a pair are as `is_so` wants them.
    pub(crate) async fn until_both(
        &mut self,
        pair: &Pair,
        what: &str,
        patience: Duration,
        is_so: impl Fn(&Standing) -> bool,
    ) -> Result<[Standing; 2], Failure> {
        let what = format!("{pair}: {what}");
        let look = async |fleet: &Fleet| {
            let Some(standings) = fleet.standing(pair).await else {
                return Err("an end does not know the route".to_owned());
            };
            match standings.iter().all(&is_so) {
                true => Ok(standings),
                false => Err(told(pair, &standings)),
            }
        };

        self.until(&what, patience, look).await
    }
}

fn not_seen(what: &str, patience: Duration, instead: &str) -> Failure {
    let seconds = patience.as_secs();

    Failure::new(
        Exit::TimedOut,
        "demo_not_seen",
        format!("{what}: not within {seconds} s"),
    )
    .because(instead)
}

/// How often is looked: much more often than anything that is measured here takes.
const LOOK: Duration = Duration::from_millis(20);
