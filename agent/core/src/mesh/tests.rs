//! Meshes against each other: faults, and what must hold whatever the seed.

mod leaving;
mod met;
mod reached;
mod still;
mod world;

use protocol::document::authority::{RevocationList, RevokedNode};
use protocol::document::routes::{Action, Path};
use protocol::frame::{BootTag, Class, Form, FrameHeader, PathTag, RefusalReason, Sequence};
use protocol::wire::{Drift, SwitchCause};
use rand::{RngExt, SeedableRng};

use super::*;
use effect::{Event, Refusal, RelayPause};
use world::{World, address, decision, lease, node, routes, table, via};

#[test]
fn traffic_leaves_a_path_that_is_cut_in_silence() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, Path::Direct, &[via(R, 1), via(S, 1)]);
        let (_, _) = settle(&mut world, seed);
        world.set_cut(A, B, true);
        let cut = world.now;
        world.run_for(3_000);

        for (from, to) in [(A, B), (B, A)] {
            let moved = world.told(from, cut, is_switch).expect("a switch") - cut;
            let round_trip = 2 * world.latency(A, B);
            // the phase of the probes, three intervals, a round trip, and the clock's grain
            assert!(moved <= 200 + 3 * 200 + round_trip + 2, "{moved} ms, seed {seed}");
            assert_eq!(world.active(from, to), via(R, 1), "seed {seed}");
            let gap = world.mesh(to).flow(node(from)).unwrap().largest_gap.as_millis();
            // the first miss already sends on both paths
            assert!(gap <= 200 + 200 + 20 + 20, "{gap} ms, seed {seed}");
        }
    }
}

#[test]
fn a_switch_is_reported_at_once_with_its_cause() {
    let mut world = pair_over(1, Path::Direct, &[via(R, 1), via(S, 1)]);
    settle(&mut world, 1);
    let now = world.boot();
    world.with(A, |mesh, _| mesh.take_report(now));
    assert!(!world.mesh(A).wants_report(now));
    world.set_cut(A, B, true);
    world.run_for(900);
    let now = world.boot();

    assert!(world.mesh(A).wants_report(now));
    let report = world.with(A, |mesh, now| mesh.take_report(now));
    assert_eq!(report.switches.len(), 1);
    let switch = report.switches[0];
    assert_eq!((switch.from, switch.to), (Path::Direct, via(R, 1)));
    assert_eq!((switch.cause, switch.generation), (SwitchCause::PathDown, 1));
    let direct = report
        .paths
        .iter()
        .find(|path| path.path == Path::Direct)
        .unwrap();
    assert_eq!((direct.drift, direct.active), (Drift::Failure, false));
    let relayed = report.paths.iter().find(|path| path.path == via(R, 1)).unwrap();
    assert_eq!(relayed.expected_hops, [node(A), node(R), node(B)]);
    assert_eq!(relayed.observed_hops, relayed.expected_hops);
    assert_eq!((relayed.drift, relayed.active), (Drift::None, true));
    let age = |path: &protocol::wire::PathObservation| path.answered_ms.expect("both were answered");
    assert!((850..1_400).contains(&age(direct)), "{} ms", age(direct));
    assert!(age(relayed) < 400, "{} ms", age(relayed));
    assert!(
        world
            .with(A, |mesh, now| mesh.take_report(now))
            .switches
            .is_empty()
    );
}

#[test]
fn traffic_leaves_a_relay_that_was_killed() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, via(R, 1), &[via(S, 1), Path::Direct]);
        settle(&mut world, seed);
        world.kill(R);
        let killed = world.now;
        world.run_for(3_000);

        for (from, to) in [(A, B), (B, A)] {
            let moved = world.told(from, killed, is_switch).expect("a switch") - killed;
            assert!(moved <= 200 + 600 + 40, "{moved} ms, seed {seed}");
            assert_eq!(world.active(from, to), via(S, 1), "seed {seed}");
        }
    }
}

