//! The documents that `make.py` seals, written in this crate's types.

use std::net::SocketAddr;

use minicbor::bytes::ByteVec;
use protocol::document::authority::{
    ActivationManifest, RevocationList, RevokedCertificate, RevokedNode, Role, RoleGrant, Serial, Succession,
    TrustBundle,
};
use protocol::document::beacon::{Beacon, Pin};
use protocol::document::config::{
    Candidate, CandidateKind, ControllerAddress, Neighbour, SyntheticConfig, Transport,
};
use protocol::document::join::{ApprovalMode, JoinClaims, JoinContract};
use protocol::document::routes::{
    Action, Cadence, LeaseKind, LeaseRow, LeaseTable, Path, Reason, Rendezvous, RouteDecision, Routes,
};
use protocol::envelope::{Realm, Stamp, Subject};
use protocol::id::{ClusterId, ControllerId, LeaseId, NodeId, RouteId, TokenId};
use protocol::key::{Digest, SealSecret};
use protocol::node::{Labels, NodeRole};
use protocol::time::Wall;

use crate::{ALPHA, BETA, CLUSTER, INSTALLATION, LEASE, NOW, OPERATOR, RELAY, REQUEST, digest, signing};

pub(crate) fn activation_manifest() -> ActivationManifest {
    ActivationManifest {
        installation: INSTALLATION,
        owner: OPERATOR,
        owner_name: "ada".to_owned(),
        owner_key: signing(3).verify_key(),
        role: Role::Owner,
        nonce: [0x0e; 16],
        not_before: NOW,
        not_after: Wall(NOW.0 + 86_400_000),
    }
}

pub(crate) fn role_grant(role: Role, cluster: Option<ClusterId>) -> RoleGrant {
    RoleGrant {
        operator: OPERATOR,
        name: "grace".to_owned(),
        key: signing(6).verify_key(),
        role,
        cluster,
    }
}

pub(crate) fn join_claims() -> JoinClaims {
    JoinClaims {
        token: TokenId::from_bytes([0x70; 16]),
        cluster: CLUSTER,
        authority: signing(4).verify_key().fingerprint(),
        controllers: vec![
            "controller.example:4433".to_owned(),
            "[2001:db8::1]:4433".to_owned(),
        ],
        roles: vec![NodeRole::Member, NodeRole::Relay],
        labels: labels(&[("site", "fra"), ("rack", "r-07")]),
        max_uses: 5,
        expires: Wall(NOW.0 + 3_600_000),
        approval: ApprovalMode::Auto,
        sources: ["192.0.2.0/24", "2001:db8::/32"]
            .map(|block| block.parse().expect("a block"))
            .to_vec(),
    }
}

pub(crate) fn join_contract() -> JoinContract {
    JoinContract {
        request: REQUEST,
        node: ALPHA,
        name: "alpha".to_owned(),
        roles: vec![NodeRole::Member],
        labels: Labels::default(),
        generation: 1,
        certificate: ByteVec::from(b"\x30\x82certificate".to_vec()),
        key: signing(6).verify_key(),
        authority: signing(4).verify_key(),
        controllers: vec![controller()],
    }
}

pub(crate) fn trust_bundle() -> TrustBundle {
    let certificates = |texts: &[&str]| texts.iter().map(|text| text.as_bytes().to_vec().into()).collect();

    TrustBundle {
        node_cas: certificates(&["node ca one", "node ca two"]),
        controller_cas: certificates(&["controller ca"]),
    }
}

pub(crate) fn revocation_list() -> RevocationList {
    let mut serial = [0; 16];
    serial[0] = 0x40;

    RevocationList {
        certificates: vec![RevokedCertificate {
            issuer: digest(9),
            serial: Serial::from_bytes(serial),
            ends_at: Wall(NOW.0 + 37 * DAY),
        }],
        nodes: vec![RevokedNode {
            node: BETA,
            generation: 1 << 40,
            ends_at: Wall(1 << 33),
        }],
        issuers: vec![digest(8)],
        floor: Wall(NOW.0 - 7 * DAY),
    }
}

pub(crate) fn synthetic_config() -> SyntheticConfig {
    let first = first_synthetic_config();

    SyntheticConfig {
        settings: Some(first.settings().digest()),
        ..first
    }
}

pub(crate) fn first_synthetic_config() -> SyntheticConfig {
    let candidate =
        |kind, address: &str| Candidate::new(kind, address.parse::<SocketAddr>().expect("an address"));

    SyntheticConfig {
        offered_again: None,
        name: "alpha".to_owned(),
        roles: vec![NodeRole::Member, NodeRole::Rendezvous],
        labels: labels(&[("site", "fra")]),
        generation: 1,
        neighbours: vec![Neighbour {
            node: BETA,
            name: "beta".to_owned(),
            generation: 2,
            roles: vec![NodeRole::Member],
            seal_key: SealSecret::from_bytes([0x22; 32]).seal_key(),
            candidates: vec![
                candidate(CandidateKind::Public, "192.0.2.7:4433"),
                candidate(CandidateKind::Lan, "[2001:db8::9]:65535"),
            ],
        }],
        controllers: vec![controller()],
        transport: Transport::default(),
        settings: None,
    }
}

