//! What actions take, as JSON. Unknown members are refused, so that a typing error is not ignored.

use std::collections::BTreeMap;

use serde::Deserialize;

/// Names a cluster; it may be left out when there is exactly one.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OfCluster {
    #[serde(default)]
    pub(super) cluster: Option<String>,
}

/// Leases of a cluster, all of them or those of one relay.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Leases {
    #[serde(default)]
    pub(super) cluster: Option<String>,
    /// A node, by name or id.
    #[serde(default)]
    pub(super) relay: Option<String>,
}

/// Nothing.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Activate {
    /// base64url.
    pub(super) manifest: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Grant {
    /// base64url.
    pub(super) grant: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateCluster {
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateToken {
    #[serde(default)]
    pub(super) cluster: Option<String>,
    #[serde(default)]
    pub(super) roles: Vec<String>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) max_uses: Option<u32>,
    #[serde(default)]
    pub(super) ttl_seconds: Option<u64>,
    #[serde(default)]
    pub(super) approval: Option<String>,
    #[serde(default)]
    pub(super) sources: Vec<String>,
    #[serde(default)]
    pub(super) controllers: Vec<String>,
}

/// Something by its id or name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Item {
    #[serde(default)]
    pub(super) cluster: Option<String>,
    pub(super) id: String,
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Approve {
    #[serde(default)]
    pub(super) cluster: Option<String>,
    pub(super) id: String,
    #[serde(default)]
    pub(super) name: Option<String>,
    /// Of the key that is to be approved; whatever the request's, if left out.
    #[serde(default)]
    pub(super) fingerprint: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Label {
    #[serde(default)]
    pub(super) cluster: Option<String>,
    pub(super) id: String,
    #[serde(default)]
    pub(super) set: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) unset: Vec<String>,
}

/// Two nodes by id or name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Pair {
    #[serde(default)]
    pub(super) cluster: Option<String>,
    pub(super) source: String,
    pub(super) target: String,
}

/// Entries of the decision journal: those of a pair, after a number or else the newest, or the newest before a number.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Journal {
    #[serde(default)]
    pub(super) cluster: Option<String>,
    #[serde(default)]
    pub(super) source: Option<String>,
    #[serde(default)]
    pub(super) target: Option<String>,
    #[serde(default)]
    pub(super) after: Option<u64>,
    #[serde(default)]
    pub(super) before: Option<u64>,
    /// RFC 3339.
    #[serde(default)]
    pub(super) since: Option<String>,
    #[serde(default)]
    pub(super) limit: Option<usize>,
    /// Whether each is a line of an export, with all that it was decided from.
    #[serde(default)]
    pub(super) inputs: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policies {
    #[serde(default)]
    pub(super) cluster: Option<String>,
    pub(super) policies: Vec<Policy>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Policy {
    pub(super) name: String,
    /// That of a route without a policy, unless it is said.
    #[serde(default)]
    pub(super) priority: Option<u8>,
    pub(super) source: String,
    pub(super) target: String,
    #[serde(default)]
    pub(super) cadence: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Page {
    #[serde(default)]
    pub(super) after: u64,
    #[serde(default)]
    pub(super) limit: Option<usize>,
}
