use std::time::Duration;

use proptest::prelude::*;
use protocol::certificate::{self, LEAF_LIFE};
use protocol::document::authority::{RevocationList, RevokedNode};
use protocol::document::join::ApprovalMode;
use protocol::envelope::{Kind, Subject};
use protocol::key::{SealSecret, SigningKey};
use protocol::wire::{ExpiredRenewal, Proof, Renew, Renewed};

use super::*;
use crate::audit::{self, Actor};
use crate::finding;
use crate::issuing::{self, CertificateHolder, CertificateState};
use crate::join::JoinCaller;
use crate::publish;
use crate::testing::{Joiner, World};
use crate::token::{self, NewToken};

#[test]
fn a_renewal_moves_to_a_new_key_and_notes_the_old_certificate() {
    let mut fleet = Fleet::new();
    let before = fleet.row();
    let renewed = fleet.renew(before.serial, 1, 11).unwrap();
    let after = fleet.row();

    assert_eq!(renewed.certificate, after.certificate);
    assert_eq!(after.key, key(11).verify_key());
    assert_eq!(after.seal_key, seal_key(11));
    assert_ne!(after.serial, before.serial);
    assert_eq!(fleet.state_of(before.serial), Some(CertificateState::Superseded));
    assert_eq!(fleet.state_of(after.serial), Some(CertificateState::Issued));
    let leaf = certificate::claimed_identity(&after.certificate).unwrap();
    assert_eq!(leaf.key, after.key);
    assert_eq!(renewed.controllers.len(), 1);
}

#[test]
fn a_lost_reply_gets_the_same_certificate() {
    let mut fleet = Fleet::new();
    let old = fleet.row().serial;
    let first = fleet.renew(old, 1, 11).unwrap();
    let count = fleet.world.tx.count(Table::Audit);

    assert_eq!(fleet.renew(old, 1, 11).unwrap(), first);
    let new = fleet.row().serial;
    assert_eq!(fleet.renew(new, 1, 11).unwrap(), first);
    assert_eq!(fleet.world.tx.count(Table::Audit), count);
}

#[test]
fn another_request_under_a_spent_nonce_is_a_clone() {
    let mut fleet = Fleet::new();
    let old = fleet.row().serial;
    fleet.renew(old, 1, 11).unwrap();
    let before = fleet.row();

    for serial in [old, before.serial] {
        assert_eq!(fleet.renew(serial, 1, 12).unwrap_err(), Code::IdentityCloned);
    }
    assert_eq!(fleet.row(), before);
    let findings = finding::list(&fleet.world.tx).unwrap();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0].kind, FindingKind::IDENTITY_CLONED);
    assert_eq!(findings[0].subject, fleet.id.to_string());
}

#[test]
fn the_branch_that_is_behind_is_refused() {
    let mut fleet = Fleet::new();
    let old = fleet.row().serial;
    fleet.renew(old, 1, 11).unwrap();

    assert_eq!(fleet.renew(old, 2, 12).unwrap_err(), Code::IdentityCloned);
    let current = fleet.row().serial;
    assert!(fleet.renew(current, 2, 12).is_ok());
}

#[test]
fn wrong_renewals_have_their_codes() {
    let mut fleet = Fleet::new();
    let serial = fleet.row().serial;
    let mut one = [0; 32];
    one[0] = 1;
    let weak = Renew {
        seal_key: SealKey::parse(one).unwrap(),
        ..request(1, 11)
    };
    let garbage = Renew {
        csr: b"nonsense".to_vec().into(),
        ..request(1, 11)
    };
    let stranger = NodeCaller {
        node: NodeId::from_bytes([9; 16]),
        ..fleet.caller(serial)
    };
    let caller = fleet.caller(serial);
    for (caller, request, code) in [
        (caller, weak, Code::ValidationFailed),
        (caller, garbage, Code::CsrInvalid),
        (stranger, request(1, 11), Code::NotFound),
    ] {
        let refused = fleet
            .world
            .desk(Actor::Node(caller.node), |desk| renew(desk, &caller, &request));
        assert_eq!(refused.unwrap_err().code(), code);
    }
    fleet.revoke();
    assert_eq!(fleet.renew(serial, 1, 11).unwrap_err(), Code::NodeRevoked);
}

