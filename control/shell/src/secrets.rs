//! Files with keys: made whole or not at all, closed to others, and refused when they are not.

use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use control_core::vault::Kek;
use protocol::key::SigningKey;
use zeroize::Zeroizing;

use crate::init::InitFailed;

/// Where the key-encryption key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KekFile {
    /// Handed over by the service manager, which shows an access list of its own as a mode of 0440. It is never made
    /// here.
    Credential(PathBuf),
    /// A file that only its owner may read.
    Private(PathBuf),
}

impl KekFile {
    /// The key; where there is none yet, one is made unless it is a credential.
    pub(crate) fn read_or_make(&self, rng: &mut dyn rand::CryptoRng) -> Result<Kek, InitFailed> {
        match self {
            Self::Private(path) if !path.exists() => write(path, Kek::generate(rng).reveal())?,
            Self::Private(_) | Self::Credential(_) => {}
        }

        self.read()
    }

    pub(crate) fn read(&self) -> Result<Kek, InitFailed> {
        let (path, closed_to) = match self {
            Self::Credential(path) => (path, OTHERS_OR_WRITERS),
            Self::Private(path) => (path, GROUP_AND_OTHERS),
        };
        let bytes = read_closed(path, closed_to)?;
        let bytes: [u8; 32] = bytes.as_slice().try_into().map_err(|_| malformed(path))?;

        Ok(Kek::from_bytes(bytes))
    }
}

/// The signing key in a file, which is made if it is not there.
pub(crate) fn signing_key(path: &Path, rng: &mut dyn rand::CryptoRng) -> Result<SigningKey, InitFailed> {
    if !path.exists() {
        write(path, &SigningKey::generate(rng).reveal_pkcs8())?;
    }

    read_signing_key(path)
}

pub(crate) fn read_signing_key(path: &Path) -> Result<SigningKey, InitFailed> {
    SigningKey::from_pkcs8(&read(path)?).map_err(|_| malformed(path))
}

/// Reads a file that nobody else may read, and refuses one that others can.
pub(crate) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, InitFailed> {
    read_closed(path, GROUP_AND_OTHERS)
}

fn read_closed(path: &Path, closed_to: u32) -> Result<Zeroizing<Vec<u8>>, InitFailed> {
    let mut file = File::open(path).map_err(|source| InitFailed::io(path, source))?;
    let mode = file
        .metadata()
        .map_err(|source| InitFailed::io(path, source))?
        .permissions()
        .mode();
    if mode & closed_to != 0 {
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

/// Writes a new file that only its owner may read, and has it on disk. A crash leaves all of it or none.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), InitFailed> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(UNFINISHED);
    let written = || -> io::Result<()> {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)?;
        file.set_permissions(Permissions::from_mode(0o600))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)?;
        let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        File::open(directory.unwrap_or_else(|| Path::new(".")))?.sync_all()
    };

    written().map_err(|source| InitFailed::io(path, source))
}

pub(crate) fn malformed(path: &Path) -> InitFailed {
    InitFailed::Malformed {
        path: path.to_path_buf(),
    }
}

/// Permission bits that a key's file must not have.
const GROUP_AND_OTHERS: u32 = 0o077;
/// The same of a credential: an access list that lets the service in shows in the bit with which a group reads.
const OTHERS_OR_WRITERS: u32 = 0o037;
/// The end of the name of a file that is being written.
const UNFINISHED: &str = ".new";

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn a_credential_may_show_its_access_list_as_a_group_that_reads() {
        for mode in [0o400, 0o440, 0o600, 0o640] {
            let (_directory, path) = kek_of(mode);
            assert!(KekFile::Credential(path).read().is_ok(), "{mode:o}");
        }
        for mode in [0o444, 0o604, 0o460, 0o450] {
            let (_directory, path) = kek_of(mode);
            let refused = KekFile::Credential(path).read();
            assert!(matches!(refused, Err(InitFailed::Loose { .. })), "{mode:o}");
        }
    }

    #[test]
    fn a_file_of_ours_is_for_its_owner_alone() {
        for mode in [0o440, 0o640, 0o604, 0o644] {
            let (_directory, path) = kek_of(mode);
            let refused = KekFile::Private(path).read();
            assert!(matches!(refused, Err(InitFailed::Loose { .. })), "{mode:o}");
        }
    }

    #[test]
    fn a_credential_is_never_made_here() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gabion.kek");

        let made = KekFile::Credential(path.clone()).read_or_make(&mut StdRng::seed_from_u64(1));
        assert!(matches!(made, Err(InitFailed::Io { .. })));
        assert!(!path.exists());
    }

    fn kek_of(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gabion.kek");
        std::fs::write(&path, [7; 32]).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();

        (directory, path)
    }
}
