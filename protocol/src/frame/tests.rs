use minicbor::bytes::ByteVec;
use proptest::prelude::*;
use rand::SeedableRng;

use super::*;
use crate::id::{ClusterId, NodeId};
use crate::key::{InvalidKey, SealKey, SealSecret};
use crate::net::Address;

proptest! {
    /// Whatever parses is the one form of its header, so the associated data are the bytes that came.
    #[test]
    fn a_header_has_one_form(bytes in prop::collection::vec(any::<u8>(), HEADER_BYTES), path in 0_u8..3) {
        let mut bytes: [u8; HEADER_BYTES] = bytes.try_into().expect("drawn to this length");
        (bytes[0], bytes[1], bytes[2]) = (1, 1 + bytes[1] % 6, 1 + bytes[2] % 3);
        match path {
            0 => bytes[3..23].fill(0),
            1 => bytes[3..19].fill(0),
            _ => {}
        }
        if let Ok((header, _)) = FrameHeader::parse(&bytes) {
            prop_assert_eq!(header.encode(), bytes);
        }
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_parsed_and_never_open(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok((header, body)) = FrameHeader::parse(&bytes) {
            prop_assert!(pair().1.open(&header, body, &mut Vec::new()).is_err());
        }
        let _ = LinkMessage::read(&bytes);
    }
}

#[test]
fn a_header_reads_back_on_every_path_and_class() {
    for class in Class::ALL {
        for path in [PathTag::Direct, leased()] {
            let header = FrameHeader {
                class,
                path,
                ..header()
            };
            let frame = [header.encode().as_slice(), b"body"].concat();

            assert_eq!(FrameHeader::parse(&frame), Ok((header, b"body".as_slice())));
        }
    }
}

#[test]
fn each_break_of_a_header_has_its_name() {
    let changed = |index: usize, value: u8| {
        let mut bytes = header().encode();
        bytes[index] = value;
        FrameHeader::parse(&bytes).map(|(header, _)| header)
    };
    let mut no_lease = header().encode();
    no_lease[3..19].fill(0);

    assert_eq!(changed(0, 2), Err(FrameRefused::UnknownVersion { found: 2 }));
    assert_eq!(changed(1, 0), Err(FrameRefused::UnknownClass { found: 0 }));
    assert_eq!(changed(1, 6), Err(FrameRefused::UnknownClass { found: 6 }));
    assert_eq!(changed(2, 3), Err(FrameRefused::UnknownForm { found: 3 }));
    assert_eq!(changed(2, 2), Err(FrameRefused::LeaseMismatch));
    assert_eq!(FrameHeader::parse(&no_lease), Err(FrameRefused::LeaseMismatch));
    assert_eq!(
        FrameHeader::parse(&header().encode()[1..]),
        Err(FrameRefused::TooShort { found: 38 })
    );
    assert!(FrameHeader::parse(&[header().encode().as_slice(), &[0; 1_061]].concat()).is_ok());
    assert_eq!(
        FrameHeader::parse(&[header().encode().as_slice(), &[0; 1_062]].concat()),
        Err(FrameRefused::TooLong { found: 1_101 })
    );
}

#[test]
fn classes_are_ordered_as_queues_are_emptied() {
    let mut classes = Class::ALL;
    classes.reverse();
    classes.sort();

    assert_eq!(
        classes.map(Class::name),
        [
            "fabric_control",
            "route_control",
            "synthetic",
            "telemetry",
            "payload"
        ]
    );
    for class in Class::ALL {
        assert_eq!(crate::cbor::encode(&class), [class.number()]);
    }
}

#[test]
fn each_message_opens_at_the_far_end_alone() {
    let (ours, theirs) = pair();
    for message in messages() {
        let content = Content {
            mark: mark(),
            message,
        };
        let frame = sealed(&ours, &content);
        let (header, body) = FrameHeader::parse(&frame).expect("just written");

        assert_eq!(theirs.open(&header, body, &mut Vec::new()), Ok(content));
        assert_eq!(
            ours.open(&header, body, &mut Vec::new()),
            Err(OpenBodyError::NotSealedToUs),
            "a reflected body opened"
        );
    }
}

#[test]
fn every_changed_bit_of_header_or_body_is_refused() {
    let (ours, theirs) = pair();
    let frame = sealed(&ours, &probe());
    for bit in 0..frame.len() * 8 {
        let mut changed = frame.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        if let Ok((header, body)) = FrameHeader::parse(&changed) {
            let opened = theirs.open(&header, body, &mut Vec::new());
            assert_eq!(opened, Err(OpenBodyError::NotSealedToUs), "bit {bit}");
        }
    }
}

#[test]
fn a_body_does_not_open_in_another_cluster_or_between_other_nodes() {
    let frame = sealed(&pair().0, &probe());
    let (header, body) = FrameHeader::parse(&frame).expect("just written");
    let opened = |cluster, us, them| {
        PairKeys::derive(cluster, (us, &secret(2)), (them, &secret(1).seal_key()))
            .expect("good keys")
            .open(&header, body, &mut Vec::new())
            .is_ok()
    };

    assert!(opened(CLUSTER, THEM, US));
    assert!(!opened(ClusterId::from_bytes([8; 16]), THEM, US));
    assert!(!opened(CLUSTER, NodeId::from_bytes([8; 16]), US));
    assert!(!opened(CLUSTER, THEM, NodeId::from_bytes([8; 16])));
}

#[test]
fn a_body_is_sealed_under_a_new_nonce_each_time() {
    let (ours, _) = pair();
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    let (mut first, mut second) = (Vec::new(), Vec::new());
    ours.seal(&header(), &probe(), &mut rng, &mut first)
        .expect("fits");
    ours.seal(&header(), &probe(), &mut rng, &mut second)
        .expect("fits");

    assert_ne!(first[HEADER_BYTES..], second[HEADER_BYTES..]);
}

#[test]
fn a_body_too_short_for_its_seal_has_its_name() {
    let (_, theirs) = pair();
    for length in 0..40 {
        assert_eq!(
            theirs.open(&header(), &vec![0; length], &mut Vec::new()),
            Err(OpenBodyError::TooShort { found: length })
        );
    }
}

#[test]
fn a_frame_ends_at_its_limit() {
    let (ours, theirs) = pair();
    let seal = |length: usize| {
        let mut out = Vec::new();
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        ours.seal(&header(), &synthetic(length), &mut rng, &mut out)
            .map(|()| out)
    };
    let longest = (0..1_100)
        .rev()
        .find(|length| seal(*length).is_ok())
        .expect("some fit");
    let frame = seal(longest).expect("it fits");
    let (header, body) = FrameHeader::parse(&frame).expect("just written");

    assert_eq!(frame.len(), MESH_FRAME_BYTES);
    assert_eq!(seal(longest + 1), Err(ContentTooLong { found: 1_101 }));
    assert_eq!(
        theirs.open(&header, body, &mut Vec::new()),
        Ok(synthetic(longest))
    );
}

#[test]
fn content_of_a_newer_version_opens_and_other_content_does_not() {
    let (ours, theirs) = pair();
    let newer = |e: &mut minicbor::Encoder<Vec<u8>>| {
        e.array(3)?
            .encode(mark())?
            .encode(&probe().message)?
            .str("new")?
            .ok()
    };
    let unknown_message =
        |e: &mut minicbor::Encoder<Vec<u8>>| e.array(2)?.encode(mark())?.array(2)?.u8(99)?.array(0)?.ok();
    let indefinite = |e: &mut minicbor::Encoder<Vec<u8>>| e.begin_array()?.encode(mark())?.end()?.ok();
    let open = |write: &dyn Fn(&mut minicbor::Encoder<Vec<u8>>) -> Written| {
        let mut e = minicbor::Encoder::new(Vec::new());
        write(&mut e).expect("to a Vec");
        let frame = sealed_bytes(&ours, e.writer());
        let (header, body) = FrameHeader::parse(&frame).expect("just written");
        theirs.open(&header, body, &mut Vec::new())
    };

    assert_eq!(open(&newer), Ok(probe()));
    assert!(matches!(open(&unknown_message), Err(OpenBodyError::Malformed(_))));
    assert!(matches!(open(&indefinite), Err(OpenBodyError::Malformed(_))));
}

#[test]
fn a_later_choice_is_a_greater_mark() {
    let mark = |generation, counter| Mark { generation, counter };

    assert!(mark(1, 9) < mark(2, 0));
    assert!(mark(2, 0) < mark(2, 1));
}

#[test]
fn link_messages_read_back_in_their_class() {
    let mut frame = Vec::new();
    for reason in RefusalReason::ALL {
        let refused = LinkMessage::Refused {
            path: leased(),
            class: Class::Payload,
            reason,
        };
        refused.write(boot(), Sequence(3), &mut frame).expect("fits");
        let (header, body) = FrameHeader::parse(&frame).expect("just written");

        assert_eq!(
            (header.class, header.form, header.path),
            (Class::RouteControl, Form::Link, PathTag::Direct)
        );
        assert_eq!(LinkMessage::read(body), Ok(refused));
    }
    let beacon = LinkMessage::Beacon(vec![7; 400].into());
    beacon.write(boot(), Sequence(4), &mut frame).expect("fits");
    let (header, body) = FrameHeader::parse(&frame).expect("just written");

    assert_eq!(header.class, Class::FabricControl);
    assert_eq!(LinkMessage::read(body), Ok(beacon));
    let seen = LinkMessage::Seen {
        path: leased(),
        address: address(),
    };
    for message in [LinkMessage::Look(leased()), seen] {
        message.write(boot(), Sequence(5), &mut frame).expect("fits");
        let (header, body) = FrameHeader::parse(&frame).expect("just written");
        assert_eq!((header.class, header.form), (Class::FabricControl, Form::Link));
        assert_eq!(LinkMessage::read(body), Ok(message));
    }
    assert!(
        LinkMessage::Beacon(vec![7; 1_100].into())
            .write(boot(), Sequence(5), &mut frame)
            .is_err()
    );
}

#[test]
fn refusing_payload_is_a_501() {
    let reason = RefusalReason::PayloadForwardingDisabled;

    assert_eq!(
        (reason.code(), reason.name()),
        (501, "payload_forwarding_disabled")
    );
}

#[test]
fn a_neighbour_with_a_point_of_small_order_has_no_keys() {
    let mut one = [0; 32];
    one[0] = 1;
    let key = SealKey::parse(one).expect("parses: only agreement shows its order");

    assert_eq!(
        PairKeys::derive(CLUSTER, (US, &secret(1)), (THEM, &key)).err(),
        Some(InvalidKey)
    );
}

type Written = Result<(), minicbor::encode::Error<std::convert::Infallible>>;

fn messages() -> [Message; 5] {
    [
        probe().message,
        Message::ProbeReply(ProbeReply {
            probe: 7,
            path: leased(),
            observed_from: NodeId::from_bytes([6; 16]),
            received: 11,
        }),
        Message::Choice(Choice { path: leased() }),
        synthetic(100).message,
        Message::Meet(Meet {
            number: 7,
            agreed: true,
            addresses: vec![
                address(),
                Address("[2001:db8::7]:7444".parse().expect("an address")),
            ],
        }),
    ]
}

fn address() -> Address {
    Address("203.0.113.7:7444".parse().expect("an address"))
}

fn probe() -> Content {
    Content {
        mark: mark(),
        message: Message::Probe(Probe {
            probe: 7,
            path: leased(),
            sent: 12,
        }),
    }
}

fn synthetic(length: usize) -> Content {
    Content {
        mark: mark(),
        message: Message::Synthetic(Synthetic {
            pair_sequence: 99,
            bytes: ByteVec::from(vec![0xAA; length]),
        }),
    }
}

fn sealed(keys: &PairKeys, content: &Content) -> Vec<u8> {
    let mut out = vec![0xFF; 7];
    let mut rng = rand::rngs::StdRng::seed_from_u64(1);
    keys.seal(&header(), content, &mut rng, &mut out).expect("fits");

    out
}

fn sealed_bytes(keys: &PairKeys, plain: &[u8]) -> Vec<u8> {
    let mut frame = [header().encode().as_slice(), &[9; 24], plain].concat();
    keys.finish(&mut frame).expect("fits");

    frame
}

/// The keys of two neighbours with each other.
fn pair() -> (PairKeys, PairKeys) {
    let derive = |us: (NodeId, u8), them: (NodeId, u8)| {
        PairKeys::derive(
            CLUSTER,
            (us.0, &secret(us.1)),
            (them.0, &secret(them.1).seal_key()),
        )
        .expect("good keys")
    };

    (derive((US, 1), (THEM, 2)), derive((THEM, 2), (US, 1)))
}

fn header() -> FrameHeader {
    FrameHeader {
        class: Class::Telemetry,
        form: Form::Sealed,
        path: leased(),
        boot: boot(),
        sequence: Sequence(42),
    }
}

fn leased() -> PathTag {
    PathTag::Relay {
        lease: LeaseId::from_bytes([5; 16]),
        generation: 3,
    }
}

fn boot() -> BootTag {
    BootId::from_bytes([4; 16]).into()
}

fn mark() -> Mark {
    Mark {
        generation: 2,
        counter: 1,
    }
}

fn secret(number: u8) -> SealSecret {
    SealSecret::from_bytes([number; 32])
}

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const US: NodeId = NodeId::from_bytes([2; 16]);
const THEM: NodeId = NodeId::from_bytes([3; 16]);
