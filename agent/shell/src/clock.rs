//! The two clocks, read in one place.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::time::{Boot, Now, Wall};
use rustix::time::{ClockId, clock_gettime};

/// Where a shell reads time. The simulator has one of its own.
pub trait Clock: Send + Sync + 'static {
    fn now(&self) -> Now;
}

/// `CLOCK_BOOTTIME` and the system's wall clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Now {
        let boot = clock_gettime(ClockId::Boottime);
        let wall = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        let seconds = u64::try_from(boot.tv_sec).unwrap_or(0);
        let nanos = u64::try_from(boot.tv_nsec).unwrap_or(0);

        Now {
            boot: Boot(seconds * 1_000 + nanos / 1_000_000),
            wall: Wall(protocol::time::millis(wall)),
        }
    }
}

/// Sleeps until `deadline`, or for ever when there is none. Never wakes early.
pub async fn sleep_until(clock: &dyn Clock, deadline: Option<Boot>) {
    match deadline {
        None => std::future::pending().await,
        Some(deadline) => tokio::time::sleep(deadline.since(clock.now().boot)).await,
    }
}
