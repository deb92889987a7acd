//! Every row of the attack table: refused, counted, told, and what is in force stays.

use std::time::Duration;

use minicbor::bytes::ByteVec;
use protocol::cbor;
use protocol::document::authority::{RevocationList, RevokedNode, TrustBundle};
use protocol::document::config::SyntheticConfig;
use protocol::document::routes::{LeaseKind, LeaseRow, LeaseTable, Routes};
use protocol::envelope::{Envelope, Expected, Kind, Stamp, Subject, seal};
use protocol::error::Code;
use protocol::id::{ClusterId, LeaseId, NodeId};
use protocol::key::SigningKey;
use protocol::limits::LEASE_ROWS;
use protocol::merkle::Tree;
use protocol::time::Wall;
use protocol::wire::{Have, NodeRequest, PollReply};

use super::super::{Event, Refusal, STALE_AFTER, SessionEnd, Status};
use super::cluster::{Cluster, START, leaf, node, placed};
use super::host::{Host, config, seed};

/// A reply, and what must become of it.
struct Attack {
    what: &'static str,
    reply: fn(&mut Cluster) -> PollReply,
    why: fn(&Refusal) -> bool,
    code: Code,
}

const ATTACKS: &[Attack] = &[
    Attack {
        what: "a signature by another key",
        reply: |cluster| {
            let forged = SigningKey::from_seed(&[9; 32]);
            let stamp = cluster.stamp(Subject::Node(node()), cluster.revision);
            let config = seal(&stamp, &cluster.config(), &[&forged]);
            under_its_beacon(cluster, config.into())
        },
        why: |why| *why == Refusal::NotSigned,
        code: Code::SignatureInvalid,
    },
    Attack {
        what: "a stripped signature",
        reply: |cluster| {
            let stamp = cluster.stamp(Subject::Node(node()), cluster.revision);
            let unsigned = seal(&stamp, &cluster.config(), &[]);
            let mut reply = cluster.whole_reply(node());
            reply.documents[0] = unsigned.into();
            reply
        },
        why: |why| *why == Refusal::Malformed,
        code: Code::InvalidRequest,
    },
    Attack {
        what: "a flipped bit",
        reply: |cluster| {
            let mut reply = cluster.whole_reply(node());
            let bytes = &mut reply.documents[0];
            let last = bytes.len() - 1;
            bytes[last] ^= 1;
            reply
        },
        why: |why| *why == Refusal::NotSigned,
        code: Code::SignatureInvalid,
    },
    Attack {
        what: "an older version, validly signed",
        reply: |cluster| {
            cluster.revision -= 2;
            let documents = cluster.documents(node());
            cluster.revision += 2;
            cluster.reply(node(), documents)
        },
        why: |why| *why == Refusal::Older,
        code: Code::GenerationStale,
    },
    Attack {
        what: "another content under the version in force",
        reply: |cluster| {
            let body = SyntheticConfig {
                name: "other".to_owned(),
                ..cluster.config()
            };
            let forked = cluster.sign(Subject::Node(node()), cluster.revision - 1, &body);
            under_its_beacon(cluster, forked)
        },
        why: |why| *why == Refusal::Fork,
        code: Code::ForkDetected,
    },
    Attack {
        what: "another node's document",
        reply: |cluster| {
            let other = Subject::Node(NodeId::from_bytes([9; 16]));
            let config = cluster.sign(other, cluster.revision, &cluster.config());
            under_its_beacon(cluster, config)
        },
        why: |why| matches!(why, Refusal::WrongSubject { .. }),
        code: Code::ValidationFailed,
    },
    Attack {
        what: "another cluster's document",
        reply: |cluster| {
            let stamp = Stamp {
                realm: ClusterId::from_bytes([9; 16]).into(),
                ..cluster.stamp(Subject::Node(node()), cluster.revision)
            };
            let config = seal(&stamp, &cluster.config(), &[cluster.authority()]);
            under_its_beacon(cluster, config.into())
        },
        why: |why| matches!(why, Refusal::WrongRealm { .. }),
        code: Code::WrongCluster,
    },
    Attack {
        what: "a document of a kind that is not polled for",
        reply: |cluster| {
            let mut reply = cluster.whole_reply(node());
            reply.documents[0] = cluster.signed_bundle();
            reply
        },
        why: |why| matches!(why, Refusal::WrongKind { .. }),
        code: Code::ValidationFailed,
    },
    Attack {
        what: "a document that is in no snapshot",
        reply: |cluster| {
            let mut reply = cluster.reply(node(), cluster.documents(node())[1..].to_vec());
            let stray = cluster.documents(node()).swap_remove(0);
            reply.documents.push(stray);
            reply
        },
        why: |why| *why == Refusal::NotInSnapshot,
        code: Code::ConflictState,
    },
    Attack {
        what: "documents of the next snapshot under the beacon of this one",
        reply: |cluster| {
            let beacon = cluster.whole_reply(node()).beacon;
            cluster.revision += 1;
            PollReply {
                beacon,
                ..cluster.whole_reply(node())
            }
        },
        why: |why| *why == Refusal::NotInSnapshot,
        code: Code::ConflictState,
    },
    Attack {
        what: "the leaf of the snapshot before, under the new beacon",
        reply: |cluster| {
            cluster.revision -= 1;
            let before = cluster.whole_reply(node());
            cluster.revision += 1;
            PollReply {
                leaf: before.leaf,
                ..cluster.whole_reply(node())
            }
        },
        why: |why| *why == Refusal::NotInSnapshot,
        code: Code::ConflictState,
    },
    Attack {
        what: "a beacon under which one changed document is held back",
        reply: |cluster| {
            let mut reply = cluster.whole_reply(node());
            reply.documents.remove(1);
            reply
        },
        why: |why| *why == Refusal::Withheld,
        code: Code::ConflictState,
    },
    Attack {
        what: "a beacon under which everything that changed is held back",
        reply: |cluster| PollReply {
            documents: Vec::new(),
            ..cluster.whole_reply(node())
        },
        why: |why| *why == Refusal::Withheld,
        code: Code::ConflictState,
    },
    Attack {
        what: "a beacon that pins a bundle which is held back",
        reply: |cluster| {
            cluster.bundle += 1;
            let mut reply = cluster.whole_reply(node());
            reply.shared.remove(0);
            reply
        },
        why: |why| *why == Refusal::Withheld,
        code: Code::ConflictState,
    },
    Attack {
        what: "a revocation list that lacks what the one before had",
        reply: |cluster| {
            cluster.revocations = (cluster.revocations.0 + 1, RevocationList::default());
            cluster.whole_reply(node())
        },
        why: |why| *why == Refusal::Shrunk,
        code: Code::GenerationStale,
    },
    Attack {
        what: "a revocation list that leaves out what ends above its floor",
        reply: |cluster| {
            let highest = RevocationList {
                floor: START,
                ..RevocationList::default()
            };
            with_list(cluster, highest)
        },
        why: |why| *why == Refusal::Shrunk,
        code: Code::GenerationStale,
    },
    Attack {
        what: "a revocation list that brings the end of an entry forward, to leave it out the next time",
        reply: |cluster| {
            let mut list = cluster.revocations.1.clone();
            list.nodes[0].ends_at = list.nodes[0].ends_at.before(SECOND);
            with_list(cluster, list)
        },
        why: |why| *why == Refusal::Shrunk,
        code: Code::GenerationStale,
    },
    Attack {
        what: "a revocation list whose floor fell",
        reply: |cluster| {
            let mut list = cluster.revocations.1.clone();
            list.floor = list.floor.before(SECOND);
            with_list(cluster, list)
        },
        why: |why| *why == Refusal::Shrunk,
        code: Code::GenerationStale,
    },
    Attack {
        what: "a revocation list whose floor lies in the future, so that it may lack everything",
        reply: |cluster| {
            let beyond = RevocationList {
                floor: cluster.revocations.1.nodes[0].ends_at,
                ..RevocationList::default()
            };
            with_list(cluster, beyond)
        },
        why: |why| *why == Refusal::FloorAhead,
        code: Code::ValidationFailed,
    },
    Attack {
        what: "an older revocation list, validly signed",
        reply: |cluster| {
            cluster.revocations.0 -= 1;
            cluster.whole_reply(node())
        },
        why: |why| matches!(why, Refusal::Older | Refusal::NotInSnapshot),
        code: Code::GenerationStale,
    },
    Attack {
        what: "an older beacon",
        reply: |cluster| {
            cluster.number -= 2;
            cluster.whole_reply(node())
        },
        why: |why| *why == Refusal::Older,
        code: Code::GenerationStale,
    },
    Attack {
        what: "a beacon of an older leader with a higher number",
        reply: |cluster| {
            cluster.term -= 1;
            cluster.number += 100;
            cluster.whole_reply(node())
        },
        why: |why| *why == Refusal::Older,
        code: Code::GenerationStale,
    },
    Attack {
        what: "two beacons under one triple",
        reply: |cluster| {
            cluster.number -= 1;
            cluster.whole_reply(node())
        },
        why: |why| *why == Refusal::Fork,
        code: Code::ForkDetected,
    },
    Attack {
        what: "an epoch whose key nobody vouched for",
        reply: |cluster| {
            cluster.rotate();
            cluster.whole_reply(node())
        },
        why: |why| *why == Refusal::UnknownEpoch,
        code: Code::SignatureInvalid,
    },
    Attack {
        what: "more rows than a lease table has",
        reply: |cluster| {
            let row = LeaseRow {
                lease: LeaseId::from_bytes([1; 16]),
                low: node(),
                high: node(),
                generation: 1,
                budget_kib: 1,
                grace_minutes: 1,
                kind: LeaseKind::Relay,
            };
            let body = LeaseTable {
                rows: vec![row; LEASE_ROWS + 1],
            };
            let table = cluster.sign(Subject::Node(node()), cluster.revision, &body);
            under_its_beacon(cluster, table)
        },
        why: |why| *why == Refusal::Limits,
        code: Code::TooLarge,
    },
    Attack {
        what: "bytes that are no document",
        reply: |cluster| {
            let mut reply = cluster.whole_reply(node());
            reply.documents[1] = vec![0xff; 40].into();
            reply
        },
        why: |why| *why == Refusal::Malformed,
        code: Code::InvalidRequest,
    },
    Attack {
        what: "a beacon for a beacon's body of another kind",
        reply: |cluster| PollReply {
            beacon: cluster.signed_bundle(),
            ..cluster.whole_reply(node())
        },
        why: |why| matches!(why, Refusal::WrongKind { .. }),
        code: Code::ValidationFailed,
    },
];

