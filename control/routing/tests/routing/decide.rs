//! The rules of a decision, one by one.

use std::collections::BTreeSet;
use std::time::Duration;

use control_routing::decide::Change;
use control_routing::lease::{Lease, LeaseState};
use control_routing::member::MemberState;
use control_routing::policy::{PolicyRow, Selector};
use control_routing::via::Via;
use protocol::document::routes::{Action, Cadence, Path, Reason};
use protocol::id::{LeaseId, NodeId, RouteId};
use protocol::limits::LEASE_ROWS;
use protocol::node::{Labels, NodeRole};
use protocol::wire::{Drift, Report};

use crate::explain::explained;
use crate::world::{CLUSTER, World, machine, member, node, observation, relay, route};

#[test]
fn a_first_decision_is_direct_and_asks_for_two_relays_that_fail_apart() {
    let mut world = World::of([
        member(1),
        member(2),
        relay(11, "fra"),
        relay(12, "fra"),
        relay(13, "ber"),
    ]);
    let outcomes = world.decide();

    let [outcome] = outcomes.as_slice() else {
        panic!("one route: {outcomes:?}");
    };
    let row = outcome.row.as_ref().expect("decided");
    assert_eq!((row.generation, row.action), (1, Action::Replace));
    assert_eq!((row.path, row.standbys.len()), (Some(Path::Direct), 0));
    assert!(row.reasons.contains(&Reason::LeasePending));
    assert!(row.reasons.contains(&Reason::StandbyShort));
    let sites: BTreeSet<_> = outcome
        .requests
        .iter()
        .map(|request| world.members[&request.relay].labels.get("site"))
        .collect();
    assert_eq!(
        (outcome.requests.len(), sites.len()),
        (2, 2),
        "{:?}",
        outcome.requests
    );
}

#[test]
fn a_lease_is_used_once_its_relay_has_acknowledged_it() {
    let mut world = two_and_relays();
    world.decide();
    world.advance(Duration::from_secs(1));
    assert!(changes(&world.decide()).is_empty(), "offered is not active");
    world.acknowledge_all();
    world.decide();

    let row = world.row(a(), b());
    assert_eq!((row.generation, row.action), (2, Action::Keep));
    assert_eq!((row.path, row.standbys.len()), (Some(Path::Direct), 2));
    assert!(!row.reasons.contains(&Reason::StandbyShort));
}

#[test]
fn a_dead_path_is_left_at_once_for_a_standby() {
    let mut world = settled();
    world.network.cut.insert((a(), b()));
    world.run(5);

    let row = world.row(a(), b());
    assert_eq!(row.action, Action::Replace);
    assert!(world.via(a(), b()).relay().is_some());
    assert!(row.reasons.contains(&Reason::DirectDown), "{:?}", row.reasons);
}

#[test]
fn a_healed_path_is_taken_back_after_three_good_windows() {
    let mut world = settled();
    world.network.cut.insert((a(), b()));
    world.run(70);
    world.network.cut.clear();
    let mut waited = 0;
    while world.via(a(), b()) != Via::Direct {
        world.run(5);
        waited += 5;
        assert!(waited <= 60, "direct is never taken back");
    }

    assert!(waited >= 30, "taken back after {waited} s");
    assert!(world.row(a(), b()).reasons.contains(&Reason::DirectPreferred));
}

#[test]
fn a_path_that_is_better_now_and_then_is_not_taken() {
    let mut world = settled();
    let [near, far] = world.leased();
    world.set_rtt(near, 200_000);
    world.network.cut.insert((a(), b()));
    world.run(70);
    assert_eq!(world.via(a(), b()), Via::Relay(far));
    let generation = world.row(a(), b()).generation;
    for _ in 0..6 {
        world.set_rtt(near, 1_000);
        world.run(20);
        world.set_rtt(near, 200_000);
        world.run(5);
    }

    assert_eq!(world.row(a(), b()).generation, generation);
}

