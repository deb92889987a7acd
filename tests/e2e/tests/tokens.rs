//! Join tokens in the hands of real processes: wrong ones, and many hosts for one use.

use std::collections::BTreeSet;
use std::process::Child;

use e2e::{Ended, Signal, Site, strace, text, until, words};

#[test]
fn a_host_with_a_wrong_token_is_told_what_is_wrong_with_it_in_six_ways() {
    let mut site = Site::founded();
    let good = std::fs::read_to_string(site.token("good", &[])).expect("a token");
    site.private("mistyped.token", &mistyped(&good));
    unknown_token(&mut site, "unknown");
    site.token("late", &["--ttl", "1s"]);
    site.token("abroad", &["--source", "192.0.2.0/24"]);
    site.run(&["cluster", "create", "other"]);
    site.token("foreign", &["--cluster", "other"]);
    spend(&mut site, "first");
    copy_token(&site, "first", "second");
    site.until(&["token", "list", "--cluster", "prod"], |tokens| {
        tokens
            .as_array()
            .is_some_and(|tokens| tokens.iter().any(|token| token["state"] == "expired"))
    });

    let pin = site.json(&["authority", "show", "--cluster", "prod"])["fingerprint"].clone();
    let pinned = ["--authority-fingerprint", pin.as_str().expect("a fingerprint")];
    let other_key = as_host(&site, "first", "first-again");
    let said = [
        join(&site, "mistyped", &[]).refused(2, "token_malformed"),
        join(&site, "unknown", &[]).refused(5, "token_unknown"),
        join(&site, "late", &[]).refused(6, "token_expired"),
        join(&site, "second", &[]).refused(6, "token_consumed"),
        join(&site, "foreign", &pinned).refused(5, "other_authority"),
        site.attempt(&words(&other_key)).refused(6, "token_consumed"),
        join(&site, "abroad", &[]).refused(5, "source_denied"),
    ];

    let different: BTreeSet<&String> = said.iter().collect();
    assert_eq!(different.len(), said.len(), "{said:?}");
    assert!(said.iter().all(|said| said.contains("  fix     ")), "{said:?}");
    assert!(
        said[3].contains("used up") && said[5].contains("by another key"),
        "{said:?}"
    );
    let tokens = site.json(&["token", "list", "--cluster", "prod"]);
    let used = tokens
        .as_array()
        .expect("a list")
        .iter()
        .map(|token| token["used"].as_u64());
    assert_eq!(used.sum::<Option<u64>>(), Some(1), "a refusal costs no use");
    assert!(
        !said.iter().any(|said| said.contains("gbj1_")),
        "no token is repeated: {said:?}"
    );
}

#[test]
fn a_host_whose_token_is_for_another_installation_is_told_that_the_cluster_is_not_served() {
    let site = Site::founded();
    let elsewhere = Site::founded();
    let token = std::fs::read_to_string(elsewhere.token("web-1", &[])).expect("a token");
    let claims = elsewhere.json(&["inspect", &text(&elsewhere.path("web-1.token"))]);
    let theirs = claims["body"]["controllers"][0].as_str().expect("an address");
    assert!(
        !site
            .controller(&site.path("controller"))
            .contains(&theirs.to_owned())
    );
    drop(elsewhere);
    site.private("web-1.token", &token);
    let here = std::fs::read_to_string(site.path("controller.address")).expect("an address");

    let refused = join(
        &site,
        "web-1",
        &["--controller", &here, "--enrollment-timeout", "3s"],
    );
    let refused = refused.refused(4, "unreachable");
    assert!(refused.contains("this host is no node"), "{refused}");
    assert!(
        !refused.contains("stays pending"),
        "there is no request: {refused}"
    );
    assert_eq!(site.json(&["request", "list"]), serde_json::json!([]));
}

