//! A relay that slept, between agents that are real processes.

use std::time::{Duration, Instant};

use e2e::{Signal, Site, text, until};
use serde_json::Value;

#[test]
fn a_relay_that_slept_beyond_its_freshness_forwards_nothing_before_a_poll_is_answered() {
    let mut site = short_freshness();
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
    site.until(&["relay", "list"], |_| asleep.elapsed() > FRESHNESS);
    // Its controller can be reached, and holds every answer back; its neighbours send again.
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

/// A controller whose relays trust what they were told last for less time than they do by themselves.
fn short_freshness() -> Site {
    let mut site = Site::default();
    let data = site.path("controller");
    let seconds = FRESHNESS.as_secs() - 1;
    let config = site.private(
        "controller.toml",
        &format!("[transport]\nfreshness = \"{seconds}s\"\n"),
    );
    site.run(&["controller", "init", "--mode", "dev", "--data-dir", &text(&data)]);
    site.lead_with(&data, &["--config", &text(&config)]);
    site.run(&["cluster", "create", "prod"]);

    site
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

/// Longer than the relay of this test is fresh, and than a standstill.
const FRESHNESS: Duration = Duration::from_secs(16);
/// The ends probe more often.
const QUIET_MS: u64 = 3_000;
const REFUSALS: u64 = 2;
