use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use protocol::envelope::{Stamp, seal};
use protocol::key::{Sign, SigningKey};

use super::*;
use crate::audit::Actor;
use crate::roles;
use crate::testing::{World, manifest};

#[test]
fn a_signed_manifest_makes_the_first_owner() {
    let (mut world, row) = initialised(Mode::Strict);
    assert_eq!(row.state, InstallationState::Uninitialized);
    let bytes = manifest(&world, row.id);
    let row = activate_in(&mut world, &bytes).unwrap();

    assert_eq!(row.state, InstallationState::Activated);
    assert_eq!(row.first_owner, Some(world.owner));
    assert_eq!(row.root.fingerprints(), [world.root.verify_key().fingerprint()]);
    let found = roles::effective_roles(
        &world.tx,
        &roles::Seals::default(),
        world.owner,
        None,
        world.now.wall,
    )
    .unwrap();
    assert_eq!(found, BTreeSet::from([Role::Owner]));
}

#[test]
fn dev_mode_takes_the_same_way_with_a_root_of_its_own() {
    let (mut world, row) = initialised(Mode::Dev);
    let bytes = manifest(&world, row.id);

    assert_eq!(activate_in(&mut world, &bytes).unwrap().mode, Mode::Dev);
}

#[test]
fn a_manifest_is_consumed_once() {
    let (mut world, row) = initialised(Mode::Strict);
    let bytes = manifest(&world, row.id);
    activate_in(&mut world, &bytes).unwrap();

    assert_eq!(code_of(&mut world, &bytes), Code::ManifestConsumed);
    world.pass(Duration::from_secs(7200));
    assert_eq!(code_of(&mut world, &bytes), Code::ManifestConsumed);
}

#[test]
fn a_consumed_manifest_stays_consumed_when_the_state_is_edited() {
    let (mut world, row) = initialised(Mode::Strict);
    let bytes = manifest(&world, row.id);
    let mut row = activate_in(&mut world, &bytes).unwrap();
    row.state = InstallationState::Uninitialized;
    world.tx.put(&row).unwrap();

    assert_eq!(code_of(&mut world, &bytes), Code::ManifestConsumed);
}

#[test]
fn an_activated_installation_takes_no_second_manifest() {
    let (mut world, row) = initialised(Mode::Strict);
    let bytes = manifest(&world, row.id);
    activate_in(&mut world, &bytes).unwrap();
    world.owner = OperatorId::from_bytes([9; 16]);
    let second = manifest(&world, row.id);

    assert_eq!(code_of(&mut world, &second), Code::ConflictState);
}

#[test]
fn a_refused_manifest_can_still_be_used_later() {
    let (mut world, row) = initialised(Mode::Strict);
    let bytes = manifest(&world, row.id);
    let at = world.now;
    world.now.wall = at.wall.before(Duration::from_secs(1));
    assert_eq!(code_of(&mut world, &bytes), Code::ValidationFailed);
    world.now = at;

    assert!(activate_in(&mut world, &bytes).is_ok());
}

#[test]
fn every_wrong_manifest_has_its_code() {
    let (world, row) = initialised(Mode::Strict);
    let other = InstallationId::from_bytes([9; 16]);
    let good = body(&world, row.id);
    let early = ActivationManifest {
        not_before: world.now.wall.after(Duration::from_secs(1)),
        ..good.clone()
    };
    let late = ActivationManifest {
        not_after: world.now.wall.before(Duration::from_secs(1)),
        ..good.clone()
    };
    let viewer = ActivationManifest {
        role: Role::Viewer,
        ..good.clone()
    };
    let mut nameless = good.clone();
    nameless.owner_name = "\n".to_owned();
    let elsewhere = ActivationManifest {
        installation: other,
        ..good.clone()
    };
    let stranger = SigningKey::from_seed(&[9; 32]);
    let root = &world.root;
    for (bytes, code) in [
        (b"nonsense".to_vec(), Code::InvalidRequest),
        (signed(row.id, &early, root), Code::ValidationFailed),
        (signed(row.id, &late, root), Code::ValidationFailed),
        (signed(row.id, &viewer, root), Code::ValidationFailed),
        (signed(row.id, &nameless, root), Code::ValidationFailed),
        (signed(row.id, &elsewhere, root), Code::WrongCluster),
        (signed(other, &good, root), Code::WrongCluster),
        (signed(row.id, &good, &stranger), Code::SignatureInvalid),
        (signed(row.id, &good, &world.owner_key), Code::SignatureInvalid),
    ] {
        let (mut fresh, _) = initialised(Mode::Strict);
        assert_eq!(code_of(&mut fresh, &bytes), code);
        assert_eq!(
            find(&fresh.tx).unwrap().unwrap().state,
            InstallationState::Uninitialized
        );
    }
}

