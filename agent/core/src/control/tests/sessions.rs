//! One controller of many: whom a node goes to, what it asks, and what becomes of it when nobody answers.

use std::time::Duration;

use protocol::cbor;
use protocol::document::authority::{RevocationList, RevokedNode};
use protocol::document::config::{Candidate, CandidateKind};
use protocol::document::routes::Path;
use protocol::envelope::Kind;
use protocol::error::{Code, WireError};
use protocol::id::{NodeId, RouteId};
use protocol::node::NodeRole;
use protocol::time::{Boot, Wall};
use protocol::wire::{Drift, NodeRequest, PathObservation, PollReply, Refresh, Report};

use super::super::{Admission, Disconnected, Door, Event, FileName, SessionEnd, Status, Tally};
use super::cluster::{Cluster, node};
use super::host::Host;

#[test]
fn a_poll_is_always_outstanding_and_held_as_long_as_the_role_allows() {
    for (roles, wait) in [
        (vec![NodeRole::Member], 50_000),
        (vec![NodeRole::Relay], 10_000),
        (vec![NodeRole::Rendezvous], 10_000),
    ] {
        let mut cluster = Cluster::new();
        cluster.roles = roles;
        let mut host = Host::member(cluster);
        host.requests.clear();
        host.run(Duration::from_secs(300));

        let waits: Vec<u32> = polls(&host).iter().map(|poll| poll.wait_ms).collect();
        assert!(waits.len() >= 29, "{}", waits.len());
        assert!(waits.iter().all(|found| *found == wait));
        assert!(host.parked().is_some());
    }
}

#[test]
fn every_poll_shows_the_newest_signed_beacon_and_what_is_in_force() {
    let mut host = Host::member(Cluster::new());
    host.requests.clear();
    host.run(Duration::from_secs(60));

    let last = polls(&host).pop().expect("polled");
    let shown = protocol::envelope::Envelope::parse(&last.beacon.expect("shown")).expect("ours");
    assert_eq!(shown.claimed().version, host.cluster.number);
    assert_eq!(last.have.len(), 5);
}

#[test]
fn a_heartbeat_goes_every_ten_seconds_give_or_take_a_tenth() {
    let mut host = Host::member(Cluster::new());
    let from = host.now.boot;
    host.requests.clear();
    host.run(Duration::from_secs(600));

    let at: Vec<Boot> = host
        .requests
        .iter()
        .filter(|(_, request)| matches!(request, NodeRequest::Heartbeat(_)))
        .map(|(at, _)| *at)
        .collect();
    assert!((54..=67).contains(&at.len()), "{}", at.len());
    for pair in at.windows(2) {
        let gap = pair[1].since(pair[0]);
        assert!((9_000..=11_000).contains(&gap.as_millis()), "{gap:?}");
    }
    assert!(at[0].since(from) <= Duration::from_secs(11));
}

#[test]
fn changed_interfaces_are_told_at_once_and_no_more_than_eight() {
    let mut host = Host::member(Cluster::new());
    let candidates: Vec<Candidate> = (1..=20)
        .map(|port| Candidate::new(CandidateKind::Lan, ([192, 0, 2, 1], port).into()))
        .collect();
    host.control.handle_interfaces(candidates.clone(), host.now);
    host.settle().expect("alive");
    let heard = host.cluster.heard.len();
    assert_eq!(host.cluster.heard[heard - 1].candidates, candidates[..8]);

    host.control.handle_interfaces(candidates, host.now);
    host.settle().expect("alive");
    assert_eq!(host.cluster.heard.len(), heard, "nothing changed");
}

#[test]
fn reports_are_sent_one_at_a_time() {
    let mut host = Host::member(Cluster::new());
    for _ in 0..10 {
        host.control.handle_report(Report::default(), host.now);
    }
    host.settle().expect("alive");

    assert_eq!(
        host.cluster.reported, 2,
        "the first, and all that came while it was in flight"
    );
}

#[test]
fn freshness_counts_from_when_the_poll_was_sent() {
    let mut host = Host::member(Cluster::new());
    host.fresh.clear();
    host.requests.clear();
    host.run(Duration::from_secs(60));

    let sent: Vec<Boot> = host
        .requests
        .iter()
        .filter(|(_, request)| matches!(request, NodeRequest::Poll(_)))
        .map(|(at, _)| *at)
        .collect();
    assert!(host.fresh.len() >= 5);
    for (at, newer) in &host.fresh[1..] {
        assert!(*newer && sent.contains(at));
    }
}

