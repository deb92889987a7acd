//! The wire, byte for byte, against `vectors/make.py`, which shares no code with this crate.

mod documents;

use std::convert::Infallible;

use data_encoding::HEXLOWER;
use minicbor::bytes::ByteVec;
use protocol::document::authority::Role;
use protocol::envelope::{self, Document, Envelope, Expected, Stamp};
use protocol::frame::{
    BootTag, Choice, Class, Content, Form, FrameHeader, LinkMessage, Mark, Meet, Message, PairKeys, PathTag,
    Probe, ProbeReply, RefusalReason, Sequence, Synthetic,
};
use protocol::id::{BootId, ClusterId, InstallationId, LeaseId, NodeId, OperatorId, RequestId, RouteId};
use protocol::key::{Digest, SealSecret, Sign, SigningKey};
use protocol::merkle::{Entry, Inclusion, Leaf, Tree};
use protocol::net::Address;
use protocol::sealed::{JOIN_CONTRACT, open_sealed, seal_to};
use protocol::time::Wall;
use protocol::token::{self, JoinToken, TokenSecret};
use serde_json::Value;

use documents::{
    activation_manifest, beacon, cluster, first_synthetic_config, for_node, installation, join_claims,
    join_contract, lease_table, meeting_routes, meeting_table, revocation_list, role_grant, routes,
    succession, synthetic_config, trust_bundle,
};

#[test]
fn ids_and_keys_have_the_texts_of_the_vectors() {
    let vectors = json(include_str!("../../vectors/ids.json"));
    for row in rows(&vectors["texts"]) {
        let id = NodeId::from_bytes(hex_array(&row["bytes"]));
        assert_eq!(id.to_string(), text(&row["text"]));
        assert_eq!(text(&row["text"]).parse(), Ok(id));
    }
    for row in rows(&vectors["keys"]) {
        let key = signing(row["seed"].as_u64().expect("a number") as u8).verify_key();
        assert_eq!(key.as_bytes(), &hex_array(&row["public"]));
        assert_eq!(key.fingerprint().to_string(), text(&row["fingerprint"]));
    }

    assert_eq!(
        RouteId::between(CLUSTER, BETA, ALPHA).as_bytes(),
        &hex_array(&vectors["route"])
    );
}

#[test]
fn every_kind_of_document_is_sealed_and_opened_as_in_the_vectors() {
    let all = [
        held(
            "activation manifest",
            &installation(1, None),
            &activation_manifest(),
            &[1, 2],
        ),
        held(
            "role grant everywhere",
            &installation(1, None),
            &role_grant(Role::Approver, None),
            &[3],
        ),
        held(
            "role grant in a cluster",
            &installation(2, Some(digest(2))),
            &role_grant(Role::Viewer, Some(CLUSTER)),
            &[3],
        ),
        held(
            "join token",
            &token::stamp(&join_claims(), 1, NOW),
            &join_claims(),
            &[4],
        ),
        held("join contract", &for_node(ALPHA), &join_contract(), &[4]),
        held("trust bundle", &cluster(300, None), &trust_bundle(), &[4]),
        held(
            "revocation list",
            &cluster(70_000, Some(digest(6))),
            &revocation_list(),
            &[4],
        ),
        held("synthetic config", &late_config(), &synthetic_config(), &[4]),
        held(
            "synthetic config of the first version",
            &late_config(),
            &first_synthetic_config(),
            &[4],
        ),
        held("routes", &for_node(ALPHA), &routes(), &[4]),
        held("lease table", &for_node(RELAY), &lease_table(), &[4]),
        held("meeting routes", &for_node(ALPHA), &meeting_routes(), &[4]),
        held("meeting table", &for_node(RELAY), &meeting_table(), &[4]),
        held(
            "beacon",
            &Stamp {
                epoch: 2,
                valid_until: Some(Wall(NOW.0 + 900_000)),
                ..cluster(256, Some(digest(10)))
            },
            &beacon(),
            &[5],
        ),
        held("authority succession", &cluster(1, None), &succession(), &[4]),
    ];
    let vectors = json(include_str!("../../vectors/documents.json"));
    let names: Vec<&String> = vectors.as_object().expect("an object").keys().collect();

    assert_eq!(
        names.len(),
        all.len(),
        "a vector that nothing is held to: {names:?}"
    );
}

fn late_config() -> Stamp {
    Stamp {
        version: 1 << 33,
        previous: Some(digest(7)),
        ..for_node(ALPHA)
    }
}

#[test]
fn a_token_has_the_text_of_the_vectors() {
    let vector = json(include_str!("../../vectors/token.json"));
    let secret = TokenSecret::from_bytes(hex_array(&vector["secret"]));
    let claims = envelope::seal(
        &token::stamp(&join_claims(), 1, NOW),
        &join_claims(),
        &[&signing(4)],
    );
    let token = JoinToken::new(claims, secret.clone()).expect("short");
    let read = JoinToken::parse(text(&vector["text"])).expect("a good token");

    assert_eq!(token.reveal().as_str(), text(&vector["text"]));
    assert_eq!(secret.hash().to_string(), text(&vector["secret_hash"]));
    assert_eq!(read.secret(), &secret);
    assert_eq!(read.verify(&signing(4).verify_key()), Ok(join_claims()));
}