#[test]
fn a_decision_that_comes_while_the_path_in_use_is_in_doubt_ends_no_copies() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, via(R, 1), &[via(S, 1), Path::Direct]);
        settle(&mut world, seed);
        world.kill(R);
        // Between the first miss of each end and the third.
        world.run_for(450);
        for (from, to) in [(A, B), (B, A)] {
            let route = world.route(from, to);
            let standing = (route.active, route.doubling);
            assert_eq!(standing, (via(R, 1), Some(via(S, 1))), "seed {seed}");
        }
        decide(&mut world, 2, via(R, 1), &[via(S, 1)]);
        world.run_for(3_000);

        for (from, to) in [(A, B), (B, A)] {
            let lost = world.mesh(to).flow(node(from)).unwrap().missing;
            assert!(lost <= 20 + 2, "{lost} frames, of 400 ms at most, seed {seed}");
            assert_eq!(world.active(from, to), via(S, 1), "seed {seed}");
        }
    }
}

#[test]
fn a_cut_in_one_direction_moves_both_ends_and_its_direction_is_known() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, Path::Direct, &[via(R, 1), via(S, 1)]);
        settle(&mut world, seed);
        world.set_cut_towards(A, B, true);
        world.run_for(5_000);

        assert_eq!(world.active(A, B), via(R, 1), "seed {seed}");
        assert_eq!(world.active(B, A), via(R, 1), "seed {seed}");
        let direct = |from, to| {
            let route = world.route(from, to);
            let path = route.paths.into_iter().find(|path| path.path == Path::Direct);
            path.map(|path| (path.lost_out, path.lost_in)).unwrap()
        };
        // A still hears B: what it lost, it lost on the way out
        let (out, back) = direct(A, B);
        assert!(out > 3 && back == 0, "{out} out, {back} back, seed {seed}");
        assert_eq!(
            world.mesh(B).flow(node(A)).unwrap().largest_gap.as_millis() / 500,
            0
        );
    }
}

#[test]
fn traffic_does_not_go_back_when_the_path_heals_but_when_a_decision_says_so() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, Path::Direct, &[via(R, 1), via(S, 1)]);
        settle(&mut world, seed);
        world.set_cut(A, B, true);
        world.run_for(4_000);
        world.set_cut(A, B, false);
        world.run_for(60_000);
        for (from, to) in [(A, B), (B, A)] {
            assert_eq!(world.active(from, to), via(R, 1), "seed {seed}");
            assert_eq!(world.count(from, is_switch), 1, "seed {seed}");
            assert_eq!(world.route(from, to).paths[0].health, Health::Up, "seed {seed}");
        }

        decide(&mut world, 2, Path::Direct, &[via(R, 1), via(S, 1)]);
        world.run_for(1_000);
        assert_eq!(world.active(A, B), Path::Direct, "seed {seed}");
        assert_eq!(world.active(B, A), Path::Direct, "seed {seed}");
    }
}

#[test]
fn a_path_that_flaps_every_second_moves_the_traffic_once() {
    let mut world = pair_over(5, Path::Direct, &[via(R, 1), via(S, 1)]);
    settle(&mut world, 5);
    for _ in 0..60 {
        world.set_cut(A, B, true);
        world.run_for(1_000);
        world.set_cut(A, B, false);
        world.run_for(1_000);
    }

    assert_eq!(world.count(A, is_switch), 1);
    assert_eq!(world.count(B, is_switch), 1);
}

#[test]
fn traffic_goes_back_when_the_path_it_went_to_dies_in_turn() {
    let mut world = pair_over(6, Path::Direct, &[via(R, 1)]);
    settle(&mut world, 6);
    world.set_cut(A, B, true);
    world.run_for(3_000);
    world.set_cut(A, B, false);
    world.run_for(45_000);
    assert_eq!(world.active(A, B), via(R, 1));
    world.kill(R);
    world.run_for(2_000);

    assert_eq!(world.active(A, B), Path::Direct);
}

