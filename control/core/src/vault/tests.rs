use protocol::certificate::CertificateRole;
use protocol::id::{ClusterId, ControllerId};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;

#[test]
fn a_kept_key_signs_as_the_key_it_was_made_as() {
    let (vault, mut rng) = (vault(&[1]), rng());
    let (key, sealed) = vault.create(&AUTHORITY, &mut rng).unwrap();
    let opened = vault.open(&kept(AUTHORITY, &key, &sealed)).unwrap();

    assert_eq!(opened.verify_key(), key);
    assert_eq!(key.verify(b"message", &opened.sign(b"message")), Ok(()));
}

#[test]
fn a_sealed_key_opens_in_its_own_row_alone() {
    let (vault, mut rng) = (vault(&[1]), rng());
    let (key, sealed) = vault.create(&AUTHORITY, &mut rng).unwrap();
    let (other_key, other_sealed) = vault.create(&AUTHORITY, &mut rng).unwrap();
    vault.open(&kept(AUTHORITY, &key, &sealed)).unwrap();

    for purpose in other_purposes() {
        let moved = vault.open(&kept(purpose, &key, &sealed));
        assert_eq!(moved.err(), Some(SealFailure::Broken), "{purpose:?}");
    }
    let swapped = vault.open(&kept(AUTHORITY, &key, &other_sealed));
    assert_eq!(swapped.err(), Some(SealFailure::Broken));
    let renamed = vault.open(&kept(AUTHORITY, &other_key, &sealed));
    assert_eq!(renamed.err(), Some(SealFailure::Broken));
}

#[test]
fn a_key_that_was_opened_before_is_still_bound_to_its_row() {
    let (vault, mut rng) = (vault(&[1]), rng());
    let (key, sealed) = vault.create(&AUTHORITY, &mut rng).unwrap();
    for _ in 0..2 {
        assert!(vault.open(&kept(AUTHORITY, &key, &sealed)).is_ok());
        assert!(vault.open(&kept(other_purposes()[0], &key, &sealed)).is_err());
    }
}

#[test]
fn every_changed_bit_is_refused() {
    let (vault, mut rng) = (vault(&[1]), rng());
    let sealed = vault.seal(&AUTHORITY, b"a secret", &mut rng).unwrap();
    let flip = |bytes: &[u8], bit: usize| {
        let mut changed = bytes.to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        changed
    };
    for bit in 0..sealed.wrapped.len() * 8 {
        let changed = Sealed {
            wrapped: flip(&sealed.wrapped, bit).into(),
            ..sealed.clone()
        };
        assert_eq!(
            vault.unseal(&AUTHORITY, &changed).err(),
            Some(SealFailure::Broken)
        );
    }
    for bit in 0..sealed.body.len() * 8 {
        let changed = Sealed {
            body: flip(&sealed.body, bit).into(),
            ..sealed.clone()
        };
        assert_eq!(
            vault.unseal(&AUTHORITY, &changed).err(),
            Some(SealFailure::Broken)
        );
    }
}

#[test]
fn an_older_kek_still_opens_and_the_newest_seals() {
    let mut rng = rng();
    let sealed = vault(&[1]).seal(&AUTHORITY, b"a secret", &mut rng).unwrap();
    let both = vault(&[1, 2]);

    assert_eq!(both.unseal(&AUTHORITY, &sealed).unwrap().as_slice(), b"a secret");
    assert_eq!(both.seal(&AUTHORITY, b"", &mut rng).unwrap().kek, 2);
    assert_eq!(
        vault(&[2]).unseal(&AUTHORITY, &sealed).err(),
        Some(SealFailure::UnknownKek { version: 1 })
    );
}

#[test]
fn a_kek_of_another_version_does_not_stand_in() {
    let sealed = vault(&[1]).seal(&AUTHORITY, b"a secret", &mut rng()).unwrap();
    let renumbered = Sealed { kek: 2, ..sealed };
    let same_key_twice = Vault::new(BTreeMap::from([(1, kek(1)), (2, kek(1))]));

    assert_eq!(
        same_key_twice.unseal(&AUTHORITY, &renumbered).err(),
        Some(SealFailure::Broken)
    );
}