#[test]
fn jitter_makes_no_new_decisions() {
    let mut world = settled();
    let generation = world.row(a(), b()).generation;
    for round in 0..40 {
        let jitter = [0, 9_000, 4_000, 7_000][round % 4];
        let [near, far] = world.leased();
        world.set_rtt(near, 20_000 + jitter);
        world.set_rtt(far, 29_000 - jitter);
        world.network.rtt.insert((a(), b()), 22_000 - jitter);
        world.run(5);
    }

    assert_eq!(world.row(a(), b()).generation, generation);
}

#[test]
fn the_edge_between_two_classes_is_no_reason_to_move() {
    let mut world = settled();
    let [near, far] = world.leased();
    world.set_rtt(near, 20_500);
    world.set_rtt(far, 200_000);
    world.network.cut.insert((a(), b()));
    world.run(70);
    assert_eq!(world.via(a(), b()), Via::Relay(near));
    let generation = world.row(a(), b()).generation;
    world.set_rtt(far, 19_500);
    world.run(120);

    assert_eq!(
        world.row(a(), b()).generation,
        generation,
        "39 ms and 41 ms are alike"
    );
}

#[test]
fn a_path_that_only_looks_better_is_not_taken_before_it_is_probed() {
    let mut world = settled();
    world.network.rtt.insert(ordered(a(), b()), 300_000);
    for _ in 0..24 {
        world.advance(Duration::from_secs(5));
        for end in [a(), b()] {
            let mut report = world.truth(end);
            report
                .paths
                .iter_mut()
                .for_each(|seen| (seen.rtt_us, seen.window) = (None, 0));
            world.take(end, &report);
        }
        world.decide();
    }

    assert_eq!(world.via(a(), b()), Via::Direct);
}

#[test]
fn a_relay_that_does_not_take_its_lease_is_given_up_for_another() {
    let relays = [relay(11, "fra"), relay(12, "ber"), relay(13, "ams")];
    let mut world = World::of([member(1), member(2)].into_iter().chain(relays));
    let asked = |outcomes: &[control_routing::decide::Outcome]| -> Vec<NodeId> {
        let requests = outcomes.iter().flat_map(|outcome| &outcome.requests);

        requests.map(|request| request.relay).collect()
    };
    let first = asked(&world.decide());
    world.acknowledge(first[0]);
    world.advance(Duration::from_secs(14));
    assert_eq!(asked(&world.decide()), []);
    world.advance(Duration::from_secs(2));
    let second = asked(&world.decide());

    assert_eq!(second.len(), 1);
    assert!(!first.contains(&second[0]));
}

#[test]
fn what_all_probes_call_down_is_kept_and_said() {
    let mut world = settled();
    let before = world.row(a(), b()).clone();
    world.network.dead.insert(b());
    world.advance(Duration::from_secs(5));
    world.report_all();
    let outcomes = world.decide();

    assert_eq!(changes(&outcomes), [Change::Noted]);
    let after = world.row(a(), b());
    assert_eq!((after.generation, &after.path), (before.generation, &before.path));
    assert!(after.reasons.contains(&Reason::NoCandidate));
    world.network.dead.clear();
    world.run(5);
    assert!(!world.row(a(), b()).reasons.contains(&Reason::NoCandidate));
}

#[test]
fn after_a_start_a_route_keeps_its_decision_for_one_window() {
    let mut world = settled();
    world.observations = control_routing::observations::Observations::default();
    world.trends = control_routing::trend::Trends::default();
    let before = world.row(a(), b()).clone();
    world.network.cut.insert((a(), b()));
    world.run(10);
    assert_eq!(*world.row(a(), b()), before, "5 s of reports decide nothing");
    world.run(5);

    assert_eq!(world.row(a(), b()).generation, before.generation + 1);
}

#[test]
fn a_local_switch_is_confirmed() {
    let mut world = settled();
    let row = world.row(a(), b()).clone();
    let taken = *row.standbys.last().expect("two standbys");
    let all_work = row.paths().map(|path| {
        let is_active = *path == taken;

        observation((a(), b()), row.generation, *path, Some(40_000), is_active)
    });
    let report = Report {
        paths: all_work.collect(),
        ..Report::default()
    };
    world.advance(Duration::from_secs(1));
    world.take(a(), &report);
    world.decide();

    let confirmed = world.row(a(), b());
    assert_eq!(confirmed.path, Some(taken));
    assert_eq!(confirmed.generation, row.generation + 1);
}

