//! Where a route's traffic goes, settled anew after everything that happens to it.

use std::time::Duration;

use protocol::frame::PathTag;
use protocol::time::Boot;
use protocol::wire::{Switch, SwitchCause};

use super::{Route, RouteEffect};
use crate::mesh::cadence::Pace;
use crate::mesh::effect::Event;
use crate::mesh::probe::Health;
use crate::mesh::track::{Fitness, Track};

impl Route {
    /// Tells changes of health, moves as decided, leaves a path that died or loses, and minds the doubt.
    pub(super) fn settle(&mut self, now: Boot) {
        for track in self.paths.iter_mut().chain(&mut self.previous) {
            self.urgent |= track.settle_blame(now);
        }
        self.tell_changes(now);
        self.tell_place();
        self.move_as_decided();
        if !self.leave_dead_path(now) {
            self.leave_lossy_path(now);
        }
        if self.doubt_until.is_some_and(|until| until <= now) {
            self.doubt_until = None;
        }
    }

    /// The best path for a copy of what goes over the active one.
    pub(super) fn second_best(&self) -> Option<&Track> {
        self.paths
            .iter()
            .filter(|track| track.tag != self.active && track.is_usable())
            .min_by_key(|track| track.fitness())
    }

    /// Whether the active path gives reason to look at the others closely.
    pub(super) fn is_watchful(&self) -> bool {
        let active = self.active_track();
        let owed = self.owed && self.paths[0].tag != self.active;

        owed || self.doubt_until.is_some()
            || active.fitness() != Fitness::Fit
            || active.probe.loss().missed >= SUSPICIOUS
    }

    /// The peer answered over `path`: that it is there speaks against the paths on which it is not heard.
    pub(super) fn hear_witness(&mut self, path: PathTag, now: Boot) {
        let others = self.paths.iter_mut().chain(&mut self.previous);
        for track in others.filter(|track| track.tag != path) {
            track.hear_witness(now);
        }
    }

    pub(super) fn tell_move(&mut self, from: Option<PathTag>) {
        let path = |tag: PathTag| {
            self.accepted()
                .find(|track| track.tag == tag)
                .map(|track| track.path)
        };
        let from = from.and_then(path);
        if let Some(to) = path(self.active) {
            self.effects.push_back(RouteEffect::Event(Event::Moved {
                route: self.standing.route,
                peer: self.standing.peer,
                from,
                to,
                generation: self.standing.generation,
            }));
        }
        self.effects.push_back(RouteEffect::Announce);
    }

    fn active_track(&self) -> &Track {
        self.accepted()
            .find(|track| track.tag == self.active)
            .expect("`adopt` keeps the active path among those that are known")
    }

    fn tell_changes(&mut self, now: Boot) {
        let (active, standing) = (self.active, self.standing);
        let mut is_doubted = false;
        for track in self.paths.iter_mut().chain(&mut self.previous) {
            let Some((from, to)) = track.poll_change() else {
                continue;
            };
            let (route, peer, path) = (standing.route, standing.peer, track.path);
            self.urgent |= to == Health::Down || (to == Health::Up && from != Health::Doubtful);
            self.effects.push_back(RouteEffect::Event(Event::PathChanged {
                route,
                peer,
                path,
                from,
                to,
            }));
            if track.tag != active {
                continue;
            }
            match to {
                Health::Down => {
                    self.effects
                        .push_back(RouteEffect::Event(Event::PathDown { route, peer, path }))
                }
                Health::Doubtful => {
                    self.doubt_until = Some(now.after(DOUBT));
                    is_doubted = true;
                }
                Health::Up => self.doubt_until = None,
                Health::Recovering | Health::Unproven => {}
            }
        }
        if is_doubted {
            for track in self.paths.iter_mut().filter(|track| track.tag != active) {
                track.probe.hurry(now);
            }
        }
    }

    /// A decision is followed once its path has answered; or at once, if nothing better is known than that the path
    /// in use is worse.
    fn move_as_decided(&mut self) {
        if !self.owed {
            return;
        }
        let decided = &self.paths[0];
        let fit = decided.fitness() == Fitness::Fit;
        if decided.tag == self.active {
            self.owed = !fit;
            return;
        }
        let untried = decided.fitness() == Fitness::Unproven;
        if fit || (untried && !self.active_track().is_usable() && self.alternative().is_none()) {
            self.owed = !fit;
            self.take_path(decided.tag);
        }
    }

