use std::net::Ipv4Addr;

use proptest::prelude::*;
use protocol::document::config::CandidateKind;

use super::*;

#[test]
fn a_node_is_degraded_after_40_seconds_and_offline_after_5_minutes() {
    let mut liveness = Liveness::new(Addresses::Routable);
    let heard = beat(&mut liveness, at(0)).expect("the first sign of life is news");
    assert_eq!(heard.presence, Presence::Active);

    assert_eq!(liveness.poll_timeout(), Some(at(40_000).boot));
    assert_eq!(liveness.handle_timeout(at(39_999)), []);
    assert_eq!(presences(&mut liveness, at(40_000)), [Presence::Degraded]);
    assert_eq!(liveness.poll_timeout(), Some(at(300_000).boot));
    assert_eq!(presences(&mut liveness, at(300_000)), [Presence::Offline]);
    assert_eq!(liveness.poll_timeout(), None);
}

#[test]
fn a_heartbeat_brings_a_node_back() {
    let mut liveness = Liveness::new(Addresses::Routable);
    beat(&mut liveness, at(0));
    presences(&mut liveness, at(40_000));
    let back = beat(&mut liveness, at(50_000)).expect("a change");

    assert_eq!(back.presence, Presence::Active);
    assert_eq!(back.boot, None, "only what changed is to be stored");
    assert_eq!(back.candidates, None);
    assert_eq!(liveness.handle_timeout(at(89_999)), []);
    assert_eq!(presences(&mut liveness, at(90_000)), [Presence::Degraded]);
}

#[test]
fn a_heartbeat_that_says_nothing_new_is_no_change() {
    let mut liveness = Liveness::new(Addresses::Routable);
    beat(&mut liveness, at(0));
    for second in 1..30 {
        assert_eq!(beat(&mut liveness, at(second * 10_000)), None);
        assert_eq!(liveness.handle_timeout(at(second * 10_000)), []);
    }
}

#[test]
fn a_node_is_what_it_is_by_now_when_time_has_jumped() {
    let mut liveness = Liveness::new(Addresses::Routable);
    beat(&mut liveness, at(0));

    assert_eq!(presences(&mut liveness, at(900_000)), [Presence::Offline]);
}

#[test]
fn addresses_that_change_all_the_time_wait_for_their_turn_and_the_newest_is_stored() {
    let mut liveness = Liveness::new(Addresses::Routable);
    let claim = |liveness: &mut Liveness, port: u16, now: Now| {
        let candidate = Candidate::new(CandidateKind::Lan, v4([192, 168, 0, 1], port));
        let change = hear(liveness, &heartbeat(&[candidate]), now);
        liveness.handle_stored(change.as_slice());

        change.and_then(|change| change.candidates)
    };
    let told = (1..=40).filter(|port| claim(&mut liveness, *port, at(0)).is_some());
    assert_eq!(told.count(), 4, "a small burst at once");
    assert_eq!(liveness.handle_timeout(at(9_999)), []);

    assert_eq!(liveness.poll_timeout(), Some(at(10_000).boot));
    let changes = liveness.handle_timeout(at(10_000));
    let newest = vec![Candidate::new(CandidateKind::Lan, v4([192, 168, 0, 1], 40))];
    assert_eq!(changes[0].candidates.as_ref(), Some(&newest));
    assert_eq!(
        liveness.handle_timeout(at(10_000)),
        changes,
        "it is offered until it is stored"
    );
    liveness.handle_stored(&changes);
    assert_eq!(liveness.handle_timeout(at(30_000)), []);
    assert_eq!(
        claim(&mut liveness, 40, at(30_000)),
        None,
        "the same again is no news"
    );
}

#[test]
fn a_restarted_agent_and_a_new_version_are_changes() {
    let mut liveness = Liveness::new(Addresses::Routable);
    beat(&mut liveness, at(0));
    let restarted = Heartbeat {
        boot: BootId::from_bytes([2; 16]),
        agent_version: "0.2.0".to_owned(),
        epoch: 2,
        ..heartbeat(&[])
    };
    let change = liveness
        .handle_heartbeat(KEY, &restarted, None, at(10_000))
        .unwrap()
        .expect("a change");

    assert_eq!(change.boot, Some(restarted.boot));
    assert_eq!(change.agent_version.as_deref(), Some("0.2.0"));
    assert_eq!(change.epoch, Some(2));
    assert_eq!(change.candidates, None);
}

