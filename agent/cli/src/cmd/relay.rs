//! `gabion relay`.

use std::time::Duration;

use clap::{Args, Subcommand};
use control_api::action::Action;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::config::span::Span;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, age, column};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List the relays with their loads
    List,
    /// Show one relay, or a node over which others meet
    Show {
        /// A node, by name or id
        node: String,
    },
    /// Move what a relay carries, or the pairs that meet over a node, to others, and give it nothing new; `gabion node enable`
    /// takes it back
    Drain(Drain),
}

#[derive(Debug, Args)]
pub(crate) struct Drain {
    /// A node with role `relay` or `rendezvous`, by name or id
    node: String,
    /// Why, for the audit
    #[arg(long, default_value = "", hide_default_value = true)]
    reason: String,
    /// Wait until it has no leases
    #[arg(long)]
    wait: bool,
    /// How long to wait
    #[arg(long, default_value = "5m", requires = "wait")]
    timeout: Span,
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List => {
            session
                .list(Action::RelayList, session.scoped(nothing()), &RELAYS)
                .await
        }
        Command::Show { node } => {
            session
                .show(Action::RelayShow, session.scoped(json!({ "id": node })))
                .await
        }
        Command::Drain(asked) => drain(&asked, session).await,
    }
}

pub(crate) async fn drain(asked: &Drain, session: &Session) -> Outcome {
    let input = session.scoped(json!({ "id": asked.node, "reason": asked.reason }));
    session.call(Action::RelayDrain, input).await?;
    let input = session.scoped(json!({ "id": asked.node }));
    if asked.wait {
        until_empty(asked, &input, session).await?;
    }

    session.show(Action::RelayShow, input).await
}

async fn until_empty(asked: &Drain, input: &Value, session: &Session) -> Result<(), Failure> {
    let until = Instant::now() + asked.timeout.get();
    loop {
        let relay = session.call(Action::RelayShow, input.clone()).await?;
        if figure(&relay, "leases") == 0 {
            return Ok(());
        }
        if Instant::now() >= until {
            return Err(still_carrying(&asked.node, &relay));
        }
        tokio::time::sleep(ASK_AGAIN).await;
    }
}

fn still_carrying(node: &str, relay: &Value) -> Failure {
    let (leases, routes) = (figure(relay, "leases"), figure(relay, "routes"));

    Failure::new(
        Exit::TimedOut,
        "timed_out",
        format!("{node} still carries {routes} routes and holds {leases} leases"),
    )
    .because("these pairs have no other path that works, or their ends have not reported since")
    .affecting("it goes on draining; stopping it now would cut them off")
    .fixed_by("gabion route list -o wide    (shows which pairs; another relay or a direct path frees them)")
}

fn figure(relay: &Value, member: &str) -> u64 {
    relay.get(member).and_then(Value::as_u64).unwrap_or(0)
}

/// As often as the controller decides.
const ASK_AGAIN: Duration = Duration::from_secs(1);

pub(super) const RELAYS: [Column; 12] = [
    column("NAME", "name"),
    column("STATE", "state"),
    column("ROUTES", "routes"),
    column("LEASES", "leases"),
    column("ACTIVE", "active_leases"),
    column("FRAMES", "forwarded"),
    column("REFUSED", "refused"),
    column("BYTES", "forwarded_bytes").wide(),
    column("ROOM", "room").wide(),
    column("LABELS", "labels"),
    age("SEEN", "last_seen"),
    column("ID", "id").wide(),
];
