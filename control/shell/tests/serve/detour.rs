//! A packet whose source is not where the handshake was.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use protocol::document::config::{Candidate, CandidateKind};
use protocol::id::BootId;
use protocol::wire::Heartbeat;
use tokio::net::UdpSocket;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn one_packet_from_another_address_makes_that_address_nobodys_candidate() {
    let controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;
    let detour = Detour::open(controller.address).await;
    let connection = controller
        .dial(detour.front, cluster, joined.identity.clone())
        .await;
    controller.welcome(&connection).await;
    assert_eq!(observed(&connection).await, detour.path);

    detour.elsewhere.store(1, Ordering::SeqCst);
    assert_eq!(
        observed(&connection).await,
        detour.path,
        "the packet was lost there, and its repetition came the usual way"
    );
    assert_eq!(detour.elsewhere.load(Ordering::SeqCst), 0, "it was sent");
    controller.stop().await;
}

/// Where the controller sees the node come from.
async fn observed(connection: &Connection) -> SocketAddr {
    let heartbeat = NodeRequest::Heartbeat(Heartbeat {
        reverted: None,
        boot: BootId::from_bytes([1; 16]),
        candidates: vec![Candidate::new(
            CandidateKind::Lan,
            SocketAddr::from(([10, 0, 0, 1], 7444)),
        )],
        epoch: 1,
        applied: Vec::new(),
        agent_version: "test".to_owned(),
        refused: Vec::new(),
    });
    let NodeReply::Heard { observed, .. } = ask(connection, &heartbeat).await.expect("heard") else {
        panic!("a heartbeat is answered by what was seen")
    };

    observed.expect("an address").0
}

/// Forwards what comes to `front`: from `path`, and as many packets as `elsewhere` says from another socket.
struct Detour {
    front: SocketAddr,
    path: SocketAddr,
    elsewhere: Arc<AtomicUsize>,
}

impl Detour {
    async fn open(server: SocketAddr) -> Self {
        let here = SocketAddr::from(([127, 0, 0, 1], 0));
        let open = || async { UdpSocket::bind(here).await.expect("a socket") };
        let (front, path, other) = (open().await, open().await, open().await);
        let elsewhere = Arc::new(AtomicUsize::new(0));
        let detour = Self {
            front: front.local_addr().expect("bound"),
            path: path.local_addr().expect("bound"),
            elsewhere: elsewhere.clone(),
        };
        tokio::spawn(async move {
            let mut client = None;
            let (mut there, mut back, mut astray) = ([0; 2_048], [0; 2_048], [0; 2_048]);
            loop {
                tokio::select! {
                    Ok((length, from)) = front.recv_from(&mut there) => {
                        client = Some(from);
                        let is_astray = elsewhere
                            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                            .is_ok();
                        let leave = if is_astray { &other } else { &path };
                        leave.send_to(&there[..length], server).await.expect("sent");
                    }
                    Ok((length, _)) = path.recv_from(&mut back) => {
                        if let Some(client) = client {
                            front.send_to(&back[..length], client).await.expect("sent");
                        }
                    }
                    Ok((length, _)) = other.recv_from(&mut astray) => {
                        if let Some(client) = client {
                            front.send_to(&astray[..length], client).await.expect("sent");
                        }
                    }
                }
            }
        });

        detour
    }
}

impl Running {
    async fn dial(&self, address: SocketAddr, cluster: ClusterId, identity: Arc<CertifiedKey>) -> Connection {
        let crypto = tls::client_config(admit::NODE, ExpectedServer::Unjudged, Some(identity)).expect("TLS");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(quic::client_transport()));
        let name = certificate::controller_server_name(cluster);

        self.client
            .connect_with(config, address, &name)
            .expect("dials")
            .await
            .expect("connects")
    }
}