#[test]
fn only_what_serves_others_drains_and_may_ask_everything_meanwhile() {
    let mut fleet = Fleet::new();
    let (cluster, id) = (fleet.cluster, fleet.id);
    let serial = fleet.row().serial;
    let drained = |fleet: &mut Fleet| {
        let drained = fleet
            .world
            .desk(Actor::Local, |desk| drain(desk, cluster, id, "new disk"));

        drained.map(|row| row.state()).map_err(|refused| refused.code())
    };
    assert_eq!(drained(&mut fleet), Err(Code::ValidationFailed), "a member");
    for role in [NodeRole::Rendezvous, NodeRole::Relay] {
        let row = NodeRow {
            roles: vec![role],
            tenure: Tenure::Enabled,
            ..fleet.row()
        };
        fleet.world.desk(Actor::Local, |desk| desk.tx.put(&row)).unwrap();
        for _ in 0..2 {
            assert_eq!(drained(&mut fleet), Ok(NodeState::Draining), "{role:?}");
        }
    }
    assert_eq!(fleet.may_ask(serial, &NodeRequest::Leave), Ok(()));
    assert_eq!(fleet.may_ask(serial, &renewal()), Ok(()));

    fleet
        .world
        .desk(Actor::Local, |desk| disable(desk, cluster, id, ""))
        .unwrap();
    assert_eq!(drained(&mut fleet), Err(Code::NodeDisabled));
    fleet
        .world
        .desk(Actor::Local, |desk| enable(desk, cluster, id))
        .unwrap();
    assert_eq!(fleet.row().state(), NodeState::Offline, "never heard");
}

#[test]
fn a_disabled_node_keeps_its_identity() {
    let mut fleet = Fleet::new();
    let (cluster, id) = (fleet.cluster, fleet.id);
    let serial = fleet.row().serial;
    for _ in 0..2 {
        fleet
            .world
            .desk(Actor::Local, |desk| disable(desk, cluster, id, ""))
            .unwrap();
    }
    assert_eq!(
        fleet.may_ask(serial, &NodeRequest::Leave),
        Err(Code::NodeDisabled)
    );
    assert_eq!(fleet.may_ask(serial, &renewal()), Ok(()));
    assert_eq!(fleet.row().state(), NodeState::Disabled);
    assert!(fleet.renew(serial, 1, 11).is_ok());
    fleet
        .world
        .desk(Actor::Local, |desk| enable(desk, cluster, id))
        .unwrap();
    assert_eq!(fleet.may_ask(serial, &NodeRequest::Leave), Ok(()));
}

#[test]
fn a_superseded_certificate_opens_the_door_for_its_renewal_alone() {
    let mut fleet = Fleet::new();
    let first = fleet.row().serial;
    fleet.renew(first, 1, 11).unwrap();
    let second = fleet.row().serial;
    assert_eq!(
        fleet.may_ask(first, &NodeRequest::Leave),
        Ok(()),
        "it is being swapped"
    );
    fleet.world.now.wall = fleet.world.now.wall.after(OVERLAP);

    assert_eq!(fleet.may_ask(second, &NodeRequest::Leave), Ok(()));
    assert_eq!(
        fleet.may_ask(first, &NodeRequest::Leave),
        Err(Code::GenerationStale)
    );
    assert_eq!(fleet.may_ask(first, &renewal()), Ok(()));
    fleet.renew(second, 2, 12).unwrap();
    assert_eq!(
        fleet.may_ask(first, &NodeRequest::Leave),
        Err(Code::GenerationStale),
        "only the one just before is swapped"
    );
}

#[test]
fn a_node_that_renews_in_a_loop_is_stopped() {
    let mut fleet = Fleet::new();
    for n in 1..VALID_CERTIFICATES as u8 {
        let serial = fleet.row().serial;
        fleet.renew(serial, n, n).unwrap();
    }
    let serial = fleet.row().serial;

    assert_eq!(fleet.renew(serial, 99, 99).unwrap_err(), Code::RateLimited);
    fleet.world.pass(LEAF_LIFE + Duration::from_secs(1));
    assert!(fleet.renew(serial, 99, 99).is_ok());
    assert_eq!(fleet.certificates().len(), 1, "those that expired are forgotten");
}

