use protocol::document::routes::Path;
use protocol::wire::{Drift, InForce};

use super::*;

#[test]
fn sources_and_paths_do_not_overwrite_each_other() {
    let mut seen = Observations::default();
    let relayed = Path::Relay {
        relay: node(9),
        lease: LeaseId::from_bytes([1; 16]),
        generation: 1,
        budget: 1,
    };
    for (source, peer, path, rtt) in [
        (1, 2, Path::Direct, 10),
        (2, 1, Path::Direct, 20),
        (1, 2, relayed, 30),
        (1, 2, Path::Direct, 11),
    ] {
        take(&mut seen, source, vec![row(source, peer, path, rtt)], 0);
    }
    let rtt = |source, via| {
        seen.path(node(source), route(1, 2), via)
            .and_then(|seen| seen.rtt_us)
    };

    assert_eq!(rtt(1, Via::Direct), Some(11));
    assert_eq!(rtt(2, Via::Direct), Some(20));
    assert_eq!(rtt(1, Via::Relay(node(9))), Some(30));
    assert_eq!(seen.paths(node(1), route(1, 2)).count(), 2);
    assert_eq!(seen.paths(node(2), route(1, 2)).count(), 1);
}

#[test]
fn a_node_speaks_only_of_routes_that_end_at_it() {
    let mut seen = Observations::default();
    let foreign = row(1, 2, Path::Direct, 10);
    let itself = row(3, 3, Path::Direct, 10);
    let touched = take(
        &mut seen,
        3,
        vec![foreign, itself, row(3, 1, Path::Direct, 10)],
        0,
    );

    assert_eq!(touched.changed, BTreeSet::from([route(1, 3)]));
    assert_eq!(seen.stats().foreign, 2);
    assert_eq!(seen.path(node(3), route(1, 2), Via::Direct), None);
}

#[test]
fn numbers_that_contradict_each_other_are_ignored() {
    let mut seen = Observations::default();
    let sound = row(1, 2, Path::Direct, 10);
    let wrong = [
        PathObservation {
            window: 21,
            ..sound.clone()
        },
        PathObservation {
            lost_in: 5,
            window: 4,
            ..sound.clone()
        },
        PathObservation {
            observed_hops: vec![node(1); 5],
            ..sound
        },
    ];
    let touched = take(&mut seen, 1, wrong.to_vec(), 0);

    assert_eq!((touched, seen.stats().malformed), (News::default(), 3));
}

#[test]
fn news_is_what_puts_a_route_into_another_class() {
    let mut seen = Observations::default();
    let sound = row(1, 2, Path::Direct, 10);
    let failing = PathObservation {
        misses: 3,
        rtt_us: None,
        ..sound.clone()
    };
    let link = LinkObservation {
        peer: node(9),
        connected: true,
        rtt_us: Some(5),
        reached: None,
    };
    let mut tell = |paths: Vec<PathObservation>, links: Vec<LinkObservation>| {
        let report = Report {
            paths,
            links,
            ..Report::default()
        };
        let news = seen.handle_report(CLUSTER, node(1), &report, Boot(0));

        (news.changed.len(), news.worse.len(), news.relinked)
    };

    assert_eq!(tell(vec![sound.clone()], vec![link]), (1, 0, true), "all is new");
    let slower = PathObservation {
        rtt_us: Some(9_000),
        ..sound.clone()
    };
    assert_eq!(tell(vec![slower], vec![link]), (0, 0, false), "within a class");
    assert_eq!(tell(vec![failing.clone()], vec![link]), (1, 1, false));
    assert_eq!(tell(vec![failing], Vec::new()), (0, 0, false), "as bad as before");
    assert_eq!(tell(vec![sound], Vec::new()), (1, 0, false), "well again");
    let lost = LinkObservation {
        connected: false,
        ..link
    };
    assert_eq!(tell(Vec::new(), vec![lost]), (0, 0, true));
}

#[test]
fn a_pause_starts_a_new_series_of_reports() {
    let mut seen = Observations::default();
    let since = |seen: &Observations, now| seen.reporting_since(node(1), route(1, 2), Boot(now));
    for at in [0, 5_000, 20_000] {
        take(&mut seen, 1, vec![row(1, 2, Path::Direct, 10)], at);
    }
    assert_eq!(since(&seen, 35_000), Some(Boot(0)));
    assert_eq!(since(&seen, 35_001), None);
    take(&mut seen, 1, vec![row(1, 2, Path::Direct, 10)], 36_000);

    assert_eq!(since(&seen, 36_000), Some(Boot(36_000)));
}

#[test]
fn what_was_said_before_a_silence_has_not_been_said_ever_since() {
    let mut seen = Observations::default();
    let tell = |seen: &mut Observations, second: u64| {
        let failing = PathObservation {
            misses: 5,
            rtt_us: None,
            ..row(1, 2, Path::Direct, 10)
        };
        take(seen, 1, vec![failing], second * 1_000);
    };
    let lasts = |seen: &Observations, now: u64| {
        let said = seen.path(node(1), route(1, 2), Via::Direct).expect("said");

        said.is_down_for(Duration::from_secs(30), Boot(now))
    };
    tell(&mut seen, 0);
    assert!(!lasts(&seen, 30_000), "said once");
    for second in [5, 10, 25] {
        tell(&mut seen, second);
    }
    assert!(
        !lasts(&seen, 30_000),
        "said for 25 s, and for how long more nobody knows"
    );
    tell(&mut seen, 30);
    assert!(lasts(&seen, 30_000) && lasts(&seen, 45_000));
    assert!(!lasts(&seen, 45_001), "silent since");
    tell(&mut seen, 46);

    assert!(!lasts(&seen, 46_000), "said anew");
}

