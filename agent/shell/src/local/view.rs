//! Makes the rows of the local API of what the cores show.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_core::control::{Admission, LastFailure, MemberStatus, Status, Unconfirmed};
use agent_core::mesh::effect::RelayPause;
use agent_core::mesh::view::{FlowView, LinkView, MeetingView, PathView, RelayView, RouteView, RowView};
use protocol::document::routes::{Cadence, Path};
use protocol::frame::Mark;
use protocol::id::NodeId;
use protocol::time::{Boot, Now, millis};
use protocol::wire::Refresh;

use super::row::{
    Authority, BeaconRow, ControllerRow, DocumentRow, FailureRow, FlowRow, LeaseRow, LeftOutRow, LinkRow,
    MarkRow, MeetingRow, PathRow, ProbedPath, RefreshReportRow, RefreshRow, RefusedRow, RelayRow, RouteRow,
    SendingRow, StatusRow, UnconfirmedRow,
};
use crate::flows::Flow;

/// Makes rows: who is called what, and what time it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Viewer<'a> {
    /// This node and its name.
    pub(crate) us: Option<(NodeId, &'a str)>,
    /// The neighbours.
    pub(crate) names: &'a BTreeMap<NodeId, String>,
    pub(crate) now: Now,
}

impl Viewer<'_> {
    pub(crate) fn status(&self, status: &Status) -> StatusRow {
        match status {
            Status::Ended { failure } => StatusRow {
                state: "ended".to_owned(),
                failure: failure.as_ref().map(ToString::to_string),
                ..StatusRow::default()
            },
            Status::Joining(joining) => StatusRow {
                state: match (joining.leaving, joining.request) {
                    (true, _) => "leaving",
                    (false, Some(_)) => "pending",
                    (false, None) => "joining",
                }
                .to_owned(),
                fingerprint: joining.key,
                request: joining.request,
                controller: Some(ControllerRow {
                    id: None,
                    endpoint: joining.endpoint.clone(),
                    connected: false,
                }),
                authority: joining.authority.map(|fingerprint| Authority {
                    epoch: None,
                    fingerprint,
                    pin: None,
                }),
                ..StatusRow::default()
            },
            Status::Member(member) => self.member(member),
        }
    }

    fn member(&self, member: &MemberStatus) -> StatusRow {
        let wall = self.now.wall;

        StatusRow {
            state: match (member.leaving, member.admission) {
                (true, _) => "leaving",
                (false, Admission::Admitted) => "member",
                (false, Admission::Refused) => "refused",
                (false, Admission::Revoked) => "revoked",
            }
            .to_owned(),
            id: Some(member.node),
            name: Some(member.name.clone()),
            cluster: Some(member.cluster),
            generation: Some(member.generation),
            fingerprint: Some(member.key),
            last_failure: member.last_failure.as_ref().map(failure),
            refreshes: Some(RefreshRow {
                changed: member.refreshes.changed,
                unchanged: member.refreshes.unchanged,
                suppressed: member.refreshes.suppressed,
            }),
            refresh_reports: member
                .refresh_reports
                .iter()
                .map(|report| self.refresh(&report.row(self.now.boot)))
                .collect(),
            controller: Some(ControllerRow {
                id: member.controller,
                endpoint: member.endpoint.clone(),
                connected: member.connected,
            }),
            authority: Some(Authority {
                epoch: Some(member.epoch),
                fingerprint: member.authority,
                pin: Some(member.pin),
            }),
            certificate_left_ms: Some(millis(member.certificate_until.since(wall))),
            beacon: member.beacon.map(|rank| BeaconRow {
                epoch: rank.epoch,
                term: rank.term,
                number: rank.number,
                age_ms: member.beacon_issued_at.map(|at| millis(wall.since(at))),
            }),
            stale: member.stale,
            documents: documents(member),
            unconfirmed: member.unconfirmed.map(unconfirmed),
            observed: member.observed.map(|address| address.0.to_string()),
            candidates_left_out: member
                .left_out
                .iter()
                .map(|left_out| LeftOutRow::of(*left_out, "controller"))
                .collect(),
            refused: refused(member),
            ..StatusRow::default()
        }
    }

    fn refresh(&self, report: &Refresh) -> RefreshReportRow {
        let (before, after) = (&report.before, &report.after);

        RefreshReportRow {
            route: report.route,
            relay: report.relay,
            relay_name: report.relay.and_then(|relay| self.name(relay)),
            trigger: report.trigger.name().to_owned(),
            outcome: report.outcome().to_owned(),
            versions: [before.version, after.version],
            generations: [before.generation, after.generation],
            epochs: [before.epoch, after.epoch],
            cooldown_ms: report.cooldown_ms,
            suppressed: report.suppressed,
            age_ms: report.age_ms,
            suppressed_age_ms: report.suppressed_ms,
        }
    }

    pub(crate) fn route(&self, view: &RouteView) -> RouteRow {
        RouteRow {
            id: view.route,
            peer: view.peer,
            peer_name: self.name(view.peer),
            generation: view.generation,
            priority: view.priority,
            cadence: cadence(view.cadence).to_owned(),
            decided: self.path(&view.decided),
            active: self.path(&view.active),
            counter: view.counter,
            doubling: view.doubling.as_ref().map(|path| self.path(path)),
            peer_choice: view.peer_choice.map(mark),
            peer_path: view.peer_path.as_ref().map(|path| self.path(path)),
            paths: view.paths.iter().map(|path| self.probed(path)).collect(),
            meets_over: view.meets_over.as_ref().map(|place| self.meeting(place)),
        }
    }

    fn meeting(&self, place: &MeetingView) -> MeetingRow {
        MeetingRow {
            node: place.node,
            node_name: self.name(place.node),
            lease: place.lease,
            generation: place.generation,
            health: place.health.name().to_owned(),
            linked: place.linked,
            refused: place.refused.map(|why| why.name().to_owned()),
        }
    }

    fn path(&self, path: &Path) -> PathRow {
        let (lease, generation) = match path {
            Path::Direct => (None, None),
            Path::Relay {
                lease, generation, ..
            } => (Some(*lease), Some(*generation)),
        };

        PathRow {
            kind: path.kind().to_owned(),
            relay: path.relay(),
            relay_name: path.relay().and_then(|relay| self.name(relay)),
            lease,
            generation,
        }
    }

    fn probed(&self, view: &PathView) -> ProbedPath {
        ProbedPath {
            path: self.path(&view.path),
            active: view.active,
            health: view.health.name().to_owned(),
            misses: view.misses,
            rtt_us: view.rtt.map(micros),
            lost_out: view.lost_out,
            lost_in: view.lost_in,
            window: view.window,
            linked: view.linked,
            observed_hops: view.observed_hops.iter().map(|hop| self.called(*hop)).collect(),
            answered_age_ms: self.age(view.answered_at),
            refused: view.refused.map(|why| why.name().to_owned()),
        }
    }

    pub(crate) fn link(&self, view: &LinkView) -> LinkRow {
        let state = match (view.link, view.needed) {
            (Some(_), _) => "up",
            (None, true) => "down",
            (None, false) => "idle",
        };

        LinkRow {
            peer: view.peer,
            peer_name: self.name(view.peer),
            state: state.to_owned(),
            needed: view.needed,
            dialled_by_us: view.dialled_by_us,
            up_age_ms: self.age(view.up_since),
            rtt_us: view.rtt.map(micros),
            failures: view.failures,
            next_dial_in_ms: view.next_dial.map(|at| millis(at.since(self.now.boot))),
            confirmed: view.confirmed,
            met: view.met,
        }
    }

    pub(crate) fn relay(&self, view: &RelayView) -> RelayRow {
        RelayRow {
            fresh_age_ms: self.age(view.fresh_at),
            pause: view.pause.map(|pause| {
                match pause {
                    RelayPause::NotFresh => "not_fresh",
                    RelayPause::StoodStill => "stood_still",
                }
                .to_owned()
            }),
            live: view.live,
            rows: view.rows.iter().map(|row| self.lease(row)).collect(),
        }
    }

    fn lease(&self, row: &RowView) -> LeaseRow {
        LeaseRow {
            id: row.lease,
            low: row.low,
            low_name: self.name(row.low),
            high: row.high,
            high_name: self.name(row.high),
            generation: row.generation,
            kind: row.kind.name().to_owned(),
            live: row.live,
            active_age_ms: self.age(row.active_at),
            forwarded: row.forwarded,
            forwarded_bytes: row.forwarded_bytes,
            refused: row.refused,
            grace_left_ms: row.grace_ends_at.map(|at| millis(at.since(self.now.boot))),
        }
    }

    pub(crate) fn received(&self, peer: NodeId, view: &FlowView) -> FlowRow {
        FlowRow {
            peer,
            peer_name: self.name(peer),
            received: view.received,
            missing: view.missing,
            duplicates: view.duplicates,
            largest_gap_ms: millis(view.largest_gap),
            gap_age_ms: self.age(view.gap_ended_at),
            last_age_ms: self.age(view.last_at),
        }
    }

    pub(crate) fn sending(&self, peer: NodeId, flow: &Flow) -> SendingRow {
        SendingRow {
            peer,
            peer_name: self.name(peer),
            rate_per_s: flow.pace.rate,
            bytes: flow.pace.bytes,
            sent: flow.sent,
            refused: flow.refused,
            left_ms: flow.left(self.now.boot).map(millis),
        }
    }

    fn name(&self, node: NodeId) -> Option<String> {
        match self.us {
            Some((us, name)) if us == node => Some(name.to_owned()),
            Some(_) | None => self.names.get(&node).cloned(),
        }
    }

    /// The name, or the id of a node without one.
    fn called(&self, node: NodeId) -> String {
        self.name(node).unwrap_or_else(|| node.to_string())
    }

    fn age(&self, at: Option<Boot>) -> Option<u64> {
        at.map(|at| millis(self.now.boot.since(at)))
    }
}

