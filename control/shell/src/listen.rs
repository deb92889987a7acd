//! The controller's QUIC socket: judges each connection, welcomes it, and hands its requests on.

use std::sync::Arc;
use std::time::Duration;

use agent_shell::clock::Clock;
use agent_shell::quic::{self, ExchangeFailed};
use control_api::failure::Failure;
use control_api::welcome;
use control_core::node::NodeCaller;
use protocol::admit::{self, Admitted};
use protocol::cbor;
use protocol::certificate::Identity;
use protocol::error::{Code, WireError};
use protocol::id::{ClusterId, ControllerId};
use protocol::limits;
use protocol::wire::{self, Answer, JoinRequest, NodeRequest};
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream};

use crate::board::Board;
use crate::nodes;
use crate::timers::Nudge;
use crate::writer::Door;

/// What every connection needs.
#[derive(Clone)]
pub struct Service {
    pub controller: ControllerId,
    pub board: Arc<Board>,
    pub door: Door,
    pub clock: Arc<dyn Clock>,
    pub routing: Nudge,
}

/// Takes connections until the endpoint is closed.
pub async fn accept(endpoint: Endpoint, service: Service) {
    while let Some(incoming) = endpoint.accept().await {
        // Under load an address must show that it is its own before it costs a handshake.
        if endpoint.open_connections() > RETRY_ABOVE && !incoming.remote_address_validated() {
            // Refused only when it was validated meanwhile, and then it is served.
            let _ = incoming.retry();
            continue;
        }
        tokio::spawn(serve(incoming, service.clone()));
    }
}

async fn serve(incoming: Incoming, service: Service) {
    let source = incoming.remote_address();
    let connection = match tokio::time::timeout(limits::HANDSHAKE, incoming).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            tracing::debug!(%source, %error, "a handshake failed");
            metrics::counter!("gabion_controller_handshakes_total", "outcome" => "failed").increment(1);
            return;
        }
        Err(_) => return,
    };
    match judge(&connection, &service) {
        Ok(admitted) => {
            metrics::counter!("gabion_controller_handshakes_total", "outcome" => "admitted").increment(1);
            admit_to(connection, admitted, service).await;
        }
        Err(code) => {
            metrics::counter!("gabion_controller_handshakes_total", "outcome" => "refused").increment(1);
            quic::close(&connection, code);
        }
    }
}

/// Judges what the handshake showed, before anything of a stream is read.
fn judge(connection: &Connection, service: &Service) -> Result<Admitted, Code> {
    let (alpn, sni) = quic::negotiated(connection);
    let chain = quic::peer_chain(connection);
    let trust = service.board.trust().get();
    let now = service.clock.now().wall;

    admit::admit(
        alpn.as_deref(),
        sni.as_deref(),
        &chain,
        &trust.anchors,
        &trust.revocations,
        now,
    )
    .map_err(|refused| {
        tracing::debug!(%refused, "a connection was refused");
        welcome::code_of(&refused)
    })
}

async fn admit_to(connection: Connection, admitted: Admitted, service: Service) {
    match admitted {
        Admitted::Stranger { cluster } => strangers(connection, cluster, service).await,
        Admitted::Node { node, identity } => {
            quic::admitted(&connection);
            service
                .board
                .connected(node, identity.clone(), connection.clone());
            let cluster = identity.cluster;
            members(connection, identity, service.clone()).await;
            service.board.disconnected(cluster, node);
        }
        Admitted::Controller { .. } | Admitted::Neighbour { .. } => {
            quic::close(&connection, Code::WrongCertKind)
        }
    }
}

async fn strangers(connection: Connection, cluster: ClusterId, service: Service) {
    if welcome(&connection, cluster, &service).await.is_err() {
        return;
    }
    let life = tokio::time::timeout(STRANGER_LIFE, async {
        while let Ok((send, receive)) = connection.accept_bi().await {
            let (connection, service) = (connection.clone(), service.clone());
            tokio::spawn(async move {
                let reply = exchange(
                    send,
                    receive,
                    limits::UNADMITTED_BYTES,
                    &connection,
                    |request: JoinRequest| nodes::join(&service, &connection, cluster, request),
                );
                note("join", reply.await);
            });
        }
    });
    if life.await.is_err() {
        quic::close(&connection, Code::Unavailable);
    }
}

