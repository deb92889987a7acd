//! Everything that must hold before a change goes in, cheapest first.

use std::error::Error;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::report::Report;
use crate::workspace::Workspace;
use crate::{advisories, layers, sizes};

/// Runs every step until one fails, and says whether all passed.
pub(crate) fn run(workspace: &Workspace) -> Result<bool, Box<dyn Error>> {
    let tools = Tools {
        has_deny: answers("deny --version"),
        has_nextest: answers("nextest --version"),
    };
    if !tools.has_deny {
        eprintln!(
            "note: bans, licences and sources go unchecked without `cargo install cargo-deny --locked`"
        );
    }
    if !tools.has_nextest {
        eprintln!("note: tests have no time limit without `cargo install cargo-nextest --locked`");
    }

    run_steps(&steps(&tools), workspace)
}

/// What is installed beside cargo itself.
#[derive(Debug)]
struct Tools {
    has_deny: bool,
    has_nextest: bool,
}

/// Whether cargo can do this.
fn answers(args: &str) -> bool {
    let status = Command::new("cargo")
        .args(args.split_whitespace())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();

    status.is_ok_and(|status| status.success())
}

struct Step {
    name: &'static str,
    work: Work,
}

enum Work {
    /// One of our own checks.
    Check(fn(&Workspace) -> Result<Report, Box<dyn Error>>),
    /// A program, its arguments separated by spaces, and one variable of its environment.
    Run {
        line: &'static str,
        variable: Option<(&'static str, &'static str)>,
    },
}

fn steps(tools: &Tools) -> Vec<Step> {
    let run = |name, line| Step {
        name,
        work: Work::Run { line, variable: None },
    };
    let mut steps = vec![
        run("format", "cargo fmt --all --check"),
        Step {
            name: "layers",
            work: Work::Check(layers::check),
        },
        Step {
            name: "sizes",
            work: Work::Check(sizes::check),
        },
        Step {
            name: "advisories",
            work: Work::Check(advisories::check),
        },
    ];
    if tools.has_deny {
        steps.push(run("deny", "cargo deny check bans licenses sources"));
    }
    steps.push(run(
        "clippy",
        "cargo clippy --workspace --all-targets --locked -- -D warnings",
    ));
    steps.push(Step {
        name: "documentation",
        work: Work::Run {
            line: "cargo doc --workspace --no-deps --document-private-items --locked",
            variable: Some(("RUSTDOCFLAGS", "-D warnings")),
        },
    });
    // The tests that start the product need its binary, which no test build makes.
    steps.push(run("binaries", "cargo build --workspace --bins --locked"));
    steps.push(run("references", "bash docs/check.sh target/debug/gabion"));
    steps.push(match tools.has_nextest {
        true => run("tests", "cargo nextest run --workspace --locked --profile ci"),
        false => run("tests", "cargo test --workspace --lib --bins --tests --locked"),
    });
    steps.push(run("examples", "cargo test --workspace --doc --locked"));

    steps
}

fn run_steps(steps: &[Step], workspace: &Workspace) -> Result<bool, Box<dyn Error>> {
    let started = Instant::now();
    for (index, step) in steps.iter().enumerate() {
        eprintln!(
            "==> {}/{} {}: {}",
            index + 1,
            steps.len(),
            step.name,
            step.describe()
        );
        let step_started = Instant::now();
        let passed = step.run(workspace)?;
        eprintln!(
            "    {} took {:.1} s",
            step.name,
            step_started.elapsed().as_secs_f64()
        );
        if !passed {
            eprintln!("ci: {} failed", step.name);
            return Ok(false);
        }
    }
    eprintln!(
        "ci: {} steps passed in {:.0} s",
        steps.len(),
        started.elapsed().as_secs_f64()
    );

    Ok(true)
}

