//! Route policies: what is in force, what would change, and the change.

use std::collections::BTreeSet;

use control_core::audit::{Action, Target};
use control_core::desk::Desk;
use control_core::store::{Rows, RowsMut};
use control_routing::forecast::{Course, Forecast, Shift, ShiftKind, forecast};
use control_routing::policy::{DEFAULT_PRIORITY, PolicyRow, Wanted};
use protocol::document::routes::Cadence;
use protocol::error::Code;
use protocol::id::ClusterId;
use serde_json::{Value, json};

use super::input::{OfCluster, Policies, Policy};
use super::paths::Scene;
use super::{Reading, resolve, show};
use crate::failure::Failure;
use crate::fleet::Fleet;

pub(super) fn list(reading: &Reading<'_>, input: OfCluster) -> Result<Value, Failure> {
    let cluster = resolve::cluster(reading.view, input.cluster.as_deref())?;
    let rows = reading.view.scan::<PolicyRow>(cluster.id.as_bytes())?;

    show(&rows.iter().map(policy_view).collect::<Vec<_>>())
}

fn policy_view(row: &PolicyRow) -> Value {
    json!({
        "id": row.name.to_string(),
        "name": row.name.to_string(),
        "state": "active",
        "priority": row.priority,
        "source": row.source.to_string(),
        "target": row.target.to_string(),
        "cadence": cadence_name(row.cadence),
    })
}

/// Puts exactly these policies into force; with none, the default holds.
pub(super) fn apply(desk: &mut Desk<'_>, input: Policies) -> Result<Value, Failure> {
    let cluster = resolve::cluster(desk.tx, input.cluster.as_deref())?;
    let rows = rows(cluster.id, &input)?;
    for known in desk.tx.scan::<PolicyRow>(cluster.id.as_bytes())? {
        desk.tx
            .delete::<PolicyRow>(&PolicyRow::key_of(cluster.id, &known.name))?;
    }
    for row in &rows {
        desk.tx.put(row)?;
    }
    let action = Action::named("policy.applied");
    desk.record(
        action,
        Target::Cluster(cluster.id),
        format!("{} policies", rows.len()),
    )?;

    show(&rows.iter().map(policy_view).collect::<Vec<_>>())
}

/// Says what would change under these policies, and changes nothing.
pub(super) fn plan(reading: &Reading<'_>, input: Policies) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let rows = rows(scene.fleet.cluster, &input)?;
    let wanted = Wanted::select(scene.fleet.cluster, &rows, &scene.fleet.members);
    let foreseen = forecast(&scene.snapshot(), &wanted, reading.now);

    show(&plan_view(&scene.fleet, &foreseen))
}

fn plan_view(fleet: &Fleet, foreseen: &Forecast) -> Value {
    let count = |kind: ShiftKind| foreseen.shifts.iter().filter(|shift| shift.kind == kind).count();
    let weakened = foreseen
        .shifts
        .iter()
        .filter(|shift| loses_standby(shift))
        .count();
    let shifts: Vec<Value> = foreseen
        .shifts
        .iter()
        .map(|shift| shift_view(fleet, shift))
        .collect();

    json!({
        "removed": count(ShiftKind::Removed),
        "moved": count(ShiftKind::Moved),
        "lose_standby": weakened,
        "added": count(ShiftKind::Added),
        "retuned": count(ShiftKind::Retuned),
        "left_out": foreseen.left_out,
        "routes": shifts,
    })
}

/// Whether it goes on with fewer standbys, moved or not.
fn loses_standby(shift: &Shift) -> bool {
    let standbys = |course: &Option<Course>| course.as_ref().map(|course| course.standbys.len());

    shift.after.is_some() && standbys(&shift.after) < standbys(&shift.before)
}

fn shift_view(fleet: &Fleet, shift: &Shift) -> Value {
    let way = |via: control_routing::via::Via| {
        via.relay()
            .map_or_else(|| "direct".to_owned(), |relay| fleet.name(relay))
    };
    let path = |course: &Option<Course>| course.as_ref().and_then(|course| course.path).map(way);
    let standbys = |course: &Option<Course>| -> Vec<String> {
        let standbys = course.iter().flat_map(|course| &course.standbys);

        standbys.copied().map(way).collect()
    };

    json!({
        "id": shift.route,
        "name": format!("{} {}", fleet.name(shift.low), fleet.name(shift.high)),
        "state": shift.kind.name(),
        "source": fleet.name(shift.low),
        "target": fleet.name(shift.high),
        "change": shift.kind.name(),
        "from": path(&shift.before),
        "to": path(&shift.after),
        "priority_before": shift.before.as_ref().map(|course| course.priority),
        "priority_after": shift.after.as_ref().map(|course| course.priority),
        "standbys_before": standbys(&shift.before),
        "standbys_after": standbys(&shift.after),
    })
}

