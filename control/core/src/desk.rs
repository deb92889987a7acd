//! What every decision needs at hand.

use protocol::time::Now;

use crate::audit::{self, Action, Actor, Entry, Outcome, Target, Uid};
use crate::signer::Signer;
use crate::store::{StoreError, Tx};

/// An open transaction, the keys behind their port, the time, chance, and on whose behalf all this happens.
pub struct Desk<'a> {
    pub tx: &'a mut dyn Tx,
    pub signer: &'a dyn Signer,
    pub now: Now,
    pub rng: &'a mut dyn rand::CryptoRng,
    /// Who the audit says did it.
    pub actor: Actor,
    /// The user of this host who asked for it, if one did.
    pub uid: Option<Uid>,
}

impl Desk<'_> {
    /// Appends an audit record of something done, in this transaction.
    pub fn record(
        &mut self,
        action: Action,
        target: Target,
        detail: impl Into<String>,
    ) -> Result<(), StoreError> {
        let entry = Entry {
            actor: self.actor.clone(),
            uid: self.uid,
            action,
            target,
            outcome: Outcome::Done,
            detail: detail.into(),
        };

        audit::append(self.tx, entry, self.now.wall).map(|_| ())
    }
}
