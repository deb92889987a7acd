//! The loop's own time: its beat of once a second, how late it is, and what it shows.

use std::time::Duration;

use agent_core::control::{Admission, Status};
use protocol::time::{Boot, millis};

use crate::counters;
use crate::parts::Supervisor;

#[derive(Debug, Default)]
pub(crate) struct Pulse {
    next: Boot,
    /// The latest since the last beat, and in the second before it.
    late: Duration,
    late_before: Duration,
    shown: String,
}

impl Pulse {
    /// When the next beat is.
    pub(super) fn next(&self) -> Boot {
        self.next
    }

    /// Whether it is time for one.
    pub(super) fn beat(&mut self, now: Boot) -> bool {
        if now < self.next {
            return false;
        }
        self.next = now.after(BEAT);
        self.late_before = std::mem::take(&mut self.late);

        true
    }

    /// Notes that the loop woke, with `deadline` as the time at which it had to.
    pub(super) fn woke(&mut self, deadline: Boot, now: Boot) {
        if now >= deadline {
            let late = now.since(deadline);
            counters::late(late);
            self.late = self.late.max(late);
        }
    }

    /// The latest of the last second or two, in milliseconds.
    pub(super) fn latest(&self) -> u64 {
        millis(self.late.max(self.late_before))
    }

    /// Tells the supervisor how things stand, if that is news.
    pub(super) fn show(&mut self, status: &Status, links: usize, supervisor: &dyn Supervisor) {
        let line = line(status, links);
        if line != self.shown {
            supervisor.status(&line);
            self.shown = line;
        }
    }
}

fn line(status: &Status, links: usize) -> String {
    match status {
        Status::Ended { .. } => "not a node".to_owned(),
        Status::Joining(joining) => match joining.request {
            Some(request) => format!("join request {request} waits for approval"),
            None => "joining".to_owned(),
        },
        Status::Member(member) => {
            let controller = match (member.admission, member.connected) {
                (Admission::Revoked, _) => "revoked",
                (Admission::Refused, _) => "refused by its controller",
                (Admission::Admitted, true) => "connected",
                (Admission::Admitted, false) => "no controller",
            };
            let stale = if member.stale { ", stale" } else { "" };

            format!("{}: {controller}{stale}, {links} links", member.name)
        }
    }
}

const BEAT: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lateness_is_kept_for_a_second_after_its_beat() {
        let mut pulse = Pulse::default();
        pulse.beat(Boot(0));
        pulse.woke(Boot(100), Boot(130));
        pulse.woke(Boot(200), Boot(150));
        assert_eq!(pulse.latest(), 30);

        assert!(!pulse.beat(Boot(999)));
        assert!(pulse.beat(Boot(1_000)));
        assert_eq!(pulse.latest(), 30);
        assert!(pulse.beat(Boot(2_000)));
        assert_eq!(pulse.latest(), 0);
    }
}
