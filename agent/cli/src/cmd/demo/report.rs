//! The result of the walk: for scripts one object, for people a table.

use std::fmt::Write;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::flow::Damage;
use super::replayed::Replay;
use crate::exit::Exit;
use crate::output::{Column, Format, Printer, column, wrapped};

/// Everything that the walk found out.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) nodes: usize,
    pub(crate) enrolled: usize,
    /// Whether the controller's audit chain verifies after all that.
    pub(crate) audit_ok: bool,
    /// Whether every decision that it recorded follows from its inputs.
    pub(crate) replay: Replay,
    pub(crate) faults: Vec<Fault>,
    pub(crate) seconds: u64,
}

/// One fault, what it cost, and whether that is what was promised.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Fault {
    pub(crate) name: &'static str,
    /// Packets that the fault kept or held up on their way, counted from just before it. Of the draining: the leases
    /// that it ended. Of the healing: how many directions and processes were brought back.
    pub(crate) fired: u64,
    /// From the fault until it showed: both ends had moved, no relay was fresh any more, or all was well again.
    pub(crate) detect_ms: Option<u64>,
    /// The largest gap in a receiver's own sequence log.
    pub(crate) moved_ms: Option<u64>,
    /// Frames missing in the receivers' logs.
    pub(crate) frames_lost: Option<u64>,
    /// New decisions of the controller for the routes that were watched.
    pub(crate) decisions: Option<u64>,
    pub(crate) ok: bool,
    pub(crate) expected: &'static str,
    /// What was not as expected.
    pub(crate) problems: Vec<String>,
}

/// What a fault did, if the walk got through it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measured {
    pub(crate) fired: u64,
    /// Whether this is no fault but the way back, for which there may be nothing to do.
    pub(crate) is_repair: bool,
    pub(crate) detected: Duration,
    pub(crate) damage: Damage,
    pub(crate) problems: Vec<String>,
}

impl Measured {
    /// Notes what was promised and is not so.
    pub(crate) fn promise(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(otherwise());
        }
    }
}

impl Fault {
    /// Judges what was measured. A fault that touched no packet did not happen, and what it cost means nothing.
    pub(crate) fn measured(name: &'static str, expected: &'static str, mut measured: Measured) -> Self {
        let has_happened = measured.is_repair || measured.fired > 0;
        measured.promise(has_happened, || {
            "nothing met the fault: it did not happen".to_owned()
        });

        Self {
            name,
            fired: measured.fired,
            detect_ms: Some(millis(measured.detected)),
            moved_ms: Some(millis(measured.damage.gap)),
            frames_lost: Some(measured.damage.lost),
            decisions: Some(measured.damage.decisions),
            ok: measured.problems.is_empty(),
            expected,
            problems: measured.problems,
        }
    }

    /// The walk did not get through it.
    pub(crate) const fn missed(name: &'static str, expected: &'static str, problems: Vec<String>) -> Self {
        Self {
            name,
            fired: 0,
            detect_ms: None,
            moved_ms: None,
            frames_lost: None,
            decisions: None,
            ok: false,
            expected,
            problems,
        }
    }

    /// One line for people who watch.
    pub(crate) fn line(&self) -> String {
        let number = |value: Option<u64>| value.map_or_else(|| "?".to_owned(), |value| value.to_string());
        let verdict = if self.ok { "ok" } else { "NOT OK" };
        let mut line = format!(
            "{}: {verdict}: detected after {} ms, largest gap {} ms, {} frames lost, {} decisions, {} fired",
            self.name,
            number(self.detect_ms),
            number(self.moved_ms),
            number(self.frames_lost),
            number(self.decisions),
            self.fired,
        );
        for problem in &self.problems {
            let _ = write!(
                line,
                "\n           ! {}",
                problem.replace('\n', "\n             ")
            );
        }

        line
    }
}

impl Report {
    pub(crate) fn is_ok(&self) -> bool {
        self.audit_ok
            && self.replay.is_ok()
            && self.enrolled == self.nodes
            && self.faults.iter().all(|fault| fault.ok)
    }

    pub(crate) fn exit(&self) -> Exit {
        match self.is_ok() {
            true => Exit::Done,
            false => Exit::Problems,
        }
    }

    pub(crate) fn shown(&self, printer: &Printer) -> String {
        let value = json!(self);

        printer.told(&value, || self.told(printer, &value))
    }

