//! The facts that the cores tell, as an operator reads them.

use agent_core::control::{self, Refreshed, WriteFailed};
use agent_core::mesh::effect as mesh;
use protocol::document::config::LeftOut;

pub(super) fn control(event: &control::Event) {
    use control::Event;
    match event {
        Event::ConfigConfirmed { version } => {
            tracing::info!(
                version,
                "the settings of the config lead to a controller: confirmed"
            );
        }
        Event::ConfigReverted { tried, restored } => tracing::warn!(
            tried,
            restored,
            "no controller within a minute by the settings of the config: went back to those before, and to nothing else"
        ),
        Event::ControllersChanged(list) => {
            tracing::info!(controllers = list.len(), "another controller list is in force");
        }
        Event::Damaged { file } => tracing::warn!(file = file.name(), "a state file is damaged and left out"),
        Event::Enrolled { node, authority } => {
            tracing::info!(%node, %authority, "enrolled");
        }
        Event::EpochReached { epoch } => tracing::info!(epoch, "verified the authority up to this epoch"),
        Event::JoinFailed(why) => tracing::warn!(%why, "this host did not become a node"),
        Event::JoinPending { request, key } => {
            tracing::info!(%request, %key, "the join request waits for approval");
        }
        Event::JoinRetried { code } => tracing::debug!(code, "the join request is asked again"),
        Event::Left => tracing::info!("left the cluster"),
        Event::MovedAway { within_ms } => tracing::info!(within_ms, "the controller asks to go elsewhere"),
        Event::NotLeft(why) => tracing::warn!(%why, "did not leave the cluster in time"),
        Event::NoLongerStale => tracing::info!("a newer beacon came again"),
        Event::LeftOut(addresses) => left_out(addresses),
        Event::Observed(Some(address)) => tracing::debug!(address = %address.0, "seen by the controller"),
        Event::Observed(None) => tracing::debug!("the controller does not say where it sees this node"),
        Event::Refreshed(brought) => refreshed(brought),
        Event::Refused {
            kind,
            epoch,
            version,
            why,
        } => tracing::warn!(kind = kind.name(), epoch, version, %why, "a document was refused"),
        Event::RenewalFailed(why) => tracing::warn!(%why, "the certificate was not renewed"),
        Event::Renewed { not_after } => {
            tracing::info!(not_after_ms = not_after.0, "a new certificate is in force")
        }
        Event::Revoked => tracing::warn!("this node is revoked"),
        Event::SessionClosed { endpoint, why } => closed(endpoint, why),
        Event::SessionOpened { controller, endpoint } => match controller {
            Some(controller) => tracing::info!(%controller, endpoint, "a controller answered"),
            None => tracing::info!(endpoint, "a controller answered"),
        },
        Event::Stale => tracing::warn!("no newer beacon for too long: something holds the truth back"),
        Event::WelcomeRefused { endpoint: _, why } => {
            tracing::warn!(%why, "a server's welcome does not hold")
        }
        Event::WitnessAhead { epoch, number } => {
            tracing::warn!(
                epoch,
                number,
                "a neighbour has a newer beacon than our controller gave us"
            );
        }
        Event::WriteFailed { files, why } => {
            tracing::warn!(
                files = files.len(),
                why = unwritten(*why),
                "the state directory could not be written"
            );
        }
    }
}

fn closed(endpoint: &str, why: &control::SessionEnd) {
    match why.refusal() {
        Some(code) => tracing::warn!(endpoint, code = code.text(), "a controller turned this node away"),
        None => tracing::info!(endpoint, why = why.code(), "no session with a controller"),
    }
}

/// The report of one refresh: what was bad, the versions before and after, and what came of it.
fn refreshed(brought: &Refreshed) {
    let relay = brought.way.relay.map(|relay| relay.to_string());
    let cooldown = brought.cooldown.map(protocol::time::millis);
    tracing::info!(
        route = %brought.way.route,
        relay,
        trigger = brought.trigger.name(),
        version_before = brought.before.version,
        version_after = brought.after.version,
        generation_before = brought.before.generation,
        generation_after = brought.after.generation,
        outcome = if cooldown.is_some() { "unchanged" } else { "changed" },
        cooldown_ms = cooldown,
        "asked for a better decision"
    );
}

fn unwritten(why: WriteFailed) -> &'static str {
    match why {
        WriteFailed::Full => "no space left",
        WriteFailed::Io => "input or output failed",
    }
}

fn left_out(addresses: &[LeftOut]) {
    if addresses.is_empty() {
        tracing::info!("the controller leaves no address of this node out any more");
    }
    for LeftOut { address, why } in addresses {
        let why = why.name();
        tracing::warn!(why, "the controller tells nobody of an address of this node");
        tracing::debug!(address = %address.0, why, "this one");
    }
}

pub(super) fn mesh(event: &mesh::Event) {
    use mesh::Event;
    match event {
        Event::BeaconShown { peer, .. } => tracing::trace!(?peer, "a neighbour showed its beacon"),
        Event::DecisionRefused { route, why } => tracing::warn!(?route, ?why, "a decision was refused"),
        Event::Met { peer } => tracing::info!(?peer, "met a neighbour at an agreed moment"),
        Event::LinkDuplicateClosed { peer, link } => tracing::debug!(?peer, ?link, "closed a second link"),
        Event::Moved {
            peer,
            from,
            to,
            generation,
            ..
        } => tracing::info!(?peer, ?from, ?to, generation, "traffic follows a decision"),
        Event::PathChanged {
            peer, path, from, to, ..
        } => tracing::debug!(?peer, ?path, from = from.name(), to = to.name(), "a path changed"),
        Event::PathDown { peer, path, .. } => tracing::info!(?peer, ?path, "the path in use is down"),
        Event::RelayRefuses { relay, lease, why } => {
            tracing::info!(
                ?relay,
                ?lease,
                why = why.name(),
                "a relay does not carry our frames"
            );
        }
        Event::RelayStarted => tracing::info!("carries leases"),
        Event::RelayStopped { why } => tracing::warn!(?why, "carries no leases"),
        Event::Stalled { still } => tracing::warn!(?still, "this process stood still"),
        Event::Switched {
            peer,
            from,
            to,
            cause,
            ..
        } => tracing::info!(?peer, ?from, ?to, ?cause, "traffic moved to a standby"),
        Event::Withdrawn { peer, generation, .. } => {
            tracing::info!(?peer, generation, "a route was withdrawn")
        }
    }
}
