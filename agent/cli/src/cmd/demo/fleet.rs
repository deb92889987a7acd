//! The machines of the demo with what runs on them, and the two doors to ask: a controller's and an agent's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

use control_api::action::Action;
use serde_json::Value;

use super::plan::{CONTROLLER, CONTROLLER_NAME, Pair, Plan};
use super::process::{Ended, Process, Program};
use super::underlay::{Machine, Underlay};
use crate::client::{self, Agent, Controller};
use crate::exit::Exit;
use crate::failure::Failure;

/// Every machine.
#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) plan: Plan,
    pub(crate) underlay: Underlay,
    program: Program,
    controller: Controller,
    agents: BTreeMap<String, Agent>,
    units: BTreeMap<String, Unit>,
}

/// What runs on one machine.
#[derive(Debug)]
struct Unit {
    machine: Machine,
    arguments: Vec<OsString>,
    process: Option<Process>,
    state: UnitState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum UnitState {
    Running,
    Stopped,
    Killed,
}

impl UnitState {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Killed => "killed",
        }
    }

    pub(crate) const fn is_running(self) -> bool {
        matches!(self, Self::Running)
    }
}

impl Fleet {
    /// Nothing runs yet. `directory` has a directory for each unit, with its configuration in it.
    pub(crate) fn new(plan: Plan, underlay: Underlay, program: Program, directory: &Path) -> Self {
        let unit = |machine, role: &str, name: &str| Unit {
            machine,
            arguments: command(&[role, "run"], &directory.join(name)),
            process: None,
            state: UnitState::Killed,
        };
        let seats = plan.seats.iter();
        let agents = seats.clone().map(|seat| {
            let agent = Agent {
                socket: client::agent_socket(&directory.join(&seat.name)),
                timeout: ANSWER,
            };
            (seat.name.clone(), agent)
        });
        let nodes = seats
            .clone()
            .map(|seat| (seat.name.clone(), unit(seat.machine, "agent", &seat.name)));
        let brain = unit(CONTROLLER, "controller", CONTROLLER_NAME);

        Self {
            controller: Controller {
                socket: client::controller_socket(&directory.join(CONTROLLER_NAME)),
                operator: None,
                timeout: ANSWER,
            },
            agents: agents.collect(),
            units: nodes.chain([(CONTROLLER_NAME.to_owned(), brain)]).collect(),
            plan,
            underlay,
            program,
        }
    }

    /// Makes the controller's data directory.
    pub(crate) async fn found(&self, directory: &Path) -> Result<(), Failure> {
        let arguments = command(&["controller", "init"], &directory.join(CONTROLLER_NAME));

        Ok(self.program.finish("controller-init", &arguments).await?)
    }

    /// Starts what runs on a machine.
    pub(crate) fn start(&mut self, name: &str) -> Result<(), Failure> {
        let program = self.program.clone();
        let unit = self.unit(name)?;
        unit.process = Some(program.start(name, &unit.arguments).map_err(Ended::NotStarted)?);
        unit.state = UnitState::Running;
        let machine = unit.machine;
        self.underlay.note_absent(machine, false);

        Ok(())
    }

    /// Kills it without warning (SIGKILL).
    pub(crate) async fn kill(&mut self, name: &str) -> Result<(), Failure> {
        let unit = self.unit(name)?;
        if let Some(mut process) = unit.process.take() {
            process.kill().await?;
        }
        unit.state = UnitState::Killed;
        let machine = unit.machine;
        self.underlay.note_absent(machine, true);

        Ok(())
    }

    /// Lets it stand still (SIGSTOP).
    pub(crate) fn stop(&mut self, name: &str) -> Result<(), Failure> {
        let unit = self.unit(name)?;
        if let Some(process) = &unit.process {
            process.stop()?;
        }
        unit.state = UnitState::Stopped;
        let machine = unit.machine;
        self.underlay.note_absent(machine, true);

        Ok(())
    }

    /// Lets it go on (SIGCONT).
    pub(crate) fn resume(&mut self, name: &str) -> Result<(), Failure> {
        let unit = self.unit(name)?;
        if let Some(process) = &unit.process {
            process.resume()?;
        }
        unit.state = UnitState::Running;
        let machine = unit.machine;
        self.underlay.note_absent(machine, false);

        Ok(())
    }

