use std::collections::BTreeMap;

use control_core::node::{NodeRow, Presence, Tenure};
use control_core::settings::Reversal;
use control_core::store::{Row, Rows, RowsMut, Table, Tx};
use control_core::testing::MemoryTx;
use control_routing::compile;
use control_routing::lease::LeaseState;
use control_routing::policy::{PolicyRow, Selector};
use control_routing::route::RouteRow;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::cbor;
use protocol::document::authority::Serial;
use protocol::document::config::{Candidate, CandidateKind, Transport};
use protocol::document::routes::{Action, Cadence, LeaseKind, Path};

use protocol::envelope::Kind;
use protocol::id::{LeaseId, RequestId, RouteId};
use protocol::key::{Digest, SealSecret, SigningKey};
use protocol::net::Address;
use protocol::node::Labels;
use protocol::time::Wall;
use protocol::wire::{Have, Reverted};

use super::*;
use crate::books::Book;

/// A row that somebody writes.
#[derive(Clone, Debug)]
enum Step {
    Node {
        node: Index,
        as_it_is: NodeIs,
    },
    Gone {
        node: Index,
    },
    Reverted {
        node: Index,
        byte: u8,
    },
    /// A lease of the pair over a relay, in one of its states, or gone.
    Lease {
        pair: [Index; 2],
        relay: Index,
        state: Option<LeaseState>,
        generation: u32,
    },
    /// A decision for the pair, over a relay's lease or direct, or gone.
    Route {
        pair: [Index; 2],
        relay: Option<Index>,
        is_gone: bool,
        priority: u8,
    },
    /// A row that nobody can read.
    Damage {
        node: Index,
    },
}

#[derive(Clone, Copy, Debug)]
struct NodeIs {
    tenure: Tenure,
    presence: Presence,
    is_relay: bool,
    is_introducer: bool,
    port: u16,
    is_confirmed: bool,
    is_ipv6: bool,
    site: u8,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_kept_up_row_by_row_is_what_is_read_anew_and_whoever_is_concerned_is_named(
        nodes in prop_oneof![58_usize..70, 66_usize..72],
        relays in prop_oneof![0_usize..4, 17_usize..20],
        policies in vec((selector(), selector()), 0..3),
        batches in vec(vec(step(), 1..4), 1..8),
    ) {
        let mut tx = MemoryTx::default();
        for (number, (source, target)) in policies.into_iter().enumerate() {
            tx.put(&policy(number, source, target)).expect("memory");
        }
        for number in 0..nodes {
            let as_it_is = NodeIs { is_relay: number < relays, is_confirmed: number % 5 != 0, ..PLAIN };
            tx.put(&node_row(id(number), as_it_is)).expect("memory");
        }
        for number in relays..if relays > 0 { nodes - 1 } else { 0 } {
            let pair = (id(number), id(number + 1));
            tx.put(&lease(pair, id(number % relays), Some(LeaseState::Active), 1)).expect("memory");
        }
        let mut records = read(&tx, &LastGood::default());
        let mut before = documents(&records);
        for batch in batches {
            let written: Written = batch.iter().flat_map(|step| take(&mut tx, step, nodes, relays)).collect();
            let last = records.books.clone().into_last_good();
            let concerned = records.catch_up(&tx, &written).expect("reads");
            let anew = read(&tx, &last);
            prop_assert_eq!(records.fleet(), anew.fleet());
            prop_assert_eq!(records.books.unreadable(), anew.books.unreadable());
            prop_assert_eq!(&records.learners, &anew.learners);
            let after = documents(&anew);
            for node in before.keys().chain(after.keys()).filter(|node| anew.fleet().members.contains_key(node)) {
                let (old, new) = (of(&before, *node), of(&after, *node));
                let differ = |kind: usize| new[kind].is_some() && old[kind] != new[kind];
                prop_assert!(!differ(0) || concerned.everybody || concerned.configs.contains(node), "config of {:?}", node);
                prop_assert!(!differ(1) || concerned.routes.contains(node), "routes of {:?}", node);
                prop_assert!(!differ(2) || concerned.tables.contains(node), "table of {:?}", node);
            }
            before = after;
        }
    }
}

