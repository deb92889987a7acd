//! `gabion route`.

mod journal;
mod replay;

use std::fmt::Write;

use clap::{Args, Subcommand};
use control_api::action::Action;
use serde_json::{Value, json};

use crate::output::{Column, column, wrapped};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the routes with their decisions
    List,
    /// Show one route
    Show(Pair),
    /// Explain one route: evidence, scores, candidates refused and why
    Explain(Pair),
    /// List the decisions that were made, or export them with all that they were made from
    Journal(journal::Options),
    /// Make exported decisions again from their inputs alone, and compare; needs no controller
    Replay(replay::Options),
    /// Show decisions as they are made
    Watch(journal::WatchOptions),
}

/// Two nodes.
#[derive(Debug, Args)]
pub(crate) struct Pair {
    /// A node, by name or id
    pub(crate) source: String,
    /// Another node, by name or id
    pub(crate) target: String,
}

impl Pair {
    pub(crate) fn input(&self) -> Value {
        json!({ "source": self.source, "target": self.target })
    }
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => {
            session
                .list(Action::RouteList, session.scoped(nothing()), &COLUMNS)
                .await
        }
        Command::Show(pair) => {
            session
                .show(Action::RouteShow, session.scoped(pair.input()))
                .await
        }
        Command::Explain(pair) => {
            let explained = session
                .call(Action::RouteExplain, session.scoped(pair.input()))
                .await?;
            session.put(&session.printer.told(&explained, || story(&explained, session)))
        }
        Command::Journal(options) => journal::run(&options, session).await,
        Command::Replay(options) => replay::run(&options, session),
        Command::Watch(options) => journal::watch(&options, session).await,
    }
}

/// The explanation for a person: what was decided, on what grounds, and how the candidates stand now.
fn story(explained: &Value, session: &Session) -> String {
    let mut text = format!(
        "{} → {}   policy {}{}\n",
        words(&explained["source"]),
        words(&explained["target"]),
        explained["policy"].as_str().unwrap_or("default"),
        if explained["wanted"] == false {
            ", not wanted any more"
        } else {
            ""
        },
    );
    let doubted = explained["doubted"].as_array().into_iter().flatten();
    let doubted: Vec<&str> = doubted.filter_map(Value::as_str).collect();
    if !doubted.is_empty() {
        let doubted = doubted.join(", ");
        let _ = writeln!(
            text,
            "not believed alone for now: {doubted}, of whose bad news most is not what its far ends find"
        );
    }
    if explained["improvement_frozen"] == true {
        text.push_str("not improved for now, since reports are in doubt (gabion finding list)\n");
    }
    if let Some(steady) = explained["steady_ms"].as_u64().filter(|steady| *steady > 0) {
        let _ = writeln!(
            text,
            "a path of it counts as down once that has been said for {} s without a break, since reports are in doubt",
            steady / 1_000
        );
    }
    match explained["decision"].is_null() {
        true => text.push_str("no decision yet\n"),
        false => decided(&explained["decision"], explained, &mut text),
    }
    let rows: Vec<Value> = explained["candidates"].as_array().cloned().unwrap_or_default();
    let _ = write!(
        text,
        "\ncandidates now, best first\n{}",
        session.printer.list(&rows, &CANDIDATES)
    );
    let all = |member: &str| explained[member].as_array().cloned().unwrap_or_default();
    let sightings: Vec<Value> = rows.iter().flat_map(sightings).collect();
    let damped: Vec<Value> = rows.iter().filter_map(damping).collect();
    let half_life = damped.first().and_then(|row| row["half_life_ms"].as_u64());
    let falls = format!(
        "damping: a penalty falls by half every {} s",
        half_life.unwrap_or(0) / 1_000
    );
    let tables: [(&str, Vec<Value>, &[Column]); 6] = [
        ("what the ends report", sightings, &SIGHTINGS),
        (
            "moves that the ends made by themselves, the last of each",
            all("switches"),
            &SWITCHES,
        ),
        (
            "asked for a better decision after bad news, the last of each path",
            all("refreshes"),
            &REFRESHES,
        ),
        (&falls, damped, &DAMPING),
        ("leases", all("leases"), &LEASES),
        ("decisions, newest last", all("history"), &HISTORY),
    ];
    for (title, rows, columns) in tables.iter().filter(|(_, rows, _)| !rows.is_empty()) {
        let _ = write!(text, "\n{title}\n{}", session.printer.list(rows, columns));
    }

    text
}

