//! `gabion cluster` and `gabion authority`.

use clap::Subcommand;
use control_api::action::Action;
use serde_json::json;

use crate::output::{Column, column};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a cluster with its authority and issuing CAs
    Create {
        /// What to call it; no other cluster of the installation may have the name
        name: String,
    },
    /// List the clusters
    List,
    /// Show one cluster
    Show {
        /// Its name or id; may be left out when there is one
        name: Option<String>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuthorityCommand {
    /// Show a cluster's authority: epoch, key, fingerprint
    Show,
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::Create { name } => session.show(Action::ClusterCreate, json!({ "name": name })).await,
        Command::List => session.list(Action::ClusterList, nothing(), &COLUMNS).await,
        Command::Show { name: Some(name) } => {
            session
                .show(Action::ClusterShow, json!({ "cluster": name }))
                .await
        }
        Command::Show { name: None } => session.show(Action::ClusterShow, session.scoped(nothing())).await,
    }
}

pub(crate) async fn authority(command: AuthorityCommand, session: &Session) -> Outcome {
    match command {
        AuthorityCommand::Show => {
            session
                .show(Action::AuthorityShow, session.scoped(nothing()))
                .await
        }
    }
}

pub(super) const COLUMNS: [Column; 6] = [
    column("NAME", "name"),
    column("STATE", "state"),
    column("EPOCH", "authority_epoch").wide(),
    column("NODES", "nodes"),
    column("FINGERPRINT", "fingerprint").whole(),
    column("ID", "id").wide(),
];
