//! The walk: one fault after the other, each judged by what the receivers counted.
//!
//! ```text
//!   m1 ─ m2   direct path cut, then its relay comes and goes, and another one is drained
//!   m1 ─ m3   direct path loses everything in one direction, then its relay is slow
//!   m2 ─ m4   direct path loses 30 %
//!   m1 ─ m4   its relay stopped             m3 ─ m4   its relay killed
//!   all       controller killed, until no relay is fresh any more; then m3 restarted, seen from m2
//!   all       everything healed
//! ```

mod ailing;
mod control;
mod paths;
mod relays;

use std::time::Duration;

use control_api::action::Action;

use super::plan::Pair;
use super::replayed::replayed;
use super::report::{Fault, Measured, Report};
use super::world::World;
use crate::failure::Failure;
use crate::session::nothing;

/// Takes the whole walk. Fails only if it cannot be told how it ended.
pub(crate) async fn walk(world: &mut World, enrolled: usize) -> Result<Report, Failure> {
    world.say(
        "timers are as shipped, none is shortened: probes every 200 ms, three misses, leases fresh for 60 s",
    );
    let mut faults = Vec::new();
    let measured = paths::direct_cut_silent(world, &Pair::new("m1", "m2")).await;
    faults.push(told(world, "direct_cut_silent", paths::CUT, measured));
    // Early: a relay that came and went is no standby for most of a minute, and the relay killed at the end needs one.
    let flapping = ailing::relay_flapping(world, &Pair::new("m1", "m2")).await;
    faults.push(told(world, "relay_flapping", ailing::FLAPPING, flapping));
    faults.extend(losses(world).await);
    faults.extend(ailing(world).await);
    let stopped = relays::relay_stopped(world, &Pair::new("m1", "m4")).await;
    faults.push(told(world, "relay_stopped", relays::STOPPED, stopped));
    let killed = relays::relay_killed(world, &Pair::new("m3", "m4")).await;
    faults.push(told(world, "relay_killed", relays::KILLED, killed));
    let down = control::controller_down(world).await;
    faults.push(told(world, "controller_down", control::DOWN, down));
    let restarted = control::agent_restart(world, "m3").await;
    faults.push(told(
        world,
        "agent_restart_without_controller",
        control::RESTARTED,
        restarted,
    ));
    let healed = control::heal(world).await;
    faults.push(told(world, "heal", control::HEALED, healed));
    let verdict = world.fleet.act(Action::AuditVerify, nothing()).await?;
    let replay = replayed(&world.fleet).await?;

    Ok(Report {
        nodes: world.fleet.plan.seats.len(),
        enrolled,
        audit_ok: verdict["ok"] == true,
        replay,
        faults,
        seconds: world.screen.elapsed().as_secs(),
    })
}

/// Direct paths that lose packets.
async fn losses(world: &mut World) -> [Fault; 2] {
    let one_way = paths::one_way_loss(world, &Pair::new("m1", "m3")).await;
    let one_way = told(world, "one_way_loss", paths::ONE_WAY, one_way);
    let lossy = paths::loss_30_percent(world, &Pair::new("m2", "m4")).await;

    [one_way, told(world, "loss_30_percent", paths::LOSSY, lossy)]
}

/// Relays that still run, under the pairs that have lost their direct paths.
async fn ailing(world: &mut World) -> [Fault; 2] {
    let drained = ailing::relay_drain(world, &Pair::new("m1", "m2")).await;
    let drained = told(world, "relay_drain", ailing::DRAINED, drained);
    let slow = ailing::slow_relay(world, &Pair::new("m1", "m3")).await;

    [drained, told(world, "slow_relay", ailing::SLOW, slow)]
}

fn told(
    world: &mut World,
    name: &'static str,
    expected: &'static str,
    measured: Result<Measured, Failure>,
) -> Fault {
    let fault = match measured {
        Ok(measured) => Fault::measured(name, expected, measured),
        Err(failure) => Fault::missed(name, expected, vec![failure.to_string()]),
    };
    world.say(&fault.line());

    fault
}

/// Adds what every fault on a path promises.
fn promise_failover(measured: &mut Measured) {
    let gap = measured.damage.gap;
    measured.promise(gap <= MOVED, || {
        format!(
            "the largest gap was {} ms, more than {} ms",
            gap.as_millis(),
            MOVED.as_millis()
        )
    });
}

/// DESIGN 11: path or relay death until the traffic has moved, p99.
const MOVED: Duration = Duration::from_millis(1_500);
/// For ends to notice, at the most: far more than [`MOVED`], so that a slow move is measured and not missed.
const NOTICING: Duration = Duration::from_secs(15);
/// For decisions, leases and probes to come to rest: new candidates need half a minute of good probes.
const SETTLING: Duration = Duration::from_secs(60);
/// Traffic after a fault that is still part of its log.
const AFTERMATH: Duration = Duration::from_secs(2);
