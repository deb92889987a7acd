//! What must not be lost between memory, store and publication.

use control_core::liveness::Change;
use control_core::node::{self, Presence};
use control_core::store::Table;

use super::*;

#[test]
fn a_change_that_was_not_stored_is_offered_until_it_is() {
    let mut desk = Controller::new(12);
    let cluster = desk.create_cluster();
    let relay = desk.join("r", &["relay"]);
    let lost = desk
        .hear(cluster, relay, 7)
        .expect("a first sign of life is news");
    let again = desk
        .hear(cluster, relay, 7)
        .expect("nobody said that it was stored");
    assert_eq!(again, lost);
    desk.pass(1);
    let offered = desk.live.handle_timeout(desk.world.now);
    assert_eq!(offered.len(), 1, "the tick offers it too: {offered:?}");
    desk.ask(
        &Caller::Controller,
        &Request::Heard {
            changes: offered.clone(),
        },
    )
    .expect("stored");
    desk.live.handle_stored(&offered);

    let row = node::get(&desk.tx, cluster, relay)
        .expect("reads")
        .expect("a node");
    assert_eq!(row.presence, Presence::Active);
    assert!(row.boot.is_some());
    assert_eq!(desk.hear(cluster, relay, 7), None, "what is stored is no news");
    assert_eq!(desk.live.handle_timeout(desk.world.now), []);
}

#[test]
fn what_changed_while_a_change_was_being_stored_is_offered_next() {
    let mut desk = Controller::new(13);
    let cluster = desk.create_cluster();
    let relay = desk.join("r", &["relay"]);
    let first: Vec<Change> = desk.hear(cluster, relay, 7).into_iter().collect();
    desk.hear(cluster, relay, 8).expect("another address");
    desk.live.handle_stored(&first);
    let next = desk.live.handle_timeout(desk.world.now);

    assert_eq!(next.len(), 1);
    assert!(next[0].candidates.is_some(), "{next:?}");
}

#[test]
fn an_unreadable_node_row_spoils_its_own_node_alone() {
    let mut desk = Controller::new(14);
    let cluster = desk.create_cluster();
    let (bad, good) = (desk.join("web-1", &["member"]), desk.join("web-2", &["member"]));
    let sound = desk.document::<SyntheticConfig>(good, Kind::SyntheticConfig);
    assert_eq!(sound.neighbours.len(), 1);
    let before = desk.publications[&cluster].clone();
    desk.spoil(Table::Nodes, &[cluster.as_bytes(), bad.as_bytes()]);
    desk.publish(&mut Touched::everything());

    let standing = &desk.publications[&cluster];
    assert_eq!(
        standing.documents[&bad], before.documents[&bad],
        "its leaf is kept"
    );
    assert!(standing.tree.leaf(bad).is_some());
    desk.reopen(2);
    let restarted = &desk.publications[&cluster];
    assert!(
        restarted.documents.contains_key(&good),
        "others get their documents"
    );
    assert!(!restarted.documents.contains_key(&bad));
    let listed = desk.read(Action::NodeList, json!({}));
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed}");
    desk.read(Action::StatusShow, json!({}));
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings.as_array().map(Vec::len), Some(1), "{findings}");
    assert_eq!(findings[0]["name"], "row_unreadable", "{findings}");
    assert_eq!(findings[0]["subject"], format!("Nodes {bad}"), "{findings}");

    desk.tx
        .delete_bytes(Table::Nodes, &[*cluster.as_bytes(), *bad.as_bytes()].concat())
        .expect("writes");
    desk.publish(&mut Touched::everything());
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings[0]["state"], "resolved", "{findings}");
}

