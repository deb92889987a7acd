//! The decision journal as operators see it, and decisions made again from it.

use std::time::Duration;

use control_api::replay::{self, Replayed};
use control_core::store::{Rows, Table};
use control_routing::journal::{JournalRow, What};
use protocol::wire::{Drift, PathObservation};

use super::health::answered;
use super::*;

#[test]
fn a_new_decision_is_in_the_journal_and_is_made_again_from_its_inputs_alone() {
    let (desk, _) = decided(61);
    let listed = desk.read(Action::RouteJournal, json!({}));
    let entries = listed["entries"].as_array().expect("a list").clone();
    let newest = entries.last().expect("a decision");
    assert_eq!(
        (&newest["state"], &newest["path_kind"]),
        (&json!("decided"), &json!("relay")),
        "{listed}"
    );
    assert_eq!(
        newest["generation"],
        desk.read(Action::RouteList, json!({}))[0]["generation"]
    );

    let exported = desk.read(Action::RouteJournal, json!({ "after": 0, "inputs": true }));
    let lines = exported["entries"].as_array().expect("lines");
    assert_eq!(lines.len(), entries.len());
    for line in lines {
        let whole = judged(&line.to_string());
        assert_eq!(
            (whole.agree, &whole.differences),
            (Some(true), &Vec::new()),
            "{line}"
        );
        let bare = judged(&replay::without_result(line.clone()).to_string());
        assert_eq!((bare.agree, &bare.derived), (None, &whole.recorded));
    }
}

#[test]
fn one_observation_that_was_altered_is_found_out() {
    let (desk, _) = decided(62);
    let exported = desk.read(Action::RouteJournal, json!({ "after": 0, "inputs": true }));
    let newest = exported["entries"].as_array().and_then(|entries| entries.last());
    let mut line = newest.expect("a decision").clone();
    let reporter = match line["inputs"]["low"]["said"]["paths"][0].is_null() {
        true => "high",
        false => "low",
    };
    let path = &mut line["inputs"][reporter]["said"]["paths"][0];
    assert_eq!(
        (&path["via"], &path["drift"]),
        (&json!("direct"), &json!("failure"))
    );
    path["drift"] = json!("none");
    path["misses"] = json!(0);
    let judged = judged(&line.to_string());

    assert_eq!(judged.agree, Some(false), "{judged:?}");
    assert_ne!(judged.derived, judged.recorded);
}

