//! What may be asked of an agent on its own host, without a controller: how it stands, test traffic, and to leave.

mod door;
mod row;
mod view;

use std::time::Duration;

use agent_core::control::NotLeft;
use protocol::id::NodeId;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};

use crate::flows::{BYTES, Pace, RATE};
use crate::input::Input;

pub(crate) use door::{Door, open};
pub use row::{
    Authority, BeaconRow, ControllerRow, DocumentRow, FailureRow, FlowRow, FlowRows, LeaseRow, LeftOutRow,
    LinkRow, MarkRow, MeetingRow, PathRow, ProbedPath, RefusedRow, RelayRow, RouteRow, SendingRow, StatusRow,
};
pub(crate) use view::Viewer;

/// One question to the loop, with where its answer goes.
#[derive(Debug)]
pub(crate) enum Ask {
    Flows(oneshot::Sender<FlowRows>),
    /// The same, and the logs begin anew.
    FlowsTaken(oneshot::Sender<FlowRows>),
    /// Answered when the node has given back what it held, or will not within this time.
    Leave(Duration, oneshot::Sender<Result<(), NotLeft>>),
    Links(oneshot::Sender<Vec<LinkRow>>),
    Relay(oneshot::Sender<RelayRow>),
    Routes(oneshot::Sender<Vec<RouteRow>>),
    Start(FlowStart, oneshot::Sender<Result<FlowStarted, FlowRefused>>),
    Status(oneshot::Sender<Box<StatusRow>>),
    Stop(FlowStop, oneshot::Sender<Result<FlowStopped, FlowRefused>>),
}

/// Test traffic to begin: frames of class `synthetic`, at most 1,000 a second of at most 900 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowStart {
    /// Id or name of a neighbour, or `all`.
    pub peer: String,
    pub rate_per_s: u16,
    pub bytes: u16,
    /// Until it is stopped, without it.
    #[serde(default)]
    pub seconds: Option<u32>,
}

impl FlowStart {
    pub(crate) fn pace(&self) -> Result<Pace, FlowRefused> {
        if !(1..=RATE).contains(&self.rate_per_s) {
            return Err(FlowRefused::Rate {
                found: self.rate_per_s,
            });
        }
        if self.bytes > BYTES {
            return Err(FlowRefused::Bytes { found: self.bytes });
        }

        Ok(Pace {
            rate: self.rate_per_s,
            bytes: self.bytes,
            lasting: self
                .seconds
                .map(|seconds| Duration::from_secs(u64::from(seconds))),
        })
    }
}

/// Test traffic to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FlowStop {
    /// Id or name of a neighbour, or `all`.
    pub peer: String,
}

/// The neighbours that traffic now goes to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStarted {
    pub peers: Vec<NodeId>,
}

/// That this node is to leave.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leave {
    /// Given up after this time; a few seconds, without it.
    #[serde(default)]
    pub within_ms: Option<u32>,
}

impl Leave {
    pub(crate) fn within(&self) -> Duration {
        self.within_ms
            .map_or(LEAVE_WITHIN, |millis| Duration::from_millis(u64::from(millis)))
    }
}

/// How many flows ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FlowStopped {
    pub flows: usize,
}

/// Why no test traffic begins or ends.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FlowRefused {
    /// Longer than a frame may be.
    #[error("a test frame has at most {BYTES} bytes, not {found}")]
    Bytes { found: u16 },
    /// This host is not a node yet.
    #[error("this host is not a node of a cluster yet")]
    NotMember,
    /// None, or more than allowed.
    #[error("test traffic has 1 to {RATE} frames a second, not {found}")]
    Rate { found: u16 },
    /// No neighbour has this name or id.
    #[error("no neighbour is called {peer}")]
    UnknownPeer { peer: String },
}

/// Asks a running agent, in the same process.
#[derive(Clone, Debug)]
pub struct LocalClient(mpsc::Sender<Input>);

/// The agent has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the agent has ended")]
pub struct AgentGone;

impl LocalClient {
    pub(crate) fn new(inbox: mpsc::Sender<Input>) -> Self {
        Self(inbox)
    }

    pub async fn status(&self) -> Result<StatusRow, AgentGone> {
        self.ask(Ask::Status).await.map(|status| *status)
    }

    pub async fn routes(&self) -> Result<Vec<RouteRow>, AgentGone> {
        self.ask(Ask::Routes).await
    }

    pub async fn links(&self) -> Result<Vec<LinkRow>, AgentGone> {
        self.ask(Ask::Links).await
    }

    pub async fn relay(&self) -> Result<RelayRow, AgentGone> {
        self.ask(Ask::Relay).await
    }

    pub async fn flows(&self) -> Result<FlowRows, AgentGone> {
        self.ask(Ask::Flows).await
    }

    /// The receiver's logs, which begin anew.
    pub async fn take_flows(&self) -> Result<FlowRows, AgentGone> {
        self.ask(Ask::FlowsTaken).await
    }

    pub async fn start_flow(&self, start: FlowStart) -> Result<Result<FlowStarted, FlowRefused>, AgentGone> {
        self.ask(|answer| Ask::Start(start, answer)).await
    }

    pub async fn stop_flow(&self, stop: FlowStop) -> Result<Result<FlowStopped, FlowRefused>, AgentGone> {
        self.ask(|answer| Ask::Stop(stop, answer)).await
    }

    /// Gives back what this node holds, and returns when that is done: the agent then ends. What is not done within
    /// this time, or when the caller waits no more, is given up.
    pub async fn leave(&self, within: Duration) -> Result<Result<(), NotLeft>, AgentGone> {
        self.ask(|answer| Ask::Leave(within, answer)).await
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, AgentGone> {
        let (answer, answered) = oneshot::channel();
        self.0
            .send(Input::Local(ask(answer)))
            .await
            .map_err(|_| AgentGone)?;

        answered.await.map_err(|_| AgentGone)
    }
}

/// As long as the command waits for an answer by default.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);