#[test]
fn a_decision_does_not_move_traffic_onto_a_path_that_is_down() {
    let mut world = pair_over(7, via(R, 1), &[via(S, 1), Path::Direct]);
    settle(&mut world, 7);
    world.set_cut(A, B, true);
    world.run_for(40_000);
    decide(&mut world, 2, Path::Direct, &[via(R, 1), via(S, 1)]);
    world.run_for(10_000);

    assert_eq!(world.active(A, B), via(R, 1));
    world.set_cut(A, B, false);
    world.run_for(60_000);
    assert_eq!(
        world.active(A, B),
        Path::Direct,
        "the decision is followed in the end"
    );
}

#[test]
fn a_new_path_is_probed_before_it_carries() {
    let mut world = pair_over(8, Path::Direct, &[via(R, 1)]);
    settle(&mut world, 8);
    world.set_cut(A, S, true);
    decide(&mut world, 2, via(S, 1), &[via(R, 1)]);
    world.run_for(3_000);
    assert_eq!(
        world.active(A, B),
        Path::Direct,
        "the path of the generation before"
    );
    let gap = |world: &World| world.mesh(B).flow(node(A)).unwrap().largest_gap.as_millis();
    assert!(gap(&world) < 100, "{}", gap(&world));
    world.set_cut(A, S, false);
    world.run_for(40_000);

    assert_eq!(world.active(A, B), via(S, 1));
    assert!(gap(&world) < 100, "{}", gap(&world));
}

#[test]
fn a_lower_generation_never_overwrites_and_a_missing_route_is_kept() {
    let mut world = pair_over(9, Path::Direct, &[via(R, 1)]);
    settle(&mut world, 9);
    decide(&mut world, 5, via(R, 1), &[Path::Direct]);
    world.run_for(1_000);
    decide(&mut world, 4, Path::Direct, &[via(R, 1)]);
    world.with(A, |mesh, now| mesh.handle_routes(&Default::default(), now));
    world.run_for(1_000);

    assert_eq!(world.active(A, B), via(R, 1));
    assert_eq!(world.route(A, B).generation, 5);
    let mut withdrawal = decision(B, 4, Path::Direct, &[]);
    withdrawal.action = Action::Withdraw;
    world.with(A, |mesh, now| {
        mesh.handle_routes(&routes(withdrawal.clone()), now)
    });
    assert_eq!(world.mesh(A).routes(world.boot()).len(), 1);
    withdrawal.generation = 6;
    world.with(A, |mesh, now| mesh.handle_routes(&routes(withdrawal), now));
    assert_eq!(world.mesh(A).routes(world.boot()).len(), 0);
    decide(&mut world, 6, Path::Direct, &[]);
    assert_eq!(world.mesh(A).routes(world.boot()).len(), 0);
}

#[test]
fn a_path_that_became_slow_is_left_for_a_quick_one_and_comes_back() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, Path::Direct, &[via(R, 1)]);
        settle(&mut world, seed);
        world.set_latency(A, B, 150);
        world.run_for(8_000);

        for (from, to) in [(A, B), (B, A)] {
            assert_eq!(world.active(from, to), via(R, 1), "seed {seed}");
            let direct = &world.route(from, to).paths[0];
            assert_eq!(direct.health, Health::Up, "seed {seed}");
            assert!(direct.rtt > Some(Duration::from_millis(100)), "seed {seed}");
        }
    }
}

#[test]
fn a_lossy_path_is_left_for_a_better_standby() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, Path::Direct, &[via(R, 1), via(S, 1)]);
        settle(&mut world, seed);
        world.set_loss(A, B, 250);
        world.run_for(20_000);

        assert_eq!(world.active(A, B), via(R, 1), "seed {seed}");
        assert_eq!(world.count(A, is_switch), 1, "seed {seed}");
    }
}

