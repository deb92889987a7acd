//! Relays that still run: one that is drained, one that is slow, and one that comes and goes.

use std::cell::RefCell;
use std::fmt;
use std::time::Duration;

use control_api::action::Action;
use serde_json::json;
use tokio::time::Instant;

use super::relays::{moved_off, relayed};
use super::{AFTERMATH, NOTICING, SETTLING, promise_failover};
use crate::cmd::demo::fleet::Fleet;
use crate::cmd::demo::flow::Watch;
use crate::cmd::demo::plan::Pair;
use crate::cmd::demo::report::Measured;
use crate::cmd::demo::sight::{Standing, Way};
use crate::cmd::demo::world::World;
use crate::failure::Failure;

pub(super) const DRAINED: &str = "move every pair off the relay without losing a frame, with no gap over 600 ms; the \
                                  relay ends without a lease";
pub(super) const SLOW: &str = "move to the standby relay within 1500 ms when the relay adds 300 ms";
pub(super) const FLAPPING: &str = "move to the standby relay within 1500 ms and stay off the relay that comes and goes: \
                                   at most two switches at each end";

/// Drains the relay of a pair that cannot do without one, while traffic flows, and takes it back.
pub(super) async fn relay_drain(world: &mut World, pair: &Pair) -> Result<Measured, Failure> {
    let relay = relayed(world, pair).await?;
    let held = leases(&world.fleet, &relay).await.unwrap_or(0);
    let watch = Watch::begin(world, vec![pair.clone()]).await?;
    world.say(&format!("draining {relay}, which carries {pair}"));
    let began = Instant::now();
    let asked = json!({ "id": relay, "reason": "the demo" });
    world.fleet.act(Action::RelayDrain, asked).await?;
    let mut measured = emptied(world, pair, &relay, began).await?;
    measured.damage = watch.end(world, AFTERMATH).await?;
    measured.fired = held;
    let damage = measured.damage;
    measured.promise(damage.lost == 0, || format!("{} frames were lost", damage.lost));
    measured.promise(damage.gap <= FEW_PROBES, || {
        format!("the largest gap was {} ms", damage.gap.as_millis())
    });
    world
        .fleet
        .act(Action::NodeEnable, json!({ "id": relay }))
        .await?;

    Ok(measured)
}

async fn emptied(world: &mut World, pair: &Pair, relay: &str, began: Instant) -> Result<Measured, Failure> {
    let drained = Way::Relay(relay.to_owned());
    let moved = world
        .until_both(pair, "both ends leave the relay", SETTLING, |standing| {
            standing.active != drained
        })
        .await?;
    let detected = began.elapsed();
    world.say(&format!(
        "{pair} was moved, {} and {}",
        moved[0].active, moved[1].active
    ));
    let look = async |fleet: &Fleet| match leases(fleet, relay).await? {
        0 => Ok(()),
        held => Err(format!("{relay} holds {held} leases")),
    };
    world.until("the relay holds no lease", SETTLING, look).await?;
    world.say(&format!(
        "{relay} is empty after {} ms",
        began.elapsed().as_millis()
    ));

    Ok(Measured {
        detected,
        ..Measured::default()
    })
}

/// What the controller says that a relay holds.
async fn leases(fleet: &Fleet, relay: &str) -> Result<u64, String> {
    let shown = fleet.act(Action::RelayShow, json!({ "id": relay })).await;
    let shown = shown.map_err(|failure| failure.summary)?;

    shown["leases"]
        .as_u64()
        .ok_or_else(|| format!("nothing is said of the leases of {relay}"))
}

/// Lets the relay of a pair deliver everything late.
pub(super) async fn slow_relay(world: &mut World, pair: &Pair) -> Result<Measured, Failure> {
    let relay = relayed(world, pair).await?;
    let delayed_before = world.fleet.delayed(&relay);
    let watch = Watch::begin(world, vec![pair.clone()]).await?;
    world.say(&format!("{relay}, which carries {pair}, is 300 ms slower"));
    let began = Instant::now();
    world.fleet.delay(&relay, SLOWER)?;
    let mut measured = moved_off(world, pair, &relay, began).await?;
    measured.damage = watch.end(world, AFTERMATH).await?;
    measured.fired = world.fleet.delayed(&relay) - delayed_before;
    world.fleet.delay(&relay, Duration::ZERO)?;
    let detected = measured.detected;
    measured.promise(detected <= super::MOVED, || {
        format!("it was left after {} ms only", detected.as_millis())
    });
    promise_failover(&mut measured);

    Ok(measured)
}

