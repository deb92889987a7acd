//! Makes a data directory: keys, the key-encryption key, and the empty installation.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use control_api::failure::Failure;
use control_core::audit::{Actor, Uid};
use control_core::desk::Desk;
use control_core::installation::{self, InitialiseError, InstallationRow, Mode, ProductRoot};
use control_core::store::StoreError;
use control_core::vault::{Kek, Vault};
use control_store::sqlite::{OpenFailed, SqliteEngine};
use control_store::{GroupFailed, Store, StoreOpenFailed};
use protocol::document::authority::{ActivationManifest, Role};
use protocol::envelope::{self, Stamp, Subject};
use protocol::id::{ControllerId, InstallationId, OperatorId};
use protocol::key::{SigningKey, VerifyKey};
use protocol::time::{Now, Wall};

use crate::secrets;

pub use crate::secrets::KekFile;

/// What a data directory is made from.
#[derive(Clone, Debug)]
pub struct InitConfig {
    pub data_dir: PathBuf,
    /// The key-encryption key's file; in the data directory unless configured.
    pub kek_file: Option<KekFile>,
    pub root: Root,
}

/// Whom the installation answers to.
#[derive(Clone, Debug)]
pub enum Root {
    /// Keys that were made offline: the production mode.
    Strict { keys: Vec<VerifyKey>, threshold: u32 },
    /// A throw-away root in the data directory, and an owner at once.
    Dev,
}

/// What was made.
#[derive(Clone, Debug)]
pub struct Initialised {
    pub installation: InstallationRow,
    pub controller: ControllerId,
}

/// Creates the installation. A directory that holds one is left as it is. Keys of a run that was cut short, before its
/// only commit, are taken over.
pub fn init(config: &InitConfig, now: Now, rng: &mut dyn rand::CryptoRng) -> Result<Initialised, InitFailed> {
    let dir = &config.data_dir;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|source| InitFailed::io(dir, source))?;
    let engine = SqliteEngine::open(dir).map_err(InitFailed::Engine)?;
    let mut store = Store::open(engine).map_err(InitFailed::Store)?;
    if installation::find(&store.snapshot())?.is_some() {
        return Err(InitFailed::Exists { path: dir.clone() });
    }
    let kek = kek_file(dir, config.kek_file.as_ref()).read_or_make(rng)?;
    secrets::signing_key(&dir.join(CONTROLLER_KEY), rng)?;
    let controller = controller_id(&dir.join(CONTROLLER_ID), rng)?;
    let (mode, root, dev_root) = product_root(dir, &config.root, rng)?;
    let vault = Vault::new(std::collections::BTreeMap::from([(1, kek)]));
    let mut group = store.begin();
    let installation = group.request(|tx| {
        let mut desk = Desk {
            tx,
            signer: &vault,
            now,
            rng,
            actor: Actor::Local,
            uid: Some(Uid(rustix::process::geteuid().as_raw())),
        };
        let row = installation::initialise(&mut desk, mode, root).map_err(InitFailed::Initialise)?;
        match &dev_root {
            None => Ok(row),
            Some(root) => activate_dev(&mut desk, dir, root, row.id),
        }
    })?;
    group.commit().map_err(InitFailed::Commit)?;

    Ok(Initialised {
        installation,
        controller,
    })
}

fn product_root(
    dir: &Path,
    root: &Root,
    rng: &mut dyn rand::CryptoRng,
) -> Result<(Mode, ProductRoot, Option<SigningKey>), InitFailed> {
    match root {
        Root::Strict { keys, threshold } => {
            let root = ProductRoot::new(keys.iter().copied(), *threshold).map_err(|_| InitFailed::Root)?;
            Ok((Mode::Strict, root, None))
        }
        Root::Dev => {
            let key = secrets::signing_key(&dir.join(DEV_ROOT_KEY), rng)?;
            let root = ProductRoot::new([key.verify_key()], 1).map_err(|_| InitFailed::Root)?;
            Ok((Mode::Dev, root, Some(key)))
        }
    }
}

/// Signs and consumes a manifest as an operator would, with the throw-away root.
fn activate_dev(
    desk: &mut Desk<'_>,
    dir: &Path,
    root: &SigningKey,
    installation: InstallationId,
) -> Result<InstallationRow, InitFailed> {
    let owner_key = secrets::signing_key(&dir.join(DEV_OWNER_KEY), desk.rng)?;
    let mut nonce = [0; 16];
    desk.rng.fill_bytes(&mut nonce);
    let owner = Owner {
        id: OperatorId::random(desk.rng),
        name: "dev".to_owned(),
        key: owner_key.verify_key(),
    };
    let manifest = sign_activation(
        root,
        installation,
        &owner,
        nonce,
        (desk.now.wall, DEV_MANIFEST_LIFE),
    );

    installation::activate(desk, &manifest).map_err(|error| InitFailed::Activate(error.into()))
}

