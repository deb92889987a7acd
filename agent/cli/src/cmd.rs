//! The commands: one file for each noun.

pub(crate) mod agent;
pub(crate) mod audit;
pub(crate) mod backup;
pub(crate) mod cluster;
pub(crate) mod controller;
pub(crate) mod demo;
pub(crate) mod finding;
pub(crate) mod inspect;
pub(crate) mod installation;
pub(crate) mod node;
pub(crate) mod ping;
pub(crate) mod policy;
pub(crate) mod relation;
pub(crate) mod relay;
pub(crate) mod request;
pub(crate) mod role;
pub(crate) mod root;
pub(crate) mod route;
pub(crate) mod run;
pub(crate) mod status;
pub(crate) mod token;
pub(crate) mod version;
pub(crate) mod why;

use jiff::Timestamp;

use crate::arguments::{Command, Globals};
use crate::client::{Agent, Controller};
use crate::failure::Failure;
use crate::output::Printer;
use crate::session::{Outcome, Session};
use crate::{client, contexts};

/// Does what the command line says.
pub(crate) async fn run(command: Command, globals: Globals) -> Outcome {
    match command {
        Command::Controller(command) => controller::run(command, globals).await,
        Command::Agent(command) => agent::run(command, globals).await,
        Command::Run(options) => run::run(options, globals).await,
        Command::Root(command) => root::run(command, &session(globals)?),
        Command::Installation(command) => installation::run(command, &session(globals)?).await,
        Command::Operator(command) => relation::operator(command, &session(globals)?).await,
        Command::Role(command) => role::run(command, &session(globals)?).await,
        Command::Cluster(command) => cluster::run(command, &session(globals)?).await,
        Command::Authority(command) => cluster::authority(command, &session(globals)?).await,
        Command::Token(command) => token::run(command, &session(globals)?).await,
        Command::Request(command) => request::run(command, &session(globals)?).await,
        Command::Node(command) => node::run(command, &session(globals)?).await,
        Command::Link(command) => relation::link(command, &session(globals)?).await,
        Command::Finding(command) => finding::run(command, &session(globals)?).await,
        Command::Policy(command) => policy::run(command, &session(globals)?).await,
        Command::Route(command) => route::run(command, &session(globals)?).await,
        Command::Relay(command) => relay::run(command, &session(globals)?).await,
        Command::Lease(command) => relation::lease(command, &session(globals)?).await,
        Command::Why(pair) => why::run(&pair, &session(globals)?).await,
        Command::Ping(options) => ping::run(options, &session(globals)?).await,
        Command::Status => status::run(&session(globals)?).await,
        Command::Audit(command) => audit::run(command, &session(globals)?).await,
        Command::Backup(options) => backup::run(options, &session(globals)?).await,
        Command::Inspect(options) => inspect::run(&options, &session(globals)?),
        Command::Demo(options) => demo::run(options, globals).await,
        Command::Version => version::run(&session(globals)?),
    }
}

/// The doors as flags, variables and the chosen context name them.
pub(crate) fn session(globals: Globals) -> Result<Session, Failure> {
    let context = contexts::choose(globals.context.as_deref())?;
    let socket = globals.socket.or(context.socket);
    let agent_socket = globals.agent_socket;

    Ok(Session {
        controller: Controller {
            socket: socket.unwrap_or_else(|| client::controller_socket(client::DATA_DIR.as_ref())),
            operator: context.operator.map(|operator| operator.to_string()),
            timeout: globals.timeout.get(),
        },
        agent: Agent {
            socket: agent_socket.unwrap_or_else(|| client::agent_socket(client::STATE_DIR.as_ref())),
            timeout: globals.timeout.get(),
        },
        printer: Printer {
            format: globals.output,
            now: Timestamp::now(),
        },
        cluster: globals.cluster.or(context.cluster),
    })
}
