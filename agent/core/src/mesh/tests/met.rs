//! Two ends that cannot be dialled, and the relay over which they agree to dial at the same moment, or the node that is no relay.

use effect::DecisionRefusal;
use protocol::document::routes::{LeaseKind, Rendezvous};
use protocol::id::RouteId;

use super::*;

#[test]
fn two_ends_behind_nats_get_a_connection_of_their_own_over_their_relay() {
    for seed in 0..FEW {
        let mut world = behind_nats(seed);
        world.run_for(2_000);
        assert_eq!(
            world.connections_between(A, B),
            0,
            "nobody dialled by itself, seed {seed}"
        );
        world.run_for(10_000);

        assert_eq!(world.connections_between(A, B), 1, "seed {seed}");
        let met = |peer: u8| move |event: &Event| *event == Event::Met { peer: node(peer) };
        let told = [world.count(A, met(B)), world.count(B, met(A))];
        assert!(told.iter().sum::<usize>() > 0, "seed {seed}");
        let shown = [(A, B), (B, A)].map(|(one, other)| {
            let links = world.mesh(one).links();
            let link = links.into_iter().find(|link| link.peer == node(other));

            link.map(|link| link.met as usize)
        });
        assert_eq!(shown, told.map(Some), "seed {seed}");
        let links = world.with(A, |mesh, now| mesh.take_report(now)).links;
        let direct = links.iter().find(|link| link.peer == node(B));
        assert!(
            direct.is_some_and(|link| link.connected),
            "the controller hears of it"
        );
        world.run_for(70_000);
        assert_eq!(world.connections_between(A, B), 1, "and it is kept, seed {seed}");
        assert_eq!(world.mesh(A).stats().meetings + world.mesh(B).stats().meetings, 2);
    }
}

#[test]
fn an_end_that_moved_is_met_where_its_relay_sees_it() {
    for seed in 0..FEW {
        let mut world = behind_nats(seed);
        // Nobody but itself and who hears from it knows that address.
        world.move_to(B, SocketAddr::from(([198, 51, 100, 9], 40_000)));
        world.run_for(15_000);

        assert_eq!(world.connections_between(A, B), 1, "seed {seed}");
    }
}

#[test]
fn ends_that_are_never_let_in_go_on_over_their_relay_and_dial_ever_more_rarely() {
    let mut world = behind_nats(1);
    world.set_cut(A, B, true);
    world.run_for(3_600_000);

    for node in [A, B] {
        let stats = world.mesh(node).stats();
        assert_eq!(stats.meetings, stats.dials - 1, "one dial was to the relay");
        assert!((4..=12).contains(&stats.meetings), "{stats:?}");
    }
    assert_eq!(world.active(A, B), via(R, 1));
}

#[test]
fn a_relay_tells_the_ends_of_its_leases_and_nobody_else_where_the_other_one_is() {
    let mut world = behind_nats(1);
    let document = routes(decision(R, 1, Path::Direct, &[]));
    world.with(S, |mesh, now| mesh.handle_routes(&document, now));
    world.run_for(2_000);
    let sent = |world: &World| {
        let sent = &world.mesh(R).stats().sent;
        sent.get(&Class::FabricControl).copied().unwrap_or(0)
    };
    world.inject(A, R, look(via_lease(1)));
    let before = sent(&world);
    world.run_for(50);
    assert_eq!(sent(&world), before + 1);

    for refused in [via_lease(2), PathTag::Direct] {
        world.inject(A, R, look(refused));
    }
    world.inject(S, R, look(via_lease(1)));
    for _ in 0..100 {
        world.inject(B, R, look(via_lease(1)));
    }
    let before = sent(&world);
    world.run_for(50);
    assert_eq!(
        sent(&world),
        before + 16,
        "a second's worth for B, nothing for the others"
    );
}

