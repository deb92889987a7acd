//! Whom commands talk to and as whom: a file of named contexts, which nobody needs on a controller's own host.
//!
//! ```toml
//! current = "lab"
//!
//! [contexts.lab]
//! socket = "/var/lib/gabion/controller/admin.sock"
//! operator = "d4mzq…"
//! cluster = "lab"
//! ```

use std::collections::BTreeMap;
use std::path::PathBuf;

use protocol::id::OperatorId;
use serde::Deserialize;

use crate::config;
use crate::failure::Failure;

/// One way to a controller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Context {
    pub(crate) socket: Option<PathBuf>,
    /// Who acts; the first owner when nobody is named.
    pub(crate) operator: Option<OperatorId>,
    pub(crate) cluster: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ContextsFile {
    current: Option<String>,
    contexts: BTreeMap<String, Context>,
}

/// The context called `named`, or the current one, or one that says nothing.
pub(crate) fn choose(named: Option<&str>) -> Result<Context, Failure> {
    let path = path();
    let file: ContextsFile = match &path {
        Some(path) => config::read(path.is_file().then_some(path.as_path()), NOWHERE)?,
        None => ContextsFile::default(),
    };

    file.choose(named)
}

impl ContextsFile {
    fn choose(mut self, named: Option<&str>) -> Result<Context, Failure> {
        let Some(name) = named.map(str::to_owned).or(self.current) else {
            return Ok(Context::default());
        };

        self.contexts.remove(&name).ok_or_else(|| {
            let known = self.contexts.into_keys().collect::<Vec<_>>().join(", ");
            Failure::usage(format!("there is no context called {name:?}"))
                .because(format!("the contexts file has: {known}"))
        })
    }
}

fn path() -> Option<PathBuf> {
    let of_variable = std::env::var_os("GABION_CONTEXTS").map(PathBuf::from);
    let configured = || std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config"));

    of_variable.or_else(|| Some(configured().or_else(home)?.join("gabion/contexts.toml")))
}

/// A file that is never there, for when there is none.
const NOWHERE: &str = "/nonexistent";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outweighs_the_current_context() {
        assert_eq!(file().choose(None).unwrap().cluster.as_deref(), Some("one"));
        assert_eq!(file().choose(Some("b")).unwrap().cluster.as_deref(), Some("two"));
        assert_eq!(ContextsFile::default().choose(None).unwrap(), Context::default());
    }

    #[test]
    fn an_unknown_name_is_told_the_known_ones() {
        let failure = file().choose(Some("c")).unwrap_err();

        assert!(
            failure.to_string().contains("the contexts file has: a, b"),
            "{failure}"
        );
    }

    fn file() -> ContextsFile {
        toml::from_str("current = 'a'\n[contexts.a]\ncluster = 'one'\n[contexts.b]\ncluster = 'two'\n")
            .unwrap()
    }
}
