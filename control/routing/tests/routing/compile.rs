//! What each node is told.

use std::collections::BTreeSet;

use std::net::SocketAddr;
use std::time::Duration;

use control_routing::compile::{self, ConfigError, TableError};
use control_routing::member::{Endpoint, MemberState};
use control_routing::neighbour::{LEARNERS, Learners};
use protocol::cbor;
use protocol::document::config::{Candidate, CandidateKind, Settings, SyntheticConfig, Transport};
use protocol::document::routes::{Path, RouteDecision, Routes};
use protocol::id::{LeaseId, NodeId};
use protocol::limits::CANDIDATES;

use crate::world::{World, member, node, relay, route};

#[test]
fn both_ends_are_told_the_same_of_a_route_each_from_its_side() {
    let world = settled();
    let [one, other] = [1, 2].map(|number| find(&routes_of(&world, number), route(node(1), node(2))));

    assert_eq!((one.peer, other.peer), (node(2), node(1)));
    assert_eq!(
        one,
        RouteDecision {
            peer: node(2),
            ..other
        }
    );
    assert_eq!(routes_of(&world, 1).decisions.len(), 2);
    assert!(
        routes_of(&world, 1)
            .decisions
            .is_sorted_by_key(|decision| decision.route)
    );
    assert!(
        routes_of(&world, 11).decisions.is_empty(),
        "a relay ends no routes"
    );
}

#[test]
fn equal_records_give_equal_bytes() {
    let (one, other) = (settled(), settled());

    assert_eq!(
        cbor::encode(&routes_of(&one, 1)),
        cbor::encode(&routes_of(&other, 1))
    );
    assert_eq!(cbor::encode(&config(&one, 1)), cbor::encode(&config(&other, 1)));
    let table = |world: &World| {
        compile::lease_table(&world.snapshot(), &BTreeSet::new(), node(11)).map(|table| cbor::encode(&table))
    };
    assert_eq!(table(&one), table(&other));
}

#[test]
fn a_withdrawn_route_is_told_explicitly() {
    let mut world = settled();
    world.set_state(node(2), MemberState::Revoked);
    world.decide();
    let told = find(&routes_of(&world, 1), route(node(1), node(2)));

    assert_eq!(
        (told.action.name(), told.path, told.standbys.len()),
        ("withdraw", None, 0)
    );
}

#[test]
fn a_record_that_contradicts_itself_is_left_out_and_named() {
    let mut world = settled();
    let spoiled = route(node(1), node(2));
    let mut row = world.row(node(1), node(2)).clone();
    row.standbys[0] = Path::Relay {
        relay: node(11),
        lease: LeaseId::from_bytes([0xEE; 16]),
        generation: 1,
        budget: 1,
    };
    world.routes.put(row);
    let compiled = compile::routes(node(1), &world.routes, &world.leases);

    assert_eq!(compiled.left_out, [spoiled]);
    assert_eq!(compiled.document.decisions.len(), 1, "the other route is told");
    assert!(
        compile::routes(node(3), &world.routes, &world.leases)
            .left_out
            .is_empty()
    );
}

#[test]
fn a_relay_is_told_its_live_leases_and_nobody_elses() {
    let mut world = settled();
    let rows = |world: &World, number| {
        compile::lease_table(&world.snapshot(), &BTreeSet::new(), node(number))
            .expect("a relay")
            .rows
    };
    assert_eq!((rows(&world, 11).len(), rows(&world, 12).len()), (3, 3));
    assert!(rows(&world, 11).is_sorted_by_key(|row| row.lease));
    assert!(rows(&world, 11).iter().all(|row| row.low < row.high));
    world.set_state(node(2), MemberState::Revoked);
    assert_eq!(
        rows(&world, 11).len(),
        1,
        "a revoked end is carried no more, before any pass"
    );

    let none = compile::lease_table(&world.snapshot(), &BTreeSet::new(), node(1));
    assert_eq!(none, Err(TableError::NotARelay));
}

