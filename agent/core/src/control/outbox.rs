//! What goes out of the machine, and the numbers and chance it needs on the way.

use std::collections::VecDeque;
use std::time::Duration;

use minicbor::Encode;
use protocol::cbor;
use protocol::time::{Boot, Now, millis};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use rustls_pki_types::CertificateDer;

use super::config::Seed;
use super::disk::{Disk, Purpose};
use super::effect::{Adopted, ConnectionId, Door, Effect, Payload, Tag, WriteId};
use super::event::Event;
use super::file::FileName;
use super::input::WriteFailed;

/// Effects in order, one source of chance, one queue of writes.
#[derive(Debug)]
pub(super) struct Outbox {
    effects: VecDeque<Effect>,
    rng: StdRng,
    disk: Disk,
    connections: u64,
    tags: u64,
}

/// How to dial, whatever the endpoint.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) door: Door,
    pub(super) server_name: String,
    pub(super) trust: Vec<CertificateDer<'static>>,
    pub(super) client_identity: bool,
}

impl Outbox {
    pub(super) fn new(seed: &Seed) -> Self {
        Self {
            effects: VecDeque::new(),
            rng: StdRng::from_seed(seed.bytes()),
            disk: Disk::default(),
            connections: 0,
            tags: 0,
        }
    }

    pub(super) fn poll(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    pub(super) fn push(&mut self, effect: Effect) {
        self.effects.push_back(effect);
    }

    pub(super) fn event(&mut self, event: Event) {
        self.push(Effect::Event(event));
    }

    pub(super) fn adopt(&mut self, adopted: impl IntoIterator<Item = Adopted>) {
        self.effects.extend(adopted.into_iter().map(Effect::Adopt));
    }

    pub(super) fn connect(&mut self, call: Call, endpoint: &str) -> ConnectionId {
        let connection = ConnectionId(self.connections);
        self.connections += 1;
        self.push(Effect::Connect {
            connection,
            endpoint: endpoint.to_owned(),
            door: call.door,
            server_name: call.server_name,
            trust: call.trust,
            client_identity: call.client_identity,
        });

        connection
    }

    pub(super) fn close(&mut self, connection: ConnectionId) {
        self.push(Effect::Close { connection });
    }

    pub(super) fn request<T: Encode<()>>(
        &mut self,
        connection: ConnectionId,
        request: &T,
        deadline: Boot,
    ) -> Tag {
        let tag = Tag(self.tags);
        self.tags += 1;
        self.push(Effect::Request {
            connection,
            tag,
            body: Payload::from(cbor::encode(request)),
            deadline,
        });

        tag
    }

    pub(super) fn persist(&mut self, files: Vec<(FileName, Payload)>, purpose: Purpose) {
        let effect = self.disk.push(files, purpose);
        self.effects.extend(effect);
    }

    /// Takes back the writes of one purpose that wait; false if one is under way.
    pub(super) fn take_back(&mut self, purpose: Purpose) -> bool {
        self.disk.take_back(purpose)
    }

    /// Whether the disk has something to do: what nothing waits for can wait.
    pub(super) fn is_writing(&self) -> bool {
        self.disk.is_busy()
    }

    /// Returns what waited for this write, if the write succeeded.
    pub(super) fn handle_persisted(
        &mut self,
        write: WriteId,
        result: Result<(), WriteFailed>,
        now: Now,
    ) -> Option<Purpose> {
        let (done, effect) = self.disk.handle_persisted(write, result, now);
        self.effects.extend(effect);

        done
    }

    pub(super) fn handle_timeout(&mut self, now: Now) {
        let effect = self.disk.handle_timeout(now);
        self.effects.extend(effect);
    }

    pub(super) fn poll_timeout(&self) -> Option<Boot> {
        self.disk.poll_timeout()
    }

    pub(super) fn rng(&mut self) -> &mut StdRng {
        &mut self.rng
    }

    /// A time from zero to `limit`, both included.
    pub(super) fn up_to(&mut self, limit: Duration) -> Duration {
        Duration::from_millis(self.rng.random_range(0..=millis(limit)))
    }

    /// A time within a fifth of `about`.
    pub(super) fn within_a_fifth(&mut self, about: Duration) -> Duration {
        let fifth = about / 5;

        about.saturating_sub(fifth) + self.up_to(fifth * 2)
    }

    /// A time within a tenth of `about`.
    pub(super) fn around(&mut self, about: Duration) -> Duration {
        let tenth = about / 10;

        about.saturating_sub(tenth) + self.up_to(tenth * 2)
    }
}
