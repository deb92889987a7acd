//! Dialling a neighbour at all of its addresses.

use std::net::SocketAddr;

use protocol::admit::{MESH, verify_server};
use protocol::certificate::{ServerOf, node_server_name};
use protocol::id::{ClusterId, NodeId};
use protocol::limits;
use quinn::{ClientConfig, ConnectError, ConnectionError};
use tokio::time::timeout;

use crate::input::{Established, Input};
use crate::quic::{self, ExchangeFailed};
use crate::race;
use crate::station::{self, PATIENCE, Station};
use crate::tls::{self, ExpectedServer};

/// Dials `peer` and tells the loop how that ended.
pub(crate) async fn dial(peer: NodeId, cluster: ClusterId, candidates: Vec<SocketAddr>, station: Station) {
    match reach(peer, cluster, candidates, &station).await {
        Ok(established) => station.tell(Input::LinkUp(Box::new(established))).await,
        Err(error) => {
            tracing::debug!(?peer, %error, "a neighbour was not reached");
            station.tell(Input::DialFailed { peer }).await;
        }
    }
}

async fn reach(
    peer: NodeId,
    cluster: ClusterId,
    candidates: Vec<SocketAddr>,
    station: &Station,
) -> Result<Established, NotReached> {
    let expected = ExpectedServer::Known {
        server: ServerOf::Node(peer),
        cluster,
        trust: station.trust.clone(),
    };
    let tls = tls::client_config(MESH, expected, station.leaf.get())?;
    let config = station::client(tls, quic::mesh_transport());
    let attempts = candidates
        .into_iter()
        .map(|address| attempt(address, (peer, cluster), config.clone(), station.clone()))
        .collect();

    race::first(attempts)
        .await
        .map_err(|mut failures| failures.pop().unwrap_or(NotReached::NoCandidate))
}

/// One address. A client's handshake succeeds before the server has judged its certificate; the server's first frame
/// says that it has.
async fn attempt(
    address: SocketAddr,
    (peer, cluster): (NodeId, ClusterId),
    config: ClientConfig,
    station: Station,
) -> Result<Established, NotReached> {
    let knock = async {
        let name = node_server_name(peer, cluster);
        let connection = station.endpoint.connect_with(config, address, &name)?.await?;
        let mut stream = connection.accept_uni().await?;
        let welcome = quic::read_frame(&mut stream, limits::FRAME_BYTES).await?;

        Ok::<_, NotReached>((connection, welcome))
    };
    let (connection, welcome) = timeout(PATIENCE, knock).await.map_err(|_| NotReached::Silent)??;
    let trust = station.trust.get();
    let identity = verify_server(
        &quic::peer_chain(&connection),
        (ServerOf::Node(peer), cluster),
        &trust.anchors,
        &trust.revocations,
        station.clock.now().wall,
    )?;

    Ok(Established {
        connection,
        peer,
        identity,
        dialled_by_us: true,
        address,
        welcome: Some(welcome),
    })
}

/// Why a neighbour was not reached at an address.
#[derive(Debug, thiserror::Error)]
enum NotReached {
    /// The address cannot be dialled from this socket.
    #[error("the address cannot be dialled")]
    Address(#[from] ConnectError),
    /// It closed, refused or failed the handshake.
    #[error("the connection ended")]
    Connection(#[from] ConnectionError),
    /// It is not, or not any more, the node that was dialled.
    #[error("another node answered, or a revoked one")]
    Identity(#[from] protocol::admit::Refused),
    /// There is no address to dial.
    #[error("no address is known")]
    NoCandidate,
    /// Nothing came within the handshake's limit.
    #[error("nothing answered in time")]
    Silent,
    /// Our own TLS settings are refused.
    #[error("TLS cannot be set up")]
    Tls(#[from] tls::TlsUnusable),
    /// It did not say its first word.
    #[error("no welcome came")]
    Welcome(#[from] ExchangeFailed),
}
