//! What operators say and are shown: fingerprints, reasons, times, and roles in one cluster.

use control_core::testing::signed_grant;
use protocol::document::authority::{Role, RoleGrant};
use protocol::id::OperatorId;

use control_core::node::{self, NodeCaller};

use super::*;

#[test]
fn a_request_is_approved_only_with_the_fingerprint_that_was_compared() {
    let mut desk = Controller::new(50);
    desk.create_cluster();
    let request = desk.ask_to_join("web-1");
    let shown = desk.read(Action::RequestShow, json!({ "id": "web-1" }));
    let fingerprint = shown["fingerprint"].as_str().expect("shown").to_owned();
    let approve = |fingerprint: &str| Request::Act {
        action: Action::RequestApprove,
        input: json!({ "id": "web-1", "fingerprint": fingerprint }),
    };
    let owner = Caller::Local {
        operator: None,
        uid: None,
    };
    let other = desk.ask(&owner, &approve("SHA256:another"));

    let refused = other.map(|_| ()).expect_err("another key");
    assert_eq!(refused.code, Code::ConflictState);
    assert!(refused.why.expect("evidence").contains(&fingerprint));
    assert!(
        refused
            .fix
            .expect("a fix")
            .starts_with(&format!("gabion request reject {request}"))
    );
    let pending = desk.read(Action::RequestShow, json!({ "id": "web-1" }));
    assert_eq!(pending["state"], "pending");
    desk.ask(&owner, &approve(&fingerprint)).expect("the same key");
}

#[test]
fn the_reason_for_disabling_a_node_is_in_the_audit() {
    let mut desk = Controller::new(51);
    desk.create_cluster();
    desk.join("a", &["member"]);
    desk.act(
        Action::NodeDisable,
        json!({ "id": "a", "reason": "disk swap ticket 12" }),
    );
    desk.act(Action::NodeEnable, json!({ "id": "a" }));
    let records = desk.read(Action::AuditList, json!({}));
    let details: Vec<&str> = records
        .as_array()
        .into_iter()
        .flatten()
        .filter(|record| {
            record["name"]
                .as_str()
                .is_some_and(|name| name.starts_with("node."))
        })
        .filter_map(|record| record["detail"].as_str())
        .collect();

    assert!(details.ends_with(&["a disk swap ticket 12", "a"]), "{details:?}");
}

#[test]
fn an_explanation_has_times_that_people_can_read() {
    let (desk, ..) = health::pair(52);
    let told = desk.read(Action::RouteExplain, json!({ "source": "a", "target": "b" }));

    let at = told["decision"]["decided_at"].as_str().expect("a time");
    assert!(at.ends_with('Z') && at.contains('T'), "{at}");
}

#[test]
fn the_source_of_a_request_is_shown_as_people_know_it() {
    let mut desk = Controller::new(53);
    desk.create_cluster();
    desk.ask_to_join("web-1");
    let shown = desk.read(Action::RequestShow, json!({ "id": "web-1" }));

    assert_eq!(shown["source"], "192.0.2.20:7444");
}

#[test]
fn a_role_in_one_cluster_is_enough_there_and_nowhere_else() {
    let mut desk = Controller::new(54);
    let cluster = desk.create_cluster();
    desk.act(Action::ClusterCreate, json!({ "name": "other" }));
    let operator = OperatorId::from_bytes([7; 16]);
    let grant = RoleGrant {
        operator,
        name: "bob".to_owned(),
        key: SigningKey::generate(&mut desk.rng).verify_key(),
        role: Role::Admin,
        cluster: Some(cluster),
    };
    desk.grant(&grant);
    let caller = Caller::Local {
        operator: Some(operator),
        uid: None,
    };
    let create = |input: Value| Request::Act {
        action: Action::TokenCreate,
        input,
    };

    desk.ask(&caller, &create(json!({ "cluster": "prod" })))
        .expect("an admin there");
    for input in [
        json!({ "cluster": "other" }),
        json!({ "cluster": "none" }),
        json!({}),
    ] {
        let refused = desk.ask(&caller, &create(input)).map(|_| ());
        assert_eq!(refused.expect_err("no admin here").code, Code::RoleDenied);
    }
    let everywhere = Request::Act {
        action: Action::ClusterCreate,
        input: json!({ "name": "third" }),
    };
    let refused = desk.ask(&caller, &everywhere).map(|_| ());
    assert_eq!(
        refused.expect_err("no admin of the installation").code,
        Code::RoleDenied
    );
}

impl Controller {
    /// Asks for a node that an operator has to approve, from behind a dual-stack socket.
    fn ask_to_join(&mut self, name: &str) -> String {
        let source = "[::ffff:192.0.2.20]:7444".parse().expect("an address");
        let (caller, enroll) = self.joiner(name, json!({}), source);
        self.ask(&caller, &Request::Join(Box::new(JoinRequest::Enroll(enroll))))
            .expect("asks");
        let shown = self.read(Action::RequestShow, json!({ "id": name }));

        shown["id"].as_str().expect("an id").to_owned()
    }

