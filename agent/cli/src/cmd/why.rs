//! `gabion why A B`: which step between two nodes fails. Without a controller the agent of this host tells what it
//! sees.

use std::fmt::Write;

use control_api::action::Action;
use serde_json::{Value, json};

use super::route::Pair;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::wrapped;
use crate::session::{Outcome, Session};

pub(crate) async fn run(pair: &Pair, session: &Session) -> Outcome {
    match session.call(Action::WhyShow, session.scoped(pair.input())).await {
        Ok(verdict) => {
            session.put(&session.printer.told(&verdict, || story(&verdict)))?;
            Ok(match verdict["verdict"] == "ok" {
                true => Exit::Done,
                false => Exit::Problems,
            })
        }
        Err(failure) if failure.exit == Exit::Unreachable => {
            let verdict = local(pair, &failure, session).await;
            session.put(&session.printer.told(&verdict, || story(&verdict)))?;
            Ok(Exit::Unreachable)
        }
        Err(failure) => Err(failure),
    }
}

/// What can be said from here alone.
async fn local(pair: &Pair, failure: &Failure, session: &Session) -> Value {
    let mut steps = vec![json!({ "name": "controller", "ok": false, "evidence": failure.summary })];
    match session.agent.get("/v1/routes").await {
        Ok(routes) => steps.push(of_routes(pair, &routes)),
        Err(silent) => steps.push(json!({ "name": "agent", "ok": false, "evidence": silent.summary })),
    }

    json!({
        "source": pair.source,
        "target": pair.target,
        "verdict": "controller_unreachable",
        "summary": "the controller does not answer, so this is what the agent of this host sees; routes live on without it",
        "fix": "systemctl status gabion-controller    or name its socket with --socket",
        "steps": steps,
    })
}

/// What this agent's own probes say of its route to either node.
fn of_routes(pair: &Pair, routes: &Value) -> Value {
    let is_meant = |route: &&Value| {
        [&pair.source, &pair.target]
            .iter()
            .any(|named| route["peer"] == named.as_str() || route["peer_name"] == named.as_str())
    };
    let found = routes.as_array().into_iter().flatten().find(is_meant);
    match found {
        Some(route) => of_path(route),
        None => {
            json!({ "name": "route", "ok": false, "evidence": "the agent of this host has no route to either node" })
        }
    }
}

fn of_path(route: &Value) -> Value {
    let active = route["paths"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|path| path["active"] == true);
    let Some(path) = active else {
        return json!({ "name": "route", "ok": false, "evidence": "the agent of this host has no path to send on" });
    };
    let health = path["health"].as_str().unwrap_or("unknown");
    let kind = match path["relay_name"].as_str() {
        Some(relay) => format!("through {relay}"),
        None => path["kind"].as_str().unwrap_or("unknown").to_owned(),
    };
    let evidence = format!(
        "this end's probes say {health} ({kind}); lost {} of {} out, {} back; last answer {} ms ago",
        path["lost_out"], path["window"], path["lost_in"], path["answered_age_ms"],
    );

    json!({ "name": "route", "ok": health != "down", "evidence": evidence })
}

fn story(verdict: &Value) -> String {
    let text = |key: &str| verdict[key].as_str().unwrap_or("-");
    let mut story = format!("{} → {}   {}\n", text("source"), text("target"), text("verdict"));
    for step in verdict["steps"].as_array().into_iter().flatten() {
        let mark = if step["ok"] == true { "ok" } else { "FAIL" };
        let name = step["name"].as_str().unwrap_or("-");
        let evidence = step["evidence"].as_str().unwrap_or("-");
        let _ = writeln!(story, "  {mark:<4}  {name:<10}  {}", wrapped(evidence, 20));
    }
    let _ = writeln!(story, "{}", wrapped(text("summary"), 0));
    if let Some(fix) = verdict["fix"].as_str() {
        let _ = writeln!(story, "fix  {}", wrapped(fix, 5));
    }

    story
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_shows_each_step_and_the_fix() {
        let verdict = json!({
            "source": "web-01", "target": "db-02", "verdict": "no_policy", "summary": "no route policy selects this pair",
            "fix": "gabion policy apply FILE",
            "steps": [
                {"name": "identity", "ok": true, "evidence": "both identities are in force"},
                {"name": "policy", "ok": false, "evidence": "no route policy selects this pair"},
            ],
        });

        assert_eq!(
            story(&verdict),
            "web-01 → db-02   no_policy\n  \
               ok    identity    both identities are in force\n  \
               FAIL  policy      no route policy selects this pair\n\
             no route policy selects this pair\n\
             fix  gabion policy apply FILE\n"
        );
    }

    #[test]
    fn the_own_routes_are_found_by_either_end() {
        let pair = Pair {
            source: "web-01".to_owned(),
            target: "db-02".to_owned(),
        };
        let down = json!({
            "active": true, "health": "down", "kind": "direct", "relay_name": null, "lost_out": 3, "lost_in": 0,
            "window": 20, "answered_age_ms": 900,
        });
        let routes = json!([{"peer": "x", "peer_name": "other"}, {"peer": "y", "peer_name": "db-02", "paths": [down]}]);

        let step = of_routes(&pair, &routes);
        assert_eq!(step["ok"], false);
        assert_eq!(
            step["evidence"],
            "this end's probes say down (direct); lost 3 of 20 out, 0 back; last answer 900 ms ago"
        );
        assert_eq!(of_routes(&pair, &json!([]))["ok"], false);
    }
}
