//! A controller that is away for longer than leases are fresh, an agent that starts without it, and the way back.

use std::time::Duration;

use control_api::action::Action;
use tokio::time::Instant;

use super::{AFTERMATH, MOVED};
use crate::cmd::demo::fleet::Fleet;
use crate::cmd::demo::flow::{Damage, Watch, arrived};
use crate::cmd::demo::plan::{CONTROLLER_NAME, Pair, Role};
use crate::cmd::demo::report::Measured;
use crate::cmd::demo::sight::{FRAMES_PER_SECOND, Standing, Way};
use crate::cmd::demo::tally::Tally;
use crate::cmd::demo::world::World;
use crate::failure::Failure;
use crate::session::nothing;

pub(super) const DOWN: &str = "keep every route where it is, also relayed ones under grace after freshness ran out; \
                               no gap over 1500 ms, at most one frame in a hundred lost";
pub(super) const RESTARTED: &str = "boot from the last known good state and talk directly within 5 s";
pub(super) const HEALED: &str = "have every node active, every relay fresh and every route healthy within 60 s, \
                                 with no gap over 1500 ms";

/// Kills the controller, and leaves it away until no relay is fresh any more.
pub(super) async fn controller_down(world: &mut World) -> Result<Measured, Failure> {
    let pairs = world.fleet.plan.pairs();
    for pair in &pairs {
        world
            .until_both(pair, "a path that arrives", super::SETTLING, Standing::is_settled)
            .await?;
    }
    let before = ways(world).await?;
    let watch = Watch::begin(world, pairs).await?;
    world.say("killing the controller, until its absence is longer than leases stay fresh: a good minute");
    let missed_before = world.fleet.unanswered(CONTROLLER_NAME);
    let began = Instant::now();
    world.fleet.kill(CONTROLLER_NAME).await?;
    let look = async |fleet: &Fleet| is_unfresh(fleet).await;
    world
        .until("every relay says that it is not fresh", UNFRESH, look)
        .await?;
    let detected = began.elapsed();
    let relayed = before.iter().filter(|(_, ways)| ways[0].is_relay()).count();
    world.say(&format!(
        "no relay is fresh any more; {relayed} relayed pairs must go on under grace"
    ));
    let damage = watch.end(world, GRACE).await?;
    let mut measured = Measured {
        fired: world.fleet.unanswered(CONTROLLER_NAME) - missed_before,
        detected,
        damage,
        ..Measured::default()
    };
    for ((pair, there), (_, now)) in before.iter().zip(ways(world).await?) {
        measured.promise(*there == now, || {
            format!("{pair} moved from {} to {}", there[0], now[0])
        });
    }
    measured.promise(relayed > 0, || "no pair was relayed".to_owned());
    promise_calm(&mut measured);
    let sent = detected.as_secs() * flow_rate(before.len());
    measured.promise(damage.lost * 100 <= sent, || {
        format!("{} of {sent} frames were lost", damage.lost)
    });

    Ok(measured)
}

/// Kills an agent and starts it again while there is no controller.
pub(super) async fn agent_restart(world: &mut World, name: &str) -> Result<Measured, Failure> {
    let pairs = direct_pairs(world, name).await?;
    let watch = Watch::begin(world, pairs.clone()).await?;
    let names: Vec<String> = pairs.iter().map(Pair::to_string).collect();
    world.say(&format!(
        "killing {name} and starting it again without a controller ({})",
        names.join(", ")
    ));
    let missed_before = world.fleet.unanswered(name);
    let mut tally = Tally::begin(world, &pairs, name).await?;
    let began = Instant::now();
    world.fleet.kill(name).await?;
    missed(world, name, missed_before).await?;
    tally.handle_death(world).await?;
    world.fleet.start(name)?;
    resend(world, name).await?;
    for pair in &pairs {
        world
            .until_both(pair, "a direct path again", NEW_LIFE, |standing| {
                standing.active == Way::Direct && standing.is_settled()
            })
            .await?;
    }
    let detected = began.elapsed();
    arrived(world, &pairs, AFTERMATH).await?;
    let lost = tally.end(world).await?;
    let damage = watch.end(world, Duration::ZERO).await?;
    let damage = Damage { lost, ..damage };
    let mut measured = Measured {
        fired: world.fleet.unanswered(name) - missed_before,
        detected,
        damage,
        ..Measured::default()
    };
    measured.promise(damage.gap <= REBOOTED, || {
        format!("{name} was not heard for {} ms", damage.gap.as_millis())
    });
    measured.promise(damage.decisions == 0, || {
        "there were decisions without a controller".to_owned()
    });
    measured.promise(!pairs.is_empty(), || "no pair was direct".to_owned());

    Ok(measured)
}

/// Waits until something that was sent to a dead node found nobody.
async fn missed(world: &mut World, name: &str, before: u64) -> Result<(), Failure> {
    let look = async |fleet: &Fleet| match fleet.unanswered(name) > before {
        true => Ok(()),
        false => Err(format!("nothing was sent to {name} since")),
    };

    world.until("a packet that finds nobody", NEW_LIFE, look).await
}