/// The first owner, as a manifest names it.
#[derive(Clone, Debug)]
pub struct Owner {
    pub id: OperatorId,
    pub name: String,
    pub key: VerifyKey,
}

/// The activation manifest of an installation, signed by one product root key.
pub fn sign_activation(
    root: &SigningKey,
    installation: InstallationId,
    owner: &Owner,
    nonce: [u8; 16],
    (from, life): (Wall, Duration),
) -> Vec<u8> {
    let body = ActivationManifest {
        installation,
        owner: owner.id,
        owner_name: owner.name.clone(),
        owner_key: owner.key,
        role: Role::Owner,
        nonce,
        not_before: from.before(BACKDATING),
        not_after: from.after(life),
    };
    let stamp = Stamp {
        realm: installation.into(),
        subject: Subject::All,
        epoch: 0,
        version: 1,
        previous: None,
        issued_at: from,
        valid_until: None,
    };

    envelope::seal(&stamp, &body, &[root])
}

/// The keys that a controller is started with.
pub struct Keys {
    pub kek: Kek,
    pub controller: ControllerId,
    pub key: SigningKey,
}

/// Reads the keys of a data directory.
pub fn read_keys(dir: &Path, kek: Option<&KekFile>) -> Result<Keys, InitFailed> {
    Ok(Keys {
        kek: kek_file(dir, kek).read()?,
        controller: read_controller_id(&dir.join(CONTROLLER_ID))?,
        key: secrets::read_signing_key(&dir.join(CONTROLLER_KEY))?,
    })
}

fn controller_id(path: &Path, rng: &mut dyn rand::CryptoRng) -> Result<ControllerId, InitFailed> {
    if !path.exists() {
        secrets::write(path, ControllerId::random(rng).to_string().as_bytes())?;
    }

    read_controller_id(path)
}

fn read_controller_id(path: &Path) -> Result<ControllerId, InitFailed> {
    let bytes = secrets::read(path)?;
    let text = std::str::from_utf8(&bytes).ok();

    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| secrets::malformed(path))
}

fn kek_file(dir: &Path, configured: Option<&KekFile>) -> KekFile {
    configured
        .cloned()
        .unwrap_or_else(|| KekFile::Private(dir.join(KEK)))
}

#[derive(Debug, thiserror::Error)]
pub enum InitFailed {
    /// The throw-away manifest was refused.
    #[error("the development installation cannot be activated: {}", .0.message)]
    Activate(Failure),
    /// The first commit was not taken.
    #[error("the installation cannot be written")]
    Commit(#[source] GroupFailed),
    /// The database cannot be opened, or another controller has it.
    #[error("the database cannot be opened")]
    Engine(#[source] OpenFailed),
    /// There is an installation already.
    #[error("{} holds an installation already", path.display())]
    Exists { path: PathBuf },
    /// The kernel refused.
    #[error("the installation cannot be created")]
    Initialise(#[source] InitialiseError),
    /// A file cannot be read or written.
    #[error("{} cannot be used", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// Others can read a secret: fix it with `chmod`.
    #[error("{0} has mode {mode:04o}: others can read it; run: chmod 600 {0}", path.display())]
    Loose { path: PathBuf, mode: u32 },
    /// A key file holds something else.
    #[error("{} does not hold what it should", path.display())]
    Malformed { path: PathBuf },
    /// No key, too many, or a threshold that cannot be reached.
    #[error("the product root needs 1 to 8 keys, and a threshold of at most as many")]
    Root,
    /// The store cannot be led.
    #[error("the store cannot be opened")]
    Store(#[source] StoreOpenFailed),
    /// The store cannot be read.
    #[error("the store cannot be read")]
    StoreRead(#[from] StoreError),
}

impl InitFailed {
    pub(crate) fn io(path: &Path, source: io::Error) -> Self {
        Self::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}

const CONTROLLER_ID: &str = "controller.id";
const CONTROLLER_KEY: &str = "controller.key";
const DEV_OWNER_KEY: &str = "dev-owner.key";
const DEV_ROOT_KEY: &str = "dev-root.key";
const KEK: &str = "kek";
/// A manifest may be used by a clock that is this much behind.
const BACKDATING: Duration = Duration::from_secs(300);
const DEV_MANIFEST_LIFE: Duration = Duration::from_secs(3_600);