    /// Has the product root sign a role, and records it.
    fn grant(&mut self, grant: &RoleGrant) {
        let installation = self.read(Action::InstallationShow, json!({}));
        let installation = installation["id"]
            .as_str()
            .expect("an id")
            .parse()
            .expect("an id");
        let document = signed_grant(&self.world.root, installation, grant, (1, None));
        let text = data_encoding::BASE64URL_NOPAD.encode(&document);
        self.act(Action::RoleGrant, json!({ "grant": text }));
    }
}

#[test]
fn the_audit_names_the_operator_that_acted_and_the_user_of_the_host() {
    let mut desk = Controller::new(34);
    let before = audit::head(&desk.tx).expect("reads").count;
    let unnamed = Caller::Local {
        operator: None,
        uid: Some(audit::Uid(1_000)),
    };
    let create = Request::Act {
        action: Action::ClusterCreate,
        input: json!({ "name": "prod" }),
    };
    desk.ask(&unnamed, &create).expect("the first owner may");
    desk.ask(&unnamed, &create).expect_err("the name is taken");

    let records = audit::list(&desk.tx, before, 10).expect("reads");
    let (owner, last) = (desk.world.owner, records.len() - 1);
    assert_eq!(records[last].action, audit::Action::ACTION_REFUSED);
    for record in [&records[0], &records[last]] {
        assert_eq!(record.actor, Actor::Operator(owner), "the first owner by its id");
        assert_eq!(record.uid, Some(audit::Uid(1_000)));
    }
    let listed = desk.read(Action::AuditList, json!({ "after": before }));
    assert_eq!(listed[0]["actor"], format!("operator/{owner}"), "{listed}");
    assert_eq!(listed[0]["uid"], 1_000, "{listed}");
    assert_eq!(desk.read(Action::AuditVerify, json!({}))["ok"], true);
}

#[test]
fn a_node_that_ended_is_found_by_its_name_until_another_has_it() {
    let mut desk = Controller::new(35);
    let cluster = desk.create_cluster();
    let (left, revoked) = (desk.join("web-1", &["member"]), desk.join("web-2", &["member"]));
    let leaving = Caller::Node(desk.caller(cluster, left));
    desk.ask(&leaving, &Request::Leave).expect("leaves");
    desk.act(Action::NodeRevoke, json!({ "id": "web-2", "reason": "stolen" }));
    for (name, node, state) in [("web-1", left, "left"), ("web-2", revoked, "revoked")] {
        let shown = desk.read(Action::NodeShow, json!({ "id": name }));
        assert_eq!(
            (&shown["id"], &shown["state"]),
            (&json!(node.to_string()), &json!(state))
        );
    }

    let next = desk.join("web-1", &["member"]);
    let shown = desk.read(Action::NodeShow, json!({ "id": "web-1" }));
    assert_eq!(
        shown["id"],
        next.to_string(),
        "the name is that of who has it now"
    );
    desk.act(Action::NodeRevoke, json!({ "id": "web-1", "reason": "stolen" }));
    let refused = desk.try_read(Action::NodeShow, json!({ "id": "web-1" }));
    assert_eq!(refused.expect_err("two had it").code, Code::ValidationFailed);
}

#[test]
fn a_request_that_was_decided_is_found_by_its_name_and_said_to_be_decided() {
    let mut desk = Controller::new(36);
    desk.create_cluster();
    let (caller, enroll) = desk.joiner("web-1", json!({}), address(9));
    desk.ask(&caller, &Request::Join(Box::new(JoinRequest::Enroll(enroll))))
        .expect("waits for an approval");
    desk.act(
        Action::RequestReject,
        json!({ "id": "web-1", "reason": "not ours" }),
    );

    let shown = desk.read(Action::RequestShow, json!({ "id": "web-1" }));
    assert_eq!(shown["state"], "rejected", "{shown}");
    let approve = Request::Act {
        action: Action::RequestApprove,
        input: json!({ "id": "web-1" }),
    };
    let owner = Caller::Local {
        operator: None,
        uid: None,
    };
    let refused = desk.ask(&owner, &approve).expect_err("it was rejected");
    assert_eq!(refused.code, Code::AlreadyDecided, "{refused:?}");
}

impl Controller {
    fn caller(&self, cluster: ClusterId, node: NodeId) -> NodeCaller {
        let row = node::get(&self.tx, cluster, node)
            .expect("reads")
            .expect("a node");

        NodeCaller {
            cluster,
            node,
            serial: row.serial,
        }
    }
}