#[test]
fn trees_have_the_roots_and_paths_of_the_vectors() {
    for vector in rows(&json(include_str!("../../vectors/merkle.json"))) {
        let leaves: Vec<Leaf> = rows(&vector["leaves"]).iter().map(leaf).collect();
        let tree = Tree::new(leaves.iter().cloned());

        assert_eq!(tree.root().to_string(), text(&vector["root"]));
        assert_eq!(rows(&vector["inclusions"]).len(), leaves.len());
        for (leaf, expected) in leaves.iter().zip(rows(&vector["inclusions"])) {
            let inclusion = tree.prove(leaf.node()).expect("it is in the tree");
            assert_eq!(hex(&protocol::cbor::encode(&inclusion)), text(expected));

            let read: Inclusion = protocol::cbor::decode(&unhex(expected)).expect("a good inclusion");
            assert!(read.proves(leaf, &tree.root(), tree.len()));
        }
    }
}

#[test]
fn frames_are_sealed_and_opened_as_in_the_vectors() {
    let vectors = json(include_str!("../../vectors/frame.json"));
    let (alpha, beta) = (
        SealSecret::from_bytes([0x11; 32]),
        SealSecret::from_bytes([0x22; 32]),
    );
    let sender = PairKeys::derive(CLUSTER, (ALPHA, &alpha), (BETA, &beta.seal_key())).expect("good keys");
    let receiver = PairKeys::derive(CLUSTER, (BETA, &beta), (ALPHA, &alpha.seal_key())).expect("good keys");
    let messages = messages();
    assert_eq!(
        vectors["sealed"].as_object().expect("an object").len(),
        messages.len()
    );

    for (number, (name, class, path, content)) in (1_000..).zip(messages) {
        let vector = &vectors["sealed"][name];
        let header = FrameHeader {
            class,
            form: Form::Sealed,
            path,
            boot: boot(),
            sequence: Sequence(number),
        };
        let mut frame = Vec::new();
        let mut rng = Scripted(unhex(&vector["nonce"]));
        sender
            .seal(&header, &content, &mut rng, &mut frame)
            .expect("it fits");
        assert_eq!(hex(&frame), text(&vector["frame"]), "{name}");

        let (read, body) = FrameHeader::parse(&frame).expect("just written");
        assert_eq!(read, header, "{name}");
        assert_eq!(receiver.open(&read, body, &mut Vec::new()), Ok(content), "{name}");
    }
}

#[test]
fn link_messages_are_written_as_in_the_vectors() {
    let vectors = json(include_str!("../../vectors/frame.json"));
    let refused = LinkMessage::Refused {
        path: RELAYED,
        class: Class::Payload,
        reason: RefusalReason::PayloadForwardingDisabled,
    };
    let beacon = LinkMessage::Beacon(ByteVec::from(b"a signed beacon".to_vec()));
    let mut frame = Vec::new();

    refused.write(boot(), Sequence(9), &mut frame).expect("it fits");
    assert_eq!(hex(&frame), text(&vectors["refused"]));
    beacon.write(boot(), Sequence(10), &mut frame).expect("it fits");
    assert_eq!(hex(&frame), text(&vectors["beacon"]));
    let look = LinkMessage::Look(RELAYED);
    look.write(boot(), Sequence(10), &mut frame).expect("it fits");
    assert_eq!(hex(&frame), text(&vectors["look"]));
    let seen = LinkMessage::Seen {
        path: RELAYED,
        address: somewhere(),
    };
    seen.write(boot(), Sequence(10), &mut frame).expect("it fits");
    assert_eq!(hex(&frame), text(&vectors["seen"]));
}

#[test]
fn a_contract_is_sealed_and_opened_as_in_the_vectors() {
    let vector = json(include_str!("../../vectors/sealed.json"));
    let secret = SealSecret::from_bytes([0x11; 32]);
    let plaintext = unhex(&vector["plaintext"]);
    let mut rng = Scripted(unhex(&vector["ikm"]));
    let sealed = seal_to(
        &secret.seal_key(),
        JOIN_CONTRACT,
        REQUEST.as_bytes(),
        &plaintext,
        &mut rng,
    );

    assert_eq!(
        sealed.map(|bytes| hex(&bytes)).as_deref(),
        Ok(text(&vector["sealed"]))
    );
    let opened = open_sealed(
        &secret,
        JOIN_CONTRACT,
        REQUEST.as_bytes(),
        &unhex(&vector["sealed"]),
    );
    assert_eq!(opened.as_deref(), Ok(&plaintext));
}

