//! Says which step between two nodes fails: one verdict, its evidence, and what mends it.

use control_core::node::{self, Tenure};
use control_routing::observations::PathSeen;
use control_routing::route::RouteRow;
use control_routing::via::Via;
use protocol::id::NodeId;
use protocol::wire::Drift;
use serde::Serialize;
use serde_json::Value;

use super::input::Pair;
use super::paths::Scene;
use super::{Reading, show};
use crate::failure::Failure;

/// The steps in the order in which they can fail; the first that does is the verdict.
#[derive(Debug, Serialize)]
struct Why {
    source: String,
    target: String,
    /// `ok`, or what is wrong; the words are stable.
    verdict: &'static str,
    summary: String,
    fix: Option<String>,
    steps: Vec<Step>,
}

#[derive(Debug, Serialize)]
struct Step {
    name: &'static str,
    ok: bool,
    evidence: String,
}

/// What is wrong at one step.
struct Fault {
    verdict: &'static str,
    summary: String,
    fix: Option<String>,
}

pub(super) fn why(reading: &Reading<'_>, input: Pair) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let (source, target) = (scene.node(&input.source)?, scene.node(&input.target)?);
    let inquiry = Inquiry {
        scene: &scene,
        source,
        target,
    };
    let mut steps = Vec::new();
    let mut found = None;
    for (name, check) in CHECKS {
        match check(&inquiry)? {
            Ok(evidence) => steps.push(Step {
                name,
                ok: true,
                evidence,
            }),
            Err(fault) => {
                steps.push(Step {
                    name,
                    ok: false,
                    evidence: fault.summary.clone(),
                });
                found = Some(fault);
                break;
            }
        }
    }
    let names = (scene.fleet.name(source), scene.fleet.name(target));
    let fault = found.unwrap_or_else(|| Fault {
        verdict: "ok",
        summary: format!("{} and {} reach each other", names.0, names.1),
        fix: None,
    });

    show(&Why {
        source: names.0,
        target: names.1,
        verdict: fault.verdict,
        summary: fault.summary,
        fix: fault.fix,
        steps,
    })
}

struct Inquiry<'a> {
    scene: &'a Scene<'a>,
    source: NodeId,
    target: NodeId,
}

