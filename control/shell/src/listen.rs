//! The controller's QUIC socket: judges each connection, welcomes it, and hands its requests on.

use std::sync::Arc;
use std::time::Duration;

use agent_shell::clock::Clock;
use agent_shell::quic::{self, ExchangeFailed};
use control_api::failure::Failure;
use control_api::welcome;
use control_core::doorkeeper::Limits;
use control_core::node::NodeCaller;
use protocol::admit::{self, Admitted};
use protocol::cbor;
use protocol::certificate::Identity;
use protocol::error::{Code, WireError};
use protocol::id::{ClusterId, ControllerId};
use protocol::limits;
use protocol::wire::{self, Answer, JoinRequest, NodeRequest};
use quinn::{Connection, Endpoint, Incoming, RecvStream, SendStream, VarInt};
use tokio::task::{JoinError, JoinSet};

use crate::board::Board;
use crate::lobby::{Lobby, Place, Verdict};
use crate::nodes;
use crate::queue;
use crate::timers::Nudge;

/// What every connection needs.
#[derive(Clone)]
pub struct Service {
    pub controller: ControllerId,
    pub board: Arc<Board>,
    pub door: queue::Door,
    pub clock: Arc<dyn Clock>,
    pub routing: Nudge,
    /// Wakes who stores what nodes have told.
    pub storing: Nudge,
}

/// Takes connections until the endpoint is closed. Dropping this ends every connection's task with it.
pub async fn accept(endpoint: Endpoint, service: Service, limits: Limits) {
    let lobby = Lobby::new(limits);
    let mut visits = JoinSet::new();
    loop {
        tokio::select! {
            incoming = endpoint.accept() => match incoming {
                Some(incoming) => receive(incoming, &lobby, &service, &mut visits),
                None => return,
            },
            Some(ended) = visits.join_next() => note_end(ended),
        }
    }
}

fn receive(incoming: Incoming, lobby: &Lobby, service: &Service, visits: &mut JoinSet<()>) {
    match lobby.arrive(
        incoming.remote_address().ip(),
        incoming.remote_address_validated(),
    ) {
        Verdict::Enter(place) => {
            visits.spawn(serve(incoming, place, service.clone()));
        }
        // Only what is validated already is not asked, and that was not to be.
        Verdict::Prove => drop(incoming.retry()),
        Verdict::TurnAway(full) => {
            tracing::debug!(bound = full.name(), "refused a connection");
            incoming.refuse();
        }
    }
}