/// That the property is about something: what one node changes in a large cluster concerns few.
#[test]
fn what_one_node_changes_in_a_large_cluster_concerns_its_neighbours_alone() {
    let mut tx = MemoryTx::default();
    for number in 0..300 {
        let as_it_is = NodeIs {
            is_relay: number < 3,
            ..PLAIN
        };
        tx.put(&node_row(id(number), as_it_is)).expect("memory");
    }
    let mut records = read(&tx, &LastGood::default());
    let moved = node_row(id(200), NodeIs { port: 9, ..PLAIN });
    tx.put(&moved).expect("memory");
    let written = Written::from([(Book::Nodes, key(id(200)))]);
    let concerned = records.catch_up(&tx, &written).expect("reads");
    assert!(!concerned.everybody);
    assert!(
        (8..=40).contains(&concerned.configs.len()),
        "{}",
        concerned.configs.len()
    );

    let joined = node_row(id(300), PLAIN);
    tx.put(&joined).expect("memory");
    let written = Written::from([(Book::Nodes, key(id(300)))]);
    let concerned = records.catch_up(&tx, &written).expect("reads");
    assert!(!concerned.everybody);
    assert!(
        (8..=60).contains(&concerned.configs.len()),
        "{}",
        concerned.configs.len()
    );
    assert!(concerned.routes.contains(&id(300)), "it has no documents yet");
}

/// One policy gives up what it had for a node, and then another begins to join rings, in one batch of rows.
#[test]
fn what_turned_before_everything_is_selected_anew_is_told_too() {
    let site = |site: u8| Selector::Labelled(labels(site));
    let at = |site: u8| NodeIs { site, ..PLAIN };
    let mut tx = MemoryTx::default();
    tx.put(&policy(1, site(0), site(1))).expect("memory");
    tx.put(&policy(2, site(2), site(2))).expect("memory");
    for number in 0..80 {
        tx.put(&node_row(id(number), at(0))).expect("memory");
        tx.put(&node_row(id(100 + number), at(1))).expect("memory");
    }
    for number in 200..264 {
        tx.put(&node_row(id(number), at(2))).expect("memory");
    }
    let mut records = read(&tx, &LastGood::default());
    // The first change has nothing to go on from.
    for (number, site) in [(300, 1), (100, 3), (264, 2)] {
        tx.put(&node_row(id(number), at(site))).expect("memory");
        if number == 300 {
            let written = Written::from([(Book::Nodes, key(id(number)))]);
            records.catch_up(&tx, &written).expect("reads");
        }
    }
    let before = records.fleet().wanted.clone();
    let written = Written::from([(Book::Nodes, key(id(100))), (Book::Nodes, key(id(264)))]);
    let old = documents(&records);
    let concerned = records.catch_up(&tx, &written).expect("reads");
    let now = documents(&records);
    let differ: Vec<&NodeId> = now
        .keys()
        .filter(|node| of(&old, **node)[0] != of(&now, **node)[0])
        .collect();

    assert!(before.of_node(id(100)).count() > 0 && records.fleet().wanted.of_node(id(100)).count() == 0);
    let new = |node: &&&NodeId| before.find(RouteId::between(CLUSTER, id(100), ***node)).is_none();
    assert!(
        differ.iter().filter(new).count() > 0,
        "somebody else got a neighbour"
    );
    for node in differ {
        assert!(
            concerned.everybody || concerned.configs.contains(node),
            "{node:?}"
        );
    }
}

type Documents = BTreeMap<NodeId, [Option<Vec<u8>>; 3]>;

/// Config, routes and lease table of every node in force.
fn documents(records: &Records) -> Documents {
    let input = records.snapshot();
    let unknown = records.books.unknown().collect();
    let in_force = records
        .fleet()
        .members
        .values()
        .filter(|member| member.state.is_in_force());

    in_force
        .map(|member| {
            let node = member.node;
            let settings = records.settings.of(member.reverted.as_ref());
            let config = compile::config(&input, &records.learners, node, &settings).ok();
            let routes = compile::routes(node, input.routes, input.leases).document;
            let table = compile::lease_table(&input, &unknown, node).ok();

            (
                node,
                [
                    config.map(|config| cbor::encode(&config)),
                    Some(cbor::encode(&routes)),
                    table.map(|table| cbor::encode(&table)),
                ],
            )
        })
        .collect()
}

fn of(documents: &Documents, node: NodeId) -> [Option<Vec<u8>>; 3] {
    documents.get(&node).cloned().unwrap_or_default()
}

fn read(view: &dyn View, last: &LastGood) -> Records {
    let settings = SettingsBook::of_nobody(Settings {
        controllers: Vec::new(),
        transport: Transport::default(),
    });

    Records::of(Books::read(view, CLUSTER, last).expect("reads"), settings)
}

