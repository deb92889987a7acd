use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use protocol::id::InstallationId;
use protocol::key::SigningKey;

use super::*;
use crate::audit::Actor;
use crate::authority;
use crate::installation::{Mode, ProductRoot};
use crate::store::{Rows, Tx};
use crate::testing::{World, grant_to, manifest, signed_grant};

#[test]
fn an_owner_gives_roles_with_its_own_key() {
    let mut world = World::activated(1);
    let (bob, _) = grant_to(2, "bob", Role::Approver);
    let document = by_owner(&world, &bob, 1);
    let grant = record_in(&mut world, &document).unwrap();

    assert_eq!(grant.state, GrantState::InForce);
    assert_eq!(grant.signer, GrantSigner::Owner(world.owner));
    assert_eq!(roles_of(&world, bob.operator), BTreeSet::from([Role::Approver]));
}

#[test]
fn a_grant_is_held_against_its_signer_once_and_ends_at_once_whatever_ends_it() {
    let seals = Seals::default();
    let ends: [fn(&mut World, &RoleGrant); 5] = [
        |world, bob| {
            let taken = Some(world.now.wall);
            let document = signed_grant(&world.owner_key, id(world), bob, (2, taken));
            record_in(world, &document).unwrap();
        },
        |world, bob| {
            let owner = Actor::Operator(world.owner);
            world
                .desk(owner, |desk| operator::suspend(desk, bob.operator))
                .unwrap();
        },
        |world, bob| {
            let row = row_of(world, bob.operator);
            world.tx.delete_bytes(Table::RoleGrants, &row.key()).unwrap();
        },
        |world, bob| {
            let mut row = row_of(world, bob.operator);
            let mut bytes = row.bytes.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            row.bytes = ByteVec::from(bytes);
            world.tx.put(&row).unwrap();
        },
        |world, _| world.now.wall = world.now.wall.after(Duration::from_secs(7_200)),
    ];
    for (which, end) in ends.into_iter().enumerate() {
        let mut world = World::activated(1);
        let (bob, _) = grant_to(2, "bob", Role::Approver);
        let until = world.now.wall.after(Duration::from_secs(3_600));
        let document = signed_grant(&world.owner_key, id(&world), &bob, (1, Some(until)));
        record_in(&mut world, &document).unwrap();
        let roles =
            |world: &World| effective_roles(&world.tx, &seals, bob.operator, None, world.now.wall).unwrap();
        assert_eq!(roles(&world), BTreeSet::from([Role::Approver]));
        let checked = seals.checked();
        assert_eq!(roles(&world), BTreeSet::from([Role::Approver]));
        assert_eq!(seals.checked(), checked, "{which}: known");

        end(&mut world, &bob);
        assert_eq!(roles(&world), BTreeSet::new(), "{which}");
        let anew = effective_roles(&world.tx, &Seals::default(), world.owner, None, world.now.wall);
        let known = effective_roles(&world.tx, &seals, world.owner, None, world.now.wall);
        assert_eq!(known.unwrap(), anew.unwrap(), "{which}");
    }
}

#[test]
fn a_role_reaches_as_far_as_its_cluster() {
    let mut world = World::activated(1);
    let (here, there) = (ClusterId::from_bytes([1; 16]), ClusterId::from_bytes([2; 16]));
    let (mut bob, _) = grant_to(2, "bob", Role::Admin);
    bob.cluster = Some(here);
    let document = by_owner(&world, &bob, 1);
    record_in(&mut world, &document).unwrap();
    let in_cluster = |cluster| {
        effective_roles(
            &world.tx,
            &Seals::default(),
            bob.operator,
            cluster,
            world.now.wall,
        )
        .unwrap()
    };

    assert_eq!(in_cluster(Some(here)), BTreeSet::from([Role::Admin]));
    assert_eq!(in_cluster(Some(there)), BTreeSet::new());
    assert_eq!(in_cluster(None), BTreeSet::new());
}

#[test]
fn a_role_edited_in_the_store_has_no_effect_and_is_found() {
    let mut world = World::activated(1);
    let (bob, _) = grant_to(2, "bob", Role::Viewer);
    let document = by_owner(&world, &bob, 1);
    record_in(&mut world, &document).unwrap();
    let mut row = row_of(&world, bob.operator);
    world.tx.delete_bytes(Table::RoleGrants, &row.key()).unwrap();
    row.role = Role::Owner;
    world.tx.put(&row).unwrap();

    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
    let raised = world
        .desk(Actor::Controller, |desk| raise_findings(desk, &Seals::default()))
        .unwrap();
    assert_eq!(raised, 2, "the row that was put in, and the one that is gone");
    assert_eq!(
        world
            .desk(Actor::Controller, |desk| raise_findings(desk, &Seals::default()))
            .unwrap(),
        0
    );
    let found = &role_findings(&world.tx, &Seals::default(), world.now.wall).unwrap()[0];
    assert_eq!(found.kind, FindingKind::ROLE_UNSIGNED);
    assert!(found.subject.starts_with(&bob.operator.to_string()));
}