#[test]
fn a_row_of_a_node_or_a_policy_that_is_damaged_changes_nothing_in_force() {
    let mut desk = Controller::new(22);
    let (cluster, [_, b, relay]) = desk.leased();
    let all = json!({ "name": "all", "source": "*", "target": "*" });
    desk.act(Action::PolicyApply, json!({ "policies": [all] }));
    let before = desk.publications[&cluster].clone();
    desk.spoil(Table::Nodes, &[cluster.as_bytes(), b.as_bytes()]);
    desk.spoil(Table::Policies, &[cluster.as_bytes(), b"all"]);
    desk.publish(&mut Touched::everything());

    let after = &desk.publications[&cluster];
    assert_eq!(after.documents, before.documents);
    assert_eq!(after.tree.root(), before.tree.root());
    let table: LeaseTable = desk.document(relay, Kind::LeaseTable);
    assert_eq!(table.rows.len(), 1);
    let findings = desk.read(Action::FindingList, json!({}));
    let mut told: Vec<(&str, &str)> = findings
        .as_array()
        .expect("a list")
        .iter()
        .map(|found| {
            (
                found["subject"].as_str().unwrap(),
                found["state"].as_str().unwrap(),
            )
        })
        .collect();
    told.sort_unstable();
    let node = format!("Nodes {b}");
    assert_eq!(told, [(node.as_str(), "open"), ("Policies 616c6c", "open")]);
}

#[test]
fn a_node_whose_row_is_damaged_before_a_start_keeps_what_relays_carry_for_it() {
    let mut desk = Controller::new(23);
    let (cluster, [a, b, relay]) = desk.leased();
    let before: LeaseTable = desk.document(relay, Kind::LeaseTable);
    assert_eq!(before.rows.len(), 1);
    desk.spoil(Table::Nodes, &[cluster.as_bytes(), b.as_bytes()]);
    desk.reopen(2);
    let after: LeaseTable = desk.document(relay, Kind::LeaseTable);
    assert_eq!(after, before);
    desk.act(Action::NodeDisable, json!({ "id": "a" }));
    let table: LeaseTable = desk.document(relay, Kind::LeaseTable);

    assert!(table.rows.is_empty(), "the other end is known: {a:?}");
}

#[test]
fn a_finding_that_cannot_be_read_holds_up_nothing_and_is_one_itself() {
    let mut desk = Controller::new(26);
    let cluster = desk.create_cluster();
    let (bad, good) = (desk.join("web-1", &["member"]), desk.join("web-2", &["member"]));
    desk.spoil(Table::Nodes, &[cluster.as_bytes(), bad.as_bytes()]);
    desk.publish(&mut Touched::everything());
    let told = desk.read(Action::FindingList, json!({}))[0]["subject"].clone();
    let rows = control_core::store::View::scan_bytes(&desk.tx, Table::Findings, &[], None, 9).expect("reads");
    let [(key, _)] = &rows[..] else { panic!("{rows:?}") };
    let (raised, unrelated) = (key.clone(), [9_u8; 32]);
    desk.spoil(Table::Findings, &[&raised]);
    desk.spoil(Table::Findings, &[&unrelated]);
    desk.reopen(2);

    assert!(
        desk.publications[&cluster].documents.contains_key(&good),
        "others get their documents"
    );
    let findings = desk.read(Action::FindingList, json!({}));
    let subjects: Vec<&Value> = findings
        .as_array()
        .expect("a list")
        .iter()
        .map(|found| &found["subject"])
        .collect();
    assert!(subjects.contains(&&told), "it is raised anew: {subjects:?}");
    let named = json!(format!("Findings {}", "09".repeat(32)));
    assert!(subjects.contains(&&named), "{subjects:?}");
}

#[test]
fn an_unreadable_route_or_lease_holds_up_no_other() {
    let mut desk = Controller::new(16);
    let cluster = desk.create_cluster();
    let (a, b) = (desk.join("a", &["member"]), desk.join("b", &["member"]));
    for (node, port) in [(a, 1), (b, 2)] {
        desk.heartbeat(cluster, node, port);
    }
    for table in [Table::Routes, Table::Leases] {
        desk.spoil(table, &[cluster.as_bytes(), &[7; 16]]);
    }
    desk.decide(cluster);
    desk.reopen(2);

    let routes: Routes = desk.document(a, Kind::Routes);
    assert_eq!(routes.decisions.len(), 1, "the pair is decided all the same");
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings.as_array().map(Vec::len), Some(2), "{findings}");
}