    /// Says whether it left.
    fn leave_dead_path(&mut self, now: Boot) -> bool {
        let active = self.active_track();
        if active.is_usable() {
            return false;
        }
        let cause = match active.is_lease_refused() {
            true => SwitchCause::LeaseEnded,
            false => SwitchCause::PathDown,
        };
        if !active.is_to_blame() {
            return false;
        }
        let Some(to) = self.alternative() else {
            return false;
        };
        self.leave_for(to, cause, now);

        true
    }

    fn leave_lossy_path(&mut self, now: Boot) {
        let active = self.active_track();
        let loss = active.probe.loss();
        if self.owed || !loss.is_lossy() || !active.is_to_blame() {
            return;
        }
        let better =
            |track: &&Track| track.fitness() == Fitness::Fit && track.probe.loss().is_better_than(loss);
        let to = self
            .paths
            .iter()
            .filter(|track| track.tag != self.active && !self.left.contains(&track.tag))
            .find(better)
            .map(|track| track.tag);
        if let Some(to) = to {
            self.leave_for(to, SwitchCause::PathLossy, now);
        }
    }

    /// The best path to leave the active one for. An untried one is no refuge.
    fn alternative(&self) -> Option<PathTag> {
        self.second_best()
            .filter(|track| track.fitness() < Fitness::Unproven)
            .map(|track| track.tag)
    }

    /// Moves by this end's own decision, and remembers what to report.
    ///
    /// As long as the decided path never answered, traffic is only lent to another one: that is no switch.
    fn leave_for(&mut self, to: PathTag, cause: SwitchCause, now: Boot) {
        let from = self.active_track();
        let (from_path, untried) = (from.path, from.probe.health() == Health::Unproven);
        let is_owed = self.owed && self.active == self.paths[0].tag;
        if is_owed && untried {
            self.take_path(to);
            return;
        }
        if !is_owed {
            self.left.insert(self.active);
        }
        self.turn_to(to);
        let to_path = self.active_track().path;
        let switch = Switch {
            route: self.standing.route,
            generation: self.standing.generation,
            from: from_path,
            to: to_path,
            cause,
            age_ms: 0,
        };
        if self.switches.len() == SWITCHES {
            self.switches.pop_front();
        }
        self.switches.push_back((switch, now));
        self.urgent = true;
        self.effects.push_back(RouteEffect::Event(Event::Switched {
            route: switch.route,
            peer: self.standing.peer,
            from: from_path,
            to: to_path,
            cause,
        }));
        self.effects.push_back(RouteEffect::Announce);
    }

    fn take_path(&mut self, to: PathTag) {
        let from = self.active;
        self.turn_to(to);
        self.tell_move(Some(from));
    }

    fn turn_to(&mut self, to: PathTag) {
        self.active = to;
        self.counter += 1;
        self.doubt_until = None;
    }
}

/// The paths whose probes run: those of the decision, and the one that still carries.
pub(super) fn probed<'a>(
    paths: &'a mut [Track],
    previous: &'a mut [Track],
    active: PathTag,
) -> impl Iterator<Item = &'a mut Track> {
    let carrying = previous.iter_mut().filter(move |track| track.tag == active);

    paths.iter_mut().chain(carrying).filter(|track| track.is_linked())
}

/// How often to probe one path. `hurried`: the active path gives reason to know of the others soon.
pub(super) fn interval(track: &Track, pace: &Pace, active: bool, hurried: bool) -> Duration {
    match track.probe.health() {
        Health::Doubtful | Health::Recovering | Health::Unproven => pace.doubt,
        Health::Up | Health::Down if active => pace.active,
        Health::Up | Health::Down if hurried => pace.doubt,
        Health::Up | Health::Down => pace.standby,
    }
}

/// How long frames go over two paths after a miss.
const DOUBT: Duration = Duration::from_secs(3);

/// Lost probes of the last 20 at which the others are watched, one below those that move the traffic.
const SUSPICIOUS: u8 = 3;

/// Switches kept until they are reported; a route cannot switch more often between two reports and matter.
const SWITCHES: usize = 8;
