//! How long a file may be. Functions are clippy's to measure (`too-many-lines-threshold`).

use std::error::Error;

use crate::report::Report;
use crate::workspace::{RustFile, Workspace};

/// Measures every file; what only tests use is not counted.
pub(crate) fn check(workspace: &Workspace) -> Result<Report, Box<dyn Error>> {
    let mut report = Report::default();
    for file in workspace.files.iter().filter(|file| !file.is_test) {
        judge(file, &mut report);
    }

    Ok(report)
}

fn judge(file: &RustFile, report: &mut Report) {
    let (path, lines) = (file.path.display(), file.source.production_lines());
    if lines > FAIL_ABOVE {
        report.fault(format!(
            "{path}: {lines} production lines; {FAIL_ABOVE} is the limit"
        ));
    } else if lines > REVIEW_ABOVE {
        report.notice(format!(
            "{path}: {lines} production lines; above {REVIEW_ABOVE} a file wants to be split"
        ));
    }
}

const REVIEW_ABOVE: usize = 500;

const FAIL_ABOVE: usize = 700;

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::workspace::testing::file;

    fn judged(text: &str) -> Report {
        let mut report = Report::default();
        judge(&file("protocol", "protocol/src/id.rs", text), &mut report);
        report
    }

    #[test]
    fn the_line_after_the_limit_fails() {
        let longest = "fn f() {}\n".repeat(FAIL_ABOVE);
        assert!(judged(&longest).is_clean());

        assert_eq!(
            judged(&format!("{longest}\n")).faults(),
            ["protocol/src/id.rs: 701 production lines; 700 is the limit"]
        );
    }

    #[test]
    fn a_long_file_is_noticed() {
        assert_eq!(judged(&"\n".repeat(REVIEW_ABOVE)).notices(), [""; 0]);
        assert_eq!(judged(&"\n".repeat(REVIEW_ABOVE + 1)).notices().len(), 1);
    }

    #[test]
    fn tests_are_not_counted() {
        let tests = "    fn t() {}\n".repeat(FAIL_ABOVE);
        assert!(judged(&format!("fn f() {{}}\n#[cfg(test)]\nmod tests {{\n{tests}}}\n")).is_clean());

        let mut tests = file("sim", "tests/sim/tests/paths.rs", &"\n".repeat(FAIL_ABOVE + 1));
        tests.is_test = true;
        let workspace = Workspace {
            root: PathBuf::new(),
            packages: Vec::new(),
            files: vec![tests],
            directories: Vec::new(),
        };
        assert!(check(&workspace).unwrap().is_clean());
    }
}
