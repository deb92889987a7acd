//! What operators configure: a TOML file, `GABION_*` and flags, each stronger than the one before.
//!
//! A file that says something unknown is refused, with the line and the key. The environment and the flags are read
//! by the command line itself, where a flag outweighs its variable.

pub(crate) mod agent;
pub(crate) mod controller;
pub(crate) mod credential;
pub(crate) mod roles;
pub(crate) mod span;

use std::io;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;

use crate::exit::Exit;
use crate::failure::Failure;

/// Reads a configuration file: the one that was named, or the usual one if there is one.
pub(crate) fn read<T: DeserializeOwned + Default>(named: Option<&Path>, usual: &str) -> Result<T, Failure> {
    let path = named.unwrap_or_else(|| Path::new(usual));
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(parse(path, &text)?),
        Err(error) if named.is_none() && error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
        Err(source) => Err(ConfigRefused::Unreadable {
            path: path.to_owned(),
            source,
        }
        .into()),
    }
}

fn parse<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, ConfigRefused> {
    toml::from_str(text).map_err(|source| ConfigRefused::Invalid {
        path: path.to_owned(),
        source: Box::new(source),
    })
}

/// A configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigRefused {
    /// It is not TOML, has a key that means nothing, or a value of another kind.
    #[error("{} is not a valid configuration", .path.display())]
    Invalid {
        path: PathBuf,
        #[source]
        source: Box<toml::de::Error>,
    },
    /// It is not there, or may not be read.
    #[error("{} cannot be read", .path.display())]
    Unreadable {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl From<ConfigRefused> for Failure {
    fn from(refused: ConfigRefused) -> Self {
        let summary = refused.to_string();
        match refused {
            ConfigRefused::Invalid { path, source } => Self::new(Exit::Usage, "config_invalid", summary)
                .because(source.to_string().trim_end())
                .affecting("nothing was started")
                .fixed_by(format!(
                    "correct {}    (the file of the package has every setting with its default)",
                    path.display()
                )),
            ConfigRefused::Unreadable { path, source } => {
                Self::new(Exit::Usage, "config_unreadable", summary)
                    .because(source.to_string())
                    .affecting("nothing was started")
                    .fixed_by(format!("ls -l {}", path.display()))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::agent::AgentFile;
    use super::*;

    #[test]
    fn a_mistake_is_shown_with_its_line_and_key() {
        let text = "listen = \"[::]:7444\"\nlisten_on = \"[::]:1\"\n";

        let failure = Failure::from(parse::<AgentFile>(Path::new("/etc/a.toml"), text).unwrap_err());
        let shown = failure.to_string();
        assert_eq!(failure.exit, Exit::Usage);
        assert!(
            shown.contains("/etc/a.toml is not a valid configuration"),
            "{shown}"
        );
        assert!(shown.contains("line 2") && shown.contains("listen_on"), "{shown}");
    }

    #[test]
    fn a_value_of_another_kind_is_shown_with_its_line() {
        let text = "\n[enrollment]\npoll_interval = \"soon\"\n";

        let shown = parse::<AgentFile>(Path::new("a.toml"), text).unwrap_err();
        let shown = Failure::from(shown).to_string();
        assert!(shown.contains("line 3") && shown.contains("soon"), "{shown}");
    }

    #[test]
    fn the_usual_file_may_be_missing_and_a_named_one_may_not() {
        assert!(read::<AgentFile>(None, "/nowhere/agent.toml").is_ok());

        let named = read::<AgentFile>(Some(Path::new("/nowhere/agent.toml")), "/nowhere/else.toml");
        assert_eq!(
            named.err().map(|failure| failure.code),
            Some("config_unreadable".to_owned())
        );
    }
}