type Check = fn(&Inquiry<'_>) -> Result<Result<String, Fault>, Failure>;

const CHECKS: [(&str, Check); 5] = [
    ("identity", identity),
    ("controller", heard),
    ("policy", policy),
    ("lease", lease),
    ("path", path),
];

fn identity(inquiry: &Inquiry<'_>) -> Result<Result<String, Fault>, Failure> {
    let scene = inquiry.scene;
    for id in [inquiry.source, inquiry.target] {
        let row = node::get(scene.reading.view, scene.fleet.cluster, id)?;
        let name = scene.fleet.name(id);
        let fault = match row.map(|row| row.tenure) {
            Some(Tenure::Enabled) => continue,
            Some(Tenure::Disabled) => Fault {
                verdict: "node_disabled",
                summary: format!("{name} was disabled by an operator"),
                fix: Some(format!("gabion node enable {name}")),
            },
            Some(Tenure::Revoked) | None => Fault {
                verdict: "node_revoked",
                summary: format!("{name} was revoked, or has left"),
                fix: Some("gabion token create, and join the host again".to_owned()),
            },
        };
        return Ok(Err(fault));
    }

    Ok(Ok("both identities are in force".to_owned()))
}

fn heard(inquiry: &Inquiry<'_>) -> Result<Result<String, Fault>, Failure> {
    let scene = inquiry.scene;
    let mut ages = Vec::new();
    for id in [inquiry.source, inquiry.target] {
        let name = scene.fleet.name(id);
        let last = scene.reading.live.last_seen(scene.fleet.cluster, id);
        let age = last.map(|last| scene.reading.now.wall.since(last));
        match age.filter(|age| *age < control_core::liveness::DEGRADED_AFTER) {
            Some(age) => ages.push(format!("{name} was heard {} s ago", age.as_secs())),
            None => {
                let since = age.map_or_else(
                    || "since this controller started".to_owned(),
                    |age| format!("for {} s", age.as_secs()),
                );
                return Ok(Err(Fault {
                    verdict: "controller_unreachable",
                    summary: format!(
                        "{name} was not heard {since}: its agent is stopped, or cannot reach this controller"
                    ),
                    fix: Some(format!(
                        "on {name}: gabion agent status; systemctl status gabion-agent"
                    )),
                }));
            }
        }
    }

    Ok(Ok(ages.join(", ")))
}

fn policy(inquiry: &Inquiry<'_>) -> Result<Result<String, Fault>, Failure> {
    let route = protocol::id::RouteId::between(inquiry.scene.fleet.cluster, inquiry.source, inquiry.target);
    let Some(wanted) = inquiry.scene.fleet.wanted.find(route) else {
        return Ok(Err(Fault {
            verdict: "no_policy",
            summary: "no route policy selects this pair".to_owned(),
            fix: Some("gabion policy apply FILE with a policy that selects both nodes' labels".to_owned()),
        }));
    };
    let name = wanted
        .policy
        .as_ref()
        .map_or_else(|| "the default".to_owned(), ToString::to_string);

    Ok(Ok(format!(
        "{name} wants a route of priority {}",
        wanted.priority
    )))
}

fn lease(inquiry: &Inquiry<'_>) -> Result<Result<String, Fault>, Failure> {
    let fleet = &inquiry.scene.fleet;
    let row = inquiry.row();
    let via = row.and_then(|row| row.path.as_ref()).map(Via::from);
    match via {
        Some(Via::Direct) => Ok(Ok("the direct path needs no lease".to_owned())),
        Some(Via::Relay(relay)) => Ok(Ok(format!("{} carries the pair", fleet.name(relay)))),
        None => {
            let waiting = fleet
                .leases
                .of_route(inquiry.route())
                .any(|lease| lease.is_live());
            let summary = match (waiting, fleet.relays.is_empty()) {
                (true, _) => "a relay lease is offered, and the relay has not acknowledged it".to_owned(),
                (false, true) => "there is no direct path, and the cluster has no relay".to_owned(),
                (false, false) => {
                    "there is no direct path, and no relay has a lease for this pair".to_owned()
                }
            };

            Ok(Err(Fault {
                verdict: "no_lease",
                summary,
                fix: Some("gabion relay list; gabion token create --role relay".to_owned()),
            }))
        }
    }
}

fn path(inquiry: &Inquiry<'_>) -> Result<Result<String, Fault>, Failure> {
    let fleet = &inquiry.scene.fleet;
    let observations = &inquiry.scene.life().observations;
    let Some(row) = inquiry.row() else {
        return Ok(Ok("no decision yet".to_owned()));
    };
    let Some(via) = row.path.as_ref().map(Via::from) else {
        return Ok(Ok("withdrawn".to_owned()));
    };
    let ends = [(inquiry.source, inquiry.target), (inquiry.target, inquiry.source)];
    let seen = ends.map(|(from, _)| observations.path(from, row.route, via));
    let down: Vec<(NodeId, NodeId, &PathSeen)> = ends
        .iter()
        .zip(seen)
        .filter_map(|((from, to), seen)| Some((*from, *to, seen.filter(|seen| seen.is_down())?)))
        .collect();
    let how = via.relay().map_or_else(
        || "direct".to_owned(),
        |relay| format!("through {}", fleet.name(relay)),
    );
    let Some((from, to, seen)) = down.first() else {
        let rtt = seen.iter().flatten().filter_map(|seen| seen.rtt_us).max();
        let shown = rtt.map_or_else(
            || "not measured yet".to_owned(),
            |rtt| format!("{:.1} ms", f64::from(rtt) / 1_000.0),
        );
        return Ok(Ok(format!("{how}, {shown}")));
    };
    let direction = direction(seen, &fleet.name(*from), &fleet.name(*to), down.len() == 2);
    let last = seen.drift;

    Ok(Err(Fault {
        verdict: "path_down",
        summary: format!("the path {how} is down: {direction}"),
        fix: Some(match last {
            Drift::Unreachable => {
                "check UDP between the hosts, and the addresses in gabion node show".to_owned()
            }
            Drift::None | Drift::PathDrift | Drift::Failure => {
                format!(
                    "gabion route explain {} {}",
                    fleet.name(inquiry.source),
                    fleet.name(inquiry.target)
                )
            }
        }),
    }))
}

/// Which way frames are lost, by what the ends counted.
fn direction(seen: &PathSeen, from: &str, to: &str, both: bool) -> String {
    match (both, seen.lost_out.cmp(&seen.lost_in)) {
        (true, _) => format!("neither {from} → {to} nor {to} → {from} answers"),
        (false, std::cmp::Ordering::Less) => format!("{to} → {from} is lost"),
        (false, std::cmp::Ordering::Greater | std::cmp::Ordering::Equal) => format!("{from} → {to} is lost"),
    }
}

impl Inquiry<'_> {
    fn route(&self) -> protocol::id::RouteId {
        protocol::id::RouteId::between(self.scene.fleet.cluster, self.source, self.target)
    }

    fn row(&self) -> Option<&RouteRow> {
        self.scene.fleet.routes.find(self.route())
    }
}
