//! The welcome: until it holds, nothing is sent.

use std::time::Duration;

use protocol::admit;
use protocol::cbor;
use protocol::certificate::{CertificateRole, Holder};
use protocol::document::authority::{RevocationList, RevokedCertificate, TrustBundle};
use protocol::envelope::{Stamp, Subject, seal};
use protocol::id::{ClusterId, ControllerId, NodeId};
use protocol::key::{Digest, SigningKey};
use protocol::wire::Welcome;

use super::super::{Event, Refusal, Status, WelcomeRefusal};
use super::cluster::{Ca, Cluster, START};
use super::host::Host;

/// A welcome that does not hold, and why it is refused.
struct Lie {
    what: &'static str,
    tell: fn(&mut Cluster, &mut Welcome),
    why: fn(&WelcomeRefusal) -> bool,
}

const LIES: &[Lie] = &[
    Lie {
        what: "another authority",
        tell: |cluster, welcome| {
            cluster.authorities = vec![SigningKey::from_seed(&[9; 32])];
            *welcome = cluster.welcome();
        },
        why: |why| matches!(why, WelcomeRefusal::OtherAuthority { .. }),
    },
    Lie {
        what: "the right authority over another's bundle",
        tell: |cluster, welcome| {
            let body = cluster.trust_bundle();
            let stamp = cluster.stamp(Subject::All, 1);
            welcome.bundle = seal(&stamp, &body, &[&SigningKey::from_seed(&[9; 32])]).into();
        },
        why: |why| matches!(why, WelcomeRefusal::Bundle(Refusal::NotSigned)),
    },
    Lie {
        what: "a bundle of another cluster",
        tell: |cluster, welcome| {
            let stamp = Stamp {
                realm: ClusterId::from_bytes([9; 16]).into(),
                ..cluster.stamp(Subject::All, 1)
            };
            welcome.bundle = seal(&stamp, &cluster.trust_bundle(), &[cluster.authority()]).into();
        },
        why: |why| matches!(why, WelcomeRefusal::Bundle(Refusal::WrongRealm { .. })),
    },
    Lie {
        what: "another document for a bundle",
        tell: |cluster, welcome| welcome.bundle = cluster.signed_revocations(),
        why: |why| matches!(why, WelcomeRefusal::Bundle(Refusal::WrongKind { .. })),
    },
    Lie {
        what: "a bundle with a node ca among the controllers'",
        tell: |cluster, welcome| {
            let body = TrustBundle {
                controller_cas: cluster.trust_bundle().node_cas,
                ..cluster.trust_bundle()
            };
            welcome.bundle = cluster.sign(Subject::All, 1, &body);
        },
        why: |why| matches!(why, WelcomeRefusal::BundleContent(_)),
    },
    Lie {
        what: "a leaf of another ca",
        tell: |cluster, _| {
            let other = Ca::new(CertificateRole::Controller, cluster.id, 77);
            let holder = Holder::Controller(ControllerId::from_bytes([1; 16]));
            cluster.leaf = vec![other.issue(holder, cluster.id, key(), START)];
        },
        why: |why| matches!(why, WelcomeRefusal::Leaf(admit::Refused::WrongIssuer)),
    },
    Lie {
        what: "a node's leaf",
        tell: |cluster, _| {
            let holder = Holder::Node(NodeId::from_bytes([1; 16]));
            cluster.leaf = vec![cluster.node_ca.issue(holder, cluster.id, key(), START)];
        },
        why: |why| matches!(why, WelcomeRefusal::Leaf(admit::Refused::WrongRole { .. })),
    },
    Lie {
        what: "no leaf",
        tell: |cluster, _| cluster.leaf.clear(),
        why: |why| matches!(why, WelcomeRefusal::Leaf(admit::Refused::NoCertificate)),
    },
    Lie {
        what: "a revoked leaf",
        tell: |cluster, welcome| {
            cluster.revocations = (2, revoking_the_leaf(cluster));
            welcome.revocations = Some(cluster.signed_revocations());
        },
        why: |why| matches!(why, WelcomeRefusal::Leaf(admit::Refused::Revoked(_))),
    },
    Lie {
        what: "a forged revocation list",
        tell: |cluster, welcome| {
            let body = RevocationList::default();
            let stamp = cluster.stamp(Subject::All, 9);
            welcome.revocations = Some(seal(&stamp, &body, &[&SigningKey::from_seed(&[9; 32])]).into());
        },
        why: |why| matches!(why, WelcomeRefusal::Revocations(Refusal::NotSigned)),
    },
    Lie {
        what: "an epoch that its key does not have",
        tell: |_, welcome| welcome.epoch = 7,
        why: |why| matches!(why, WelcomeRefusal::Bundle(Refusal::UnknownEpoch)),
    },
    Lie {
        what: "more successions than are walked",
        tell: |_, welcome| welcome.successions = vec![Vec::new().into(); super::super::SUCCESSIONS + 1],
        why: |why| matches!(why, WelcomeRefusal::TooManyEpochs),
    },
];

#[test]
fn a_joiner_sends_nothing_to_a_server_whose_welcome_does_not_hold() {
    for lie in LIES {
        let mut host = Host::new(Cluster::new());
        let mut welcome = host.cluster.welcome();
        (lie.tell)(&mut host.cluster, &mut welcome);
        host.welcome = Some(cbor::encode(&welcome));
        host.run(Duration::from_secs(120));

        let refusals = refusals(&host);
        assert!(!refusals.is_empty(), "{}", lie.what);
        assert!(refusals.iter().all(lie.why), "{}: {refusals:?}", lie.what);
        assert_eq!(host.sent, [], "{}: nothing is sent", lie.what);
        assert!(host.disk.is_empty(), "{}: no key is made", lie.what);
    }
}

