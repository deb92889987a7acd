//! The names in certificates and in the server name of a handshake.
//!
//! ```text
//! node        <node-id>.<cluster-id>.gabion       spiffe://<cluster-id>/node/<node-id>
//! controller  controller.<cluster-id>.gabion      spiffe://<cluster-id>/controller/<controller-id>
//! ```
//!
//! An id has 26 characters and `controller` is no id, so no label is longer than DNS allows (63) and no name has
//! two readings.

use crate::id::{ClusterId, NodeId};

use super::Holder;

/// Whom a server name calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ServerOf {
    /// Any controller of the cluster.
    Controller,
    Node(NodeId),
}

/// The server name to dial a node by.
pub fn node_server_name(node: NodeId, cluster: ClusterId) -> String {
    format!("{node}.{cluster}{SUFFIX}")
}

/// The server name to dial the controllers of a cluster by.
pub fn controller_server_name(cluster: ClusterId) -> String {
    format!("{CONTROLLER}.{cluster}{SUFFIX}")
}

/// Reads a server name as the two functions above write it: lower case, no trailing dot.
pub fn parse_server_name(sni: &str) -> Option<(ServerOf, ClusterId)> {
    let (server, cluster) = sni.strip_suffix(SUFFIX)?.split_once('.')?;
    let cluster = cluster.parse().ok()?;
    match server {
        CONTROLLER => Some((ServerOf::Controller, cluster)),
        node => Some((ServerOf::Node(node.parse().ok()?), cluster)),
    }
}

/// The DNS name in the certificate of `holder`.
pub(super) fn dns_name(holder: Holder, cluster: ClusterId) -> String {
    match holder {
        Holder::Node(node) => node_server_name(node, cluster),
        Holder::Controller(_) => controller_server_name(cluster),
    }
}

/// The URI in the certificate of `holder`.
pub(super) fn uri(holder: Holder, cluster: ClusterId) -> String {
    match holder {
        Holder::Node(id) => format!("{SCHEME}{cluster}/{NODE}/{id}"),
        Holder::Controller(id) => format!("{SCHEME}{cluster}/{CONTROLLER}/{id}"),
    }
}

/// Reads a URI as [`uri`] writes it.
pub(super) fn parse_uri(uri: &str) -> Option<(Holder, ClusterId)> {
    let (cluster, path) = uri.strip_prefix(SCHEME)?.split_once('/')?;
    let (kind, id) = path.split_once('/')?;
    let holder = match kind {
        NODE => Holder::Node(id.parse().ok()?),
        CONTROLLER => Holder::Controller(id.parse().ok()?),
        _ => return None,
    };

    Some((holder, cluster.parse().ok()?))
}

const SUFFIX: &str = ".gabion";
const SCHEME: &str = "spiffe://";
const NODE: &str = "node";
const CONTROLLER: &str = "controller";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn server_names_read_back() {
        let (node, cluster) = (NodeId::from_bytes([1; 16]), ClusterId::from_bytes([2; 16]));

        assert_eq!(
            parse_server_name(&node_server_name(node, cluster)),
            Some((ServerOf::Node(node), cluster))
        );
        assert_eq!(
            parse_server_name(&controller_server_name(cluster)),
            Some((ServerOf::Controller, cluster))
        );
    }

    #[test]
    fn a_server_name_has_one_spelling() {
        let cluster = ClusterId::from_bytes([2; 16]);
        let right = controller_server_name(cluster);
        for wrong in [
            String::new(),
            ".gabion".to_owned(),
            format!("{right}."),
            format!("x.{right}"),
            right.to_ascii_uppercase(),
            format!("Controller.{cluster}.gabion"),
            format!("{cluster}.gabion"),
            format!("controllers.{cluster}.gabion"),
            format!("controller.{cluster}.gabion.example"),
            format!("controller.{}.gabion", cluster.to_string().to_ascii_uppercase()),
        ] {
            assert_eq!(parse_server_name(&wrong), None, "{wrong}");
        }
    }
}
