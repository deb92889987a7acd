//! `gabion policy`: which pairs of nodes get a route.

mod line;

use std::io::Read;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use control_api::action::Action;
use control_api::admin::{self, Flaw};
use control_api::failure::Failure as Failed;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Column, column};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the route policies
    List,
    /// Show one route policy
    Show {
        /// Its name
        name: String,
    },
    /// Put exactly the policies of a file into force; with none, the default holds
    Apply {
        /// TOML with `[[policies]]`, or JSON as `gabion policy list -o json` gives it; `-` is standard input
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Show what would change, and change nothing
        #[arg(long)]
        dry_run: bool,
        /// Let a file without policies end all that are in force
        #[arg(long)]
        yes: bool,
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
    #[serde(default, skip_serializing_if = "Option::is_none")]
    priority: Option<u8>,
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
        Command::Apply { file, dry_run, yes } => {
            let policies = read(&file)?;
            let is_empty = policies.is_empty();
            let input = session.scoped(json!({ "policies": policies }));
            match (dry_run, is_empty && !yes) {
                (true, _) => plan(input, session).await,
                (false, true) => Err(no_policies(&file)),
                (false, false) => session.list(Action::PolicyApply, input, &COLUMNS).await,
            }
        }
    }
}

/// Shows the routes that would change; on the side, for people, the sums.
async fn plan(input: Value, session: &Session) -> Outcome {
    let plan = session.call(Action::PolicyPlan, input).await?;
    eprintln!("{}", summary(&plan));
    let shifts = plan["routes"].as_array().cloned().unwrap_or_default();
    let told = session
        .printer
        .told(&plan, || session.printer.list(&shifts, &SHIFTS));

    session.put(&told)
}

fn summary(plan: &Value) -> String {
    let count = |member: &str| plan[member].as_u64().unwrap_or(0);
    let mut text = format!(
        "{} routes removed, {} moved, {} lose a standby, {} added, {} retuned; nothing was changed",
        count("removed"),
        count("moved"),
        count("lose_standby"),
        count("added"),
        count("retuned"),
    );
    let left_out = count("left_out");
    if left_out > 0 {
        text.push_str(&format!(
            "\n{left_out} pairs are selected and left out: an end has no room for more routes"
        ));
    }

    text
}