#[test]
fn every_attack_is_refused_and_the_state_kept() {
    for attack in ATTACKS {
        let mut host = under_attack();
        let before = (in_force(&host), host.adopted.clone(), host.disk.clone());
        let fresh = host.fresh.len();
        host.cluster.revision += 1;
        host.cluster.number += 1;
        let reply = (attack.reply)(&mut host.cluster);
        host.answer_poll(&reply);

        let refused = refusals(&host);
        assert!(
            refused.iter().any(|why| (attack.why)(why)),
            "{}: {refused:?}",
            attack.what
        );
        let codes: Vec<Code> = counted(&host).iter().map(|(_, code)| *code).collect();
        assert!(codes.contains(&attack.code), "{}: {codes:?}", attack.what);
        assert_eq!(
            before,
            (in_force(&host), host.adopted.clone(), host.disk.clone()),
            "{}",
            attack.what
        );
        assert_eq!(host.fresh.len(), fresh, "{}: no freshness", attack.what);
        assert!(
            host.events.iter().any(|event| matches!(
                event,
                Event::SessionClosed {
                    why: SessionEnd::Untrustworthy,
                    ..
                }
            )),
            "{}: the controller is left",
            attack.what
        );
    }
}

#[test]
fn a_refusal_is_told_in_the_next_heartbeat_and_once() {
    let mut host = under_attack();
    let mut past = host.cluster.copy();
    past.number -= 1;
    let reply = past.whole_reply(node());
    host.answer_poll(&reply);
    host.cluster.heard.clear();
    host.run(Duration::from_secs(60));

    let told: Vec<_> = host
        .cluster
        .heard
        .iter()
        .flat_map(|heard| &heard.refused)
        .collect();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].kind, told[0].code.as_str()),
        (Kind::Beacon, "generation_stale")
    );
}

