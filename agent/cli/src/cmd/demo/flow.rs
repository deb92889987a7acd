//! What a fault cost: read from the receivers' own sequence logs, which begin with the fault and end after it.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_shell::local::FlowRow;

use super::fleet::Fleet;
use super::plan::Pair;
use super::sight::FRAMES_PER_SECOND;
use super::world::World;
use crate::failure::Failure;

/// The logs of some pairs, begun anew.
#[derive(Debug)]
pub(crate) struct Watch {
    pairs: Vec<Pair>,
    generations: BTreeMap<Pair, u64>,
}

/// What the logs say at the end: of all directions of all pairs that were watched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Damage {
    /// The longest time that a receiver heard nothing new, in the worst direction.
    pub(crate) gap: Duration,
    /// Frames that never came.
    pub(crate) lost: u64,
    /// Decisions of the controller that reached the ends meanwhile.
    pub(crate) decisions: u64,
}

impl Watch {
    /// Begins the logs of `pairs` anew.
    pub(crate) async fn begin(world: &mut World, pairs: Vec<Pair>) -> Result<Self, Failure> {
        let mut generations = BTreeMap::new();
        for pair in &pairs {
            generations.insert(pair.clone(), generation(world, pair).await?);
        }
        for node in nodes(&pairs) {
            take(world, node).await?;
        }

        Ok(Self { pairs, generations })
    }

    /// Waits until this much more traffic arrived in every direction, and reads the logs.
    pub(crate) async fn end(self, world: &mut World, more: Duration) -> Result<Damage, Failure> {
        arrived(world, &self.pairs, more).await?;
        let mut damage = Damage::default();
        for (pair, before) in &self.generations {
            let after = generation(world, pair).await?;
            damage.decisions += after.saturating_sub(*before);
        }
        for node in nodes(&self.pairs) {
            for (sender, row) in take(world, node).await? {
                if self.watches(node, &sender) {
                    damage.add(&row);
                }
            }
        }

        Ok(damage)
    }

    fn watches(&self, receiver: &str, sender: &str) -> bool {
        self.pairs
            .iter()
            .any(|pair| pair.ends().contains(&(receiver, sender)))
    }
}

impl Damage {
    fn add(&mut self, row: &FlowRow) {
        self.gap = self.gap.max(Duration::from_millis(row.largest_gap_ms));
        self.lost += row.missing;
    }
}

/// Waits until as many frames as `more` makes came in every direction of every pair, counted from now.
pub(crate) async fn arrived(world: &mut World, pairs: &[Pair], more: Duration) -> Result<(), Failure> {
    let frames = u64::try_from(more.as_millis())
        .unwrap_or(u64::MAX)
        .saturating_mul(FRAMES_PER_SECOND)
        / 1_000;
    let before = counts(&world.fleet, pairs).await;
    let look = async |fleet: &Fleet| {
        let now = counts(fleet, pairs).await;
        let missing = now.iter().find(|(direction, count)| {
            let from = before.get(*direction).copied().unwrap_or(0);
            // A receiver that started anew counts from nothing.
            count.saturating_sub(if **count < from { 0 } else { from }) < frames
        });
        match missing {
            None => Ok(()),
            Some(((receiver, sender), count)) => Err(format!("{receiver} has {count} frames of {sender}")),
        }
    };

    world
        .until("frames in every direction", more + ARRIVAL, look)
        .await
}

/// Frames that arrived, by receiver and sender; nothing where nothing came yet.
async fn counts(fleet: &Fleet, pairs: &[Pair]) -> BTreeMap<(String, String), u64> {
    let directions = pairs.iter().flat_map(Pair::ends);
    let mut counts: BTreeMap<(String, String), u64> = directions
        .map(|(receiver, sender)| ((receiver.to_owned(), sender.to_owned()), 0))
        .collect();
    for node in nodes(pairs) {
        for (sender, row) in fleet.received(node).await.unwrap_or_default() {
            if let Some(count) = counts.get_mut(&(node.to_owned(), sender)) {
                *count = row.received;
            }
        }
    }

    counts
}

fn nodes(pairs: &[Pair]) -> Vec<&str> {
    let mut nodes: Vec<&str> = pairs
        .iter()
        .flat_map(|pair| [pair.one.as_str(), pair.other.as_str()])
        .collect();
    nodes.sort_unstable();
    nodes.dedup();

    nodes
}

async fn take(world: &mut World, node: &str) -> Result<Vec<(String, FlowRow)>, Failure> {
    let look = async |fleet: &Fleet| {
        let taken = fleet.take_received(node).await;
        taken.ok_or_else(|| format!("{node} does not answer"))
    };

    world.until("the receiver's log", ANSWER, look).await
}

/// The higher of the generations that the two ends have.
async fn generation(world: &mut World, pair: &Pair) -> Result<u64, Failure> {
    let [one, other] = world.until_both(pair, "a decision", ANSWER, |_| true).await?;

    Ok(one.generation.max(other.generation))
}

/// How long frames may take to come after all that had to happen for them has happened.
const ARRIVAL: Duration = Duration::from_secs(15);
pub(super) const ANSWER: Duration = Duration::from_secs(10);
