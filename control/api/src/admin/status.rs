//! The controller in one look, findings, and the audit.

use std::collections::BTreeMap;

use control_core::audit::{self, Actor, Entry, Outcome, Record, Target, VerifyFailure};
use control_core::authority;
use control_core::cluster::{self, ClusterRow};
use control_core::desk::Desk;
use control_core::finding::{self, FindingRow, FindingState};
use control_core::installation::{self, InstallationRow};
use control_core::join::{self, RequestState};
use control_core::node;
use control_core::settings;
use control_core::store::View;
use protocol::error::Code;
use protocol::id::ClusterId;
use serde_json::Value;

use super::input::{Item, Nothing, Page};
use super::paths::{Scene, route_view};
use super::{Reading, show, trust};
use crate::failure::Failure;
use crate::view::{AuditVerdict, AuditView, ClusterStatus, FindingView, JournalView, StatusView, time};

pub(super) fn status(reading: &Reading<'_>) -> Result<Value, Failure> {
    let installation = installation::find(reading.view)?;
    let clusters = cluster::list(reading.view)?;
    let clusters = clusters
        .iter()
        .map(|row| cluster_status(reading, row))
        .collect::<Result<Vec<_>, _>>()?;
    let findings = open_findings(reading, None)?;
    let mode = installation.as_ref().map_or("none", |row| row.mode.name());

    show(&StatusView {
        id: reading.bench.controller.to_string(),
        name: "controller".to_owned(),
        state: state(reading).to_owned(),
        version: reading.bench.version.to_owned(),
        mode: mode.to_owned(),
        activated: installation
            .as_ref()
            .is_some_and(|row| row.activated_at.is_some()),
        clusters,
        revision: reading.revision,
        read_only: reading.read_only.clone(),
        warning: warning(reading, installation.as_ref(), findings),
        findings,
        writer_stood_seconds: reading.writer_stood.map(|stood| stood.as_secs()),
    })
}

