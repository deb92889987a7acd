//! The simulated network carries real QUIC, does to it what it is told, and does the same again for the same seed.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use agent_shell::quic;
use agent_shell::tls::{self, ClientDoors, ExpectedServer, OwnLeaf, Trust};
use protocol::admit::{Anchors, MESH, Revocations};
use protocol::certificate::{
    CertificateRole, Holder, IssuingCa, LEAF_LIFE, Leaf, ServerOf, Validity, issue_ca, node_server_name,
};
use protocol::document::authority::{Serial, TrustBundle};
use protocol::id::{ClusterId, NodeId};
use protocol::key::SigningKey;
use protocol::time::Wall;
use quinn::{ClientConfig, Connection, Endpoint, EndpointConfig, ServerConfig};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sim::net::{Counts, Net, Way};
use tokio::time::{Instant, sleep, timeout};

#[test]
fn the_same_seed_gives_the_same_packets_and_another_seed_others() {
    let lossy = Way {
        jitter: Duration::from_millis(7),
        loss: 100,
        duplication: 50,
        ..way(20)
    };
    let run = |seed| {
        in_virtual_time(async move {
            let net = Net::new(seed, lossy);
            let (_, to) = talk(&net).await;
            let mut heard = 0;
            while timeout(Duration::from_secs(1), to.read_datagram())
                .await
                .is_ok_and(|read| read.is_ok())
            {
                heard += 1;
            }

            (net.digest(), net.trace(), net.counts(), heard)
        })
    };

    let (digest, trace, counts, heard) = run(7);
    assert!(counts.lost > 0 && counts.duplicated > 0, "{counts:?}");
    assert!((20..50).contains(&heard), "{heard} of 50 came through 10 % loss");
    let again = run(7);
    assert_eq!(again.1, trace);
    assert_eq!((again.0, again.2, again.3), (digest, counts, heard));
    assert_ne!(run(8).0, digest);
}

#[test]
fn a_handshake_takes_three_trips_of_virtual_time() {
    in_virtual_time(async {
        let net = Net::new(1, way(100));
        let before = Instant::now();
        let (client, _) = handshake(&net).await;

        let took = before.elapsed();
        assert!((300..350).contains(&took.as_millis()), "{took:?}");
        assert!(client.rtt() >= Duration::from_millis(200));
    });
}

#[test]
fn a_cut_direction_swallows_everything_and_the_other_one_nothing() {
    in_virtual_time(async {
        let net = Net::new(1, way(5));
        let (from, to) = handshake(&net).await;
        net.cut(host(1), host(2), true);
        from.send_datagram(vec![1].into()).unwrap();
        to.send_datagram(vec![2].into()).unwrap();
        sleep(Duration::from_millis(50)).await;

        let patience = Duration::from_millis(1);
        assert!(timeout(patience, to.read_datagram()).await.is_err());
        assert_eq!(from.read_datagram().await.unwrap().as_ref(), [2]);
        let Counts { cut, lost, .. } = net.counts();
        assert!(cut > 0 && lost == 0);

        net.cut(host(1), host(2), false);
        from.send_datagram(vec![3].into()).unwrap();
        assert_eq!(to.read_datagram().await.unwrap().as_ref(), [3]);
    });
}

#[test]
fn a_host_that_is_gone_hears_nothing() {
    in_virtual_time(async {
        let net = Net::new(1, way(5));
        let gone = net.socket(address(9));
        drop(gone);
        let endpoint = endpoint(&net, 1, None);
        let client = client_config(&Ground::new());
        let dial = endpoint.connect_with(client, address(9), "any").unwrap();

        assert!(timeout(Duration::from_secs(60), dial).await.unwrap().is_err());
        let counts = net.counts();
        assert!(counts.sent > 0 && counts.sent == counts.unheard, "{counts:?}");
    });
}

/// Connects host 1 to host 2 and sends it 50 datagrams, 20 ms apart.
async fn talk(net: &Net) -> (Connection, Connection) {
    let (from, to) = handshake(net).await;
    for number in 0..50_u8 {
        from.send_datagram(vec![number; 900].into())
            .expect("the connection is up");
        sleep(Duration::from_millis(20)).await;
    }

    (from, to)
}

