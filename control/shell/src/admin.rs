//! The admin API: HTTP on a unix socket that only root and the service's own user may open.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path as UrlPath, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use control_api::action::{Action, Effect};
use control_api::admin::{self, Reading};
use control_api::answer::Bench;
use control_api::failure::Failure;
use control_api::request::{Caller, Reply, Request};
use control_core::audit::Uid;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use protocol::error::Code;
use protocol::id::OperatorId;
use serde_json::{Value, json};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;

use crate::listen::Service;
use crate::{backup, figures, nodes};

/// What the admin API needs besides the service.
#[derive(Clone)]
pub struct Admin {
    pub service: Service,
    pub bench: Bench,
    /// Renders the metrics in Prometheus text.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
}

impl Admin {
    /// Takes the action that `name` names, in the name of `operator`, or of the first owner, for somebody in this
    /// process.
    pub async fn answer(
        &self,
        name: &str,
        operator: Option<OperatorId>,
        input: Value,
    ) -> Result<Value, Failure> {
        self.answer_to(named(name)?, (operator, None), input).await
    }

    async fn answer_to(
        &self,
        action: Action,
        (operator, uid): (Option<OperatorId>, Option<Uid>),
        input: Value,
    ) -> Result<Value, Failure> {
        match action.effect() {
            Effect::Read => read(self, operator, action, input),
            Effect::Write => {
                let caller = Caller::Local { operator, uid };
                match nodes::write(&self.service, caller, Request::Act { action, input }).await? {
                    Reply::View(view) => Ok(view),
                    Reply::Join(_) | Reply::Node(_) | Reply::Done | Reply::Refused(_) => Ok(Value::Null),
                }
            }
            Effect::Maintain => Err(Failure::new(
                Code::InvalidRequest,
                format!(
                    "{} is answered with a file, over the admin socket alone",
                    action.name()
                ),
            )),
        }
    }

    async fn take(
        &self,
        name: &str,
        uid: Uid,
        (headers, body): (&HeaderMap, &[u8]),
    ) -> Result<Value, Failure> {
        let operator = operator(headers)?;
        let input = match body.is_empty() {
            true => json!({}),
            false => serde_json::from_slice(body).map_err(|error| {
                Failure::new(Code::InvalidRequest, "the body is no JSON").because(error.to_string())
            })?,
        };

        let action = named(name)?;
        if action.effect() == Effect::Read {
            return self.read_aside(action, operator, input).await;
        }

        self.answer_to(action, (operator, Some(uid)), input).await
    }

    /// Reads on a thread of its own: a question may be about every route of a fleet, and nodes are answered meanwhile.
    async fn read_aside(
        &self,
        action: Action,
        operator: Option<OperatorId>,
        input: Value,
    ) -> Result<Value, Failure> {
        let admin = self.clone();
        let reading = tokio::task::spawn_blocking(move || read(&admin, operator, action, input));

        reading
            .await
            .unwrap_or_else(|error| Err(Failure::of(Code::Internal, &error)))
    }
}

fn named(name: &str) -> Result<Action, Failure> {
    Action::parse(name).ok_or_else(|| {
        Failure::new(Code::NotFound, format!("this controller has no action {name:?}"))
            .because("a newer or older version may have it")
            .fixed_by("gabion version    (controller and command line should be of one version)")
    })
}

/// Serves until the task is ended.
pub async fn serve(listener: UnixListener, admin: Admin) {
    let router = Router::new()
        .route("/metrics", get(metrics))
        .route("/v1/store/backup", post(back_up))
        .route("/v1/{noun}/{verb}", post(take))
        .with_state(admin);
    // Ended with this task: a client that keeps its connection must not keep the controller.
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the admin socket does not accept");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(uid) = trusted(&stream) else {
            tracing::warn!("refused a user who is neither root nor the service's own");
            continue;
        };
        let service = TowerToHyperService::new(router.clone().layer(Extension(uid)));
        connections.spawn(async move {
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "an admin connection ended early");
            }
        });
    }
}

/// Whom the kernel names at the other end, if that is root or our own user.
fn trusted(stream: &UnixStream) -> Option<Uid> {
    let own = rustix::process::geteuid().as_raw();
    let uid = stream.peer_cred().ok()?.uid();

    (uid == 0 || uid == own).then_some(Uid(uid))
}

async fn metrics(State(admin): State<Admin>) -> impl IntoResponse {
    figures::measure(&admin).await;

    ([(CONTENT_TYPE, EXPOSITION)], (admin.metrics)())
}

async fn take(
    State(admin): State<Admin>,
    Extension(uid): Extension<Uid>,
    UrlPath((noun, verb)): UrlPath<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let name = format!("{noun}/{verb}");
    match admin.take(&name, uid, (&headers, &body)).await {
        Ok(view) => axum::Json(view).into_response(),
        Err(failure) => refused(&failure, Action::parse(&name)),
    }
}

async fn back_up(State(admin): State<Admin>, Extension(uid): Extension<Uid>, headers: HeaderMap) -> Response {
    let copied = match operator(&headers) {
        Ok(operator) => backup::start(&admin.service, operator, uid).await,
        Err(failure) => Err(failure),
    };
    match copied {
        Ok(copy) => ([(CONTENT_TYPE, FILE)], Body::new(copy)).into_response(),
        Err(failure) => refused(&failure, Some(Action::StoreBackup)),
    }
}

fn refused(failure: &Failure, action: Option<Action>) -> Response {
    let status = StatusCode::from_u16(failure.code.number()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);

    (status, axum::Json(failure.told(action))).into_response()
}

fn read(admin: &Admin, operator: Option<OperatorId>, action: Action, input: Value) -> Result<Value, Failure> {
    let board = &admin.service.board;
    let snapshot = board.snapshot();
    let publications = board.publications();
    let now = admin.service.clock.now();
    // A copy, since every heartbeat and every poll wants the original.
    let live = board.live().clone();
    let reading = Reading {
        view: &snapshot,
        live: &live,
        publications: &publications,
        bench: &admin.bench,
        now,
        revision: snapshot.revision().get(),
        read_only: board.read_only(),
        writer_stood: board.pulse().stood(now.boot),
    };

    admin::read(&reading, operator, action, input)
}

fn operator(headers: &HeaderMap) -> Result<Option<OperatorId>, Failure> {
    let Some(value) = headers.get("x-gabion-operator") else {
        return Ok(None);
    };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());

    parsed
        .map(Some)
        .ok_or_else(|| Failure::new(Code::InvalidRequest, "x-gabion-operator is not an operator id"))
}

/// The text format of Prometheus, with its version.
const EXPOSITION: &str = "text/plain; version=0.0.4";
/// What a copy of the store is sent as.
const FILE: &str = "application/octet-stream";
