use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber,
};

use super::*;
use crate::certificate::{
    BACKDATING, CA_LIFE, IssuingCa, LEAF_LIFE, Leaf, Signer, Validity, controller_server_name, issue_ca,
    node_server_name,
};
use crate::document::authority::{RevocationList, RevokedCertificate, RevokedNode, Serial, TrustBundle};
use crate::key::{Digest, SigningKey};

/// Every leaf at every door, called by the name of either cluster.
#[test]
fn a_leaf_opens_the_door_of_its_role_and_cluster_only() {
    use CertificateRole::{Controller, Node};

    let anchors = anchors();
    let wrong_role = |found| Err(Refused::WrongRole { found });
    let wrong_cluster = |found| Err(Refused::WrongCluster { found });
    let rows = [
        (NODE, Node, HOME, HOME, Ok(())),
        (NODE, Node, HOME, AWAY, wrong_cluster(HOME)),
        (NODE, Node, AWAY, HOME, wrong_cluster(AWAY)),
        (NODE, Node, AWAY, AWAY, Ok(())),
        (NODE, Controller, HOME, HOME, wrong_role(Controller)),
        (NODE, Controller, AWAY, HOME, wrong_role(Controller)),
        (PEER, Controller, HOME, HOME, Ok(())),
        (PEER, Controller, HOME, AWAY, wrong_cluster(HOME)),
        (PEER, Controller, AWAY, HOME, wrong_cluster(AWAY)),
        (PEER, Node, HOME, HOME, wrong_role(Node)),
        (PEER, Node, AWAY, HOME, wrong_role(Node)),
        (MESH, Node, HOME, HOME, Ok(())),
        (MESH, Node, HOME, AWAY, wrong_cluster(HOME)),
        (MESH, Node, AWAY, HOME, wrong_cluster(AWAY)),
        (MESH, Controller, HOME, HOME, wrong_role(Controller)),
        (PARTNER, Node, HOME, HOME, Err(Refused::NotServed)),
        (PARTNER, Controller, HOME, HOME, Err(Refused::NotServed)),
        (JOIN, Node, HOME, AWAY, Ok(())),
        (JOIN, Controller, AWAY, HOME, Ok(())),
    ];
    for (alpn, role, of, called, expected) in rows {
        let name = match alpn == MESH {
            true => node_server_name(OTHER_NODE, called),
            false => controller_server_name(called),
        };
        let found = admit(
            Some(alpn),
            Some(&name),
            &[leaf(role, of)],
            &anchors,
            &Revocations::default(),
            NOON,
        );
        let door = String::from_utf8_lossy(alpn);
        assert_eq!(
            found.map(|_| ()),
            expected,
            "{role:?} of {of:?} at {door} of {called:?}"
        );
    }
}

#[test]
fn who_is_admitted_is_named_with_what_revokes_it() {
    let at = |alpn, sni: &str, chain: &[CertificateDer<'_>]| {
        admit(
            Some(alpn),
            Some(sni),
            chain,
            &anchors(),
            &Revocations::default(),
            NOON,
        )
        .unwrap()
    };
    let identity = Identity {
        cluster: HOME,
        holder: Holder::Node(THIS_NODE),
        serial: serial(7),
        issuer: Digest::of(&ca_key(CertificateRole::Node, HOME).verify_key().spki()),
        key: key(0x77).verify_key(),
        validity: Validity::starting(NOON, LEAF_LIFE),
    };
    let chain = [leaf(CertificateRole::Node, HOME)];

    assert_eq!(
        at(NODE, &controller_server_name(HOME), &chain),
        Admitted::Node {
            node: THIS_NODE,
            identity: identity.clone()
        }
    );
    assert_eq!(
        at(MESH, &node_server_name(OTHER_NODE, HOME), &chain),
        Admitted::Neighbour {
            node: THIS_NODE,
            identity
        }
    );
    assert_eq!(
        at(JOIN, &controller_server_name(HOME), &[]),
        Admitted::Stranger { cluster: HOME }
    );
    assert!(matches!(
        at(
            PEER,
            &controller_server_name(HOME),
            &[leaf(CertificateRole::Controller, HOME)]
        ),
        Admitted::Controller {
            controller: CONTROLLER,
            ..
        }
    ));
}

