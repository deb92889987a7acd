//! Two agents with documents in force, on loopback: their cores, their loops and their links together.

use agent_core::control::{Adopted, NodeIdentity};
use agent_core::mesh::effect::Refusal;
use protocol::document::authority::{RevocationList, RevokedCertificate, TrustBundle};
use protocol::document::config::{Candidate, CandidateKind, Neighbour, SyntheticConfig, Transport};
use protocol::document::routes::{
    Action, Cadence, LeaseKind, LeaseRow, LeaseTable, Path, RouteDecision, Routes,
};
use protocol::envelope::{Document, Header, Opened, Subject};
use protocol::frame::{BootTag, Class, Form, FrameHeader, LinkMessage, PathTag, RefusalReason, Sequence};
use protocol::id::{LeaseId, RouteId};
use protocol::key::SealSecret;

use super::*;
use crate::local::{FlowStart, FlowStop};
use crate::station::Greeting;
use crate::testing::{CLUSTER, Ground, end, node, serial};

#[tokio::test]
async fn two_agents_find_each_other_and_carry_test_traffic() {
    let (mut one, mut two) = pair();
    one.follow(&two);
    two.follow(&one);
    let (one, two) = (one.run(), two.run());

    let start = FlowStart {
        peer: "node-2".to_owned(),
        rate_per_s: 200,
        bytes: 900,
        seconds: None,
    };
    let started = one.start_flow(start).await.unwrap().unwrap();
    assert_eq!(started.peers, [node(2)]);
    let received = until(
        || async { two.flows().await.unwrap().received.into_iter().next() },
        |flow| flow.received >= 50,
    )
    .await;
    assert_eq!(
        (received.peer, received.peer_name.as_deref()),
        (node(1), Some("node-1"))
    );
    assert_eq!(received.duplicates, 0);

    let route = until(
        || async { one.routes().await.unwrap().pop() },
        |route| route.paths[0].health == "up" && route.paths[0].rtt_us.is_some(),
    )
    .await;
    assert_eq!((route.peer, route.active.kind.as_str()), (node(2), "direct"));
    assert_eq!(route.paths[0].observed_hops, ["node-1", "node-2"]);
    let links = one.links().await.unwrap();
    assert_eq!((links.len(), links[0].state.as_str()), (1, "up"));

    let stop = FlowStop {
        peer: "all".to_owned(),
    };
    assert_eq!(one.stop_flow(stop).await.unwrap().unwrap().flows, 1);
    assert!(one.flows().await.unwrap().sending.is_empty());
}

#[tokio::test]
async fn a_node_whose_certificate_is_revoked_loses_its_live_link_and_does_not_come_back() {
    let (mut one, mut two) = pair();
    one.follow(&two);
    two.follow(&one);
    let one = one.run();
    let Agent {
        mut drive, mut inbox, ..
    } = two.agent.take().unwrap();
    let links = || async { Some(one.links().await.unwrap()) };
    tokio::select! {
        ended = drive.run(&mut inbox, std::future::pending()) => panic!("{ended:?}"),
        _ = until(links, |links| links.iter().any(|link| link.state == "up")) => {}
    }
    drive.adopt(first_revoked());

    let links = tokio::select! {
        ended = drive.run(&mut inbox, std::future::pending()) => panic!("{ended:?}"),
        links = until(links, |links| links.iter().any(|link| link.failures > 0)) => links,
    };
    assert_eq!(links[0].state, "down");
}

#[tokio::test]
async fn a_node_that_is_revoked_between_its_handshake_and_its_turn_gets_no_link() {
    let (one, mut two) = pair();
    two.follow(&one);
    let mut late = Ground::new(CLUSTER, 9).station(1);
    late.dial(2, vec![two.address]);
    let link = late.link_up().await;
    let Agent {
        mut drive, mut inbox, ..
    } = two.agent.take().unwrap();
    drive.adopt(first_revoked());

    tokio::select! {
        ended = drive.run(&mut inbox, std::future::pending()) => panic!("{ended:?}"),
        error = end(&link.connection) => {
            assert_eq!(crate::quic::closed_with(&error), Some(protocol::error::Code::NodeRevoked));
        }
    }
}

#[tokio::test]
async fn a_relay_carries_no_pair_and_no_class_that_its_table_does_not_name_and_says_so() {
    let ground = Ground::new(CLUSTER, 9);
    let mut relay = Member::new(3, &ground);
    let mut asking = ground.station(1);
    asking.dial(3, vec![relay.address]);
    let Agent {
        mut drive, mut inbox, ..
    } = relay.agent.take().unwrap();
    let row = |lease, low, high| LeaseRow {
        lease: LeaseId::from_bytes([lease; 16]),
        low: node(low),
        high: node(high),
        generation: 1,
        budget_kib: 64,
        grace_minutes: 60,
        kind: LeaseKind::Relay,
    };
    let rows = vec![row(1, 1, 2), row(2, 2, 4)];
    drive.adopt(Adopted::LeaseTable(opened(LeaseTable { rows })));
    let asked = [
        (Class::Payload, 1, RefusalReason::PayloadForwardingDisabled),
        (Class::Synthetic, 2, RefusalReason::NotLeased),
        (Class::Synthetic, 9, RefusalReason::NotLeased),
    ];
    let ask = async {
        let link = asking.link_up().await;
        for (class, lease, reason) in asked {
            link.connection.send_datagram(frame(class, lease).into()).unwrap();
            let heard = refusal(&link.connection).await;
            assert_eq!(heard, (class, LeaseId::from_bytes([lease; 16]), reason));
        }
    };

    tokio::select! {
        ended = drive.run(&mut inbox, std::future::pending()) => panic!("{ended:?}"),
        heard = tokio::time::timeout(Duration::from_secs(20), ask) => heard.expect("each is answered"),
    }
    let counted = drive.counted();
    assert_eq!(counted.refused[&Refusal::PayloadForwardingDisabled], 1);
    assert_eq!(counted.refused[&Refusal::NotLeased], 2);
    assert_eq!(counted.forwarded, 0);
}

