//! What is on its way to one socket.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

use tokio::time::{Instant, Sleep};

/// When a packet arrives, and which one it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) at: Instant,
    pub(super) from: SocketAddr,
    pub(super) number: u64,
    pub(super) copy: usize,
}

/// What is on its way to one socket, by the time of arrival.
#[derive(Default)]
pub(super) struct Inbox(Mutex<Arriving>);

#[derive(Default)]
pub(super) struct Arriving {
    packets: BTreeMap<Place, Vec<u8>>,
    frozen: bool,
    reader: Option<Waker>,
    alarm: Option<Pin<Box<Sleep>>>,
}

impl Inbox {
    pub(super) fn put(&self, place: Place, bytes: &[u8]) -> bool {
        let mut arriving = self.arriving();
        if arriving.packets.len() >= INBOX {
            return false;
        }
        arriving.packets.insert(place, bytes.to_vec());
        let is_next = arriving.packets.first_key_value().map(|(next, _)| *next) == Some(place);
        if is_next {
            arriving.wake();
        }

        true
    }

    pub(super) fn freeze(&self, frozen: bool) {
        let mut arriving = self.arriving();
        arriving.frozen = frozen;
        arriving.wake();
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.arriving().frozen
    }

    pub(super) fn arriving(&self) -> MutexGuard<'_, Arriving> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arriving {
    /// The next packet that has arrived by now.
    pub(super) fn take(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        let next = self.packets.first_entry().filter(|_| !self.frozen)?;
        let Place { at, from, .. } = *next.key();

        (at <= Instant::now()).then(|| (from, next.remove()))
    }

    fn wake(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Has the reader woken when the next packet arrives, or one comes that arrives before.
    pub(super) fn wake_reader(&mut self, cx: &mut Context<'_>) -> bool {
        self.reader = Some(cx.waker().clone());
        let next = self.packets.first_key_value().filter(|_| !self.frozen);
        let Some(at) = next.map(|(place, _)| place.at) else {
            self.alarm = None;
            return false;
        };
        let alarm = self
            .alarm
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if alarm.deadline() != at {
            alarm.as_mut().reset(at);
        }

        alarm.as_mut().poll(cx).is_ready()
    }
}

/// Packets that may be on their way to one socket: a receive buffer of 4 MiB.
const INBOX: usize = 4_096;
