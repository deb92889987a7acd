//! `gabion agent`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_shell::agent::Ended;
use agent_shell::local::{LocalClient, StatusRow};
use agent_shell::parts::Supervisor;
use clap::{Args, Subcommand};
use protocol::error::Code;
use serde_json::{Value, json};

use crate::arguments::Globals;
use crate::config;
use crate::config::agent::{AgentFile, AgentFlags, AgentSettings, USUAL_FILE};
use crate::config::credential::{self, Credentials};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::service::agent::{self, JoinWatch, Start};
use crate::service::metrics::Metrics;
use crate::service::{notify, stop};
use crate::session::{Outcome, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Join a cluster with a token, and end when this host is a node
    Join(Run),
    /// Run the agent until it is asked to stop
    Run(Run),
    /// Show the agent that runs on this host
    Status,
    /// Give back what this node holds, and forget its identity
    Leave,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration file
    #[arg(long, env = "GABION_AGENT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: AgentFlags,
}

impl Run {
    fn settings(self, globals: &Globals) -> Result<AgentSettings, Failure> {
        let file: AgentFile = config::read(self.config.as_deref(), USUAL_FILE)?;

        Ok(file.settled(self.flags, globals.agent_socket.clone()))
    }
}

pub(crate) async fn run(command: Command, globals: Globals) -> Outcome {
    match command {
        Command::Join(options) => join(options.settings(&globals)?, super::session(globals)?).await,
        Command::Run(options) => serve(options.settings(&globals)?).await,
        Command::Status => {
            let session = super::session(globals)?;
            let status = session.agent.get("/v1/status").await?;
            session.put(&session.printer.item(&status))
        }
        Command::Leave => leave(&super::session(globals)?).await,
    }
}

async fn serve(settings: AgentSettings) -> Outcome {
    let metrics = Metrics::start()?;
    let [supervisor] = notify::voices(["agent"]);

    stop::until_signalled(|stop| async move {
        let upkeep = metrics.clone();
        let prepared = agent::prepare(start(settings, supervisor, metrics)?)?;
        tokio::select! {
            ended = agent::run(prepared, stop.asked()) => ended.map(told),
            never = upkeep.kept_small() => never,
        }
    })
    .await
}

/// What an agent is started with: its directory, and the token while it is needed.
pub(crate) fn start(
    settings: AgentSettings,
    supervisor: Arc<dyn Supervisor>,
    metrics: Metrics,
) -> Result<Start, Failure> {
    let disk = agent::open_disk(&settings)?;
    let token = match agent::is_member(&*disk)? {
        true => None,
        false => credential::join_token(settings.token_file.as_deref(), &Credentials::of_environment())?,
    };

    Ok(Start {
        settings,
        token,
        disk,
        supervisor,
        metrics,
    })
}

/// How an agent that ended without a failure tells so.
pub(crate) fn told(ended: Ended) -> Exit {
    if ended == Ended::Left {
        tracing::info!("this host is a node no more");
    }

    Exit::Done
}

async fn join(settings: AgentSettings, session: Session) -> Outcome {
    let named = settings.token_file.clone();
    let mut start = start(settings, Arc::new(Spoken::default()), Metrics::start()?)?;
    if agent::is_member(&*start.disk)? {
        // A token is not needed any more: one that is gone or spoiled is no reason to fail.
        let token = credential::join_token(named.as_deref(), &Credentials::of_environment());
        agent::same_cluster(&*start.disk, token.ok().flatten().as_ref())?;
        eprintln!("This host is a node already; gabion agent leave gives that up.");
        return confirm(start, &session).await;
    }
    let (watch, joined) = JoinWatch::over(start.disk);
    start.disk = Arc::new(watch);
    let prepared = agent::prepare(start)?;
    let local = prepared.local();
    let status = Mutex::new(None);
    let settled = async {
        joined.await;
        let shown = local.status().await.ok().map(|shown| json!(shown));
        *status.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    };
    stop::until_signalled(|stop| async {
        let done = async {
            tokio::select! {
                () = settled => {}
                () = stop.asked() => {}
                never = compared(&local) => never,
            }
        };
        agent::run(prepared, done).await.map(told)
    })
    .await?;

    match status.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(status) => session.put(&session.printer.item(&status)),
        None => Err(
            Failure::new(Exit::Failed, "interrupted", "stopped before this host was a node")
                .affecting("a request that was made stays pending; the next run goes on asking"),
        ),
    }
}

/// A host that is a node by its state directory may be one no more: a controller is asked.
async fn confirm(start: Start, session: &Session) -> Outcome {
    let prepared = agent::prepare(start)?;
    let local = prepared.local();
    let found = Mutex::new(None);
    stop::until_signalled(|stop| async {
        let done = async {
            tokio::select! {
                standing = standing(&local) => *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(standing),
                () = stop.asked() => {}
                () = tokio::time::sleep(ASKED) => {}
            }
        };
        agent::run(prepared, done).await.map(told)
    })
    .await?;

    match found.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(Standing::Admitted) => {}
        Some(Standing::TurnedAway(failure)) => return Err(*failure),
        None => eprintln!("No controller has said so just now: whether it still counts is not known."),
    }
    session.put(
        &session
            .printer
            .item(&json!({ "name": "agent", "state": "member" })),
    )
}

/// What controllers make of a node.
#[derive(Debug)]
enum Standing {
    Admitted,
    TurnedAway(Box<Failure>),
}

