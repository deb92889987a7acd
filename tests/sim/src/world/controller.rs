//! The controller of a world: a real one, on a disk in memory that outlives it.

use std::net::SocketAddr;
use std::sync::Arc;

use agent_shell::parts::Unsupervised;
use control_api::journal::Retention;
use control_core::audit::Actor;
use control_core::desk::Desk;
use control_core::doorkeeper::Limits;
use control_core::installation::{self, Mode, ProductRoot};
use control_core::vault::{Kek, Vault};
use control_shell::admin::Admin;
use control_shell::controller::{Controller, ControllerConfig, ControllerFailed, Parts, Writing};
use control_shell::init::{Owner, sign_activation};
use control_store::Store;
use control_store::memory::{MemoryDisk, MemoryEngine};
use protocol::document::config::Transport;
use protocol::id::{ControllerId, OperatorId};
use protocol::key::{Digest, SigningKey};
use quinn::TokioRuntime;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::task::JoinHandle;

use super::host::{Gate, HostClock};
use super::witness::{Speaking, Witness};
use crate::net::Net;

/// A host with a controller on it, whether it runs or not.
pub(super) struct ControlHost {
    pub(super) name: Arc<str>,
    pub(super) address: SocketAddr,
    /// Where it says that it is reached.
    pub(super) advertised: SocketAddr,
    pub(super) disk: MemoryDisk,
    clock: HostClock,
    seed: u64,
    keys: Keys,
    transport: Transport,
    runs: u64,
    gate: Gate,
    running: Option<Running>,
}

struct Keys {
    kek: [u8; 32],
    controller: ControllerId,
    key: SigningKey,
    owner: OperatorId,
}

struct Running {
    admin: Admin,
    task: JoinHandle<Result<(), ControllerFailed>>,
}

impl ControlHost {
    /// Makes a strict installation with one owner, as `controller init` and `installation activate` do, and starts
    /// nothing yet.
    pub(super) fn install(seed: u64, address: SocketAddr, clock: HostClock, transport: Transport) -> Self {
        let mut rng = StdRng::from_seed(derived(seed, "installation", 0));
        let keys = Keys {
            kek: *Kek::generate(&mut rng).reveal(),
            controller: ControllerId::random(&mut rng),
            key: SigningKey::generate(&mut rng),
            owner: OperatorId::random(&mut rng),
        };
        let disk = MemoryDisk::default();
        initialise(&disk, &keys, clock, &mut rng);

        Self {
            name: "controller".into(),
            address,
            advertised: address,
            disk,
            clock,
            seed,
            keys,
            transport,
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
            runtime: Arc::new(TokioRuntime),
            engine: MemoryEngine::open(&self.disk, &self.name),
            kek: Kek::from_bytes(self.keys.kek),
            controller: self.keys.controller,
            key: self.keys.key.clone(),
            supervisor: Arc::new(Unsupervised),
            metrics_text: Arc::new(String::new),
            seed: derived(self.seed, &self.name, self.runs).into(),
            writing: Writing::Task,
        };
        let config = ControllerConfig {
            endpoints: vec![self.advertised.to_string()],
            admin_socket: None,
            transport: self.transport,
            version: "sim",
            limits: Limits::default(),
            journal: Retention::default(),
        };
        let controller = match Controller::start(config, parts) {
            Ok(controller) => controller,
            Err(failed) => return witness.note(&self.name, format!("does not start: {failed}")),
        };
        let admin = controller.admin();
        let life = self.gate.before(controller.run(std::future::pending()));
        self.running = Some(Running {
            admin,
            task: tokio::spawn(Speaking::new(&self.name, life)),
        });
    }

    /// Ends the process without a word. What was not committed is lost.
    pub(super) async fn crash(&mut self, net: &Net) {
        net.unplug(self.address);
        if let Some(running) = self.running.take() {
            running.task.abort();
            drop(running.admin);
            let _ = running.task.await;
        }
    }

    /// How the process ended, if it did so by itself.
    pub(super) async fn ended(&mut self, net: &Net) -> Option<String> {
        let running = self.running.take_if(|running| running.task.is_finished())?;
        net.unplug(self.address);

        Some(match running.task.await {
            Ok(Ok(())) => "shut down".to_owned(),
            Ok(Err(failed)) => failed.to_string(),
            Err(broken) => broken.to_string(),
        })
    }

    pub(super) fn is_running(&self) -> bool {
        self.running.is_some()
    }

    /// The admin API, if there is a process, and the operator in whose name it is used.
    pub(super) fn admin(&self) -> Option<(Admin, OperatorId)> {
        let running = self.running.as_ref()?;

        Some((running.admin.clone(), self.keys.owner))
    }
}

fn initialise(disk: &MemoryDisk, keys: &Keys, clock: HostClock, rng: &mut StdRng) {
    use agent_shell::clock::Clock;
    let root = SigningKey::generate(rng);
    let owner = Owner {
        id: keys.owner,
        name: "owner".to_owned(),
        key: SigningKey::generate(rng).verify_key(),
    };
    let vault = Vault::new([(1, Kek::from_bytes(keys.kek))].into());
    let now = clock.now();
    let mut store = Store::open(MemoryEngine::open(disk, "controller")).expect("an empty disk can be led");
    let mut group = store.begin();
    group
        .request(|tx| {
            let mut desk = Desk {
                tx,
                signer: &vault,
                now,
                rng,
                actor: Actor::Local,
                uid: None,
            };
            let roots = ProductRoot::new([root.verify_key()], 1).expect("one key of one");
            let row = installation::initialise(&mut desk, Mode::Strict, roots).map_err(failed)?;
            let life = std::time::Duration::from_secs(3_600);
            let manifest = sign_activation(&root, row.id, &owner, [7; 16], (now.wall, life));
            installation::activate(&mut desk, &manifest).map_err(failed)
        })
        .expect("a manifest of its own root");
    group.commit().expect("a disk without faults");
}

fn failed(error: impl std::error::Error) -> control_core::store::StoreError {
    control_core::store::StoreError::Unreadable(error.to_string())
}

/// The part of a world's chance that is for one purpose and one run of it.
pub(super) fn derived(seed: u64, purpose: &str, run: u64) -> [u8; 32] {
    let parts = [&seed.to_be_bytes(), purpose.as_bytes(), &run.to_be_bytes()];

    *Digest::of_parts(&parts).as_bytes()
}
