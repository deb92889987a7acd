//! `gabion version`.

use serde_json::json;

use crate::session::{Outcome, Session};

pub(crate) fn run(session: &Session) -> Outcome {
    let version = env!("CARGO_PKG_VERSION");
    let item = json!({ "name": "gabion", "version": version, "json_schema": JSON_SCHEMA });

    session.put(&session.printer.told(&item, || format!("gabion {version}\n")))
}

/// Rises when a member of a JSON result goes or changes its meaning; new members do not raise it.
const JSON_SCHEMA: u32 = 1;
