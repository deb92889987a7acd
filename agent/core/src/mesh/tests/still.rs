//! Processes that stand still, as those that are stopped or get no processor: relays, and the far end.

use super::*;

#[test]
fn a_relay_that_stood_still_forwards_nothing_before_a_poll_sent_since() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, via(R, 1), &[via(S, 1), Path::Direct]);
        settle(&mut world, seed);
        world.set_polling(R, false);
        world.stop(R);
        world.run_for(90_000);
        let forwarded = world.mesh(R).stats().forwarded;
        world.resume(R, seed % 2 == 0);
        world.run_for(5_000);

        let still = |event: &Event| matches!(event, Event::Stalled { .. });
        assert_eq!(world.count(R, still), 1, "seed {seed}");
        assert_eq!(world.mesh(R).stats().forwarded, forwarded, "seed {seed}");
        let pause = world.mesh(R).relay(world.boot()).pause;
        assert_eq!(pause, Some(RelayPause::StoodStill), "seed {seed}");
        assert!(world.mesh(R).stats().refused.contains_key(&Refusal::StoodStill));

        world.set_polling(R, true);
        world.run_for(6_000 + 40_000);
        assert!(world.mesh(R).stats().forwarded > forwarded, "seed {seed}");
        assert_eq!(
            world.active(A, B),
            via(S, 1),
            "it stays where it went, seed {seed}"
        );
    }
}

#[test]
fn a_far_end_that_stood_still_for_a_moment_is_not_blamed_on_the_path() {
    for seed in 0..SEEDS {
        for still in [300, 500, 700, 983, 1_500, 4_000] {
            let mut world = pair_over(seed, via(R, 1), &[via(S, 1), Path::Direct]);
            settle(&mut world, seed);
            let began = world.now;
            for _ in 0..3 {
                world.stop(B);
                world.run_for(still);
                world.resume(B, seed % 2 == 0);
                world.run_for(1_500);
            }
            world.run_for(3_000);

            for (from, to) in [(A, B), (B, A)] {
                let moved = world.told(from, began, is_switch);
                assert_eq!(moved, None, "{from} after a stop of {still} ms, seed {seed}");
                assert_eq!(world.active(from, to), via(R, 1), "{still} ms, seed {seed}");
            }
            // so that it cannot pass for want of a fault
            assert!(
                still < 500 || world.count(A, is_doubt) > 0,
                "{still} ms, seed {seed}"
            );
        }
    }
}

#[test]
fn a_path_that_died_while_the_far_end_stood_still_is_left_once_that_answers_elsewhere() {
    for seed in 0..SEEDS {
        let mut world = pair_over(seed, via(R, 1), &[via(S, 1), Path::Direct]);
        settle(&mut world, seed);
        world.stop(B);
        world.run_for(1_500);
        world.kill(R);
        world.resume(B, seed % 2 == 0);
        let resumed = world.now;
        world.run_for(3_000);

        for (from, to) in [(A, B), (B, A)] {
            let moved = world.told(from, resumed, is_switch).expect("a switch") - resumed;
            assert!(moved <= 200 + 600 + 40, "{moved} ms, seed {seed}");
            assert_eq!(world.active(from, to), via(S, 1), "seed {seed}");
        }
    }
}

#[test]
fn a_search_from_before_the_standstill_opens_nothing_and_an_answer_without_news_does() {
    for seed in 0..SEEDS / 10 {
        let mut world = pair_over(seed, via(R, 1), &[via(S, 1)]);
        settle(&mut world, seed);
        world.set_polling(R, false);
        let began = world.boot();
        world.run_for(1_000);
        world.stop(R);
        world.run_for(7_000);
        world.resume(R, seed % 2 == 0);
        world.with(R, |mesh, now| mesh.handle_controllers_tried_in_vain(began, now));
        let pause = world.mesh(R).relay(world.boot()).pause;
        assert_eq!(pause, Some(RelayPause::StoodStill), "seed {seed}");

        let fresh_at = world.mesh(R).relay(world.boot()).fresh_at;
        world.with(R, |mesh, now| mesh.handle_controller_answered(now, now));
        let view = world.mesh(R).relay(world.boot());
        assert_eq!((view.pause, view.fresh_at), (None, fresh_at), "seed {seed}");
    }
}

#[test]
fn a_poll_reply_from_before_the_standstill_opens_nothing() {
    let mut world = pair_over(3, via(R, 1), &[via(S, 1)]);
    settle(&mut world, 3);
    world.run_for(1);
    world.stop(R);
    world.run_for(7_000);
    let forwarded = world.mesh(R).stats().forwarded;
    world.resume(R, false);
    world.run_for(2_000);

    assert_eq!(world.mesh(R).stats().forwarded, forwarded);
    world.run_for(10_000);
    assert!(world.mesh(R).stats().forwarded > forwarded);
}

fn is_doubt(event: &Event) -> bool {
    matches!(
        event,
        Event::PathChanged {
            to: Health::Doubtful,
            ..
        }
    )
}
