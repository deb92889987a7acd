//! The installation, its operators, its clusters and their authorities.

use control_core::authority;
use control_core::cluster::{self as kernel, ClusterRow};
use control_core::desk::Desk;
use control_core::installation::{self, InstallationRow, Mode};
use control_core::issuing::{self, NewController};
use control_core::node::{self, Tenure};
use control_core::roles::{self, Grant, GrantSigner};
use control_core::{operator, store::View};
use protocol::error::Code;
use serde_json::Value;

use super::{Reading, input, resolve, show};
use crate::answer::Bench;
use crate::failure::Failure;
use crate::view::{AuthorityView, ClusterView, GrantView, InstallationView, OperatorView, OwnerView, time};

pub(super) fn installation(reading: &Reading<'_>) -> Result<Value, Failure> {
    show(&installation_view(reading.view)?)
}

pub(super) fn installation_view(view: &dyn View) -> Result<InstallationView, Failure> {
    let row = installation::find(view)?.ok_or_else(not_initialised)?;
    let first_owner = row
        .first_owner
        .map(|id| operator::get(view, id))
        .transpose()?
        .flatten();

    Ok(InstallationView {
        id: row.id.to_string(),
        name: row.id.to_string(),
        state: row.state.name().to_owned(),
        mode: row.mode.name().to_owned(),
        product_roots: row.root.fingerprints().iter().map(ToString::to_string).collect(),
        threshold: usize::try_from(row.root.threshold).unwrap_or(usize::MAX),
        first_owner: first_owner.map(|owner| OwnerView {
            id: owner.id.to_string(),
            name: owner.name,
            fingerprint: owner.key.fingerprint().to_string(),
        }),
        activated_at: row.activated_at.map(time),
        warning: warning(&row),
    })
}

/// Said wherever people look, as long as the root is a throw-away one.
pub(super) fn warning(row: &InstallationRow) -> Option<String> {
    let dev =
        "dev mode: the product root lies in the data directory; whoever reads it owns this installation";

    (row.mode == Mode::Dev).then(|| dev.to_owned())
}

pub(super) fn activate(desk: &mut Desk<'_>, input: input::Activate) -> Result<Value, Failure> {
    let manifest = resolve::bytes("the manifest", &input.manifest)?;
    installation::activate(desk, &manifest)?;

    show(&installation_view(desk.tx)?)
}

pub(super) fn operators(reading: &Reading<'_>) -> Result<Value, Failure> {
    let rows = operator::list(reading.view)?;
    let views = rows.into_iter().map(|row| {
        let held =
            roles::effective_roles(reading.view, &reading.bench.seals, row.id, None, reading.now.wall)?;

        Ok(OperatorView {
            id: row.id.to_string(),
            name: row.name,
            state: row.state.name().to_owned(),
            roles: held.iter().map(|role| role.name().to_owned()).collect(),
            fingerprint: row.key.fingerprint().to_string(),
        })
    });

    show(&views.collect::<Result<Vec<_>, Failure>>()?)
}

pub(super) fn role_grants(reading: &Reading<'_>) -> Result<Value, Failure> {
    let grants = roles::list(reading.view, &reading.bench.seals, reading.now.wall)?;

    show(&grants.iter().map(grant_view).collect::<Vec<_>>())
}

fn grant_view(grant: &Grant) -> GrantView {
    GrantView {
        id: grant.document.to_string(),
        name: grant.name.clone(),
        state: grant.state.name().to_owned(),
        role: grant.role.name().to_owned(),
        cluster: grant.cluster.map(|id| id.to_string()),
        signer: Some(match grant.signer {
            GrantSigner::ProductRoot => "product root".to_owned(),
            GrantSigner::Owner(id) => id.to_string(),
        }),
    }
}

pub(super) fn grant(desk: &mut Desk<'_>, input: input::Grant) -> Result<Value, Failure> {
    let document = resolve::bytes("the grant", &input.grant)?;
    let grant = roles::record(desk, &document)?;

    show(&grant_view(&grant))
}

/// Makes the cluster, and certifies this controller in it, so that hosts can join at once.
pub(super) fn create_cluster(
    desk: &mut Desk<'_>,
    bench: &Bench,
    input: input::CreateCluster,
) -> Result<Value, Failure> {
    let row = kernel::create(desk, resolve::value("the name", &input.name)?)?;
    let new = NewController {
        controller: bench.controller,
        key: bench.key,
        endpoints: bench.endpoints.clone(),
    };
    issuing::issue_controller_certificate(desk, row.id, new)?;

    show(&cluster_view(desk.tx, &row)?)
}

pub(super) fn clusters(reading: &Reading<'_>) -> Result<Value, Failure> {
    let rows = kernel::list(reading.view)?;
    let views = rows.iter().map(|row| cluster_view(reading.view, row));

    show(&views.collect::<Result<Vec<_>, Failure>>()?)
}

pub(super) fn cluster(reading: &Reading<'_>, input: input::OfCluster) -> Result<Value, Failure> {
    let row = resolve::cluster(reading.view, input.cluster.as_deref())?;

    show(&cluster_view(reading.view, &row)?)
}

fn cluster_view(view: &dyn View, row: &ClusterRow) -> Result<ClusterView, Failure> {
    let authority = authority::current(view, row.id)?;
    let nodes = node::list(view, row.id)?;

    Ok(ClusterView {
        id: row.id.to_string(),
        name: row.name.to_string(),
        state: row.state.name().to_owned(),
        authority_epoch: authority.epoch,
        fingerprint: authority.key.fingerprint().to_string(),
        nodes: nodes.iter().filter(|row| row.tenure != Tenure::Revoked).count(),
    })
}

pub(super) fn authority(reading: &Reading<'_>, input: input::OfCluster) -> Result<Value, Failure> {
    let cluster = resolve::cluster(reading.view, input.cluster.as_deref())?;
    let row = authority::current(reading.view, cluster.id)?;

    show(&AuthorityView {
        id: row.key.fingerprint().to_string(),
        name: format!("{}/{}", cluster.name, row.epoch),
        state: row.state.name().to_owned(),
        cluster: cluster.name.to_string(),
        epoch: row.epoch,
        public_key: row.key.to_string(),
        fingerprint: row.key.fingerprint().to_string(),
    })
}

fn not_initialised() -> Failure {
    Failure::new(Code::NotFound, "there is no installation in this data directory")
        .because("the store has no row for one")
        .fixed_by("gabion controller init")
}
