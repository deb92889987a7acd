//! What a check has to say.

use std::fmt::Write as _;

/// The findings of one check, in the order in which they were made.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    faults: Vec<String>,
    notices: Vec<String>,
}

impl Report {
    /// Adds something that must be changed before the check passes.
    pub(crate) fn fault(&mut self, text: impl Into<String>) {
        self.faults.push(text.into());
    }

    /// Adds something worth reading that fails nothing.
    pub(crate) fn notice(&mut self, text: impl Into<String>) {
        self.notices.push(text.into());
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.faults.is_empty()
    }

    /// One line for each finding, and a last line that counts them.
    pub(crate) fn render(&self, name: &str) -> String {
        let mut text = String::new();
        for notice in &self.notices {
            let _ = writeln!(text, "note: {notice}");
        }
        for fault in &self.faults {
            let _ = writeln!(text, "fault: {fault}");
        }
        let _ = match self.faults.len() {
            0 => writeln!(text, "{name}: holds"),
            1 => writeln!(text, "{name}: 1 fault"),
            many => writeln!(text, "{name}: {many} faults"),
        };
        text
    }

    #[cfg(test)]
    pub(crate) fn faults(&self) -> &[String] {
        &self.faults
    }

    #[cfg(test)]
    pub(crate) fn notices(&self) -> &[String] {
        &self.notices
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_faults_fail_a_check() {
        let mut report = Report::default();
        report.notice("long");
        assert!(report.is_clean());
        assert_eq!(report.render("sizes"), "note: long\nsizes: holds\n");

        report.fault("too long");
        assert!(!report.is_clean());
        assert_eq!(
            report.render("sizes"),
            "note: long\nfault: too long\nsizes: 1 fault\n"
        );
    }
}
