//! Tables for people: no lines, no colours, no more than the width allows.

use comfy_table::presets::NOTHING;
use comfy_table::{ColumnConstraint, ContentArrangement, Table};
use jiff::Timestamp;
use serde_json::Value;

use super::cell;
use super::columns::{Column, Form};

/// A list with a header. Without a width every column is there, as wide as it needs.
pub(super) fn list(rows: &[Value], columns: &[Column], now: Timestamp, width: Option<u16>) -> String {
    let shown: Vec<&Column> = columns
        .iter()
        .filter(|column| width.is_none() || !column.only_wide)
        .collect();
    let mut table = empty(width);
    table.set_header(shown.iter().map(|column| column.header));
    for row in rows {
        table.add_row(shown.iter().map(|column| cell(row, column, now, width.is_some())));
    }
    for (place, column) in shown.iter().enumerate() {
        if let Some(known) = table.column_mut(place).filter(|_| column.whole) {
            known.set_constraint(ColumnConstraint::ContentWidth);
        }
    }

    finished(table)
}

/// The members of one object, one to a line; members of members are named by both.
pub(super) fn item(item: &Value, width: Option<u16>) -> String {
    let mut table = empty(width);
    let mut members = flattened("", item);
    members.sort_by_key(|(name, _)| {
        LEADING
            .iter()
            .position(|leading| leading == name)
            .unwrap_or(LEADING.len())
    });
    for (name, value) in members {
        table.add_row([name, value]);
    }
    if let Some(names) = table.column_mut(0) {
        names.set_constraint(ColumnConstraint::ContentWidth);
    }

    finished(table)
}

fn cell(row: &Value, column: &Column, now: Timestamp, is_narrow: bool) -> String {
    let value = row.get(column.key).unwrap_or(&Value::Null);
    match column.form {
        Form::Age => cell::age(value, now),
        Form::Lapse => cell::lapse(value),
        Form::Brief if is_narrow => cell::brief(&cell::text(value)),
        Form::Brief => cell::text(value),
        Form::Plain => {
            let text = cell::text(value);
            cell::to_the_second(&text).unwrap_or(text)
        }
    }
}

fn flattened(prefix: &str, value: &Value) -> Vec<(String, String)> {
    let below = |name: &str| match prefix {
        "" => name.to_owned(),
        _ => format!("{prefix}.{name}"),
    };
    match value {
        Value::Object(members) if !members.is_empty() && is_structure(prefix) => members
            .iter()
            .flat_map(|(name, member)| flattened(&below(name), member))
            .collect(),
        Value::Array(items) if items.iter().any(Value::is_object) => items
            .iter()
            .enumerate()
            .flat_map(|(place, member)| flattened(&below(&place.to_string()), member))
            .collect(),
        Value::Null
        | Value::Bool(_)
        | Value::Number(_)
        | Value::String(_)
        | Value::Array(_)
        | Value::Object(_) => {
            let text = cell::text(value);
            vec![(prefix.to_owned(), cell::to_the_second(&text).unwrap_or(text))]
        }
    }
}

/// Labels stay in one line.
fn is_structure(prefix: &str) -> bool {
    prefix.rsplit('.').next() != Some("labels")
}

fn empty(width: Option<u16>) -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING).force_no_tty();
    match width {
        Some(width) => table
            .set_width(width)
            .set_content_arrangement(ContentArrangement::Dynamic),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };

    table
}

/// One blank before each cell is enough; none stands at the ends of lines.
fn finished(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));

    lines.collect()
}

/// What one looks for first; the rest follows by name.
const LEADING: [&str; 5] = ["name", "id", "state", "request", "fingerprint"];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::columns::{age, brief, column};
    use super::*;

    #[test]
    fn what_an_approver_compares_stands_before_any_other_fingerprint() {
        let pending = json!({
            "authority": {"fingerprint": "SHA256:a"}, "fingerprint": "SHA256:k", "request": "r", "state": "pending",
        });

        assert_eq!(
            item(&pending, Some(80)),
            "state                  pending\n\
             request                r\n\
             fingerprint            SHA256:k\n\
             authority.fingerprint  SHA256:a\n"
        );
    }

    #[test]
    fn a_table_has_a_header_and_no_lines() {
        assert_eq!(
            list(&rows(), &COLUMNS, now(), Some(80)),
            "NAME    STATE    ROLES         SEEN\n\
             web-01  online   member        3s\n\
             fra-r1  offline  member,relay  4m\n"
        );
    }

    #[test]
    fn a_wide_table_has_everything() {
        assert_eq!(
            list(&rows(), &COLUMNS, now(), None),
            "NAME    STATE    ROLES         SEEN  ID\n\
             web-01  online   member        3s    n1\n\
             fra-r1  offline  member,relay  4m    n2\n"
        );
    }

    #[test]
    fn what_is_brief_is_whole_where_there_is_room() {
        let rows = [json!({"target": "node/2v7zmoboy73432qn277trtjkba"})];
        let columns = [brief("TARGET", "target")];

        assert_eq!(list(&rows, &columns, now(), Some(80)), "TARGET\nnode/2v7zmobo\n");
        assert_eq!(
            list(&rows, &columns, now(), None),
            "TARGET\nnode/2v7zmoboy73432qn277trtjkba\n"
        );
    }

    #[test]
    fn a_table_keeps_to_its_width_and_does_not_break_a_fingerprint() {
        let fingerprint = format!("SHA256:{}", "x".repeat(43));
        let rows = [
            json!({"name": "a name of many words that is far too long for one line", "fingerprint": fingerprint}),
        ];
        let columns = [
            column("NAME", "name"),
            column("FINGERPRINT", "fingerprint").whole(),
        ];

        let text = list(&rows, &columns, now(), Some(80));
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.contains(&fingerprint), "{text}");
    }

    #[test]
    fn an_empty_list_shows_what_would_stand_there() {
        assert_eq!(list(&[], &COLUMNS, now(), Some(80)), "NAME  STATE  ROLES  SEEN\n");
    }

    #[test]
    fn one_object_is_shown_member_by_member() {
        let shown = item(
            &json!({
                "name": "web-01",
                "labels": {"site": "fra"},
                "first_owner": {"id": "o1", "name": "ada"},
                "steps": [{"ok": true}, {"ok": false}],
                "at": "2026-10-22T00:19:02.25Z",
                "gone": null,
            }),
            Some(80),
        );

        assert_eq!(
            shown,
            "name              web-01\n\
             at                2026-10-22T00:19:02Z\n\
             first_owner.id    o1\n\
             first_owner.name  ada\n\
             gone              -\n\
             labels            site=fra\n\
             steps.0.ok        yes\n\
             steps.1.ok        no\n"
        );
    }

    fn rows() -> [Value; 2] {
        [
            json!({"id": "n1", "name": "web-01", "state": "online", "roles": ["member"], "seen": "1970-01-01T00:09:57Z"}),
            json!({"id": "n2", "name": "fra-r1", "state": "offline", "roles": ["member", "relay"], "seen": "1970-01-01T00:06:00Z"}),
        ]
    }

    fn now() -> Timestamp {
        Timestamp::from_second(600).unwrap()
    }

    const COLUMNS: [Column; 5] = [
        column("NAME", "name"),
        column("STATE", "state"),
        column("ROLES", "roles"),
        age("SEEN", "seen"),
        column("ID", "id").wide(),
    ];
}
