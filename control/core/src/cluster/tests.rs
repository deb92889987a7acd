use protocol::admit::{self, Anchors, Revocations};
use protocol::certificate::{ServerOf, controller_server_name};
use protocol::document::authority::{RevocationList, TrustBundle};
use protocol::envelope::{self, Envelope, Expected, Kind, Subject};
use protocol::key::{Digest, SigningKey};

use super::*;
use crate::audit::{self, Actor};
use crate::issuing::{CaRole, NewController};
use crate::testing::World;

#[test]
fn a_cluster_comes_with_everything_it_needs() {
    let (world, cluster) = World::with_cluster(1);
    let authority = authority::current(&world.tx, cluster).unwrap();
    let roles: Vec<CaRole> = issuing::cas(&world.tx, cluster)
        .unwrap()
        .iter()
        .map(|ca| ca.role)
        .collect();

    assert_eq!(authority.epoch, 1);
    assert_eq!(authority.succession, None);
    assert_eq!(roles, CaRole::ALL);
    for kind in [Kind::TrustBundle, Kind::RevocationList] {
        let row = publish::published(&world.tx, cluster, Subject::All, kind).unwrap();
        assert_eq!(row.expect("published").version, 1);
    }
    assert!(audit::verify(&world.tx, None).is_ok());
}

#[test]
fn a_cluster_has_one_authority_however_many_ask_for_it() {
    let (mut world, cluster) = World::with_cluster(1);
    let first = authority::current(&world.tx, cluster).unwrap();
    for _ in 0..64 {
        let again = world
            .desk(Actor::Controller, |desk| {
                authority::ensure_authority(desk, cluster)
            })
            .unwrap();
        assert_eq!(again, first);
    }

    assert_eq!(authority::history(&world.tx, cluster).unwrap(), [first]);
}

#[test]
fn a_cluster_without_authority_gets_one_and_keeps_it() {
    let (mut world, cluster) = World::with_cluster(1);
    let old = authority::current(&world.tx, cluster).unwrap();
    world.tx.delete::<authority::AuthorityRow>(&old.key()).unwrap();
    assert_eq!(
        authority::current(&world.tx, cluster).unwrap_err().code(),
        Code::NotFound
    );
    let ensure = |world: &mut World| {
        world
            .desk(Actor::Controller, |desk| {
                authority::ensure_authority(desk, cluster)
            })
            .unwrap()
            .key
    };
    let new = ensure(&mut world);

    assert_ne!(new, old.key);
    assert_eq!(ensure(&mut world), new);
}

#[test]
fn of_many_callers_with_one_name_one_gets_the_cluster() {
    let mut world = World::activated(1);
    let results: Vec<_> = (0..16).map(|_| create_in(&mut world, "web")).collect();
    let refused: Vec<Code> = results
        .iter()
        .filter_map(|result| result.as_ref().err().map(CreateClusterError::code))
        .collect();

    assert_eq!(refused, [Code::NameTaken; 15]);
    assert_eq!(list(&world.tx).unwrap().len(), 1);
    assert_eq!(world.tx.count(Table::Authorities), 1);
    assert_eq!(world.tx.count(Table::IssuingCas), 2);
}

#[test]
fn clusters_share_no_key() {
    let mut world = World::activated(1);
    let one = create_in(&mut world, "one").unwrap().id;
    let two = create_in(&mut world, "two").unwrap().id;
    let mut keys = Vec::new();
    for cluster in [one, two] {
        keys.push(authority::current(&world.tx, cluster).unwrap().key);
        keys.extend(issuing::cas(&world.tx, cluster).unwrap().iter().map(|ca| ca.key));
    }
    keys.sort();
    keys.dedup();

    assert_eq!(keys.len(), 6);
}

#[test]
fn an_installation_without_owner_has_no_clusters() {
    let refused = create_in(&mut World::new(1), "web").unwrap_err();

    assert_eq!(refused.code(), Code::ConflictState);
}

