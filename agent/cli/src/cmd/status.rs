//! `gabion status`: the controller and the agent of this host on one screen. Either may be missing.

use std::fmt::Write;

use control_api::action::Action;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::wrapped;
use crate::session::{Outcome, Session, nothing};

pub(crate) async fn run(session: &Session) -> Outcome {
    let controller = session.call(Action::StatusShow, nothing()).await;
    let agent = session.agent.get("/v1/status").await;
    if let (Err(controller), Err(agent)) = (&controller, &agent) {
        return Err(silent(controller, agent));
    }
    let shown = json!({
        "name": "status",
        "state": controller.as_ref().ok().map_or(&Value::Null, |shown| &shown["state"]),
        "controller": controller.as_ref().ok(),
        "controller_error": controller.as_ref().err().map(|failure| &failure.summary),
        "agent": agent.as_ref().ok(),
        "agent_error": agent.as_ref().err().map(|failure| &failure.summary),
    });

    session.put(&session.printer.told(&shown, || screen(&shown)))
}

/// Neither answers. What stands in the way of the controller is what an operator asks for first.
fn silent(controller: &Failure, agent: &Failure) -> Failure {
    Failure::new(
        controller.exit,
        &controller.code,
        "neither a controller nor an agent answers on this host",
    )
    .because(format!("{}\n{}", controller.summary, agent.summary))
    .fixed_by(
        "systemctl status gabion-controller gabion-agent    or name the sockets: --socket, --agent-socket",
    )
}

fn screen(shown: &Value) -> String {
    let mut text = String::new();
    match shown["controller"].is_null() {
        true => {
            let why = shown["controller_error"].as_str().unwrap_or("unknown");
            let _ = writeln!(text, "CONTROLLER  none: {}", wrapped(why, 12));
        }
        false => of_controller(&shown["controller"], &mut text),
    }
    match shown["agent"].is_null() {
        true => {
            let why = shown["agent_error"].as_str().unwrap_or("unknown");
            let _ = writeln!(text, "AGENT       none: {}", wrapped(why, 12));
        }
        false => of_agent(&shown["agent"], &mut text),
    }

    text
}

/// What the agent knows, and how old that is.
fn of_agent(agent: &Value, text: &mut String) {
    let word = |value: &Value| value.as_str().unwrap_or("-").to_owned();
    let beacon = &agent["beacon"];
    let stale = match agent["stale"] == true {
        true => ", STALE: nothing newer comes",
        false => "",
    };
    let reached = match agent["controller"]["connected"] == true {
        true => "connected",
        false => "NOT CONNECTED",
    };
    let _ = writeln!(
        text,
        "AGENT       {}, {}",
        word(&agent["state"]),
        word(&agent["name"])
    );
    let lines = [
        ("key", &agent["fingerprint"], word(&agent["fingerprint"])),
        (
            "request",
            &agent["request"],
            format!("{}, waits for approval", word(&agent["request"])),
        ),
        ("failure", &agent["failure"], word(&agent["failure"])),
        ("failing", &agent["last_failure"], failing(&agent["last_failure"])),
        (
            "authority",
            &agent["authority"],
            word(&agent["authority"]["fingerprint"]),
        ),
        (
            "reaches",
            &agent["controller"],
            format!("{}, {reached}", word(&agent["controller"]["endpoint"])),
        ),
        (
            "knows",
            beacon,
            format!(
                "what was true {} ago (beacon {}){stale}",
                span(&beacon["age_ms"]),
                beacon["number"]
            ),
        ),
        (
            "settings",
            &agent["unconfirmed"],
            unconfirmed(&agent["unconfirmed"]),
        ),
        (
            "renews",
            &agent["certificate_left_ms"],
            format!(
                "a certificate that is valid for {} more",
                span(&agent["certificate_left_ms"])
            ),
        ),
        (
            "links",
            &agent["cluster"],
            format!("{} up, to {} neighbours", agent["links"], agent["neighbours"]),
        ),
    ];
    left_out(agent, text);
    for (name, known, value) in lines {
        if !known.is_null() {
            let _ = writeln!(text, "  {name:<9} {}", wrapped(&value, 12));
        }
    }
}

