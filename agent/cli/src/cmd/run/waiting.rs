//! An agent beside a controller of its own, which has to make the token before the agent can join.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_shell::disk::StateDisk;
use agent_shell::parts::Supervisor;
use protocol::token::JoinToken;

use crate::config::agent::AgentSettings;
use crate::config::credential::{self, Credentials};
use crate::failure::Failure;
use crate::service::agent::{self, Start};
use crate::service::metrics::Metrics;

/// What an agent can be started with: its directory, and the token while it is needed.
pub(super) struct Begun {
    disk: Arc<dyn StateDisk>,
    token: Option<JoinToken>,
}

impl Begun {
    pub(super) fn into_start(
        self,
        settings: AgentSettings,
        supervisor: Arc<dyn Supervisor>,
        metrics: Metrics,
    ) -> Start {
        Start {
            settings,
            token: self.token,
            disk: self.disk,
            supervisor,
            metrics,
        }
    }
}

/// Opens the state directory, and waits for a token if this host has neither that nor an identity nor a request. The
/// role is ready meanwhile: whoever makes the token needs the controller.
pub(super) async fn until_it_may_join(
    settings: &AgentSettings,
    supervisor: &dyn Supervisor,
) -> Result<Begun, Failure> {
    let disk = agent::open_disk(settings)?;
    if agent::is_member(&*disk)? {
        return Ok(Begun { disk, token: None });
    }
    let named = settings.token_file.as_deref();
    let credentials = Credentials::of_environment();
    let mut token = look(named, &credentials)?;
    if token.is_none() && agent::is_stranger(&*disk)? {
        token = Some(appears(named, &credentials, supervisor).await);
    }

    Ok(Begun { disk, token })
}

/// A file that is named and is not there yet is a token that has not been made yet.
fn look(named: Option<&Path>, credentials: &Credentials) -> Result<Option<JoinToken>, Failure> {
    match named {
        Some(path) if path != Path::new("-") && !path.exists() => Ok(None),
        Some(_) | None => credential::join_token(named, credentials),
    }
}

/// Looks for the token until it is there whole: it may be met while it is being written.
async fn appears(named: Option<&Path>, credentials: &Credentials, supervisor: &dyn Supervisor) -> JoinToken {
    let place = named.map_or_else(
        || "gabion token create makes one; name its file with token_file, and restart".to_owned(),
        |path| format!("gabion token create > {}", path.display()),
    );
    let mut said = String::new();
    let mut tick = tokio::time::interval(LOOK);
    supervisor.ready();
    loop {
        tick.tick().await;
        supervisor.worked();
        let line = match look(named, credentials) {
            Ok(Some(token)) => return token,
            Ok(None) => format!("waits for a join token: {place}"),
            Err(failure) => format!("waits for a join token: {}", failure.summary),
        };
        if line != said {
            tracing::info!("{line}");
            supervisor.status(&line);
            said = line;
        }
    }
}

/// Between two looks at where the token will be.
const LOOK: Duration = Duration::from_secs(1);