#[test]
fn the_same_beacon_again_is_an_answer_and_no_freshness() {
    let mut host = Host::member(Cluster::new());
    host.fresh.clear();
    host.control.handle_refresh(host.now);
    host.settle().expect("alive");

    assert_eq!(host.fresh, [(host.now.boot, false)]);
}

#[test]
fn a_refresh_polls_at_once_beside_the_parked_poll_and_brings_a_newer_beacon() {
    let mut host = Host::member(Cluster::new());
    host.run(Duration::from_secs(3));
    host.fresh.clear();
    host.cluster.number += 1;
    host.control.handle_refresh(host.now);
    host.settle().expect("alive");

    assert_eq!(host.fresh, [(host.now.boot, true)]);
    assert!(host.parked().is_some(), "the parked one stays");
}

#[test]
fn a_bad_report_is_followed_by_one_poll_until_its_cooldown_is_over() {
    let mut host = Host::member(Cluster::new());
    host.run(Duration::from_secs(3));
    host.requests.clear();
    host.events.clear();
    let begun = host.now.boot;
    for _ in 0..120 {
        host.control.handle_report(bad_report(), host.now);
        host.run(Duration::from_secs(5));
    }

    let asked = |request: &NodeRequest| matches!(request, NodeRequest::Poll(poll) if poll.wait_ms == 2_000);
    let at: Vec<u64> = host
        .requests
        .iter()
        .filter(|(_, request)| asked(request))
        .map(|(at, _)| at.since(begun).as_secs())
        .collect();
    assert_eq!(at[0], 0, "at once");
    assert!((5..=7).contains(&at.len()), "in ten minutes: {at:?}");
    let reports = host
        .requests
        .iter()
        .filter(|(_, request)| matches!(request, NodeRequest::Report(_)));
    let reports: Vec<&Report> = reports
        .filter_map(|(_, request)| {
            let NodeRequest::Report(report) = request else {
                return None;
            };

            Some(report)
        })
        .collect();
    assert_eq!(reports.len(), 120, "reports go on");
    let left: Vec<&Refresh> = reports.iter().flat_map(|report| &report.refreshes).collect();
    let suppressed = |told: &&&Refresh| told.outcome() == "suppressed";
    assert_eq!(
        left.iter().filter(suppressed).count(),
        120 - at.len(),
        "and each is told of"
    );
    let newest = left.last().expect("told");
    assert!(newest.suppressed > 10, "one row counts them up: {newest:?}");
    assert!(
        newest.cooldown_ms.is_some_and(|pause| pause >= 240_000),
        "{newest:?}"
    );
    let told: Vec<bool> = host
        .events
        .iter()
        .filter_map(|event| {
            let Event::Refreshed(brought) = event else {
                return None;
            };

            Some(brought.cooldown.is_some())
        })
        .collect();
    assert_eq!(told, vec![true; at.len()], "each is told, and changed nothing");
    let Status::Member(member) = host.control.status() else {
        panic!("a member");
    };
    assert_eq!(member.refreshes.unchanged, at.len() as u64);
    assert_eq!(member.refreshes.suppressed, 120 - at.len() as u64);
}

#[test]
fn a_bad_report_without_a_session_asks_when_there_is_one() {
    let mut host = Host::member(Cluster::new());
    host.run(Duration::from_secs(3));
    host.cut();
    host.control.handle_report(bad_report(), host.now);
    host.settle().expect("alive");
    let Status::Member(member) = host.control.status() else {
        panic!("a member");
    };

    assert_eq!(member.refreshes, Tally::default(), "nobody was asked");
}