#[test]
fn payload_is_refused_counted_and_answered_by_relay_and_end() {
    let mut world = pair_over(11, via(R, 1), &[Path::Direct]);
    settle(&mut world, 11);
    let path = PathTag::Relay {
        lease: lease(R),
        generation: 1,
    };
    let heard = world.mesh(A).stats().refusals_heard;
    world.inject(A, R, frame(Class::Payload, path));
    world.inject(A, B, frame(Class::Payload, PathTag::Direct));
    world.run_for(100);

    for refuser in [R, B] {
        let stats = world.mesh(refuser).stats();
        assert_eq!(stats.refused[&Refusal::PayloadForwardingDisabled], 1);
    }
    assert_eq!(world.mesh(A).stats().refusals_heard, heard + 2);
    let why = RefusalReason::PayloadForwardingDisabled;
    let told = world.count(
        A,
        |event| matches!(event, Event::RelayRefuses { why: told, .. } if *told == why),
    );
    assert_eq!(told, 1);
    assert_eq!(world.active(A, B), via(R, 1));
}

#[test]
fn an_unleased_pair_is_refused_and_a_lease_of_others_is_no_way_in() {
    let mut world = pair_over(12, via(R, 1), &[Path::Direct]);
    settle(&mut world, 12);
    let unknown = PathTag::Relay {
        lease: lease(77),
        generation: 1,
    };
    let of_others = PathTag::Relay {
        lease: lease(R),
        generation: 1,
    };
    world.with(S, |mesh, now| {
        let to_relay = decision(R, 1, Path::Direct, &[]);
        mesh.handle_routes(&routes(to_relay), now);
    });
    world.run_for(1_000);
    let before = world.mesh(R).stats().clone();
    world.inject(A, R, frame(Class::Synthetic, unknown));
    world.inject(S, R, frame(Class::Synthetic, of_others));
    world.run_for(10);

    let after = world.mesh(R).stats();
    let refused = |stats: &Stats| stats.refused.get(&Refusal::NotLeased).copied().unwrap_or(0);
    assert_eq!(refused(after) - refused(&before), 2);
}

#[test]
fn replayed_frames_are_dropped() {
    for seed in 0..20 {
        let mut world = pair_over(seed, Path::Direct, &[via(R, 1)]);
        settle(&mut world, seed);
        let (mut frame, mut replayed) = (None, 0);
        while replayed < 50 {
            let sent = world.capture(A, B);
            if let Some(bytes) = frame.replace(sent) {
                world.inject(A, B, bytes);
                replayed += 1;
            }
            world.run_for(25);
        }
        let log = world.mesh(B).flow(node(A)).unwrap();

        assert_eq!(world.mesh(B).stats().replayed, 50, "seed {seed}");
        assert_eq!((log.duplicates, log.missing), (0, 0), "seed {seed}");
    }
}

#[test]
fn frames_of_a_run_that_ended_are_not_believed_by_a_node_that_forgot_it() {
    let mut world = pair_over(14, Path::Direct, &[via(R, 1)]);
    settle(&mut world, 14);
    let old: Vec<Vec<u8>> = (0..40)
        .map(|_| {
            world.run_for(20);
            world.capture(A, B)
        })
        .collect();
    world.kill(A);
    world.kill(B);
    world.run_for(60_000);
    world.restart(A, &ALL);
    world.restart(B, &ALL);
    decide(&mut world, 1, Path::Direct, &[via(R, 1)]);
    world.run_for(3_000);
    let before = world.mesh(B).stats().clone();
    for frame in old {
        world.inject(A, B, frame);
    }
    world.run_for(1_000);

    let after = world.mesh(B).stats();
    let unproven = after.refused[&Refusal::UnprovenBoot];
    assert!(unproven - before.refused.get(&Refusal::UnprovenBoot).copied().unwrap_or(0) >= 1);
    let log = world.mesh(B).flow(node(A)).unwrap();
    assert_eq!((log.missing, log.duplicates), (0, 0));
}