async fn members(connection: Connection, identity: Identity, service: Service) {
    if welcome(&connection, identity.cluster, &service).await.is_err() {
        return;
    }
    while let Ok((send, receive)) = connection.accept_bi().await {
        // Trust may have changed since the handshake.
        if service
            .board
            .trust()
            .get()
            .revocations
            .revoked(&identity)
            .is_some()
        {
            quic::close(&connection, Code::NodeRevoked);
            return;
        }
        let Some(caller) = NodeCaller::of(&identity) else {
            return;
        };
        let (connection, service) = (connection.clone(), service.clone());
        tokio::spawn(async move {
            let reply = exchange(
                send,
                receive,
                limits::FRAME_BYTES,
                &connection,
                |request: NodeRequest| nodes::serve(&service, &connection, caller, request),
            );
            note("node", reply.await);
        });
    }
}

/// Says who this is and what the cluster trusts; the client sends nothing before it has judged that.
async fn welcome(connection: &Connection, cluster: ClusterId, service: &Service) -> Result<(), Code> {
    let said = async {
        let snapshot = service.board.snapshot();
        let publication = service.board.publication(cluster).ok_or(Code::Unavailable)?;
        let welcome =
            welcome::welcome(&snapshot, &publication, service.controller).map_err(|failure| failure.code)?;
        let mut send = connection.open_uni().await.map_err(|_| Code::Unavailable)?;
        quic::write_frame(&mut send, &cbor::encode(&welcome))
            .await
            .map_err(|_| Code::Unavailable)
    };
    let outcome = tokio::time::timeout(limits::HANDSHAKE, said)
        .await
        .unwrap_or(Err(Code::Unavailable));
    if let Err(code) = outcome {
        quic::close(connection, code);
    }

    outcome
}

/// Reads one request, has it answered, writes the answer.
async fn exchange<Q, A, F>(
    mut send: SendStream,
    mut receive: RecvStream,
    limit: usize,
    connection: &Connection,
    answer: impl FnOnce(Q) -> F,
) -> Result<(), ExchangeFailed>
where
    Q: for<'b> minicbor::Decode<'b, ()>,
    A: minicbor::Encode<()>,
    F: Future<Output = Result<A, Failure>>,
{
    let read = tokio::time::timeout(READ_DEADLINE, quic::read_only_frame(&mut receive, limit));
    let body = match read.await.map_err(|_| ExchangeFailed::TimedOut)? {
        Ok(body) => body,
        Err(ExchangeFailed::NotOneFrame) => return malformed(connection, Code::InvalidRequest),
        Err(ExchangeFailed::TooLong) => return malformed(connection, Code::TooLarge),
        Err(failed) => return Err(failed),
    };
    let Ok(request) = wire::read::<Q>(&body) else {
        return malformed(connection, Code::InvalidRequest);
    };
    let reply: Answer<A> = answer(request).await.map_err(WireError::from).into();
    let frame = wire::frame(&reply).map_err(|_| ExchangeFailed::TooLong)?;
    send.write_all(&frame).await.map_err(ExchangeFailed::Write)?;

    send.finish().map_err(|_| ExchangeFailed::Closed)
}

/// Bytes that no honest peer sends: the connection is counted and closed.
fn malformed(connection: &Connection, code: Code) -> Result<(), ExchangeFailed> {
    metrics::counter!("gabion_controller_malformed_total", "code" => code.text()).increment(1);
    tracing::warn!(
        code = code.text(),
        "closed a connection that sent what is no request"
    );
    quic::close(connection, code);

    Err(ExchangeFailed::Closed)
}

fn note(door: &'static str, outcome: Result<(), ExchangeFailed>) {
    if let Err(error) = outcome {
        tracing::debug!(door, %error, "an exchange ended early");
    }
}

/// Connections above which a source must prove its address (RFC 9000 8.1.2).
const RETRY_ABOVE: usize = 12_000;
/// A joiner polls on connections of its own; one that lives longer holds memory that nobody has vouched for.
const STRANGER_LIFE: Duration = Duration::from_secs(60);
/// For a request to arrive whole once its stream is open.
const READ_DEADLINE: Duration = Duration::from_secs(10);
