//! `gabion root`: the product root. It needs no controller and no network, and its private keys stay where they are.

use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_shell::clock::{Clock, SystemClock};
use clap::{Args, Subcommand};
use protocol::document::authority::{ActivationManifest, Role};
use protocol::envelope::{self, Stamp, Subject};
use protocol::id::{InstallationId, OperatorId};
use protocol::key::{Sign, SigningKey, VerifyKey};
use serde_json::{Value, json};

use crate::config::span::Span;
use crate::failure::Failure;
use crate::keyfile;
use crate::session::{Outcome, Session};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a key of the product root
    Keygen {
        /// The file for the private key; it must not exist
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
    },
    /// Sign the manifest that activates an installation and names its first owner
    SignActivation(SignActivation),
    /// Show the public half of a key and its fingerprint
    Show {
        /// A private key's file, or a public key
        #[arg(long, value_name = "FILE", allow_hyphen_values = true)]
        key: String,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SignActivation {
    /// A private key of the product root; may be repeated where several must sign
    #[arg(long = "key", value_name = "FILE", required = true)]
    keys: Vec<PathBuf>,
    /// The installation, as `gabion installation show` or `gabion controller init` prints it
    #[arg(long, value_name = "ID")]
    installation: InstallationId,
    /// What the first owner is called
    #[arg(long, value_name = "NAME")]
    owner_name: String,
    #[command(flatten)]
    owner: Owner,
    /// How long the manifest can be used
    #[arg(long, value_name = "TIME", default_value = "24h")]
    valid: Span,
    /// The file for the manifest; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// The owner's key: made now, or known already.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Owner {
    /// Make the owner's key and put it into this file
    #[arg(long, value_name = "FILE")]
    owner_key_out: Option<PathBuf>,
    /// The owner's public key, or a file with it
    #[arg(long, value_name = "PUBLIC_KEY", allow_hyphen_values = true)]
    owner_key: Option<String>,
}

pub(crate) fn run(command: Command, session: &Session) -> Outcome {
    let shown = match command {
        Command::Keygen { out } => {
            let key = SigningKey::generate(&mut rand::rng());
            keyfile::create(&out, &key)?;
            described(&key.verify_key(), Some(&out))
        }
        Command::SignActivation(options) => sign_activation(&options)?,
        Command::Show { key } => described(&keyfile::public(&key)?, None),
    };

    session.put(&session.printer.item(&shown))
}

fn described(key: &VerifyKey, file: Option<&Path>) -> Value {
    let mut shown = json!({
        "name": key.fingerprint().to_string(),
        "public_key": key.to_string(),
        "fingerprint": key.fingerprint().to_string(),
    });
    if let Some(file) = file {
        shown["file"] = Value::from(file.display().to_string());
    }

    shown
}

fn sign_activation(options: &SignActivation) -> Result<Value, Failure> {
    let roots = options
        .keys
        .iter()
        .map(|path| keyfile::read(path))
        .collect::<Result<Vec<_>, _>>()?;
    refuse_if_there(&options.out)?;
    let owner_key = owner_key(&options.owner)?;
    let owner = OperatorId::random(&mut rand::rng());
    let manifest = manifest(options, &roots, owner, owner_key);
    keyfile::write_new(&options.out, &manifest, keyfile::PUBLIC)?;

    Ok(json!({
        "name": options.owner_name,
        "installation": options.installation,
        "owner": owner,
        "owner_fingerprint": owner_key.fingerprint(),
        "signed_by": roots.iter().map(|root| root.verify_key().fingerprint()).collect::<Vec<_>>(),
        "valid_for_seconds": options.valid.get().as_secs(),
        "file": options.out.display().to_string(),
    }))
}

fn owner_key(owner: &Owner) -> Result<VerifyKey, Failure> {
    match (&owner.owner_key_out, &owner.owner_key) {
        (Some(path), _) => {
            let key = SigningKey::generate(&mut rand::rng());
            keyfile::create(path, &key)?;
            Ok(key.verify_key())
        }
        (None, Some(named)) => Ok(keyfile::public(named)?),
        (None, None) => Err(Failure::usage(
            "the owner needs a key: --owner-key-out FILE or --owner-key PUBLIC_KEY",
        )),
    }
}

fn manifest(
    options: &SignActivation,
    roots: &[SigningKey],
    owner: OperatorId,
    owner_key: VerifyKey,
) -> Vec<u8> {
    let now = SystemClock.now().wall;
    let mut nonce = [0; 16];
    rand::Rng::fill_bytes(&mut rand::rng(), &mut nonce);
    let body = ActivationManifest {
        installation: options.installation,
        owner,
        owner_name: options.owner_name.clone(),
        owner_key,
        role: Role::Owner,
        nonce,
        not_before: now.before(BACKDATING),
        not_after: now.after(options.valid.get()),
    };
    let stamp = Stamp {
        realm: options.installation.into(),
        subject: Subject::All,
        epoch: 0,
        version: 1,
        previous: None,
        issued_at: now,
        valid_until: None,
    };
    let signers: Vec<&dyn Sign> = roots.iter().map(|root| root as &dyn Sign).collect();

    envelope::seal(&stamp, &body, &signers)
}

/// Looks before a key is made that would then have nothing to go with.
fn refuse_if_there(path: &Path) -> Result<(), Failure> {
    match path.exists() {
        true => Err(keyfile::KeyFileRefused::Exists {
            path: path.to_owned(),
        }
        .into()),
        false => Ok(()),
    }
}

/// The controller's clock may be this much behind the one of the offline machine.
const BACKDATING: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use protocol::envelope::{Envelope, Expected};

    use super::*;

    #[test]
    fn a_manifest_verifies_under_every_key_that_signed_it() {
        let options = SignActivation {
            keys: Vec::new(),
            installation: InstallationId::from_bytes([7; 16]),
            owner_name: "ada".to_owned(),
            owner: Owner {
                owner_key_out: None,
                owner_key: None,
            },
            valid: "24h".parse().unwrap(),
            out: PathBuf::new(),
        };
        let roots = [SigningKey::from_seed(&[1; 32]), SigningKey::from_seed(&[2; 32])];
        let keys = roots.each_ref().map(SigningKey::verify_key);
        let owner = OperatorId::from_bytes([3; 16]);

        let bytes = manifest(&options, &roots, owner, keys[0]);
        let expected = Expected {
            realm: options.installation.into(),
            subject: Subject::All,
        };
        let opened = Envelope::parse(&bytes)
            .unwrap()
            .open_by::<ActivationManifest>(&expected, &keys, 2)
            .unwrap();
        assert_eq!(
            (opened.body.owner, opened.body.owner_name.as_str()),
            (owner, "ada")
        );
        assert_eq!(opened.body.role, Role::Owner);
        assert_eq!(
            opened.body.not_after.since(opened.body.not_before),
            Duration::from_secs(86_400) + BACKDATING
        );
    }
}