impl Step {
    /// What to type to run this step alone.
    fn describe(&self) -> String {
        match &self.work {
            Work::Check(_) => format!("cargo xtask {}", self.name),
            Work::Run { line, variable: None } => (*line).to_owned(),
            Work::Run {
                line,
                variable: Some((name, value)),
            } => format!("{name}=\"{value}\" {line}"),
        }
    }

    fn run(&self, workspace: &Workspace) -> Result<bool, Box<dyn Error>> {
        match &self.work {
            Work::Check(check) => {
                let report = check(workspace)?;
                eprint!("{}", report.render(self.name));

                Ok(report.is_clean())
            }
            Work::Run { line, variable } => {
                let mut words = line.split_whitespace();
                let program = words.next().ok_or("a step without a program")?;
                let status = Command::new(program)
                    .args(words)
                    .envs(*variable)
                    .current_dir(&workspace.root)
                    .status()
                    .map_err(|cause| format!("cannot run {program}: {cause}"))?;

                Ok(status.success())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn here() -> Workspace {
        Workspace {
            root: PathBuf::from("."),
            packages: Vec::new(),
            files: Vec::new(),
            directories: Vec::new(),
        }
    }

    fn step(line: &'static str) -> Step {
        Step {
            name: "step",
            work: Work::Run { line, variable: None },
        }
    }

    fn unreachable_check(_: &Workspace) -> Result<Report, Box<dyn Error>> {
        Err("a step after the failed one ran".into())
    }

    fn failing_check(_: &Workspace) -> Result<Report, Box<dyn Error>> {
        let mut report = Report::default();
        report.fault("broken");
        Ok(report)
    }

    #[test]
    fn the_first_failure_ends_the_run() {
        let never = || Step {
            name: "never",
            work: Work::Check(unreachable_check),
        };
        assert!(matches!(
            run_steps(&[step("true"), step("false"), never()], &here()),
            Ok(false)
        ));

        let check = Step {
            name: "check",
            work: Work::Check(failing_check),
        };
        assert!(matches!(run_steps(&[check, never()], &here()), Ok(false)));
        assert!(run_steps(&[never()], &here()).is_err());
    }

    #[test]
    fn all_steps_must_pass() {
        assert!(matches!(
            run_steps(&[step("true"), step("true")], &here()),
            Ok(true)
        ));
    }

    #[test]
    fn a_program_that_is_not_there_is_no_pass() {
        assert!(run_steps(&[step("no-such-program-anywhere")], &here()).is_err());
    }

    #[test]
    fn a_step_sees_its_variable() {
        let work = Work::Run {
            line: "printenv XTASK_STEP",
            variable: Some(("XTASK_STEP", "1")),
        };
        assert!(matches!(
            run_steps(&[Step { name: "step", work }], &here()),
            Ok(true)
        ));
        assert!(matches!(
            run_steps(&[step("printenv XTASK_STEP")], &here()),
            Ok(false)
        ));
    }

    #[test]
    fn the_commands_in_the_documentation_are_checked_against_the_binary_that_was_built() {
        let steps = steps(&Tools {
            has_deny: true,
            has_nextest: true,
        });
        let place = |name| steps.iter().position(|step| step.name == name);

        assert!(place("references") > place("binaries"));
        let references = steps.iter().find(|step| step.name == "references");
        assert_eq!(
            references.map(Step::describe).as_deref(),
            Some("bash docs/check.sh target/debug/gabion")
        );
    }

    #[test]
    fn nothing_is_left_out_when_tools_are_missing_but_what_needs_them() {
        let names = |has_deny, has_nextest| -> Vec<&str> {
            steps(&Tools {
                has_deny,
                has_nextest,
            })
            .iter()
            .map(|step| step.name)
            .collect()
        };

        let without = names(false, false);
        assert_eq!(
            names(true, true)
                .into_iter()
                .filter(|name| *name != "deny")
                .collect::<Vec<_>>(),
            without
        );
        assert_eq!(names(false, true), without);
        assert!(without.contains(&"tests"));
    }
}
