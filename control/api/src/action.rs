//! Every administrative action, defined once: its name (which is its path and its CLI verb), who may take it,
//! and what the audit calls it.

use std::collections::BTreeSet;

use protocol::document::authority::Role;

/// Declares the actions: name, who may take it, what it does, what it is about. The name's two words are the CLI's noun
/// and verb and the last two parts of the path.
macro_rules! actions {
    ($($(#[doc = $summary:literal])* $name:ident = $text:literal, $access:ident, $effect:ident, $scope:ident;)*) => {
        /// An administrative action.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($(#[doc = $summary])* $name,)* }

        impl Action {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// `noun/verb`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            pub const fn access(self) -> Access {
                match self { $(Self::$name => Access::$access,)* }
            }

            pub const fn effect(self) -> Effect {
                match self { $(Self::$name => Effect::$effect,)* }
            }

            pub const fn scope(self) -> Scope {
                match self { $(Self::$name => Scope::$scope,)* }
            }

            /// One sentence for documentation.
            pub const fn summary(self) -> &'static str {
                match self { $(Self::$name => concat!($($summary),*),)* }
            }
        }
    };
}

actions! {
    /// Show the installation: mode, product root, activation, first owner.
    InstallationShow = "installation/show", Local, Read, Installation;
    /// Consume the activation manifest and make the first owner.
    InstallationActivate = "installation/activate", Local, Write, Installation;
    /// Show this controller: leadership, store, fleet in numbers.
    StatusShow = "status/show", Local, Read, Installation;
    /// List the operators and their effective roles.
    OperatorList = "operator/list", Look, Read, Installation;
    /// Put a signed role grant into force, or the one that ends it.
    RoleGrant = "role/grant", Administer, Write, Installation;
    /// List the role grants, and say which of them verify.
    RoleList = "role/list", Look, Read, Installation;
    /// Create a cluster with its authority and issuing CAs.
    ClusterCreate = "cluster/create", Administer, Write, Installation;
    /// List the clusters.
    ClusterList = "cluster/list", Look, Read, Installation;
    /// Show one cluster.
    ClusterShow = "cluster/show", Look, Read, Cluster;
    /// Show a cluster's authority: epoch, key, fingerprint.
    AuthorityShow = "authority/show", Look, Read, Cluster;
    /// Create a join token; its text is in the reply and nowhere else.
    TokenCreate = "token/create", Administer, Write, Cluster;
    /// List the join tokens and their states.
    TokenList = "token/list", Look, Read, Cluster;
    /// Revoke a join token.
    TokenRevoke = "token/revoke", Administer, Write, Cluster;
    /// List the join requests.
    RequestList = "request/list", Look, Read, Cluster;
    /// Show one join request with its fingerprint and host facts.
    RequestShow = "request/show", Look, Read, Cluster;
    /// Approve a join request: certificate and contract are signed.
    RequestApprove = "request/approve", Approve, Write, Cluster;
    /// Reject a join request.
    RequestReject = "request/reject", Approve, Write, Cluster;
    /// List the nodes.
    NodeList = "node/list", Look, Read, Cluster;
    /// Show one node.
    NodeShow = "node/show", Look, Read, Cluster;
    /// Set labels of a node.
    NodeLabel = "node/label", Administer, Write, Cluster;
    /// Disable a node: it keeps its identity and is nobody's neighbour.
    NodeDisable = "node/disable", Administer, Write, Cluster;
    /// Enable a disabled or draining node.
    NodeEnable = "node/enable", Administer, Write, Cluster;
    /// Revoke a node for ever.
    NodeRevoke = "node/revoke", Administer, Write, Cluster;
    /// List the links between nodes as their ends report them.
    LinkList = "link/list", Look, Read, Cluster;
    /// List the findings.
    FindingList = "finding/list", Look, Read, Installation;
    /// Show one finding.
    FindingShow = "finding/show", Look, Read, Installation;
    /// Acknowledge a finding.
    FindingAck = "finding/ack", Approve, Write, Installation;
    /// List the route policies.
    PolicyList = "policy/list", Look, Read, Cluster;
    /// Say what a set of route policies would change; nothing is changed.
    PolicyPlan = "policy/plan", Look, Read, Cluster;
    /// Put a set of route policies into force.
    PolicyApply = "policy/apply", Administer, Write, Cluster;
    /// List the routes with their decisions.
    RouteList = "route/list", Look, Read, Cluster;
    /// Show one route.
    RouteShow = "route/show", Look, Read, Cluster;
    /// Explain one route: evidence, scores, candidates refused and why.
    RouteExplain = "route/explain", Look, Read, Cluster;
    /// List the decisions that were made, with what they were made from.
    RouteJournal = "route/journal", Look, Read, Cluster;
    /// List the relays with their loads.
    RelayList = "relay/list", Look, Read, Cluster;
    /// Show one relay.
    RelayShow = "relay/show", Look, Read, Cluster;
    /// Drain a relay: its routes move to others first, then its leases end; `node enable` takes it back.
    RelayDrain = "relay/drain", Administer, Write, Cluster;
    /// List the leases, of relays and for meetings.
    LeaseList = "lease/list", Look, Read, Cluster;
    /// Show one relay lease.
    LeaseShow = "lease/show", Look, Read, Cluster;
    /// Say which step between two nodes fails, and why.
    WhyShow = "why/show", Look, Read, Cluster;
    /// List audit records.
    AuditList = "audit/list", Audit, Read, Installation;
    /// Verify the audit chain.
    AuditVerify = "audit/verify", Audit, Read, Installation;
    /// Hand over a consistent copy of the store while it is in use.
    StoreBackup = "store/backup", Administer, Maintain, Installation;
}