#[test]
fn one_reporter_cannot_fill_the_memory() {
    let mut seen = Observations::default();
    let links = (0..u32::try_from(LINK_ROWS).expect("small") + 10).map(|number| LinkObservation {
        peer: wide(number),
        connected: true,
        rtt_us: None,
        reached: None,
    });
    let paths = (0..u32::try_from(PATH_ROWS).expect("small") + 10).map(|number| {
        let peer = wide(number);
        let route = RouteId::between(CLUSTER, node(1), peer);

        PathObservation {
            peer,
            route,
            ..row(1, 2, Path::Direct, 10)
        }
    });
    let report = Report {
        paths: paths.collect(),
        links: links.collect(),
        ..Report::default()
    };
    seen.handle_report(CLUSTER, node(1), &report, Boot(0));
    assert_eq!(seen.stats().surplus, 20);
    let later = Boot(0).after(RETAIN).after(Duration::from_millis(1));
    seen.handle_report(CLUSTER, node(1), &Report::default(), later);

    assert_eq!(seen.links().count(), 0, "what nobody repeats is dropped");
}

#[test]
fn what_a_silent_reporter_said_goes_without_its_help() {
    let mut seen = Observations::default();
    take(&mut seen, 1, vec![row(1, 2, Path::Direct, 10)], 0);
    seen.handle_timeout(Boot(0).after(RETAIN));
    assert!(seen.path(node(1), route(1, 2), Via::Direct).is_some());
    seen.handle_timeout(Boot(1).after(RETAIN));

    assert_eq!(seen.path(node(1), route(1, 2), Via::Direct), None);
    assert!(seen.sources.is_empty());
}

#[test]
fn a_node_that_is_forgotten_leaves_nothing() {
    let mut seen = Observations::default();
    take_link(&mut seen, 1, 2);
    take(&mut seen, 2, vec![row(2, 1, Path::Direct, 10)], 0);
    seen.forget(node(2));

    assert_eq!(seen.link(node(1), node(2)), None);
    assert_eq!(seen.path(node(2), route(1, 2), Via::Direct), None);
}

#[test]
fn a_node_that_never_spoke_is_forgotten_like_any_other() {
    let mut seen = Observations::default();
    take_link(&mut seen, 1, 2);
    seen.forget(node(2));

    assert_eq!(seen.link(node(1), node(2)), None);
}

#[test]
fn reports_of_refreshes_are_bounded_and_go_after_an_hour() {
    let mut seen = Observations::default();
    let at = |second: u64| Boot(second * 1_000);
    let relays = 2 * u32::try_from(REFRESHES).expect("small");
    for number in 0..relays {
        let relay = wide(number);
        let path = Path::Relay {
            relay,
            lease: LeaseId::from_bytes([1; 16]),
            generation: 1,
            budget: 1,
        };
        let refresh = Refresh {
            route: route(1, 2),
            relay: Some(relay),
            trigger: Drift::Failure,
            before: InForce::default(),
            after: InForce::default(),
            cooldown_ms: Some(15_000),
            suppressed: 0,
            age_ms: 0,
            suppressed_ms: None,
        };
        let report = Report {
            paths: vec![row(1, 2, path, 10)],
            refreshes: vec![refresh; 3],
            ..Report::default()
        };
        seen.handle_report(CLUSTER, node(1), &report, at(u64::from(number) / 100));
    }
    let kept: Vec<NodeId> = seen
        .refreshes(node(1), route(1, 2))
        .filter_map(|seen| seen.refresh.relay)
        .collect();
    assert_eq!(kept.len(), REFRESHES);
    assert!(
        kept.contains(&wide(relays - 1)) && !kept.contains(&wide(0)),
        "the newest"
    );

    seen.handle_timeout(at(3_600));
    assert_ne!(seen.refreshes(node(1), route(1, 2)).count(), 0);
    seen.handle_timeout(at(3_700));
    assert_eq!(seen.refreshes(node(1), route(1, 2)).count(), 0);
}

fn take_link(seen: &mut Observations, source: u8, peer: u8) {
    let link = LinkObservation {
        peer: node(peer),
        connected: true,
        rtt_us: Some(1),
        reached: None,
    };
    let report = Report {
        links: vec![link],
        ..Report::default()
    };
    seen.handle_report(CLUSTER, node(source), &report, Boot(0));
}

fn take(seen: &mut Observations, source: u8, paths: Vec<PathObservation>, at: u64) -> News {
    let report = Report {
        paths,
        ..Report::default()
    };

    seen.handle_report(CLUSTER, node(source), &report, Boot(at))
}

fn row(source: u8, peer: u8, path: Path, rtt_us: u32) -> PathObservation {
    PathObservation {
        route: route(source, peer),
        peer: node(peer),
        path,
        generation: 1,
        active: true,
        drift: Drift::None,
        expected_hops: Vec::new(),
        observed_hops: Vec::new(),
        rtt_us: Some(rtt_us),
        lost_out: 0,
        lost_in: 0,
        window: 20,
        misses: 0,
        answered_ms: None,
    }
}

fn node(byte: u8) -> NodeId {
    NodeId::from_bytes([byte; 16])
}

fn wide(number: u32) -> NodeId {
    let mut bytes = [0xAB; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());

    NodeId::from_bytes(bytes)
}

fn route(one: u8, other: u8) -> RouteId {
    RouteId::between(CLUSTER, node(one), node(other))
}

const CLUSTER: ClusterId = ClusterId::from_bytes([0xC0; 16]);