#[test]
fn the_largest_table_and_config_fit_a_frame() {
    let mut world = settled();
    let lease = *world.leases.iter().next().expect("leased");
    let row = lease.row();
    let table = protocol::document::routes::LeaseTable {
        rows: vec![row; protocol::limits::LEASE_ROWS],
    };
    assert!(
        cbor::encode(&table).len() < protocol::limits::FRAME_BYTES,
        "{}",
        cbor::encode(&table).len()
    );
    let endpoints = (0..CANDIDATES).map(|number| endpoint(&format!("[2001:db8::{number}]:4433"), true));
    world.members.get_mut(&node(2)).expect("there").endpoints = endpoints.collect();
    let mut config = config(&world, 1);
    let mut wide = config
        .neighbours
        .iter()
        .find(|found| found.node == node(2))
        .expect("there")
        .clone();
    wide.name = "x".repeat(63);
    config.neighbours = vec![wide; compile::NEIGHBOURS];
    assert!(
        cbor::encode(&config).len() < protocol::limits::FRAME_BYTES,
        "{}",
        cbor::encode(&config).len()
    );
    let mut routes = routes_of(&world, 1);
    let wide = routes.decisions[0].clone();
    let Some(relayed) = wide.standbys.first().copied() else {
        panic!("a settled route has standbys");
    };
    let wide = RouteDecision {
        path: Some(relayed),
        standbys: vec![relayed; 2],
        generation: u64::from(u32::MAX),
        reasons: vec![protocol::document::routes::Reason::LinkDown; 8],
        rendezvous: Some(protocol::document::routes::Rendezvous {
            node: node(1),
            lease: LeaseId::from_bytes([0xff; 16]),
            generation: u32::MAX,
        }),
        ..wide
    };
    routes.decisions = vec![wide; compile::DECISIONS];
    assert!(
        cbor::encode(&routes).len() < protocol::limits::FRAME_BYTES,
        "{}",
        cbor::encode(&routes).len()
    );
}

#[test]
fn addresses_that_name_no_single_host_are_not_passed_on() {
    let mut world = settled();
    let texts = [
        "192.0.2.7:4433",
        "0.0.0.0:4433",
        "[::]:4433",
        "224.0.0.1:4433",
        "[ff02::1]:4433",
        "169.254.1.1:4433",
        "[fe80::1]:4433",
        "[::ffff:0.0.0.0]:4433",
        "255.255.255.255:4433",
        "192.0.2.7:0",
    ];
    let endpoints = texts.iter().map(|text| endpoint(text, true));
    world.members.get_mut(&node(2)).expect("there").endpoints = endpoints.collect();

    assert_eq!(candidates_of(&world, 1, 2), ["192.0.2.7:4433"]);
}

#[test]
fn at_most_four_learn_an_unconfirmed_address() {
    let mut world = World::of((1..=20).map(member).chain([relay(31, "fra"), relay(32, "ber")]));
    for number in [1, 31] {
        let endpoints = vec![
            endpoint("192.0.2.7:4433", true),
            endpoint("198.51.100.9:4433", false),
        ];
        world.members.get_mut(&node(number)).expect("there").endpoints = endpoints;
        let learned = |world: &World| {
            let others = (2..=20).chain([32]);

            others
                .filter(|other| candidates_of(world, *other, number).len() == 2)
                .count()
        };
        assert_eq!(learned(&world), LEARNERS);
        world.members.get_mut(&node(number)).expect("there").endpoints[1].confirmed = true;
        assert_eq!(learned(&world), 20);
    }
}

