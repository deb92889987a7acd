//! A config whose settings leave the node without a controller, and what comes back of the one before.

use std::time::Duration;

use protocol::document::authority::{RevocationList, RevokedNode};
use protocol::document::config::Transport;
use protocol::envelope::Kind;
use protocol::id::NodeId;
use protocol::wire::{NodeRequest, Reverted};

use super::super::{Event, FileName, MemberStatus, SessionEnd, Status, Unconfirmed};
use super::cluster::{Cluster, START, node};
use super::host::{Host, config, seed};

#[test]
fn a_config_that_names_a_dead_address_costs_a_minute_and_only_its_settings() {
    let mut host = misled();
    host.cluster.revocations = (
        2,
        RevocationList {
            nodes: vec![RevokedNode {
                node: NodeId::from_bytes([0x66; 16]),
                generation: 1,
                ends_at: START.after(Duration::from_secs(3600 * 24 * 60)),
            }],
            ..RevocationList::default()
        },
    );
    host.cluster.number += 1;
    host.push_news();
    host.run(Duration::from_secs(59));
    assert_eq!(reverted(&host), None, "not before its time");
    host.run(Duration::from_secs(12));

    assert_eq!(reverted(&host), Some((2, 1)));
    let status = status(&host);
    assert!(status.connected);
    assert_eq!(status.endpoint, ALIVE);
    assert_eq!(
        version(&status, Kind::SyntheticConfig),
        Some(2),
        "the new one stays in force"
    );
    assert_eq!(version(&status, Kind::RevocationList), Some(2));
    let handed = host.configs.last().expect("handed over");
    assert_eq!(handed.name, "node-2", "all but the settings is of the new one");
    assert_eq!(handed.controllers[0].endpoints, [ALIVE]);
    let tries = host.dialled.iter().filter(|(_, endpoint)| endpoint == DEAD);
    assert!(tries.count() >= 2, "new addresses have a second chance");
}

#[test]
fn controllers_are_told_as_long_as_it_is_so() {
    let mut host = misled();
    let tried = host.cluster.config().settings;
    host.push_news();
    host.run(Duration::from_secs(90));
    let told: Reverted = host.cluster.heard.last().expect("heard").reverted.expect("told");
    assert_eq!(Some(told.settings), tried);
    assert_eq!(told.config.version, 2);

    host.cluster.endpoints = vec![ALIVE.to_owned()];
    assert_eq!(told.restored, host.cluster.config().settings);
    publish(&mut host);
    host.run(Duration::from_secs(30));
    assert_eq!(host.cluster.heard.last().expect("heard").reverted, None);
    assert_eq!(status(&host).unconfirmed, None);

    host.cluster.endpoints = vec![DEAD.to_owned()];
    publish(&mut host);
    host.run(Duration::from_secs(1));
    let pending = Some(Unconfirmed::Pending {
        tried: 4,
        confirmed: 3,
    });
    assert_eq!(
        status(&host).unconfirmed,
        pending,
        "offered again, it is tried again"
    );
}

#[test]
fn the_same_settings_in_a_later_config_are_not_tried_again() {
    let mut host = misled();
    host.push_news();
    host.run(Duration::from_secs(90));
    host.events.clear();
    publish(&mut host);
    host.run(Duration::from_secs(300));

    let kept = Some(Unconfirmed::Reverted {
        tried: 2,
        confirmed: 1,
    });
    assert_eq!(status(&host).unconfirmed, kept);
    assert_eq!(version(&status(&host), Kind::SyntheticConfig), Some(3));
    assert!(status(&host).connected);
    assert!(
        !host
            .events
            .iter()
            .any(|event| matches!(event, Event::SessionClosed { .. }))
    );
    let handed = host.configs.last().expect("handed over");
    assert_eq!(
        (handed.name.as_str(), handed.controllers[0].endpoints.as_slice()),
        ("node-3", [ALIVE.to_owned()].as_slice())
    );
}

#[test]
fn an_address_that_works_is_gone_to_and_confirmed() {
    let mut host = Host::member(Cluster::new());
    host.cluster.endpoints = vec![MOVED.to_owned()];
    publish(&mut host);
    host.run(Duration::from_secs(7));

    assert!(host.events.contains(&Event::ConfigConfirmed { version: 2 }));
    let readdressed = |event: &Event| matches!(event, Event::SessionClosed { why: SessionEnd::Readdressed, endpoint } if endpoint == ALIVE);
    assert!(host.events.iter().any(readdressed));
    assert_eq!(status(&host).endpoint, MOVED);
    assert_eq!(status(&host).unconfirmed, None);
    let again = config(&host.cluster);
    host.restart(again, &seed(3));
    assert_eq!(status(&host).unconfirmed, None, "and stays so");
}

