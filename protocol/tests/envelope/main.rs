//! Everything that must not open, and the little that may differ and still does.

mod forge;

use forge::{Forgery, Slot};
use minicbor::{Decode, Encode};
use proptest::prelude::*;
use protocol::cbor;
use protocol::document::authority::Succession;
use protocol::document::beacon::{Beacon, Pin};
use protocol::document::routes::{LeaseKind, LeaseRow};
use protocol::envelope::{self, Document, Envelope, Expected, Kind, OpenError, Opened, Stamp, Subject};
use protocol::id::{ClusterId, LeaseId, NodeId};
use protocol::key::{Digest, Fingerprint, SigningKey, VerifyKey};
use protocol::time::Wall;

#[test]
fn what_the_authority_signed_for_us_opens() {
    let opened = open(&sealed()).expect("a good document");

    assert_eq!(opened.body, body());
    assert_eq!(opened.header.rank(), (3, 12));
    assert_eq!(opened.hash, envelope::payload_hash(&stamp(), &body()));
    assert_eq!(
        Forgery::default().bytes(),
        sealed(),
        "the forge makes good ones too"
    );
}

#[test]
fn a_stripped_signature_is_refused() {
    let stripped = Forgery {
        slots: Vec::new(),
        ..Forgery::default()
    };

    assert_eq!(open(&stripped.bytes()), Err(OpenError::NotAnEnvelope));
}

#[test]
fn a_foreign_signature_is_refused_under_its_own_name_and_under_ours() {
    let plainly = envelope::seal(&stamp(), &body(), &[&foreign()]);
    let under_our_name = Forgery {
        slots: vec![Slot {
            named: authority().verify_key().fingerprint(),
            ..Slot::by(foreign())
        }],
        ..Forgery::default()
    };
    let under_another_name = Forgery {
        slots: vec![Slot {
            named: foreign().verify_key().fingerprint(),
            ..Slot::by(authority())
        }],
        ..Forgery::default()
    };

    assert_eq!(open(&plainly), Err(OpenError::NotSigned));
    assert_eq!(open(&under_our_name.bytes()), Err(OpenError::NotSigned));
    assert_eq!(open(&under_another_name.bytes()), Err(OpenError::NotSigned));
}

#[test]
fn another_nodes_document_is_refused_even_when_relabelled() {
    let other = Subject::Node(OTHER);
    let honest = Stamp {
        subject: other,
        ..stamp()
    };
    let relabelled = Forgery {
        aad: forge::aad(Kind::Beacon, CLUSTER, other),
        ..Forgery::default()
    };

    assert_eq!(
        open(&envelope::seal(&honest, &body(), &[&authority()])),
        Err(OpenError::WrongSubject { found: other })
    );
    assert_eq!(open(&relabelled.bytes()), Err(OpenError::NotSigned));
}

#[test]
fn another_clusters_document_is_refused_even_when_relabelled() {
    let other = ClusterId::from_bytes([9; 16]);
    let honest = Stamp {
        realm: other.into(),
        ..stamp()
    };
    let relabelled = Forgery {
        aad: forge::aad(Kind::Beacon, other, Subject::Node(US)),
        ..Forgery::default()
    };

    assert_eq!(
        open(&envelope::seal(&honest, &body(), &[&authority()])),
        Err(OpenError::WrongRealm { found: other.into() })
    );
    assert_eq!(open(&relabelled.bytes()), Err(OpenError::NotSigned));
}

#[test]
fn another_kind_is_refused_even_when_relabelled() {
    let succession = Succession {
        epoch: 4,
        key: foreign().verify_key(),
    };
    let honest = envelope::seal(&stamp(), &succession, &[&authority()]);
    let relabelled = Forgery {
        aad: forge::aad(Kind::Succession, CLUSTER, Subject::Node(US)),
        ..Forgery::default()
    };
    let wrong = OpenError::WrongKind {
        expected: Kind::Beacon,
        found: Kind::Succession,
    };

    assert_eq!(open(&honest), Err(wrong.clone()));
    assert_eq!(parsed(&honest).claimed_body::<Beacon>(), Err(wrong));
    assert_eq!(open(&relabelled.bytes()), Err(OpenError::NotSigned));
}

#[test]
fn a_swapped_body_is_refused() {
    let other = Beacon {
        term: 1_000,
        ..body()
    };
    let swapped = Forgery {
        shown: Some(forge::payload(&forge::header(), &cbor::encode(&other))),
        ..Forgery::default()
    };

    assert_eq!(open(&swapped.bytes()), Err(OpenError::NotSigned));
}

#[test]
fn a_flipped_bit_is_refused_wherever_it_is() {
    let sealed = sealed();
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&flipped).is_err(), "bit {bit}");
    }
}

