//! `gabion run`: whichever roles the configuration names, in one process, as strangers to each other.

mod waiting;

use std::future::Future;
use std::path::PathBuf;

use clap::Args;

use super::agent::{start, told};
use crate::arguments::Globals;
use crate::config;
use crate::config::agent::AgentSettings;
use crate::config::controller::ControllerSettings;
use crate::config::roles::{RolesFile, Surroundings, USUAL_FILE};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::service::metrics::Metrics;
use crate::service::stop::{Asker, Stop};
use crate::service::{agent, controller, notify, stop};
use crate::session::Outcome;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The configuration file, with a table for each role that is to run
    #[arg(long, env = "GABION_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
}

pub(crate) async fn run(options: Options, globals: Globals) -> Outcome {
    let file: RolesFile = config::read(options.config.as_deref(), USUAL_FILE)?;
    let around = Surroundings::read()?;
    let agent = file
        .agent
        .map(|file| file.settled(around.agent, globals.agent_socket));
    let controller = file
        .controller
        .map(|file| file.settled(around.controller, globals.socket));
    let metrics = Metrics::start()?;

    stop::until_signalled(|stop| async move {
        let upkeep = metrics.clone();
        tokio::select! {
            ended = roles(agent, controller, metrics, stop) => ended,
            never = upkeep.kept_small() => never,
        }
    })
    .await
}

async fn roles(
    agent: Option<AgentSettings>,
    controller: Option<ControllerSettings>,
    metrics: Metrics,
    stop: Stop,
) -> Outcome {
    match (agent, controller) {
        (Some(agent), Some(controller)) => both(agent, controller, metrics, stop).await,
        (Some(settings), None) => {
            let [supervisor] = notify::voices(["agent"]);
            agent::run(
                agent::prepare(start(settings, supervisor, metrics)?)?,
                stop.asked(),
            )
            .await
            .map(told)
        }
        (None, Some(settings)) => {
            let [supervisor] = notify::voices(["controller"]);
            controller::run(settings, supervisor, metrics, stop.asked())
                .await
                .map(|()| Exit::Done)
        }
        (None, None) => Err(Failure::usage("the configuration names no role")
            .because("a role runs when its table is there")
            .fixed_by("write [agent], [controller] or both into the file that --config names")),
    }
}

/// A role that fails takes the other with it: the service manager starts both anew. An agent that has left its
/// cluster does not, and one that has no token yet waits: the controller beside it is who makes one.
async fn both(agent: AgentSettings, controller: ControllerSettings, metrics: Metrics, stop: Stop) -> Outcome {
    let (asker, failed) = Asker::new();
    let [of_agent, of_controller] = notify::voices(["agent", "controller"]);
    let until = |stop: Stop, failed: Stop| async move {
        tokio::select! {
            () = stop.asked() => {}
            () = failed.asked() => {}
        }
    };
    let agent = async {
        let waited = waiting::until_it_may_join(&agent, &*of_agent);
        let begun = tokio::select! {
            begun = waited => begun?,
            () = until(stop.clone(), failed.clone()) => return Ok(Exit::Done),
        };
        let prepared = agent::prepare(begun.into_start(agent, of_agent, metrics.clone()))?;
        agent::run(prepared, until(stop.clone(), failed.clone()))
            .await
            .map(told)
    };
    let controller = async {
        let ended = controller::run(
            controller,
            of_controller,
            metrics.clone(),
            until(stop.clone(), failed.clone()),
        );
        ended.await.map(|()| Exit::Done)
    };
    let (agent, controller) = tokio::join!(asking(agent, &asker), asking(controller, &asker));

    agent.and(controller)
}

async fn asking(role: impl Future<Output = Outcome>, asker: &Asker) -> Outcome {
    let ended = role.await;
    if let Err(failure) = &ended {
        tracing::error!(code = failure.code, "a role failed: {}", failure.summary);
        asker.ask();
    }

    ended
}
