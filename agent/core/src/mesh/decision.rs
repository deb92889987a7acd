//! Reading a route decision: which paths it authorises, in which order, and whether it can be followed at all.

use protocol::document::routes::{Action, Path, RouteDecision};
use protocol::frame::PathTag;
use protocol::id::NodeId;
use protocol::limits::STANDBYS;

use super::effect::DecisionRefusal;

/// A path as frames name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Leg {
    pub(super) path: Path,
    pub(super) tag: PathTag,
    pub(super) first_hop: NodeId,
}

/// The decided path first, then the standbys; none if the route is withdrawn. A path named twice counts once.
pub(super) fn legs(us: NodeId, decision: &RouteDecision) -> Result<Vec<Leg>, DecisionRefusal> {
    if decision.action == Action::Withdraw {
        return Ok(Vec::new());
    }
    let decided = decision.path.ok_or(DecisionRefusal::NoPath)?;
    let mut legs: Vec<Leg> = Vec::with_capacity(1 + STANDBYS);
    for path in std::iter::once(decided).chain(decision.standbys.iter().copied().take(STANDBYS)) {
        let leg = leg(us, decision.peer, path).ok_or(DecisionRefusal::BadPath)?;
        if legs.iter().all(|other| other.tag != leg.tag) {
            legs.push(leg);
        }
    }

    Ok(legs)
}

/// Where the ends are to meet, if the decision says so: over a node that is neither of them, under a lease that is no path.
pub(super) fn meeting(
    us: NodeId,
    decision: &RouteDecision,
    legs: &[Leg],
) -> Result<Option<Leg>, DecisionRefusal> {
    let Some(place) = decision.rendezvous.filter(|_| !legs.is_empty()) else {
        return Ok(None);
    };
    let over = Path::Relay {
        relay: place.node,
        lease: place.lease,
        generation: place.generation,
        budget: 0,
    };
    let leg = leg(us, decision.peer, over).ok_or(DecisionRefusal::BadPath)?;
    let is_path = |other: &Leg| match other.path {
        Path::Direct => false,
        Path::Relay { lease, .. } => lease == place.lease,
    };
    match legs.iter().any(is_path) {
        true => Err(DecisionRefusal::BadPath),
        false => Ok(Some(leg)),
    }
}

fn leg(us: NodeId, peer: NodeId, path: Path) -> Option<Leg> {
    let (tag, first_hop) = match path {
        Path::Direct => (PathTag::Direct, peer),
        Path::Relay {
            relay,
            lease,
            generation,
            budget: _,
        } => {
            if generation == 0 {
                return None;
            }
            (PathTag::Relay { lease, generation }, relay)
        }
    };
    let through_an_end = path.relay().is_some_and(|relay| relay == us || relay == peer);

    (!through_an_end && peer != us).then_some(Leg { path, tag, first_hop })
}

#[cfg(test)]
mod tests {
    use protocol::document::routes::{Cadence, Rendezvous};
    use protocol::id::{LeaseId, RouteId};

    use super::*;

    #[test]
    fn the_decided_path_comes_first_and_none_comes_twice() {
        let legs = legs(US, &decision(Some(relay(9, 1)), vec![Path::Direct, relay(9, 1)])).unwrap();

        let paths: Vec<_> = legs.iter().map(|leg| leg.path).collect();
        assert_eq!(paths, [relay(9, 1), Path::Direct]);
        assert_eq!((legs[0].first_hop, legs[1].first_hop), (node(9), PEER));
    }

    #[test]
    fn a_decision_without_a_path_is_refused_unless_it_withdraws() {
        let mut decision = decision(None, vec![]);
        assert_eq!(legs(US, &decision), Err(DecisionRefusal::NoPath));
        decision.action = Action::Withdraw;
        assert_eq!(legs(US, &decision), Ok(vec![]));
    }

    #[test]
    fn a_path_through_an_end_or_without_a_generation_is_refused() {
        for path in [relay(1, 1), relay(2, 1), relay(9, 0)] {
            let refused = legs(US, &decision(Some(Path::Direct), vec![path]));
            assert_eq!(refused, Err(DecisionRefusal::BadPath), "{path:?}");
        }
    }

    #[test]
    fn ends_meet_over_a_third_node_under_a_lease_that_is_no_path() {
        let with = |node_byte: u8, lease: u8, generation: u32| RouteDecision {
            rendezvous: Some(Rendezvous {
                node: node(node_byte),
                lease: LeaseId::from_bytes([lease; 16]),
                generation,
            }),
            ..decision(Some(Path::Direct), vec![relay(9, 1)])
        };
        let read = |decision: &RouteDecision| meeting(US, decision, &legs(US, decision).unwrap());

        let found = read(&with(8, 8, 1)).unwrap().expect("a place");
        assert_eq!(found.first_hop, node(8));
        for bad in [with(1, 8, 1), with(2, 8, 1), with(8, 8, 0), with(8, 9, 1)] {
            assert_eq!(read(&bad), Err(DecisionRefusal::BadPath), "{:?}", bad.rendezvous);
        }
        assert_eq!(read(&decision(Some(Path::Direct), vec![])), Ok(None));
    }

    fn decision(path: Option<Path>, standbys: Vec<Path>) -> RouteDecision {
        RouteDecision {
            route: RouteId::from_bytes([7; 16]),
            peer: PEER,
            generation: 1,
            action: Action::Replace,
            path,
            standbys,
            reasons: Vec::new(),
            priority: 0,
            cadence: Cadence::Auto,
            rendezvous: None,
        }
    }

    fn relay(node_byte: u8, generation: u32) -> Path {
        Path::Relay {
            relay: node(node_byte),
            lease: LeaseId::from_bytes([node_byte; 16]),
            generation,
            budget: 1_000_000,
        }
    }

    const fn node(byte: u8) -> NodeId {
        NodeId::from_bytes([byte; 16])
    }

    const US: NodeId = node(1);
    const PEER: NodeId = node(2);
}
