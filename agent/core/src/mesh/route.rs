//! One route at this end: what was decided, what our own probes say, and so where our traffic goes.
//!
//! A decision authorises a path and standbys. This end leaves a path that died, or that loses while a standby does
//! not, by itself; it goes back by itself only if the path it went to dies in turn. A new decision moves it again,
//! but never onto a path that its own probes call down, and onto an untried one only once that has answered.

mod place;
mod steer;

use std::collections::{BTreeSet, VecDeque};

use protocol::document::routes::{Cadence, RouteDecision};
use protocol::frame::{Choice, Mark, PathTag, ProbeReply, RefusalReason};
use protocol::id::{NodeId, RouteId};
use protocol::time::{Boot, millis};
use protocol::wire::{PathObservation, Switch};
use rand::Rng;

use super::cadence::{BUSY, Pace};
use super::decision::{self, Leg};
use super::effect::{DecisionRefusal, Event};
use super::meeting::Ground;
use super::probe::{Health, Judged, Probe, Reply};
use super::track::{Standing, Track};
use super::view::RouteView;
use steer::{interval, probed};

#[derive(Clone, Debug)]
pub(super) struct Route {
    standing: Standing,
    priority: u8,
    cadence: Cadence,
    /// The decided path first, then the standbys in their order. Never empty.
    paths: Vec<Track>,
    /// Paths of the previous generation alone: frames on them are still accepted, and our traffic stays on one of
    /// them until the decided path has answered.
    previous: Vec<Track>,
    /// Where the ends are to meet while they have no path that works. Nothing else is sent there.
    place: Option<Track>,
    active: PathTag,
    /// Moves within the generation.
    counter: u64,
    /// Paths left by ourselves within the generation.
    left: BTreeSet<PathTag>,
    /// Whether the decided path is still to be moved to.
    owed: bool,
    doubt_until: Option<Boot>,
    carried_at: Option<Boot>,
    peer_mark: Option<Mark>,
    peer_path: Option<PathTag>,
    switches: VecDeque<(Switch, Boot)>,
    /// Whether there is something to report at once.
    urgent: bool,
    effects: VecDeque<RouteEffect>,
}

/// What a route wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum RouteEffect {
    /// Tell the peer, over the active path, which one that is.
    Announce,
    Event(Event),
    /// The ends may have to meet elsewhere, or can where they could not.
    Grounds,
    /// Send a probe on this path.
    Probe(PathTag),
}

/// Where the next frame goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Targets {
    pub(super) active: PathTag,
    /// While in doubt: a copy goes here.
    pub(super) second: Option<PathTag>,
}

impl Route {
    /// Follows a first decision; none if it is a withdrawal. `linked`: whether there is a connection to a node.
    pub(super) fn begin(
        us: NodeId,
        decision: &RouteDecision,
        linked: &dyn Fn(NodeId) -> bool,
        rng: &mut impl Rng,
        now: Boot,
    ) -> Result<Option<Self>, DecisionRefusal> {
        let legs = decision::legs(us, decision)?;
        let Some(decided) = legs.first() else {
            return Ok(None);
        };
        let place = decision::meeting(us, decision, &legs)?;
        let mut route = Self {
            standing: Standing {
                us,
                peer: decision.peer,
                route: decision.route,
                generation: decision.generation,
            },
            priority: decision.priority,
            cadence: decision.cadence,
            active: decided.tag,
            paths: tracks(&legs, &mut Vec::new(), rng, now),
            previous: Vec::new(),
            place: None,
            counter: 0,
            left: BTreeSet::new(),
            owed: true,
            doubt_until: None,
            carried_at: None,
            peer_mark: None,
            peer_path: None,
            switches: VecDeque::new(),
            urgent: false,
            effects: VecDeque::new(),
        };
        route.take_place(place, rng, now);
        route.handle_links(linked, now);
        route.tell_move(None);

        Ok(Some(route))
    }

    /// Follows a newer decision that is no withdrawal; refuses an older one and another one of the same generation.
    pub(super) fn handle_decision(
        &mut self,
        decision: &RouteDecision,
        linked: &dyn Fn(NodeId) -> bool,
        rng: &mut impl Rng,
        now: Boot,
    ) -> Result<(), DecisionRefusal> {
        let legs = decision::legs(self.standing.us, decision)?;
        if decision.generation < self.standing.generation {
            return Err(DecisionRefusal::Stale);
        }
        let place = decision::meeting(self.standing.us, decision, &legs)?;
        if decision.generation == self.standing.generation {
            let paths = self.paths.iter().map(|track| track.tag);
            let are_paths = legs.iter().map(|leg| leg.tag).eq(paths);
            let is_place = place.map(|leg| leg.tag) == self.place.as_ref().map(|track| track.tag);
            return if are_paths && is_place {
                Ok(())
            } else {
                Err(DecisionRefusal::Conflict)
            };
        }
        self.priority = decision.priority;
        self.cadence = decision.cadence;
        self.adopt(&legs, decision.generation, rng, now);
        self.take_place(place, rng, now);
        self.handle_links(linked, now);
        self.settle(now);

        Ok(())
    }