#[test]
fn a_forged_body_is_refused_and_its_connection_stays() {
    let mut world = pair_over(15, Path::Direct, &[via(R, 1)]);
    settle(&mut world, 15);
    let mut forged = world.capture(A, B);
    *forged.last_mut().unwrap() ^= 1;
    world.inject(A, B, forged);
    world.run_for(10);

    assert_eq!(world.mesh(B).stats().refused[&Refusal::Forged], 1);
    assert_eq!(world.connections_between(A, B), 1);
}

#[test]
fn what_is_no_frame_closes_its_connection_and_it_is_dialled_again() {
    for junk in [vec![], vec![0xff; 39], vec![1; 2_000], vec![1, 9, 1]] {
        let mut world = pair_over(16, Path::Direct, &[via(R, 1)]);
        settle(&mut world, 16);
        world.inject(A, B, junk);
        world.run_for(10);
        assert_eq!(world.mesh(B).stats().malformed, 1);
        assert_eq!(world.connections_between(A, B), 0);
        world.run_for(3_000);
        assert_eq!(world.connections_between(A, B), 1);
    }
}

#[test]
fn of_two_connections_the_one_that_the_lower_node_dialled_stays() {
    for seed in 0..SEEDS {
        let mut world = World::new(seed, &ALL);
        world.set_latency(A, B, 1 + seed * 13 % 250);
        let (first, then) = if seed % 2 == 0 { (A, B) } else { (B, A) };
        world.with(first, |mesh, now| {
            mesh.handle_routes(&routes(decision(then, 1, Path::Direct, &[])), now);
        });
        world.run_for(seed * 7 % 500);
        world.with(then, |mesh, now| {
            mesh.handle_routes(&routes(decision(first, 1, Path::Direct, &[])), now);
        });
        world.run_for(5_000);

        assert_eq!(world.connections_between(A, B), 1, "seed {seed}");
        let link = |of: u8, to: u8| {
            let mut views = world.mesh(of).links();
            views.retain(|view| view.peer == node(to));
            views.pop().unwrap()
        };
        let closed = world.mesh(A).stats().duplicates_closed + world.mesh(B).stats().duplicates_closed;
        let by_lower = closed > 0 || first == A;
        assert_eq!(link(A, B).dialled_by_us, Some(by_lower), "seed {seed}");
        assert_eq!(link(B, A).dialled_by_us, Some(!by_lower), "seed {seed}");
        assert!(link(A, B).boot.is_some(), "seed {seed}");
    }
}

/// Dials, cuts, losses and crashes in any order end in one connection.
#[test]
fn whatever_happened_one_connection_is_left() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, Path::Direct, &[via(R, 1)]);
        let mut chance = StdRng::seed_from_u64(seed);
        for _ in 0..12 {
            match chance.random_range(0..5) {
                0 => world.set_cut_towards(A, B, true),
                1 => world.set_cut_towards(B, A, true),
                2 => world.set_loss(A, B, chance.random_range(0..400)),
                3 => world.restart(A, &ALL),
                _ => world.set_cut(A, B, false),
            }
            decide(&mut world, 1, Path::Direct, &[via(R, 1)]);
            world.run_for(chance.random_range(0..9_000));
        }
        world.set_cut(A, B, false);
        world.set_loss(A, B, 0);
        world.run_for(90_000);

        assert_eq!(world.connections_between(A, B), 1, "seed {seed}");
        let healths = |of, to| world.route(of, to).paths.into_iter().map(|path| path.health);
        for (of, to) in [(A, B), (B, A)] {
            assert!(healths(of, to).all(|health| health == Health::Up), "seed {seed}");
        }
    }
}

