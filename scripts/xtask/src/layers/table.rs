//! The tables: the architecture in the form that is checked.

/// A member of the workspace and what it may use of the others.
#[derive(Debug)]
pub(super) struct Room {
    pub(super) package: &'static str,
    pub(super) directory: &'static str,
    pub(super) kind: Kind,
    /// The members it may depend on.
    pub(super) uses: &'static [&'static str],
}

/// What a room is for decides what its code may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Decides; time, chance and input are arguments.
    Pure,
    /// Writes the disk, and SQL.
    Store,
    /// Does what a core decided.
    Shell,
    /// The composition root.
    Cli,
    /// Worlds, real processes and figures.
    Tests,
    /// Serves the people who build this.
    Tool,
}

/// A crate from outside and the rooms that may use it.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) name: &'static str,
    pub(super) users: &'static [&'static [&'static str]],
    /// What it is for, as the one who meets the fault should read it.
    pub(super) job: &'static str,
}

impl Job {
    pub(super) fn admits(&self, package: &str) -> bool {
        self.users.iter().any(|group| group.contains(&package))
    }
}

/// A crate that must not be in the binary at all.
#[derive(Debug)]
pub(super) struct Banned {
    pub(super) name: &'static str,
    pub(super) reason: &'static str,
}

pub(super) fn room(package: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.package == package)
}

pub(super) fn job(name: &str) -> Option<&'static Job> {
    JOBS.iter().find(|job| job.name == name)
}

/// Who may depend on whom. Features (`control-routing` and its future siblings) never use each other: a need for
/// another feature is a port in one's own crate, joined in `control-api`.
#[rustfmt::skip]
pub(super) const ROOMS: &[Room] = &[
    Room { package: "protocol", directory: "protocol", kind: Kind::Pure, uses: &[] },
    Room { package: "agent-core", directory: "agent/core", kind: Kind::Pure, uses: &["protocol"] },
    Room { package: "agent-shell", directory: "agent/shell", kind: Kind::Shell, uses: &["protocol", "agent-core"] },
    Room { package: "gabion", directory: "agent/cli", kind: Kind::Cli, uses: ALL_LIBRARIES },
    Room { package: "control-core", directory: "control/core", kind: Kind::Pure, uses: &["protocol"] },
    Room { package: "control-routing", directory: "control/routing", kind: Kind::Pure, uses: &["protocol", "control-core"] },
    Room { package: "control-api", directory: "control/api", kind: Kind::Pure, uses: &["protocol", "control-core", "control-routing"] },
    Room { package: "control-store", directory: "control/store", kind: Kind::Store, uses: &["protocol", "control-core"] },
    Room { package: "control-shell", directory: "control/shell", kind: Kind::Shell, uses: &["protocol", "agent-shell", "control-core", "control-routing", "control-api", "control-store"] },
    Room { package: "sim", directory: "tests/sim", kind: Kind::Tests, uses: ALL_LIBRARIES },
    Room { package: "e2e", directory: "tests/e2e", kind: Kind::Tests, uses: ALL_LIBRARIES },
    Room { package: "bench", directory: "tests/bench", kind: Kind::Tests, uses: LIBRARIES_AND_LAB },
    Room { package: "xtask", directory: "scripts/xtask", kind: Kind::Tool, uses: &[] },
];

/// What the binary and the rooms for tests may join; of the latter only `bench` uses another.
const ALL_LIBRARIES: &[&str] = &[
    "protocol",
    "agent-core",
    "agent-shell",
    "control-core",
    "control-routing",
    "control-api",
    "control-store",
    "control-shell",
];

/// What is measured on real processes runs in the same lab that tests them.
const LIBRARIES_AND_LAB: &[&str] = &[
    "protocol",
    "agent-core",
    "agent-shell",
    "control-core",
    "control-routing",
    "control-api",
    "control-store",
    "control-shell",
    "e2e",
];

const PROTOCOL: &[&str] = &["protocol"];
const KERNEL: &[&str] = &["control-core"];
const PURE: &[&str] = &[
    "protocol",
    "agent-core",
    "control-core",
    "control-routing",
    "control-api",
];
const DOOR: &[&str] = &["control-api"];
const STORE: &[&str] = &["control-store"];
const AGENT_SHELL: &[&str] = &["agent-shell"];
const SHELLS: &[&str] = &["agent-shell", "control-shell"];
const CLI: &[&str] = &["gabion"];
const TESTS: &[&str] = &["sim", "e2e", "bench"];
/// Measures the product beside the bare library.
const FLOOR: &[&str] = &["bench"];
const TOOL: &[&str] = &["xtask"];

