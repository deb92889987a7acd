//! A real controller on a real socket and a real database, asked by hand-made clients.

#[path = "serve/detour.rs"]
mod detour;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use agent_shell::clock::{Clock, SystemClock};
use agent_shell::parts::Unsupervised;
use agent_shell::quic;
use agent_shell::tls::{self, ExpectedServer, Trust};
use bytes::Bytes;
use control_api::journal::Retention;
use control_core::doorkeeper::Limits;
use control_shell::controller::{self, ControllerConfig, Parts, Writing};
use control_shell::init::{self, InitConfig, Root};
use control_store::Engine;
use control_store::sqlite::SqliteEngine;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use protocol::admit::{self, Anchors, Revocations};
use protocol::certificate::{self, ServerOf};
use protocol::document::authority::TrustBundle;
use protocol::document::config::Transport;
use protocol::envelope::{Envelope, Expected, Subject};
use protocol::error::{Code, WireError};
use protocol::id::{ClusterId, NodeId, RequestId};
use protocol::key::{Digest, SealSecret, SigningKey};
use protocol::limits;
use protocol::token::{JoinToken, TokenSecret};
use protocol::wire::{
    self, Answer, Enroll, EnrollmentStatus, HostFacts, JoinReply, JoinRequest, NodeReply, NodeRequest, Poll,
    Proof, Welcome,
};
use quinn::{Connection, Endpoint};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rustls::sign::CertifiedKey;
use serde_json::{Value, json};
use tokio::sync::oneshot;

#[path = "serve/connections.rs"]
mod connections;
#[path = "serve/figures.rs"]
mod figures;
#[path = "serve/heard.rs"]
mod heard;
#[path = "serve/hung.rs"]
mod hung;
#[path = "serve/restored.rs"]
mod restored;
#[path = "serve/unpublished.rs"]
mod unpublished;