#[test]
fn a_restarted_neighbour_is_believed_within_a_round_trip_of_being_heard() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, Path::Direct, &[via(R, 1), via(S, 1)]);
        settle(&mut world, seed);
        world.kill(A);
        world.run_for(2_000);
        world.restart(A, &ALL);
        let restarted = world.now;
        decide(&mut world, 1, Path::Direct, &[via(R, 1), via(S, 1)]);
        world.with(B, |mesh, _| mesh.take_flow_log());
        world.run_for(3_000);

        let log = world.mesh(B).flow(node(A)).unwrap();
        assert!(log.received > 100, "{log:?}, seed {seed}");
        assert!(log.last_at.unwrap().0 > restarted, "seed {seed}");
        assert_eq!(world.connections_between(A, B), 1, "seed {seed}");
    }
}

#[test]
fn a_node_that_has_just_started_calls_no_path_unreachable_before_it_has_tried() {
    for seed in 0..SEEDS / 10 {
        let mut world = pair_over(seed, Path::Direct, &[via(R, 1)]);
        settle(&mut world, seed);
        world.restart(A, &ALL);
        decide(&mut world, 1, Path::Direct, &[via(R, 1)]);
        let until = world.now + 20_000;
        let mut reported = 0;
        while world.now < until {
            world.run_for(10);
            if world.mesh(A).wants_report(world.boot()) {
                let report = world.with(A, |mesh, now| mesh.take_report(now));
                let bad = report.paths.iter().find(|path| path.drift != Drift::None);
                assert_eq!(bad, None, "seed {seed}");
                assert!(report.links.iter().all(|link| link.connected), "seed {seed}");
                reported += report.paths.len();
            }
        }
        assert!(reported >= 4, "{reported}, seed {seed}");
    }
}

#[test]
fn a_neighbour_that_is_not_there_is_called_unreachable_once_it_was_tried() {
    let mut world = pair_over(1, Path::Direct, &[via(R, 1)]);
    settle(&mut world, 1);
    world.kill(B);
    world.restart(A, &ALL);
    decide(&mut world, 1, Path::Direct, &[via(R, 1)]);
    world.run_for(12_000);

    let report = world.with(A, |mesh, now| mesh.take_report(now));
    let direct = report.paths.iter().find(|path| path.path == Path::Direct);
    assert_eq!(direct.map(|path| path.drift), Some(Drift::Unreachable));
    let link = report.links.iter().find(|link| link.peer == node(B));
    assert_eq!(link.map(|link| link.connected), Some(false));
}

#[test]
fn a_relay_that_restarts_without_a_controller_carries_nothing_and_direct_paths_go_on() {
    let mut world = pair_over(18, via(R, 1), &[Path::Direct]);
    settle(&mut world, 18);
    world.set_polling(R, false);
    world.run_for(6_000);
    world.kill(R);
    world.run_for(100);
    world.restart(R, &ALL);
    world.with(R, |mesh, now| mesh.handle_lease_table(&table(R, 1), now));
    world.run_for(60_000);

    assert_eq!(world.mesh(R).stats().forwarded, 0);
    assert!(world.mesh(R).stats().refused[&Refusal::NotFresh] > 0);
    assert_eq!(world.active(A, B), Path::Direct);
    assert!(world.mesh(B).flow(node(A)).unwrap().last_at.unwrap().0 + 100 > world.now);
}

#[test]
fn a_relay_without_a_controller_keeps_what_is_in_use() {
    let mut world = pair_over(19, via(R, 1), &[via(S, 1), Path::Direct]);
    settle(&mut world, 19);
    let began = world.now;
    world.set_polling(R, false);
    world.set_polling(S, false);
    world.run_for(300_000);

    assert_eq!(world.active(A, B), via(R, 1));
    assert_eq!(world.count(A, is_switch), 0);
    let not_fresh = |event: &Event| {
        matches!(
            event,
            Event::RelayStopped {
                why: RelayPause::NotFresh
            }
        )
    };
    assert!(world.told(R, began, not_fresh).is_some());
    // probes of the standby count as activity
    assert_eq!(world.mesh(S).relay(world.boot()).live, 1);
}

