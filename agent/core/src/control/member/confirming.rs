//! A config whose settings are on trial: tried where they say, confirmed by a poll there, or gone back from.

use std::time::Duration;

use super::Membership;
use crate::control::confirm::{Step, Unconfirmed};
use crate::control::disk::Purpose;
use crate::control::effect::Door;
use crate::control::event::{Event, SessionEnd};
use crate::control::turn::Turn;

impl Membership {
    /// Whether the present connection is one that the config in force would lead to.
    pub(super) fn is_where_config_says(&self, turn: &Turn<'_>) -> bool {
        let endpoint = self.session.dialler.endpoint();

        self.documents.is_proven_at(endpoint, &turn.config.controllers)
    }

    /// Tries the settings that have just come into force: with a poll that is answered at once, on a connection to where
    /// they say.
    pub(super) fn begin_trial(&mut self, turn: &mut Turn<'_>) {
        if self.documents.take_unsaved_trial() {
            self.write_trial(turn);
        }
        if !self.documents.is_on_trial() {
            return;
        }
        match self.is_where_config_says(turn) {
            true => self.session.hurry(Duration::ZERO),
            false => self.readdress(SPREAD, turn),
        }
    }

    /// A session has begun: the trial, if one is on, ends with its first poll.
    pub(super) fn prove_trial(&mut self) {
        if self.documents.is_on_trial() {
            self.session.hurry(Duration::ZERO);
        }
    }

    /// Tells that a trial ended well.
    pub(super) fn tell_confirmed(&mut self, turn: &mut Turn<'_>) {
        if let Some(version) = self.documents.take_confirmed() {
            self.write_trial(turn);
            turn.out.event(Event::ConfigConfirmed { version });
        }
    }

    /// Lets time pass over the trial.
    pub(super) fn look_at_trial(&mut self, turn: &mut Turn<'_>) {
        if self.gone {
            return;
        }
        match self.documents.look_at_trial(turn.now) {
            Some(Step::DialAgain)
                if !self.is_where_config_says(turn) || !self.session.is_open(Door::Node) =>
            {
                self.readdress(Duration::ZERO, turn);
            }
            Some(Step::Revert) => self.revert(turn),
            Some(Step::DialAgain) | None => {}
        }
    }

    /// Leaves a controller that the config does not name, within `spread`, for the first that it does.
    fn readdress(&mut self, spread: Duration, turn: &mut Turn<'_>) {
        if self.session.door != Door::Node || !self.session.dialler.is_settled() {
            return;
        }
        if self.session.is_open(Door::Node) {
            self.hang_up(SessionEnd::Readdressed, turn);
        }
        let pause = turn.out.up_to(spread);
        self.session.dialler.start_over(pause, turn.now);
    }

    /// Goes back to the settings that were confirmed last. Nothing rests on the write: without it the trial begins anew
    /// at the next start, and ends the same way.
    fn revert(&mut self, turn: &mut Turn<'_>) {
        self.write_trial(turn);
        if let Some(Unconfirmed::Reverted { tried, confirmed }) = self.documents.unconfirmed() {
            let restored = confirmed;
            turn.out.event(Event::ConfigReverted { tried, restored });
        }
        turn.out.adopt(self.documents.config());
        self.note_controllers(turn);
        match self.session.is_open(Door::Node) {
            true => self.session.heartbeat_now(turn),
            false => self.readdress(Duration::ZERO, turn),
        }
    }

    fn write_trial(&mut self, turn: &mut Turn<'_>) {
        let file = self.documents.trial_file(&self.member.trust);
        turn.out.persist(vec![file], Purpose::Quiet);
    }
}

/// Within which a fleet whose controllers have moved goes after them.
const SPREAD: Duration = Duration::from_secs(5);
