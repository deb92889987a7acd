//! `gabion route replay`: makes recorded decisions again, from their inputs alone. It needs no controller.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use clap::Args;
use control_api::replay::{self, Damaged, Judged, Replayed};
use serde_json::{Value, json};

use super::journal::not_kept;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, column, printable};
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// What `gabion route journal --export` wrote; `-` is standard input
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Do not look at the results that are recorded
    #[arg(long)]
    without_results: bool,
}

pub(super) fn run(options: &Options, session: &Session) -> Outcome {
    let Verdicts {
        judged,
        missed,
        damaged,
    } = replayed(options)?;
    let rows: Vec<Value> = judged.iter().map(|judged| json!(judged)).collect();
    session.put(&session.printer.list(&rows, &COLUMNS))?;
    let differing: Vec<&Judged> = judged.iter().filter(|it| it.agree == Some(false)).collect();
    for judged in &differing {
        eprintln!("{}", printable(&told(judged)));
    }
    for Damaged { id, reason } in &damaged {
        eprintln!("entry {id} could not be replayed: {}", printable(reason));
    }
    let compared = judged.iter().filter(|it| it.agree.is_some()).count();
    eprintln!(
        "{} decisions made again, {compared} compared, {} differ{}{}",
        judged.len(),
        differing.len(),
        not_replayed(damaged.len()),
        not_kept(missed)
    );

    Ok(match differing.is_empty() && damaged.is_empty() {
        true => Exit::Done,
        false => Exit::Problems,
    })
}

struct Verdicts {
    judged: Vec<Judged>,
    missed: u64,
    damaged: Vec<Damaged>,
}

fn replayed(options: &Options) -> Result<Verdicts, Failure> {
    let file = options.file.display();
    let unreadable =
        |error: io::Error| Failure::usage(format!("{file} cannot be read")).because(error.to_string());
    let lines: Box<dyn BufRead> = match options.file == Path::new("-") {
        true => Box::new(io::stdin().lock()),
        false => Box::new(BufReader::new(File::open(&options.file).map_err(unreadable)?)),
    };
    let mut verdicts = Verdicts {
        judged: Vec::new(),
        missed: 0,
        damaged: Vec::new(),
    };
    for (number, line) in (1..).zip(lines.lines()) {
        let line = line.map_err(unreadable)?;
        if line.trim().is_empty() {
            continue;
        }
        let replayed = replay::replay(&line, !options.without_results).map_err(|refused| {
            Failure::new(
                Exit::Usage,
                "not_an_export",
                format!("line {number} of {file} is no recorded decision"),
            )
            .because_of(&refused)
            .fixed_by("gabion route journal --export FILE    (a line is what this version writes)")
        })?;
        match replayed {
            Replayed::Decision(judged) => verdicts.judged.push(*judged),
            Replayed::Missed(count) => verdicts.missed += count,
            Replayed::Unreadable(damaged) => verdicts.damaged.push(damaged),
        }
    }
    if verdicts.judged.is_empty() && verdicts.damaged.is_empty() {
        return Err(Failure::usage(format!("{file} holds no decisions"))
            .fixed_by("gabion route journal --export FILE"));
    }

    Ok(verdicts)
}

fn not_replayed(damaged: usize) -> String {
    match damaged {
        0 => String::new(),
        count => format!("; {count} could not be replayed"),
    }
}

/// What came out otherwise.
fn told(judged: &Judged) -> String {
    let mut text = format!(
        "{}, generation {} (entry {}) does not follow from its inputs:",
        judged.name, judged.generation, judged.id
    );
    for difference in &judged.differences {
        text.push_str(&format!(
            "\n  {}: recorded {}, derived {}",
            difference.member, difference.recorded, difference.derived
        ));
    }
    if judged.by != env!("CARGO_PKG_VERSION") {
        text.push_str(&format!(
            "\n  version {} decided, this is {}: their rules may differ",
            judged.by,
            env!("CARGO_PKG_VERSION")
        ));
    }

    text
}

const COLUMNS: [Column; 8] = [
    column("ID", "id"),
    column("PAIR", "name"),
    column("GEN", "generation"),
    column("RECORDED", "recorded"),
    column("DERIVED", "derived"),
    column("AGREE", "agree"),
    column("REASONS", "reasons").wide(),
    column("ROUTE", "route").wide(),
];
