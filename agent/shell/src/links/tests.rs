use agent_core::mesh::effect::{CloseReason, LinkId};
use protocol::admit::Revocations;
use protocol::certificate::Identity;
use protocol::document::authority::{RevocationList, RevokedCertificate, RevokedNode};
use protocol::error::Code;
use protocol::frame::Class;
use protocol::id::ClusterId;
use protocol::limits::MESH_FRAME_BYTES;
use protocol::time::{Boot, Wall};

use crate::input::{Established, Input};
use crate::quic;
use crate::testing::{CLUSTER, Ground, Host, end, node, serial};

#[tokio::test]
async fn a_dialler_is_admitted_and_hears_the_welcome_before_its_link_counts() {
    let ground = Ground::new(CLUSTER, 9);
    let (mut one, mut two) = (ground.station(1), ground.station(2));
    one.dial_host(&two);

    let (dialled, accepted) = (one.link_up().await, two.link_up().await);
    assert_eq!((dialled.peer, dialled.dialled_by_us), (node(2), true));
    assert_eq!(dialled.welcome.as_deref(), Some(b"welcome to 2".as_slice()));
    assert_eq!((accepted.peer, accepted.dialled_by_us), (node(1), false));
    assert_eq!(accepted.identity.serial, serial(1));
}

#[tokio::test]
async fn the_first_address_that_answers_wins_over_one_that_is_silent() {
    let ground = Ground::new(CLUSTER, 9);
    let (mut one, mut two) = (ground.station(1), ground.station(2));
    // Bound, and never read: nothing comes back from there.
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    one.dial(2, vec![silent.local_addr().unwrap(), two.address()]);

    assert_eq!(one.link_up().await.peer, node(2));
    assert_eq!(two.link_up().await.peer, node(1));
}

#[tokio::test]
async fn frames_leave_by_class_when_there_is_no_room_for_all() {
    let (mut one, mut two, link, _) = connected().await;
    let frame = |mark: u8| vec![mark; MESH_FRAME_BYTES];
    let mut drains = Vec::new();
    for _ in 0..40 {
        drains.extend(one.links.send(link, Class::Telemetry, frame(TELEMETRY), Boot(0)));
    }
    drains.extend(one.links.send(link, Class::Synthetic, frame(SYNTHETIC), Boot(0)));
    drains.extend(one.links.send(link, Class::RouteControl, frame(CONTROL), Boot(0)));
    assert_eq!(drains.len(), 1, "one task sends what is left");
    drains.into_iter().for_each(|drain| drop(one.tasks.spawn(drain)));

    let mut heard = Vec::new();
    while heard.len() < 42 {
        if let Input::Datagrams { datagrams, .. } = two.next().await {
            heard.extend(datagrams.iter().map(|datagram| datagram[0]));
        }
    }
    let at = |mark| heard.iter().position(|heard| *heard == mark).unwrap();
    // What quinn had taken already goes first: 16 KiB, and the one that waited for room.
    assert!(at(CONTROL) <= 15, "{heard:?}");
    assert_eq!(at(SYNTHETIC), at(CONTROL) + 1, "{heard:?}");
}

#[tokio::test]
async fn a_certificate_of_another_ca_does_not_open_the_door() {
    let ground = Ground::new(CLUSTER, 9);
    let mut guarded = ground.station(2);
    let mut forger = ground.station(1);
    // Right names, right cluster, and a CA that nobody trusts.
    forger.station.leaf.replace(Ground::new(CLUSTER, 8).certify(1, 1));
    forger.dial_host(&guarded);

    assert!(matches!(forger.next().await, Input::DialFailed { peer } if peer == node(2)));
    assert_no_link(&mut guarded);
}

#[tokio::test]
async fn a_node_of_another_cluster_does_not_open_the_door() {
    let ground = Ground::new(CLUSTER, 9);
    let elsewhere = Ground::new(ClusterId::from_bytes([4; 16]), 9);
    let mut guarded = ground.station(2);
    let mut foreign = ground.station(1);
    foreign.station.leaf.replace(elsewhere.certify(1, 1));
    foreign.dial_host(&guarded);

    assert!(matches!(foreign.next().await, Input::DialFailed { peer } if peer == node(2)));
    assert_no_link(&mut guarded);
}

#[tokio::test]
async fn another_node_than_the_one_that_was_dialled_is_not_believed() {
    let ground = Ground::new(CLUSTER, 9);
    let (mut one, mut two) = (ground.station(1), ground.station(2));
    one.dial(3, vec![two.address()]);

    assert!(matches!(one.next().await, Input::DialFailed { peer } if peer == node(3)));
    assert_no_link(&mut two);
}

#[tokio::test]
async fn nobody_comes_in_before_there_is_something_to_say() {
    let ground = Ground::new(CLUSTER, 9);
    let (mut one, mut two) = (ground.station(1), ground.station(2));
    two.greeting.send_replace(None);
    one.dial_host(&two);

    assert!(matches!(one.next().await, Input::DialFailed { .. }));
    assert_no_link(&mut two);
}

