//! Rows that cannot be read: what they stop, what they do not, and what goes out all the same.

use std::collections::BTreeMap;

use control_api::publication::Publication;
use control_core::store::{Table, View};
use protocol::cbor;

use super::*;

#[test]
fn an_unreadable_published_row_stops_nobody_and_its_version_is_never_given_again() {
    let mut desk = Controller::new(31);
    let cluster = desk.create_cluster();
    let (bad, good) = (desk.join("web-1", &["member"]), desk.join("web-2", &["member"]));
    let before = desk.publications[&cluster].clone();
    desk.spoil_published(cluster, bad, Kind::SyntheticConfig);
    desk.publish(&mut Touched::everything());
    let between = versions(&desk.publications[&cluster], bad);
    desk.spoil_published(cluster, bad, Kind::SyntheticConfig);
    desk.reopen(2);

    let after = desk.publications[&cluster].clone();
    assert_eq!(versions(&after, good), versions(&before, good));
    let (old, new) = (versions(&before, bad), versions(&after, bad));
    let [old_config, once, twice] =
        [&old, &between, &new].map(|documents| documents[&Kind::SyntheticConfig].0);
    assert!(old_config < once && once < twice, "{old_config} {once} {twice}");
    assert_eq!(new[&Kind::Routes], old[&Kind::Routes]);
    let config: SyntheticConfig = desk.document(bad, Kind::SyntheticConfig);
    assert_eq!(config.neighbours.len(), 1);
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings.as_array().map(Vec::len), Some(1), "{findings}");
    assert_eq!(findings[0]["name"], "row_unreadable", "{findings}");
    let subject = format!("Published {bad} synthetic config");
    assert_eq!(findings[0]["subject"], subject, "{findings}");

    let site = json!({ "id": "web-2", "set": { "site": "fra" } });
    desk.act(Action::NodeLabel, site);
    desk.reopen(3);
    let last = &desk.publications[&cluster];
    assert_eq!(versions(last, bad), new, "it is a row like any other");
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings[0]["state"], "resolved", "{findings}");
}

#[test]
fn a_bundle_and_a_list_whose_rows_cannot_be_read_follow_what_the_beacon_pins() {
    let mut desk = Controller::new(32);
    let cluster = desk.create_cluster();
    desk.join("web-1", &["member"]);
    let thief = desk.join("web-2", &["member"]);
    let before = desk.publications[&cluster].clone();
    for kind in [Kind::TrustBundle, Kind::RevocationList] {
        let key = [cluster.as_bytes().as_slice(), &[1], &cbor::encode(&kind)];
        desk.spoil(Table::Published, &key);
    }
    desk.reopen(2);
    desk.act(
        Action::NodeRevoke,
        json!({ "id": thief.to_string(), "reason": "stolen" }),
    );

    let after = &desk.publications[&cluster];
    assert_eq!(after.bundle.version, before.bundle.version + 1);
    assert_eq!(after.revocations.version, before.revocations.version + 2);
}

#[test]
fn a_node_with_damaged_rows_is_revoked_like_any_other() {
    let mut desk = Controller::new(33);
    let cluster = desk.create_cluster();
    let thief = desk.join("web-1", &["member"]);
    desk.spoil_published(cluster, thief, Kind::Routes);
    let certificates = [cluster.as_bytes().as_slice(), &[1], thief.as_bytes()].concat();
    let rows = desk.tx.scan_bytes(Table::Certificates, &certificates, None, 9);
    let [(key, _)] = &rows.expect("reads")[..] else {
        panic!("one certificate")
    };
    desk.spoil(Table::Certificates, &[key]);
    desk.reopen(2);
    desk.spoil_published(cluster, thief, Kind::Routes);
    let before = desk.publications[&cluster].clone();
    desk.act(
        Action::NodeRevoke,
        json!({ "id": thief.to_string(), "reason": "stolen" }),
    );

    let after = &desk.publications[&cluster];
    assert_ne!(after.revocations, before.revocations);
    assert!(after.tree.leaf(thief).is_none());
    let documents = [cluster.as_bytes().as_slice(), &[2], thief.as_bytes()].concat();
    let left = desk.tx.scan_bytes(Table::Published, &documents, None, 9);
    assert_eq!(left.expect("reads"), []);
}

#[test]
fn tries_that_fail_write_one_finding_and_undo_no_acknowledgement() {
    let mut desk = Controller::new(34);
    let cluster = desk.create_cluster();
    desk.join("web-1", &["member"]);
    desk.spoil(Table::Revocations, &[cluster.as_bytes(), &1_u64.to_be_bytes()]);
    desk.publish(&mut Touched::everything());
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings[0]["name"], "publication_failed", "{findings}");
    desk.act(Action::FindingAck, json!({ "id": findings[0]["id"] }));
    let told = desk.told_of_findings();
    desk.ticks(3);

    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings[0]["state"], "acknowledged", "{findings}");
    assert_eq!(desk.told_of_findings(), told);
    desk.mend(Table::Revocations, &[cluster.as_bytes(), &1_u64.to_be_bytes()]);
    desk.ticks(1);
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings[0]["state"], "resolved", "{findings}");
}

