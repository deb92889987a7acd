//! What the underlay does to a packet on its way from one machine to another, and what it has done so far.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::Machine;

/// One direction between two machines.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Line {
    latency: Duration,
    /// Share of the packets that are lost: 0 is none, 1 is all.
    loss: f64,
    /// Beyond the latency.
    delay: Duration,
    is_cut: bool,
    count: Count,
}

/// What became of the packets on one line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    pub(crate) carried: u64,
    /// Dropped silently because the line was cut.
    pub(crate) cut: u64,
    /// Dropped by chance.
    pub(crate) lost: u64,
    /// Carried later than the line's latency.
    pub(crate) delayed: u64,
}

/// Every line, and where the machines are.
#[derive(Debug)]
pub(super) struct Lines {
    rng: StdRng,
    lines: BTreeMap<(Machine, Machine), Line>,
    homes: BTreeMap<Machine, SocketAddr>,
    absent: BTreeSet<Machine>,
    unanswered: BTreeMap<Machine, u64>,
}

impl Lines {
    /// Lines without latency and loss, whose chance is drawn from `seed`.
    pub(super) fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            lines: BTreeMap::new(),
            homes: BTreeMap::new(),
            absent: BTreeSet::new(),
            unanswered: BTreeMap::new(),
        }
    }

    /// Decides about one packet: how long it takes, or that it does not come.
    pub(super) fn handle_packet(&mut self, from: Machine, to: Machine) -> Option<Duration> {
        let line = self.lines.entry((from, to)).or_default();
        if line.is_cut {
            line.count.cut += 1;
            return None;
        }
        if line.loss > 0.0 && self.rng.random::<f64>() < line.loss {
            line.count.lost += 1;
            return None;
        }
        line.count.carried += 1;
        line.count.delayed += u64::from(!line.delay.is_zero());
        if self.absent.contains(&to) {
            *self.unanswered.entry(to).or_default() += 1;
        }

        Some(line.latency + line.delay)
    }

    /// A machine sent from this address: it is reached there from now on.
    pub(super) fn handle_home(&mut self, machine: Machine, address: SocketAddr) {
        self.homes.insert(machine, address);
    }

    pub(super) fn home(&self, machine: Machine) -> Option<SocketAddr> {
        self.homes.get(&machine).copied()
    }

    pub(super) fn shape(&mut self, from: Machine, to: Machine, latency: Duration) {
        self.lines.entry((from, to)).or_default().latency = latency;
    }

    pub(super) fn set_loss(&mut self, from: Machine, to: Machine, loss: f64) {
        self.lines.entry((from, to)).or_default().loss = loss;
    }

    pub(super) fn set_delay(&mut self, from: Machine, to: Machine, delay: Duration) {
        self.lines.entry((from, to)).or_default().delay = delay;
    }

    pub(super) fn set_cut(&mut self, from: Machine, to: Machine, is_cut: bool) {
        self.lines.entry((from, to)).or_default().is_cut = is_cut;
    }

    /// Ends every cut, loss and delay. Returns how many directions suffered one.
    pub(super) fn mend_all(&mut self) -> u64 {
        let mut ended = 0;
        for line in self.lines.values_mut() {
            let was_ill = line.is_cut || line.loss > 0.0 || !line.delay.is_zero();
            ended += u64::from(was_ill);
            (line.is_cut, line.loss, line.delay) = (false, 0.0, Duration::ZERO);
        }

        ended
    }

    pub(super) fn set_absent(&mut self, machine: Machine, is_absent: bool) {
        match is_absent {
            true => self.absent.insert(machine),
            false => self.absent.remove(&machine),
        };
    }

    pub(super) fn count(&self, from: Machine, to: Machine) -> Count {
        self.lines
            .get(&(from, to))
            .map_or_else(Count::default, |line| line.count)
    }

    /// Packets that were on their way to a machine while it was absent.
    pub(super) fn unanswered(&self, machine: Machine) -> u64 {
        self.unanswered.get(&machine).copied().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_nobody_shaped_carries_everything_at_once() {
        let mut lines = Lines::new(1);

        assert_eq!(lines.handle_packet(A, B), Some(Duration::ZERO));
        assert_eq!(lines.count(A, B), carried(1));
    }

    #[test]
    fn a_cut_stops_one_direction_and_counts_what_it_stopped() {
        let mut lines = Lines::new(1);
        lines.set_cut(A, B, true);
        for _ in 0..3 {
            assert_eq!(lines.handle_packet(A, B), None);
        }

        assert_eq!(lines.count(A, B), Count { cut: 3, ..carried(0) });
        assert!(lines.handle_packet(B, A).is_some());
        lines.set_cut(A, B, false);
        assert!(lines.handle_packet(A, B).is_some());
        assert_eq!(lines.count(A, B), Count { cut: 3, ..carried(1) });
    }

    #[test]
    fn every_cut_can_be_ended_at_once() {
        let mut lines = Lines::new(1);
        lines.set_cut(A, B, true);
        lines.set_cut(B, A, true);

        assert_eq!((lines.mend_all(), lines.mend_all()), (2, 0));
        assert!(lines.handle_packet(A, B).is_some() && lines.handle_packet(B, A).is_some());
    }

    #[test]
    fn losses_and_delays_end_with_the_cuts_and_the_latency_stays() {
        let mut lines = Lines::new(1);
        lines.shape(A, B, Duration::from_millis(5));
        lines.set_delay(A, B, Duration::from_millis(300));
        lines.set_loss(B, A, 1.0);
        assert_eq!(lines.handle_packet(A, B), Some(Duration::from_millis(305)));
        assert_eq!(lines.handle_packet(B, A), None);
        assert_eq!((lines.count(A, B).delayed, lines.count(B, A).lost), (1, 1));

        assert_eq!((lines.mend_all(), lines.mend_all()), (2, 0));
        assert_eq!(lines.handle_packet(A, B), Some(Duration::from_millis(5)));
        assert!(lines.handle_packet(B, A).is_some());
        assert_eq!(lines.count(A, B).delayed, 1);
    }

    #[test]
    fn loss_takes_its_share_and_is_a_function_of_the_seed() {
        let run = |seed| {
            let mut lines = Lines::new(seed);
            lines.set_loss(A, B, 0.25);
            let fates: Vec<bool> = (0..2_000).map(|_| lines.handle_packet(A, B).is_some()).collect();
            (fates, lines.count(A, B))
        };

        let (fates, count) = run(7);
        assert_eq!((fates.clone(), count), run(7));
        assert_ne!(fates, run(8).0);
        assert!((400..600).contains(&count.lost), "{count:?}");
        assert_eq!(count.lost + count.carried, 2_000);
    }

    #[test]
    fn shaping_a_line_does_not_mend_it() {
        let mut lines = Lines::new(1);
        lines.set_cut(A, B, true);
        lines.shape(A, B, Duration::from_millis(5));

        assert_eq!(lines.handle_packet(A, B), None);
    }

    #[test]
    fn what_is_addressed_to_an_absent_machine_is_counted() {
        let mut lines = Lines::new(1);
        lines.handle_packet(A, B);
        lines.set_absent(B, true);
        lines.handle_packet(A, B);
        lines.handle_packet(B, A);
        lines.set_absent(B, false);
        lines.handle_packet(A, B);

        assert_eq!((lines.unanswered(B), lines.unanswered(A)), (1, 0));
    }

    fn carried(carried: u64) -> Count {
        Count {
            carried,
            ..Count::default()
        }
    }

    const A: Machine = Machine::new(1);
    const B: Machine = Machine::new(2);
}
