//! Observers that see what nobody else sees.

use std::collections::BTreeMap;

use control_routing::policy::{PolicyRow, Selector};
use control_routing::suspicion::Circle;
use control_routing::via::Via;
use protocol::document::routes::Cadence;
use protocol::id::RouteId;
use protocol::node::{Labels, NodeRole};

use crate::world::{CLUSTER, World, machine, node, relay};

#[test]
fn an_observer_that_is_ill_moves_nothing() {
    let mut world = settled();
    let before = generations(&world);
    world.ill.insert(node(1));
    for _ in 0..60 {
        world.run(5);
        assert!(world.suspicion.doubts(node(1)) && !world.suspicion.freezes());
        assert!(!world.suspicion.doubts(node(4)), "of another site");
    }
    assert_eq!(generations(&world), before);
    world.ill.clear();
    world.run(20);

    assert!(!world.suspicion.doubts(node(1)), "well again");
    assert_eq!(generations(&world), before);
}

#[test]
fn reports_that_a_sick_host_spoils_for_thirty_percent_of_the_fleet_move_nothing() {
    let mut world = settled();
    let before = generations(&world);
    // Every host of one site, and one of another: 4 of 12. Between two of them nobody contradicts.
    let ill = [1, 2, 3, 4].map(node);
    world.ill.extend(ill);
    world.run(300);

    let after = generations(&world);
    let is_between_ill = |route: &RouteId| {
        let row = world.routes.find(*route).expect("decided");

        ill.contains(&row.low) && ill.contains(&row.high)
    };
    let moved: Vec<&RouteId> = before
        .iter()
        .filter(|(route, generation)| after.get(*route) != Some(*generation))
        .map(|(route, _)| route)
        .filter(|route| !is_between_ill(route))
        .collect();
    assert_eq!(moved, Vec::<&RouteId>::new());
    let circles: Vec<&Circle> = world
        .suspicion
        .suspects()
        .iter()
        .map(|suspect| &suspect.circle)
        .collect();
    assert!(circles.contains(&&Circle::Site("a".to_owned())), "{circles:?}");
    assert!(circles.contains(&&Circle::Cluster), "{circles:?}");
}

/// A hub ends most of the paths there are.
#[test]
fn a_hub_that_is_ill_makes_nobody_else_suspect() {
    let hub = node(1);
    let mut world = World::of((1..=24).map(|number| {
        let site = match number {
            1 => "hub".to_owned(),
            _ => format!("s{}", number % 4),
        };

        machine(number, NodeRole::Member, &[("site", site.as_str())])
    }));
    let site = |name: &str| Labels::parse([("site".to_owned(), name.to_owned())]).expect("a label");
    world.policies = (0..4)
        .map(|number| PolicyRow {
            cluster: CLUSTER,
            name: format!("p{number}").parse().expect("a name"),
            priority: 1,
            source: Selector::Labelled(site("hub")),
            target: Selector::Labelled(site(&format!("s{number}"))),
            cadence: Cadence::Auto,
        })
        .collect();
    world.refresh();
    world.run(60);
    world.ill.insert(hub);
    for _ in 0..24 {
        world.run(5);
        assert!(!world.suspicion.freezes() && !world.suspicion.is_wary());
    }

    assert!(world.suspicion.doubts(hub), "it is doubted itself");
}

#[test]
fn what_both_ends_call_down_moves_whoever_is_ill() {
    let mut world = settled();
    world.ill.insert(node(1));
    world.run(10);
    assert!(world.suspicion.doubts(node(1)));
    for (one, other) in [(5, 9), (1, 9)] {
        let (one, other) = (node(one), node(other));
        assert_eq!(world.via(one, other), Via::Direct);
        world.network.cut.insert((one.min(other), one.max(other)));
        world.run(10);
        assert_ne!(world.via(one, other), Via::Direct, "{one:?} {other:?}");
    }
}