#[test]
fn the_address_that_a_node_is_seen_from_is_a_candidate() {
    let mut liveness = Liveness::new(Addresses::Routable);
    let lan = Candidate::new(CandidateKind::Lan, v4([10, 0, 0, 1], 4433));
    let seen = v4([203, 0, 113, 9], 50_000);
    let mapped = SocketAddr::new(Ipv4Addr::new(203, 0, 113, 9).to_ipv6_mapped().into(), 50_000);
    for (observed, candidates) in [
        (
            Some(seen),
            vec![lan, Candidate::new(CandidateKind::Reflexive, seen)],
        ),
        (
            Some(mapped),
            vec![lan, Candidate::new(CandidateKind::Reflexive, seen)],
        ),
        (
            Some(lan.address.0),
            vec![Candidate::new(CandidateKind::Reflexive, lan.address.0)],
        ),
        (None, vec![lan]),
    ] {
        liveness
            .handle_heartbeat(KEY, &heartbeat(&[lan]), observed, at(0))
            .unwrap();
        assert_eq!(liveness.get(KEY.0, KEY.1).unwrap().candidates, candidates);
    }
}

#[test]
fn what_is_left_out_of_what_a_node_claims_is_kept_with_its_reason_until_its_next_heartbeat() {
    let mut liveness = Liveness::new(Addresses::Routable);
    let lan = |octets, port| Candidate::new(CandidateKind::Lan, v4(octets, port));
    let claimed = [
        lan([127, 0, 0, 1], 1),
        lan([169, 254, 1, 1], 1),
        lan([224, 0, 0, 1], 1),
        lan([0, 0, 0, 0], 1),
        lan([10, 0, 0, 1], 0),
        lan([10, 0, 0, 1], 7),
    ];
    let told = |liveness: &Liveness| -> Vec<&str> {
        let seen = liveness.get(KEY.0, KEY.1).unwrap();
        seen.left_out.iter().map(|left_out| left_out.why.name()).collect()
    };
    let mut hear = |claimed: &[Candidate], observed| {
        liveness
            .handle_heartbeat(KEY, &heartbeat(claimed), observed, at(0))
            .unwrap();
        told(&liveness).join(" ")
    };

    assert_eq!(
        hear(&claimed, None),
        "unspecified no_port loopback link_local multicast"
    );
    let many: Vec<Candidate> = (1..=CANDIDATES)
        .map(|last| lan([10, 0, 0, last as u8], 7))
        .collect();
    assert_eq!(hear(&many, None), "");
    assert_eq!(
        hear(&many, Some(v4([203, 0, 113, 9], 1))),
        "too_many",
        "where it is seen takes a place"
    );
    assert_eq!(hear(&claimed[5..], None), "");
}

#[test]
fn a_heartbeat_that_is_too_long_is_refused_and_changes_nothing() {
    let mut liveness = Liveness::new(Addresses::Routable);
    let candidate = Candidate::new(CandidateKind::Lan, v4([10, 0, 0, 1], 1));
    let long = Heartbeat {
        agent_version: "x".repeat(257),
        ..heartbeat(&[])
    };
    for (wrong, why) in [
        (heartbeat(&[candidate; 9]), HeartbeatRefused::TooManyCandidates),
        (long, HeartbeatRefused::VersionTooLong),
    ] {
        assert_eq!(liveness.handle_heartbeat(KEY, &wrong, None, at(0)), Err(why));
        assert_eq!(why.code(), Code::ValidationFailed);
    }

    assert_eq!(liveness.get(KEY.0, KEY.1), None);
}

#[test]
fn a_node_that_was_forgotten_is_not_missed() {
    let mut liveness = Liveness::new(Addresses::Routable);
    beat(&mut liveness, at(0));
    liveness.forget(KEY.0, KEY.1);

    assert_eq!(liveness.poll_timeout(), None);
    assert_eq!(liveness.handle_timeout(at(900_000)), []);
}

#[test]
fn a_controller_that_starts_gives_everybody_the_whole_time() {
    let mut liveness = Liveness::new(Addresses::Routable);
    for presence in [Presence::Active, Presence::Degraded, Presence::Offline] {
        liveness.restore(&row(presence), at(5_000_000));
        let deadline = match presence {
            Presence::Active => Some(at(5_040_000).boot),
            Presence::Degraded => Some(at(5_300_000).boot),
            Presence::Offline => None,
        };
        assert_eq!(liveness.poll_timeout(), deadline, "{presence:?}");
    }
    let revoked = NodeRow {
        tenure: Tenure::Revoked,
        ..row(Presence::Active)
    };
    liveness.restore(&revoked, at(5_000_000));

    assert_eq!(liveness.get(KEY.0, KEY.1), None);
}

