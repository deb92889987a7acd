//! Says which step between two nodes fails: one verdict, its evidence, and what mends it.

mod way;

use control_core::node::{self, NodeState};
use control_core::settings;
use control_routing::route::RouteRow;
use control_routing::via::Via;
use protocol::document::config::LeftOut;
use protocol::id::{NodeId, RouteId};
use serde::Serialize;
use serde_json::Value;

use super::input::Pair;
use super::paths::Scene;
use super::sight::Sight;
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
    /// The directions, from and to, in which frames are lost.
    lost: Vec<[String; 2]>,
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
    lost: Vec<[String; 2]>,
    /// Whether the next step still has something to say.
    goes_on: bool,
}

impl Fault {
    fn new(verdict: &'static str, summary: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            verdict,
            summary: summary.into(),
            fix: Some(fix.into()),
            lost: Vec::new(),
            goes_on: false,
        }
    }

    /// Adds what a later step found: the first fault is the verdict, the later ones say more about it.
    fn and(self, later: Self) -> Self {
        Self {
            summary: format!("{}; {}", self.summary, later.summary),
            lost: later.lost,
            goes_on: later.goes_on,
            ..self
        }
    }
}

/// Evidence that a step is passed, or why it is not.
type Found = Result<String, Fault>;

pub(super) fn why(reading: &Reading<'_>, input: Pair) -> Result<Value, Failure> {
    let scene = Scene::of(reading, input.cluster.as_deref())?;
    let (source, target) = (scene.node(&input.source)?, scene.node(&input.target)?);
    let inquiry = Inquiry {
        scene: &scene,
        source,
        target,
    };
    let (steps, found) = walk(&inquiry)?;
    let names = (scene.fleet.name(source), scene.fleet.name(target));
    let fault = found.unwrap_or_else(|| Fault {
        verdict: "ok",
        summary: format!("{} and {} reach each other", names.0, names.1),
        fix: None,
        lost: Vec::new(),
        goes_on: false,
    });

    show(&Why {
        source: names.0,
        target: names.1,
        verdict: fault.verdict,
        summary: fault.summary,
        fix: fault.fix,
        lost: fault.lost,
        steps,
    })
}

/// Goes through the steps up to the one that fails.
fn walk(inquiry: &Inquiry<'_>) -> Result<(Vec<Step>, Option<Fault>), Failure> {
    let mut steps = Vec::new();
    let mut found: Option<Fault> = None;
    for (name, check) in CHECKS {
        let fault = match check(inquiry)? {
            Ok(evidence) => {
                steps.push(Step {
                    name,
                    ok: true,
                    evidence,
                });
                continue;
            }
            Err(fault) => fault,
        };
        steps.push(Step {
            name,
            ok: false,
            evidence: fault.summary.clone(),
        });
        let sum = match found {
            Some(first) => first.and(fault),
            None => fault,
        };
        let goes_on = sum.goes_on;
        found = Some(sum);
        if !goes_on {
            break;
        }
    }

    Ok((steps, found))
}

struct Inquiry<'a> {
    scene: &'a Scene<'a>,
    source: NodeId,
    target: NodeId,
}

impl Inquiry<'_> {
    fn name(&self, node: NodeId) -> String {
        self.scene.fleet.name(node)
    }

    fn route(&self) -> RouteId {
        RouteId::between(self.scene.fleet.cluster, self.source, self.target)
    }

    /// Addresses that the node claims and nobody is told of.
    fn left_out(&self, node: NodeId) -> &[LeftOut] {
        self.scene.reading.live.left_out(self.scene.fleet.cluster, node)
    }

    /// The decision in force, and which way it goes.
    fn decided(&self) -> Option<(&RouteRow, Via)> {
        let row = self.scene.fleet.routes.find(self.route())?;

        Some((row, row.path.as_ref().map(Via::from)?))
    }

    fn sight(&self, row: &RouteRow, via: Via) -> Sight<'_> {
        self.scene.sight(row, via)
    }
}

type Check = fn(&Inquiry<'_>) -> Result<Found, Failure>;

const CHECKS: [(&str, Check); 6] = [
    ("identity", identity),
    ("controller", heard),
    ("policy", policy),
    ("decision", decision),
    ("lease", way::lease),
    ("path", way::path),
];

fn identity(inquiry: &Inquiry<'_>) -> Result<Found, Failure> {
    let scene = inquiry.scene;
    for id in [inquiry.source, inquiry.target] {
        let row = node::get(scene.reading.view, scene.fleet.cluster, id)?;
        let name = scene.fleet.name(id);
        let fault = match row.map(|row| row.state()) {
            Some(NodeState::Active | NodeState::Degraded | NodeState::Offline | NodeState::Draining) => {
                continue;
            }
            Some(NodeState::Left) => Fault::new(
                "node_revoked",
                format!("{name} has left the cluster"),
                "gabion token create    (its host joins anew)",
            ),
            Some(NodeState::Disabled) => Fault::new(
                "node_disabled",
                format!("{name} was disabled by an operator"),
                format!("gabion node enable {name}"),
            ),
            Some(NodeState::Revoked) | None => Fault::new(
                "node_revoked",
                format!("{name} was revoked"),
                "gabion token create    (a revoked node stays out; its host joins anew)",
            ),
        };
        return Ok(Err(fault));
    }

    Ok(Ok("both identities are in force".to_owned()))
}

fn heard(inquiry: &Inquiry<'_>) -> Result<Found, Failure> {
    let scene = inquiry.scene;
    let mut ages = Vec::new();
    for id in [inquiry.source, inquiry.target] {
        let name = scene.fleet.name(id);
        let reversal = node::get(scene.reading.view, scene.fleet.cluster, id)?.and_then(|row| row.reverted);
        let back = match reversal {
            Some(reversal) if settings::is_held_back(scene.reading.view, scene.fleet.cluster, &reversal)? => {
                format!(
                    " (kept from the settings of its config {})",
                    reversal.report.config.version
                )
            }
            Some(_) | None => String::new(),
        };
        let last = scene.reading.live.last_seen(scene.fleet.cluster, id);
        let age = last.map(|last| scene.reading.now.wall.since(last));
        match age.filter(|age| *age < control_core::liveness::DEGRADED_AFTER) {
            Some(age) => ages.push(format!("{name} was heard {} s ago{back}", age.as_secs())),
            None => {
                let since = age.map_or_else(
                    || "since this controller started".to_owned(),
                    |age| format!("for {} s", age.as_secs()),
                );
                return Ok(Err(Fault::new(
                    "controller_unreachable",
                    format!(
                        "{name} was not heard {since}: its agent is stopped, or cannot reach this controller"
                    ),
                    format!("on {name}: gabion agent status; systemctl status gabion-agent"),
                )));
            }
        }
    }

    Ok(Ok(ages.join(", ")))
}

fn policy(inquiry: &Inquiry<'_>) -> Result<Found, Failure> {
    let Some(wanted) = inquiry.scene.fleet.wanted.find(inquiry.route()) else {
        return Ok(Err(Fault::new(
            "no_policy",
            "no route policy selects this pair",
            "gabion policy apply FILE    (with a policy that selects both nodes' labels)",
        )));
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

/// A pair that has only just become wanted is decided in the next pass.
fn decision(inquiry: &Inquiry<'_>) -> Result<Found, Failure> {
    Ok(match inquiry.decided() {
        Some((row, _)) => Ok(format!("generation {} is in force", row.generation)),
        None => Err(Fault::new(
            "undecided",
            "the policy wants a route, and this controller has not decided one yet",
            "gabion status    (a controller that writes nothing decides nothing)",
        )),
    })
}
