//! Documents that were refused: counted for ever, and kept until a controller has heard of them.

use std::collections::BTreeMap;

use protocol::envelope::Kind;
use protocol::error::Code;
use protocol::wire;

use super::event::Event;
use super::outbox::Outbox;
use super::trust::Refused;

/// What was refused, by kind and code.
#[derive(Clone, Debug, Default)]
pub(super) struct Ledger {
    counts: BTreeMap<(Kind, Code), u64>,
    untold: Vec<wire::Refused>,
}

impl Ledger {
    /// Counts a refusal and tells of it. `stands_for` is the kind to count what has no readable head under.
    pub(super) fn note(&mut self, refused: &Refused, stands_for: Kind, out: &mut Outbox) {
        let claimed = refused.claimed;
        let kind = claimed.map_or(stands_for, |claimed| claimed.kind);
        let (epoch, version) = claimed.map_or((0, 0), |claimed| (claimed.epoch, claimed.version));
        let code = refused.why.code();
        *self.counts.entry((kind, code)).or_default() += 1;
        let entry = wire::Refused {
            kind,
            epoch,
            version,
            code: code.text().to_owned(),
        };
        if self.untold.len() < UNTOLD && !self.untold.contains(&entry) {
            self.untold.push(entry);
        }
        out.event(Event::Refused {
            kind,
            epoch,
            version,
            why: refused.why.clone(),
        });
    }

    pub(super) fn counts(&self) -> &BTreeMap<(Kind, Code), u64> {
        &self.counts
    }

    /// What no controller has heard of yet.
    pub(super) fn untold(&self) -> &[wire::Refused] {
        &self.untold
    }

    /// Forgets what a controller has heard.
    pub(super) fn told(&mut self, heard: &[wire::Refused]) {
        self.untold.retain(|entry| !heard.contains(entry));
    }
}

/// Refusals one heartbeat tells of: a hostile server must not make us hold more. The counts go on.
const UNTOLD: usize = 16;
