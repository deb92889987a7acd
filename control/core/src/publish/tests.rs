use proptest::prelude::*;
use protocol::document::routes::{LeaseKind, LeaseRow, LeaseTable};
use protocol::envelope::{Envelope, Expected, seal};
use protocol::id::LeaseId;

use super::*;
use crate::audit::Actor;
use crate::authority::{AuthorityRow, AuthorityState};
use crate::testing::World;

#[test]
fn the_same_content_keeps_its_version() {
    let (mut world, cluster) = World::with_cluster(1);
    let first = put(&mut world, cluster, 1, 1);
    world.pass(Duration::from_secs(60));
    let again = put(&mut world, cluster, 1, 1);

    assert!(first.changed);
    assert!(!again.changed);
    assert_eq!(again.row, first.row);
}

#[test]
fn other_content_is_the_next_version_chained_to_the_last() {
    let (mut world, cluster) = World::with_cluster(1);
    let first = put(&mut world, cluster, 1, 1).row;
    let second = put(&mut world, cluster, 1, 2).row;
    let back = put(&mut world, cluster, 1, 1).row;

    assert_eq!((first.version, first.previous), (1, None));
    assert_eq!((second.version, second.previous), (2, Some(first.hash)));
    assert_eq!((back.version, back.previous), (3, Some(second.hash)));
    assert_eq!(back.content, first.content);
    assert_ne!(back.hash, first.hash);
}

#[test]
fn a_row_that_cannot_be_read_is_numbered_above_all_that_was_shown() {
    let (mut world, cluster) = World::with_cluster(1);
    put(&mut world, cluster, 1, 1);
    let mut shown = put(&mut world, cluster, 1, 2).row;
    for revision in [7, 8, 9] {
        beat_at(&mut world, cluster, revision);
        let spoilt = vec![0xff];
        world
            .tx
            .put_bytes(Table::Published, &shown.key(), spoilt)
            .unwrap();
        let found = put(&mut world, cluster, 1, 2);
        let next = put(&mut world, cluster, 1, 3).row;

        assert!(found.changed);
        assert!(found.row.version > shown.version, "{found:?} after {shown:?}");
        assert_eq!(found.row.previous, None);
        assert_eq!(next.version, found.row.version + 1);
        shown = next;
    }
}

#[test]
fn whoever_has_the_row_signs_the_same_bytes() {
    let (mut world, cluster) = World::with_cluster(1);
    let row = put(&mut world, cluster, 1, 1).row;
    let body = table(1);
    let sign = |world: &World| {
        let authority = authority::open_epoch(&world.tx, &world.vault, cluster, row.epoch).unwrap();
        let bytes = seal(&row.stamp(), &body, &[authority.key.as_ref()]);
        (bytes, authority.key.verify_key())
    };
    let (bytes, key) = sign(&world);
    let expected = Expected {
        realm: cluster.into(),
        subject: row.subject,
    };
    let opened = Envelope::parse(&bytes)
        .unwrap()
        .open::<LeaseTable>(&expected, &key)
        .unwrap();

    assert_eq!(sign(&world).0, bytes);
    assert_eq!(opened.hash, row.hash);
    assert_eq!(opened.header.rank(), (row.epoch, row.version));
}

#[test]
fn a_new_epoch_publishes_everything_anew() {
    let (mut world, cluster) = World::with_cluster(1);
    let first = put(&mut world, cluster, 1, 1).row;
    let old = authority::current(&world.tx, cluster).unwrap();
    world
        .tx
        .put(&AuthorityRow {
            epoch: 2,
            state: AuthorityState::Active,
            ..old
        })
        .unwrap();
    let second = put(&mut world, cluster, 1, 1);

    assert!(second.changed);
    assert_eq!((second.row.epoch, second.row.version), (2, 2));
    assert_eq!(second.row.previous, Some(first.hash));
}