#[test]
fn after_an_attack_the_truth_is_still_taken() {
    for attack in ATTACKS {
        let mut host = under_attack();
        let mut lying = host.cluster.copy();
        lying.revision += 1;
        lying.number += 1;
        let reply = (attack.reply)(&mut lying);
        host.answer_poll(&reply);
        host.cluster.publish();
        host.cluster.number += 200;
        host.run(Duration::from_secs(60));

        let revision = host.cluster.revision;
        assert!(
            host.adopted.contains(&(Kind::Routes, revision)),
            "{}",
            attack.what
        );
    }
}

#[test]
fn an_equal_version_with_the_same_hash_changes_nothing() {
    let mut host = under_attack();
    let adopted = host.adopted.clone();
    host.cluster.number += 1;
    let reply = host.cluster.whole_reply(node());
    host.answer_poll(&reply);

    assert_eq!(host.adopted, adopted);
    assert_eq!(refusals(&host), []);
    assert!(host.fresh.last().is_some_and(|(_, newer)| *newer));
}

#[test]
fn a_document_for_a_newer_program_is_left_out_alone() {
    let mut host = under_attack();
    host.cluster.publish();
    let documents = host.cluster.documents(node());
    let fresh = host.fresh.len();
    let future = with_feature(&host.cluster, 77);
    let mut reply = host
        .cluster
        .reply(node(), vec![future, documents[1].clone(), documents[2].clone()]);
    reply.shared.clear();
    host.scripted = Some(PollReply {
        documents: Vec::new(),
        ..reply.clone()
    });
    host.answer_poll(&reply);
    let asked = host.requests.iter().rev().find_map(|(_, request)| {
        let NodeRequest::Poll(poll) = request else {
            return None;
        };
        Some(poll.left_out.clone())
    });
    let pinned = leaf(node(), &reply.documents[..1]);
    assert_eq!(
        asked.as_deref(),
        Some(pinned.entries()),
        "the controller need not send it again"
    );
    host.run(Duration::from_secs(2));

    let revision = host.cluster.revision;
    assert_eq!(refusals(&host), [Refusal::UnknownFeature { feature: 77 }]);
    assert!(host.adopted.contains(&(Kind::Routes, revision)));
    assert!(!host.adopted.contains(&(Kind::SyntheticConfig, revision)));
    assert!(
        !host
            .events
            .iter()
            .any(|event| matches!(event, Event::SessionClosed { .. })),
        "the controller is kept"
    );
    assert!(host.fresh[fresh].1, "the beacon counts");
}