/// How controller addresses and intervals stand that are not confirmed.
fn unconfirmed(row: &Value) -> String {
    let (tried, confirmed) = (&row["tried"], &row["confirmed"]);
    match row["state"] == "reverted" {
        true => format!(
            "REVERTED to those of config {confirmed}: those of config {tried} led to no controller; see gabion finding list"
        ),
        false => format!(
            "those of config {tried} are on trial; without a controller those of config {confirmed} return"
        ),
    }
}

/// The addresses of the node that nobody is told of.
fn left_out(agent: &Value, text: &mut String) {
    let word = |value: &Value| value.as_str().unwrap_or("-").replace('_', " ");
    for row in agent["candidates_left_out"].as_array().into_iter().flatten() {
        let address = row["address"].as_str().unwrap_or("-");
        let told = format!(
            "{address}: {}, left out by the {}",
            word(&row["why"]),
            word(&row["by"])
        );
        let _ = writeln!(text, "  {:<9} {}", "address", wrapped(&told, 12));
    }
}

/// Why there is no session with a controller, with the time to the second.
fn failing(last: &Value) -> String {
    let word = |key: &str| last[key].as_str().unwrap_or("-");
    let at = word("at")
        .split('.')
        .next()
        .unwrap_or_default()
        .trim_end_matches('Z');

    format!("{} from {}, at {at}Z", word("code"), word("endpoint"))
}

/// A length of time in milliseconds, for people.
fn span(millis: &Value) -> String {
    match millis.as_u64().map(|millis| millis / 1_000) {
        None => "an unknown time".to_owned(),
        Some(seconds @ 0..=119) => format!("{seconds} s"),
        Some(seconds @ 120..=7_199) => format!("{} min", seconds / 60),
        Some(seconds @ 7_200..=172_799) => format!("{} h", seconds / 3_600),
        Some(seconds) => format!("{} d", seconds / 86_400),
    }
}

fn of_controller(controller: &Value, text: &mut String) {
    let word = |key: &str| controller[key].as_str().unwrap_or("-").to_owned();
    let activated = if controller["activated"] == true {
        "activated"
    } else {
        "NOT ACTIVATED"
    };
    let _ = writeln!(
        text,
        "CONTROLLER  {}, {} mode, {activated}, version {}, revision {}",
        word("state"),
        word("mode"),
        word("version"),
        controller["revision"],
    );
    for warning in ["read_only", "warning"] {
        if let Some(why) = controller[warning].as_str() {
            let _ = writeln!(
                text,
                "  ! {}",
                wrapped(&format!("{}: {why}", warning.replace('_', " ")), 4)
            );
        }
    }
    for cluster in controller["clusters"].as_array().into_iter().flatten() {
        of_cluster(cluster, text);
    }
}

fn of_cluster(cluster: &Value, text: &mut String) {
    let word = |key: &str| cluster[key].as_str().unwrap_or("-").to_owned();
    let _ = writeln!(
        text,
        "CLUSTER     {}, epoch {}, beacon {}",
        word("name"),
        cluster["epoch"],
        cluster["beacon"]
    );
    let lines = [
        ("authority", word("fingerprint")),
        ("nodes", counts(&cluster["nodes"])),
        ("relays", cluster["relays"].to_string()),
        ("routes", counts(&cluster["routes"])),
        ("requests", format!("{} pending", cluster["pending_requests"])),
        ("findings", format!("{} open", cluster["findings"])),
    ];
    for (name, value) in lines {
        let _ = writeln!(text, "  {name:<9} {}", wrapped(&value, 12));
    }
    if cluster["journal"].is_object() {
        let _ = writeln!(text, "  journal   {}", wrapped(&journal(&cluster["journal"]), 12));
    }
}

/// `120 decisions, 340 KiB, the oldest 3 h old`.
fn journal(journal: &Value) -> String {
    let seconds = &journal["oldest_seconds"];
    let age = seconds
        .as_u64()
        .map_or(Value::Null, |seconds| json!(seconds * 1_000));
    let oldest = match journal["since"].is_null() {
        true => String::new(),
        false => format!(", the oldest {} old", span(&age)),
    };
    let missed = match journal["missed"].as_u64() {
        Some(0) | None => String::new(),
        Some(count) => format!("; {count} were too many at once and are not kept"),
    };
    let kib = journal["bytes"].as_u64().unwrap_or(0).div_ceil(1024);

    format!("{} entries, {kib} KiB{oldest}{missed}", journal["entries"])
}

