//! The figures in the docs: `measured.json`, and a section of `measured.md` for each bench. A run replaces what its own
//! bench wrote before and leaves all else as it is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use crate::bench::{Findings, NotMeasured};
use crate::figure::Figure;
use crate::table;

/// One run of one bench.
#[derive(Debug)]
pub(crate) struct Measured<'a> {
    pub(crate) bench: &'a str,
    pub(crate) machine: &'a str,
    /// In UTC.
    pub(crate) date: &'a str,
    pub(crate) findings: &'a Findings,
}

type Figures = BTreeMap<String, Figure>;

impl Measured<'_> {
    /// Writes both files of a directory anew.
    pub(crate) fn write_into(&self, docs: &Path) -> Result<(), NotMeasured> {
        let (json, page) = (docs.join("measured.json"), docs.join("measured.md"));
        let known = fs::read_to_string(&json).unwrap_or_else(|_| "{}".to_owned());
        let known =
            serde_json::from_str(&known).map_err(|_| NotMeasured::Unreadable("docs/measured.json"))?;
        let merged = self.page(&fs::read_to_string(&page).unwrap_or_default())?;
        fs::write(&json, pretty(&self.merged(known)))?;
        fs::write(&page, merged)?;

        Ok(())
    }

    /// The figures of this run alone.
    pub(crate) fn json(&self) -> String {
        pretty(&self.figures())
    }

    fn figures(&self) -> Figures {
        let rows = self.findings.rows.iter();

        rows.map(|row| (row.name.clone(), row.figure.clone())).collect()
    }

    fn merged(&self, mut known: Figures) -> Figures {
        let more = format!("{}_", self.bench);
        known.retain(|name, _| name != self.bench && !name.starts_with(&more));
        known.append(&mut self.figures());

        known
    }

    /// `page` with this bench's section in it, in its old place or at the end.
    fn page(&self, page: &str) -> Result<String, NotMeasured> {
        let (begin, end) = (begin(self.bench), end(self.bench));
        let section = format!("{begin}\n{}{end}\n", self.section());
        let places = (page.find(&begin), page.find(&end));
        match places {
            (None, None) if page.is_empty() => Ok(section),
            (None, None) => Ok(format!("{}\n\n{section}", page.trim_end())),
            (Some(from), Some(to)) if from < to => {
                let rest = page[to + end.len()..].trim_start_matches('\n');
                let gap = if rest.is_empty() { "" } else { "\n" };
                Ok(format!("{}{section}{gap}{rest}", &page[..from]))
            }
            (Some(_), _) | (None, Some(_)) => Err(NotMeasured::Unreadable("docs/measured.md")),
        }
    }

    fn section(&self) -> String {
        format!(
            "\n## Bench `{}`\n\n{}, {}. Repeat with `./scripts/bench {}`.\n\n{}\n{}\n\n",
            self.bench,
            self.date,
            self.machine,
            self.bench,
            table::markdown(&self.findings.rows),
            self.findings.words.trim(),
        )
    }
}

fn begin(bench: &str) -> String {
    format!("<!-- ./scripts/bench {bench} writes from here -->")
}

fn end(bench: &str) -> String {
    format!("<!-- to here: {bench} -->")
}

fn pretty(figures: &Figures) -> String {
    let text = serde_json::to_string_pretty(figures).expect("figures are plain numbers and text");

    text + "\n"
}

#[cfg(test)]
mod tests {
    use crate::bench::Row;

    use super::*;

    #[test]
    fn a_run_replaces_its_own_figures_and_keeps_the_others() {
        let findings = findings(&["race_ms", "race_far_ms"]);
        let known: Figures = ["race", "race_old_ms", "racer_ms", "polls_per_s"]
            .map(|name| (name.to_owned(), figure(9.0)))
            .into();
        let merged = run(&findings).merged(known);

        let names: Vec<&str> = merged.keys().map(String::as_str).collect();
        assert_eq!(names, ["polls_per_s", "race_far_ms", "race_ms", "racer_ms"]);
        assert_eq!((merged["race_ms"].value, merged["racer_ms"].value), (5.0, 9.0));
    }

    #[test]
    fn a_section_is_added_once_and_replaced_in_its_place() {
        let (first, second) = (findings(&["race_ms"]), findings(&["race_far_ms"]));
        let by_hand = "# Measured\n\nBy hand.\n";
        let page = run(&first).page(by_hand).unwrap();
        assert!(page.starts_with("# Measured\n\nBy hand.\n\n<!-- "), "{page}");
        let other = Measured {
            bench: "polls",
            ..run(&first)
        };
        let both = other.page(&page).unwrap();
        let again = run(&second).page(&both).unwrap();

        assert_eq!(again.matches("## Bench `race`").count(), 1, "{again}");
        assert!(again.contains("`race_far_ms`") && again.starts_with("# Measured\n\nBy hand.\n"));
        let places = ["## Bench `race`", "## Bench `polls`"].map(|head| again.find(head));
        assert!(places[0] < places[1], "each stays in its place: {again}");
        assert_eq!(run(&second).page(&again).unwrap(), again, "twice is once");
    }

    #[test]
    fn a_page_with_half_a_section_is_left_alone() {
        let findings = findings(&["race_ms"]);
        for broken in [
            begin("race"),
            end("race"),
            format!("{} {}", end("race"), begin("race")),
        ] {
            assert!(run(&findings).page(&broken).is_err(), "{broken}");
        }
    }

    fn run(findings: &Findings) -> Measured<'_> {
        Measured {
            bench: "race",
            machine: "a machine",
            date: "2000-01-01",
            findings,
        }
    }

    fn findings(names: &[&str]) -> Findings {
        let row = |name: &&str| Row {
            name: (*name).to_owned(),
            figure: figure(5.0),
            budget: None,
        };

        Findings {
            words: "Words.".to_owned(),
            rows: names.iter().map(row).collect(),
        }
    }

    fn figure(value: f64) -> Figure {
        Figure::of(&[value], "ms", 1.0).unwrap()
    }
}