#[test]
fn a_cut_or_lengthened_document_is_refused() {
    let sealed = sealed();
    for length in 0..sealed.len() {
        assert!(open(&sealed[..length]).is_err(), "{length} bytes");
    }
    let trailing = [sealed.as_slice(), &[0]].concat();

    assert!(matches!(open(&trailing), Err(OpenError::Malformed(_))));
}

#[test]
fn one_key_counts_once_however_often_it_signs_or_is_listed() {
    let (one, two) = (authority(), foreign());
    let keys = [one.verify_key(), two.verify_key()];
    let twice = envelope::seal(&stamp(), &body(), &[&one, &one]);
    let both = envelope::seal(&stamp(), &body(), &[&one, &two]);

    assert_eq!(open_by(&twice, &keys, 2), Err(OpenError::NotSigned));
    assert_eq!(open_by(&both, &[keys[0], keys[0]], 2), Err(OpenError::NotSigned));
    assert!(open_by(&both, &keys, 2).is_ok());
    assert_eq!(open_by(&both, &keys, 3), Err(OpenError::NotSigned));
}

#[test]
fn a_threshold_of_none_still_asks_for_one() {
    let unsigned_by_us = envelope::seal(&stamp(), &body(), &[&foreign()]);

    assert_eq!(
        open_by(&unsigned_by_us, &[authority().verify_key()], 0),
        Err(OpenError::NotSigned)
    );
    assert_eq!(open_by(&sealed(), &[], 0), Err(OpenError::NotSigned));
}

#[test]
fn a_slot_of_another_form_does_not_count() {
    let slots = [
        Slot {
            unprotected: &[0xa1, 0x18, 0x63, 0x00],
            ..Slot::by(authority())
        },
        Slot {
            extra: &[0x18, 0x63, 0x00],
            ..Slot::by(authority())
        },
        Slot {
            algorithm: -8,
            ..Slot::by(authority())
        },
        Slot {
            named: Fingerprint::from_bytes([0; 32]),
            ..Slot::by(authority())
        },
    ];
    for slot in slots {
        let alone = Forgery {
            slots: vec![slot.clone()],
            ..Forgery::default()
        };
        let beside = Forgery {
            slots: vec![slot, Slot::by(authority())],
            ..Forgery::default()
        };

        assert_eq!(open(&alone.bytes()), Err(OpenError::NotSigned));
        assert!(
            open(&beside.bytes()).is_ok(),
            "a slot of a later version is in the way"
        );
    }
}

#[test]
fn headers_of_the_envelope_itself_are_refused() {
    let unprotected = Forgery {
        unprotected: &[0xa1, 0x18, 0x63, 0x00],
        ..Forgery::default()
    };
    let protected = Forgery {
        protected: &[0xa1, 0x01, 0x32],
        ..Forgery::default()
    };
    let empty_map = Forgery {
        protected: &[0xa0],
        ..Forgery::default()
    };

    assert_eq!(open(&unprotected.bytes()), Err(OpenError::NotAnEnvelope));
    assert_eq!(open(&protected.bytes()), Err(OpenError::NotAnEnvelope));
    assert_eq!(open(&empty_map.bytes()), Err(OpenError::NotAnEnvelope));
}

#[test]
fn the_protected_header_of_a_slot_is_held_to_deterministic_form() {
    let id = authority().verify_key().fingerprint();
    let other_order = [&[0xa2, 0x04, 0x58, 0x20], id.as_bytes().as_slice(), &[0x01, 0x32]].concat();
    for protected in [
        other_order,
        vec![0xbf, 0x01, 0x32, 0xff],
        vec![0xa1, 0x18, 0x01, 0x32],
        vec![0x81; 4_000],
        Vec::new(),
    ] {
        let forgery = Forgery {
            slots: vec![
                Slot {
                    protected: Some(protected.clone()),
                    ..Slot::by(authority())
                },
                Slot::by(authority()),
            ],
            ..Forgery::default()
        };

        assert!(
            matches!(open(&forgery.bytes()), Err(OpenError::Malformed(_))),
            "{protected:02x?}"
        );
    }
}

#[test]
fn more_slots_than_any_root_has_are_refused() {
    let slots = |count: usize| Forgery {
        slots: vec![Slot::by(authority()); count],
        ..Forgery::default()
    };

    assert!(open(&slots(8).bytes()).is_ok());
    assert_eq!(open(&slots(9).bytes()), Err(OpenError::NotAnEnvelope));
}