/// Writes one row, and says which.
fn take(tx: &mut MemoryTx, step: &Step, nodes: usize, relays: usize) -> Option<(Book, Vec<u8>)> {
    // One more than there are: somebody joins.
    let node = |index: &Index| id(index.index(nodes + 1));
    match step {
        Step::Node {
            node: index,
            as_it_is,
        } => {
            tx.put(&node_row(node(index), *as_it_is)).expect("memory");
            Some((Book::Nodes, key(node(index))))
        }
        Step::Gone { node: index } => {
            tx.delete_bytes(Table::Nodes, &key(node(index))).expect("memory");
            Some((Book::Nodes, key(node(index))))
        }
        Step::Reverted { node: index, byte } => {
            let mut row: NodeRow = tx.get_readable(&key(node(index))).expect("memory")?;
            row.reverted = Some(reversal(*byte));
            tx.put(&row).expect("memory");
            Some((Book::Nodes, key(node(index))))
        }
        Step::Damage { node: index } => {
            tx.put_bytes(Table::Nodes, &key(node(index)), vec![0xff])
                .expect("memory");
            Some((Book::Nodes, key(node(index))))
        }
        Step::Lease {
            pair,
            relay,
            state,
            generation,
        } => {
            let lease = lease(
                ends(pair, nodes)?,
                id(relay.index(relays.max(1))),
                *state,
                *generation,
            );
            let key = lease.key();
            match state {
                Some(_) => tx.put(&lease).expect("memory"),
                None => tx.delete_bytes(Table::Leases, &key).expect("memory"),
            }
            Some((Book::Leases, key))
        }
        Step::Route {
            pair,
            relay,
            is_gone,
            priority,
        } => {
            let (low, high) = ends(pair, nodes)?;
            let over =
                relay.and_then(|relay| lease((low, high), id(relay.index(relays.max(1))), None, 1).path());
            let row = route_row((low, high), over, *priority);
            match is_gone {
                true => tx.delete_bytes(Table::Routes, &row.key()).expect("memory"),
                false => tx.put(&row).expect("memory"),
            }
            Some((Book::Routes, row.key()))
        }
    }
}

fn route_row((low, high): (NodeId, NodeId), over: Option<Path>, priority: u8) -> RouteRow {
    RouteRow {
        cluster: CLUSTER,
        route: RouteId::between(CLUSTER, low, high),
        low,
        high,
        generation: 1,
        action: Action::Replace,
        path: Some(over.unwrap_or(Path::Direct)),
        standbys: Vec::new(),
        reasons: Vec::new(),
        priority,
        cadence: Cadence::Auto,
        decided_at: Wall(0),
        considered: Vec::new(),
        withdrawn_at: None,
        rendezvous: None,
    }
}

fn ends(pair: &[Index; 2], nodes: usize) -> Option<(NodeId, NodeId)> {
    let (one, other) = (pair[0].index(nodes), pair[1].index(nodes));

    (one != other).then(|| (id(one.min(other)), id(one.max(other))))
}

/// There is one lease for each pair and relay.
fn lease((low, high): (NodeId, NodeId), relay: NodeId, state: Option<LeaseState>, generation: u32) -> Lease {
    let route = RouteId::between(CLUSTER, low, high);
    let place = [route.as_bytes().as_slice(), relay.as_bytes()].concat();
    let digest = Digest::of(&place);
    let request = control_routing::lease::LeaseRequest {
        cluster: CLUSTER,
        route,
        low,
        high,
        relay,
        kind: match digest.as_bytes()[31] % 4 {
            0 => LeaseKind::Rendezvous,
            _ => LeaseKind::Relay,
        },
        previous: None,
    };
    let lease = LeaseId::from_bytes(*digest.as_bytes().first_chunk().expect("long enough"));

    Lease {
        generation,
        state: state.unwrap_or(LeaseState::Active),
        ..Lease::grant(&request, None, lease, Wall(0))
    }
}

fn reversal(byte: u8) -> Reversal {
    let digest = Digest::of(&[byte]);

    Reversal {
        report: Reverted {
            config: Have {
                kind: Kind::SyntheticConfig,
                epoch: 1,
                version: 1,
                hash: digest,
            },
            settings: digest,
            restored: None,
        },
        at: Wall(0),
        acknowledged: 0,
        counted: None,
        released: false,
    }
}

