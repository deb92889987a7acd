//! How often the paths of a route are probed.

use std::time::Duration;

use protocol::document::config::Transport;
use protocol::document::routes::Cadence;

/// The pace of one route: for the path that carries its traffic, and for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pace {
    pub(super) active: Duration,
    pub(super) standby: Duration,
    /// The fast pace, for when there is doubt.
    pub(super) doubt: Duration,
}

/// `busy`: whether the route carried a frame that is no probe within [`BUSY`], or is among a node's first.
pub(super) fn pace(cadence: Cadence, busy: bool, transport: &Transport) -> Pace {
    let fast = millis(transport.probe_fast);
    let normal = millis(transport.probe_normal);
    let rest = millis(transport.probe_rest);
    let resting = rest.saturating_mul(RESTING_STANDBY);
    let (active, standby) = match (cadence, busy) {
        (Cadence::Fast, _) | (Cadence::Auto, true) => (fast, normal),
        (Cadence::Normal, _) => (normal, resting),
        (Cadence::Rest, _) | (Cadence::Auto, false) => (rest, resting),
    };

    Pace {
        active,
        standby,
        doubt: active.min(fast),
    }
}

fn millis(value: u32) -> Duration {
    Duration::from_millis(u64::from(value)).max(super::probe::FASTEST)
}

/// How long a route stays busy after a frame that is no probe.
pub(super) const BUSY: Duration = Duration::from_secs(10);

/// A node's first routes by priority, highest number first, are probed fast even when nothing goes over them.
pub(super) const FIRST_ROUTES: usize = 8;

/// Standbys of routes at rest are probed every fourth rest: 20 s by default.
const RESTING_STANDBY: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_fast_in_use_and_rests_otherwise() {
        let transport = Transport::default();
        let shown = |cadence, busy| {
            let pace = pace(cadence, busy, &transport);
            (pace.active.as_millis(), pace.standby.as_millis())
        };

        assert_eq!(shown(Cadence::Auto, true), (200, 1_000));
        assert_eq!(shown(Cadence::Auto, false), (5_000, 20_000));
        assert_eq!(shown(Cadence::Fast, false), (200, 1_000));
        assert_eq!(shown(Cadence::Normal, true), (1_000, 20_000));
        assert_eq!(shown(Cadence::Rest, true), (5_000, 20_000));
    }

    #[test]
    fn a_config_cannot_ask_for_more_than_twenty_probes_a_second() {
        let transport = Transport {
            probe_fast: 0,
            ..Transport::default()
        };

        assert_eq!(
            pace(Cadence::Fast, true, &transport).active,
            Duration::from_millis(50)
        );
    }
}
