//! Tokens, join requests, nodes.

use std::collections::BTreeMap;
use std::time::Duration;

use control_core::authority;
use control_core::cluster::ClusterRow;
use control_core::desk::Desk;
use control_core::join::{self, JoinRequestRow};
use control_core::node::{self, LabelChange, NodeRow, NodeState};
use control_core::settings::{self, Reversal};
use control_core::store::{StoreError, View};
use control_core::token::{self, JoinTokenRow, NewToken};
use protocol::document::join::ApprovalMode;
use protocol::envelope::Kind;
use protocol::error::Code;
use protocol::id::{RequestId, TokenId};
use protocol::node::Labels;
use protocol::time::Wall;
use protocol::wire::Reverted;
use serde_json::Value;

use super::input::{Approve, CreateToken, Item, Label, OfCluster};
use super::{Reading, resolve, show};
use crate::failure::Failure;
use crate::view::{LeftOutView, NodeView, RequestView, RevertedView, TokenCreated, TokenView, time};

pub(super) fn create_token(desk: &mut Desk<'_>, input: CreateToken) -> Result<Value, Failure> {
    let cluster = resolve::cluster(desk.tx, input.cluster.as_deref())?;
    let default = NewToken::default();
    let new = NewToken {
        roles: input
            .roles
            .iter()
            .map(|role| resolve::value("the role", role))
            .collect::<Result<_, _>>()?,
        labels: Labels::parse(input.labels).map_err(|error| invalid("a label", error))?,
        max_uses: input.max_uses.unwrap_or(default.max_uses),
        life: input.ttl_seconds.map_or(default.life, Duration::from_secs),
        approval: approval(input.approval.as_deref())?,
        sources: input
            .sources
            .iter()
            .map(|block| resolve::value("the block", block))
            .collect::<Result<_, _>>()?,
        controllers: input.controllers,
    };
    let created = token::create(desk, cluster.id, new)?;

    show(&TokenCreated {
        view: token_view(desk.tx, &created.row, desk.now.wall)?,
        token: created.reveal().to_string(),
    })
}

fn approval(text: Option<&str>) -> Result<ApprovalMode, Failure> {
    match text {
        None | Some("manual") => Ok(ApprovalMode::Manual),
        Some("auto") => Ok(ApprovalMode::Auto),
        Some(other) => Err(invalid(
            "the approval",
            format!("it is manual or auto, and not {other:?}"),
        )),
    }
}

pub(super) fn revoke_token(desk: &mut Desk<'_>, input: Item) -> Result<Value, Failure> {
    let cluster = resolve::cluster(desk.tx, input.cluster.as_deref())?;
    let row = token::revoke(
        desk,
        cluster.id,
        resolve::value::<TokenId>("the token id", &input.id)?,
    )?;

    show(&token_view(desk.tx, &row, desk.now.wall)?)
}

pub(super) fn tokens(reading: &Reading<'_>, input: OfCluster) -> Result<Value, Failure> {
    let cluster = resolve::cluster(reading.view, input.cluster.as_deref())?;
    let rows = token::list(reading.view, cluster.id)?;
    let views = rows
        .iter()
        .map(|row| token_view(reading.view, row, reading.now.wall));

    show(&views.collect::<Result<Vec<_>, Failure>>()?)
}

fn token_view(view: &dyn View, row: &JoinTokenRow, now: Wall) -> Result<TokenView, Failure> {
    let authority = authority::current(view, row.cluster)?;

    Ok(TokenView {
        id: row.id.to_string(),
        name: row.id.to_string(),
        state: row.state(now).name().to_owned(),
        roles: row.roles.iter().map(|role| role.name().to_owned()).collect(),
        labels: pairs(&row.labels),
        max_uses: row.max_uses,
        used: row.used,
        approval: match row.approval {
            ApprovalMode::Manual => "manual".to_owned(),
            ApprovalMode::Auto => "auto".to_owned(),
        },
        expires_at: time(row.expires),
        fingerprint: authority.key.fingerprint().to_string(),
    })
}

pub(super) fn requests(reading: &Reading<'_>, input: OfCluster) -> Result<Value, Failure> {
    let cluster = resolve::cluster(reading.view, input.cluster.as_deref())?;
    let rows = join::list(reading.view, cluster.id)?;
    let views = rows
        .iter()
        .map(|row| request_view(reading.view, row, reading.now.wall));

    show(&views.collect::<Result<Vec<_>, Failure>>()?)
}

pub(super) fn request(reading: &Reading<'_>, input: Item) -> Result<Value, Failure> {
    let cluster = resolve::cluster(reading.view, input.cluster.as_deref())?;
    let id = request_id(reading.view, &cluster, &input.id)?;
    let row =
        join::get(reading.view, cluster.id, id)?.ok_or_else(|| Failure::not_found("request", &input.id))?;

    show(&request_view(reading.view, &row, reading.now.wall)?)
}