fn decided(decision: &Value, explained: &Value, text: &mut String) {
    let path = |path: &Value| match path.is_null() {
        true => "none".to_owned(),
        false => format!("{} ({})", words(&path["hops"]), words(&path["kind"])),
    };
    let standbys = decision["standbys"]
        .as_array()
        .map(|all| all.iter().map(path).collect::<Vec<_>>());
    let lines = [
        (
            "decision",
            format!(
                "generation {}, {}, priority {}",
                decision["generation"],
                words(&decision["action"]),
                decision["priority"]
            ),
        ),
        ("path", path(&decision["path"])),
        (
            "standbys",
            standbys
                .filter(|all| !all.is_empty())
                .map_or_else(|| "none".to_owned(), |all| all.join("; ")),
        ),
        ("reasons", words(&decision["reasons"])),
        (
            "hold",
            format!(
                "{} s better before a path that works is left",
                explained["hold_ms"].as_u64().unwrap_or(0) / 1_000
            ),
        ),
        ("applied", words(&decision["applied"])),
        (
            "signer",
            format!("{}, epoch {}", words(&explained["signer"]), explained["epoch"]),
        ),
    ];
    for (name, value) in lines {
        let _ = writeln!(text, "  {name:<9} {}", wrapped(&value, 12));
    }
    if let Some(meets) = meets(&explained["rendezvous"]) {
        let _ = writeln!(text, "  meets     {}", wrapped(&meets, 12));
    }
    if !explained["published"].is_null() {
        let versions = words(&explained["published"]);
        let _ = writeln!(text, "  documents versions {versions}, of source and target");
    }
}

/// Where the ends are to meet that have no path, or why nowhere; none if they have one, or a relay.
fn meets(rendezvous: &Value) -> Option<String> {
    let why = rendezvous["why"].as_str()?;
    match (rendezvous["node"].as_str(), rendezvous["named"] == true) {
        (Some(node), true) => Some(format!("over {node} ({why})")),
        (Some(node), false) => Some(format!("over {node}, once the ends know of it ({why})")),
        (None, _) if ["direct_not_down", "relay_leased"].contains(&why) => None,
        (None, _) => Some(format!("nowhere ({why})")),
    }
}

/// The evidence of one candidate, each row with the path that it is about.
fn sightings(candidate: &Value) -> Vec<Value> {
    let rows = candidate["evidence"].as_array().cloned().unwrap_or_default();

    rows.into_iter()
        .map(|mut row| {
            row["via"] = candidate["via"].clone();
            row
        })
        .collect()
}

/// What the candidate has to its debit, with the path that it is about.
fn damping(candidate: &Value) -> Option<Value> {
    let mut row = candidate["damping"].as_object()?.clone();
    row.insert("via".to_owned(), candidate["via"].clone());
    row.insert("damped_for_ms".to_owned(), candidate["damped_for_ms"].clone());

    Some(Value::Object(row))
}

