//! Settings that led a node to no controller: it is kept from them until an operator has seen that.

use control_api::books::Book;
use protocol::wire::Reverted;

use super::*;

#[test]
fn settings_that_a_node_went_back_from_are_not_offered_to_it_until_that_is_acknowledged() {
    let mut desk = Controller::new(41);
    let cluster = desk.create_cluster();
    let (a, b) = (desk.join("web-1", &["member"]), desk.join("web-2", &["member"]));
    desk.serve_at(ALIVE);
    let first: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    let report = desk.mislead(a, &first);
    desk.revert(cluster, a, report);

    let kept: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    assert_eq!(kept.settings(), first.settings());
    assert_eq!(kept.settings, first.settings);
    let other: SyntheticConfig = desk.document(b, Kind::SyntheticConfig);
    assert_eq!(addresses(&other), [DEAD], "it is said by each for itself");
    assert!(desk.version(a) > report.config.version, "by a newer version");

    desk.join("web-3", &["member"]);
    let kept: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    assert_eq!(kept.neighbours.len(), 2, "all else goes on");
    assert_eq!(kept.settings(), first.settings());
    desk.ticks(3);
    desk.publications = Publications::new();
    desk.publish(&mut Touched::everything());
    let kept: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    assert_eq!(kept.settings(), first.settings(), "also after a restart");

    let found = desk.only_finding();
    assert_eq!(
        (&found["name"], &found["state"]),
        (&json!("config_reverted"), &json!("open"))
    );
    let detail = found["detail"].as_str().expect("a sentence");
    let fix = format!("gabion finding ack {}", found["id"].as_str().expect("an id"));
    for said in ["web-1", DEAD, fix.as_str()] {
        assert!(detail.contains(said), "{said}: {detail}");
    }
    let shown = desk.read(Action::NodeShow, json!({ "id": "web-1" }));
    assert_eq!(shown["reverted"]["state"], "held", "{shown}");
    assert_eq!(shown["reverted"]["settings"], found["subject"]);

    desk.act(Action::FindingAck, json!({ "id": found["id"] }));
    let offered: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    assert_eq!(addresses(&offered), [DEAD]);
    let shown = desk.read(Action::NodeShow, json!({ "id": "web-1" }));
    assert_eq!(shown["reverted"]["state"], "acknowledged", "{shown}");
}

#[test]
fn one_finding_says_how_many_nodes_went_back() {
    let mut desk = Controller::new(45);
    let cluster = desk.create_cluster();
    let nodes = ["web-1", "web-2", "web-3"].map(|name| desk.join(name, &["member"]));
    desk.serve_at(ALIVE);
    let first: SyntheticConfig = desk.document(nodes[0], Kind::SyntheticConfig);
    let report = desk.mislead(nodes[0], &first);
    for (node, said) in nodes
        .into_iter()
        .zip(["node web-1 found", "2 nodes, web-2", "3 nodes, web-3"])
    {
        let report = Reverted {
            config: desk.config(node),
            ..report
        };
        desk.revert(cluster, node, report);
        let found = desk.only_finding();
        let detail = found["detail"].as_str().expect("a sentence");
        assert!(detail.starts_with(said), "{said}: {detail}");
    }
    let again = Reverted {
        config: Have {
            version: 99,
            ..report.config
        },
        ..report
    };
    desk.revert(cluster, nodes[0], again);
    let detail = desk.only_finding()["detail"].to_string();
    assert!(detail.contains("3 nodes, web-1"), "counted once: {detail}");

    let found = desk.only_finding();
    desk.act(Action::FindingAck, json!({ "id": found["id"] }));
    let anew = Reverted {
        config: Have {
            version: 100,
            ..report.config
        },
        ..report
    };
    desk.revert(cluster, nodes[1], anew);
    let found = desk.only_finding();
    assert_eq!(found["state"], "open");
    assert!(
        found["detail"]
            .as_str()
            .expect("a sentence")
            .starts_with("node web-2 found")
    );
}

#[test]
fn what_happens_again_after_it_was_acknowledged_is_a_finding_again() {
    let mut desk = Controller::new(42);
    let cluster = desk.create_cluster();
    let a = desk.join("web-1", &["member"]);
    desk.serve_at(ALIVE);
    let first: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    let report = desk.mislead(a, &first);
    let changes = desk.revert(cluster, a, report);
    let found = desk.only_finding();
    for _ in 0..2 {
        desk.act(Action::FindingAck, json!({ "id": found["id"] }));
        desk.revert(cluster, a, report);
        desk.store(&changes);
        assert_eq!(
            desk.only_finding()["state"],
            "acknowledged",
            "the same word is no news"
        );
        let offered: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
        assert_eq!(addresses(&offered), [DEAD]);
    }

    let again = Reverted {
        config: desk.config(a),
        ..report
    };
    desk.revert(cluster, a, again);
    assert_eq!(desk.only_finding()["state"], "open");
    let kept: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    assert_eq!(kept.settings(), first.settings());
}