#[test]
fn a_vault_without_kek_is_locked() {
    let locked = Vault::new(BTreeMap::new());
    let sealed = vault(&[1]).seal(&AUTHORITY, b"a secret", &mut rng()).unwrap();

    assert_eq!(
        locked.unseal(&AUTHORITY, &sealed).err(),
        Some(SealFailure::Locked)
    );
    assert_eq!(
        locked.create(&AUTHORITY, &mut rng()).err(),
        Some(SealFailure::Locked)
    );
    assert_eq!(SealFailure::Locked.code().text(), "sealed");
}

#[test]
fn an_algorithm_of_another_version_is_named() {
    let sealed = vault(&[1]).seal(&AUTHORITY, b"a secret", &mut rng()).unwrap();
    let newer = Sealed {
        algorithm: 9,
        ..sealed
    };

    assert_eq!(
        vault(&[1]).unseal(&AUTHORITY, &newer).err(),
        Some(SealFailure::UnknownAlgorithm { found: 9 })
    );
}

#[test]
fn a_secret_is_not_taken_for_a_key() {
    let vault = vault(&[1]);
    let key = SigningKey::from_seed(&[7; 32]);
    let sealed = vault
        .seal(&AUTHORITY, key.reveal_seed().as_slice(), &mut rng())
        .unwrap();

    let opened = vault.open(&kept(AUTHORITY, &key.verify_key(), &sealed));
    assert_eq!(opened.err(), Some(SealFailure::Broken));
}

#[test]
fn only_the_key_of_a_ca_issues_certificates() {
    let (vault, mut rng) = (vault(&[1]), rng());
    let (key, sealed) = vault.create(&AUTHORITY, &mut rng).unwrap();
    let validity = Validity::starting(protocol::time::Wall(1_800_000_000_000), certificate::CA_LIFE);
    let issued = vault.issue_ca(
        &kept(AUTHORITY, &key, &sealed),
        Serial::random(&mut rng),
        validity,
    );

    assert!(matches!(issued, Err(IssueFailure::NotACa)));
}

#[test]
fn purposes_do_not_read_alike() {
    let mut all: Vec<Vec<u8>> = other_purposes().iter().map(KeyPurpose::bytes).collect();
    all.push(AUTHORITY.bytes());
    let count = all.len();
    all.sort();
    all.dedup();

    assert_eq!(all.len(), count);
}

fn kept<'a>(purpose: KeyPurpose, key: &'a VerifyKey, sealed: &'a Sealed) -> KeptKey<'a> {
    KeptKey { purpose, key, sealed }
}

fn vault(versions: &[u32]) -> Vault {
    Vault::new(versions.iter().map(|version| (*version, kek(*version))).collect())
}

fn kek(seed: u32) -> Kek {
    Kek::generate(&mut StdRng::seed_from_u64(u64::from(seed)))
}

fn rng() -> StdRng {
    StdRng::seed_from_u64(99)
}

fn other_purposes() -> Vec<KeyPurpose> {
    let other = ClusterId::from_bytes([2; 16]);
    vec![
        KeyPurpose::Authority {
            cluster: CLUSTER,
            epoch: 2,
        },
        KeyPurpose::Authority {
            cluster: other,
            epoch: 1,
        },
        KeyPurpose::Controller {
            cluster: CLUSTER,
            controller: ControllerId::from_bytes([1; 16]),
        },
        KeyPurpose::IssuingCa {
            cluster: CLUSTER,
            role: CertificateRole::Node,
            number: 1,
        },
        KeyPurpose::IssuingCa {
            cluster: CLUSTER,
            role: CertificateRole::Controller,
            number: 1,
        },
    ]
}

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const AUTHORITY: KeyPurpose = KeyPurpose::Authority {
    cluster: CLUSTER,
    epoch: 1,
};
