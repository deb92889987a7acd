//! The decision journal: what was decided lately, and what it was decided from.

use control_core::store::StoreError;
use control_routing::journal::{self, Found, What};
use protocol::document::routes::Path;
use protocol::error::Code;
use protocol::id::RouteId;
use protocol::time::Wall;
use serde_json::{Value, json};

use super::input::Journal;
use super::paths::Scene;
use super::{Reading, show};
use crate::failure::Failure;
use crate::replay;
use crate::view::time;

/// What is looked for.
struct Wanted {
    route: Option<RouteId>,
    since: Option<Wall>,
    limit: usize,
    /// Whether the inputs are wanted too, as lines of an export.
    inputs: bool,
}

/// What was found, and how far was looked.
struct Seen {
    entries: Vec<Value>,
    /// The first and the last entry that were looked at.
    from: u64,
    next: u64,
}

pub(super) fn list(reading: &Reading<'_>, input: Journal) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let wanted = wanted(&scene, &input)?;
    let head = journal::head(reading.view, scene.fleet.cluster)?;
    let seen = match input.after {
        Some(after) => forward(&scene, &wanted, after)?,
        None => {
            let end = input.before.map_or(head.last, |before| before.saturating_sub(1));
            backward(&scene, &wanted, (head.first, end.min(head.last)))?
        }
    };

    show(&json!({
        "entries": seen.entries,
        "from": seen.from,
        "next": seen.next,
        "more": seen.next < head.last,
        "first": head.first,
        "last": head.last,
    }))
}

/// The newest decisions of a route, oldest first.
pub(super) fn history(scene: &Scene<'_>, route: RouteId) -> Result<Vec<Value>, Failure> {
    let wanted = Wanted {
        route: Some(route),
        since: None,
        limit: HISTORY,
        inputs: false,
    };
    let head = journal::head(scene.reading.view, scene.fleet.cluster)?;

    Ok(backward(scene, &wanted, (head.first, head.last))?.entries)
}

fn wanted(scene: &Scene<'_>, input: &Journal) -> Result<Wanted, Failure> {
    let route = match (&input.source, &input.target) {
        (Some(source), Some(target)) => {
            let (source, target) = (scene.node(source)?, scene.node(target)?);

            Some(RouteId::between(scene.fleet.cluster, source, target))
        }
        (None, None) => None,
        (Some(_), None) | (None, Some(_)) => {
            return Err(Failure::new(
                Code::InvalidRequest,
                "a route has two ends: name both or none",
            ));
        }
    };

    Ok(Wanted {
        route,
        since: input.since.as_deref().map(moment).transpose()?,
        limit: input.limit.unwrap_or(USUAL).min(MOST),
        inputs: input.inputs,
    })
}

fn moment(text: &str) -> Result<Wall, Failure> {
    let refused = || {
        Failure::new(Code::InvalidRequest, format!("{text:?} is no time"))
            .because("a time is written like 2026-07-01T12:00:00Z")
    };
    let moment: jiff::Timestamp = text.parse().map_err(|_| refused())?;

    u64::try_from(moment.as_millisecond())
        .map(Wall)
        .map_err(|_| refused())
}

/// What follows an entry, from there on.
fn forward(scene: &Scene<'_>, wanted: &Wanted, after: u64) -> Result<Seen, Failure> {
    let mut seen = Seen {
        entries: Vec::new(),
        from: after + 1,
        next: after,
    };
    let (mut looked, mut bytes) = (0, 0);
    while looked < LOOKED {
        let page = journal::list(scene.reading.view, scene.fleet.cluster, seen.next, PAGE)?;
        if page.is_empty() {
            break;
        }
        for found in page {
            if seen.entries.len() >= wanted.limit || bytes > ANSWER {
                return Ok(seen);
            }
            (looked, seen.next) = (looked + 1, found.seq);
            bytes += size(&found);
            seen.entries.extend(view(scene, wanted, &found));
        }
    }

    Ok(seen)
}

/// The newest ones up to an entry, looked for from there.
fn backward(scene: &Scene<'_>, wanted: &Wanted, (first, last): (u64, u64)) -> Result<Seen, StoreError> {
    let mut newest = Vec::new();
    let (mut end, mut looked) = (last, 0);
    'pages: while end >= first && end > 0 && looked < LOOKED {
        let start = end.saturating_sub(PAGE as u64).max(first.saturating_sub(1));
        let page = journal::list(scene.reading.view, scene.fleet.cluster, start, PAGE)?;
        let upwards = page.iter().filter(|found| (start + 1..=end).contains(&found.seq));
        for found in upwards.collect::<Vec<_>>().into_iter().rev() {
            if newest.len() >= wanted.limit {
                break 'pages;
            }
            end = found.seq - 1;
            newest.extend(view(scene, wanted, found));
        }
        looked += PAGE;
        end = start;
    }
    newest.reverse();

    Ok(Seen {
        entries: newest,
        from: end + 1,
        next: last,
    })
}

/// The entry if it is looked for. One that cannot be read may be of any route.
fn view(scene: &Scene<'_>, wanted: &Wanted, found: &Found) -> Option<Value> {
    let name = |node| scene.fleet.name(node);
    let row = match &found.row {
        Ok(row) => row,
        Err(_) if wanted.inputs => return Some(replay::line(found, &name)),
        Err(refused) => {
            return Some(json!({
                "id": found.seq, "name": "", "state": "unreadable", "reason": refused.to_string(),
            }));
        }
    };
    if wanted.since.is_some_and(|since| row.at < since) {
        return None;
    }
    let decided = match &row.what {
        What::Missed(_) if wanted.inputs => return Some(replay::line(found, &name)),
        What::Missed(count) => {
            return Some(json!({
                "id": row.seq, "name": "", "state": "missed", "at": time(row.at), "missed": count,
            }));
        }
        What::Decided { result, .. } => &result.row,
    };
    if wanted.route.is_some_and(|route| route != decided.route) {
        return None;
    }
    if wanted.inputs {
        return Some(replay::line(found, &name));
    }
    let hops = |path: &Path| scene.hops(decided.low, decided.high, path);

    Some(json!({
        "id": row.seq,
        "name": format!("{} {}", name(decided.low), name(decided.high)),
        "state": "decided",
        "at": time(row.at),
        "by": row.by,
        "route": decided.route,
        "source": name(decided.low),
        "target": name(decided.high),
        "generation": decided.generation,
        "action": decided.action.name(),
        "path": decided.path.as_ref().map(hops),
        "path_kind": decided.path.map(|path| path.kind()),
        "standbys": decided.standbys.iter().map(hops).collect::<Vec<_>>(),
        "reasons": decided.reasons.iter().map(|reason| reason.name()).collect::<Vec<_>>(),
    }))
}

fn size(found: &Found) -> usize {
    match found.row.as_ref().map(|row| &row.what) {
        Ok(What::Decided { case, .. }) => case.len(),
        Ok(What::Missed(_)) | Err(_) => 0,
    }
}

/// Entries of one answer, when nothing is said and at the most.
const USUAL: usize = 100;
const MOST: usize = 1_000;
/// Entries that one answer looks through, and reads at once.
const LOOKED: usize = 2_000;
const PAGE: usize = 250;
/// Bytes of cases in one answer: as JSON they are some three times as long.
const ANSWER: usize = 4 * 1024 * 1024;
/// Decisions that an explanation shows.
const HISTORY: usize = 5;