#[test]
fn one_that_is_ill_holds_up_nothing_that_others_of_its_site_both_call_down() {
    let mut world = settled();
    world.ill.insert(node(1));
    world.run(10);
    let (one, other) = (node(2), node(3));
    assert!(
        world.suspicion.doubts(one) && world.suspicion.doubts(other),
        "a third"
    );
    assert_eq!(world.via(one, other), Via::Direct);
    world.stubborn = true;
    world.network.hollow.insert((one.min(other), one.max(other)));
    world.run(5);

    assert_ne!(world.via(one, other), Via::Direct, "by its first report");
}

#[test]
fn two_that_are_both_ill_are_heard_once_they_have_said_the_same_for_half_a_minute() {
    let mut world = settled();
    let (one, other) = (node(1), node(2));
    world.ill.extend([one, other]);
    world.run(10);
    assert!(world.suspicion.doubts(one) && world.suspicion.doubts(other));
    world.stubborn = true;
    // A relay that nobody has called down yet is there for them.
    world.run(20);
    assert_eq!(world.via(one, other), Via::Direct, "it may be chance yet");
    world.run(15);

    assert_ne!(world.via(one, other), Via::Direct);
}

#[test]
fn nothing_is_improved_while_a_third_of_the_fleet_is_ill_and_all_is_improved_after() {
    let mut world = settled();
    let (one, other) = (node(5), node(9));
    world
        .network
        .rtt
        .insert((one.min(other), one.max(other)), 200_000);
    world.ill.extend([1, 2, 3, 4].map(node));
    world.run(120);
    assert!(world.suspicion.freezes());
    assert_eq!(world.via(one, other), Via::Direct, "slow, and well");
    world.ill.clear();
    world.run(120);

    assert_ne!(world.via(one, other), Via::Direct);
}

#[test]
fn an_observer_that_was_ill_and_falls_silent_moves_nothing_either() {
    let mut world = settled();
    let before = generations(&world);
    world.ill.insert(node(1));
    world.run(30);
    world.mute.insert(node(1));
    world.run(60);

    assert_eq!(generations(&world), before);
}

#[test]
fn one_observer_freezes_its_own_routes_and_no_others() {
    let mut world = settled();
    world.ill.insert(node(1));
    let pairs = [(node(5), node(9)), (node(1), node(9))];
    for (one, other) in pairs {
        world
            .network
            .rtt
            .insert((one.min(other), one.max(other)), 200_000);
    }
    world.run(120);

    assert!(world.suspicion.doubts(node(1)) && !world.suspicion.freezes());
    assert_ne!(world.via(pairs[0].0, pairs[0].1), Via::Direct, "others go on");
    assert_eq!(world.via(pairs[1].0, pairs[1].1), Via::Direct, "its own do not");
}

#[test]
fn hosts_that_die_together_make_nobody_a_liar() {
    let mut world = settled();
    world.network.dead.extend([9, 10, 11, 12].map(node));
    for _ in 0..6 {
        world.run(5);
        assert!(!world.suspicion.freezes(), "{:?}", world.suspicion);
    }
}

#[test]
fn a_host_that_is_cut_off_is_no_liar() {
    let mut world = settled();
    for other in 2..=12 {
        let (one, other) = (node(1), node(other));
        world.network.cut.insert((one.min(other), one.max(other)));
    }
    world.run(10);

    assert!(!world.suspicion.freezes(), "{:?}", world.suspicion);
    assert_ne!(world.via(node(1), node(5)), Via::Direct);
}

fn generations(world: &World) -> BTreeMap<RouteId, u64> {
    world
        .routes
        .iter()
        .map(|row| (row.route, row.generation))
        .collect()
}

/// Twelve members on four sites with three relays, all well.
pub(crate) fn settled() -> World {
    let site = |number: u8| ["a", "b", "c", "d"][usize::from((number - 1) / 3)];
    let members = (1..=12).map(|number| machine(number, NodeRole::Member, &[("site", site(number))]));
    let relays = [relay(21, "r"), relay(22, "s"), relay(23, "t")];
    let mut world = World::of(members.chain(relays));
    world.run(120);
    assert!(!world.suspicion.freezes());

    world
}