impl Standing {
    /// None while no controller has been heard.
    fn of(status: &StatusRow) -> Option<Self> {
        let is_connected = status
            .controller
            .as_ref()
            .is_some_and(|controller| controller.connected);
        let code = match status.state.as_str() {
            "revoked" => Some(Code::NodeRevoked),
            "refused" => status
                .last_failure
                .as_ref()
                .and_then(|last| Code::parse(&last.code)),
            _ if is_connected => return Some(Self::Admitted),
            _ => return None,
        };

        Some(Self::TurnedAway(Box::new(turned_away(status, code))))
    }
}

/// None if the code is of a newer controller.
fn turned_away(status: &StatusRow, code: Option<Code>) -> Failure {
    let last = status.last_failure.as_ref();
    // A revocation is known from the list of the cluster as well, and the last session may have failed otherwise.
    let said = match last.filter(|last| code.is_none_or(|code| code.text() == last.code)) {
        Some(last) => {
            let number = code.map_or_else(String::new, |code| format!(" ({})", code.number()));

            format!("{} answered {}{number}", last.endpoint, last.code)
        }
        None => "the revocation list of its cluster names it".to_owned(),
    };
    let summary = match code == Some(Code::NodeRevoked) {
        true => "this host is a node no more: it was revoked",
        false => "this host is a node, and a controller turns it away",
    };
    let failure = match (code, last) {
        (Some(code), _) => Failure::of_code(code, summary),
        (None, Some(last)) => Failure::new(Exit::NotAllowed, &last.code, summary),
        (None, None) => Failure::new(Exit::NotAllowed, "refused", summary),
    };

    failure
        .because(said)
        .affecting("it is told nothing any more, and nothing was changed here")
        .fixed_by(
            "gabion agent leave    (while the agent runs: forgets the identity), then gabion agent join with a new token",
        )
}

/// Completes once a controller lets this node in, or turns it away.
async fn standing(local: &LocalClient) -> Standing {
    let mut tick = tokio::time::interval(LOOK);
    loop {
        tick.tick().await;
        let status = local.status().await.ok();
        if let Some(standing) = status.as_ref().and_then(Standing::of) {
            return standing;
        }
    }
}

/// Shows the fingerprint that the approver compares, once there is a request.
async fn compared(local: &LocalClient) -> ! {
    let mut tick = tokio::time::interval(LOOK);
    let mut is_shown = false;
    loop {
        tick.tick().await;
        if is_shown {
            continue;
        }
        let pending = local
            .status()
            .await
            .ok()
            .filter(|status| status.request.is_some());
        if let Some(fingerprint) = pending.and_then(|status| status.fingerprint) {
            eprintln!("this host's key: {fingerprint}    (gabion request approve compares it)");
            is_shown = true;
        }
    }
}

async fn leave(session: &Session) -> Outcome {
    // The agent is to give up before this command does, so that one of the two can say what came of it.
    let within = session.agent.timeout * 9 / 10;
    let wish = json!({ "within_ms": u32::try_from(within.as_millis()).unwrap_or(u32::MAX) });
    let answer = session.agent.post("/v1/leave", wish).await.map_err(|failure| {
        match failure.exit == Exit::TimedOut && !failure.has_effect() {
            true => failure
                .affecting("whether this host left is not known; its agent gives up when this command does")
                .fixed_by("gabion agent status"),
            false => failure,
        }
    })?;
    let shown = match answer {
        Value::Object(_) => answer,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            json!({ "name": "agent", "state": "left" })
        }
    };

    session.put(&session.printer.item(&shown))
}

/// Tells a person who waits what the agent says of itself.
#[derive(Debug, Default)]
struct Spoken(Mutex<String>);

impl Supervisor for Spoken {
    fn ready(&self) {}

    fn status(&self, line: &str) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if *last != line {
            eprintln!("{line}");
            line.clone_into(&mut last);
        }
    }

    fn worked(&self) {}
}

/// How long a host that is a node already waits for a controller to say so: two rounds through a few addresses.
const ASKED: Duration = Duration::from_secs(10);
/// Between two looks at how the agent stands.
const LOOK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use agent_shell::local::{ControllerRow, FailureRow};

    use super::*;

    #[test]
    fn a_node_that_is_turned_away_ends_as_a_refusal_with_the_code_that_was_said() {
        let status = |state: &str, code: &str| StatusRow {
            state: state.to_owned(),
            last_failure: Some(FailureRow {
                code: code.to_owned(),
                at: "2026-01-01T10:00:00Z".to_owned(),
                endpoint: "ctl:7443".to_owned(),
            }),
            ..StatusRow::default()
        };
        let cases = [
            ("revoked", "node_revoked", "ctl:7443 answered node_revoked (403)"),
            (
                "revoked",
                "handshake",
                "the revocation list of its cluster names it",
            ),
            (
                "refused",
                "wrong_cluster",
                "ctl:7443 answered wrong_cluster (403)",
            ),
            ("refused", "moon_phase", "ctl:7443 answered moon_phase"),
        ];
        for (state, code, why) in cases {
            let Some(Standing::TurnedAway(failure)) = Standing::of(&status(state, code)) else {
                panic!("{code}")
            };
            let code = if state == "revoked" { "node_revoked" } else { code };
            assert_eq!((failure.exit, failure.code.as_str()), (Exit::NotAllowed, code));
            let text = failure.to_string();
            assert!(
                text.contains(why) && text.contains("gabion agent leave"),
                "{text}"
            );
        }

        assert!(Standing::of(&status("member", "unreachable")).is_none());
        let connected = StatusRow {
            controller: Some(ControllerRow {
                id: None,
                endpoint: "ctl:7443".to_owned(),
                connected: true,
            }),
            ..status("member", "unreachable")
        };
        assert!(matches!(Standing::of(&connected), Some(Standing::Admitted)));
    }
}
