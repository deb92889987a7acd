//! What the agents of the demo say of themselves through their local doors.

use std::fmt;
use std::time::Duration;

use agent_shell::local::{FlowRow, FlowRows, PathRow, RelayRow, RouteRow};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::fleet::Fleet;
use super::plan::Pair;

/// A path, by the relay that it leads through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Direct,
    Relay(String),
}

impl Way {
    fn of(path: &PathRow) -> Self {
        let named = || {
            path.relay_name
                .clone()
                .or_else(|| path.relay.map(|relay| relay.to_string()))
        };
        match path.kind.as_str() {
            "direct" => Self::Direct,
            _ => Self::Relay(named().unwrap_or_default()),
        }
    }

    pub(crate) fn is_relay(&self) -> bool {
        matches!(self, Self::Relay(_))
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct => f.write_str("direct"),
            Self::Relay(relay) => write!(f, "via {relay}"),
        }
    }
}

/// One route as one end sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) generation: u64,
    /// Where the controller wants the traffic.
    pub(crate) decided: Way,
    /// Where the traffic goes.
    pub(crate) active: Way,
    /// What the agent's own probes say of that; none for a path of the generation before.
    pub(crate) health: Option<String>,
    /// The other paths that the agent may use by itself and whose probes are answered.
    pub(crate) ready: Vec<Way>,
    pub(crate) rtt: Option<Duration>,
    /// Lost of the last probes: the worse direction, and of how many.
    pub(crate) lost: Option<(u8, u8)>,
}

impl Standing {
    fn of(row: &RouteRow) -> Self {
        let active = row.paths.iter().find(|path| path.active);
        let others = row.paths.iter().filter(|path| !path.active && path.health == UP);

        Self {
            generation: row.generation,
            decided: Way::of(&row.decided),
            active: Way::of(&row.active),
            health: active.map(|path| path.health.clone()),
            ready: others.map(|path| Way::of(&path.path)).collect(),
            rtt: active.and_then(|path| path.rtt_us).map(Duration::from_micros),
            lost: active.map(|path| (path.lost_out.max(path.lost_in), path.window)),
        }
    }

    /// Whether the traffic goes where the controller wants it, and arrives.
    pub(crate) fn is_settled(&self) -> bool {
        self.active == self.decided && self.health.as_deref() == Some(UP)
    }

    /// Whether there is a relay to which the agent could move by itself.
    pub(crate) fn could_move_to_a_relay(&self) -> bool {
        self.ready.iter().any(Way::is_relay)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let health = self.health.as_deref().unwrap_or("of the generation before");
        write!(
            f,
            "{} ({health}), decided {} in generation {}, ready: ",
            self.active, self.decided, self.generation
        )?;
        match self.ready.is_empty() {
            true => f.write_str("nothing"),
            false => {
                let ready: Vec<String> = self.ready.iter().map(Way::to_string).collect();
                f.write_str(&ready.join(", "))
            }
        }
    }
}

/// What both ends say of their route.
pub(crate) fn told(pair: &Pair, standings: &[Standing; 2]) -> String {
    let ends = pair.ends().into_iter().zip(standings);
    let lines: Vec<String> = ends
        .map(|((node, _), standing)| format!("{node}: {standing}"))
        .collect();

    lines.join("\n")
}

impl Fleet {
    /// Every route of a node, with the name of the node at its far end.
    pub(crate) async fn standings(&self, node: &str) -> Option<Vec<(String, Standing)>> {
        let rows: Vec<RouteRow> = self.look(node, "/v1/routes").await?;
        let named = rows
            .iter()
            .filter_map(|row| row.peer_name.clone().map(|peer| (peer, Standing::of(row))));

        Some(named.collect())
    }

    /// Both ends' view of the route between them, if both have one.
    pub(crate) async fn standing(&self, pair: &Pair) -> Option<[Standing; 2]> {
        let mut views = Vec::with_capacity(2);
        for (node, peer) in pair.ends() {
            let standings = self.standings(node).await?;
            views.push(standings.into_iter().find(|(far, _)| far == peer)?.1);
        }

        views.try_into().ok()
    }

    pub(crate) async fn relaying(&self, node: &str) -> Option<RelayRow> {
        self.look(node, "/v1/relay").await
    }

    /// What arrived at a node since its logs were taken, by who sent it.
    pub(crate) async fn received(&self, node: &str) -> Option<Vec<(String, FlowRow)>> {
        let rows: FlowRows = self.look(node, "/v1/flows").await?;

        Some(by_sender(rows))
    }

    /// The same, and the node's logs begin anew.
    pub(crate) async fn take_received(&self, node: &str) -> Option<Vec<(String, FlowRow)>> {
        let taken = self
            .agent(node)
            .ok()?
            .post("/v1/flow/take", json!({}))
            .await
            .ok()?;

        serde_json::from_value(taken).ok().map(by_sender)
    }

    /// What a node has had to send to each peer since it was told to, with what had no way to go.
    pub(crate) async fn sent(&self, node: &str) -> Option<Vec<(String, u64)>> {
        let rows: FlowRows = self.look(node, "/v1/flows").await?;
        let named = rows
            .sending
            .into_iter()
            .filter_map(|row| Some((row.peer_name?, row.sent + row.refused)));

        Some(named.collect())
    }

    /// Lets a node send frames of class `synthetic` to another. Says whether it does.
    pub(crate) async fn send_frames(&self, from: &str, to: &str) -> bool {
        let start = json!({ "peer": to, "rate_per_s": FRAMES_PER_SECOND, "bytes": FRAME_BYTES });
        match self.agent(from) {
            Ok(agent) => agent.post("/v1/flow/start", start).await.is_ok(),
            Err(_) => false,
        }
    }

    async fn look<T: DeserializeOwned>(&self, node: &str, target: &str) -> Option<T> {
        let shown = self.agent(node).ok()?.get(target).await.ok()?;

        serde_json::from_value(shown).ok()
    }
}

fn by_sender(rows: FlowRows) -> Vec<(String, FlowRow)> {
    let named = rows
        .received
        .into_iter()
        .filter_map(|row| row.peer_name.clone().map(|peer| (peer, row)));

    named.collect()
}

/// How an agent calls a path whose probes are answered.
const UP: &str = "up";

/// In each direction of each pair.
pub(crate) const FRAMES_PER_SECOND: u64 = 50;
const FRAME_BYTES: u64 = 64;
