//! The judgement on a welcome. Until it holds, nothing is sent to the server.
//!
//! In order: the authority is the pinned one or follows from it; the trust bundle is signed by it; the revocation
//! list is signed by it; the very leaf of this connection comes from the bundle's controller CA.

use std::time::Duration;

use minicbor::bytes::ByteVec;
use protocol::admit::{self, Anchors, Revocations};
use protocol::cbor;
use protocol::certificate::{Holder, ServerOf};
use protocol::document::authority::{RevocationList, Succession, TrustBundle};
use protocol::document::beacon::Beacon;
use protocol::envelope::{Envelope, Subject};
use protocol::id::{ClusterId, ControllerId};
use protocol::key::VerifyKey;
use protocol::time::Wall;
use protocol::token::JoinToken;
use protocol::wire::Welcome;

use super::clock;
use super::config::Pin;
use super::event::WelcomeRefusal;
use super::input::ServerLeaf;
use super::marks::Marks;
use super::snapshot::Held;
use super::trust::{SUCCESSIONS, Trust};

/// What is known of the authority before the welcome.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known<'a> {
    /// What an operator gave this machine.
    Pins {
        cluster: ClusterId,
        token: &'a JoinToken,
        pin: &'a Pin,
    },
    /// What was verified on an earlier connection.
    Trust(&'a Trust),
}

/// What a welcome is judged by.
#[derive(Clone, Copy, Debug)]
pub(super) struct Judgement<'a> {
    pub(super) known: Known<'a>,
    pub(super) marks: &'a Marks,
    pub(super) revocations: &'a Revocations,
    pub(super) server: &'a ServerLeaf,
    pub(super) wall: Wall,
}

/// A welcome that holds.
#[derive(Debug)]
pub(super) struct Verified {
    pub(super) trust: Trust,
    pub(super) bundle: Held<TrustBundle>,
    pub(super) controller: Option<ControllerId>,
    pub(super) anchors: Anchors,
    /// The list that the server showed.
    pub(super) revoked: Option<RevocationList>,
    /// By how much this host's clock is behind the beacon that was shown.
    pub(super) behind: Duration,
}

impl Judgement<'_> {
    pub(super) fn welcome(&self, bytes: &[u8]) -> Result<Verified, WelcomeRefusal> {
        let welcome: Welcome = cbor::decode(bytes).map_err(|_| WelcomeRefusal::Malformed)?;
        if welcome.successions.len() > SUCCESSIONS {
            return Err(WelcomeRefusal::TooManyEpochs);
        }
        let trust = self.authority(&welcome)?;
        let bundle = self.bundle(&welcome, &trust)?;
        let mut anchors = Anchors::default();
        anchors
            .put(trust.cluster(), &bundle.opened.body)
            .map_err(WelcomeRefusal::BundleContent)?;
        let revoked = self.revoked(&welcome, &trust)?;
        let mut revocations = self.revocations.clone();
        if let Some(list) = &revoked {
            revocations.add(trust.cluster(), list);
        }
        let wall = self.wall(&welcome, &trust);
        let identity = admit::verify_server(
            &self.server.chain,
            (ServerOf::Controller, trust.cluster()),
            &anchors,
            &revocations,
            wall,
        )
        .map_err(WelcomeRefusal::Leaf)?;
        let controller = match identity.holder {
            Holder::Controller(controller) => Some(controller),
            Holder::Node(_) => None,
        };

        Ok(Verified {
            trust,
            bundle,
            controller,
            anchors,
            revoked,
            behind: wall.since(self.wall),
        })
    }

    /// The authority that the server names, if it is the pinned one or follows from it.
    fn authority(&self, welcome: &Welcome) -> Result<Trust, WelcomeRefusal> {
        let mut trust = match self.known {
            Known::Trust(trust) => trust.clone(),
            Known::Pins { cluster, token, pin } => {
                let (epoch, key) = pinned(welcome, token, pin)?;
                token.verify(&key).map_err(WelcomeRefusal::Token)?;

                Trust::pinned(cluster, epoch, key)
            }
        };
        trust.walk(&welcome.successions);
        match trust.key(welcome.epoch) == Some(&welcome.authority) {
            true => Ok(trust),
            false => Err(WelcomeRefusal::Authority),
        }
    }

    fn bundle(&self, welcome: &Welcome, trust: &Trust) -> Result<Held<TrustBundle>, WelcomeRefusal> {
        let bundle: Held<TrustBundle> = Held::open(trust, &welcome.bundle, Subject::All)
            .map_err(|refused| WelcomeRefusal::Bundle(refused.why))?;
        self.marks
            .compare(&bundle.opened.header, bundle.opened.hash)
            .map_err(WelcomeRefusal::Bundle)?;

        Ok(bundle)
    }

    /// The revocation list that the server shows, if it shows one.
    fn revoked(&self, welcome: &Welcome, trust: &Trust) -> Result<Option<RevocationList>, WelcomeRefusal> {
        let Some(bytes) = &welcome.revocations else {
            return Ok(None);
        };
        let list = trust.open::<RevocationList>(bytes, Subject::All);

        list.map(|list| Some(list.body))
            .map_err(|refused| WelcomeRefusal::Revocations(refused.why))
    }

    /// The time to judge certificates at: a clock that is behind a signed beacon is taken for wrong, within bounds.
    fn wall(&self, welcome: &Welcome, trust: &Trust) -> Wall {
        let beacon = welcome.beacon.as_ref();
        let shown = beacon.and_then(|bytes| trust.open::<Beacon>(bytes, Subject::All).ok());

        clock::corrected(self.wall, shown.map(|beacon| beacon.header.issued_at))
    }
}

/// Epoch and key of the authority that token and configuration pin: the present one, or one that a succession names.
fn pinned(welcome: &Welcome, token: &JoinToken, pin: &Pin) -> Result<(u64, VerifyKey), WelcomeRefusal> {
    let other = || WelcomeRefusal::OtherAuthority {
        shown: welcome.authority.fingerprint(),
    };
    let authority = token.claims_unverified().map_err(|_| other())?.authority;
    let fits = |key: &VerifyKey| key.fingerprint() == authority && pin.admits(key);
    if fits(&welcome.authority) {
        return Ok((welcome.epoch, welcome.authority));
    }

    welcome
        .successions
        .iter()
        .filter_map(named)
        .find(|(_, key)| fits(key))
        .ok_or_else(other)
}

/// The key that a succession is about; its hash is compared with a pin, so its signature does not matter.
fn named(bytes: &ByteVec) -> Option<(u64, VerifyKey)> {
    let succession: Succession = Envelope::parse(bytes).ok()?.claimed_body().ok()?;

    Some((succession.epoch, succession.key))
}
