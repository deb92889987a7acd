//! `gabion role`: rights are documents that an owner, or the product root, signs on this machine. The controller only
//! records them.

use std::path::PathBuf;
use std::time::Duration;

use agent_shell::clock::{Clock, SystemClock};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use control_api::action::Action;
use data_encoding::BASE64URL_NOPAD;
use protocol::document::authority::{Role, RoleGrant};
use protocol::envelope::{self, Stamp, Subject};
use protocol::id::{ClusterId, InstallationId, OperatorId};
use protocol::key::{SigningKey, VerifyKey};
use protocol::time::Wall;
use serde_json::{Value, json};

use super::inspect;
use crate::config::span::Span;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::keyfile;
use crate::output::{Column, column};
use crate::session::{Outcome, Session, nothing};

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Sign a right and put it into force
    Grant(Grant),
    /// Sign away a right that was granted
    Revoke(Grant),
    /// List the grants, and say which of them verify
    List,
}

#[derive(Debug, Args)]
pub(crate) struct Grant {
    /// A grant that was signed elsewhere, to be recorded as it is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["operator", "role", "key"])]
    document: Option<PathBuf>,
    /// Whose right: a name or an id; an unknown name makes an operator
    #[arg(long, value_name = "NAME", required_unless_present = "document")]
    operator: Option<String>,
    /// Which right
    #[arg(long, required_unless_present = "document", value_parser = PossibleValuesParser::new(ROLES))]
    role: Option<String>,
    /// The private key that signs: an owner's, or the product root's
    #[arg(long, value_name = "FILE", required_unless_present = "document")]
    key: Option<PathBuf>,
    /// The operator's public key, or a file with it
    #[arg(long, value_name = "PUBLIC_KEY", allow_hyphen_values = true)]
    operator_key: Option<String>,
    /// In one cluster alone, by name or id; everywhere otherwise
    #[arg(long, value_name = "NAME")]
    in_cluster: Option<String>,
    /// How long the right lasts; until it is signed away otherwise
    #[arg(long = "for", value_name = "TIME")]
    lasts: Option<Span>,
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::Grant(grant) => record(&grant, Change::Give, session).await,
        Command::Revoke(grant) => record(&grant, Change::Take, session).await,
        Command::List => session.list(Action::RoleList, nothing(), &COLUMNS).await,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Give,
    Take,
}

async fn record(grant: &Grant, change: Change, session: &Session) -> Outcome {
    let document = match &grant.document {
        Some(path) => inspect::read_document(path)?,
        None => sign(grant, change, session).await?,
    };

    session
        .show(
            Action::RoleGrant,
            json!({ "grant": BASE64URL_NOPAD.encode(&document) }),
        )
        .await
}

async fn sign(grant: &Grant, change: Change, session: &Session) -> Result<Vec<u8>, Failure> {
    let key = keyfile::read(required(grant.key.as_deref(), "--key")?)?;
    let installation = session.call(Action::InstallationShow, nothing()).await?;
    let installation: InstallationId = member(&installation, "id")?;
    let body = body(grant, change, session).await?;

    Ok(sealed(&body, &key, installation, lifetime(grant, change)))
}

async fn body(grant: &Grant, change: Change, session: &Session) -> Result<RoleGrant, Failure> {
    let named = required(grant.operator.as_deref(), "--operator")?;
    let operators = session.call(Action::OperatorList, nothing()).await?;
    let is_named = |operator: &&Value| operator["name"] == named || operator["id"] == named;
    let known = operators.as_array().into_iter().flatten().find(is_named);
    let (operator, name) = match known {
        Some(known) => (member(known, "id")?, member(known, "name")?),
        None if change == Change::Give => (OperatorId::random(&mut rand::rng()), named.to_owned()),
        None => return Err(unknown(named)),
    };
    let role = required(grant.role.as_deref(), "--role")?;

    Ok(RoleGrant {
        operator,
        name,
        key: operator_key(grant, known)?,
        role: Role::ALL
            .into_iter()
            .find(|known| known.name() == role)
            .ok_or_else(|| Failure::usage(format!("{role} is no role")))?,
        cluster: cluster(grant.in_cluster.as_deref(), session).await?,
    })
}

/// A grant names the operator's key: as it was given, or as the controller has it.
fn operator_key(grant: &Grant, known: Option<&Value>) -> Result<VerifyKey, Failure> {
    if let Some(named) = &grant.operator_key {
        return Ok(keyfile::public(named)?);
    }
    let of_controller = known
        .and_then(|known| known.get("public_key"))
        .and_then(Value::as_str);

    of_controller.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Failure::usage("the operator's public key is needed")
            .because("a grant binds a right to a key, and the controller shows none for this operator")
            .fixed_by("add --operator-key PUBLIC_KEY    (gabion root keygen --out FILE makes one)")
    })
}

