//! Keeping the wanted routes up node by node finds what selecting them anew finds.

use std::collections::{BTreeMap, BTreeSet};

use control_routing::member::{Member, MemberState};
use control_routing::policy::{PolicyRow, Selector, Wanted};
use control_routing::selection::{Selected, Selection};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use protocol::document::routes::Cadence;
use protocol::id::{ClusterId, NodeId, RouteId};
use protocol::key::SealKey;
use protocol::node::{Labels, NodeRole};

type Members = BTreeMap<NodeId, Member>;

/// Somebody is in force with this label from now on, or is not.
type Step = (Index, Option<u8>);

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn what_is_selected_node_by_node_is_what_is_selected_anew(
        nodes in prop_oneof![60_usize..70, 100_usize..140],
        policies in vec(policy(), 0..4),
        steps in vec(any::<Step>().prop_map(|(node, site)| (node, site.map(|site| site % 3))), 1..12),
    ) {
        let mut members: Members = (0..nodes).map(|number| member(number, number as u8 % 3)).collect();
        let policies: Vec<PolicyRow> = policies.into_iter().enumerate().map(named).collect();
        let mut wanted = Wanted::select(CLUSTER, &policies, &members);
        let mut selection = Selection::of(CLUSTER, &policies, &members);
        for (index, site) in steps {
            let node = id(index.index(nodes + 2));
            let before = members.get(&node).and_then(Member::selected_by).cloned();
            match site {
                Some(site) => members.extend([member(index.index(nodes + 2), site)]),
                None => drop(members.remove(&node)),
            }
            let after = members.get(&node).and_then(Member::selected_by);
            let selected = Selected { node, before: before.as_ref(), after };
            let old = wanted.clone();
            let anew = Wanted::select(CLUSTER, &policies, &members);
            let mut turned = Vec::new();
            let is_done = selection.put(&mut wanted, selected, &mut turned);
            let told: BTreeSet<RouteId> = turned.iter().map(|route| route.route).collect();
            let differ = wanted.iter().filter(|route| old.find(route.route) != Some(route));
            let gone = old.iter().filter(|route| wanted.find(route.route).is_none());
            let differ: BTreeSet<RouteId> = differ.chain(gone).map(|route| route.route).collect();
            match is_done {
                true => {
                    prop_assert_eq!(&wanted, &anew);
                    prop_assert_eq!(told, differ);
                }
                false => {
                    prop_assert!(told.is_superset(&differ), "what it did until then");
                    selection = Selection::of(CLUSTER, &policies, &members);
                    wanted = anew;
                }
            }
        }
    }
}

#[test]
fn one_node_that_comes_turns_few_routes_of_many() {
    let mut members: Members = (0..2_000).map(|number| member(number, 0)).collect();
    let mut wanted = Wanted::select(CLUSTER, &[], &members);
    let mut selection = Selection::of(CLUSTER, &[], &members);
    members.extend([member(2_000, 0)]);
    let selected = Selected {
        node: id(2_000),
        before: None,
        after: members[&id(2_000)].selected_by(),
    };
    let mut turned = Vec::new();
    assert!(
        selection.put(&mut wanted, selected, &mut turned),
        "no bound is near"
    );

    assert_eq!(wanted, Wanted::select(CLUSTER, &[], &members));
    assert!((16..=24).contains(&turned.len()), "{}", turned.len());
}

#[test]
fn a_hub_that_is_full_has_everything_selected_anew() {
    let site = |site: u8| Selector::Labelled(labels(site));
    let policies = [named((0, (site(0), site(1), 1)))];
    let mut members: Members = (0..1_024).map(|number| member(number, 0)).collect();
    members.extend([member(5_000, 1)]);
    let mut wanted = Wanted::select(CLUSTER, &policies, &members);
    assert_eq!((wanted.len(), wanted.left_out()), (1_024, 0));
    let mut selection = Selection::of(CLUSTER, &policies, &members);
    members.extend([member(1_024, 0)]);
    let selected = Selected {
        node: id(1_024),
        before: None,
        after: members[&id(1_024)].selected_by(),
    };

    let mut turned = Vec::new();
    assert!(!selection.put(&mut wanted, selected, &mut turned));
    assert_eq!(turned.len(), 1, "it was about to come");
}

fn policy() -> impl Strategy<Value = (Selector, Selector, u8)> {
    (selector(), selector(), 0_u8..3)
}

fn selector() -> impl Strategy<Value = Selector> {
    prop_oneof![
        Just(Selector::Every),
        (0_u8..3).prop_map(|site| Selector::Labelled(labels(site))),
    ]
}

fn named((number, (source, target, priority)): (usize, (Selector, Selector, u8))) -> PolicyRow {
    PolicyRow {
        cluster: CLUSTER,
        name: format!("p{number}").parse().expect("a name"),
        priority,
        source,
        target,
        cadence: Cadence::Auto,
    }
}

fn member(number: usize, site: u8) -> (NodeId, Member) {
    let member = Member {
        node: id(number),
        name: format!("n{number}").parse().expect("a name"),
        generation: 1,
        roles: vec![NodeRole::Member],
        labels: labels(site),
        seal_key: SealKey::parse([7; 32]).expect("not zero"),
        endpoints: Vec::new(),
        reverted: None,
        state: MemberState::Active,
    };

    (member.node, member)
}

fn labels(site: u8) -> Labels {
    Labels::parse([("site".to_owned(), site.to_string())]).expect("labels")
}

fn id(number: usize) -> NodeId {
    NodeId::from_bytes((number as u128).to_be_bytes())
}

const CLUSTER: ClusterId = ClusterId::from_bytes([0xC0; 16]);
