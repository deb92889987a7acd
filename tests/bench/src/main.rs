//! Figures of the product, each beside the floor that nothing can go below: `./scripts/bench [NAME] [-o json]`.
//!
//! A bench is a file with one function that gives [`bench::Findings`], and a line in [`BENCHES`].

mod bench;
mod client;
mod enrol;
mod failover;
mod figure;
mod fleet;
mod floor;
mod machine;
mod measured;
mod memory;
mod poll;
mod process;
mod relay;
mod rest;
mod rounds;
mod routing;
mod table;
mod writes;

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use bench::{Bench, NotMeasured};
use measured::Measured;

/// In the order in which they run: the longest last.
const BENCHES: &[Bench] = &[
    enrol::BENCH,
    poll::BENCH,
    writes::BENCH,
    relay::BENCH,
    rest::BENCH,
    memory::BENCH,
    routing::REDECIDE,
    routing::RECOMPUTE,
    failover::BENCH,
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(served) = floor::serve(&arguments) {
        return match served {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench: the floor: {error}");
                ExitCode::FAILURE
            }
        };
    }
    let Some(options) = Options::read(&arguments) else {
        let names: Vec<&str> = BENCHES.iter().map(|bench| bench.name).collect();
        eprintln!(
            "usage: bench [NAME] [-o table|json]\nbenches: {}",
            names.join(", ")
        );
        return ExitCode::from(USAGE);
    };
    match run(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(NotMeasured::Lacking(why)) => {
            eprintln!("bench: not measured here: {why}");
            ExitCode::from(USAGE)
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What is asked for on the command line.
#[derive(Debug, PartialEq, Eq)]
struct Options {
    /// All, without it.
    name: Option<String>,
    json: bool,
}

impl Options {
    /// None for anything that is not understood.
    fn read(arguments: &[String]) -> Option<Self> {
        let mut options = Self {
            name: None,
            json: false,
        };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "-o" | "--output" => match rest.next()?.as_str() {
                    "json" => options.json = true,
                    "table" => options.json = false,
                    _ => return None,
                },
                name if options.name.is_none() && BENCHES.iter().any(|bench| bench.name == name) => {
                    options.name = Some(name.to_owned());
                }
                _ => return None,
            }
        }

        Some(options)
    }
}

/// Runs what is asked for, one after the other, and writes each down before the next begins.
fn run(options: &Options) -> Result<(), NotMeasured> {
    let wanted = |bench: &&Bench| options.name.as_deref().is_none_or(|name| name == bench.name);
    for bench in BENCHES.iter().filter(wanted) {
        let machine = machine::describe();
        eprintln!("bench: {}, {machine}", bench.name);
        let findings = (bench.run)()?;
        let measured = Measured {
            bench: bench.name,
            machine: &machine,
            date: &machine::today(),
            findings: &findings,
        };
        measured.write_into(Path::new(DOCS))?;
        let shown = match options.json {
            true => measured.json(),
            false => table::plain(&findings.rows),
        };
        io::stdout().lock().write_all(shown.as_bytes())?;
    }

    Ok(())
}

/// From the root of the repository, where the script runs this.
const DOCS: &str = "docs";
/// Exit code: asked wrongly, or asked for what cannot be had here.
const USAGE: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_named_means_every_bench_and_a_table() {
        assert_eq!(
            read(&[]),
            Some(Options {
                name: None,
                json: false
            })
        );
    }

    #[test]
    fn a_bench_and_a_form_may_be_named_in_any_order() {
        let expected = Some(Options {
            name: Some("failover".to_owned()),
            json: true,
        });

        assert_eq!(read(&["failover", "-o", "json"]), expected);
        assert_eq!(read(&["-o", "json", "failover"]), expected);
    }

    #[test]
    fn what_is_unknown_is_refused() {
        for wrong in [
            &["nonsense"][..],
            &["-o"],
            &["-o", "yaml"],
            &["failover", "failover"],
        ] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
    }

    fn read(arguments: &[&str]) -> Option<Options> {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();

        Options::read(&arguments)
    }
}
