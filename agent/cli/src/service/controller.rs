//! The controller as a service of this host: store, keys, sockets and supervisor put together.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;

use agent_shell::clock::SystemClock;
use agent_shell::parts::Supervisor;
use agent_shell::quic;
use control_core::installation::{self, ConfirmError, Mode as StoredMode, ProductRoot};
use control_shell::controller::{self, ControllerConfig, ControllerFailed, Parts, Writing};
use control_shell::init::{self, InitFailed, KekFile};
use control_store::sqlite::{OpenFailed, SqliteEngine};
use quinn::{Runtime, TokioRuntime};

use super::facts;
use super::metrics::Metrics;
use crate::config::controller::{ControllerSettings, Mode};
use crate::config::credential::{Credentials, KEK};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::stored::Stored;

/// Runs the controller until `stop` completes.
pub(crate) async fn run(
    settings: ControllerSettings,
    supervisor: Arc<dyn Supervisor>,
    metrics: Metrics,
    stop: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let engine = confirmed(&settings)?;
    let kek = kek_file(&settings, &Credentials::of_environment());
    let keys = init::read_keys(&settings.data_dir, kek.as_ref()).map_err(|failed| init_failed(&failed))?;
    let runtime = Arc::new(TokioRuntime);
    let bound = quic::bind(settings.listen).map_err(|error| unbindable(&settings, &error))?;
    let listen = bound
        .socket
        .local_addr()
        .map_err(|error| unbindable(&settings, &error))?;
    tracing::info!(
        %listen,
        receive_buffer = bound.receive_buffer,
        send_buffer = bound.send_buffer,
        "the controller starts"
    );
    let config = ControllerConfig {
        endpoints: endpoints(&settings, listen),
        admin_socket: Some(settings.socket.clone()),
        transport: settings.transport,
        version: env!("CARGO_PKG_VERSION"),
        limits: settings.limits,
        journal: settings.journal,
    };
    let parts = Parts {
        clock: Arc::new(SystemClock),
        socket: runtime
            .wrap_udp_socket(bound.socket)
            .map_err(|error| unbindable(&settings, &error))?,
        runtime,
        engine,
        kek: keys.kek,
        controller: keys.controller,
        key: keys.key,
        supervisor,
        metrics_text: metrics.text(),
        seed: super::seed(),
        writing: Writing::Thread,
    };

    controller::run(config, parts, stop)
        .await
        .map_err(|failed| failure(&failed))
}

/// The file of the key-encryption key, unless it is the one in the data directory.
pub(crate) fn kek_file(settings: &ControllerSettings, credentials: &Credentials) -> Option<KekFile> {
    match &settings.kek_file {
        Some(path) if credentials.hold(path) => Some(KekFile::Credential(path.clone())),
        Some(path) => Some(KekFile::Private(path.clone())),
        None => credentials.find(&KEK).map(KekFile::Credential),
    }
}

/// Opens the store, and holds it to what the configuration says of its mode and its root.
fn confirmed(settings: &ControllerSettings) -> Result<SqliteEngine, Failure> {
    if !settings.data_dir.is_dir() {
        return Err(not_initialised(settings));
    }
    let engine = SqliteEngine::open(&settings.data_dir).map_err(|refused| unopenable(&refused))?;
    let stored = Stored::of(engine);
    let root = product_root(settings)?;
    let found = installation::find(&stored).map_err(|error| store_unreadable(&error))?;
    let mode = match settings.mode {
        Some(Mode::Strict) => StoredMode::Strict,
        Some(Mode::Dev) => StoredMode::Dev,
        None => found.as_ref().map_or(StoredMode::Strict, |row| row.mode),
    };
    installation::confirm(&stored, mode, root.as_ref()).map_err(|refused| unconfirmed(settings, &refused))?;
    if mode == StoredMode::Strict && root.is_none() {
        return Err(rootless());
    }

    Ok(stored.into_engine())
}

