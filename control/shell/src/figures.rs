//! Figures that say how the controller stands: gauges that are set when somebody reads them, and every series at zero from
//! the start, so that a rate or an alert has something to look at before the first event.

use std::collections::BTreeMap;

use control_api::admin::ROUTE_STATES;
use control_api::view::{ClusterStatus, JournalView, StatusView};
use control_core::doorkeeper::Full;
use control_core::finding::{self, FindingKind, FindingState, Severity};
use control_core::node::NodeState;
use control_routing::observations::Stats;
use control_store::engine::CommitFailed;
use protocol::envelope::Kind;
use protocol::error::Code;
use serde_json::json;

use crate::admin::Admin;
use crate::queue;

/// Makes every counter. Asked once, when the recorder is there.
pub(crate) fn begin() {
    for outcome in ["admitted", "failed", "refused"] {
        metrics::counter!("gabion_controller_handshakes_total", "outcome" => outcome).increment(0);
    }
    for bound in Full::ALL.map(Full::name) {
        metrics::counter!("gabion_controller_connections_refused_total", "bound" => bound).increment(0);
    }
    for code in [Code::InvalidRequest, Code::TooLarge] {
        metrics::counter!("gabion_controller_malformed_total", "code" => code.text()).increment(0);
    }
    for outcome in ["news", "not_modified"] {
        metrics::counter!("gabion_controller_polls_total", "outcome" => outcome).increment(0);
    }
    for kind in OFFERED {
        metrics::counter!("gabion_controller_refused_documents_total", "kind" => kind.name()).increment(0);
    }
    for queue in queue::names() {
        metrics::counter!("gabion_controller_queue_full_total", "queue" => queue).increment(0);
    }
    for reason in REASONS {
        metrics::counter!("gabion_controller_commit_failures_total", "reason" => reason).increment(0);
    }
    metrics::counter!("gabion_controller_rate_limited_total").increment(0);
    metrics::counter!("gabion_controller_decisions_total").increment(0);
    metrics::counter!("gabion_controller_journal_missed_total").absolute(0);
    reported(Stats::default());
}

/// Rows of reports that were not believed.
fn reported(stats: Stats) {
    let fates = [
        ("foreign", stats.foreign),
        ("malformed", stats.malformed),
        ("surplus", stats.surplus),
    ];
    for (why, rows) in fates {
        metrics::counter!("gabion_controller_report_rows_refused_total", "why" => why).absolute(rows);
    }
}

/// Counts a commit that did not come about.
pub(crate) fn commit_failed(failed: &CommitFailed) {
    let reason = match failed {
        CommitFailed::Conflict { .. } => "conflict",
        CommitFailed::Io(_) => "io",
        CommitFailed::StoreFull => "store_full",
        CommitFailed::TermLost => "term_lost",
        CommitFailed::TooLarge => "too_large",
        CommitFailed::Unreadable(_) => "unreadable",
    };
    metrics::counter!("gabion_controller_commit_failures_total", "reason" => reason).increment(1);
}

/// Sets every gauge as things stand now. What cannot be read keeps the figure that it had.
pub(crate) async fn measure(admin: &Admin) {
    let board = &admin.service.board;
    let stands = board.pulse().stood(admin.service.clock.now().boot).is_some();
    metrics::gauge!("gabion_controller_read_only").set(yes(board.read_only().is_some()));
    metrics::gauge!("gabion_controller_store_full").set(yes(board.reader().is_full()));
    metrics::gauge!("gabion_controller_writer_stands").set(yes(stands));
    match finding::list(&board.snapshot()) {
        Ok(rows) => {
            for severity in [Severity::Critical, Severity::Warning, Severity::Notice] {
                let is_open =
                    |row: &&finding::FindingRow| row.state == FindingState::Open && row.severity == severity;
                let open = rows.iter().filter(is_open).count();
                metrics::gauge!("gabion_controller_findings", "severity" => severity.name()).set(open as f64);
            }
            let fails = |row: &&finding::FindingRow| {
                row.kind == FindingKind::PUBLICATION_FAILED && row.state != FindingState::Resolved
            };
            let failing = rows.iter().filter(fails).count();
            metrics::gauge!("gabion_controller_publication_failed").set(failing as f64);
        }
        Err(error) => tracing::warn!(%error, "the findings cannot be counted"),
    }
    let stats = board.live().stats();
    reported(stats);
    fleet(admin).await;
}

fn yes(is_so: bool) -> f64 {
    f64::from(u8::from(is_so))
}

async fn fleet(admin: &Admin) {
    let status = admin.answer("status/show", None, json!({})).await;
    let Some(status) = status
        .ok()
        .and_then(|status| serde_json::from_value::<StatusView>(status).ok())
    else {
        tracing::warn!("the fleet cannot be counted");
        return;
    };
    for state in NodeState::ALL.map(NodeState::name) {
        let nodes = sum(status.clusters.iter().map(|cluster| &cluster.nodes), state);
        metrics::gauge!("gabion_controller_nodes", "state" => state).set(nodes);
    }
    for state in ROUTE_STATES {
        let routes = sum(status.clusters.iter().map(|cluster| &cluster.routes), state);
        metrics::gauge!("gabion_controller_routes", "state" => state).set(routes);
    }
    journals(&status.clusters);
}

fn journals(clusters: &[ClusterStatus]) {
    let sum = |of: fn(&JournalView) -> u64| clusters.iter().map(|cluster| of(&cluster.journal)).sum::<u64>();
    let oldest = clusters
        .iter()
        .map(|cluster| cluster.journal.oldest_seconds)
        .max();
    metrics::gauge!("gabion_controller_journal_entries").set(sum(|journal| journal.entries) as f64);
    metrics::gauge!("gabion_controller_journal_bytes").set(sum(|journal| journal.bytes) as f64);
    metrics::gauge!("gabion_controller_journal_oldest_seconds").set(oldest.unwrap_or(0) as f64);
    metrics::counter!("gabion_controller_journal_missed_total").absolute(sum(|journal| journal.missed));
}

fn sum<'a>(counts: impl Iterator<Item = &'a BTreeMap<String, usize>>, state: &str) -> f64 {
    counts
        .filter_map(|counts| counts.get(state).copied())
        .sum::<usize>() as f64
}

/// Kinds of documents that an agent is given after it has joined.
const OFFERED: [Kind; 6] = [
    Kind::TrustBundle,
    Kind::RevocationList,
    Kind::SyntheticConfig,
    Kind::Routes,
    Kind::LeaseTable,
    Kind::Beacon,
];
/// What [`commit_failed`] tells apart.
const REASONS: [&str; 6] = [
    "conflict",
    "io",
    "store_full",
    "term_lost",
    "too_large",
    "unreadable",
];
