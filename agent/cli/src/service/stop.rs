//! Asking a service to stop: SIGTERM and SIGINT once for a clean end, twice for an end at once.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::exit::Exit;
use crate::failure::Failure;
use crate::session::Outcome;

/// Tells when the service is asked to stop. Clones tell the same.
#[derive(Clone, Debug)]
pub(crate) struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Completes when it is time.
    pub(crate) async fn asked(mut self) {
        // Whoever could ask is gone: nothing else will end the service either.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}

/// Asks everything that holds a [`Stop`] of it.
#[derive(Debug)]
pub(crate) struct Asker(watch::Sender<bool>);

impl Asker {
    pub(crate) fn new() -> (Self, Stop) {
        let (asker, stop) = watch::channel(false);

        (Self(asker), Stop(stop))
    }

    pub(crate) fn ask(&self) {
        self.0.send_replace(true);
    }
}

/// Runs `work` until it ends by itself, or for [`PATIENCE`] after a signal.
pub(crate) async fn until_signalled<F: Future<Output = Outcome>>(work: impl FnOnce(Stop) -> F) -> Outcome {
    let mut signals = Signals::new()?;
    let (asker, stop) = Asker::new();
    let work = work(stop);
    tokio::pin!(work);
    tokio::select! {
        ended = &mut work => return ended,
        () = signals.next() => tracing::info!("stopping"),
    }
    sd_notify::notify(&[sd_notify::NotifyState::Stopping]).unwrap_or_default();
    asker.ask();

    tokio::select! {
        ended = &mut work => ended,
        () = signals.next() => Err(cut_short("a second signal came before the clean end")),
        () = tokio::time::sleep(PATIENCE) => Err(cut_short("the clean end took too long")),
    }
}

fn cut_short(why: &str) -> Failure {
    Failure::new(Exit::TimedOut, "cut_short", "stopped without a clean end")
        .because(why)
        .affecting("what was promised is on disk; connections end by their timeouts")
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self, Failure> {
        let listen = |kind| {
            signal(kind).map_err(|error| {
                Failure::new(Exit::Failed, "signals", "signals cannot be listened for")
                    .because(error.to_string())
            })
        };

        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// As the packaged units have it: `TimeoutStopSec=20s`.
const PATIENCE: Duration = Duration::from_secs(20);