#[test]
fn a_switch_under_an_older_decision_is_not_confirmed() {
    let mut world = settled();
    let row = world.row(a(), b()).clone();
    let stale = row.standbys[0];
    let report = Report {
        paths: vec![observation(
            (a(), b()),
            row.generation - 1,
            stale,
            Some(1_000),
            true,
        )],
        ..Report::default()
    };
    world.take(a(), &report);

    assert!(changes(&world.decide()).is_empty());
}

#[test]
fn a_dead_standby_is_replaced_when_another_is_leased() {
    let mut world = World::of([
        member(1),
        member(2),
        relay(11, "fra"),
        relay(12, "ber"),
        relay(13, "ams"),
    ]);
    world.settle();
    let lost = world.leased()[0];
    world.network.dead.insert(lost);
    world.run(15);

    assert_eq!(world.via(a(), b()), Via::Direct);
    assert_eq!(world.standbys(a(), b()).len(), 2);
    assert!(!world.standbys(a(), b()).contains(&Via::Relay(lost)));
}

#[test]
fn a_dead_standby_stays_while_nothing_replaces_it_and_is_said_to_be_short() {
    let mut world = settled();
    let lost = world.leased()[0];
    world.network.dead.insert(lost);
    world.run(30);

    assert!(
        world.standbys(a(), b()).contains(&Via::Relay(lost)),
        "it is still probed"
    );
    assert!(world.row(a(), b()).reasons.contains(&Reason::StandbyShort));
}

#[test]
fn drift_marks_exactly_this_relay_on_exactly_this_route() {
    let mut world = World::of([
        member(1),
        member(2),
        member(3),
        relay(11, "fra"),
        relay(12, "ber"),
    ]);
    world
        .network
        .cut
        .extend([ordered(a(), b()), ordered(a(), node(3))]);
    world.settle();
    let (drifting, other) = (world.row(a(), b()).clone(), world.via(a(), node(3)));
    let mut report = world.truth(a());
    for seen in &mut report.paths {
        if seen.route == drifting.route && Some(seen.path) == drifting.path {
            seen.drift = Drift::PathDrift;
        }
    }
    world.take(a(), &report);
    world.decide();

    let row = world.row(a(), b());
    assert_ne!(row.path, drifting.path);
    assert!(row.reasons.contains(&Reason::StaleExactRelay));
    assert_eq!(world.via(a(), node(3)), other);
}

#[test]
fn an_end_that_hears_nothing_measures_nothing_though_it_remembers_a_round_trip() {
    let mut world = settled();
    world.advance(Duration::from_secs(16));
    let mut report = world.truth(a());
    for seen in &mut report.paths {
        (seen.misses, seen.drift) = (3, Drift::None);
        assert!(seen.rtt_us.is_some(), "from before");
    }
    world.take(a(), &report);
    world.decide();

    let told = explained(&world, a(), b()).expect("decided");
    let tiers: BTreeSet<&str> = told.candidates.iter().map(|found| found.judged.tier).collect();
    assert_eq!(tiers, BTreeSet::from(["suspect"]), "{:?}", told.candidates);
}

#[test]
fn a_peer_that_one_end_hears_on_no_path_moves_nothing_and_two_silent_ends_move_the_route() {
    let mut world = World::of([member(1), member(2), relay(11, "fra"), relay(12, "ber")]);
    world.network.cut.insert(ordered(a(), b()));
    world.settle();
    let silent = |world: &mut World, end, all: bool| {
        let mut report = world.truth(end);
        report.paths.retain(|seen| all || seen.active);
        for seen in &mut report.paths {
            (seen.misses, seen.lost_out, seen.lost_in) = (3, 3, 3);
            seen.drift = Drift::None;
        }
        report
    };
    let before = world.row(a(), b()).clone();
    let report = silent(&mut world, a(), true);
    world.take(a(), &report);
    world.decide();
    assert_eq!(world.row(a(), b()).path, before.path, "its peer may stand still");

    let report = silent(&mut world, b(), false);
    world.take(b(), &report);
    world.decide();
    let row = world.row(a(), b());
    assert_ne!(row.path, before.path, "neither hears the other");
    assert!(row.reasons.contains(&Reason::StaleExactRelay));
}