#[tokio::test]
async fn a_revoked_node_cannot_come_in() {
    let ground = Ground::new(CLUSTER, 9);
    let (mut one, mut two) = (ground.station(1), ground.station(2));
    two.station.trust.replace(ground.anchors(), node_revoked());
    one.dial_host(&two);

    assert!(matches!(one.next().await, Input::DialFailed { .. }));
    assert_no_link(&mut two);
}

#[tokio::test]
async fn a_live_link_of_a_revoked_node_is_closed_and_others_stay() {
    let (mut one, two, _, ends) = connected().await;
    assert_eq!(two.links.close_revoked(&Revocations::default()), []);
    assert_eq!(
        two.links
            .close_revoked(&certificate_revoked(&ends.1.identity, 77)),
        []
    );

    assert_eq!(two.links.close_revoked(&node_revoked()), [node(1)]);
    let error = end(&ends.0.connection).await;
    assert_eq!(quic::closed_with(&error), Some(Code::NodeRevoked));
    assert!(matches!(one.next().await, Input::LinkDown { .. }));
}

#[tokio::test]
async fn a_live_link_is_closed_by_the_serial_of_its_certificate_too() {
    let (_one, two, _, ends) = connected().await;

    let revoked = certificate_revoked(&ends.1.identity, 1);
    assert_eq!(two.links.close_revoked(&revoked), [node(1)]);
    assert!(
        ends.0
            .connection
            .closed()
            .await
            .to_string()
            .contains("node_revoked")
    );
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_from_the_next_handshake_on_and_closes_nothing() {
    let (mut one, mut two, _, ends) = connected().await;
    let ground = Ground::new(CLUSTER, 9);
    one.station.leaf.replace(ground.certify(1, 50));
    two.station.leaf.replace(ground.certify(2, 60));
    one.dial_host(&two);

    assert_eq!(one.link_up().await.identity.serial, serial(60));
    assert_eq!(two.link_up().await.identity.serial, serial(50));
    assert!(ends.0.connection.close_reason().is_none());
    assert!(ends.1.connection.close_reason().is_none());
}

#[tokio::test]
async fn a_link_that_is_closed_says_why_and_is_forgotten() {
    let (one, mut two, link, ends) = connected().await;
    one.links.close(link, CloseReason::Duplicate);

    let error = end(&ends.1.connection).await.to_string();
    assert!(error.contains("duplicate") && error.contains("409"), "{error}");
    let Input::LinkDown { link } = two.next().await else {
        panic!("the link is not down");
    };
    two.links.remove(link);
    assert_eq!(two.links.len(), 0);
}

#[tokio::test]
async fn a_link_is_measured_where_the_other_end_has_moved_to() {
    let (one, mut two, link, ends) = connected().await;
    let place = |host: &Host| host.links.measured()[0].2;
    assert_eq!(place(&two), ends.1.address);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let moved = socket.local_addr().unwrap();
    one.station.endpoint.rebind(socket).unwrap();
    drop(one.links.send(link, Class::Synthetic, vec![SYNTHETIC], Boot(0)));

    while !matches!(two.next().await, Input::Datagrams { .. }) {}
    assert_eq!(place(&two), moved);
}

/// Two hosts with a link between them, known to both; the link is that of the first.
async fn connected() -> (Host, Host, LinkId, (Established, Established)) {
    let ground = Ground::new(CLUSTER, 9);
    let (mut one, mut two) = (ground.station(1), ground.station(2));
    one.dial_host(&two);
    let ends = (one.link_up().await, two.link_up().await);
    let link = one.links.add(&ends.0, &one.station, &mut one.tasks);
    two.links.add(&ends.1, &two.station, &mut two.tasks);

    (one, two, link, ends)
}

/// A refused guest never becomes an input; its end was seen by the other side before this is called.
fn assert_no_link(host: &mut Host) {
    assert!(host.inbox.try_recv().is_err(), "a link came up");
}

fn node_revoked() -> Revocations {
    let mut revocations = Revocations::default();
    let list = RevocationList {
        nodes: vec![RevokedNode {
            node: node(1),
            generation: 1,
            ends_at: Wall(u64::MAX),
        }],
        ..RevocationList::default()
    };
    revocations.add(CLUSTER, &list);

    revocations
}

fn certificate_revoked(identity: &Identity, number: u8) -> Revocations {
    let mut revocations = Revocations::default();
    let list = RevocationList {
        certificates: vec![RevokedCertificate {
            issuer: identity.issuer,
            serial: serial(number),
            ends_at: Wall(u64::MAX),
        }],
        ..RevocationList::default()
    };
    revocations.add(CLUSTER, &list);

    revocations
}

const TELEMETRY: u8 = 4;
const SYNTHETIC: u8 = 3;
const CONTROL: u8 = 2;