#[test]
fn a_reply_that_a_later_poll_overtook_is_no_attack_and_no_news() {
    let mut host = Host::member(Cluster::new());
    let late = PollReply {
        documents: Vec::new(),
        shared: Vec::new(),
        ..host.cluster.whole_reply(node())
    };
    host.run(Duration::from_secs(3));
    host.cluster.number += 1;
    host.control.handle_refresh(host.now);
    host.settle().expect("alive");
    host.fresh.clear();
    host.events.clear();
    host.answer_poll(&late);

    assert_eq!(host.events, [], "neither a refusal nor the end of the session");
    assert_eq!(host.fresh, []);

    // A poll that was sent after the newest beacon came has no cause to bring an older one.
    host.run(Duration::from_secs(1));
    host.answer_poll(&late);
    assert!(matches!(
        host.events[..],
        [Event::Refused { .. }, Event::SessionClosed { .. }]
    ));
}

#[test]
fn a_server_that_answers_at_once_is_not_polled_in_a_loop() {
    let mut host = Host::member(Cluster::new());
    let mut nothing = host.cluster.whole_reply(node());
    nothing.documents.clear();
    nothing.shared.clear();
    host.scripted = Some(nothing.clone());
    host.requests.clear();
    host.answer_poll(&nothing);
    host.run(Duration::from_secs(10));

    assert!((30..=42).contains(&polls(&host).len()), "{}", polls(&host).len());
}

#[test]
fn after_a_lost_session_the_next_controller_is_dialled_within_a_second() {
    for byte in 0..40 {
        let mut host = many_controllers(byte);
        let first = last_dialled(&host);
        host.dialled.clear();
        host.cut();
        host.run(Duration::from_secs(1));

        assert_eq!(host.dialled.len(), 1, "seed {byte}");
        assert_ne!(last_dialled(&host), first);
    }
}

#[test]
fn a_fleet_that_lost_its_only_controller_comes_back_spread_over_ten_seconds() {
    let mut late = 0;
    for byte in 0..40 {
        let mut host = member_with_seed(Cluster::new(), byte);
        host.dialled.clear();
        host.cut();
        host.run(Duration::from_secs(5));
        late += usize::from(host.dialled.is_empty());
        host.run(Duration::from_secs(5));
        assert_eq!(host.dialled.len(), 1, "seed {byte}");
    }

    assert!((10..=30).contains(&late), "{late} of 40 in the second half");
}

#[test]
fn attempts_that_fail_back_off_with_full_jitter_up_to_half_a_minute() {
    let mut host = Host::member(Cluster::new());
    host.faults.unreachable = true;
    host.cut();
    host.dialled.clear();
    host.run(Duration::from_secs(3600));

    // After the first steps a uniform pause of up to 30 s: 240 on average, and never a storm.
    assert!(
        (180..=330).contains(&host.dialled.len()),
        "{}",
        host.dialled.len()
    );
    assert_eq!(
        host.tried_in_vain.len(),
        host.dialled.len(),
        "one controller: every attempt is a round"
    );
}

#[test]
fn a_round_is_in_vain_once_every_controller_was_tried() {
    let mut host = many_controllers(1);
    host.faults.unreachable = true;
    host.dialled.clear();
    host.cut();
    while host.tried_in_vain.is_empty() {
        host.run(Duration::from_secs(1));
    }
    let mut tried: Vec<&String> = host.dialled.iter().map(|(_, endpoint)| endpoint).collect();
    tried.sort();
    tried.dedup();

    assert_eq!(tried.len(), 3);
}

#[test]
fn a_controller_that_goes_away_is_left_within_the_time_it_names() {
    let mut host = many_controllers(1);
    let first = last_dialled(&host);
    host.dialled.clear();
    let reply = PollReply {
        retry_within_ms: Some(4_000),
        documents: Vec::new(),
        shared: Vec::new(),
        ..host.cluster.whole_reply(node())
    };
    host.answer_poll(&reply);
    host.run(Duration::from_secs(4));

    assert!(host.events.contains(&Event::MovedAway { within_ms: 4_000 }));
    assert_ne!(last_dialled(&host), first);
    assert!(connected(&host));
}

#[test]
fn a_controller_that_cannot_answer_polls_is_left_for_another() {
    let mut host = many_controllers(1);
    let first = last_dialled(&host);
    host.dialled.clear();
    let mut error = WireError::new(Code::Unavailable, "later");
    error.retry_after_ms = Some(500);
    host.refuse_poll(&error);
    host.run(Duration::from_secs(3));

    assert!(host.events.iter().any(|event| matches!(
        event,
        Event::SessionClosed { why: SessionEnd::Refused(code), .. } if code == "dependency_unavailable"
    )));
    assert_ne!(last_dialled(&host), first);
}

