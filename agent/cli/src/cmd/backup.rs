//! `gabion backup`.

use std::path::PathBuf;

use clap::Args;
use control_api::action::Action;
use serde_json::json;

use crate::failure::Failure;
use crate::session::{Outcome, Session};

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// A file on the controller's host that does not exist yet
    #[arg(value_name = "FILE")]
    target: PathBuf,
}

pub(crate) async fn run(options: Options, session: &Session) -> Outcome {
    let path = std::path::absolute(&options.target).map_err(|error| {
        Failure::usage(format!("{} is no place for a backup", options.target.display()))
            .because(error.to_string())
    })?;

    session.show(Action::StoreBackup, json!({ "path": path })).await
}
