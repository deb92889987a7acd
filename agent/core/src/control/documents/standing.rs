//! How a route is decided, as far as this node has been told.

use protocol::id::RouteId;
use protocol::wire::InForce;

use super::Documents;

impl Documents {
    /// The decision of a route, and the document that it stands in.
    pub(in crate::control) fn standing(&self, route: RouteId) -> InForce {
        let Some(held) = &self.snapshot.routes else {
            return InForce::default();
        };
        let mut decisions = held.opened.body.decisions.iter();
        let decision = decisions.find(|decision| decision.route == route);

        InForce {
            epoch: held.opened.header.epoch,
            version: held.opened.header.version,
            generation: decision.map(|decision| decision.generation),
        }
    }
}