    fn adopt(&mut self, legs: &[Leg], generation: u64, rng: &mut impl Rng, now: Boot) {
        let mut superseded = std::mem::take(&mut self.paths);
        let mut older = std::mem::take(&mut self.previous);
        let last = superseded.len();
        superseded.append(&mut older);
        let kept: Vec<PathTag> = superseded[..last].iter().map(|track| track.tag).collect();
        self.paths = tracks(legs, &mut superseded, rng, now);
        superseded.retain(|track| kept.contains(&track.tag));
        self.previous = superseded;

        self.standing.generation = generation;
        self.counter = 0;
        self.left.clear();
        self.urgent = true;
        let decided = &self.paths[0];
        if self.track(self.active).is_none() {
            let from = std::mem::replace(&mut self.active, decided.tag);
            self.doubt_until = None;
            self.tell_move(Some(from));
        }
        let decided = &self.paths[0];
        let carries = matches!(decided.probe.health(), Health::Up | Health::Doubtful);
        self.owed = self.active != decided.tag || !carries;
    }

    /// Takes in which first hops have a connection.
    pub(super) fn handle_links(&mut self, linked: &dyn Fn(NodeId) -> bool, now: Boot) {
        let paths = self.paths.iter_mut().chain(&mut self.previous);
        for track in paths.chain(&mut self.place) {
            track.handle_link(linked(track.first_hop), now);
        }
        self.settle(now);
    }

    /// Judges overdue probes, asks for those that are due, and moves the traffic if need be.
    pub(super) fn handle_timeout(&mut self, pace: &Pace, late: bool, now: Boot) -> Judged {
        let mut sum = self.probe_place(late, now);
        let hurried = self.is_watchful();
        for track in probed(&mut self.paths, &mut self.previous, self.active) {
            let active = track.tag == self.active;
            track
                .probe
                .set_interval(interval(track, pace, active, hurried), now);
            let judged = track.probe.handle_timeout(late, now);
            sum.missed += judged.missed;
            sum.unjudged += judged.unjudged;
            if judged.due {
                self.effects.push_back(RouteEffect::Probe(track.tag));
            }
        }
        self.settle(now);

        sum
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        self.shown()
            .filter(|track| track.is_linked())
            .map(Track::poll_timeout)
            .chain(self.doubt_until)
            .chain(self.place_timeout())
            .min()
    }

    pub(super) fn poll_effect(&mut self) -> Option<RouteEffect> {
        self.effects.pop_front()
    }

    /// Puts a probe in flight and names it, if the path is still there. `number`: how many were sent on the path.
    pub(super) fn begin_probe(&mut self, path: PathTag, number: u64, now: Boot) -> Option<u64> {
        self.track_mut(path).map(|track| track.probe.begin(number, now))
    }

    /// `brought_by`: the far side of the link that the answer came on. None: the path is not ours.
    pub(super) fn handle_reply(
        &mut self,
        reply: &ProbeReply,
        brought_by: NodeId,
        now: Boot,
    ) -> Option<Reply> {
        let meant = self
            .track_mut(reply.path)
            .map(|track| track.handle_reply(reply, brought_by, now));
        if meant == Some(Reply::Answered) {
            self.hear_witness(reply.path, now);
        }
        self.settle(now);

        meant
    }

    /// Something that the peer sealed came over this path.
    pub(super) fn handle_heard(&mut self, path: PathTag, now: Boot) {
        if let Some(track) = self.track_mut(path) {
            track.probe.handle_heard(now);
        }
    }

    /// The peer may have started anew: ask it at once.
    pub(super) fn hurry(&mut self, path: PathTag, now: Boot) {
        if let Some(track) = self.track_mut(path) {
            track.probe.hurry(now);
        }
    }

    /// The path's relay does not carry it. Says whether that is news.
    pub(super) fn handle_refused(&mut self, path: PathTag, reason: RefusalReason, now: Boot) -> bool {
        let is_news = self
            .track_mut(path)
            .is_some_and(|track| track.handle_refused(reason));
        self.settle(now);

        is_news
    }

    /// A frame that is no probe went over the route, either way.
    pub(super) fn handle_carried(&mut self, now: Boot) {
        self.carried_at = Some(now);
    }

    /// Takes in where the peer's choice stands; `path`: which one its traffic or its announcement named.
    pub(super) fn handle_peer(&mut self, mark: Mark, path: Option<PathTag>) {
        if self.peer_mark.is_some_and(|newest| mark < newest) {
            return;
        }
        self.peer_mark = Some(mark);
        self.peer_path = path.or(self.peer_path);
    }

    /// Whether traffic of the peer is taken on this path: any of this or the previous generation.
    pub(super) fn accepts(&self, path: PathTag) -> bool {
        self.accepted().any(|track| track.tag == path)
    }

    /// The first hop of a path.
    pub(super) fn first_hop(&self, path: PathTag) -> Option<NodeId> {
        self.track(path).map(|track| track.first_hop)
    }

