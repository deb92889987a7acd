//! The connections to controllers: found, dialled, welcomed, asked.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use agent_core::control::{ConnectionId, Disconnected, Door, Lost, Payload, Tag};
use protocol::admit::{Anchors, Refused, Revocations, verify_server};
use protocol::certificate::{ServerOf, parse_server_name};
use protocol::document::authority::TrustBundle;
use protocol::error::Code;
use protocol::limits;
use quinn::{ClientConfig, Connection, ConnectionError, VarInt};
use rustls_pki_types::CertificateDer;
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::input::Input;
use crate::quic::{self, ExchangeFailed};
use crate::race;
use crate::resolve::Endpoint;
use crate::station::{self, PATIENCE, Station, Tasks};
use crate::tls::{self, ExpectedServer, Trust};

/// A controller to dial, as the core asks for it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) id: ConnectionId,
    pub(crate) endpoint: String,
    pub(crate) door: Door,
    pub(crate) server_name: String,
    /// The CAs that its leaf must come from; empty, when the core judges the leaf itself.
    pub(crate) trust: Vec<CertificateDer<'static>>,
    pub(crate) client_identity: bool,
}

/// The connections that the core has not forgotten.
#[derive(Debug, Default)]
pub(crate) struct Controllers(BTreeMap<ConnectionId, Session>);

#[derive(Debug)]
struct Session {
    /// Resolves, dials, and then waits for the end.
    task: AbortHandle,
    connection: Option<Connection>,
    server_name: String,
}

impl Controllers {
    /// Begins to resolve and dial.
    pub(crate) fn call(&mut self, call: Call, station: &Station, tasks: &mut Tasks) {
        let (id, server_name) = (call.id, call.server_name.clone());
        let task = tasks.spawn(attend(call, station.clone()));
        self.0.insert(
            id,
            Session {
                task,
                connection: None,
                server_name,
            },
        );
    }

    /// Notes that TLS is up. False if the core has forgotten the connection meanwhile.
    pub(crate) fn connected(&mut self, id: ConnectionId, connection: Connection) -> bool {
        let Some(session) = self.0.get_mut(&id) else {
            return false;
        };
        session.connection = Some(connection);

        true
    }

    /// Forgets a connection that ended. False if the core had forgotten it already.
    pub(crate) fn ended(&mut self, id: ConnectionId) -> bool {
        self.0.remove(&id).is_some()
    }

    /// Whether the core still knows a connection.
    pub(crate) fn has(&self, id: ConnectionId) -> bool {
        self.0.contains_key(&id)
    }

    /// Closes a connection, whatever it has come to.
    pub(crate) fn close(&mut self, id: ConnectionId) {
        if let Some(session) = self.0.remove(&id) {
            session.task.abort();
            if let Some(connection) = session.connection {
                connection.close(VarInt::from_u32(0), b"");
            }
        }
    }

    /// Sends a request; its reply, or that there will be none, is told to the loop.
    pub(crate) fn ask(&self, question: Question, station: &Station, tasks: &mut Tasks) {
        let session = self.0.get(&question.id);
        if let Some(connection) = session.and_then(|session| session.connection.clone()) {
            tasks.spawn(ask(question, connection, station.clone()));
        }
    }

    /// Closes the connections of controllers whose certificates are revoked.
    pub(crate) fn close_revoked(&self, station: &Station) {
        let trust = station.trust.get();
        let now = station.clock.now().wall;
        for session in self.0.values() {
            let Some((connection, (server, cluster))) = session
                .connection
                .as_ref()
                .zip(parse_server_name(&session.server_name))
            else {
                continue;
            };
            let chain = quic::peer_chain(connection);
            let judged = verify_server(&chain, (server, cluster), &trust.anchors, &trust.revocations, now);
            if matches!(judged, Err(Refused::Revoked(_))) {
                quic::close(connection, Code::NodeRevoked);
            }
        }
    }
}

/// A request to a controller.
#[derive(Debug)]
pub(crate) struct Question {
    pub(crate) id: ConnectionId,
    pub(crate) tag: Tag,
    pub(crate) body: Payload,
    /// How long the reply may take.
    pub(crate) within: Duration,
}

async fn ask(question: Question, connection: Connection, station: Station) {
    let reply = match quic::request(&connection, question.body.as_bytes(), question.within).await {
        Ok(reply) => Ok(reply),
        Err(ExchangeFailed::TimedOut) => Err(Lost::Deadline),
        // The end of the connection is told for all of its requests at once.
        Err(_) if connection.close_reason().is_some() => return,
        Err(error) => {
            tracing::debug!(%error, "a request got no reply");
            Err(Lost::Stream)
        }
    };
    let Question { id, tag, .. } = question;
    station.tell(Input::Reply { id, tag, reply }).await;
}

/// One connection from its call to its end.
async fn attend(call: Call, station: Station) {
    let id = call.id;
    let why = match talk(call, &station).await {
        Ok(end) => end,
        Err(why) => why,
    };
    station.tell(Input::Disconnected { id, why }).await;
}