#[test]
fn a_change_is_offered_until_it_is_stored() {
    let mut liveness = Liveness::new(Addresses::Routable);
    liveness.restore(&row(Presence::Offline), at(0));
    let lost = hear(&mut liveness, &heartbeat(&[]), at(1_000)).expect("a change");
    let again = hear(&mut liveness, &heartbeat(&[]), at(11_000)).expect("the same change");
    assert_eq!((again.presence, again.boot), (lost.presence, lost.boot));
    let offered = liveness.handle_timeout(at(12_000));
    assert_eq!(offered.len(), 1);
    liveness.handle_stored(&offered);

    assert_eq!(hear(&mut liveness, &heartbeat(&[]), at(21_000)), None);
    assert_eq!(liveness.handle_timeout(at(21_000)), []);
}

#[test]
fn what_changes_while_a_change_is_stored_is_not_taken_for_stored() {
    let mut liveness = Liveness::new(Addresses::Routable);
    let first = hear(&mut liveness, &heartbeat(&[]), at(0)).expect("a change");
    let restarted = Heartbeat {
        boot: BootId::from_bytes([2; 16]),
        ..heartbeat(&[])
    };
    hear(&mut liveness, &restarted, at(1_000)).expect("another run");
    liveness.handle_stored(&[first]);
    let left = liveness.handle_timeout(at(2_000));

    assert_eq!(left.len(), 1);
    assert_eq!((left[0].boot, left[0].epoch), (Some(restarted.boot), None));
}

#[test]
fn a_reversal_is_told_until_it_is_stored_also_when_it_is_over_and_then_no_more() {
    let mut liveness = Liveness::new(Addresses::Routable);
    let first = hear(&mut liveness, &heartbeat(&[]), at(0)).expect("a new node");
    liveness.handle_stored(&[first]);
    let report = Reverted {
        config: Have {
            kind: Kind::SyntheticConfig,
            epoch: 1,
            version: 3,
            hash: Default::default(),
        },
        settings: Default::default(),
        restored: None,
    };
    let reverted = Heartbeat {
        reverted: Some(report),
        ..heartbeat(&[])
    };
    hear(&mut liveness, &reverted, at(1_000)).expect("it is news");
    let offered = hear(&mut liveness, &heartbeat(&[]), at(2_000)).expect("still");
    assert_eq!(offered.reverted, Some(report));
    liveness.handle_stored(&[offered]);

    assert_eq!(hear(&mut liveness, &reverted, at(3_000)), None);
    assert_eq!(liveness.handle_timeout(at(3_000)), []);
}

#[test]
fn a_refused_document_is_told_until_it_is_stored_also_when_the_agent_tells_it_once() {
    let mut liveness = Liveness::new(Addresses::Routable);
    beat(&mut liveness, at(0));
    let refused = |code: &str| Refused {
        kind: Kind::Routes,
        epoch: 1,
        version: 3,
        code: code.to_owned(),
    };
    let alarmed = Heartbeat {
        refused: vec![
            refused("fork_detected"),
            refused("what nobody knows"),
            refused(""),
        ],
        ..heartbeat(&[])
    };
    hear(&mut liveness, &alarmed, at(1_000)).expect("an alarm");
    let offered = hear(&mut liveness, &heartbeat(&[]), at(2_000)).expect("still the alarm");
    let codes: Vec<&str> = offered.refused.iter().map(|refusal| refusal.text()).collect();
    assert_eq!(
        codes,
        ["unknown", "fork_detected"],
        "an agent's own words are not kept"
    );
    liveness.handle_stored(&[offered]);

    assert_eq!(liveness.handle_timeout(at(2_000)), []);
    let wordy = Heartbeat {
        refused: vec![refused(&"x".repeat(257))],
        ..heartbeat(&[])
    };
    let too_long = liveness.handle_heartbeat(KEY, &wordy, None, at(3_000));
    assert_eq!(too_long, Err(HeartbeatRefused::CodeTooLong));
}

