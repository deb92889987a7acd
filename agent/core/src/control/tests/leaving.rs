//! Leaving: done while somebody waits for it, or not at all.

use std::time::Duration;

use protocol::error::{Code, WireError};

use super::super::{Event, NotLeft, Status};
use super::cluster::Cluster;
use super::host::Host;

#[test]
fn a_node_that_leaves_gives_everything_back() {
    let mut host = Host::member(Cluster::new());
    host.leave(Duration::from_secs(5));
    host.run(Duration::from_secs(5));

    assert!(host.events.contains(&Event::Left));
    assert_eq!(host.control.status(), Status::Ended { failure: None });
    assert!(!super::super::boot(&host.disk).expect("bootable").is_member());
    assert_eq!(host.control.poll_timeout(), None);
}

#[test]
fn leaving_goes_on_until_a_controller_hears_of_it_in_time() {
    let mut host = Host::member(Cluster::new());
    host.faults.unreachable = true;
    host.cut();
    host.settle().expect("alive");
    host.leave(Duration::from_secs(180));
    host.run(Duration::from_secs(60));
    assert_eq!(outcome(&host), None);
    assert!(is_leaving(&host));

    host.faults.unreachable = false;
    host.run(Duration::from_secs(60));
    assert_eq!(outcome(&host), Some(Ok(())));
}

#[test]
fn a_wish_to_leave_ends_with_its_time_and_is_not_done_later() {
    let mut host = Host::member(Cluster::new());
    host.faults.unreachable = true;
    host.cut();
    host.settle().expect("alive");
    host.leave(Duration::from_secs(5));
    host.run(Duration::from_secs(5));
    assert_eq!(outcome(&host), Some(Err(NotLeft::Unheard)));
    assert!(!is_leaving(&host));

    host.faults.unreachable = false;
    host.run(Duration::from_secs(600));
    assert_eq!(outcome(&host), Some(Err(NotLeft::Unheard)), "and nothing since");
    assert!(matches!(host.control.status(), Status::Member(status) if status.connected));
}

#[test]
fn a_wish_that_nobody_has_any_more_is_not_done_later() {
    let mut host = Host::member(Cluster::new());
    host.faults.unreachable = true;
    host.cut();
    host.settle().expect("alive");
    host.leave(Duration::from_secs(3_600));
    host.run(Duration::from_secs(60));
    host.control.handle_stay(host.now);
    host.faults.unreachable = false;
    host.run(Duration::from_secs(7_200));

    assert_eq!(outcome(&host), None);
    assert!(!is_leaving(&host));
}

#[test]
fn one_that_was_asked_and_did_not_answer_may_have_done_it() {
    let mut host = Host::member(Cluster::new());
    host.faults.mute = true;
    host.leave(Duration::from_secs(5));
    host.run(Duration::from_secs(5));

    assert_eq!(outcome(&host), Some(Err(NotLeft::Unanswered)));
}

#[test]
fn a_full_disk_is_told_when_all_was_given_back_already() {
    let mut host = Host::member(Cluster::new());
    host.faults.fail_writes = 6;
    host.leave(Duration::from_secs(5));
    host.run(Duration::from_secs(5));
    assert_eq!(outcome(&host), Some(Err(NotLeft::Unwritten)));

    host.run(Duration::from_secs(120));
    assert!(
        host.events.contains(&Event::Left),
        "there is nothing left to keep"
    );
}

#[test]
fn a_withdrawal_that_cannot_be_now_keeps_the_request() {
    let mut cluster = Cluster::new();
    cluster.approve = false;
    let mut host = Host::new(cluster);
    host.run(Duration::from_secs(5));
    let busy = WireError::new(Code::StoreFull, "no room");
    host.cluster.refuse_join = Some(busy.clone());
    host.leave(Duration::from_secs(5));
    host.run(Duration::from_secs(5));
    assert_eq!(outcome(&host), Some(Err(NotLeft::Refused(busy))));

    host.cluster.refuse_join = None;
    host.cluster.approve = true;
    host.run(Duration::from_secs(60));
    assert!(
        matches!(host.control.status(), Status::Member(_)),
        "it goes on as if nobody had asked"
    );
}

fn outcome(host: &Host) -> Option<Result<(), NotLeft>> {
    host.events.iter().rev().find_map(|event| {
        if let Event::NotLeft(why) = event {
            return Some(Err(why.clone()));
        }

        (*event == Event::Left).then_some(Ok(()))
    })
}

fn is_leaving(host: &Host) -> bool {
    match host.control.status() {
        Status::Ended { .. } => false,
        Status::Joining(status) => status.leaving,
        Status::Member(status) => status.leaving,
    }
}
