//! One call of the host.

use protocol::time::Now;

use super::config::Config;
use super::outbox::Outbox;

/// When it is, what is configured, and where effects go.
pub(super) struct Turn<'a> {
    pub(super) now: Now,
    pub(super) config: &'a Config,
    pub(super) out: &'a mut Outbox,
}
