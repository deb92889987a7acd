//! `gabion installation`.

use std::path::PathBuf;

use clap::Subcommand;
use control_api::action::Action;
use data_encoding::BASE64URL_NOPAD;
use serde_json::json;

use crate::cmd::inspect;
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show mode, product root, activation and first owner
    Show,
    /// Consume an activation manifest and make the first owner
    Activate {
        /// The manifest that `gabion root sign-activation` wrote
        #[arg(long, value_name = "FILE")]
        manifest: PathBuf,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::Show => session.show(Action::InstallationShow, nothing()).await,
        Command::Activate { manifest } => {
            let bytes = inspect::read_document(&manifest)?;
            let input = json!({ "manifest": BASE64URL_NOPAD.encode(&bytes) });
            session.show(Action::InstallationActivate, input).await
        }
    }
}
