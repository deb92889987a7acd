//! A node of a world: a real agent, on a disk in memory that outlives it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_core::control::Pin;
use agent_shell::agent::{Agent, AgentConfig, AgentFailed, Ended};
use agent_shell::disk::MemoryDisk;
use agent_shell::local::LocalClient;
use agent_shell::parts::{Parts, SystemListen, Unsupervised};
use protocol::token::JoinToken;
use protocol::wire::HostFacts;
use quinn::TokioRuntime;
use tokio::task::JoinHandle;

use super::controller::derived;
use super::host::{Gate, HostClock, NoNames, OneAddress};
use super::lips::Lips;
use super::witness::{Speaking, Witness};
use crate::net::Net;

/// A host with an agent on it, whether it runs or not.
pub(super) struct NodeHost {
    pub(super) name: Arc<str>,
    pub(super) address: SocketAddr,
    /// Whether it serves others and ends no routes.
    pub(super) is_relay: bool,
    pub(super) disk: MemoryDisk,
    pub(super) lips: Lips,
    clock: HostClock,
    seed: u64,
    token: String,
    runs: u64,
    gate: Gate,
    running: Option<Running>,
}

struct Running {
    client: LocalClient,
    task: JoinHandle<Result<Ended, AgentFailed>>,
}

impl NodeHost {
    pub(super) fn new(seed: u64, name: &str, address: SocketAddr, clock: HostClock, token: String) -> Self {
        Self {
            name: name.into(),
            address,
            is_relay: ["relay", "rendezvous"].iter().any(|kind| name.starts_with(kind)),
            disk: MemoryDisk::new(FSYNC),
            lips: Lips::default(),
            clock,
            seed,
            token,
            runs: 0,
            gate: Gate::default(),
            running: None,
        }
    }

    /// Starts a process on what the disk holds. Must be called within the world's runtime.
    pub(super) fn start(&mut self, net: &Net, witness: &Witness) {
        self.runs += 1;
        witness.note(&self.name, format!("starts, run {}", self.runs));
        self.gate = Gate::default();
        let parts = Parts {
            clock: Arc::new(self.clock),
            socket: net.socket(self.address),
            doors: Vec::new(),
            listener: Arc::new(SystemListen(Arc::new(TokioRuntime))),
            runtime: Arc::new(TokioRuntime),
            disk: Arc::new(self.disk.clone()),
            resolver: Arc::new(NoNames),
            interfaces: Arc::new(OneAddress(self.address.ip())),
            supervisor: Arc::new(Unsupervised),
            testimony: Arc::new(self.lips.clone()),
            metrics_text: Arc::new(String::new),
            seed: derived(self.seed, &self.name, self.runs).into(),
        };
        match Agent::start(self.config(), parts) {
            Ok(agent) => {
                let client = agent.local();
                let life = self.gate.before(agent.run(std::future::pending()));
                let task = tokio::spawn(Speaking::new(&self.name, life));
                self.running = Some(Running { client, task });
            }
            Err(failed) => witness.fail(format!("{} does not start: {failed:?}", self.name)),
        }
    }

    fn config(&self) -> AgentConfig {
        let token = JoinToken::parse(&self.token).expect("a token that the controller made");

        AgentConfig {
            token: Some(token),
            pin: Pin::default(),
            name: self.name.to_string(),
            facts: HostFacts::default(),
            controllers: Vec::new(),
            candidates: Vec::new(),
            local_socket: None,
            dev: false,
            poll_interval: Duration::from_secs(1),
            join_timeout: None,
        }
    }

    /// Ends the process without a word. What was not durable is lost.
    pub(super) async fn crash(&mut self, net: &Net) {
        net.unplug(self.address);
        self.disk.crash();
        if let Some(running) = self.running.take() {
            running.task.abort();
            drop(running.client);
            let _ = running.task.await;
        }
    }

    /// Stops the process, or lets it go on.
    pub(super) fn freeze(&self, net: &Net, frozen: bool) {
        net.freeze(self.address, frozen);
        self.gate.shut(frozen);
    }

    /// How the process ended, if it did so by itself.
    pub(super) async fn ended(&mut self, net: &Net) -> Option<String> {
        let running = self.running.take_if(|running| running.task.is_finished())?;
        net.unplug(self.address);

        Some(match running.task.await {
            Ok(Ok(ended)) => format!("{ended:?}"),
            Ok(Err(failed)) => format!("{failed:?}"),
            Err(broken) => broken.to_string(),
        })
    }

    /// How many processes were started here so far.
    pub(super) fn runs(&self) -> u64 {
        self.runs
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// Whom to ask, if there is a process that can answer.
    pub(super) fn client(&self) -> Option<LocalClient> {
        let running = self.running.as_ref().filter(|_| !self.gate.is_shut())?;

        Some(running.client.clone())
    }
}

/// Time that one file takes to become durable.
const FSYNC: Duration = Duration::from_millis(4);