#[test]
fn a_draining_relay_is_left_when_another_is_up_and_gets_nothing_new() {
    let mut world = World::of([member(1), member(2), relay(11, "fra"), relay(12, "ber")]);
    world.network.cut.insert(ordered(a(), b()));
    world.settle();
    let leaving = world.via(a(), b()).relay().expect("direct is cut");
    let staying = node(if leaving == node(11) { 12 } else { 11 });
    world.network.dead.insert(staying);
    world.run(70);
    world.set_state(leaving, MemberState::Draining);
    world.run(30);
    assert_eq!(world.via(a(), b()), Via::Relay(leaving), "nothing is up yet");
    world.network.dead.clear();
    world.run(80);

    assert_eq!(world.via(a(), b()), Via::Relay(staying));
    world.members.insert(node(3), member(3));
    world.refresh();
    let outcomes = world.decide();
    assert!(
        outcomes
            .iter()
            .flat_map(|outcome| &outcome.requests)
            .all(|request| request.relay != leaving)
    );
}

#[test]
fn a_working_path_over_a_draining_relay_waits_until_the_next_one_is_probed() {
    let mut world = World::of([member(1), member(2), relay(11, "fra")]);
    world.network.cut.insert(ordered(a(), b()));
    world.settle();
    assert_eq!(world.via(a(), b()), Via::Relay(node(11)));
    world.members.insert(node(12), relay(12, "ber"));
    world.set_state(node(11), MemberState::Draining);
    world.decide();
    world.acknowledge_all();
    world.decide();
    assert_eq!(
        world.via(a(), b()),
        Via::Relay(node(11)),
        "the new one is leased and not probed"
    );
    world.run(5);

    assert_eq!(world.via(a(), b()), Via::Relay(node(12)));
}

#[test]
fn a_draining_relay_loses_its_leases_also_where_nothing_takes_its_place_as_a_standby() {
    let mut world = settled();
    let [one, other] = world.leased();
    assert_eq!(world.via(a(), b()), Via::Direct);
    world.set_state(one, MemberState::Draining);
    world.set_state(other, MemberState::Draining);
    world.run(90);
    let left: Vec<Lease> = world
        .leases
        .iter()
        .filter(|lease| lease.is_live())
        .copied()
        .collect();
    assert!(
        left.iter().all(|lease| ![one, other].contains(&lease.relay)),
        "{left:?}"
    );
    assert_eq!(world.via(a(), b()), Via::Direct);
}

#[test]
fn a_standby_over_a_draining_relay_stays_until_its_replacement_is_leased() {
    let mut world = World::of([
        member(1),
        member(2),
        relay(11, "fra"),
        relay(12, "ber"),
        relay(13, "ams"),
    ]);
    world.settle();
    let [one, _] = world.leased();
    world.set_state(one, MemberState::Draining);
    world.decide();
    world.decide();
    assert!(
        world.standbys(a(), b()).contains(&Via::Relay(one)),
        "the third relay has not acknowledged yet"
    );
    world.acknowledge_all();
    world.decide();

    assert!(!world.standbys(a(), b()).contains(&Via::Relay(one)));
    assert_eq!(world.standbys(a(), b()).len(), 2);
}

#[test]
fn a_full_relay_is_no_candidate() {
    let mut world = World::of([member(1), member(2), relay(11, "fra")]);
    let request = world.decide()[0].requests[0];
    let offered = *world.leases.on(request.route, request.relay).expect("granted");
    world.leases.remove(offered.lease);
    fill(&mut world, offered, LEASE_ROWS);
    let outcomes = world.decide();

    assert!(outcomes.iter().all(|outcome| outcome.requests.is_empty()));
}

