//! `gabion node`.

use std::io::{BufRead, IsTerminal};

use clap::Subcommand;
use control_api::action::Action;
use serde_json::{Map, Value, json};

use crate::cmd::relay;
use crate::failure::Failure;
use crate::output::{Column, age, column};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the nodes
    List,
    /// Show one node
    Show {
        /// A node, by name or id
        node: String,
    },
    /// Set and unset labels: `site=fra` sets, `site-` unsets
    Label {
        /// A node, by name or id
        node: String,
        /// What to set and unset; may be repeated
        #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
        labels: Vec<String>,
    },
    /// Disable nodes: they keep their identity and are nobody's neighbours
    Disable {
        /// Nodes, by name or id
        #[arg(required = true)]
        nodes: Vec<String>,
        /// Why, for the audit
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Drain a relay, or a node over which others meet: the same as `gabion relay drain`
    Drain(relay::Drain),
    /// Enable disabled or draining nodes
    Enable {
        /// Nodes, by name or id
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Revoke a node for ever
    Revoke {
        /// A node, by name or id
        node: String,
        /// Why, for the audit
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
        /// Do not ask
        #[arg(long)]
        yes: bool,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => {
            session
                .list(Action::NodeList, session.scoped(nothing()), &COLUMNS)
                .await
        }
        Command::Show { node } => {
            session
                .show(Action::NodeShow, session.scoped(json!({ "id": node })))
                .await
        }
        Command::Label { node, labels } => {
            let input = session.scoped(labelling(&node, &labels)?);
            session.show(Action::NodeLabel, input).await
        }
        Command::Disable { nodes, reason } => {
            let inputs = nodes
                .iter()
                .map(|id| session.scoped(json!({ "id": id, "reason": reason })));
            session
                .each(Action::NodeDisable, inputs.collect(), &CHANGED)
                .await
        }
        Command::Drain(asked) => relay::drain(&asked, session).await,
        Command::Enable { nodes } => {
            let inputs = nodes.iter().map(|id| session.scoped(json!({ "id": id })));
            session.each(Action::NodeEnable, inputs.collect(), &CHANGED).await
        }
        Command::Revoke { node, reason, yes } => {
            if !yes {
                confirm(
                    &node,
                    &mut std::io::stdin().lock(),
                    std::io::stdin().is_terminal(),
                )?;
            }
            let input = session.scoped(json!({ "id": node, "reason": reason }));
            session.show(Action::NodeRevoke, input).await
        }
    }
}

/// Has a person type the name of what will be gone for ever.
fn confirm(name: &str, input: &mut impl BufRead, is_terminal: bool) -> Result<(), Failure> {
    let refuse = |why: &str| {
        Failure::usage(format!("{name} was not revoked"))
            .because(why)
            .affecting("a revoked node stays out for ever; its host can only join anew")
            .fixed_by(format!("gabion node revoke {name} --yes"))
    };
    if !is_terminal {
        return Err(refuse("nobody can be asked here"));
    }
    eprint!("Revoke {name} for ever? Type its name: ");
    let mut typed = String::new();
    input
        .read_line(&mut typed)
        .map_err(|error| refuse(&error.to_string()))?;

    match typed.trim() == name {
        true => Ok(()),
        false => Err(refuse("the name that was typed is another one")),
    }
}

/// Reads `KEY=VALUE`.
pub(crate) fn pair(text: &str) -> Result<(String, String), NotAPair> {
    let (key, value) = text.split_once('=').ok_or(NotAPair)?;

    (!key.is_empty())
        .then(|| (key.to_owned(), value.to_owned()))
        .ok_or(NotAPair)
}

/// There is no `=`, or nothing before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a label has the form KEY=VALUE")]
pub(crate) struct NotAPair;

fn labelling(node: &str, changes: &[String]) -> Result<Value, Failure> {
    let (mut set, mut unset) = (Map::new(), Vec::new());
    for change in changes {
        match (pair(change), change.strip_suffix('-')) {
            (Ok((key, value)), _) => {
                set.insert(key, Value::from(value));
            }
            (Err(_), Some(key)) if !key.is_empty() => unset.push(key),
            (Err(refused), _) => {
                return Err(Failure::usage(refused.to_string())
                    .because(format!("{change:?} has neither form"))
                    .fixed_by("gabion node label NAME site=fra    or, to take it away: site-"));
            }
        }
    }

    Ok(json!({ "id": node, "set": set, "unset": unset }))
}

const COLUMNS: [Column; 12] = [
    column("NAME", "name"),
    column("STATE", "state"),
    column("ROLES", "roles"),
    column("LABELS", "labels"),
    column("CONFIG", "config_version"),
    age("SEEN", "last_seen"),
    column("ROUTES", "routes_version").wide(),
    column("EPOCH", "authority_epoch").wide(),
    column("VERSION", "agent_version").wide(),
    column("CERTIFICATE UNTIL", "certificate_not_after").wide(),
    column("ID", "id").wide(),
    column("FINGERPRINT", "fingerprint").wide(),
];

/// What a change answers with.
const CHANGED: [Column; 4] = [
    column("NAME", "name"),
    column("STATE", "state"),
    column("LABELS", "labels"),
    column("ID", "id").whole(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_set_and_unset_in_one_go() {
        let input = labelling(
            "web-01",
            &["site=fra".to_owned(), "rack-".to_owned(), "x=a-".to_owned()],
        )
        .unwrap();

        assert_eq!(
            input,
            json!({"id": "web-01", "set": {"site": "fra", "x": "a-"}, "unset": ["rack"]})
        );
        for wrong in ["site", "=fra", "-"] {
            assert!(labelling("web-01", &[wrong.to_owned()]).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_the_name_itself_confirms() {
        assert!(confirm("web-01", &mut "web-01\n".as_bytes(), true).is_ok());
        for (typed, is_terminal) in [("yes\n", true), ("", true), ("web-01\n", false)] {
            assert!(
                confirm("web-01", &mut typed.as_bytes(), is_terminal).is_err(),
                "{typed:?}"
            );
        }
    }
}