async fn handshake(net: &Net) -> (Connection, Connection) {
    let ground = Ground::new();
    let server = endpoint(net, 2, Some(server_config(&ground)));
    let client = endpoint(net, 1, None);
    let accept = tokio::spawn(async move {
        let incoming = server.accept().await.expect("a client dials");
        incoming.await.expect("the client is let in")
    });
    let name = node_server_name(node(2), CLUSTER);
    let from = client
        .connect_with(client_config(&ground), address(2), &name)
        .expect("the address can be dialled")
        .await
        .expect("the server is believed");

    (from, accept.await.expect("accepting does not panic"))
}

fn endpoint(net: &Net, number: u8, server: Option<ServerConfig>) -> Endpoint {
    let mut config = EndpointConfig::default();
    config.rng_seed(Some([number; 32]));

    Endpoint::new_with_abstract_socket(
        config,
        server,
        net.socket(address(number)),
        Arc::new(quinn::TokioRuntime),
    )
    .expect("the socket has an address")
}

fn server_config(ground: &Ground) -> ServerConfig {
    let doors = ClientDoors {
        trust: ground.trust(),
        strangers: false,
        doors: &[MESH],
    };
    let tls = tls::server_config(&[MESH], Arc::new(ground.leaf(2)), doors).expect("the settings are ours");
    let mut config = ServerConfig::with_crypto(Arc::new(tls));
    config.transport_config(Arc::new(quic::mesh_transport()));

    config
}

fn client_config(ground: &Ground) -> ClientConfig {
    let expected = ExpectedServer::Known {
        server: ServerOf::Node(node(2)),
        cluster: CLUSTER,
        trust: ground.trust(),
    };
    let tls = tls::client_config(MESH, expected, ground.leaf(1).get()).expect("the settings are ours");
    let mut config = ClientConfig::new(Arc::new(tls));
    config.transport_config(Arc::new(quic::mesh_transport()));

    config
}

/// A cluster's node CA and what it issues. Certificates are judged by the system's clock here.
struct Ground {
    ca: SigningKey,
    certificate: Vec<u8>,
    now: Wall,
}

impl Ground {
    fn new() -> Self {
        let seconds = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("after 1970");
        let now = Wall(protocol::time::millis(seconds));
        let ca = SigningKey::from_seed(&[9; 32]);
        let validity = Validity::starting(now, protocol::certificate::CA_LIFE);
        let certificate = issue_ca(CertificateRole::Node, CLUSTER, &ca, serial(0), validity).expect("a ca");

        Self {
            ca,
            certificate: certificate.to_vec(),
            now,
        }
    }

    fn trust(&self) -> Trust {
        let bundle = TrustBundle {
            node_cas: vec![self.certificate.clone().into()],
            controller_cas: Vec::new(),
        };
        let mut anchors = Anchors::default();
        anchors.put(CLUSTER, &bundle).expect("our own bundle");

        Trust::new(anchors, Revocations::default())
    }

    fn leaf(&self, number: u8) -> OwnLeaf {
        let key = SigningKey::from_seed(&[number; 32]);
        let leaf = Leaf {
            holder: Holder::Node(node(number)),
            cluster: CLUSTER,
            key: key.verify_key(),
            serial: serial(number),
            validity: Validity::starting(self.now, LEAF_LIFE),
        };
        let der = IssuingCa::open(&self.certificate, &self.ca)
            .expect("our own ca")
            .issue(&leaf)
            .expect("a leaf of this ca");
        let own = OwnLeaf::default();
        own.replace(tls::certified_key(der.to_vec(), &key).expect("an Ed25519 key"));

        own
    }
}

fn in_virtual_time<T>(world: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O")
        .block_on(world)
}

fn serial(number: u8) -> Serial {
    Serial::random(&mut StdRng::seed_from_u64(u64::from(number)))
}

fn way(milliseconds: u64) -> Way {
    Way::taking(Duration::from_millis(milliseconds))
}

fn host(number: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, number])
}

fn address(number: u8) -> SocketAddr {
    SocketAddr::new(host(number), 7601)
}

const fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

const CLUSTER: ClusterId = ClusterId::from_bytes([3; 16]);