#[test]
fn what_is_no_line_is_refused_with_its_reason() {
    let (desk, _) = decided(63);
    let exported = desk.read(Action::RouteJournal, json!({ "after": 0, "inputs": true }));
    let line = exported["entries"][0].clone();
    let altered = |alter: &dyn Fn(&mut Value)| {
        let mut line = line.clone();
        alter(&mut line);
        let refused = replay::replay(&line.to_string(), true).expect_err("it is no line any more");

        format!(
            "{refused}: {}",
            std::error::Error::source(&refused)
                .map(ToString::to_string)
                .unwrap_or_default()
        )
    };

    assert!(altered(&|line| line["schema"] = json!(2)).starts_with("schema 2 is not known"));
    assert!(altered(&|line| line["inputs"]["mood"] = json!(1)).contains("unknown field `mood`"));
    assert!(
        altered(&|line| line["inputs"]["route"] = json!("a".repeat(26))).starts_with("the route, its ends")
    );
    assert!(replay::replay("{", true).is_err_and(|refused| refused.to_string() == "it is no JSON"));
    let gap = replay::replay(r#"{"schema":1,"id":3,"at":"x","missed":7}"#, true);
    assert!(matches!(gap, Ok(Replayed::Missed(7))));
}

#[test]
fn a_pair_is_followed_from_a_number_on() {
    let (desk, _) = decided(64);
    let all = desk.read(Action::RouteJournal, json!({ "after": 0 }));
    let count = all["entries"].as_array().map(Vec::len).expect("a list");
    assert_eq!((&all["next"], &all["more"]), (&all["last"], &json!(false)));
    let first = desk.read(Action::RouteJournal, json!({ "after": 0, "limit": 1 }));
    assert_eq!(
        (&first["next"], &first["more"]),
        (&json!(1), &json!(true)),
        "{first}"
    );
    let rest = desk.read(
        Action::RouteJournal,
        json!({ "after": 1, "source": "a", "target": "b" }),
    );
    assert_eq!(rest["entries"].as_array().map(Vec::len), Some(count - 1));
    let newest = desk.read(Action::RouteJournal, json!({ "limit": 1 }));
    assert_eq!(newest["entries"][0]["id"], all["last"]);
    let before = desk.read(Action::RouteJournal, json!({ "before": all["last"] }));
    assert_eq!(before["entries"].as_array().map(Vec::len), Some(count - 1));
    let later = desk.read(Action::RouteJournal, json!({ "since": "2099-01-01T00:00:00Z" }));
    assert_eq!(later["entries"], json!([]));

    let explained = desk.read(Action::RouteExplain, json!({ "source": "a", "target": "b" }));
    assert_eq!(
        explained["history"].as_array().map(Vec::len),
        Some(count),
        "{explained}"
    );
    assert!(explained["published"][0].is_u64(), "{explained}");
}

#[test]
fn an_entry_that_cannot_be_read_is_shown_as_such_and_stops_nothing() {
    let (mut desk, cluster) = decided(65);
    let first = [cluster.as_bytes().as_slice(), &1_u64.to_be_bytes()].concat();
    for (table, key) in [
        (Table::Journal, first.as_slice()),
        (Table::JournalHead, cluster.as_bytes()),
    ] {
        desk.tx.put_bytes(table, key, vec![0xff; 7]).expect("writes");
    }
    let listed = desk.read(Action::RouteJournal, json!({ "after": 0 }));
    assert_eq!(listed["entries"][0]["state"], "unreadable", "{listed}");
    assert!(listed["entries"][0]["reason"].is_string(), "{listed}");
    desk.read(Action::RouteExplain, json!({ "source": "a", "target": "b" }));
    desk.bench.journal.age = Duration::ZERO;
    desk.pass(60);
    desk.ask(&Caller::Controller, &Request::Tick).expect("a beacon");
    let listed = desk.read(Action::RouteJournal, json!({ "after": 0 }));

    assert_eq!(listed["entries"], json!([]), "what is old goes, readable or not");
}

#[test]
fn an_export_names_what_cannot_be_read_and_the_rest_is_made_again() {
    let (mut desk, cluster) = decided(66);
    let key = JournalRow::key_of(cluster, 1);
    let mut row: JournalRow = desk.tx.get(&key).expect("reads").expect("is there");
    let What::Decided { case, .. } = &mut row.what else {
        panic!("a decision: {row:?}")
    };
    *case = vec![0xff; 7].into();
    for damaged in [protocol::cbor::encode(&row), vec![0xff; 7]] {
        desk.tx.put_bytes(Table::Journal, &key, damaged).expect("writes");
        let pair = json!({ "after": 0, "inputs": true, "source": "a", "target": "b" });
        let exported = desk.read(Action::RouteJournal, pair);
        let lines = exported["entries"].as_array().expect("lines");
        assert_eq!(lines.len(), 2, "nothing is left out: {exported}");
        let replayed = replay::replay(&lines[0].to_string(), true).expect("a line");
        let Replayed::Unreadable(damaged) = replayed else {
            panic!("{replayed:?}")
        };
        assert_eq!((damaged.id, damaged.reason.is_empty()), (1, false));
        assert_eq!(judged(&lines[1].to_string()).agree, Some(true));
    }
}

fn judged(line: &str) -> replay::Judged {
    match replay::replay(line, true).expect("a line") {
        Replayed::Decision(judged) => *judged,
        other @ (Replayed::Missed(_) | Replayed::Unreadable(_)) => panic!("{other:?}"),
    }
}

/// A pair whose direct path fails as soon as there is another one.
fn decided(seed: u64) -> (Controller, ClusterId) {
    let mut desk = Controller::new(seed);
    let (cluster, [a, b, relay]) = desk.leased();
    desk.acknowledge(cluster, relay);
    for seconds in [30, 11] {
        desk.pass(seconds);
        desk.links(cluster, &[(a, relay), (b, relay)]);
        let failing = PathObservation {
            drift: Drift::Failure,
            misses: 5,
            ..answered(cluster, a, b)
        };
        desk.probed(cluster, a, failing);
    }
    desk.decide(cluster);
    assert!(desk.names_relay(a, b, relay));

    (desk, cluster)
}