/// A frame that asks a relay to carry it.
fn frame(class: Class, lease: u8) -> Vec<u8> {
    let header = FrameHeader {
        class,
        form: Form::Sealed,
        path: PathTag::Relay {
            lease: LeaseId::from_bytes([lease; 16]),
            generation: 1,
        },
        boot: BootTag::from_bytes([1; 8]),
        sequence: Sequence(1),
    };

    [header.encode().as_slice(), &[0; 60]].concat()
}

/// The next refusal that the other end tells; what else it says is left out.
async fn refusal(connection: &quinn::Connection) -> (Class, LeaseId, RefusalReason) {
    loop {
        let datagram = connection.read_datagram().await.unwrap();
        let (header, body) = FrameHeader::parse(&datagram).unwrap();
        if header.form != Form::Link {
            continue;
        }
        if let LinkMessage::Refused {
            path: PathTag::Relay { lease, .. },
            class,
            reason,
        } = LinkMessage::read(body).unwrap()
        {
            return (class, lease, reason);
        }
    }
}

/// Revokes the one certificate of node 1.
fn first_revoked() -> Adopted {
    let revoked = RevokedCertificate {
        issuer: Ground::new(CLUSTER, 9).id(),
        serial: serial(1),
        ends_at: Wall(u64::MAX),
    };

    Adopted::Revocations(opened(RevocationList {
        certificates: vec![revoked],
        ..RevocationList::default()
    }))
}

/// Asks until what is told is as wanted; gives up after 20 s.
async fn until<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F, wanted: impl Fn(&T) -> bool) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(told) if wanted(&told) => return told,
                Some(_) | None => {}
            }
        }
    };

    tokio::time::timeout(Duration::from_secs(20), asking)
        .await
        .expect("it comes to this")
}

/// An agent that is not enrolled by anybody: its documents are put in force by hand.
struct Member {
    number: u8,
    agent: Option<Agent>,
    address: SocketAddr,
}

fn pair() -> (Member, Member) {
    let ground = Ground::new(CLUSTER, 9);

    (Member::new(1, &ground), Member::new(2, &ground))
}

impl Member {
    fn new(number: u8, ground: &Ground) -> Self {
        let parts = Parts {
            seed: zeroize::Zeroizing::new([number; 32]),
            ..parts()
        };
        let address = parts.socket.local_addr().unwrap();
        let config = AgentConfig {
            dev: true,
            ..config(Some(token()))
        };
        let mut agent = Agent::start(config, parts).unwrap();
        let identity = NodeIdentity {
            node: node(number),
            cluster: CLUSTER,
            name: format!("node-{number}"),
            generation: 1,
            certificate: ground.certify(number, number).cert[0].clone(),
            key: SigningKey::from_seed(&[number; 32]),
            seal: seal_secret(number),
            previous_seal: None,
        };
        agent.drive.adopt(Adopted::Identity(Box::new(identity)));
        agent
            .drive
            .adopt(Adopted::Bundle(opened::<TrustBundle>(ground.bundle())));
        agent.drive.say(Greeting {
            node: node(number),
            cluster: CLUSTER,
            welcome: b"welcome".as_slice().into(),
        });

        Self {
            number,
            agent: Some(agent),
            address,
        }
    }

    /// Puts a config that knows `other`, and a direct route to it, in force.
    fn follow(&mut self, other: &Self) {
        let config = SyntheticConfig {
            offered_again: None,
            name: format!("node-{}", self.number),
            roles: Vec::new(),
            labels: Labels::default(),
            generation: 1,
            neighbours: vec![Neighbour {
                node: node(other.number),
                name: format!("node-{}", other.number),
                generation: 1,
                roles: Vec::new(),
                seal_key: seal_secret(other.number).seal_key(),
                candidates: vec![Candidate::new(CandidateKind::Lan, other.address)],
            }],
            controllers: Vec::new(),
            transport: Transport::default(),
            settings: None,
        };
        let routes = Routes {
            decisions: vec![RouteDecision {
                route: RouteId::between(CLUSTER, node(self.number), node(other.number)),
                peer: node(other.number),
                generation: 1,
                action: Action::Replace,
                path: Some(Path::Direct),
                standbys: Vec::new(),
                reasons: Vec::new(),
                priority: 0,
                cadence: Cadence::Fast,
                rendezvous: None,
            }],
        };
        let drive = &mut self.agent.as_mut().unwrap().drive;
        drive.adopt(Adopted::Config(Box::new(opened(config))));
        drive.adopt(Adopted::Routes(opened(routes)));
    }

    fn run(mut self) -> LocalClient {
        let agent = self.agent.take().unwrap();
        let client = agent.local();
        tokio::spawn(agent.run(std::future::pending()));

        client
    }
}

/// A document as the core hands it over once it has verified it.
fn opened<D: Document>(body: D) -> Opened<D> {
    Opened {
        header: Header {
            kind: D::KIND,
            schema: D::SCHEMA,
            realm: CLUSTER.into(),
            subject: Subject::All,
            epoch: 1,
            version: 1,
            previous: None,
            issued_at: Wall(1),
            valid_until: None,
            needs: Vec::new(),
        },
        body,
        hash: Digest::default(),
    }
}

fn seal_secret(number: u8) -> SealSecret {
    SealSecret::from_bytes([number; 32])
}
