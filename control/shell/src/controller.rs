//! Runs a controller from its parts: store, keys, socket, time.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;

use agent_shell::clock::Clock;
use agent_shell::tls::{self, ClientDoors, TlsUnusable, Trust};
use agent_shell::{parts::Supervisor, quic, socket};
use control_api::answer::Bench;
use control_api::failure::Failure;
use control_api::journal::Retention;
use control_api::live::Live;
use control_api::publish::Press;
use control_api::witness::Origins;
use control_core::behind;
use control_core::doorkeeper::Limits;
use control_core::installation::{self, Mode};
use control_core::liveness::Addresses;
use control_core::store::StoreError;
use control_core::vault::{Kek, Vault};
use control_store::{Engine, Store, StoreOpenFailed};
use protocol::admit;
use protocol::document::config::Transport;
use protocol::id::ControllerId;
use protocol::key::SigningKey;
use quinn::{AsyncUdpSocket, Endpoint, EndpointConfig, Runtime, VarInt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::oneshot;
use tokio::task::JoinSet;
use zeroize::Zeroizing;

use crate::admin::{self, Admin};
use crate::board::Board;
use crate::figures;
use crate::leaves::Leaves;
use crate::listen::{self, Service};
use crate::pulse::{Pulse, Seen, Watch};
use crate::queue::{self, Waiting};
use crate::timers::{self, Nudge};
use crate::writer::{Backlog, Writer};

/// What the operator configured.
#[derive(Clone, Debug)]
pub struct ControllerConfig {
    /// `host:port` at which agents reach this controller.
    pub endpoints: Vec<String>,
    /// Where the admin API listens; none in a simulation.
    pub admin_socket: Option<PathBuf>,
    /// Intervals that every node is given.
    pub transport: Transport,
    pub version: &'static str,
    /// How many connections may be open.
    pub limits: Limits,
    /// What is kept of the decision journal of each cluster.
    pub journal: Retention,
}

/// The world a controller runs in; the simulator has others.
pub struct Parts<E: Engine> {
    pub clock: Arc<dyn Clock>,
    pub socket: Arc<dyn AsyncUdpSocket>,
    pub runtime: Arc<dyn Runtime>,
    pub engine: E,
    pub kek: Kek,
    pub controller: ControllerId,
    pub key: SigningKey,
    pub supervisor: Arc<dyn Supervisor>,
    pub metrics_text: Arc<dyn Fn() -> String + Send + Sync>,
    /// Where all chance comes from.
    pub seed: Zeroizing<[u8; 32]>,
    pub writing: Writing,
}

/// Where the writer runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// On a thread of its own: commits wait for the disk.
    Thread,
    /// As a task, for runs that must be a function of their seed.
    Task,
}

/// Runs until `shutdown` is ready, then closes connections and waits for the writer.
pub async fn run<E: Engine>(
    config: ControllerConfig,
    parts: Parts<E>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ControllerFailed> {
    Controller::start(config, parts)?.run(shutdown).await
}

/// A controller that serves. Dropping it ends its tasks and closes nothing.
pub struct Controller {
    endpoint: Endpoint,
    tasks: JoinSet<()>,
    /// Ready when the writer has ended.
    writer: oneshot::Receiver<()>,
    admin: Admin,
    supervisor: Arc<dyn Supervisor>,
    watch: Watch,
}

impl Controller {
    /// Opens the store and the sockets, publishes what the store holds, and begins to serve. Must be called within a
    /// tokio runtime.
    pub fn start<E: Engine>(config: ControllerConfig, parts: Parts<E>) -> Result<Self, ControllerFailed> {
        start(config, parts)
    }

    /// Takes administrative actions in the same process, as the admin socket does.
    pub fn admin(&self) -> Admin {
        self.admin.clone()
    }

    /// Runs until `shutdown` is ready, then closes connections and waits for the writer.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<(), ControllerFailed> {
        self.supervisor.ready();
        let mut work = tokio::time::interval(WORK);
        tokio::pin!(shutdown);
        let outcome = loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break Ok(()),
                _ = self.tasks.join_next() => break Err(ControllerFailed::PartEnded),
                _ = &mut self.writer => break Err(ControllerFailed::WriterEnded),
                _ = work.tick() => self.look_after_writer(),
            }
        };
        self.endpoint.close(VarInt::from_u32(0), b"stopping");
        self.tasks.shutdown().await;
        // So that agents hear of it and go elsewhere at once; nobody waits for those that are not there any more.
        let _ = tokio::time::timeout(FAREWELL, self.endpoint.wait_idle()).await;
        // With every door closed the writer ends, and with it the hold on the data directory.
        drop(self.admin);
        if !matches!(outcome, Err(ControllerFailed::WriterEnded)) {
            let _ = tokio::time::timeout(WRITER_END, self.writer).await;
        }

        outcome
    }

    /// Feeds the supervisor from the writer's turns: a process whose writer stands only looks alive.
    fn look_after_writer(&mut self) {
        let Service { board, clock, .. } = &self.admin.service;
        match self.watch.look(board.pulse(), clock.now().boot) {
            Seen::Turned => self.supervisor.worked(),
            Seen::Waits => {}
            Seen::Stands(stood) => {
                tracing::warn!(
                    seconds = stood.as_secs(),
                    "the writer has stood: nothing is written"
                );
            }
        }
    }
}