/// Stops the relay of a pair and lets it go on, again and again.
pub(super) async fn relay_flapping(world: &mut World, pair: &Pair) -> Result<Measured, Failure> {
    let relay = relayed(world, pair).await?;
    let missed_before = world.fleet.unanswered(&relay);
    let watch = Watch::begin(world, vec![pair.clone()]).await?;
    world.say(&format!(
        "{relay}, which carries {pair}, stops for {} ms and goes on for as long, {FLAPS} times",
        BEAT.as_millis()
    ));
    let switches = RefCell::new(Switches::of(Way::Relay(relay.clone())));
    for _ in 0..FLAPS {
        world.fleet.stop(&relay)?;
        watched(world, pair, &switches).await?;
        world.fleet.resume(&relay)?;
        watched(world, pair, &switches).await?;
    }
    let switches = switches.into_inner();
    world.say(&format!("{pair} {switches}"));
    let mut measured = Measured {
        fired: world.fleet.unanswered(&relay) - missed_before,
        detected: switches.left_after.unwrap_or_default(),
        damage: watch.end(world, AFTERMATH).await?,
        ..Measured::default()
    };
    measured.promise(switches.left_after.is_some() && switches.are_off(), || {
        format!("{relay} is in use, or was never left: {pair} {switches}")
    });
    measured.promise(switches.most() <= FEW_SWITCHES, || format!("{pair} {switches}"));
    promise_failover(&mut measured);

    Ok(measured)
}

/// Counts switches for one beat.
async fn watched(world: &mut World, pair: &Pair, switches: &RefCell<Switches>) -> Result<(), Failure> {
    let since = Instant::now();
    let look = async |fleet: &Fleet| {
        if let Some(standings) = fleet.standing(pair).await {
            switches.borrow_mut().handle(&standings, Instant::now());
        }
        match since.elapsed() >= BEAT {
            true => Ok(()),
            false => Err("the beat is not over".to_owned()),
        }
    };

    world.until("a beat of the relay", BEAT + NOTICING, look).await
}

/// How often each end moved its traffic, which began on one relay.
#[derive(Debug)]
struct Switches {
    relay: Way,
    last: [Way; 2],
    counts: [u64; 2],
    began: Instant,
    /// Until neither end used the relay.
    left_after: Option<Duration>,
}

impl Switches {
    fn of(relay: Way) -> Self {
        Self {
            last: [relay.clone(), relay.clone()],
            relay,
            counts: [0, 0],
            began: Instant::now(),
            left_after: None,
        }
    }

    fn handle(&mut self, standings: &[Standing; 2], now: Instant) {
        for (end, standing) in standings.iter().enumerate() {
            if standing.active != self.last[end] {
                self.counts[end] += 1;
                self.last[end] = standing.active.clone();
            }
        }
        if self.left_after.is_none() && self.are_off() {
            self.left_after = Some(now.duration_since(self.began));
        }
    }

    fn are_off(&self) -> bool {
        !self.last.contains(&self.relay)
    }

    fn most(&self) -> u64 {
        self.counts[0].max(self.counts[1])
    }
}

impl fmt::Display for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ([one, other], [here, there]) = (self.counts, &self.last);

        write!(
            f,
            "switched {one} times at one end and {other} at the other: {here}, {there}"
        )
    }
}

/// Three probe intervals.
const FEW_PROBES: Duration = Duration::from_millis(600);
const SLOWER: Duration = Duration::from_millis(300);
/// Long enough for a failover, and less than after which a relay loses its trust in itself.
const BEAT: Duration = Duration::from_millis(1_500);
const FLAPS: usize = 3;
/// Away by itself, and once more if the controller knows something better.
const FEW_SWITCHES: u64 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_is_counted_by_itself_and_only_when_it_moves() {
        let mut switches = Switches::of(Way::Relay("r1".to_owned()));
        let began = switches.began;
        let seen = [
            ["r1", "r1"],
            ["r2", "r1"],
            ["r2", "r2"],
            ["r2", "r1"],
            ["r2", "r1"],
        ];
        for (second, ways) in (0..).zip(seen) {
            switches.handle(&ways.map(standing), began + Duration::from_secs(second));
        }

        assert_eq!((switches.counts, switches.most()), ([1, 2], 2));
        assert_eq!(switches.left_after, Some(Duration::from_secs(2)));
        assert!(!switches.are_off());
    }

    fn standing(relay: &str) -> Standing {
        let way = Way::Relay(relay.to_owned());

        Standing {
            generation: 1,
            decided: way.clone(),
            active: way,
            health: None,
            ready: Vec::new(),
            rtt: None,
            lost: None,
        }
    }
}