/// Crates with a job. A crate that is not here may be used by nobody; sorted by name.
#[rustfmt::skip]
pub(super) const JOBS: &[Job] = &[
    Job { name: "anyhow", users: &[CLI], job: "errors that only a person reads; libraries use thiserror" },
    Job { name: "axum", users: &[SHELLS, CLI, TESTS], job: "HTTP on local sockets" },
    Job { name: "bytes", users: &[PROTOCOL, SHELLS, CLI, TESTS], job: "buffers that cross quinn and hyper" },
    Job { name: "chacha20poly1305", users: &[PROTOCOL, KERNEL], job: "seals frames, contracts and stored keys" },
    Job { name: "clap", users: &[CLI], job: "the command line" },
    Job { name: "comfy-table", users: &[CLI], job: "tables for people" },
    Job { name: "coset", users: &[PROTOCOL], job: "the COSE envelope" },
    Job { name: "data-encoding", users: &[PROTOCOL, DOOR, CLI], job: "the text form of ids, keys and tokens" },
    Job { name: "ed25519-dalek", users: &[PROTOCOL], job: "signs and verifies documents" },
    Job { name: "hickory-resolver", users: &[AGENT_SHELL], job: "finds controllers" },
    Job { name: "hkdf", users: &[PROTOCOL], job: "derives keys of a purpose" },
    Job { name: "hpke", users: &[PROTOCOL], job: "seals contracts" },
    Job { name: "http-body-util", users: &[SHELLS, CLI, TESTS], job: "HTTP on local sockets" },
    Job { name: "hyper", users: &[SHELLS, CLI, TESTS], job: "HTTP on local sockets" },
    Job { name: "hyper-util", users: &[SHELLS, CLI, TESTS], job: "HTTP on local sockets" },
    Job { name: "ipnet", users: &[PURE, SHELLS, CLI, TESTS], job: "address ranges" },
    Job { name: "jiff", users: &[DOOR, SHELLS, CLI, TESTS], job: "RFC 3339 and durations for people" },
    Job { name: "metrics", users: &[SHELLS, CLI], job: "feeds /metrics; cores return counts" },
    Job { name: "metrics-exporter-prometheus", users: &[SHELLS, CLI], job: "renders /metrics" },
    Job { name: "minicbor", users: &[PURE, SHELLS, TESTS], job: "wire requests and stored rows" },
    Job { name: "proptest", users: &[TESTS], job: "properties" },
    Job { name: "quinn", users: &[SHELLS, CLI, TESTS], job: "carries everything between machines" },
    Job { name: "rand", users: &[PURE, SHELLS, CLI, TESTS], job: "chance; a pure room takes it as an argument" },
    Job { name: "rcgen", users: &[PROTOCOL], job: "issues every certificate" },
    Job { name: "rusqlite", users: &[STORE, FLOOR], job: "the embedded engine" },
    Job { name: "rustix", users: &[STORE, SHELLS, CLI, TESTS], job: "system calls that std lacks" },
    Job { name: "rustls", users: &[SHELLS, CLI, TESTS], job: "carries everything between machines" },
    Job { name: "rustls-pki-types", users: &[PURE, SHELLS, CLI, TESTS], job: "certificates as bytes" },
    Job { name: "rustls-webpki", users: &[PROTOCOL], job: "verifies chains" },
    Job { name: "sd-notify", users: &[CLI], job: "tells systemd; it reads the environment" },
    Job { name: "semver", users: &[TOOL], job: "orders versions of crates" },
    Job { name: "serde", users: &[PURE, STORE, SHELLS, CLI, TESTS], job: "config files and JSON" },
    Job { name: "serde_json", users: &[DOOR, SHELLS, CLI, TESTS, TOOL], job: "JSON, at the edges" },
    Job { name: "sha2", users: &[PROTOCOL], job: "hashes and fingerprints" },
    Job { name: "socket2", users: &[SHELLS, CLI, TESTS], job: "makes the UDP socket" },
    Job { name: "subtle", users: &[PROTOCOL, KERNEL], job: "compares secrets" },
    Job { name: "tempfile", users: &[TESTS], job: "directories that tests throw away" },
    Job { name: "thiserror", users: &[PURE, STORE, SHELLS, CLI, TESTS], job: "errors" },
    Job { name: "time", users: &[PROTOCOL], job: "what rcgen and x509-parser call a time" },
    Job { name: "tokio", users: &[SHELLS, CLI, TESTS], job: "runs the shells" },
    Job { name: "toml", users: &[CLI, TOOL], job: "config files" },
    Job { name: "tracing", users: &[PURE, STORE, SHELLS, CLI, TESTS], job: "spans and events" },
    Job { name: "tracing-subscriber", users: &[CLI, TESTS], job: "where spans and events go" },
    Job { name: "x25519-dalek", users: &[PROTOCOL], job: "keys the frames" },
    Job { name: "x509-parser", users: &[PROTOCOL], job: "reads certificates" },
    Job { name: "zeroize", users: &[PURE, SHELLS, CLI, TESTS], job: "forgets secrets" },
];

