//! Crates that must not be built for Linux, however far down somebody asks for them.

use std::collections::BTreeSet;
use std::error::Error;
use std::process::Command;

use super::table::BANNED;
use crate::report::Report;
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace, report: &mut Report) -> Result<(), Box<dyn Error>> {
    // Not `--offline`: on a fresh clone cargo must first fetch what it is to list. With everything there it asks
    // nobody.
    let output = Command::new("cargo")
        .current_dir(&workspace.root)
        .args([
            "tree",
            "--workspace",
            "--all-features",
            "--locked",
            "--prefix",
            "none",
        ])
        .args(["--edges", "normal,build", "--target", TARGET])
        .output()
        .map_err(|cause| format!("cannot run cargo: {cause}"))?;
    match output.status.success() {
        true => judge(&String::from_utf8_lossy(&output.stdout), report),
        false => report.fault(format!(
            "cargo tree failed: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )),
    }

    Ok(())
}

/// Reads a tree without indentation: a crate to a line, its name first.
fn judge(tree: &str, report: &mut Report) {
    let built: BTreeSet<&str> = tree
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    for banned in BANNED.iter().filter(|banned| built.contains(banned.name)) {
        report.fault(format!(
            "{name} is in the build: {}; `cargo tree -i {name} -e normal,build` shows who asks for it",
            banned.reason,
            name = banned.name
        ));
    }
}

/// The product runs on Linux alone.
const TARGET: &str = "x86_64-unknown-linux-gnu";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_banned_crate_far_down_is_caught() {
        let mut report = Report::default();
        judge(
            "gabion v0.1.0 (/src/agent/cli)\nrustls v0.23.46\nring v0.17.14\nring-like v1.0.0 (*)\n",
            &mut report,
        );

        assert_eq!(report.faults().len(), 1);
        assert!(report.faults()[0].starts_with("ring is in the build: aws-lc-rs is the one provider"));
    }

    #[test]
    fn a_name_that_only_starts_alike_is_free() {
        let mut report = Report::default();
        judge("ring-buffer v1.0.0\n\nstring v0.1.0\n", &mut report);

        assert!(report.is_clean());
    }
}