#[test]
fn a_policy_that_does_not_decode_stops_its_own_cluster_alone() {
    let mut desk = Controller::new(14);
    let broken = desk.create_cluster();
    desk.join("web-1", &["member"]);
    let sound = desk.act(Action::ClusterCreate, json!({ "name": "other" }));
    let sound: ClusterId = sound["id"].as_str().expect("an id").parse().expect("an id");
    let before = desk.publications.clone();
    desk.spoil(Table::Policies, &[broken.as_bytes(), b"all"]);
    desk.publish(&mut Touched::everything());

    let (old, new) = (&before[&broken], &desk.publications[&broken]);
    assert_eq!(new.documents, old.documents, "what stands goes on standing");
    assert_eq!(new.tree.root(), old.tree.root());
    assert!(new.rank > old.rank, "under a beacon that keeps its relays fresh");
    assert!(desk.publications[&sound].rank > before[&sound].rank);
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings[0]["name"], "publication_failed", "{findings}");
}

#[test]
fn a_revocation_gets_out_of_a_cluster_of_which_nothing_else_can_be_published() {
    let mut desk = Controller::new(15);
    let cluster = desk.create_cluster();
    let (other, thief) = (desk.join("web-1", &["member"]), desk.join("web-2", &["member"]));
    let before = desk.publications[&cluster].clone();
    desk.spoil(Table::Policies, &[cluster.as_bytes(), b"all"]);
    desk.act(
        Action::NodeRevoke,
        json!({ "id": thief.to_string(), "reason": "stolen" }),
    );

    let after = &desk.publications[&cluster];
    assert_ne!(after.revocations, before.revocations);
    assert_eq!(after.documents[&other], before.documents[&other]);
    assert!(
        after.tree.leaf(thief).is_none(),
        "it has no part in what is fresh"
    );
}

#[test]
fn a_node_that_is_disabled_loses_what_relays_carry_also_when_nothing_else_can_be_published() {
    let mut desk = Controller::new(20);
    let (cluster, [a, b, relay]) = desk.leased();
    let table: LeaseTable = desk.document(relay, Kind::LeaseTable);
    assert_eq!(table.rows.len(), 1);
    let before = desk.publications[&cluster].clone();
    desk.spoil(Table::Policies, &[cluster.as_bytes(), b"all"]);
    desk.act(Action::NodeDisable, json!({ "id": "b" }));

    let after = desk.publications[&cluster].clone();
    assert!(after.rank > before.rank, "relays stay fresh");
    assert!(after.tree.leaf(b).is_none());
    assert_eq!(after.documents[&a], before.documents[&a]);
    let table: LeaseTable = desk.document(relay, Kind::LeaseTable);
    assert!(
        table.rows.is_empty(),
        "and carry nothing for a node that may not take part"
    );
}

#[test]
fn an_acknowledgement_that_was_not_stored_is_offered_until_it_is() {
    let mut desk = Controller::new(17);
    let (cluster, [.., relay]) = desk.leased();
    let (has, now) = (poll(desk.have(relay)), desk.world.now);
    let publication = desk.publications[&cluster].clone();
    let lost = desk.live.handle_poll(&publication, relay, &has, now);
    assert!(lost.is_some());
    assert_eq!(
        desk.live.handle_poll(&publication, relay, &has, now),
        lost,
        "the next poll brings it again"
    );
    let offered = desk.live.unstored(now);
    assert_eq!(offered.len(), 1, "and so does the tick: {offered:?}");
    desk.ask(&Caller::Controller, &offered[0]).expect("stored");
    desk.live.handle_done(&offered[0]);

    assert!(desk.live.unstored(now).is_empty());
    assert_eq!(desk.live.handle_poll(&publication, relay, &has, now), None);
    let in_force = has.have.iter().find(|have| have.kind == Kind::LeaseTable);
    let documents = &publication.documents[&relay];
    let table = documents
        .iter()
        .find(|document| document.kind == Kind::LeaseTable);
    let (version, hash) = *table
        .and_then(|table| table.earlier.last())
        .expect("it had one before");
    let older = poll(vec![Have {
        version,
        hash,
        ..*in_force.expect("a table")
    }]);
    assert_eq!(
        desk.live.handle_poll(&publication, relay, &older, now),
        None,
        "what it had before is no news"
    );
    let table = publication.table(
        relay,
        &has.have
            .iter()
            .find(|have| have.kind == Kind::LeaseTable)
            .copied()
            .unwrap(),
    );
    let older = Have {
        version: table.unwrap().version - 1,
        hash: publication.documents[&relay]
            .iter()
            .find(|document| document.kind == Kind::LeaseTable)
            .unwrap()
            .earlier
            .last()
            .unwrap()
            .1,
        ..*has
            .have
            .iter()
            .find(|have| have.kind == Kind::LeaseTable)
            .unwrap()
    };
    assert_eq!(
        desk.live
            .handle_poll(&publication, relay, &poll(vec![older]), now),
        None,
        "what it had before is no news"
    );
    let lease = desk.read(Action::LeaseList, json!({}));
    assert_eq!(lease[0]["state"], "active", "{lease}");
}