pub(super) fn approve(desk: &mut Desk<'_>, input: Approve) -> Result<Value, Failure> {
    let cluster = resolve::cluster(desk.tx, input.cluster.as_deref())?;
    let id = request_id(desk.tx, &cluster, &input.id)?;
    let name = input
        .name
        .as_deref()
        .map(|name| resolve::value("the name", name))
        .transpose()?;
    if let Some(expected) = &input.fingerprint {
        compare(desk.tx, &cluster, id, expected)?;
    }
    let row = join::approve(desk, cluster.id, id, name)?;

    show(&request_view(desk.tx, &row, desk.now.wall)?)
}

/// In the transaction that approves: a name may have passed to another request since its fingerprint was shown.
fn compare(view: &dyn View, cluster: &ClusterRow, id: RequestId, expected: &str) -> Result<(), Failure> {
    let row = join::get(view, cluster.id, id)?;
    let row = row.ok_or_else(|| Failure::not_found("request", &id.to_string()))?;
    let found = row.fingerprint().to_string();
    match found == expected {
        true => Ok(()),
        false => Err(Failure::new(
            Code::ConflictState,
            format!("the request of {} was not approved", row.name),
        )
        .because(format!(
            "its key has the fingerprint {found}\nexpected was       {expected}"
        ))
        .affecting("the request is as it was")
        .fixed_by(format!(
            "gabion request reject {id}    (if the host shows the expected one, it is not this one that asks)"
        ))),
    }
}

pub(super) fn reject(desk: &mut Desk<'_>, input: Item) -> Result<Value, Failure> {
    let cluster = resolve::cluster(desk.tx, input.cluster.as_deref())?;
    let id = request_id(desk.tx, &cluster, &input.id)?;
    let row = join::reject(desk, cluster.id, id, &input.reason)?;

    show(&request_view(desk.tx, &row, desk.now.wall)?)
}

/// A request by its id, or by the name that exactly one pending request asks for; where none does, by the name of the
/// request that was decided last, so that who comes too late hears how.
fn request_id(view: &dyn View, cluster: &ClusterRow, named: &str) -> Result<RequestId, Failure> {
    if let Ok(id) = named.parse() {
        return Ok(id);
    }
    let (pending, decided): (Vec<_>, Vec<_>) = join::list(view, cluster.id)?
        .into_iter()
        .filter(|row| row.name.as_str() == named)
        .partition(|row| row.decided == join::RequestState::Pending);
    match pending.as_slice() {
        [row] => Ok(row.id),
        [] => decided
            .iter()
            .max_by_key(|row| (row.decided_at, row.created_at))
            .map(|row| row.id)
            .ok_or_else(|| Failure::not_found("pending request", named)),
        several => Err(Failure::new(
            Code::ValidationFailed,
            "several requests ask for that name: give an id",
        )
        .because(format!("{} requests for {named:?} are pending", several.len()))
        .fixed_by("gabion request list -o wide")),
    }
}

fn request_view(view: &dyn View, row: &JoinRequestRow, now: Wall) -> Result<RequestView, Failure> {
    let authority = authority::current(view, row.cluster)?;

    Ok(RequestView {
        id: row.id.to_string(),
        name: row.name.to_string(),
        state: row.state(now).name().to_owned(),
        token: row.token.to_string(),
        fingerprint: row.fingerprint().to_string(),
        authority_fingerprint: authority.key.fingerprint().to_string(),
        roles: row.roles.iter().map(|role| role.name().to_owned()).collect(),
        labels: pairs(&row.labels),
        hostname: row.facts.hostname.clone(),
        source: row.source.canonical().0.to_string(),
        created_at: time(row.created_at),
        node: row.node.map(|node| node.to_string()),
    })
}

pub(super) fn nodes(reading: &Reading<'_>, input: OfCluster) -> Result<Value, Failure> {
    let cluster = resolve::cluster(reading.view, input.cluster.as_deref())?;
    let rows = node::list(reading.view, cluster.id)?;
    let views: Result<Vec<NodeView>, StoreError> = rows.iter().map(|row| node_view(reading, row)).collect();

    show(&views?)
}

pub(super) fn node(reading: &Reading<'_>, input: Item) -> Result<Value, Failure> {
    let cluster = resolve::cluster(reading.view, input.cluster.as_deref())?;
    let row = resolve::node(reading.view, cluster.id, &input.id)?;

    show(&node_view(reading, &row)?)
}