#[test]
fn a_lease_table_that_is_left_out_is_no_freshness() {
    let mut host = under_attack();
    let fresh = host.fresh.len();
    host.cluster.publish();
    let subject = Subject::Node(node());
    let stamp = Stamp {
        valid_until: Some(Wall(1)),
        ..host.cluster.stamp(subject, host.cluster.revision)
    };
    let table = seal(&stamp, &LeaseTable::default(), &[host.cluster.authority()]);
    let reply = under_its_beacon(&host.cluster, table.into());
    host.answer_poll(&reply);

    assert!(matches!(refusals(&host)[..], [Refusal::Expired { .. }]));
    assert_eq!(host.fresh.len(), fresh);
}

#[test]
fn validity_bounds_adoption_and_never_ends_what_is_in_force() {
    let mut host = under_attack();
    host.cluster.publish();
    let sign = |cluster: &Cluster, until: Wall| {
        let stamp = Stamp {
            valid_until: Some(until),
            ..cluster.stamp(Subject::Node(node()), cluster.revision)
        };
        let routes = seal(&stamp, &Routes::default(), &[cluster.authority()]);
        under_its_beacon(cluster, routes.into())
    };
    let reply = sign(&host.cluster, host.now.wall.after(Duration::from_secs(5)));
    host.answer_poll(&reply);
    let revision = host.cluster.revision;
    assert_eq!(host.adopted.last(), Some(&(Kind::Routes, revision)));

    let in_force = in_force(&host);
    host.faults.unreachable = true;
    host.cut();
    host.run(Duration::from_secs(3600));
    assert_eq!(self::in_force(&host), in_force);

    let mut other = under_attack();
    other.cluster.publish();
    let reply = sign(&other.cluster, other.now.wall.before(Duration::from_millis(1)));
    other.answer_poll(&reply);
    assert!(matches!(refusals(&other)[..], [Refusal::Expired { .. }]));
}