fn state(reading: &Reading<'_>) -> &'static str {
    match (&reading.read_only, reading.writer_stood) {
        (Some(_), _) => "read_only",
        (None, Some(_)) => "writer_stands",
        (None, None) => "leading",
    }
}

/// Findings of one cluster, or of the installation, that wait for a person.
fn open_findings(reading: &Reading<'_>, cluster: Option<ClusterId>) -> Result<usize, Failure> {
    let rows = finding::list(reading.view)?;
    let is_open = |row: &&FindingRow| row.state == FindingState::Open && row.cluster == cluster;

    Ok(rows.iter().filter(is_open).count())
}

fn warning(reading: &Reading<'_>, installation: Option<&InstallationRow>, findings: usize) -> Option<String> {
    let stands = reading.writer_stood.map(|stood| {
        format!(
            "the writer has stood for {} s, so nothing is written; its disk may hang",
            stood.as_secs()
        )
    });
    let found = (findings > 0)
        .then(|| format!("open findings of the installation: {findings}; see gabion finding list"));
    let told: Vec<String> = stands
        .into_iter()
        .chain(found)
        .chain(installation.and_then(trust::warning))
        .collect();

    (!told.is_empty()).then(|| told.join("; "))
}

fn cluster_status(reading: &Reading<'_>, row: &ClusterRow) -> Result<ClusterStatus, Failure> {
    let scene = Scene::of(reading, Some(row.name.as_str()))?;
    let authority = authority::current(reading.view, row.id)?;
    let mut nodes = BTreeMap::new();
    for node in node::list(reading.view, row.id)? {
        *nodes.entry(node.state().name().to_owned()).or_insert(0) += 1;
    }
    let mut routes = BTreeMap::new();
    for route in scene.fleet.routes.iter().filter(|route| !route.is_withdrawn()) {
        *routes.entry(route_view(&scene, route).state).or_insert(0) += 1;
    }
    let now = reading.now.wall;
    let pending = join::list(reading.view, row.id)?;

    Ok(ClusterStatus {
        name: row.name.to_string(),
        fingerprint: authority.key.fingerprint().to_string(),
        epoch: authority.epoch,
        beacon: reading
            .publications
            .get(&row.id)
            .map_or(0, |publication| publication.rank.number),
        nodes,
        relays: scene.fleet.relays.len(),
        routes,
        pending_requests: pending
            .iter()
            .filter(|row| row.state(now) == RequestState::Pending)
            .count(),
        findings: open_findings(reading, Some(row.id))?,
        journal: journal(reading, row.id)?,
    })
}

fn journal(reading: &Reading<'_>, cluster: ClusterId) -> Result<JournalView, Failure> {
    let head = control_routing::journal::head(reading.view, cluster)?;

    Ok(JournalView {
        entries: head.entries(),
        bytes: head.bytes,
        since: head.since.map(time),
        oldest_seconds: head.since.map_or(0, |at| reading.now.wall.since(at).as_secs()),
        missed: head.missed,
    })
}

pub(super) fn findings(reading: &Reading<'_>) -> Result<Value, Failure> {
    let rows = finding::list(reading.view)?;

    show(&rows.iter().map(finding_view).collect::<Vec<_>>())
}

fn finding_view(row: &FindingRow) -> FindingView {
    FindingView {
        id: row.fingerprint.to_string(),
        name: row.kind.as_str().to_owned(),
        state: row.state.name().to_owned(),
        severity: row.severity.name().to_owned(),
        subject: row.subject.clone(),
        detail: row.text.clone(),
        raised_at: time(row.opened_at),
    }
}

pub(super) fn finding(reading: &Reading<'_>, input: Item) -> Result<Value, Failure> {
    show(&finding_view(&find(reading.view, &input.id)?))
}

pub(super) fn acknowledge(desk: &mut Desk<'_>, input: Item) -> Result<Value, Failure> {
    let fingerprint = find(desk.tx, &input.id)?.fingerprint;
    let was_open = find(desk.tx, &input.id)?.state == FindingState::Open;
    let row = finding::acknowledge(desk, &fingerprint)?;
    if was_open {
        settings::acknowledge(desk, &row)?;
    }

    show(&finding_view(&row))
}

/// The finding of an id, or of the only one that begins so: a table shows no more of it.
fn find(view: &dyn View, named: &str) -> Result<FindingRow, Failure> {
    let mut rows = finding::list(view)?;
    rows.retain(|row| named.len() >= ID_BEGINNING && row.fingerprint.to_string().starts_with(named));
    match rows.len() {
        1 => Ok(rows.remove(0)),
        _ => Err(Failure::not_found("finding", named)),
    }
}

/// Writes down that the store is about to be copied. Without this record there is no copy.
pub(super) fn start_backup(desk: &mut Desk<'_>, _: Nothing) -> Result<Value, Failure> {
    desk.record(audit::Action::BACKUP_STARTED, the_store(), "")?;

    Ok(Value::Null)
}

/// Writes down how the copy ended.
pub(crate) fn end_backup(desk: &mut Desk<'_>, failed: Option<Code>) -> Result<(), Failure> {
    let entry = Entry {
        actor: desk.actor.clone(),
        uid: desk.uid,
        action: audit::Action::BACKUP_ENDED,
        target: the_store(),
        outcome: failed.map_or(Outcome::Done, Outcome::refused),
        detail: String::new(),
    };
    audit::append(desk.tx, entry, desk.now.wall)?;

    Ok(())
}

fn the_store() -> Target {
    Target::Named("store".to_owned())
}

pub(super) fn audit(reading: &Reading<'_>, page: Page) -> Result<Value, Failure> {
    let limit = page.limit.unwrap_or(PAGE).min(PAGE);
    let records = audit::list(reading.view, page.after, limit)?;

    show(&records.iter().map(audit_view).collect::<Vec<_>>())
}

/// A record as lists show it.
pub fn audit_view(record: &Record) -> AuditView {
    let outcome = match &record.outcome {
        Outcome::Done => "done".to_owned(),
        Outcome::Refused(code) => code.clone(),
    };

    AuditView {
        id: record.seq,
        name: record.action.as_str().to_owned(),
        state: outcome.clone(),
        at: time(record.at),
        actor: actor(&record.actor),
        target: target(&record.target),
        outcome,
        detail: record.detail.clone(),
        hash: record.hash().to_string(),
        uid: record.uid.map(|uid| uid.0),
    }
}

fn actor(actor: &Actor) -> String {
    match actor {
        Actor::Local => "local".to_owned(),
        Actor::Operator(id) => format!("operator/{id}"),
        Actor::Node(id) => format!("node/{id}"),
        Actor::Joiner => "joiner".to_owned(),
        Actor::Controller => "controller".to_owned(),
    }
}

fn target(target: &Target) -> String {
    match target {
        Target::Installation(id) => format!("installation/{id}"),
        Target::Operator(id) => format!("operator/{id}"),
        Target::Cluster(id) => format!("cluster/{id}"),
        Target::Controller(id) => format!("controller/{id}"),
        Target::Token(id) => format!("token/{id}"),
        Target::Request(id) => format!("request/{id}"),
        Target::Node(id) => format!("node/{id}"),
        Target::Route(id) => format!("route/{id}"),
        Target::Finding(fingerprint) => format!("finding/{fingerprint}"),
        Target::Named(name) => name.clone(),
    }
}

/// Reads the whole chain; what is wrong is the answer, not a failure.
pub(super) fn verify_audit(reading: &Reading<'_>) -> Result<Value, Failure> {
    let verdict = match audit::verify(reading.view, None) {
        Ok(head) => AuditVerdict {
            ok: true,
            records: head.count,
            head: head.hash.to_string(),
            first_bad: None,
            reason: None,
        },
        Err(VerifyFailure::Broken(bad)) => AuditVerdict {
            ok: false,
            records: audit::head(reading.view)?.count,
            head: audit::head(reading.view)?.hash.to_string(),
            first_bad: Some(bad.seq),
            reason: Some(bad.why.to_string()),
        },
        Err(failure) => return Err(Failure::of(Code::Unavailable, &failure)),
    };

    show(&verdict)
}

/// Characters of an id that name it, as tables cut ids.
const ID_BEGINNING: usize = 8;
/// Records of one answer.
const PAGE: usize = 1_000;
