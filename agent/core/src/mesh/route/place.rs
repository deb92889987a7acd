//! Where the ends of a route can agree to dial each other while no path of theirs works: over a node that lets pass what they
//! say for that and nothing else. Probes tell whether the far end can be asked there; traffic never goes that way.

use std::time::Duration;

use protocol::frame::PathTag;
use protocol::time::Boot;
use rand::Rng;

use super::{Route, RouteEffect};
use crate::mesh::decision::Leg;
use crate::mesh::probe::{Health, Judged, Probe};
use crate::mesh::track::Track;
use crate::mesh::view::MeetingView;

impl Route {
    /// Whether frames on this path are part of a meeting, and of no traffic.
    pub(in crate::mesh) fn meets_over(&self, path: PathTag) -> bool {
        self.place.as_ref().is_some_and(|place| place.tag == path)
    }

    /// Every path that frames of the peer may come by, the place to meet last.
    pub(in crate::mesh) fn known(&self) -> impl Iterator<Item = &Track> {
        self.accepted().chain(&self.place)
    }

    /// Takes the place that a decision names; what was measured there is kept if it is the one that was known.
    pub(super) fn take_place(&mut self, leg: Option<Leg>, rng: &mut impl Rng, now: Boot) {
        let before = self.place.take();
        let is_new = |leg: &Leg| before.as_ref().is_none_or(|place| place.tag != leg.tag);
        self.place = match leg {
            Some(leg) if is_new(&leg) => {
                let probe = Probe::new(rng.next_u64(), now);

                Some(Track::new(leg.path, leg.tag, leg.first_hop, probe))
            }
            Some(_) => before,
            None => None,
        };
        self.effects.push_back(RouteEffect::Grounds);
    }

    pub(super) fn place_timeout(&self) -> Option<Boot> {
        let place = self.place.as_ref().filter(|place| place.is_linked())?;

        Some(place.probe.poll_timeout())
    }

    /// Judges an overdue probe, and asks for one that is due.
    pub(super) fn probe_place(&mut self, late: bool, now: Boot) -> Judged {
        let Some(place) = self.place.as_mut().filter(|place| place.is_linked()) else {
            return Judged::default();
        };
        let interval = match place.probe.health() {
            Health::Down if place.probe.answered_at().is_some() => KNOWN,
            Health::Doubtful | Health::Recovering | Health::Unproven | Health::Down => SEEKING,
            Health::Up => KNOWN,
        };
        place.probe.set_interval(interval, now);
        let judged = place.probe.handle_timeout(late, now);
        if judged.due {
            self.effects.push_back(RouteEffect::Probe(place.tag));
        }

        judged
    }

    /// Says that the ends may have to meet elsewhere, or can where they could not.
    pub(super) fn tell_place(&mut self) {
        if self.place.as_mut().and_then(Track::poll_change).is_some() {
            self.effects.push_back(RouteEffect::Grounds);
        }
    }

    pub(super) fn meeting_view(&self) -> Option<MeetingView> {
        let place = self.place.as_ref()?;
        let PathTag::Relay { lease, generation } = place.tag else {
            return None;
        };

        Some(MeetingView {
            node: place.first_hop,
            lease,
            generation,
            health: place.probe.health(),
            linked: place.is_linked(),
            refused: place.refused(),
        })
    }
}

/// How often the far end is asked for whether it is there, until it has answered and while an answer is overdue: with answers,
/// and as many questions of its own, two frames a second, where seven may pass.
const SEEKING: Duration = Duration::from_secs(2);
/// And as soon as that is known, also of one that has answered and is away.
const KNOWN: Duration = Duration::from_secs(10);
