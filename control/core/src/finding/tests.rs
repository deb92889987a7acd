use super::*;
use crate::audit::Actor;
use crate::testing::World;

#[test]
fn the_same_thing_is_one_finding_however_often_it_is_seen() {
    let mut world = World::new(1);

    assert!(raise_in(&mut world, Severity::Warning));
    assert!(!raise_in(&mut world, Severity::Warning));
    assert_eq!(list(&world.tx).unwrap().len(), 1);
    assert_eq!(world.tx.count(Table::Audit), 1);
}

#[test]
fn a_finding_that_becomes_worse_is_opened_again() {
    let mut world = World::new(1);
    raise_in(&mut world, Severity::Warning);
    world
        .desk(Actor::Local, |desk| acknowledge(desk, &fingerprint()))
        .unwrap();

    assert!(!raise_in(&mut world, Severity::Notice));
    assert!(raise_in(&mut world, Severity::Critical));
    assert_eq!(state(&world), FindingState::Open);
}

#[test]
fn a_finding_is_acknowledged_resolved_and_opened_again() {
    let mut world = World::new(1);
    raise_in(&mut world, Severity::Warning);
    for _ in 0..2 {
        world
            .desk(Actor::Local, |desk| acknowledge(desk, &fingerprint()))
            .unwrap();
    }
    assert_eq!(state(&world), FindingState::Acknowledged);
    assert!(!raise_in(&mut world, Severity::Warning));

    for _ in 0..2 {
        world
            .desk(Actor::Local, |desk| resolve(desk, &fingerprint()))
            .unwrap();
    }
    assert_eq!(state(&world), FindingState::Resolved);
    let late = world.desk(Actor::Local, |desk| acknowledge(desk, &fingerprint()));
    assert_eq!(late.unwrap_err().code(), Code::ConflictState);

    assert!(raise_in(&mut world, Severity::Warning));
    assert_eq!(state(&world), FindingState::Open);
}

#[test]
fn an_unknown_finding_is_not_found() {
    let refused = World::new(1).desk(Actor::Local, |desk| resolve(desk, &fingerprint()));

    assert_eq!(refused.unwrap_err().code(), Code::NotFound);
}

#[test]
fn kind_cluster_and_subject_tell_findings_apart() {
    let one = finding(Severity::Warning);
    let other_kind = Finding {
        kind: FindingKind::named("unit_testing"),
        subject: "x".to_owned(),
        ..one.clone()
    };
    let shifted = Finding {
        kind: FindingKind::named("unit_testingx"),
        subject: String::new(),
        ..one.clone()
    };
    let elsewhere = Finding {
        cluster: Some(ClusterId::from_bytes([1; 16])),
        ..one.clone()
    };
    let mut prints: Vec<Digest> = [one, other_kind, shifted, elsewhere]
        .iter()
        .map(Finding::fingerprint)
        .collect();
    prints.sort();
    prints.dedup();

    assert_eq!(prints.len(), 4);
}

fn raise_in(world: &mut World, severity: Severity) -> bool {
    world
        .desk(Actor::Controller, |desk| raise(desk, finding(severity)))
        .unwrap()
}

fn state(world: &World) -> FindingState {
    list(&world.tx).unwrap()[0].state
}

fn fingerprint() -> Digest {
    finding(Severity::Warning).fingerprint()
}

fn finding(severity: Severity) -> Finding {
    Finding {
        kind: FindingKind::named("unit_test"),
        severity,
        cluster: None,
        subject: "something".to_owned(),
        text: "something was noticed".to_owned(),
    }
}