/// What the tests of any room may use besides.
pub(super) const TEST_AIDS: &[&str] = &["data-encoding", "proptest", "serde_json", "tempfile"];

/// Crates that may stand in Cargo.lock as somebody's unused option, and never in a build for Linux.
#[rustfmt::skip]
pub(super) const BANNED: &[Banned] = &[
    Banned { name: "native-tls", reason: "rustls is the one TLS" },
    Banned { name: "openssl-sys", reason: "rustls is the one TLS" },
    Banned { name: "ring", reason: "aws-lc-rs is the one provider; with two, rustls panics when it must choose" },
];

/// Names that say nothing: whole names of crates, directories and files, or their last word.
pub(super) const EMPTY_NAMES: &[&str] = &[
    "base", "common", "helper", "helpers", "manager", "misc", "util", "utils",
];

/// What the `clippy.toml` of a pure room bans at least, as `disallowed-methods`.
pub(super) const PURE_BANS_METHODS: &[&str] = &[
    "rand::random",
    "rand::rng",
    "rcgen::KeyPair::generate",
    "std::collections::HashMap::iter",
    "std::collections::HashMap::keys",
    "std::collections::HashMap::values",
    "std::collections::HashSet::iter",
    "std::env::var",
    "std::fs::read",
    "std::fs::write",
    "std::net::ToSocketAddrs::to_socket_addrs",
    "std::thread::sleep",
    "std::thread::spawn",
    "std::time::Instant::now",
    "std::time::SystemTime::now",
];

/// What the `clippy.toml` of a pure room bans at least, as `disallowed-types`.
pub(super) const PURE_BANS_TYPES: &[&str] = &[
    "std::fs::File",
    "std::net::TcpListener",
    "std::net::TcpStream",
    "std::net::UdpSocket",
    "std::os::unix::net::UnixStream",
    "std::process::Command",
    "std::time::Instant",
    "std::time::SystemTime",
];

/// The budgets that every `clippy.toml` states, and the most it may allow.
pub(super) const BUDGETS: &[(&str, i64)] = &[
    ("too-many-arguments-threshold", 5),
    ("too-many-lines-threshold", 70),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_group_names_rooms() {
        let named = JOBS.iter().flat_map(|job| job.users).copied().flatten();
        for package in named {
            assert!(room(package).is_some(), "{package} is no room");
        }
    }

    #[test]
    fn groups_of_users_agree_with_the_kinds_of_rooms() {
        let of_kind = |kind: Kind| -> Vec<&str> {
            ROOMS
                .iter()
                .filter(|room| room.kind == kind)
                .map(|room| room.package)
                .collect()
        };

        assert_eq!(of_kind(Kind::Pure), PURE);
        assert_eq!(of_kind(Kind::Store), STORE);
        assert_eq!(of_kind(Kind::Shell), SHELLS);
        assert_eq!(of_kind(Kind::Cli), CLI);
        assert_eq!(of_kind(Kind::Tests), TESTS);
        assert_eq!(of_kind(Kind::Tool), TOOL);
    }

    #[test]
    fn jobs_are_sorted_and_unique() {
        assert!(JOBS.is_sorted_by(|one, next| one.name < next.name));
    }

    #[test]
    fn rooms_use_only_what_stands_below_them() {
        for room in ROOMS {
            for used in room.uses.iter().filter_map(|name| super::room(name)) {
                assert!(
                    !used.uses.contains(&room.package),
                    "{} and {}",
                    room.package,
                    used.package
                );
            }
        }
    }

    #[test]
    fn a_pure_room_uses_only_pure_rooms() {
        for room in ROOMS.iter().filter(|room| room.kind == Kind::Pure) {
            assert!(
                room.uses.iter().all(|used| PURE.contains(used)),
                "{}",
                room.package
            );
        }
    }
}
