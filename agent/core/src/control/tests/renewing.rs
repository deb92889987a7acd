//! The certificate: renewed at half life, by proof once it has expired, and never with keys that are not on disk.

use std::time::Duration;

use protocol::certificate::{CertificateRole, LEAF_LIFE};
use protocol::error::{Code, WireError};
use protocol::time::Wall;
use protocol::wire::NodeRequest;

use super::super::identity::{Member, Standing};
use super::super::{Config, Door, Event, FileName, RenewalFailure, SessionEnd, Status, boot};
use super::cluster::{Ca, Cluster, START};
use super::host::{Host, config, seed};

const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(24 * 3600);

#[test]
fn a_certificate_is_renewed_at_half_life_with_new_keys() {
    let mut host = Host::member(Cluster::new());
    let before = member(&host);
    host.suspend(LEAF_LIFE * 44 / 100);
    host.run(MINUTE);
    assert_eq!(host.identities, 1);

    host.suspend(LEAF_LIFE * 12 / 100);
    host.run(MINUTE);
    let after = member(&host);
    assert_eq!(host.identities, 2);
    assert_ne!(before.keys.node.verify_key(), after.keys.node.verify_key());
    assert_ne!(before.keys.seal.seal_key(), after.keys.seal.seal_key());
    assert_eq!(
        after
            .previous_seal
            .as_ref()
            .map(protocol::key::SealSecret::seal_key),
        Some(before.keys.seal.seal_key()),
        "neighbours still seal to the old key"
    );
    assert_ne!(
        before.renewal_nonce(),
        after.renewal_nonce(),
        "each nonce is spent once"
    );
    let ends: Vec<&SessionEnd> = host
        .events
        .iter()
        .filter_map(|event| {
            let Event::SessionClosed { why, .. } = event else {
                return None;
            };
            Some(why)
        })
        .collect();
    assert_eq!(
        ends,
        [&SessionEnd::Renewed],
        "the controller is dialled anew, and nothing else is lost"
    );
    let place = |wanted: fn(&Event) -> bool| host.events.iter().rposition(wanted);
    assert!(
        place(|event| matches!(event, Event::SessionOpened { .. }))
            > place(|event| matches!(event, Event::SessionClosed { .. }))
    );
    assert!(until(&host) > START.after(LEAF_LIFE));
}

#[test]
fn a_renewal_after_suspend_is_made_up_for_at_once() {
    let mut host = Host::member(Cluster::new());
    host.now.wall = host.now.wall.after(DAY * 5);
    host.cluster.now = host.now.wall;
    host.run(Duration::from_secs(60));

    assert_eq!(host.identities, 2);
}

#[test]
fn a_node_without_controllers_keeps_its_certificate_and_renews_it_when_one_is_back() {
    let mut host = Host::member(Cluster::new());
    host.faults.unreachable = true;
    host.cut();
    host.suspend(DAY * 6);
    host.run(MINUTE);
    assert_eq!(host.identities, 1);

    host.faults.unreachable = false;
    host.run(Duration::from_secs(120));
    assert_eq!(host.identities, 2);
    assert!(
        host.dialled
            .iter()
            .rev()
            .take(3)
            .all(|(door, _)| *door == Door::Node)
    );
}

#[test]
fn an_expired_certificate_is_renewed_by_proof_at_the_join_door() {
    let mut host = Host::member(Cluster::new());
    host.faults.unreachable = true;
    host.cut();
    host.suspend(DAY * 20);
    host.run(MINUTE);
    host.faults.unreachable = false;
    host.dialled.clear();
    host.run(Duration::from_secs(120));

    let doors: Vec<Door> = host.dialled.iter().map(|(door, _)| *door).collect();
    assert_eq!(doors, [Door::Join, Door::Node]);
    assert_eq!(host.identities, 2);
    assert!(matches!(host.control.status(), Status::Member(status) if status.connected));
}

