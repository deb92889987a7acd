use control_core::store::{Row, Table};
use control_routing::lease::{Lease, LeaseRequest};
use control_routing::member::MemberState;
use control_routing::policy::{PolicyRow, Wanted, WantedRoute};
use protocol::cbor;
use protocol::document::routes::Path;
use protocol::id::LeaseId;
use protocol::key::SealKey;
use protocol::node::{Labels, NodeRole};
use protocol::time::Wall;
use protocol::wire::{Drift, PathObservation, Report};

use super::*;
use crate::live::{ClusterLife, Due};

#[test]
fn every_route_of_a_large_fleet_has_its_turn_within_a_sweep() {
    let mut router = settled();
    let total = router.fleet().wanted.len();
    assert!(total > WHOLE, "{total}");
    let mut seen = BTreeSet::new();
    for second in 1..=10 {
        let slice = router.next_slice(at(second).boot);
        assert!(slice.len() <= total / 10 + 1, "{} of {total}", slice.len());
        seen.extend(slice);
    }

    assert_eq!(seen.len(), total);
}

#[test]
fn a_small_fleet_is_looked_at_whole() {
    let mut router = router(60);
    let total = router.fleet().wanted.len();
    for second in 0..3 {
        let passed = router.pass(Evidence::default(), at(second));
        assert_eq!(passed.decided, total);
    }
}

#[test]
fn what_is_told_of_a_route_has_that_route_decided_and_no_other() {
    let mut router = settled();
    let route = router.fleet().wanted.iter().nth(100).expect("many").clone();
    let due = |routes: &[RouteId], nodes: &[NodeId]| Evidence {
        due: Due {
            routes: routes.iter().copied().collect(),
            nodes: nodes.iter().copied().collect(),
        },
        ..Evidence::default()
    };
    assert_eq!(router.pass(Evidence::default(), at(0)).decided, 0);
    assert_eq!(router.pass(due(&[route.route], &[]), at(0)).decided, 1);
    let of_node = router.fleet().wanted.of_node(route.low).count();

    assert_eq!(router.pass(due(&[], &[route.low]), at(0)).decided, of_node);
    assert_eq!(router.pass(Evidence::default(), at(0)).decided, 0, "once");
}

#[test]
fn a_relay_that_goes_has_all_that_it_carries_decided_in_one_pass() {
    let mut router = settled();
    let carried: Vec<RouteId> = router
        .fleet()
        .wanted
        .iter()
        .take(500)
        .map(|wanted| wanted.route)
        .collect();
    for (number, route) in carried.iter().enumerate() {
        let wanted = router.fleet().wanted.find(*route).expect("wanted").clone();
        let id = LeaseId::from_bytes((number as u128).to_be_bytes());
        take_lease(&mut router, &wanted, id);
    }
    assert_eq!(router.pass(Evidence::default(), at(0)).decided, 500, "new leases");
    let as_it_is = router.fleet().members[&relay()].clone();
    put(&mut router, relay(), as_it_is.clone());
    assert_eq!(router.pass(Evidence::default(), at(0)).decided, 0, "no news");
    let drained = Member {
        state: MemberState::Draining,
        ..as_it_is
    };
    put(&mut router, relay(), drained);

    assert_eq!(router.pass(Evidence::default(), at(0)).decided, 500);
}

#[test]
fn a_node_that_goes_and_comes_has_its_routes_decided() {
    let mut router = settled();
    let node = *router
        .fleet()
        .members
        .keys()
        .find(|node| **node != relay())
        .expect("many");
    let before: BTreeSet<RouteId> = router
        .fleet()
        .wanted
        .of_node(node)
        .map(|wanted| wanted.route)
        .collect();
    let member = router.fleet().members[&node].clone();
    let disabled = Member {
        state: MemberState::Disabled,
        ..member.clone()
    };
    put(&mut router, node, disabled);
    let gone = router.pass(Evidence::default(), at(0)).decided;
    assert!(
        (before.len()..3 * before.len()).contains(&gone),
        "{gone} of {}",
        before.len()
    );
    assert_eq!(router.fleet().wanted.of_node(node).count(), 0);
    put(&mut router, node, member);

    assert_eq!(router.pass(Evidence::default(), at(0)).decided, gone, "and back");
    assert_eq!(router.fleet().wanted.of_node(node).count(), before.len());
}

