//! What an operator is shown.

use control_routing::explain::{Explanation, Words, explain};
use protocol::id::NodeId;

use crate::world::{World, member, node, relay};

#[test]
fn an_explanation_names_path_evidence_and_what_was_refused() {
    let mut world = settled();
    world
        .network
        .cut
        .insert((node(1).min(node(2)), node(1).max(node(2))));
    world.run(15);
    let told = explained(&world, node(1), node(2)).expect("known");
    let decision = told.decision.as_ref().expect("decided");
    let path = decision.path.as_ref().expect("not withdrawn");

    assert_eq!((path.kind, path.hops.len()), ("relay", 3));
    assert_eq!((path.hops[0].as_str(), path.hops[2].as_str()), ("n1", "n2"));
    assert!(
        decision.reasons.contains(&"direct_down"),
        "{:?}",
        decision.reasons
    );
    assert!(decision.decided_at.starts_with("at "), "in the caller's words");
    assert_eq!(decision.applied, [Some(decision.generation); 2]);
    let direct = decision
        .considered
        .iter()
        .find(|found| found.via == "direct")
        .expect("considered");
    assert_eq!((direct.tier, direct.measured), ("stale", false));
    let chosen = &told.candidates[0];
    assert_eq!((chosen.judged.verdict, chosen.judged.tier), ("chosen", "usable"));
    assert_eq!(chosen.evidence.len(), 2, "both ends speak");
    assert!(
        chosen
            .evidence
            .iter()
            .all(|seen| seen.age_ms == 0 && seen.observed_hops.len() == 3)
    );
    assert_eq!(told.leases.len(), 2);
    assert!(told.leases.iter().all(|lease| lease.state == "active"));
}

#[test]
fn it_reads_the_same_from_the_other_end_but_for_the_direction() {
    let world = settled();
    let [there, back] = [(1, 2), (2, 1)].map(|(one, other)| explained(&world, node(one), node(other)));
    let (there, back) = (there.expect("known"), back.expect("known"));

    assert_eq!((&there.source, &there.target), (&back.target, &back.source));
    assert_eq!(there.leases, back.leases);
    assert_eq!(
        there.decision.map(|decision| decision.generation),
        back.decision.map(|decision| decision.generation)
    );
}

#[test]
fn a_pair_that_nobody_wants_has_no_explanation() {
    let world = settled();

    assert_eq!(explained(&world, node(1), node(11)), None);
}

fn settled() -> World {
    let mut world = World::of([member(1), member(2), relay(11, "fra"), relay(12, "ber")]);
    world.decide();
    world.acknowledge_all();
    world.run(30);

    world
}

pub(crate) fn explained(world: &World, source: NodeId, target: NodeId) -> Option<Explanation> {
    let name = |node: NodeId| world.members[&node].name.to_string();

    explain(
        &world.snapshot(),
        source,
        target,
        world.now,
        Words {
            name: &name,
            time: &|at| format!("at {}", at.0),
        },
    )
}