#[test]
fn a_withdrawn_lease_moves_the_traffic_at_once() {
    let mut world = pair_over(20, via(R, 1), &[via(S, 1), Path::Direct]);
    settle(&mut world, 20);
    let ended = world.now;
    world.with(R, |mesh, now| {
        mesh.handle_lease_table(&Default::default(), now);
    });
    world.run_for(500);

    let moved = world.told(A, ended, is_switch).unwrap() - ended;
    assert!(moved <= 50, "{moved}");
    let report = world.with(A, |mesh, now| mesh.take_report(now));
    assert_eq!(report.switches[0].cause, SwitchCause::LeaseEnded);
}

#[test]
fn a_revoked_neighbour_loses_its_connection_and_gets_no_new_one() {
    let mut world = pair_over(21, Path::Direct, &[via(R, 1)]);
    settle(&mut world, 21);
    let revoked = RevocationList {
        nodes: vec![RevokedNode {
            node: node(B),
            generation: 1,
            ends_at: protocol::time::Wall(u64::MAX),
        }],
        ..RevocationList::default()
    };
    for place in [A, R] {
        world.with(place, |mesh, now| mesh.handle_revocations(&revoked, now));
    }
    world.run_for(1_000);
    let forwarded = world.mesh(R).stats().forwarded;
    world.run_for(60_000);

    assert_eq!(world.connections_between(A, B), 0);
    assert_eq!(world.connections_between(R, B), 0);
    assert_eq!(world.mesh(R).stats().forwarded, forwarded);
}

#[test]
fn probes_rest_when_nothing_is_sent_and_hurry_when_something_is() {
    let mut world = World::new(22, &ALL);
    for relay in [R, S] {
        world.with(relay, |mesh, now| mesh.handle_lease_table(&table(relay, 1), now));
        world.set_polling(relay, true);
    }
    let mut many = Vec::new();
    let mut resting = decision(B, 1, Path::Direct, &[via(R, 1)]);
    resting.priority = 1;
    many.push(resting);
    for other in 0..8 {
        let mut first = decision(100 + other, 1, Path::Direct, &[]);
        first.route = protocol::id::RouteId::from_bytes([100 + other; 16]);
        first.priority = 200;
        many.push(first);
    }
    let document = protocol::document::routes::Routes { decisions: many };
    world.with(A, |mesh, now| mesh.handle_routes(&document, now));
    world.with(B, |mesh, now| {
        mesh.handle_routes(&routes(decision(A, 1, Path::Direct, &[])), now)
    });
    world.run_for(30_000);
    let sent = |world: &World| world.mesh(A).stats().probes_sent;
    let before = sent(&world);
    world.run_for(20_000);
    let resting = sent(&world) - before;
    assert!((4..=12).contains(&resting), "{resting}");
    world.add_flow(A, B);
    let before = sent(&world);
    world.run_for(20_000);

    assert!(sent(&world) - before > 90, "{}", sent(&world) - before);
}

#[test]
fn a_neighbour_that_shows_forged_beacons_again_and_again_is_cut_off_and_not_listened_to() {
    let mut world = pair_over(1, Path::Direct, &[via(R, 1)]);
    settle(&mut world, 1);
    let shown = |world: &World| {
        world.count(
            A,
            |event| matches!(event, Event::BeaconShown { peer, .. } if *peer == node(B)),
        )
    };
    for number in 0..3_u8 {
        world.with(A, |mesh, now| {
            mesh.handle_beacon_shown(node(B), vec![number], now)
        });
        world.with(A, |mesh, now| mesh.handle_forged_beacon(node(B), now));
        world.run_for(1_000);
    }
    let cut_off = world.told(A, 0, |event| {
        matches!(
            event,
            Event::PathChanged {
                path: Path::Direct,
                to: Health::Down,
                ..
            }
        )
    });
    assert!(cut_off.is_some());
    let before = shown(&world);
    world.with(A, |mesh, now| mesh.handle_beacon_shown(node(B), vec![9], now));

    assert_eq!(shown(&world), before);
}

