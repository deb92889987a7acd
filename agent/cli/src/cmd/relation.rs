//! Nouns that are only looked at: operators, links, leases.

use clap::Subcommand;
use control_api::action::Action;
use serde_json::json;

use crate::output::{Column, column, lapse};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum OperatorCommand {
    /// List the operators and their effective roles
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LinkCommand {
    /// List the links between nodes as their ends report them
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LeaseCommand {
    /// List the leases: rights of relays to carry a pair, and of other nodes to let one meet
    List {
        /// Only those over this node: by name or id
        #[arg(long, value_name = "NODE")]
        relay: Option<String>,
    },
    /// Show one lease
    Show {
        /// Its id, or the beginning that no other lease has: 4 characters or more
        id: String,
    },
}

pub(crate) async fn operator(command: OperatorCommand, session: &Session) -> Outcome {
    match command {
        OperatorCommand::List => session.list(Action::OperatorList, nothing(), &OPERATORS).await,
    }
}

pub(crate) async fn link(command: LinkCommand, session: &Session) -> Outcome {
    match command {
        LinkCommand::List => {
            session
                .list(Action::LinkList, session.scoped(nothing()), &LINKS)
                .await
        }
    }
}

pub(crate) async fn lease(command: LeaseCommand, session: &Session) -> Outcome {
    match command {
        LeaseCommand::List { relay } => {
            let input = relay.map_or_else(nothing, |relay| json!({ "relay": relay }));
            session
                .list(Action::LeaseList, session.scoped(input), &LEASES)
                .await
        }
        LeaseCommand::Show { id } => {
            session
                .show(Action::LeaseShow, session.scoped(json!({ "id": id })))
                .await
        }
    }
}

pub(super) const OPERATORS: [Column; 5] = [
    column("NAME", "name"),
    column("STATE", "state"),
    column("ROLES", "roles"),
    column("FINGERPRINT", "fingerprint").whole(),
    column("ID", "id").wide(),
];

pub(super) const LINKS: [Column; 11] = [
    column("SOURCE", "source"),
    column("TARGET", "target"),
    column("STATE", "state"),
    column("WHAT", "observation"),
    column("RELAY", "relay"),
    column("RTT MS", "rtt_ms"),
    column("LOSS", "loss"),
    column("DRIFT", "drift"),
    column("EXPECTED", "effective_path").wide(),
    column("OBSERVED", "observed_path").wide(),
    lapse("AGE", "age_ms"),
];

pub(super) const LEASES: [Column; 15] = [
    column("ID", "id").whole(),
    column("STATE", "state"),
    column("KIND", "kind"),
    column("RELAY", "relay"),
    column("SOURCE", "source"),
    column("TARGET", "target"),
    column("GEN", "generation"),
    column("FRAMES", "forwarded"),
    column("REFUSED", "refused"),
    column("BYTES", "forwarded_bytes").wide(),
    lapse("TOLD", "told_ms").wide(),
    column("KIB/S", "budget_kib").wide(),
    column("FRESH", "fresh_at").wide(),
    column("GRACE UNTIL", "grace_ends_at").wide(),
    column("GRANTED", "granted_at").wide(),
];
