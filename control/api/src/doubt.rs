//! Findings about observers that are not believed alone.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use control_core::desk::Desk;
use control_core::finding::{self, Finding, FindingKind, FindingState, Severity};
use control_core::node;
use control_routing::suspicion::{Circle, Suspect};
use protocol::id::{ClusterId, NodeId};

use crate::failure::Failure;

/// Raises a finding for each suspect, and resolves those about whoever is none any more.
pub fn note(desk: &mut Desk<'_>, cluster: ClusterId, suspects: &[Suspect]) -> Result<(), Failure> {
    let subjects: BTreeSet<String> = suspects.iter().map(|suspect| subject(&suspect.circle)).collect();
    for row in finding::list(desk.tx)? {
        let is_ours = row.kind == FindingKind::OBSERVER_SUSPECT && row.cluster == Some(cluster);
        if is_ours && row.state != FindingState::Resolved && !subjects.contains(&row.subject) {
            finding::clear(desk, &about(cluster, row.subject, String::new()))?;
        }
    }
    let mut told_of: Vec<&Suspect> = suspects.iter().collect();
    told_of.sort_by_key(|suspect| Reverse(&suspect.circle));
    for suspect in told_of.into_iter().take(TOLD) {
        let text = told(desk, cluster, suspect);
        finding::raise(desk, about(cluster, subject(&suspect.circle), text))?;
    }

    Ok(())
}

fn about(cluster: ClusterId, subject: String, text: String) -> Finding {
    Finding {
        kind: FindingKind::OBSERVER_SUSPECT,
        severity: Severity::Warning,
        cluster: Some(cluster),
        subject,
        text,
    }
}

/// Suspects that are told of at once, the widest circles first: where a controller's own host is sick everybody is suspect, and
/// thousands of findings would fit no commit and help nobody.
const TOLD: usize = 64;

/// Stays the same however the fleet is renamed.
fn subject(circle: &Circle) -> String {
    match circle {
        Circle::Observer(node) => node.to_string(),
        Circle::Site(site) => format!("site={site}"),
        Circle::Cluster => "cluster".to_owned(),
    }
}

fn told(desk: &Desk<'_>, cluster: ClusterId, suspect: &Suspect) -> String {
    let who = match &suspect.circle {
        Circle::Observer(node) => format!("the node {}", name(desk, cluster, *node)),
        Circle::Site(site) => format!("the nodes of site {site}"),
        Circle::Cluster => "what this controller hears of the cluster".to_owned(),
    };
    let count = &suspect.count;

    format!(
        "{who}: {} of {} paths are called down, and of {} of these the far ends say that they are well; {} (look at the \
         load and the clock of these hosts, and of this one)",
        count.bad,
        count.paths,
        count.disputed,
        promise(&suspect.circle)
    )
}

/// What such reports still move, and when.
const fn promise(circle: &Circle) -> &'static str {
    match circle {
        Circle::Observer(_) => {
            "until that ends its word alone moves no route and its routes are not improved; a path that its far end calls down \
             as well moves at once, or, if that end is suspect too, once both have said so for 30 s without a break"
        }
        Circle::Site(_) => {
            "until that ends the word of one of them alone moves no route and their routes are not improved; a path that both \
             ends call down moves at once, unless both are suspect for what they say themselves"
        }
        Circle::Cluster => {
            "while that lasts no route is improved, and until ten minutes later a path counts as down only once that has \
             been said for 30 s without a break and is not contradicted by its other end; links that are lost count at once, \
             and agents go on to fail over by themselves"
        }
    }
}

fn name(desk: &Desk<'_>, cluster: ClusterId, id: NodeId) -> String {
    let row = node::get(desk.tx, cluster, id);

    row.ok()
        .flatten()
        .map_or_else(|| id.to_string(), |row| row.name.to_string())
}
