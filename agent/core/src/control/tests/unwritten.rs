//! A state disk that is full or hangs: nothing new comes into force, what is revoked is, and the node stays fresh.

use std::time::Duration;

use protocol::document::authority::{RevocationList, RevokedNode};
use protocol::envelope::Kind;
use protocol::id::NodeId;
use protocol::time::{Boot, Wall};
use protocol::wire::NodeRequest;

use super::super::{Config, Status, boot};
use super::cluster::Cluster;
use super::host::{Host, config, seed};

#[test]
fn a_full_disk_costs_no_freshness_as_long_as_the_leases_stay_as_they_are() {
    let mut host = with_news(|host| host.faults.fail_writes = usize::MAX);
    run_with_beacons(&mut host);

    assert_eq!(host.adopted, [], "nothing comes into force");
    let newest = newest(&host).expect("polls go on");
    assert!(
        host.now.boot.since(newest) <= Duration::from_secs(25),
        "{newest:?}"
    );
    assert!(matches!(host.control.status(), Status::Member(status) if status.connected && !status.stale));

    host.faults.fail_writes = 0;
    host.run(Duration::from_secs(60));
    assert!(host.adopted.contains(&(Kind::Routes, host.cluster.revision)));
}

#[test]
fn a_disk_that_hangs_costs_no_freshness_either() {
    let mut host = with_news(|host| host.faults.hang_writes = true);
    run_with_beacons(&mut host);

    assert_eq!(host.adopted, []);
    let newest = newest(&host).expect("polls go on");
    assert!(
        host.now.boot.since(newest) <= Duration::from_secs(25),
        "{newest:?}"
    );
}

#[test]
fn a_lease_table_that_cannot_be_written_ends_freshness() {
    let mut host = Host::member(Cluster::new());
    host.faults.fail_writes = usize::MAX;
    host.fresh.clear();
    host.cluster.publish();
    host.push_news();
    run_with_beacons(&mut host);

    assert_eq!(newest(&host), None, "what it carries may have been withdrawn");
}

#[test]
fn a_revocation_takes_effect_though_it_cannot_be_written_and_is_written_later() {
    let mut host = with_news(|host| host.faults.fail_writes = usize::MAX);
    host.run(Duration::from_secs(30));
    revoke(&mut host);
    host.run(Duration::from_secs(30));
    assert_eq!(host.adopted, [(Kind::RevocationList, 2)]);

    host.faults.fail_writes = 0;
    host.run(Duration::from_secs(60));
    let kept = boot(&host.disk).expect("bootable").kept;
    assert!(
        kept.snapshot
            .have()
            .iter()
            .any(|have| have.kind == Kind::RevocationList && have.version == 2)
    );
    assert_eq!(
        host.adopted
            .iter()
            .filter(|(kind, _)| *kind == Kind::RevocationList)
            .count(),
        1
    );
}

#[test]
fn what_was_written_at_last_takes_no_revocation_back() {
    let mut host = with_news(|host| host.faults.hang_writes = true);
    host.run(Duration::from_secs(30));
    revoke(&mut host);
    host.run(Duration::from_secs(30));
    assert_eq!(host.adopted, [(Kind::RevocationList, 2)]);

    // The write that hung was of the list before.
    host.faults.hang_writes = false;
    host.finish_writes();
    host.run(Duration::from_secs(60));
    assert!(host.adopted.contains(&(Kind::Routes, host.cluster.revision)));
    let again = Config {
        token: None,
        ..config(&host.cluster)
    };
    host.restart(again, &seed(2));
    host.adopted.clear();
    host.faults.unreachable = true;
    host.run(Duration::from_secs(1));
    assert!(
        host.adopted.contains(&(Kind::RevocationList, 2)),
        "{:?}",
        host.adopted
    );
}

#[test]
fn polls_whose_documents_cannot_be_written_are_no_loop() {
    let mut host = with_news(|host| host.faults.fail_writes = usize::MAX);
    host.requests.clear();
    host.run(Duration::from_secs(600));

    let polls = host
        .requests
        .iter()
        .filter(|(_, request)| matches!(request, NodeRequest::Poll(_)));
    assert!((60..=130).contains(&polls.count()));
}

/// Five minutes, with a beacon every ten seconds.
fn run_with_beacons(host: &mut Host) {
    for _ in 0..30 {
        host.run(Duration::from_secs(10));
        host.cluster.number += 1;
    }
}

/// A member for whom a new config and new routes have come, while something is wrong with its disk.
fn with_news(wrong: impl FnOnce(&mut Host)) -> Host {
    let mut host = Host::member(Cluster::new());
    wrong(&mut host);
    host.cluster.leases = Some(host.cluster.revision);
    host.cluster.publish();
    host.adopted.clear();
    host.fresh.clear();
    host.push_news();

    host
}

fn revoke(host: &mut Host) {
    let nodes = vec![RevokedNode {
        node: NodeId::from_bytes([0xEE; 16]),
        generation: 1,
        ends_at: Wall(u64::MAX),
    }];
    host.cluster.revocations = (
        2,
        RevocationList {
            nodes,
            ..RevocationList::default()
        },
    );
    host.cluster.number += 1;
}

/// When the poll was sent that freshness counts from.
fn newest(host: &Host) -> Option<Boot> {
    let newer = host.fresh.iter().filter(|(_, newer)| *newer);

    newer.map(|(sent_at, _)| *sent_at).max()
}
