//! A command line that cannot be understood, in the form that every other error has.

use clap::error::ErrorKind;

use crate::failure::Failure;

/// What the parser's own words are in ours; none if it was only asked for help or for the version.
pub(crate) fn refused(error: &clap::Error) -> Option<Failure> {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return None;
    }
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Some(incomplete(error));
    }
    let text = error.render().to_string();
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("For more information"));
    let summary = lines.next().unwrap_or("the command line cannot be understood");
    let lines: Vec<&str> = lines.collect();
    let usage = lines.iter().position(|line| line.starts_with("Usage:"));
    let (why, usage) = lines.split_at(usage.unwrap_or(lines.len()));
    let usage = usage.join("\n");
    let why = match why.is_empty() {
        true => usage.clone(),
        false => why.join("\n"),
    };

    Some(
        Failure::usage(summary.trim_start_matches("error:").trim())
            .because(if why.is_empty() { PARSER.to_owned() } else { why })
            .affecting(NOTHING)
            .fixed_by(help_of(&usage)),
    )
}

fn incomplete(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let usage = text
        .lines()
        .find(|line| line.starts_with("Usage:"))
        .unwrap_or_default();

    Failure::usage("the command is not complete")
        .because(usage)
        .affecting(NOTHING)
        .fixed_by(help_of(usage))
}

/// The command that explains the command of a line such as `Usage: gabion node list [OPTIONS]`.
fn help_of(usage: &str) -> String {
    let is_word = |word: &&str| {
        word.chars()
            .all(|letter| letter.is_ascii_lowercase() || letter == '-')
    };
    let words: Vec<&str> = usage
        .trim_start_matches("Usage:")
        .split_whitespace()
        .take_while(|word| !word.starts_with('-') && is_word(word))
        .collect();
    let command = if words.is_empty() {
        "gabion".to_owned()
    } else {
        words.join(" ")
    };

    format!("{command} --help")
}

const NOTHING: &str = "nothing was done";
const PARSER: &str = "a word or a flag of it is not one that gabion knows";

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::arguments::Arguments;

    #[test]
    fn a_wrong_command_line_is_told_in_the_form_of_every_error() {
        let told = told(&["gabion", "node", "list", "--wide"]);

        assert!(
            told.starts_with("error[usage]: unexpected argument '--wide' found\n  why     "),
            "{told}"
        );
        assert!(told.contains("\n  effect  nothing was done\n"), "{told}");
        assert!(told.ends_with("\n  fix     gabion node list --help"), "{told}");
    }

    #[test]
    fn a_typing_error_is_told_with_what_was_probably_meant() {
        assert!(told(&["gabion", "nod", "list"]).contains("a similar subcommand exists: 'node'"));
    }

    #[test]
    fn a_command_without_its_verb_is_sent_to_its_help() {
        for (line, fix) in [
            (vec!["gabion"], "gabion --help"),
            (vec!["gabion", "node"], "gabion node --help"),
        ] {
            let told = told(&line);
            assert!(
                told.starts_with("error[usage]: the command is not complete\n"),
                "{told}"
            );
            assert!(told.ends_with(&format!("fix     {fix}")), "{told}");
        }
    }

    #[test]
    fn help_and_version_are_no_errors() {
        for flag in ["--help", "--version"] {
            assert_eq!(
                refused(&Arguments::try_parse_from(["gabion", flag]).unwrap_err()),
                None
            );
        }
    }

    fn told(line: &[&str]) -> String {
        let error = Arguments::try_parse_from(line).unwrap_err();

        refused(&error).expect("an error").to_string()
    }
}
