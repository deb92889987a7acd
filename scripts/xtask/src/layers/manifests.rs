//! What every member's manifest and `clippy.toml` must say.

use std::error::Error;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use toml::{Table, Value};

use super::table::{BUDGETS, Kind, PURE_BANS_METHODS, PURE_BANS_TYPES, room};
use crate::report::Report;
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace, report: &mut Report) -> Result<(), Box<dyn Error>> {
    for package in &workspace.packages {
        let manifest = package.directory.join("Cargo.toml");
        let table = read(&workspace.root.join(&manifest))?.unwrap_or_default();
        if !inherits_lints(&table) {
            report.fault(format!(
                "{}: lacks `[lints] workspace = true`",
                manifest.display()
            ));
        }
    }
    check_clippy_file(workspace, Path::new(""), Bans::Shared, report)?;
    for package in &workspace.packages {
        let is_pure = room(&package.name).is_some_and(|room| room.kind == Kind::Pure);
        let bans = if is_pure { Bans::Pure } else { Bans::Inherited };
        check_clippy_file(workspace, &package.directory, bans, report)?;
    }

    Ok(())
}

/// What the `clippy.toml` of a directory has to ban. Clippy takes the nearest file and does not add them up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bans {
    /// The root's file, which the rooms that do I/O share.
    Shared,
    /// A file of its own, with the bans of a pure room.
    Pure,
    /// No file: it would hide the root's.
    Inherited,
}

fn check_clippy_file(
    workspace: &Workspace,
    directory: &Path,
    bans: Bans,
    report: &mut Report,
) -> Result<(), Box<dyn Error>> {
    let path = directory.join("clippy.toml");
    match (read(&workspace.root.join(&path))?, bans) {
        (None, Bans::Inherited) => {}
        (None, Bans::Shared | Bans::Pure) => report.fault(format!("{}: is missing", path.display())),
        (Some(_), Bans::Inherited) => report.fault(format!("{}: hides the root's bans", path.display())),
        (Some(clippy), _) => check_clippy(&path.display().to_string(), &clippy, bans == Bans::Pure, report),
    }

    Ok(())
}

/// The table in a file, or nothing when there is no such file.
fn read(path: &Path) -> Result<Option<Table>, Box<dyn Error>> {
    match fs::read_to_string(path) {
        Ok(text) => {
            let table = text
                .parse()
                .map_err(|cause| format!("{}: {cause}", path.display()))?;
            Ok(Some(table))
        }
        Err(cause) if cause.kind() == ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(format!("{}: {cause}", path.display()).into()),
    }
}

fn inherits_lints(manifest: &Table) -> bool {
    manifest
        .get("lints")
        .and_then(|lints| lints.get("workspace"))
        .and_then(Value::as_bool)
        == Some(true)
}

fn check_clippy(path: &str, clippy: &Table, is_pure: bool, report: &mut Report) {
    for (budget, most) in BUDGETS {
        match clippy.get(*budget).and_then(Value::as_integer) {
            Some(value) if value <= *most => {}
            _ => report.fault(format!("{path}: {budget} must be at most {most}")),
        }
    }
    if is_pure {
        check_bans(path, clippy, "disallowed-methods", PURE_BANS_METHODS, report);
        check_bans(path, clippy, "disallowed-types", PURE_BANS_TYPES, report);
    }
    for list in ["disallowed-methods", "disallowed-types"] {
        for entry in entries(clippy, list).filter(|entry| !entry.has_reason) {
            report.fault(format!("{path}: the ban of {} gives no reason", entry.path));
        }
    }
}

fn check_bans(path: &str, clippy: &Table, list: &str, wanted: &[&str], report: &mut Report) {
    for ban in wanted {
        if !entries(clippy, list).any(|entry| entry.path == *ban) {
            report.fault(format!("{path}: a pure room bans {ban} in {list}"));
        }
    }
}

struct Entry<'a> {
    path: &'a str,
    has_reason: bool,
}

fn entries<'a>(clippy: &'a Table, list: &str) -> impl Iterator<Item = Entry<'a>> {
    clippy
        .get(list)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .map(|entry| Entry {
            path: entry
                .get("path")
                .or(Some(entry))
                .and_then(Value::as_str)
                .unwrap_or_default(),
            has_reason: entry.get("reason").is_some(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::testing::{Scratch, package};

    fn faults(clippy: &str, is_pure: bool) -> Vec<String> {
        let mut report = Report::default();
        check_clippy("clippy.toml", &clippy.parse().unwrap(), is_pure, &mut report);

        report.faults().to_vec()
    }

    #[test]
    fn lints_are_inherited_or_it_is_a_fault() {
        assert!(inherits_lints(&"[lints]\nworkspace = true".parse().unwrap()));
        assert!(!inherits_lints(&"[lints]\nworkspace = false".parse().unwrap()));
        assert!(!inherits_lints(
            &"[lints.rust]\nunsafe_code = \"allow\"".parse().unwrap()
        ));
    }

    #[test]
    fn the_nearest_clippy_file_is_the_right_one() {
        let scratch = Scratch::new();
        let packages = vec![
            package("protocol", "protocol", &[]),
            package("agent-shell", "agent/shell", &[]),
        ];
        for directory in ["protocol", "agent/shell"] {
            scratch.write(&format!("{directory}/Cargo.toml"), "[lints]\nworkspace = true");
        }
        scratch.write("agent/shell/clippy.toml", BUDGET);
        let mut report = Report::default();
        check(&scratch.workspace(packages), &mut report).unwrap();

        assert_eq!(
            report.faults(),
            [
                "clippy.toml: is missing",
                "protocol/clippy.toml: is missing",
                "agent/shell/clippy.toml: hides the root's bans"
            ]
        );
    }

    #[test]
    fn budgets_may_be_tighter_never_looser() {
        let tight = "too-many-arguments-threshold = 4\ntoo-many-lines-threshold = 70";
        assert_eq!(faults(tight, false), [""; 0]);

        let loose = "too-many-arguments-threshold = 5\ntoo-many-lines-threshold = 71";
        assert_eq!(
            faults(loose, false),
            ["clippy.toml: too-many-lines-threshold must be at most 70"]
        );
        assert_eq!(faults("", false).len(), BUDGETS.len());
    }

    #[test]
    fn a_pure_room_that_lifts_a_ban_is_caught() {
        let ban = |path: &&str| format!("{{ path = \"{path}\", reason = \"a\" }}");
        let methods: Vec<String> = PURE_BANS_METHODS.iter().map(ban).collect();
        let types: Vec<String> = PURE_BANS_TYPES.iter().skip(1).map(ban).collect();
        let clippy = format!(
            "{BUDGET}\ndisallowed-methods = [{}]\ndisallowed-types = [{}]",
            methods.join(", "),
            types.join(", ")
        );

        assert_eq!(
            faults(&clippy, true),
            ["clippy.toml: a pure room bans std::fs::File in disallowed-types"]
        );
    }

    #[test]
    fn a_ban_says_why() {
        let clippy = format!("{BUDGET}\ndisallowed-types = [\"std::fs::File\"]");

        assert_eq!(
            faults(&clippy, false),
            ["clippy.toml: the ban of std::fs::File gives no reason"]
        );
    }

    const BUDGET: &str = "too-many-arguments-threshold = 5\ntoo-many-lines-threshold = 70";
}