#[test]
fn a_frozen_controller_is_called_stale_and_gives_nothing_new() {
    let mut host = under_attack();
    host.cluster.publish();
    let reply = host.cluster.reply(node(), Vec::new());
    host.answer_poll(&reply);
    host.faults.unreachable = true;
    host.cut();
    host.run(STALE_AFTER - Duration::from_secs(1));
    assert!(!host.events.contains(&Event::Stale));
    host.run(Duration::from_secs(2));
    assert!(host.events.contains(&Event::Stale));

    // The same beacon, with documents that are not in it: no new privilege.
    host.faults.unreachable = false;
    let before = in_force(&host);
    let frozen = PollReply {
        beacon: reply.beacon.clone(),
        ..host.cluster.whole_reply(node())
    };
    assert_eq!(host.judge(&frozen), vec![Refusal::NotInSnapshot; 3]);
    assert_eq!(in_force(&host), before);

    host.cluster.number += 1;
    host.run(Duration::from_secs(60));
    assert!(host.events.contains(&Event::NoLongerStale));
    assert!(host.adopted.contains(&(Kind::Routes, host.cluster.revision)));
}

#[test]
fn what_was_left_out_is_refused_once_its_beacon_is_stale() {
    let mut host = under_attack();
    host.cluster.publish();
    let until = host.now.wall.after(Duration::from_secs(60));
    let stamp = Stamp {
        valid_until: Some(until),
        ..host.cluster.stamp(Subject::Node(node()), host.cluster.revision)
    };
    let routes = seal(&stamp, &Routes::default(), &[host.cluster.authority()]);
    let reply = under_its_beacon(&host.cluster, routes.into());
    let set_clock = |host: &mut Host, wall: Wall| host.now.wall = wall;

    // A clock that runs ahead has the document left out, and the beacon is taken.
    let now = host.now.wall;
    set_clock(&mut host, until.after(Duration::from_secs(1)));
    host.answer_poll(&reply);
    assert!(matches!(refusals(&host)[..], [Refusal::Expired { .. }]));
    host.faults.unreachable = true;
    host.cut();
    host.run(STALE_AFTER + Duration::from_secs(1));
    set_clock(&mut host, now);

    assert!(host.judge(&reply).contains(&Refusal::Stale));
}

#[test]
fn a_mark_survives_restart_so_that_an_old_snapshot_stays_refused() {
    let mut host = under_attack();
    let mut past = host.cluster.copy();
    past.revision -= 1;
    past.number += 50;
    let old = past.whole_reply(node());
    let again = config(&host.cluster);
    host.restart(again, &seed(3));
    host.run(Duration::from_secs(5));
    host.answer_poll(&old);

    assert!(refusals(&host).contains(&Refusal::Older));
}

#[test]
fn a_bundle_that_is_news_comes_into_force() {
    let mut host = under_attack();
    host.cluster.bundle += 1;
    host.cluster.number += 1;
    let reply = host.cluster.whole_reply(node());
    host.answer_poll(&reply);

    assert_eq!(
        host.adopted.last(),
        Some(&(Kind::TrustBundle, host.cluster.bundle))
    );
    assert_eq!(refusals(&host), []);
    let _: TrustBundle = host.cluster.trust_bundle();
}

#[test]
fn a_revocation_list_may_leave_out_what_ended_at_its_floor() {
    let mut host = under_attack();
    let kept = host.cluster.revocations.1.clone();
    let over = RevokedNode {
        node: NodeId::from_bytes([0xEF; 16]),
        generation: 1,
        ends_at: kept.floor.after(DAY),
    };
    let with_both = RevocationList {
        nodes: [kept.nodes.clone(), vec![over]].concat(),
        ..kept.clone()
    };
    let without = RevocationList {
        floor: over.ends_at,
        ..kept
    };
    for list in [with_both, without] {
        host.cluster.number += 1;
        let reply = with_list(&mut host.cluster, list);
        host.answer_poll(&reply);
        assert_eq!(refusals(&host), []);
        let version = host.cluster.revocations.0;
        assert_eq!(host.adopted.last(), Some(&(Kind::RevocationList, version)));
    }
}

/// A reply under the next beacon, with the next revocation list.
fn with_list(cluster: &mut Cluster, list: RevocationList) -> PollReply {
    cluster.revocations = (cluster.revocations.0 + 1, list);

    cluster.whole_reply(node())
}