#[test]
fn a_restart_after_expiry_goes_to_the_join_door_too() {
    let mut host = Host::member(Cluster::new());
    host.now.wall = host.now.wall.after(DAY * 20);
    host.cluster.now = host.now.wall;
    let again = Config {
        token: None,
        ..config(&host.cluster)
    };
    host.restart(again, &seed(2));
    host.dialled.clear();
    host.run(Duration::from_secs(60));

    assert_eq!(host.dialled[0].0, Door::Join);
    assert!(until(&host) > host.now.wall);
}

#[test]
fn a_lost_reply_is_asked_for_again_with_the_same_nonce_and_keys() {
    let mut host = due();
    host.lose_renewal = 2;
    host.run(MINUTE * 5);

    let asked = renewals(&host);
    assert!(asked.len() >= 2 && asked.iter().all(|renew| *renew == asked[0]));
    assert_eq!(host.identities, 2);
    assert!(
        !host
            .events
            .iter()
            .any(|event| matches!(event, Event::RenewalFailed(_)))
    );
}

#[test]
fn killed_at_any_step_of_a_renewal_it_is_never_taken_for_a_clone() {
    let whole = {
        let mut host = due();
        let from = host.steps;
        host.run(MINUTE);
        assert_eq!(host.identities, 2);
        from..host.steps
    };
    assert!(whole.len() > 20, "{whole:?}");
    for boundary in whole {
        let mut host = due();
        host.dies_at = Some(boundary);
        assert!(host.try_run(MINUTE).is_err());
        let named = renewals(&host).last().cloned();
        let on_disk = member(&host);
        let known = |csr: &[u8]| {
            let key = protocol::certificate::parse_csr(csr).expect("ours");
            let next = on_disk.renewal.as_ref().map(|keys| keys.node.verify_key());
            next == Some(key) || on_disk.keys.node.verify_key() == key
        };
        assert!(named.is_none_or(|renew| known(&renew.csr)), "boundary {boundary}");

        let again = Config {
            token: None,
            ..config(&host.cluster)
        };
        host.restart(again, &seed(9));
        host.run(MINUTE * 5);
        assert!(
            until(&host) > host.now.wall.after(LEAF_LIFE / 2),
            "boundary {boundary}"
        );
        assert!(
            !host
                .events
                .iter()
                .any(|event| matches!(event, Event::RenewalFailed(_)))
        );
    }
}

#[test]
fn a_clone_stops_asking_and_goes_on_with_what_it_has() {
    let mut host = due();
    host.cluster.refuse_renewal = Some(WireError::new(Code::IdentityCloned, "two of you"));
    host.run(MINUTE * 5);
    let asked = renewals(&host).len();
    host.run(MINUTE * 5);

    assert_eq!(asked, 1);
    assert_eq!(renewals(&host).len(), 1);
    assert!(matches!(
        host.events.iter().find(|event| matches!(event, Event::RenewalFailed(_))),
        Some(Event::RenewalFailed(RenewalFailure::Refused(error))) if error.code == "identity_cloned"
    ));
    assert!(matches!(host.control.status(), Status::Member(status) if status.connected));
}

#[test]
fn a_refusal_that_may_pass_is_asked_again_later() {
    let mut host = due();
    host.cluster.refuse_renewal = Some(WireError::new(Code::Unavailable, "later"));
    host.run(MINUTE * 10);
    let asked = renewals(&host);
    assert!((5..=11).contains(&asked.len()), "{}", asked.len());

    host.cluster.refuse_renewal = None;
    host.run(Duration::from_secs(120));
    assert_eq!(host.identities, 2);
}

#[test]
fn a_certificate_of_another_ca_is_not_taken() {
    let mut host = due();
    let before = host.disk[&FileName::Identity].clone();
    let honest = host.cluster.trust_bundle();
    host.cluster.node_ca = Ca::new(CertificateRole::Node, host.cluster.id, 77);
    host.cluster.kept_bundle = Some(honest);
    host.run(MINUTE * 5);

    assert!(
        host.events
            .contains(&Event::RenewalFailed(RenewalFailure::Certificate))
    );
    assert_eq!(host.identities, 1);
    let after = member(&host);
    let earlier = boot(&[(FileName::Identity, before)].into()).expect("bootable");
    assert!(matches!(earlier.standing, Standing::Member(member) if member.certificate == after.certificate));
}

