//! Administrative actions: who may, what they take, what they show.

mod input;
mod joining;
mod journal;
mod paths;
mod policy;
mod resolve;
mod sight;
pub(crate) mod status;
mod trust;
mod why;

use std::collections::BTreeSet;
use std::time::Duration;

use control_core::desk::Desk;
use control_core::installation;
use control_core::roles::{self, Seals};
use control_core::store::View;
use protocol::document::authority::Role;
use protocol::error::Code;
use protocol::id::{ClusterId, OperatorId};
use protocol::time::{Now, Wall};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::action::{Access, Action, Scope};
use crate::answer::Bench;
use crate::failure::Failure;
use crate::live::Live;
use crate::publish::Publications;
use crate::request::effective;

pub use policy::{Flaw, check as check_policies};
pub use sight::ROUTE_STATES;
pub use status::audit_view;

/// What a reading action may look at.
pub struct Reading<'a> {
    pub view: &'a dyn View,
    pub live: &'a Live,
    pub publications: &'a Publications,
    pub bench: &'a Bench,
    pub now: Now,
    /// The store revision that `view` shows.
    pub revision: u64,
    /// Why nothing is written at the moment.
    pub read_only: Option<String>,
    /// How long the writer has stood, if it does.
    pub writer_stood: Option<Duration>,
}

/// Takes a writing action.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an action stands in exactly one of the two tables"
)]
pub fn act(
    desk: &mut Desk<'_>,
    bench: &Bench,
    operator: Option<OperatorId>,
    action: Action,
    input: Value,
) -> Result<Value, Failure> {
    admit(desk.tx, &bench.seals, operator, (action, &input), desk.now.wall)?;
    match action {
        Action::InstallationActivate => trust::activate(desk, parse(input)?),
        Action::RoleGrant => trust::grant(desk, parse(input)?),
        Action::ClusterCreate => trust::create_cluster(desk, bench, parse(input)?),
        Action::TokenCreate => joining::create_token(desk, parse(input)?),
        Action::TokenRevoke => joining::revoke_token(desk, parse(input)?),
        Action::RequestApprove => joining::approve(desk, parse(input)?),
        Action::RequestReject => joining::reject(desk, parse(input)?),
        Action::NodeLabel => joining::label(desk, parse(input)?),
        Action::NodeDisable => joining::disable(desk, parse(input)?),
        Action::RelayDrain => joining::drain(desk, parse(input)?),
        Action::NodeEnable => joining::enable(desk, parse(input)?),
        Action::NodeRevoke => joining::revoke(desk, parse(input)?),
        Action::StoreBackup => status::start_backup(desk, parse(input)?),
        Action::FindingAck => status::acknowledge(desk, parse(input)?),
        Action::PolicyApply => policy::apply(desk, parse(input)?),
        _ => Err(Failure::new(
            Code::InvalidRequest,
            format!("{} does not write", action.name()),
        )),
    }
}

/// Answers a reading action.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "an action stands in exactly one of the two tables"
)]
pub fn read(
    reading: &Reading<'_>,
    operator: Option<OperatorId>,
    action: Action,
    input: Value,
) -> Result<Value, Failure> {
    admit(
        reading.view,
        &reading.bench.seals,
        operator,
        (action, &input),
        reading.now.wall,
    )?;
    match action {
        Action::InstallationShow => trust::installation(reading),
        Action::StatusShow => status::status(reading),
        Action::OperatorList => trust::operators(reading),
        Action::RoleList => trust::role_grants(reading),
        Action::ClusterList => trust::clusters(reading),
        Action::ClusterShow => trust::cluster(reading, parse(input)?),
        Action::AuthorityShow => trust::authority(reading, parse(input)?),
        Action::TokenList => joining::tokens(reading, parse(input)?),
        Action::RequestList => joining::requests(reading, parse(input)?),
        Action::RequestShow => joining::request(reading, parse(input)?),
        Action::NodeList => joining::nodes(reading, parse(input)?),
        Action::NodeShow => joining::node(reading, parse(input)?),
        Action::LinkList => paths::links(reading, parse(input)?),
        Action::FindingList => status::findings(reading),
        Action::FindingShow => status::finding(reading, parse(input)?),
        Action::PolicyPlan => policy::plan(reading, parse(input)?),
        Action::PolicyList => policy::list(reading, parse(input)?),
        Action::RouteList => paths::routes(reading, parse(input)?),
        Action::RouteShow => paths::route(reading, parse(input)?),
        Action::RouteExplain => paths::explain(reading, parse(input)?),
        Action::RouteJournal => journal::list(reading, parse(input)?),
        Action::RelayList => paths::relays(reading, parse(input)?),
        Action::RelayShow => paths::relay(reading, parse(input)?),
        Action::LeaseList => paths::leases(reading, parse(input)?),
        Action::LeaseShow => paths::lease(reading, parse(input)?),
        Action::WhyShow => why::why(reading, parse(input)?),
        Action::AuditList => status::audit(reading, parse(input)?),
        Action::AuditVerify => status::verify_audit(reading),
        _ => Err(Failure::new(
            Code::InvalidRequest,
            format!("{} does not read", action.name()),
        )),
    }
}