/// A text, or several in order.
fn words(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(items) => items.iter().map(words).collect::<Vec<_>>().join(" "),
        Value::Null => "-".to_owned(),
        Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

pub(super) const COLUMNS: [Column; 12] = [
    column("SOURCE", "source"),
    column("TARGET", "target"),
    column("STATE", "state"),
    column("PATH", "path"),
    column("KIND", "path_kind"),
    column("GEN", "generation"),
    column("RTT MS", "rtt_ms"),
    column("LOSS", "loss"),
    column("ACTION", "action").wide(),
    column("STANDBYS", "standbys").wide(),
    column("REASONS", "reasons").wide(),
    column("ID", "id").wide(),
];

const CANDIDATES: [Column; 9] = [
    column("VIA", "via"),
    column("VERDICT", "verdict"),
    column("TIER", "tier"),
    column("LOSS", "loss"),
    column("RTT US", "rtt_us"),
    column("LOAD", "load").wide(),
    column("LINK", "link"),
    column("BETTER FOR MS", "better_for_ms").wide(),
    column("REASONS", "reasons"),
];

const SIGHTINGS: [Column; 10] = [
    column("VIA", "via"),
    column("REPORTER", "reporter"),
    column("SENDS HERE", "active"),
    column("GEN", "generation"),
    column("DRIFT", "drift"),
    column("OUT", "lost_out"),
    column("IN", "lost_in"),
    column("OF", "window"),
    column("RTT US", "rtt_us"),
    column("AGE MS", "age_ms"),
];

const SWITCHES: [Column; 6] = [
    column("REPORTER", "reporter"),
    column("FROM", "from"),
    column("TO", "to"),
    column("CAUSE", "cause"),
    column("GEN", "generation"),
    column("AGE MS", "age_ms"),
];

const REFRESHES: [Column; 9] = [
    column("REPORTER", "reporter"),
    column("VIA", "via"),
    column("TRIGGER", "trigger"),
    column("OUTCOME", "outcome"),
    column("VERSIONS", "versions"),
    column("PAUSE MS", "cooldown_ms"),
    column("HELD BACK", "suppressed"),
    column("AGE MS", "age_ms"),
    column("GENERATIONS", "generations").wide(),
];

const DAMPING: [Column; 6] = [
    column("VIA", "via"),
    column("PENALTY", "penalty"),
    column("WAITS FROM", "suppress"),
    column("FREE AT", "reuse"),
    column("WAITS YET MS", "damped_for_ms"),
    column("PROBATION", "on_probation"),
];

const HISTORY: [Column; 5] = [
    column("AT", "at").whole(),
    column("GEN", "generation"),
    column("ACTION", "action"),
    column("PATH", "path"),
    column("REASONS", "reasons"),
];

const LEASES: [Column; 5] = [
    column("KIND", "kind"),
    column("RELAY", "relay"),
    column("STATE", "state"),
    column("GEN", "generation"),
    column("ID", "id").whole(),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use jiff::Timestamp;

    use super::*;
    use crate::client::{Agent, Controller};
    use crate::output::{Format, Printer};

    #[test]
    fn an_explanation_reads_as_a_story() {
        let sighting = json!({"reporter": "a", "active": false, "generation": 4, "drift": "failure", "lost_out": 20, "lost_in": 0, "window": 20, "rtt_us": null, "age_ms": 120});
        let explained = json!({
            "source": "a", "target": "b", "policy": null, "wanted": true, "signer": "SHA256:x", "epoch": 1, "hold_ms": 30_000,
            "refreshes": [{"reporter": "a", "via": "direct", "trigger": "failure", "outcome": "suppressed", "versions": [7, 8], "generations": [4, 4], "cooldown_ms": 30_000, "suppressed": 3, "age_ms": 9_000}],
            "switches": [{"reporter": "a", "from": "direct", "to": "r1", "cause": "path_down", "generation": 3, "age_ms": 900}],
            "decision": {
                "generation": 4, "action": "replace", "priority": 7, "reasons": ["direct_down", "rh_healthy_low_latency"],
                "path": {"kind": "relay", "hops": ["a", "r1", "b"]},
                "standbys": [{"kind": "relay", "hops": ["a", "r2", "b"]}],
                "applied": [4, null],
            },
            "candidates": [
                {"via": "r1", "verdict": "chosen", "tier": "usable", "loss": "none", "rtt_us": 1500, "load": 1, "link": "up", "reasons": ["rh_healthy_low_latency"], "evidence": []},
                {"via": "direct", "verdict": "refused", "tier": "stale", "loss": "total", "rtt_us": null, "load": 0, "link": "down", "reasons": ["direct_down"], "evidence": [sighting]},
            ],
            "leases": [],
        });

        assert_eq!(
            story(&explained, &session()),
            "a → b   policy default\n  \
               decision  generation 4, replace, priority 7\n  \
               path      a r1 b (relay)\n  \
               standbys  a r2 b (relay)\n  \
               reasons   direct_down rh_healthy_low_latency\n  \
               hold      30 s better before a path that works is left\n  \
               applied   4 -\n  \
               signer    SHA256:x, epoch 1\n\
             \n\
             candidates now, best first\n\
             VIA     VERDICT  TIER    LOSS   RTT US  LINK  REASONS\n\
             r1      chosen   usable  none   1500    up    rh_healthy_low_latency\n\
             direct  refused  stale   total  -       down  direct_down\n\
             \n\
             what the ends report\n\
             VIA     REPORTER  SENDS HERE  GEN  DRIFT    OUT  IN  OF  RTT US  AGE MS\n\
             direct  a         no          4    failure  20   0   20  -       120\n\
             \n\
             moves that the ends made by themselves, the last of each\n\
             REPORTER  FROM    TO  CAUSE      GEN  AGE MS\n\
             a         direct  r1  path_down  3    900\n\
             \n\
             asked for a better decision after bad news, the last of each path\n\
             REPORTER  VIA     TRIGGER  OUTCOME     VERSIONS  PAUSE MS  HELD BACK  AGE MS\n\
             a         direct  failure  suppressed  7,8       30000     3          9000\n"
        );
    }

    #[test]
    fn where_ends_meet_is_told_of_those_that_have_no_path() {
        let told = |node: Value, named, why| meets(&json!({"node": node, "named": named, "why": why}));
        let text = |text: &str| Some(text.to_owned());

        assert_eq!(told(json!("n1"), true, "granted"), text("over n1 (granted)"));
        assert_eq!(
            told(json!("n1"), false, "lease_pending"),
            text("over n1, once the ends know of it (lease_pending)")
        );
        assert_eq!(
            told(Value::Null, false, "no_rendezvous"),
            text("nowhere (no_rendezvous)")
        );
        assert_eq!(told(Value::Null, false, "relay_leased"), None);
        assert_eq!(meets(&Value::Null), None);
    }

    #[test]
    fn whom_routing_does_not_believe_is_named() {
        let text = story(
            &json!({"source": "a", "target": "b", "wanted": true, "doubted": ["a"], "improvement_frozen": true,
                "steady_ms": 30_000}),
            &session(),
        );

        assert!(text.contains("not believed alone for now: a,"), "{text}");
        assert!(text.contains("not improved for now"), "{text}");
        assert!(text.contains("said for 30 s without a break"), "{text}");
    }

    #[test]
    fn a_route_without_a_decision_is_said_to_have_none() {
        let text = story(
            &json!({"source": "a", "target": "b", "policy": "web", "wanted": false}),
            &session(),
        );

        assert!(
            text.starts_with("a → b   policy web, not wanted any more\nno decision yet\n"),
            "{text}"
        );
    }

    fn session() -> Session {
        Session {
            controller: Controller {
                socket: "/nowhere".into(),
                operator: None,
                timeout: Duration::from_secs(1),
            },
            agent: Agent {
                socket: "/nowhere".into(),
                timeout: Duration::from_secs(1),
            },
            printer: Printer {
                format: Format::Table,
                now: Timestamp::UNIX_EPOCH,
            },
            cluster: None,
        }
    }
}
