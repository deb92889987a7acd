//! What neighbours show of beacons and revocations: believed when it is signed and newer, and never to take anything back.

use std::time::Duration;

use protocol::document::authority::{RevocationList, RevokedNode};
use protocol::document::beacon::Beacon;
use protocol::envelope::{Kind, Stamp, Subject, seal};
use protocol::id::NodeId;
use protocol::key::SigningKey;
use protocol::merkle::Tree;

use super::super::{Event, Refusal, Witness, boot};
use super::attacks::{DAY, refusals, under_attack};
use super::cluster::START;
use super::host::Host;

#[test]
fn a_fork_shown_by_a_neighbour_is_detected_and_told() {
    let mut host = under_attack();
    let stamp = host.cluster.stamp(Subject::All, host.cluster.number + 1);
    let body = Beacon {
        revision: 12345,
        ..host.cluster.beacon_body(&Tree::default())
    };
    let forked = seal(&stamp, &body, &[host.cluster.authority()]);
    host.control.handle_witness(&forked, host.now);
    host.settle().expect("alive");
    assert_eq!(refusals(&host), [], "a number that was not seen is no fork");

    let stamp = host.cluster.stamp(Subject::All, host.cluster.number);
    let forked = seal(&stamp, &body, &[host.cluster.authority()]);
    // Two are signed under one number: whoever shows the second is only the messenger.
    assert_eq!(host.control.handle_witness(&forked, host.now), Witness::Believed);
    host.settle().expect("alive");
    assert_eq!(refusals(&host), [Refusal::Fork]);

    host.run(Duration::from_secs(20));
    let told = host.cluster.heard.iter().flat_map(|heard| &heard.refused);
    assert!(told.into_iter().any(|refused| refused.code == "fork_detected"));
}

#[test]
fn a_neighbours_forged_beacon_is_no_alarm_of_a_fork() {
    let mut host = under_attack();
    let stamp = host.cluster.stamp(Subject::All, host.cluster.number);
    let body = host.cluster.beacon_body(&Tree::default());
    let forged = seal(&stamp, &body, &[&SigningKey::from_seed(&[9; 32])]);
    assert_eq!(host.control.handle_witness(&forged, host.now), Witness::Forged);
    host.settle().expect("alive");

    assert_eq!(refusals(&host), [Refusal::NotSigned]);
}

#[test]
fn forged_beacons_of_neighbours_leave_room_for_what_a_controller_must_hear() {
    let mut host = under_attack();
    for number in 0..100 {
        let stamp = host.cluster.stamp(Subject::All, number);
        let body = host.cluster.beacon_body(&Tree::default());
        let forged = seal(&stamp, &body, &[&SigningKey::from_seed(&[9; 32])]);
        host.control.handle_witness(&forged, host.now);
    }
    host.run(Duration::from_secs(20));

    let told = host.cluster.heard.iter().flat_map(|heard| &heard.refused);
    assert_eq!(told.count(), 1);
}

#[test]
fn a_newer_revocation_list_of_a_neighbour_comes_into_force_before_its_beacon() {
    let mut host = under_attack();
    host.adopted.clear();
    let pinned = host.cluster.revocations.clone();
    let newer = revoking(&pinned.1, 0xED);
    host.cluster.revocations = (3, newer.clone());
    let shown = host.cluster.signed_revocations();
    host.cluster.revocations = pinned;
    assert_eq!(host.control.handle_list(&shown, host.now), Witness::Believed);
    host.settle().expect("alive");
    assert_eq!(host.adopted, [(Kind::RevocationList, 3)]);

    // Our controller has not heard of it yet, and is no liar for that.
    host.run(Duration::from_secs(30));
    assert_eq!(refusals(&host), []);
    let kept = boot(&host.disk).expect("bootable").kept;
    assert!(
        kept.snapshot
            .have()
            .iter()
            .any(|have| have.kind == Kind::RevocationList && have.version == 3)
    );

    host.cluster.revocations = (3, newer);
    host.cluster.number += 1;
    host.run(Duration::from_secs(30));
    assert_eq!(refusals(&host), []);
    assert_eq!(host.adopted, [(Kind::RevocationList, 3)], "once");
}

#[test]
fn a_revocation_list_of_a_neighbour_gives_nothing_back() {
    let mut host = under_attack();
    let pinned = host.cluster.revocations.clone();
    host.adopted.clear();
    let shown = |host: &mut Host, version, list: RevocationList| {
        host.cluster.revocations = (version, list);
        let bytes = host.cluster.signed_revocations();
        host.cluster.revocations = pinned.clone();
        let witness = host.control.handle_list(&bytes, host.now);
        host.settle().expect("alive");
        witness
    };
    assert_eq!(
        shown(&mut host, 1, RevocationList::default()),
        Witness::Believed,
        "it is behind"
    );
    assert_eq!(refusals(&host), []);
    assert_eq!(shown(&mut host, 3, RevocationList::default()), Witness::Believed);
    assert_eq!(refusals(&host), [Refusal::Shrunk]);
    let honest = std::mem::replace(&mut host.cluster.authorities[0], SigningKey::from_seed(&[9; 32]));
    assert_eq!(shown(&mut host, 3, revoking(&pinned.1, 0xED)), Witness::Forged);
    host.cluster.authorities[0] = honest;

    assert_eq!(host.adopted, []);
}

/// A list that revokes one node more.
fn revoking(list: &RevocationList, node: u8) -> RevocationList {
    let mut nodes = list.nodes.clone();
    nodes.push(RevokedNode {
        node: NodeId::from_bytes([node; 16]),
        generation: 1,
        ends_at: START.after(37 * DAY),
    });

    RevocationList {
        nodes,
        ..list.clone()
    }
}

#[test]
fn a_neighbour_far_ahead_shows_that_the_truth_is_held_back() {
    let mut host = under_attack();
    let stamp = Stamp {
        issued_at: host.now.wall.after(Duration::from_secs(600)),
        ..host.cluster.stamp(Subject::All, host.cluster.number + 60)
    };
    let body = host.cluster.beacon_body(&Tree::default());
    let ahead = seal(&stamp, &body, &[host.cluster.authority()]);
    host.control.handle_witness(&ahead, host.now);
    host.settle().expect("alive");

    assert!(host.events.contains(&Event::WitnessAhead {
        epoch: 1,
        number: host.cluster.number + 60
    }));
    assert!(host.control.neighbour_welcome().is_some());
}
