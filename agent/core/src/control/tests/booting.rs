//! Starting from the state directory, with and without controllers, whole and damaged.

use std::collections::BTreeMap;
use std::time::Duration;

use minicbor::{Decode, Encode};
use protocol::envelope::Kind;

use super::super::{Config, Event, FileName, Status, Unbootable, boot};
use super::cluster::Cluster;
use super::host::{Host, config, seed};

#[test]
fn a_member_starts_with_what_it_had_and_no_controller() {
    let mut host = updated();
    let before = in_force(&host);
    host.faults.unreachable = true;
    host.adopted.clear();
    host.identities = 0;
    let again = without_token(&host);
    host.restart(again, &seed(2));
    host.settle().expect("alive");

    assert_eq!(host.identities, 1);
    assert_eq!(
        host.adopted.iter().map(|(kind, _)| *kind).collect::<Vec<_>>(),
        [
            Kind::TrustBundle,
            Kind::RevocationList,
            Kind::SyntheticConfig,
            Kind::Routes,
            Kind::LeaseTable
        ]
    );
    assert_eq!(in_force(&host), before);

    host.fresh.clear();
    host.run(Duration::from_secs(3600));
    assert_eq!(
        in_force(&host),
        before,
        "a lost control connection removes nothing"
    );
    assert_eq!(host.fresh, []);
    assert!(host.tried_in_vain.len() > 10);

    host.faults.unreachable = false;
    host.cluster.publish();
    host.run(Duration::from_secs(60));
    assert!(host.adopted.contains(&(Kind::Routes, host.cluster.revision)));
}

#[test]
fn a_member_that_has_no_config_yet_and_no_controller_is_settled_all_the_same() {
    let mut host = Host::new(Cluster::new());
    while host.identities == 0 {
        host.run(Duration::from_millis(10));
    }
    host.faults.unreachable = true;
    host.disk.remove(&FileName::LastGoodA);
    host.disk.remove(&FileName::LastGoodB);
    host.adopted.clear();
    let again = without_token(&host);
    host.restart(again, &seed(2));
    host.settle().expect("alive");

    assert!(
        !host
            .adopted
            .iter()
            .any(|(kind, _)| *kind == Kind::SyntheticConfig)
    );
    assert!(
        host.control.is_settled(),
        "it has begun all that it can by itself"
    );
}

#[test]
fn every_flipped_bit_of_the_newest_generation_leads_to_the_one_before() {
    let host = updated();
    let newest = newest(&host);
    let revision = host.cluster.revision;
    let bits = host.disk[&newest].len() * 8;
    for bit in (0..bits).step_by(101) {
        let persisted = boot(&flipped(&host, newest, bit)).expect("bootable");

        assert_eq!(persisted.damaged(), [newest], "bit {bit}");
        let routes = persisted.kept.snapshot.routes.as_ref().expect("the one before");
        assert_eq!(routes.opened.header.version, revision - 1, "bit {bit}");
        let mark = persisted.kept.marks.of(Kind::Routes).expect("marked");
        assert_eq!(mark.version, revision, "bit {bit}: the mark stays");
    }
}

#[test]
fn a_damaged_generation_is_made_good_by_a_controller() {
    let mut host = updated();
    let newest = newest(&host);
    host.disk = flipped(&host, newest, 4_000);
    let again = without_token(&host);
    host.restart(again, &seed(2));
    host.adopted.clear();
    host.run(Duration::from_secs(30));

    let revision = host.cluster.revision;
    assert!(host.events.contains(&Event::Damaged { file: newest }));
    assert!(host.adopted.contains(&(Kind::Routes, revision - 1)));
    assert!(
        host.adopted.contains(&(Kind::Routes, revision)),
        "equal to its mark, and taken"
    );
    assert_eq!(boot(&host.disk).expect("bootable").damaged(), []);
}

#[test]
fn with_both_generations_gone_the_marks_still_hold_and_a_controller_gives_all() {
    let mut host = updated();
    host.disk.remove(&FileName::LastGoodA);
    host.disk.remove(&FileName::LastGoodB);
    let persisted = boot(&host.disk).expect("bootable");
    assert!(persisted.is_member() && persisted.kept.snapshot.have().is_empty());
    assert_eq!(
        persisted.kept.marks.of(Kind::Routes).map(|mark| mark.version),
        Some(host.cluster.revision)
    );

    let again = without_token(&host);
    host.restart(again, &seed(2));
    host.run(Duration::from_secs(60));
    assert_eq!(in_force(&host), 5);
}