#[test]
fn a_table_that_the_relay_does_not_have_is_not_acknowledged() {
    let mut desk = Controller::new(18);
    let cluster = desk.create_cluster();
    let relay = desk.join("r", &["relay"]);
    let (publication, now) = (desk.publications[&cluster].clone(), desk.world.now);
    let have = desk.have(relay);
    let table = have.iter().find(|have| have.kind == Kind::LeaseTable);
    let table = *table.expect("a table");
    for other in [
        Have {
            hash: Digest::of(b"another content under this version"),
            ..table
        },
        Have {
            version: table.version + 1,
            ..table
        },
        Have {
            epoch: table.epoch + 1,
            ..table
        },
    ] {
        let claimed = poll(vec![other]);
        assert_eq!(desk.live.handle_poll(&publication, relay, &claimed, now), None);
    }

    assert!(
        desk.live
            .handle_poll(&publication, relay, &poll(have), now)
            .is_some()
    );
}

#[test]
fn what_a_revoked_node_said_is_forgotten() {
    let mut desk = Controller::new(19);
    let cluster = desk.create_cluster();
    let (a, b) = (desk.join("a", &["member"]), desk.join("b", &["member"]));
    desk.links(cluster, &[(a, b), (b, a)]);
    let publication = desk.publications[&cluster].clone();
    let now = desk.world.now;
    desk.live.handle_poll(&publication, b, &poll(Vec::new()), now);
    desk.act(Action::NodeRevoke, json!({ "id": "b", "reason": "stolen" }));

    assert!(desk.live.last_poll(cluster, b).is_none());
    let life = desk.live.of(cluster).expect("a cluster");
    assert_eq!(life.observations.links().count(), 0);
}

impl Controller {
    /// Damages a row that nobody has in memory any more.
    pub(crate) fn spoil(&mut self, table: Table, key: &[&[u8]]) {
        self.press.forget();
        self.tx
            .put_bytes(table, &key.concat(), vec![0xff])
            .expect("writes");
    }
}

#[test]
fn a_finding_counts_in_its_own_cluster_and_is_shown_by_the_beginning_of_its_id() {
    let mut desk = Controller::new(21);
    let cluster = desk.create_cluster();
    let node = desk.join("web-1", &["member"]);
    desk.act(Action::ClusterCreate, json!({ "name": "other" }));
    desk.spoil(Table::Nodes, &[cluster.as_bytes(), node.as_bytes()]);
    desk.publish(&mut Touched::everything());

    let status = desk.read(Action::StatusShow, json!({}));
    let counts: Vec<(&str, u64)> = status["clusters"]
        .as_array()
        .expect("two")
        .iter()
        .map(|row| {
            (
                row["name"].as_str().expect("a name"),
                row["findings"].as_u64().expect("a count"),
            )
        })
        .collect();
    assert!(
        counts.contains(&("prod", 1)) && counts.contains(&("other", 0)),
        "{counts:?}"
    );
    assert_eq!(status["findings"], 0, "none is of the installation");
    let listed = desk.read(Action::FindingList, json!({}));
    let id = listed[0]["id"].as_str().expect("an id");
    let shown = desk.read(Action::FindingShow, json!({ "id": &id[..8] }));
    assert_eq!(shown, listed[0]);
    let refused = desk.try_read(Action::FindingShow, json!({ "id": "" }));
    assert_eq!(refused.expect_err("that is nobody's").code, Code::NotFound);
}
