//! The clients that make the load: the same ones for the product and for its floor.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_shell::quic;
use agent_shell::tls::{self, ExpectedServer};
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, TokioRuntime, TransportConfig};
use rustls::sign::CertifiedKey;
use tokio::runtime::{Builder, Runtime};

/// All clients of a bench, on one socket and one thread.
#[derive(Clone, Debug)]
pub(crate) struct Dialler {
    endpoint: Endpoint,
}

impl Dialler {
    /// Opens the socket. Must be called within a runtime.
    pub(crate) fn open() -> io::Result<Self> {
        let socket = quic::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?.socket;
        let endpoint = Endpoint::new(EndpointConfig::default(), None, socket, Arc::new(TokioRuntime))?;

        Ok(Self { endpoint })
    }

    pub(crate) async fn dial(
        &self,
        address: SocketAddr,
        name: &str,
        config: ClientConfig,
    ) -> Result<Connection, String> {
        let connecting = self.endpoint.connect_with(config, address, name);
        let connecting = connecting.map_err(|error| format!("dialling: {error}"))?;

        connecting.await.map_err(|error| format!("connecting: {error}"))
    }
}

/// How a client shakes hands. It judges nobody: that is the work of other machines, and none of what is measured.
pub(crate) fn config(
    alpn: &[u8],
    identity: Option<Arc<CertifiedKey>>,
    transport: TransportConfig,
) -> Result<ClientConfig, String> {
    let crypto = tls::client_config(alpn, ExpectedServer::Unjudged, identity)
        .map_err(|error| format!("the client's TLS: {error}"))?;
    let mut config = ClientConfig::new(Arc::new(crypto));
    config.transport_config(Arc::new(transport));

    Ok(config)
}

/// One request and its reply, as bytes.
pub(crate) async fn ask(connection: &Connection, request: &[u8]) -> Result<Vec<u8>, String> {
    quic::request(connection, request, PATIENCE)
        .await
        .map_err(|error| format!("a request: {error}"))
}

/// One thread, as the product has one for its sockets.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().build()
}

/// For an answer under full load.
const PATIENCE: Duration = Duration::from_secs(20);
