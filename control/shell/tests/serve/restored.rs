//! A store that was restored from an older copy, found out by an agent that has seen more.

use protocol::document::beacon::Beacon;
use protocol::error::WireError;
use protocol::wire::Heartbeat;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_restored_store_is_read_only_for_good_once_an_agent_shows_what_it_lacks() {
    let mut controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;
    let backup = controller.dir.path().join("old.db");
    controller.back_up(&backup).await;
    // Two beacons more: what a restored store makes by itself at its start is as many.
    for site in ["a", "b"] {
        label(&controller, site).await;
    }
    let newest = beacon(&controller, cluster).await;
    let dir = controller.end().await;
    put_back(dir.path(), &backup);

    controller = Running::open(dir).await;
    for site in ["c", "d", "e", "f"] {
        label(&controller, site).await;
    }
    let own = beacon(&controller, cluster).await;
    assert!(
        number(&own) > number(&newest),
        "its own number has passed the fleet's"
    );
    let refused = poll(&controller, cluster, &joined, &newest).await;
    assert_eq!(refused.expect_err("no answer").code, Code::ReadOnly.text());
    let before = stands(&controller).await;

    controller = controller.restart().await;
    assert_eq!(
        stands(&controller).await,
        before,
        "nothing was committed by the start"
    );
    let refused = poll(&controller, cluster, &joined, &own).await;
    assert_eq!(
        refused.expect_err("no answer, whatever it is shown").code,
        Code::ReadOnly.text()
    );
    let heard = tell(&controller, cluster, &joined).await;
    heard.expect("a heartbeat writes nothing and is heard");
    assert_eq!(stands(&controller).await, before);
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_beacon_that_nobody_here_signed_is_no_proof_of_anything() {
    let mut controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;
    controller.act("cluster/create", json!({ "name": "other" })).await;
    let other = controller
        .act("cluster/show", json!({ "cluster": "other" }))
        .await;
    let other: ClusterId = other["id"].as_str().expect("an id").parse().expect("an id");
    let foreign = beacon(&controller, other).await;
    let mut forged = beacon(&controller, cluster).await;
    *forged.last_mut().expect("bytes") ^= 1;
    controller = controller.restart().await;
    for shown in [foreign, forged, b"no beacon".to_vec()] {
        poll(&controller, cluster, &joined, &shown)
            .await
            .expect("the poll is answered");
    }
    let status = controller.read("status/show").await;
    assert_eq!(status["state"], "leading", "{status}");
    controller.stop().await;
}

/// What status, findings and a write say while the controller is behind: beacon and revision, which must not move.
async fn stands(controller: &Running) -> (Value, Value) {
    let status = controller.read("status/show").await;
    assert_eq!(status["state"], "read_only", "{status}");
    let why = status["read_only"].as_str().expect("a reason");
    assert!(why.contains("gabion recover"), "{why}");
    let findings = controller.read("finding/list").await;
    let found: Vec<&Value> = findings
        .as_array()
        .expect("a list")
        .iter()
        .filter(|row| row["name"] == "controller_behind")
        .collect();
    assert_eq!(found.len(), 1, "{findings}");
    assert_eq!(found[0]["severity"], "critical");
    let refused = refusal(controller, "token/create", json!({})).await;
    assert_eq!(refused["code"], Code::ReadOnly.text(), "{refused}");

    (
        status["clusters"][0]["beacon"].clone(),
        status["revision"].clone(),
    )
}

async fn label(controller: &Running, site: &str) {
    let input = json!({ "id": "web-1", "set": { "site": site } });
    controller.act("node/label", input).await;
}

/// The newest beacon, as a neighbour's or controller's welcome brings it.
async fn beacon(controller: &Running, cluster: ClusterId) -> Vec<u8> {
    let connection = controller.connect(cluster, admit::JOIN, None).await;
    let welcome = controller.welcome(&connection).await;

    welcome.beacon.expect("a beacon").to_vec()
}

fn number(beacon: &[u8]) -> u64 {
    let envelope = Envelope::parse(beacon).expect("an envelope");
    let _: Beacon = envelope.claimed_body().expect("a beacon");

    envelope.claimed().version
}

async fn poll(
    controller: &Running,
    cluster: ClusterId,
    joined: &Joined,
    shown: &[u8],
) -> Result<NodeReply, WireError> {
    let poll = Poll {
        beacon: Some(shown.to_vec().into()),
        have: Vec::new(),
        wait_ms: 0,
        left_out: Vec::new(),
    };

    node_asks(controller, cluster, joined, NodeRequest::Poll(poll)).await
}

async fn tell(controller: &Running, cluster: ClusterId, joined: &Joined) -> Result<NodeReply, WireError> {
    let heartbeat = heartbeat(1, Vec::new());

    node_asks(controller, cluster, joined, NodeRequest::Heartbeat(heartbeat)).await
}

pub(super) fn heartbeat(boot: u8, refused: Vec<wire::Refused>) -> Heartbeat {
    Heartbeat {
        boot: protocol::id::BootId::from_bytes([boot; 16]),
        candidates: Vec::new(),
        epoch: 1,
        applied: Vec::new(),
        agent_version: "test".to_owned(),
        refused,
        reverted: None,
    }
}

pub(super) async fn node_asks(
    controller: &Running,
    cluster: ClusterId,
    joined: &Joined,
    request: NodeRequest,
) -> Result<NodeReply, WireError> {
    let connection = controller
        .connect(cluster, admit::NODE, Some(joined.identity.clone()))
        .await;
    controller.welcome(&connection).await;
    let body = protocol::cbor::encode(&request);
    let reply = quic::request(&connection, &body, Duration::from_secs(10))
        .await
        .expect("a reply");
    let answer: Answer<NodeReply> = wire::read(&reply).expect("an answer");

    answer.into_result()
}

/// An action that is refused, and what the refusal says.
async fn refusal(controller: &Running, action: &str, input: Value) -> Value {
    let (status, value) = controller.ask_admin(action, input).await;
    assert!(!status.is_success(), "{action}: {value}");

    value
}

fn put_back(dir: &Path, backup: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let data = dir.join("data");
    for file in ["gabion.db", "gabion.db-wal", "gabion.db-shm"] {
        // A clean end leaves no log behind.
        let _ = std::fs::remove_file(data.join(file));
    }
    let store = data.join("gabion.db");
    std::fs::copy(backup, &store).expect("a copy");
    std::fs::set_permissions(&store, std::fs::Permissions::from_mode(0o600)).expect("chmod");
}
