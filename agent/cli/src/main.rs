//! `gabion`: a mesh node agent with an embedded control plane. This is the composition root: it reads the command
//! line, the environment and configuration files, puts the parts together, and shows results.

mod arguments;
mod client;
mod cmd;
mod config;
mod contexts;
mod exit;
mod failure;
mod http;
mod inspect;
mod keyfile;
mod logging;
mod output;
mod service;
mod session;
mod stored;
mod usage;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::Arguments;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Outcome;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return misunderstood(&error),
    };
    match run(arguments) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
    }
}

/// Help and version go to standard output; all else is an error like any other.
fn misunderstood(error: &clap::Error) -> ExitCode {
    match usage::refused(error) {
        Some(failure) => {
            eprintln!("{failure}");
            failure.exit.into()
        }
        None => match output::put(&error.render().to_string()) {
            Ok(()) => Exit::Done.into(),
            Err(_) => Exit::Failed.into(),
        },
    }
}

fn run(arguments: Arguments) -> Outcome {
    logging::start(arguments.command.is_service())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::new(Exit::Failed, "runtime", "the system gives no event loop").because(error.to_string())
        })?;

    runtime.block_on(cmd::run(arguments.command, arguments.globals))
}
