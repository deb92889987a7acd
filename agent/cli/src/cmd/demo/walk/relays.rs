//! Relays that die, and relays that stand still.

use std::time::Duration;

use agent_shell::local::RelayRow;
use tokio::time::Instant;

use super::{AFTERMATH, NOTICING, SETTLING, promise_failover};
use crate::cmd::demo::fleet::Fleet;
use crate::cmd::demo::flow::Watch;
use crate::cmd::demo::plan::{CONTROLLER_NAME, Pair};
use crate::cmd::demo::report::Measured;
use crate::cmd::demo::sight::{self, Standing, Way};
use crate::cmd::demo::world::World;
use crate::failure::Failure;

pub(super) const KILLED: &str = "move to the standby relay within 1500 ms when the relay is killed";
pub(super) const STOPPED: &str = "move to the standby relay within 1500 ms when the relay stands still; resumed, it \
                                  forwards nothing before one of its polls succeeded";

/// Kills the relay of a pair that cannot do without one.
pub(super) async fn relay_killed(world: &mut World, pair: &Pair) -> Result<Measured, Failure> {
    let relay = relayed(world, pair).await?;
    let watch = Watch::begin(world, vec![pair.clone()]).await?;
    world.say(&format!("killing {relay}, which carries {pair}"));
    let missed_before = world.fleet.unanswered(&relay);
    let began = Instant::now();
    world.fleet.kill(&relay).await?;
    let mut measured = moved_off(world, pair, &relay, began).await?;
    measured.damage = watch.end(world, AFTERMATH).await?;
    measured.fired = world.fleet.unanswered(&relay) - missed_before;
    promise_failover(&mut measured);

    Ok(measured)
}

/// Stops the relay of a pair that cannot do without one, and lets it go on later.
pub(super) async fn relay_stopped(world: &mut World, pair: &Pair) -> Result<Measured, Failure> {
    let relay = relayed(world, pair).await?;
    let watch = Watch::begin(world, vec![pair.clone()]).await?;
    world.say(&format!("stopping {relay}, which carries {pair}"));
    let missed_before = world.fleet.unanswered(&relay);
    let began = Instant::now();
    world.fleet.stop(&relay)?;
    let mut measured = moved_off(world, pair, &relay, began).await?;
    let look = async |_: &Fleet| match began.elapsed() > STANDSTILL {
        true => Ok(()),
        false => Err("it has not stood still long enough to lose its trust in itself".to_owned()),
    };
    world
        .until("the relay stands still", STANDSTILL + NOTICING, look)
        .await?;
    measured.fired = world.fleet.unanswered(&relay) - missed_before;
    resumed(world, &relay, &mut measured).await?;
    measured.damage = watch.end(world, AFTERMATH).await?;
    promise_failover(&mut measured);

    Ok(measured)
}

/// Lets the relay go on where no controller can be reached: then it must carry nothing. Once one can, it is a relay
/// again.
async fn resumed(world: &mut World, relay: &str, measured: &mut Measured) -> Result<(), Failure> {
    let home = Pair::new(relay, CONTROLLER_NAME);
    world.fleet.cut(&home);
    world.fleet.resume(relay)?;
    let first = world
        .until("the relay answers again", NOTICING, paused(relay))
        .await?;
    let since = Instant::now();
    let last = async |fleet: &Fleet| {
        let now = paused(relay)(fleet).await;
        match since.elapsed() > HELD_BACK {
            true => Ok(now),
            false => Err("it is still watched".to_owned()),
        }
    };
    let last = world
        .until("the relay is watched", HELD_BACK + NOTICING, last)
        .await?;
    let carried = last
        .as_ref()
        .map(|last| forwarded(last).saturating_sub(forwarded(&first)));
    measured.promise(carried == Ok(0), || match &carried {
        Ok(frames) => format!("{relay} forwarded {frames} frames before one of its polls succeeded"),
        Err(instead) => format!("{relay} carried again before one of its polls succeeded: {instead}"),
    });
    world.fleet.mend(&home);
    world.say(&format!(
        "{relay} goes on, and forwards nothing ({} refused) until it reached the controller",
        refused(&first)
    ));
    let look = async |fleet: &Fleet| match fleet.relaying(relay).await {
        Some(row) if row.pause.is_none() => Ok(()),
        Some(row) => Err(format!("{relay} pauses: {}", row.pause.unwrap_or_default())),
        None => Err(format!("{relay} does not answer")),
    };

    world.until("the relay is one again", NOTICING, look).await
}

