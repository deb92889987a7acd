//! The last two steps: whether there is a way around a direct path that is down, and whether the path carries.

use control_routing::lease::LeaseState;
use control_routing::pool::RelayStanding;
use control_routing::via::Via;
use protocol::id::NodeId;
use protocol::limits::LEASE_ROWS;

use super::{Fault, Found, Inquiry};
use crate::admin::sight::{Health, Sight};
use crate::failure::Failure;

/// A direct path needs no lease as long as it carries; when it does not, only a leased relay leads around it.
pub(super) fn lease(inquiry: &Inquiry<'_>) -> Result<Found, Failure> {
    let Some((row, via)) = inquiry.decided() else {
        return Ok(Ok("nothing is decided that would need one".to_owned()));
    };
    if let Some(relay) = via.relay() {
        return Ok(Ok(format!("{} carries the pair", inquiry.name(relay))));
    }
    let has_standby = row.standbys.iter().any(|path| path.relay().is_some());
    if has_standby || inquiry.sight(row, via).health() != Health::Down {
        return Ok(Ok("the direct path needs no lease".to_owned()));
    }

    Ok(Err(no_way_around(inquiry)))
}

fn no_way_around(inquiry: &Inquiry<'_>) -> Fault {
    let fleet = &inquiry.scene.fleet;
    let leases = || {
        fleet
            .leases
            .of_route(inquiry.route())
            .filter(|lease| lease.is_live() && lease.kind.is_relay())
    };
    let relays = || {
        let others = fleet.relays.iter().map(|relay| (relay.node, relay.standing));

        others.filter(|(node, _)| ![inquiry.source, inquiry.target].contains(node))
    };
    let takes = |(node, standing): (NodeId, RelayStanding)| {
        standing == RelayStanding::Ready && fleet.leases.rows(node) < LEASE_ROWS
    };
    let explain = format!(
        "gabion route explain {} {}",
        inquiry.name(inquiry.source),
        inquiry.name(inquiry.target)
    );
    let (verdict, why, fix) = if let Some(lease) = leases().find(|lease| lease.state == LeaseState::Offered) {
        let relay = inquiry.name(lease.relay);
        let why = format!("{relay} was offered the pair and has not acknowledged the lease yet");

        ("lease_pending", why, format!("on {relay}: gabion agent status"))
    } else if leases().next().is_some() {
        (
            "no_candidate",
            "no relay that has a lease for the pair reaches both ends".to_owned(),
            explain,
        )
    } else if relays().next().is_none() {
        let why = "the cluster has no relay that could carry the pair".to_owned();

        ("no_candidate", why, "gabion token create --role relay".to_owned())
    } else if relays().any(takes) {
        (
            "no_lease",
            "no relay has a lease for the pair".to_owned(),
            explain,
        )
    } else {
        let why = "every relay is draining, offline or full".to_owned();

        ("no_candidate", why, "gabion relay list".to_owned())
    };

    let meeting = inquiry.decided().and_then(|(row, _)| row.rendezvous);
    let meeting = meeting.map_or_else(String::new, |place| {
        format!("; the ends try to meet over {}", inquiry.name(place.node))
    });

    Fault {
        // The path says next which direction is cut.
        goes_on: true,
        ..Fault::new(
            verdict,
            format!("the direct path is down, and {why}{meeting}"),
            fix,
        )
    }
}

pub(super) fn path(inquiry: &Inquiry<'_>) -> Result<Found, Failure> {
    let Some((row, via)) = inquiry.decided() else {
        return Ok(Ok("nothing is decided".to_owned()));
    };
    let sight = inquiry.sight(row, via);
    let how = how(inquiry, via);

    Ok(match sight.health() {
        Health::Healthy => {
            let rtt = sight
                .rtt_ms()
                .map_or_else(String::new, |rtt| format!(", {rtt:.1} ms"));
            let direct = beside(inquiry, via, &inquiry.sight(row, Via::Direct));

            Ok(format!("{how}{rtt}{direct}"))
        }
        Health::Down if via == Via::Direct && !is_dialable(inquiry) => Err(nowhere(inquiry)),
        Health::Down => Err(down(inquiry, via, &sight)),
        Health::Stale => {
            let age = sight.stale().unwrap_or_default().as_secs();

            Err(unmeasured(
                inquiry,
                &format!("neither end has reported on the path {how} for {age} s"),
            ))
        }
        Health::Unmeasured => Err(unmeasured(
            inquiry,
            &format!("neither end has measured the path {how} yet"),
        )),
    })
}

fn how(inquiry: &Inquiry<'_>, via: Via) -> String {
    via.relay().map_or_else(
        || "direct".to_owned(),
        |relay| format!("through {}", inquiry.name(relay)),
    )
}

