//! The local API: HTTP on a Unix socket, for root and the agent's own user.

use std::io;
use std::path::Path;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::Listener;
use axum::{Json, Router};
use serde::Serialize;
use tokio::net::unix::SocketAddr;
use tokio::net::{UnixListener, UnixStream};

use agent_core::control::NotLeft;

use super::{AgentGone, FlowRefused, FlowStart, FlowStop, Leave, LocalClient};
use crate::socket;

/// What the local API answers from.
#[derive(Clone)]
pub(crate) struct Door {
    pub(crate) agent: LocalClient,
    pub(crate) metrics_text: Arc<dyn Fn() -> String + Send + Sync>,
}

/// Opens the socket.
pub(crate) fn open(path: &Path) -> io::Result<LocalListener> {
    socket::bind(path).map(LocalListener)
}

impl Door {
    /// Answers until `ended`.
    pub(crate) async fn serve(
        self,
        listener: LocalListener,
        ended: impl Future<Output = ()> + Send + 'static,
    ) {
        let served = axum::serve(listener, self.router())
            .with_graceful_shutdown(ended)
            .await;
        if let Err(error) = served {
            tracing::warn!(%error, "the local API stopped");
        }
    }

    fn router(self) -> Router {
        Router::new()
            .route(
                "/v1/status",
                get(async |State(door): State<Self>| reply(door.agent.status().await)),
            )
            .route(
                "/v1/routes",
                get(async |State(door): State<Self>| reply(door.agent.routes().await)),
            )
            .route(
                "/v1/links",
                get(async |State(door): State<Self>| reply(door.agent.links().await)),
            )
            .route(
                "/v1/relay",
                get(async |State(door): State<Self>| reply(door.agent.relay().await)),
            )
            .route(
                "/v1/flows",
                get(async |State(door): State<Self>| reply(door.agent.flows().await)),
            )
            .route(
                "/v1/flow/take",
                post(async |State(door): State<Self>| reply(door.agent.take_flows().await)),
            )
            .route("/v1/flow/start", post(start))
            .route("/v1/flow/stop", post(stop))
            .route("/v1/leave", post(leave))
            .route("/metrics", get(metrics))
            .layer(middleware::from_fn(from_here))
            .with_state(self)
    }
}

/// A browser that was talked into connecting sends an `Origin`; our own clients never do.
async fn from_here(request: Request, next: Next) -> Response {
    match request.headers().contains_key(header::ORIGIN) {
        true => refusal(StatusCode::FORBIDDEN, "wrong_origin", "not for browsers"),
        false => next.run(request).await,
    }
}

async fn start(State(door): State<Door>, Json(start): Json<FlowStart>) -> Response {
    flow_reply(door.agent.start_flow(start).await)
}

async fn stop(State(door): State<Door>, Json(stop): Json<FlowStop>) -> Response {
    flow_reply(door.agent.stop_flow(stop).await)
}

/// A body is not needed: the time has a default.
async fn leave(State(door): State<Door>, wish: Option<Json<Leave>>) -> Response {
    let within = wish.map(|Json(wish)| wish).unwrap_or_default().within();
    match door.agent.leave(within).await {
        Ok(Ok(())) => Json(()).into_response(),
        Ok(Err(why)) => not_left(&why),
        Err(gone) => reply::<()>(Err(gone)),
    }
}

/// What is done, what is not, and what to do about it.
fn not_left(why: &NotLeft) -> Response {
    let (effect, fix) = match why {
        NotLeft::Refused(_) | NotLeft::Unheard => (
            "nothing was given back, and nothing will be: this host stays what it was",
            "gabion agent leave    (once a controller answers; gabion agent status shows that)",
        ),
        NotLeft::Unanswered => (
            "the controller may have taken this node out already; this host keeps its identity",
            "gabion agent leave    (a controller that has done it says so; gabion node list shows it there)",
        ),
        NotLeft::Unwritten => (
            "the cluster has taken this node out; its identity is still in the state directory, and goes when it can",
            "make room on the disk of the state directory",
        ),
    };
    let body = serde_json::json!({
        "number": StatusCode::GATEWAY_TIMEOUT.as_u16(),
        "code": "timed_out",
        "message": format!("this host did not leave in time: {why}"),
        "effect": effect,
        "fix": fix,
    });

    (StatusCode::GATEWAY_TIMEOUT, Json(body)).into_response()
}

async fn metrics(State(door): State<Door>) -> Response {
    let text = (door.metrics_text)();

    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

fn reply<T: Serialize>(told: Result<T, AgentGone>) -> Response {
    match told {
        Ok(told) => Json(told).into_response(),
        Err(gone) => refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "dependency_unavailable",
            &gone.to_string(),
        ),
    }
}

fn flow_reply<T: Serialize>(told: Result<Result<T, FlowRefused>, AgentGone>) -> Response {
    let refused = match told {
        Ok(Err(refused)) => refused,
        Ok(Ok(told)) => return Json(told).into_response(),
        Err(gone) => return reply::<()>(Err(gone)),
    };
    let (status, code) = match refused {
        FlowRefused::Bytes { .. } | FlowRefused::Rate { .. } => {
            (StatusCode::UNPROCESSABLE_ENTITY, "validation_failed")
        }
        FlowRefused::NotMember => (StatusCode::CONFLICT, "conflict_state"),
        FlowRefused::UnknownPeer { .. } => (StatusCode::NOT_FOUND, "not_found"),
    };

    refusal(status, code, &refused.to_string())
}

/// As errors look at every door: number, code, sentence.
fn refusal(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "number": status.as_u16(), "code": code, "message": message });

    (status, Json(body)).into_response()
}

/// Hands on the connections of root and of this process's own user; others are closed unread.
#[derive(Debug)]
pub(crate) struct LocalListener(UnixListener);

impl Listener for LocalListener {
    type Io = UnixStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (UnixStream, SocketAddr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.0).await;
            match stream.peer_cred() {
                Ok(peer) if may_ask(peer.uid()) => return (stream, address),
                Ok(peer) => tracing::warn!(uid = peer.uid(), "refused a user at the local socket"),
                Err(error) => tracing::warn!(%error, "a caller at the local socket has no user"),
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}

fn may_ask(uid: u32) -> bool {
    uid == 0 || uid == rustix::process::geteuid().as_raw()
}
