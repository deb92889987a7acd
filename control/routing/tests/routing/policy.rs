//! Which pairs get a route, and who becomes whose neighbour.

use std::collections::{BTreeMap, BTreeSet};

use control_routing::member::{Member, MemberState};
use control_routing::neighbour::{RELAYS, neighbours};
use control_routing::policy::{InvalidSelector, PolicyRow, RINGS, Selector, Wanted};
use protocol::document::routes::Cadence;
use protocol::id::NodeId;
use protocol::key::SealKey;
use protocol::node::{Labels, NodeRole};

use crate::world::{CLUSTER, World, machine, member, node, relay, route};

#[test]
fn without_a_policy_every_pair_of_members_gets_a_route() {
    let mut off = member(4);
    off.state = MemberState::Disabled;
    let world = World::of([member(1), member(2), member(3), off, relay(11, "fra")]);
    let ends: BTreeSet<NodeId> = world
        .wanted
        .iter()
        .flat_map(|wanted| [wanted.low, wanted.high])
        .collect();

    assert_eq!(world.wanted.len(), 3);
    assert_eq!(
        ends,
        BTreeSet::from([node(1), node(2), node(3)]),
        "no relay, none set aside"
    );
    assert!(
        world
            .wanted
            .iter()
            .all(|wanted| wanted.low < wanted.high && wanted.policy.is_none())
    );
}

#[test]
fn a_relay_that_is_a_member_too_ends_routes() {
    let mut both = relay(11, "fra");
    both.roles.push(NodeRole::Member);
    let world = World::of([member(1), both]);

    assert!(world.wanted.find(route(node(1), node(11))).is_some());
}

#[test]
fn a_policy_joins_its_sources_with_its_targets_in_either_direction() {
    let mut world = tiers();
    world.policies = vec![policy("web-db", 10, "tier=web", "tier=db")];
    world.refresh();

    assert_eq!(world.wanted.len(), 4);
    assert!(world.wanted.find(route(node(1), node(2))).is_none(), "web to web");
    assert!(world.wanted.find(route(node(1), node(3))).is_some());
}

#[test]
fn selectors_that_match_nobody_select_nothing() {
    let mut world = tiers();
    for (source, target) in [
        ("tier=cache", "*"),
        ("tier=web,site=fra", "*"),
        ("tier=cache", "tier=cache"),
    ] {
        world.policies = vec![policy("none", 10, source, target)];
        world.refresh();
        assert!(world.wanted.is_empty(), "{source} {target}");
    }
    let nobody = Selector::Labelled(Labels::default());

    assert!(!nobody.matches(&world.members[&node(1)].labels));
}

#[test]
fn a_pair_belongs_to_the_most_important_policy() {
    let mut world = tiers();
    let fast = PolicyRow {
        cadence: Cadence::Fast,
        ..policy("b-fast", 200, "tier=web", "tier=db")
    };
    world.policies = vec![policy("a-rest", 10, "*", "*"), fast];
    world.refresh();
    let found = world.wanted.find(route(node(1), node(3))).expect("wanted");

    assert_eq!((found.priority, found.cadence), (200, Cadence::Fast));
    assert_eq!(found.policy.as_ref().map(|name| name.as_str()), Some("b-fast"));
    assert_eq!(world.wanted.len(), 6);
}

#[test]
fn selectors_read_back_and_refuse_what_they_do_not_understand() {
    for text in ["*", "site=fra", "role=web,site=fra"] {
        assert_eq!(
            text.parse::<Selector>().map(|selector| selector.to_string()),
            Ok(text.to_owned())
        );
    }
    for wrong in [
        "",
        "site",
        "site=",
        "=fra",
        "site=fra,",
        "*,site=fra",
        "site=fra,site=ber",
        "Site=fra",
    ] {
        assert_eq!(wrong.parse::<Selector>(), Err(InvalidSelector), "{wrong}");
    }
}

