//! `gabion route journal` and `gabion route watch`: the decisions that were made, and those that are being made.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use control_api::action::Action;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::words;
use crate::config::span::Span;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keyfile::PRIVATE;
use crate::output::{self, Column, Format, column};
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pair: MaybePair,
    /// Only decisions since then: a time, or how long ago (`2h`)
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// At most this many, the newest
    #[arg(long, value_name = "COUNT", conflicts_with = "export")]
    limit: Option<usize>,
    /// Write all that they were made from to a new file, for `gabion route replay`; `-` is standard output
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct WatchOptions {
    #[command(flatten)]
    pair: MaybePair,
    /// End after this many decisions
    #[arg(long, value_name = "COUNT")]
    count: Option<usize>,
    /// End after this many seconds
    #[arg(long, value_name = "SECONDS")]
    seconds: Option<u64>,
}

/// Two nodes, or every pair.
#[derive(Debug, Args)]
struct MaybePair {
    /// A node, by name or id
    #[arg(requires = "target")]
    source: Option<String>,
    /// Another node, by name or id
    target: Option<String>,
}

impl MaybePair {
    fn input(&self) -> Value {
        match (&self.source, &self.target) {
            (Some(source), Some(target)) => json!({ "source": source, "target": target }),
            (_, _) => json!({}),
        }
    }
}

pub(super) async fn run(options: &Options, session: &Session) -> Outcome {
    let mut input = session.scoped(options.pair.input());
    if let Some(since) = &options.since {
        input["since"] = json!(moment(since, session.printer.now)?);
    }
    if let Some(file) = &options.export {
        return export(file, input, session).await;
    }
    let entries = newest(input, options.limit.unwrap_or(USUAL), session).await?;

    session.put(&session.printer.list(&entries, &COLUMNS))
}

/// The newest entries, oldest first. One answer looks through a part of the journal.
async fn newest(mut input: Value, limit: usize, session: &Session) -> Result<Vec<Value>, Failure> {
    let mut entries = Vec::new();
    loop {
        input["limit"] = json!(limit - entries.len());
        let mut page = session.call(Action::RouteJournal, input.clone()).await?;
        let mut found = page["entries"]
            .as_array_mut()
            .map(std::mem::take)
            .unwrap_or_default();
        let is_end = page["from"].as_u64() <= page["first"].as_u64();
        found.append(&mut entries);
        entries = found;
        if is_end || entries.len() >= limit {
            return Ok(entries);
        }
        input["before"] = page["from"].clone();
    }
}

/// A time as the controller reads it.
fn moment(text: &str, now: Timestamp) -> Result<String, Failure> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.to_string());
    }
    let ago: Span = text.parse().map_err(|_| {
        Failure::usage(format!("{text:?} is no time"))
            .because("expected 2026-07-01T12:00:00Z, or how long ago: 2h, 7d")
    })?;
    let at = now.checked_sub(ago.get()).unwrap_or(Timestamp::UNIX_EPOCH);

    Ok(at.max(Timestamp::UNIX_EPOCH).to_string())
}

/// Writes every entry from the oldest on, page by page.
async fn export(file: &Path, mut input: Value, session: &Session) -> Outcome {
    let unwritten = |error: io::Error| {
        Failure::new(
            Exit::Failed,
            "output",
            format!("{} could not be written", file.display()),
        )
        .because(error.to_string())
    };
    let (mut decisions, mut damaged, mut missed) = (0, 0, 0);
    input["inputs"] = json!(true);
    input["after"] = json!(0);
    let mut page = session.call(Action::RouteJournal, input.clone()).await?;
    let mut out: Box<dyn Write> = match file == Path::new("-") {
        true => Box::new(io::stdout()),
        false => Box::new(BufWriter::new(created(file)?)),
    };
    loop {
        for entry in page["entries"].as_array().into_iter().flatten() {
            decisions += usize::from(entry.get("inputs").is_some());
            damaged += usize::from(entry.get("unreadable").is_some());
            missed += entry["missed"].as_u64().unwrap_or(0);
            writeln!(out, "{entry}").map_err(unwritten)?;
        }
        let Some(next) = onwards(&input["after"], &page)? else {
            break;
        };
        input["after"] = next;
        page = session.call(Action::RouteJournal, input.clone()).await?;
    }
    out.flush().map_err(unwritten)?;
    let unread = match damaged {
        0 => String::new(),
        count => format!("; {count} entries cannot be read, and say so in their place"),
    };
    eprintln!("{decisions} decisions exported{unread}{}", not_kept(missed));

    Ok(Exit::Done)
}

/// What the next page follows; none if there is nothing after this one yet. An answer that leads nowhere would be asked
/// for again without end.
fn onwards(after: &Value, page: &Value) -> Result<Option<Value>, Failure> {
    let next = &page["next"];
    let is_further = next.as_u64() > after.as_u64();
    let is_last = page["more"] != true && page["entries"].as_array().is_none_or(Vec::is_empty);
    match is_further || is_last {
        true => Ok((page["more"] == true).then(|| next.clone())),
        false => Err(Failure::new(
            Exit::Failed,
            "journal_stands",
            format!("the journal goes no further than entry {next}"),
        )
        .because(format!("the controller was asked what follows entry {after}"))
        .fixed_by("gabion route journal    (shows the entries around it)")),
    }
}

fn created(file: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    let made = options.write(true).create_new(true).mode(PRIVATE).open(file);

    made.map_err(|error| match error.kind() == io::ErrorKind::AlreadyExists {
        true => Failure::new(
            Exit::Conflict,
            "file_exists",
            format!("{} exists already", file.display()),
        )
        .fixed_by("name a file that does not exist"),
        false => Failure::usage(format!("{} cannot be made", file.display())).because(error.to_string()),
    })
}

