//! Ids and names to rows.

use control_core::cluster::{self, ClusterRow};
use control_core::node::{self, NodeRow, Tenure};
use control_core::store::View;
use control_routing::lease::{Lease, LeaseBook};
use data_encoding::BASE64URL_NOPAD;
use protocol::error::Code;
use protocol::id::{ClusterId, NodeId, TEXT_LENGTH};
use protocol::node::Name;

use crate::failure::Failure;

/// The cluster called so, or the only one.
pub(super) fn cluster(view: &dyn View, named: Option<&str>) -> Result<ClusterRow, Failure> {
    let mut all = cluster::list(view)?;
    match named {
        Some(name) => all
            .into_iter()
            .find(|row| row.name.as_str() == name || row.id.to_string() == name)
            .ok_or_else(|| Failure::not_found("cluster", name)),
        None if all.len() == 1 => Ok(all.remove(0)),
        None if all.is_empty() => Err(Failure::new(Code::NotFound, "there is no cluster yet")
            .because("none was named, and the installation has none")
            .fixed_by("gabion cluster create NAME")),
        None => {
            let names: Vec<&str> = all.iter().map(|row| row.name.as_str()).collect();

            Err(
                Failure::new(Code::ValidationFailed, "there are several clusters: name one")
                    .because(format!("there are {}", names.join(", ")))
                    .fixed_by("repeat the command with --cluster NAME"),
            )
        }
    }
}

/// A node by id, or by name. A name is first that of the node which has it now, then that of the only one which had it:
/// whoever asks for a node that has ended should hear that it has.
pub(super) fn node(view: &dyn View, cluster: ClusterId, named: &str) -> Result<NodeRow, Failure> {
    if let Ok(id) = named.parse::<NodeId>()
        && let Some(row) = node::get(view, cluster, id)?
    {
        return Ok(row);
    }
    let Ok(name) = named.parse::<Name>() else {
        return Err(Failure::not_found("node", named));
    };
    match node::find(view, cluster, &name)? {
        Some(row) => Ok(row),
        None => ended(view, cluster, &name),
    }
}

fn ended(view: &dyn View, cluster: ClusterId, name: &Name) -> Result<NodeRow, Failure> {
    let mut had_it = node::list(view, cluster)?;
    had_it.retain(|row| row.name == *name && row.tenure == Tenure::Revoked);
    match had_it.len() {
        0 => Err(Failure::not_found("node", name.as_str())),
        1 => Ok(had_it.remove(0)),
        several => Err(Failure::new(
            Code::ValidationFailed,
            format!("several nodes were called {:?}: give an id", name.as_str()),
        )
        .because(format!("{several} nodes of that name were revoked or have left"))
        .fixed_by("gabion node list -o wide")),
    }
}

/// A lease by its id, or by the beginning of it that no other lease has.
pub(super) fn lease<'a>(leases: &'a LeaseBook, named: &str) -> Result<&'a Lease, Failure> {
    let is_beginning = named.len() < TEXT_LENGTH && named.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_beginning {
        let id = value("the lease id", named)?;

        return leases.find(id).ok_or_else(|| Failure::not_found("lease", named));
    }
    if named.len() < BEGINNING {
        return Err(Failure::new(
            Code::ValidationFailed,
            format!("{named:?} is too little of a lease id"),
        )
        .because(format!(
            "the first {BEGINNING} characters are the least that names one"
        ))
        .fixed_by("gabion lease list"));
    }
    let begins = |lease: &&Lease| lease.lease.to_string().starts_with(named);
    let found: Vec<&Lease> = leases.iter().filter(begins).collect();

    match found[..] {
        [] => Err(Failure::not_found("lease", named)),
        [one] => Ok(one),
        _ => Err(several_leases(named, &found)),
    }
}

fn several_leases(named: &str, found: &[&Lease]) -> Failure {
    let mut ids: Vec<String> = found
        .iter()
        .take(LISTED)
        .map(|lease| lease.lease.to_string())
        .collect();
    if found.len() > LISTED {
        ids.push(format!("{} more", found.len() - LISTED));
    }

    Failure::new(
        Code::ValidationFailed,
        format!("{named:?} is the beginning of several leases: give more of the id"),
    )
    .because(format!("it begins {}", ids.join(", ")))
    .fixed_by("gabion lease list")
}

/// A value that parses, or a refusal that says which and why.
pub(super) fn value<T: std::str::FromStr>(what: &str, text: &str) -> Result<T, Failure>
where
    T::Err: std::fmt::Display,
{
    text.parse().map_err(|error: T::Err| {
        Failure::new(Code::ValidationFailed, format!("{what} {text:?} cannot be used"))
            .because(error.to_string())
    })
}

pub(super) fn bytes(what: &str, text: &str) -> Result<Vec<u8>, Failure> {
    BASE64URL_NOPAD.decode(text.as_bytes()).map_err(|error| {
        Failure::new(Code::InvalidRequest, format!("{what} is not base64url")).because(error.to_string())
    })
}

/// Characters of an id that may stand for all of it, at least: as many as tell a few hundred apart, and as git asks for.
const BEGINNING: usize = 4;
/// Ids that a refusal lists.
const LISTED: usize = 8;

#[cfg(test)]
mod tests {
    use control_routing::lease::LeaseRequest;
    use protocol::document::routes::LeaseKind;
    use protocol::id::{LeaseId, RouteId};
    use protocol::time::Wall;

    use super::*;

    #[test]
    fn a_lease_is_found_by_a_beginning_that_no_other_has() {
        let book: LeaseBook = (0..12)
            .map(|last| lease_of(0, last))
            .chain([lease_of(9, 0)])
            .collect();
        let text = |lease: &Lease| lease.lease.to_string();
        let (first, other) = (text(&lease_of(0, 1)), text(&lease_of(9, 0)));
        assert_eq!(lease(&book, &first).map(text), Ok(first.clone()));
        assert_eq!(lease(&book, &other[..4]).map(text), Ok(other.clone()));

        let short = lease(&book, &other[..3]).expect_err("too short");
        assert!(short.why.expect("said").contains("first 4 characters"));
        let several = lease(&book, &first[..4]).expect_err("twelve begin so");
        let why = several.why.expect("said");
        assert!(why.contains(&first) && why.ends_with("4 more"), "{why}");
        assert_eq!(lease(&book, "zzzz").expect_err("none").code, Code::NotFound);
        let spoiled = lease(&book, "not-a-lease").expect_err("no id");
        assert_eq!(spoiled.code, Code::ValidationFailed);
    }

    fn lease_of(first: u8, last: u8) -> Lease {
        let mut bytes = [first; 16];
        bytes[15] = last;
        let request = LeaseRequest {
            cluster: ClusterId::from_bytes([1; 16]),
            route: RouteId::from_bytes(bytes),
            low: NodeId::from_bytes([3; 16]),
            high: NodeId::from_bytes([4; 16]),
            relay: NodeId::from_bytes([5; 16]),
            kind: LeaseKind::Relay,
            previous: None,
        };

        Lease::grant(&request, None, LeaseId::from_bytes(bytes), Wall(1_000))
    }
}