/// Holds one document to its vector, sealing and opening.
fn held<D: Document + PartialEq + std::fmt::Debug>(name: &str, stamp: &Stamp, body: &D, seeds: &[u8]) {
    let vectors = json(include_str!("../../vectors/documents.json"));
    let vector = &vectors[name];
    let signers: Vec<SigningKey> = seeds.iter().copied().map(signing).collect();
    let slots: Vec<&dyn Sign> = signers.iter().map(|key| key as &dyn Sign).collect();
    let sealed = envelope::seal(stamp, body, &slots);
    assert_eq!(hex(&sealed), text(&vector["envelope"]), "{name}");
    assert_eq!(
        envelope::payload_hash(stamp, body).to_string(),
        text(&vector["hash"]),
        "{name}"
    );

    let keys: Vec<_> = signers.iter().map(SigningKey::verify_key).collect();
    let expected = Expected {
        realm: stamp.realm,
        subject: stamp.subject,
    };
    let opened = Envelope::parse(&unhex(&vector["envelope"]))
        .and_then(|envelope| envelope.open_by::<D>(&expected, &keys, keys.len()))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    assert_eq!(&opened.body, body, "{name}");
    assert_eq!(opened.hash.to_string(), text(&vector["hash"]), "{name}");
    assert_eq!(opened.header.rank(), (stamp.epoch, stamp.version), "{name}");
}

fn messages() -> [(&'static str, Class, PathTag, Content); 5] {
    let content = |generation, counter, message| Content {
        mark: Mark { generation, counter },
        message,
    };
    let probe = Message::Probe(Probe {
        probe: 1 << 63,
        path: RELAYED,
        sent: 300,
    });
    let reply = Message::ProbeReply(ProbeReply {
        probe: 24,
        path: PathTag::Direct,
        observed_from: ALPHA,
        received: 299,
    });
    let choice = Message::Choice(Choice {
        path: PathTag::Direct,
    });
    let synthetic = Message::Synthetic(Synthetic {
        pair_sequence: 65_536,
        bytes: ByteVec::from(b"stones in a mesh".to_vec()),
    });
    let meet = Message::Meet(Meet {
        number: 1 << 40,
        agreed: true,
        addresses: vec![
            somewhere(),
            Address("[2001:db8::7]:7444".parse().expect("an address")),
        ],
    });

    [
        ("probe", Class::Telemetry, RELAYED, content(5, 1, probe)),
        (
            "probe reply",
            Class::Telemetry,
            PathTag::Direct,
            content(5, 0, reply),
        ),
        (
            "choice",
            Class::RouteControl,
            RELAYED,
            content(u64::MAX, 2, choice),
        ),
        ("synthetic", Class::Synthetic, RELAYED, content(0, 0, synthetic)),
        ("meet", Class::FabricControl, RELAYED, content(5, 1, meet)),
    ]
}

fn somewhere() -> Address {
    Address("203.0.113.7:7444".parse().expect("an address"))
}

fn leaf(row: &Value) -> Leaf {
    let entries: Vec<Entry> = protocol::cbor::decode(&unhex(&row["entries"])).expect("good entries");

    Leaf::new(text(&row["node"]).parse().expect("an id"), entries)
}

fn digest(number: u8) -> Digest {
    Digest::of(&[number])
}

fn signing(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn boot() -> BootTag {
    let bytes: [u8; 16] = std::array::from_fn(|index| 0xb0 + index as u8);

    BootId::from_bytes(bytes).into()
}

/// Yields the bytes that the other implementation drew.
struct Scripted(Vec<u8>);

impl rand::TryRng for Scripted {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;

        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;

        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        let drawn: Vec<u8> = self.0.drain(..out.len()).collect();
        out.copy_from_slice(&drawn);

        Ok(())
    }
}

impl rand::TryCryptoRng for Scripted {}

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("a vector file is JSON")
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().expect("an array")
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

fn hex(bytes: &[u8]) -> String {
    HEXLOWER.encode(bytes)
}

fn unhex(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(text(value).as_bytes()).expect("hex")
}

fn hex_array<const N: usize>(value: &Value) -> [u8; N] {
    unhex(value).try_into().expect("as many bytes as asked for")
}

const CLUSTER: ClusterId = ClusterId::from_bytes([0xc1; 16]);
const INSTALLATION: InstallationId = InstallationId::from_bytes([0xa1; 16]);
const OPERATOR: OperatorId = OperatorId::from_bytes([0xd1; 16]);
const ALPHA: NodeId = NodeId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const BETA: NodeId = NodeId::from_bytes([0xb2; 16]);
const RELAY: NodeId = NodeId::from_bytes([0xb3; 16]);
const LEASE: LeaseId = LeaseId::from_bytes([0x1e; 16]);
const REQUEST: RequestId = RequestId::from_bytes([0x9e; 16]);
const RELAYED: PathTag = PathTag::Relay {
    lease: LEASE,
    generation: 7,
};
const NOW: Wall = Wall(1_800_000_000_000);