#[test]
fn a_connection_without_our_protocol_name_or_certificate_is_refused() {
    let chain = [leaf(CertificateRole::Node, HOME)];
    let controller = controller_server_name(HOME);
    let node = node_server_name(THIS_NODE, HOME);
    let stranger = controller_server_name(ClusterId::from_bytes([9; 16]));
    let judge = |alpn: Option<&[u8]>, sni: Option<&str>, chain: &[CertificateDer<'_>]| {
        admit(alpn, sni, chain, &anchors(), &Revocations::default(), NOON).unwrap_err()
    };

    assert_eq!(judge(None, Some(&controller), &chain), Refused::UnknownAlpn);
    assert_eq!(
        judge(Some(b"h3"), Some(&controller), &chain),
        Refused::UnknownAlpn
    );
    for (alpn, name) in [
        (NODE, None),
        (NODE, Some("example.org")),
        (NODE, Some(node.as_str())),
        (PEER, Some(node.as_str())),
        (JOIN, Some(node.as_str())),
        (MESH, Some(controller.as_str())),
    ] {
        assert_eq!(
            judge(Some(alpn), name, &chain),
            Refused::UnknownServerName,
            "{name:?}"
        );
    }
    for alpn in [NODE, PEER, JOIN] {
        assert!(matches!(
            judge(Some(alpn), Some(&stranger), &chain),
            Refused::UnknownCluster { .. }
        ));
    }
    for (alpn, name) in [(NODE, &controller), (PEER, &controller), (MESH, &node)] {
        assert_eq!(judge(Some(alpn), Some(name), &[]), Refused::NoCertificate);
    }
}

#[test]
fn a_certificate_counts_from_its_first_second_to_its_last() {
    let ends = NOON.after(LEAF_LIFE);
    let begins = NOON.before(BACKDATING);
    let second = Duration::from_secs(1);

    assert!(node_at(begins).is_ok());
    assert!(node_at(ends).is_ok());
    assert_eq!(
        node_at(begins.before(second)),
        Err(Refused::NotYetValid { not_before: begins })
    );
    assert_eq!(
        node_at(ends.after(second)),
        Err(Refused::Expired { not_after: ends })
    );
}

/// webpki does not look at an anchor's dates.
#[test]
fn a_ca_that_has_ended_vouches_for_nobody() {
    let mut anchors = Anchors::default();
    let short = Validity::starting(NOON, Duration::from_secs(60));
    let signer = ca_key(CertificateRole::Node, HOME);
    let certificate = issue_ca(CertificateRole::Node, HOME, &signer, serial(1), short).unwrap();
    anchors.put(HOME, &bundle(&[certificate.as_ref()], &[])).unwrap();
    let chain = [leaf(CertificateRole::Node, HOME)];

    assert!(node_with(&chain, &anchors, NOON).is_ok());
    assert_eq!(
        node_with(&chain, &anchors, NOON.after(Duration::from_secs(61))),
        Err(Refused::IssuerNotValid)
    );
}

#[test]
fn a_ca_of_the_same_name_with_another_key_vouches_for_nobody() {
    let impostor = key(0x66);
    let same_name = issue_ca(
        CertificateRole::Node,
        HOME,
        &impostor,
        serial(1),
        Validity::starting(NOON, CA_LIFE),
    )
    .unwrap();
    let forged = IssuingCa::open(&same_name, &impostor)
        .unwrap()
        .issue(&leaf_of(CertificateRole::Node, HOME))
        .unwrap();

    assert_eq!(node(std::slice::from_ref(&forged)), Err(Refused::WrongIssuer));
    assert_eq!(node(&[forged, same_name]), Err(Refused::WrongIssuer));
}

#[test]
fn the_second_ca_of_a_rotation_vouches_too() {
    let (old, new) = (ca_key(CertificateRole::Node, HOME), key(0x55));
    let cas = [&old, &new].map(|key| {
        issue_ca(
            CertificateRole::Node,
            HOME,
            key,
            serial(1),
            Validity::starting(NOON, CA_LIFE),
        )
        .unwrap()
    });
    let mut anchors = Anchors::default();
    anchors
        .put(HOME, &bundle(&[cas[0].as_ref(), cas[1].as_ref()], &[]))
        .unwrap();
    for (ca, key) in cas.iter().zip([&old, &new]) {
        let leaf = IssuingCa::open(ca, key)
            .unwrap()
            .issue(&leaf_of(CertificateRole::Node, HOME))
            .unwrap();
        let admitted = node_with(&[leaf], &anchors, NOON).unwrap();

        assert_eq!(admitted.issuer, Digest::of(&key.verify_key().spki()));
    }
}