fn node_view(reading: &Reading<'_>, row: &NodeRow) -> Result<NodeView, StoreError> {
    let poll = reading.live.last_poll(row.cluster, row.id);
    let version = |kind: Kind| {
        let have = poll.and_then(|poll| poll.have.iter().find(|have| have.kind == kind));
        have.map_or(0, |have| have.version)
    };

    Ok(NodeView {
        id: row.id.to_string(),
        name: row.name.to_string(),
        state: row.state().name().to_owned(),
        roles: row.roles.iter().map(|role| role.name().to_owned()).collect(),
        labels: pairs(&row.labels),
        config_version: version(Kind::SyntheticConfig),
        routes_version: version(Kind::Routes),
        authority_epoch: row.epoch,
        last_seen: reading.live.last_seen(row.cluster, row.id).map(time),
        fingerprint: row.fingerprint().to_string(),
        candidates: row
            .candidates
            .iter()
            .map(|candidate| candidate.address.0.to_string())
            .collect(),
        candidates_left_out: reading
            .live
            .left_out(row.cluster, row.id)
            .iter()
            .map(|left_out| LeftOutView {
                address: left_out.address.0.to_string(),
                why: left_out.why.name().to_owned(),
            })
            .collect(),
        agent_version: row.agent_version.clone(),
        certificate_not_after: time(row.not_after),
        reverted: row
            .reverted
            .map(|reversal| reverted_view(reading, row, &reversal))
            .transpose()?,
    })
}

fn reverted_view(
    reading: &Reading<'_>,
    row: &NodeRow,
    reversal: &Reversal,
) -> Result<RevertedView, StoreError> {
    let is_held = settings::is_held_back(reading.view, row.cluster, reversal)?;
    let Reverted {
        config,
        settings,
        restored,
    } = reversal.report;

    Ok(RevertedView {
        state: if is_held { "held" } else { "acknowledged" }.to_owned(),
        config_version: config.version,
        settings: settings.to_string(),
        restored: restored.map(|restored| restored.to_string()),
        at: time(reversal.at),
    })
}

pub(super) fn label(desk: &mut Desk<'_>, input: Label) -> Result<Value, Failure> {
    let cluster = resolve::cluster(desk.tx, input.cluster.as_deref())?;
    let id = resolve::node(desk.tx, cluster.id, &input.id)?.id;
    let set = input.set.into_iter().map(|(key, value)| LabelChange {
        key,
        value: Some(value),
    });
    let unset = input
        .unset
        .into_iter()
        .map(|key| LabelChange { key, value: None });
    let changes: Vec<LabelChange> = set.chain(unset).collect();

    shown(node::label(desk, cluster.id, id, &changes)?)
}

pub(super) fn disable(desk: &mut Desk<'_>, input: Item) -> Result<Value, Failure> {
    let cluster = resolve::cluster(desk.tx, input.cluster.as_deref())?;
    let id = resolve::node(desk.tx, cluster.id, &input.id)?.id;

    shown(node::disable(desk, cluster.id, id, &input.reason)?)
}

pub(super) fn drain(desk: &mut Desk<'_>, input: Item) -> Result<Value, Failure> {
    let cluster = resolve::cluster(desk.tx, input.cluster.as_deref())?;
    let id = resolve::node(desk.tx, cluster.id, &input.id)?.id;

    shown(node::drain(desk, cluster.id, id, &input.reason)?)
}

pub(super) fn enable(desk: &mut Desk<'_>, input: Item) -> Result<Value, Failure> {
    let cluster = resolve::cluster(desk.tx, input.cluster.as_deref())?;
    let id = resolve::node(desk.tx, cluster.id, &input.id)?.id;

    shown(node::enable(desk, cluster.id, id)?)
}

pub(super) fn revoke(desk: &mut Desk<'_>, input: Item) -> Result<Value, Failure> {
    let cluster = resolve::cluster(desk.tx, input.cluster.as_deref())?;
    let id = resolve::node(desk.tx, cluster.id, &input.id)?.id;

    shown(node::revoke(desk, cluster.id, id, &input.reason)?)
}

/// What a change of a node answers: the node's place, without what only memory knows.
fn shown(row: NodeRow) -> Result<Value, Failure> {
    let state: NodeState = row.state();

    show(&serde_json::json!({
        "id": row.id.to_string(),
        "name": row.name.to_string(),
        "state": state.name(),
        "labels": pairs(&row.labels),
    }))
}

pub(super) fn pairs(labels: &Labels) -> BTreeMap<String, String> {
    labels
        .iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn invalid(what: &str, why: impl std::fmt::Display) -> Failure {
    Failure::new(Code::ValidationFailed, format!("{what} cannot be used")).because(why.to_string())
}
