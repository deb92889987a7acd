//! What people see while the demo runs: a line for each step, and below them a table that is drawn anew every second.
//! Both go to standard error; where that is no terminal there are the lines alone.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::Duration;

use agent_shell::local::FlowRow;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::fleet::Fleet;
use super::plan::{CONTROLLER_NAME, Pair};
use super::sight::Standing;
use crate::output::{Column, Format, Printer, column};

#[derive(Debug)]
pub(crate) struct Screen {
    began: Instant,
    drawn_at: Option<Instant>,
    is_live: bool,
    /// Lines of the table that stand on the terminal.
    lines: usize,
}

impl Screen {
    /// Draws a table if people read the result, and on a terminal.
    pub(crate) fn new(format: Format) -> Self {
        let for_people = matches!(format, Format::Table | Format::Wide);

        Self {
            began: Instant::now(),
            drawn_at: None,
            is_live: for_people && std::io::stderr().is_terminal(),
            lines: 0,
        }
    }

    /// Time since the demo began.
    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Tells a step.
    pub(crate) fn say(&mut self, step: &str) {
        let seconds = self.elapsed().as_secs_f64();
        eprintln!("{}[{seconds:6.1} s] {step}", self.wiped());
        self.drawn_at = None;
    }

    /// Draws the table if it is time to.
    pub(crate) async fn refresh(&mut self, fleet: &Fleet) {
        let is_due = self.drawn_at.is_none_or(|drawn| drawn.elapsed() >= REDRAW);
        if !self.is_live || !is_due {
            return;
        }
        let text = format!("\n{}\n{}", units(fleet), table(fleet).await);
        eprint!("{}{text}", self.wiped());
        self.lines = text.lines().count();
        self.drawn_at = Some(Instant::now());
    }

    /// Takes the table off the terminal.
    pub(crate) fn clear(&mut self) {
        eprint!("{}", self.wiped());
    }

    /// What takes the table off the terminal.
    fn wiped(&mut self) -> String {
        match std::mem::take(&mut self.lines) {
            0 => String::new(),
            lines => format!("\x1b[{lines}F\x1b[J"),
        }
    }
}

/// The units, and those by name that do not run.
fn units(fleet: &Fleet) -> String {
    let names = fleet.plan.seats.iter().map(|seat| seat.name.as_str());
    let mut text = String::new();
    for name in [CONTROLLER_NAME].into_iter().chain(names) {
        let state = fleet.state(name);
        let _ = match state.is_running() {
            true => write!(text, "{name} "),
            false => write!(text, "{name}:{} ", state.name().to_uppercase()),
        };
    }

    text
}

async fn table(fleet: &Fleet) -> String {
    let mut rows = Vec::new();
    for pair in fleet.plan.pairs() {
        let standings = fleet.standing(&pair).await;
        let mut gaps = Vec::new();
        for (receiver, sender) in pair.ends() {
            let received = fleet.received(receiver).await.unwrap_or_default();
            gaps.extend(
                received
                    .into_iter()
                    .find(|(from, _)| from == sender)
                    .map(|(_, row)| row),
            );
        }
        rows.push(row(&pair, standings.as_ref(), &gaps));
    }
    let printer = Printer {
        format: Format::Table,
        now: Timestamp::UNIX_EPOCH,
    };

    printer.list(&rows, &COLUMNS)
}

/// What both ends say of a pair, the worse of both where it is a number.
fn row(pair: &Pair, standings: Option<&[Standing; 2]>, flows: &[FlowRow]) -> Value {
    let each = || standings.into_iter().flatten();
    let mut ways: Vec<String> = each().map(|standing| standing.active.to_string()).collect();
    ways.dedup();
    let ready = standings.map(|[one, _]| one.ready.iter().map(ToString::to_string).collect::<Vec<_>>());
    let rtt = each().filter_map(|standing| standing.rtt).max();
    let lost = each().filter_map(|standing| standing.lost).max();

    json!({
        "pair": pair.to_string(),
        "path": ways.join(" / "),
        "generation": each().map(|standing| standing.generation).max(),
        "ready": ready.map(|ready| ready.join(", ")),
        "rtt": rtt.map(|rtt| format!("{:.1} ms", rtt.as_secs_f64() * 1_000.0)),
        "loss": lost.map(|(lost, of)| format!("{lost}/{of}")),
        "gap": flows.iter().map(|flow| flow.largest_gap_ms).max().map(|gap| format!("{gap} ms")),
        "missing": flows.iter().map(|flow| flow.missing).max(),
    })
}

const COLUMNS: [Column; 8] = [
    column("PAIR", "pair").whole(),
    column("PATH", "path").whole(),
    column("GEN", "generation"),
    column("STANDBYS", "ready").whole(),
    column("RTT", "rtt").whole(),
    column("LOSS", "loss").whole(),
    column("LAST GAP", "gap").whole(),
    column("MISSING", "missing"),
];

const REDRAW: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cmd::demo::sight::Way;

    #[test]
    fn a_pair_shows_the_worse_of_its_ends() {
        let standings = [
            standing(Way::Direct, 2, 0),
            standing(Way::Relay("r1".to_owned()), 12, 3),
        ];

        let row = row(&Pair::new("m1", "m2"), Some(&standings), &[]);
        assert_eq!(row["path"], "direct / via r1");
        assert_eq!((&row["rtt"], &row["loss"]), (&json!("12.0 ms"), &json!("3/20")));
    }

    #[test]
    fn a_pair_that_nobody_knows_of_is_shown_empty() {
        let row = row(&Pair::new("m1", "m2"), None, &[]);

        assert_eq!((&row["path"], &row["rtt"]), (&json!(""), &Value::Null));
    }

    fn standing(active: Way, rtt: u64, lost: u8) -> Standing {
        Standing {
            generation: 1,
            decided: active.clone(),
            active,
            health: Some("up".to_owned()),
            ready: vec![Way::Relay("r2".to_owned())],
            rtt: Some(Duration::from_millis(rtt)),
            lost: Some((lost, 20)),
        }
    }
}