#[test]
fn an_expired_certificate_is_renewed_by_its_key() {
    let mut fleet = Fleet::new();
    fleet.world.pass(LEAF_LIFE + EXPIRED_RENEWAL);
    let first = fleet.renew_expired(&fleet.first_key.clone(), 1, 11).unwrap();

    assert_eq!(fleet.row().key, key(11).verify_key());
    let again = fleet.renew_expired(&fleet.first_key.clone(), 1, 11).unwrap();
    assert_eq!(again, first);
    let clone = fleet.renew_expired(&fleet.first_key.clone(), 2, 12);
    assert_eq!(clone.unwrap_err(), Code::IdentityCloned);
    assert!(fleet.renew_expired(&key(11), 2, 12).is_ok());
}

#[test]
fn a_certificate_that_was_issued_in_the_future_is_replaced_by_proof_of_possession() {
    let mut fleet = Fleet::new();
    let right = fleet.world.now;
    let serial = fleet.row().serial;
    fleet.world.pass(Duration::from_secs(365 * 24 * 3600));
    fleet.renew(serial, 1, 11).unwrap();
    fleet.world.now = right;
    let renewed = fleet.renew_expired(&key(11), 2, 12).unwrap();

    let validity = certificate::claimed_identity(&renewed.certificate)
        .unwrap()
        .validity;
    assert!(validity.contains(right.wall), "{validity:?}");
}

#[test]
fn a_clock_that_is_ahead_for_a_while_moves_the_floor_little_and_drops_nothing_that_counts() {
    let (mut world, cluster) = World::with_cluster(1);
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let id = enrolled(&mut world, &joiner).unwrap();
    world
        .desk(Actor::Local, |desk| revoke(desk, cluster, id, ""))
        .unwrap();
    let row = crate::cluster::get(&world.tx, cluster).unwrap().unwrap();
    let right = world.now;
    world.pass(Duration::from_secs(365 * 24 * 3600));
    for _ in 0..3 {
        assert_eq!(
            world.desk(Actor::Controller, |desk| prune(desk, &row)).unwrap(),
            0
        );
        world.pass(Duration::from_secs(3600));
    }
    world.now = right;
    for day in 0..40 {
        world.desk(Actor::Controller, |desk| prune(desk, &row)).unwrap();
        let list = revocation_list(&world.tx, cluster).unwrap();
        assert_eq!(list.nodes.len(), 1, "day {day}");
        world.pass(Duration::from_secs(24 * 3600));
    }
}

#[test]
fn a_list_that_grows_towards_its_frame_is_found_long_before() {
    let (mut world, cluster) = World::with_cluster(1);
    let joiner = Joiner::new(&mut world, cluster, "web-1");
    let id = enrolled(&mut world, &joiner).unwrap();
    for number in 1..10_000u64 {
        let mut node = [7; 16];
        node[..8].copy_from_slice(&number.to_be_bytes());
        world
            .tx
            .put(&RevocationRow {
                cluster,
                number,
                entry: RevocationEntry::Node(RevokedNode {
                    node: NodeId::from_bytes(node),
                    generation: 1,
                    ends_at: world.now.wall,
                }),
                at: world.now.wall,
            })
            .unwrap();
    }
    let length = |world: &World| protocol::cbor::encode(&revocation_list(&world.tx, cluster).unwrap()).len();
    assert!(length(&world) > LIST_ROOM && length(&world) < protocol::limits::FRAME_BYTES / 2);
    world
        .desk(Actor::Local, |desk| revoke(desk, cluster, id, ""))
        .unwrap();

    assert_eq!(
        finding::list(&world.tx).unwrap()[0].kind,
        FindingKind::REVOCATIONS_LONG
    );
}

#[test]
fn an_identity_is_lost_after_30_days() {
    let mut fleet = Fleet::new();
    fleet
        .world
        .pass(LEAF_LIFE + EXPIRED_RENEWAL + Duration::from_secs(1));

    assert_eq!(
        fleet.renew_expired(&fleet.first_key.clone(), 1, 11).unwrap_err(),
        Code::IdentityMissing
    );
}

