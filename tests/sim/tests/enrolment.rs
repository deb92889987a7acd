//! A host becomes one node, whatever is lost on the way and wherever the controller breaks.

use std::collections::BTreeMap;
use std::time::Duration;

use control_store::EngineReader;
use control_store::memory::CommitFault;
use serde_json::{Value, json};
use sim::net::Way;
use sim::world::{Ground, Host, World};

#[test]
fn a_join_whose_packets_and_replies_are_lost_makes_one_node_and_spends_its_token_once() {
    let lossy = Ground {
        usual: Way {
            loss: 200,
            ..Ground::default().usual
        },
        ..Ground::default()
    };
    let mut lost = 0;
    for seed in 0..12 {
        let mut world = World::on(seed, lossy);
        let hosts: Vec<_> = (0..3)
            .map(|_| world.stranger("member", &["member"], None))
            .collect();
        let before = world.store().revision().expect("it can be read").get();
        for host in &hosts {
            world.start(*host);
        }
        // From the moment at which a request was committed its answer cannot come back for a while.
        world.until("a request is committed", secs(60), |world| {
            world.store().revision().expect("it can be read").get() > before
        });
        for host in &hosts {
            world.set_cut(Host::CONTROLLER, *host, true);
        }
        world.run_for(secs(12));
        for host in &hosts {
            world.set_cut(Host::CONTROLLER, *host, false);
        }
        lost += world.net().counts().lost;
        world.until("every host is a node", secs(120), |world| {
            hosts.iter().all(|host| world.id(*host).is_some())
        });
        one_node_each(&mut world, &hosts);
    }
    assert!(lost > 0);
}

#[test]
fn a_controller_that_breaks_at_any_commit_of_an_enrolment_loses_nothing_that_it_has_answered() {
    for fault in [CommitFault::IoKept, CommitFault::IoLost, CommitFault::StoreFull] {
        let commits = enrolment_commits();
        assert!(commits >= 8, "an enrolment has {commits} commits");
        let mut broken = 0;
        for nth in 0..commits {
            let mut world = World::new(SEED);
            let hosts = strangers(&mut world);
            world.store().fail_commit(nth, fault);
            for host in &hosts {
                world.start(*host);
            }
            let mut known = BTreeMap::new();
            world.until("the fleet is whole", secs(120), |world| {
                for host in &hosts {
                    if let Some(id) = world.id(*host) {
                        // A node that was told its id has no other one ever after.
                        assert_eq!(*known.entry(*host).or_insert(id), id, "{fault:?} at commit {nth}");
                    }
                }
                world.is_well() && routed_over_standbys(world, &hosts)
            });
            one_node_each(&mut world, &hosts);
            broken += usize::from(world.history().iter().any(|line| is_of(fault, line)));
        }
        assert_eq!(broken, commits, "{fault:?}: every commit was reached and failed");
    }
}

/// Whether a line tells that this fault has struck.
fn is_of(fault: CommitFault, line: &str) -> bool {
    match fault {
        CommitFault::IoKept | CommitFault::IoLost => line.contains("ends: the store takes nothing more"),
        CommitFault::StoreFull => line.contains("no space left"),
    }
}

/// Commits from the start of the hosts until the fleet is whole, when nothing breaks.
fn enrolment_commits() -> usize {
    let mut world = World::new(SEED);
    let hosts = strangers(&mut world);
    let before = world.store().revision().expect("it can be read").get();
    for host in &hosts {
        world.start(*host);
    }
    world.until("the fleet is whole", secs(120), |world| {
        world.is_well() && routed_over_standbys(world, &hosts)
    });
    let after = world.store().revision().expect("it can be read").get();

    usize::try_from(after - before).expect("few")
}

/// A relay and two members that have tokens and have not started.
fn strangers(world: &mut World) -> Vec<Host> {
    vec![
        world.stranger("relay", &["relay"], Some("site-a")),
        world.stranger("member", &["member"], None),
        world.stranger("member", &["member"], None),
    ]
}

/// Whether both members have the relay as a standby.
fn routed_over_standbys(world: &World, hosts: &[Host]) -> bool {
    let members = &hosts[1..];

    members.iter().all(|member| {
        let routes = world.routes(*member);
        !routes.is_empty() && routes.iter().all(|route| route.paths.len() == 2)
    })
}

/// One row for each host with the id that the host knows, one use of each token, one request, and a chain that holds.
fn one_node_each(world: &mut World, hosts: &[Host]) {
    let seed = world.seed();
    let nodes = list(world.act("node/list", json!({})));
    let expected: BTreeMap<_, _> = hosts
        .iter()
        .map(|host| {
            (
                world.name(*host).to_string(),
                world.id(*host).map(|id| id.to_string()),
            )
        })
        .collect();
    let found: BTreeMap<_, _> = nodes
        .iter()
        .map(|node| (text(node, "name"), Some(text(node, "id"))))
        .collect();
    assert_eq!(found, expected, "seed {seed}");
    assert_eq!(nodes.len(), hosts.len(), "seed {seed}");

    let requests = list(world.act("request/list", json!({})));
    assert_eq!(requests.len(), hosts.len(), "seed {seed}: {requests:?}");
    let records = list(world.act("audit/list", json!({ "limit": 1_000 })));
    let consumed: Vec<_> = records
        .iter()
        .filter(|record| record["name"] == "token.consumed")
        .collect();
    assert_eq!(consumed.len(), hosts.len(), "seed {seed}: {consumed:?}");
    let tokens = list(world.act("token/list", json!({})));
    assert!(
        tokens.iter().all(|token| token["used"] == 1),
        "seed {seed}: {tokens:?}"
    );
    assert_eq!(world.act("audit/verify", json!({}))["ok"], true, "seed {seed}");
    assert!(
        world.act("status/show", json!({}))["read_only"].is_null(),
        "seed {seed}"
    );
}

fn list(value: Value) -> Vec<Value> {
    value.as_array().expect("a list").clone()
}

fn text(value: &Value, member: &str) -> String {
    value[member].as_str().expect("a text").to_owned()
}

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

const SEED: u64 = 1;
