//! `gabion request`: hosts that ask to join.

use clap::Subcommand;
use control_api::action::Action;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Column, age, column};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the join requests
    List,
    /// Show one join request with its fingerprint and host facts
    Show {
        /// Its id, or the name it asks for
        request: String,
    },
    /// Approve join requests: certificate and contract are signed
    Approve {
        /// Their ids, or the names they ask for
        #[arg(required = true)]
        requests: Vec<String>,
        /// Give the node another name than it asks for
        #[arg(long)]
        name: Option<String>,
        /// Approve only if this is the fingerprint of the key that asks, as the host itself shows it
        #[arg(long, value_name = "SHA256:...")]
        fingerprint: Option<String>,
    },
    /// Reject join requests
    Reject {
        /// Their ids, or the names they ask for
        #[arg(required = true)]
        requests: Vec<String>,
        /// What the host is told
        #[arg(long, default_value = "")]
        reason: String,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => {
            session
                .list(Action::RequestList, session.scoped(nothing()), &COLUMNS)
                .await
        }
        Command::Show { request } => {
            session
                .show(Action::RequestShow, session.scoped(json!({ "id": request })))
                .await
        }
        Command::Approve {
            requests,
            name,
            fingerprint,
        } => approve(&requests, name, fingerprint, session).await,
        Command::Reject { requests, reason } => {
            let inputs = requests
                .iter()
                .map(|id| session.scoped(json!({ "id": id, "reason": reason })));
            session
                .each(Action::RequestReject, inputs.collect(), &COLUMNS)
                .await
        }
    }
}

async fn approve(
    requests: &[String],
    name: Option<String>,
    fingerprint: Option<String>,
    session: &Session,
) -> Outcome {
    if requests.len() > 1 && (name.is_some() || fingerprint.is_some()) {
        return Err(Failure::usage(
            "--name and --fingerprint are for one request at a time",
        ));
    }
    let inputs = requests
        .iter()
        .map(|id| session.scoped(approval(id, name.as_deref(), fingerprint.as_deref())));

    session
        .each(Action::RequestApprove, inputs.collect(), &COLUMNS)
        .await
}

/// The fingerprint goes along: the controller compares it in the transaction that approves.
fn approval(request: &str, name: Option<&str>, fingerprint: Option<&str>) -> Value {
    let mut input = json!({ "id": request });
    if let Some(name) = name {
        input["name"] = name.into();
    }
    if let Some(fingerprint) = fingerprint {
        input["fingerprint"] = fingerprint.into();
    }

    input
}

const COLUMNS: [Column; 11] = [
    column("NAME", "name"),
    column("STATE", "state"),
    column("FINGERPRINT", "fingerprint").whole(),
    age("AGE", "created_at"),
    column("HOST", "hostname").wide(),
    column("FROM", "source").wide(),
    column("ROLES", "roles").wide(),
    column("LABELS", "labels").wide(),
    column("ID", "id").wide(),
    column("TOKEN", "token").wide(),
    column("AUTHORITY", "authority_fingerprint").wide(),
];
