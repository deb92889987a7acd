//! A direct path that goes silent, in both directions or in one, or that loses much of what it carries.

use std::time::Duration;

use tokio::time::Instant;

use super::{AFTERMATH, NOTICING, SETTLING, promise_failover};
use crate::cmd::demo::flow::Watch;
use crate::cmd::demo::plan::Pair;
use crate::cmd::demo::report::Measured;
use crate::cmd::demo::sight::Way;
use crate::cmd::demo::world::World;
use crate::failure::Failure;

pub(super) const CUT: &str = "move to a relay within 1500 ms without asking anyone; the controller confirms a relay \
                              path afterwards";

pub(super) const ONE_WAY: &str =
    "move to a relay within 1500 ms, both ends, although one of them is still heard";
pub(super) const LOSSY: &str =
    "move to a relay once a fifth of 20 probes is lost, within 5500 ms; no gap over 1500 ms";

/// Cuts a direct path both ways, silently.
pub(super) async fn direct_cut_silent(world: &mut World, pair: &Pair) -> Result<Measured, Failure> {
    direct(world, pair).await?;
    let cut_before = world.fleet.stopped_by_cut(pair);
    let watch = Watch::begin(world, vec![pair.clone()]).await?;
    world.say(&format!(
        "cutting the direct path of {pair}, silently and both ways"
    ));
    let began = Instant::now();
    world.fleet.cut(pair);
    let moved = world
        .until_both(pair, "both ends leave the direct path", NOTICING, |standing| {
            standing.active.is_relay()
        })
        .await?;
    let detected = began.elapsed();
    world.say(&format!("{pair} moved by itself, {}", moved[0].active));
    world
        .until_both(pair, "the controller confirms", SETTLING, |standing| {
            standing.decided.is_relay() && standing.is_settled()
        })
        .await?;
    let damage = watch.end(world, AFTERMATH).await?;
    let mut measured = Measured {
        fired: world.fleet.stopped_by_cut(pair) - cut_before,
        detected,
        damage,
        ..Measured::default()
    };
    promise_failover(&mut measured);
    measured.promise(damage.decisions > 0, || {
        "the controller decided nothing".to_owned()
    });

    Ok(measured)
}

/// Loses everything that the first of a pair sends to the other directly.
pub(super) async fn one_way_loss(world: &mut World, pair: &Pair) -> Result<Measured, Failure> {
    direct(world, pair).await?;
    world.say(&format!(
        "losing everything that {} sends directly to {}, and nothing that comes back",
        pair.one, pair.other
    ));
    let mut measured = lossy(world, pair, [1.0, 0.0]).await?;
    promise_failover(&mut measured);

    Ok(measured)
}

/// Loses three packets in ten of a direct path, in both directions.
pub(super) async fn loss_30_percent(world: &mut World, pair: &Pair) -> Result<Measured, Failure> {
    direct(world, pair).await?;
    world.say(&format!("losing 30 % on the direct path of {pair}, both ways"));
    let mut measured = lossy(world, pair, [0.3, 0.3]).await?;
    let detected = measured.detected;
    measured.promise(detected <= LEFT, || {
        format!("it was left after {} ms only", detected.as_millis())
    });
    promise_failover(&mut measured);

    Ok(measured)
}

/// Loses these shares there and back until both ends have left the direct path. Then it is cut for good, so that it does
/// not come back into use in the middle of another fault.
async fn lossy(world: &mut World, pair: &Pair, [there, back]: [f64; 2]) -> Result<Measured, Failure> {
    let lost_before = world.fleet.lost_between(pair);
    let watch = Watch::begin(world, vec![pair.clone()]).await?;
    let began = Instant::now();
    world.fleet.lose(pair, there);
    world.fleet.lose(&Pair::new(&pair.other, &pair.one), back);
    let moved = world
        .until_both(pair, "both ends leave the direct path", NOTICING, |standing| {
            standing.active.is_relay()
        })
        .await?;
    let detected = began.elapsed();
    world.say(&format!("{pair} moved by itself, {}", moved[0].active));
    let damage = watch.end(world, AFTERMATH).await?;
    let fired = world.fleet.lost_between(pair) - lost_before;
    world.fleet.cut(pair);

    Ok(Measured {
        fired,
        detected,
        damage,
        ..Measured::default()
    })
}

/// Waits until a pair's traffic goes directly and could go over a relay.
async fn direct(world: &mut World, pair: &Pair) -> Result<(), Failure> {
    let what = "a direct path, and a relay that is ready";
    world
        .until_both(pair, what, SETTLING, |standing| {
            standing.active == Way::Direct && standing.is_settled() && standing.could_move_to_a_relay()
        })
        .await?;

    Ok(())
}

/// DESIGN 6: a fifth of the last 20 probes, which are 4 s at 200 ms; then as long as for any other failover.
const LEFT: Duration = Duration::from_millis(5_500);
