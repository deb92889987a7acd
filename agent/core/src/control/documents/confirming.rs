//! The settings of the config in force, and those that it may go back to.

use protocol::document::config::SyntheticConfig;
use protocol::envelope::Kind;
use protocol::time::{Boot, Now};
use protocol::wire::{Have, Reverted};

use super::Documents;
use crate::control::confirm::{Confirm, Step, Unconfirmed};
use crate::control::effect::{Adopted, Payload};
use crate::control::file::FileName;
use crate::control::snapshot::{Held, Snapshot};
use crate::control::trust::Trust;

impl Documents {
    /// The config whose settings are in force.
    pub(super) fn settled_by(&self) -> Option<&SyntheticConfig> {
        let in_force = self.snapshot.config.as_ref()?;

        Some(self.confirm.restored().unwrap_or(&in_force.opened.body))
    }

    /// Puts the settings in force into what is handed over.
    pub(super) fn with_settings(&self, mut handed: Vec<Adopted>) -> Vec<Adopted> {
        for adopted in &mut handed {
            if let Adopted::Config(config) = adopted {
                self.confirm.apply(config);
            }
        }

        handed
    }

    /// The config in force, with the settings in force.
    pub(in crate::control) fn config(&self) -> Vec<Adopted> {
        self.with_settings(self.snapshot.adopted(|kind| kind == Kind::SyntheticConfig))
    }

    /// Whether a poll at `endpoint` would say something for the settings on trial.
    pub(in crate::control) fn is_proven_at(&self, endpoint: &str, configured: &[String]) -> bool {
        let config = self.snapshot.config.as_ref();

        config.is_none_or(|config| {
            self.confirm
                .is_proven_at(endpoint, configured, &config.opened.body)
        })
    }

    pub(in crate::control) fn is_on_trial(&self) -> bool {
        self.confirm.is_pending()
    }

    pub(in crate::control) fn unconfirmed(&self) -> Option<Unconfirmed> {
        self.confirm.standing()
    }

    /// What controllers are told of earlier settings in force.
    pub(in crate::control) fn reverted(&self) -> Option<Reverted> {
        self.confirm.report()
    }

    pub(super) fn note_polled(&mut self, sent_at: Boot, proves: bool) {
        if self.confirm.handle_poll(sent_at, proves) {
            let config = self.snapshot.config.as_ref();
            self.confirmed = config.map(|config| config.opened.header.version);
        }
    }

    /// The version whose trial has just ended well.
    pub(in crate::control) fn take_confirmed(&mut self) -> Option<u64> {
        self.confirmed.take()
    }

    /// Lets time pass over the trial.
    pub(in crate::control) fn look_at_trial(&mut self, now: Now) -> Option<Step> {
        let config = self.snapshot.config.as_ref()?;

        self.confirm.handle_timeout(config, now.boot)
    }

    /// The trial that begins when `next` comes into force, if one does that the file has nothing of.
    pub(super) fn trial_of(&self, next: &Snapshot) -> Option<Confirm> {
        let mut confirm = self.confirm.clone();
        confirm.handle_config(
            self.snapshot.config.as_ref(),
            next.config.as_ref()?,
            Boot::default(),
        );
        let begins = confirm.is_pending() && self.confirm.confirmed().is_none();

        begins.then_some(confirm)
    }

    /// The confirmed config that the file names once `next` is written.
    pub(super) fn confirmed_in(&self, next: &Snapshot) -> Option<Have> {
        let begun = self.trial_of(next);
        let trial = begun.as_ref().unwrap_or(&self.confirm);

        trial.confirmed().map(Held::have)
    }

    /// A config comes into force whose files name `written` as the one confirmed before.
    pub(super) fn try_config(
        &mut self,
        new: Option<&Held<SyntheticConfig>>,
        written: Option<Have>,
        now: Now,
    ) {
        if let Some(new) = new {
            self.confirm
                .handle_config(self.snapshot.config.as_ref(), new, now.boot);
        }
        let confirmed = self.confirm.confirmed().map(Held::have);
        self.unsaved_trial = confirmed.is_some() && confirmed != written;
    }

    /// Whether the trial that has just begun has to be written.
    pub(in crate::control) fn take_unsaved_trial(&mut self) -> bool {
        std::mem::take(&mut self.unsaved_trial)
    }

    /// How the trial stands, to be written.
    pub(in crate::control) fn trial_file(&self, trust: &Trust) -> (FileName, Payload) {
        self.confirm.file(trust.cluster(), self.node)
    }
}