#[test]
fn only_a_certified_key_over_this_connection_renews() {
    let mut fleet = Fleet::new();
    assert_eq!(
        fleet.renew_expired(&key(9), 1, 11).unwrap_err(),
        Code::SignatureInvalid
    );
    let first_key = fleet.first_key.clone();
    let mut request = fleet.expired(&first_key, 1, 11);
    request.nonce = [2; 16];
    assert_eq!(fleet.call(&request).unwrap_err(), Code::SignatureInvalid);
    let mut request = fleet.expired(&first_key, 1, 11);
    request.csr = certificate::csr(&key(12)).into();
    assert_eq!(fleet.call(&request).unwrap_err(), Code::SignatureInvalid);
    let mut request = fleet.expired(&first_key, 1, 11);
    request.node = NodeId::from_bytes([9; 16]);
    assert_eq!(fleet.call(&request).unwrap_err(), Code::SignatureInvalid);
    fleet.revoke();
    let request = fleet.expired(&first_key, 1, 11);
    assert_eq!(fleet.call(&request).unwrap_err(), Code::NodeRevoked);
}

#[test]
fn a_revoked_node_is_listed_with_its_certificates_and_leaves_its_name() {
    let mut fleet = Fleet::new();
    let old = fleet.row().serial;
    fleet.renew(old, 1, 11).unwrap();
    let current = fleet.row().serial;
    let list_before = fleet.list();
    fleet.revoke();
    fleet.revoke();
    let list = revocation_list(&fleet.world.tx, fleet.cluster).unwrap();
    let serials: Vec<Serial> = list.certificates.iter().map(|entry| entry.serial).collect();

    assert_eq!(list.nodes.len(), 1);
    assert_eq!(list.nodes[0].node, fleet.id);
    assert_eq!(serials.len(), 2);
    assert!(serials.contains(&old) && serials.contains(&current));
    assert_eq!(fleet.list().version, list_before.version + 1);
    assert_eq!(fleet.row().state(), NodeState::Revoked);
    let name = fleet.row().name;
    assert_eq!(find(&fleet.world.tx, fleet.cluster, &name).unwrap(), None);
    for request in [NodeRequest::Leave, renewal()] {
        assert_eq!(fleet.may_ask(current, &request), Err(Code::NodeRevoked));
    }
}

#[test]
fn a_revoked_node_stays_revoked() {
    let mut fleet = Fleet::new();
    let (cluster, id) = (fleet.cluster, fleet.id);
    fleet.revoke();
    let before = fleet.row();
    let enabled = fleet.world.desk(Actor::Local, |desk| enable(desk, cluster, id));
    let disabled = fleet
        .world
        .desk(Actor::Local, |desk| disable(desk, cluster, id, ""));
    let labelled = fleet
        .world
        .desk(Actor::Local, |desk| label(desk, cluster, id, &[]));
    for refused in [enabled, disabled, labelled] {
        assert_eq!(refused.unwrap_err().code(), Code::NodeRevoked);
    }
    let change = Change {
        presence: Presence::Active,
        ..fleet.change()
    };
    record_change(&mut fleet.world.tx, &change).unwrap();

    assert_eq!(fleet.row(), before);
}

#[test]
fn a_node_that_leaves_gives_everything_back() {
    let mut fleet = Fleet::new();
    let caller = fleet.caller(fleet.row().serial);
    fleet
        .world
        .desk(Actor::Node(fleet.id), |desk| leave(desk, &caller))
        .unwrap();
    let again = fleet
        .world
        .desk(Actor::Node(fleet.id), |desk| leave(desk, &caller));

    assert_eq!(again.unwrap_err().code(), Code::NodeRevoked);
    assert_eq!(fleet.row().state(), NodeState::Left);
    assert_eq!(
        revocation_list(&fleet.world.tx, fleet.cluster)
            .unwrap()
            .nodes
            .len(),
        1
    );
    let joiner = Joiner::new(&mut fleet.world, fleet.cluster, "web-1");
    assert!(enrolled(&mut fleet.world, &joiner).is_some(), "the name is free");
}

