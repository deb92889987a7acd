//! What is asked of one controller: which requests are in flight, and when the next of each kind is due.
//!
//! A poll is always outstanding. A heartbeat goes every 10 s; a report when there is one and none is in flight; of
//! reports that wait, the newest counts, with the switches of all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::document::config::ControllerAddress;
use protocol::id::ControllerId;
use protocol::limits::REFRESHES;
use protocol::time::{Boot, millis};
use protocol::wire::{self, Carried, NodeRequest, Poll, Refresh, Report};

use super::dial::Dialler;
use super::effect::{Door, Tag};
use super::turn::Turn;

/// See the module.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) dialler: Dialler,
    /// Of the present connection, or the attempt at one.
    pub(super) door: Door,
    pub(super) controller: Option<ControllerId>,
    asked: BTreeMap<Tag, Asked>,
    poll_at: Boot,
    heartbeat_at: Boot,
    report: Option<Report>,
    /// One more poll, at once, that the controller holds for so long.
    urgent: Option<Duration>,
}

/// A request in flight.
#[derive(Clone, Debug)]
pub(super) enum Asked {
    Heartbeat {
        told: Vec<wire::Refused>,
    },
    /// Worth an answer until then.
    Leave {
        until: Boot,
    },
    Poll {
        sent_at: Boot,
        urgent: bool,
    },
    Renew,
    Report(Report),
}

impl Session {
    pub(super) fn new(endpoints: Vec<String>) -> Self {
        Self {
            dialler: Dialler::new(endpoints),
            door: Door::Node,
            controller: None,
            asked: BTreeMap::new(),
            poll_at: Boot::default(),
            heartbeat_at: Boot::default(),
            report: None,
            urgent: None,
        }
    }

    /// Whether requests may be sent at `door` now.
    pub(super) fn is_open(&self, door: Door) -> bool {
        self.door == door && self.dialler.opened().is_some()
    }

    /// A welcome holds: everything is due at once.
    pub(super) fn open(&mut self, controller: Option<ControllerId>, turn: &Turn<'_>) {
        self.dialler.open();
        self.controller = controller;
        self.poll_at = turn.now.boot;
        self.heartbeat_at = turn.now.boot;
    }

    /// Forgets what was asked; a report in flight waits again.
    pub(super) fn clear(&mut self) {
        self.controller = None;
        for asked in std::mem::take(&mut self.asked).into_values() {
            if let Asked::Report(report) = asked {
                self.queue_behind(report);
            }
        }
    }

    /// Sends `request` at the node door.
    pub(super) fn send(&mut self, request: &NodeRequest, asked: Asked, turn: &mut Turn<'_>) {
        let Some((connection, _)) = self.dialler.opened() else {
            return;
        };
        let patience = match (request, &asked) {
            (NodeRequest::Poll(poll), _) => {
                super::REQUEST_DEADLINE + Duration::from_millis(poll.wait_ms.into())
            }
            (_, Asked::Leave { until }) => super::REQUEST_DEADLINE.min(until.since(turn.now.boot)),
            (_, Asked::Heartbeat { .. } | Asked::Poll { .. } | Asked::Renew | Asked::Report(_)) => {
                super::REQUEST_DEADLINE
            }
        };
        let tag = turn
            .out
            .request(connection, request, turn.now.boot.after(patience));
        self.asked.insert(tag, asked);
    }

    /// Notes a request that was sent at another door.
    pub(super) fn note(&mut self, tag: Tag, asked: Asked) {
        self.asked.insert(tag, asked);
    }

    /// What a reply answers.
    pub(super) fn answered(&mut self, tag: Tag) -> Option<Asked> {
        self.asked.remove(&tag)
    }

    pub(super) fn is_leaving(&self) -> bool {
        self.asked
            .values()
            .any(|asked| matches!(asked, Asked::Leave { .. }))
    }