#[test]
fn who_speaks_ipv6_alone_is_the_first_to_learn_an_unconfirmed_address_of_ipv6() {
    let mut world = World::of((1..=20).map(member).chain([relay(31, "fra")]));
    let mut set = |number: u8, endpoints: Vec<Endpoint>| {
        world.members.get_mut(&node(number)).expect("there").endpoints = endpoints;
    };
    for number in 1..=20 {
        let text = match number {
            7 | 13 => format!("[2001:db8::{number}]:4433"),
            _ => format!("192.0.2.{number}:4433"),
        };
        set(number, vec![endpoint(&text, true)]);
    }
    set(
        31,
        vec![
            endpoint("192.0.2.31:4433", true),
            endpoint("[2001:db8::31]:4433", false),
        ],
    );

    for number in [7, 13] {
        assert_eq!(candidates_of(&world, number, 31).len(), 2, "{number}");
    }
    let told = (1..=20).filter(|number| candidates_of(&world, *number, 31).len() == 2);
    assert_eq!(told.count(), LEARNERS, "and no more than before");
}

#[test]
fn only_its_own_state_keeps_a_node_from_a_config() {
    let mut world = settled();
    world.set_state(node(2), MemberState::Quarantined);
    let of = |number| {
        let input = world.snapshot();

        compile::config(&input, &Learners::of(&input), node(number), &settings())
    };

    assert_eq!(of(2).err(), Some(ConfigError::NotInForce));
    assert_eq!(of(99).err(), Some(ConfigError::Unknown));
    let other = of(1).expect("unharmed");
    assert!(other.neighbours.iter().all(|found| found.node != node(2)));
    assert!(other.neighbours.is_sorted_by_key(|found| found.node));
}

#[test]
fn a_full_set_of_withdrawals_never_pushes_out_what_stands() {
    let mut world = settled();
    let template = world.row(node(1), node(2)).clone();
    for number in 0..u32::try_from(compile::DECISIONS).expect("small") {
        let mut id = [0xFF; 16];
        id[1..5].copy_from_slice(&number.to_be_bytes());
        let high = NodeId::from_bytes(id);
        world.routes.put(control_routing::route::RouteRow {
            route: route(node(1), high),
            low: node(1),
            high,
            path: None,
            standbys: Vec::new(),
            priority: 255,
            decided_at: world.now.wall.after(Duration::from_secs(1)),
            ..template.clone()
        });
    }
    let told = routes_of(&world, 1);
    let standing = told
        .decisions
        .iter()
        .filter(|decision| decision.path.is_some())
        .count();

    assert_eq!((told.decisions.len(), standing), (compile::DECISIONS, 2));
}

fn settled() -> World {
    let mut world = World::of([
        member(1),
        member(2),
        member(3),
        relay(11, "fra"),
        relay(12, "ber"),
    ]);
    world.decide();
    world.acknowledge_all();
    world.run(30);

    world
}

fn routes_of(world: &World, number: u8) -> Routes {
    compile::routes(node(number), &world.routes, &world.leases).document
}

fn find(routes: &Routes, route: protocol::id::RouteId) -> RouteDecision {
    let found = routes.decisions.iter().find(|decision| decision.route == route);

    found.expect("told").clone()
}

fn config(world: &World, number: u8) -> SyntheticConfig {
    let input = world.snapshot();

    compile::config(&input, &Learners::of(&input), node(number), &settings()).expect("in force")
}

fn candidates_of(world: &World, reader: u8, of: u8) -> Vec<String> {
    let config = config(world, reader);
    let found = config
        .neighbours
        .iter()
        .find(|found| found.node == node(of))
        .expect("a neighbour");

    found
        .candidates
        .iter()
        .map(|candidate| candidate.address.0.to_string())
        .collect()
}

fn endpoint(address: &str, confirmed: bool) -> Endpoint {
    let address: SocketAddr = address.parse().expect("a valid address");

    Endpoint {
        candidate: Candidate::new(CandidateKind::Public, address),
        confirmed,
    }
}

fn settings() -> Settings {
    Settings {
        controllers: Vec::new(),
        transport: Transport::default(),
    }
}