/// Whether `operator` may take `action`, by grants whose signatures hold now. One for a single cluster counts for what
/// `input` asks of that cluster.
pub fn admit(
    view: &dyn View,
    seals: &Seals,
    operator: Option<OperatorId>,
    (action, input): (Action, &Value),
    now: Wall,
) -> Result<(), Failure> {
    let held = match action.access() {
        Access::Local => BTreeSet::new(),
        Access::Look | Access::Audit | Access::Approve | Access::Administer | Access::Own => {
            roles_of(view, seals, operator, cluster_of(view, action, input), now)?
        }
    };
    match action.access().allows(&held) {
        true => Ok(()),
        false => Err(denied(view, action, &held)?),
    }
}

/// Before the activation nobody has a role, and only that can be done about it.
fn denied(view: &dyn View, action: Action, held: &BTreeSet<Role>) -> Result<Failure, Failure> {
    let row = installation::find(view)?;
    let is_activated = row.as_ref().is_some_and(|row| row.activated_at.is_some());
    let refused = Failure::new(
        Code::RoleDenied,
        format!(
            "{} needs a role that no valid grant of this operator gives",
            action.name()
        ),
    );
    let wanted = names(Role::ALL.into_iter().filter(|role| {
        let alone = BTreeSet::from([*role]);
        action.access().allows(&alone)
    }));

    Ok(match (is_activated, held.is_empty()) {
        (false, _) => refused
            .because("the installation is not activated, so nobody has a role yet")
            .fixed_by("gabion installation activate --manifest FILE"),
        (true, true) => refused
            .because(format!(
                "the operator has no role; any of these would do: {wanted}"
            ))
            .fixed_by(GRANT),
        (true, false) => {
            let held = names(held.iter().copied());
            refused
                .because(format!("the operator is {held}; any of these would do: {wanted}"))
                .fixed_by(GRANT)
        }
    })
}

fn names(roles: impl Iterator<Item = Role>) -> String {
    let names: Vec<&str> = roles.map(Role::name).collect();

    names.join(", ")
}

/// The cluster that an action is about, if it is about one that is there.
fn cluster_of(view: &dyn View, action: Action, input: &Value) -> Option<ClusterId> {
    let named = input.get("cluster").and_then(Value::as_str);
    match action.scope() {
        Scope::Cluster => resolve::cluster(view, named).ok().map(|row| row.id),
        Scope::Installation => None,
    }
}

/// The roles of an operator; of the first owner, when none is named.
fn roles_of(
    view: &dyn View,
    seals: &Seals,
    operator: Option<OperatorId>,
    cluster: Option<ClusterId>,
    now: Wall,
) -> Result<BTreeSet<Role>, Failure> {
    Ok(match effective(view, operator)? {
        Some(operator) => roles::effective_roles(view, seals, operator, cluster, now)?,
        None => BTreeSet::new(),
    })
}

fn parse<I: DeserializeOwned>(input: Value) -> Result<I, Failure> {
    serde_json::from_value(input).map_err(|error| {
        Failure::new(Code::InvalidRequest, "the input is not what the action takes")
            .because(error.to_string())
    })
}

fn show(view: &impl Serialize) -> Result<Value, Failure> {
    serde_json::to_value(view).map_err(|error| Failure::of(Code::Internal, &error))
}

const GRANT: &str = "gabion role grant --operator NAME --role ROLE --key FILE    (an owner's key signs)";
