//! `gabion agent`.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use agent_shell::agent::Ended;
use agent_shell::local::LocalClient;
use agent_shell::parts::Supervisor;
use clap::{Args, Subcommand};
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
        return session.put(
            &session
                .printer
                .item(&json!({ "name": "agent", "state": "member" })),
        );
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

/// Between two looks at whether a request is pending.
const LOOK: Duration = Duration::from_millis(100);
