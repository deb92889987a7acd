//! The process's metrics, in Prometheus text for whoever asks.

use std::sync::Arc;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

use crate::exit::Exit;
use crate::failure::Failure;

/// Everything that this process counts. One for both roles.
#[derive(Clone)]
pub(crate) struct Metrics(PrometheusHandle);

impl Metrics {
    /// Starts counting. Once in a process.
    pub(crate) fn start() -> Result<Self, Failure> {
        let installed = PrometheusBuilder::new().install_recorder();

        installed.map(Self).map_err(|error| {
            Failure::new(Exit::Failed, "metrics", "metrics cannot be counted").because(error.to_string())
        })
    }

    pub(crate) fn text(&self) -> Arc<dyn Fn() -> String + Send + Sync> {
        let handle = self.0.clone();

        Arc::new(move || handle.render())
    }

    /// Keeps what nobody asks for from piling up. Never ends.
    pub(crate) async fn kept_small(&self) -> ! {
        let mut tick = tokio::time::interval(UPKEEP);
        loop {
            tick.tick().await;
            self.0.run_upkeep();
        }
    }
}

/// Between two foldings of histogram samples: a few thousand samples at most lie about.
const UPKEEP: Duration = Duration::from_secs(5);