fn failure(last: &LastFailure) -> FailureRow {
    FailureRow {
        code: last.code.clone(),
        at: i64::try_from(last.at.0)
            .ok()
            .and_then(|millis| jiff::Timestamp::from_millisecond(millis).ok())
            .unwrap_or(jiff::Timestamp::MAX)
            .to_string(),
        endpoint: last.endpoint.clone(),
    }
}

fn unconfirmed(unconfirmed: Unconfirmed) -> UnconfirmedRow {
    let (state, tried, confirmed) = match unconfirmed {
        Unconfirmed::Pending { tried, confirmed } => ("on_trial", tried, confirmed),
        Unconfirmed::Reverted { tried, confirmed } => ("reverted", tried, confirmed),
    };

    UnconfirmedRow {
        state: state.to_owned(),
        tried,
        confirmed,
    }
}

fn documents(member: &MemberStatus) -> Vec<DocumentRow> {
    let rows = member.have.iter().map(|have| DocumentRow {
        kind: have.kind.name().to_owned(),
        epoch: have.epoch,
        version: have.version,
        hash: have.hash.to_string(),
    });

    rows.collect()
}

fn refused(member: &MemberStatus) -> Vec<RefusedRow> {
    let rows = member.refused.iter().map(|((kind, code), documents)| RefusedRow {
        kind: kind.name().to_owned(),
        code: code.text().to_owned(),
        documents: *documents,
    });

    rows.collect()
}

fn mark(mark: Mark) -> MarkRow {
    MarkRow {
        generation: mark.generation,
        counter: mark.counter,
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

const fn cadence(cadence: Cadence) -> &'static str {
    match cadence {
        Cadence::Auto => "auto",
        Cadence::Fast => "fast",
        Cadence::Normal => "normal",
        Cadence::Rest => "rest",
    }
}
