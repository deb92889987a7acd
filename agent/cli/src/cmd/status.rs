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

    session.put(&session.printer.told(&shown, || screen(&shown, session)))
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

fn screen(shown: &Value, session: &Session) -> String {
    let mut text = String::new();
    match &shown["controller"] {
        Value::Null => {
            let why = shown["controller_error"].as_str().unwrap_or("unknown");
            let _ = writeln!(
                text,
                "CONTROLLER  none: {why}; what follows is what the agent of this host knows"
            );
        }
        controller => of_controller(controller, &mut text),
    }
    match &shown["agent"] {
        Value::Null => {
            let _ = writeln!(
                text,
                "AGENT       none: {}",
                shown["agent_error"].as_str().unwrap_or("unknown")
            );
        }
        agent => {
            let _ = write!(text, "AGENT\n{}", indented(&session.printer.item(agent)));
        }
    }

    text
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

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("  {line}\n")).collect()
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
               findings  0 open\n"
        );
        assert!(text.lines().all(|line| line.chars().count() <= 80));
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