#[test]
fn a_role_that_was_taken_away_does_not_come_back_with_the_row_that_took_it() {
    let (mut world, bob, ended) = ended_grant(Role::Admin);
    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
    world.tx.delete_bytes(Table::RoleGrants, &ended.key()).unwrap();

    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
    assert_eq!(
        world
            .desk(Actor::Controller, |desk| raise_findings(desk, &Seals::default()))
            .unwrap(),
        1
    );
    let found = &role_findings(&world.tx, &Seals::default(), world.now.wall).unwrap()[0];
    assert_eq!(found.kind, FindingKind::ROLE_MISSING);
    assert_eq!(found.subject, format!("{}/admin", bob.operator));
}

#[test]
fn what_stands_for_the_missing_row_is_restored_from_the_audit_when_the_store_is_opened() {
    let (mut world, bob, ended) = ended_grant(Role::Admin);
    world.tx.delete_bytes(Table::RoleGrants, &ended.key()).unwrap();
    let floor = RoleFloorRow::of(&ended);
    world.tx.delete_bytes(Table::RoleFloors, &floor.key()).unwrap();
    assert_eq!(
        world.desk(Actor::Controller, restore_floors).unwrap(),
        1,
        "the one of bob's role"
    );

    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
    assert_eq!(world.desk(Actor::Controller, restore_floors).unwrap(), 0);
    let lowered = RoleFloorRow { version: 1, ..floor };
    world.tx.put(&lowered).unwrap();
    assert_eq!(world.desk(Actor::Controller, restore_floors).unwrap(), 1);
}

#[test]
fn an_owner_who_was_removed_makes_no_owners_when_the_removal_is_taken_out_of_the_store() {
    let (mut world, bob, ended) = ended_grant(Role::Owner);
    let (mallory, _) = grant_to(3, "mallory", Role::Admin);
    let (_, bobs_key) = grant_to(2, "bob", Role::Owner);
    let by_bob = signed_grant(&bobs_key, id(&world), &mallory, (1, None));
    world.tx.delete_bytes(Table::RoleGrants, &ended.key()).unwrap();

    assert!(record_in(&mut world, &by_bob).is_err());
    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
}

#[test]
fn an_ended_grant_that_was_changed_in_the_store_counts_as_gone() {
    let (mut world, bob, ended) = ended_grant(Role::Admin);
    let mut other_signature = ended.clone();
    let last = ended.bytes.len() - 1;
    other_signature.bytes[last] ^= 1;
    let other_column = RoleGrantRow {
        document: Digest::of(b"another"),
        ..ended
    };
    for changed in [other_signature, other_column] {
        world.tx.put(&changed).unwrap();
        assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
    }
}

#[test]
fn a_role_whose_newest_grant_is_gone_can_be_granted_anew() {
    let (mut world, bob, ended) = ended_grant(Role::Admin);
    world.tx.delete_bytes(Table::RoleGrants, &ended.key()).unwrap();
    let same = by_owner(&world, &bob, 2);
    assert!(matches!(record_in(&mut world, &same), Err(GrantError::Outdated)));
    let anew = by_owner(&world, &bob, 3);
    record_in(&mut world, &anew).unwrap();

    assert_eq!(roles_of(&world, bob.operator), BTreeSet::from([Role::Admin]));
    assert_eq!(
        role_findings(&world.tx, &Seals::default(), world.now.wall).unwrap(),
        []
    );
}

/// Bob had a role, and it was taken away: the row that did that.
fn ended_grant(role: Role) -> (World, RoleGrant, RoleGrantRow) {
    let mut world = World::activated(1);
    let (bob, _) = grant_to(2, "bob", role);
    let given = by_owner(&world, &bob, 1);
    record_in(&mut world, &given).unwrap();
    let over = Some(world.now.wall);
    let taken = signed_grant(&world.owner_key, id(&world), &bob, (2, over));
    record_in(&mut world, &taken).unwrap();
    let rows: Vec<RoleGrantRow> = world.tx.scan(bob.operator.as_bytes()).unwrap();
    let ended = rows.into_iter().find(|row| row.version == 2).unwrap();

    (world, bob, ended)
}

