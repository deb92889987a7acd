//! `gabion controller`.

use std::path::PathBuf;

use agent_shell::clock::{Clock, SystemClock};
use clap::{Args, Subcommand};
use control_core::installation::Mode as StoredMode;
use control_shell::init::{self, InitConfig, Initialised, Root};
use serde_json::json;

use crate::arguments::Globals;
use crate::config;
use crate::config::controller::{ControllerFile, ControllerFlags, ControllerSettings, Mode, USUAL_FILE};
use crate::config::credential::Credentials;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keyfile;
use crate::service::metrics::Metrics;
use crate::service::{controller, notify, stop};
use crate::session::Outcome;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a data directory: keys, store, and the installation
    Init(Init),
    /// Run the controller until it is asked to stop
    Run(Run),
}

#[derive(Debug, Args)]
pub(crate) struct Init {
    #[command(flatten)]
    run: Run,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    /// The configuration file
    #[arg(long, env = "GABION_CONTROLLER_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// A public key of the product root, or a file with it and not the private one; may be repeated
    #[arg(long = "root-key", value_name = "PUBLIC_KEY", allow_hyphen_values = true)]
    root_keys: Vec<String>,
    /// How many of the product root's keys must sign
    #[arg(long, value_name = "COUNT")]
    threshold: Option<u32>,
    #[command(flatten)]
    flags: ControllerFlags,
}

impl Run {
    fn settings(self, globals: &Globals) -> Result<ControllerSettings, Failure> {
        let file: ControllerFile = config::read(self.config.as_deref(), USUAL_FILE)?;

        let mut settings = file.settled(self.flags, globals.socket.clone());
        if !self.root_keys.is_empty() {
            let keys = self.root_keys.iter().map(|named| keyfile::public_alone(named));
            settings.product_root.keys = keys.collect::<Result<_, _>>()?;
        }
        settings.product_root.threshold = self.threshold.or(settings.product_root.threshold);

        Ok(settings)
    }
}

pub(crate) async fn run(command: Command, globals: Globals) -> Outcome {
    match command {
        Command::Init(options) => init(options, globals),
        Command::Run(options) => serve(options.settings(&globals)?).await,
    }
}

async fn serve(settings: ControllerSettings) -> Outcome {
    let metrics = Metrics::start()?;
    let [supervisor] = notify::voices(["controller"]);

    stop::until_signalled(|stop| async move {
        let upkeep = metrics.clone();
        tokio::select! {
            ended = controller::run(settings, supervisor, metrics, stop.asked()) => ended.map(|()| Exit::Done),
            never = upkeep.kept_small() => never,
        }
    })
    .await
}

fn init(options: Init, globals: Globals) -> Outcome {
    let session = super::session(globals.clone())?;
    let settings = options.run.settings(&globals)?;
    let made = init::init(
        &InitConfig {
            data_dir: settings.data_dir.clone(),
            kek_file: controller::kek_file(&settings, &Credentials::of_environment()),
            root: root(&settings)?,
        },
        SystemClock.now(),
        &mut rand::rng(),
    );
    let made = made.map_err(|failed| controller::init_failed(&failed))?;
    eprintln!("{}", next_steps(&made, &settings));

    session.put(&session.printer.item(&json!({
        "id": made.installation.id,
        "name": made.installation.id,
        "state": made.installation.state.name(),
        "mode": made.installation.mode.name(),
        "product_roots": made.installation.root.fingerprints(),
        "threshold": made.installation.root.threshold,
        "controller": made.controller,
        "data_dir": settings.data_dir,
    })))
}

fn root(settings: &ControllerSettings) -> Result<Root, Failure> {
    let configured = controller::product_root(settings)?;
    match (settings.mode, configured) {
        (Some(Mode::Dev), None) => Ok(Root::Dev),
        (Some(Mode::Dev), Some(_)) => Err(Failure::usage("dev mode makes a product root of its own")
            .fixed_by("leave out --root-key, or choose --mode strict")),
        (Some(Mode::Strict) | None, Some(root)) => Ok(Root::Strict {
            keys: root.keys,
            threshold: root.threshold,
        }),
        (Some(Mode::Strict) | None, None) => {
            Err(Failure::usage("a strict installation needs a product root")
                .because("everything that this installation trusts goes back to keys that are kept offline")
                .fixed_by(
                    "gabion root keygen --out root.key    on an offline machine, and then   --root-key PUBLIC_KEY   here\n\
                 or --mode dev, to try things out with a throw-away root",
                ))
        }
    }
}

fn next_steps(made: &Initialised, settings: &ControllerSettings) -> String {
    let directory = settings.data_dir.display();
    let run = format!("gabion controller run --data-dir {directory}");
    match made.installation.mode {
        StoredMode::Dev => format!(
            "DEV MODE: the product root and the owner's key lie in {directory}; whoever reads them owns this installation.\n\
             Next:  {run}"
        ),
        StoredMode::Strict => format!(
            "Next:  put [product_root] into controller.toml, unless it is there    (or add --root-key to each run)\n       \
             {run}\n       gabion root sign-activation --key root.key --installation {} --owner-name NAME \\\n         \
             --owner-key-out owner.key --out manifest    (where the root key is)\n       \
             gabion installation activate --manifest manifest",
            made.installation.id
        ),
    }
}

#[cfg(test)]
mod tests {
    use protocol::key::SigningKey;

    use super::*;

    #[test]
    fn strict_needs_a_root_and_dev_takes_none() {
        let with = |text: &str| {
            let file: ControllerFile = toml::from_str(text).unwrap();
            root(&file.settled(ControllerFlags::default(), None))
        };
        let key = SigningKey::from_seed(&[1; 32]).verify_key();
        let configured = format!("[product_root]\nkeys = ['{key}']");

        assert!(matches!(with("mode = 'dev'"), Ok(Root::Dev)));
        assert!(matches!(with(&configured), Ok(Root::Strict { threshold: 1, .. })));
        assert!(with("").is_err() && with("mode = 'strict'").is_err());
        assert!(with(&format!("mode = 'dev'\n{configured}")).is_err());
        assert!(with(&format!("{configured}\nthreshold = 2")).is_err());
    }
}
