//! What the machine can be asked about itself, for the local API and for metrics.

use std::collections::BTreeMap;

use protocol::document::beacon::BeaconRank;
use protocol::document::config::LeftOut;
use protocol::envelope::Kind;
use protocol::error::Code;
use protocol::id::{ClusterId, ControllerId, NodeId, RequestId};
use protocol::key::Fingerprint;
use protocol::net::Address;
use protocol::time::Wall;
use protocol::wire::Have;

use super::confirm::Unconfirmed;
use super::effect::Door;
use super::enrol::Joiner;
use super::event::JoinFailure;
use super::feedback::{RefreshReport, Tally};
use super::member::Membership;
use super::trouble::{Admission, LastFailure};

/// How things stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Status {
    /// Not a node, and not on the way to become one.
    Ended {
        failure: Option<JoinFailure>,
    },
    Joining(JoinStatus),
    Member(Box<MemberStatus>),
}

/// A machine on its way to become a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinStatus {
    /// `pending_join_request_id`, once there is one.
    pub request: Option<RequestId>,
    /// Of the key that asks; what the approver compares.
    pub key: Option<Fingerprint>,
    /// The pinned authority, once a welcome held.
    pub authority: Option<Fingerprint>,
    pub endpoint: String,
    /// Whether the request is being taken back.
    pub leaving: bool,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    pub node: NodeId,
    pub name: String,
    pub cluster: ClusterId,
    pub generation: u64,
    /// Of the node's key.
    pub key: Fingerprint,
    /// The authority that was pinned at enrolment.
    pub pin: Fingerprint,
    /// The highest epoch whose succession was verified, and its key.
    pub epoch: u64,
    pub authority: Fingerprint,
    pub certificate_until: Wall,
    /// The controller that polls go to now.
    pub controller: Option<ControllerId>,
    /// Of the present connection, or of the next.
    pub endpoint: String,
    /// Whether requests can be sent at the node door.
    pub connected: bool,
    pub stale: bool,
    pub admission: Admission,
    /// Why the last session failed; none once a controller does what it is asked.
    pub last_failure: Option<LastFailure>,
    /// What polls after bad reports brought, and how many were held back.
    pub refreshes: Tally,
    /// The newest report of each way of a route that was bad.
    pub refresh_reports: Vec<RefreshReport>,
    /// Whether the node is giving back what it holds.
    pub leaving: bool,
    pub beacon: Option<BeaconRank>,
    pub beacon_issued_at: Option<Wall>,
    pub have: Vec<Have>,
    /// How the settings of the config in force stand, unless they are confirmed.
    pub unconfirmed: Option<Unconfirmed>,
    pub observed: Option<Address>,
    /// Addresses of this node that the controller tells nobody, and why.
    pub left_out: Vec<LeftOut>,
    /// Documents refused since the start, by kind and code.
    pub refused: BTreeMap<(Kind, Code), u64>,
}

impl JoinStatus {
    pub(super) fn of(joiner: &Joiner) -> Self {
        let joining = joiner.joining();

        Self {
            request: joiner.request(),
            key: joining.map(|joining| joining.keys.node.verify_key().fingerprint()),
            authority: joining.map(|joining| joining.trust.newest().fingerprint()),
            endpoint: joiner.endpoint().to_owned(),
            leaving: joiner.is_leaving(),
        }
    }
}

impl MemberStatus {
    pub(super) fn of(membership: &Membership) -> Self {
        let (member, documents) = (membership.member(), membership.documents());
        let session = membership.session();
        let mark = documents.marks().beacon();

        Self {
            node: member.node,
            name: member.name.clone(),
            cluster: member.cluster(),
            generation: member.generation,
            key: member.keys.node.verify_key().fingerprint(),
            pin: member.trust.pin().fingerprint(),
            epoch: member.trust.highest(),
            authority: member.trust.newest().fingerprint(),
            certificate_until: membership.not_after(),
            controller: session.controller,
            endpoint: session.dialler.endpoint().to_owned(),
            connected: session.is_open(Door::Node),
            stale: documents.is_stale(),
            admission: membership.admission(),
            last_failure: membership.trouble().last().cloned(),
            refreshes: membership.feedback().tally(),
            refresh_reports: membership.feedback().reports().cloned().collect(),
            leaving: membership.is_leaving(),
            beacon: mark.map(|mark| mark.rank),
            beacon_issued_at: mark.map(|mark| mark.issued_at),
            have: documents.have(),
            unconfirmed: documents.unconfirmed(),
            observed: membership.observed(),
            left_out: membership.left_out().to_vec(),
            refused: membership.ledger().counts().clone(),
        }
    }
}
