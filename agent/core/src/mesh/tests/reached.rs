//! What an agent says of the addresses at which it reached its neighbours.

use super::*;

#[test]
fn a_report_names_the_address_of_a_link_that_this_end_dialled_and_of_no_other() {
    let mut world = pair_over(1, Path::Direct, &[]);
    settle(&mut world, 1);
    let all = world.mesh(A).links();
    for link in all.into_iter().filter_map(|link| link.link) {
        world.with(A, |mesh, now| mesh.handle_link_down(link, now));
    }
    assert_eq!(reached(&mut world), None, "the link is gone");
    up(&mut world, 1_000, false);
    assert_eq!(reached(&mut world), None, "the other end has dialled");
    up(&mut world, 1_001, true);

    assert_eq!(reached(&mut world), Some(address(B)));
}

fn up(world: &mut World, link: u64, dialled_by_us: bool) {
    let up = LinkUp {
        link: LinkId(link),
        peer: node(B),
        dialled_by_us,
        address: address(B),
    };
    world.with(A, |mesh, now| mesh.handle_link_up(up, now));
}

fn reached(world: &mut World) -> Option<SocketAddr> {
    let report = world.with(A, |mesh, now| mesh.take_report(now));
    let link = report.links.into_iter().find(|link| link.peer == node(B));

    link?.reached.map(|address| address.0)
}
