use protocol::document::config::{ControllerAddress, Transport};
use protocol::envelope::Kind;
use protocol::id::{ControllerId, NodeId};
use protocol::wire::Have;

use super::*;
use crate::audit::Actor;
use crate::node::Presence;
use crate::testing::World;

#[test]
fn a_node_is_kept_on_the_earlier_settings_until_the_finding_is_acknowledged() {
    let mut world = noted(&[1, 2]);
    let reversal = reversal(2, Some(1), 0);
    assert_eq!(*book(&world, 2).of(Some(&reversal)), settings(1));
    assert_eq!(
        *book(&world, 2).of(None),
        settings(2),
        "the others have the new ones"
    );
    assert_eq!(
        *book(&world, 3).of(Some(&reversal)),
        settings(3),
        "so has it with others"
    );

    let row = finding_row(&settings(2).digest().to_string());
    world.desk(Actor::Local, |desk| acknowledge(desk, &row)).unwrap();
    assert_eq!(*book(&world, 2).of(Some(&reversal)), settings(2));
    assert!(!is_held_back(&world.tx, CLUSTER, &reversal).unwrap());
    let again = Reversal {
        acknowledged: 1,
        ..reversal
    };
    assert_eq!(
        *book(&world, 2).of(Some(&again)),
        settings(1),
        "it has happened again"
    );
}

#[test]
fn a_finding_about_something_else_releases_nothing() {
    let mut world = noted(&[1, 2]);
    let row = finding_row(&settings(1).digest().to_string());
    world.desk(Actor::Local, |desk| acknowledge(desk, &row)).unwrap();
    let other = FindingRow {
        kind: FindingKind::FORK_DETECTED,
        ..finding_row(&settings(2).digest().to_string())
    };
    world
        .desk(Actor::Local, |desk| acknowledge(desk, &other))
        .unwrap();

    assert!(is_held_back(&world.tx, CLUSTER, &reversal(2, Some(1), 0)).unwrap());
}

#[test]
fn a_node_is_given_nothing_that_was_not_published_here() {
    let world = noted(&[2]);

    assert_eq!(*book(&world, 2).of(Some(&reversal(2, Some(9), 0))), settings(2));
    assert_eq!(*book(&world, 2).of(Some(&reversal(2, None, 0))), settings(2));
}

#[test]
fn settings_that_no_node_names_go_in_time_and_others_stay() {
    let mut world = World::new(1);
    let held = [reversal(2, Some(1), 0)];
    for which in 1..=100 {
        world.now.wall = Wall(u64::from(which) * 1_000);
        let mut book = book(&world, which);
        world
            .desk(Actor::Controller, |desk| book.note(desk, CLUSTER, held.iter()))
            .unwrap();
    }
    let rows: Vec<SettingsRow> = world.tx.scan(CLUSTER.as_bytes()).unwrap();
    let kept = |which| rows.iter().any(|row| row.settings == settings(which));

    assert_eq!(
        rows.len(),
        KEPT + 3,
        "the newest, {KEPT} before it, and two that are named"
    );
    assert!(kept(1) && kept(2) && !kept(3) && kept(100));
}

#[test]
fn a_node_that_is_kept_on_earlier_settings_gets_out_of_no_limit() {
    let limited = |which, limit| Settings {
        transport: Transport {
            freshness: limit,
            activity: limit,
            ..Transport::default()
        },
        ..settings(which)
    };
    for (earlier, present) in [(60_000, 10_000), (10_000, 60_000)] {
        let (earlier, present) = (limited(1, earlier), limited(2, present));
        let mut world = World::new(1);
        for published in [&earlier, &present] {
            let mut book = SettingsBook::read(&world.tx, CLUSTER, published.clone()).unwrap();
            let noted = world.desk(Actor::Controller, |desk| {
                book.note(desk, CLUSTER, std::iter::empty())
            });
            noted.unwrap();
        }
        let mut reversal = reversal(2, Some(1), 0);
        reversal.report.settings = present.digest();
        reversal.report.restored = Some(earlier.digest());
        let book = SettingsBook::read(&world.tx, CLUSTER, present).unwrap();
        let kept = book.of(Some(&reversal)).into_owned();
        assert_eq!(kept, limited(1, 10_000));

        let of = |settings: &Settings| Change {
            cluster: CLUSTER,
            node: NodeId::from_bytes([1; 16]),
            at: Wall(0),
            presence: Presence::Active,
            boot: None,
            candidates: None,
            agent_version: None,
            epoch: None,
            refused: Vec::new(),
            reverted: Some(Reverted {
                settings: settings.digest(),
                ..reversal.report
            }),
        };
        let is_known = |settings: &Settings| is_of_what_is_held(&world.tx, &of(settings), &reversal);
        assert!(is_known(&kept).unwrap(), "it went back from what it was kept on");
        assert!(!is_known(&limited(3, 10_000)).unwrap());
    }
}

fn noted(which: &[u8]) -> World {
    let mut world = World::new(1);
    for which in which {
        let mut book = book(&world, *which);
        world
            .desk(Actor::Controller, |desk| {
                book.note(desk, CLUSTER, std::iter::empty())
            })
            .unwrap();
    }

    world
}

fn book(world: &World, current: u8) -> SettingsBook {
    SettingsBook::read(&world.tx, CLUSTER, settings(current)).unwrap()
}

fn settings(which: u8) -> Settings {
    Settings {
        controllers: vec![ControllerAddress {
            controller: ControllerId::from_bytes([1; 16]),
            endpoints: vec![format!("c{which}:1")],
        }],
        transport: Transport::default(),
    }
}

fn reversal(tried: u8, restored: Option<u8>, acknowledged: u64) -> Reversal {
    Reversal {
        report: Reverted {
            config: Have {
                kind: Kind::SyntheticConfig,
                epoch: 1,
                version: 7,
                hash: Digest::default(),
            },
            settings: settings(tried).digest(),
            restored: restored.map(|restored| settings(restored).digest()),
        },
        at: Wall(0),
        acknowledged,
        counted: None,
        released: false,
    }
}

fn finding_row(subject: &str) -> FindingRow {
    FindingRow {
        fingerprint: Digest::default(),
        kind: FindingKind::CONFIG_REVERTED,
        severity: Severity::Warning,
        cluster: Some(CLUSTER),
        subject: subject.to_owned(),
        text: String::new(),
        state: FindingState::Acknowledged,
        opened_at: Wall(0),
        changed_at: Wall(0),
    }
}

const CLUSTER: ClusterId = ClusterId::from_bytes([0xC1; 16]);
