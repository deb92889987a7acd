//! Makes a data directory: keys, the key-encryption key, and the empty installation.

use std::fs::{DirBuilder, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use control_api::failure::Failure;
use control_core::audit::Actor;
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
use zeroize::Zeroizing;

/// What a data directory is made from.
#[derive(Clone, Debug)]
pub struct InitConfig {
    pub data_dir: PathBuf,
    /// The key-encryption key's file; in the data directory unless configured.
    pub kek_file: Option<PathBuf>,
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

/// Creates the installation. A directory that holds one is left as it is.
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
    let kek_path = kek_path(dir, config.kek_file.as_deref());
    if !kek_path.exists() {
        write_secret(&kek_path, Kek::generate(rng).reveal())?;
    }
    let kek = read_kek(&kek_path)?;
    let controller = ControllerId::random(rng);
    write_secret(
        &dir.join(CONTROLLER_KEY),
        &SigningKey::generate(rng).reveal_pkcs8(),
    )?;
    write_secret(&dir.join(CONTROLLER_ID), controller.to_string().as_bytes())?;
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
            let key = SigningKey::generate(rng);
            write_secret(&dir.join(DEV_ROOT_KEY), &key.reveal_pkcs8())?;
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
    let owner_key = SigningKey::generate(desk.rng);
    write_secret(&dir.join(DEV_OWNER_KEY), &owner_key.reveal_pkcs8())?;
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
pub fn read_keys(dir: &Path, kek_file: Option<&Path>) -> Result<Keys, InitFailed> {
    let id_path = dir.join(CONTROLLER_ID);
    let key_path = dir.join(CONTROLLER_KEY);
    let id = read_secret(&id_path)?;
    let id = std::str::from_utf8(&id)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    let key = SigningKey::from_pkcs8(&read_secret(&key_path)?)
        .map_err(|_| InitFailed::Malformed { path: key_path })?;

    Ok(Keys {
        kek: read_kek(&kek_path(dir, kek_file))?,
        controller: id.ok_or(InitFailed::Malformed { path: id_path })?,
        key,
    })
}

fn kek_path(dir: &Path, configured: Option<&Path>) -> PathBuf {
    configured.map_or_else(|| dir.join(KEK), Path::to_path_buf)
}

fn read_kek(path: &Path) -> Result<Kek, InitFailed> {
    let bytes = read_secret(path)?;
    let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| InitFailed::Malformed {
        path: path.to_path_buf(),
    })?;

    Ok(Kek::from_bytes(bytes))
}

/// Reads a file that nobody else may read, and refuses one that others can.
fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, InitFailed> {
    let mut file = std::fs::File::open(path).map_err(|source| InitFailed::io(path, source))?;
    let mode = file
        .metadata()
        .map_err(|source| InitFailed::io(path, source))?
        .permissions()
        .mode();
    if mode & 0o077 != 0 {
        return Err(InitFailed::Loose {
            path: path.to_path_buf(),
            mode: mode & 0o777,
        });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes)
        .map_err(|source| InitFailed::io(path, source))?;

    Ok(bytes)
}

/// Writes a new file that only its owner may read, and has it on disk.
fn write_secret(path: &Path, bytes: &[u8]) -> Result<(), InitFailed> {
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        let directory = path.parent().unwrap_or_else(|| Path::new("."));
        std::fs::File::open(directory)?.sync_all()
    };

    written().map_err(|source| InitFailed::io(path, source))
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
    fn io(path: &Path, source: io::Error) -> Self {
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
