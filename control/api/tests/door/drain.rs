//! Taking a relay out of use.

use control_routing::lease::MEETING_PAIRS;
use protocol::wire::{Carried, PathObservation};

use super::health::answered;
use super::*;

#[test]
fn a_draining_relay_ends_without_a_lease_and_comes_back_when_it_is_enabled() {
    let (mut desk, cluster, nodes) = site(50);
    desk.go_on(cluster, &nodes, 30);
    assert_eq!(desk.relay("r1")["leases"], 1, "{}", desk.relay("r1"));

    let no_relay = Request::Act {
        action: Action::RelayDrain,
        input: json!({ "id": "a" }),
    };
    let caller = Caller::Local {
        operator: None,
        uid: None,
    };
    let refused = desk.ask(&caller, &no_relay).expect_err("a is no relay");
    assert_eq!(refused.code, Code::ValidationFailed);
    let drained = desk.act(Action::RelayDrain, json!({ "id": "r1", "reason": "new disk" }));
    assert_eq!(drained["state"], "draining");
    desk.go_on(cluster, &nodes, 90);
    let relay = desk.relay("r1");
    assert_eq!(
        (&relay["state"], &relay["leases"]),
        (&json!("draining"), &json!(0)),
        "{relay}"
    );
    assert_eq!(desk.relay("r2")["leases"], 1, "the other is not touched");

    desk.act(Action::NodeEnable, json!({ "id": "r1" }));
    desk.go_on(cluster, &nodes, 30);
    let relay = desk.relay("r1");
    assert_eq!(
        (&relay["state"], &relay["leases"]),
        (&json!("ready"), &json!(1)),
        "{relay}"
    );
}

#[test]
fn a_node_over_which_others_meet_drains_like_a_relay_and_is_shown_like_one() {
    let (mut desk, cluster, nodes) = site(53);
    let introducer = desk.join("i", &["rendezvous"]);
    desk.heartbeat(cluster, introducer, 9);
    desk.go_on(cluster, &nodes, 10);
    assert_eq!(desk.relay("i")["state"], "ready", "{}", desk.relay("i"));
    let drained = desk.act(Action::RelayDrain, json!({ "id": "i" }));
    assert_eq!(drained["state"], "draining");
    desk.go_on(cluster, &nodes, 10);

    let shown = desk.relay("i");
    assert_eq!(
        (&shown["state"], &shown["leases"], &shown["room"]),
        (&json!("draining"), &json!(0), &json!(MEETING_PAIRS)),
        "{shown}"
    );
    let relays = desk.read(Action::RelayList, json!({}));
    assert_eq!(
        relays.as_array().expect("a list").len(),
        2,
        "it is none: {relays}"
    );
}

/// Two members and two relays that were heard, all linked.
fn site(seed: u64) -> (Controller, ClusterId, [NodeId; 4]) {
    let mut desk = Controller::new(seed);
    let cluster = desk.create_cluster();
    let [a, b] = ["a", "b"].map(|name| desk.join(name, &["member"]));
    let [r1, r2] = ["r1", "r2"].map(|name| desk.join(name, &["relay"]));

    (desk, cluster, [a, b, r1, r2])
}

impl Controller {
    /// Everybody is heard, both ends probe the direct path, and the relays take their tables, every five seconds.
    fn go_on(&mut self, cluster: ClusterId, nodes: &[NodeId; 4], seconds: u64) {
        let [a, b, r1, r2] = *nodes;
        for _ in 0..seconds / 5 {
            self.pass(5);
            for (node, port) in nodes.iter().zip(1..) {
                self.heartbeat(cluster, *node, port);
            }
            self.links(cluster, &[(a, r1), (a, r2), (b, r1), (b, r2)]);
            let routes = self.read(Action::RouteList, json!({}));
            let generation = routes[0]["generation"].as_u64().unwrap_or(1);
            for (from, to) in [(a, b), (b, a)] {
                let seen = PathObservation {
                    generation,
                    ..answered(cluster, from, to)
                };
                self.probed(cluster, from, seen);
            }
            self.decide(cluster);
            for relay in [r1, r2] {
                self.polls(cluster, relay);
            }
        }
    }

    /// The relay shows that it has its newest table.
    fn polls(&mut self, cluster: ClusterId, relay: NodeId) {
        let has = poll(self.have(relay));
        let (publication, now) = (self.publications[&cluster].clone(), self.world.now);
        if let Some(table) = self.live.handle_poll(&publication, relay, &has, now) {
            let carried = Request::Carried {
                cluster,
                relay,
                table,
            };
            self.ask(&Caller::Controller, &carried).expect("stored");
            self.live.handle_done(&carried);
        }
    }

    fn relay(&self, name: &str) -> Value {
        self.read(Action::RelayShow, json!({ "id": name }))
    }
}

#[test]
fn leases_are_listed_of_one_relay_and_shown_by_the_beginning_of_their_id() {
    let (mut desk, cluster, nodes) = site(52);
    desk.go_on(cluster, &nodes, 30);
    let of = |input: Value| -> Vec<Value> {
        let leases = desk.read(Action::LeaseList, input);

        leases.as_array().expect("a list").clone()
    };
    let (all, one) = (of(json!({})), of(json!({ "relay": "r1" })));
    let expected: Vec<Value> = all
        .iter()
        .filter(|lease| lease["relay"] == "r1")
        .cloned()
        .collect();
    assert!(!expected.is_empty() && expected.len() < all.len());
    assert_eq!(one, expected);
    let id = one[0]["id"].as_str().expect("an id");
    assert_eq!(desk.read(Action::LeaseShow, json!({ "id": &id[..8] })), one[0]);

    let unknown = desk.try_read(Action::LeaseList, json!({ "relay": "nobody" }));
    assert_eq!(unknown.expect_err("no such node").code, Code::NotFound);
}

#[test]
fn what_a_relay_says_of_its_leases_is_shown_and_what_another_says_of_them_is_not() {
    let (mut desk, cluster, nodes) = site(51);
    desk.go_on(cluster, &nodes, 30);
    let lease = |desk: &Controller, relay: &str| {
        let leases = desk.read(Action::LeaseList, json!({}));
        let leases = leases.as_array().expect("a list").clone();

        leases
            .into_iter()
            .find(|lease| lease["relay"] == relay)
            .expect("leased")
    };
    let before = lease(&desk, "r1");
    assert_eq!(
        (&before["forwarded"], &before["refused"]),
        (&json!(null), &json!(null))
    );
    let carried = Carried {
        lease: before["id"].as_str().expect("an id").parse().expect("valid"),
        forwarded: 40,
        forwarded_bytes: 40_000,
        refused: 2,
    };
    for (teller, forwarded) in [(nodes[2], 40), (nodes[3], 9_999)] {
        let report = Report {
            carried: vec![Carried { forwarded, ..carried }],
            ..Report::default()
        };
        desk.live
            .handle_report(cluster, teller, &report, desk.world.now.boot);
    }

    let told = lease(&desk, "r1");
    assert_eq!(
        (&told["forwarded"], &told["refused"]),
        (&json!(40), &json!(2)),
        "{told}"
    );
    assert_eq!(
        (&told["forwarded_bytes"], &told["told_ms"]),
        (&json!(40_000), &json!(0))
    );
    let relay = desk.relay("r1");
    assert_eq!(
        (&relay["forwarded"], &relay["room"]),
        (&json!(40), &json!(8_000)),
        "{relay}"
    );
    assert_eq!(desk.relay("r2")["forwarded"], 0, "that lease is not its own");
}