#[test]
fn a_leaf_issues_nothing() {
    let node_key = key(0x77);
    let real = leaf(CertificateRole::Node, HOME);
    let below = forged(leaf_params(), &node_key, DistinguishedName::new());

    assert_eq!(node(&[below, real]), Err(Refused::WrongIssuer));
}

#[test]
fn an_intermediate_is_never_used() {
    let (ca, middle) = (ca_key(CertificateRole::Node, HOME), key(0x44));
    let mut middle_name = DistinguishedName::new();
    middle_name.push(rcgen::DnType::CommonName, "in between");
    let mut params = leaf_params();
    params.subject_alt_names.clear();
    params.distinguished_name = middle_name.clone();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let intermediate = params
        .signed_by(&Signer::of(&middle), &issuer(&ca, ca_subject(HOME)))
        .unwrap()
        .der()
        .clone();
    let below = forged(leaf_params(), &middle, middle_name);

    assert_eq!(node(&[below, intermediate]), Err(Refused::WrongIssuer));
}

#[test]
fn a_ca_is_not_let_in_as_a_leaf() {
    let ca = ca(CertificateRole::Node, HOME);

    assert_eq!(
        node(&[ca]),
        Err(Refused::MalformedCertificate(InvalidCertificate::Ca))
    );
}

/// A CA whose key was misused: names are held to the CA's cluster and role, whatever it signed.
#[test]
fn a_ca_cannot_vouch_beyond_its_cluster_and_role() {
    let ca = ca_key(CertificateRole::Node, HOME);
    let mut abroad = leaf_params();
    abroad.subject_alt_names = names_of(
        &node_server_name(THIS_NODE, AWAY),
        &format!("spiffe://{AWAY}/node/{THIS_NODE}"),
    );
    let mut posing = leaf_params();
    posing.subject_alt_names = names_of(
        &controller_server_name(HOME),
        &format!("spiffe://{HOME}/controller/{CONTROLLER}"),
    );
    let abroad = [forged(abroad, &ca, ca_subject(HOME))];
    let posing = [forged(posing, &ca, ca_subject(HOME))];
    let judge = |alpn, called, chain: &[CertificateDer<'_>]| {
        let name = controller_server_name(called);
        admit(
            Some(alpn),
            Some(&name),
            chain,
            &anchors(),
            &Revocations::default(),
            NOON,
        )
        .unwrap_err()
    };

    assert_eq!(judge(NODE, HOME, &abroad), Refused::WrongCluster { found: AWAY });
    assert_eq!(judge(NODE, AWAY, &abroad), Refused::WrongIssuer);
    assert_eq!(judge(PEER, HOME, &posing), Refused::WrongIssuer);
    assert_eq!(
        verify_server(
            &posing,
            (ServerOf::Controller, HOME),
            &anchors(),
            &Revocations::default(),
            NOON
        ),
        Err(Refused::WrongIssuer)
    );
}

#[test]
fn a_leaf_is_for_clients_only_if_it_says_so() {
    let ca = ca_key(CertificateRole::Node, HOME);
    let mut server_only = leaf_params();
    server_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let mut client_only = leaf_params();
    client_only.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let mut silent = leaf_params();
    silent.extended_key_usages.clear();
    let [server_only, client_only, silent] =
        [server_only, client_only, silent].map(|params| [forged(params, &ca, ca_subject(HOME))]);

    assert!(node(&client_only).is_ok());
    assert_eq!(node(&server_only), Err(Refused::WrongUsage));
    assert_eq!(node(&silent), Err(Refused::WrongUsage));
    assert!(serves(&server_only, ServerOf::Node(THIS_NODE)).is_ok());
    assert_eq!(
        serves(&client_only, ServerOf::Node(THIS_NODE)),
        Err(Refused::WrongUsage)
    );
    assert_eq!(
        serves(&silent, ServerOf::Node(THIS_NODE)),
        Err(Refused::WrongUsage)
    );
}