/// The store's own word on its root is worth nothing: whoever edits the store would name another.
fn rootless() -> Failure {
    Failure::usage("a strict installation is not started without its product root")
        .because("a store that was edited could name another root than yours")
        .affecting("nothing was started; agents go on with what they have")
        .fixed_by(
            "[product_root]    in controller.toml, with   keys = [\"PUBLIC_KEY\"]   as gabion root show prints it\n\
             or --root-key PUBLIC_KEY",
        )
}

/// The configured root, if one is.
pub(crate) fn product_root(settings: &ControllerSettings) -> Result<Option<ProductRoot>, Failure> {
    let configured = &settings.product_root;
    if configured.keys.is_empty() {
        return Ok(None);
    }
    let root = ProductRoot::new(configured.keys.iter().copied(), configured.threshold.unwrap_or(1));

    root.map(Some)
        .map_err(|invalid| Failure::usage("[product_root] cannot be met").because(invalid.to_string()))
}

/// What agents dial: as configured, or the address that is bound, or the host's name with the port.
fn endpoints(settings: &ControllerSettings, listen: SocketAddr) -> Vec<String> {
    if !settings.advertise.is_empty() {
        return settings.advertise.clone();
    }
    let endpoint = match listen.ip().is_unspecified() {
        true => format!("{}:{}", facts::host().hostname, listen.port()),
        false => listen.to_string(),
    };
    tracing::info!(%endpoint, "agents are told to dial this, as advertise says nothing");

    vec![endpoint]
}

fn unbindable(settings: &ControllerSettings, error: &std::io::Error) -> Failure {
    Failure::new(
        Exit::Failed,
        "socket",
        format!("the controller cannot listen on {}", settings.listen),
    )
    .because(error.to_string())
    .fixed_by("choose another address or port: listen in controller.toml, or --controller-listen")
}

fn unopenable(refused: &OpenFailed) -> Failure {
    let summary = "the controller's store cannot be opened";
    match refused {
        OpenFailed::Locked { .. } => Failure::new(Exit::Conflict, "in_use", summary)
            .because_of(refused)
            .affecting("the controller that runs goes on")
            .fixed_by("systemctl status gabion-controller    (one controller to a data directory)"),
        OpenFailed::Exposed { path, wanted, .. } => Failure::new(Exit::Usage, "store_exposed", summary)
            .because_of(refused)
            .fixed_by(format!("chmod {wanted:04o} {}", path.display())),
        OpenFailed::Damaged { .. }
        | OpenFailed::Foreign { .. }
        | OpenFailed::Io { .. }
        | OpenFailed::NewerSchema { .. }
        | OpenFailed::StoreFull { .. } => Failure::new(Exit::Failed, "store_unusable", summary)
            .because_of(refused)
            .affecting("agents go on with what they have"),
    }
}

fn store_unreadable(error: &control_core::store::StoreError) -> Failure {
    Failure::new(
        Exit::Failed,
        "store_unusable",
        "the controller's store cannot be read",
    )
    .because_of(error)
    .affecting("agents go on with what they have")
}

fn unconfirmed(settings: &ControllerSettings, refused: &ConfirmError) -> Failure {
    match refused {
        ConfirmError::NotInitialised => not_initialised(settings),
        ConfirmError::OtherMode { .. } | ConfirmError::OtherRoot => Failure::new(
            Exit::Conflict,
            "other_installation",
            "the data directory is not the one that the configuration describes",
        )
        .because_of(refused)
        .affecting("nothing was started; agents go on with what they have")
        .fixed_by("correct mode and [product_root] in controller.toml, or name another --data-dir"),
        ConfirmError::Failure(failure) => Failure::new(
            Exit::Failed,
            "store_unusable",
            "the controller's store cannot be read",
        )
        .because_of(failure),
    }
}

