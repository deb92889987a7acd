//! Addresses that handshakes of neighbours have confirmed, on their way into the store.

use control_api::request::{Caller, Request};
use protocol::id::{ClusterId, NodeId};
use protocol::wire::Report;

use crate::listen::Service;

/// Hands what the report of a node confirms to the writer. Nobody waits: what is not stored comes again with the next
/// report.
pub(crate) fn submit(service: &Service, (cluster, node): (ClusterId, NodeId), report: &Report) {
    let Some(publication) = service.board.publication(cluster) else {
        return;
    };
    let reached = service.board.live().reached(&publication, node, report);
    if reached.is_empty() || service.board.read_only().is_some() {
        return;
    }
    let service = service.clone();
    tokio::spawn(async move {
        let request = Request::Confirm { cluster, reached };
        if let Err(failure) = service.door.call(Caller::Controller, request).await {
            tracing::warn!(code = failure.code.text(), "a confirmed address was not stored");
        }
    });
}