    fn told(&self, printer: &Printer, value: &Value) -> String {
        let rows = value["faults"].as_array().map(Vec::as_slice).unwrap_or_default();
        let table = Printer {
            format: Format::Table,
            ..*printer
        };
        let mut text = table.list(rows, &COLUMNS);
        let audit = if self.audit_ok {
            "verifies"
        } else {
            "DOES NOT VERIFY"
        };
        let summary = format!(
            "{} of {} nodes enrolled; the audit chain {audit}; {} of {} decisions follow from their inputs; the walk \
             took {} s",
            self.enrolled, self.nodes, self.replay.agreed, self.replay.decisions, self.seconds
        );
        let _ = writeln!(text, "\n{}", wrapped(&summary, 0));
        for fault in self.faults.iter().filter(|fault| !fault.ok) {
            let _ = writeln!(text, "\n{} was to: {}", fault.name, wrapped(fault.expected, 2));
            for problem in &fault.problems {
                let _ = writeln!(text, "  ! {}", wrapped(problem, 4));
            }
        }

        text
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

const COLUMNS: [Column; 7] = [
    column("FAULT", "name").whole(),
    column("FIRED", "fired"),
    column("DETECTED", "detect_ms"),
    column("MOVED", "moved_ms"),
    column("LOST", "frames_lost"),
    column("DECISIONS", "decisions"),
    column("OK", "ok"),
];

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;

    #[test]
    fn a_fault_whose_promises_hold_is_ok() {
        let mut measured = Measured {
            fired: 7,
            detected: Duration::from_millis(612),
            ..Measured::default()
        };
        measured.promise(true, || "never said".to_owned());

        let fault = Fault::measured("direct_cut_silent", "move", measured);
        assert!(fault.ok && fault.problems.is_empty());
        assert_eq!((fault.fired, fault.detect_ms), (7, Some(612)));
    }

    #[test]
    fn one_broken_promise_fails_the_walk_and_is_named() {
        let mut measured = happened();
        measured.promise(false, || "the gap was 9000 ms".to_owned());
        let report = report(vec![Fault::measured(
            "relay_killed",
            "move within 1500 ms",
            measured,
        )]);

        assert_eq!(report.exit(), Exit::Problems);
        let text = report.shown(&printer(Format::Table));
        assert!(
            text.contains("relay_killed was to: move within 1500 ms\n  ! the gap was 9000 ms"),
            "{text}"
        );
    }

    #[test]
    fn a_fault_that_no_packet_met_fails_the_walk() {
        let idle = Measured::default();
        let report = report(vec![Fault::measured("relay_killed", "move", idle)]);

        assert_eq!(report.exit(), Exit::Problems);
        assert_eq!(
            report.faults[0].problems,
            ["nothing met the fault: it did not happen"]
        );
    }

    #[test]
    fn one_packet_that_met_a_fault_is_enough() {
        let report = report(vec![Fault::measured("relay_killed", "move", happened())]);

        assert_eq!(report.exit(), Exit::Done);
    }

    #[test]
    fn a_repair_may_have_nothing_to_do() {
        let idle = Measured {
            is_repair: true,
            ..Measured::default()
        };

        assert!(Fault::measured("heal", "heal", idle).ok);
    }

    #[test]
    fn what_was_not_measured_is_null_and_not_zero() {
        let report = report(vec![Fault::missed("heal", "heal", vec!["no".to_owned()])]);

        let object: Value = serde_json::from_str(&report.shown(&printer(Format::Json))).unwrap();
        let fault = &object["faults"][0];
        assert_eq!((&fault["moved_ms"], &fault["ok"]), (&Value::Null, &json!(false)));
    }

    #[test]
    fn scripts_get_one_object_with_the_members_they_rely_on() {
        let report = report(vec![Fault::measured("relay_killed", "move", happened())]);

        let object: Value = serde_json::from_str(&report.shown(&printer(Format::Json))).unwrap();
        for member in ["nodes", "enrolled", "audit_ok", "replay", "faults"] {
            assert!(object.get(member).is_some(), "{member}");
        }
        for member in [
            "name",
            "fired",
            "detect_ms",
            "moved_ms",
            "frames_lost",
            "decisions",
            "ok",
        ] {
            assert!(object["faults"][0].get(member).is_some(), "{member}");
        }
        assert_eq!(report.exit(), Exit::Done);
    }

    #[test]
    fn a_broken_audit_chain_or_a_node_that_is_missing_fails_the_walk() {
        let whole = report(Vec::new());

        assert!(whole.is_ok());
        assert!(
            !Report {
                audit_ok: false,
                ..whole.clone()
            }
            .is_ok()
        );
        assert!(!Report { enrolled: 6, ..whole }.is_ok());
    }

    #[test]
    fn a_decision_that_does_not_follow_from_its_inputs_fails_the_walk() {
        let whole = report(Vec::new());
        for (decisions, agreed, missed) in [(3, 2, 0), (0, 0, 0), (3, 3, 1)] {
            let replay = Replay {
                decisions,
                agreed,
                missed,
                differing: Vec::new(),
            };
            let report = Report {
                replay,
                ..whole.clone()
            };
            assert_eq!(report.exit(), Exit::Problems);
        }
        assert!(
            whole
                .shown(&printer(Format::Table))
                .contains("3 of 3 decisions follow")
        );
    }

    fn happened() -> Measured {
        Measured {
            fired: 1,
            ..Measured::default()
        }
    }

    fn report(faults: Vec<Fault>) -> Report {
        Report {
            nodes: 7,
            enrolled: 7,
            audit_ok: true,
            replay: Replay {
                decisions: 3,
                agreed: 3,
                ..Replay::default()
            },
            faults,
            seconds: 100,
        }
    }

    fn printer(format: Format) -> Printer {
        Printer {
            format,
            now: Timestamp::UNIX_EPOCH,
        }
    }
}
