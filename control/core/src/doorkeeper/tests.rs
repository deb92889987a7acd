use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    connections: 40,
    handshakes: 30,
    handshakes_per_source: 20,
    strangers: 10,
    strangers_per_source: 4,
};
const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);

#[test]
fn one_source_holds_its_share_of_the_strangers_and_others_still_come_in() {
    let mut door = Doorkeeper::new(LIMITS);
    for _ in 0..4 {
        let visit = enter(&mut door, "192.0.2.1");
        assert_eq!(door.handle_stranger(visit), Ok(()));
    }
    let fifth = enter(&mut door, "192.0.2.1");
    assert_eq!(door.handle_stranger(fifth), Err(Full::Source));
    let other = enter(&mut door, "192.0.2.2");
    assert_eq!(door.handle_stranger(other), Ok(()));
}

#[test]
fn the_addresses_of_one_ipv6_network_are_one_source_and_a_mapped_one_is_its_ipv4_address() {
    let mut door = Doorkeeper::new(LIMITS);
    for host in 1..=4 {
        let visit = enter(&mut door, &format!("2001:db8::{host}"));
        assert_eq!(door.handle_stranger(visit), Ok(()));
    }
    let same = enter(&mut door, "2001:db8::ffff:1");
    assert_eq!(door.handle_stranger(same), Err(Full::Source));
    let next = enter(&mut door, "2001:db8:0:1::1");
    assert_eq!(door.handle_stranger(next), Ok(()));

    assert_eq!(
        Source::of("::ffff:192.0.2.1".parse().unwrap()),
        Source::of("192.0.2.1".parse().unwrap())
    );
}

#[test]
fn this_host_has_no_share_of_its_own_and_is_held_to_the_total() {
    let mut door = Doorkeeper::new(LIMITS);
    for _ in 0..LIMITS.strangers {
        let visit = enter(&mut door, "127.0.0.1");
        assert_eq!(door.handle_stranger(visit), Ok(()));
    }
    let beyond = enter(&mut door, "::1");

    assert_eq!(door.handle_stranger(beyond), Err(Full::Strangers));
}

#[test]
fn the_newest_connections_of_a_node_stay_and_the_oldest_is_closed() {
    let mut door = Doorkeeper::new(LIMITS);
    let node = NodeId::from_bytes([2; 16]);
    let visits: Vec<Visit> = (0..4).map(|_| enter(&mut door, "192.0.2.1")).collect();
    for visit in &visits[..3] {
        assert_eq!(door.handle_member(*visit, CLUSTER, node), None);
    }
    assert_eq!(door.handle_member(visits[3], CLUSTER, node), Some(visits[0]));
    door.handle_end(visits[1]);
    let next = enter(&mut door, "192.0.2.1");

    assert_eq!(door.handle_member(next, CLUSTER, node), None, "one had ended");
}

#[test]
fn strangers_at_their_bound_keep_no_node_out() {
    let mut door = Doorkeeper::new(LIMITS);
    for host in 0..LIMITS.strangers {
        let visit = enter(&mut door, &format!("192.0.2.{host}"));
        door.handle_stranger(visit).unwrap();
    }
    let node = enter(&mut door, "192.0.2.1");

    assert_eq!(
        door.handle_member(node, CLUSTER, NodeId::from_bytes([2; 16])),
        None
    );
}

#[test]
fn a_source_that_knocks_often_must_prove_its_address_before_it_is_counted_further() {
    let mut door = Doorkeeper::new(LIMITS);
    let source = "192.0.2.1".parse().unwrap();
    for _ in 0..RETRY_OF_SOURCE {
        assert!(matches!(door.handle_arrival(source, false), Arrival::Enter(_)));
    }
    assert_eq!(door.handle_arrival(source, false), Arrival::Prove);
    for _ in RETRY_OF_SOURCE..LIMITS.handshakes_per_source {
        assert!(matches!(door.handle_arrival(source, true), Arrival::Enter(_)));
    }

    assert_eq!(door.handle_arrival(source, true), Arrival::TurnAway(Full::Source));
}

#[test]
fn strangers_stay_for_less_when_there_are_many() {
    let mut door = Doorkeeper::new(LIMITS);
    assert_eq!(door.stranger_life(), STRANGER_LIFE);
    for host in 0..6 {
        let visit = enter(&mut door, &format!("192.0.2.{host}"));
        door.handle_stranger(visit).unwrap();
    }

    assert_eq!(door.stranger_life(), STRANGER_LIFE_CROWDED);
}

proptest! {
    /// Whatever comes and goes, no bound is passed, and an empty house is empty.
    #[test]
    fn no_bound_is_ever_passed(steps in prop::collection::vec((0u8..4, 0u8..6, any::<bool>()), 1..300)) {
        let mut door = Doorkeeper::new(LIMITS);
        let mut open = Vec::new();
        let mut knocking = Vec::new();
        for (what, who, validated) in steps {
            match what {
                0 | 1 => {
                    let source = IpAddr::from([192, 0, 2, who]);
                    if let Arrival::Enter(visit) = door.handle_arrival(source, validated) {
                        knocking.push(visit);
                    }
                }
                2 => if let Some(visit) = knocking.pop() {
                    match who % 2 {
                        0 => match door.handle_stranger(visit) {
                            Ok(()) => open.push(visit),
                            Err(_) => door.handle_end(visit),
                        },
                        _ => {
                            open.push(visit);
                            let node = NodeId::from_bytes([who; 16]);
                            if let Some(oldest) = door.handle_member(visit, CLUSTER, node) {
                                door.handle_end(oldest);
                                open.retain(|known| *known != oldest);
                            }
                        }
                    }
                }
                _ => if !open.is_empty() {
                    door.handle_end(open.swap_remove(usize::from(who) % open.len()));
                }
            }
            prop_assert_eq!(door.open.len(), open.len() + knocking.len());
            prop_assert!(door.open.len() <= LIMITS.connections);
            prop_assert!(door.handshakes.total <= LIMITS.handshakes);
            prop_assert!(door.strangers.total <= LIMITS.strangers);
            prop_assert!(door.strangers.by_source.values().all(|count| *count <= LIMITS.strangers_per_source));
            prop_assert!(door.members.values().all(|of_node| of_node.len() <= CONNECTIONS_PER_NODE));
        }
        for visit in open.into_iter().chain(knocking) {
            door.handle_end(visit);
        }
        prop_assert_eq!(door.handshakes.total + door.strangers.total, 0);
        prop_assert!(door.open.is_empty() && door.members.is_empty());
        prop_assert!(door.handshakes.by_source.is_empty() && door.strangers.by_source.is_empty());
    }
}

fn enter(door: &mut Doorkeeper, source: &str) -> Visit {
    match door.handle_arrival(source.parse().unwrap(), true) {
        Arrival::Enter(visit) => visit,
        other @ (Arrival::Prove | Arrival::TurnAway(_)) => panic!("{other:?}"),
    }
}
