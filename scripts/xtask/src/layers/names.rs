//! Names that say nothing about what is inside.

use std::path::Path;

use super::table::EMPTY_NAMES;
use crate::report::Report;
use crate::workspace::Workspace;

pub(super) fn check(workspace: &Workspace, report: &mut Report) {
    for package in &workspace.packages {
        if is_empty(&package.name) {
            report.fault(format!(
                "crate {}: the name says nothing about what is inside",
                package.name
            ));
        }
    }
    let files = workspace.files.iter().map(|file| file.path.as_path());
    for path in workspace.directories.iter().map(AsRef::as_ref).chain(files) {
        if is_empty(stem(path)) {
            report.fault(format!(
                "{}: the name says nothing about what is inside",
                path.display()
            ));
        }
    }
}

fn stem(path: &Path) -> &str {
    path.file_stem()
        .and_then(|stem| stem.to_str())
        .unwrap_or_default()
}

/// `util`, `wire_util` and `WireUtil` say nothing; `base32` and `common_name` do.
fn is_empty(name: &str) -> bool {
    let last_word = name.rsplit(['_', '-', '.']).next().unwrap_or(name).to_lowercase();

    EMPTY_NAMES.contains(&last_word.as_str())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::workspace::testing::{file, package};

    #[test]
    fn crates_directories_and_files_are_judged() {
        let workspace = Workspace {
            root: PathBuf::new(),
            packages: vec![package("agent-common", "agent/shared", &[])],
            files: vec![
                file("protocol", "protocol/src/base32.rs", ""),
                file("protocol", "protocol/src/utils.rs", ""),
            ],
            directories: vec![PathBuf::from("tests/helpers"), PathBuf::from("tests/sim")],
        };
        let mut report = Report::default();
        check(&workspace, &mut report);

        let named: Vec<&str> = report
            .faults()
            .iter()
            .filter_map(|fault| fault.split(':').next())
            .collect();
        assert_eq!(
            named,
            ["crate agent-common", "tests/helpers", "protocol/src/utils.rs"]
        );
    }

    #[test]
    fn the_last_word_decides() {
        assert!(is_empty("key_manager"));
        assert!(is_empty("wire-util"));
        assert!(is_empty("Misc"));
        assert!(!is_empty("common_name"));
        assert!(!is_empty("database"));
        assert!(!is_empty("lease"));
    }
}
