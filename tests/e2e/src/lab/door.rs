//! An agent's local API, asked over its unix socket as `gabion` itself asks, without a process for every question.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use agent_shell::local::{FlowRow, FlowRows, LinkRow, PathRow, RouteRow, StatusRow};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// Where one agent answers.
#[derive(Clone, Debug)]
pub struct Door {
    socket: PathBuf,
}

impl Door {
    pub(super) const fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    pub fn status(&self) -> Result<StatusRow, String> {
        self.ask("GET", "/v1/status", &Value::Null)
    }

    /// The route to a peer.
    pub fn route(&self, peer: &str) -> Result<RouteRow, String> {
        let routes: Vec<RouteRow> = self.ask("GET", "/v1/routes", &Value::Null)?;
        let found = routes
            .into_iter()
            .find(|route| route.peer_name.as_deref() == Some(peer));

        found.ok_or_else(|| format!("there is no route to {peer}"))
    }

    /// The connection to a peer, or what became of the attempts at one.
    pub fn link(&self, peer: &str) -> Result<LinkRow, String> {
        let links: Vec<LinkRow> = self.ask("GET", "/v1/links", &Value::Null)?;
        let found = links
            .into_iter()
            .find(|link| link.peer_name.as_deref() == Some(peer));

        found.ok_or_else(|| format!("there is no link to {peer}"))
    }

    /// What arrived from a peer since the log was taken.
    pub fn received(&self, peer: &str) -> Result<FlowRow, String> {
        of(peer, self.ask("GET", "/v1/flows", &Value::Null)?)
    }

    /// The same, and the log begins anew.
    pub fn take_received(&self, peer: &str) -> Result<FlowRow, String> {
        of(peer, self.ask("POST", "/v1/flow/take", &json!({}))?)
    }

    /// Sends frames of class `synthetic` to a peer until the agent ends.
    pub fn send_frames(&self, peer: &str, rate_per_s: u16, bytes: u16) -> Result<(), String> {
        let start = json!({ "peer": peer, "rate_per_s": rate_per_s, "bytes": bytes });

        self.ask::<Value>("POST", "/v1/flow/start", &start).map(|_| ())
    }

    fn ask<T: DeserializeOwned>(&self, method: &str, target: &str, input: &Value) -> Result<T, String> {
        let told = |error: io::Error| format!("{}: {error}", self.socket.display());
        let answer = self.exchange(method, target, input).map_err(told)?;
        let (head, body) = answer.split_once("\r\n\r\n").ok_or("an answer without a body")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            return Err(format!("{target}: {status} {body}"));
        }

        serde_json::from_str(body).map_err(|error| format!("{target}: {error} in {body}"))
    }

    /// One question of HTTP/1.1 on a connection of its own, which ends with the answer.
    fn exchange(&self, method: &str, target: &str, input: &Value) -> io::Result<String> {
        let body = if input.is_null() {
            String::new()
        } else {
            input.to_string()
        };
        // One write: an agent may answer and close before it has read a body that it does not need.
        let question = format!(
            "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = UnixStream::connect(&self.socket)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.write_all(question.as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;

        Ok(answer)
    }
}

fn of(peer: &str, rows: FlowRows) -> Result<FlowRow, String> {
    let mut received = rows.received.into_iter();
    let found = received.find(|row| row.peer_name.as_deref() == Some(peer));

    found.ok_or_else(|| format!("nothing came from {peer}"))
}

/// The relay that a path leads through; none for the direct one.
pub fn relay_of(path: &PathRow) -> Option<&str> {
    path.relay_name.as_deref()
}

/// Whether the traffic of a route goes where the controller wants it, and arrives.
pub fn is_settled(route: &RouteRow) -> bool {
    let active = route.paths.iter().find(|path| path.active);

    route.active == route.decided && active.is_some_and(|path| path.health == UP)
}

/// Whether the last probe of the path in use was answered in time, and nothing is sent twice.
pub fn is_calm(route: &RouteRow) -> bool {
    let active = route.paths.iter().find(|path| path.active);

    route.doubling.is_none() && active.is_some_and(|path| path.health == UP && path.misses == 0)
}

/// The paths that a route could move to at once.
pub fn ready(route: &RouteRow) -> impl Iterator<Item = &PathRow> {
    let others = route
        .paths
        .iter()
        .filter(|path| !path.active && path.health == UP);

    others.map(|path| &path.path)
}

/// How an agent calls a path whose probes are answered.
const UP: &str = "up";
/// An agent answers at once; one that stands still does not.
const ANSWER: Duration = Duration::from_secs(10);
