//! What needs nobody else: keys, what they sign, and looking into files.

use crate::program::{Place, mode};

#[test]
fn a_root_key_is_made_for_its_owner_alone_and_never_overwritten() {
    let place = Place::new();
    let made = place.run("root keygen --out root.key -o json").json();

    assert_eq!(mode(&place.path("root.key")), 0o600);
    assert_eq!(made["file"], "root.key");
    assert!(made["fingerprint"].as_str().unwrap().starts_with("SHA256:"));
    let shown = place.run("root show --key root.key -o json").json();
    assert_eq!(shown["public_key"], made["public_key"]);

    let again = place.run("root keygen --out root.key").failed(6);
    assert!(
        again.starts_with("error[file_exists]: root.key exists already\n"),
        "{again}"
    );
}

#[test]
fn a_key_that_others_can_read_is_refused_with_the_command_that_fixes_it() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    place.run("root keygen --out root.key").done();
    let loose = std::fs::Permissions::from_mode(0o644);
    std::fs::set_permissions(place.path("root.key"), loose).unwrap();

    let refused = place.run("root show --key root.key").failed(2);
    assert!(
        refused.contains("error[key_exposed]: root.key has mode 0644"),
        "{refused}"
    );
    assert!(refused.ends_with("fix     chmod 600 root.key\n"), "{refused}");
}

#[test]
fn a_manifest_names_the_owner_and_verifies_under_the_root() {
    let place = Place::new();
    let root = place.run("root keygen --out root.key -o json").json();
    let signed = place
        .run(
            "root sign-activation --key root.key --installation aeaqcaibaeaqcaibaeaqcaibae --owner-name ada \
             --owner-key-out owner.key --out manifest -o json",
        )
        .json();
    assert_eq!(signed["signed_by"][0], root["fingerprint"]);
    assert_eq!(mode(&place.path("owner.key")), 0o600);

    let shown = place.run("inspect manifest --key root.key -o json").json();
    assert_eq!(
        (&shown["name"], &shown["state"]),
        (&"activation manifest".into(), &"verified".into())
    );
    assert_eq!(shown["body"]["owner_name"], "ada");
    assert_eq!(
        shown["body"]["owner_key"]["fingerprint"],
        signed["owner_fingerprint"]
    );

    let other = place.run("inspect manifest --key owner.key -o json");
    assert_eq!(other.code, 3, "{other:?}");
    assert!(other.stdout.contains("\"not_verified\""));

    let unchecked = place.run("inspect manifest");
    assert_eq!(unchecked.code, 0);
    assert!(
        unchecked.stderr.contains("No signature was checked"),
        "{unchecked:?}"
    );
}

#[test]
fn what_is_no_document_is_said_to_be_none() {
    let place = Place::new();
    place.write("notes", "hello");

    let refused = place.run("inspect notes").failed(2);
    assert!(
        refused.starts_with("error[not_readable]: notes is nothing that can be shown\n"),
        "{refused}"
    );
    assert!(refused.contains("fix     name a signed document"), "{refused}");
    let missing = place.run("inspect none").failed(2);
    assert!(missing.contains("fix     ls -l none"), "{missing}");
}

#[test]
fn the_version_is_one_line_or_one_object() {
    let place = Place::new();

    assert_eq!(
        place.run("version").done(),
        format!("gabion {}\n", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(place.run("version -o json").json()["json_schema"], 1);
    assert_eq!(place.run("version -o name").done(), "gabion\n");
}
