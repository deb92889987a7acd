use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::admit::{JOIN, NODE};
use protocol::certificate::{
    CA_LIFE, CertificateRole, Holder, IssuingCa, LEAF_LIFE, Leaf, Validity, controller_server_name, issue_ca,
};
use protocol::id::ControllerId;
use protocol::key::SigningKey;
use quinn::{Endpoint, ServerConfig};

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::parts::Pending;
use crate::resolve::{Resolve, Unresolved};
use crate::testing::{CLUSTER, Ground, Host, end, serial};
use crate::tls::{ClientDoors, OwnLeaf};

#[tokio::test]
async fn a_controller_is_found_by_name_welcomes_us_and_answers() {
    let controller = Controller::serve();
    let mut agent = agent(&[("ctl.example.org", controller.address())]);
    let mut controllers = Controllers::default();
    let endpoint = format!("ctl.example.org:{}", controller.address().port());
    controllers.call(controller.call(&endpoint), &agent.station, &mut agent.tasks);

    let connection = connected(&mut agent, &mut controllers).await;
    assert_eq!(quic::peer_chain(&connection).len(), 1);
    assert!(matches!(agent.next().await, Input::Welcome { id: ID, body } if body == b"welcome"));

    controllers.ask(question(1, b"echo", 20), &agent.station, &mut agent.tasks);
    let Input::Reply { id, tag, reply } = agent.next().await else {
        panic!("no reply");
    };
    assert_eq!((id, tag, reply), (ID, Tag(1), Ok(b"echo".to_vec())));
}

#[tokio::test]
async fn a_request_without_a_reply_is_lost_at_its_deadline_and_a_reset_one_at_once() {
    let controller = Controller::serve();
    let mut agent = agent(&[]);
    let mut controllers = Controllers::default();
    let endpoint = controller.address().to_string();
    controllers.call(controller.call(&endpoint), &agent.station, &mut agent.tasks);
    connected(&mut agent, &mut controllers).await;
    agent.next().await;

    controllers.ask(question(1, b"silence", 0), &agent.station, &mut agent.tasks);
    assert!(matches!(
        agent.next().await,
        Input::Reply {
            reply: Err(Lost::Deadline),
            ..
        }
    ));
    controllers.ask(question(2, b"reset", 20), &agent.station, &mut agent.tasks);
    assert!(matches!(
        agent.next().await,
        Input::Reply {
            reply: Err(Lost::Stream),
            ..
        }
    ));
}

#[tokio::test]
async fn a_close_is_told_with_its_code_and_the_request_under_way_is_not_told_apart() {
    let controller = Controller::serve();
    let mut agent = agent(&[]);
    let mut controllers = Controllers::default();
    let endpoint = controller.address().to_string();
    controllers.call(controller.call(&endpoint), &agent.station, &mut agent.tasks);
    connected(&mut agent, &mut controllers).await;
    agent.next().await;
    controllers.ask(question(1, b"close", 20), &agent.station, &mut agent.tasks);

    let Input::Disconnected { id, why } = agent.next().await else {
        panic!("not disconnected");
    };
    assert_eq!((id, why), (ID, Disconnected::Closed(Some(Code::NodeRevoked))));
    assert!(agent.inbox.try_recv().is_err());
}

#[tokio::test]
async fn a_server_of_another_ca_fails_the_handshake() {
    let controller = Controller::serve();
    let mut agent = agent(&[]);
    let mut controllers = Controllers::default();
    let endpoint = controller.address().to_string();
    let call = Call {
        trust: vec![Issuer::new(66).certificate],
        ..controller.call(&endpoint)
    };
    controllers.call(call, &agent.station, &mut agent.tasks);

    assert!(matches!(
        agent.next().await,
        Input::Disconnected {
            why: Disconnected::Handshake,
            ..
        }
    ));
}

#[tokio::test]
async fn without_anchors_any_holder_of_its_key_is_handed_to_the_core_to_judge() {
    let controller = Controller::serve();
    let mut agent = agent(&[]);
    let mut controllers = Controllers::default();
    let endpoint = controller.address().to_string();
    let call = Call {
        trust: Vec::new(),
        ..controller.call(&endpoint)
    };
    controllers.call(call, &agent.station, &mut agent.tasks);

    connected(&mut agent, &mut controllers).await;
}

#[tokio::test]
async fn a_door_that_is_not_served_fails_the_handshake() {
    let controller = Controller::serve();
    let mut agent = agent(&[]);
    let mut controllers = Controllers::default();
    let endpoint = controller.address().to_string();
    let call = Call {
        door: Door::Node,
        ..controller.call(&endpoint)
    };
    assert_eq!(call.door.alpn(), NODE);
    controllers.call(call, &agent.station, &mut agent.tasks);

    assert!(matches!(
        agent.next().await,
        Input::Disconnected {
            why: Disconnected::Handshake,
            ..
        }
    ));
}

#[tokio::test]
async fn a_name_without_an_address_and_what_is_no_endpoint_are_unreachable() {
    let controller = Controller::serve();
    let mut agent = agent(&[]);
    for endpoint in ["nowhere.example.org:7600", "nowhere.example.org", ":", ""] {
        let mut controllers = Controllers::default();
        controllers.call(controller.call(endpoint), &agent.station, &mut agent.tasks);

        assert!(
            matches!(
                agent.next().await,
                Input::Disconnected {
                    why: Disconnected::Unreachable,
                    ..
                }
            ),
            "{endpoint}"
        );
    }
}

