use data_encoding::HEXLOWER;
use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
    SanType, SerialNumber,
};

use super::issue::Signer;
use super::*;
use crate::key::SigningKey;

#[test]
fn another_implementation_makes_the_same_bytes() {
    let (node_ca, controller_ca) = (key(0x11), key(0x12));
    let (ca_node, ca_controller) = (ca(CertificateRole::Node), ca(CertificateRole::Controller));
    let node = IssuingCa::open(&ca_node, &node_ca).unwrap();
    let controller = IssuingCa::open(&ca_controller, &controller_ca).unwrap();

    assert_eq!(ca_node.as_ref(), vector("ca_node"));
    assert_eq!(ca_controller.as_ref(), vector("ca_controller"));
    assert_eq!(node.issue(&node_leaf()).unwrap().as_ref(), vector("leaf_node"));
    assert_eq!(
        controller.issue(&controller_leaf()).unwrap().as_ref(),
        vector("leaf_controller")
    );
    assert_eq!(csr(&key(0x21)), vector("csr"));
}

#[test]
fn what_another_implementation_wrote_is_read() {
    let node = claimed_identity(&vector("leaf_node")).unwrap();
    let controller = claimed_identity(&vector("leaf_controller")).unwrap();
    let ca = read_ca(&vector("ca_node")).unwrap();

    assert_eq!(node.holder, Holder::Node(NODE));
    assert_eq!(node.cluster, CLUSTER);
    assert_eq!(node.key, key(0x21).verify_key());
    assert_eq!(node.serial, serial(3));
    assert_eq!(node.validity, validity(LEAF_LIFE));
    assert_eq!(controller.holder, Holder::Controller(CONTROLLER));
    assert_eq!(
        ca,
        CaCertificate {
            role: CertificateRole::Node,
            cluster: CLUSTER,
            serial: serial(1),
            key: key(0x11).verify_key(),
            validity: validity(CA_LIFE),
        }
    );
}

