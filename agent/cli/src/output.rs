//! Results on standard output: tables for people, stable forms for scripts.
//!
//! What a script gets is what the controller said, member for member. Only a table chooses and shortens.

mod cell;
mod columns;
mod table;
mod yaml;

use std::io::{self, Write};

use clap::ValueEnum;
use jiff::Timestamp;
use serde_json::Value;

pub(crate) use cell::printable;
pub(crate) use columns::{Column, age, brief, column, lapse};

/// The form of a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people, at most 80 columns wide.
    #[default]
    Table,
    /// For people, with everything, as wide as it is.
    Wide,
    /// One JSON document.
    Json,
    /// One JSON object to a line.
    Jsonl,
    /// YAML 1.2.
    Yaml,
    /// Names alone, one to a line.
    Name,
}

/// Writes results in the form that was asked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Printer {
    pub(crate) format: Format,
    /// When "now" is, for ages.
    pub(crate) now: Timestamp,
}

impl Printer {
    /// A list: an array of objects.
    pub(crate) fn list(&self, rows: &[Value], columns: &[Column]) -> String {
        match self.format {
            Format::Table => table::list(rows, columns, self.now, Some(WIDTH)),
            Format::Wide => table::list(rows, columns, self.now, None),
            Format::Json => pretty(&Value::from(rows.to_vec())),
            Format::Jsonl => rows.iter().map(|row| format!("{row}\n")).collect(),
            Format::Yaml => yaml::write(&Value::from(rows.to_vec())),
            Format::Name => rows.iter().map(|row| format!("{}\n", name(row))).collect(),
        }
    }

    /// One object.
    pub(crate) fn item(&self, item: &Value) -> String {
        match self.format {
            Format::Table => table::item(item, Some(WIDTH)),
            Format::Wide => table::item(item, None),
            Format::Json | Format::Jsonl | Format::Yaml | Format::Name => self.for_scripts(item),
        }
    }

    /// One object for scripts, or `story` for people.
    pub(crate) fn told(&self, item: &Value, story: impl FnOnce() -> String) -> String {
        match self.format {
            Format::Table | Format::Wide => story(),
            Format::Json | Format::Jsonl | Format::Yaml | Format::Name => self.for_scripts(item),
        }
    }

    fn for_scripts(&self, item: &Value) -> String {
        match self.format {
            Format::Json => pretty(item),
            Format::Yaml => yaml::write(item),
            Format::Name => format!("{}\n", name(item)),
            Format::Table | Format::Wide | Format::Jsonl => format!("{item}\n"),
        }
    }
}

/// Puts a result on standard output. A reader who has gone away, as `head` does, is no error.
pub(crate) fn put(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written,
    }
}

/// As [`put`], and says whether anybody reads yet: what goes on for ever ends then.
pub(crate) fn offer(text: &str) -> io::Result<bool> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

/// Wraps prose at the width of a table, each further line behind `indent`.
pub(crate) fn wrapped(text: &str, indent: usize) -> String {
    let room = usize::from(WIDTH).saturating_sub(indent);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines
            .last_mut()
            .expect("it starts with one line and none is taken away");
        if line.is_empty() {
            line.push_str(word);
        } else if line.chars().count() + 1 + word.chars().count() <= room {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }

    lines.join(&format!("\n{}", " ".repeat(indent)))
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

/// What a thing is called: its name, or its id when it has none.
fn name(row: &Value) -> String {
    let of = |key: &str| row.get(key).map(cell::text).filter(|text| text != cell::NOTHING);

    of("name").or_else(|| of("id")).unwrap_or_else(|| cell::text(row))
}

/// The width that every terminal has.
const WIDTH: u16 = 80;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scripts_get_what_the_controller_said() {
        let rows = rows();

        assert_eq!(
            printer(Format::Jsonl).list(&rows, &COLUMNS),
            "{\"id\":\"n1\",\"labels\":{\"site\":\"fra\"},\"name\":\"web-01\",\"state\":\"online\"}\n\
             {\"id\":\"n2\",\"labels\":{},\"name\":\"web-02\",\"state\":\"offline\"}\n"
        );
        let text = printer(Format::Json).list(&rows, &COLUMNS);
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), Value::from(rows));
    }

    #[test]
    fn an_empty_list_is_an_empty_array_and_no_names() {
        assert_eq!(printer(Format::Json).list(&[], &COLUMNS), "[]\n");
        assert_eq!(printer(Format::Name).list(&[], &COLUMNS), "");
        assert_eq!(printer(Format::Jsonl).list(&[], &COLUMNS), "");
        assert_eq!(printer(Format::Yaml).list(&[], &COLUMNS), "[]\n");
    }

    #[test]
    fn names_stand_alone_and_ids_stand_in_for_them() {
        assert_eq!(printer(Format::Name).list(&rows(), &COLUMNS), "web-01\nweb-02\n");
        assert_eq!(printer(Format::Name).item(&json!({"id": 7})), "7\n");
    }

    #[test]
    fn a_show_is_an_object_in_every_form_for_scripts() {
        let item = json!({"name": "web-01"});

        assert_eq!(printer(Format::Jsonl).item(&item), "{\"name\":\"web-01\"}\n");
        assert_eq!(
            printer(Format::Json).item(&item),
            "{\n  \"name\": \"web-01\"\n}\n"
        );
        assert_eq!(printer(Format::Yaml).item(&item), "name: \"web-01\"\n");
    }

    #[test]
    fn prose_is_wrapped_behind_its_indent() {
        let text = wrapped(&"word ".repeat(30), 10);

        assert!(text.lines().all(|line| line.chars().count() <= 80));
        assert!(
            text.lines()
                .skip(1)
                .all(|line| line.starts_with("          word"))
        );
    }

    fn rows() -> Vec<Value> {
        vec![
            json!({"id": "n1", "name": "web-01", "state": "online", "labels": {"site": "fra"}}),
            json!({"id": "n2", "name": "web-02", "state": "offline", "labels": {}}),
        ]
    }

    fn printer(format: Format) -> Printer {
        Printer {
            format,
            now: Timestamp::UNIX_EPOCH,
        }
    }

    const COLUMNS: [Column; 1] = [column("NAME", "name")];
}
