//! The lab itself: what the other tests in network namespaces rest on.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::time::Duration;

use e2e::lab::{self, Lab, Meter};

#[test]
fn a_cut_is_silent_in_its_direction_and_counts_what_it_dropped() {
    let Some(mut lab) = Lab::for_test("a_cut_is_silent") else {
        return;
    };
    let (mut at_one, mut at_other) = two_hosts(&mut lab);
    lab.cut_one_way("one", "other");
    send(&lab, "one", "other");
    send(&lab, "other", "one");
    arrives(&mut lab, &mut at_one, 1);
    dropped(&mut lab, "one", "other", 1);
    assert_eq!(heard(&mut at_other), 0, "nothing passes a cut");

    lab.cut(&["one"], &["other"]);
    send(&lab, "other", "one");
    dropped(&mut lab, "other", "one", 1);
    assert_eq!(heard(&mut at_one), 1, "the other direction is cut as well now");

    lab.heal(&["one"], &["other"]);
    send(&lab, "one", "other");
    arrives(&mut lab, &mut at_other, 1);
    assert!(
        lab.dropped("other", "one") >= 1,
        "what a cut dropped is still known when it is healed"
    );
}

#[test]
fn an_unplugged_host_hears_nothing_until_it_is_plugged_in_again() {
    let Some(mut lab) = Lab::for_test("an_unplugged_host") else {
        return;
    };
    let (_, mut at_other) = two_hosts(&mut lab);
    send(&lab, "one", "other");
    arrives(&mut lab, &mut at_other, 1);
    lab.unplug("other");
    send(&lab, "one", "other");
    lab.plug("other");
    send(&lab, "one", "other");

    arrives(&mut lab, &mut at_other, 2);
}

#[test]
fn nothing_is_left_of_a_lab_that_ended_in_a_panic() {
    let Some(mut lab) = Lab::for_test("nothing_is_left") else {
        return;
    };
    two_hosts(&mut lab);
    let made = lab.namespaces();
    assert_eq!(made.len(), 3, "two hosts and the bridge: {made:?}");
    let outcome = catch_unwind(AssertUnwindSafe(move || {
        lab.until("what never comes", Duration::ZERO, |_| {
            Err::<(), _>("nothing".to_owned())
        });
    }));

    assert!(outcome.is_err());
    let left = listed();
    assert!(!made.iter().any(|name| left.contains(name)), "{left:?}");
}

#[test]
fn what_a_dead_run_left_behind_is_swept_with_what_runs_in_it() {
    let Some(mut lab) = Lab::for_test("what_a_dead_run_left_behind") else {
        return;
    };
    let mut ended = Command::new("true").spawn().expect("it starts");
    ended.wait().expect("it ends");
    let orphaned = lab::namespace_of(ended.id(), "x");
    let made = Command::new("ip").args(["netns", "add", &orphaned]).status();
    assert!(made.is_ok_and(|made| made.success()));
    let mut orphan = Command::new("ip")
        .args(["netns", "exec", &orphaned, "tail", "-f", "/dev/null"])
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let inside = || Command::new("ip").args(["netns", "pids", &orphaned]).output();
    while inside().expect("ip runs").stdout.is_empty() {
        lab::pause();
    }

    lab::sweep();
    lab.until("what ran in it is killed", PATIENCE, |_| {
        match orphan.try_wait().expect("the system knows its child") {
            Some(ended) => {
                assert!(!ended.success(), "tail ends only when it is killed");
                Ok(())
            }
            None => Err("it runs".to_owned()),
        }
    });
    let left = listed();
    assert!(!left.contains(&orphaned), "{left:?}");
    assert!(
        lab.namespaces().iter().all(|name| left.contains(name)),
        "a lab in use stays"
    );
}

/// Hosts `one` and `other`, each with a counter of what comes for the port of [`send`].
fn two_hosts(lab: &mut Lab) -> (Meter, Meter) {
    lab.host("one");
    lab.host("other");
    let rule = format!("udp dport {PORT}");
    let meter = |host: &str| lab.meter(host, &[("heard", rule.clone())]);

    (meter("one"), meter("other"))
}

/// Sends one datagram; whoever sends it is told nothing of a cut.
fn send(lab: &Lab, from: &str, to: &str) {
    let line = format!("echo x > /dev/udp/{}/{PORT}", lab.address(to));
    assert!(lab.run(from, "bash", &["-c", &line]), "{from} sends to {to}");
}

fn heard(meter: &mut Meter) -> u64 {
    meter.read()["heard"]
}

fn arrives(lab: &mut Lab, meter: &mut Meter, datagrams: u64) {
    lab.until("datagrams arrive", PATIENCE, |_| match heard(meter) {
        found if found == datagrams => Ok(()),
        found => Err(format!("{found} arrived")),
    });
}

fn dropped(lab: &mut Lab, from: &str, to: &str, packets: u64) {
    lab.until("packets are dropped", PATIENCE, |lab| {
        match lab.dropped(from, to) {
            found if found >= packets => Ok(()),
            found => Err(format!("{found} were dropped")),
        }
    });
}

fn listed() -> Vec<String> {
    let listed = Command::new("ip")
        .args(["netns", "list"])
        .output()
        .expect("ip runs");
    let text = String::from_utf8(listed.stdout).expect("text");

    text.split_whitespace().map(str::to_owned).collect()
}

/// At which nobody listens: the host answers with an unreachable message, which is no datagram.
const PORT: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(10);