#[tokio::test(flavor = "multi_thread")]
async fn a_host_joins_polls_and_is_cut_off_when_it_is_revoked() {
    let controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;

    let connection = controller
        .connect(cluster, admit::NODE, Some(joined.identity.clone()))
        .await;
    controller.welcome(&connection).await;
    let poll = NodeRequest::Poll(Poll {
        beacon: None,
        have: Vec::new(),
        wait_ms: 0,
        left_out: Vec::new(),
    });
    let NodeReply::Poll(news) = ask(&connection, &poll).await.expect("a poll is answered") else {
        panic!("a poll is answered by a poll reply")
    };
    assert_eq!(news.documents.len(), 2, "a config and routes");

    controller.act("node/revoke", json!({ "id": "web-1" })).await;
    let closed = tokio::time::timeout(Duration::from_secs(5), connection.closed())
        .await
        .expect("closed at once");
    assert_eq!(quic::closed_with(&closed), Some(Code::NodeRevoked));
    let again = controller
        .connect(cluster, admit::NODE, Some(joined.identity))
        .await;
    let closed = tokio::time::timeout(Duration::from_secs(5), again.closed())
        .await
        .expect("refused");
    assert!(matches!(
        closed,
        quinn::ConnectionError::ApplicationClosed(_) | quinn::ConnectionError::ConnectionClosed(_)
    ));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_request_close_their_connection_are_counted_and_harm_nobody() {
    let counted = metrics_exporter_prometheus::PrometheusBuilder::new()
        .install_recorder()
        .expect("the only recorder of this process");
    let controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;
    let doors = [
        (admit::JOIN, None, limits::UNADMITTED_BYTES, status()),
        (admit::NODE, Some(joined.identity), limits::FRAME_BYTES, poll()),
    ];
    let mut sent: BTreeMap<Code, u64> = BTreeMap::new();
    for (door, identity, limit, honest) in doors {
        let bystander = controller.connect(cluster, door, identity.clone()).await;
        controller.welcome(&bystander).await;
        for (what, bytes, code) in no_requests(limit, &honest) {
            let connection = controller.connect(cluster, door, identity.clone()).await;
            controller.welcome(&connection).await;
            let (mut send, _receive) = connection.open_bi().await.expect("a stream");
            send.write_all(&bytes).await.expect("written");
            send.finish().expect("open");
            let closed = tokio::time::timeout(Duration::from_secs(5), connection.closed())
                .await
                .unwrap_or_else(|_| panic!("{what}: still open"));
            assert_eq!(quic::closed_with(&closed), Some(code), "{what}");
            *sent.entry(code).or_default() += 1;
        }
        assert_eq!(bystander.close_reason(), None, "another connection is not harmed");
        let reply = quic::request(&bystander, &honest, Duration::from_secs(5)).await;
        assert!(reply.is_ok(), "and is served");
    }

    let text = counted.render();
    for (code, count) in sent {
        let line = format!(
            "gabion_controller_malformed_total{{code=\"{}\"}} {count}\n",
            code.text()
        );
        assert!(count > 0 && text.contains(&line), "{line} in {text}");
    }
    controller.stop().await;
}

/// Whatever nobody honest sends, for a door with this limit: what it is, its bytes, and how the connection is closed.
fn no_requests(limit: usize, honest: &[u8]) -> Vec<(&'static str, Vec<u8>, Code)> {
    let announced = |length: usize| u32::try_from(length).expect("short").to_be_bytes().to_vec();
    let nested = [vec![0x81; 4_000], vec![0x00]].concat();
    let duplicate_key = [0x82, 0x00, 0x81, 0xa2, 0x00, 0x01, 0x00, 0x02];
    let invalid = Code::InvalidRequest;

    vec![
        ("no CBOR", framed(&[0xff]), invalid),
        ("nothing", framed(&[]), invalid),
        ("nested too deep", framed(&nested), invalid),
        ("one key twice", framed(&duplicate_key), invalid),
        ("a tag", framed(&[0xc0, 0x00]), invalid),
        (
            "a length beyond the frame",
            framed(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            invalid,
        ),
        (
            "a byte behind the request",
            framed(&[honest, &[0x00]].concat()),
            invalid,
        ),
        (
            "a byte behind the frame",
            [framed(honest), vec![0x00]].concat(),
            invalid,
        ),
        (
            "a second frame",
            [framed(honest), framed(honest)].concat(),
            invalid,
        ),
        (
            "a request cut short",
            framed(&honest[..honest.len() - 1]),
            invalid,
        ),
        (
            "a frame cut short",
            framed(honest)[..honest.len()].to_vec(),
            invalid,
        ),
        ("a length cut short", vec![0x00, 0x00], invalid),
        ("one byte too long", announced(limit + 1), Code::TooLarge),
        ("endless", u32::MAX.to_be_bytes().to_vec(), Code::TooLarge),
    ]
}

/// A question that the join door answers, if only with no.
fn status() -> Vec<u8> {
    let request = RequestId::from_bytes([7; 16]);
    let key = SigningKey::generate(&mut StdRng::seed_from_u64(5));

    protocol::cbor::encode(&JoinRequest::Status(EnrollmentStatus {
        request,
        proof: Proof::new(&key, &[0; 32], request.as_bytes()),
    }))
}

fn poll() -> Vec<u8> {
    protocol::cbor::encode(&NodeRequest::Poll(Poll {
        beacon: None,
        have: Vec::new(),
        wait_ms: 0,
        left_out: Vec::new(),
    }))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_token_has_its_number_on_the_wire_and_its_state_is_told_to_who_holds_the_secret() {
    let controller = Running::start().await;
    let home = controller.create_cluster().await;
    let away = controller.act("cluster/create", json!({ "name": "away" })).await;
    let away: ClusterId = away["id"].as_str().expect("an id").parse().expect("an id");
    let keys = [1, 2].map(|seed| SigningKey::from_seed(&[seed; 32]));
    let (first, second) = (
        Applicant::new("web-1", &keys[0]),
        Applicant::new("web-2", &keys[1]),
    );
    let namesake = Applicant {
        name: "web-1",
        ..second
    };
    let guessing = Applicant {
        secret: Some([9; 32]),
        ..second
    };
    let input = |more: Value| {
        let mut input = json!({ "cluster": "prod" });
        input
            .as_object_mut()
            .expect("an object")
            .extend(more.as_object().expect("an object").clone());
        input
    };
    let spent = controller.token(input(json!({}))).await;
    let first_reply = controller.enroll(home, &spent, first).await.expect("pending");
    let late = controller.token(input(json!({ "ttl_seconds": 1 }))).await;
    let abroad = controller
        .token(input(json!({ "sources": ["192.0.2.0/24"] })))
        .await;
    let fresh = controller.token(input(json!({}))).await;
    while !controller
        .act("token/list", input(json!({})))
        .await
        .to_string()
        .contains("\"expired\"")
    {
        tokio::task::yield_now().await;
    }

    let mut told = Vec::new();
    for (cluster, token, who, number) in [
        (home, &spent, second, 410),
        (home, &spent, namesake, 410),
        (home, &late, second, 410),
        (home, &abroad, second, 403),
        (away, &fresh, second, 403),
        (home, &fresh, guessing, 401),
        (home, &spent, guessing, 401),
        (home, &late, guessing, 401),
    ] {
        let refused = controller.enroll(cluster, token, who).await.expect_err("refused");
        assert_eq!(refused.number, number, "{refused:?}");
        told.push((refused.code, refused.message));
    }
    let texts: std::collections::BTreeSet<_> = told.iter().collect();
    assert_eq!(
        texts.len(),
        6,
        "without the secret all tokens look alike: {told:?}"
    );
    let again = controller
        .enroll(home, &spent, first)
        .await
        .expect("the same key may ask again");
    assert_eq!(again, first_reply);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_reaches_no_node_door_and_a_node_no_other_cluster() {
    let controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;
    let stranger = controller.connect(cluster, admit::NODE, None).await;
    let closed = tokio::time::timeout(Duration::from_secs(5), stranger.closed())
        .await
        .expect("refused");
    assert_eq!(quic::closed_with(&closed), Some(Code::IdentityMissing));

    let other = controller.act("cluster/create", json!({ "name": "other" })).await;
    let other: ClusterId = other["id"].as_str().expect("an id").parse().expect("an id");
    let crossed = controller
        .connect(other, admit::NODE, Some(joined.identity))
        .await;
    let closed = tokio::time::timeout(Duration::from_secs(5), crossed.closed())
        .await
        .expect("refused");
    assert_eq!(quic::closed_with(&closed), Some(Code::WrongCluster));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_controller_has_everything_that_was_answered() {
    let mut controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    controller.join(cluster, "web-1").await;
    let before = controller.read("audit/list").await;
    controller = controller.restart().await;

    // It is at another port now, so that a certificate may have followed.
    let after = controller.read("audit/list").await;
    let (before, after) = (
        before.as_array().expect("a list"),
        after.as_array().expect("a list"),
    );
    assert_eq!(after.get(..before.len()), Some(before.as_slice()));
    assert_eq!(controller.read("audit/verify").await["ok"], true);
    assert_eq!(controller.read("node/list").await[0]["name"], "web-1");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_made_while_the_store_is_in_use() {
    let controller = Running::start().await;
    controller.create_cluster().await;
    let copy = controller.dir.path().join("copy.db");
    controller.back_up(&copy).await;

    let bytes = std::fs::read(&copy).expect("a copy");
    assert!(bytes.starts_with(b"SQLite format 3\0"));
    let records = controller.read("audit/list").await;
    let records = records.as_array().expect("records");
    let [.., started, ended] = records.as_slice() else {
        panic!("both are written down")
    };
    assert_eq!(
        (&started["name"], &ended["name"]),
        (&json!("backup.started"), &json!("backup.ended"))
    );
    for record in [started, ended] {
        assert_eq!(record["outcome"], "done", "{record}");
        assert_eq!(record["uid"], rustix::process::geteuid().as_raw(), "{record}");
    }
    let data = controller.dir.path().join("data");
    let left = std::fs::read_dir(&data)
        .expect("reads")
        .map(|entry| entry.expect("an entry").file_name());
    let left: Vec<_> = left
        .filter(|name| name.to_string_lossy().contains("copy"))
        .collect();
    assert_eq!(
        left,
        Vec::<std::ffi::OsString>::new(),
        "nothing stays beside the store"
    );
    controller.stop().await;
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_mends_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a directory");
    let data = initialised(dir.path());
    let key = data.join("controller.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).expect("chmod");
    let refused = init::read_keys(&data, None).err().expect("refused").to_string();

    assert!(
        refused.contains(&format!("chmod 600 {}", key.display())),
        "{refused}"
    );
}

#[test]
fn what_a_run_that_was_cut_short_left_behind_is_taken_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = initialised(dir.path());
    for file in ["gabion.db", "gabion.db-wal", "gabion.db-shm"] {
        let _ = std::fs::remove_file(data.join(file));
    }
    std::fs::remove_file(data.join("controller.id")).expect("it was made");
    std::fs::write(data.join("controller.id.new"), "half").expect("written");
    let key = std::fs::read(data.join("controller.key")).expect("a key");
    let owner = std::fs::read(data.join("dev-owner.key")).expect("a key");
    initialised(dir.path());

    assert!(init::read_keys(&data, None).is_ok());
    assert_eq!(std::fs::read(data.join("controller.key")).expect("a key"), key);
    assert_eq!(std::fs::read(data.join("dev-owner.key")).expect("a key"), owner);
}

#[test]
fn a_directory_with_an_installation_is_left_as_it_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = initialised(dir.path());
    let config = InitConfig {
        data_dir: data,
        kek_file: None,
        root: Root::Dev,
    };
    let again = init::init(&config, SystemClock.now(), &mut StdRng::seed_from_u64(2));

    assert!(matches!(again, Err(init::InitFailed::Exists { .. })));
}

/// A controller in this process, and its own directory.
struct Running {
    dir: tempfile::TempDir,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<Result<(), controller::ControllerFailed>>,
    client: Endpoint,
}

/// Who asks to join.
#[derive(Clone, Copy)]
struct Applicant<'a> {
    name: &'a str,
    key: &'a SigningKey,
    /// Instead of the token's.
    secret: Option<[u8; 32]>,
}

impl<'a> Applicant<'a> {
    fn new(name: &'a str, key: &'a SigningKey) -> Self {
        Self {
            name,
            key,
            secret: None,
        }
    }
}

struct Joined {
    identity: Arc<CertifiedKey>,
}

impl Running {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        initialised(dir.path());

        Self::open(dir).await
    }

    async fn open(dir: tempfile::TempDir) -> Self {
        Self::open_within(dir, Limits::default()).await
    }

    async fn open_within(dir: tempfile::TempDir, limits: Limits) -> Self {
        Self::open_as(dir, limits, |parts| parts).await
    }

    /// In a world of which some parts are replaced.
    async fn open_as<E: Engine>(
        dir: tempfile::TempDir,
        limits: Limits,
        world: impl FnOnce(Parts<SqliteEngine>) -> Parts<E>,
    ) -> Self {
        let data = dir.path().join("data");
        let keys = init::read_keys(&data, None).expect("keys");
        let bound = quic::bind(SocketAddr::from(([127, 0, 0, 1], 0))).expect("a socket");
        let address = bound.socket.local_addr().expect("an address");
        let runtime: Arc<dyn quinn::Runtime> = Arc::new(quinn::TokioRuntime);
        let parts = Parts {
            clock: Arc::new(SystemClock),
            socket: runtime.wrap_udp_socket(bound.socket).expect("a socket"),
            runtime,
            engine: SqliteEngine::open(&data).expect("a store"),
            kek: keys.kek,
            controller: keys.controller,
            key: keys.key,
            supervisor: Arc::new(Unsupervised),
            metrics_text: Arc::new(String::new),
            seed: [3; 32].into(),
            writing: Writing::Thread,
        };
        let config = ControllerConfig {
            endpoints: vec![address.to_string()],
            admin_socket: Some(dir.path().join("admin.sock")),
            transport: Transport::default(),
            version: "test",
            limits,
            journal: Retention::default(),
        };
        let (stop, stopped) = oneshot::channel();
        let shutdown = async { stopped.await.unwrap_or(()) };
        let task = tokio::spawn(controller::run(config, world(parts), shutdown));
        let client = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).expect("an endpoint");
        let running = Self {
            dir,
            address,
            stop,
            task,
            client,
        };
        running.is_up().await;

        running
    }

    /// Waits until the admin socket answers, or the controller has ended.
    async fn is_up(&self) {
        let socket = self.socket();
        tokio::time::timeout(Duration::from_secs(20), async {
            while tokio::net::UnixStream::connect(&socket).await.is_err() {
                assert!(!self.task.is_finished(), "the controller ended");
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the controller comes up");
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("admin.sock")
    }

    async fn restart(self) -> Self {
        let dir = self.end().await;

        Self::open(dir).await
    }

    async fn stop(self) {
        self.end().await;
    }

    async fn end(self) -> tempfile::TempDir {
        let Self {
            dir,
            stop,
            task,
            client,
            ..
        } = self;
        client.close(0u32.into(), b"");
        stop.send(()).expect("it runs");
        task.await.expect("no panic").expect("a clean end");

        dir
    }

    async fn create_cluster(&self) -> ClusterId {
        let view = self.act("cluster/create", json!({ "name": "prod" })).await;

        view["id"].as_str().expect("an id").parse().expect("an id")
    }

    async fn read(&self, action: &str) -> Value {
        self.act(action, json!({})).await
    }

    async fn act(&self, action: &str, input: Value) -> Value {
        let (status, value) = self.ask_admin(action, input).await;
        assert!(status.is_success(), "{action}: {value}");

        value
    }

    async fn back_up(&self, target: &Path) {
        let (status, bytes) = self.ask_bytes("store/backup", json!({})).await;
        assert!(status.is_success(), "{status}");
        std::fs::write(target, bytes).expect("written");
    }

    async fn ask_admin(&self, action: &str, input: Value) -> (hyper::StatusCode, Value) {
        let (status, body) = self.ask_bytes(action, input).await;

        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    async fn ask_bytes(&self, action: &str, input: Value) -> (hyper::StatusCode, Bytes) {
        let request = hyper::Request::post(format!("/v1/{action}"))
            .header("host", "localhost")
            .body(Full::new(Bytes::from(input.to_string())))
            .expect("a request");

        self.exchange(request).await
    }

    async fn exchange(&self, request: hyper::Request<Full<Bytes>>) -> (hyper::StatusCode, Bytes) {
        let stream = tokio::net::UnixStream::connect(self.socket())
            .await
            .expect("connects");
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .expect("speaks HTTP");
        tokio::spawn(connection);
        let response = sender.send_request(request).await.expect("answered");
        let status = response.status();
        let body = response.into_body().collect().await.expect("a body").to_bytes();

        (status, body)
    }

    async fn connect(
        &self,
        cluster: ClusterId,
        alpn: &[u8],
        identity: Option<Arc<CertifiedKey>>,
    ) -> Connection {
        let crypto = tls::client_config(alpn, ExpectedServer::Unjudged, identity).expect("TLS");
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::new(quic::client_transport()));
        let name = certificate::controller_server_name(cluster);

        self.client
            .connect_with(config, self.address, &name)
            .expect("dials")
            .await
            .expect("connects")
    }

    /// Reads the welcome and judges this very leaf by it, as a joiner does.
    async fn welcome(&self, connection: &Connection) -> Welcome {
        let mut stream = connection.accept_uni().await.expect("the server speaks first");
        let body = quic::read_frame(&mut stream, limits::FRAME_BYTES)
            .await
            .expect("a frame");
        let welcome: Welcome = wire::read(&body).expect("a welcome");
        let envelope = Envelope::parse(&welcome.bundle).expect("a bundle");
        let realm = envelope.claimed().realm;
        let opened = envelope
            .open::<TrustBundle>(
                &Expected {
                    realm,
                    subject: Subject::All,
                },
                &welcome.authority,
            )
            .expect("signed");
        let cluster = ClusterId::from_bytes(*realm.as_bytes());
        let mut anchors = Anchors::default();
        anchors.put(cluster, &opened.body).expect("a sound bundle");
        let chain = quic::peer_chain(connection);
        let now = SystemClock.now().wall;
        admit::verify_server(
            &chain,
            (ServerOf::Controller, cluster),
            &anchors,
            &Revocations::default(),
            now,
        )
        .expect("the leaf comes from the bundle's controller CA");

        welcome
    }

    async fn join(&self, cluster: ClusterId, name: &str) -> Joined {
        let token = self.token(json!({ "approval": "auto" })).await;
        let key = SigningKey::generate(&mut StdRng::seed_from_u64(11));
        let reply = self.enroll(cluster, &token, Applicant::new(name, &key)).await;
        let reply = reply.expect("joins");
        assert!(
            matches!(reply, JoinReply::Pending { .. }),
            "the contract comes by the next question: {reply:?}"
        );
        let node = self.act("node/show", json!({ "id": name })).await;
        let node: NodeId = node["id"].as_str().expect("an id").parse().expect("an id");

        Joined {
            identity: self.certified(cluster, node, &key),
        }
    }

    async fn token(&self, input: Value) -> JoinToken {
        let created = self.act("token/create", input).await;

        JoinToken::parse(created["token"].as_str().expect("a text")).expect("a token")
    }

    /// Asks to join at the door of `cluster`.
    async fn enroll(
        &self,
        cluster: ClusterId,
        token: &JoinToken,
        who: Applicant<'_>,
    ) -> Result<JoinReply, WireError> {
        let connection = self.connect(cluster, admit::JOIN, None).await;
        let welcome = self.welcome(&connection).await;
        if token.claims_unverified().expect("claims").cluster == cluster {
            token
                .verify(&welcome.authority)
                .expect("the token pins this authority");
        }
        let csr = certificate::csr(who.key);
        let exported = quic::exported(&connection).expect("exports");
        let enroll = Enroll {
            claims: token.claims_bytes().to_vec().into(),
            secret: who
                .secret
                .map_or_else(|| token.secret().clone(), TokenSecret::from_bytes),
            proof: Proof::new(who.key, &exported, Digest::of(&csr).as_bytes()),
            csr: csr.into(),
            seal_key: SealSecret::from_bytes([11; 32]).seal_key(),
            name: who.name.to_owned(),
            facts: HostFacts::default(),
        };
        let body = protocol::cbor::encode(&JoinRequest::Enroll(enroll));
        let reply = quic::request(&connection, &body, Duration::from_secs(10))
            .await
            .expect("a reply");
        let answer: Answer<JoinReply> = wire::read(&reply).expect("an answer");

        answer.into_result()
    }

    /// The certificate that the contract would bring, read from the store: opening contracts is the agent's work.
    fn certified(&self, cluster: ClusterId, node: NodeId, key: &SigningKey) -> Arc<CertifiedKey> {
        let copy = self.dir.path().join("data/gabion.db");
        let certificate = read_certificate(&copy, cluster, node);

        tls::certified_key(certificate, key).expect("a usable leaf")
    }
}

fn read_certificate(database: &Path, cluster: ClusterId, node: NodeId) -> Vec<u8> {
    use control_core::node::NodeRow;
    use control_core::store::{Row, Table};
    let key = [
        [Table::Nodes as u8].as_slice(),
        cluster.as_bytes(),
        node.as_bytes(),
    ]
    .concat();
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let output = std::process::Command::new("sqlite3")
        .arg(format!("file:{}?mode=ro", database.display()))
        .arg(format!("select hex(value) from kv where key = x'{hex}'"))
        .output()
        .expect("sqlite3 runs");
    let text = String::from_utf8(output.stdout).expect("text");
    let bytes: Vec<u8> = (0..text.trim().len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("hex"))
        .collect();
    let row: NodeRow = protocol::cbor::decode(&bytes).expect("a row");
    assert_eq!(NodeRow::TABLE, Table::Nodes);

    row.certificate.to_vec()
}

fn initialised(dir: &Path) -> PathBuf {
    let data = dir.join("data");
    let config = InitConfig {
        data_dir: data.clone(),
        kek_file: None,
        root: Root::Dev,
    };
    init::init(&config, SystemClock.now(), &mut StdRng::seed_from_u64(1)).expect("an empty directory");

    data
}

async fn ask<Q: minicbor::Encode<()>, A: for<'b> minicbor::Decode<'b, ()>>(
    connection: &Connection,
    request: &Q,
) -> Result<A, wire::FrameTooLong> {
    let body = protocol::cbor::encode(request);
    let reply = quic::request(connection, &body, Duration::from_secs(10))
        .await
        .expect("a reply");
    let answer: Answer<A> = wire::read(&reply).expect("an answer");

    Ok(answer.into_result().expect("not refused"))
}

fn framed(body: &[u8]) -> Vec<u8> {
    [&u32::try_from(body.len()).expect("short").to_be_bytes(), body].concat()
}

#[test]
fn trust_is_replaced_as_a_whole() {
    let trust = Trust::default();
    let before = trust.get();
    trust.replace(Anchors::default(), Revocations::default());

    assert!(!Arc::ptr_eq(&before, &trust.get()));
}