async fn serve(incoming: Incoming, place: Place, service: Service) {
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
            admit_to(connection, admitted, place, service).await;
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

async fn admit_to(connection: Connection, admitted: Admitted, place: Place, service: Service) {
    match admitted {
        Admitted::Stranger { cluster } => match place.stranger() {
            Ok(life) => {
                let stay = tokio::time::timeout(life, strangers(&connection, cluster, service));
                if stay.await.is_err() {
                    quic::close(&connection, Code::Unavailable);
                }
            }
            Err(full) => quic::close(&connection, full.code()),
        },
        Admitted::Node { node, identity } => {
            quic::admitted(&connection);
            let cluster = identity.cluster;
            place.member(cluster, node, &connection);
            service
                .board
                .connected(node, identity.clone(), connection.clone());
            members(&connection, identity, service.clone()).await;
            service.board.disconnected(cluster, node);
        }
        Admitted::Controller { .. } | Admitted::Neighbour { .. } => {
            quic::close(&connection, Code::WrongCertKind)
        }
    }
}

async fn strangers(connection: &Connection, cluster: ClusterId, service: Service) {
    if welcome(connection, cluster, &service).await.is_err() {
        return;
    }
    let mut exchanges = JoinSet::new();
    while let Some((send, receive)) = next_stream(connection, &mut exchanges).await {
        let (connection, service) = (connection.clone(), service.clone());
        exchanges.spawn(async move {
            let door = Exchange {
                door: Door::Join,
                connection: &connection,
            };
            let reply = door.answer(send, receive, |request: JoinRequest| {
                nodes::join(&service, &connection, cluster, request)
            });
            note("join", reply.await);
        });
    }
}

async fn members(connection: &Connection, identity: Identity, service: Service) {
    if welcome(connection, identity.cluster, &service).await.is_err() {
        return;
    }
    let mut exchanges = JoinSet::new();
    while let Some((send, receive)) = next_stream(connection, &mut exchanges).await {
        // Trust may have changed since the handshake.
        if service
            .board
            .trust()
            .get()
            .revocations
            .revoked(&identity)
            .is_some()
        {
            quic::close(connection, Code::NodeRevoked);
            return;
        }
        let Some(caller) = NodeCaller::of(&identity) else {
            return;
        };
        let (connection, service) = (connection.clone(), service.clone());
        exchanges.spawn(async move {
            let door = Exchange {
                door: Door::Node,
                connection: &connection,
            };
            let reply = door.answer(send, receive, |request: NodeRequest| {
                nodes::serve(&service, &connection, caller, request)
            });
            note("node", reply.await);
        });
    }
}

/// The next request's stream, or none when the connection has ended.
async fn next_stream(
    connection: &Connection,
    exchanges: &mut JoinSet<()>,
) -> Option<(SendStream, RecvStream)> {
    loop {
        tokio::select! {
            stream = connection.accept_bi() => return stream.ok(),
            Some(ended) = exchanges.join_next() => note_end(ended),
        }
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

/// Which door a request came through.
#[derive(Clone, Copy)]
enum Door {
    Join,
    Node,
}

impl Door {
    /// The longest request.
    const fn limit(self) -> usize {
        match self {
            Self::Join => limits::UNADMITTED_BYTES,
            Self::Node => limits::FRAME_BYTES,
        }
    }
}

/// One stream of a connection: a request and its answer.
struct Exchange<'a> {
    door: Door,
    connection: &'a Connection,
}

impl Exchange<'_> {
    /// Reads one request, has it answered, writes the answer. Nobody waits for what cannot be told any more.
    async fn answer<Q, A, F>(
        &self,
        mut send: SendStream,
        mut receive: RecvStream,
        answer: impl FnOnce(Q) -> F,
    ) -> Result<(), ExchangeFailed>
    where
        Q: for<'b> minicbor::Decode<'b, ()>,
        A: minicbor::Encode<()>,
        F: Future<Output = Result<A, Failure>>,
    {
        let read = quic::read_only_frame(&mut receive, self.door.limit());
        let read = tokio::time::timeout(READ_DEADLINE, read);
        let body = match read.await.map_err(|_| ExchangeFailed::TimedOut)? {
            Ok(body) => body,
            Err(ExchangeFailed::NotOneFrame) => return self.malformed(Code::InvalidRequest),
            Err(ExchangeFailed::TooLong) => return self.malformed(Code::TooLarge),
            Err(failed) => return Err(failed),
        };
        let Ok(request) = wire::read::<Q>(&body) else {
            return self.malformed(Code::InvalidRequest);
        };
        let answered = tokio::select! {
            biased;
            answered = answer(request) => answered,
            ended = self.connection.closed() => return Err(ExchangeFailed::Connection(ended)),
        };
        let reply: Answer<A> = answered.map_err(WireError::from).into();
        let frame = wire::frame(&reply).map_err(|_| ExchangeFailed::TooLong)?;
        match tokio::time::timeout(WRITE_DEADLINE, send.write_all(&frame)).await {
            Ok(written) => written.map_err(ExchangeFailed::Write)?,
            Err(_) => {
                // Already finished or reset is as well.
                let _ = send.reset(VarInt::from_u32(u32::from(Code::Unavailable.number())));
                return Err(ExchangeFailed::TimedOut);
            }
        }

        send.finish().map_err(|_| ExchangeFailed::Closed)
    }

    /// Bytes that no honest peer sends: the connection is counted and closed. Anybody can do that without a
    /// certificate, so only a node that does it is worth a line to a person.
    fn malformed(&self, code: Code) -> Result<(), ExchangeFailed> {
        metrics::counter!("gabion_controller_malformed_total", "code" => code.text()).increment(1);
        let code_text = code.text();
        match self.door {
            Door::Join => tracing::debug!(code = code_text, "closed a stranger that sent what is no request"),
            Door::Node => tracing::warn!(code = code_text, "closed a node that sent what is no request"),
        }
        quic::close(self.connection, code);

        Err(ExchangeFailed::Closed)
    }
}

fn note(door: &'static str, outcome: Result<(), ExchangeFailed>) {
    if let Err(error) = outcome {
        tracing::debug!(door, %error, "an exchange ended early");
    }
}

fn note_end(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the task of a connection ended early");
    }
}

/// For a request to arrive whole once its stream is open.
const READ_DEADLINE: Duration = Duration::from_secs(10);
/// For a reply to be taken: the longest, at 256 kbit/s. Who does not read holds no more than a connection's window.
const WRITE_DEADLINE: Duration = Duration::from_secs(30);
