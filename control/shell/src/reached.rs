//! Addresses that handshakes of neighbours have confirmed, on their way into the store.

use control_api::request::{Caller, Request};
use protocol::id::ClusterId;
use protocol::wire::Report;

use crate::listen::Service;

/// Hands what a report confirms to the writer. Nobody waits: what is not stored comes again with the next report.
pub(crate) fn submit(service: &Service, cluster: ClusterId, report: &Report) {
    let reached = service.board.live().reached(cluster, report);
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
