//! `gabion.toml`: both roles in one file, for `gabion run`.

use clap::{Args, FromArgMatches};
use serde::Deserialize;

use super::agent::{AgentFile, AgentFlags};
use super::controller::{ControllerFile, ControllerFlags};
use crate::failure::Failure;

/// A role runs when its table is there, however empty.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RolesFile {
    pub(crate) agent: Option<AgentFile>,
    pub(crate) controller: Option<ControllerFile>,
}

/// What the environment says to both roles: their flags, as if nothing stood on the command line.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Surroundings {
    #[command(flatten)]
    pub(crate) agent: AgentFlags,
    #[command(flatten)]
    pub(crate) controller: ControllerFlags,
}

impl Surroundings {
    pub(crate) fn read() -> Result<Self, Failure> {
        let command = Self::augment_args(clap::Command::new("gabion run").no_binary_name(true));
        let matches = command.try_get_matches_from(std::iter::empty::<&str>());

        matches
            .and_then(|matches| Self::from_arg_matches(&matches))
            .map_err(|error| Failure::usage("a GABION_* variable cannot be used").because(error.to_string()))
    }
}

/// Where the packages put the file.
pub(crate) const USUAL_FILE: &str = "/etc/gabion/gabion.toml";

/// A packaged file with every line that it only shows in force.
#[cfg(test)]
pub(crate) fn uncommented(text: &str) -> String {
    let lines = text.lines().map(|line| match line.strip_prefix('#') {
        Some(shown) if !shown.starts_with(' ') => shown,
        Some(_) | None => line,
    });

    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_runs_when_its_table_is_there() {
        let file: RolesFile = toml::from_str("[agent]\n").unwrap();

        assert!(file.agent.is_some() && file.controller.is_none());
        assert!(toml::from_str::<RolesFile>("[relay]\n").is_err());
    }

    #[test]
    fn the_packaged_file_has_both_roles() {
        let file: RolesFile = toml::from_str(PACKAGED).unwrap();

        assert!(file.agent.is_some() && file.controller.is_some());
    }

    const PACKAGED: &str = include_str!("../../../../packaging/etc/gabion.toml");
}