#[test]
fn with_the_high_water_file_gone_the_generations_say_how_high_it_was() {
    let mut host = updated();
    let revision = host.cluster.revision;
    for damage in [true, false] {
        if damage {
            host.disk = flipped(&host, FileName::HighWater, 900);
        } else {
            host.disk.remove(&FileName::HighWater);
        }
        let persisted = boot(&host.disk).expect("bootable");

        assert_eq!(persisted.damaged().len(), usize::from(damage));
        assert_eq!(
            persisted.kept.marks.of(Kind::Routes).map(|mark| mark.version),
            Some(revision)
        );
    }
}

#[test]
fn a_damaged_identity_is_not_taken_for_a_new_machine() {
    let host = updated();
    let damaged = flipped(&host, FileName::Identity, 800);
    assert_eq!(boot(&damaged).err(), Some(Unbootable::IdentityDamaged));

    let (_, newer) = FileName::Identity.write(&Newer { format: 2 });
    let files = BTreeMap::from([(FileName::Identity, newer.as_bytes().to_vec())]);
    assert_eq!(boot(&files).err(), Some(Unbootable::IdentityTooNew { found: 2 }));
}

#[test]
fn the_snapshot_of_another_node_or_with_a_foreign_signature_is_nothing() {
    let mut host = updated();
    let mut stranger = host.cluster.copy();
    stranger.authorities = vec![protocol::key::SigningKey::from_seed(&[9; 32])];
    let foreign = Host::member(stranger);
    for name in [FileName::LastGoodA, FileName::LastGoodB] {
        if let Some(bytes) = foreign.disk.get(&name) {
            host.disk.insert(name, bytes.clone());
        }
    }
    let persisted = boot(&host.disk).expect("bootable");

    assert!(!persisted.damaged().is_empty());
    assert!(persisted.kept.snapshot.have().len() <= 5);
    let trusted = |epoch: u64| epoch == 1;
    assert!(
        persisted
            .kept
            .snapshot
            .have()
            .iter()
            .all(|have| trusted(have.epoch))
    );
}

#[test]
fn an_empty_directory_is_a_machine_that_has_yet_to_join() {
    let persisted = boot(&BTreeMap::new()).expect("bootable");

    assert!(!persisted.is_member());
    assert_eq!(persisted.damaged(), []);
}

#[test]
fn the_address_file_finds_controllers_when_all_else_is_lost() {
    let mut cluster = Cluster::new();
    cluster.endpoints = vec!["first.example:4433".to_owned()];
    let mut host = Host::member(cluster);
    host.cluster.endpoints = vec!["moved.example:4433".to_owned()];
    host.cluster.publish();
    host.push_news();
    host.run(Duration::from_secs(5));
    host.disk.remove(&FileName::LastGoodA);
    host.disk.remove(&FileName::LastGoodB);
    let again = without_token(&host);
    host.restart(again, &seed(2));
    host.dialled.clear();
    host.faults.unreachable = true;
    host.run(Duration::from_secs(60));

    let known = |endpoint: &str| host.dialled.iter().any(|(_, dialled)| dialled == endpoint);
    assert!(known("moved.example:4433") && known("first.example:4433"));
}

/// A member two updates after its enrolment.
fn updated() -> Host {
    let mut host = Host::member(Cluster::new());
    for _ in 0..2 {
        host.cluster.publish();
        host.push_news();
        host.run(Duration::from_secs(1));
    }

    host
}

fn newest(host: &Host) -> FileName {
    let generation = boot(&host.disk).expect("bootable").kept.generation;
    match generation.is_multiple_of(2) {
        true => FileName::LastGoodA,
        false => FileName::LastGoodB,
    }
}

fn flipped(host: &Host, name: FileName, bit: usize) -> BTreeMap<FileName, Vec<u8>> {
    let mut files = host.disk.clone();
    let bytes = files.get_mut(&name).expect("there");
    bytes[bit / 8] ^= 1 << (bit % 8);

    files
}

fn without_token(host: &Host) -> Config {
    Config {
        token: None,
        ..config(&host.cluster)
    }
}

fn in_force(host: &Host) -> usize {
    let Status::Member(status) = host.control.status() else {
        panic!("no member");
    };

    status.have.len()
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct Newer {
    #[n(0)]
    format: u16,
}
