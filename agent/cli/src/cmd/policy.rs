//! `gabion policy`: which pairs of nodes get a route.

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use control_api::action::Action;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::failure::Failure;
use crate::output::{Column, column};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the route policies
    List,
    /// Show one route policy
    Show { name: String },
    /// Put exactly the policies of a file into force; with none, the default holds
    Apply {
        /// TOML with `[[policies]]`, or JSON as `gabion policy list -o json` gives it; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

/// What a file may say.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyFile {
    #[serde(default)]
    policies: Vec<Policy>,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    name: String,
    #[serde(default)]
    priority: u8,
    /// A selector of labels.
    source: String,
    target: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cadence: Option<String>,
    /// In what `policy list` gives, and without meaning here.
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "read so that a list can be edited and applied")]
    id: Option<String>,
    #[serde(default, skip_serializing)]
    #[expect(dead_code, reason = "read so that a list can be edited and applied")]
    state: Option<String>,
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => {
            session
                .list(Action::PolicyList, session.scoped(nothing()), &COLUMNS)
                .await
        }
        Command::Show { name } => show(&name, session).await,
        Command::Apply { file } => {
            let policies = read(&file)?.policies;
            let input = session.scoped(json!({ "policies": policies }));
            session.list(Action::PolicyApply, input, &COLUMNS).await
        }
    }
}

async fn show(name: &str, session: &Session) -> Outcome {
    let all = session
        .call(Action::PolicyList, session.scoped(nothing()))
        .await?;
    let found = all
        .as_array()
        .into_iter()
        .flatten()
        .find(|policy| policy["name"] == name);
    let found = found.ok_or_else(|| {
        Failure::of_code(
            protocol::error::Code::NotFound,
            format!("no policy is called {name:?}"),
        )
        .fixed_by("gabion policy list")
    })?;

    session.put(&session.printer.item(found))
}

fn read(path: &Path) -> Result<PolicyFile, Failure> {
    let refuse = |why: String| Failure::usage(format!("{} holds no policies", path.display())).because(why);
    let text = match path == Path::new("-") {
        true => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
        }
        false => std::fs::read_to_string(path),
    };

    parse(&text.map_err(|error| refuse(error.to_string()))?).map_err(refuse)
}

/// JSON begins with a bracket of its own; a TOML array of tables begins with two.
fn parse(text: &str) -> Result<PolicyFile, String> {
    let start = text.trim_start();
    if start.starts_with('{') {
        return serde_json::from_str(text).map_err(|error| error.to_string());
    }
    if start.starts_with('[') && !start.starts_with("[[") {
        let policies = serde_json::from_str(text).map_err(|error| error.to_string())?;
        return Ok(PolicyFile { policies });
    }

    toml::from_str(text).map_err(|error| error.to_string())
}

const COLUMNS: [Column; 5] = [
    column("NAME", "name"),
    column("PRIORITY", "priority"),
    column("SOURCE", "source"),
    column("TARGET", "target"),
    column("CADENCE", "cadence"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn toml_json_and_what_the_list_gave_are_one() {
        let toml = "[[policies]]\nname = 'web'\npriority = 7\nsource = 'role=web'\ntarget = 'role=db'\ncadence = 'fast'\n";
        let object = r#"{"policies":[{"name":"web","priority":7,"source":"role=web","target":"role=db","cadence":"fast"}]}"#;
        let list = r#" [{"id":"web","name":"web","state":"active","priority":7,"source":"role=web","target":"role=db","cadence":"fast"}]"#;

        let expected = json!([{"name": "web", "priority": 7, "source": "role=web", "target": "role=db", "cadence": "fast"}]);
        for text in [toml, object, list] {
            assert_eq!(json!(parse(text).unwrap().policies), expected, "{text}");
        }
        assert_eq!(parse("").unwrap().policies.len(), 0);
        assert_eq!(parse("[]").unwrap().policies.len(), 0);
    }

    #[test]
    fn an_unknown_word_is_refused_with_its_line() {
        let refused =
            parse("[[policies]]\nname = 'web'\nsource = 'a=b'\ntarget = 'c=d'\nprio = 1\n").unwrap_err();

        assert!(
            refused.contains("line 5") && refused.contains("prio"),
            "{refused}"
        );
    }
}