/// A member at revision 3, with a revoked stranger on its list, at the second leader.
pub(super) fn under_attack() -> Host {
    let mut host = Host::member(Cluster::new());
    host.cluster.term = 2;
    let revoked = RevokedNode {
        node: NodeId::from_bytes([0xEE; 16]),
        generation: 1,
        ends_at: START.after(37 * DAY),
    };
    host.cluster.revocations = (
        2,
        RevocationList {
            nodes: vec![revoked],
            floor: START.before(7 * DAY),
            ..RevocationList::default()
        },
    );
    for _ in 0..2 {
        host.cluster.publish();
        host.push_news();
        host.settle().expect("alive");
    }
    // Nothing of the way here counts.
    host.events.clear();
    assert_eq!(counted(&host), []);

    host
}

/// One document as the whole content of the tree.
fn under_its_beacon(cluster: &Cluster, document: ByteVec) -> PollReply {
    let tree = Tree::new([leaf(node(), std::slice::from_ref(&document))]);

    PollReply {
        documents: vec![document],
        ..placed(cluster.beacon(&tree), &tree, node())
    }
}

/// The present config with a feature in its header, signed: by hand, as nothing here makes one.
fn with_feature(cluster: &Cluster, feature: u32) -> ByteVec {
    let plain = cluster.sign(Subject::Node(node()), cluster.revision, &cluster.config());
    let expected = Expected {
        realm: cluster.id.into(),
        subject: Subject::Node(node()),
    };
    let opened = Envelope::parse(&plain)
        .and_then(|envelope| envelope.open::<SyntheticConfig>(&expected, &cluster.authority().verify_key()))
        .expect("ours");
    let mut header = opened.header;
    header.needs = vec![feature];

    resigned(cluster, &header, &cbor::encode(&opened.body))
}

/// An envelope of RFC 9052 4.1 around any header.
fn resigned(cluster: &Cluster, header: &protocol::envelope::Header, body: &[u8]) -> ByteVec {
    let mut payload = Vec::new();
    let mut e = minicbor::Encoder::new(&mut payload);
    e.map(2).expect("vec").u8(0).expect("vec");
    e.encode(header)
        .expect("vec")
        .u8(1)
        .expect("vec")
        .bytes(body)
        .expect("vec");

    let mut protected = Vec::new();
    let mut e = minicbor::Encoder::new(&mut protected);
    let id = cluster.authority().verify_key().fingerprint();
    e.map(2).expect("vec").u8(1).expect("vec").i8(-19).expect("vec");
    e.u8(4).expect("vec").bytes(id.as_bytes()).expect("vec");

    let aad = [&[7_u8], cluster.id.as_bytes().as_slice(), node().as_bytes()].concat();
    let mut signed = Vec::new();
    let mut e = minicbor::Encoder::new(&mut signed);
    e.array(5)
        .expect("vec")
        .str("Signature")
        .expect("vec")
        .bytes(&[])
        .expect("vec");
    e.bytes(&protected)
        .expect("vec")
        .bytes(&aad)
        .expect("vec")
        .bytes(&payload)
        .expect("vec");

    let mut envelope = Vec::new();
    let mut e = minicbor::Encoder::new(&mut envelope);
    e.array(4)
        .expect("vec")
        .bytes(&[])
        .expect("vec")
        .map(0)
        .expect("vec");
    e.bytes(&payload)
        .expect("vec")
        .array(1)
        .expect("vec")
        .array(3)
        .expect("vec");
    e.bytes(&protected).expect("vec").map(0).expect("vec");
    e.bytes(&cluster.authority().sign(&signed)).expect("vec");

    envelope.into()
}

fn in_force(host: &Host) -> Vec<Have> {
    let Status::Member(status) = host.control.status() else {
        panic!("no member");
    };

    status.have
}

fn counted(host: &Host) -> Vec<(Kind, Code)> {
    let Status::Member(status) = host.control.status() else {
        panic!("no member");
    };

    status.refused.into_keys().collect()
}

pub(super) fn refusals(host: &Host) -> Vec<Refusal> {
    let mut refusals = Vec::new();
    for event in &host.events {
        if let Event::Refused { why, .. } = event {
            refusals.push(why.clone());
        }
    }

    refusals
}

const SECOND: Duration = Duration::from_secs(1);
pub(super) const DAY: Duration = Duration::from_secs(24 * 60 * 60);