#[test]
fn a_relay_does_not_say_where_an_end_is_that_moved_since_its_handshake() {
    let mut world = behind_nats(1);
    world.run_for(2_000);
    let link = world.mesh(R).links.current(node(B)).unwrap();
    let place = |world: &mut World, address: SocketAddr| {
        world.with(R, |mesh, _| mesh.handle_link_place(link, address));
        let before = world.mesh(R).stats().sent.get(&Class::FabricControl).copied();
        world.inject(A, R, look(via_lease(1)));
        world.run_for(50);
        let after = world.mesh(R).stats().sent.get(&Class::FabricControl).copied();

        after.unwrap_or(0) - before.unwrap_or(0)
    };
    let elsewhere = SocketAddr::from(([198, 51, 100, 9], 40_000));
    assert_eq!(
        place(&mut world, elsewhere),
        0,
        "neither where it was nor where it is"
    );

    assert_eq!(place(&mut world, address(B)), 1);
}

#[test]
fn ends_without_a_relay_meet_over_the_node_that_their_decision_names() {
    for seed in 0..FEW {
        let mut world = behind_nats_without_a_relay(seed, Some(place(1)));
        world.run_for(15_000);

        assert_eq!(world.connections_between(A, B), 1, "seed {seed}");
        let met = |event: &Event| matches!(event, Event::Met { .. });
        assert!(world.count(A, met) + world.count(B, met) > 0, "seed {seed}");
        world.run_for(5_000);
        assert_eq!(world.active(A, B), Path::Direct, "seed {seed}");
        let stats = world.mesh(R).stats();
        let refused: Vec<Refusal> = stats.refused.keys().copied().collect();
        assert!(stats.forwarded > 0, "{stats:?}");
        assert!(
            refused.is_empty() || refused == [Refusal::FarEndAway],
            "nothing but what came before the other end did: {stats:?}"
        );
        for end in [A, B] {
            let route = world.route(end, if end == A { B } else { A });
            assert!(
                route.paths.iter().all(|path| path.path == Path::Direct),
                "it is no path"
            );
            let place = route.meets_over.expect("it knows where to meet");
            assert_eq!((place.node, place.health), (node(R), Health::Up));
            let report = world.with(end, |mesh, now| mesh.take_report(now));
            assert!(
                report.paths.iter().all(|path| path.path == Path::Direct),
                "{report:?}"
            );
        }
    }
}

#[test]
fn without_such_a_node_ends_that_moved_never_find_each_other() {
    let mut world = behind_nats_without_a_relay(1, None);
    world.run_for(600_000);

    assert_eq!(world.connections_between(A, B), 0);
    assert_eq!(world.mesh(A).stats().meetings + world.mesh(B).stats().meetings, 0);
}

#[test]
fn a_node_to_meet_over_is_kept_as_long_as_the_decision_names_it_and_left_afterwards() {
    let mut world = behind_nats_without_a_relay(1, Some(place(1)));
    world.run_for(300_000);
    assert_eq!(
        world.connections_between(A, R) + world.connections_between(B, R),
        2
    );
    let refused = Event::DecisionRefused {
        route: RouteId::from_bytes([9; 16]),
        why: DecisionRefusal::Conflict,
    };
    decide_meeting(&mut world, 1, Some(place(2)));
    assert_eq!(
        world.count(A, |event| *event == refused),
        1,
        "one generation, one place"
    );
    decide_meeting(&mut world, 2, None);
    world.run_for(70_000);

    assert_eq!(
        world.connections_between(A, R) + world.connections_between(B, R),
        0
    );
    assert_eq!(world.connections_between(A, B), 1);
    assert_eq!(world.route(A, B).meets_over, None);
}

#[test]
fn a_place_to_meet_and_a_standby_of_the_same_lease_are_two_decisions() {
    let mut world = behind_nats_without_a_relay(1, Some(place(1)));
    let as_standby = routes(decision(B, 1, Path::Direct, &[via(R, 1)]));
    world.with(A, |mesh, now| mesh.handle_routes(&as_standby, now));

    let refused = Event::DecisionRefused {
        route: RouteId::from_bytes([9; 16]),
        why: DecisionRefusal::Conflict,
    };
    assert_eq!(world.count(A, |event| *event == refused), 1);
    let route = world.route(A, B);
    assert!(route.meets_over.is_some() && route.paths.len() == 1, "{route:?}");
}