#[test]
fn a_root_of_three_keys_needs_as_many_as_its_threshold() {
    let keys: Vec<SigningKey> = (1..=3).map(|seed| SigningKey::from_seed(&[seed; 32])).collect();
    let mut world = World::new(1);
    let root = ProductRoot::new(keys.iter().map(SigningKey::verify_key), 2).unwrap();
    let row = world
        .desk(Actor::Local, |desk| initialise(desk, Mode::Strict, root))
        .unwrap();
    let body = body(&world, row.id);
    let by = |signers: &[&dyn Sign]| seal(&stamp(row.id), &body, signers);

    assert_eq!(code_of(&mut world, &by(&[&keys[0]])), Code::SignatureInvalid);
    assert_eq!(
        code_of(&mut world, &by(&[&keys[0], &keys[0]])),
        Code::SignatureInvalid
    );
    assert!(activate_in(&mut world, &by(&[&keys[2], &keys[0]])).is_ok());
}

#[test]
fn a_root_that_can_never_sign_is_none() {
    let key = |seed| SigningKey::from_seed(&[seed; 32]).verify_key();

    assert!(ProductRoot::new([key(1), key(2)], 2).is_ok());
    assert_eq!(ProductRoot::new([], 1), Err(InvalidRoot));
    assert_eq!(ProductRoot::new([key(1)], 0), Err(InvalidRoot));
    assert_eq!(ProductRoot::new([key(1), key(1)], 2), Err(InvalidRoot));
    assert_eq!(ProductRoot::new((1..=9).map(key), 1), Err(InvalidRoot));
}

#[test]
fn an_installation_keeps_its_mode() {
    let (mut world, row) = initialised(Mode::Strict);
    for mode in [Mode::Dev, Mode::Strict] {
        let root = row.root.clone();
        let again = world.desk(Actor::Local, |desk| initialise(desk, mode, root));
        assert_eq!(again.unwrap_err().code(), Code::ConflictState);
    }
    let refused = confirm(&world.tx, Mode::Dev, None).unwrap_err();

    assert_eq!(refused.code(), Code::ConflictState);
    assert!(matches!(refused, ConfirmError::OtherMode { found: Mode::Strict }));
}

#[test]
fn a_stored_root_that_is_not_the_configured_one_is_found_at_start() {
    let (mut world, mut row) = initialised(Mode::Strict);
    let configured = row.root.clone();
    assert!(confirm(&world.tx, Mode::Strict, Some(&configured)).is_ok());
    row.root = ProductRoot::new([SigningKey::from_seed(&[9; 32]).verify_key()], 1).unwrap();
    world.tx.put(&row).unwrap();

    assert!(matches!(
        confirm(&world.tx, Mode::Strict, Some(&configured)),
        Err(ConfirmError::OtherRoot)
    ));
}

#[test]
fn an_empty_store_has_nothing_to_activate_or_confirm() {
    let mut world = World::new(1);

    assert_eq!(code_of(&mut world, b""), Code::NotFound);
    assert_eq!(
        confirm(&world.tx, Mode::Dev, None).unwrap_err().code(),
        Code::NotFound
    );
}

proptest! {
    /// No bytes but the signed ones activate anything.
    #[test]
    fn a_changed_manifest_is_refused(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let (mut world, row) = initialised(Mode::Strict);
        let mut bytes = manifest(&world, row.id);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;

        prop_assert!(activate_in(&mut world, &bytes).is_err());
        prop_assert_eq!(world.tx.count(Table::RoleGrants), 0);
    }
}

fn initialised(mode: Mode) -> (World, InstallationRow) {
    let mut world = World::new(1);
    let root = ProductRoot::new([world.root.verify_key()], 1).unwrap();
    let row = world
        .desk(Actor::Local, |desk| initialise(desk, mode, root))
        .unwrap();

    (world, row)
}

fn activate_in(world: &mut World, bytes: &[u8]) -> Result<InstallationRow, ActivateError> {
    world.desk(Actor::Local, |desk| activate(desk, bytes))
}

fn code_of(world: &mut World, bytes: &[u8]) -> Code {
    activate_in(world, bytes).unwrap_err().code()
}

fn body(world: &World, installation: InstallationId) -> ActivationManifest {
    ActivationManifest {
        installation,
        owner: world.owner,
        owner_name: "alice".to_owned(),
        owner_key: world.owner_key.verify_key(),
        role: Role::Owner,
        nonce: [1; 16],
        not_before: world.now.wall.before(Duration::from_secs(60)),
        not_after: world.now.wall.after(Duration::from_secs(60)),
    }
}

fn signed(realm: InstallationId, body: &ActivationManifest, key: &SigningKey) -> Vec<u8> {
    seal(&stamp(realm), body, &[key])
}

fn stamp(realm: InstallationId) -> Stamp {
    Stamp {
        realm: realm.into(),
        subject: Subject::All,
        epoch: 0,
        version: 1,
        previous: None,
        issued_at: Wall(1),
        valid_until: None,
    }
}