#[tokio::test]
async fn what_the_core_forgot_is_closed_and_not_told_of() {
    let controller = Controller::serve();
    let mut agent = agent(&[]);
    let mut controllers = Controllers::default();
    let endpoint = controller.address().to_string();
    controllers.call(controller.call(&endpoint), &agent.station, &mut agent.tasks);
    let connection = connected(&mut agent, &mut controllers).await;
    agent.next().await;
    controllers.close(ID);

    assert!(matches!(end(&connection).await, ConnectionError::LocallyClosed));
    assert!(!controllers.has(ID) && !controllers.ended(ID));
    assert!(agent.inbox.try_recv().is_err());
}

#[tokio::test]
async fn a_dial_that_the_core_forgot_is_given_up() {
    let controller = Controller::serve();
    let mut agent = agent(&[]);
    let mut controllers = Controllers::default();
    let endpoint = controller.address().to_string();
    let forgotten = Call {
        id: ConnectionId(2),
        ..controller.call(&endpoint)
    };
    controllers.call(forgotten, &agent.station, &mut agent.tasks);
    // Its handshake is under way when the core changes its mind.
    tokio::task::yield_now().await;
    controllers.close(ConnectionId(2));
    controllers.call(controller.call(&endpoint), &agent.station, &mut agent.tasks);

    connected(&mut agent, &mut controllers).await;
    assert!(matches!(agent.next().await, Input::Welcome { id: ID, .. }));
}

async fn connected(agent: &mut Host, controllers: &mut Controllers) -> Connection {
    let next = agent.next().await;
    let Input::Connected { id: ID, connection } = next else {
        panic!("not connected but {next:?}");
    };
    assert!(controllers.connected(ID, connection.clone()));

    connection
}

fn question(tag: u64, body: &[u8], seconds: u64) -> Question {
    Question {
        id: ID,
        tag: Tag(tag),
        body: Payload::from(body.to_vec()),
        within: Duration::from_secs(seconds),
    }
}

/// A station whose resolver knows these names alone.
fn agent(names: &[(&'static str, SocketAddr)]) -> Host {
    let mut agent = Ground::new(CLUSTER, 9).station(1);
    agent.station.resolver = Arc::new(Names(names.iter().copied().collect()));

    agent
}

struct Names(BTreeMap<&'static str, SocketAddr>);

impl Resolve for Names {
    fn resolve(&self, host: &str, _: Option<u16>) -> Pending<Result<Vec<SocketAddr>, Unresolved>> {
        let found = self.0.get(host).map(|address| vec![*address]);
        let host = host.to_owned();

        Box::pin(async { found.ok_or(Unresolved { host, source: None }) })
    }
}

/// The controller CA, and what it certifies.
struct Issuer {
    key: SigningKey,
    certificate: CertificateDer<'static>,
}

impl Issuer {
    fn new(seed: u8) -> Self {
        let key = SigningKey::from_seed(&[seed; 32]);
        let validity = Validity::starting(SystemClock.now().wall, CA_LIFE);
        let certificate = issue_ca(CertificateRole::Controller, CLUSTER, &key, serial(seed), validity);

        Self {
            key,
            certificate: certificate.unwrap(),
        }
    }

    fn leaf(&self) -> OwnLeaf {
        let key = SigningKey::from_seed(&[44; 32]);
        let leaf = Leaf {
            holder: Holder::Controller(ControllerId::from_bytes([6; 16])),
            cluster: CLUSTER,
            key: key.verify_key(),
            serial: serial(44),
            validity: Validity::starting(SystemClock.now().wall, LEAF_LIFE),
        };
        let ca = IssuingCa::open(&self.certificate, &self.key).unwrap();
        let own = OwnLeaf::default();
        own.replace(tls::certified_key(ca.issue(&leaf).unwrap().to_vec(), &key).unwrap());

        own
    }
}

/// A server at the join door that says welcome, and to a request what the request says to do.
struct Controller {
    endpoint: Endpoint,
    issuer: Issuer,
}

impl Controller {
    fn serve() -> Self {
        let issuer = Issuer::new(55);
        let doors = ClientDoors {
            trust: Trust::default(),
            strangers: true,
            doors: &[],
        };
        let tls = tls::server_config(&[JOIN], Arc::new(issuer.leaf()), doors).unwrap();
        let mut config = ServerConfig::with_crypto(Arc::new(tls));
        config.transport_config(Arc::new(quic::controller_transport()));
        let endpoint = Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
        let door = endpoint.clone();
        tokio::spawn(async move {
            while let Some(incoming) = door.accept().await {
                if let Ok(connection) = incoming.await {
                    tokio::spawn(attend_to(connection));
                }
            }
        });

        Self { endpoint, issuer }
    }

    fn address(&self) -> SocketAddr {
        self.endpoint.local_addr().unwrap()
    }

    fn call(&self, endpoint: &str) -> Call {
        Call {
            id: ID,
            endpoint: endpoint.to_owned(),
            door: Door::Join,
            server_name: controller_server_name(CLUSTER),
            trust: vec![self.issuer.certificate.clone()],
            client_identity: false,
        }
    }
}

async fn attend_to(connection: Connection) {
    let mut welcome = connection.open_uni().await.unwrap();
    quic::write_frame(&mut welcome, b"welcome").await.unwrap();
    let mut silent = Vec::new();
    while let Ok((mut send, mut receive)) = connection.accept_bi().await {
        let request = quic::read_frame(&mut receive, 100).await.unwrap();
        match request.as_slice() {
            b"close" => quic::close(&connection, Code::NodeRevoked),
            b"reset" => send.reset(VarInt::from_u32(0)).unwrap(),
            b"silence" => silent.push((send, receive)),
            other => quic::write_frame(&mut send, other).await.unwrap(),
        }
    }
}

const ID: ConnectionId = ConnectionId(3);
