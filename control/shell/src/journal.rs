//! What the log says of what was committed: each audit record, and each node that comes or goes.

use control_api::admin::audit_view;
use control_core::audit::{self, Action, Record, Target};
use control_core::finding::{self, FindingRow};
use control_core::liveness::Change;
use control_core::node::{self, Presence};
use control_core::store::{StoreError, View};
use protocol::id::NodeId;
use protocol::node::Name;

/// Tells of every record behind the one numbered `after`.
pub(crate) fn tell(view: &dyn View, after: u64) {
    let mut after = after;
    while audit::head(view).is_ok_and(|head| head.count > after) {
        match audit::list(view, after, PAGE) {
            Ok(records) => {
                let Some(last) = records.last() else { return };
                after = last.seq;
                records.iter().for_each(|record| tell_one(view, record));
            }
            Err(error) => {
                tracing::warn!(%error, "what was done cannot be read for the log; it is in the audit");
                return;
            }
        }
    }
}

fn tell_one(view: &dyn View, record: &Record) {
    let shown = audit_view(record);
    if record.action == Action::FINDING_RAISED
        && let Some(row) = raised(view, record)
    {
        let (kind, severity) = (row.kind.as_str(), row.severity.name());
        tracing::warn!(
            kind,
            severity,
            subject = row.subject,
            text = row.text,
            "a finding was raised"
        );
        return;
    }
    tracing::info!(
        kind = shown.name,
        actor = shown.actor,
        uid = shown.uid,
        subject = shown.target,
        outcome = shown.outcome,
        record = record.seq,
        "audit"
    );
}

fn raised(view: &dyn View, record: &Record) -> Option<FindingRow> {
    let Target::Finding(fingerprint) = &record.target else {
        return None;
    };

    finding::find(view, fingerprint).ok().flatten()
}

/// A node that is heard, or not any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    node: NodeId,
    name: Name,
    from: Presence,
    to: Presence,
}

impl Turn {
    /// What `changes` will turn in the store that `view` shows.
    pub(crate) fn of(view: &dyn View, changes: &[Change]) -> Result<Vec<Self>, StoreError> {
        let mut turns = Vec::new();
        for change in changes {
            let known = node::find_readable(view, change.cluster, change.node)?;
            turns.extend(
                known
                    .filter(|row| row.presence != change.presence)
                    .map(|row| Self {
                        node: row.id,
                        name: row.name,
                        from: row.presence,
                        to: change.presence,
                    }),
            );
        }

        Ok(turns)
    }

    pub(crate) fn tell(&self) {
        let (name, from, to) = (self.name.as_str(), self.from.name(), self.to.name());
        tracing::info!(node = ?self.node, name, from, to, "the presence of a node changed");
    }
}

/// Records that are read at once.
const PAGE: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::sync::{Arc, Mutex};

    use control_core::audit::Actor;
    use control_core::finding::{Finding, FindingKind, Severity};
    use control_core::testing::World;
    use tracing::field::{Field, Visit};
    use tracing::span;

    use super::*;

    #[test]
    fn every_record_is_a_line_and_a_finding_is_a_warning() {
        let mut world = World::activated(1);
        let before = audit::head(&world.tx).expect("reads").count;
        let finding = Finding {
            kind: FindingKind::CLOCK_BEHIND,
            severity: Severity::Warning,
            cluster: None,
            subject: "prod".to_owned(),
            text: "the clock is behind".to_owned(),
        };
        let owner = world.owner;
        world
            .desk(Actor::Operator(owner), |desk| {
                desk.record(Action::TOKEN_CREATED, Target::Named("a token".to_owned()), "")?;
                finding::raise(desk, finding.clone())
            })
            .expect("writes");
        let lines = Lines::default();
        tracing::subscriber::with_default(lines.clone(), || tell(&world.tx, before));

        let lines = lines.0.lock().expect("no panic");
        let [done, raised] = lines.as_slice() else {
            panic!("a line for each: {lines:?}")
        };
        assert!(
            done.starts_with("INFO") && raised.starts_with("WARN"),
            "{lines:?}"
        );
        for part in ["token.created", "a token", "done", &format!("operator/{owner}")] {
            assert!(done.contains(part), "{part}: {done}");
        }
        for part in ["clock_behind", "prod", "the clock is behind"] {
            assert!(raised.contains(part), "{part}: {raised}");
        }
    }

    /// What was logged, as text.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    struct Line(String);

    impl Visit for Line {
        fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
            write!(self.0, " {field}={value:?}").expect("a String takes it");
        }
    }

    impl tracing::Subscriber for Lines {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, event: &tracing::Event<'_>) {
            let mut line = Line(event.metadata().level().to_string());
            event.record(&mut line);
            self.0.lock().expect("no panic").push(line.0);
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }
}