/// Brings everything back.
pub(super) async fn heal(world: &mut World) -> Result<Measured, Failure> {
    let pairs = world.fleet.plan.pairs();
    let watch = Watch::begin(world, pairs).await?;
    world.say("bringing back the controller, every direct path and every relay");
    let began = Instant::now();
    let fired = world.fleet.heal()?;
    world
        .until("everything is well", HEALING, async |fleet: &Fleet| {
            is_well(fleet).await
        })
        .await?;
    let detected = began.elapsed();
    let damage = watch.end(world, AFTERMATH).await?;
    let mut measured = Measured {
        fired,
        is_repair: true,
        detected,
        damage,
        ..Measured::default()
    };
    promise_calm(&mut measured);

    Ok(measured)
}

fn promise_calm(measured: &mut Measured) {
    let gap = measured.damage.gap;
    measured.promise(gap <= MOVED, || {
        format!(
            "the largest gap was {} ms, more than {} ms",
            gap.as_millis(),
            MOVED.as_millis()
        )
    });
}

/// Where the traffic of every pair goes, at both ends.
async fn ways(world: &mut World) -> Result<Vec<(Pair, [Way; 2])>, Failure> {
    let mut ways = Vec::new();
    for pair in world.fleet.plan.pairs() {
        let standings = world.until_both(&pair, "a route", NEW_LIFE, |_| true).await?;
        ways.push((pair, standings.map(|standing| standing.active)));
    }

    Ok(ways)
}

/// The pairs of a node whose traffic goes directly.
async fn direct_pairs(world: &mut World, name: &str) -> Result<Vec<Pair>, Failure> {
    let ways = ways(world).await?;
    let direct = ways.into_iter().filter(|(pair, ways)| {
        let is_of = pair.one == name || pair.other == name;
        is_of && ways.iter().all(|way| *way == Way::Direct)
    });

    Ok(direct.map(|(pair, _)| pair).collect())
}

/// Lets a node that started anew send what it sent before, as soon as it answers.
async fn resend(world: &mut World, name: &str) -> Result<(), Failure> {
    let pairs = world.fleet.plan.pairs();
    let peers = pairs
        .iter()
        .flat_map(Pair::ends)
        .filter(|(from, _)| *from == name);
    for (from, to) in peers {
        let look = async |fleet: &Fleet| match fleet.send_frames(from, to).await {
            true => Ok(()),
            false => Err(format!("{from} does not take the order to send to {to}")),
        };
        world.until("the agent answers", NEW_LIFE, look).await?;
    }

    Ok(())
}

/// Whether the relays that run have not heard of a controller for longer than leases are fresh.
async fn is_unfresh(fleet: &Fleet) -> Result<(), String> {
    for relay in fleet.plan.names(Role::Relay) {
        if !fleet.state(&relay).is_running() {
            continue;
        }
        let row = fleet
            .relaying(&relay)
            .await
            .ok_or_else(|| format!("{relay} does not answer"))?;
        if row.pause.as_deref() != Some("not_fresh") {
            return Err(format!(
                "{relay}: pause {:?}, fresh {:?} ms ago",
                row.pause, row.fresh_age_ms
            ));
        }
    }

    Ok(())
}

/// Whether the controller and all ends agree that everything is well.
async fn is_well(fleet: &Fleet) -> Result<(), String> {
    let all_are = async |action: Action, wanted: &str| {
        let listed = fleet
            .act(action, nothing())
            .await
            .map_err(|failure| failure.summary)?;
        let rows = listed.as_array().cloned().unwrap_or_default();
        match rows.iter().find(|row| row["state"] != wanted) {
            Some(row) => Err(format!("{} is {}", row["name"], row["state"])),
            None if rows.is_empty() => Err(format!("{} is empty", action.name())),
            None => Ok(()),
        }
    };
    all_are(Action::NodeList, "active").await?;
    all_are(Action::RelayList, "ready").await?;
    all_are(Action::RouteList, "healthy").await?;
    for relay in fleet.plan.names(Role::Relay) {
        let row = fleet
            .relaying(&relay)
            .await
            .ok_or_else(|| format!("{relay} does not answer"))?;
        if let Some(pause) = row.pause {
            return Err(format!("{relay} pauses: {pause}"));
        }
    }
    for pair in fleet.plan.pairs() {
        let standings = fleet
            .standing(&pair)
            .await
            .ok_or_else(|| format!("{pair} has no route"))?;
        if let Some(standing) = standings.iter().find(|standing| !standing.is_settled()) {
            return Err(format!("{pair}: {standing}"));
        }
    }

    Ok(())
}

/// Frames a second of this many pairs, both ways.
const fn flow_rate(pairs: usize) -> u64 {
    2 * FRAMES_PER_SECOND * pairs as u64
}

/// Freshness, and a few seconds for the last poll before.
const UNFRESH: Duration = Duration::from_secs(75);
/// Traffic under grace.
const GRACE: Duration = Duration::from_secs(5);
const NEW_LIFE: Duration = Duration::from_secs(20);
/// For a process to start, to read its state, and to find its neighbours by handshakes.
const REBOOTED: Duration = Duration::from_secs(5);
const HEALING: Duration = Duration::from_secs(60);