#[test]
fn a_row_that_is_damaged_decides_nothing() {
    let mut router = settled();
    let node = *router.fleet().members.keys().next_back().expect("many");
    let key = [*CLUSTER.as_bytes(), *node.as_bytes()].concat();
    let before = router.fleet().clone();
    router
        .handle_row(Book::Nodes, &key, Some(&[0xff]))
        .expect("it is taken for what it was");
    assert_eq!(router.pass(Evidence::default(), at(0)).decided, 0);
    assert_eq!(router.fleet(), &before);
    router.handle_row(Book::Nodes, &key, None).expect("gone for good");

    assert!(router.pass(Evidence::default(), at(0)).decided > 0);
}

#[test]
fn a_node_that_cannot_be_read_at_the_start_keeps_what_is_decided_for_it() {
    let mut router = settled();
    let node = *router.fleet().members.keys().next_back().expect("many");
    let wanted = router.fleet().wanted.of_node(node).next().expect("many").clone();
    take_lease(&mut router, &wanted, LeaseId::from_bytes([1; 16]));
    let key = [*CLUSTER.as_bytes(), *relay().as_bytes()].concat();
    let mut fleet = router.fleet().clone();
    fleet.members.remove(&relay());
    fleet.relays.put(relay(), None);
    fleet.unreadable.push(control_core::store::UnreadableRow {
        table: Table::Nodes,
        key,
    });
    let mut restarted = Router::of(Books::of(fleet, BTreeMap::new()), Trends::default());
    restarted.pass(Evidence::default(), at(0));
    assert_eq!(
        restarted.pass(due(wanted.route), at(0)).decided,
        0,
        "it stays on the relay"
    );
    let member = router.fleet().members[&relay()].clone();
    put(&mut restarted, relay(), member);

    assert_eq!(
        restarted.pass(Evidence::default(), at(0)).decided,
        1,
        "it can be read"
    );
}

/// The node is stored as such a member.
fn put(router: &mut Router, node: NodeId, member: Member) {
    let was_unknown = router.books.unknown().any(|unknown| unknown == node);
    let change = router.books.handle_member(node, Some(member), was_unknown);
    router.handle_change(change);
}

/// The relay is leased for a route.
fn take_lease(router: &mut Router, wanted: &WantedRoute, id: LeaseId) {
    let request = LeaseRequest {
        kind: protocol::document::routes::LeaseKind::Relay,
        cluster: CLUSTER,
        route: wanted.route,
        low: wanted.low,
        high: wanted.high,
        relay: relay(),
        previous: None,
    };
    let lease = Lease::grant(&request, None, id, Wall(0));
    router
        .handle_row(Book::Leases, &lease.key(), Some(&cbor::encode(&lease)))
        .expect("readable");
}

fn due(route: RouteId) -> Evidence {
    Evidence {
        due: Due {
            routes: BTreeSet::from([route]),
            nodes: BTreeSet::new(),
        },
        ..Evidence::default()
    }
}

#[test]
fn a_policy_that_is_damaged_stays_what_it_was_and_one_that_never_was_read_ends_all_deciding() {
    let mut router = settled();
    let policy = PolicyRow {
        cluster: CLUSTER,
        name: "all".parse().expect("a name"),
        source: control_routing::policy::Selector::Every,
        target: control_routing::policy::Selector::Every,
        priority: 1,
        cadence: protocol::document::routes::Cadence::Auto,
    };
    let mut take = |row: &[u8]| router.handle_row(Book::Policies, &policy.key(), Some(row));
    assert!(take(&[0xff]).is_err());
    take(&cbor::encode(&policy)).expect("readable");
    take(&[0xff]).expect("it is taken for what it was");

    let kept = router.books.into_last_good().policies;
    assert_eq!(kept[&policy.key()], policy);
}

#[test]
fn a_trend_is_taken_up_once_its_decision_is_stored() {
    let (stored, lost) = (RouteId::from_bytes([1; 16]), RouteId::from_bytes([2; 16]));
    let moved = Arc::new(Trend::default().with_improvement(Boot(7)));
    let passed = Passed {
        trends: vec![(stored, moved.clone()), (lost, moved)],
        ..Passed::default()
    };
    let mut life = ClusterLife::default();
    life.handle_pass(&passed, &BTreeSet::from([lost]));

    assert!(!life.trends.of(stored).is_empty());
    assert!(life.trends.of(lost).is_empty(), "its move would count twice");
    life.handle_pass(&passed, &BTreeSet::new());
    assert!(!life.trends.of(lost).is_empty());
}

