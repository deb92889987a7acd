//! What a process that stood still may say of its search for a controller: only what it tried since counts.

use std::time::Duration;

use super::cluster::Cluster;
use super::host::{Faults, Host};

/// Where the relation with the controllers was when the process was stopped.
#[derive(Clone, Copy, Debug)]
enum Stopped {
    Dialling,
    /// The connection is open and nothing was answered on it.
    Opened,
    Resting,
    Welcoming,
}

const STATES: [Stopped; 4] = [
    Stopped::Dialling,
    Stopped::Opened,
    Stopped::Resting,
    Stopped::Welcoming,
];

#[test]
fn an_attempt_from_before_a_standstill_does_not_count_as_one_since() {
    for (controllers, state) in [1, 3]
        .into_iter()
        .flat_map(|count| STATES.map(|state| (count, state)))
    {
        let mut host = stopped_in(state, controllers);
        let woke = host.now.boot;
        host.dialled.clear();
        host.tried_in_vain.clear();
        host.cut();
        host.run(Duration::from_secs(120));

        let since = host.tried_in_vain.iter().filter(|since| **since >= woke).count();
        // Every attempt ends at once, so from the one that completes a round on each is told.
        let expected = (host.dialled.len() + 1).checked_sub(controllers);
        assert_eq!(
            Some(since),
            expected,
            "{controllers} controllers, stopped while {state:?}"
        );
        assert!(since > 0, "{controllers} controllers, stopped while {state:?}");
    }
}

/// A member that lost its session, was stopped for 13 s in this state, and finds nobody when it wakes.
fn stopped_in(state: Stopped, controllers: usize) -> Host {
    let mut cluster = Cluster::new();
    cluster.endpoints = (0..controllers)
        .map(|number| format!("c{number}.example:4433"))
        .collect();
    let mut host = Host::member(cluster);
    host.faults = match state {
        Stopped::Dialling => Faults {
            silent: true,
            ..Faults::default()
        },
        Stopped::Opened => Faults {
            mute: true,
            ..Faults::default()
        },
        Stopped::Resting => Faults {
            unreachable: true,
            ..Faults::default()
        },
        Stopped::Welcoming => Faults {
            wordless: true,
            ..Faults::default()
        },
    };
    host.cut();
    host.dialled.clear();
    while host.dialled.is_empty() {
        host.run(Duration::from_millis(100));
    }
    host.suspend(Duration::from_secs(13));
    host.faults = Faults {
        unreachable: true,
        ..Faults::default()
    };

    host
}