fn not_initialised(settings: &ControllerSettings) -> Failure {
    let directory = settings.data_dir.display();

    Failure::new(
        Exit::Usage,
        "not_initialised",
        format!("there is no installation in {directory}"),
    )
    .because("gabion controller init has not been run there, or its data was moved away")
    .affecting("nothing was started; agents go on with what they have")
    .fixed_by(format!(
        "gabion controller init --data-dir {directory} --root-key PUBLIC_KEY    (or --mode dev)"
    ))
}

/// A data directory that cannot be made, or whose keys cannot be read.
pub(crate) fn init_failed(failed: &InitFailed) -> Failure {
    let summary = failed.to_string();
    match failed {
        InitFailed::Exists { .. } => Failure::new(Exit::Conflict, "exists", summary)
            .because("an installation is never made anew over another")
            .fixed_by("gabion controller run    (starts the one that is there)"),
        InitFailed::Engine(refused) => unopenable(refused),
        InitFailed::Loose { path, .. } => Failure::new(
            Exit::Usage,
            "key_exposed",
            format!("{} can be read by others", path.display()),
        )
        .because("whoever has read it can act as this controller")
        .fixed_by(format!("chmod 600 {}", path.display())),
        InitFailed::Root => Failure::usage(summary)
            .fixed_by("--root-key PUBLIC_KEY    (gabion root keygen --out FILE makes one)"),
        InitFailed::Malformed { .. } => Failure::new(Exit::Failed, "not_a_key", summary),
        InitFailed::Activate(_)
        | InitFailed::Commit(_)
        | InitFailed::Initialise(_)
        | InitFailed::Io { .. }
        | InitFailed::Store(_)
        | InitFailed::StoreRead(_) => Failure::new(Exit::Failed, "init_failed", summary).because_of(failed),
    }
}

fn failure(failed: &ControllerFailed) -> Failure {
    Failure::new(Exit::Failed, "controller_failed", failed.to_string())
        .because_of(failed)
        .affecting("agents go on with what they have")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::controller::{ControllerFile, ControllerFlags};

    #[test]
    fn agents_are_told_what_is_configured_or_bound_or_the_hosts_name() {
        let settings = settings_of("");
        let any: SocketAddr = "[::]:7443".parse().unwrap();
        let one: SocketAddr = "127.0.0.1:40000".parse().unwrap();

        assert_eq!(endpoints(&settings, one), ["127.0.0.1:40000"]);
        assert_eq!(
            endpoints(&settings, any),
            [format!("{}:7443", facts::host().hostname)]
        );
        assert_eq!(endpoints(&settings_of("advertise = ['a:1']"), one), ["a:1"]);
    }

    #[test]
    fn a_directory_without_an_installation_is_not_made_by_running() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("none");
        let settings = settings_of(&format!("data_dir = '{}'", missing.display()));

        let failure = confirmed(&settings).unwrap_err();
        assert_eq!(
            (failure.exit, failure.code.as_str()),
            (Exit::Usage, "not_initialised")
        );
        assert!(!missing.exists());
    }

    #[test]
    fn a_key_of_the_service_manager_is_known_by_its_directory() {
        let directory = tempfile::tempdir().unwrap();
        let credentials = Credentials::of(directory.path());
        let handed = directory.path().join("gabion.kek");
        let named = settings_of(&format!("kek_file = '{}'", handed.display()));
        let own = settings_of("kek_file = '/etc/gabion/kek'");
        assert_eq!(kek_file(&settings_of(""), &credentials), None);
        std::fs::write(&handed, [7; 32]).unwrap();

        let credential = Some(KekFile::Credential(handed));
        assert_eq!(kek_file(&settings_of(""), &credentials), credential);
        assert_eq!(kek_file(&named, &credentials), credential);
        let private = Some(KekFile::Private("/etc/gabion/kek".into()));
        assert_eq!(kek_file(&own, &credentials), private);
    }

    fn settings_of(text: &str) -> ControllerSettings {
        let file: ControllerFile = toml::from_str(text).unwrap();

        file.settled(ControllerFlags::default(), None)
    }
}
