//! The journal as lines of JSON, and the decisions in them made again from their inputs alone. Pure: it needs no controller.

use std::collections::BTreeMap;

use control_routing::case::Case;
use control_routing::journal::{self, Decided, Found, JournalRow, Unreadable, What};
use protocol::document::routes::Path;
use protocol::id::{NodeId, RouteId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::view::time;

/// A decision in an export. Times in `inputs` are milliseconds: `wall`, `decided_at`, `granted_at` and the `withdrawn_at` of
/// a lease since 1970, all others since the controller's machine booted, as `boot`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub schema: u64,
    pub id: u64,
    /// When it was written down.
    pub at: String,
    /// The version that decided.
    pub by: String,
    /// The names of both ends.
    pub name: String,
    /// What the nodes in it are called.
    pub nodes: BTreeMap<NodeId, String>,
    pub inputs: Case,
    /// None in a line whose result was removed.
    #[serde(default)]
    pub result: Option<Decided>,
}

/// The line of an entry. One that cannot be read, or whose case cannot, says so in its place.
pub fn line(found: &Found, name: &dyn Fn(NodeId) -> String) -> Value {
    let written = match &found.row {
        Ok(row) => written(row, name),
        Err(refused) => Err(refused.clone()),
    };

    written.unwrap_or_else(|refused| {
        let at = found.row.as_ref().ok().map(|row| time(row.at));

        json!({ "schema": SCHEMA, "id": found.seq, "at": at, "unreadable": refused.to_string() })
    })
}

fn written(row: &JournalRow, name: &dyn Fn(NodeId) -> String) -> Result<Value, Unreadable> {
    let (result, case) = match &row.what {
        What::Decided { result, case } => (result, case),
        What::Missed(count) => {
            return Ok(json!({ "schema": SCHEMA, "id": row.seq, "at": time(row.at), "missed": count }));
        }
    };
    let inputs = journal::case(case)?;
    let ends = [inputs.low.node, inputs.high.node];
    let relays = inputs.relays.iter().map(|relay| relay.node);
    let leased = inputs.leases.iter().map(|lease| lease.relay);
    let introducers = inputs.introducers.iter().map(|introducer| introducer.node);
    let nodes = ends.into_iter().chain(relays).chain(introducers).chain(leased);
    let line = Line {
        schema: SCHEMA,
        id: row.seq,
        at: time(row.at),
        by: row.by.clone(),
        name: format!("{} {}", name(ends[0]), name(ends[1])),
        nodes: nodes.map(|node| (node, name(node))).collect(),
        inputs,
        result: Some(result.as_ref().clone()),
    };

    serde_json::to_value(line).map_err(|error| Unreadable(error.to_string()))
}

/// Takes the result out of a line.
pub fn without_result(mut line: Value) -> Value {
    if let Some(members) = line.as_object_mut() {
        members.remove("result");
    }

    line
}

/// What a line comes to.
#[derive(Clone, Debug, PartialEq)]
pub enum Replayed {
    Decision(Box<Judged>),
    /// So many decisions are not in the journal.
    Missed(u64),
    /// The controller could not read the entry: there is nothing to be made again.
    Unreadable(Damaged),
}

/// An entry that says nothing any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damaged {
    pub id: u64,
    pub reason: String,
}

/// A decision made again, beside the one that is recorded.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Judged {
    pub id: u64,
    pub name: String,
    /// `agrees`, `differs`, or `derived` where no result is recorded.
    pub state: &'static str,
    pub at: String,
    pub by: String,
    pub route: RouteId,
    pub generation: u64,
    /// The names of the path; none if it was withdrawn, or where no result is recorded.
    pub recorded: Option<Vec<String>>,
    pub derived: Option<Vec<String>>,
    pub action: Option<&'static str>,
    pub reasons: Vec<&'static str>,
    /// None where no result is recorded.
    pub agree: Option<bool>,
    pub differences: Vec<Difference>,
    /// All that was derived, as a line has it; none if nothing new would be decided.
    pub result: Option<Decided>,
}

/// A member of the result that comes out otherwise.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub member: String,
    pub recorded: Value,
    pub derived: Value,
}