#[test]
fn an_overdue_cluster_is_tried_again_with_the_beacon_and_not_with_each_change() {
    let mut desk = Controller::new(35);
    let cluster = desk.create_cluster();
    let (node, thief) = (desk.join("web-1", &["member"]), desk.join("web-2", &["member"]));
    desk.spoil(Table::Policies, &[cluster.as_bytes(), b"all"]);
    desk.publish(&mut Touched::everything());
    let failed = desk.publications[&cluster].clone();
    desk.heartbeat(cluster, node, 1);
    let after = &desk.publications[&cluster];
    assert_eq!(after.rank, failed.rank, "a change of a record is no reason");
    assert!(desk.owed.overdue.contains(&cluster));
    assert!(desk.owed.is_empty(), "and nothing waits but for the beacon");

    desk.ticks(1);
    let beaten = desk.publications[&cluster].clone();
    assert!(beaten.rank > failed.rank);
    desk.act(
        Action::NodeRevoke,
        json!({ "id": thief.to_string(), "reason": "stolen" }),
    );
    assert_ne!(
        desk.publications[&cluster].revocations, beaten.revocations,
        "a revocation does not wait"
    );
    desk.heartbeat(cluster, node, 2);
    desk.mend(Table::Policies, &[cluster.as_bytes(), b"all"]);
    desk.ticks(1);
    assert!(desk.owed.overdue.is_empty());
    let mended = desk.publications[&cluster].clone();
    desk.reopen(2);
    let restarted = &desk.publications[&cluster];
    assert_eq!(mended.tree.root(), restarted.tree.root(), "nothing was forgotten");
}

#[test]
fn a_cluster_whose_policy_was_damaged_before_a_start_shows_what_no_policy_has_a_say_in() {
    let mut desk = Controller::new(36);
    let (cluster, [a, b, relay]) = desk.leased();
    let before = desk.publications[&cluster].clone();
    let table: LeaseTable = desk.document(relay, Kind::LeaseTable);
    assert_eq!(table.rows.len(), 1);
    desk.spoil(Table::Policies, &[cluster.as_bytes(), b"all"]);
    desk.reopen(2);

    let shown = desk.publications[&cluster].clone();
    assert!(shown.rank > before.rank, "relays stay fresh");
    assert_eq!(shown.revocations, before.revocations);
    for node in [a, b, relay] {
        let mut kept = versions(&before, node);
        kept.remove(&Kind::SyntheticConfig).expect("it had one");
        assert_eq!(versions(&shown, node), kept, "a config would lack its neighbours");
    }
    desk.act(
        Action::NodeRevoke,
        json!({ "id": b.to_string(), "reason": "stolen" }),
    );
    let revoked = &desk.publications[&cluster];
    assert_ne!(revoked.revocations, before.revocations);
    assert!(revoked.tree.leaf(b).is_none());
    let table: LeaseTable = desk.document(relay, Kind::LeaseTable);
    assert!(table.rows.is_empty());

    desk.mend(Table::Policies, &[cluster.as_bytes(), b"all"]);
    desk.ticks(1);
    let mended = &desk.publications[&cluster];
    assert!(versions(mended, a).contains_key(&Kind::SyntheticConfig));
    assert!(desk.owed.overdue.is_empty());
}

impl Controller {
    fn spoil_published(&mut self, cluster: ClusterId, node: NodeId, kind: Kind) {
        let key = [
            cluster.as_bytes().as_slice(),
            &[2],
            node.as_bytes(),
            &cbor::encode(&kind),
        ];
        let known = self.tx.get_bytes(Table::Published, &key.concat());
        assert!(known.expect("reads").is_some(), "a row to damage");
        self.spoil(Table::Published, &key);
    }

    /// Takes a damaged row away.
    fn mend(&mut self, table: Table, key: &[&[u8]]) {
        self.tx.delete_bytes(table, &key.concat()).expect("writes");
    }

    /// How many records of the audit tell of findings that were raised or resolved.
    fn told_of_findings(&self) -> usize {
        let records = audit::list(&self.tx, 0, 500).expect("reads");
        let is_of_one = |record: &&audit::Record| {
            record.action == audit::Action::FINDING_RAISED || record.action == audit::Action::FINDING_RESOLVED
        };

        records.iter().filter(is_of_one).count()
    }
}

/// Version and hash of each document of a node.
fn versions(publication: &Publication, node: NodeId) -> BTreeMap<Kind, (u64, Digest)> {
    let documents = publication.of(node);

    documents
        .map(|document| (document.kind, (document.version, document.hash)))
        .collect()
}
