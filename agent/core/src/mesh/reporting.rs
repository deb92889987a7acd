//! What a node tells its controller of what it measured.

use std::time::Duration;

use protocol::id::NodeId;
use protocol::net::Address;
use protocol::time::Boot;
use protocol::wire::{LinkObservation, Report};

use super::Mesh;

impl Mesh {
    /// Whether a report is due: at once after a local switch or a change of health, else every 5 s. Nothing is to be
    /// said before there are routes, nor before the first probes or dials have told something.
    pub fn wants_report(&self, now: Boot) -> bool {
        let Some(reported) = self.reported_at else {
            return false;
        };
        let urgent = self.routes.iter().any(|route| route.is_urgent());
        let pause = if urgent { URGENT_REPORT } else { REPORT };

        now.since(reported) >= pause
    }

    /// What this node measured. Switches are told once.
    pub fn take_report(&mut self, now: Boot) -> Report {
        self.reported_at = Some(now);
        let mut report = Report::default();
        let links = &self.links;
        let is_judged = |node: NodeId| links.is_judged(node, now);
        for route in self.routes.iter_mut() {
            let (mut paths, mut switches) = route.take_report(&is_judged, now);
            report.paths.append(&mut paths);
            report.switches.append(&mut switches);
        }
        let needed = links
            .views()
            .into_iter()
            .filter(|view| view.needed && is_judged(view.peer));
        report.links = needed
            .map(|view| LinkObservation {
                peer: view.peer,
                connected: view.link.is_some(),
                reached: self
                    .reached
                    .get(&view.peer)
                    .map(|address| Address(*address).canonical()),
                rtt_us: view
                    .rtt
                    .map(|rtt| u32::try_from(rtt.as_micros()).unwrap_or(u32::MAX)),
            })
            .collect();
        report.carried = self.relay.take_carried();

        report
    }
}

const REPORT: Duration = Duration::from_secs(5);

/// Changes that come in one burst share a report.
const URGENT_REPORT: Duration = Duration::from_millis(100);