/// Why something is no line of an export.
#[derive(Debug, thiserror::Error)]
pub enum NotALine {
    /// The ids contradict each other: it was put together by hand.
    #[error("the route, its ends and its leases do not belong together")]
    Contradictory,
    #[error("it is no JSON")]
    NotJson(#[source] serde_json::Error),
    /// Another version wrote it, or another program.
    #[error("schema {0} is not known to this version")]
    Schema(Value),
    /// A member is missing, is not known, or has another form.
    #[error("it is not of the form of an export")]
    Shape(#[source] serde_json::Error),
}

/// Makes the decision of one line again. What is recorded is compared unless it is not to be looked at.
pub fn replay(text: &str, with_result: bool) -> Result<Replayed, NotALine> {
    let value: Value = serde_json::from_str(text).map_err(NotALine::NotJson)?;
    if value["schema"] != SCHEMA {
        return Err(NotALine::Schema(value["schema"].clone()));
    }
    if let Some(count) = value["missed"].as_u64() {
        return Ok(Replayed::Missed(count));
    }
    if let (Some(id), Some(reason)) = (value["id"].as_u64(), value["unreadable"].as_str()) {
        let reason = reason.to_owned();

        return Ok(Replayed::Unreadable(Damaged { id, reason }));
    }
    let line: Line = serde_json::from_value(value).map_err(NotALine::Shape)?;
    if !line.inputs.is_of_one_route() {
        return Err(NotALine::Contradictory);
    }

    Ok(Replayed::Decision(Box::new(judged(&line, with_result))))
}

fn judged(line: &Line, with_result: bool) -> Judged {
    let derived = line.inputs.decide().as_ref().and_then(Decided::of);
    let recorded = line.result.as_ref().filter(|_| with_result);
    let differences = recorded.map(|recorded| differences(recorded, derived.as_ref()));
    let agree = differences.as_ref().map(Vec::is_empty);
    let standing = line.inputs.standing.as_ref().map_or(0, |row| row.generation);
    let hops = |decided: &Decided| decided.row.path.map(|path| hops(line, path));

    Judged {
        id: line.id,
        name: line.name.clone(),
        state: match agree {
            Some(true) => "agrees",
            Some(false) => "differs",
            None => "derived",
        },
        at: line.at.clone(),
        by: line.by.clone(),
        route: line.inputs.route,
        generation: derived
            .as_ref()
            .or(recorded)
            .map_or(standing, |decided| decided.row.generation),
        recorded: recorded.and_then(hops),
        derived: derived.as_ref().and_then(hops),
        action: derived.as_ref().map(|decided| decided.row.action.name()),
        reasons: derived
            .iter()
            .flat_map(|decided| &decided.row.reasons)
            .map(|reason| reason.name())
            .collect(),
        agree,
        differences: differences.unwrap_or_default(),
        result: derived,
    }
}

fn hops(line: &Line, path: Path) -> Vec<String> {
    let (low, high) = (line.inputs.low.node, line.inputs.high.node);
    let hops = [Some(low), path.relay(), Some(high)];
    let name = |node: NodeId| line.nodes.get(&node).cloned().unwrap_or_else(|| node.to_string());

    hops.into_iter().flatten().map(name).collect()
}

/// Every member of the result that is not the same; all of them, if nothing new is decided any more.
fn differences(recorded: &Decided, derived: Option<&Decided>) -> Vec<Difference> {
    let recorded = members(recorded);
    let derived = derived.map(members).unwrap_or_default();

    recorded
        .into_iter()
        .filter_map(|(member, recorded)| {
            let derived = derived.get(&member).cloned().unwrap_or(Value::Null);

            (recorded != derived).then_some(Difference {
                member,
                recorded,
                derived,
            })
        })
        .collect()
}

fn members(decided: &Decided) -> Map<String, Value> {
    let mut value = json!(decided);
    let row = value["row"].take();
    let mut members = row.as_object().cloned().unwrap_or_default();
    for other in ["requests", "withdrawals"] {
        members.insert(other.to_owned(), value[other].take());
    }

    members
}

/// Of a line. It changes when an older version would misread what is written.
pub const SCHEMA: u64 = 1;