#[test]
fn one_pass_promises_no_more_rows_than_a_relay_has_left() {
    let mut world = World::of([member(1), member(2), member(3), relay(11, "fra")]);
    let asked = world.decide();
    let requests: Vec<_> = asked.iter().flat_map(|outcome| &outcome.requests).collect();
    assert_eq!(requests.len(), 3, "one for each pair, as long as there is room");
    let offered = *world
        .leases
        .on(requests[0].route, requests[0].relay)
        .expect("granted");
    for request in requests {
        let granted = world
            .leases
            .on(request.route, request.relay)
            .expect("granted")
            .lease;
        world.leases.remove(granted);
    }
    fill(&mut world, offered, LEASE_ROWS - 1);
    let outcomes = world.decide();

    assert_eq!(
        outcomes
            .iter()
            .map(|outcome| outcome.requests.len())
            .sum::<usize>(),
        1
    );
}

/// Gives the relay of `lease` as many rows of others.
fn fill(world: &mut World, lease: Lease, rows: usize) {
    for number in 0..rows {
        let mut other = lease;
        let mut id = [0xEE; 16];
        id[..8].copy_from_slice(&number.to_be_bytes());
        other.lease = LeaseId::from_bytes(id);
        other.route = RouteId::from_bytes(id);
        world.leases.put(other);
    }
}

#[test]
fn an_unused_lease_goes_once_both_ends_probe_without_it() {
    let mut world = World::of([
        member(1),
        member(2),
        relay(11, "fra"),
        relay(12, "ber"),
        relay(13, "ams"),
    ]);
    world.settle();
    let lost = world.leased()[0];
    world.network.dead.insert(lost);
    world.run(5);
    assert!(
        live(&world).contains(&lost),
        "the standing decision still names it"
    );
    world.run(5);
    assert!(
        live(&world).contains(&lost),
        "the ends have not shown the new decision yet"
    );
    world.run(15);

    assert!(!live(&world).contains(&lost));
    let row = world.leases.on(route(a(), b()), lost).expect("kept");
    assert_eq!(row.state, LeaseState::Withdrawn);
}

#[test]
fn an_unused_lease_of_silent_ends_goes_after_a_minute() {
    let mut world = settled();
    world.policies = vec![policy("nobody", 1, "site=none")];
    world.refresh();
    world.decide();
    assert!(world.row(a(), b()).is_withdrawn());
    for _ in 0..13 {
        assert_eq!(live(&world).len(), 2);
        world.advance(Duration::from_secs(5));
        world.decide();
    }

    assert_eq!(live(&world).len(), 0);
}

#[test]
fn a_revoked_end_ends_its_routes_and_leases_at_once() {
    let mut world = settled();
    let generation = world.row(a(), b()).generation;
    world.set_state(b(), MemberState::Revoked);
    world.decide();

    let row = world.row(a(), b());
    assert_eq!((row.action, row.path), (Action::Withdraw, None));
    assert_eq!(
        (row.generation, row.reasons.as_slice()),
        (generation + 1, &[Reason::EndRevoked][..])
    );
    assert_eq!(live(&world).len(), 0);
}

#[test]
fn a_route_that_is_wanted_again_goes_on_counting() {
    let mut world = settled();
    let generation = world.row(a(), b()).generation;
    world.policies = vec![policy("nobody", 1, "site=none")];
    world.refresh();
    world.decide();
    assert_eq!(world.row(a(), b()).reasons, [Reason::NoPolicy]);
    world.decide();
    assert_eq!(
        world.row(a(), b()).generation,
        generation + 1,
        "withdrawn once, not at every pass"
    );
    world.policies.clear();
    world.refresh();
    world.decide();

    let row = world.row(a(), b());
    assert_eq!((row.generation, row.action), (generation + 2, Action::Replace));
}

#[test]
fn a_pair_that_is_wanted_again_gets_a_path_though_the_last_word_on_it_was_bad() {
    let mut world = World::of([member(1), member(2)]);
    world.settle();
    world.network.cut.insert((a().min(b()), a().max(b())));
    world.run(30);
    world.policies = vec![policy("nobody", 1, "site=none")];
    world.refresh();
    world.decide();
    world.policies.clear();
    world.refresh();
    world.decide();

    assert_eq!(
        world.via(a(), b()),
        Via::Direct,
        "nobody probes what is not decided, so only a decision finds out"
    );
}