#[test]
fn beyond_64_nodes_a_node_has_at_most_sixteen_neighbours_and_the_mesh_is_one() {
    let members = fleet(500);
    let wanted = Wanted::select(CLUSTER, &[], &members);
    let degrees: Vec<usize> = members.keys().map(|node| wanted.of_node(*node).count()).collect();

    assert!(
        degrees
            .iter()
            .all(|degree| (8..=2 * usize::from(RINGS)).contains(degree)),
        "{degrees:?}"
    );
    let mut reached = BTreeSet::new();
    let mut next: Vec<NodeId> = members.keys().take(1).copied().collect();
    while let Some(node) = next.pop() {
        if reached.insert(node) {
            next.extend(wanted.of_node(node).flat_map(|route| [route.low, route.high]));
        }
    }
    assert_eq!(reached.len(), members.len());
}

#[test]
fn a_node_that_comes_changes_few_routes_of_the_others() {
    let mut members = fleet(300);
    let before = Wanted::select(CLUSTER, &[], &members);
    members.extend(fleet(301));
    let after = Wanted::select(CLUSTER, &[], &members);
    let gone = before
        .iter()
        .filter(|wanted| after.find(wanted.route).is_none())
        .count();
    let new = after
        .iter()
        .filter(|wanted| before.find(wanted.route).is_none())
        .count();

    assert!(
        gone <= usize::from(RINGS) && new <= 2 * usize::from(RINGS),
        "{gone} {new}"
    );
}

#[test]
fn one_node_cannot_be_given_more_routes_than_its_documents_hold() {
    let mut members = fleet(1_500);
    let hub = *members.keys().next().expect("not empty");
    let labels = Labels::parse([("hub".to_owned(), "yes".to_owned())]).expect("valid");
    members.get_mut(&hub).expect("there").labels = labels;
    let wanted = Wanted::select(CLUSTER, &[policy("hub", 1, "hub=yes", "*")], &members);

    assert_eq!(wanted.of_node(hub).count(), control_routing::policy::ROUTES);
    assert_eq!(wanted.len() + wanted.left_out(), 1_499);
}

#[test]
fn neighbours_of_a_small_cluster_are_the_far_ends_and_every_relay() {
    let mut world = tiers();
    world.policies = vec![policy("web-db", 10, "tier=web", "tier=db")];
    for (number, site) in [(11, "fra"), (12, "ber")] {
        world.members.insert(node(number), relay(number, site));
    }
    world.refresh();
    let of = |number| neighbours(&world.snapshot(), node(number));

    assert_eq!(of(1), [3, 4, 11, 12].map(node).into_iter().collect());
    assert_eq!(of(11), [1, 2, 3, 4, 12].map(node).into_iter().collect());
    assert!(of(99).is_empty());
}

#[test]
fn a_node_of_a_large_cluster_keeps_to_sixteen_relays_and_those_it_leases() {
    let relays = (100..=140).map(|number| relay(number, "fra"));
    let mut world = World::of((1..=70).map(member).chain(relays));
    world.decide();
    let input = world.snapshot();
    for number in 1..=70 {
        let found = neighbours(&input, node(number));
        let leased: BTreeSet<NodeId> = world
            .wanted
            .of_node(node(number))
            .flat_map(|wanted| world.leases.of_route(wanted.route))
            .map(|lease| lease.relay)
            .collect();
        let relays = found
            .iter()
            .filter(|node| world.relays.find(**node).is_some())
            .count();

        assert!(found.is_superset(&leased));
        assert!(relays <= RELAYS.max(leased.len()), "{relays}");
    }
}

fn tiers() -> World {
    let tier = |number, tier| machine(number, NodeRole::Member, &[("tier", tier)]);

    World::of([tier(1, "web"), tier(2, "web"), tier(3, "db"), tier(4, "db")])
}

fn policy(name: &str, priority: u8, source: &str, target: &str) -> PolicyRow {
    PolicyRow {
        cluster: CLUSTER,
        name: name.parse().expect("a valid name"),
        priority,
        source: source.parse().expect("a valid selector"),
        target: target.parse().expect("a valid selector"),
        cadence: Cadence::Auto,
    }
}

fn fleet(size: u32) -> BTreeMap<NodeId, Member> {
    let members = (0..size).map(|number| {
        let seed = protocol::key::Digest::of(&number.to_be_bytes());
        let mut id = [0; 16];
        id.copy_from_slice(&seed.as_bytes()[..16]);
        let seal_key = SealKey::parse(*seed.as_bytes()).expect("not zero");

        Member {
            node: NodeId::from_bytes(id),
            seal_key,
            ..member(1)
        }
    });

    members.map(|member| (member.node, member)).collect()
}
