//! What nodes tell of themselves, as a person sees it, and how often they may.

use protocol::envelope::Kind;
use protocol::error::WireError;
use protocol::wire::Refused;

use super::restored::{heartbeat, node_asks};
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn documents_that_an_agent_refused_are_findings() {
    let controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;
    let refused = |code: Code| Refused {
        kind: Kind::Routes,
        epoch: 1,
        version: 7,
        code: code.text().to_owned(),
    };
    let told = heartbeat(
        1,
        vec![refused(Code::GenerationStale), refused(Code::ForkDetected)],
    );
    for _ in 0..2 {
        node_asks(
            &controller,
            cluster,
            &joined,
            NodeRequest::Heartbeat(told.clone()),
        )
        .await
        .expect("heard");
    }

    let found = until(&controller, "finding/list", |found| {
        found.as_array().is_some_and(|found| found.len() >= 2)
    })
    .await;
    let of = |name: &str| -> Vec<String> {
        let rows = found.as_array().expect("a list").iter();
        rows.filter(|row| row["name"] == name)
            .map(|row| row["severity"].to_string())
            .collect()
    };
    assert_eq!(of("document_refused"), ["\"warning\""], "{found}");
    assert_eq!(of("fork_detected"), ["\"critical\""], "{found}");
    let status = controller.read("status/show").await;
    assert_eq!(status["clusters"][0]["findings"], 2, "{status}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_says_something_new_all_the_time_is_told_when_to_come_back() {
    let controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;
    let connection = controller
        .connect(cluster, admit::NODE, Some(joined.identity.clone()))
        .await;
    controller.welcome(&connection).await;
    let mut refused: Option<WireError> = None;
    for boot in 0..=u8::MAX {
        let request = NodeRequest::Heartbeat(heartbeat(boot, Vec::new()));
        let body = protocol::cbor::encode(&request);
        let reply = quic::request(&connection, &body, Duration::from_secs(10))
            .await
            .expect("a reply");
        let answer: Answer<NodeReply> = wire::read(&reply).expect("an answer");
        refused = answer.into_result().err();
        if refused.is_some() {
            break;
        }
    }

    let refused = refused.expect("256 new boots in a row are too many");
    assert_eq!(refused.code, Code::RateLimited.text());
    assert!(refused.retry_after_ms.is_some_and(|wait| wait > 0), "{refused:?}");
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_answered_is_published_and_ten_publications_are_made_in_a_second() {
    let controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    controller.join(cluster, "web-1").await;
    let beacons = || async {
        let status = controller.read("status/show").await;
        status["clusters"][0]["beacon"].as_u64().expect("a number")
    };
    let (first, began) = (beacons().await, tokio::time::Instant::now());
    let mut before = first;
    for site in 0..30 {
        let input = json!({ "id": "web-1", "set": { "site": site.to_string() } });
        controller.act("node/label", input).await;
        let after = beacons().await;
        assert!(after > before, "answered before it was published");
        before = after;
    }
    let most = 2 + began.elapsed().as_millis() / 100;

    assert!(
        u128::from(before - first) <= most,
        "{} publications where {most} may be",
        before - first
    );
    controller.stop().await;
}

/// Reads until `is_so`; what is stored behind a heartbeat's back takes a commit.
async fn until(controller: &Running, action: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    tokio::time::timeout(Duration::from_secs(20), async {
        loop {
            let value = controller.read(action).await;
            if is_so(&value) {
                return value;
            }
        }
    })
    .await
    .expect("in time")
}
