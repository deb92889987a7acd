//! A whole site of relays is lost: everything it carried goes elsewhere, and not all to the same place.

use std::collections::BTreeMap;
use std::time::Duration;

use control_routing::decide::decide_some;
use control_routing::lease::Lease;
use control_routing::suspicion::Suspicion;
use control_routing::via::Via;
use protocol::id::{LeaseId, NodeId, RouteId};
use protocol::limits::LEASE_ROWS;

use crate::world::{World, member, node, relay};

#[test]
fn what_a_lost_site_carried_spreads_over_the_others_within_one_pass_and_stays_there() {
    let mut world = relayed();
    let before = loads(&world);
    let [lost, left] = [&SITES[..1], &SITES[1..]].map(relays_of);
    let orphans: u32 = lost.iter().filter_map(|relay| before.get(relay)).sum();
    assert!(orphans > 30, "{orphans} routes went through the site: {before:?}");
    world.network.dead.extend(&lost);
    world.advance(Duration::from_secs(5));
    world.report_all();
    world.decide();

    let after = loads(&world);
    assert!(
        lost.iter().all(|relay| !after.contains_key(relay)),
        "none stays: {after:?}"
    );
    assert_even(&after, &left);
    let routes: BTreeMap<_, _> = world
        .routes
        .iter()
        .map(|row| (row.route, row.generation))
        .collect();
    world.acknowledge_all();
    world.run(120);
    assert_even(&loads(&world), &left);
    let moved = world
        .routes
        .iter()
        .filter(|row| {
            routes
                .get(&row.route)
                .is_some_and(|generation| row.generation > generation + 2)
        })
        .count();
    assert_eq!(
        moved, 0,
        "one more decision for the new standbys, or two, and then quiet"
    );
}

#[test]
fn no_relay_is_above_its_budget_at_any_moment_while_a_lost_site_is_re_homed() {
    let mut world = relayed();
    let [lost, left] = [&SITES[..1], &SITES[1..]].map(relays_of);
    let orphans = lost.iter().map(|relay| world.leases.rows(*relay)).sum::<usize>();
    // A sixth more room than all of it needs, if nobody gets more than his part.
    let room = orphans / left.len() + orphans / left.len() / 6 + 1;
    for relay in &left {
        fill(&mut world, *relay, BUDGET - room);
    }
    world.network.dead.extend(&lost);
    let mut fullest = 0;
    for second in (0..50).step_by(5) {
        world.advance(Duration::from_secs(5));
        world.report_all();
        decide_ours(&mut world);
        for relay in &left {
            let rows = world.leases.rows(*relay);
            assert!(rows <= BUDGET, "{rows} leases after {second} s");
            fullest = fullest.max(rows);
        }
        assert_even(&loads(&world), &left);
        world.acknowledge_all();
    }

    assert!(
        fullest > BUDGET - room / 2,
        "the budget was never near: {fullest}"
    );
    let short = world.routes.iter().filter(|row| row.standbys.len() < 2).count();
    assert_eq!(short, 0, "each route has its standbys again");
}

/// A pass over the routes of this fleet; the leases of others stay as they are.
fn decide_ours(world: &mut World) {
    let routes: Vec<RouteId> = world.routes.iter().map(|row| row.route).collect();
    world.suspicion = Suspicion::of(&world.observations, &world.members, &world.wanted, world.now.boot);
    let outcomes = decide_some(&world.snapshot(), routes, world.now);
    world.apply(&outcomes);
}

/// Gives a relay as many leases of others.
fn fill(world: &mut World, relay: NodeId, rows: usize) {
    let granted = world
        .leases
        .carried_by(relay)
        .next()
        .copied()
        .expect("it carries some");
    for number in world.leases.rows(relay)..rows {
        let mut id = [0xEE; 16];
        id[..8].copy_from_slice(&relay.as_bytes()[..8]);
        id[8..].copy_from_slice(&number.to_be_bytes());
        world.leases.put(Lease {
            lease: LeaseId::from_bytes(id),
            route: RouteId::from_bytes(id),
            ..granted
        });
    }
}

/// No relay has more than a quarter above its share, and a few.
fn assert_even(loads: &BTreeMap<NodeId, u32>, relays: &[NodeId]) {
    let total: u32 = loads.values().sum();
    let share = total / u32::try_from(relays.len()).expect("few");
    for relay in relays {
        let load = loads.get(relay).copied().unwrap_or(0);
        assert!(load <= share + share / 4 + 3, "{load} of {share}: {loads:?}");
    }
}

/// Twenty members without a direct path to each other, and three relays on each of four sites.
fn relayed() -> World {
    let members = (1..=20).map(member);
    let relays = SITES
        .iter()
        .enumerate()
        .flat_map(|(site, name)| (0..3).map(move |number| relay(number_of(site, number), name)));
    let mut world = World::of(members.chain(relays));
    for one in 1..=20 {
        for other in 1..one {
            let (one, other) = (node(one), node(other));
            world.network.cut.insert((one.min(other), one.max(other)));
        }
    }
    world.run(120);

    world
}

/// Routes by the relay that they go through.
fn loads(world: &World) -> BTreeMap<NodeId, u32> {
    let mut loads = BTreeMap::new();
    for row in world.routes.iter() {
        if let Some(relay) = row.path.as_ref().map(Via::from).and_then(Via::relay) {
            *loads.entry(relay).or_default() += 1;
        }
    }

    loads
}

fn relays_of(sites: &[&str]) -> Vec<NodeId> {
    let places = SITES.iter().enumerate().filter(|(_, site)| sites.contains(site));

    places
        .flat_map(|(site, _)| (0..3).map(move |number| node(number_of(site, number))))
        .collect()
}

fn number_of(site: usize, number: u8) -> u8 {
    let site = u8::try_from(site).expect("few sites");

    100 + site * 10 + number
}

const SITES: [&str; 4] = ["fra", "ber", "ams", "par"];
/// What a relay may be given: the rows of its lease table, each worth the bytes a second of one lease.
const BUDGET: usize = LEASE_ROWS;
