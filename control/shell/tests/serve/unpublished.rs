//! A cluster of which nothing new can be published.

use control_core::store::{StoreError, Table};
use control_store::Store;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_hears_that_a_change_is_stored_and_not_published() {
    let mut controller = Running::start().await;
    let cluster = controller.create_cluster().await;
    controller.join(cluster, "web-1").await;
    let dir = controller.end().await;
    spoil_policies(&dir.path().join("data"), cluster);
    controller = Running::open(dir).await;

    let change = json!({ "id": "web-1", "set": { "site": "fra" } });
    let (status, told) = controller.ask_admin("node/label", change).await;
    assert_eq!(status, hyper::StatusCode::SERVICE_UNAVAILABLE, "{told}");
    assert_eq!(
        told["message"], "the change is stored, and not published",
        "{told}"
    );
    let nodes = controller.read("node/list").await;
    assert_eq!(nodes[0]["labels"]["site"], "fra", "{nodes}");
    let (status, told) = controller.ask_admin("token/create", json!({})).await;
    assert!(
        status.is_success(),
        "nobody waits for a token to be published: {told}"
    );
    controller.stop().await;
}

fn spoil_policies(data: &Path, cluster: ClusterId) {
    let mut store = Store::open(SqliteEngine::open(data).expect("a store")).expect("led");
    let mut group = store.begin();
    group
        .request(|tx| -> Result<(), StoreError> {
            let key = [cluster.as_bytes().as_slice(), b"all"].concat();
            tx.put_bytes(Table::Policies, &key, vec![0xff])
        })
        .expect("writes");
    group.commit().expect("commits");
}
