//! What a scraper finds.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_series_is_there_from_the_start_and_the_gauges_say_how_things_stand() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new()
        .install_recorder()
        .expect("the only recorder of this process");
    let dir = tempfile::tempdir().expect("a directory");
    initialised(dir.path());
    let controller = Running::open_as(dir, Limits::default(), |parts| Parts {
        metrics_text: Arc::new(move || recorder.render()),
        ..parts
    })
    .await;
    let cluster = controller.create_cluster().await;
    let begun = controller.metrics().await;
    for series in [
        r#"gabion_controller_handshakes_total{outcome="refused"} 0"#,
        r#"gabion_controller_connections_refused_total{bound="strangers"} 0"#,
        r#"gabion_controller_queue_full_total{queue="own"} 0"#,
        r#"gabion_controller_commit_failures_total{reason="store_full"} 0"#,
        r#"gabion_controller_refused_documents_total{kind="routes"} 0"#,
        r#"gabion_controller_report_rows_refused_total{why="foreign"} 0"#,
        "gabion_controller_rate_limited_total 0",
        "gabion_controller_read_only 0",
        "gabion_controller_store_full 0",
        "gabion_controller_writer_stands 0",
        "gabion_controller_publication_failed 0",
        r#"gabion_controller_findings{severity="critical"} 0"#,
        r#"gabion_controller_nodes{state="offline"} 0"#,
        r#"gabion_controller_routes{state="healthy"} 0"#,
    ] {
        assert!(begun.lines().any(|line| line == series), "{series}\n{begun}");
    }

    controller.join(cluster, "web-1").await;
    controller.act("node/revoke", json!({ "id": "web-1" })).await;
    let now = controller.metrics().await;
    assert!(
        now.contains(r#"gabion_controller_nodes{state="revoked"} 1"#),
        "{now}"
    );
    controller.stop().await;
}

impl Running {
    async fn metrics(&self) -> String {
        let request = hyper::Request::get("/metrics")
            .header("host", "localhost")
            .body(Full::default())
            .expect("a request");
        let (status, body) = self.exchange(request).await;
        assert!(status.is_success(), "{status}");

        String::from_utf8(body.to_vec()).expect("text")
    }
}