#[test]
fn a_row_put_in_by_hand_needs_a_signature_that_counts() {
    let (mut world, cluster) = World::with_cluster(1);
    let (mallory, own_key) = grant_to(9, "mallory", Role::Owner);
    let online = authority::open(&world.tx, &world.vault, cluster).unwrap();
    let installation = id(&world);
    let by_itself = signed_grant(&own_key, installation, &mallory, (1, None));
    let elsewhere = signed_grant(
        &world.root,
        InstallationId::from_bytes([7; 16]),
        &mallory,
        (2, None),
    );
    let by_authority = {
        let stamp = protocol::envelope::Stamp {
            realm: installation.into(),
            subject: protocol::envelope::Subject::All,
            epoch: 0,
            version: 3,
            previous: None,
            issued_at: world.now.wall,
            valid_until: None,
        };
        protocol::envelope::seal(&stamp, &mallory, &[online.key.as_ref()])
    };
    for (version, document) in [(1, by_itself), (2, elsewhere), (3, by_authority), (4, Vec::new())] {
        let refused = record_in(&mut world, &document).unwrap_err().code();
        assert!(
            [Code::SignatureInvalid, Code::WrongCluster, Code::InvalidRequest].contains(&refused),
            "{refused:?}"
        );
        let row = RoleGrantRow {
            operator: mallory.operator,
            cluster: None,
            role: Role::Owner,
            version,
            document: Digest::of(&document),
            bytes: document.into(),
            recorded_at: world.now.wall,
        };
        world.tx.put(&row).unwrap();
    }

    assert_eq!(roles_of(&world, mallory.operator), BTreeSet::new());
    assert_eq!(
        role_findings(&world.tx, &Seals::default(), world.now.wall)
            .unwrap()
            .len(),
        4
    );
}

#[test]
fn a_manifest_that_was_never_consumed_makes_no_owner() {
    let mut world = World::activated(1);
    let first = world.owner;
    world.owner = OperatorId::from_bytes([9; 16]);
    let unused = manifest(&world, id(&world));
    let row = RoleGrantRow {
        operator: world.owner,
        document: Envelope::parse(&unused).unwrap().hash(),
        bytes: unused.into(),
        ..row_of(&world, first)
    };
    world.tx.put(&row).unwrap();

    assert_eq!(roles_of(&world, world.owner), BTreeSet::new());
    assert_eq!(roles_of(&world, first), BTreeSet::from([Role::Owner]));
    assert_eq!(
        role_findings(&world.tx, &Seals::default(), world.now.wall)
            .unwrap()
            .len(),
        1
    );
}

#[test]
fn nobody_has_roles_before_activation() {
    let mut world = World::new(1);
    let (bob, _) = grant_to(2, "bob", Role::Admin);
    let root = ProductRoot::new([world.root.verify_key()], 1).unwrap();
    world
        .desk(Actor::Local, |desk| {
            installation::initialise(desk, Mode::Strict, root)
        })
        .unwrap();
    let document = signed_grant(&world.root, id(&world), &bob, (1, None));

    assert_eq!(
        record_in(&mut world, &document).unwrap_err().code(),
        Code::ConflictState
    );
}

#[test]
fn an_owner_key_edited_in_the_operator_row_signs_nothing() {
    let mut world = World::activated(1);
    let (bob, bob_key) = grant_to(2, "bob", Role::Admin);
    let mut row = operator::get(&world.tx, world.owner).unwrap().unwrap();
    row.key = bob_key.verify_key();
    world.tx.put(&row).unwrap();
    let document = signed_grant(&bob_key, id(&world), &bob, (1, None));

    assert_eq!(
        record_in(&mut world, &document).unwrap_err().code(),
        Code::SignatureInvalid
    );
}

#[test]
fn a_role_is_taken_by_a_newer_grant_that_is_over() {
    let mut world = World::activated(1);
    let (bob, _) = grant_to(2, "bob", Role::Admin);
    let granted = by_owner(&world, &bob, 1);
    record_in(&mut world, &granted).unwrap();
    let now = world.now.wall;
    let taken = signed_grant(&world.owner_key, id(&world), &bob, (2, Some(now)));
    assert_eq!(record_in(&mut world, &taken).unwrap().state, GrantState::Ended);

    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
    for replayed in [granted, taken] {
        assert_eq!(
            record_in(&mut world, &replayed).unwrap_err().code(),
            Code::ConflictState
        );
    }
    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
}