#[test]
fn one_more_controller_costs_no_connection() {
    let mut host = Host::member(Cluster::new());
    host.events.clear();
    host.cluster.endpoints = vec![ALIVE.to_owned(), DEAD.to_owned()];
    publish(&mut host);
    host.run(Duration::from_secs(2));

    assert!(host.events.contains(&Event::ConfigConfirmed { version: 2 }));
    assert!(
        !host
            .events
            .iter()
            .any(|event| matches!(event, Event::SessionClosed { .. }))
    );
}

#[test]
fn a_controller_that_goes_away_with_a_config_of_the_same_settings_reverts_nothing() {
    let mut host = Host::member(Cluster::new());
    publish(&mut host);
    host.run(Duration::from_millis(10));
    host.faults.unreachable = true;
    host.cut();
    host.run(Duration::from_secs(600));

    assert_eq!(reverted(&host), None);
    assert_eq!(status(&host).unconfirmed, None);
}

#[test]
fn a_host_that_is_cut_off_goes_back_in_settings_alone_and_finds_its_controllers_at_both_addresses() {
    for returns_at in [ALIVE, MOVED] {
        let mut host = Host::member(Cluster::new());
        let old = host.cluster.whole_reply(node());
        host.cluster.endpoints = vec![MOVED.to_owned()];
        host.faults.unreachable = true;
        publish(&mut host);
        host.run(Duration::from_secs(300));
        assert_eq!(reverted(&host), Some((2, 1)));
        for endpoint in [ALIVE, MOVED] {
            let dials = host.dialled.iter().rev().take(8);
            assert!(
                dials.clone().any(|(_, dialled)| dialled == endpoint),
                "{endpoint} is tried"
            );
        }

        host.faults.unreachable = false;
        host.dead = [ALIVE, MOVED].map(str::to_owned).to_vec();
        host.dead.retain(|endpoint| endpoint != returns_at);
        host.run(Duration::from_secs(120));
        assert_eq!(status(&host).endpoint, returns_at);
        assert!(host.cluster.heard.last().expect("heard").reverted.is_some());

        let before = status(&host).have;
        host.judge(&old);
        assert_eq!(status(&host).have, before, "what is older stays refused");
    }
}

#[test]
fn intervals_that_were_not_confirmed_go_back_too() {
    let mut host = Host::member(Cluster::new());
    host.cluster.transport = Transport {
        heartbeat: 33_000,
        ..Transport::default()
    };
    host.faults.unreachable = true;
    host.faults.mute = true;
    publish(&mut host);
    host.cut();
    host.run(Duration::from_secs(70));

    let handed: Vec<u32> = host
        .configs
        .iter()
        .map(|config| config.transport.heartbeat)
        .collect();
    assert_eq!(handed[handed.len() - 2..], [33_000, 10_000]);
}

#[test]
fn a_trial_begins_anew_after_a_restart_and_a_reversal_outlives_one() {
    let mut host = misled();
    host.push_news();
    host.run(Duration::from_secs(40));
    let again = config(&host.cluster);
    host.restart(again, &seed(3));
    host.run(Duration::from_secs(58));
    assert_eq!(
        status(&host).unconfirmed,
        Some(Unconfirmed::Pending {
            tried: 2,
            confirmed: 1
        })
    );
    assert_eq!(reverted(&host), None);

    host.run(Duration::from_secs(5));
    assert_eq!(reverted(&host), Some((2, 1)));
    let again = config(&host.cluster);
    host.events.clear();
    host.configs.clear();
    host.restart(again, &seed(4));
    host.run(Duration::from_secs(120));
    let kept = Some(Unconfirmed::Reverted {
        tried: 2,
        confirmed: 1,
    });
    assert_eq!(status(&host).unconfirmed, kept);
    assert_eq!(reverted(&host), None, "told once");
    assert_eq!(
        host.configs[0].controllers[0].endpoints,
        [ALIVE],
        "from the first moment"
    );
    assert!(host.cluster.heard.last().expect("heard").reverted.is_some());
}