#[test]
fn documents_of_a_node_end_with_it() {
    let mut fleet = Fleet::new();
    let (cluster, id) = (fleet.cluster, fleet.id);
    let body = protocol::document::routes::LeaseTable::default();
    fleet
        .world
        .desk(Actor::Controller, |desk| {
            publish::publish(desk, cluster, Subject::Node(id), &body)
        })
        .unwrap();
    let kind = Kind::LeaseTable;
    let standing =
        |fleet: &Fleet| publish::published(&fleet.world.tx, cluster, Subject::Node(id), kind).unwrap();
    assert!(standing(&fleet).is_some());
    fleet.revoke();

    assert_eq!(standing(&fleet), None);
}

#[test]
fn revoking_a_node_lists_the_certificates_whose_rows_cannot_be_read() {
    let mut fleet = Fleet::new();
    let (cluster, id) = (fleet.cluster, fleet.id);
    let first = fleet.row().serial;
    fleet.renew(first, 1, 11).unwrap();
    let row = fleet
        .certificates()
        .into_iter()
        .find(|row| row.serial == first)
        .unwrap();
    let spoilt = vec![0xff];
    fleet
        .world
        .tx
        .put_bytes(Table::Certificates, &row.key(), spoilt)
        .unwrap();
    let second = fleet.row().serial;
    fleet.renew(second, 2, 12).expect("it holds up no renewal");
    let third = fleet.row().serial;
    fleet.revoke();

    let list = revocation_list(&fleet.world.tx, cluster).unwrap();
    let mut listed: Vec<Serial> = list.certificates.iter().map(|entry| entry.serial).collect();
    let mut held = vec![first, second, third];
    listed.sort();
    held.sort();
    assert_eq!(listed, held);
    assert!(list.certificates.iter().all(|entry| entry.issuer == row.issuer));
    let latest = fleet.world.now.wall.after(LEAF_LIFE).after(EXPIRED_RENEWAL);
    let node = list.nodes.iter().find(|entry| entry.node == id).unwrap();
    assert!(node.ends_at >= latest, "it may be as young as can be");
    assert_eq!(fleet.certificates().len(), 2, "the damaged row is gone");
}

#[test]
fn labels_are_set_and_taken_away() {
    let mut fleet = Fleet::new();
    let (cluster, id) = (fleet.cluster, fleet.id);
    let set = |key: &str, value: Option<&str>| LabelChange {
        key: key.to_owned(),
        value: value.map(str::to_owned),
    };
    let mut change = |changes: &[LabelChange]| {
        fleet
            .world
            .desk(Actor::Local, |desk| label(desk, cluster, id, changes))
    };
    let row = change(&[set("site", Some("fra")), set("host", Some("h1"))]).unwrap();
    assert_eq!(row.labels.get("site"), Some("fra"));
    let row = change(&[set("site", None), set("rack", None)]).unwrap();
    assert_eq!(row.labels.iter().collect::<Vec<_>>(), [("host", "h1")]);
    let refused = change(&[set("Site", Some("x"))]).unwrap_err();

    assert_eq!(refused.code(), Code::ValidationFailed);
}