/// Dials, hands on the welcome, and waits for the end of the connection.
async fn talk(call: Call, station: &Station) -> Result<Disconnected, Disconnected> {
    let id = call.id;
    let connection = reach(call, station).await?;
    let up = Input::Connected {
        id,
        connection: connection.clone(),
    };
    station.tell(up).await;
    let listen = async {
        let mut stream = connection.accept_uni().await.map_err(|error| ended(&error))?;
        let body = quic::read_frame(&mut stream, limits::FRAME_BYTES).await;
        body.map_err(|_| {
            connection
                .close_reason()
                .map_or(Disconnected::Closed(None), |error| ended(&error))
        })
    };
    let body = timeout(PATIENCE, listen)
        .await
        .map_err(|_| Disconnected::Silent)??;
    station.tell(Input::Welcome { id, body }).await;

    Ok(ended(&connection.closed().await))
}

/// The first address that answers.
async fn reach(call: Call, station: &Station) -> Result<Connection, Disconnected> {
    let config = client(&call, station)?;
    let addresses = addresses(&call.endpoint, station).await?;
    let attempts = addresses
        .into_iter()
        .take(ADDRESSES)
        .map(|address| attempt(address, call.server_name.clone(), config.clone(), station.clone()))
        .collect();

    // That somebody was there and refused says more than that nobody was.
    race::first(attempts).await.map_err(|failures| {
        let told = failures.into_iter().find(|why| *why != Disconnected::Unreachable);
        told.unwrap_or(Disconnected::Unreachable)
    })
}

async fn addresses(endpoint: &str, station: &Station) -> Result<Vec<SocketAddr>, Disconnected> {
    let (host, port) = match Endpoint::parse(endpoint) {
        Some(Endpoint::Literal(address)) => return Ok(vec![address]),
        Some(Endpoint::Name { host, port }) => (host, port),
        None => {
            tracing::warn!(endpoint, "not the endpoint of a controller");
            return Err(Disconnected::Unreachable);
        }
    };
    match timeout(PATIENCE, station.resolver.resolve(host, port)).await {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => {
            tracing::debug!(%error, "a controller was not found");
            Err(Disconnected::Unreachable)
        }
        Err(_) => Err(Disconnected::Unreachable),
    }
}

async fn attempt(
    address: SocketAddr,
    server_name: String,
    config: ClientConfig,
    station: Station,
) -> Result<Connection, Disconnected> {
    let connecting = station
        .endpoint
        .connect_with(config, address, &server_name)
        .map_err(|_| Disconnected::Unreachable)?;
    match timeout(PATIENCE, connecting).await {
        Ok(Ok(connection)) => Ok(connection),
        Ok(Err(ConnectionError::TimedOut)) | Err(_) => Err(Disconnected::Unreachable),
        Ok(Err(error)) => Err(ended(&error)),
    }
}

fn client(call: &Call, station: &Station) -> Result<ClientConfig, Disconnected> {
    let identity = station.leaf.get().filter(|_| call.client_identity);
    let tls = tls::client_config(call.door.alpn(), expected(call, station)?, identity).map_err(|error| {
        tracing::error!(%error, "TLS to a controller cannot be set up");
        Disconnected::Handshake
    })?;

    Ok(station::client(tls, quic::client_transport()))
}

/// Whom the handshake must show: a controller of the cluster that the server name says, by the CAs of the call.
fn expected(call: &Call, station: &Station) -> Result<ExpectedServer, Disconnected> {
    if call.trust.is_empty() {
        return Ok(ExpectedServer::Unjudged);
    }
    let (_, cluster) = parse_server_name(&call.server_name).ok_or(Disconnected::Handshake)?;
    let bundle = TrustBundle {
        node_cas: Vec::new(),
        controller_cas: call.trust.iter().map(|ca| ca.to_vec().into()).collect(),
    };
    let mut anchors = Anchors::default();
    anchors
        .put(cluster, &bundle)
        .map_err(|_| Disconnected::Handshake)?;

    Ok(ExpectedServer::Known {
        server: ServerOf::Controller,
        cluster,
        trust: judged_by(anchors, station),
    })
}

fn judged_by(anchors: Anchors, station: &Station) -> Trust {
    let revocations: Revocations = station.trust.get().revocations.clone();

    Trust::new(anchors, revocations).timed_by(std::sync::Arc::clone(&station.clock))
}

/// How a connection ended, in the words of the core.
fn ended(error: &ConnectionError) -> Disconnected {
    match error {
        ConnectionError::ApplicationClosed(_) => Disconnected::Closed(quic::closed_with(error)),
        ConnectionError::ConnectionClosed(close) if is_of_tls(u64::from(close.error_code)) => {
            Disconnected::Handshake
        }
        ConnectionError::TransportError(error) if is_of_tls(u64::from(error.code)) => Disconnected::Handshake,
        ConnectionError::VersionMismatch => Disconnected::Handshake,
        ConnectionError::TimedOut => Disconnected::Silent,
        ConnectionError::CidsExhausted
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::LocallyClosed
        | ConnectionError::Reset
        | ConnectionError::TransportError(_) => Disconnected::Closed(None),
    }
}

/// Codes that carry a TLS alert (RFC 9001 4.8).
fn is_of_tls(code: u64) -> bool {
    (0x100..0x200).contains(&code)
}

/// Addresses of one name that are dialled: three controllers behind it, on two protocols each, and some.
const ADDRESSES: usize = 8;

#[cfg(test)]
mod tests;
