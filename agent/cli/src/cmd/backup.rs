//! `gabion backup`.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::Args;
use control_api::action::Action;
use serde_json::json;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A file that does not exist yet
    #[arg(value_name = "FILE")]
    target: PathBuf,
}

/// The copy comes over the socket: the service cannot write where its caller can. It has its name when it is whole.
pub(crate) async fn run(options: Options, session: &Session) -> Outcome {
    let target = std::path::absolute(&options.target).map_err(|error| refused(&options.target, &error))?;
    if target.symlink_metadata().is_ok() {
        return Err(refused(&target, &io::ErrorKind::AlreadyExists.into()));
    }
    let mut partial = target.clone().into_os_string();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let mut file = create(&partial).map_err(|error| refused(&partial, &error))?;
    let fetched = session.controller.fetch(Action::StoreBackup, &mut file).await;
    let kept =
        fetched.and_then(|()| keep(&file, &partial, &target).map_err(|error| refused(&target, &error)));
    // By now the copy has its own name, or is none.
    let _ = std::fs::remove_file(&partial);
    kept?;

    let done = json!({ "path": target, "state": "done" });
    session.put(&session.printer.item(&done))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(PRIVATE)
        .open(path)
}

/// On disk, and under its name, which must still be free.
fn keep(file: &File, partial: &Path, target: &Path) -> io::Result<()> {
    file.sync_all()?;
    std::fs::hard_link(partial, target)?;

    target
        .parent()
        .map_or(Ok(()), |directory| File::open(directory)?.sync_all())
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    let summary = format!("no backup can be written to {}", path.display());
    let failure = match error.kind() == io::ErrorKind::AlreadyExists {
        true => Failure::new(Exit::Conflict, "file_exists", summary),
        false => Failure::usage(summary),
    };

    failure
        .because(error.to_string())
        .fixed_by("gabion backup FILE    (a new file, with room for a copy of the store)")
}

/// A copy of the store holds sealed keys and the hashes of tokens.
const PRIVATE: u32 = 0o600;