#[test]
fn of_64_hosts_that_race_for_one_use_one_becomes_a_node() {
    let site = Site::founded();
    site.token("race", &["--approval", "auto"]);
    let names: Vec<String> = (0..RACERS).map(|number| format!("host-{number}")).collect();
    // Nobody is answered before everybody is there.
    site.signal("controller", Signal::STOP);
    let racers: Vec<Child> = names
        .iter()
        .map(|name| {
            copy_token(&site, "race", name);
            site.begin(&words(&site.agent("join", name)))
        })
        .collect();
    until("everybody has begun", || {
        names.iter().all(|name| site.path(name).join("lock").exists())
    });
    site.signal("controller", Signal::CONT);
    let ended: Vec<Ended> = racers
        .into_iter()
        .map(|racer| racer.wait_with_output().expect("it ends").into())
        .collect();

    let winners = ended.iter().filter(|ended| ended.code == Some(0)).count();
    assert_eq!(winners, 1, "{ended:?}");
    for loser in ended.into_iter().filter(|ended| ended.code != Some(0)) {
        loser.refused(6, "token_consumed");
    }
    let count = |list: &[&str]| site.json(list).as_array().map(Vec::len);
    assert_eq!(count(&["request", "list"]), Some(1));
    assert_eq!(count(&["node", "list"]), Some(1));
    assert_eq!(site.audited("token.consumed"), 1);
    assert_eq!(site.json(&["token", "list"])[0]["used"], 1);
}

#[test]
fn a_host_that_lost_the_answer_asks_again_with_its_key_and_gets_the_same_request() {
    if !strace::may_trace() {
        return;
    }
    let mut site = Site::founded();
    site.token("web-1", &[]);
    let join = site.agent("join", "web-1");
    // Its keys are the first file that is put in place, the request's id the second: that one is never there.
    site.start_under("web-1", &strace::killing("rename", 2), &words(&join));
    let died = site.ended("web-1");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&died), Some(9));
    let before = site.json(&["request", "list"]);
    assert_eq!(
        before[0]["state"], "pending",
        "the controller had answered: {before}"
    );

    for _ in 0..2 {
        site.start("web-1", &words(&join));
        site.until(
            &[
                "agent",
                "status",
                "--agent-socket",
                &text(&site.path("web-1.sock")),
            ],
            |status| status["request"] == before[0]["id"],
        );
        site.kill("web-1");
    }
    assert_eq!(
        site.json(&["request", "list"]),
        before,
        "one request, and nothing of it changed"
    );
    site.run(&["request", "approve", "web-1"]);
    let joined = site.json(&words(&join));
    assert_eq!(joined["fingerprint"], before[0]["fingerprint"]);
    assert_eq!(site.json(&["token", "list"])[0]["used"], 1);
    assert_eq!(site.audited("token.consumed"), 1);
}

/// A token with one letter changed.
fn mistyped(token: &str) -> String {
    let mut letters: Vec<char> = token.chars().collect();
    let middle = letters.len() / 2;
    letters[middle] = if letters[middle] == 'a' { 'b' } else { 'a' };

    letters.into_iter().collect()
}

/// A token that this cluster's authority signed, and that the store does not know: it was made on a copy.
fn unknown_token(site: &mut Site, name: &str) {
    let (data, copy) = (site.path("controller"), site.path("copy"));
    site.stop("controller");
    e2e::copy(&data, &copy);
    site.lead(&copy);
    site.token(name, &["--cluster", "prod"]);
    site.stop("controller");
    site.lead(&data);
}

/// Lets a host make a request that nobody approves.
fn spend(site: &mut Site, name: &str) {
    site.token(name, &["--cluster", "prod"]);
    let join = site.agent("join", name);
    site.start(name, &words(&join));
    site.until(&["request", "list", "--cluster", "prod"], |requests| {
        requests[0]["name"] == *name
    });
    site.kill(name);
}

fn copy_token(site: &Site, from: &str, to: &str) {
    let token = std::fs::read_to_string(site.path(&format!("{from}.token"))).expect("a token");
    site.private(&format!("{to}.token"), &token);
}

fn join(site: &Site, name: &str, more: &[&str]) -> Ended {
    site.attempt(&[&words(&site.agent("join", name)), more].concat())
}

/// The command by which host `name` joins from another state directory, with the token that it had.
fn as_host(site: &Site, name: &str, state: &str) -> Vec<String> {
    copy_token(site, name, state);
    let mut args = site.agent("join", state);
    let at = args.iter().position(|arg| arg == state).expect("its name");
    name.clone_into(&mut args[at]);

    args
}

const RACERS: usize = 64;