#[test]
fn a_changed_leaf_is_refused() {
    let (real, anchors) = (leaf(CertificateRole::Node, HOME), anchors());
    for at in 0..real.len() {
        for bit in 0..8 {
            let mut changed = real.to_vec();
            changed[at] ^= 1 << bit;
            assert!(
                node_with(&[CertificateDer::from(changed)], &anchors, NOON).is_err(),
                "bit {bit} of byte {at}"
            );
        }
    }
}

#[test]
fn a_server_is_the_one_that_was_dialled() {
    let controller = [leaf(CertificateRole::Controller, HOME)];
    let a_node = [leaf(CertificateRole::Node, HOME)];
    let abroad = [leaf(CertificateRole::Controller, AWAY)];

    assert!(serves(&controller, ServerOf::Controller).is_ok());
    assert!(serves(&a_node, ServerOf::Node(THIS_NODE)).is_ok());
    assert_eq!(
        serves(&a_node, ServerOf::Node(OTHER_NODE)),
        Err(Refused::WrongNode { found: THIS_NODE })
    );
    assert_eq!(
        serves(&a_node, ServerOf::Controller),
        Err(Refused::WrongRole {
            found: CertificateRole::Node
        })
    );
    assert_eq!(
        serves(&controller, ServerOf::Node(THIS_NODE)),
        Err(Refused::WrongRole {
            found: CertificateRole::Controller
        })
    );
    assert_eq!(
        serves(&abroad, ServerOf::Controller),
        Err(Refused::WrongCluster { found: AWAY })
    );
    assert_eq!(serves(&[], ServerOf::Controller), Err(Refused::NoCertificate));
}

#[test]
fn a_joining_client_believes_only_the_bundles_controller_ca() {
    let impostor = key(0x66);
    let same_name = issue_ca(
        CertificateRole::Controller,
        HOME,
        &impostor,
        serial(1),
        Validity::starting(NOON, CA_LIFE),
    )
    .unwrap();
    let forged = IssuingCa::open(&same_name, &impostor)
        .unwrap()
        .issue(&leaf_of(CertificateRole::Controller, HOME))
        .unwrap();

    assert_eq!(
        serves(&[forged, same_name], ServerOf::Controller),
        Err(Refused::WrongIssuer)
    );
}

#[test]
fn a_revoked_certificate_is_refused_by_serial_issuer_or_node() {
    let issuer = Digest::of(&ca_key(CertificateRole::Node, HOME).verify_key().spki());
    let by_serial = RevocationList {
        certificates: vec![RevokedCertificate {
            issuer,
            serial: serial(7),
            ends_at: Wall(u64::MAX),
        }],
        ..RevocationList::default()
    };
    let by_issuer = RevocationList {
        issuers: vec![issuer],
        ..RevocationList::default()
    };
    for (list, expected) in [
        (by_serial, RevokedBy::Certificate),
        (by_issuer, RevokedBy::Issuer),
        (node_list(1), RevokedBy::Node),
    ] {
        let mut revocations = Revocations::default();
        revocations.add(HOME, &list);
        assert_eq!(revoked_by(&revocations), Some(expected));
    }
}

#[test]
fn a_revocation_says_nothing_about_other_certificates() {
    let issuer = Digest::of(&ca_key(CertificateRole::Node, HOME).verify_key().spki());
    let others = RevocationList {
        certificates: vec![
            RevokedCertificate {
                issuer,
                serial: serial(8),
                ends_at: Wall(u64::MAX),
            },
            RevokedCertificate {
                issuer: Digest::of(b"another"),
                serial: serial(7),
                ends_at: Wall(u64::MAX),
            },
        ],
        nodes: vec![RevokedNode {
            node: OTHER_NODE,
            generation: 9,
            ends_at: Wall(u64::MAX),
        }],
        issuers: vec![Digest::of(b"another")],
        floor: Wall::default(),
    };
    let mut revocations = Revocations::default();
    revocations.add(HOME, &others);
    assert_eq!(revoked_by(&revocations), None);

    let mut abroad = Revocations::default();
    abroad.add(AWAY, &node_list(1));
    assert_eq!(revoked_by(&abroad), None);
}

#[test]
fn a_node_comes_back_with_a_generation_above_the_revoked_one() {
    let mut revocations = Revocations::default();
    revocations.add(HOME, &node_list(2));

    for (generation, expected) in [(1, Some(RevokedBy::Node)), (2, Some(RevokedBy::Node)), (3, None)] {
        revocations.note_generation(HOME, THIS_NODE, generation);
        assert_eq!(revoked_by(&revocations), expected, "generation {generation}");
    }
    revocations.add(HOME, &node_list(3));
    assert_eq!(revoked_by(&revocations), Some(RevokedBy::Node));
}

