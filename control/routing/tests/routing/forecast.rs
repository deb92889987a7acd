//! What a change of the policies would do, before it is done.

use std::collections::BTreeMap;

use control_routing::forecast::{Forecast, ShiftKind, forecast};
use control_routing::member::Member;
use control_routing::policy::{PolicyRow, Selector, Wanted};
use control_routing::via::Via;
use protocol::document::routes::Cadence;
use protocol::node::NodeRole;

use crate::world::{CLUSTER, World, machine, node, relay};

#[test]
fn the_policies_in_force_change_nothing() {
    let mut world = settled();
    world.policies = vec![policy("all", 5, "tier=web", "tier=web")];
    world.refresh();
    world.run(60);

    assert_eq!(foresee(&world, &world.policies.clone()), Forecast::default());
}

#[test]
fn a_narrower_policy_removes_the_routes_that_it_does_not_select_and_nothing_is_written() {
    let world = settled();
    let routes = world.routes.iter().count();
    assert_eq!(routes, 3, "every pair of three members");
    let foreseen = foresee(&world, &[policy("web", 100, "tier=web", "tier=web")]);

    assert_eq!(kinds(&foreseen)[&ShiftKind::Removed], 2);
    assert_eq!(kinds(&foreseen)[&ShiftKind::Retuned], 1, "it has a policy now");
    let gone = &foreseen.shifts[0];
    assert_eq!(gone.kind, ShiftKind::Removed, "the gravest is first");
    assert_eq!(
        gone.before.as_ref().and_then(|course| course.path),
        Some(Via::Direct)
    );
    assert_eq!(gone.before.as_ref().map(|course| course.standbys.len()), Some(2));
    assert_eq!(gone.after, None);
    assert_eq!(
        world.routes.iter().filter(|row| !row.is_withdrawn()).count(),
        routes
    );
}

#[test]
fn what_is_foreseen_of_a_policy_is_what_happens_under_it() {
    let mut world = settled();
    let policies = [policy("web", 100, "tier=web", "tier=web")];
    let foreseen = foresee(&world, &policies);
    world.policies = policies.to_vec();
    world.refresh();
    world.decide();

    for shift in &foreseen.shifts {
        let row = world.routes.find(shift.route).expect("known");
        assert_eq!(row.is_withdrawn(), shift.kind == ShiftKind::Removed);
        let path = row.path.as_ref().map(Via::from);
        assert_eq!(path, shift.after.as_ref().and_then(|course| course.path));
    }
}

#[test]
fn a_pair_that_is_selected_for_the_first_time_is_added() {
    let mut world = settled();
    world.policies = vec![policy("web", 100, "tier=web", "tier=web")];
    world.refresh();
    world.run(60);
    let foreseen = foresee(&world, &[policy("all", 100, "*", "*")]);

    assert_eq!(kinds(&foreseen)[&ShiftKind::Added], 2);
}

fn foresee(world: &World, policies: &[PolicyRow]) -> Forecast {
    let wanted = Wanted::select(CLUSTER, policies, &world.members);

    forecast(&world.snapshot(), &wanted, world.now)
}

fn kinds(foreseen: &Forecast) -> BTreeMap<ShiftKind, usize> {
    foreseen.shifts.iter().fold(BTreeMap::new(), |mut kinds, shift| {
        *kinds.entry(shift.kind).or_default() += 1;
        kinds
    })
}

/// Two web servers, a database, two relays, and routes between all three.
fn settled() -> World {
    let labelled = |number, tier: &str| -> Member { machine(number, NodeRole::Member, &[("tier", tier)]) };
    let mut world = World::of([
        labelled(1, "web"),
        labelled(2, "web"),
        labelled(3, "db"),
        relay(11, "fra"),
        relay(12, "ber"),
    ]);
    world.run(60);
    assert_eq!(world.standbys(node(1), node(3)).len(), 2);

    world
}

fn policy(name: &str, priority: u8, source: &str, target: &str) -> PolicyRow {
    let selector = |text: &str| text.parse::<Selector>().expect("a selector");

    PolicyRow {
        cluster: CLUSTER,
        name: name.parse().expect("a name"),
        priority,
        source: selector(source),
        target: selector(target),
        cadence: Cadence::Auto,
    }
}