    pub(super) fn peer(&self) -> NodeId {
        self.standing.peer
    }

    /// Where the ends can agree to meet: on the path in use if that has a relay, else on any that works and has one, else
    /// where the decision says.
    pub(super) fn ground(&self) -> Option<Ground> {
        let active = self.ground_on(self.active);

        active.or_else(|| self.known().find_map(|track| self.ground_on(track.tag)))
    }

    /// The same on one path.
    pub(super) fn ground_on(&self, path: PathTag) -> Option<Ground> {
        let track = self.track(path)?;
        let works = match track.probe.health() {
            Health::Up | Health::Doubtful | Health::Recovering => track.is_linked(),
            Health::Unproven | Health::Down => false,
        };
        let relay = track.path.relay().filter(|_| works)?;

        Some(Ground {
            path,
            relay,
            rtt: track.probe.rtt().unwrap_or_default(),
            carries: !self.meets_over(path),
        })
    }

    /// Where the next frame goes, and in doubt its copy.
    pub(super) fn targets(&self, now: Boot) -> Targets {
        let doubt = self.doubt_until.is_some_and(|until| now < until);

        Targets {
            active: self.active,
            second: self.second_best().filter(|_| doubt).map(|track| track.tag),
        }
    }

    pub(super) fn mark(&self) -> Mark {
        Mark {
            generation: self.standing.generation,
            counter: self.counter,
        }
    }

    pub(super) fn choice(&self) -> Choice {
        Choice { path: self.active }
    }

    pub(super) fn id(&self) -> RouteId {
        self.standing.route
    }

    pub(super) fn generation(&self) -> u64 {
        self.standing.generation
    }

    pub(super) fn priority(&self) -> u8 {
        self.priority
    }

    pub(super) fn cadence(&self) -> Cadence {
        self.cadence
    }

    pub(super) fn is_busy(&self, now: Boot) -> bool {
        self.carried_at.is_some_and(|carried| now.since(carried) <= BUSY)
    }

    /// Every path on which traffic of the peer is taken.
    pub(super) fn accepted(&self) -> impl Iterator<Item = &Track> {
        self.paths.iter().chain(&self.previous)
    }

    pub(super) fn is_urgent(&self) -> bool {
        self.urgent
    }

    /// What to tell the controller; switches are told once. `is_judged`: whether it is known if a node can be reached.
    pub(super) fn take_report(
        &mut self,
        is_judged: &dyn Fn(NodeId) -> bool,
        now: Boot,
    ) -> (Vec<PathObservation>, Vec<Switch>) {
        self.urgent = false;
        let observed = self
            .shown()
            .filter(|track| track.is_judged(is_judged(track.first_hop)))
            .map(|track| track.observe(&self.standing, track.tag == self.active, now))
            .collect();
        let switches = std::mem::take(&mut self.switches)
            .into_iter()
            .map(|(switch, at)| Switch {
                age_ms: millis(now.since(at)),
                ..switch
            })
            .collect();

        (observed, switches)
    }

    pub(super) fn view(&self, now: Boot) -> RouteView {
        let path = |tag: PathTag| self.track(tag).map(|track| track.path);

        RouteView {
            route: self.standing.route,
            peer: self.standing.peer,
            generation: self.standing.generation,
            priority: self.priority,
            cadence: self.cadence,
            decided: self.paths[0].path,
            active: path(self.active).unwrap_or(self.paths[0].path),
            counter: self.counter,
            doubling: self.targets(now).second.and_then(path),
            peer_choice: self.peer_mark,
            peer_path: self.peer_path.and_then(path),
            paths: self
                .shown()
                .map(|track| track.view(&self.standing, track.tag == self.active))
                .collect(),
            meets_over: self.meeting_view(),
        }
    }

    /// The paths of the decision, and the one of the generation before that still carries.
    fn shown(&self) -> impl Iterator<Item = &Track> {
        let previous = self.previous.iter().filter(|track| track.tag == self.active);

        self.paths.iter().chain(previous)
    }

    fn track(&self, tag: PathTag) -> Option<&Track> {
        self.known().find(|track| track.tag == tag)
    }

    fn track_mut(&mut self, tag: PathTag) -> Option<&mut Track> {
        self.paths
            .iter_mut()
            .chain(&mut self.previous)
            .chain(&mut self.place)
            .find(|track| track.tag == tag)
    }
}

/// The tracks of `legs`: known ones are taken out of `known` with what they have measured.
fn tracks(legs: &[Leg], known: &mut Vec<Track>, rng: &mut impl Rng, now: Boot) -> Vec<Track> {
    legs.iter()
        .map(|leg| match known.iter().position(|track| track.tag == leg.tag) {
            Some(place) => {
                let mut track = known.remove(place);
                track.path = leg.path;
                track
            }
            None => Track::new(leg.path, leg.tag, leg.first_hop, Probe::new(rng.next_u64(), now)),
        })
        .collect()
}
