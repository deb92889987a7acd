//! The next certificate: when it is due, and how it is asked for.
//!
//! ```text
//!          half life ± 10 %         keys durable          certificate holds        identity durable
//!  Resting ────────────────▶ Saving ───────────▶ Ready ──────────────────▶ Writing ──────────────▶ Resting
//!     ▲                                           │ ▲ reply lost: same nonce, same keys
//!     └── refused: later, or never if cloned ─────┘─┘
//! ```
//!
//! A certificate that has run out, or that was made by a clock that was ahead, is renewed at the join door, by a proof
//! with the key that it certified.

use std::time::Duration;

use protocol::certificate::{Validity, csr};
use protocol::key::Digest;
use protocol::time::{Boot, Now, Wall};
use protocol::wire::{ExpiredRenewal, Proof, Renew, Renewed};

use super::clock;
use super::identity::{Keys, Member};
use super::outbox::Outbox;

/// When the certificate in force is renewed.
#[derive(Debug)]
pub(super) struct Renewal {
    validity: Validity,
    due: Wall,
    /// `due` on the clock that timeouts are on; planned anew at every call, as the wall clock may step.
    due_at: Boot,
    not_before: Boot,
    stopped: bool,
    pub(super) step: Step,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The next keys are on disk and may be named.
    Ready,
    Resting,
    /// The next keys are being written.
    Saving,
    /// The new certificate is being written.
    Writing,
}

impl Renewal {
    /// For a certificate of this validity; `begun`: keys for the next one are on disk already.
    pub(super) fn new(validity: Validity, begun: bool, out: &mut Outbox) -> Self {
        let life = validity.not_after.since(validity.not_before);

        Self {
            validity,
            due: validity.not_before.after(out.around(life / 2)),
            due_at: Boot::default(),
            not_before: Boot::default(),
            stopped: false,
            step: if begun { Step::Ready } else { Step::Resting },
        }
    }

    pub(super) fn validity(&self) -> Validity {
        self.validity
    }

    /// Whether to renew at the join door: no other takes a certificate that has run out, or that begins ahead.
    pub(super) fn needs_proof(&self, now: Now, wall: Wall) -> bool {
        let has_run_out = self.validity.not_after.seconds() < wall.seconds();

        has_run_out || (self.begins_ahead(wall) && self.not_before <= now.boot)
    }

    fn begins_ahead(&self, wall: Wall) -> bool {
        clock::begins_ahead(self.validity, wall)
    }

    /// Sets the timeout by both clocks as they stand now.
    pub(super) fn plan(&mut self, now: Now, wall: Wall) {
        let wait = match self.begins_ahead(wall) {
            true => Duration::ZERO,
            false => self.due.since(wall),
        };
        self.due_at = now.boot.after(wait).max(self.not_before);
    }

    pub(super) fn is_due(&self, now: Now, wall: Wall) -> bool {
        let due = self.due <= wall || self.begins_ahead(wall);

        !self.stopped && due && self.not_before <= now.boot
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        (!self.stopped).then_some(self.due_at)
    }

    /// Asks again after `pause`.
    pub(super) fn retry(&mut self, pause: Duration, now: Now) {
        self.not_before = now.boot.after(pause.max(RETRY));
    }

    /// Does not ask again on this run.
    pub(super) fn stop(&mut self) {
        self.stopped = true;
    }
}

/// The request, with a certificate that is still good.
pub(super) fn request(member: &Member, next: &Keys) -> Renew {
    Renew {
        nonce: member.renewal_nonce(),
        csr: csr(&next.node).into(),
        seal_key: next.seal.seal_key(),
    }
}

/// The request once it has run out: the proof is over node id ‖ nonce ‖ SHA-256 of the CSR.
pub(super) fn expired(member: &Member, next: &Keys, exported: &[u8; 32]) -> ExpiredRenewal {
    let (nonce, csr) = (member.renewal_nonce(), csr(&next.node));
    let about = [
        member.node.as_bytes().as_slice(),
        &nonce,
        Digest::of(&csr).as_bytes(),
    ]
    .concat();

    ExpiredRenewal {
        node: member.node,
        nonce,
        seal_key: next.seal.seal_key(),
        proof: Proof::new(&member.keys.node, exported, &about),
        csr: csr.into(),
    }
}

/// The member with its new certificate and keys.
pub(super) fn renewed(member: &Member, next: &Keys, reply: Renewed) -> Member {
    let controllers = match reply.controllers.is_empty() {
        true => member.controllers.clone(),
        false => reply.controllers,
    };

    Member {
        certificate: reply.certificate,
        keys: next.clone(),
        previous_seal: Some(member.keys.seal.clone()),
        controllers,
        renewal: None,
        ..member.clone()
    }
}

/// Least pause after a renewal that did not come about. Half a certificate's life is left for it.
const RETRY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use protocol::time::millis;

    use super::super::config::Seed;
    use super::*;

    #[test]
    fn renewal_is_due_at_half_life_give_or_take_a_tenth() {
        let life = Duration::from_secs(7 * 24 * 3600);
        let validity = Validity {
            not_before: Wall(1_000_000),
            not_after: Wall(1_000_000).after(life),
        };
        for seed in 0..100 {
            let mut out = Outbox::new(&Seed::from_bytes([seed; 32]));
            let due = Renewal::new(validity, false, &mut out)
                .due
                .since(validity.not_before);

            assert!(
                (millis(life) * 45 / 100..=millis(life) * 55 / 100).contains(&millis(due)),
                "{due:?}"
            );
        }
    }

    #[test]
    fn the_timeout_follows_a_wall_clock_that_steps() {
        let validity = Validity {
            not_before: Wall(0),
            not_after: Wall(100_000_000),
        };
        let mut renewal = Renewal::new(validity, false, &mut Outbox::new(&Seed::from_bytes([1; 32])));
        let now = |boot, wall| Now {
            boot: Boot(boot),
            wall: Wall(wall),
        };
        renewal.plan(now(5, 0), Wall(0));
        let before = renewal.poll_timeout().expect("planned");
        renewal.plan(now(6, 90_000_000), Wall(90_000_000));

        assert!(before >= Boot(45_000_005));
        assert_eq!(renewal.poll_timeout(), Some(Boot(6)));
        assert!(renewal.is_due(now(6, 90_000_000), Wall(90_000_000)));
    }
}