#[test]
fn a_role_ends_with_its_validity() {
    let mut world = World::activated(1);
    let (bob, _) = grant_to(2, "bob", Role::Admin);
    let until = world.now.wall.after(Duration::from_secs(60));
    let document = signed_grant(&world.owner_key, id(&world), &bob, (1, Some(until)));
    record_in(&mut world, &document).unwrap();

    assert_eq!(roles_of(&world, bob.operator), BTreeSet::from([Role::Admin]));
    world.pass(Duration::from_secs(60));
    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
}

#[test]
fn what_an_owner_signed_ends_with_that_owner() {
    let mut world = World::activated(1);
    let (bob, bob_key) = grant_to(2, "bob", Role::Owner);
    let (carol, _) = grant_to(3, "carol", Role::Viewer);
    let documents = [
        by_owner(&world, &bob, 1),
        signed_grant(&bob_key, id(&world), &carol, (1, None)),
    ];
    for document in &documents {
        record_in(&mut world, document).unwrap();
    }
    assert_eq!(roles_of(&world, carol.operator), BTreeSet::from([Role::Viewer]));
    let now = world.now.wall;
    let taken = signed_grant(&world.owner_key, id(&world), &bob, (2, Some(now)));
    record_in(&mut world, &taken).unwrap();

    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
    assert_eq!(roles_of(&world, carol.operator), BTreeSet::new());
    let (dave, _) = grant_to(4, "dave", Role::Viewer);
    let late = signed_grant(&bob_key, id(&world), &dave, (1, None));
    assert_eq!(
        record_in(&mut world, &late).unwrap_err().code(),
        Code::SignatureInvalid
    );
}

#[test]
fn nobody_takes_ownership_from_those_nearer_to_the_root() {
    let mut world = World::activated(1);
    let (bob, bob_key) = grant_to(2, "bob", Role::Owner);
    let document = by_owner(&world, &bob, 1);
    record_in(&mut world, &document).unwrap();
    let alice = RoleGrant {
        operator: world.owner,
        name: "alice".to_owned(),
        key: world.owner_key.verify_key(),
        role: Role::Owner,
        cluster: None,
    };
    let now = world.now.wall;
    let coup = signed_grant(&bob_key, id(&world), &alice, (9, Some(now)));

    assert_eq!(record_in(&mut world, &coup).unwrap_err().code(), Code::RoleDenied);
    let by_root = signed_grant(&world.root, id(&world), &alice, (9, Some(now)));
    assert_eq!(
        record_in(&mut world, &by_root).unwrap_err().code(),
        Code::ConflictState,
        "bob's ownership hangs on alice's: nobody would be left"
    );
}

#[test]
fn the_root_can_replace_the_owner() {
    let mut world = World::activated(1);
    let (bob, _) = grant_to(2, "bob", Role::Owner);
    let document = signed_grant(&world.root, id(&world), &bob, (1, None));
    assert_eq!(
        record_in(&mut world, &document).unwrap().signer,
        GrantSigner::ProductRoot
    );
    let alice = RoleGrant {
        operator: world.owner,
        name: "alice".to_owned(),
        key: world.owner_key.verify_key(),
        role: Role::Owner,
        cluster: None,
    };
    let now = world.now.wall;
    let taken = signed_grant(&world.root, id(&world), &alice, (2, Some(now)));
    record_in(&mut world, &taken).unwrap();

    assert_eq!(roles_of(&world, world.owner), BTreeSet::new());
    assert_eq!(roles_of(&world, bob.operator), BTreeSet::from([Role::Owner]));
}

#[test]
fn an_owner_of_one_cluster_signs_no_grants() {
    let mut world = World::activated(1);
    let (mut bob, bob_key) = grant_to(2, "bob", Role::Owner);
    bob.cluster = Some(ClusterId::from_bytes([1; 16]));
    let document = by_owner(&world, &bob, 1);
    record_in(&mut world, &document).unwrap();
    let (carol, _) = grant_to(3, "carol", Role::Viewer);
    let document = signed_grant(&bob_key, id(&world), &carol, (1, None));

    assert_eq!(
        record_in(&mut world, &document).unwrap_err().code(),
        Code::SignatureInvalid
    );
}

