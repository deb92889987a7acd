//! `gabion ping [A] B`: test frames from this host's agent, while its own probes measure the path they take. Nobody but
//! the far end knows which frames arrived; the probes walk the same path and come back.

use std::time::Duration;

use clap::Args;
use protocol::error::Code;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The node to send to, by name or id; or two nodes, one of which is this host
    #[arg(num_args = 1..=2, required = true, value_name = "NODE")]
    nodes: Vec<String>,
    /// For how many seconds
    #[arg(short = 's', long, value_name = "COUNT", default_value = "2", value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// How many frames in a second
    #[arg(long, value_name = "COUNT", default_value = "50", value_parser = clap::value_parser!(u16).range(1..=1_000))]
    rate: u16,
    /// How long each is
    #[arg(long, value_name = "BYTES", default_value = "100", value_parser = clap::value_parser!(u16).range(..=900))]
    bytes: u16,
}

pub(crate) async fn run(options: Options, session: &Session) -> Outcome {
    let node = match options.nodes.as_slice() {
        [one, other] => far_end(one, other, &session.agent.get("/v1/status").await?)?,
        nodes => nodes.first().cloned().unwrap_or_default(),
    };
    let input = json!({
        "peer": node,
        "rate_per_s": options.rate,
        "bytes": options.bytes,
        "seconds": options.seconds + MARGIN,
    });
    session.agent.post("/v1/flow/start", input).await?;
    tokio::time::sleep(Duration::from_secs(u64::from(options.seconds))).await;
    let flows = session.agent.get("/v1/flows").await?;
    let routes = session.agent.get("/v1/routes").await?;
    session
        .agent
        .post("/v1/flow/stop", json!({ "peer": node }))
        .await?;
    let shown = summary(&node, &flows, &routes)?;
    session.put(&session.printer.told(&shown, || story(&shown)))?;

    Ok(match shown["state"] == "up" {
        true => Exit::Done,
        false => Exit::Problems,
    })
}

/// Of two nodes the one that is not this host: a round trip is the same from either end.
fn far_end(one: &str, other: &str, status: &Value) -> Result<String, Failure> {
    let is_here = |named: &str| status["name"] == named || status["id"] == named;
    match (is_here(one), is_here(other)) {
        (true, _) => Ok(other.to_owned()),
        (false, true) => Ok(one.to_owned()),
        (false, false) => Err(Failure::usage(format!("neither {one} nor {other} is this host"))
            .because(format!(
                "only an agent can send frames, and the agent here is {}",
                status["name"].as_str().unwrap_or("no node yet")
            ))
            .affecting("nothing was sent")
            .fixed_by(format!("on {one}: gabion ping {other}"))),
    }
}

fn summary(node: &str, flows: &Value, routes: &Value) -> Result<Value, Failure> {
    let sent =
        to(node, &flows["sending"]).ok_or_else(|| lost_sight(node, "the flow to it has ended already"))?;
    let route = to(node, routes).ok_or_else(|| lost_sight(node, "there is no route to it"))?;
    let path = route["paths"]
        .as_array()
        .into_iter()
        .flatten()
        .find(|path| path["active"] == true);
    let path = path.unwrap_or(&Value::Null);
    let relay = path["relay_name"].as_str().or_else(|| path["relay"].as_str());

    Ok(json!({
        "name": route["peer_name"].as_str().unwrap_or(node),
        "id": route["peer"],
        "state": path["health"].as_str().unwrap_or("down"),
        "path_kind": path["kind"],
        "relay": relay,
        "sent": sent["sent"],
        "without_a_way": sent["refused"],
        "rtt_ms": path["rtt_us"].as_f64().map(|micros| micros / 1_000.0),
        "probes_lost_out": path["lost_out"],
        "probes_lost_in": path["lost_in"],
        "probes": path["window"],
    }))
}

/// The row that is about a node.
fn to<'a>(node: &str, rows: &'a Value) -> Option<&'a Value> {
    let is_about = |row: &&Value| row["peer"] == node || row["peer_name"] == node;

    rows.as_array().into_iter().flatten().find(is_about)
}

fn lost_sight(node: &str, why: &str) -> Failure {
    Failure::of_code(Code::NotFound, format!("nothing can be said of {node}"))
        .because(why)
        .fixed_by(format!("gabion why THIS_HOST {node}"))
}

fn story(shown: &Value) -> String {
    let via = match shown["relay"].as_str() {
        Some(relay) => format!("through {relay}"),
        None => shown["path_kind"].as_str().unwrap_or("no path").to_owned(),
    };
    let rtt = shown["rtt_ms"]
        .as_f64()
        .map_or_else(|| "not measured".to_owned(), |rtt| format!("{rtt:.1} ms"));

    format!(
        "{}: {}, {via}, round trip {rtt}\n{} frames sent, {} had no way to go; of the last {} probes {} were lost on the way there and {} on the way back\n",
        shown["name"].as_str().unwrap_or("-"),
        shown["state"].as_str().unwrap_or("-"),
        shown["sent"],
        shown["without_a_way"],
        shown["probes"],
        shown["probes_lost_out"],
        shown["probes_lost_in"],
    )
}

/// By how much a flow outlives the time to look at it, should this command be cut short.
const MARGIN: u32 = 5;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_sent_stands_beside_what_the_probes_measured() {
        let shown = summary("db-02", &flows(), &json!([route("up")])).unwrap();

        assert_eq!(
            story(&shown),
            "db-02: up, through fra-r1, round trip 14.2 ms\n\
             100 frames sent, 3 had no way to go; of the last 20 probes 1 were lost on the way there and 0 on the way back\n"
        );
        assert_eq!((&shown["state"], &shown["id"]), (&json!("up"), &json!("y")));
    }

    #[test]
    fn a_node_is_found_by_its_id_too_and_a_missing_one_is_said_to_be() {
        assert!(summary("y", &flows(), &json!([route("down")])).is_ok_and(|shown| shown["state"] == "down"));
        assert!(summary("y", &flows(), &json!([])).is_err());
        assert!(summary("z", &flows(), &json!([route("up")])).is_err());
    }

    #[test]
    fn of_two_nodes_one_has_to_be_this_host() {
        let status = json!({"name": "web-01", "id": "x"});

        assert_eq!(far_end("web-01", "db-02", &status).unwrap(), "db-02");
        assert_eq!(far_end("db-02", "x", &status).unwrap(), "db-02");
        let refused = far_end("db-01", "db-02", &status).unwrap_err().to_string();
        assert!(
            refused.contains("fix     on db-01: gabion ping db-02"),
            "{refused}"
        );
    }

    fn flows() -> Value {
        json!({"received": [], "sending": [{"peer": "y", "peer_name": "db-02", "sent": 100, "refused": 3}]})
    }

    fn route(health: &str) -> Value {
        json!({"peer": "y", "peer_name": "db-02", "paths": [
            {"active": false, "kind": "direct", "health": "down"},
            {"active": true, "kind": "relay", "relay": "r", "relay_name": "fra-r1", "health": health, "rtt_us": 14_200,
             "lost_out": 1, "lost_in": 0, "window": 20},
        ]})
    }
}