async fn cluster(named: Option<&str>, session: &Session) -> Result<Option<ClusterId>, Failure> {
    let Some(named) = named else { return Ok(None) };
    let cluster = session
        .call(Action::ClusterShow, json!({ "cluster": named }))
        .await?;

    member(&cluster, "id").map(Some)
}

/// When it is signed, and when it ends: what is signed away ends at once.
fn lifetime(grant: &Grant, change: Change) -> (Wall, Option<Wall>) {
    let now = SystemClock.now().wall;
    let until = match change {
        Change::Give => grant.lasts.map(|lasts| now.after(lasts.get())),
        Change::Take => Some(now.before(OVER)),
    };

    (now, until)
}

/// The version is the time: of two grants of one right the one signed later counts.
fn sealed(
    body: &RoleGrant,
    key: &SigningKey,
    installation: InstallationId,
    (now, valid_until): (Wall, Option<Wall>),
) -> Vec<u8> {
    let stamp = Stamp {
        realm: installation.into(),
        subject: Subject::All,
        epoch: 0,
        version: now.0,
        previous: None,
        issued_at: now,
        valid_until,
    };

    envelope::seal(&stamp, body, &[key])
}

fn required<'a, T: ?Sized>(value: Option<&'a T>, flag: &str) -> Result<&'a T, Failure> {
    value.ok_or_else(|| Failure::usage(format!("{flag} is needed")))
}

fn member<T: std::str::FromStr>(view: &Value, key: &str) -> Result<T, Failure> {
    let text = view.get(key).and_then(Value::as_str);

    text.and_then(|text| text.parse().ok()).ok_or_else(|| {
        Failure::new(
            Exit::Failed,
            "unexpected_reply",
            format!("the controller's answer has no usable {key}"),
        )
        .fixed_by("gabion version    (command line and service should be of one version)")
    })
}

fn unknown(named: &str) -> Failure {
    Failure::of_code(
        protocol::error::Code::NotFound,
        format!("no operator is called {named:?}"),
    )
    .fixed_by("gabion operator list")
}

const COLUMNS: [Column; 6] = [
    column("NAME", "name"),
    column("STATE", "state"),
    column("ROLE", "role"),
    column("CLUSTER", "cluster"),
    column("SIGNER", "signer"),
    column("ID", "id").wide(),
];

/// In the order of [`Role::ALL`].
const ROLES: [&str; 5] = ["owner", "admin", "approver", "auditor", "viewer"];
/// How long before its signature a right that is signed away ended: the controller's clock may be behind ours.
const OVER: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use protocol::envelope::{Envelope, Expected};

    use super::*;

    #[test]
    fn the_roles_of_the_command_line_are_those_of_the_protocol() {
        assert_eq!(Role::ALL.map(Role::name), ROLES);
    }

    #[test]
    fn a_right_that_is_signed_away_is_over_and_newer_than_the_one_that_gave_it() {
        let (given, until) = lifetime(&grant(), Change::Give);
        let (taken, over) = lifetime(&grant(), Change::Take);

        assert_eq!(until, None);
        assert!(over.is_some_and(|over| over < given));
        let key = SigningKey::from_seed(&[1; 32]);
        let installation = InstallationId::from_bytes([2; 16]);
        let body = RoleGrant {
            operator: OperatorId::from_bytes([3; 16]),
            name: "grace".to_owned(),
            key: key.verify_key(),
            role: Role::Approver,
            cluster: None,
        };
        let expected = Expected {
            realm: installation.into(),
            subject: Subject::All,
        };
        let bytes = sealed(&body, &key, installation, (taken, over));
        let opened = Envelope::parse(&bytes)
            .unwrap()
            .open::<RoleGrant>(&expected, &key.verify_key())
            .unwrap();
        assert_eq!(opened.body, body);
        assert_eq!(
            (opened.header.version, opened.header.valid_until),
            (taken.0, over)
        );
    }

    #[test]
    fn the_key_comes_from_the_controller_unless_one_is_given() {
        let (ours, theirs) = (
            SigningKey::from_seed(&[1; 32]).verify_key(),
            SigningKey::from_seed(&[2; 32]).verify_key(),
        );
        let known = json!({ "public_key": theirs.to_string() });

        assert_eq!(operator_key(&grant(), Some(&known)), Ok(theirs));
        assert!(operator_key(&grant(), Some(&json!({}))).is_err());
        let given = Grant {
            operator_key: Some(ours.to_string()),
            ..grant()
        };
        assert_eq!(operator_key(&given, Some(&known)), Ok(ours));
    }

    fn grant() -> Grant {
        Grant {
            document: None,
            operator: Some("grace".to_owned()),
            role: Some("approver".to_owned()),
            key: Some(PathBuf::from("key")),
            operator_key: None,
            in_cluster: None,
            lasts: None,
        }
    }
}
