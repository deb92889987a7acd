//! What a host says of itself when it asks to join.

use protocol::key::{Digest, Fingerprint};
use protocol::wire::HostFacts;

/// Host name, operating system, our version, and a hash that changes when the disk is copied to another machine.
pub(crate) fn host() -> HostFacts {
    HostFacts {
        hostname: hostname(),
        os: std::fs::read_to_string("/etc/os-release")
            .ok()
            .and_then(|text| os(&text))
            .unwrap_or_else(kernel),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        machine: std::fs::read_to_string("/etc/machine-id")
            .ok()
            .and_then(|text| machine(&text)),
    }
}

/// The name to ask for when the operator says nothing: the first part of the host's own, in lower case.
pub(crate) fn usual_name() -> String {
    let hostname = hostname();

    hostname
        .split('.')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase()
}

fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

fn kernel() -> String {
    let system = rustix::system::uname();

    format!(
        "{} {}",
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy()
    )
}

/// `PRETTY_NAME` of os-release(5).
fn os(text: &str) -> Option<String> {
    let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let plain = value.trim_matches(['"', '\'']);

    (!plain.is_empty()).then(|| plain.to_owned())
}

/// machine-id(5) asks that the id itself be told to nobody.
fn machine(text: &str) -> Option<Fingerprint> {
    let id = text.trim();
    let digest = Digest::of_parts(&[b"gabion machine v1", id.as_bytes()]);

    (id.len() == 32).then(|| Fingerprint::from_bytes(*digest.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_told_by_a_hash_of_its_own() {
        let id = "0123456789abcdef0123456789abcdef";

        assert!(
            machine(&format!("{id}\n"))
                .is_some_and(|hash| *hash.as_bytes() != *Digest::of(id.as_bytes()).as_bytes())
        );
        assert_eq!(machine("uninitialized\n"), None);
        assert_eq!(machine(""), None);
    }

    #[test]
    fn the_system_is_called_as_it_calls_itself() {
        assert_eq!(
            os("ID=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n").as_deref(),
            Some("Debian GNU/Linux 12")
        );
        assert_eq!(os("ID=x\n"), None);
    }

    #[test]
    fn this_host_has_a_name() {
        assert!(!host().hostname.is_empty());
        assert!(!usual_name().contains('.'));
    }
}