fn step() -> impl Strategy<Value = Step> {
    let pair = || [any::<Index>(), any::<Index>()];
    prop_oneof![
        4 => (any::<Index>(), node_is()).prop_map(|(node, as_it_is)| Step::Node { node, as_it_is }),
        1 => any::<Index>().prop_map(|node| Step::Gone { node }),
        1 => (any::<Index>(), 0_u8..3).prop_map(|(node, byte)| Step::Reverted { node, byte }),
        1 => any::<Index>().prop_map(|node| Step::Damage { node }),
        3 => (pair(), any::<Index>(), lease_state(), 1_u32..3)
            .prop_map(|(pair, relay, state, generation)| Step::Lease { pair, relay, state, generation }),
        3 => (pair(), any::<Option<Index>>(), prop::bool::weighted(0.2), 0_u8..3)
            .prop_map(|(pair, relay, is_gone, priority)| Step::Route { pair, relay, is_gone, priority }),
    ]
}

fn lease_state() -> impl Strategy<Value = Option<LeaseState>> {
    prop_oneof![
        Just(Some(LeaseState::Offered)),
        Just(Some(LeaseState::Active)),
        Just(Some(LeaseState::Withdrawn)),
        Just(None),
    ]
}

fn node_is() -> impl Strategy<Value = NodeIs> {
    let tenure = prop_oneof![
        4 => Just(Tenure::Enabled),
        1 => Just(Tenure::Disabled),
        1 => Just(Tenure::Draining),
        1 => Just(Tenure::Revoked),
    ];
    let presence = prop_oneof![Just(Presence::Active), Just(Presence::Offline)];
    let flags = (
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.05),
        any::<bool>(),
        prop::bool::weighted(0.2),
    );
    (tenure, presence, flags, 1_u16..4, 0_u8..2).prop_map(
        |(tenure, presence, (is_relay, is_introducer, is_confirmed, is_ipv6), port, site)| NodeIs {
            tenure,
            presence,
            is_relay,
            is_introducer,
            port,
            is_confirmed,
            is_ipv6,
            site,
        },
    )
}

fn node_row(node: NodeId, as_it_is: NodeIs) -> NodeRow {
    let host = match as_it_is.is_ipv6 {
        true => "[2001:db8::1]",
        false => "192.0.2.1",
    };
    let address = format!("{host}:{}", as_it_is.port).parse().expect("an address");
    let mut roles = vec![NodeRole::Member];
    roles.extend(as_it_is.is_relay.then_some(NodeRole::Relay));
    roles.extend(as_it_is.is_introducer.then_some(NodeRole::Rendezvous));

    NodeRow {
        cluster: CLUSTER,
        id: node,
        name: format!("n{}", u128::from_be_bytes(*node.as_bytes()))
            .parse()
            .expect("a name"),
        roles,
        labels: labels(as_it_is.site),
        generation: 1,
        key: SigningKey::from_seed(&[1; 32]).verify_key(),
        seal_key: SealSecret::from_bytes([1; 32]).seal_key(),
        issuer: Digest::default(),
        serial: Serial::from_bytes([0x40; 16]),
        certificate: Vec::new().into(),
        not_after: Wall(0),
        renewal: None,
        tenure: as_it_is.tenure,
        presence: as_it_is.presence,
        presence_since: Wall(0),
        boot: None,
        candidates: vec![Candidate::new(CandidateKind::Lan, address)],
        agent_version: String::new(),
        epoch: 0,
        machine: None,
        request: RequestId::from_bytes([1; 16]),
        joined_at: Wall(0),
        ended_at: None,
        confirmed: as_it_is.is_confirmed.then(|| vec![Address(address)]),
        ending: None,
        reverted: None,
    }
}

fn policy(number: usize, source: Selector, target: Selector) -> PolicyRow {
    PolicyRow {
        cluster: CLUSTER,
        name: format!("p{number}").parse().expect("a name"),
        priority: 1,
        source,
        target,
        cadence: Cadence::Auto,
    }
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        Just(Selector::Every),
        (0_u8..2).prop_map(|site| Selector::Labelled(labels(site))),
    ]
}

fn labels(site: u8) -> Labels {
    Labels::parse([("site".to_owned(), site.to_string())]).expect("labels")
}

fn id(number: usize) -> NodeId {
    NodeId::from_bytes((number as u128).to_be_bytes())
}

fn key(node: NodeId) -> Vec<u8> {
    [*CLUSTER.as_bytes(), *node.as_bytes()].concat()
}

const PLAIN: NodeIs = NodeIs {
    tenure: Tenure::Enabled,
    presence: Presence::Active,
    is_relay: false,
    is_introducer: false,
    port: 1,
    is_confirmed: true,
    is_ipv6: false,
    site: 0,
};
const CLUSTER: ClusterId = ClusterId::from_bytes([0xC0; 16]);