#[test]
fn an_older_list_takes_nothing_back() {
    let mut revocations = Revocations::default();
    revocations.add(HOME, &node_list(2));
    revocations.note_generation(HOME, THIS_NODE, 2);
    revocations.add(HOME, &node_list(1));
    revocations.add(HOME, &RevocationList::default());

    assert_eq!(revoked_by(&revocations), Some(RevokedBy::Node));
}

#[test]
fn a_bundle_holds_cas_of_its_cluster_in_their_places() {
    use CertificateRole::{Controller, Node};

    let (node, controller, abroad) = (ca(Node, HOME), ca(Controller, HOME), ca(Node, AWAY));
    let a_leaf = leaf(Node, HOME);
    let put = |node_cas: &[&[u8]], controller_cas: &[&[u8]]| {
        Anchors::default().put(HOME, &bundle(node_cas, controller_cas))
    };

    assert_eq!(put(&[&node], &[&controller]), Ok(()));
    assert_eq!(
        put(&[&controller], &[&node]),
        Err(InvalidBundle::WrongRole { found: Controller })
    );
    assert_eq!(
        put(&[&abroad], &[&controller]),
        Err(InvalidBundle::WrongCluster { found: AWAY })
    );
    assert_eq!(
        put(&[&a_leaf], &[&controller]),
        Err(InvalidBundle::Certificate(InvalidCertificate::NotCa))
    );
    assert_eq!(
        put(&[node.as_ref(); CAS_PER_ROLE + 1], &[&controller]),
        Err(InvalidBundle::TooMany)
    );
}

#[test]
fn a_refused_bundle_leaves_the_anchors_as_they_were() {
    let mut anchors = anchors();
    let refused = anchors.put(HOME, &bundle(&[b"nothing"], &[]));

    assert!(refused.is_err());
    assert!(node_with(&[leaf(CertificateRole::Node, HOME)], &anchors, NOON).is_ok());
    assert_eq!(anchors.certificates().count(), 4);
    assert_eq!(anchors.clusters().collect::<Vec<_>>(), [HOME, AWAY]);
}

#[test]
fn a_new_bundle_replaces_the_one_before() {
    let mut anchors = anchors();
    anchors.put(HOME, &bundle(&[], &[])).unwrap();

    assert_eq!(
        node_with(&[leaf(CertificateRole::Node, HOME)], &anchors, NOON),
        Err(Refused::WrongIssuer)
    );
}