#[test]
fn beacons_are_numbered_chained_and_pin_what_is_published() {
    let (mut world, cluster) = World::with_cluster(1);
    let one = beat(&mut world, cluster, 1).unwrap();
    let two = beat(&mut world, cluster, 1).unwrap();
    let pinned = |kind| {
        published(&world.tx, cluster, Subject::All, kind)
            .unwrap()
            .unwrap()
            .pin()
    };

    assert_eq!((one.number, two.number), (1, 2));
    assert_eq!(two.previous, Some(one.hash));
    assert_eq!(two.body.bundle, pinned(Kind::TrustBundle));
    assert_eq!(two.body.revocations, pinned(Kind::RevocationList));
    assert_eq!(two.body.audit, audit::head(&world.tx).unwrap().into());
    assert_eq!(two.hash, payload_hash(&two.stamp(), &two.body));
    assert_eq!(beacon(&world.tx, cluster).unwrap(), Some(two));
}

#[test]
fn a_leader_of_an_earlier_term_makes_no_beacon() {
    let (mut world, cluster) = World::with_cluster(1);
    beat(&mut world, cluster, 5).unwrap();
    let late = beat(&mut world, cluster, 4).unwrap_err();

    assert_eq!(late.code(), Code::ReadOnly);
    assert!(matches!(late, BeaconError::TermStale { newest: 5 }));
}

#[test]
fn a_cluster_that_does_not_exist_publishes_nothing() {
    let (mut world, _) = World::with_cluster(1);
    let nowhere = ClusterId::from_bytes([9; 16]);
    let refused = world.desk(Actor::Controller, |desk| {
        publish(desk, nowhere, Subject::All, &table(1))
    });

    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
    assert_eq!(beat(&mut world, nowhere, 1).unwrap_err().code(), Code::NotFound);
}

proptest! {
    /// Versions rise by one with each change and the hashes form a chain; beacons never go back.
    #[test]
    fn ranks_never_go_back(steps in prop::collection::vec((0u8..3, 0u8..3, 0u64..2), 1..40)) {
        let (mut world, cluster) = World::with_cluster(1);
        let mut last: std::collections::BTreeMap<u8, PublishedDocument> = Default::default();
        let mut term = 1;
        let mut rank = BeaconRank::default();
        for (node, content, later) in steps {
            let found = put(&mut world, cluster, node, content);
            let before = last.insert(node, found.row.clone());
            match before {
                None => prop_assert_eq!(found.row.version, 1),
                Some(before) if found.changed => {
                    prop_assert_ne!(&before.content, &found.row.content);
                    prop_assert_eq!(found.row.version, before.version + 1);
                    prop_assert_eq!(found.row.previous, Some(before.hash));
                }
                Some(before) => prop_assert_eq!(&before, &found.row),
            }
            term += later;
            let beacon = beat(&mut world, cluster, term).unwrap();
            prop_assert!(beacon.rank() > rank);
            rank = beacon.rank();
        }
    }
}

fn put(world: &mut World, cluster: ClusterId, node: u8, content: u8) -> Published {
    let subject = Subject::Node(NodeId::from_bytes([node; 16]));

    world
        .desk(Actor::Controller, |desk| {
            publish(desk, cluster, subject, &table(content))
        })
        .unwrap()
}

/// The store is at `revision` when the beacon is made.
fn beat_at(world: &mut World, cluster: ClusterId, revision: u64) {
    let input = BeaconInput {
        term: 1,
        revision,
        root: Digest::of(b"root"),
        leaves: 4,
    };
    world
        .desk(Actor::Controller, |desk| next_beacon(desk, cluster, input))
        .unwrap();
}

fn beat(world: &mut World, cluster: ClusterId, term: u64) -> Result<BeaconRow, BeaconError> {
    let input = BeaconInput {
        term,
        revision: 7,
        root: Digest::of(b"root"),
        leaves: 4,
    };

    world.desk(Actor::Controller, |desk| next_beacon(desk, cluster, input))
}

fn table(content: u8) -> LeaseTable {
    LeaseTable {
        rows: vec![LeaseRow {
            lease: LeaseId::from_bytes([content; 16]),
            low: NodeId::from_bytes([1; 16]),
            high: NodeId::from_bytes([2; 16]),
            generation: 1,
            budget_kib: 64,
            grace_minutes: 60,
            kind: LeaseKind::Relay,
        }],
    }
}
