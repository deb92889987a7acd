use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agent_core::control::FileName;
use http_body_util::BodyExt;
use hyper::Request;
use hyper_util::rt::TokioIo;
use protocol::document::join::{ApprovalMode, JoinClaims};
use protocol::envelope::seal;
use protocol::id::{ClusterId, TokenId};
use protocol::key::SigningKey;
use protocol::node::Labels;
use protocol::time::Wall;
use protocol::token::{TokenSecret, stamp};
use serde_json::{Value, json};
use tokio::net::UnixStream;

mod mesh;

use super::*;
use crate::disk::MemoryDisk;
use crate::testing::parts;

#[tokio::test]
async fn a_host_without_identity_and_token_says_so_and_ends() {
    let ended = run(config(None), parts(), std::future::pending()).await;

    assert!(
        matches!(ended, Err(AgentFailed::Join(JoinFailure::NoToken))),
        "{ended:?}"
    );
}

#[tokio::test]
async fn a_damaged_identity_is_refused_at_the_start() {
    let disk = MemoryDisk::default();
    disk.put(FileName::Identity, Some(b"not an identity".to_vec()));
    let parts = Parts {
        disk: Arc::new(disk),
        ..parts()
    };

    assert!(matches!(
        Agent::start(config(None), parts).err(),
        Some(AgentFailed::Unbootable(_))
    ));
}

#[tokio::test]
async fn loopback_is_published_in_dev_mode_alone() {
    let loopback = || AgentConfig {
        candidates: vec!["127.0.0.1:7601".parse().unwrap()],
        ..config(None)
    };
    let dev = AgentConfig {
        dev: true,
        ..loopback()
    };

    assert!(matches!(
        Agent::start(loopback(), parts()).err(),
        Some(AgentFailed::LoopbackCandidate { .. })
    ));
    assert!(Agent::start(dev, parts()).is_ok());
}

#[tokio::test]
async fn a_shutdown_ends_an_agent_that_is_still_joining() {
    let ended = run(config(Some(token())), parts(), async {}).await;

    assert_eq!(ended.unwrap(), Ended::ShutDown);
}

#[tokio::test]
async fn a_part_that_breaks_ends_the_agent() {
    let parts = Parts {
        interfaces: Arc::new(Broken),
        ..parts()
    };
    let ended = run(config(Some(token())), parts, std::future::pending()).await;

    assert!(
        matches!(
            ended,
            Err(AgentFailed::PartEnded {
                part: Part::Interfaces
            })
        ),
        "{ended:?}"
    );
}

#[tokio::test]
async fn an_agent_that_lets_nobody_in_any_more_ends() {
    let agent = Agent::start(config(Some(token())), parts()).unwrap();
    for endpoint in agent.drive.endpoints() {
        endpoint.close(VarInt::from_u32(0), b"");
    }
    let ended = agent.run(std::future::pending()).await;

    assert!(
        matches!(
            ended,
            Err(AgentFailed::PartEnded {
                part: Part::Neighbours
            })
        ),
        "{ended:?}"
    );
}

/// A host whose addresses cannot be looked at.
struct Broken;

impl Interfaces for Broken {
    fn addresses(&self) -> std::io::Result<std::collections::BTreeSet<std::net::IpAddr>> {
        panic!("broken on purpose")
    }
}

#[tokio::test]
async fn the_local_api_tells_how_a_joining_agent_stands() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("agent.sock");
    let agent = Agent::start(
        AgentConfig {
            local_socket: Some(path.clone()),
            ..config(Some(token()))
        },
        parts(),
    )
    .unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn(agent.run(async {
        let _ = stopped.await;
    }));

    let (status, body) = ask(&path, "GET", "/v1/status", None).await;
    assert_eq!((status, &body["state"]), (200, &json!("joining")));
    let (status, body) = ask(&path, "GET", "/v1/routes", None).await;
    assert_eq!((status, body), (200, json!([])));
    let flow = json!({"peer": "all", "rate_per_s": 5000, "bytes": 10});
    let (status, body) = ask(&path, "POST", "/v1/flow/start", Some(flow)).await;
    assert_eq!((status, &body["code"]), (422, &json!("validation_failed")));
    let flow = json!({"peer": "b", "rate_per_s": 50, "bytes": 10});
    let (status, body) = ask(&path, "POST", "/v1/flow/start", Some(flow)).await;
    assert_eq!((status, &body["code"]), (409, &json!("conflict_state")));
    let (status, body) = ask(&path, "GET", "/metrics", None).await;
    assert_eq!((status, body), (200, json!("gabion_agent_links 0\n")));

    drop(stop);
    assert_eq!(running.await.unwrap().unwrap(), Ended::ShutDown);
}

#[tokio::test]
async fn a_browser_is_not_answered() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("agent.sock");
    let config = AgentConfig {
        local_socket: Some(path.clone()),
        ..config(Some(token()))
    };
    let agent = Agent::start(config, parts()).unwrap();
    let running = tokio::spawn(agent.run(std::future::pending()));

    let request = Request::builder()
        .uri("/v1/status")
        .header("host", "agent")
        .header("origin", "https://example.org");
    let (status, _) = send(&path, request.body(String::new()).unwrap()).await;
    assert_eq!(status, 403);
    running.abort();
}

#[tokio::test]
async fn a_socket_that_an_earlier_run_left_behind_is_replaced_and_a_live_one_is_not() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("agent.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let with_socket = || AgentConfig {
        local_socket: Some(path.clone()),
        ..config(Some(token()))
    };
    let first = Agent::start(with_socket(), parts());

    assert!(first.is_ok());
    assert!(matches!(
        Agent::start(with_socket(), parts()).err(),
        Some(AgentFailed::LocalSocket { .. })
    ));
}

async fn ask(path: &Path, method: &str, uri: &str, body: Option<Value>) -> (u16, Value) {
    let request = Request::builder()
        .method(method)
        .uri(uri)
        .header("host", "agent")
        .header("content-type", "application/json")
        .body(body.map(|body| body.to_string()).unwrap_or_default())
        .unwrap();

    send(path, request).await
}

async fn send(path: &Path, request: Request<String>) -> (u16, Value) {
    let stream = UnixStream::connect(path).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    let reply = sender.send_request(request).await.unwrap();
    let status = reply.status().as_u16();
    let body = reply.into_body().collect().await.unwrap().to_bytes();
    let text = String::from_utf8(body.to_vec()).unwrap();

    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

fn config(token: Option<JoinToken>) -> AgentConfig {
    AgentConfig {
        token,
        pin: Pin::default(),
        name: "a".to_owned(),
        facts: HostFacts::default(),
        controllers: Vec::new(),
        candidates: Vec::new(),
        local_socket: None,
        dev: false,
        poll_interval: Duration::from_secs(5),
        join_timeout: None,
    }
}

/// A token whose controller never answers.
fn token() -> JoinToken {
    let authority = SigningKey::from_seed(&[5; 32]);
    let claims = JoinClaims {
        token: TokenId::from_bytes([1; 16]),
        cluster: ClusterId::from_bytes([3; 16]),
        authority: authority.verify_key().fingerprint(),
        controllers: vec!["192.0.2.1:7600".to_owned()],
        roles: Vec::new(),
        labels: Labels::default(),
        max_uses: 1,
        expires: Wall(u64::MAX / 2),
        approval: ApprovalMode::Manual,
        sources: Vec::new(),
    };
    let signed = seal(&stamp(&claims, 1, Wall(1)), &claims, &[&authority]);

    JoinToken::new(signed, TokenSecret::from_bytes([2; 32])).unwrap()
}