#[test]
fn what_was_reported_before_a_withdrawal_is_no_evidence_afterwards() {
    let mut world = settled();
    world.network.cut.insert((a().min(b()), a().max(b())));
    world.run(30);
    let was_down = |world: &World| {
        let candidates = explained(world, a(), b()).expect("known").candidates;
        let direct = candidates.into_iter().find(|found| found.judged.via == "direct");

        direct.expect("judged").judged.tier == "stale"
    };
    assert!(was_down(&world));
    world.policies = vec![policy("nobody", 1, "site=none")];
    world.refresh();
    world.decide();
    world.policies.clear();
    world.refresh();
    world.network.cut.clear();
    world.advance(Duration::from_secs(20));
    world.decide();

    assert!(!was_down(&world), "the cut was of another time");
}

#[test]
fn a_lost_relay_that_is_revoked_is_not_named_again() {
    let mut world = settled();
    let revoked = world.leased()[0];
    world.set_state(revoked, MemberState::Revoked);
    world.decide();

    assert!(!world.standbys(a(), b()).contains(&Via::Relay(revoked)));
    assert!(!live(&world).contains(&revoked));
}

#[test]
fn standbys_differ_in_host_where_there_is_one_site() {
    let host = |number, host| machine(number, NodeRole::Relay, &[("site", "fra"), ("host", host)]);
    let mut world = World::of([member(1), member(2), host(11, "x"), host(12, "x"), host(13, "y")]);
    world.settle();

    assert!(world.standbys(a(), b()).contains(&Via::Relay(node(13))));
}

#[test]
fn direct_counts_as_the_most_diverse_standby() {
    let mut world = World::of([
        member(1),
        member(2),
        relay(11, "fra"),
        relay(12, "ber"),
        relay(13, "ams"),
    ]);
    world.network.rtt.insert(ordered(a(), b()), 300_000);
    world.settle();
    world.run(60);

    assert!(
        world.via(a(), b()).relay().is_some(),
        "the relays are much faster"
    );
    assert!(world.standbys(a(), b()).contains(&Via::Direct));
}

#[test]
fn a_faster_relay_becomes_a_standby_and_then_the_path() {
    let mut world = World::of([member(1), member(2), relay(11, "fra"), relay(12, "ber")]);
    world.network.cut.insert(ordered(a(), b()));
    for slow in [11, 12] {
        world.set_rtt(node(slow), 100_000);
    }
    world.settle();
    world.members.insert(node(13), relay(13, "ams"));
    world.set_rtt(node(13), 5_000);
    world.refresh();
    world.run(120);

    assert_eq!(world.via(a(), b()), Via::Relay(node(13)));
}

#[test]
fn a_liar_changes_its_own_routes_alone() {
    let mut world = World::of([
        member(1),
        member(2),
        member(3),
        relay(11, "fra"),
        relay(12, "ber"),
    ]);
    world.settle();
    let (honest, own) = (world.row(a(), b()).clone(), world.row(a(), node(3)).clone());
    let mut lies = Vec::new();
    for path in honest.paths().chain(own.paths()) {
        for peer in [a(), b()] {
            lies.push(observation((node(3), peer), 99, *path, None, false));
            let mut forged = observation((a(), b()), honest.generation, *path, None, false);
            forged.peer = peer;
            lies.push(forged);
        }
    }
    let report = Report {
        paths: lies,
        ..Report::default()
    };
    let news = world.take(node(3), &report);
    world.decide();

    assert!(!news.changed.contains(&honest.route) && !news.worse.contains(&honest.route));
    assert_eq!(*world.row(a(), b()), honest);
    assert!(world.observations.stats().foreign > 0);
}

#[test]
fn orphans_of_a_dead_relay_spread_over_the_others_in_one_pass() {
    let mut world = thirty_pairs();
    let before = spread(&world);
    assert!(before.iter().all(|count| (5..=15).contains(count)), "{before:?}");
    world.stubborn = true;
    world.network.dead.insert(node(71));
    world.advance(Duration::from_secs(1));
    world.report_all();
    world.decide();

    let after = spread(&world);
    assert_eq!((after[0], after[1] + after[2]), (0, 30), "every orphan has moved");
    assert!(after[1].abs_diff(after[2]) <= 2, "{before:?} {after:?}");
}