#[test]
fn a_certificate_made_by_a_clock_that_was_ahead_is_renewed_by_proof_once_that_is_right() {
    let mut host = due();
    host.cluster.now = host.now.wall.after(DAY * 365);
    host.run(Duration::from_secs(10));
    assert_eq!(host.identities, 2);
    let ahead = host.events.iter().any(|event| {
        matches!(event, Event::RenewalFailed(RenewalFailure::BeginsAhead { not_before }) if *not_before > host.now.wall)
    });
    assert!(ahead, "{:?}", host.events);

    host.cluster.now = host.now.wall;
    // No door but the join door takes it.
    host.faults.node_handshake = true;
    host.cut();
    host.run(MINUTE * 3);
    assert_eq!(host.identities, 3);
    assert!(until(&host) < host.now.wall.after(LEAF_LIFE + DAY));

    host.faults.node_handshake = false;
    host.run(MINUTE);
    assert!(matches!(host.control.status(), Status::Member(status) if status.connected));
}

#[test]
fn a_controller_whose_clock_stays_ahead_is_not_asked_in_a_loop() {
    let mut host = due();
    host.cluster.now = host.now.wall.after(DAY * 365);
    host.run(MINUTE * 60 * 12);

    // Once at first, six times with twice the pause each time, and then every hour.
    assert!((7..=20).contains(&host.identities), "{}", host.identities);
}

#[test]
fn a_beacon_of_another_year_takes_nobody_to_the_join_door() {
    let mut host = Host::member(Cluster::new());
    host.cluster.number = 365 * 24 * 3600;
    host.control.handle_refresh(host.now);
    host.settle().expect("alive");
    assert!(host.fresh.last().is_some_and(|(_, newer)| *newer));
    host.dialled.clear();
    host.cut();
    host.run(MINUTE);

    let doors: Vec<Door> = host.dialled.iter().map(|(door, _)| *door).collect();
    assert_eq!(doors, [Door::Node]);
    assert_eq!(host.identities, 1, "and nothing is renewed early");
}

#[test]
fn a_slow_clock_takes_no_certificate_for_one_of_the_future() {
    let mut host = Host::new(Cluster::new());
    let hour = Duration::from_secs(3_600);
    host.cluster.number = hour.as_secs();
    let mut welcome = host.cluster.welcome();
    welcome.beacon = Some(host.cluster.beacon(&protocol::merkle::Tree::default()));
    host.welcome = Some(protocol::cbor::encode(&welcome));
    host.cluster.now = host.now.wall.after(hour);
    host.run(MINUTE);

    let doors: Vec<Door> = host.dialled.iter().map(|(door, _)| *door).collect();
    assert_eq!(doors, [Door::Join, Door::Node]);
    assert_eq!(host.identities, 1);
}

/// A member that was suspended until after its certificate was to be renewed.
fn due() -> Host {
    let mut host = Host::member(Cluster::new());
    host.suspend(LEAF_LIFE * 56 / 100);
    host.requests.clear();
    host.events.clear();

    host
}

fn member(host: &Host) -> Member {
    let Standing::Member(member) = Standing::read(&host.disk[&FileName::Identity]).expect("whole") else {
        panic!("no member on disk");
    };

    *member
}

fn until(host: &Host) -> Wall {
    let Status::Member(status) = host.control.status() else {
        panic!("no member");
    };

    status.certificate_until
}

fn renewals(host: &Host) -> Vec<protocol::wire::Renew> {
    let mut renewals = Vec::new();
    for (_, request) in &host.requests {
        if let NodeRequest::Renew(renew) = request {
            renewals.push(renew.clone());
        }
    }

    renewals
}
