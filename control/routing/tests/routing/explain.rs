//! What an operator is shown.

use std::time::Duration;

use control_routing::explain::{Explanation, Words, explain};
use protocol::document::routes::Path;
use protocol::id::NodeId;
use protocol::wire::{Drift, InForce, Refresh, Report, Switch, SwitchCause};

use crate::world::{World, member, node, relay, route};

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
fn what_an_end_did_by_itself_is_told_with_its_cause_and_its_age() {
    let mut world = settled();
    let report = Report {
        switches: vec![Switch {
            route: route(node(1), node(2)),
            generation: 1,
            from: Path::Direct,
            to: world.row(node(1), node(2)).standbys[0],
            cause: SwitchCause::PathLossy,
            age_ms: 700,
        }],
        ..world.truth(node(1))
    };
    world.take(node(1), &report);
    world.advance(Duration::from_secs(2));
    let told = explained(&world, node(2), node(1)).expect("known");

    let [switch] = &told.switches[..] else {
        panic!("{:?}", told.switches)
    };
    assert_eq!((switch.reporter.as_str(), switch.from.as_str()), ("n1", "direct"));
    assert_eq!((switch.cause, switch.age_ms), ("path_lossy", 2_700));
    assert_ne!(switch.to, "direct");
}

#[test]
fn the_newest_report_of_a_refresh_is_told_of_each_path_with_those_that_were_suppressed() {
    let mut world = settled();
    let unchanged = InForce {
        epoch: 1,
        version: 7,
        generation: Some(1),
    };
    let mut told = |suppressed: u64, relay| {
        let refresh = Refresh {
            route: route(node(1), node(2)),
            relay,
            trigger: Drift::Failure,
            before: unchanged,
            after: InForce {
                version: 8,
                ..unchanged
            },
            cooldown_ms: Some(30_000),
            suppressed,
            age_ms: 700,
            suppressed_ms: (suppressed > 0).then_some(200),
        };
        let report = Report {
            refreshes: vec![refresh],
            ..world.truth(node(1))
        };
        world.take(node(1), &report);
        world.advance(Duration::from_secs(2));

        explained(&world, node(2), node(1)).expect("known").refreshes
    };
    let first = told(0, None);
    assert_eq!((first[0].outcome, first[0].suppressed), ("unchanged", 0));

    let [newest] = &told(3, None)[..] else {
        panic!("one for each path")
    };
    assert_eq!((newest.reporter.as_str(), newest.via.as_str()), ("n1", "direct"));
    assert_eq!((newest.trigger, newest.outcome), ("failure", "suppressed"));
    assert_eq!(
        (newest.versions, newest.generations, newest.epochs),
        ([7, 8], [Some(1); 2], [1, 1])
    );
    assert_eq!(
        (
            newest.cooldown_ms,
            newest.suppressed,
            newest.age_ms,
            newest.suppressed_age_ms
        ),
        (Some(30_000), 3, 2_700, Some(2_200))
    );

    assert_eq!(told(1, Some(node(99))).len(), 1, "a path that it never told of");
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
