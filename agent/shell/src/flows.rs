//! Test traffic that an operator asked for: frames of class `synthetic` at a steady rate.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::id::NodeId;
use protocol::time::{Boot, millis};

/// The flows that this node sends, one per peer.
#[derive(Debug, Default)]
pub(crate) struct Flows(BTreeMap<NodeId, Flow>);

/// What to send to one peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pace {
    /// Frames a second, 1 to [`RATE`].
    pub(crate) rate: u16,
    /// Bytes a frame, at most [`BYTES`].
    pub(crate) bytes: u16,
    /// How long; until it is stopped, without it.
    pub(crate) lasting: Option<Duration>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) pace: Pace,
    since: Boot,
    /// Frames that were due up to now.
    turns: u64,
    pub(crate) sent: u64,
    /// Frames that had no way to go.
    pub(crate) refused: u64,
}

impl Flows {
    /// Sends to `peer` at `pace` from now on, in place of what was sent to it.
    pub(crate) fn start(&mut self, peer: NodeId, pace: Pace, now: Boot) {
        let flow = Flow {
            pace,
            since: now,
            turns: 0,
            sent: 0,
            refused: 0,
        };
        self.0.insert(peer, flow);
    }

    /// Stops sending to `peer`, or to everybody. Returns how many flows that ended.
    pub(crate) fn stop(&mut self, peer: Option<NodeId>) -> usize {
        let before = self.0.len();
        self.0.retain(|to, _| peer.is_some_and(|peer| *to != peer));

        before - self.0.len()
    }

    /// Sends what is due with `send`, which says whether the frame left.
    pub(crate) fn handle_timeout(&mut self, now: Boot, mut send: impl FnMut(NodeId, usize) -> bool) {
        for (peer, flow) in &mut self.0 {
            for _ in 0..flow.take_due(now) {
                match send(*peer, usize::from(flow.pace.bytes)) {
                    true => flow.sent += 1,
                    false => flow.refused += 1,
                }
            }
        }
        self.0.retain(|_, flow| !flow.is_over(now));
    }

    pub(crate) fn poll_timeout(&self) -> Option<Boot> {
        self.0.values().map(Flow::next).min()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (NodeId, &Flow)> {
        self.0.iter().map(|(peer, flow)| (*peer, flow))
    }
}

impl Flow {
    /// Takes what is due now. After a standstill what is older than [`BURST`] is left out, so that no burst follows.
    fn take_due(&mut self, now: Boot) -> u64 {
        let rate = u64::from(self.pace.rate);
        let elapsed = millis(now.since(self.since)).min(self.pace.lasting.map_or(u64::MAX, millis));
        let turns = elapsed.saturating_mul(rate) / 1_000 + 1;
        let due = turns.saturating_sub(self.turns);
        self.turns = turns;

        due.min(1 + rate * millis(BURST) / 1_000)
    }

    fn next(&self) -> Boot {
        let rate = u64::from(self.pace.rate).max(1);
        let next = self
            .since
            .after(Duration::from_millis((self.turns * 1_000).div_ceil(rate)));

        self.ends().map_or(next, |ends| next.min(ends))
    }

    fn ends(&self) -> Option<Boot> {
        self.pace.lasting.map(|lasting| self.since.after(lasting))
    }

    fn is_over(&self, now: Boot) -> bool {
        self.ends().is_some_and(|ends| ends <= now)
    }

    /// The time that is left, if it was limited.
    pub(crate) fn left(&self, now: Boot) -> Option<Duration> {
        self.ends().map(|ends| ends.since(now))
    }
}

/// The highest rate: a probe of a path, not a load.
pub(crate) const RATE: u16 = 1_000;
/// The longest content: with its seal it stays below [`protocol::limits::MESH_FRAME_BYTES`].
pub(crate) const BYTES: u16 = 900;
/// How much of what was missed is sent at once.
const BURST: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_keeps_its_rate_however_its_turns_fall() {
        for step in [1, 3, 7, 20, 50] {
            let mut flows = flowing(50, Some(10_000));
            let sent = (0..=10_000 / step)
                .map(|turn| send(&mut flows, turn * step))
                .sum::<usize>();

            assert!((500..=501).contains(&sent), "{sent} at steps of {step} ms");
        }
    }

    #[test]
    fn a_flow_that_wakes_at_its_own_deadlines_is_even() {
        let mut flows = flowing(300, None);
        let mut at = 1_000;
        for _ in 0..300 {
            assert_eq!(send(&mut flows, at - 1_000), 1, "at {at} ms");
            at = flows.poll_timeout().unwrap().0;
        }
        assert_eq!(at, 2_000);
    }

    #[test]
    fn after_a_standstill_no_burst_follows() {
        let mut flows = flowing(50, None);
        send(&mut flows, 0);

        assert_eq!(send(&mut flows, 60_000), 6);
        assert_eq!(send(&mut flows, 60_020), 1);
    }

    #[test]
    fn a_limited_flow_ends_by_itself_and_any_flow_when_it_is_stopped() {
        let mut flows = flowing(10, Some(1_000));
        assert_eq!(flows.poll_timeout(), Some(Boot(1_000)));
        send(&mut flows, 1_000);
        assert_eq!(flows.poll_timeout(), None);

        let mut flows = flowing(10, None);
        flows.start(NodeId::from_bytes([2; 16]), flows.0[&PEER].pace, Boot(0));
        assert_eq!(flows.stop(Some(PEER)), 1);
        assert_eq!(flows.stop(None), 1);
        assert_eq!(flows.poll_timeout(), None);
    }

    fn flowing(rate: u16, lasting: Option<u64>) -> Flows {
        let mut flows = Flows::default();
        let pace = Pace {
            rate,
            bytes: 100,
            lasting: lasting.map(Duration::from_millis),
        };
        flows.start(PEER, pace, Boot(1_000));

        flows
    }

    /// Frames sent at `after` milliseconds into the flow.
    fn send(flows: &mut Flows, after: u64) -> usize {
        let mut sent = 0;
        flows.handle_timeout(Boot(1_000 + after), |_, _| {
            sent += 1;
            true
        });

        sent
    }

    const PEER: NodeId = NodeId::from_bytes([1; 16]);
}