#[test]
fn a_beacon_is_shown_to_every_neighbour_that_connects() {
    let mut world = World::new(23, &ALL);
    world.with(A, |mesh, _| mesh.handle_beacon(vec![1, 2, 3]));
    decide(&mut world, 1, Path::Direct, &[]);
    world.run_for(3_000);

    let shown = |event: &Event| matches!(event, Event::BeaconShown { beacon, .. } if *beacon == [1, 2, 3]);
    assert!(world.count(B, shown) >= 1);
}

#[test]
fn the_same_seed_twice_gives_the_same_history() {
    for seed in 0..10 {
        let run = || {
            let mut world = pair_over(seed, Path::Direct, &[via(R, 1), via(S, 1)]);
            for (one, other) in [(A, B), (A, R), (B, S)] {
                world.set_loss(one, other, 30);
            }
            world.run_for(3_000);
            world.set_cut(A, B, true);
            world.run_for(3_000);
            world.kill(R);
            world.run_for(10_000);
            world.set_cut(A, B, false);
            world.restart(R, &ALL);
            world.run_for(20_000);
            (world.history.clone(), format!("{:?}", world.mesh(A).stats()))
        };

        assert_eq!(run(), run(), "seed {seed}");
    }
}

/// A and B, joined by a route over `path`, 50 frames a second each way, and two relays that are fresh.
fn pair_over(seed: u64, path: Path, standbys: &[Path]) -> World {
    let mut world = World::new(seed, &ALL);
    for relay in [R, S] {
        world.with(relay, |mesh, now| mesh.handle_lease_table(&table(relay, 1), now));
        world.with(relay, |mesh, now| mesh.handle_fresh(now, now));
        world.set_polling(relay, true);
    }
    decide(&mut world, 1, path, standbys);
    world.add_flow(A, B);
    world.add_flow(B, A);

    world
}

/// Lets everything come up, for a time that differs by seed, and begins the logs anew.
fn settle(world: &mut World, seed: u64) -> (usize, usize) {
    world.run_for(5_000 + seed * 7 % 400);
    let logs = (
        world.with(A, |mesh, _| mesh.take_flow_log()).len(),
        world.with(B, |mesh, _| mesh.take_flow_log()).len(),
    );
    assert_eq!(
        world.count(A, is_switch) + world.count(B, is_switch),
        0,
        "seed {seed}"
    );
    assert_eq!(world.active(A, B), world.route(A, B).decided, "seed {seed}");
    assert_eq!(world.active(B, A), world.route(B, A).decided, "seed {seed}");

    logs
}

fn decide(world: &mut World, generation: u64, path: Path, standbys: &[Path]) {
    for (at, peer) in [(A, B), (B, A)] {
        let document = routes(decision(peer, generation, path, standbys));
        world.with(at, |mesh, now| mesh.handle_routes(&document, now));
    }
}

fn frame(class: Class, path: PathTag) -> Vec<u8> {
    let header = FrameHeader {
        class,
        form: Form::Sealed,
        path,
        boot: BootTag::from_bytes([1; 8]),
        sequence: Sequence(1),
    };

    [header.encode().as_slice(), &[0; 60]].concat()
}

fn is_switch(event: &Event) -> bool {
    matches!(event, Event::Switched { .. })
}

const A: u8 = 1;
const B: u8 = 2;
const R: u8 = 3;
const S: u8 = 4;
const ALL: [u8; 4] = [A, B, R, S];
const SEEDS: u64 = 100;