/// Skipped, with a notice, where there is no `openssl`.
#[test]
#[expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the other implementation is a process that reads files"
)]
fn openssl_verifies_our_chains() {
    use std::process::Command;

    if Command::new("openssl").arg("version").output().is_err() {
        eprintln!("skipped: no openssl on the path");
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    for (role, ca_seed, leaf, host) in [
        (
            CertificateRole::Node,
            0x11,
            node_leaf(),
            node_server_name(NODE, CLUSTER),
        ),
        (
            CertificateRole::Controller,
            0x12,
            controller_leaf(),
            controller_server_name(CLUSTER),
        ),
    ] {
        let (anchor, signer) = (ca(role), key(ca_seed));
        let leaf = IssuingCa::open(&anchor, &signer).unwrap().issue(&leaf).unwrap();
        std::fs::write(directory.path().join("ca.pem"), pem(&anchor)).unwrap();
        std::fs::write(directory.path().join("leaf.pem"), pem(&leaf)).unwrap();
        for purpose in ["sslserver", "sslclient"] {
            let at = (START.seconds() + 60).to_string();
            let judged = Command::new("openssl")
                .current_dir(directory.path())
                .args(["verify", "-x509_strict", "-attime", &at, "-purpose", purpose])
                .args(["-verify_hostname", &host, "-CAfile", "ca.pem", "leaf.pem"])
                .output()
                .unwrap();
            assert!(judged.status.success(), "{role:?} as {purpose}: {judged:?}");
        }
    }
}

#[test]
fn a_ca_certifies_its_own_role_and_cluster_only() {
    let (certificate, key) = (ca(CertificateRole::Node), key(0x11));
    let ca = IssuingCa::open(&certificate, &key).unwrap();
    let foreign = Leaf {
        cluster: OTHER_CLUSTER,
        ..node_leaf()
    };

    assert_eq!(ca.issue(&foreign), Err(NotIssued::WrongCluster { ca: CLUSTER }));
    assert_eq!(
        ca.issue(&controller_leaf()),
        Err(NotIssued::WrongRole {
            ca: CertificateRole::Node
        })
    );
}

#[test]
fn a_leaf_ends_no_later_than_its_ca() {
    let (certificate, key) = (ca(CertificateRole::Node), key(0x11));
    let ca = IssuingCa::open(&certificate, &key).unwrap();
    let ending = |not_after| Leaf {
        validity: Validity {
            not_before: START,
            not_after,
        },
        ..node_leaf()
    };
    let end = START.after(CA_LIFE);

    assert!(ca.issue(&ending(end)).is_ok());
    assert_eq!(
        ca.issue(&ending(end.after(Duration::from_secs(1)))),
        Err(NotIssued::OutlivesIssuer { ends: end })
    );
}

#[test]
fn what_der_would_change_is_not_issued() {
    let make = |serial, validity| issue_ca(CertificateRole::Node, CLUSTER, &key(1), serial, validity);
    let fine = validity(CA_LIFE);
    let for_ever = Validity {
        not_before: START,
        not_after: Wall(u64::MAX),
    };

    assert_eq!(make(Serial::from_bytes([0; 16]), fine), Err(NotIssued::Serial));
    assert_eq!(make(Serial::from_bytes([0x80; 16]), fine), Err(NotIssued::Serial));
    assert_eq!(
        make(serial(1), validity(Duration::ZERO)),
        Err(NotIssued::EmptyValidity)
    );
    assert_eq!(make(serial(1), for_ever), Err(NotIssued::TimeOutOfRange));
}

#[test]
fn validity_begins_before_its_issue_and_includes_both_ends() {
    let validity = Validity::starting(START, LEAF_LIFE);

    assert!(validity.contains(START.before(BACKDATING)));
    assert!(!validity.contains(START.before(BACKDATING + Duration::from_secs(1))));
    assert!(validity.contains(START.after(LEAF_LIFE)));
    assert!(!validity.contains(START.after(LEAF_LIFE + Duration::from_secs(1))));
}

#[test]
fn a_ca_opens_with_its_own_key_only() {
    let certificate = ca(CertificateRole::Node);
    let leaf = vector("leaf_node");

    assert_eq!(
        IssuingCa::open(&certificate, &key(9)).err(),
        Some(NotAnIssuer::WrongKey)
    );
    assert_eq!(
        IssuingCa::open(&leaf, &key(0x21)).err(),
        Some(NotAnIssuer::Certificate(InvalidCertificate::NotCa))
    );
}

#[test]
fn a_changed_ca_certificate_is_refused() {
    let certificate = ca(CertificateRole::Node);
    for at in 0..certificate.len() {
        let mut changed = certificate.to_vec();
        changed[at] ^= 1;
        assert!(read_ca(&changed).is_err(), "byte {at}");
    }
}

#[test]
fn a_ca_certificate_is_no_leaf() {
    assert_eq!(claimed_identity(&vector("ca_node")), Err(InvalidCertificate::Ca));
}

#[test]
fn a_ca_with_another_subject_or_room_below_it_is_refused() {
    let mut renamed = ca_params();
    renamed
        .distinguished_name
        .push(rcgen::DnType::CommonName, "gabion node ca 2");
    let mut unbounded = ca_params();
    unbounded.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let mut no_signer = ca_params();
    no_signer.key_usages = vec![KeyUsagePurpose::DigitalSignature];

    for (params, expected) in [
        (renamed, InvalidCertificate::Subject),
        (unbounded, InvalidCertificate::NotCa),
        (no_signer, InvalidCertificate::KeyUsage),
    ] {
        let der = self_signed(&params);
        assert_eq!(read_ca(&der), Err(expected));
    }
    assert!(read_ca(&self_signed(&ca_params())).is_ok());
}

#[test]
fn a_ca_that_names_another_issuer_is_refused() {
    let (key, mut elsewhere) = (key(0x31), ca_params());
    elsewhere
        .distinguished_name
        .push(rcgen::DnType::CommonName, "gabion controller ca");
    let issuer = rcgen::Issuer::from_params(&elsewhere, Signer::of(&key));
    let crossed = ca_params().signed_by(&Signer::of(&key), &issuer).unwrap();

    assert_eq!(read_ca(crossed.der()), Err(InvalidCertificate::Subject));
}

#[test]
fn names_that_are_not_ours_are_refused() {
    let (dns, uri) = (
        node_server_name(NODE, CLUSTER),
        format!("spiffe://{CLUSTER}/node/{NODE}"),
    );
    let other_dns = node_server_name(NODE, OTHER_CLUSTER);
    let cases = [
        (vec![], InvalidCertificate::Names),
        (vec![dns_san(&dns)], InvalidCertificate::Names),
        (vec![uri_san(&uri)], InvalidCertificate::Names),
        (vec![dns_san(&dns), dns_san(&dns)], InvalidCertificate::Names),
        (
            vec![dns_san(&dns), uri_san(&uri), uri_san(&uri)],
            InvalidCertificate::Names,
        ),
        (
            vec![dns_san(&dns), uri_san(&uri), dns_san(&other_dns)],
            InvalidCertificate::Names,
        ),
        (
            vec![
                dns_san(&dns),
                uri_san(&uri),
                SanType::IpAddress([192, 0, 2, 1].into()),
            ],
            InvalidCertificate::Names,
        ),
        (
            vec![dns_san(&dns.to_ascii_uppercase()), uri_san(&uri)],
            InvalidCertificate::Names,
        ),
        (
            vec![
                dns_san(&dns),
                uri_san(&format!(
                    "spiffe://{CLUSTER}/node/{}",
                    NODE.to_string().to_ascii_uppercase()
                )),
            ],
            InvalidCertificate::Names,
        ),
        (
            vec![dns_san("*.gabion"), uri_san(&uri)],
            InvalidCertificate::Names,
        ),
        (
            vec![dns_san(&dns), uri_san(&uri.replace("/node/", "/relay/"))],
            InvalidCertificate::Names,
        ),
        (
            vec![dns_san(&dns), uri_san(&format!("{uri}/"))],
            InvalidCertificate::Names,
        ),
        (
            vec![dns_san(&other_dns), uri_san(&uri)],
            InvalidCertificate::NamesDisagree,
        ),
        (
            vec![dns_san(&controller_server_name(CLUSTER)), uri_san(&uri)],
            InvalidCertificate::NamesDisagree,
        ),
    ];
    for (names, expected) in cases {
        let mut params = leaf_params();
        params.subject_alt_names.clone_from(&names);
        assert_eq!(
            claimed_identity(&self_signed(&params)),
            Err(expected),
            "{names:?}"
        );
    }
}

#[test]
fn a_leaf_out_of_profile_is_refused() {
    let mut critical = leaf_params();
    let mut unknown = CustomExtension::from_oid_content(&[2, 25, 1], vec![0x05, 0x00]);
    unknown.set_criticality(true);
    critical.custom_extensions = vec![unknown];
    let mut twice = leaf_params();
    twice.custom_extensions = vec![CustomExtension::from_oid_content(
        &[2, 5, 29, 17],
        vec![0x30, 0x03, 0x82, 0x01, b'a'],
    )];
    let mut signs = leaf_params();
    signs.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let mut no_usage = leaf_params();
    no_usage.key_usages.clear();
    let mut short = leaf_params();
    short.serial_number = Some(SerialNumber::from_slice(&[0x40; 15]));
    let mut padded = leaf_params();
    padded.serial_number = Some(SerialNumber::from_slice(&[&[0x00], &[0x80; 15][..]].concat()));
    let mut backwards = leaf_params();
    backwards.not_after = backwards.not_before;

    for (params, expected) in [
        (critical, InvalidCertificate::CriticalExtension),
        (twice, InvalidCertificate::DuplicateExtension),
        (signs, InvalidCertificate::KeyUsage),
        (no_usage, InvalidCertificate::KeyUsage),
        (short, InvalidCertificate::Serial),
        (padded, InvalidCertificate::Serial),
        (backwards, InvalidCertificate::Validity),
    ] {
        assert_eq!(claimed_identity(&self_signed(&params)), Err(expected));
    }
    assert!(claimed_identity(&self_signed(&leaf_params())).is_ok());
}

#[test]
fn a_certificate_of_another_version_is_refused() {
    let mut certificate = self_signed(&leaf_params());
    let version = certificate
        .windows(5)
        .position(|window| window == [0xa0, 0x03, 0x02, 0x01, 0x02])
        .unwrap();
    certificate[version + 4] = 1;

    assert_eq!(claimed_identity(&certificate), Err(InvalidCertificate::Malformed));
}

#[test]
fn an_unknown_extension_that_is_not_critical_is_let_be() {
    let mut params = leaf_params();
    params.custom_extensions = vec![CustomExtension::from_oid_content(&[2, 25, 1], vec![0x05, 0x00])];

    assert!(claimed_identity(&self_signed(&params)).is_ok());
}

#[test]
fn bytes_that_are_no_certificate_are_refused() {
    let leaf = vector("leaf_node");
    let trailing = [leaf.as_slice(), &[0]].concat();

    assert_eq!(claimed_identity(&trailing), Err(InvalidCertificate::Malformed));
    assert_eq!(
        claimed_identity(&vector("p256_leaf")),
        Err(InvalidCertificate::Key)
    );
    assert_eq!(
        claimed_identity(&vec![0x30; CERTIFICATE_BYTES + 1]),
        Err(InvalidCertificate::TooLarge)
    );
    for end in 0..leaf.len() {
        assert_eq!(
            claimed_identity(&leaf[..end]),
            Err(InvalidCertificate::Malformed),
            "{end} bytes"
        );
    }
}

#[test]
fn a_request_yields_its_key_and_nothing_else() {
    let key = key(0x21);

    assert_eq!(parse_csr(&csr(&key)), Ok(key.verify_key()));
    assert_eq!(parse_csr(&vector("greedy_csr")), Ok(key.verify_key()));
    assert_eq!(parse_csr(&vector("p256_csr")), Err(InvalidCsr::NotEd25519));
}

#[test]
fn a_changed_request_is_refused() {
    let request = csr(&key(0x21));
    for at in 0..request.len() {
        for bit in 0..8 {
            let mut changed = request.clone();
            changed[at] ^= 1 << bit;
            assert!(parse_csr(&changed).is_err(), "bit {bit} of byte {at}");
        }
        assert_eq!(
            parse_csr(&request[..at]),
            Err(InvalidCsr::Malformed),
            "{at} bytes"
        );
    }
    assert_eq!(
        parse_csr(&[request.as_slice(), &[0]].concat()),
        Err(InvalidCsr::Malformed)
    );
    assert_eq!(
        parse_csr(&vec![0x30; CERTIFICATE_BYTES + 1]),
        Err(InvalidCsr::TooLarge)
    );
}

#[test]
fn a_request_for_somebody_elses_key_is_refused() {
    let (mine, theirs) = (csr(&key(0x21)), key(0x22).verify_key());
    let own_key = key(0x21).verify_key();
    let at = mine
        .windows(32)
        .position(|window| window == own_key.as_bytes())
        .unwrap();
    let mut forged = mine;
    forged[at..at + 32].copy_from_slice(theirs.as_bytes());

    assert_eq!(parse_csr(&forged), Err(InvalidCsr::BadSignature));
}

proptest::proptest! {
    /// Whatever bytes come, reading ends in a value or a refusal.
    #[test]
    fn a_leaf_with_changed_bytes_never_panics(
        changes in proptest::collection::vec((0..484_usize, proptest::num::u8::ANY), 1..6),
    ) {
        for name in ["leaf_node", "ca_node", "greedy_csr"] {
            let mut der = vector(name);
            for (at, value) in &changes {
                let at = at % der.len();
                der[at] = *value;
            }
            let _ = (claimed_identity(&der), read_ca(&der), parse_csr(&der));
            let _ = IssuingCa::open(&der, &key(0x11));
        }
    }
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

/// The serial that the vectors number `first`.
fn serial(first: u8) -> Serial {
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&[0x40, first]);

    Serial::from_bytes(bytes)
}

fn validity(life: Duration) -> Validity {
    Validity {
        not_before: START,
        not_after: START.after(life),
    }
}

fn ca(role: CertificateRole) -> rustls_pki_types::CertificateDer<'static> {
    let (seed, number) = match role {
        CertificateRole::Node => (0x11, 1),
        CertificateRole::Controller => (0x12, 2),
    };

    issue_ca(role, CLUSTER, &key(seed), serial(number), validity(CA_LIFE)).unwrap()
}