/// Why a pair that is well goes through a relay.
fn beside(inquiry: &Inquiry<'_>, via: Via, direct: &Sight<'_>) -> String {
    match via != Via::Direct && direct.health() == Health::Down {
        true => format!(
            "; the direct path is down: {}{}",
            Cut::of(inquiry, direct).told(inquiry),
            left_out(inquiry)
        ),
        false => String::new(),
    }
}

/// Whether an end has an address that the other could dial.
fn is_dialable(inquiry: &Inquiry<'_>) -> bool {
    let ends = [inquiry.source, inquiry.target].map(|end| inquiry.scene.fleet.members.get(&end));

    ends.into_iter().flatten().any(|end| !end.endpoints.is_empty())
}

fn nowhere(inquiry: &Inquiry<'_>) -> Fault {
    let (one, other) = (inquiry.name(inquiry.source), inquiry.name(inquiry.target));

    Fault::new(
        "path_down",
        format!(
            "the path direct is down: neither {one} nor {other} has an address that other hosts can dial{}",
            left_out(inquiry)
        ),
        format!("name one in `candidates` of the agent.toml of {one} or {other}"),
    )
}

/// The addresses of both ends that nobody is told of, each with the reason.
fn left_out(inquiry: &Inquiry<'_>) -> String {
    let of = |end: NodeId| {
        let claimed = inquiry.left_out(end).iter();

        claimed.map(move |left_out| {
            format!(
                "{} of {} ({})",
                left_out.address.0,
                inquiry.name(end),
                left_out.why.name()
            )
        })
    };
    let all: Vec<String> = of(inquiry.source).chain(of(inquiry.target)).collect();
    match all.is_empty() {
        true => String::new(),
        false => format!("; left out: {}", all.join(", ")),
    }
}

fn down(inquiry: &Inquiry<'_>, via: Via, sight: &Sight<'_>) -> Fault {
    let how = how(inquiry, via);
    let (one, other) = (inquiry.name(inquiry.source), inquiry.name(inquiry.target));
    let cut = Cut::of(inquiry, sight);
    let fix = match via {
        Via::Direct => {
            format!("let UDP through between {one} and {other}; gabion node show {one} has the addresses")
        }
        Via::Relay(_) => format!("gabion route explain {one} {other}"),
    };

    Fault {
        lost: cut.lost(inquiry),
        ..Fault::new(
            "path_down",
            format!(
                "the path {how} is down: {}{}",
                cut.told(inquiry),
                match via {
                    Via::Direct => left_out(inquiry),
                    Via::Relay(_) => String::new(),
                }
            ),
            fix,
        )
    }
}

fn unmeasured(inquiry: &Inquiry<'_>, why: &str) -> Fault {
    let source = inquiry.name(inquiry.source);

    Fault::new(
        "unmeasured",
        why.to_owned(),
        format!("on {source}: gabion agent status"),
    )
}

/// Whether the source's frames arrive at the target, and the other way around.
struct Cut {
    there: Option<bool>,
    back: Option<bool>,
}

impl Cut {
    fn of(inquiry: &Inquiry<'_>, sight: &Sight<'_>) -> Self {
        Self {
            there: sight.hears(inquiry.target),
            back: sight.hears(inquiry.source),
        }
    }

    fn told(&self, inquiry: &Inquiry<'_>) -> String {
        let (source, target) = (inquiry.name(inquiry.source), inquiry.name(inquiry.target));
        let (there, back) = (format!("{source} → {target}"), format!("{target} → {source}"));
        match (self.there, self.back) {
            (Some(false), Some(false)) => format!("both {there} and {back} are lost"),
            (Some(false), Some(true)) => format!("{there} is lost, {back} arrives"),
            (Some(true), Some(false)) => format!("{back} is lost, {there} arrives"),
            (Some(true), Some(true)) => "frames arrive at both ends, and answers do not come back".to_owned(),
            (Some(false), None) => format!("{there} is lost, and {source} does not say what it hears"),
            (None, Some(false)) => format!("{back} is lost, and {target} does not say what it hears"),
            // What the end that reports hears is unanswered, so what it sends is what gets lost.
            (Some(true), None) => format!("{back} is lost, {there} arrives"),
            (None, Some(true)) => format!("{there} is lost, {back} arrives"),
            (None, None) => "neither end reports on it".to_owned(),
        }
    }

    /// The directions that are known to be cut, for scripts.
    fn lost(&self, inquiry: &Inquiry<'_>) -> Vec<[String; 2]> {
        let (source, target) = (inquiry.name(inquiry.source), inquiry.name(inquiry.target));
        let there = self.there == Some(false) || (self.there.is_none() && self.back == Some(true));
        let back = self.back == Some(false) || (self.back.is_none() && self.there == Some(true));
        let mut lost = Vec::new();
        lost.extend(there.then(|| [source.clone(), target.clone()]));
        lost.extend(back.then_some([target, source]));

        lost
    }
}
