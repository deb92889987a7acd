//! `gabion demo`: a whole mesh on one machine, unprivileged: every node a process of its own, behind a network that
//! can delay, drop and cut. It walks through faults and shows what each one costs, and then stays up to play with.

mod bootstrap;
mod fleet;
mod flow;
mod place;
mod plan;
mod process;
mod replayed;
mod report;
mod screen;
mod sight;
mod tally;
mod underlay;
mod walk;
mod world;

use std::io;

use clap::Args;
use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::Globals;
use crate::client;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Printer};
use crate::session::Outcome;
use place::Place;
use plan::{CONTROLLER_NAME, LEAST, MOST, Plan};
use report::Report;
use screen::Screen;
use world::World;

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How many nodes, three of them relays
    #[arg(long, default_value_t = LEAST, value_parser = clap::value_parser!(u8).range(i64::from(LEAST)..=i64::from(MOST)))]
    nodes: u8,
    /// End after the walk, instead of staying up
    #[arg(long)]
    once: bool,
}

pub(crate) async fn run(options: Options, globals: Globals) -> Outcome {
    let interrupted = interrupted().map_err(|error| unusable("signals", &error))?;
    let mut place = Place::new().map_err(|error| unusable("a temporary directory", &error))?;
    let fleet = bootstrap::lay_out(Plan::of(options.nodes), &place, rand::random())?;
    let mut world = World {
        fleet,
        screen: Screen::new(globals.output),
    };
    world.say(&format!(
        "everything of this demo is in {}",
        place.path().display()
    ));
    let printer = Printer {
        format: globals.output,
        now: Timestamp::now(),
    };
    tokio::pin!(interrupted);
    let outcome = tokio::select! {
        outcome = shown(&mut world, &place, &printer) => outcome,
        () = &mut interrupted => Err(Failure::new(Exit::Failed, "interrupted", "stopped before the walk was done")),
    };
    if outcome.is_ok() && !options.once {
        world.say(&invitation(&place));
        tokio::select! {
            () = world.stay() => {}
            () = &mut interrupted => {}
        }
    }
    world.fleet.end().await;
    if !matches!(outcome, Ok(Exit::Done)) {
        place.keep_logs();
        eprintln!("the logs of every process are kept in {}", place.logs().display());
    }

    outcome
}

/// Takes the walk and puts its result on standard output.
async fn shown(world: &mut World, place: &Place, printer: &Printer) -> Outcome {
    let report = walked(world, place).await?;
    world.screen.clear();
    output::put(&report.shown(printer)).map_err(|error| unusable("standard output", &error))?;

    Ok(report.exit())
}

async fn walked(world: &mut World, place: &Place) -> Result<Report, Failure> {
    let enrolled = bootstrap::raise(world, place).await?;

    walk::walk(world, enrolled).await
}

/// What an operator can do now.
fn invitation(place: &Place) -> String {
    let directory = |name: &str| place.path().join(name);
    let controller = client::controller_socket(&directory(CONTROLLER_NAME));
    let agent = client::agent_socket(&directory("m1"));

    format!(
        "the mesh stays up until ctrl-C; from another terminal:\n\
         \n  export GABION_SOCKET={} GABION_AGENT_SOCKET={}\n\
         \n  gabion status              gabion node list         gabion route list        gabion lease list\
         \n  gabion route explain m1 m2 gabion why m1 m2         gabion agent status      gabion ping m2\
         \n  gabion route journal m1 m2 gabion route watch       gabion route journal --export decisions.jsonl\
         \n  gabion audit verify        gabion link list         gabion finding list      gabion relay list\n",
        controller.display(),
        agent.display(),
    )
}

/// Completes when somebody wants this to end.
fn interrupted() -> io::Result<impl Future<Output = ()>> {
    let mut signals = [
        signal(SignalKind::interrupt())?,
        signal(SignalKind::terminate())?,
        signal(SignalKind::hangup())?,
    ];

    Ok(async move {
        let [interrupt, terminate, hangup] = &mut signals;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    })
}

fn unusable(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::Failed, "demo_place", format!("{what} cannot be used")).because(error.to_string())
}