fn no_policies(file: &Path) -> Failure {
    Failure::usage(format!("{} holds no policies", file.display()))
        .because("applying it ends every policy in force, and the default joins every pair")
        .affecting("nothing was changed")
        .fixed_by(format!(
            "gabion policy apply --dry-run {0}    (what would change); gabion policy apply --yes {0}",
            file.display()
        ))
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

fn read(path: &Path) -> Result<Vec<Policy>, Failure> {
    let refuse = |why: String| {
        Failure::usage(format!("{} cannot be read as policies", path.display()))
            .because(why)
            .affecting("nothing was changed")
            .fixed_by("gabion policy list -o json    (gives the form)")
    };
    let text = match path == Path::new("-") {
        true => {
            let mut text = String::new();
            std::io::stdin().lock().read_to_string(&mut text).map(|_| text)
        }
        false => std::fs::read_to_string(path),
    };
    let text = text.map_err(|error| refuse(error.to_string()))?;
    let policies = parse(&text).map_err(refuse)?.policies;
    admin::check_policies(&json!(policies)).map_err(|flaw| refused(path, &text, flaw))?;

    Ok(policies)
}

/// The controller would say the same, but for the line.
fn refused(path: &Path, text: &str, flaw: Flaw) -> Failure {
    let line = flaw.place.and_then(|place| line::of(text, place, flaw.member));
    let at = line.map_or_else(String::new, |line| format!(":{line}"));
    let Failed {
        code,
        message,
        why,
        fix,
        ..
    } = *flaw.failure;
    let failure = Failure::of_code(code, format!("{}{at}: {message}", path.display()));
    let failure = failure.affecting("nothing was changed");
    let failure = match why {
        Some(why) => failure.because(why),
        None => failure,
    };
    let again = || {
        format!(
            "gabion policy apply --dry-run {}    (after mending it)",
            path.display()
        )
    };

    failure.fixed_by(fix.unwrap_or_else(again))
}

fn parse(text: &str) -> Result<PolicyFile, String> {
    match Form::of(text) {
        Form::Toml => toml::from_str(text).map_err(|error| error.to_string()),
        Form::Object => serde_json::from_str(text).map_err(|error| error.to_string()),
        Form::List => serde_json::from_str(text)
            .map(|policies| PolicyFile { policies })
            .map_err(|error| error.to_string()),
    }
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Toml,
    /// JSON with `policies`.
    Object,
    /// JSON, as `policy list` gives it.
    List,
}

impl Form {
    /// JSON begins with a bracket of its own; a TOML array of tables begins with two.
    fn of(text: &str) -> Self {
        let start = text.trim_start();
        if start.starts_with('{') {
            return Self::Object;
        }

        match start.starts_with('[') && !start.starts_with("[[") {
            true => Self::List,
            false => Self::Toml,
        }
    }
}

const COLUMNS: [Column; 5] = [
    column("NAME", "name"),
    column("PRIORITY", "priority"),
    column("SOURCE", "source"),
    column("TARGET", "target"),
    column("CADENCE", "cadence"),
];

const SHIFTS: [Column; 9] = [
    column("SOURCE", "source"),
    column("TARGET", "target"),
    column("CHANGE", "change"),
    column("FROM", "from"),
    column("TO", "to"),
    column("STANDBYS", "standbys_before"),
    column("AFTER", "standbys_after"),
    column("PRIORITY", "priority_before").wide(),
    column("PRIORITY AFTER", "priority_after").wide(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sums_of_a_plan_are_said_in_one_line_and_who_is_left_out_in_another() {
        let plan =
            json!({ "removed": 2, "moved": 1, "lose_standby": 3, "added": 0, "retuned": 4, "left_out": 0 });
        assert_eq!(
            summary(&plan),
            "2 routes removed, 1 moved, 3 lose a standby, 0 added, 4 retuned; nothing was changed"
        );
        assert!(summary(&json!({ "left_out": 7 })).contains("\n7 pairs are selected and left out"));
    }

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
    fn what_a_policy_cannot_mean_is_refused_with_its_line() {
        let good = "[[policies]]\nname = 'web'\nsource = 'a=b'\ntarget = '*'\n";
        let cases = [
            (
                "name = 'x'\nsource = '*'\ntarget = 'site'\n",
                9,
                "the target \"site\"",
            ),
            (
                "cadence = 'often'\nname = 'x'\nsource = '*'\ntarget = '*'\n",
                7,
                "the cadence",
            ),
            (
                "name = 'web'\nsource = '*'\ntarget = '*'\n",
                7,
                "the name of another",
            ),
        ];
        for (second, line, said) in cases {
            let text = format!("{good}\n[[policies]]\n{second}");
            let flaw = admin::check_policies(&json!(parse(&text).unwrap().policies)).unwrap_err();
            let refused = refused(Path::new("mesh.toml"), &text, flaw);

            assert_eq!(refused.exit, crate::exit::Exit::Usage);
            let place = format!("mesh.toml:{line}: policy 2");
            assert!(refused.summary.starts_with(&place), "{}", refused.summary);
            assert!(refused.summary.contains(said), "{}", refused.summary);
        }
    }

    #[test]
    fn json_is_refused_with_its_line_as_well() {
        let list = "[\n {\"name\": \"web\", \"source\": \"a=b\", \"target\": \"*\"},\n {\n  \"name\": \"x\",\n  \"source\": \"*\",\n  \"target\":\n   \"site\"\n }\n]\n";
        let object = format!("{{\"policies\":\n{list}}}");
        for (text, line) in [(list, 7), (&object, 8)] {
            let flaw = admin::check_policies(&json!(parse(text).unwrap().policies)).unwrap_err();
            let refused = refused(Path::new("mesh.json"), text, flaw);

            let place = format!("mesh.json:{line}: policy 2");
            assert!(refused.summary.starts_with(&place), "{}", refused.summary);
        }
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