/// What the node door of the home cluster says to a chain, at noon.
fn node(chain: &[CertificateDer<'_>]) -> Result<Identity, Refused> {
    node_with(chain, &anchors(), NOON)
}

fn node_at(now: Wall) -> Result<Identity, Refused> {
    node_with(&[leaf(CertificateRole::Node, HOME)], &anchors(), now)
}

fn node_with(chain: &[CertificateDer<'_>], anchors: &Anchors, now: Wall) -> Result<Identity, Refused> {
    let name = controller_server_name(HOME);
    let admitted = admit(
        Some(NODE),
        Some(&name),
        chain,
        anchors,
        &Revocations::default(),
        now,
    )?;
    let Admitted::Node { identity, .. } = admitted else {
        panic!("the node door admitted {admitted:?}");
    };

    Ok(identity)
}

fn serves(chain: &[CertificateDer<'_>], expected: ServerOf) -> Result<Identity, Refused> {
    verify_server(chain, (expected, HOME), &anchors(), &Revocations::default(), NOON)
}

/// By what the home cluster's node is turned away, from the door and from a connection that is already open.
fn revoked_by(revocations: &Revocations) -> Option<RevokedBy> {
    let chain = [leaf(CertificateRole::Node, HOME)];
    let name = controller_server_name(HOME);
    let at_the_door = match admit(Some(NODE), Some(&name), &chain, &anchors(), revocations, NOON) {
        Ok(_) => None,
        Err(Refused::Revoked(by)) => Some(by),
        Err(other) => panic!("refused for another reason: {other}"),
    };
    let identity = node(&chain).unwrap();
    assert_eq!(revocations.revoked(&identity), at_the_door);

    at_the_door
}

fn node_list(generation: u64) -> RevocationList {
    RevocationList {
        nodes: vec![RevokedNode {
            node: THIS_NODE,
            generation,
            ends_at: Wall(u64::MAX),
        }],
        ..RevocationList::default()
    }
}

/// Both clusters, with a CA for each role.
fn anchors() -> Anchors {
    let mut anchors = Anchors::default();
    for cluster in [HOME, AWAY] {
        let (node, controller) = (
            ca(CertificateRole::Node, cluster),
            ca(CertificateRole::Controller, cluster),
        );
        anchors.put(cluster, &bundle(&[&node], &[&controller])).unwrap();
    }

    anchors
}

fn bundle(node_cas: &[&[u8]], controller_cas: &[&[u8]]) -> TrustBundle {
    let own = |cas: &[&[u8]]| cas.iter().map(|der| der.to_vec().into()).collect();

    TrustBundle {
        node_cas: own(node_cas),
        controller_cas: own(controller_cas),
    }
}

fn ca(role: CertificateRole, cluster: ClusterId) -> CertificateDer<'static> {
    let validity = Validity::starting(NOON, CA_LIFE);

    issue_ca(role, cluster, &ca_key(role, cluster), serial(1), validity).unwrap()
}

fn ca_key(role: CertificateRole, cluster: ClusterId) -> SigningKey {
    let role = match role {
        CertificateRole::Node => 0x10,
        CertificateRole::Controller => 0x20,
    };

    key(role + cluster.as_bytes()[0])
}

fn leaf(role: CertificateRole, cluster: ClusterId) -> CertificateDer<'static> {
    let (certificate, key) = (ca(role, cluster), ca_key(role, cluster));

    IssuingCa::open(&certificate, &key)
        .unwrap()
        .issue(&leaf_of(role, cluster))
        .unwrap()
}

fn leaf_of(role: CertificateRole, cluster: ClusterId) -> Leaf {
    Leaf {
        holder: match role {
            CertificateRole::Node => Holder::Node(THIS_NODE),
            CertificateRole::Controller => Holder::Controller(CONTROLLER),
        },
        cluster,
        key: key(0x77).verify_key(),
        serial: serial(7),
        validity: Validity::starting(NOON, LEAF_LIFE),
    }
}

/// What [`IssuingCa`] would not sign: any parameters, under any issuer's name, for the key of [`leaf_of`].
fn forged(
    params: CertificateParams,
    key: &SigningKey,
    issuer_name: DistinguishedName,
) -> CertificateDer<'static> {
    params
        .signed_by(&Signer::of(&self::key(0x77)), &issuer(key, issuer_name))
        .unwrap()
        .der()
        .clone()
}

fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(serial(7).as_bytes()));
    params.subject_alt_names = names_of(
        &node_server_name(THIS_NODE, HOME),
        &format!("spiffe://{HOME}/node/{THIS_NODE}"),
    );
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];

    params
}

fn names_of(dns: &str, uri: &str) -> Vec<SanType> {
    vec![
        SanType::DnsName(dns.try_into().unwrap()),
        SanType::URI(uri.try_into().unwrap()),
    ]
}

fn ca_subject(cluster: ClusterId) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(rcgen::DnType::OrganizationName, cluster.to_string());
    name.push(rcgen::DnType::CommonName, "gabion node ca");

    name
}

fn issuer(key: &SigningKey, name: DistinguishedName) -> rcgen::Issuer<'static, Signer<'_>> {
    let mut params = CertificateParams::default();
    params.distinguished_name = name;

    rcgen::Issuer::new(params, Signer::of(key))
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn serial(last: u8) -> Serial {
    let mut bytes = [0x40; 16];
    bytes[15] = last;

    Serial::from_bytes(bytes)
}

const HOME: ClusterId = ClusterId::from_bytes([1; 16]);
const AWAY: ClusterId = ClusterId::from_bytes([2; 16]);
const THIS_NODE: NodeId = NodeId::from_bytes([5; 16]);
const OTHER_NODE: NodeId = NodeId::from_bytes([6; 16]);
const CONTROLLER: ControllerId = ControllerId::from_bytes([3; 16]);
/// 2026-07-01T12:00:00Z
const NOON: Wall = Wall(1_782_907_200_000);