    /// Ends every cut, loss and delay, and lets everything run again. Returns how many lines and units that took.
    pub(crate) fn heal(&mut self) -> Result<u64, Failure> {
        let mut healed = self.underlay.mend_all();
        for name in self.units.keys().cloned().collect::<Vec<_>>() {
            match self.state(&name) {
                UnitState::Running => continue,
                UnitState::Stopped => self.resume(&name)?,
                UnitState::Killed => self.start(&name)?,
            }
            healed += 1;
        }

        Ok(healed)
    }

    /// Fails if a process ended that nobody killed.
    pub(crate) fn check(&mut self) -> Result<(), Failure> {
        for unit in self.units.values_mut() {
            if let Some(process) = &mut unit.process {
                process.check()?;
            }
        }

        Ok(())
    }

    /// Kills everything, and waits until it is gone.
    pub(crate) async fn end(&mut self) {
        let processes = self.units.values_mut().filter_map(|unit| unit.process.as_mut());
        for process in processes {
            if let Err(error) = process.kill().await {
                eprintln!("{error}");
            }
        }
    }

    /// Packets that found nobody on this machine.
    pub(crate) fn unanswered(&self, name: &str) -> u64 {
        let machine = self.units.get(name).map(|unit| unit.machine);

        machine.map_or(0, |machine| self.underlay.unanswered(machine))
    }

    pub(crate) fn state(&self, name: &str) -> UnitState {
        self.units.get(name).map_or(UnitState::Killed, |unit| unit.state)
    }

    /// The machines of two units.
    pub(crate) fn line(&self, pair: &Pair) -> Option<(Machine, Machine)> {
        let machine = |name: &str| self.units.get(name).map(|unit| unit.machine);

        machine(&pair.one).zip(machine(&pair.other))
    }

    /// Cuts what connects two machines directly, silently and both ways.
    pub(crate) fn cut(&self, pair: &Pair) {
        if let Some(line) = self.line(pair) {
            self.underlay.cut(line);
        }
    }

    /// Ends a cut.
    pub(crate) fn mend(&self, pair: &Pair) {
        if let Some(line) = self.line(pair) {
            self.underlay.mend(line);
        }
    }

    /// Loses this share of what the first of a pair sends to the other directly.
    pub(crate) fn lose(&self, pair: &Pair, share: f64) {
        if let Some(line) = self.line(pair) {
            self.underlay.lose(line, share);
        }
    }

    /// Packets between two machines that were lost by chance, in both directions.
    pub(crate) fn lost_between(&self, pair: &Pair) -> u64 {
        self.line(pair).map_or(0, |line| self.underlay.count(line).lost)
    }

    /// Delivers whatever a machine sends this much later.
    pub(crate) fn delay(&mut self, name: &str, delay: Duration) -> Result<(), Failure> {
        let machine = self.unit(name)?.machine;
        self.underlay.delay(machine, delay);

        Ok(())
    }

    /// Packets that came late from a machine that was slow.
    pub(crate) fn delayed(&self, name: &str) -> u64 {
        let machine = self.units.get(name).map(|unit| unit.machine);

        machine.map_or(0, |machine| self.underlay.delayed(machine))
    }

    /// Packets that the cut between two machines stopped.
    pub(crate) fn stopped_by_cut(&self, pair: &Pair) -> u64 {
        self.line(pair).map_or(0, |line| self.underlay.count(line).cut)
    }

    /// Takes an administrative action.
    pub(crate) async fn act(&self, action: Action, input: Value) -> Result<Value, Failure> {
        self.controller.call(action, input).await
    }

    /// The local door of a node.
    pub(crate) fn agent(&self, name: &str) -> Result<&Agent, Failure> {
        self.agents.get(name).ok_or_else(|| unknown(name))
    }

    fn unit(&mut self, name: &str) -> Result<&mut Unit, Failure> {
        self.units.get_mut(name).ok_or_else(|| unknown(name))
    }
}

fn command(words: &[&str], directory: &Path) -> Vec<OsString> {
    let mut arguments: Vec<OsString> = words.iter().map(OsString::from).collect();
    arguments.push("--config".into());
    arguments.push(directory.join(CONFIG).into());

    arguments
}

fn unknown(name: &str) -> Failure {
    Failure::usage(format!("the demo has no machine that is called {name}"))
}

impl From<Ended> for Failure {
    fn from(ended: Ended) -> Self {
        Self::new(Exit::Failed, "demo_process", "a process of the demo is not there")
            .because_of(&ended)
            .affecting("the demo cannot go on")
    }
}

/// The configuration of a unit, in its directory.
pub(crate) const CONFIG: &str = "config.toml";
/// How long a process of the demo may take to answer.
const ANSWER: Duration = Duration::from_secs(10);