/// Where in a list of policies something is wrong, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Of the policy, from 1 on; none if it is the list.
    pub place: Option<usize>,
    /// Of the policy, as it is written.
    pub member: Option<&'static str>,
    /// Boxed, as errors travel far and seldom.
    pub failure: Box<Failure>,
}

impl Flaw {
    fn of_list(failure: Failure) -> Self {
        Self {
            place: None,
            member: None,
            failure: Box::new(failure),
        }
    }

    /// `place` counts policies from 1 on.
    fn of_member(place: usize, member: &'static str, failure: Failure) -> Self {
        Self {
            place: Some(place),
            member: Some(member),
            failure: Box::new(failure),
        }
    }
}

/// Whether these policies could be stored, as far as they themselves tell: for who has the file and can say which line it is.
pub fn check(policies: &Value) -> Result<(), Flaw> {
    let policies: Vec<Policy> = serde_json::from_value(policies.clone()).map_err(|error| {
        let failure = Failure::new(Code::InvalidRequest, "these are no policies");

        Flaw::of_list(failure.because(error.to_string()))
    })?;

    parsed(ClusterId::from_bytes([0; 16]), &policies).map(drop)
}

/// The policies as they would be stored; the first that cannot be is refused by its place and name.
fn rows(cluster: ClusterId, input: &Policies) -> Result<Vec<PolicyRow>, Failure> {
    parsed(cluster, &input.policies).map_err(|flaw| *flaw.failure)
}

fn parsed(cluster: ClusterId, policies: &[Policy]) -> Result<Vec<PolicyRow>, Flaw> {
    if policies.len() > POLICIES {
        let failure = Failure::new(
            Code::ValidationFailed,
            format!("{} policies are too many", policies.len()),
        );

        return Err(Flaw::of_list(
            failure
                .because(format!("a cluster has at most {POLICIES}"))
                .fixed_by("select more nodes with each policy: a selector may name several labels, or '*'"),
        ));
    }
    let mut names = BTreeSet::new();
    let mut rows = Vec::new();
    for (place, policy) in (1..).zip(policies) {
        let row = row(cluster, place, policy)?;
        if !names.insert(row.name.clone()) {
            let failure = Failure::new(
                Code::ValidationFailed,
                format!("policy {place} has the name of another: {:?}", policy.name),
            );

            return Err(Flaw::of_member(
                place,
                "name",
                failure
                    .because("a policy is known by its name")
                    .fixed_by("give each policy a name of its own"),
            ));
        }
        rows.push(row);
    }

    Ok(rows)
}

fn row(cluster: ClusterId, place: usize, policy: &Policy) -> Result<PolicyRow, Flaw> {
    let of = |member| {
        move |failure: Failure| {
            let within = format!("policy {place} ({:?})", policy.name);

            Flaw::of_member(place, member, failure.within(within))
        }
    };

    Ok(PolicyRow {
        cluster,
        name: resolve::value("the policy's name", &policy.name).map_err(of("name"))?,
        priority: policy.priority.unwrap_or(DEFAULT_PRIORITY),
        source: resolve::value("the source", &policy.source).map_err(of("source"))?,
        target: resolve::value("the target", &policy.target).map_err(of("target"))?,
        cadence: cadence(policy.cadence.as_deref()).map_err(of("cadence"))?,
    })
}

fn cadence(text: Option<&str>) -> Result<Cadence, Failure> {
    match text {
        None => Ok(Cadence::Auto),
        Some(text) => [Cadence::Auto, Cadence::Fast, Cadence::Normal, Cadence::Rest]
            .into_iter()
            .find(|cadence| cadence_name(*cadence) == text)
            .ok_or_else(|| {
                Failure::new(
                    Code::ValidationFailed,
                    format!("the cadence {text:?} cannot be used"),
                )
                .because("it is auto, fast, normal or rest")
            }),
    }
}

const fn cadence_name(cadence: Cadence) -> &'static str {
    match cadence {
        Cadence::Auto => "auto",
        Cadence::Fast => "fast",
        Cadence::Normal => "normal",
        Cadence::Rest => "rest",
    }
}

/// More than anybody can keep apart; each is applied to every node at every pass.
const POLICIES: usize = 256;