#[test]
fn a_full_disk_holds_up_no_reversal() {
    let mut host = misled();
    host.push_news();
    host.run(Duration::from_secs(1));
    host.faults.fail_writes = usize::MAX;
    host.run(Duration::from_secs(70));
    assert_eq!(reverted(&host), Some((2, 1)));
    assert!(host.cluster.heard.last().expect("heard").reverted.is_some());

    host.faults.fail_writes = 0;
    host.run(Duration::from_secs(40));
    let again = config(&host.cluster);
    host.restart(again, &seed(3));
    let kept = Some(Unconfirmed::Reverted {
        tried: 2,
        confirmed: 1,
    });
    assert_eq!(status(&host).unconfirmed, kept, "written after all");
}

#[test]
fn a_damaged_file_of_the_confirmed_config_is_done_without() {
    let mut host = misled();
    host.push_news();
    host.run(Duration::from_secs(1));
    host.disk.get_mut(&FileName::Confirmed).expect("written")[40] ^= 1;
    let again = config(&host.cluster);
    host.restart(again, &seed(3));
    host.run(Duration::from_secs(120));

    assert!(host.events.contains(&Event::Damaged {
        file: FileName::Confirmed
    }));
    assert_eq!(reverted(&host), None, "there is nothing to go back to");
    assert!(status(&host).connected, "the address file leads to a controller");
}

#[test]
fn killed_between_any_two_steps_of_a_trial_it_ends_in_the_same_settings() {
    let boundaries = {
        let mut host = misled();
        host.steps = 0;
        host.push_news();
        host.run(Duration::from_secs(90));
        host.steps
    };
    assert!(boundaries > 30, "only {boundaries} boundaries");
    for boundary in 0..boundaries {
        let mut host = misled();
        host.steps = 0;
        host.dies_at = Some(boundary);
        host.push_news();
        assert!(
            host.try_run(Duration::from_secs(90)).is_err(),
            "boundary {boundary}"
        );
        let highest = host
            .adopted
            .iter()
            .filter(|(kind, _)| *kind == Kind::SyntheticConfig)
            .map(|(_, version)| *version)
            .max();
        let again = config(&host.cluster);
        host.restart(again, &seed(5));
        assert!(
            version(&status(&host), Kind::SyntheticConfig) >= highest,
            "boundary {boundary}: went back"
        );
        host.run(Duration::from_secs(140));

        let kept = Some(Unconfirmed::Reverted {
            tried: 2,
            confirmed: 1,
        });
        assert_eq!(status(&host).unconfirmed, kept, "boundary {boundary}");
        assert_eq!(
            version(&status(&host), Kind::SyntheticConfig),
            Some(2),
            "boundary {boundary}"
        );
        assert!(status(&host).connected, "boundary {boundary}");
        let handed = host.configs.last().expect("handed over");
        assert_eq!(handed.controllers[0].endpoints, [ALIVE], "boundary {boundary}");
    }
}

#[test]
fn a_trial_asks_for_an_answer_at_once() {
    let mut host = Host::member(Cluster::new());
    host.requests.clear();
    host.cluster.endpoints = vec![ALIVE.to_owned(), DEAD.to_owned()];
    publish(&mut host);
    host.settle().expect("alive");
    host.run(Duration::from_millis(1));

    let at_once = |request: &NodeRequest| matches!(request, NodeRequest::Poll(poll) if poll.wait_ms == 0);
    assert!(host.requests.iter().any(|(_, request)| at_once(request)));
}

/// A member whose controllers have just been published at an address where nobody answers.
fn misled() -> Host {
    let mut host = Host::member(Cluster::new());
    host.dead = vec![DEAD.to_owned()];
    host.cluster.endpoints = vec![DEAD.to_owned()];
    host.cluster.publish();

    host
}

fn publish(host: &mut Host) {
    host.cluster.publish();
    host.push_news();
    host.settle().expect("alive");
}

fn status(host: &Host) -> Box<MemberStatus> {
    let Status::Member(status) = host.control.status() else {
        panic!("no member");
    };

    status
}

fn version(status: &MemberStatus, kind: Kind) -> Option<u64> {
    let have = status.have.iter().find(|have| have.kind == kind);

    have.map(|have| have.version)
}

/// The versions that the machine went back from and to, if it did.
fn reverted(host: &Host) -> Option<(u64, u64)> {
    host.events.iter().rev().find_map(|event| {
        if let Event::ConfigReverted { tried, restored } = event {
            Some((*tried, *restored))
        } else {
            None
        }
    })
}

const ALIVE: &str = "192.0.2.1:4433";
const DEAD: &str = "192.0.2.66:4433";
const MOVED: &str = "192.0.2.2:4433";
