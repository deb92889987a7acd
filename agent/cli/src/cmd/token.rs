//! `gabion token`: the token goes to standard output, alone, so that it can be piped.

use clap::{Args, Subcommand, ValueEnum};
use control_api::action::Action;
use serde_json::{Map, Value, json};

use crate::config::span::Span;
use crate::output::{Column, column};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Create a join token; it is shown once and kept nowhere
    Create(Create),
    /// List the join tokens and their states
    List,
    /// Revoke a join token
    Revoke {
        /// The id of the token, as `gabion token list` has it
        id: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Create {
    /// What a host that joins with it does besides being a member: relay, rendezvous; may be repeated
    #[arg(long = "role", value_name = "ROLE")]
    roles: Vec<String>,
    /// A label of the hosts that join with it; may be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = super::node::pair)]
    labels: Vec<(String, String)>,
    /// How many hosts may join with it
    #[arg(long, value_name = "COUNT", default_value = "1")]
    uses: u32,
    /// How long it can be used; at most 7d
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: Span,
    /// Whether an operator approves each host
    #[arg(long, value_name = "MODE", default_value = "manual")]
    approval: Approval,
    /// Addresses outside of which it is refused; may be repeated
    #[arg(long = "source", value_name = "CIDR")]
    sources: Vec<String>,
    /// A controller to name in it, in place of those on record; may be repeated
    #[arg(long = "controller", value_name = "HOST:PORT")]
    controllers: Vec<String>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Approval {
    Manual,
    Auto,
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::Create(create) => self::create(&create, session).await,
        Command::List => {
            session
                .list(Action::TokenList, session.scoped(nothing()), &COLUMNS)
                .await
        }
        Command::Revoke { id } => {
            session
                .show(Action::TokenRevoke, session.scoped(json!({ "id": id })))
                .await
        }
    }
}

async fn create(create: &Create, session: &Session) -> Outcome {
    let labels: Map<String, Value> = create
        .labels
        .iter()
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect();
    let input = json!({
        "roles": create.roles,
        "labels": labels,
        "max_uses": create.uses,
        "ttl_seconds": create.ttl.get().as_secs(),
        "approval": match create.approval { Approval::Manual => "manual", Approval::Auto => "auto" },
        "sources": create.sources,
        "controllers": create.controllers,
    });
    let created = session.call(Action::TokenCreate, session.scoped(input)).await?;
    let shown = |key: &str| created.get(key).and_then(Value::as_str).unwrap_or_default();
    eprintln!("authority    {}", shown("fingerprint"));
    eprintln!(
        "valid until  {}, {} use(s), approval {}",
        shown("expires_at"),
        create.uses,
        shown("approval")
    );
    eprintln!("On the host that is to join, with the token in a file of mode 0600:");
    eprintln!("  gabion agent join --token-file FILE");

    session.put(&session.printer.told(&created, || format!("{}\n", shown("token"))))
}

const COLUMNS: [Column; 9] = [
    column("ID", "id").whole(),
    column("STATE", "state"),
    column("USED", "used"),
    column("OF", "max_uses"),
    column("APPROVAL", "approval"),
    column("EXPIRES", "expires_at"),
    column("ROLES", "roles").wide(),
    column("LABELS", "labels").wide(),
    column("FINGERPRINT", "fingerprint").wide(),
];