/// `3 online, 1 pending`.
fn counts(by_state: &Value) -> String {
    let counts = by_state
        .as_object()
        .into_iter()
        .flatten()
        .map(|(state, count)| format!("{count} {state}"));
    let text = counts.collect::<Vec<_>>().join(", ");

    match text.is_empty() {
        true => "none".to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_controller_is_shown_in_a_few_lines() {
        let mut text = String::new();
        of_controller(
            &json!({
                "state": "read_only", "mode": "dev", "activated": true, "version": "0.1.0", "revision": 12,
                "read_only": "the disk is full", "warning": "dev mode: the product root lies in the data directory; whoever reads it owns this installation",
                "clusters": [{
                    "name": "lab", "fingerprint": "SHA256:x", "epoch": 1, "beacon": 45, "nodes": {"online": 3, "pending": 1},
                    "relays": 1, "routes": {}, "pending_requests": 2, "findings": 0,
                    "journal": {"entries": 12, "bytes": 30_000, "since": "x", "oldest_seconds": 7_300, "missed": 4},
                }],
            }),
            &mut text,
        );

        assert_eq!(
            text,
            "CONTROLLER  read_only, dev mode, activated, version 0.1.0, revision 12\n  \
               ! read only: the disk is full\n  \
               ! warning: dev mode: the product root lies in the data directory; whoever\n    \
                 reads it owns this installation\n\
             CLUSTER     lab, epoch 1, beacon 45\n  \
               authority SHA256:x\n  \
               nodes     3 online, 1 pending\n  \
               relays    1\n  \
               routes    none\n  \
               requests  2 pending\n  \
               findings  0 open\n  \
               journal   12 entries, 30 KiB, the oldest 2 h old; 4 were too many at once and\n            \
                         are not kept\n"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80));
    }

    #[test]
    fn an_agent_says_how_old_its_knowledge_is() {
        let mut text = String::new();
        of_agent(
            &json!({
                "state": "member", "name": "web-01", "fingerprint": "SHA256:k", "request": null, "failure": null,
                "cluster": "c", "authority": {"fingerprint": "SHA256:a"}, "links": 2, "neighbours": 3, "stale": true,
                "controller": {"endpoint": "ctl:7443", "connected": false}, "certificate_left_ms": 518_400_000,
                "beacon": {"number": 45, "age_ms": 1_020_000},
            }),
            &mut text,
        );

        assert_eq!(
            text,
            "AGENT       member, web-01\n  \
               key       SHA256:k\n  \
               authority SHA256:a\n  \
               reaches   ctl:7443, NOT CONNECTED\n  \
               knows     what was true 17 min ago (beacon 45), STALE: nothing newer comes\n  \
               renews    a certificate that is valid for 6 d more\n  \
               links     2 up, to 3 neighbours\n"
        );
    }

    #[test]
    fn an_agent_says_that_it_went_back_from_its_settings() {
        let mut text = String::new();
        of_agent(
            &json!({
                "state": "member", "name": "web-01",
                "unconfirmed": {"state": "reverted", "tried": 7, "confirmed": 6},
            }),
            &mut text,
        );

        assert_eq!(
            text,
            "AGENT       member, web-01\n  \
               settings  REVERTED to those of config 6: those of config 7 led to no\n            \
               controller; see gabion finding list\n"
        );
    }

    #[test]
    fn a_node_that_is_turned_away_does_not_read_like_a_healthy_one() {
        let mut text = String::new();
        of_agent(
            &json!({
                "state": "revoked", "name": "web-01", "links": 0, "neighbours": 3,
                "last_failure": {"code": "node_revoked", "at": "2026-01-01T10:00:00.25Z", "endpoint": "ctl:7443"},
            }),
            &mut text,
        );

        assert_eq!(
            text,
            "AGENT       revoked, web-01\n  \
               failing   node_revoked from ctl:7443, at 2026-01-01T10:00:00Z\n"
        );
    }

    #[test]
    fn that_nobody_answers_names_both() {
        let failure = silent(&Failure::usage("no controller"), &Failure::usage("no agent"));

        assert!(
            failure
                .to_string()
                .contains("why     no controller\n          no agent"),
            "{failure}"
        );
    }
}