#[test]
fn the_first_heartbeat_ends_the_enrolment() {
    let mut fleet = Fleet::new();
    let request = fleet.row().request;
    let decided = |fleet: &Fleet| {
        join::get(&fleet.world.tx, fleet.cluster, request)
            .unwrap()
            .unwrap()
            .decided
    };
    assert_eq!(decided(&fleet), RequestState::Approved);
    let change = fleet.change();
    record_change(&mut fleet.world.tx, &change).unwrap();

    assert_eq!(decided(&fleet), RequestState::Bootstrapped);
    let row = fleet.row();
    assert_eq!((row.presence, row.boot), (Presence::Active, change.boot));
    let quiet = Change {
        presence: Presence::Offline,
        boot: None,
        ..change
    };
    record_change(&mut fleet.world.tx, &quiet).unwrap();
    assert_eq!(
        (fleet.row().presence, fleet.row().boot),
        (Presence::Offline, row.boot)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever happens to a few nodes, what was revoked stays on the list until its end lies below the floor, the
    /// floor never falls and stays behind the clock, and the list's number only rises.
    #[test]
    fn the_revocation_list_never_shrinks_above_its_floor(
        steps in prop::collection::vec((0usize..4, 0u8..9), 1..60)
    ) {
        let (mut world, cluster) = World::with_cluster(1);
        let ids: Vec<NodeId> = (0..4)
            .map(|n| {
                let joiner = Joiner::new(&mut world, cluster, &format!("web-{n}"));
                enrolled(&mut world, &joiner).expect("a node")
            })
            .collect();
        let mut last = (RevocationList::default(), 0);
        for (which, what) in steps {
            let id = ids[which];
            let serial = get(&world.tx, cluster, id).unwrap().unwrap().serial;
            let row = crate::cluster::get(&world.tx, cluster).unwrap().unwrap();
            let caller = NodeCaller { cluster, node: id, serial };
            let _ = world.desk(Actor::Local, |desk| match what {
                0 => revoke(desk, cluster, id, "").map(|_| ()),
                1 => leave(desk, &caller).map(|_| ()),
                2 => enable(desk, cluster, id).map(|_| ()),
                3 => disable(desk, cluster, id, "").map(|_| ()),
                5.. => { prune(desk, &row).unwrap(); Ok(()) }
                _ => { let _ = renew(desk, &caller, &request(what, what)); Ok(()) }
            });
            world.pass(Duration::from_secs(if what > 6 { 10 } else { 1 } * 24 * 3600));
            let list = revocation_list(&world.tx, cluster).unwrap();
            let version = published_list(&world, cluster).version;
            let over = |ends_at: Wall| ends_at <= list.floor;
            prop_assert!(last.0.nodes.iter().all(|entry| over(entry.ends_at) || list.nodes.contains(entry)));
            prop_assert!(
                last.0.certificates.iter().all(|entry| over(entry.ends_at) || list.certificates.contains(entry))
            );
            prop_assert!(list.floor >= last.0.floor);
            prop_assert!(list.floor.after(LEAF_LIFE) <= world.now.wall);
            prop_assert!(version >= last.1);
            prop_assert_eq!(version > last.1, list != last.0 || last.1 == 0);
            last = (list, version);
        }
        prop_assert!(audit::verify(&world.tx, None).is_ok());
    }

    /// Two hosts that hold one identity and renew in any order: never do both move on from one certificate.
    #[test]
    fn a_certificate_has_one_successor(turns in prop::collection::vec((0usize..2, any::<bool>()), 1..30)) {
        let mut fleet = Fleet::new();
        let start = fleet.row().serial;
        let mut hosts = [Host { serial: start, first: 0, nonce: 0 }, Host { serial: start, first: 100, nonce: 100 }];
        let mut successors = std::collections::BTreeMap::new();
        for (who, retry) in turns {
            let host = hosts[who];
            let nonce = if retry && host.nonce != host.first { host.nonce } else { host.nonce + 1 };
            hosts[who].nonce = nonce;
            if fleet.renew(host.serial, nonce, nonce).is_ok() {
                let new = fleet.row().serial;
                if new != host.serial {
                    let first = *successors.entry(host.serial).or_insert(new);
                    prop_assert_eq!(first, new);
                }
                hosts[who].serial = new;
            }
        }
        let both_moved = hosts.iter().all(|host| host.serial != start);
        prop_assert!(!both_moved, "a clone moved on beside the original");
    }
}

#[derive(Clone, Copy)]
struct Host {
    serial: Serial,
    first: u8,
    nonce: u8,
}

/// One node in one cluster.
struct Fleet {
    world: World,
    cluster: ClusterId,
    id: NodeId,
    first_key: SigningKey,
}

impl Fleet {
    fn new() -> Self {
        let (mut world, cluster) = World::with_cluster(1);
        let joiner = Joiner::new(&mut world, cluster, "web-1");
        let id = enrolled(&mut world, &joiner).expect("a node");

        Self {
            world,
            cluster,
            id,
            first_key: joiner.key,
        }
    }

    fn row(&self) -> NodeRow {
        get(&self.world.tx, self.cluster, self.id).unwrap().unwrap()
    }

    fn caller(&self, serial: Serial) -> NodeCaller {
        NodeCaller {
            cluster: self.cluster,
            node: self.id,
            serial,
        }
    }

    fn may_ask(&self, serial: Serial, request: &NodeRequest) -> Result<(), Code> {
        may_ask(&self.world.tx, &self.caller(serial), request, self.world.now.wall)
            .map_err(|refused| refused.code())
    }

    fn renew(&mut self, serial: Serial, nonce: u8, seed: u8) -> Result<Renewed, Code> {
        let caller = self.caller(serial);
        self.world
            .desk(Actor::Node(self.id), |desk| {
                renew(desk, &caller, &request(nonce, seed))
            })
            .map_err(|error| error.code())?
            .into_result()
    }

    fn expired(&self, by: &SigningKey, nonce: u8, seed: u8) -> ExpiredRenewal {
        let csr = certificate::csr(&key(seed));
        let about = [
            self.id.as_bytes().as_slice(),
            &[nonce; 16],
            Digest::of(&csr).as_bytes(),
        ]
        .concat();

        ExpiredRenewal {
            node: self.id,
            nonce: [nonce; 16],
            csr: csr.into(),
            seal_key: seal_key(seed),
            proof: Proof::new(by, &EXPORTED, &about),
        }
    }

    fn renew_expired(&mut self, by: &SigningKey, nonce: u8, seed: u8) -> Result<Renewed, Code> {
        let request = self.expired(by, nonce, seed);

        self.call(&request)
    }

    fn call(&mut self, request: &ExpiredRenewal) -> Result<Renewed, Code> {
        let caller = JoinCaller {
            cluster: self.cluster,
            exported: EXPORTED,
            source: ([192, 0, 2, 1], 1).into(),
        };
        self.world
            .desk(Actor::Joiner, |desk| renew_expired(desk, &caller, request))
            .map_err(|error| error.code())?
            .into_result()
    }

    fn revoke(&mut self) {
        let (cluster, id) = (self.cluster, self.id);
        self.world
            .desk(Actor::Local, |desk| revoke(desk, cluster, id, "stolen"))
            .unwrap();
    }

    fn certificates(&self) -> Vec<issuing::CertificateRow> {
        let holder = CertificateHolder::Node(self.id);

        issuing::certificates(&self.world.tx, self.cluster, holder).unwrap()
    }

    fn state_of(&self, serial: Serial) -> Option<CertificateState> {
        let row = self.certificates().into_iter().find(|row| row.serial == serial);

        row.map(|row| row.state)
    }

    fn list(&self) -> publish::PublishedDocument {
        published_list(&self.world, self.cluster)
    }

    fn change(&self) -> Change {
        Change {
            cluster: self.cluster,
            node: self.id,
            at: self.world.now.wall,
            presence: Presence::Active,
            boot: Some(BootId::from_bytes([1; 16])),
            candidates: None,
            agent_version: None,
            epoch: None,
            refused: Vec::new(),
            reverted: None,
        }
    }
}

fn published_list(world: &World, cluster: ClusterId) -> publish::PublishedDocument {
    publish::published(&world.tx, cluster, Subject::All, Kind::RevocationList)
        .unwrap()
        .expect("published with the cluster")
}

/// Joins with a token of its own that needs no approval.
fn enrolled(world: &mut World, joiner: &Joiner) -> Option<NodeId> {
    let cluster = joiner.caller.cluster;
    let new = NewToken {
        approval: ApprovalMode::Auto,
        ..NewToken::default()
    };
    let token = world
        .desk(Actor::Local, |desk| token::create(desk, cluster, new))
        .unwrap();
    let call = joiner.enroll(&token.token);
    let request = world
        .desk(Actor::Joiner, |desk| join::enroll(desk, &joiner.caller, &call))
        .ok()?
        .request;

    join::get(&world.tx, cluster, request).unwrap()?.node
}

fn renewal() -> NodeRequest {
    NodeRequest::Renew(request(9, 99))
}

fn request(nonce: u8, seed: u8) -> Renew {
    Renew {
        nonce: [nonce; 16],
        csr: certificate::csr(&key(seed)).into(),
        seal_key: seal_key(seed),
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn seal_key(seed: u8) -> SealKey {
    SealSecret::from_bytes([seed; 32]).seal_key()
}

const EXPORTED: [u8; 32] = [5; 32];
