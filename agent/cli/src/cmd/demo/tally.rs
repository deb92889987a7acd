//! What a restart cost in frames. The log of a node that starts anew begins with what comes first, so the loss before
//! that is found by comparing what the senders had to send with what arrived.

use std::collections::BTreeMap;

use super::fleet::Fleet;
use super::flow::ANSWER;
use super::plan::Pair;
use super::world::World;
use crate::failure::Failure;

/// Counts of the senders and of the receivers when a node was restarted. Its own begin at nothing.
#[derive(Debug)]
pub(crate) struct Tally {
    pairs: Vec<Pair>,
    restarted: String,
    sent: Counts,
    received: Counts,
}

/// By who sends and who receives.
type Counts = BTreeMap<(String, String), u64>;

impl Tally {
    /// Reads what was sent to `restarted`, which still runs.
    pub(crate) async fn begin(world: &mut World, pairs: &[Pair], restarted: &str) -> Result<Self, Failure> {
        let mut tally = Self {
            pairs: pairs.to_vec(),
            restarted: restarted.to_owned(),
            sent: Counts::new(),
            received: Counts::new(),
        };
        tally.sent = tally.read(world, Side::Sent, false).await?;

        Ok(tally)
    }

    /// Reads what had come from the run that is over, before there is another one.
    pub(crate) async fn handle_death(&mut self, world: &mut World) -> Result<(), Failure> {
        self.received = self.read(world, Side::Received, false).await?;

        Ok(())
    }

    /// Frames that never came, in all directions: those sent to the node while it was not there too. What is under way
    /// during a reading looks lost, so the least of several counts.
    pub(crate) async fn end(self, world: &mut World) -> Result<u64, Failure> {
        let mut least = Counts::new();
        for _ in 0..READINGS {
            let received = self.read(world, Side::Received, true).await?;
            let sent = self.read(world, Side::Sent, true).await?;
            for (direction, lost) in lost(&self.sent, &sent, &self.received, &received) {
                let least = least.entry(direction).or_insert(lost);
                *least = lost.min(*least);
            }
        }

        Ok(least.values().sum())
    }

    /// The counts of one side of every direction; those of the restarted node only if it is to be asked.
    async fn read(&self, world: &mut World, side: Side, with_restarted: bool) -> Result<Counts, Failure> {
        let mut counts = Counts::new();
        for (from, to) in self.pairs.iter().flat_map(Pair::ends) {
            let (node, peer) = match side {
                Side::Sent => (from, to),
                Side::Received => (to, from),
            };
            if node == self.restarted && !with_restarted {
                continue;
            }
            let look = async |fleet: &Fleet| {
                let counted = match side {
                    Side::Sent => fleet.sent(node).await,
                    Side::Received => fleet.received(node).await.map(|rows| {
                        let counts = rows.into_iter().map(|(sender, row)| (sender, row.received));
                        counts.collect()
                    }),
                };
                counted.ok_or_else(|| format!("{node} does not answer"))
            };
            let counted = world.until("the counts of frames", ANSWER, look).await?;
            let count = counted.into_iter().find(|(with, _)| with == peer);
            counts.insert(
                (from.to_owned(), to.to_owned()),
                count.map_or(0, |(_, count)| count),
            );
        }

        Ok(counts)
    }
}

#[derive(Clone, Copy, Debug)]
enum Side {
    Sent,
    Received,
}

/// What was sent and did not come, between two readings. A count that is not in the first began at nothing.
fn lost(sent_before: &Counts, sent: &Counts, received_before: &Counts, received: &Counts) -> Counts {
    let since = |before: &Counts, now: &Counts, direction| {
        let count = |counts: &Counts| counts.get(direction).copied().unwrap_or(0);
        count(now).saturating_sub(count(before))
    };
    let directions = sent.keys().map(|direction| {
        let sent = since(sent_before, sent, direction);
        let received = since(received_before, received, direction);
        (direction.clone(), sent.saturating_sub(received))
    });

    directions.collect()
}

/// Readings in a row, each a few milliseconds after the one before, while a frame is under way for five at most.
const READINGS: usize = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_to_a_node_while_it_was_not_there_is_lost() {
        let lost = lost(
            &counts([("m1", "m3", 500)]),
            &counts([("m1", "m3", 620)]),
            &Counts::new(),
            &counts([("m1", "m3", 110)]),
        );

        assert_eq!(lost, counts([("m1", "m3", 10)]));
    }

    #[test]
    fn what_a_new_run_sent_before_the_first_that_came_is_lost() {
        let lost = lost(
            &Counts::new(),
            &counts([("m3", "m1", 103)]),
            &counts([("m3", "m1", 480)]),
            &counts([("m3", "m1", 580)]),
        );

        assert_eq!(lost, counts([("m3", "m1", 3)]));
    }

    #[test]
    fn directions_do_not_make_up_for_each_other() {
        let lost = lost(
            &Counts::new(),
            &counts([("m1", "m3", 10), ("m3", "m1", 10)]),
            &Counts::new(),
            &counts([("m1", "m3", 11), ("m3", "m1", 8)]),
        );

        assert_eq!(lost.values().sum::<u64>(), 2);
    }

    fn counts<const N: usize>(rows: [(&str, &str, u64); N]) -> Counts {
        let rows = rows.map(|(from, to, count)| ((from.to_owned(), to.to_owned()), count));

        Counts::from(rows)
    }
}
