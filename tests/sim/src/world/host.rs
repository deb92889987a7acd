//! What a simulated host gives the process on it: clocks, addresses, and no name service.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

use agent_shell::clock::Clock;
use agent_shell::interfaces::Interfaces;
use agent_shell::parts::Pending;
use agent_shell::resolve::{Resolve, Unresolved};
use protocol::time::{Boot, Now, Wall, millis};
use tokio::time::Instant;

/// A host's clocks: virtual time, counted from the host's own boot, and set by its own idea of the day.
#[derive(Clone, Copy, Debug)]
pub(super) struct HostClock {
    began: Instant,
    /// How long the host was up when the world began, in milliseconds.
    up: u64,
    /// What its wall clock showed then.
    wall: Wall,
}

impl HostClock {
    /// `skew` is how far the wall clock is ahead, in milliseconds. Must be made within the world's runtime.
    pub(super) fn new(up: u64, skew: u64) -> Self {
        Self {
            began: Instant::now(),
            up,
            wall: Wall(DAY.0 + skew),
        }
    }
}

impl Clock for HostClock {
    fn now(&self) -> Now {
        let passed = self.began.elapsed();

        Now {
            boot: Boot(self.up + millis(passed)),
            wall: self.wall.after(passed),
        }
    }
}

/// The one address of a simulated host.
#[derive(Clone, Copy, Debug)]
pub(super) struct OneAddress(pub(super) IpAddr);

impl Interfaces for OneAddress {
    fn addresses(&self) -> io::Result<BTreeSet<IpAddr>> {
        Ok(BTreeSet::from([self.0]))
    }
}

/// Controllers are named by their addresses here.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoNames;

impl Resolve for NoNames {
    fn resolve(&self, host: &str, _: Option<u16>) -> Pending<Result<Vec<SocketAddr>, Unresolved>> {
        let unresolved = Unresolved {
            host: host.to_owned(),
            source: None,
        };

        Box::pin(async move { Err(unresolved) })
    }
}

/// Stops a process and lets it go on, as the signals of those names do.
#[derive(Clone, Debug, Default)]
pub(super) struct Gate(Arc<Mutex<Door>>);

#[derive(Debug, Default)]
struct Door {
    shut: bool,
    waiting: Option<Waker>,
}

impl Gate {
    pub(super) fn shut(&self, shut: bool) {
        let mut door = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        door.shut = shut;
        if let Some(waiting) = door.waiting.take() {
            waiting.wake();
        }
    }

    pub(super) fn is_shut(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).shut
    }

    /// `inner`, which gets nowhere while the gate is shut.
    pub(super) fn before<F: Future>(&self, inner: F) -> Gated<F> {
        Gated {
            gate: self.clone(),
            inner: Box::pin(inner),
        }
    }
}

pub(super) struct Gated<F> {
    gate: Gate,
    inner: Pin<Box<F>>,
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let shut = {
            let mut door = self.gate.0.lock().unwrap_or_else(PoisonError::into_inner);
            if door.shut {
                door.waiting = Some(cx.waker().clone());
            }
            door.shut
        };
        match shut {
            true => Poll::Pending,
            false => self.inner.as_mut().poll(cx),
        }
    }
}

/// The day on which worlds begin: 2027-01-15T08:00:00Z.
const DAY: Wall = Wall(1_800_000_000_000);