fn start<E: Engine>(config: ControllerConfig, parts: Parts<E>) -> Result<Controller, ControllerFailed> {
    figures::begin();
    let store = Store::open(parts.engine).map_err(ControllerFailed::Store)?;
    let installed = installation::find(&store.snapshot())?.ok_or(ControllerFailed::NotInitialised)?;
    let mut rng = StdRng::from_seed(*parts.seed);
    let bench = Bench {
        controller: parts.controller,
        key: parts.key.verify_key(),
        endpoints: config.endpoints.clone(),
        transport: config.transport,
        version: config.version,
        journal: config.journal,
        seals: Arc::default(),
    };
    let trust = Trust::default().timed_by(parts.clock.clone());
    let leaves = Leaves::new(parts.controller, parts.key.clone());
    let pulse = Pulse::new(parts.clock.now().boot);
    let board = board(&store, installed.mode, (trust, leaves.clone(), pulse))?;
    let endpoint = listen_on(&board, leaves, parts.socket, parts.runtime, &mut rng)?;
    let mut writer = Writer {
        store,
        signer: Arc::new(Vault::new(BTreeMap::from([(1, parts.kek)]))),
        bench: bench.clone(),
        rng,
        clock: parts.clock.clone(),
        board: board.clone(),
        press: Press::default(),
        backlog: Backlog::default(),
        spent: false,
    };
    writer.open().map_err(ControllerFailed::Publish)?;
    let (door, waiting) = queue::door();
    let mut tasks = JoinSet::new();
    let writer = spawn_writer(writer, waiting, parts.writing).map_err(ControllerFailed::Thread)?;
    let service = Service {
        controller: parts.controller,
        board,
        door,
        clock: parts.clock,
        routing: Nudge::default(),
        storing: Nudge::default(),
    };
    let admin = Admin {
        service: service.clone(),
        bench: bench.clone(),
        metrics: parts.metrics_text,
    };
    if let Some(path) = &config.admin_socket {
        let listener = socket::bind(path).map_err(|source| ControllerFailed::AdminSocket {
            path: path.clone(),
            source,
        })?;
        tasks.spawn(admin::serve(listener, admin.clone()));
    }
    tasks.spawn(listen::accept(endpoint.clone(), service.clone(), config.limits));
    tasks.spawn(timers::presence(service.clone()));
    tasks.spawn(timers::beacons(service.clone()));
    tasks.spawn(timers::routes(service.clone(), parts.writing));
    tasks.spawn(timers::certificates(service, bench.key, bench.endpoints));

    Ok(Controller {
        endpoint,
        tasks,
        writer,
        admin,
        supervisor: parts.supervisor,
        watch: Watch::default(),
    })
}

