//! Who is told an address: few, until a handshake has confirmed it.

use protocol::net::Address;

use super::*;

#[test]
fn a_sixth_neighbour_learns_an_address_that_one_handshake_confirmed() {
    let (mut desk, cluster, nodes) = site(30);
    assert_eq!(desk.told(&nodes), 4, "four try it");
    let by = desk.learner(&nodes, lan(1));
    desk.dialled(cluster, by, nodes[0], lan(1));

    assert_eq!(desk.told(&nodes), 6, "all know that it is good");
}

#[test]
fn what_is_stored_as_confirmed_stays_so_after_a_restart_and_is_not_stored_again() {
    let (mut desk, cluster, nodes) = site(31);
    let by = desk.learner(&nodes, lan(1));
    desk.dialled(cluster, by, nodes[0], lan(1));
    desk.live = Live::new(Addresses::AlsoLoopback);
    desk.publications = Publications::new();
    desk.publish(&mut Touched::everything());
    assert_eq!(desk.told(&nodes), 6);
    for (number, node) in (1..).zip(&nodes) {
        desk.beat(cluster, *node, number);
    }

    assert_eq!(desk.news(cluster, nodes[1], nodes[0], lan(1)), []);
}

#[test]
fn nobody_confirms_an_address_that_its_node_does_not_publish() {
    let (desk, cluster, nodes) = site(32);
    let by = desk.learner(&nodes, lan(1));

    assert_eq!(desk.news(cluster, by, nodes[0], lan(99)), []);
    let clothed: SocketAddr = "[::ffff:10.0.0.1]:7444".parse().unwrap();
    assert_eq!(
        desk.news(cluster, by, nodes[0], clothed),
        [(nodes[0], Address(lan(1)))],
        "a dual-stack socket shows IPv4 in IPv6 clothes"
    );
}

#[test]
fn neither_the_node_itself_nor_one_that_was_not_told_confirms_an_address() {
    let (desk, cluster, nodes) = site(34);
    let told = |node: &&NodeId| desk.knows(**node, nodes[0], lan(1));
    let (told, untold): (Vec<_>, Vec<_>) = nodes[1..].iter().partition(told);

    assert_eq!((told.len(), untold.len()), (4, 2));
    for by in untold.into_iter().chain([&nodes[0]]) {
        assert_eq!(desk.news(cluster, *by, nodes[0], lan(1)), []);
    }
    for by in told {
        assert_eq!(desk.news(cluster, *by, nodes[0], lan(1)).len(), 1);
    }
}

#[test]
fn an_address_that_a_node_gave_up_has_to_be_confirmed_anew() {
    let (mut desk, cluster, nodes) = site(33);
    let by = desk.learner(&nodes, lan(1));
    desk.dialled(cluster, by, nodes[0], lan(1));
    desk.beat(cluster, nodes[0], 50);
    assert_eq!(desk.told_of(&nodes, lan(50)), 4, "the new one is unknown");
    let by = desk.learner(&nodes, lan(50));
    desk.dialled(cluster, by, nodes[0], lan(50));
    desk.beat(cluster, nodes[0], 1);

    assert_eq!(desk.told_of(&nodes, lan(1)), 4, "and so is the old one by now");
}

/// Seven hosts behind one NAT, each with an address of its own in there.
fn site(seed: u64) -> (Controller, ClusterId, Vec<NodeId>) {
    let mut desk = Controller::new(seed);
    let cluster = desk.create_cluster();
    let nodes: Vec<NodeId> = (1..=7)
        .map(|number| desk.join(&format!("n{number}"), &["member"]))
        .collect();
    for (number, node) in (1..).zip(&nodes) {
        desk.beat(cluster, *node, number);
    }

    (desk, cluster, nodes)
}

fn lan(number: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number], 7444))
}

impl Controller {
    fn beat(&mut self, cluster: ClusterId, node: NodeId, number: u8) {
        let heartbeat = Heartbeat {
            boot: BootId::from_bytes([number; 16]),
            candidates: vec![Candidate::new(CandidateKind::Lan, lan(number))],
            epoch: 1,
            applied: Vec::new(),
            agent_version: "test".to_owned(),
            refused: Vec::new(),
            reverted: None,
        };
        let outside = SocketAddr::from(([192, 0, 2, 1], 1_000 + u16::from(number)));
        let change = self
            .live
            .handle_heartbeat((cluster, node), outside, &heartbeat, self.world.now);
        let changes = change.expect("taken").into_iter().collect();
        self.ask(&Caller::Controller, &Request::Heard { changes })
            .expect("stored");
    }

    fn news(&self, cluster: ClusterId, by: NodeId, peer: NodeId, at: SocketAddr) -> Vec<(NodeId, Address)> {
        let link = LinkObservation {
            peer,
            connected: true,
            rtt_us: None,
            reached: Some(Address(at)),
        };
        let report = Report {
            links: vec![link],
            ..Report::default()
        };

        self.live.reached(&self.publications[&cluster], by, &report)
    }

    /// `by` says that it reached `node` at an address, and the controller does what follows.
    fn dialled(&mut self, cluster: ClusterId, by: NodeId, node: NodeId, at: SocketAddr) {
        let reached = self.news(cluster, by, node, at);
        self.ask(&Caller::Controller, &Request::Confirm { cluster, reached })
            .expect("stored");
    }

    /// How many of the others are told the first one's own address.
    fn told(&self, nodes: &[NodeId]) -> usize {
        self.told_of(nodes, lan(1))
    }

    fn told_of(&self, nodes: &[NodeId], address: SocketAddr) -> usize {
        let knows = |reader: &&NodeId| self.knows(**reader, nodes[0], address);

        nodes[1..].iter().filter(knows).count()
    }

    /// One of the others that is told this address of the first.
    fn learner(&self, nodes: &[NodeId], address: SocketAddr) -> NodeId {
        let mut others = nodes[1..].iter().copied();

        others
            .find(|reader| self.knows(*reader, nodes[0], address))
            .expect("somebody is told")
    }

    fn knows(&self, reader: NodeId, node: NodeId, address: SocketAddr) -> bool {
        let config: SyntheticConfig = self.document(reader, Kind::SyntheticConfig);
        let found = config.neighbours.iter().find(|other| other.node == node);

        found.is_some_and(|other| other.candidates.iter().any(|found| found.address.0 == address))
    }
}