pub(crate) fn routes() -> Routes {
    let relay = Path::Relay {
        relay: RELAY,
        lease: LEASE,
        generation: 3,
        budget: 1_250_000,
    };
    let kept = RouteDecision {
        route: RouteId::from_bytes([2; 16]),
        peer: RELAY,
        generation: 24,
        action: Action::Keep,
        path: Some(Path::Direct),
        standbys: Vec::new(),
        reasons: vec![Reason::DirectPreferred],
        priority: 0,
        cadence: Cadence::Fast,
        rendezvous: None,
    };
    let replaced = RouteDecision {
        route: RouteId::from_bytes([1; 16]),
        peer: BETA,
        generation: 5,
        action: Action::Replace,
        path: Some(relay),
        standbys: vec![Path::Direct],
        reasons: vec![Reason::StaleExactRelay, Reason::HealthyLowLatency],
        priority: 255,
        cadence: Cadence::Auto,
        rendezvous: None,
    };
    let withdrawn = RouteDecision {
        route: RouteId::from_bytes([3; 16]),
        peer: NodeId::from_bytes([0xe1; 16]),
        generation: 6,
        action: Action::Withdraw,
        path: None,
        standbys: Vec::new(),
        reasons: vec![Reason::EndRevoked],
        priority: 9,
        cadence: Cadence::Rest,
        rendezvous: None,
    };

    Routes {
        decisions: vec![replaced, kept, withdrawn],
    }
}

pub(crate) fn lease_table() -> LeaseTable {
    let row = LeaseRow {
        lease: LEASE,
        low: ALPHA,
        high: BETA,
        generation: 3,
        budget_kib: 1_221,
        grace_minutes: 1_440,
        kind: LeaseKind::Relay,
    };
    let widest = LeaseRow {
        lease: LeaseId::from_bytes([0xff; 16]),
        low: NodeId::from_bytes([0xfe; 16]),
        high: NodeId::from_bytes([0xff; 16]),
        generation: u32::MAX,
        budget_kib: u16::MAX,
        grace_minutes: u16::MAX,
        kind: LeaseKind::Relay,
    };

    LeaseTable {
        rows: vec![row, widest],
    }
}

/// Of a pair without a path, which is to meet.
pub(crate) fn meeting_routes() -> Routes {
    let decision = RouteDecision {
        route: RouteId::from_bytes([1; 16]),
        peer: BETA,
        generation: 2,
        action: Action::Keep,
        path: Some(Path::Direct),
        standbys: Vec::new(),
        reasons: vec![Reason::DirectDown, Reason::RendezvousGranted],
        priority: 0,
        cadence: Cadence::Auto,
        rendezvous: Some(Rendezvous {
            node: RELAY,
            lease: LEASE,
            generation: 3,
        }),
    };

    Routes {
        decisions: vec![decision],
    }
}

/// One row of each kind.
pub(crate) fn meeting_table() -> LeaseTable {
    let [relayed, widest] = <[LeaseRow; 2]>::try_from(lease_table().rows).expect("two rows");
    let meeting = LeaseRow {
        kind: LeaseKind::Rendezvous,
        ..widest
    };

    LeaseTable {
        rows: vec![relayed, meeting],
    }
}

pub(crate) fn beacon() -> Beacon {
    let pin = |version, hash| Pin { version, hash };

    Beacon {
        term: 4,
        revision: 65_536,
        root: digest(1),
        leaves: 23,
        bundle: pin(300, digest(5)),
        revocations: pin(70_000, digest(6)),
        audit: pin(24, digest(4)),
    }
}

pub(crate) fn succession() -> Succession {
    Succession {
        epoch: 2,
        key: signing(5).verify_key(),
    }
}

pub(crate) fn installation(version: u64, previous: Option<Digest>) -> Stamp {
    Stamp {
        realm: INSTALLATION.into(),
        epoch: 0,
        ..cluster(version, previous)
    }
}

pub(crate) fn cluster(version: u64, previous: Option<Digest>) -> Stamp {
    Stamp {
        realm: Realm::from(CLUSTER),
        subject: Subject::All,
        epoch: 1,
        version,
        previous,
        issued_at: NOW,
        valid_until: None,
    }
}

pub(crate) fn for_node(node: NodeId) -> Stamp {
    Stamp {
        subject: Subject::Node(node),
        ..cluster(1, None)
    }
}

fn controller() -> ControllerAddress {
    ControllerAddress {
        controller: ControllerId::from_bytes([0xe1; 16]),
        endpoints: vec!["controller.example:4433".to_owned()],
    }
}

fn labels(pairs: &[(&str, &str)]) -> Labels {
    Labels::parse(
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    )
    .expect("labels")
}

/// In milliseconds.
const DAY: u64 = 86_400_000;