#[test]
fn other_settings_go_to_all() {
    let mut desk = Controller::new(43);
    let cluster = desk.create_cluster();
    let a = desk.join("web-1", &["member"]);
    desk.serve_at(ALIVE);
    let first: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    let report = desk.mislead(a, &first);
    desk.revert(cluster, a, report);
    desk.serve_at("192.0.2.8:1");
    let mended: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    assert_eq!(addresses(&mended), ["192.0.2.8:1"]);

    desk.serve_at(DEAD);
    let kept: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    assert_eq!(kept.settings(), first.settings(), "nobody has acknowledged those");
}

#[test]
fn a_node_is_given_no_settings_that_it_makes_up() {
    let mut desk = Controller::new(44);
    let cluster = desk.create_cluster();
    let a = desk.join("web-1", &["member"]);
    desk.serve_at(ALIVE);
    let first: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    let report = desk.mislead(a, &first);
    let unknown = Reverted {
        restored: Some(Digest::of(b"elsewhere")),
        ..report
    };
    desk.revert(cluster, a, unknown);
    let offered: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    assert_eq!(addresses(&offered), [DEAD]);

    for number in 0..5_u8 {
        let made_up = Reverted {
            settings: Digest::of(&[number]),
            ..report
        };
        desk.revert(cluster, a, made_up);
    }
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(
        findings.as_array().map(Vec::len),
        Some(2),
        "one for a node, however much it says: {findings}"
    );
}

#[test]
fn an_acknowledgement_reaches_a_node_that_this_store_cannot_keep_on_what_it_went_back_to() {
    let mut desk = Controller::new(47);
    let cluster = desk.create_cluster();
    let a = desk.join("web-1", &["member"]);
    desk.serve_at(ALIVE);
    let first: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    let report = Reverted {
        restored: Some(Digest::of(b"before the restore")),
        ..desk.mislead(a, &first)
    };
    desk.revert(cluster, a, report);
    let offered: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    assert_eq!((addresses(&offered), offered.offered_again), (vec![DEAD], None));

    for said in [1, 2] {
        let found = desk.only_finding();
        desk.act(Action::FindingAck, json!({ "id": found["id"] }));
        let offered: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
        assert_eq!(
            (addresses(&offered), offered.offered_again),
            (vec![DEAD], Some(said))
        );
        let again = Reverted {
            config: desk.config(a),
            ..report
        };
        desk.revert(cluster, a, again);
        let offered: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
        assert_eq!(offered.offered_again, None, "until that is acknowledged as well");
    }
}

#[test]
fn an_acknowledgement_of_settings_that_this_store_never_published_counts_when_it_does() {
    let elsewhere = {
        let mut lost = Controller::new(48);
        lost.create_cluster();
        let a = lost.join("web-1", &["member"]);
        lost.serve_at(DEAD);
        let config: SyntheticConfig = lost.document(a, Kind::SyntheticConfig);

        config.settings.expect("named")
    };
    for is_acknowledged in [false, true] {
        let mut desk = Controller::new(48);
        let cluster = desk.create_cluster();
        let a = desk.join("web-1", &["member"]);
        desk.serve_at(ALIVE);
        let first: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
        let report = Reverted {
            config: desk.config(a),
            settings: elsewhere,
            restored: first.settings,
        };
        desk.revert(cluster, a, report);
        let found = desk.only_finding();
        assert_eq!(
            found["subject"],
            a.to_string(),
            "of the node: nobody knows the settings"
        );
        if is_acknowledged {
            desk.act(Action::FindingAck, json!({ "id": found["id"] }));
        }

        desk.serve_at(DEAD);
        let config: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
        let expected = match is_acknowledged {
            true => (vec![DEAD], Some(0)),
            // It is kept from them from their first publication on.
            false => (vec![ALIVE], None),
        };
        assert_eq!((addresses(&config), config.offered_again), expected);
    }
}

