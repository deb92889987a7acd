//! Commit-confirm: whether the settings of the config in force leave this node a controller.
//!
//! ```text
//!              other settings                    no such poll for 60 s
//!  confirmed ─────────────────▶ on trial ──────────────────────────────▶ reverted ──┐ the same settings again
//!      ▲                          │   ▲                                    │  │ ▲───┘
//!      │ a poll where they say ───┘   └── other settings, or offered again ┘  │
//!      └──────────────────────────── the confirmed settings ◀─────────────────┘
//! ```
//!
//! Settings are where controllers are and how to talk, and nothing else of a config ever comes from an earlier one. The
//! trial is of settings, not of versions: a config that differs in other ways is no news here, so that nobody can put an
//! end off by sending more of them.

use std::time::Duration;

use minicbor::bytes::ByteVec;
use minicbor::{Decode, Encode};
use protocol::document::config::{Settings, SyntheticConfig};
use protocol::envelope::{Opened, Subject};
use protocol::id::{ClusterId, NodeId};
use protocol::key::Digest;
use protocol::time::Boot;
use protocol::wire::{self, Have};

use super::effect::Payload;
use super::file::{Damaged, FileName};
use super::snapshot::Held;
use super::trust::Trust;

/// See the module. Without a trial the settings of the config in force are confirmed.
#[derive(Clone, Debug, Default)]
pub(super) struct Confirm {
    trial: Option<Trial>,
}

#[derive(Clone, Debug)]
struct Trial {
    /// The last config whose settings were confirmed.
    confirmed: Held<SyntheticConfig>,
    stage: Stage,
}

#[derive(Clone, Debug)]
enum Stage {
    Pending { tried: u64, since: Boot, again: bool },
    Reverted(Reversal),
}

/// What was gone back from.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
struct Reversal {
    #[n(0)]
    config: Have,
    #[n(1)]
    tried: Settings,
    /// What the controllers call `tried`.
    #[n(2)]
    digest: Option<Digest>,
}

/// What a trial wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Half of the time is over: the addresses on trial are tried once more.
    DialAgain,
    /// The earlier settings are in force from now on.
    Revert,
}

/// How the settings of the config in force stand, if they are not confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unconfirmed {
    /// Those of version `tried` are on trial, and if it fails those of version `confirmed` come back.
    Pending { tried: u64, confirmed: u64 },
    /// The settings of the config of version `confirmed` are in force, since those of version `tried` left this node
    /// without a controller.
    Reverted { tried: u64, confirmed: u64 },
}

impl Confirm {
    /// Begins the trial, if there is one, from here: a process that was not there could not poll.
    pub(super) fn start(&mut self, now: Boot) {
        if let Some(Trial {
            stage: Stage::Pending { since, again, .. },
            ..
        }) = &mut self.trial
        {
            (*since, *again) = (now, false);
        }
    }

    /// `new` comes into force after `before`.
    pub(super) fn handle_config(
        &mut self,
        before: Option<&Held<SyntheticConfig>>,
        new: &Held<SyntheticConfig>,
        now: Boot,
    ) {
        let settings = new.opened.body.settings();
        let Some(before) = before else {
            // There is nothing to go back to.
            self.trial = None;
            return;
        };
        let confirmed = self.trial.as_ref().map_or(before, |trial| &trial.confirmed);
        let is_back = confirmed.opened.body.settings() == settings;
        let is_the_same = before.opened.body.settings() == settings;
        let offered = new.opened.body.offered_again;
        let is_offered_again = offered.is_some() && offered != before.opened.body.offered_again;
        if is_back {
            self.trial = None;
        } else if !is_the_same || (is_offered_again && self.restored().is_some()) {
            self.trial = Some(Trial {
                confirmed: confirmed.clone(),
                stage: Stage::Pending {
                    tried: new.opened.header.version,
                    since: now,
                    again: false,
                },
            });
        }
    }

    /// The poll of `sent_at` succeeded. `proves`: see [`is_proven_at`](Self::is_proven_at). Says whether that ends the
    /// trial.
    pub(super) fn handle_poll(&mut self, sent_at: Boot, proves: bool) -> bool {
        let confirms = proves && self.pending_since().is_some_and(|since| since <= sent_at);
        if confirms {
            self.trial = None;
        }

        confirms
    }

    /// Whether a poll at `endpoint` says something for `config`: it names the endpoint, or names the same controllers
    /// as before, or this host's own configuration names it, which no config can take away.
    pub(super) fn is_proven_at(
        &self,
        endpoint: &str,
        configured: &[String],
        config: &SyntheticConfig,
    ) -> bool {
        let before = self.trial.as_ref().map(|trial| &trial.confirmed.opened.body);
        let mut named = config.controllers.iter().flat_map(|address| &address.endpoints);

        before.is_none_or(|before| before.controllers == config.controllers)
            || named.any(|named| named == endpoint)
            || configured.iter().any(|named| named == endpoint)
    }

    /// Lets time pass over the trial of `config`, which is in force.
    pub(super) fn handle_timeout(&mut self, config: &Held<SyntheticConfig>, now: Boot) -> Option<Step> {
        let Some(Trial {
            stage: stage @ Stage::Pending { .. },
            ..
        }) = &mut self.trial
        else {
            return None;
        };
        let Stage::Pending { since, again, .. } = stage else {
            return None;
        };
        let end = since.after(TRIAL);
        if now >= end.after(STANDSTILL) {
            // The process stood still: it had no chance to poll.
            (*since, *again) = (now, false);
            return None;
        }
        if now >= end {
            *stage = Stage::Reverted(Reversal {
                config: config.have(),
                tried: config.opened.body.settings(),
                digest: config.opened.body.settings,
            });
            return Some(Step::Revert);
        }
        let is_due = !*again && now >= since.after(AGAIN);
        *again |= is_due;

        is_due.then_some(Step::DialAgain)
    }

