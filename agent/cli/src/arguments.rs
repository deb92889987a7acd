//! The command line.

use std::path::PathBuf;

use clap::{Args, ColorChoice, Parser, Subcommand};

use crate::cmd::{
    self, agent, audit, cluster, controller, finding, installation, node, policy, relation, relay, role,
};
use crate::cmd::{request, root, route, token};
use crate::config::span::Span;
use crate::output::Format;

/// A mesh node agent with an embedded control plane
#[derive(Debug, Parser)]
#[command(name = "gabion", version, color = ColorChoice::Never, propagate_version = false, max_term_width = 100)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// What every command understands.
#[derive(Clone, Debug, Args)]
pub(crate) struct Globals {
    /// The form of the result
    #[arg(
        short = 'o',
        long,
        global = true,
        value_name = "FORM",
        default_value = "table"
    )]
    pub(crate) output: Format,
    /// The controller's admin socket
    #[arg(long, global = true, env = "GABION_SOCKET", value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The agent's local socket
    #[arg(long, global = true, env = "GABION_AGENT_SOCKET", value_name = "PATH")]
    pub(crate) agent_socket: Option<PathBuf>,
    /// The cluster that is meant, by name or id; needed when there are several
    #[arg(long, global = true, env = "GABION_CLUSTER", value_name = "NAME")]
    pub(crate) cluster: Option<String>,
    /// The context to take from the contexts file
    #[arg(long, global = true, env = "GABION_CONTEXT", value_name = "NAME")]
    pub(crate) context: Option<String>,
    /// How long to wait for an answer
    #[arg(
        long,
        global = true,
        env = "GABION_TIMEOUT",
        value_name = "TIME",
        default_value = "30s"
    )]
    pub(crate) timeout: Span,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The product root: offline keys and what they sign
    #[command(subcommand)]
    Root(root::Command),
    /// The controller on this host
    #[command(subcommand)]
    Controller(controller::Command),
    /// The agent on this host
    #[command(subcommand)]
    Agent(agent::Command),
    /// Run whichever roles the configuration names
    Run(cmd::run::Options),
    /// The installation: mode, product root, first owner
    #[command(subcommand)]
    Installation(installation::Command),
    /// People and automation
    #[command(subcommand)]
    Operator(relation::OperatorCommand),
    /// Signed rights of operators
    #[command(subcommand)]
    Role(role::Command),
    /// Clusters
    #[command(subcommand)]
    Cluster(cluster::Command),
    /// The signer of a cluster
    #[command(subcommand)]
    Authority(cluster::AuthorityCommand),
    /// Join tokens
    #[command(subcommand)]
    Token(token::Command),
    /// Hosts that ask to join
    #[command(subcommand)]
    Request(request::Command),
    /// Nodes
    #[command(subcommand)]
    Node(node::Command),
    /// Links between nodes
    #[command(subcommand)]
    Link(relation::LinkCommand),
    /// What may need a human
    #[command(subcommand)]
    Finding(finding::Command),
    /// Which pairs of nodes get a route
    #[command(subcommand)]
    Policy(policy::Command),
    /// Routes and the decisions behind them
    #[command(subcommand)]
    Route(route::Command),
    /// Relays
    #[command(subcommand)]
    Relay(relay::Command),
    /// Rights of relays to carry a pair, and of other nodes to let one meet
    #[command(subcommand)]
    Lease(relation::LeaseCommand),
    /// Say which step between two nodes fails
    Why(route::Pair),
    /// Send test frames from this host's agent to another node, and say how the path carries probes meanwhile
    Ping(cmd::ping::Options),
    /// Everything on one screen
    Status,
    /// The record of every change
    #[command(subcommand)]
    Audit(audit::Command),
    /// Write a consistent copy of the store while it is in use
    Backup(cmd::backup::Options),
    /// Print a signed document, a token or a state file as JSON, and say what verifies
    Inspect(cmd::inspect::Options),
    /// Everything on one machine, thrown away afterwards
    Demo(cmd::demo::Options),
    /// Say which version this is
    Version,
}

impl Command {
    /// Whether this runs until it is asked to stop.
    pub(crate) const fn is_service(&self) -> bool {
        matches!(
            self,
            Self::Agent(agent::Command::Run(_))
                | Self::Controller(controller::Command::Run(_))
                | Self::Run(_)
        )
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use control_api::action::Action;

    use super::*;

    #[test]
    fn the_command_line_contradicts_itself_nowhere() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_public_key_that_begins_with_a_hyphen_is_no_flag() {
        let mut commands = vec![Arguments::command()];
        let mut keys = 0;
        while let Some(command) = commands.pop() {
            for argument in command.get_arguments() {
                let named = argument.get_value_names().unwrap_or_default();
                if named.iter().any(|name| name == "PUBLIC_KEY") {
                    keys += 1;
                    let flag = argument.get_long();
                    assert!(
                        argument.is_allow_hyphen_values_set(),
                        "{} {flag:?}",
                        command.get_name()
                    );
                }
            }
            commands.extend(command.get_subcommands().cloned());
        }

        assert!(keys >= 4, "{keys}");
    }

    #[test]
    fn no_help_text_is_empty() {
        let (mut commands, mut empty, mut seen) = (vec![Arguments::command()], Vec::new(), 0);
        while let Some(command) = commands.pop() {
            let is_empty = |text: Option<&clap::builder::StyledStr>| {
                text.is_none_or(|text| text.to_string().trim().is_empty())
            };
            if is_empty(command.get_about()) {
                empty.push(command.get_name().to_owned());
            }
            for argument in command.get_arguments() {
                seen += 1;
                if is_empty(argument.get_help()) {
                    empty.push(format!("{} {}", command.get_name(), argument.get_id()));
                }
            }
            commands.extend(command.get_subcommands().cloned());
        }

        assert_eq!(empty, Vec::<String>::new());
        assert!(seen > 100, "{seen}");
    }

    #[test]
    fn every_action_has_its_command() {
        let command = Arguments::command();
        for action in Action::ALL {
            let mut found = &command;
            for word in action.command().split(' ') {
                match word.strip_prefix("--") {
                    Some(flag) => assert!(
                        found.get_arguments().any(|known| known.get_long() == Some(flag)),
                        "gabion {}",
                        action.command()
                    ),
                    None => {
                        let next = found.find_subcommand(word);
                        found = next.unwrap_or_else(|| panic!("gabion {}", action.command()));
                    }
                }
            }
        }
    }

    #[test]
    fn no_flag_takes_a_secret() {
        fn check(command: &clap::Command) {
            for argument in command.get_arguments() {
                let name = argument.get_id().as_str();
                let takes_path = argument.get_value_names().is_some_and(|names| {
                    names
                        .iter()
                        .any(|name| ["FILE", "PUBLIC_KEY", "KEY"].contains(&name.as_str()))
                });
                let secret = ["token", "secret", "password"]
                    .iter()
                    .any(|word| name.ends_with(word));
                assert!(!secret, "{} --{name}", command.get_name());
                assert!(
                    !name.ends_with("key") || takes_path,
                    "{} --{name}",
                    command.get_name()
                );
            }
            command.get_subcommands().for_each(check);
        }

        check(&Arguments::command());
    }
}