#[test]
fn an_end_that_was_never_heard_is_asked_for_every_two_seconds() {
    let mut world = behind_nats_without_a_relay(1, Some(place(1)));
    world.set_cut(B, R, true);
    world.run_for(20_000);
    let asked = |world: &World| {
        let sent = &world.mesh(A).stats().sent;
        sent.get(&Class::FabricControl).copied().unwrap_or(0)
    };
    let place = world.route(A, B).meets_over.expect("it knows where to meet");
    assert_eq!((place.linked, place.health), (true, Health::Down));
    let before = asked(&world);
    world.run_for(60_000);

    let asked = asked(&world) - before;
    assert!((28..=32).contains(&asked), "{asked} times in a minute");
}

#[test]
fn traffic_never_goes_over_a_node_that_ends_meet_over() {
    let mut world = behind_nats_without_a_relay(1, Some(place(1)));
    world.set_cut(A, B, true);
    world.add_flow(A, B);
    world.add_flow(B, A);
    world.run_for(60_000);
    assert!(world.mesh(A).flow(node(B)).is_none() && world.mesh(B).flow(node(A)).is_none());
    assert_eq!(world.active(A, B), Path::Direct);
    let forwarded = world.mesh(R).stats().forwarded;
    assert!(forwarded < 7 * 60, "{forwarded} frames in a minute");

    // What an end sends all the same gets no further than to that node.
    for class in [
        Class::Synthetic,
        Class::RouteControl,
        Class::Telemetry,
        Class::Payload,
    ] {
        world.inject(A, R, frame(class, via_lease(1)));
    }
    world.run_for(50);
    let refused = &world.mesh(R).stats().refused;
    assert_eq!(refused.get(&Refusal::MeetingOnly), Some(&3), "{refused:?}");
    assert_eq!(refused.get(&Refusal::PayloadForwardingDisabled), Some(&1));
}

/// A pair whose decision has no relay, with a NAT before each end, one of which has moved to where no config knows it.
fn behind_nats_without_a_relay(seed: u64, place: Option<Rendezvous>) -> World {
    let mut world = World::new(seed, &ALL);
    let mut rows = table(R, 1);
    rows.rows[0].kind = LeaseKind::Rendezvous;
    rows.rows[0].budget_kib = 8;
    world.with(R, |mesh, now| mesh.handle_lease_table(&rows, now));
    world.with(R, |mesh, now| mesh.handle_fresh(now, now));
    world.set_polling(R, true);
    world.put_behind_nat(A);
    world.put_behind_nat(B);
    world.move_to(B, SocketAddr::from(([198, 51, 100, 9], 40_000)));
    decide_meeting(&mut world, 1, place);

    world
}

fn decide_meeting(world: &mut World, generation: u64, place: Option<Rendezvous>) {
    for (at, peer) in [(A, B), (B, A)] {
        let decided = protocol::document::routes::RouteDecision {
            rendezvous: place,
            ..decision(peer, generation, Path::Direct, &[])
        };
        let document = routes(decided);
        world.with(at, |mesh, now| mesh.handle_routes(&document, now));
    }
}

fn place(generation: u32) -> Rendezvous {
    Rendezvous {
        node: node(R),
        lease: lease(R),
        generation,
    }
}

/// A pair whose only paths lead through relays, with a NAT before each end.
fn behind_nats(seed: u64) -> World {
    let mut world = pair_over(seed, via(R, 1), &[]);
    world.put_behind_nat(A);
    world.put_behind_nat(B);

    world
}

fn look(path: PathTag) -> Vec<u8> {
    let mut frame = Vec::new();
    let asked = protocol::frame::LinkMessage::Look(path);
    let written = asked.write(BootTag::from_bytes([1; 8]), Sequence(1), &mut frame);

    written.map(|()| frame).unwrap()
}

fn via_lease(generation: u32) -> PathTag {
    PathTag::Relay {
        lease: lease(R),
        generation,
    }
}

/// Each of them runs for a minute or more.
const FEW: u64 = 10;