    /// When [`handle_timeout`](Self::handle_timeout) has something to do next.
    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        match &self.trial.as_ref()?.stage {
            Stage::Pending {
                since, again: false, ..
            } => Some(since.after(AGAIN)),
            Stage::Pending {
                since, again: true, ..
            } => Some(since.after(TRIAL)),
            Stage::Reverted(_) => None,
        }
    }

    fn pending_since(&self) -> Option<Boot> {
        match &self.trial.as_ref()?.stage {
            Stage::Pending { since, .. } => Some(*since),
            Stage::Reverted(_) => None,
        }
    }

    pub(super) fn is_pending(&self) -> bool {
        self.pending_since().is_some()
    }

    /// The config that was confirmed last, if it is not the one in force.
    pub(super) fn confirmed(&self) -> Option<&Held<SyntheticConfig>> {
        self.trial.as_ref().map(|trial| &trial.confirmed)
    }

    /// The config whose settings are in force instead of those of the config in force.
    pub(super) fn restored(&self) -> Option<&SyntheticConfig> {
        let trial = self.trial.as_ref()?;
        match &trial.stage {
            Stage::Pending { .. } => None,
            Stage::Reverted(_) => Some(&trial.confirmed.opened.body),
        }
    }

    /// Puts the settings in force into `config`: the earlier ones, and the shorter of both limits.
    pub(super) fn apply(&self, config: &mut Opened<SyntheticConfig>) {
        if let Some(restored) = self.restored() {
            let Settings {
                controllers,
                transport,
            } = restored.settings().gone_back_to_from(&config.body.transport);
            config.body.controllers = controllers;
            config.body.transport = transport;
        }
    }

    /// What controllers are told, as long as it is so.
    pub(super) fn report(&self) -> Option<wire::Reverted> {
        let trial = self.trial.as_ref()?;
        match &trial.stage {
            Stage::Pending { .. } => None,
            Stage::Reverted(reversal) => Some(wire::Reverted {
                config: reversal.config,
                settings: reversal.digest?,
                restored: trial.confirmed.opened.body.settings,
            }),
        }
    }

    /// How things stand, for people.
    pub(super) fn standing(&self) -> Option<Unconfirmed> {
        let trial = self.trial.as_ref()?;
        let confirmed = trial.confirmed.opened.header.version;

        Some(match &trial.stage {
            Stage::Pending { tried, .. } => Unconfirmed::Pending {
                tried: *tried,
                confirmed,
            },
            Stage::Reverted(reversal) => Unconfirmed::Reverted {
                tried: reversal.config.version,
                confirmed,
            },
        })
    }

    /// The file that a restart goes on from. Once no trial is on, it holds none.
    pub(super) fn file(&self, cluster: ClusterId, node: NodeId) -> (FileName, Payload) {
        let trial = self.trial.as_ref();
        let reversal = trial.and_then(|trial| match &trial.stage {
            Stage::Pending { .. } => None,
            Stage::Reverted(reversal) => Some(reversal.clone()),
        });

        FileName::Confirmed.write(&ConfirmedFile {
            cluster,
            node,
            config: trial.map(|trial| (*trial.confirmed.bytes).clone()),
            reversal,
        })
    }

    /// Reads the file beside the config that is in force, and verifies the signature in it again. The file is written
    /// before the config that it guards: whatever is in force, it says how that stands.
    pub(super) fn read(
        bytes: &[u8],
        trust: &Trust,
        node: NodeId,
        in_force: Option<&Held<SyntheticConfig>>,
    ) -> Result<Self, Damaged> {
        let file: ConfirmedFile = FileName::Confirmed.read(bytes).ok_or(Damaged)?;
        let is_ours = file.cluster == trust.cluster() && file.node == node;
        let (Some(in_force), Some(config)) = (in_force, file.config.filter(|_| is_ours)) else {
            return Ok(Self::default());
        };
        let confirmed: Held<SyntheticConfig> =
            Held::open(trust, &config, Subject::Node(node)).map_err(|_| Damaged)?;
        let (earlier, present) = (&confirmed.opened, &in_force.opened);
        if earlier.header.rank() >= present.header.rank()
            || earlier.body.settings() == present.body.settings()
        {
            return Ok(Self::default());
        }
        let reversal = file
            .reversal
            .filter(|reversal| reversal.tried == present.body.settings());
        let stage = match reversal {
            Some(reversal) => Stage::Reverted(reversal),
            None => Stage::Pending {
                tried: present.header.version,
                since: Boot::default(),
                again: false,
            },
        };

        Ok(Self {
            trial: Some(Trial { confirmed, stage }),
        })
    }
}

#[derive(Encode, Decode)]
#[cbor(map)]
struct ConfirmedFile {
    #[n(0)]
    cluster: ClusterId,
    #[n(1)]
    node: NodeId,
    /// Signed. None if the settings of the config in force are confirmed.
    #[n(2)]
    config: Option<ByteVec>,
    #[n(3)]
    reversal: Option<Reversal>,
}

/// Without a successful poll for so long a node goes back to the settings before (DESIGN 13).
const TRIAL: Duration = Duration::from_secs(60);
/// When new addresses get their second chance: a controller that is just being started is there by then, and a relay
/// that leaves a working session for it is fresh for half a minute more.
const AGAIN: Duration = Duration::from_secs(30);
/// A process that looks at the end of the trial so much too late stood still.
const STANDSTILL: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