#[test]
fn bytes_that_are_no_welcome_send_nothing() {
    let truth = cbor::encode(&Cluster::new().welcome());
    let cut = |length: usize| truth[..length].to_vec();
    let trailing = [truth.clone(), vec![0]].concat();
    for bytes in [
        Vec::new(),
        cut(1),
        cut(truth.len() / 2),
        cut(truth.len() - 1),
        trailing,
        vec![0x9b; 9],
    ] {
        let mut host = Host::new(Cluster::new());
        host.welcome = Some(bytes);
        host.run(Duration::from_secs(30));

        assert!(
            refusals(&host)
                .iter()
                .all(|why| *why == WelcomeRefusal::Malformed)
        );
        assert!(host.sent.is_empty() && !refusals(&host).is_empty());
    }
}

#[test]
fn a_member_sends_nothing_to_a_server_with_another_authority_or_an_older_bundle() {
    let mut host = Host::member(Cluster::new());
    let asked = host.sent.len();
    let mut older = host.cluster.welcome();
    host.cluster.bundle = 2;
    host.cluster.number += 1;
    let truth = host.cluster.whole_reply(super::cluster::node());
    host.answer_poll(&truth);
    let after_update = host.sent.len();
    assert!(after_update > asked);

    host.cut();
    host.welcome = Some(cbor::encode(&older));
    host.run(Duration::from_secs(120));
    assert_eq!(host.sent.len(), after_update);
    assert!(refusals(&host).contains(&WelcomeRefusal::Bundle(Refusal::Older)));

    older = host.cluster.welcome();
    older.authority = SigningKey::from_seed(&[9; 32]).verify_key();
    host.welcome = Some(cbor::encode(&older));
    host.run(Duration::from_secs(120));
    assert_eq!(host.sent.len(), after_update);
    assert!(refusals(&host).contains(&WelcomeRefusal::Authority));
}

#[test]
fn a_member_walks_every_epoch_in_order_and_says_how_far_it_came() {
    let mut host = Host::member(Cluster::new());
    for _ in 0..5 {
        host.cluster.rotate();
    }
    host.cut();
    host.run(Duration::from_secs(120));

    assert!(host.events.contains(&Event::EpochReached { epoch: 6 }));
    assert_eq!(
        host.cluster.heard.last().map(|heartbeat| heartbeat.epoch),
        Some(6)
    );
    let Status::Member(status) = host.control.status() else {
        panic!("a member");
    };
    assert_eq!(status.epoch, 6);
    assert_eq!(
        status.authority,
        host.cluster.authority().verify_key().fingerprint()
    );
    assert_eq!(status.have.iter().map(|have| have.epoch).min(), Some(6));

    // And it still knows after a restart, without asking anybody.
    let restored = super::super::boot(&host.disk).expect("bootable");
    assert!(matches!(
        restored.standing,
        super::super::identity::Standing::Member(member) if member.trust.highest() == 6
    ));
}

#[test]
fn an_epoch_that_its_predecessor_did_not_sign_is_not_reached() {
    let mut host = Host::member(Cluster::new());
    host.cluster.rotate();
    host.cluster.rotate();
    let mut gap = host.cluster.welcome();
    gap.successions.remove(0);
    let asked = host.sent.len();
    host.cut();
    host.welcome = Some(cbor::encode(&gap));
    host.run(Duration::from_secs(60));

    assert!(
        refusals(&host)
            .iter()
            .all(|why| *why == WelcomeRefusal::Authority)
    );
    assert_eq!(host.sent.len(), asked);
}

#[test]
fn a_token_of_an_earlier_epoch_still_joins() {
    let mut cluster = Cluster::new();
    cluster.rotate();
    let mut host = Host::new(cluster);
    host.cluster.rotate();
    host.run(Duration::from_secs(10));

    assert_eq!(host.identities, 1);
    assert!(matches!(host.control.status(), Status::Member(status) if status.epoch == 3));
}

#[test]
fn a_clock_that_starts_in_1970_is_set_right_by_a_signed_beacon() {
    let mut host = Host::new(Cluster::new());
    let mut welcome = host.cluster.welcome();
    let tree = protocol::merkle::Tree::default();
    welcome.beacon = Some(host.cluster.beacon(&tree));
    host.welcome = Some(cbor::encode(&welcome));
    host.now.wall = protocol::time::Wall(0);
    host.run(Duration::from_secs(10));

    assert_eq!(host.identities, 1);
}

fn refusals(host: &Host) -> Vec<WelcomeRefusal> {
    let mut refusals = Vec::new();
    for event in &host.events {
        if let Event::WelcomeRefused { why, .. } = event {
            refusals.push(why.clone());
        }
    }

    refusals
}

fn revoking_the_leaf(cluster: &Cluster) -> RevocationList {
    let claimed = protocol::certificate::claimed_identity(&cluster.leaf[0]).expect("ours");

    RevocationList {
        certificates: vec![RevokedCertificate {
            issuer: Digest::of(&cluster.controller_ca.key.verify_key().spki()),
            serial: claimed.serial,
            ends_at: protocol::time::Wall(u64::MAX),
        }],
        ..RevocationList::default()
    }
}

fn key() -> protocol::key::VerifyKey {
    SigningKey::from_seed(&[23; 32]).verify_key()
}
