//! A whole site of relays is lost: everything it carried goes elsewhere, and not all to the same place.

use std::collections::BTreeMap;

use control_routing::via::Via;
use protocol::id::NodeId;

use crate::world::{World, member, node, relay};

#[test]
fn what_a_lost_site_carried_spreads_over_the_others_within_one_pass_and_stays_there() {
    let mut world = relayed();
    let before = loads(&world);
    let [lost, left] = [&SITES[..1], &SITES[1..]].map(relays_of);
    let orphans: u32 = lost.iter().filter_map(|relay| before.get(relay)).sum();
    assert!(orphans > 30, "{orphans} routes went through the site: {before:?}");
    world.network.dead.extend(&lost);
    world.advance(std::time::Duration::from_secs(5));
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