#[test]
fn orphans_that_move_by_themselves_do_not_all_choose_the_same_relay() {
    let mut world = thirty_pairs();
    let before = spread(&world);
    world.network.dead.insert(node(71));
    world.advance(Duration::from_secs(1));
    world.report_all();
    world.decide();

    let after = spread(&world);
    assert_eq!(after[0], 0);
    let gained = [after[1] - before[1], after[2] - before[2]];
    assert!(
        gained.iter().all(|gained| *gained >= before[0] / 4),
        "{before:?} {after:?}"
    );
}

#[test]
fn an_outage_of_every_report_moves_nothing() {
    let mut world = settled();
    let before = world.row(a(), b()).clone();
    for relay in world.leased() {
        world.set_state(relay, MemberState::Offline);
    }
    for _ in 0..60 {
        world.advance(Duration::from_secs(5));
        world.decide();
    }

    assert_eq!(world.row(a(), b()).generation, before.generation);
}

fn a() -> NodeId {
    node(1).min(node(2))
}

fn b() -> NodeId {
    node(1).max(node(2))
}

fn two_and_relays() -> World {
    World::of([member(1), member(2), relay(11, "fra"), relay(12, "ber")])
}

fn settled() -> World {
    let mut world = two_and_relays();
    world.settle();

    world
}

fn ordered(one: NodeId, other: NodeId) -> (NodeId, NodeId) {
    (one.min(other), one.max(other))
}

fn changes(outcomes: &[control_routing::decide::Outcome]) -> Vec<Change> {
    let changes = outcomes.iter().map(|outcome| outcome.change);

    changes.filter(|change| *change != Change::None).collect()
}

fn live(world: &World) -> BTreeSet<NodeId> {
    let leases = world.leases.of_route(route(a(), b()));

    leases
        .filter(|lease| lease.is_live())
        .map(|lease| lease.relay)
        .collect()
}

fn spread(world: &World) -> [u32; 3] {
    [71, 72, 73].map(|number| world.routes.carried_by(node(number)))
}

/// Thirty pairs whose direct links are cut, over three relays.
fn thirty_pairs() -> World {
    let relays = (71..=73).map(|number| relay(number, "fra"));
    let mut world = World::of((1..=60).map(member).chain(relays));
    world.policies = (0..30_u8).map(pair_policy).collect();
    for number in 0..30_u8 {
        let pair = [node(2 * number + 1), node(2 * number + 2)];
        for end in pair {
            let labels = Labels::parse([("pair".to_owned(), format!("p{number}"))]).expect("valid");
            world.members.get_mut(&end).expect("a member").labels = labels;
        }
        world.network.cut.insert(ordered(pair[0], pair[1]));
    }
    world.refresh();
    assert_eq!(world.wanted.len(), 30);
    world.settle();
    world.run(60);

    world
}

fn policy(name: &str, priority: u8, selector: &str) -> PolicyRow {
    PolicyRow {
        cluster: CLUSTER,
        name: name.parse().expect("a valid name"),
        priority,
        source: selector.parse().expect("a valid selector"),
        target: selector.parse::<Selector>().expect("a valid selector"),
        cadence: Cadence::Auto,
    }
}

fn pair_policy(number: u8) -> PolicyRow {
    policy(&format!("pair-{number}"), 10, &format!("pair=p{number}"))
}

impl World {
    fn settle(&mut self) {
        self.decide();
        self.acknowledge_all();
        self.run(30);
    }

    fn leased(&self) -> [NodeId; 2] {
        let relays: Vec<NodeId> = live(self).into_iter().collect();

        relays.try_into().expect("two relays are leased")
    }

    fn set_rtt(&mut self, relay: NodeId, rtt_us: u32) {
        for end in [a(), b()] {
            self.network.rtt.insert(ordered(end, relay), rtt_us);
        }
    }
}
