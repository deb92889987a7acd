//! The reports that refreshes leave (REQUIREMENTS R-32): the newest of each way, with how many were suppressed since.

use std::collections::BTreeMap;

use protocol::limits::REFRESHES;
use protocol::time::{Boot, millis};
use protocol::wire::Refresh;

use super::{Refreshed, Way};

/// What the newest refresh of one way brought, and what was held back since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshReport {
    pub refreshed: Refreshed,
    /// When what the answer brought was in force.
    pub at: Boot,
    /// Bad reports since, that no poll followed.
    pub suppressed: u64,
    /// When the last of them was suppressed.
    pub suppressed_at: Option<Boot>,
}

impl RefreshReport {
    /// As it is told and shown at `now`.
    pub fn row(&self, now: Boot) -> Refresh {
        let Refreshed {
            way,
            trigger,
            before,
            after,
            cooldown,
        } = &self.refreshed;

        Refresh {
            route: way.route,
            relay: way.relay,
            trigger: *trigger,
            before: *before,
            after: *after,
            cooldown_ms: cooldown.map(millis),
            suppressed: self.suppressed,
            age_ms: millis(now.since(self.at)),
            suppressed_ms: self.suppressed_at.map(|at| millis(now.since(at))),
        }
    }
}

/// At most [`REFRESHES`] of them; the oldest goes first.
#[derive(Debug, Default)]
pub(super) struct Kept {
    newest: BTreeMap<Way, Told>,
}

#[derive(Debug)]
struct Told {
    report: RefreshReport,
    /// Whether the controller of the session has it as it is now.
    told: bool,
}

impl Kept {
    /// One was answered: its report takes the place of the one before.
    pub(super) fn handle_refreshed(&mut self, refreshed: &Refreshed, now: Boot) {
        let report = RefreshReport {
            refreshed: refreshed.clone(),
            at: now,
            suppressed: 0,
            suppressed_at: None,
        };
        self.newest.insert(refreshed.way, Told { report, told: false });
        if self.newest.len() > REFRESHES {
            let oldest = self.newest.iter().min_by_key(|(_, kept)| kept.report.at);
            let oldest = oldest.map(|(way, _)| *way);
            oldest.and_then(|way| self.newest.remove(&way));
        }
    }

    /// One was suppressed: it counts up in the report whose cooldown holds it back.
    pub(super) fn handle_suppressed(&mut self, way: Way, now: Boot) {
        if let Some(Told { report, told }) = self.newest.get_mut(&way) {
            report.suppressed += 1;
            report.suppressed_at = Some(now);
            *told = false;
        }
    }

    /// The session is over: another controller may be next, or one that has forgotten.
    pub(super) fn handle_lost(&mut self) {
        for kept in self.newest.values_mut() {
            kept.told = false;
        }
    }

    /// Those that are new, or that more were suppressed under, since they were told last.
    pub(super) fn take_news(&mut self, now: Boot) -> Vec<Refresh> {
        let mut news = Vec::new();
        for kept in self.newest.values_mut().filter(|kept| !kept.told) {
            kept.told = true;
            news.push(kept.report.row(now));
        }

        news
    }

    pub(super) fn reports(&self) -> impl Iterator<Item = &RefreshReport> {
        self.newest.values().map(|kept| &kept.report)
    }
}