impl Action {
    /// The action of a `noun/verb`.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|action| action.name() == name)
    }

    /// What follows `gabion` on the command line.
    pub fn command(self) -> String {
        match self.name() {
            "status/show" | "why/show" => self.noun().to_owned(),
            "store/backup" => "backup".to_owned(),
            "policy/plan" => "policy apply --dry-run".to_owned(),
            name => name.replace('/', " "),
        }
    }

    /// The command that shows what there is of this action's kind.
    pub fn listing(self) -> String {
        match self.noun() {
            "authority" => "cluster list".to_owned(),
            "installation" => "installation show".to_owned(),
            "status" | "store" => "status".to_owned(),
            "why" => "node list".to_owned(),
            noun => format!("{noun} list"),
        }
    }

    fn noun(self) -> &'static str {
        self.name().split('/').next().unwrap_or_default()
    }
}

/// Who may take an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Whoever may open the local socket: what must work before there is an owner.
    Local,
    /// Any role.
    Look,
    Audit,
    Approve,
    Administer,
    Own,
}

impl Access {
    /// Whether one of `roles` allows this.
    pub fn allows(self, roles: &BTreeSet<Role>) -> bool {
        let any = |allowed: &[Role]| allowed.iter().any(|role| roles.contains(role));
        match self {
            Self::Local => true,
            Self::Look => !roles.is_empty(),
            Self::Audit => any(&[Role::Owner, Role::Admin, Role::Auditor]),
            Self::Approve => any(&[Role::Owner, Role::Admin, Role::Approver]),
            Self::Administer => any(&[Role::Owner, Role::Admin]),
            Self::Own => any(&[Role::Owner]),
        }
    }
}

/// What an action is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// One cluster, so that a role in that cluster alone is enough.
    Cluster,
    /// More than one cluster, or none: it takes a role in all of them.
    Installation,
}

/// What an action does to the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Answered from a read-only view.
    Read,
    /// Runs in the writer, audited in the same transaction.
    Write,
    /// Written down by the writer, then carried out by the shell on the engine itself.
    Maintain,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_two_words_and_unique() {
        for action in Action::ALL {
            assert_eq!(action.name().split('/').count(), 2, "{action:?}");
            assert_eq!(Action::parse(action.name()), Some(*action));
        }
    }

    #[test]
    fn what_is_about_one_cluster_is_declared_action_by_action() {
        let of_cluster = |action: &&Action| action.scope() == Scope::Cluster;
        let nouns: BTreeSet<&str> = Action::ALL
            .iter()
            .filter(of_cluster)
            .map(|action| action.noun())
            .collect();
        let expected = [
            "authority",
            "cluster",
            "lease",
            "link",
            "node",
            "policy",
            "relay",
            "request",
            "route",
            "token",
            "why",
        ];

        assert_eq!(nouns, BTreeSet::from(expected));
        assert_eq!(Action::ClusterShow.scope(), Scope::Cluster);
        assert_eq!(
            Action::ClusterList.scope(),
            Scope::Installation,
            "it shows them all"
        );
        assert_eq!(Action::ClusterCreate.scope(), Scope::Installation);
    }

    #[test]
    fn what_lists_a_kind_is_an_action_itself() {
        for action in Action::ALL {
            let listing = action.listing();
            let known = Action::ALL.iter().any(|other| other.command() == listing);
            assert!(known, "{action:?}: {listing}");
        }
    }

    #[test]
    fn roles_open_what_they_name_and_no_more() {
        let with = |role: Role| BTreeSet::from([role]);
        let cases = [
            (Access::Administer, Role::Admin, true),
            (Access::Administer, Role::Approver, false),
            (Access::Approve, Role::Approver, true),
            (Access::Approve, Role::Viewer, false),
            (Access::Audit, Role::Auditor, true),
            (Access::Audit, Role::Viewer, false),
            (Access::Own, Role::Admin, false),
            (Access::Own, Role::Owner, true),
            (Access::Look, Role::Viewer, true),
        ];
        for (access, role, expected) in cases {
            assert_eq!(access.allows(&with(role)), expected, "{access:?} {role:?}");
        }
        assert!(!Access::Look.allows(&BTreeSet::new()));
        assert!(Access::Local.allows(&BTreeSet::new()));
    }
}