#[test]
fn other_outer_forms_are_refused() {
    let sealed = sealed();
    let tagged = [&[0xd8, 0x62], sealed.as_slice()].concat();
    let detached = Forgery {
        shown_raw: Some(vec![0xf6]),
        ..Forgery::default()
    };
    let longer = [&[0x85], &sealed[1..], &[0x00]].concat();
    let indefinite = [&[0x9f], &sealed[1..], &[0xff]].concat();

    assert!(matches!(open(&tagged), Err(OpenError::Malformed(_))));
    assert_eq!(open(&detached.bytes()), Err(OpenError::NotAnEnvelope));
    assert_eq!(open(&longer), Err(OpenError::NotAnEnvelope));
    assert!(matches!(open(&indefinite), Err(OpenError::Malformed(_))));
    assert_eq!(open(&[0x80]), Err(OpenError::NotAnEnvelope));
    assert_eq!(open(&[0x00]), Err(OpenError::NotAnEnvelope));
}

#[test]
fn signed_bytes_that_are_not_deterministic_are_refused_at_every_depth() {
    let good_body = cbor::encode(&body());
    let deep = [vec![0x81; 17], vec![0x00]].concat();
    let indefinite = [&[0xbf], &good_body[1..], &[0xff]].concat();
    let trailing = [good_body.as_slice(), &[0x00]].concat();
    let twice = [&[good_body[0] + 1, 0x00, 0x01], &good_body[1..]].concat();
    let not_shortest = [&[0xb8, good_body[0] & 0x1f], &good_body[1..]].concat();

    for wrong in [&deep, &indefinite, &trailing, &twice, &not_shortest] {
        let in_body = Forgery::of(forge::payload(&forge::header(), wrong));
        let as_payload = Forgery::of(wrong.clone());

        assert!(
            matches!(open(&in_body.bytes()), Err(OpenError::Malformed(_))),
            "{wrong:02x?}"
        );
        assert!(
            matches!(open(&as_payload.bytes()), Err(OpenError::Malformed(_))),
            "{wrong:02x?}"
        );
    }
}

#[test]
fn lengths_that_nothing_backs_are_refused() {
    for wrong in [
        "5b7fffffffffffffff",
        "9bffffffffffffffff",
        "84404058",
        "bb00ffffffffffffff",
        "8440a05a7fffffff",
    ] {
        let bytes = data_encoding::HEXLOWER.decode(wrong.as_bytes()).unwrap();

        assert!(matches!(open(&bytes), Err(OpenError::Malformed(_))), "{wrong}");
    }
}

#[test]
fn fields_of_a_later_version_are_skipped() {
    let newer_body = BeaconOfLater {
        beacon_term: 4,
        revision: 5,
        root: Digest::of(b"root"),
        leaves: 6,
        bundle: body().bundle,
        revocations: body().revocations,
        audit: body().audit,
        mood: "calm".to_owned(),
    };
    let mut newer_header = cbor::encode(&forge::header());
    newer_header[0] += 1;
    newer_header.extend_from_slice(&[0x18, 0x63, 0x81, 0x01]);
    let forgery = Forgery::of(forge::payload_of(&newer_header, &cbor::encode(&newer_body)));

    assert_eq!(open(&forgery.bytes()).map(|opened| opened.body), Ok(body()));
}

#[test]
fn a_feature_that_this_version_lacks_is_refused_by_number() {
    let header = envelope::Header {
        needs: vec![77],
        ..forge::header()
    };

    assert_eq!(
        open(&forged(&header)),
        Err(OpenError::UnknownFeature { feature: 77 })
    );
}

#[test]
fn a_newer_schema_is_refused_and_the_present_one_is_not() {
    let of_schema = |schema| envelope::Header {
        schema,
        ..forge::header()
    };

    assert!(open(&forged(&of_schema(Beacon::SCHEMA))).is_ok());
    assert_eq!(
        open(&forged(&of_schema(Beacon::SCHEMA + 1))),
        Err(OpenError::UnknownSchema {
            found: Beacon::SCHEMA + 1
        })
    );
}

#[test]
fn what_a_forgery_asks_for_is_not_even_read() {
    let header = envelope::Header {
        schema: 9,
        needs: vec![77],
        ..forge::header()
    };
    let forgery = Forgery {
        slots: vec![Slot::by(foreign())],
        ..Forgery::of(forge::payload(&header, &[0x00]))
    };

    assert_eq!(open(&forgery.bytes()), Err(OpenError::NotSigned));
}

#[test]
fn a_claim_is_readable_before_a_key_is_known() {
    let envelope = parsed(&sealed());

    assert_eq!(envelope.claimed(), &forge::header());
    assert_eq!(envelope.claimed_body(), Ok(body()));
    assert_eq!(
        envelope.claimed_signers().collect::<Vec<_>>(),
        [authority().verify_key().fingerprint()]
    );
}