#[test]
fn what_a_node_says_that_it_went_back_from_is_compiled_for_it_alone() {
    let mut desk = Controller::new(45);
    let cluster = desk.create_cluster();
    let (a, _) = (desk.join("web-1", &["member"]), desk.join("web-2", &["member"]));
    desk.serve_at(ALIVE);
    let first: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    let report = desk.mislead(a, &first);
    desk.revert(cluster, a, report);
    for number in 0..4_u8 {
        let made_up = Reverted {
            settings: Digest::of(&[number % 2]),
            ..report
        };
        desk.revert(cluster, a, made_up);
        let alone = Touched {
            records: [cluster].into(),
            rows: [(cluster, [row_of(cluster, a)].into())].into(),
            ..Touched::default()
        };
        assert_eq!(desk.touched, alone, "{number}");
        let offered: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
        assert_eq!(addresses(&offered), [DEAD], "what it says counts for itself");
    }
}

#[test]
fn a_node_that_says_one_thing_and_another_in_turn_counts_once() {
    let mut desk = Controller::new(46);
    let cluster = desk.create_cluster();
    let (a, _) = (desk.join("web-1", &["member"]), desk.join("web-2", &["member"]));
    desk.serve_at(ALIVE);
    let first: SyntheticConfig = desk.document(a, Kind::SyntheticConfig);
    desk.pass(1);
    let report = desk.mislead(a, &first);
    let made_up = Reverted {
        settings: Digest::of(&[7]),
        ..report
    };
    let older = Reverted {
        settings: first.settings.expect("named"),
        ..report
    };
    // Its first heartbeat says more than that.
    desk.revert(cluster, a, report);
    for (number, said) in [made_up, report, older, report, made_up, report]
        .into_iter()
        .enumerate()
    {
        desk.revert(cluster, a, said);
        let alone = Touched {
            records: [cluster].into(),
            rows: [(cluster, [row_of(cluster, a)].into())].into(),
            ..Touched::default()
        };
        assert_eq!(desk.touched, alone, "{number}");
        desk.document::<SyntheticConfig>(a, Kind::SyntheticConfig);
    }

    let findings = desk.read(Action::FindingList, json!({})).to_string();
    assert!(!findings.contains("2 nodes"), "{findings}");
}

fn row_of(cluster: ClusterId, node: NodeId) -> (Book, Vec<u8>) {
    (Book::Nodes, [*cluster.as_bytes(), *node.as_bytes()].concat())
}

impl Controller {
    /// Publishes an address where nobody answers, and returns what `node` says after it has gone back to `first`.
    fn mislead(&mut self, node: NodeId, first: &SyntheticConfig) -> Reverted {
        self.serve_at(DEAD);
        let tried: SyntheticConfig = self.document(node, Kind::SyntheticConfig);
        assert_eq!(addresses(&tried), [DEAD]);

        Reverted {
            config: self.config(node),
            settings: tried.settings.expect("named"),
            restored: first.settings,
        }
    }

    fn serve_at(&mut self, endpoint: &str) {
        self.bench.endpoints = vec![endpoint.to_owned()];
        let request = Request::Serve {
            controller: self.bench.controller,
            key: self.bench.key,
            endpoints: self.bench.endpoints.clone(),
        };
        self.ask(&Caller::Controller, &request).expect("served");
    }

    /// Has the node say so, and returns what was to be stored of it.
    fn revert(&mut self, cluster: ClusterId, node: NodeId, report: Reverted) -> Vec<Change> {
        let heartbeat = Heartbeat {
            reverted: Some(report),
            ..signs(1, Vec::new())
        };
        let now = self.world.now;
        let change = self
            .live
            .handle_heartbeat((cluster, node), address(1), &heartbeat, now)
            .expect("taken");
        let changes: Vec<Change> = change.into_iter().collect();
        self.live.handle_stored(&changes);
        self.store(&changes);

        changes
    }

    fn store(&mut self, changes: &[Change]) {
        let changes = changes.to_vec();
        self.ask(&Caller::Controller, &Request::Heard { changes })
            .expect("stored");
    }

    fn config(&self, node: NodeId) -> Have {
        let mut have = self.have(node).into_iter();

        have.find(|have| have.kind == Kind::SyntheticConfig)
            .expect("published")
    }

    fn version(&self, node: NodeId) -> u64 {
        self.config(node).version
    }

    fn only_finding(&self) -> Value {
        let findings = self.read(Action::FindingList, json!({}));
        assert_eq!(findings.as_array().map(Vec::len), Some(1), "{findings}");

        findings[0].clone()
    }
}

fn addresses(config: &SyntheticConfig) -> Vec<&str> {
    let endpoints = config
        .controllers
        .iter()
        .flat_map(|controller| &controller.endpoints);

    endpoints.map(String::as_str).collect()
}

const ALIVE: &str = "192.0.2.1:1";
const DEAD: &str = "192.0.2.66:1";
