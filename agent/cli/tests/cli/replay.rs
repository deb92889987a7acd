//! Recorded decisions, made again on a host that has neither controller nor agent.
//!
//! `decisions.jsonl` is what a controller exported: a change of the rules of routing may change what follows from it, and
//! then it is exported anew (`gabion demo`, then `gabion route journal --export`).

use serde_json::{Value, json};

use crate::program::Place;

#[test]
fn every_recorded_decision_follows_from_its_inputs_without_a_controller() {
    let place = place(&lines());
    let rows = place.run("route replay decisions.jsonl -o json").json();
    let rows = rows.as_array().unwrap();

    assert_eq!(rows.len(), lines().len());
    for row in rows {
        assert_eq!(
            (&row["agree"], &row["state"]),
            (&json!(true), &json!("agrees")),
            "{row}"
        );
        assert_eq!(row["recorded"], row["derived"], "{row}");
    }
}

#[test]
fn what_was_recorded_is_not_needed() {
    let bare: Vec<Value> = lines().into_iter().map(bare).collect();
    let recorded: Vec<Value> = lines().into_iter().map(|line| line["result"].clone()).collect();
    let derived = |command: &str, place: &Place| -> Vec<Value> {
        let rows = place.run(command).json();
        let rows = rows.as_array().unwrap().iter();

        rows.map(|row| {
            assert_eq!(row["agree"], Value::Null);
            row["result"].clone()
        })
        .collect()
    };

    assert_eq!(
        derived("route replay decisions.jsonl -o json", &place(&bare)),
        recorded
    );
    let ignored = derived(
        "route replay decisions.jsonl --without-results -o json",
        &place(&lines()),
    );
    assert_eq!(ignored, recorded);
}

#[test]
fn one_altered_observation_is_found_out() {
    let mut lines = lines();
    let (at, reporter) = (0..lines.len())
        .flat_map(|at| ["low", "high"].map(|reporter| (at, reporter)))
        .find(|(at, reporter)| blamed(&lines[*at], reporter).is_some())
        .expect("a path is blamed somewhere");
    let path = blamed(&lines[at], reporter).unwrap();
    let path = &mut lines[at]["inputs"][reporter]["said"]["paths"][path];
    (path["drift"], path["misses"]) = (json!("none"), json!(0));
    let (id, name) = (
        lines[at]["id"].clone(),
        lines[at]["name"].as_str().unwrap().to_owned(),
    );
    let ran = place(&lines).run("route replay decisions.jsonl -o json");

    assert_eq!(ran.code, 3, "{ran:?}");
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    let differing: Vec<&Value> = rows.iter().filter(|row| row["agree"] == false).collect();
    assert_eq!(differing.len(), 1, "{differing:?}");
    assert_eq!(differing[0]["id"], id);
    let said = format!("(entry {id}) does not follow from its inputs");
    assert!(
        ran.stderr.contains(&name) && ran.stderr.contains(&said),
        "{}",
        ran.stderr
    );
}

#[test]
fn an_entry_that_was_damaged_is_counted_and_stops_no_other() {
    let mut lines = lines();
    let id = lines[1]["id"].clone();
    lines[1] = json!({ "schema": 1, "id": id, "at": null, "unreadable": "its case: end of input bytes" });
    let ran = place(&lines).run("route replay decisions.jsonl -o json");

    assert_eq!(ran.code, 3, "{ran:?}");
    let rows: Vec<Value> = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(rows.len(), lines.len() - 1);
    assert!(rows.iter().all(|row| row["agree"] == true));
    let said = format!("entry {id} could not be replayed: its case: end of input bytes");
    assert!(
        ran.stderr.contains(&said) && ran.stderr.contains("0 differ; 1 could not be replayed"),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_is_no_recorded_decision_is_refused_with_its_line() {
    let whole = lines();
    let place = Place::new();
    let text = format!("{}\n\n{{\"schema\":1,\"id\":9}}\n", whole[0]);
    place.write("broken.jsonl", &text);
    let refused = place.run("route replay broken.jsonl").failed(2);
    assert!(refused.contains("line 3 of broken.jsonl"), "{refused}");
    assert!(refused.contains("missing field"), "{refused}");

    place.write("empty.jsonl", "\n");
    let refused = place.run("route replay empty.jsonl").failed(2);
    assert!(refused.contains("empty.jsonl holds no decisions"), "{refused}");
    let refused = place.run("route replay nowhere.jsonl").failed(2);
    assert!(refused.contains("nowhere.jsonl cannot be read"), "{refused}");
}

#[test]
fn an_export_comes_from_standard_input_as_well() {
    let text: String = lines().iter().map(|line| format!("{line}\n")).collect();
    let ran = Place::new().run_with_input("route replay -", &text);

    assert!(ran.stderr.contains(" compared, 0 differ"), "{ran:?}");
    ran.done();
}

/// The path that an end calls down, if it does.
fn blamed(line: &Value, reporter: &str) -> Option<usize> {
    let said = &line["inputs"][reporter]["said"];

    said["paths"]
        .as_array()?
        .iter()
        .position(|path| path["drift"] != "none")
}

fn bare(mut line: Value) -> Value {
    line.as_object_mut().unwrap().remove("result");

    line
}

fn place(lines: &[Value]) -> Place {
    let place = Place::new();
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    place.write("decisions.jsonl", &text);

    place
}

fn lines() -> Vec<Value> {
    let lines = include_str!("decisions.jsonl").lines();

    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}
