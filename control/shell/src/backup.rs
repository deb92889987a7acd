//! Hands a copy of the store to whoever asked for a backup: the service's own view of the file system is not theirs.
//!
//! ```text
//! written down ──► copied to a file without a name ──► sent ──► its end written down ──► end of the answer
//! ```
//!
//! Without the first record there is no copy, and without the last one the answer is cut short.

use std::fs::File;
use std::io::{self, Read};
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Bytes;
use control_api::action::Action;
use control_api::failure::Failure;
use control_api::request::{Caller, Request};
use control_core::audit::Uid;
use control_store::engine::BackupFailed;
use hyper::body::{Body, Frame};
use protocol::error::Code;
use protocol::id::OperatorId;
use serde_json::json;
use tokio::sync::mpsc;

use crate::listen::Service;
use crate::nodes;

/// The bytes of a copy as they are read. The end comes when the audit has it.
pub(crate) struct Copy(mpsc::Receiver<io::Result<Bytes>>);

impl Body for Copy {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let next = self.0.poll_recv(context);

        next.map(|next| next.map(|piece| piece.map(Frame::data)))
    }
}

/// Copies the store, in the name of `operator` or of the first owner, and begins to hand the copy over.
pub(crate) async fn start(
    service: &Service,
    operator: Option<OperatorId>,
    uid: Uid,
) -> Result<Copy, Failure> {
    let caller = Caller::Local {
        operator,
        uid: Some(uid),
    };
    let begin = Request::Act {
        action: Action::StoreBackup,
        input: json!({}),
    };
    nodes::write(service, caller.clone(), begin).await?;
    let board = service.board.clone();
    let copied = tokio::task::spawn_blocking(move || board.reader().copy()).await;
    let copied = copied.unwrap_or_else(|_| Err(BackupFailed::Unsupported));
    let file = match copied {
        Ok(file) => file,
        Err(failed) => {
            let failure = refusal(&failed);
            end(service, &caller, Some(failure.code)).await?;
            return Err(failure);
        }
    };
    let (pieces, copy) = mpsc::channel(PIECES);
    let service = service.clone();
    tokio::spawn(async move {
        let sending = pieces.clone();
        let sent = tokio::task::spawn_blocking(move || send(file, &sending)).await;
        let failed = (!matches!(sent, Ok(Ok(())))).then_some(Code::Unavailable);
        let ended = end(&service, &caller, failed).await;
        if failed.is_some() || ended.is_err() {
            // An answer that just ended would look whole.
            let _ = pieces.send(Err(io::ErrorKind::Interrupted.into())).await;
        }
    });

    Ok(Copy(copy))
}

/// Reads as fast as the other end takes it.
fn send(mut file: File, pieces: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(piece) = buffer.get(..read).filter(|piece| !piece.is_empty()) else {
            return Ok(());
        };
        pieces
            .blocking_send(Ok(Bytes::copy_from_slice(piece)))
            .map_err(|_| io::ErrorKind::BrokenPipe)?;
    }
}

async fn end(service: &Service, caller: &Caller, failed: Option<Code>) -> Result<(), Failure> {
    let ended = service
        .door
        .call(caller.clone(), Request::BackedUp { failed })
        .await;
    if let Err(failure) = &ended {
        tracing::warn!(
            code = failure.code.text(),
            "the end of a backup is not in the audit"
        );
    }

    ended.map(|_| ())
}

fn refusal(failed: &BackupFailed) -> Failure {
    match failed {
        BackupFailed::NoSpace => Failure::new(Code::StoreFull, "there is no room for a copy of the store")
            .because("the copy is made beside the store, and goes when it was handed over")
            .fixed_by("make room on the disk of the controller's data directory"),
        BackupFailed::Exists(_)
        | BackupFailed::Io { .. }
        | BackupFailed::Unreadable(_)
        | BackupFailed::Unsupported => Failure::of(Code::Unavailable, failed),
    }
}

/// Bytes that are read at once, and how many such pieces wait for a slow reader: half a megabyte.
const PIECE: usize = 128 * 1024;
const PIECES: usize = 4;