fn node_leaf() -> Leaf {
    Leaf {
        holder: Holder::Node(NODE),
        cluster: CLUSTER,
        key: key(0x21).verify_key(),
        serial: serial(3),
        validity: validity(LEAF_LIFE),
    }
}

fn controller_leaf() -> Leaf {
    Leaf {
        holder: Holder::Controller(CONTROLLER),
        cluster: CLUSTER,
        key: key(0x22).verify_key(),
        serial: serial(4),
        validity: validity(LEAF_LIFE),
    }
}

/// A leaf in profile, to be spoilt.
fn leaf_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serial_number = Some(SerialNumber::from_slice(serial(5).as_bytes()));
    params.subject_alt_names = vec![
        dns_san(&node_server_name(NODE, CLUSTER)),
        uri_san(&format!("spiffe://{CLUSTER}/node/{NODE}")),
    ];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];

    params
}

/// A CA in profile, to be spoilt.
fn ca_params() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(rcgen::DnType::OrganizationName, CLUSTER.to_string());
    params
        .distinguished_name
        .push(rcgen::DnType::CommonName, "gabion node ca");
    params.serial_number = Some(SerialNumber::from_slice(serial(6).as_bytes()));
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];

    params
}

/// Signed by its own key, which reading a claim does not look at.
fn self_signed(params: &CertificateParams) -> Vec<u8> {
    params
        .self_signed(&Signer::of(&key(0x31)))
        .unwrap()
        .der()
        .to_vec()
}

fn dns_san(name: &str) -> SanType {
    SanType::DnsName(name.try_into().unwrap())
}

fn uri_san(name: &str) -> SanType {
    SanType::URI(name.try_into().unwrap())
}

fn vector(name: &str) -> Vec<u8> {
    let hex = include_str!("../../vectors/certificates.txt")
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
        .unwrap();

    HEXLOWER.decode(hex.as_bytes()).unwrap()
}

fn pem(der: &[u8]) -> String {
    let body = data_encoding::BASE64.encode(der);

    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

const CLUSTER: ClusterId = ClusterId::from_bytes([1; 16]);
const OTHER_CLUSTER: ClusterId = ClusterId::from_bytes([2; 16]);
const NODE: NodeId = NodeId::from_bytes([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
const CONTROLLER: ControllerId = ControllerId::from_bytes([3; 16]);
/// 2026-01-01T00:00:00Z
const START: Wall = Wall(1_767_225_600_000);
