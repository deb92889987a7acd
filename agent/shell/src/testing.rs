//! Grounds for tests: a cluster's node CA, and stations on loopback with certificates of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use protocol::admit::{Anchors, Revocations};
use protocol::certificate::{
    CA_LIFE, CertificateRole, Holder, IssuingCa, LEAF_LIFE, Leaf, Validity, issue_ca,
};
use protocol::document::authority::{Serial, TrustBundle};
use protocol::id::{ClusterId, NodeId};
use protocol::key::{Digest, SigningKey};
use quinn::{Connection, ConnectionError, Runtime, TokioRuntime};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::{mpsc, watch};
use zeroize::Zeroizing;

use crate::clock::{Clock, SystemClock};
use crate::disk::MemoryDisk;
use crate::input::{Established, Input};
use crate::interfaces::KernelInterfaces;
use crate::links::{self, Links};
use crate::parts::{Parts, SystemListen, Truth, Unsupervised};
use crate::quic;
use crate::resolve::SystemResolver;
use crate::station::{Greeting, Station, Tasks};
use crate::tls;

/// The node CA of a cluster.
pub(crate) struct Ground {
    key: SigningKey,
    certificate: Vec<u8>,
    cluster: ClusterId,
}

impl Ground {
    /// Another `seed` is another CA.
    pub(crate) fn new(cluster: ClusterId, seed: u8) -> Self {
        let key = SigningKey::from_seed(&[seed; 32]);
        let validity = Validity::starting(SystemClock.now().wall, CA_LIFE);
        let certificate = issue_ca(CertificateRole::Node, cluster, &key, serial(seed), validity).unwrap();

        Self {
            key,
            certificate: certificate.to_vec(),
            cluster,
        }
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        TrustBundle {
            node_cas: vec![self.certificate.clone().into()],
            controller_cas: Vec::new(),
        }
    }

    pub(crate) fn anchors(&self) -> Anchors {
        let mut anchors = Anchors::default();
        anchors.put(self.cluster, &self.bundle()).unwrap();

        anchors
    }

    /// What a revocation calls this CA.
    pub(crate) fn id(&self) -> Digest {
        IssuingCa::open(&self.certificate, &self.key).unwrap().id()
    }

    /// Certifies a key made from `number` for that node.
    pub(crate) fn certify(&self, number: u8, serial_number: u8) -> Arc<rustls::sign::CertifiedKey> {
        let key = SigningKey::from_seed(&[number; 32]);
        let leaf = Leaf {
            holder: Holder::Node(node(number)),
            cluster: self.cluster,
            key: key.verify_key(),
            serial: serial(serial_number),
            validity: Validity::starting(SystemClock.now().wall, LEAF_LIFE),
        };
        let ca = IssuingCa::open(&self.certificate, &self.key).unwrap();

        tls::certified_key(ca.issue(&leaf).unwrap().to_vec(), &key).unwrap()
    }

    /// A station of node `number` that serves neighbours.
    pub(crate) fn station(&self, number: u8) -> Host {
        let (send, inbox) = mpsc::channel(1_024);
        let (greeting, said) = watch::channel(None);
        let station = Station::new(&parts(), [number; 32], send, said).unwrap();
        station.leaf.replace(self.certify(number, number));
        station.trust.replace(self.anchors(), Revocations::default());
        greeting.send_replace(Some(Greeting {
            node: node(number),
            cluster: self.cluster,
            welcome: format!("welcome to {number}").into(),
        }));
        let mut tasks = Tasks::default();
        tasks.spawn(links::serve(station.endpoint.clone(), station.clone()));

        Host {
            number,
            cluster: self.cluster,
            station,
            inbox,
            greeting,
            tasks,
            links: Links::default(),
        }
    }
}

/// One station with its inbox.
pub(crate) struct Host {
    number: u8,
    cluster: ClusterId,
    pub(crate) station: Station,
    pub(crate) inbox: mpsc::Receiver<Input>,
    pub(crate) greeting: watch::Sender<Option<Greeting>>,
    pub(crate) tasks: Tasks,
    pub(crate) links: Links,
}

impl Host {
    pub(crate) fn address(&self) -> SocketAddr {
        self.station.endpoint.local_addr().unwrap()
    }

    /// Begins to dial node `number` at `addresses`.
    pub(crate) fn dial(&mut self, number: u8, addresses: Vec<SocketAddr>) {
        let dial = links::dial(node(number), self.cluster, addresses, self.station.clone());
        self.tasks.spawn(dial);
    }

    pub(crate) fn dial_host(&mut self, other: &Self) {
        self.dial(other.number, vec![other.address()]);
    }

    pub(crate) async fn next(&mut self) -> Input {
        let next = tokio::time::timeout(Duration::from_secs(20), self.inbox.recv());

        next.await.expect("something happens").expect("the station lives")
    }

    pub(crate) async fn link_up(&mut self) -> Established {
        let next = self.next().await;
        let Input::LinkUp(established) = next else {
            panic!("no link but {next:?}");
        };

        *established
    }
}

/// How a connection ends, which it must.
pub(crate) async fn end(connection: &Connection) -> ConnectionError {
    tokio::time::timeout(Duration::from_secs(20), connection.closed())
        .await
        .expect("it is closed")
}

/// The world of a real host, on loopback and in memory. Needs a runtime.
pub(crate) fn parts() -> Parts {
    let runtime = Arc::new(TokioRuntime);
    let bound = quic::bind("127.0.0.1:0".parse().unwrap()).unwrap();

    Parts {
        clock: Arc::new(SystemClock),
        socket: runtime.wrap_udp_socket(bound.socket).unwrap(),
        doors: Vec::new(),
        listener: Arc::new(SystemListen(runtime.clone())),
        runtime,
        disk: Arc::new(MemoryDisk::default()),
        resolver: Arc::new(SystemResolver),
        interfaces: Arc::new(KernelInterfaces),
        supervisor: Arc::new(Unsupervised),
        testimony: Arc::new(Truth),
        metrics_text: Arc::new(|| "gabion_agent_links 0\n".to_owned()),
        seed: Zeroizing::new([7; 32]),
    }
}

pub(crate) fn serial(number: u8) -> Serial {
    Serial::random(&mut StdRng::seed_from_u64(u64::from(number)))
}

pub(crate) const fn node(number: u8) -> NodeId {
    NodeId::from_bytes([number; 16])
}

pub(crate) const CLUSTER: ClusterId = ClusterId::from_bytes([3; 16]);