/// The board as the store has it, with the mark of a store that is behind its fleet.
fn board<E: Engine>(
    store: &Store<E>,
    mode: Mode,
    (trust, leaves, pulse): (Trust, Leaves, Pulse),
) -> Result<Arc<Board>, ControllerFailed> {
    let addresses = match mode {
        Mode::Dev => Addresses::AlsoLoopback,
        Mode::Strict => Addresses::Routable,
    };
    let board = Board::new(store.reader(), Live::new(addresses), trust, leaves, pulse);
    board.set_origins(Origins::open(&store.snapshot())?);
    if let Some(row) = behind::find(&store.snapshot())? {
        tracing::warn!(why = row.why(), "this controller is read-only");
        board.set_behind(row);
    }

    Ok(Arc::new(board))
}

fn spawn_writer<E: Engine>(
    writer: Writer<E>,
    waiting: Waiting,
    writing: Writing,
) -> std::io::Result<oneshot::Receiver<()>> {
    let (over, ended) = oneshot::channel();
    match writing {
        Writing::Task => {
            tokio::spawn(async {
                writer.run(waiting).await;
                drop(over);
            });
        }
        Writing::Thread => {
            // Commits block this thread alone, so its runtime has nothing else to run.
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()?;
            std::thread::Builder::new()
                .name("writer".to_owned())
                .spawn(move || {
                    runtime.block_on(writer.run(waiting));
                    drop(over);
                })?;
        }
    }

    Ok(ended)
}

fn listen_on(
    board: &Board,
    leaves: Leaves,
    socket: Arc<dyn AsyncUdpSocket>,
    runtime: Arc<dyn Runtime>,
    rng: &mut StdRng,
) -> Result<Endpoint, ControllerFailed> {
    let doors = ClientDoors {
        trust: board.trust().clone(),
        strangers: true,
        doors: &[admit::NODE],
    };
    let crypto = tls::server_config(&[admit::JOIN, admit::NODE], Arc::new(leaves), doors)?;
    let mut server = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    server.transport_config(Arc::new(quic::controller_transport()));
    quic::harden(&mut server);
    // The address of a connection becomes a candidate that the whole fleet dials, and is held against a token's blocks.
    // QUIC takes a packet's source as the new address before that source has answered, so one spoofed packet would aim
    // neighbours at a stranger. Here a connection stays where its handshake was; behind a NAT that rebinds, the agent
    // dials anew. The mesh keeps migration: nobody is told the address that a link moved to, and what is sent to one that
    // has not answered is bounded (RFC 9000 8.1).
    server.migration(false);
    let mut config = EndpointConfig::default();
    let mut seed = [0; 32];
    rand::Rng::fill_bytes(rng, &mut seed);
    config.rng_seed(Some(seed));

    Endpoint::new_with_abstract_socket(config, Some(server), socket, runtime)
        .map_err(ControllerFailed::Socket)
}

#[derive(Debug, thiserror::Error)]
pub enum ControllerFailed {
    /// Somebody answers there, the place is taken by something else, or its directory is missing.
    #[error("the admin socket {} cannot be opened", path.display())]
    AdminSocket {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    /// The data directory holds no installation.
    #[error("there is no installation here: run gabion controller init")]
    NotInitialised,
    /// What the store holds cannot be compiled, signed or written at start.
    #[error("the controller cannot publish: {}", .0.message)]
    Publish(Failure),
    /// The store holds something unreadable.
    #[error("the store cannot be read")]
    Read(#[from] StoreError),
    /// A part that runs for ever has ended; the log says which.
    #[error("a part of the controller ended by itself")]
    PartEnded,
    /// The UDP socket cannot be used.
    #[error("the UDP socket cannot be used")]
    Socket(#[source] std::io::Error),
    /// The store cannot be opened, or somebody else leads.
    #[error("the store cannot be opened")]
    Store(#[source] StoreOpenFailed),
    /// No thread for the writer.
    #[error("the writer's thread cannot be started")]
    Thread(#[source] std::io::Error),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsUnusable),
    /// The store takes nothing more: a sync failed, or somebody else leads.
    #[error("the store takes nothing more: the controller must start anew")]
    WriterEnded,
}

/// For the last packets to leave: some round trips of a healthy path.
const FAREWELL: std::time::Duration = std::time::Duration::from_millis(500);
/// For the last commits and the closing of the database.
const WRITER_END: std::time::Duration = std::time::Duration::from_secs(10);
/// How often the writer is looked after.
const WORK: std::time::Duration = std::time::Duration::from_secs(1);