#[test]
fn a_stale_node_tries_another_controller() {
    let mut host = many_controllers(1);
    let mut frozen = host.cluster.whole_reply(node());
    frozen.documents.clear();
    frozen.shared.clear();
    host.scripted = Some(frozen.clone());
    host.dialled.clear();
    host.answer_poll(&frozen);
    host.run(super::super::STALE_AFTER + Duration::from_secs(2));

    assert!(host.events.contains(&Event::Stale));
    assert_eq!(host.dialled.len(), 1);
}

#[test]
fn nothing_that_is_late_or_foreign_is_taken_for_an_answer() {
    let mut host = Host::member(Cluster::new());
    let before = host.control.status();
    let (connection, tag) = host.parked().expect("a poll is parked");
    let wrong = super::super::ConnectionId(connection.0 + 100);
    let reply = cbor::encode(&0_u8);
    host.control.handle_reply(wrong, tag, Ok(reply.clone()), host.now);
    host.control
        .handle_reply(connection, super::super::Tag(tag.0 + 100), Ok(reply), host.now);
    host.control
        .handle_disconnected(wrong, Disconnected::Silent, host.now);
    host.control
        .handle_persisted(super::super::WriteId(9_999), Ok(()), host.now);
    host.control.handle_welcome(connection, b"again", host.now);

    assert!(host.control.poll_effect().is_none());
    assert_eq!(host.control.status(), before);
}

#[test]
fn a_full_disk_adopts_nothing_and_renews_no_freshness_until_there_is_room() {
    let mut host = Host::member(Cluster::new());
    let before = host.disk.clone();
    host.fresh.clear();
    host.adopted.clear();
    host.faults.fail_writes = 4;
    host.cluster.publish();
    host.push_news();
    host.run(Duration::from_secs(6));
    assert_eq!((host.adopted.len(), host.fresh.len()), (0, 0));
    assert_eq!(host.disk, before);
    assert!(
        host.events
            .iter()
            .any(|event| matches!(event, Event::WriteFailed { .. }))
    );

    host.run(Duration::from_secs(30));
    assert!(host.adopted.contains(&(Kind::Routes, host.cluster.revision)));
    assert!(host.fresh.iter().any(|(_, newer)| *newer));
}

#[test]
fn a_disk_that_stays_full_costs_no_peace() {
    let mut host = Host::member(Cluster::new());
    host.faults.fail_writes = usize::MAX;
    host.run(Duration::from_secs(120));
    host.cluster.publish();
    host.push_news();
    host.suspend(protocol::certificate::LEAF_LIFE * 60 / 100);
    let before = host.steps;
    host.run(Duration::from_secs(600));

    assert!(host.steps - before < 1_000, "{}", host.steps - before);
    assert!(connected(&host), "heartbeats go on");
}

#[test]
fn beacons_alone_are_written_once_a_minute() {
    let mut host = Host::member(Cluster::new());
    host.run(Duration::from_secs(70));
    host.writes.clear();
    host.run(Duration::from_secs(600));

    assert!((9..=11).contains(&host.writes.len()), "{}", host.writes.len());
    assert!(host.writes.iter().all(|files| *files == [FileName::HighWater]));
}

#[test]
fn a_node_whose_leaving_was_not_answered_leaves_although_nobody_lets_it_in() {
    for waits_first in [false, true] {
        let mut host = Host::member(Cluster::new());
        host.cluster.revocations = (2, revoking_us());
        host.faults.node_handshake = true;
        host.cut();
        if waits_first {
            host.run(Duration::from_secs(60));
            let told = host.events.iter().filter(|event| **event == Event::Revoked);
            assert_eq!(told.count(), 1, "it hears why, once");
        }
        host.leave(Duration::from_secs(60));
        host.run(Duration::from_secs(60));

        assert!(host.events.contains(&Event::Left), "waits first: {waits_first}");
        assert!(!super::super::boot(&host.disk).expect("bootable").is_member());
    }
}