#[test]
fn a_controller_shows_a_certificate_that_its_bundle_vouches_for() {
    let (mut world, cluster) = World::with_cluster(1);
    let key = SigningKey::from_seed(&[5; 32]).verify_key();
    let row = certify(&mut world, cluster, key, "[2001:db8::1]:4433").unwrap();
    let mut anchors = Anchors::default();
    let bundle = issuing::trust_bundle(&world.tx, cluster).unwrap();
    anchors.put(cluster, &bundle).unwrap();
    let chain = [row.certificate.to_vec().into()];
    let identity = admit::verify_server(
        &chain,
        (ServerOf::Controller, cluster),
        &anchors,
        &Revocations::default(),
        world.now.wall,
    );

    assert_eq!(identity.expect("trusted").key, key);
    let sni = controller_server_name(cluster);
    let as_node = admit::admit(
        Some(admit::NODE),
        Some(&sni),
        &chain,
        &anchors,
        &Revocations::default(),
        world.now.wall,
    );
    assert!(as_node.is_err());
}

#[test]
fn a_controller_needs_an_address_that_can_be_dialled() {
    let (mut world, cluster) = World::with_cluster(1);
    let key = SigningKey::from_seed(&[5; 32]).verify_key();
    for endpoint in ["", "host", "host:", ":1", "host:0", "host:70000", "ho st:1"] {
        let refused = certify(&mut world, cluster, key, endpoint).unwrap_err();
        assert_eq!(refused.code(), Code::ValidationFailed, "{endpoint}");
    }
    let nowhere = certify(&mut world, ClusterId::from_bytes([9; 16]), key, "host:1");

    assert_eq!(nowhere.unwrap_err().code(), Code::NotFound);
}

#[test]
fn a_controller_that_is_certified_again_is_listed_once() {
    let (mut world, cluster) = World::with_cluster(1);
    let key = SigningKey::from_seed(&[5; 32]).verify_key();
    for endpoint in ["one:1", "two:2"] {
        certify(&mut world, cluster, key, endpoint).unwrap();
    }
    let listed = issuing::controllers(&world.tx, cluster).unwrap();
    let row = issuing::controller(&world.tx, cluster, CONTROLLER).unwrap();

    assert_eq!(listed.len(), 2, "with the one of the fixture");
    assert_eq!(row.expect("certified").endpoints, ["two:2"]);
}

#[test]
fn the_shared_documents_verify_against_the_authority() {
    let (world, cluster) = World::with_cluster(1);
    let authority = authority::open(&world.tx, &world.vault, cluster).unwrap();
    let bundle = issuing::trust_bundle(&world.tx, cluster).unwrap();
    let row = publish::published(&world.tx, cluster, Subject::All, Kind::TrustBundle)
        .unwrap()
        .unwrap();
    let signed = envelope::seal(&row.stamp(), &bundle, &[authority.key.as_ref()]);
    let expected = Expected {
        realm: cluster.into(),
        subject: Subject::All,
    };
    let opened = Envelope::parse(&signed)
        .unwrap()
        .open::<TrustBundle>(&expected, &authority.key.verify_key())
        .unwrap();

    assert_eq!(opened.body, bundle);
    assert_eq!(opened.hash, row.hash);
    assert_eq!(
        crate::node::revocation_list(&world.tx, cluster).unwrap(),
        RevocationList::default()
    );
}

#[test]
fn no_private_key_is_in_any_row() {
    let (world, cluster) = World::with_cluster(1);
    let authority = authority::current(&world.tx, cluster).unwrap();
    let shown = format!("{authority:?}");

    assert!(shown.contains("Sealed(kek 1, "), "{shown}");
    assert_eq!(authority.sealed.body.len(), 24 + 32 + 16);
    assert_ne!(Digest::of(&authority.sealed.body), Digest::default());
}

fn name(text: &str) -> Name {
    text.parse().expect("a name")
}

fn create_in(world: &mut World, text: &str) -> Result<ClusterRow, CreateClusterError> {
    world.desk(Actor::Local, |desk| create(desk, name(text)))
}

fn certify(
    world: &mut World,
    cluster: ClusterId,
    key: protocol::key::VerifyKey,
    endpoint: &str,
) -> Result<issuing::ControllerIdentityRow, issuing::ControllerCertificateError> {
    let new = NewController {
        controller: CONTROLLER,
        key,
        endpoints: vec![endpoint.to_owned()],
    };

    world.desk(Actor::Local, |desk| {
        issuing::issue_controller_certificate(desk, cluster, new)
    })
}

const CONTROLLER: protocol::id::ControllerId = protocol::id::ControllerId::from_bytes([3; 16]);