#[test]
fn the_widest_lease_row_takes_64_bytes() {
    let widest = lease_row(u32::MAX, u16::MAX, u16::MAX);

    assert_eq!(cbor::encode(&widest).len(), 64);
}

proptest! {
    #[test]
    fn a_lease_row_takes_at_most_64_bytes(generation: u32, budget: u16, grace: u16) {
        prop_assert!(cbor::encode(&lease_row(generation, budget, grace)).len() <= 64);
    }

    /// As the whole, and where the authority itself signed them: as the payload, a body, and the header of a slot.
    #[test]
    fn arbitrary_bytes_do_not_open_wherever_they_stand(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let as_body = forge::payload(&forge::header(), &bytes);
        let as_slot = Slot { protected: Some(bytes.clone()), ..Slot::by(authority()) };
        let in_slot = Forgery { slots: vec![as_slot], ..Forgery::default() };

        prop_assert!(open(&bytes).is_err());
        prop_assert!(open(&Forgery::of(bytes).bytes()).is_err());
        prop_assert!(open(&Forgery::of(as_body).bytes()).is_err());
        prop_assert!(open(&in_slot.bytes()).is_err());
    }

    /// Bytes put into, taken out of or changed in a good document.
    #[test]
    fn a_mutated_document_does_not_open(
        at in any::<prop::sample::Index>(),
        removed in 0_usize..8,
        inserted in prop::collection::vec(any::<u8>(), 0..8),
    ) {
        let sealed = sealed();
        let from = at.index(sealed.len());
        let to = (from + removed).min(sealed.len());
        let mutated = [&sealed[..from], &inserted, &sealed[to..]].concat();
        prop_assume!(mutated != sealed);

        prop_assert!(open(&mutated).is_err());
    }
}

/// [`Beacon`] with a field that this version does not know.
#[derive(Encode, Decode)]
#[cbor(map)]
struct BeaconOfLater {
    #[n(0)]
    beacon_term: u64,
    #[n(1)]
    revision: u64,
    #[n(2)]
    root: Digest,
    #[n(3)]
    leaves: u64,
    #[n(4)]
    bundle: Pin,
    #[n(5)]
    revocations: Pin,
    #[n(6)]
    audit: Pin,
    #[n(40)]
    mood: String,
}

fn open(bytes: &[u8]) -> Result<Opened<Beacon>, OpenError> {
    Envelope::parse(bytes)?.open(&expected(), &authority().verify_key())
}

fn open_by(bytes: &[u8], keys: &[VerifyKey], threshold: usize) -> Result<Opened<Beacon>, OpenError> {
    Envelope::parse(bytes)?.open_by(&expected(), keys, threshold)
}

fn parsed(bytes: &[u8]) -> Envelope {
    Envelope::parse(bytes).expect("a good form")
}

fn expected() -> Expected {
    Expected {
        realm: CLUSTER.into(),
        subject: Subject::Node(US),
    }
}

fn sealed() -> Vec<u8> {
    envelope::seal(&stamp(), &body(), &[&authority()])
}

/// A document under this header, signed by the authority.
fn forged(header: &envelope::Header) -> Vec<u8> {
    Forgery::of(forge::payload(header, &cbor::encode(&body()))).bytes()
}

fn stamp() -> Stamp {
    Stamp {
        realm: CLUSTER.into(),
        subject: Subject::Node(US),
        epoch: 3,
        version: 12,
        previous: Some(Digest::of(b"version 11")),
        issued_at: Wall(1_800_000_000_000),
        valid_until: Some(Wall(1_800_000_900_000)),
    }
}

fn body() -> Beacon {
    let pin = |version, text: &[u8]| Pin {
        version,
        hash: Digest::of(text),
    };

    Beacon {
        term: 4,
        revision: 5,
        root: Digest::of(b"root"),
        leaves: 6,
        bundle: pin(1, b"bundle"),
        revocations: pin(2, b"revocations"),
        audit: pin(3, b"audit"),
    }
}

fn lease_row(generation: u32, budget_kib: u16, grace_minutes: u16) -> LeaseRow {
    LeaseRow {
        lease: LeaseId::from_bytes([0xff; 16]),
        low: US,
        high: OTHER,
        generation,
        budget_kib,
        grace_minutes,
        kind: LeaseKind::Rendezvous,
    }
}

fn authority() -> SigningKey {
    SigningKey::from_seed(&[1; 32])
}

fn foreign() -> SigningKey {
    SigningKey::from_seed(&[2; 32])
}

const CLUSTER: ClusterId = ClusterId::from_bytes([7; 16]);
const US: NodeId = NodeId::from_bytes([0x10; 16]);
const OTHER: NodeId = NodeId::from_bytes([0x20; 16]);
