//! What CI checks, so that everybody can check it the same way: `cargo xtask <verb>`.

mod advisories;
mod ci;
mod layers;
mod report;
mod sizes;
mod source;
mod workspace;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;

use report::Report;
use workspace::Workspace;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["layers"] => check("layers", layers::check),
        ["sizes"] => check("sizes", sizes::check),
        ["advisories"] => check("advisories", advisories::check),
        ["advisories", file] => {
            let file = PathBuf::from(file);
            check("advisories", |workspace| {
                advisories::check_against(workspace, &file)
            })
        }
        ["ci"] => Workspace::load().and_then(|workspace| ci::run(&workspace)),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(trouble) => {
            eprintln!("xtask: {trouble}");
            ExitCode::FAILURE
        }
    }
}

/// Runs one check on this workspace, prints what it found and says whether it passed.
fn check(
    name: &str,
    check: impl FnOnce(&Workspace) -> Result<Report, Box<dyn Error>>,
) -> Result<bool, Box<dyn Error>> {
    let report = check(&Workspace::load()?)?;
    eprint!("{}", report.render(name));

    Ok(report.is_clean())
}

/// The same code as the product's command line uses for wrong usage.
const EXIT_USAGE: u8 = 2;

const USAGE: &str = "\
usage: cargo xtask <verb>

  layers              who may depend on whom, what each room may do, names, manifests
  sizes               production lines per file
  advisories [FILE]   Cargo.lock against a list of advisories, one JSON object per line
  ci                  everything above, formatting, lints, documentation and all tests";