    pub(super) fn is_renewing(&self) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::Renew))
    }

    fn is_reporting(&self) -> bool {
        self.asked.values().any(|asked| matches!(asked, Asked::Report(_)))
    }

    fn is_polling(&self, kind: bool) -> bool {
        self.asked
            .values()
            .any(|asked| matches!(asked, Asked::Poll { urgent, .. } if *urgent == kind))
    }

    /// Asks for one more poll, which the controller may hold for `wait`; of two such wishes the shorter counts.
    pub(super) fn hurry(&mut self, wait: Duration) {
        self.urgent = Some(self.urgent.map_or(wait, |known| known.min(wait)));
    }

    /// How long the controller may hold the poll that is due now, if one is.
    pub(super) fn poll_due(&mut self, wait: Duration, turn: &Turn<'_>) -> Option<(Duration, Asked)> {
        let sent_at = turn.now.boot;
        if let Some(wait) = self.urgent
            && !self.is_polling(true)
        {
            self.urgent = None;
            return Some((
                wait,
                Asked::Poll {
                    sent_at,
                    urgent: true,
                },
            ));
        }
        let due = !self.is_polling(false) && self.poll_at <= sent_at;

        due.then_some((
            wait,
            Asked::Poll {
                sent_at,
                urgent: false,
            },
        ))
    }

    /// A poll brought nothing: a server that answers at once each time must not make this a loop.
    pub(super) fn space_polls(&mut self, sent_at: Boot) {
        self.poll_at = sent_at.after(SPACING);
    }

    /// The next poll is due then.
    pub(super) fn set_poll(&mut self, at: Boot) {
        self.poll_at = at;
    }

    pub(super) fn is_heartbeat_due(&self, turn: &Turn<'_>) -> bool {
        self.heartbeat_at <= turn.now.boot
    }

    pub(super) fn set_heartbeat(&mut self, after: Duration, turn: &mut Turn<'_>) {
        let after = turn.out.around(after.max(HEARTBEAT_FLOOR));
        self.heartbeat_at = turn.now.boot.after(after);
    }

    /// Something a heartbeat tells of has changed.
    pub(super) fn heartbeat_now(&mut self, turn: &Turn<'_>) {
        self.heartbeat_at = turn.now.boot;
    }

    pub(super) fn queue(&mut self, report: Report) {
        self.report = Some(match self.report.take() {
            Some(older) => merge(older, report),
            None => report,
        });
    }

    /// Puts a report that was not taken back, behind what has come since.
    pub(super) fn queue_behind(&mut self, report: Report) {
        self.report = Some(match self.report.take() {
            Some(newer) => merge(report, newer),
            None => report,
        });
    }

    /// The report to send now, if there is one and none is in flight.
    pub(super) fn report_due(&mut self) -> Option<Report> {
        match self.is_reporting() {
            true => None,
            false => self.report.take(),
        }
    }

    /// When something of this is due, while requests can be sent; `polls`: whether a poll may go out.
    pub(super) fn poll_timeout(&self, polls: bool) -> Option<Boot> {
        let open = self.is_open(Door::Node);
        let poll = (open && polls && !self.is_polling(false)).then_some(self.poll_at);
        let heartbeat = open.then_some(self.heartbeat_at);

        [self.dialler.poll_timeout(), poll, heartbeat]
            .into_iter()
            .flatten()
            .min()
    }
}

/// The poll that says what is in force.
pub(super) fn poll(documents: &super::documents::Documents, wait: Duration) -> NodeRequest {
    NodeRequest::Poll(Poll {
        beacon: documents.beacon().cloned(),
        have: documents.have(),
        left_out: documents.left_out().to_vec(),
        wait_ms: u32::try_from(millis(wait)).unwrap_or(u32::MAX),
    })
}

/// Every endpoint of the present list, the previous one behind it.
pub(super) fn endpoints(
    spread: &[u8],
    named: &[ControllerAddress],
    fallbacks: [&[String]; 2],
) -> Vec<String> {
    super::addresses::ring(spread, named, fallbacks.into_iter().flatten())
}

/// What the later one measured, and the last switches of both.
fn merge(older: Report, newer: Report) -> Report {
    let mut switches = older.switches;
    switches.extend(newer.switches);
    let surplus = switches.len().saturating_sub(SWITCHES);
    switches.drain(..surplus);

    let mut refreshes = newer.refreshes;
    let way = |row: &Refresh| (row.route, row.relay);
    let is_new = |row: &Refresh| !refreshes.iter().any(|newer| way(newer) == way(row));
    let earlier: Vec<Refresh> = older.refreshes.into_iter().filter(is_new).collect();
    refreshes.extend(earlier);
    refreshes.truncate(REFRESHES);

    let mut carried = newer.carried;
    // What a relay did counts from its start: of two tellings the later one holds.
    let is_new = |row: &Carried| !carried.iter().any(|newer| newer.lease == row.lease);
    let older: Vec<Carried> = older.carried.into_iter().filter(is_new).collect();
    carried.extend(older);
    carried.truncate(CARRIED);

    Report {
        switches,
        carried,
        refreshes,
        ..newer
    }
}

/// Least time between two polls of which the first brought nothing.
const SPACING: Duration = Duration::from_millis(250);
/// Whatever a config says.
const HEARTBEAT_FLOOR: Duration = Duration::from_secs(1);
/// Rows of a relay kept meanwhile, twice what one report tells.
const CARRIED: usize = 1_024;
/// Switches kept while no controller hears of them: two a minute over half an hour.
const SWITCHES: usize = 64;

#[cfg(test)]
mod tests {
    use protocol::document::routes::Path;
    use protocol::id::RouteId;
    use protocol::wire::{Switch, SwitchCause};

    use super::*;

    #[test]
    fn reports_that_wait_are_one_with_the_switches_of_all() {
        let mut session = Session::new(Vec::new());
        for generation in 0..100 {
            session.queue(report(generation));
        }
        let waiting = session.report_due().expect("queued");

        assert_eq!(waiting.switches.len(), SWITCHES);
        assert_eq!(waiting.switches.last().map(|switch| switch.generation), Some(99));
        assert_eq!(session.report_due(), None);
    }

    #[test]
    fn a_report_that_was_lost_goes_with_the_next() {
        let mut session = Session::new(Vec::new());
        session.note(Tag(1), Asked::Report(report(1)));
        session.queue(report(2));
        assert_eq!(session.report_due(), None, "one is in flight");

        session.clear();
        let generations: Vec<u64> = session
            .report_due()
            .expect("both wait")
            .switches
            .iter()
            .map(|switch| switch.generation)
            .collect();
        assert_eq!(generations, [1, 2]);
    }

    fn report(generation: u64) -> Report {
        Report {
            switches: vec![Switch {
                route: RouteId::from_bytes([1; 16]),
                generation,
                from: Path::Direct,
                to: Path::Direct,
                cause: SwitchCause::PathDown,
                age_ms: 0,
            }],
            ..Report::default()
        }
    }
}
