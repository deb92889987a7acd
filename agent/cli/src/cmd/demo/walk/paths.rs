//! A direct path that goes silent.

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

/// Cuts a direct path both ways, silently.
pub(super) async fn direct_cut_silent(world: &mut World, pair: &Pair) -> Result<Measured, Failure> {
    world
        .until_both(
            pair,
            "a direct path, and a relay that is ready",
            SETTLING,
            |standing| {
                standing.active == Way::Direct && standing.is_settled() && standing.could_move_to_a_relay()
            },
        )
        .await?;
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
