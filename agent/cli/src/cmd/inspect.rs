//! `gabion inspect FILE`: any signed document, token or state file as JSON, and what verifies.

use std::path::{Path, PathBuf};

use clap::Args;
use protocol::key::VerifyKey;
use serde_json::Value;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::inspect::{self, Found};
use crate::keyfile;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A signed document, a file with a join token, or a file of an agent's state directory
    file: PathBuf,
    /// A public key, or a file with one, that should have signed; may be repeated
    #[arg(long = "key", value_name = "PUBLIC_KEY", allow_hyphen_values = true)]
    keys: Vec<String>,
}

pub(crate) fn run(options: &Options, session: &Session) -> Outcome {
    let keys = options
        .keys
        .iter()
        .map(|named| keyfile::public(named))
        .collect::<Result<Vec<VerifyKey>, _>>()?;
    let bytes = read_document(&options.file)?;
    let name = options
        .file
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    let found = inspect::inspect(name, &bytes, &keys).map_err(|refused| {
        Failure::new(
            Exit::Usage,
            "not_readable",
            format!("{} is nothing that can be shown", options.file.display()),
        )
        .because_of(&refused)
        .fixed_by("name a signed document, a file with a join token, or a file of an agent's state directory")
    })?;
    if keys.is_empty() {
        eprintln!("No signature was checked: name the key that should have signed with --key.");
    }
    session.put(&session.printer.told(&found.shown, || pretty(&found.shown)))?;

    Ok(exit(&found, &keys))
}

fn exit(found: &Found, keys: &[VerifyKey]) -> Exit {
    match found.intact && (keys.is_empty() || found.verified) {
        true => Exit::Done,
        false => Exit::Problems,
    }
}

/// What is inside has no form but JSON.
fn pretty(shown: &Value) -> String {
    format!("{shown:#}\n")
}

/// Reads a file that may be anything, up to the longest that is something.
pub(crate) fn read_document(path: &Path) -> Result<Vec<u8>, Failure> {
    let refuse = |why: String| {
        Failure::usage(format!("{} cannot be read", path.display()))
            .because(why)
            .fixed_by(format!(
                "ls -l {}    (says whether it is there and whose it is)",
                path.display()
            ))
    };
    let length = std::fs::metadata(path)
        .map_err(|error| refuse(error.to_string()))?
        .len();
    if length > LIMIT {
        return Err(refuse(format!(
            "it has {length} bytes, and no document of ours is that long"
        )));
    }

    std::fs::read(path).map_err(|error| refuse(error.to_string()))
}

/// A state file holds six documents, each at most as long as a frame.
const LIMIT: u64 = 8 * protocol::limits::FRAME_BYTES as u64;
