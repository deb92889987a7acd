//! How many may be connected, how long, and what is left of them when the controller stops.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn strangers_beyond_the_bound_are_turned_away_and_a_node_still_comes_in() {
    let dir = tempfile::tempdir().expect("a directory");
    initialised(dir.path());
    let limits = Limits {
        strangers: 4,
        ..Limits::default()
    };
    let controller = Running::open_within(dir, limits).await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;
    let mut held = Vec::new();
    let closed = soon(async {
        loop {
            let connection = controller.connect(cluster, admit::JOIN, None).await;
            match connection.accept_uni().await {
                Ok(_) => held.push(connection),
                Err(closed) => break closed,
            }
        }
    })
    .await;
    assert_eq!(quic::closed_with(&closed), Some(Code::Unavailable));
    // The connection of the join may not have ended yet.
    let expected = [limits.strangers - 1, limits.strangers];
    assert!(expected.contains(&held.len()), "{}", held.len());
    let node = controller
        .connect(cluster, admit::NODE, Some(joined.identity.clone()))
        .await;
    controller.welcome(&node).await;

    assert!(held.iter().all(|connection| connection.close_reason().is_none()));
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_connects_again_and_again_keeps_its_newest_connections() {
    let controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;
    let mut connections = Vec::new();
    for _ in 0..4 {
        let connection = controller
            .connect(cluster, admit::NODE, Some(joined.identity.clone()))
            .await;
        controller.welcome(&connection).await;
        connections.push(connection);
    }
    let closed = soon(connections[0].closed()).await;

    assert_eq!(quic::closed_with(&closed), Some(Code::RateLimited));
    assert!(
        connections[1..]
            .iter()
            .all(|connection| connection.close_reason().is_none())
    );
    controller.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_controller_stops_at_once_although_polls_are_parked_and_an_operator_is_connected() {
    let controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    let joined = controller.join(cluster, "web-1").await;
    let operator = tokio::net::UnixStream::connect(controller.socket())
        .await
        .expect("connects");
    let connection = controller
        .connect(cluster, admit::NODE, Some(joined.identity))
        .await;
    controller.welcome(&connection).await;
    let news = ask::<_, NodeReply>(&connection, &poll(Vec::new(), 0)).await;
    let Ok(NodeReply::Poll(news)) = news else {
        panic!("a poll is answered by a poll reply: {news:?}")
    };
    let have = news
        .documents
        .iter()
        .chain(&news.shared)
        .map(|bytes| have(bytes))
        .collect();
    let parked = tokio::spawn({
        let connection = connection.clone();
        let body = protocol::cbor::encode(&poll(have, 50_000));
        async move { quic::request(&connection, &body, Duration::from_secs(60)).await }
    });
    // The same connection answers in order of arrival: once this is answered the poll is there.
    let _: NodeReply = ask(&connection, &poll(Vec::new(), 0)).await.expect("answered");

    let begun = Instant::now();
    let Running {
        dir,
        stop,
        task,
        client,
        ..
    } = controller;
    stop.send(()).expect("it runs");
    task.await.expect("no panic").expect("a clean end");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert!(
        parked.await.expect("no panic").is_err(),
        "the poll ends with its connection"
    );
    let _still_connected = (operator, client);
    SqliteEngine::open(&dir.path().join("data")).expect("the store is free again");
}

fn poll(have: Vec<wire::Have>, wait_ms: u32) -> NodeRequest {
    NodeRequest::Poll(Poll {
        beacon: None,
        have,
        wait_ms,
        left_out: Vec::new(),
    })
}

/// How a node says that it has a document.
fn have(bytes: &[u8]) -> wire::Have {
    let envelope = Envelope::parse(bytes).expect("an envelope");
    let header = envelope.claimed();

    wire::Have {
        kind: header.kind,
        epoch: header.epoch,
        version: header.version,
        hash: envelope.hash(),
    }
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), future)
        .await
        .expect("soon")
}
