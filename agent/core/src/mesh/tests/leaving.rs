//! A neighbour that leaves the configuration and comes back, within one boot of both ends.

use super::*;

#[test]
fn a_neighbour_that_was_left_out_for_a_while_is_heard_again_at_once() {
    for left_out in [vec![A], vec![B], vec![A, B]] {
        for seed in 0..SEEDS / 10 {
            let mut world = pair_over(seed, Path::Direct, &[via(R, 1)]);
            world.run_for(60_000);
            for node in &left_out {
                let others: Vec<u8> = ALL.into_iter().filter(|other| ![A, B].contains(other)).collect();
                world.configure(*node, &others);
            }
            world.run_for(5_000);
            for node in &left_out {
                world.configure(*node, &ALL);
            }
            decide(&mut world, 2, Path::Direct, &[via(R, 1)]);
            world.run_for(2_000);
            let replayed = [A, B].map(|node| world.mesh(node).stats().replayed);
            let before = [(A, B), (B, A)].map(|(at, from)| received(&world, at, from));
            world.run_for(2_000);
            let heard = [(A, B), (B, A)].map(|(at, from)| received(&world, at, from));

            assert_eq!(replayed, [0, 0], "nothing is taken for a replay, seed {seed}");
            for end in 0..2 {
                let flows = (before[end], heard[end]);
                assert!(
                    heard[end] > before[end] + 50,
                    "{flows:?}, {left_out:?} left out, seed {seed}"
                );
            }
            assert_eq!(world.active(A, B), Path::Direct);
        }
    }
}

fn received(world: &World, at: u8, from: u8) -> u64 {
    world.mesh(at).flow(node(from)).map_or(0, |flow| flow.received)
}
