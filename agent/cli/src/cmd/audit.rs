//! `gabion audit`.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use control_api::action::Action;
use control_api::view::AuditVerdict;
use control_core::audit::{self, VerifyFailure};
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Column, brief, column};
use crate::session::{Outcome, Session, nothing};
use crate::stored::Stored;

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// List audit records
    List {
        /// Only records after this number
        #[arg(long, value_name = "NUMBER", default_value = "0")]
        after: u64,
        /// At most this many
        #[arg(long, value_name = "COUNT")]
        limit: Option<usize>,
    },
    /// Verify the audit chain, of the controller or of a copy of its data
    Verify {
        /// A data directory that no controller uses, or a backup; it is read and left as it is
        #[arg(long, value_name = "PATH")]
        data: Option<PathBuf>,
    },
}

pub(crate) async fn run(command: Command, session: &Session) -> Outcome {
    match command {
        Command::List { after, limit } => {
            let input = match limit {
                Some(limit) => json!({ "after": after, "limit": limit }),
                None => json!({ "after": after }),
            };
            session.list(Action::AuditList, input, &COLUMNS).await
        }
        Command::Verify { data: Some(path) } => {
            let verdict = offline(&path)?;
            judge(&json!(verdict), session)
        }
        Command::Verify { data: None } => {
            judge(&session.call(Action::AuditVerify, nothing()).await?, session)
        }
    }
}

fn judge(verdict: &Value, session: &Session) -> Outcome {
    session.put(&session.printer.told(verdict, || told(verdict)))?;

    match verdict["ok"] == true {
        true => Ok(Exit::Done),
        false => Ok(Exit::Problems),
    }
}

fn told(verdict: &Value) -> String {
    let head = verdict["head"].as_str().unwrap_or_default();
    match verdict["ok"] == true {
        true => format!(
            "the audit chain is whole: {} records, head {head}\n",
            verdict["records"]
        ),
        false => format!(
            "the audit chain is broken: record {} is the first bad one: {}\n",
            verdict["first_bad"],
            verdict["reason"].as_str().unwrap_or("no reason was given"),
        ),
    }
}

/// Walks the chain of a copy, so that evidence is left as it was found.
fn offline(path: &Path) -> Result<AuditVerdict, Failure> {
    let stored = Stored::copy_of(path)?;
    let unreadable = |error: &(dyn std::error::Error + 'static)| {
        Failure::new(
            Exit::Problems,
            "audit_unreadable",
            format!("the audit chain in {} cannot be read", path.display()),
        )
        .because_of(error)
    };
    let verdict = audit::verify(&stored, None);
    let head = audit::head(&stored).map_err(|error| unreadable(&error))?;
    let (first_bad, reason) = match verdict {
        Ok(_) => (None, None),
        Err(VerifyFailure::Broken(bad)) => (Some(bad.seq), Some(bad.why.to_string())),
        Err(failure @ VerifyFailure::Store(_)) => return Err(unreadable(&failure)),
    };

    Ok(AuditVerdict {
        ok: first_bad.is_none(),
        records: head.count,
        head: head.hash.to_string(),
        first_bad,
        reason,
    })
}

pub(super) const COLUMNS: [Column; 9] = [
    column("ID", "id"),
    column("AT", "at").whole(),
    column("WHAT", "name").whole(),
    brief("ACTOR", "actor"),
    column("UID", "uid").wide(),
    brief("TARGET", "target"),
    column("OUTCOME", "outcome").wide(),
    column("DETAIL", "detail").wide(),
    column("HASH", "hash").wide(),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_one_sentence() {
        let good = json!({"ok": true, "records": 7, "head": "ab", "first_bad": null, "reason": null});
        let bad =
            json!({"ok": false, "records": 7, "head": "ab", "first_bad": 3, "reason": "it was changed"});

        assert_eq!(told(&good), "the audit chain is whole: 7 records, head ab\n");
        assert_eq!(
            told(&bad),
            "the audit chain is broken: record 3 is the first bad one: it was changed\n"
        );
    }
}
