//! Ids and names to rows.

use control_core::cluster::{self, ClusterRow};
use control_core::node::{self, NodeRow, Tenure};
use control_core::store::View;
use data_encoding::BASE64URL_NOPAD;
use protocol::error::Code;
use protocol::id::{ClusterId, NodeId};
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