#[test]
fn a_suspended_operator_has_no_roles_until_it_is_resumed() {
    let mut world = World::activated(1);
    let (bob, bob_key) = grant_to(2, "bob", Role::Owner);
    let document = by_owner(&world, &bob, 1);
    record_in(&mut world, &document).unwrap();
    world
        .desk(Actor::Local, |desk| operator::suspend(desk, bob.operator))
        .unwrap();
    let (carol, _) = grant_to(3, "carol", Role::Viewer);
    let document = signed_grant(&bob_key, id(&world), &carol, (1, None));

    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
    assert_eq!(
        record_in(&mut world, &document).unwrap_err().code(),
        Code::SignatureInvalid
    );
    world
        .desk(Actor::Local, |desk| operator::resume(desk, bob.operator))
        .unwrap();
    assert!(record_in(&mut world, &document).is_ok());
}

#[test]
fn the_last_owner_stays() {
    let mut world = World::activated(1);
    let owner = world.owner;
    let suspended = world.desk(Actor::Local, |desk| operator::suspend(desk, owner));
    let removed = world.desk(Actor::Local, |desk| operator::remove(desk, owner));

    assert_eq!(suspended.unwrap_err().code(), Code::ConflictState);
    assert_eq!(removed.unwrap_err().code(), Code::ConflictState);
    assert_eq!(roles_of(&world, owner), BTreeSet::from([Role::Owner]));
}

#[test]
fn a_removed_operator_does_not_come_back_and_its_name_is_free() {
    let mut world = World::activated(1);
    let (bob, _) = grant_to(2, "bob", Role::Admin);
    let (other_bob, _) = grant_to(3, "bob", Role::Admin);
    let document = by_owner(&world, &bob, 1);
    record_in(&mut world, &document).unwrap();
    let taken = by_owner(&world, &other_bob, 1);
    assert_eq!(record_in(&mut world, &taken).unwrap_err().code(), Code::NameTaken);
    world
        .desk(Actor::Local, |desk| operator::remove(desk, bob.operator))
        .unwrap();

    assert!(record_in(&mut world, &taken).is_ok());
    let again = by_owner(&world, &bob, 2);
    assert_eq!(
        record_in(&mut world, &again).unwrap_err().code(),
        Code::ConflictState
    );
    assert_eq!(roles_of(&world, bob.operator), BTreeSet::new());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// An edit of any byte of any grant row gives nobody a role that it had not.
    #[test]
    fn no_edit_adds_a_role(row in any::<prop::sample::Index>(), at in any::<prop::sample::Index>(), xor in 1u8..) {
        let mut world = World::activated(1);
        let (bob, bob_key) = grant_to(2, "bob", Role::Owner);
        let (carol, _) = grant_to(3, "carol", Role::Viewer);
        let documents =
            [by_owner(&world, &bob, 1), signed_grant(&bob_key, id(&world), &carol, (1, None))];
        for document in &documents {
            record_in(&mut world, document).unwrap();
        }
        let everybody = [world.owner, bob.operator, carol.operator];
        let before: Vec<_> = everybody.iter().map(|who| roles_of(&world, *who)).collect();
        let rows = world.tx.scan_bytes(Table::RoleGrants, &[], None, 9).unwrap();
        let (key, mut value) = rows[row.index(rows.len())].clone();
        let at = at.index(value.len());
        value[at] ^= xor;
        world.tx.put_bytes(Table::RoleGrants, &key, value).unwrap();

        for (who, had) in everybody.iter().zip(before) {
            let has = effective_roles(&world.tx, &Seals::default(), *who, None, world.now.wall).unwrap_or_default();
            prop_assert!(has.is_subset(&had), "{who}: {has:?}");
        }
    }
}

fn record_in(world: &mut World, document: &[u8]) -> Result<Grant, GrantError> {
    let owner = Actor::Operator(world.owner);

    world.desk(owner, |desk| record(desk, document))
}

fn by_owner(world: &World, body: &RoleGrant, version: u64) -> Vec<u8> {
    let key: &SigningKey = &world.owner_key;

    signed_grant(key, id(world), body, (version, None))
}

fn roles_of(world: &World, operator: OperatorId) -> BTreeSet<Role> {
    effective_roles(&world.tx, &Seals::default(), operator, None, world.now.wall).unwrap()
}

fn row_of(world: &World, operator: OperatorId) -> RoleGrantRow {
    let rows: Vec<RoleGrantRow> = world.tx.scan(operator.as_bytes()).unwrap();

    rows.into_iter().next().expect("a grant")
}

fn id(world: &World) -> InstallationId {
    installation::find(&world.tx).unwrap().expect("initialised").id
}