/// Sees the relay while it says that it stood still.
fn paused(relay: &str) -> impl AsyncFn(&Fleet) -> Result<RelayRow, String> {
    async move |fleet: &Fleet| match fleet.relaying(relay).await {
        Some(row) if row.pause.as_deref() == Some("stood_still") => Ok(row),
        Some(row) => Err(format!(
            "{relay}: pause {:?}, fresh {:?} ms ago",
            row.pause, row.fresh_age_ms
        )),
        None => Err(format!("{relay} does not answer")),
    }
}

fn forwarded(row: &RelayRow) -> u64 {
    row.rows.iter().map(|lease| lease.forwarded).sum()
}

fn refused(row: &RelayRow) -> u64 {
    row.rows.iter().map(|lease| lease.refused).sum()
}

/// Takes the direct path away from a pair, and waits until a relay carries it and another one could. Returns the relay
/// that does.
pub(super) async fn relayed(world: &mut World, pair: &Pair) -> Result<String, Failure> {
    world.fleet.cut(pair);
    world.say(&format!("{pair} has no direct path from now on"));
    let look = async |fleet: &Fleet| {
        let standings = fleet.standing(pair).await;
        let standings = standings.ok_or_else(|| "an end does not know the route".to_owned())?;
        carrier(&standings).ok_or_else(|| sight::told(pair, &standings))
    };
    let what = format!("{pair}: a relay, and another one that is ready");

    world.until(&what, SETTLING, look).await
}

/// The relay that both ends use as decided, if both could move to another one.
fn carrier(standings: &[Standing; 2]) -> Option<String> {
    let [one, other] = standings;
    let is_ready = standings
        .iter()
        .all(|standing| standing.is_settled() && standing.could_move_to_a_relay());
    match &one.active {
        Way::Relay(relay) if is_ready && one.active == other.active => Some(relay.clone()),
        Way::Relay(_) | Way::Direct => None,
    }
}

/// Waits until both ends use another path than that over `relay`.
pub(super) async fn moved_off(
    world: &mut World,
    pair: &Pair,
    relay: &str,
    began: Instant,
) -> Result<Measured, Failure> {
    let dead = Way::Relay(relay.to_owned());
    let moved = world
        .until_both(pair, "both ends leave the relay", NOTICING, |standing| {
            standing.active != dead
        })
        .await?;
    let detected = began.elapsed();
    world.say(&format!("{pair} moved by itself, {}", moved[0].active));

    Ok(Measured {
        detected,
        ..Measured::default()
    })
}

/// Longer than a relay may stand still and go on as if nothing had been (DESIGN 5: 5 s).
const STANDSTILL: Duration = Duration::from_secs(6);
/// How long a resumed relay is watched while it cannot reach a controller.
const HELD_BACK: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_relay_carries_a_pair_once_both_ends_use_it_and_could_leave_it() {
        let (one, other) = (standing("r1", &["r2"]), standing("r1", &["r3"]));

        assert_eq!(carrier(&[one, other]), Some("r1".to_owned()));
    }

    #[test]
    fn a_relay_without_another_behind_it_is_not_killed() {
        assert_eq!(carrier(&[standing("r1", &["r2"]), standing("r1", &[])]), None);
    }

    #[test]
    fn ends_that_use_different_relays_have_none_in_common() {
        assert_eq!(carrier(&[standing("r1", &["r2"]), standing("r2", &["r1"])]), None);
    }

    #[test]
    fn a_path_that_does_not_arrive_carries_nothing() {
        let doubtful = Standing {
            health: Some("doubtful".to_owned()),
            ..standing("r1", &["r2"])
        };

        assert_eq!(carrier(&[standing("r1", &["r2"]), doubtful]), None);
    }

    fn standing(relay: &str, ready: &[&str]) -> Standing {
        let way = |relay: &str| Way::Relay(relay.to_owned());

        Standing {
            generation: 1,
            decided: way(relay),
            active: way(relay),
            health: Some("up".to_owned()),
            ready: ready.iter().map(|relay| way(relay)).collect(),
            rtt: None,
            lost: None,
        }
    }
}