#[test]
fn a_node_that_is_turned_away_says_so_until_a_controller_takes_it_again() {
    for (code, admission) in [
        (Code::NodeRevoked, Admission::Revoked),
        (Code::IdentityCloned, Admission::Refused),
        (Code::Unavailable, Admission::Admitted),
    ] {
        let mut host = Host::member(Cluster::new());
        assert_eq!(standing(&host), (Admission::Admitted, None));
        host.faults.unreachable = true;
        host.cut_with(Disconnected::Closed(Some(code)));
        host.settle().expect("nobody kills this host");
        assert_eq!(standing(&host), (admission, Some(code.text().to_owned())));

        host.run(Duration::from_secs(120));
        let told = (admission, Some("unreachable".to_owned()));
        assert_eq!(standing(&host), told, "that nobody answers does not take it back");
        host.faults.unreachable = false;
        host.run(Duration::from_secs(120));
        assert_eq!(standing(&host), (Admission::Admitted, None));
    }
}

#[test]
fn a_node_on_a_list_that_it_was_shown_is_revoked() {
    let mut host = Host::member(Cluster::new());
    host.cluster.revocations = (2, revoking_us());
    host.faults.node_handshake = true;
    host.cut();
    host.run(Duration::from_secs(60));

    let (admission, last) = standing(&host);
    assert_eq!(admission, Admission::Revoked);
    assert!(last.is_some());
}

#[test]
fn when_no_certificate_is_believed_the_bundle_is_fetched_at_the_join_door() {
    let mut host = Host::member(Cluster::new());
    host.faults.node_handshake = true;
    host.cluster.bundle += 1;
    host.cluster.number += 1;
    host.cut();
    host.dialled.clear();
    host.adopted.clear();
    host.run(Duration::from_secs(30));
    assert!(host.dialled.iter().any(|(door, _)| *door == Door::Join));
    assert!(host.adopted.contains(&(Kind::TrustBundle, host.cluster.bundle)));

    host.faults.node_handshake = false;
    host.run(Duration::from_secs(60));
    assert!(connected(&host));
}

/// A member of a cluster with three controllers.
fn many_controllers(byte: u8) -> Host {
    let mut cluster = Cluster::new();
    cluster.endpoints = ["a", "b", "c"]
        .map(|name| format!("{name}.example:4433"))
        .to_vec();

    member_with_seed(cluster, byte)
}

fn member_with_seed(cluster: Cluster, byte: u8) -> Host {
    let mut host = Host::new(cluster);
    let config = super::host::config(&host.cluster);
    host.restart(config, &super::host::seed(byte));
    host.run(Duration::from_secs(8));
    assert!(connected(&host));

    host
}

/// A list that names this node.
fn revoking_us() -> RevocationList {
    let us = RevokedNode {
        node: node(),
        generation: 1,
        ends_at: Wall(u64::MAX),
    };

    RevocationList {
        nodes: vec![us],
        ..RevocationList::default()
    }
}

/// Whether controllers take the host for a node, and the code of the last failure.
fn standing(host: &Host) -> (Admission, Option<String>) {
    match host.control.status() {
        Status::Member(status) => (status.admission, status.last_failure.map(|last| last.code)),
        other @ (Status::Ended { .. } | Status::Joining(_)) => panic!("no member: {other:?}"),
    }
}

fn connected(host: &Host) -> bool {
    matches!(host.control.status(), Status::Member(status) if status.connected)
}

fn last_dialled(host: &Host) -> String {
    host.dialled.last().expect("dialled").1.clone()
}

fn polls(host: &Host) -> Vec<protocol::wire::Poll> {
    let mut polls = Vec::new();
    for (_, request) in &host.requests {
        if let NodeRequest::Poll(poll) = request {
            polls.push(poll.clone());
        }
    }

    polls
}

/// One path that is down.
fn bad_report() -> Report {
    let path = PathObservation {
        route: RouteId::from_bytes([7; 16]),
        peer: NodeId::from_bytes([8; 16]),
        path: Path::Direct,
        generation: 1,
        active: true,
        drift: Drift::Failure,
        expected_hops: Vec::new(),
        observed_hops: Vec::new(),
        rtt_us: None,
        lost_out: 20,
        lost_in: 20,
        window: 20,
        misses: 9,
        answered_ms: None,
    };

    Report {
        paths: vec![path],
        ..Report::default()
    }
}
