//! The directory and the database file, closed to others from the moment they exist.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::open::OpenFailed;

/// Creates `directory` with mode 0700, or refuses one in which others could put a file in place of ours.
pub(super) fn prepare_directory(directory: &Path) -> Result<(), OpenFailed> {
    let created = DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(directory);
    created.map_err(|source| OpenFailed::from_io(directory, source))?;

    require_private(directory, DIRECTORY_MODE, OTHERS_WRITE)
}

/// Creates the database file with mode 0600, which SQLite copies to the files it puts beside it.
pub(super) fn prepare_database(directory: &Path, path: &Path) -> Result<(), OpenFailed> {
    match create_private(path) {
        Ok(file) => {
            file.sync_all()
                .map_err(|source| OpenFailed::from_io(path, source))?;
            sync_directory(directory).map_err(|source| OpenFailed::from_io(directory, source))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            require_private(path, FILE_MODE, OTHERS)
        }
        Err(source) => Err(OpenFailed::from_io(path, source)),
    }
}

/// Creates a file with mode 0600; one that exists is an error.
pub(super) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(FILE_MODE)
        .open(path)
}

/// Makes the names in `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

fn require_private(path: &Path, wanted: u32, forbidden: u32) -> Result<(), OpenFailed> {
    let metadata = fs::metadata(path).map_err(|source| OpenFailed::from_io(path, source))?;
    let found = metadata.permissions().mode() & 0o777;
    match found & forbidden {
        0 => Ok(()),
        _ => Err(OpenFailed::Exposed {
            path: path.to_owned(),
            found,
            wanted,
        }),
    }
}

pub(super) const FILE_MODE: u32 = 0o600;
const DIRECTORY_MODE: u32 = 0o700;
/// The permission bits of group and others.
const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
