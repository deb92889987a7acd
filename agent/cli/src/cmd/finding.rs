//! `gabion finding`.

use clap::Subcommand;
use control_api::action::Action;
use serde_json::json;

use crate::output::{Column, age, column};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the findings
    List,
    /// Show one finding
    Show {
        /// Its id, or the beginning of it
        id: String,
    },
    /// Acknowledge a finding
    Ack {
        /// Its id, or the beginning of it
        id: String,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => session.list(Action::FindingList, nothing(), &COLUMNS).await,
        Command::Show { id } => session.show(Action::FindingShow, json!({ "id": id })).await,
        Command::Ack { id } => session.show(Action::FindingAck, json!({ "id": id })).await,
    }
}

pub(super) const COLUMNS: [Column; 7] = [
    column("ID", "id"),
    column("WHAT", "name"),
    column("STATE", "state"),
    column("SEVERITY", "severity"),
    age("AGE", "raised_at"),
    column("SUBJECT", "subject"),
    column("DETAIL", "detail"),
];
