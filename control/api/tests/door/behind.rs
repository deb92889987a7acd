//! Beacons as witnesses: which ones prove that a store is older than its fleet.

use control_api::witness;
use control_core::behind::BehindRow;

use super::*;

#[test]
fn a_copy_of_an_old_store_is_found_out_however_far_it_counts() {
    let mut fleet = Controller::new(8);
    let cluster = fleet.create_cluster();
    let backup = (fleet.tx.clone(), fleet.publications.clone());
    fleet.ticks(3);
    let newest = fleet.publications[&cluster].clone();
    // Both have opened their copy once since: one term, two stores.
    for term in [1, 2] {
        (fleet.tx, fleet.publications) = backup.clone();
        fleet.reopen(term);
        for own in 1..=9 {
            fleet.ticks(1);
            let restored = &fleet.publications[&cluster];
            let shown = fleet.origins.judge(restored, &newest.beacon);
            let is_behind = match shown {
                Witness::Ahead { rank } => rank == newest.rank,
                Witness::Fork { rank } => rank == newest.rank && term == newest.rank.term,
                Witness::Agrees | Witness::Unproven => false,
            };
            assert!(is_behind, "term {term}, {own} beacons of its own: {shown:?}");
        }
    }
}

#[test]
fn what_this_store_made_or_held_agrees_at_every_later_time() {
    let mut desk = Controller::new(9);
    let cluster = desk.create_cluster();
    let mut shown = Vec::new();
    for term in 1..4 {
        desk.reopen(term);
        for _ in 0..3 {
            desk.ticks(1);
            shown.push(desk.publications[&cluster].beacon.clone());
        }
        let publication = &desk.publications[&cluster];
        for beacon in &shown {
            assert_eq!(desk.origins.judge(publication, beacon), Witness::Agrees);
        }
    }
}

#[test]
fn another_content_under_a_number_that_stood_at_the_start_is_a_fork() {
    let mut desk = Controller::new(10);
    let cluster = desk.create_cluster();
    let backup = (desk.tx.clone(), desk.publications.clone());
    desk.ticks(1);
    let one = desk.publications[&cluster].clone();
    (desk.tx, desk.publications) = backup;
    desk.pass(1);
    desk.ticks(1);
    assert_eq!(one.rank, desk.publications[&cluster].rank);
    desk.origins = Origins::open(&desk.tx).expect("reads");

    let shown = desk.origins.judge(&desk.publications[&cluster], &one.beacon);
    assert_eq!(shown, Witness::Fork { rank: one.rank });
}

#[test]
fn what_another_authority_signed_proves_nothing() {
    let mut desk = Controller::new(11);
    let cluster = desk.create_cluster();
    let mut elsewhere = Controller::new(12);
    let other = elsewhere.create_cluster();
    elsewhere.ticks(20);
    let publication = &desk.publications[&cluster];
    let mut forged = elsewhere.publications[&other].beacon.clone();
    for shown in [&forged.clone(), &b"no beacon".to_vec()] {
        assert_eq!(desk.origins.judge(publication, shown), Witness::Unproven);
    }
    *forged.last_mut().expect("bytes") ^= 1;
    assert_eq!(desk.origins.judge(publication, &forged), Witness::Unproven);
}

#[test]
fn a_store_that_is_behind_takes_nothing_but_the_mark_of_it() {
    let mut desk = Controller::new(13);
    let cluster = desk.create_cluster();
    let node = desk.join("web-1", &["member"]);
    let row = BehindRow {
        cluster,
        node,
        rank: desk.publications[&cluster].rank,
        fork: false,
        at: desk.world.now.wall,
    };
    let mark = Request::Behind(Box::new(row.clone()));
    for request in [
        Request::Tick,
        Request::Leave,
        Request::Heard { changes: Vec::new() },
        Request::Decide {
            cluster,
            outcomes: Vec::new(),
        },
        Request::Act {
            action: Action::TokenCreate,
            input: json!({}),
        },
    ] {
        let refused = witness::admit(Some(&row), &request).expect_err("refused");
        assert_eq!(refused.code, Code::ReadOnly);
        assert!(refused.message.contains("gabion recover"), "{}", refused.message);
    }
    witness::admit(Some(&row), &mark).expect("the mark itself may be made");
    desk.ask(&Caller::Controller, &mark).expect("marks");

    let before = desk.publications[&cluster].clone();
    let welcome = control_api::welcome::welcome(&desk.tx, &before, desk.bench.controller);
    assert_eq!(
        welcome.expect("welcomes").beacon,
        None,
        "no beacon leaves any more"
    );
    desk.publish(&mut Touched::everything());
    assert_eq!(
        desk.publications[&cluster].rank, before.rank,
        "and none is made, also not by a start"
    );
    let findings = desk.read(Action::FindingList, json!({}));
    assert_eq!(findings[0]["name"], "controller_behind", "{findings}");
}