pub(super) fn not_kept(missed: u64) -> String {
    match missed {
        0 => String::new(),
        count => format!("; {count} more were made and are not in the journal, too many at once"),
    }
}

/// Shows decisions as they are made. Ends when nobody reads any more, which shows with the next one.
pub(super) async fn watch(options: &WatchOptions, session: &Session) -> Outcome {
    let ends_at = options
        .seconds
        .map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut left = options.count.unwrap_or(usize::MAX);
    let mut input = session.scoped(options.pair.input());
    input["limit"] = json!(0);
    let mut after = session.call(Action::RouteJournal, input.clone()).await?["next"].clone();
    input["limit"] = json!(PAGE);
    loop {
        input["after"] = after.clone();
        let page = session.call(Action::RouteJournal, input.clone()).await?;
        for entry in page["entries"].as_array().into_iter().flatten().take(left) {
            if !shown(entry, session)? {
                return Ok(Exit::Done);
            }
            left -= 1;
        }
        let wait = match onwards(&after, &page)? {
            Some(_) => Duration::ZERO,
            None => LOOK,
        };
        after = page["next"].clone();
        let is_over = ends_at.is_some_and(|at| Instant::now() + wait > at);
        if left == 0 || is_over {
            return Ok(Exit::Done);
        }
        tokio::time::sleep(wait).await;
    }
}

/// False if nobody reads any more.
fn shown(entry: &Value, session: &Session) -> Result<bool, Failure> {
    let text = match session.printer.format {
        Format::Table | Format::Wide => told(entry),
        Format::Name => format!("{}\n", words(&entry["name"])),
        Format::Json | Format::Jsonl | Format::Yaml => format!("{entry}\n"),
    };

    output::offer(&text).map_err(|error| {
        Failure::new(Exit::Failed, "output", "the result could not be written").because(error.to_string())
    })
}

fn told(entry: &Value) -> String {
    let at = words(&entry["at"]);
    match entry["state"].as_str() {
        Some("missed") => format!(
            "{at}  {} decisions were made and are not in the journal\n",
            entry["missed"]
        ),
        Some("unreadable") => format!(
            "entry {} cannot be read: {}\n",
            entry["id"],
            words(&entry["reason"])
        ),
        Some(_) | None => format!(
            "{at}  {}  generation {}, {}: {}  ({})\n",
            words(&entry["name"]),
            entry["generation"],
            words(&entry["action"]),
            words(&entry["path"]),
            words(&entry["reasons"]),
        ),
    }
}

pub(super) const COLUMNS: [Column; 9] = [
    column("ID", "id"),
    column("AT", "at").whole(),
    column("PAIR", "name"),
    column("GEN", "generation"),
    column("ACTION", "action"),
    column("PATH", "path"),
    column("STANDBYS", "standbys").wide(),
    column("REASONS", "reasons").wide(),
    column("STATE", "state").wide(),
];

/// Entries that are listed when nothing is said.
const USUAL: usize = 100;
/// How often is looked for new decisions: a pass decides once a second.
const LOOK: Duration = Duration::from_secs(1);
const PAGE: usize = 1_000;

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_decision_that_is_watched_is_one_line() {
        let decided = json!({
            "state": "decided", "at": "2026-07-01T12:00:00Z", "name": "a b", "generation": 4, "action": "replace",
            "path": ["a", "r", "b"], "reasons": ["direct_down"],
        });
        assert_eq!(
            told(&decided),
            "2026-07-01T12:00:00Z  a b  generation 4, replace: a r b  (direct_down)\n"
        );
        let missed = json!({"state": "missed", "at": "2026-07-01T12:00:00Z", "missed": 7});
        assert!(told(&missed).contains("7 decisions were made and are not in the journal"));
    }

    #[test]
    fn an_answer_that_leads_nowhere_is_asked_for_no_more() {
        let page =
            |next: u64, more: bool, entries: Value| json!({ "next": next, "more": more, "entries": entries });
        let onwards = |page: &Value| onwards(&json!(7), page);

        assert_eq!(onwards(&page(9, true, json!([{}]))).unwrap(), Some(json!(9)));
        assert_eq!(onwards(&page(9, false, json!([{}]))).unwrap(), None);
        assert_eq!(onwards(&page(7, false, json!([]))).unwrap(), None);
        assert!(onwards(&page(7, true, json!([]))).is_err());
        assert!(onwards(&page(7, false, json!([{}]))).is_err());
        assert!(onwards(&page(6, true, json!([{}]))).is_err());
        assert!(onwards(&json!({ "more": true })).is_err());
    }

    #[test]
    fn an_export_is_for_its_owner_and_takes_no_ones_place() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("decisions.jsonl");
        let mode = created(&file).unwrap().metadata().unwrap().mode();

        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(created(&file).unwrap_err().exit, Exit::Conflict);
    }

    #[test]
    fn a_time_is_one_or_how_long_ago_it_was() {
        let now: Timestamp = "2026-07-01T12:00:00Z".parse().unwrap();

        assert_eq!(moment("2h", now).unwrap(), "2026-07-01T10:00:00Z");
        assert_eq!(
            moment("2026-06-30T00:00:00+02:00", now).unwrap(),
            "2026-06-29T22:00:00Z"
        );
        assert_eq!(moment("99999d", now).unwrap(), "1970-01-01T00:00:00Z");
        assert!(moment("yesterday", now).is_err());
    }
}