#[test]
fn nobody_is_passed_over_when_many_have_news() {
    let mut liveness = Liveness::new(Addresses::Routable);
    let count = u32::try_from(CHANGES).expect("small") * 2 + 7;
    for number in 0..count {
        let mut id = [0; 16];
        id[..4].copy_from_slice(&number.to_be_bytes());
        let key = (KEY.0, NodeId::from_bytes(id));
        liveness
            .handle_heartbeat(key, &heartbeat(&[]), None, at(0))
            .expect("a good heartbeat");
    }
    let mut offered = BTreeSet::new();
    for _ in 0..3 {
        let changes = liveness.handle_timeout(at(1));
        assert!(changes.len() <= CHANGES);
        offered.extend(changes.iter().map(|change| change.node));
    }

    assert_eq!(
        offered.len(),
        count as usize,
        "although none of it could be stored"
    );
}

proptest! {
    /// The machine agrees with a model that looks at the last heartbeat alone.
    #[test]
    fn presence_follows_the_last_heartbeat(steps in prop::collection::vec((0u8..3, 0u64..400, any::<bool>()), 1..80)) {
        let mut liveness = Liveness::new(Addresses::Routable);
        let mut heard: BTreeMap<u8, u64> = BTreeMap::new();
        let mut stored: BTreeMap<u8, Presence> = BTreeMap::new();
        let mut now = 0;
        for (who, pause, speaks) in steps {
            now += pause * 1_000;
            let changes = liveness.handle_timeout(at(now));
            liveness.handle_stored(&changes);
            for change in changes {
                stored.insert(change.node.as_bytes()[0], change.presence);
            }
            if speaks {
                let node = NodeId::from_bytes([who; 16]);
                let change = liveness.handle_heartbeat((KEY.0, node), &heartbeat(&[]), None, at(now)).unwrap();
                if let Some(change) = change {
                    stored.insert(who, change.presence);
                    liveness.handle_stored(&[change]);
                }
                heard.insert(who, now);
            }
            for (who, last) in &heard {
                let silent = now - last;
                let expected = match silent {
                    ..40_000 => Presence::Active,
                    40_000..300_000 => Presence::Degraded,
                    _ => Presence::Offline,
                };
                prop_assert_eq!(stored[who], expected, "{} was silent for {} ms", who, silent);
            }
        }
    }
}

/// What time changes, which is then stored.
fn presences(liveness: &mut Liveness, now: Now) -> Vec<Presence> {
    let changes = liveness.handle_timeout(now);
    liveness.handle_stored(&changes);

    changes.iter().map(|change| change.presence).collect()
}

/// A heartbeat, and what it changes is stored.
fn beat(liveness: &mut Liveness, now: Now) -> Option<Change> {
    let change = hear(liveness, &heartbeat(&[]), now);
    liveness.handle_stored(change.as_slice());

    change
}

fn hear(liveness: &mut Liveness, heartbeat: &Heartbeat, now: Now) -> Option<Change> {
    liveness
        .handle_heartbeat(KEY, heartbeat, None, now)
        .expect("a good heartbeat")
}

fn heartbeat(candidates: &[Candidate]) -> Heartbeat {
    Heartbeat {
        boot: BootId::from_bytes([1; 16]),
        candidates: candidates.to_vec(),
        epoch: 1,
        applied: Vec::new(),
        agent_version: "0.1.0".to_owned(),
        refused: Vec::new(),
        reverted: None,
    }
}

fn row(presence: Presence) -> NodeRow {
    let key = protocol::key::SigningKey::from_seed(&[1; 32]).verify_key();
    NodeRow {
        cluster: KEY.0,
        id: KEY.1,
        name: "web-1".parse().expect("a name"),
        roles: Vec::new(),
        labels: Default::default(),
        generation: 1,
        key,
        seal_key: protocol::key::SealSecret::from_bytes([1; 32]).seal_key(),
        issuer: Default::default(),
        serial: protocol::document::authority::Serial::from_bytes([0x40; 16]),
        certificate: Vec::new().into(),
        not_after: Wall(0),
        renewal: None,
        tenure: Tenure::Enabled,
        presence,
        presence_since: Wall(0),
        boot: None,
        candidates: Vec::new(),
        agent_version: String::new(),
        epoch: 0,
        machine: None,
        request: protocol::id::RequestId::from_bytes([1; 16]),
        joined_at: Wall(0),
        ended_at: None,
        confirmed: None,
        ending: None,
        reverted: None,
    }
}

fn at(millis: u64) -> Now {
    Now {
        boot: Boot(1_000 + millis),
        wall: Wall(1_800_000_000_000 + millis),
    }
}

fn v4(octets: [u8; 4], port: u16) -> SocketAddr {
    SocketAddr::from((octets, port))
}

const KEY: Key = (ClusterId::from_bytes([1; 16]), NodeId::from_bytes([2; 16]));