#[test]
fn what_could_not_be_stored_is_decided_again_as_if_for_the_first_time() {
    let mut router = settled();
    let wanted = router.fleet().wanted.iter().next().expect("many").clone();
    let before = router.trends.clone();
    let first = router.pass(due(wanted.route), at(0));
    let moved = Arc::new(Trend::default().with_improvement(Boot(7)));
    router.trends.set(wanted.route, moved);
    router.take_back(&BTreeSet::from([wanted.route]), &before);
    assert!(
        router.trends.of(wanted.route).is_empty(),
        "its move would count twice"
    );
    let again = router.pass(Evidence::default(), at(0));

    assert_eq!(
        (first.decided, again.decided),
        (1, 1),
        "nobody has to say it again"
    );
}

#[test]
fn that_all_was_suspect_is_remembered_for_ten_minutes() {
    let mut router = router(30);
    let nodes: Vec<NodeId> = (1..=30_u128)
        .map(|number| machine(number, NodeRole::Member).0)
        .collect();
    let mut evidence = Evidence::default();
    for (place, node) in nodes.iter().enumerate() {
        let peers = nodes.iter().filter(|peer| *peer != node);
        let report = Report {
            paths: peers.map(|peer| told(*node, *peer, place < 10)).collect(),
            ..Report::default()
        };
        evidence
            .observations
            .handle_report(CLUSTER, *node, &report, at(0).boot);
    }
    let passed = router.pass(evidence, at(0));
    assert!(passed.suspicion.freezes() && passed.suspicion.is_wary());
    let mut later = |second: u64| {
        let passed = router.pass(Evidence::default(), at(second));
        assert!(!passed.suspicion.freezes(), "nobody says anything any more");

        (passed.suspicion.is_wary(), !passed.suspects.is_empty())
    };

    assert_eq!(later(60), (true, true));
    assert_eq!(later(600), (true, true));
    assert_eq!(later(601), (false, false), "as long as the finding stands");
}

/// What a node says of its direct path to another.
fn told(node: NodeId, peer: NodeId, is_down: bool) -> PathObservation {
    PathObservation {
        route: RouteId::between(CLUSTER, node, peer),
        peer,
        path: Path::Direct,
        generation: 1,
        active: true,
        drift: match is_down {
            true => Drift::Failure,
            false => Drift::None,
        },
        expected_hops: Vec::new(),
        observed_hops: Vec::new(),
        rtt_us: (!is_down).then_some(1_000),
        lost_out: 0,
        lost_in: 0,
        window: 20,
        misses: 0,
        answered_ms: None,
    }
}

/// A large fleet after its first pass.
fn settled() -> Router {
    let mut router = router(300);
    router.pass(Evidence::default(), at(0));

    router
}

fn router(nodes: u128) -> Router {
    let mut members: BTreeMap<NodeId, Member> = (1..=nodes)
        .map(|number| machine(number, NodeRole::Member))
        .collect();
    members.extend([machine(0, NodeRole::Relay)]);
    let fleet = Fleet {
        cluster: CLUSTER,
        relays: control_routing::pool::RelayPool::of(&members),
        wanted: Wanted::select(CLUSTER, &[], &members),
        leases: control_routing::lease::LeaseBook::default(),
        routes: control_routing::route::RouteBook::default(),
        members,
        unreadable: Vec::new(),
    };

    Router::of(Books::of(fleet, BTreeMap::new()), Trends::default())
}

fn machine(number: u128, role: NodeRole) -> (NodeId, Member) {
    let node = NodeId::from_bytes(number.to_be_bytes());
    let member = Member {
        node,
        name: format!("n{number}").parse().expect("a valid name"),
        generation: 1,
        roles: vec![role],
        labels: Labels::default(),
        seal_key: SealKey::parse([7; 32]).expect("not zero"),
        endpoints: Vec::new(),
        reverted: None,
        state: MemberState::Active,
    };

    (node, member)
}

fn relay() -> NodeId {
    NodeId::from_bytes([0; 16])
}

fn at(second: u64) -> Now {
    Now {
        boot: Boot(second * 1_000),
        wall: Wall(1_700_000_000_000 + second * 1_000),
    }
}

const CLUSTER: ClusterId = ClusterId::from_bytes([0xC0; 16]);
