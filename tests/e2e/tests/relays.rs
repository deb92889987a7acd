//! A relay that slept, between agents that are real processes.

use std::time::{Duration, Instant};

use e2e::{Signal, Site, until};
use serde_json::Value;

#[test]
fn a_relay_that_slept_for_90_seconds_forwards_nothing_before_a_poll_is_answered() {
    let mut site = Site::founded();
    site.admit("relay-1", &["--role", "relay"]);
    site.admit("web-1", &[]);
    site.admit("web-2", &[]);
    until("the standby's probes pass through the relay", || {
        forwarded(&site) > 10
    });
    // With both ends asleep, what the relay has forwarded stands still and is known.
    site.signal("web-1", Signal::STOP);
    site.signal("web-2", Signal::STOP);
    until("nothing is forwarded any more", || {
        sum(&site, "active_age_ms") > QUIET_MS
    });
    let before = forwarded(&site);

    site.signal("relay-1", Signal::STOP);
    let asleep = Instant::now();
    site.until(&["relay", "list"], |_| asleep.elapsed() > ASLEEP);
    // Its controller can be reached, and holds every answer back; its neighbours send again, for they have not heard
    // either that the relay was given up.
    site.signal("controller", Signal::STOP);
    site.signal("web-1", Signal::CONT);
    site.signal("web-2", Signal::CONT);
    site.signal("relay-1", Signal::CONT);
    until("frames come to the relay and are refused", || {
        let relay = site.told("relay-1", "/v1/relay");
        assert_eq!(
            forwarded(&site),
            before,
            "forwarded before a poll was answered: {relay}"
        );
        relay["pause"] == "stood_still" && sum(&site, "refused") >= REFUSALS
    });
    let stalls = || site.agent_figure("relay-1", "gabion_agent_stalls_total");
    until("the relay says that it slept", || stalls() > 0.0);

    site.signal("controller", Signal::CONT);
    until("the relay carries again", || forwarded(&site) > before);
    assert_eq!(site.told("relay-1", "/v1/relay")["pause"], Value::Null);
}

/// Frames that the relay has carried, by its own table.
fn forwarded(site: &Site) -> u64 {
    sum(site, "forwarded")
}

fn sum(site: &Site, member: &str) -> u64 {
    let relay = site.told("relay-1", "/v1/relay");
    let rows = relay["rows"].as_array().cloned().unwrap_or_default();

    rows.iter().filter_map(|row| row[member].as_u64()).sum()
}

/// Longer than what a relay was told last is fresh (60 s), and than a standstill.
const ASLEEP: Duration = Duration::from_secs(90);
/// The ends probe more often.
const QUIET_MS: u64 = 3_000;
const REFUSALS: u64 = 2;
